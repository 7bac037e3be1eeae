"""The batched integrator: exact where a closed form is known, scipy's numbers elsewhere, and no company disturbs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from motet.errors import InputError
from motet.systems import integrate as module
from motet.systems.integrate import integrate

TIMES = np.linspace(0, 7, 15)


def spring(positions: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    return -stiffness * positions


def many_springs(n: int = 50) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "positions": random.normal(size=(n, 1)),
        "velocities": random.normal(size=(n, 1)),
        "parameters": random.uniform(0.1, 100, (n, 1)),
        "times": TIMES,
    }


def pendulum(positions: np.ndarray, length: np.ndarray) -> np.ndarray:
    return -np.sin(positions) / length


# Accuracy


def test_springs_swing_as_sines_do() -> None:
    given = many_springs()
    found = integrate(spring, **given)
    rate = np.sqrt(given["parameters"])
    expected = given["positions"] * np.cos(rate * TIMES) + given["velocities"] / rate * np.sin(rate * TIMES)
    speed = given["velocities"] * np.cos(rate * TIMES) - given["positions"] * rate * np.sin(rate * TIMES)
    np.testing.assert_allclose(found.positions[..., 0], expected, atol=2e-8)
    np.testing.assert_allclose(found.velocities[..., 0], speed, atol=2e-7)
    assert not found.failed.any()


def test_a_tenth_of_the_tolerance_is_about_a_tenth_of_the_error() -> None:
    given = {**many_springs(), "times": [7.0]}
    rate = np.sqrt(given["parameters"])
    expected = given["positions"] * np.cos(7 * rate) + given["velocities"] / rate * np.sin(7 * rate)
    tolerances = np.array([1e-6, 1e-8, 1e-10])
    errors = [np.abs(integrate(spring, **given, tolerance=t).positions[:, 0] - expected).max() for t in tolerances]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert slope == pytest.approx(8 / 8, abs=0.25)


def test_pendulums_swing_as_scipy_says() -> None:
    lengths, angles = np.array([[0.5], [1.0], [2.0]]), np.array([[3.0], [1.0], [-2.5]])
    found = integrate(pendulum, positions=angles, velocities=0 * angles, parameters=lengths, times=TIMES)
    for trajectory, (angle, length) in enumerate(zip(angles[:, 0], lengths[:, 0], strict=True)):
        expected = solve_ivp(
            lambda _, y, length=length: (y[1], -np.sin(y[0]) / length),
            (0, 7),
            (angle, 0.0),
            "DOP853",
            TIMES,
            rtol=1e-12,
            atol=1e-12,
        )
        np.testing.assert_allclose(found.positions[trajectory, :, 0], expected.y[0], atol=1e-8)
        np.testing.assert_allclose(found.velocities[trajectory, :, 0], expected.y[1], atol=1e-8)


def test_the_stages_of_positions_are_those_of_the_method_for_first_order_equations() -> None:
    """One step of x'' = a(x) is one step of scipy's method on (x, x')."""
    from scipy.integrate import DOP853

    h, start = 0.3, np.array([1.0, 0.2])
    stages = np.zeros((12, 2))
    for i in range(12):
        x, v = start + h * DOP853.A[i, :i] @ stages[:i]
        stages[i] = v, -np.sin(x)
    expected = start + h * DOP853.B @ stages
    accelerations = stages[:, 1]
    position = start[0] + h * start[1] + h**2 * module.POSITION_STAGES[12, :12] @ accelerations
    velocity = start[1] + h * module.VELOCITY_STAGES[12, :12] @ accelerations
    np.testing.assert_allclose([position, velocity], expected, rtol=1e-14)


@pytest.mark.parametrize("first_step", [1e-6, 1e4])
def test_the_guess_of_the_first_step_matters_little(monkeypatch: pytest.MonkeyPatch, first_step: float) -> None:
    """One that is far too long is taken back, one too short grows."""
    given = many_springs()
    expected = integrate(spring, **given)
    monkeypatch.setattr(module, "FIRST_STEP", first_step)
    found = integrate(spring, **given)
    np.testing.assert_allclose(found.positions, expected.positions, atol=3e-8)
    assert (found.n_steps > expected.n_steps).all()


# Sampling


def test_time_zero_is_the_start_and_every_trajectory_has_times_of_its_own() -> None:
    given = many_springs(3)
    own = np.array([[0.0, 0.5, 7.0], [0.1, 0.2, 0.3], [2.0, 4.0, 7.0]])
    found = integrate(spring, **{**given, "times": own})
    assert np.array_equal(found.positions[0, 0], given["positions"][0])
    assert np.array_equal(found.velocities[0, 0], given["velocities"][0])
    for trajectory in range(3):
        one = {name: array[trajectory : trajectory + 1] for name, array in {**given, "times": own}.items()}
        np.testing.assert_allclose(integrate(spring, **one).positions[0], found.positions[trajectory], atol=1e-9)


def test_looking_more_often_changes_nothing() -> None:
    given = many_springs()
    often = integrate(spring, **{**given, "times": np.linspace(0, 7, 1401)})
    seldom = integrate(spring, **given)
    assert np.array_equal(often.n_steps, seldom.n_steps)
    np.testing.assert_allclose(often.positions[:, ::100], seldom.positions, atol=1e-12)


def test_the_start_alone_may_be_asked_for() -> None:
    given = many_springs(4)
    found = integrate(spring, **{**given, "times": [0.0]})
    assert np.array_equal(found.positions[:, 0], given["positions"])
    assert not found.n_steps.any()


def test_what_rests_stays() -> None:
    found = integrate(spring, positions=[[0.0]], velocities=[[0.0]], parameters=[[1.0]], times=TIMES)
    assert not found.positions.any()
    assert not found.failed.any()


# Company


@pytest.mark.parametrize("lane_numbers", [1, 16 * 40])
def test_a_trajectory_does_not_depend_on_its_company(monkeypatch: pytest.MonkeyPatch, lane_numbers: int) -> None:
    """However many lanes there are: trajectories enter as others leave."""
    given = many_springs(100)
    given["times"] = TIMES * np.linspace(0.05, 1, 100)[:, None]
    together = integrate(spring, **given)
    monkeypatch.setattr(module, "LANE_NUMBERS", lane_numbers)
    apart = integrate(spring, **given)
    np.testing.assert_allclose(apart.positions, together.positions, atol=1e-11)
    assert np.array_equal(apart.n_steps, together.n_steps)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_trajectory_that_fails_is_flagged_and_spoils_no_other(fault: float) -> None:
    def breaks(positions: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
        return np.where((stiffness == 7) & (positions < 0.9), fault, -np.abs(stiffness) * positions)

    given = many_springs(20)
    alone = integrate(spring, **given)
    given["parameters"][3], given["positions"][3], given["velocities"][3] = 7, 1, 0
    found = integrate(breaks, **given)
    assert np.flatnonzero(found.failed).tolist() == [3]
    assert np.isnan(found.positions[3]).all()
    assert np.isnan(found.velocities[3]).all()
    others = np.arange(20) != 3
    np.testing.assert_allclose(found.positions[others], alone.positions[others], atol=1e-11)


def test_a_trajectory_that_would_take_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STEPS", 30)
    stiffness = np.array([[1.0], [1e6]])
    found = integrate(spring, positions=[[1.0]] * 2, velocities=[[0.0]] * 2, parameters=stiffness, times=TIMES)
    assert found.failed.tolist() == [False, True]
    assert found.n_steps[1] == 30


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1.0, 1.0]}, "do not increase"),
        ({"times": [2.0, 1.0]}, "do not increase"),
        ({"times": [-1.0, 1.0]}, "times are negative"),
        ({"times": [0.0, np.nan]}, "not finite"),
        ({"times": []}, "at least one time"),
        ({"times": np.ones((2, 2))}, "give \\(time,\\) or \\(5, time\\)"),
        ({"positions": np.full((5, 1), np.nan)}, "positions of trajectory 0 are not finite"),
        ({"velocities": [[0.0]] * 4 + [[np.inf]]}, "velocities of trajectory 4 are not finite"),
        ({"parameters": [[np.nan]] * 5}, "parameters of trajectory 0 are not finite"),
        ({"velocities": np.zeros((4, 1))}, "do not belong together"),
        ({"positions": np.zeros((0, 1)), "velocities": np.zeros((0, 1))}, "at least one trajectory"),
        ({"parameters": np.zeros((4, 1))}, "do not belong together"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
    ],
)
def test_what_cannot_be_integrated_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        integrate(spring, **{**many_springs(5), **change})

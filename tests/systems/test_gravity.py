"""Gravity: closed forms, conserved quantities, scipy's orbits, and recordings that are what their settings say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from motet.errors import InputError
from motet.systems import gravity, simulate
from motet.systems.gravity import GravitySettings, gravity_energy, gravity_orbits, simulate_gravity

SMALL = GravitySettings(groups=("2x2", "2x3"), n_trials=30, engine="numpy")


@pytest.fixture(params=["numpy", "numba"])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


def ellipse(semi_major: float, eccentricity: float, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Two bodies at their nearest, in the frame of their centre of mass, and their period."""
    total = masses.sum()
    distance = semi_major * (1 - eccentricity)
    speed = np.sqrt(total / semi_major * (1 + eccentricity) / (1 - eccentricity))
    share = np.array([masses[1], -masses[0]])[:, None] / total
    period = 2 * np.pi * np.sqrt(semi_major**3 / total)
    return share * [distance, 0.0], share * [0.0, speed], period


def triples(n: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return gravity._polygons(n, 3, np.random.default_rng(0))[:3]


# Closed forms


@pytest.mark.parametrize("eccentricity", [0.0, 0.3, 0.9])
def test_two_bodies_go_round_kepler_s_ellipses(engine: Any, eccentricity: float) -> None:
    masses = np.array([0.9, 1.5])
    x, v, period = ellipse(1.3, eccentricity, masses)
    times = np.array([0, 0.5, 1, 2]) * period
    found = gravity_orbits(x[None], v[None], masses[None], times, engine=engine)
    np.testing.assert_allclose(found.positions[0, [0, 2, 3]], np.stack([x] * 3), atol=1e-7)
    at_farthest = -x * (1 + eccentricity) / (1 - eccentricity)
    np.testing.assert_allclose(found.positions[0, 1], at_farthest, atol=1e-8)
    energy = gravity_energy(found.positions, found.velocities, masses[None])
    np.testing.assert_allclose(energy, -masses.prod() / (2 * 1.3), rtol=1e-9)


def test_three_equal_bodies_go_round_a_circle(engine: Any) -> None:
    x = gravity._polygon(np.zeros(1), 3)
    v = gravity.TRIPLE_SPEED * gravity._quarter_turn(x)
    np.testing.assert_allclose(gravity.TRIPLE_SPEED, 3**-0.25)
    period = 2 * np.pi / gravity.TRIPLE_SPEED
    found = gravity_orbits(x, v, np.ones((1, 3)), [period / 3, period], engine=engine)
    np.testing.assert_allclose(found.positions[0, 0], np.roll(x[0], -1, axis=0), atol=1e-9)
    np.testing.assert_allclose(found.positions[0, 1], x[0], atol=1e-8)
    energy = gravity_energy(found.positions, found.velocities, np.ones((1, 3)))
    np.testing.assert_allclose(energy, -np.sqrt(3) / 2, rtol=1e-11)


@pytest.mark.parametrize("m", [2, 3])
def test_unperturbed_polygons_of_unequal_masses_turn_as_a_whole(m: int) -> None:
    class Calm:  # whose draws around zero are all zero
        def __init__(self) -> None:
            self.random = np.random.default_rng(0)

        def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
            return np.zeros(size) if low == -1 else self.random.uniform(low, high, size)

        def standard_normal(self, size: Any) -> np.ndarray:
            return np.zeros(size)

        def choice(self, *given: Any) -> np.ndarray:
            return self.random.choice(*given)

    x, v, masses, turn_seconds = gravity._polygons(20, m, Calm())  # type: ignore[arg-type]
    found = gravity_orbits(x, v, masses, turn_seconds[:, None] * [0.37, 1], engine="numpy")
    np.testing.assert_allclose(found.positions[:, 1], x, atol=1e-7)
    sides = np.linalg.norm(found.positions[:, 0] - np.roll(found.positions[:, 0], 1, axis=1), axis=-1)
    np.testing.assert_allclose(sides, sides[:, :1].repeat(m, axis=1), rtol=1e-7)


# What is conserved, and what scipy says


def test_energy_momentum_and_spin_are_conserved(engine: Any) -> None:
    x, v, masses = triples(200)
    found = gravity_orbits(x, v + np.array([0.3, -0.2]), masses, np.linspace(0, 10, 40), engine=engine)
    energy = gravity_energy(found.positions, found.velocities, masses)
    assert np.quantile(np.abs(energy / energy[:, :1] - 1).max(axis=1), 0.95) < 1e-9
    momentum = (masses[:, None, :, None] * found.velocities).sum(axis=2)
    np.testing.assert_allclose(momentum, momentum[:, :1].repeat(40, axis=1), atol=1e-7)
    arm = found.positions[..., 0] * found.velocities[..., 1] - found.positions[..., 1] * found.velocities[..., 0]
    spin = (masses[:, None] * arm).sum(axis=2)
    assert np.quantile(np.abs(spin - spin[:, :1]).max(axis=1), 0.95) < 1e-8


def test_three_bodies_go_where_scipy_says(engine: Any) -> None:
    x, v, masses = triples()
    times = np.linspace(0, 6, 13)
    found = gravity_orbits(x, v, masses, times, engine=engine)

    def change(_: float, state: np.ndarray, mass: np.ndarray) -> np.ndarray:
        place, speed = state.reshape(2, 3, 2)
        pull = np.zeros((3, 2))
        for i in range(3):
            for j in set(range(3)) - {i}:
                pull[i] += mass[j] * (place[j] - place[i]) / np.linalg.norm(place[j] - place[i]) ** 3
        return np.concatenate([speed.ravel(), pull.ravel()])

    for trajectory in range(len(x)):
        start = np.concatenate([x[trajectory].ravel(), v[trajectory].ravel()])
        expected = solve_ivp(change, (0, 6), start, "DOP853", times, args=(masses[trajectory],), rtol=1e-12, atol=1e-12)
        states = expected.y.T.reshape(13, 2, 3, 2)
        np.testing.assert_allclose(found.positions[trajectory], states[:, 0], atol=1e-6)
        np.testing.assert_allclose(found.velocities[trajectory], states[:, 1], atol=1e-6)


def test_both_engines_take_the_same_steps_to_the_same_places() -> None:
    pytest.importorskip("numba")
    for m in (2, 3):
        x, v, masses, turn_seconds = gravity._polygons(300, m, np.random.default_rng(1))
        times = turn_seconds[:, None] * np.linspace(0, 0.5, 11)
        first, second = (gravity_orbits(x, v, masses, times, engine=name) for name in ("numpy", "numba"))
        # Rounding may tip a step that is as good as refused, and close encounters amplify it.
        assert np.abs(first.n_steps - second.n_steps).max() <= 3
        np.testing.assert_allclose(first.positions, second.positions, atol=1e-7)
        np.testing.assert_allclose(first.velocities, second.velocities, atol=1e-6)


def test_space_may_have_three_axes(engine: Any) -> None:
    x, v, masses = triples()
    flat = gravity_orbits(x, v, masses, [1.0, 2.0], engine=engine)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    tilted = gravity_orbits(x @ turn[:2], v @ turn[:2], masses, [1.0, 2.0], engine=engine)
    np.testing.assert_allclose(tilted.positions, flat.positions @ turn[:2], atol=1e-9)


# Failures


def test_a_collision_is_flagged_and_spoils_no_other(engine: Any) -> None:
    x, v, masses = gravity._polygons(40, 2, np.random.default_rng(0))[:3]
    x[7], v[7] = [[-0.5, 0], [0.5, 0]], 0  # they fall onto each other
    times = np.linspace(0, 5, 9)
    found = gravity_orbits(x, v, masses, times, engine=engine)
    assert np.flatnonzero(found.failed).tolist() == [7]
    assert np.isnan(found.positions[7]).all()
    others = np.arange(40) != 7
    alone = gravity_orbits(x[others], v[others], masses[others], times, engine=engine)
    np.testing.assert_allclose(found.positions[others], alone.positions, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masses": [[1.0, np.nan]]}, "not finite"),
        ({"velocities": [[[np.inf, 0], [0, 0]]]}, "not finite"),
        ({"times": [3.0, 2.0]}, "do not increase"),
    ],
)
def test_bodies_that_cannot_move_are_refused(engine: Any, change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "positions": [[[1.0, 0], [-1, 0]]],
        "velocities": [[[0, 0.5], [0, -0.5]]],
        "masses": [[1.0, 1.0]],
        "times": [1.0],
    }
    with pytest.raises(InputError, match=message):
        gravity_orbits(**{**given, **change}, engine=engine)


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'motet\[fast\]'"):
        gravity_orbits([[[1.0, 0], [-1, 0]]], [[[0, 0.5], [0, -0.5]]], [[1.0, 1]], [1.0], engine="numba")
    simulate("gravity", n_trials=2)  # auto does without


# Recordings


def test_recordings_say_who_belongs_together() -> None:
    for recording, (k, m) in zip(simulate_gravity(SMALL), ((2, 2), (2, 3)), strict=True):
        assert recording.name == f"gravity/{k}x{m}"
        assert recording.values.shape == (30, k * m, 20, 2)
        assert recording.bin_seconds == pytest.approx(10 / 49)
        assert recording.observed.all()
        system, interacts = recording.target("system"), recording.target("interacts")
        assert system.tolist() == [sorted([*range(k)] * m)] * 30
        expected = np.where(np.eye(k * m, dtype=bool), -1, system[:, :, None] == system[:, None])
        assert np.array_equal(interacts, expected)
        assert interacts.dtype == system.dtype == np.int64
        mass, coupling = recording.target("mass"), recording.target("coupling")
        assert 0.8 <= mass.min() < 0.85
        assert 1.55 < mass.max() <= 1.6
        np.testing.assert_allclose(
            coupling, np.where(interacts < 0, np.nan, interacts * mass[:, :, None] * mass[:, None]), rtol=1e-6
        )
        assert coupling.dtype == mass.dtype == recording.target("energy").dtype == np.float64


@pytest.mark.parametrize("protocol", ["randomised", "published"])
@pytest.mark.parametrize("group", ["2x2", "2x3"])
def test_the_energy_is_that_of_what_is_seen(protocol: Any, group: str) -> None:
    """Of all systems: velocities by differences of positions, potentials of all pairs that interact."""
    settings = GravitySettings(groups=(group,), protocol=protocol, n_trials=40, n_bins=9, bin_seconds=0.01)
    recording = simulate_gravity(settings)[0]
    x = recording.values.astype(np.float64)
    velocity = (x[:, :, 5] - x[:, :, 3]) / 0.02
    apart = np.linalg.norm(x[:, :, None, 4] - x[:, None, :, 4], axis=-1)
    potential = np.nansum(np.triu(recording.target("coupling") / np.where(apart == 0, np.inf, apart), 1), axis=(1, 2))
    energy = (recording.target("mass") * (velocity**2).sum(axis=-1)).sum(axis=1) / 2 - potential
    np.testing.assert_allclose(recording.target("energy")[:, 4], energy, atol=2e-2)
    assert np.median(np.abs(recording.target("energy")[:, 4] - energy)) < 1e-3
    np.testing.assert_allclose(np.diff(recording.target("energy")), 0, atol=1e-5)


def test_randomised_systems_drift_at_orbital_speed_or_faster_through_a_square() -> None:
    settings = GravitySettings(groups=("4x3",), n_trials=300, n_bins=21, bin_seconds=0.05, spacing=3.0)
    recording = simulate_gravity(settings)[0]
    x = recording.values.astype(np.float64).reshape(300, 4, 3, 21, 2)
    mass = recording.target("mass").reshape(300, 4, 3, 1, 1)
    centre = (mass * x).sum(axis=2) / mass.sum(axis=2)
    drift = np.diff(centre, axis=2) / recording.bin_seconds
    np.testing.assert_allclose(drift, drift[:, :, :1].repeat(20, axis=2), atol=1e-4)
    orbital = np.diff(x - centre[:, :, None], axis=3) / recording.bin_seconds
    ratio = np.linalg.norm(drift[:, :, 0], axis=-1) / np.sqrt((orbital**2).sum(axis=-1).mean(axis=(2, 3)))
    assert 0.99 < ratio.min() < 1.1
    assert 1.9 < np.quantile(ratio, 0.99) < 2.02
    half = 3.0 * np.sqrt(4) / 2
    middle = centre[:, :, 10]
    assert 0.95 * half < np.abs(middle).max() <= half + 1e-5
    assert middle.std() == pytest.approx(half / np.sqrt(3), rel=0.05)
    spin = np.sign((x[..., :-1, 0] * np.diff(x[..., 1]) - x[..., :-1, 1] * np.diff(x[..., 0])).sum(axis=(2, 3)))
    assert 0.4 < (spin > 0).mean() < 0.6
    heading = np.arctan2(drift[:, :, 0, 1], drift[:, :, 0, 0])
    assert abs(np.exp(1j * heading).mean()) < 0.1


def test_randomised_systems_stay_together_and_apart() -> None:
    recording = simulate_gravity(GravitySettings(groups=("1x3",), n_trials=2000, spacing=0.0))[0]
    x = recording.values.astype(np.float64)
    mass = recording.target("mass")[:, :, None, None]
    x -= (mass * x).sum(axis=1, keepdims=True) / mass.sum(axis=1, keepdims=True)
    apart = np.linalg.norm(x - np.roll(x, 1, axis=1), axis=-1)
    assert apart.min() > gravity.NEAREST - 1e-5
    assert np.linalg.norm(x, axis=-1).max() < gravity.FARTHEST + 1e-5


def published_times(monkeypatch: pytest.MonkeyPatch, group: str, **changes: Any) -> tuple[np.ndarray, ...]:
    """What a published recording integrates: positions, velocities, masses, times."""
    seen: dict[str, Any] = {}
    orbits = gravity._orbits

    def spy(*given: Any, **options: Any) -> Any:
        seen["given"] = given
        return orbits(*given, **options)

    monkeypatch.setattr(gravity, "_orbits", spy)
    simulate_gravity(GravitySettings(groups=(group,), protocol="published", n_trials=600, **changes))
    return tuple(seen["given"][2:])


def test_published_pairs_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    x, v, masses, times = published_times(monkeypatch, "2x2")
    assert times.shape == (1200, 10)
    starts = times[:, 0] * 49 / 10
    np.testing.assert_allclose(starts, starts.round(), atol=1e-9)
    assert np.array_equal(np.unique(starts.round()), np.arange(40))  # each system has a window of its own
    np.testing.assert_allclose(np.diff(times), 10 / 49)
    assert (starts[::2] != starts[1::2]).any()
    np.testing.assert_array_equal(x[:, 1], -x[:, 0])
    np.testing.assert_array_equal(v[:, 1], -v[:, 0])
    for values, low, high in ((x[:, 0], 0.5, 1.5), (masses[:, 0], 0.8, 1.2), (masses[:, 1], 1.2, 1.6)):
        assert low <= values.min() < low + 0.02
        assert high - 0.02 < values.max() <= high
    np.testing.assert_allclose((x * v).sum(axis=-1), 0, atol=1e-12)
    assert (x[:, 0, 0] * v[:, 0, 1] > x[:, 0, 1] * v[:, 0, 0]).all()
    r = np.linalg.norm(x[:, 0], axis=-1)
    perturbation = np.linalg.norm(v[:, 0], axis=-1) * 2 * np.sqrt(r) - 1
    assert perturbation.std() == pytest.approx(0.05, rel=0.1)
    assert abs(perturbation.mean()) < 0.005


def test_published_triples_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    x, v, masses, times = published_times(monkeypatch, "2x3")
    assert times.shape == (1200, 50)
    starts = (times[:, 0] * 199 / 10).round()
    assert (starts.min(), starts.max()) == (0, 149)
    np.testing.assert_allclose(np.diff(times), 10 / 199)
    assert (masses == 1).all()
    r = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(r, r[:, :1].repeat(3, axis=1))
    assert 0.9 <= r.min() < 0.91
    assert 1.19 < r.max() <= 1.2
    angle = np.arctan2(x[:, 0, 1], x[:, 0, 0])
    assert np.arctan(0.75) <= angle.min() < angle.max() <= np.arctan(1 / 0.75)
    np.testing.assert_allclose(x.sum(axis=1), 0, atol=1e-12)
    circular = np.stack([-x[..., 1], x[..., 0]], axis=-1) / r[..., None] ** 1.5 * 3**-0.25
    perturbation = v / circular - 1
    assert 0.099 < np.abs(perturbation).max() <= 0.1 + 1e-9
    assert perturbation.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    assert np.abs(np.corrcoef(perturbation.reshape(-1, 6).T) - np.eye(6)).max() < 0.15  # each component its own


def test_published_windows_may_have_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, times = published_times(monkeypatch, "2x2", n_bins=49, bin_seconds=0.1)
    np.testing.assert_allclose(times, np.arange(49) * 0.1 * np.ones((1200, 1)))


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_noise_is_what_is_added_to_the_same_orbits(noise: float) -> None:
    clean, noisy = (simulate_gravity(dataclasses.replace(SMALL, noise=given, n_trials=80)) for given in (0.0, noise))
    for first, second in zip(clean, noisy, strict=True):
        added = second.values - first.values
        assert added.std() == pytest.approx(noise, rel=0.02)
        assert abs(added.mean()) < 4 * noise / np.sqrt(added.size)
        assert np.array_equal(first.target("energy"), second.target("energy"))


def test_the_seed_says_all() -> None:
    first, again, other = (simulate_gravity(dataclasses.replace(SMALL, seed=seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.values, b.values) for a, b in zip(first, other, strict=True))
    alone = simulate_gravity(dataclasses.replace(SMALL, groups=("2x3",)))[0]
    assert np.array_equal(alone.values, first[1].values)


def test_the_engine_does_not_change_what_is_drawn() -> None:
    pytest.importorskip("numba")
    by_numpy, by_numba = (simulate_gravity(dataclasses.replace(SMALL, engine=engine)) for engine in ("numpy", "numba"))
    for first, second in zip(by_numpy, by_numba, strict=True):
        assert np.array_equal(first.target("mass"), second.target("mass"))
        np.testing.assert_allclose(first.values, second.values, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ()}, "give one or more"),
        ({"groups": ("2x2", "2 × 2")}, "each once"),
        ({"groups": ("2x1",)}, "at least two bodies"),
        ({"groups": ("0x2",)}, "at least one system"),
        ({"groups": ("two",)}, "no 'k x m'"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_bins": 0}, "n_bins is 0"),
        ({"n_bins": 2.5}, "whole number"),
        ({"bin_seconds": 0.0}, "above 0"),
        ({"bin_seconds": np.inf}, "bin_seconds is inf"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": np.nan}, "noise is nan"),
        ({"spacing": -1.0}, "spacing is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"engine": "nunba"}, "did you mean 'numba'"),
        ({"protocol": "publshed"}, "did you mean 'published'"),
        ({"protocol": "published", "groups": ("3x3",)}, "was not published"),
        ({"protocol": "published", "spacing": 2.0}, "leave out spacing"),
        ({"protocol": "published", "n_bins": 50}, "fewer than the 50"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GravitySettings(**change)


def test_systems_that_never_stay_together_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gravity, "MOST_DRAWS", 2)
    monkeypatch.setattr(gravity, "FARTHEST", 0.1)
    with pytest.raises(InputError, match="hardly ever stay together"):
        simulate_gravity(SMALL)

"""Particles in a box, against a plain implementation: one pair, one component, one step at a time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from motet.errors import InputError
from motet.systems import particles
from motet.systems.particles import (
    ChargedSettings,
    SpringsSettings,
    box_orbits,
    simulate_charged,
    simulate_springs,
)

SPRINGS = SpringsSettings(n_particles=(3, 5), n_trials=40, n_bins=5, engine="numpy")
CHARGED = ChargedSettings(n_particles=(3, 5), n_trials=40, n_bins=5, engine="numpy")


@pytest.fixture(params=["numpy", "numba"])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


def plain_orbit(
    coupling: np.ndarray, x: np.ndarray, v: np.ndarray, *, n_bins: int, are_charged: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of one trial, as the paper tells it: steps of 0.001, a look every 100, walls at 5, forces of at most 100."""
    x, v = x.tolist(), v.tolist()
    n, seen = len(x), []
    for step in range(1, 100 * n_bins + 1):
        force = [[0.0, 0.0] for _ in range(n)]
        for i in range(n):
            for j in range(n):
                if i != j:
                    apart = [x[i][axis] - x[j][axis] for axis in (0, 1)]
                    size = coupling[i][j] / math.hypot(*apart) ** 3 if are_charged else -coupling[i][j]
                    for axis in (0, 1):
                        force[i][axis] += size * apart[axis]
        for i in range(n):
            for axis in (0, 1):
                v[i][axis] += 0.001 * max(-100.0, min(100.0, force[i][axis]))
                x[i][axis] += 0.001 * v[i][axis]
                if x[i][axis] > 5:
                    x[i][axis], v[i][axis] = 10 - x[i][axis], -abs(v[i][axis])
                if x[i][axis] < -5:
                    x[i][axis], v[i][axis] = -10 - x[i][axis], abs(v[i][axis])
        if step % 100 == 0:
            seen.append((np.array(x), np.array(v)))
    places, speeds = zip(*seen, strict=True)
    return np.stack(places, axis=1), np.stack(speeds, axis=1)


@pytest.mark.parametrize("are_charged", [False, True])
def test_particles_go_where_a_plain_implementation_goes(engine: Any, are_charged: bool) -> None:
    random = np.random.default_rng(0)
    sign = random.choice([-1.0, 1.0], (70, 4))
    coupling = sign[:, :, None] * sign[:, None] if are_charged else 0.1 * particles.random_graphs(70, 4, random)
    x, v = random.uniform(-4.9, 4.9, (2, 70, 4, 2))
    v[0] = 9  # into the walls
    x[1] = 0.2 * x[1]  # close together
    x[2, 1] = x[2, 0] + [0.01, 0.02]  # so close that the force is clipped
    found = box_orbits(coupling, x, v, n_bins=4, are_charged=are_charged, engine=engine)
    for trial in (0, 1, 2, 69):
        expected = plain_orbit(coupling[trial], x[trial], v[trial], n_bins=4, are_charged=are_charged)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[trial], other, rtol=1e-6, atol=1e-8)


def test_forces_are_clipped_per_component(engine: Any) -> None:
    x = np.array([[[0.0, 0.0], [0.01, 0.0001]]])
    coupling = np.array([[[0.0, -1], [-1, 0]]])
    _, v = box_orbits(coupling, x, np.zeros((1, 2, 2)), n_bins=1, are_charged=True, engine=engine)
    expected = plain_orbit(coupling[0], x[0], np.zeros((2, 2)), n_bins=1, are_charged=True)[1]
    np.testing.assert_allclose(v[0], expected, rtol=1e-6)


@pytest.mark.parametrize("settings", [SPRINGS, CHARGED])
def test_both_engines_give_the_same_bits(settings: Any) -> None:
    pytest.importorskip("numba")
    simulate = simulate_charged if isinstance(settings, ChargedSettings) else simulate_springs
    whole = dataclasses.replace(settings, n_bins=49)
    for first, second in zip(simulate(whole), simulate(dataclasses.replace(whole, engine="numba")), strict=True):
        assert np.array_equal(first.values, second.values)
        assert np.array_equal(first.target("energy"), second.target("energy"))


def test_springs_conserve_energy_and_momentum(engine: Any) -> None:
    settings = SpringsSettings(n_trials=100, engine=engine)
    recording = simulate_springs(settings)[0]
    energy = recording.target("energy")
    assert np.abs(energy / energy[:, :1] - 1).max() < 2e-3
    inside = (np.abs(recording.values[..., :2]) < 4.9).all(axis=(1, 2, 3))
    momentum = recording.values[inside, ..., 2:].sum(axis=1)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(momentum, momentum[:, :1].repeat(49, axis=1), atol=1e-5)


def test_the_energy_is_that_of_every_pair_once() -> None:
    for simulate, settings in ((simulate_springs, SPRINGS), (simulate_charged, CHARGED)):
        recording = simulate(settings)[0]  # type: ignore[operator]
        x, v = np.split(recording.values[7, :, 2].astype(float), 2, axis=1)
        coupling = recording.target("coupling")[7]
        energy = (v**2).sum() / 2
        for i in range(3):
            for j in range(i):
                r = math.dist(x[i], x[j])
                energy += coupling[i, j] / r if settings is CHARGED else coupling[i, j] * r**2 / 2
        assert recording.target("energy")[7, 2] == pytest.approx(energy, rel=1e-4)


def test_walls_hold(engine: Any) -> None:
    recording = simulate_charged(ChargedSettings(n_trials=200, engine=engine))[0]
    assert 4.9 < np.abs(recording.values[..., :2]).max() <= 5
    speed = np.array([[[3.0, 0]]])
    x, v = box_orbits(np.zeros((1, 1, 1)), speed, speed, n_bins=10, are_charged=False, engine=engine)
    assert x[0, 0, -1, 0] == pytest.approx(4.0)
    assert v[0, 0, -1, 0] == -3


def test_a_start_outside_of_the_box_is_reflected_into_it(engine: Any) -> None:
    x, v = box_orbits(
        np.zeros((1, 1, 1)), np.array([[[5.5, -6]]]), np.full((1, 1, 2), -0.5), n_bins=1, are_charged=False,
        engine=engine,
    )  # fmt: skip
    np.testing.assert_allclose(x[0, 0, 0], [4.45, -3.95])
    np.testing.assert_allclose(v[0, 0, 0], [-0.5, 0.5])


def test_recordings_of_springs_say_who_is_joined() -> None:
    for recording, n in zip(simulate_springs(dataclasses.replace(SPRINGS, n_trials=400)), (3, 5), strict=True):
        assert recording.name == f"springs/{n}"
        assert recording.values.shape == (400, n, 5, 4)
        assert recording.bin_seconds == pytest.approx(0.1)
        interacts, coupling = recording.target("interacts"), recording.target("coupling")
        off = ~np.eye(n, dtype=bool)
        assert (interacts[:, ~off] == -1).all()
        assert np.array_equal(interacts, interacts.transpose(0, 2, 1))
        assert set(np.unique(interacts[:, off])) == {0, 1}
        assert abs(interacts[:, off].mean() - 0.5) < 0.05
        np.testing.assert_allclose(coupling[:, off], 0.1 * interacts[:, off], rtol=1e-6)
        assert np.isnan(coupling[:, ~off]).all()


def test_recordings_of_charges_say_who_attracts_whom() -> None:
    recording = simulate_charged(CHARGED)[1]
    charge, interacts, coupling = (recording.target(name) for name in ("charge", "interacts", "coupling"))
    assert set(np.unique(charge)) == {-1, 1}
    off = ~np.eye(5, dtype=bool)
    product = charge[:, :, None] * charge[:, None]
    assert np.array_equal(interacts[:, off], (product < 0)[:, off])
    assert np.array_equal(coupling[:, off], product[:, off])
    assert (interacts[:, ~off] == -1).all()


def test_unlike_charges_approach_and_like_charges_part(engine: Any) -> None:
    coupling = np.array([[[1.0, -1], [-1, 1]], [[1, 1], [1, 1]]])
    x = np.array([[[-1.0, 0], [1, 0]]] * 2)
    later, _ = box_orbits(coupling, x, np.zeros((2, 2, 2)), n_bins=5, are_charged=True, engine=engine)
    distance = np.linalg.norm(later[:, 0, -1] - later[:, 1, -1], axis=-1)
    assert distance[0] < 2 < distance[1]


@pytest.mark.parametrize(("settings", "width"), [(SPRINGS, 0.5), (CHARGED, 1.0)])
def test_particles_start_as_in_the_paper(monkeypatch: pytest.MonkeyPatch, settings: Any, width: float) -> None:
    starts = []

    def spy(coupling: np.ndarray, x: np.ndarray, v: np.ndarray, **options: Any) -> Any:
        starts.append((x, v))
        return box_orbits(coupling, x, v, **options)

    monkeypatch.setattr(particles, "box_orbits", spy)
    simulate = simulate_charged if isinstance(settings, ChargedSettings) else simulate_springs
    simulate(dataclasses.replace(settings, n_trials=3000, n_particles=(5,), n_bins=1))
    x, v = (np.concatenate(part) for part in zip(*starts, strict=True))
    assert len(starts) > 1  # in parts, that stay in the cache
    assert x.std() == pytest.approx(width, rel=0.02)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), 0.5)


@pytest.mark.parametrize("settings", [SPRINGS, CHARGED])
def test_noise_is_added_to_the_same_particles(settings: Any) -> None:
    simulate = simulate_charged if isinstance(settings, ChargedSettings) else simulate_springs
    for clean, noisy in zip(simulate(settings), simulate(dataclasses.replace(settings, noise=0.03)), strict=True):
        added = noisy.values - clean.values
        assert added[..., :2].std() == pytest.approx(0.03, rel=0.05)
        assert added[..., 2:].std() == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize("settings", [SPRINGS, CHARGED])
def test_the_seed_says_all(settings: Any) -> None:
    simulate = simulate_charged if isinstance(settings, ChargedSettings) else simulate_springs
    first, again, other = (simulate(dataclasses.replace(settings, seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(first[0].values, again[0].values)
    assert not np.array_equal(first[0].values, other[0].values)
    alone = simulate(dataclasses.replace(settings, n_particles=(5,)))[0]
    assert np.array_equal(alone.values, first[1].values)


@pytest.mark.parametrize("kind", [SpringsSettings, ChargedSettings])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_particles": ()}, "n_particles is ()"),
        ({"n_particles": (1,)}, "at least 2"),
        ({"n_particles": (5, 5)}, "each once"),
        ({"n_particles": (2.5,)}, "whole number"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_bins": 0}, "n_bins is 0"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"engine": "fast"}, "engine"),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        kind(**change)

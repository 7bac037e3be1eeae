"""Trajectories fitted to what was observed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.models.coupling import CouplingFit
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout, rolled
from motet.models.shooting import _fitted, _Problem, shoot
from motet.rivals.motion import known_rollout
from motet.systems import FORCES, simulate
from motet.systems.gravity import gravity_orbits

KINDS = {
    "plane": Geometry(MotionSettings(), 2, 6),
    "velocity": Geometry(MotionSettings(features="position-velocity"), 4, 6, bin_seconds=0.3),
    "circle": Geometry(MotionSettings(features="phase"), 3, 3, velocity=1.5, bin_seconds=0.2),
}


def known(recording, geometry, masses):
    """What the model reads, and strengths of known masses."""
    batch = geometry.prepare(PopulationDataset(recording)).batch()
    n = recording.n_individuals
    strength = np.broadcast_to(masses[:, None, :, None], (len(masses), n, n, 1)) * ~np.eye(n, dtype=bool)[..., None]
    return batch, torch.from_numpy(strength / (geometry.acceleration * geometry.length**2)).float()


@pytest.fixture(scope="module")
def flyby():
    """Three bodies of which two swing past each other within a few bins; positions, last velocities."""
    x = np.array([[[0.8, 0.0], [-0.8, 0.0], [0.0, 3.0]]])
    v = np.array([[[0.0, 0.25], [0.0, -0.25], [0.4, 0.0]]])
    seconds = np.arange(16) * 0.2
    found = gravity_orbits(x, v, np.ones((1, 3)), seconds + 1e-9, engine="numpy")
    recording = Recording.from_trials(found.positions.transpose(0, 2, 1, 3), bin_seconds=0.2)
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings())
    return recording, geometry, found.velocities[:, -1]


def test_an_encounter_between_bins_is_resolved(flyby):
    recording, geometry, last_velocity = flyby
    batch, strength = known(recording, geometry, np.ones((1, 3)))
    rollout = known_rollout(geometry, FORCES["gravity"])
    unit = geometry.length / geometry.bin_seconds
    at_once = rollout.start(batch.values, batch.observed, strength)[..., 2:].numpy() * unit
    state, same = shoot(rollout, batch.values, batch.observed, strength, fits_strength=False)
    assert torch.equal(same.float(), strength)
    error = np.abs(state[..., 2:].numpy() * unit - last_velocity).max()
    assert error < 0.02
    assert error < np.abs(at_once - last_velocity).max() / 5


def test_strengths_are_corrected_by_factors():
    recording = simulate("gravity", groups=("1x2",), n_trials=10, n_bins=20, seed=1, engine="numpy")[0]
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings())
    batch, true = known(recording, geometry, recording.targets["mass"].astype(np.float64))
    rollout = known_rollout(geometry, FORCES["gravity"])
    _, found = shoot(rollout, batch.values, batch.observed, 1.15 * true)
    off_diagonal = ~torch.eye(2, dtype=torch.bool)
    ratio = (found / true)[:, off_diagonal]
    assert float((ratio - 1).abs().median()) < 0.02
    zeros = torch.zeros_like(true)
    assert torch.equal(shoot(rollout, batch.values, batch.observed, zeros)[1], zeros.double())


@pytest.mark.parametrize("kind", KINDS)
def test_variational_slopes_are_finite_differences(kind):
    torch.manual_seed(1)
    rollout = Rollout(CouplingFit(KINDS[kind], 2)).double().requires_grad_(False)
    n = 3
    strength = 0.2 * torch.randn(2, n, n, 2, dtype=torch.float64) * (1 - torch.eye(n))[..., None]
    pairs = torch.tensor([[1, 2, 5, 6], [3, 7, 1, 2]])
    n_state = 2 * rollout.n_dimensions
    weight = torch.rand(2, n, 4, n_state, dtype=torch.float64)
    problem = _Problem(rollout, torch.zeros_like(weight), weight, strength, pairs)
    apart = torch.tensor([0.0, 1.3, 2.9], dtype=torch.float64)[:, None] * (torch.arange(n_state) < n_state // 2)
    parameters = torch.cat((apart.flatten().expand(2, -1), torch.zeros(2, 4, dtype=torch.float64)), dim=1)
    parameters = parameters + 0.2 * torch.randn(parameters.shape, dtype=torch.float64)
    rest, slopes = problem.residuals(parameters, n_bins=4, n_substeps=2)
    for number in range(parameters.shape[1]):
        nudge = 1e-6 * torch.eye(parameters.shape[1], dtype=torch.float64)[number]
        more, _ = problem.residuals(parameters + nudge, n_bins=4, n_substeps=2)
        assert torch.allclose((more - rest) / 1e-6, slopes[..., number], atol=1e-4, rtol=1e-4)


def test_a_trial_does_not_depend_on_others_or_on_who_is_absent(flyby):
    recording, geometry, _ = flyby
    values = np.concatenate([recording.values, recording.values[:, :, ::-1] + 0.3])
    values = np.concatenate([values, *[values[:, :1]] * 6], axis=1)
    observed = np.ones(values.shape[:3], dtype=bool)
    observed[:, 3:] = False
    both = Recording(np.where(observed[..., None], values, 0), observed, tuple("abcdefghi"), {}, bin_seconds=0.2)
    batch, strength = known(both, geometry, np.ones((2, 9)))
    strength[:, 3:] = strength[:, :, 3:] = 0
    rollout = known_rollout(geometry, FORCES["gravity"])
    together = shoot(rollout, batch.values, batch.observed, strength)[0]
    assert together.isfinite().all()
    for trial in range(2):
        one = slice(trial, trial + 1)
        alone = shoot(rollout, batch.values[one, :3], batch.observed[one, :3], strength[one, :3, :3])[0]
        assert torch.allclose(together[one, :3], alone, atol=1e-6)


def test_what_is_left_is_the_noise_whoever_is_absent():
    n, n_bins, noise = 4, 12, 0.01
    rng = np.random.default_rng(0)
    free = rng.normal(size=(40, n, 1, 2)) + rng.normal(size=(40, n, 1, 2)) * np.arange(n_bins)[:, None]
    seen = torch.from_numpy(np.concatenate([free + noise * rng.normal(size=free.shape), 0 * free], axis=-1))
    weight = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64).expand(40, n, n_bins, 4).clone()
    weight[20:, 2:] = 0
    rollout = known_rollout(KINDS["plane"], FORCES["springs"]).double()
    problem = _Problem(rollout, seen, weight, torch.zeros(40, n, n, 1, dtype=torch.float64), torch.zeros(40, 0).long())
    _, left = _fitted(
        problem, torch.zeros(40, n * 4).double(), n_bins=n_bins, n_substeps=1, noise=torch.full((40,), noise)
    )
    assert float(left[:20].mean()) == pytest.approx(noise, rel=0.05)
    assert float(left[20:].mean()) == pytest.approx(noise, rel=0.05)


def test_what_cannot_be_explained_early_does_not_spoil_the_end():
    time = np.arange(20.0)
    free = np.stack([time, 5 - 0.5 * time])[None, ..., None] * [1.0, 0.3]
    kicked = free.copy()
    kicked[0, 0, :6] += np.array([3.0, -4.0]) * (6 - time[:6, None])  # a collision that nothing explains
    recording = Recording.from_trials(kicked)
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings())
    batch, strength = known(recording, geometry, np.zeros((1, 2)))
    rollout = known_rollout(geometry, FORCES["springs"])

    def missed(state):
        path = rolled(lambda s: rollout.change(s, strength), state.float(), n_bins=5, n_substeps=1)
        ahead = np.stack([np.arange(20.0, 25), 5 - 0.5 * np.arange(20.0, 25)])[None, ..., None] * [1.0, 0.3]
        centre = recording.values.mean(axis=(1, 2), keepdims=True)
        return np.abs(path[..., :2].numpy() * geometry.length + centre - ahead).max()

    assert missed(shoot(rollout, batch.values, batch.observed, strength)[0]) < 0.05
    assert missed(rollout.start(batch.values, batch.observed, strength)) > 1


@pytest.mark.parametrize("n_absent", [1, 3])
def test_absent_individuals_change_nothing(n_absent):
    recording = simulate("gravity", groups=("3x2",), n_trials=20, n_bins=16, noise=0.01, engine="numpy")[0]
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings())
    batch, strength = known(recording, geometry, recording.target("mass"))
    strangers = torch.from_numpy(recording.target("interacts") == 0)[..., None]
    strength = torch.where(strangers, 0.01, 1) * (
        strength + 0.1 * torch.rand(strength.shape, generator=torch.Generator().manual_seed(0))
    )
    rollout = known_rollout(geometry, FORCES["gravity"])
    state, fitted = shoot(rollout, batch.values, batch.observed, strength)
    more = (0, 0, 0, 0, 0, n_absent)
    pad = torch.nn.functional.pad
    padded = pad(batch.values, more), pad(batch.observed.float(), more[2:]).bool()
    with_absent = shoot(rollout, *padded, pad(strength, (0, 0, 0, n_absent, 0, n_absent)))
    torch.testing.assert_close(with_absent[0][:, :6], state, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(with_absent[1][:, :6, :6], fitted, rtol=1e-5, atol=1e-6)


def test_an_individual_that_was_not_seen_lately_does_not_run_away():
    recording = simulate("gravity", groups=("2x2",), n_trials=150, n_bins=20, engine="numpy", seed=2)[0]
    observed = recording.observed.copy()
    observed[:, 0, 6:] = False
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings())
    hidden = dataclasses.replace(
        recording, values=np.where(observed[..., None], recording.values, 0), observed=observed
    )
    batch, strength = known(hidden, geometry, recording.target("mass"))
    strength = strength * torch.from_numpy(recording.target("interacts") == 1)[..., None]
    state, _ = shoot(known_rollout(geometry, FORCES["gravity"]), batch.values, batch.observed, strength)
    assert state[:, 0, :2].abs().max() < 30  # lengths

"""Rolling motion forward."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.models.continuation import centre_of, continued
from motet.models.coupling import CouplingFit
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout, line_end, rolled, tamed
from motet.rivals.motion import known_rollout
from motet.systems import FORCES, simulate
from motet.systems.laws import Law

PLANE = Geometry(MotionSettings(), 2, 6)
KINDS = {
    "plane": PLANE,
    "space": Geometry(MotionSettings(), 3, 9, length=2.0, velocity=0.5, acceleration=3.0, bin_seconds=0.1),
    "velocity": Geometry(MotionSettings(features="position-velocity"), 4, 6, bin_seconds=0.3),
    "circle": Geometry(MotionSettings(features="phase"), 3, 3, velocity=1.5, bin_seconds=0.2),
    "own frequency": Geometry(MotionSettings(features="phase"), 4, 4, bin_seconds=0.2),
}


def rollout_of(kind, n_laws=2, seed=0):
    torch.manual_seed(seed)
    rollout = Rollout(CouplingFit(KINDS[kind], n_laws)).double().requires_grad_(False)
    for parameter in rollout.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return rollout


def trials(kind, n=4, n_bins=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, n, n_bins, KINDS[kind].n_features, generator=generator, dtype=torch.float64)
    if KINDS[kind].space == "phase":
        values[..., :2] /= values[..., :2].norm(dim=-1, keepdim=True)
    strength = 0.3 * torch.randn(3, n, n, 2, generator=generator, dtype=torch.float64)
    return values, torch.ones(3, n, n_bins, dtype=torch.bool), strength * (1 - torch.eye(n))[..., None]


def ahead(rollout, values, observed, strength, n_bins=4):
    state = rollout.start(values, observed, strength)
    return rolled(lambda s: rollout.change(s, strength), state, n_bins=n_bins, n_substeps=3)


def test_integration_is_of_fourth_order():
    swing = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)

    def error(n_substeps):
        path = rolled(lambda s: torch.stack((s[..., 1], -s[..., 0]), -1), swing, n_bins=5, n_substeps=n_substeps)
        return float((path[0, 0, :, 0] - torch.arange(1.0, 6.0, dtype=torch.float64).cos()).abs().max())

    assert error(2) / error(4) == pytest.approx(16, rel=0.25)
    assert error(16) < 1e-6


@pytest.mark.parametrize(
    ("system", "features", "options", "limit"),
    [
        ("gravity", "position", {"groups": ("2x2",)}, 1e-3),
        ("springs", "position-velocity", {"n_particles": (4,)}, 2e-3),
        ("charged", "position-velocity", {"n_particles": (2,)}, 2e-2),
        ("kuramoto", "phase", {"n_oscillators": (4,)}, 1e-2),
    ],
)
def test_true_couplings_continue_a_simulation(system, features, options, limit):
    recording = simulate(system, n_trials=12, n_bins=30, seed=2, **options)[0]
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings(features=features))
    context, later = recording.select(bins=slice(0, 20)), recording.values[:, :, 20:]
    law = Law.of(context)
    couplings = law.couplings(context)
    rollout = known_rollout(geometry, law)
    scale = {"gravity": geometry.acceleration * geometry.length**2, "kuramoto": geometry.velocity}.get(
        system, geometry.acceleration * geometry.length ** (-1 if system == "springs" else 2)
    )
    strength = torch.from_numpy(np.nan_to_num(couplings) / scale)[..., None].float()
    batch = geometry.prepare(PopulationDataset(context)).batch()
    state = rollout.start(batch.values, batch.observed, strength)
    found = continued(rollout, state, strength, centre=centre_of(context, geometry), n_bins=10, n_substeps=8)
    error = np.linalg.norm(found.places - later[..., :2], axis=-1).max(axis=(1, 2))
    assert np.median(error) < limit
    if features != "position":
        n_places = found.velocities.shape[-1]
        speed = later[..., 2 : 2 + n_places]
        assert np.median(np.abs(found.velocities - speed).max(axis=(1, 2, 3))) < 10 * limit


def test_two_bodies_come_back_after_a_turn():
    rollout = known_rollout(PLANE, FORCES["gravity"]).double()
    speed = 2 * math.pi / 12  # radius 1, twelve bins per turn: each is pulled by c / 4 = speed²
    strength = 4 * speed**2 * (1 - torch.eye(2, dtype=torch.float64))[None, ..., None]
    state = torch.tensor([[[1.0, 0, 0, speed], [-1, 0, 0, -speed]]], dtype=torch.float64)
    path = rolled(lambda s: rollout.change(s, strength), state, n_bins=12, n_substeps=8)
    assert torch.allclose(path[:, :, -1], state, atol=1e-5)
    assert torch.allclose(path[:, :, 5, :2], -state[..., :2], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_individuals_permutes_forecasts(kind):
    rollout, (values, observed, strength) = rollout_of(kind), trials(kind)
    order = torch.tensor([2, 0, 3, 1])
    permuted = ahead(rollout, values[:, order], observed[:, order], strength[:, order][:, :, order])
    assert torch.allclose(permuted, ahead(rollout, values, observed, strength)[:, order], atol=1e-9)


@pytest.mark.parametrize("kind", ["plane", "space", "velocity"])
def test_forecasts_turn_and_move_with_the_frame(kind):
    rollout, (values, observed, strength) = rollout_of(kind), trials(kind)
    g = KINDS[kind]
    d = g.n_dimensions
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    turned = torch.einsum("bitkd,de->bitke", values.unflatten(-1, (3, d)), turn)
    drift = torch.arange(1.0, d + 1, dtype=torch.float64)
    turned[..., 0, :] += 2 + drift * torch.arange(values.shape[2])[:, None]
    turned[..., 1, :] += drift * g.length / g.bin_seconds / g.velocity
    found = ahead(rollout, turned.flatten(-2), observed, strength)
    expected = ahead(rollout, values, observed, strength)
    time = values.shape[2] + torch.arange(4)[:, None]
    assert torch.allclose(found[..., :d], expected[..., :d] @ turn + 2 + drift * time, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_absent_and_what_is_not_observed_changes_nothing(kind):
    rollout, (values, observed, strength) = rollout_of(kind), trials(kind)
    strength[:, 3] = strength[:, :, 3] = 0
    observed[:, 3] = False
    observed[1, 0, [2, 3, 8]] = False
    junk = torch.where(observed[..., None], values, 7.0)
    found = ahead(rollout, junk, observed, strength)
    assert torch.allclose(found[:, :3], ahead(rollout, values, observed, strength)[:, :3])
    alone = ahead(rollout, values[:, :3], observed[:, :3], strength[:, :3, :3])
    assert torch.allclose(found[:, :3], alone, atol=1e-9)
    assert found.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_of_pulls_are_their_derivatives(kind):
    rollout, (values, observed, strength) = rollout_of(kind), trials(kind)
    state = rollout.start(values, observed, strength)
    pull, slope = rollout.pulls(state, strength)
    d = rollout.n_dimensions
    change = rollout.change(state, strength)
    moved = change[..., :d] - state[..., d:] if rollout.is_circular else change[..., d:]
    assert torch.allclose(pull.sum(2), moved)
    jacobian = torch.autograd.functional.jacobian(lambda s: rollout.pulls(s, strength)[0][0, 1, 2], state)
    assert torch.allclose(jacobian[:, 0, 2, :d], slope[0, 1, 2], atol=1e-4)


def test_free_motion_is_continued_exactly_whatever_is_missing():
    time = np.arange(12.0)
    x = np.stack([1 + 2 * time, 3 - time, 0.5 * time])[None, ..., None] * [1.0, -2.0]
    x[0, 1, [3, 4, 10, 11]] = np.nan
    recording = Recording.from_trials(x)
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings(half_width=2, degree=2))
    batch = geometry.prepare(PopulationDataset(recording)).batch()
    rollout = Rollout(CouplingFit(geometry, 1)).requires_grad_(False)
    strength = torch.zeros(1, 3, 3, 1)
    state = rollout.start(batch.values, batch.observed, strength)
    centre = centre_of(recording, geometry)
    found = continued(rollout, state, strength, centre=centre, n_bins=3, n_substeps=1).places
    later = np.arange(12.0, 15.0)
    expected = np.stack([1 + 2 * later, 3 - later, 0.5 * later])[None, ..., None] * [1.0, -2.0]
    assert np.allclose(found, expected, atol=1e-4)


def test_measured_velocities_weigh_in_a_line():
    points = torch.zeros(1, 1, 3, 1)
    slopes = torch.ones(1, 1, 3, 1)
    observed = torch.ones(1, 1, 3, dtype=torch.bool)
    # Slope s minimises Σ (s t)² + w Σ (s - 1)² with t = -1, 0, 1.
    value, slope = line_end(points, observed, slopes=slopes, slope_weight=2.0)
    assert float(slope) == pytest.approx(6 / 8)
    assert float(value) == pytest.approx(6 / 8)


def test_a_lone_observation_stays_where_it_is():
    observed = torch.tensor([[[False, True, False]]])
    value, slope = line_end(torch.full((1, 1, 3, 2), 5.0), observed, slopes=torch.zeros(1, 1, 3, 2), slope_weight=0.0)
    assert value.tolist() == [[[5.0, 5.0]]]
    assert slope.tolist() == [[[0.0, 0.0]]]


def test_no_trial_drowns_what_others_teach():
    gradient = torch.tensor([1.0, 2.0, -3.0, 1e30, float("inf"), float("nan")])[:, None, None].expand(-1, 2, 2)
    found = tamed(gradient)
    assert found.isfinite().all()
    assert torch.equal(found[:3], gradient[:3])
    assert torch.allclose(found[3], torch.tensor(20.0))
    assert (found[4:] == 0).all()


def test_a_chaotic_trial_leaves_gradients_finite():
    torch.manual_seed(0)
    rollout = Rollout(CouplingFit(PLANE, 2))
    values, observed, strength = trials("plane")
    values, strength = values.float(), strength.float()
    values[0, 1] = values[0, 0] + 1e-4  # on top of each other, and strongly pulled
    strength[0] = 1e4
    strength.requires_grad_()
    path = rollout(values, observed, strength, n_bins=8, n_substeps=1)
    path.square().sum().backward()
    size = strength.grad.flatten(1).abs().amax(dim=1)
    assert 0 < size[0] < 1e3 * size[1:].max()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in rollout.parameters())

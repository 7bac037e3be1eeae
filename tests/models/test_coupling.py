"""Couplings are read in units of the features: from c to a force law per unit of length R, per second².

A pull c · f(r), with r = R / length, is an acceleration in units of `geometry.acceleration`. So the mass that pulls by
m / R² is c · acceleration · length², a spring constant c · acceleration / length, and a Kuramoto coupling c · velocity.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.models.coupling import N_EVIDENCE, CouplingFit
from motet.models.geometry import Geometry
from motet.systems import simulate

FLAT, CERTAIN = -25.0, 12.0  # log-precisions of a prior that says nothing, and of one that says "no edge"


def prepared(recording, features="position"):
    dataset = PopulationDataset(recording)
    geometry = Geometry.fit(dataset, MotionSettings(features=features))
    return geometry, geometry.prepare(dataset).batch()


def exact_law(geometry, exponent=-2.0):
    """A fit that knows the law: r^exponent, or sin(φ_j − φ_i)."""
    fit = CouplingFit(geometry, 1)
    if geometry.space == "plane":
        fit.exponent.data.fill_(exponent)
    return fit


def any_law(geometry, n_laws=2):
    torch.manual_seed(1)
    fit = CouplingFit(geometry, n_laws)
    for parameter in fit.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return fit


def solved(fit, values, observed, log_precision=FLAT):
    """(evidence, strengths) under one prior for all pairs, or one given for each."""
    problem = fit(values, observed)
    if isinstance(log_precision, float):
        n = observed.shape[1]
        log_precision = torch.full((len(observed), n, n, fit.n_laws), log_precision)
    return fit.solve(problem, log_precision)


def couplings(recording, features="position", exponent=-2.0):
    """Fitted couplings in units of the features, with the law known and no prior; NaN on the diagonal."""
    geometry, batch = prepared(recording, features)
    with torch.no_grad():
        strengths = solved(exact_law(geometry, exponent), batch.values, batch.observed)[1][:, 0].numpy()
    strengths[:, *np.diag_indices(recording.n_individuals)] = np.nan
    return strengths, geometry


def wandering(n_individuals=4, n_bins=14, *, n_trials=2, d=2, missing=0.0, noise=0.05, seed=0):
    """Curves that no law explains, with gaps."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 3, n_bins)[:, None]
    rate, phase = rng.uniform(0.5, 2, (2, n_trials, n_individuals, 1, d))
    values = 2 * np.sin(rate * time + 6 * phase) + noise * rng.normal(size=(n_trials, n_individuals, n_bins, d))
    values[rng.random(values.shape[:3]) < missing] = np.nan
    return Recording.from_trials(values, bin_seconds=3 / (n_bins - 1))


def rotating(n_individuals=4, n_bins=14, *, n_features=3, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    rate = rng.uniform(1, 4, (2, n_individuals, 1)) + 0.3 * rng.normal(size=(2, n_individuals, n_bins))
    phase = 0.1 * rate.cumsum(axis=-1)
    values = np.stack((np.cos(phase), np.sin(phase), rate, np.full_like(rate, 2))[:n_features], axis=-1)
    values[rng.random(values.shape[:3]) < missing] = np.nan
    return Recording.from_trials(values, bin_seconds=0.1)


KINDS = {
    "position": (wandering, "position"),
    "position-velocity": (lambda **shape: wandering(d=4, **shape), "position-velocity"),
    "phase": (rotating, "phase"),
    "phase and own frequency": (lambda **shape: rotating(n_features=4, **shape), "phase"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind, **shape):
    make, features = KINDS[kind]
    return make(**shape), features


# ------------------------------------------------------------------ the truth is recovered


@pytest.mark.parametrize(("group", "n_bins", "bin_seconds"), [("1x2", 20, None), ("2x2", 20, None), ("1x3", 60, 0.05)])
def test_masses_are_recovered_from_orbits(group, n_bins, bin_seconds):
    recording = simulate(
        "gravity", groups=(group,), n_trials=30, n_bins=n_bins, bin_seconds=bin_seconds, engine="numpy"
    )[0]
    strengths, geometry = couplings(recording)
    mass = recording.target("mass")[:, None] * (recording.target("interacts") == 1)
    apart = np.linalg.norm(recording.values[:, :, None] - recording.values[:, None], axis=-1).min(axis=-1)
    is_clear = (apart + 9 * np.eye(recording.n_individuals)).min(axis=(1, 2)) > 0.5  # no encounter between two bins
    assert is_clear.sum() > 10
    error = (strengths * geometry.acceleration * geometry.length**2 - mass)[is_clear]
    assert np.nanmax(np.abs(error)) < 1e-3


@pytest.mark.parametrize("features", ["position", "position-velocity"])
def test_spring_constants_are_recovered(features):
    recording = simulate("springs", n_trials=10, n_bins=20, engine="numpy")[0]
    if features == "position":
        recording = dataclasses.replace(recording, values=recording.values[..., :2].copy())
    strengths, geometry = couplings(recording, features, exponent=1.0)
    error = strengths * geometry.acceleration / geometry.length - recording.target("coupling")
    assert np.nanmax(np.abs(error)) < 2e-3  # of 0.1


@pytest.mark.parametrize("with_frequency", [True, False])
def test_couplings_of_oscillators_are_recovered(with_frequency):
    recording = simulate("kuramoto", n_trials=10, with_frequency=with_frequency)[0]
    strengths, geometry = couplings(recording, "phase")
    assert geometry.has_own_frequency == with_frequency
    assert np.nanmax(np.abs(strengths * geometry.velocity - recording.target("coupling"))) < 0.01


def test_masses_are_recovered_where_bins_are_missing_and_bodies_come_late():
    recording = simulate("gravity", groups=("1x2",), n_trials=20, n_bins=60, bin_seconds=0.05, engine="numpy")[0]
    observed = np.random.default_rng(0).random(recording.observed.shape) > 0.1
    observed[:, 0, :15] = False
    values = np.where(observed[..., None], recording.values, 0)
    strengths, geometry = couplings(dataclasses.replace(recording, values=values, observed=observed))
    error = strengths * geometry.acceleration * geometry.length**2 - recording.target("mass")[:, None]
    assert np.nanmedian(np.abs(error)) < 0.02


# ------------------------------------------------------------------ plain references


def test_integrals_agree_with_quadrature_and_converge():
    """Two bodies on smooth curves; forces integrated once and twice from the first bin."""

    def place(time):
        return np.array([[np.cos(time), np.sin(2 * time)], [2 + 0.5 * time, 1 - np.cos(time)]])

    def velocity(time):
        return np.array([[-np.sin(time), 2 * np.cos(2 * time)], [0.5 + 0 * time, np.sin(time)]])

    fit = exact_law(Geometry(MotionSettings(), 2, 6)).double()

    def force(time):
        return fit.force(torch.from_numpy(place(time)[1] - place(time)[0])[None])[0, 0].detach().numpy()

    once, twice = (
        [quad(lambda s, axis=axis, k=k: (2 - s) ** k * force(s)[axis], 0, 2)[0] for axis in (0, 1)] for k in (0, 1)
    )
    errors = []
    for n_bins in (11, 21, 41):
        width = 2 / (n_bins - 1)
        times = np.arange(n_bins) * width
        position, moving = (torch.from_numpy(np.moveaxis(f(times), 2, 1)[None].copy()) for f in (place, velocity))
        integrals = fit.integrals(position, width * moving)
        ends = [part[0, 0, 1, -1, 0].detach().numpy() * width**k for k, part in zip((1, 2), integrals, strict=True)]
        errors.append(np.abs(np.subtract(ends, (once, twice))).max())
        assert not torch.stack(integrals)[:, :, :, :, 0].any()
    assert errors[-1] < 1e-6
    assert errors[0] / errors[1] > 10  # fourth order: 16
    assert errors[1] / errors[2] > 10


def plain_problem(fit, batch, trial, i):
    """Of one individual, bin after bin in plain numpy.

    Returns:
        Regressors (row, individual), response (row,), which individuals are others, and how many rows free motion
        leaves to be explained.
    """
    g, seen = fit.geometry, batch.observed[trial].numpy()
    n, n_bins = seen.shape
    values = batch.values[trial].double().numpy().copy()
    for j in range(n):
        for feature in range(values.shape[-1]):
            bins = np.flatnonzero(seen[j])
            values[j, :, feature] = np.interp(np.arange(n_bins), bins, values[j, bins, feature]) if len(bins) else 0
    rows, response, left = [], [], []

    def add(series, target, degree):
        time = np.arange(n_bins)[seen[i]]
        trend = np.vander(time, degree)
        project = np.eye(len(time)) - trend @ np.linalg.pinv(trend) if degree else np.eye(len(time))
        rows.append(project @ series[seen[i]])
        response.append(project @ target[seen[i]])
        left.append(len(time) - degree)

    if g.space == "phase":
        phase = values[..., 0] + 1j * values[..., 1]
        series = np.stack([np.imag(phase[j] * phase[i].conj()) for j in range(n)], axis=-1)
        own = values[i, :, 3] if g.has_own_frequency else 0.0
        add(series, values[i, :, 2] - own, 0 if g.has_own_frequency else 1)
    else:
        d = g.n_dimensions
        x, v = values[..., :d], values[..., d : 2 * d] * g.velocity * g.bin_seconds / g.length
        middle = (x[:, :-1] + x[:, 1:]) / 2 + (v[:, :-1] - v[:, 1:]) / 8
        once, twice = np.zeros((2, n, n_bins, d))
        for j in range(n):

            def pull(y, t, j=j):
                apart = y[j, t] - y[i, t]
                return apart / (apart @ apart + 1e-6) ** 1.5

            for t in range(n_bins - 1):
                a, b, c = pull(x, t), pull(middle, t), pull(x, t + 1)
                twice[j, t + 1] = twice[j, t] + once[j, t] + (a + 2 * b) / 6
                once[j, t + 1] = once[j, t] + (a + 4 * b + c) / 6
        unit = g.acceleration * g.bin_seconds**2 / g.length
        for axis in range(d):
            add(twice[:, :, axis].T, x[i, :, axis] / unit, 2)
        weight = fit.log_velocity_weight.exp().item()
        for axis in range(d if g.motion.features == "position-velocity" else 0):
            add(weight * once[:, :, axis].T, weight * v[i, :, axis] / unit, 1)
    is_other = seen.any(axis=1) & (np.arange(n) != i)
    return np.concatenate(rows) * is_other, np.concatenate(response), is_other, sum(left)


@every_kind
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_the_fit_agrees_with_a_plain_ridge_regression(kind, missing):
    """With a precision for every pair: strengths, and all evidence of a pair."""
    recording, features = of_kind(kind, n_bins=16, missing=missing)
    geometry, batch = prepared(recording, features)
    fit = exact_law(geometry)
    log_precision = 2 * torch.randn(2, 4, 4, 1, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        evidence, strengths = solved(fit, batch.values, batch.observed, log_precision)
        open_evidence, open_strengths = solved(fit, batch.values, batch.observed)
    for trial, i in ((0, 0), (0, 2), (1, 3)):
        x, y, is_other, n_rows = plain_problem(fit, batch, trial, i)
        x = x[:, is_other]
        precision = log_precision[trial, i, is_other, 0].double().exp().numpy()
        inverse = np.linalg.inv(x.T @ x + np.diag(precision))
        coefficient = inverse @ x.T @ y
        residual = y - x @ coefficient
        noise = np.sqrt(residual @ residual / (n_rows - np.trace(inverse @ x.T @ x)))
        t_value = coefficient / (noise * np.sqrt(np.diag(inverse)))
        length = np.linalg.norm(x, axis=0)
        without = np.array([x[:, k] @ (residual + x[:, k] * coefficient[k]) for k in range(len(length))]) / length
        expected = [
            np.arcsinh(t_value),
            np.arcsinh(coefficient),
            np.arcsinh(without / noise),
            without / np.linalg.norm(y),
            np.full(len(length), np.log(noise)),
            np.full(len(length), 0.2 * np.log(residual @ residual / (y @ y))),
        ]
        np.testing.assert_allclose(strengths[trial, 0, i, is_other], coefficient, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(evidence[trial, i, is_other].T, expected, rtol=5e-3, atol=2e-3)
        assert not evidence[trial, i, ~is_other].any()

        least_squares, sum_of_squares, *_ = np.linalg.lstsq(x, y)  # and with no prior, ordinary least squares
        np.testing.assert_allclose(open_strengths[trial, 0, i, is_other], least_squares, rtol=5e-3, atol=1e-3)
        error = np.sqrt(sum_of_squares / (n_rows - x.shape[1]) * np.diag(np.linalg.inv(x.T @ x)))
        np.testing.assert_allclose(open_evidence[trial, i, is_other, 0].sinh(), least_squares / error, rtol=1e-2)


def test_laws_are_fitted_apart():
    geometry, batch = prepared(wandering())
    both = any_law(geometry)
    with torch.no_grad():
        evidence, strengths = solved(both, batch.values, batch.observed, 0.0)
        for law in (0, 1):
            one = CouplingFit(geometry, 1)
            one.exponent.copy_(both.exponent[law : law + 1])
            one.bend.load_state_dict(
                {
                    name: tensor[law : law + 1] if name.startswith("2") else tensor
                    for name, tensor in both.bend.state_dict().items()
                }
            )
            evidence_alone, alone = solved(one, batch.values, batch.observed, 0.0)
            torch.testing.assert_close(alone[:, 0], strengths[:, law], rtol=1e-4, atol=1e-6)
            part = evidence[..., law * N_EVIDENCE : (law + 1) * N_EVIDENCE]
            torch.testing.assert_close(evidence_alone, part, rtol=1e-3, atol=1e-4)


def test_a_prior_that_is_certain_leaves_no_coupling_and_tells_how_each_pair_does_alone():
    geometry, batch = prepared(wandering(n_bins=8))
    fit = exact_law(geometry)
    with torch.no_grad():
        evidence, strengths = solved(fit, batch.values, batch.observed, CERTAIN)
    assert strengths.abs().max() < 2e-3
    for trial, i in ((0, 0), (1, 2)):
        x, y, is_other, n_rows = plain_problem(fit, batch, trial, i)
        x = x[:, is_other] / np.linalg.norm(x[:, is_other], axis=0)
        noise = np.linalg.norm(y) / np.sqrt(n_rows)
        np.testing.assert_allclose(evidence[trial, i, is_other, 3], x.T @ y / np.linalg.norm(y), atol=2e-3)
        np.testing.assert_allclose(evidence[trial, i, is_other, 2], np.arcsinh(x.T @ y / noise), atol=5e-3)


def test_chance_is_believed_as_often_as_it_should_be():
    """Bodies that move straight on, seen with noise: |t| exceeds its 5 % point in 5 % of pairs."""
    rng = np.random.default_rng(0)
    n_bins = 8
    time = np.linspace(0, 0.4, n_bins)[:, None]
    start, speed = rng.uniform(-1, 1, (2, 400, 3, 1, 2))
    recording = Recording.from_trials(start + speed * time + 1e-3 * rng.normal(size=(400, 3, n_bins, 2)))
    geometry, batch = prepared(recording)
    with torch.no_grad():
        evidence, _ = solved(exact_law(geometry, 1.0), batch.values, batch.observed)
    t_value = evidence[..., 0].sinh()[:, ~torch.eye(3, dtype=torch.bool)]
    n_free = 2 * n_bins - 4 - 2  # in two dimensions, less start and velocity, less two couplings
    assert 0.035 < float((t_value.abs() > stats.t.ppf(0.975, n_free)).double().mean()) < 0.065


# ------------------------------------------------------------------ invariants


@every_kind
@given(order=st.permutations(range(4)), seed=st.integers(0, 5))
@settings(max_examples=8, deadline=None)
def test_permuting_individuals_permutes_couplings(kind, order, seed):
    recording, features = of_kind(kind, missing=0.15, seed=seed)
    geometry, batch = prepared(recording, features)
    prior = torch.randn(2, 4, 4, 2, generator=torch.Generator().manual_seed(seed))
    fit = any_law(geometry)
    with torch.no_grad():
        evidence, strengths = solved(fit, batch.values, batch.observed, prior)
        moved = solved(fit, batch.values[:, order], batch.observed[:, order], prior[:, order][:, :, order])
    torch.testing.assert_close(moved[0], evidence[:, order][:, :, order], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved[1], strengths[:, :, order][:, :, :, order], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("features", ["position", "position-velocity"])
def test_couplings_do_not_change_with_the_frame_of_reference(d, features):
    """Rotation, reflection, shift and common velocity: the rows turn, what is free motion is taken off."""
    rng = np.random.default_rng(d)
    recording = wandering(d=d)
    seconds = recording.bin_seconds * np.arange(14)[:, None]
    if features == "position-velocity":
        values = np.concatenate((recording.values, np.gradient(recording.values, seconds[1, 0], axis=2)), axis=-1)
        recording = dataclasses.replace(recording, values=values)
    geometry, batch = prepared(recording, features)
    turn, speed = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.normal(size=d)
    drift = rng.normal(size=d) + seconds * speed
    parts = np.split(recording.values, recording.n_features // d, axis=-1)
    moved = np.concatenate([part @ turn + by for part, by in zip(parts, (drift, speed), strict=False)], axis=-1)
    there = geometry.prepare(PopulationDataset(dataclasses.replace(recording, values=moved.astype(np.float32)))).batch()
    fit = any_law(geometry)
    with torch.no_grad():
        here, moved = (solved(fit, b.values, b.observed, 0.0) for b in (batch, there))
    torch.testing.assert_close(moved[0], here[0], rtol=1e-2, atol=5e-3)
    torch.testing.assert_close(moved[1], here[1], rtol=1e-2, atol=5e-3)


@every_kind
def test_what_is_not_observed_changes_nothing(kind):
    """Absent individuals, bins before the first and after the last, and whatever stands where nothing was seen."""
    recording, features = of_kind(kind, missing=0.15)
    geometry, batch = prepared(recording, features)
    fit = any_law(geometry)
    n_bins, n_features = batch.values.shape[2:]
    values = 1e4 * torch.randn(2, 6, n_bins + 7, n_features, generator=torch.Generator().manual_seed(0))
    observed = torch.zeros(2, 6, n_bins + 7, dtype=torch.bool)
    places, bins = torch.tensor([0, 2, 3, 5]), slice(3, 3 + n_bins)
    values[:, places, bins] = torch.where(batch.observed[..., None], batch.values, values[:, places, bins])
    observed[:, places, bins] = batch.observed
    prior = torch.randn(2, 4, 4, 2, generator=torch.Generator().manual_seed(1))
    wide = 5 * torch.randn(2, 6, 6, 2, generator=torch.Generator().manual_seed(2))
    wide[:, places[:, None], places] = prior
    with torch.no_grad():
        evidence, strengths = solved(fit, batch.values, batch.observed, prior)
        wide_evidence, wide_strengths = solved(fit, values, observed, wide)
    torch.testing.assert_close(wide_evidence[:, places[:, None], places], evidence, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(wide_strengths[:, :, places[:, None], places], strengths, rtol=1e-3, atol=1e-3)
    assert not wide_evidence[:, [1, 4]].any()
    assert not wide_evidence[:, :, [1, 4]].any()


@every_kind
def test_a_fit_does_not_depend_on_other_trials(kind):
    recording, features = of_kind(kind, missing=0.15)
    geometry, batch = prepared(recording, features)
    fit = any_law(geometry)
    with torch.no_grad():
        together, alone = (solved(fit, batch.values[t], batch.observed[t], 0.0) for t in (slice(0, 2), slice(1, 2)))
    torch.testing.assert_close(alone[0], together[0][1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone[1], together[1][1:], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ numbers stay numbers


@every_kind
@pytest.mark.parametrize("precision", [FLAT, 0.0, CERTAIN, -1e3, 1e3])
def test_coincident_resting_missing_and_lone_individuals_give_finite_fits_and_gradients(kind, precision):
    recording, features = of_kind(kind, missing=0.3)
    geometry, batch = prepared(recording, features)
    values, observed = batch.values.clone(), batch.observed.clone()
    values[:, 1] = values[:, 0]
    observed[:, 1] = observed[:, 0]  # two at one place
    values[0, 2] = 0.0  # one at rest
    observed[1, 1:] = False  # one alone
    values.requires_grad_()
    prior = torch.full((2, 4, 4, 2), precision, requires_grad=True)
    fit = any_law(geometry)
    evidence, strengths = solved(fit, values, observed, prior)
    assert evidence.isfinite().all()
    assert strengths.isfinite().all()
    (evidence.square().mean() + strengths.clamp(-20, 20).square().mean()).backward()
    tensors = {"values": values, "prior": prior, **dict(fit.named_parameters())}
    assert [name for name, tensor in tensors.items() if tensor.grad is not None and tensor.grad.isnan().any()] == []


@pytest.mark.parametrize(("n_individuals", "n_bins"), [(1, 8), (2, 1), (2, 2), (3, 3)])
def test_the_smallest_systems_give_finite_fits(n_individuals, n_bins):
    geometry, _ = prepared(wandering())
    values = torch.randn(2, n_individuals, n_bins, 6, generator=torch.Generator().manual_seed(0))
    observed = torch.ones(2, n_individuals, n_bins, dtype=torch.bool)
    evidence, strengths = solved(any_law(geometry), values, observed, 0.0)
    (evidence.sum() + strengths.sum()).backward()
    assert evidence.isfinite().all()
    assert strengths.isfinite().all()


@every_kind
def test_low_precision_around_it_does_not_reach_the_fit(kind):
    recording, features = of_kind(kind)
    geometry, batch = prepared(recording, features)
    fit = any_law(geometry)
    with torch.no_grad():
        plain = solved(fit, batch.values, batch.observed, 0.0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = solved(fit, batch.values, batch.observed, 0.0)
        double = solved(fit.double(), batch.values.double(), batch.observed, 0.0)
    for one, other, exact in zip(plain, mixed, double, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
        torch.testing.assert_close(one, exact, rtol=1e-2, atol=2e-3)

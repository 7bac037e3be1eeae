"""The filters: Kalman's and the place decoder, against plain computations, and what they may read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_array

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.filters import FittedFilter
from motet.rivals.kalman import KALMAN, KalmanFilter
from motet.rivals.method import TargetQuestion
from motet.rivals.places import PLACES, PlaceDecoder

QUESTION = TargetQuestion("place", "quantity", "bin")


def walk(n_trials: int, n_bins: int, *, seed: int, n_axes: int = 1) -> Recording:
    """Places that go to and fro between 0 and 1, and counts of neurons, each with a field of its own."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 20, (n_trials, 1, n_axes)) + 0.15 * np.arange(n_bins)[:, None] * [1.0, 0.7][:n_axes]
    place = np.abs(phase % 2 - 1)
    fields = np.random.default_rng(9).uniform(0, 1, (30, n_axes))
    far = ((place[:, None] - fields[:, None]) ** 2).sum(axis=-1)
    counts = rng.poisson(3 * np.exp(-far / 0.02) + 0.1)
    return Recording.from_trials(counts, targets={"place": place}, target_levels={"place": "bin"}, name="walk")


def fit(rival, train: Recording) -> FittedFilter:
    return rival.fit(PopulationDataset(train), QUESTION)


def error(fitted: FittedFilter, test: Recording) -> float:
    return float(
        np.sqrt(np.nanmean((fitted.predict(PopulationDataset(test))["prediction"] - test.target("place")) ** 2))
    )


def test_a_kalman_filter_computes_the_posterior_of_a_linear_gaussian_system():
    """Against the joint Gaussian of all states and readings, conditioned at once."""
    rng = np.random.default_rng(0)
    a, w, p = np.array([[0.9, 0.2], [0.0, 0.8]]), np.diag([0.1, 0.3]), np.diag([1.0, 2.0])
    c, q = rng.normal(size=(3, 2)), np.diag([0.5, 0.4, 0.3])
    n_bins, z = 6, rng.normal(size=(1, 6, 3))
    weighing = np.linalg.solve(q, c).T
    found = KalmanFilter(np.zeros(2), np.zeros(2), p, a, w, np.zeros(3), weighing, weighing @ c, 0, 2).estimates(
        z, np.ones((1, n_bins), dtype=bool)
    )
    covariance = np.zeros((2 * n_bins, 2 * n_bins))
    own = [p]
    for _ in range(n_bins - 1):
        own.append(a @ own[-1] @ a.T + w)
    for s in range(n_bins):
        for t in range(s, n_bins):
            block = np.linalg.matrix_power(a, t - s) @ own[s]
            covariance[2 * t : 2 * t + 2, 2 * s : 2 * s + 2] = block
            covariance[2 * s : 2 * s + 2, 2 * t : 2 * t + 2] = block.T
    for t in range(n_bins):
        reads = np.kron(np.eye(t + 1), c)
        prior = covariance[: 2 * t + 2, : 2 * t + 2]
        seen = reads @ prior @ reads.T + np.kron(np.eye(t + 1), q)
        expected = prior @ reads.T @ np.linalg.solve(seen, z[0, : t + 1].ravel())
        assert np.allclose(found[0, t], expected[-2:])


def test_a_place_decoder_computes_the_posterior_over_cells():
    """Poisson likelihoods times the prior; with steps, times what the bin before says of this one."""
    rng = np.random.default_rng(0)
    centres, prior, rates = np.arange(4.0)[:, None], np.array([0.4, 0.3, 0.2, 0.1]), rng.uniform(0.5, 3, (4, 5))
    passing = rng.dirichlet(np.ones(4), 4)
    counts = rng.poisson(1.5, (1, 3, 5)).astype(float)
    active, bins = np.ones(5, dtype=bool), np.ones((1, 3), dtype=bool)
    likelihood = np.exp(counts[0] @ np.log(rates).T - rates.sum(axis=1))
    alone = PlaceDecoder(centres, prior, rates, active, None, 1, 1.0).estimates(np.sqrt(counts), bins)
    chain = PlaceDecoder(centres, prior, rates, active, csr_array(passing), 1, 1.0).estimates(np.sqrt(counts), bins)
    belief = prior
    for t in range(3):
        posterior = likelihood[t] * prior / (likelihood[t] @ prior)
        assert np.allclose(alone[0, t], posterior @ centres)
        belief = likelihood[t] * (belief if t == 0 else belief @ passing)
        belief /= belief.sum()
        assert np.allclose(chain[0, t], belief @ centres)
    two = PlaceDecoder(centres, prior, rates, active, None, 2, 1.0).estimates(np.sqrt(counts), bins)
    both = likelihood[1] * likelihood[2] * prior
    assert np.allclose(two[0, 2], both @ centres / both.sum())
    assert np.allclose(two[0, 0], alone[0, 0])


@pytest.mark.parametrize("n_axes", [1, 2])
def test_a_place_decoder_finds_places_that_no_linear_filter_does(n_axes):
    train, test = (walk(n, 30, seed=seed, n_axes=n_axes) for n, seed in ((30, 1), (10, 2)))
    spread = test.target("place").std()
    place, kalman = error(fit(PLACES, train), test), error(fit(KALMAN, train), test)
    assert place < 0.45 * spread
    assert place < 0.9 * kalman


def test_one_long_trial_is_tuned_on_stretches_of_it_and_gaps_are_not_predicted():
    """In folds of stretches; what follows a gap does not depend on what was before it."""
    train, test = walk(1, 600, seed=1), walk(2, 60, seed=2)
    observed = test.observed.copy()
    observed[0, :, 20:25] = False
    gap = dataclasses.replace(test, observed=observed, values=np.where(observed[..., None], test.values, 0))
    for rival in (KALMAN, PLACES):
        fitted = fit(rival, train)
        found = fitted.predict(PopulationDataset(gap))["prediction"]
        assert np.array_equal(np.isnan(found[..., 0]), ~gap.bin_is_observed)
        assert error(fitted, gap) < 0.8 * gap.target("place").std()
        after = gap.select(trials=[0], bins=slice(25, 60))
        if fitted.about["chosen"].get("delay", 0) == 0:
            assert np.allclose(fitted.predict(PopulationDataset(after))["prediction"][0], found[0, 25:])


def test_options_are_those_that_predict_inner_folds_best():
    """Counts that tell nothing: who knows the trials believes them; on others, the least belief errs least."""
    rng = np.random.default_rng(0)
    train = walk(10, 20, seed=1)
    noise = dataclasses.replace(train, values=rng.poisson(2.0, train.values.shape).astype(np.float32))
    chosen = fit(PLACES, noise).about["chosen"]
    assert chosen["trust"] == min(PLACES.options["trust"])


def test_quantities_of_three_dimensions_have_no_place_decoder():
    train = walk(10, 20, seed=1)
    three = dataclasses.replace(train, targets={"place": np.repeat(train.target("place"), 3, axis=2)})
    with pytest.raises(InputError, match="one or two dimensions, not 3"):
        fit(PLACES, three)
    with pytest.raises(InputError, match="negative values; give counts"):
        fit(PLACES, dataclasses.replace(train, values=train.values - 1))
    with pytest.raises(InputError, match="unknown in every bin"):
        fit(KALMAN, dataclasses.replace(train, targets={"place": np.nan * train.target("place")}))

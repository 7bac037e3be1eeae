"""Responses are known in closed form: the evidence is that of normal distributions, and no order or name matters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import multivariate_normal, poisson

from motet.data.recording import Recording
from motet.errors import InputError
from motet.matching import match_by_evidence
from motet.models.responses import Basis, ResponsePrior, Responses, Totals

N_CONDITIONS, N_BINS = 4, 5


def recording(seed: int = 0, n_trials: int = 48, n: int = 20, *, tuning_seed: int = 0) -> tuple[Recording, np.ndarray]:
    """Counts of neurons with a preferred condition on a circle, and the condition of each trial."""
    rng = np.random.default_rng(tuning_seed)
    phase, depth, level = rng.uniform(0, 2 * np.pi, n), rng.gamma(2, 0.4, n), rng.normal(0.5, 0.7, n)
    course = np.stack([depth * np.cos(phase - np.pi / 2 * c) for c in range(N_CONDITIONS)])
    time = 1 + np.cos(np.arange(N_BINS) + phase[:, None])
    labels = np.random.default_rng(seed).permutation(np.arange(n_trials) % N_CONDITIONS)
    rate = np.exp(level[:, None] + course[labels][..., None] * time)
    return Recording.from_trials(np.random.default_rng(seed + 1).poisson(rate).astype(float)), labels


def totals(one: Recording, labels: np.ndarray) -> Totals:
    return Totals.of(one, labels, N_CONDITIONS, N_BINS)


# ------------------------------------------------------------------ oracles


def test_totals_are_those_of_the_observed_trials_of_a_condition():
    one, labels = recording()
    observed = one.observed.copy()
    observed[3, :, 2:] = False
    found = totals(dataclasses.replace(one, observed=observed), labels)
    here = labels == labels[3]
    np.testing.assert_allclose(found.n[:, labels[3], 3], here.sum() - 1)
    expected = (one.values[..., 0] * observed)[here].sum(axis=0)
    np.testing.assert_allclose(found.total[:, labels[3]], expected, rtol=1e-6)
    assert found.are_counts
    assert not totals(dataclasses.replace(one, values=one.values - 0.5), labels).are_counts


def test_the_evidence_of_normal_values_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    basis = Basis.over(N_CONDITIONS, N_BINS, is_circular=True)
    n = np.full((1, N_CONDITIONS, N_BINS), 3.0)
    values, spread = rng.normal(size=n.shape), np.array([0.7])
    root = rng.normal(size=(basis.n_functions, basis.n_functions))
    mean, covariance = rng.normal(size=basis.n_functions), root @ root.T
    found, _ = Responses.of(Totals(3 * values, n, spread, False), basis, mean, covariance)
    flat, noise = values.ravel(), np.eye(values.size) * spread / 3
    expected = multivariate_normal.logpdf(
        flat, basis.functions @ mean, basis.functions @ covariance @ basis.functions.T + noise
    )
    without = multivariate_normal.logpdf(flat, np.zeros(flat.size), noise)
    np.testing.assert_allclose(found.log_evidence(mean, covariance), expected - without)


def test_the_likelihood_of_counts_is_that_of_poisson_near_the_most_probable_response():
    one, labels = recording()
    basis = Basis.over(N_CONDITIONS, N_BINS, is_circular=False)
    prior = np.zeros(basis.n_functions), np.eye(basis.n_functions)
    sums = dataclasses.replace(totals(one, labels), spread=np.ones(20))
    found, mode = Responses.of(sums, basis, *prior)
    flat_total, flat_n = sums.total.reshape(20, -1), sums.n.reshape(20, -1)

    def log_likelihood(w):
        return poisson.logpmf(flat_total, flat_n * np.exp(w @ basis.functions.T)).sum(axis=1)

    def approximated(w):
        quadratic = np.einsum("id,ide,ie->i", w, found.precision, w)
        return found.constant + (found.linear * w).sum(axis=1) - quadratic / 2

    step = 0.003 * np.random.default_rng(1).normal(size=mode.shape)
    change = log_likelihood(mode + step) - log_likelihood(mode)
    np.testing.assert_allclose(approximated(mode + step) - approximated(mode), change, rtol=0.02, atol=0.02)
    inside = np.clip(mode @ basis.functions.T, -12, 8) == mode @ basis.functions.T
    assert inside.all()


def test_the_bayes_factor_is_the_evidence_of_both_halves_as_one_against_each():
    one, labels = recording()
    prior, (a,) = ResponsePrior.fit([totals(one, labels)])
    both = Responses(a.precision[:1] + a.precision[1:2], a.linear[:1] + a.linear[1:2], np.zeros(1))
    alone = [prior.log_evidence(a.precision[i], a.linear[i]) for i in (0, 1)]
    expected = prior.log_evidence(both.precision, both.linear)[0] - sum(alone)
    np.testing.assert_allclose(prior.log_bayes_factor(a, a)[0, 1], expected)


def test_bayes_factors_declare_nobody_where_nobody_is_shared():
    for seed in range(5):
        sums = [totals(*recording(k, tuning_seed=k, n=30)) for k in (2 * seed, 2 * seed + 1)]
        prior, (a, b) = ResponsePrior.fit(sums)
        assert not match_by_evidence(prior.log_bayes_factor(a, b)).is_declared.any()


def test_halves_of_an_individual_find_each_other():
    one, labels = recording(n_trials=160)
    sides = [totals(one.select(trials=np.arange(k, 160, 2)), labels[k::2]) for k in (0, 1)]
    prior, (a, b) = ResponsePrior.fit(sides)
    assert (prior.log_bayes_factor(a, b).argmax(axis=1) == np.arange(20)).mean() > 0.9
    shape = prior.shapes(a)
    known = (shape.mean**2).sum(axis=1)
    np.testing.assert_allclose(known + np.trace(shape.covariance, axis1=1, axis2=2), 1)
    np.testing.assert_array_equal(shape.is_known, known >= 0.5)
    course = prior.courses(a, N_BINS)
    raw = np.log((sides[0].total + 0.5) / sides[0].n)
    assert np.corrcoef(course.ravel(), raw.ravel())[0, 1] > 0.9


def test_a_circle_is_found_where_there_is_one_and_not_where_there_is_none():
    _, (first,) = ResponsePrior.fit([totals(*recording(n_trials=160, n=60))])
    prior, _ = ResponsePrior.fit([totals(*recording(n_trials=160, n=60))])
    assert len(prior.basis.groups) == 3
    assert len(first) == 60
    rng = np.random.default_rng(0)
    total = rng.poisson(40 * np.exp(rng.normal(size=(60, 6, 1)) + np.zeros(N_BINS))).astype(float)
    prior, _ = ResponsePrior.fit([Totals(total, np.full(total.shape, 40.0), np.ones(60), True)])
    assert len(prior.basis.groups) == 2


# ------------------------------------------------------------------ invariants


def test_the_order_of_individuals_and_of_trials_never_matters():
    one, labels = recording()
    rng = np.random.default_rng(0)
    individuals, trials = rng.permutation(20), rng.permutation(48)
    prior, (a,) = ResponsePrior.fit([totals(one, labels)])
    turned = totals(one.select(individuals=individuals, trials=trials), labels[trials])
    other, (b,) = ResponsePrior.fit([turned])
    plain = prior.log_bayes_factor(a, a)
    np.testing.assert_allclose(other.log_bayes_factor(b, b), plain[individuals][:, individuals], rtol=1e-4, atol=1e-3)


def test_conditions_may_be_turned_around_the_circle():
    one, labels = recording(n_trials=96)
    prior, (a,) = ResponsePrior.fit([totals(one, labels)])
    other, (b,) = ResponsePrior.fit([totals(one, (labels + 1) % N_CONDITIONS)])
    np.testing.assert_allclose(other.log_bayes_factor(b, b), prior.log_bayes_factor(a, a), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("is_circular", [True, False])
@pytest.mark.parametrize("n_conditions", [1, 2, 4, 5, 8])
def test_functions_are_at_right_angles_and_of_one_size(n_conditions, is_circular):
    if is_circular and n_conditions < 4:
        return
    functions = Basis.over(n_conditions, 6, is_circular=is_circular).functions
    np.testing.assert_allclose(functions.T @ functions / len(functions), np.eye(functions.shape[1]), atol=1e-9)
    np.testing.assert_allclose(functions[:, 0], 1)


def test_several_features_are_refused():
    with pytest.raises(InputError, match="2 features"):
        totals(Recording.from_trials(np.ones((4, 3, N_BINS, 2))), np.zeros(4, dtype=int))


def test_values_that_are_no_counts_and_silent_individuals_are_read():
    one, labels = recording(n_trials=96)
    values = np.sqrt(one.values)
    values[:, 3] = 0
    sides = [
        totals(dataclasses.replace(one, values=values).select(trials=np.arange(k, 96, 2)), labels[k::2]) for k in (0, 1)
    ]
    prior, (a, b) = ResponsePrior.fit(sides)
    found = prior.log_bayes_factor(a, b)
    assert np.isfinite(found).all()
    kept = np.delete(np.arange(20), 3)
    assert (found.argmax(axis=1) == np.arange(20))[kept].mean() > 0.8

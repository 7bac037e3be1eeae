from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, check_grad
from scipy.special import log_softmax

from motet.errors import InputError
from motet.plain import as_plain, from_plain
from motet.training import calibration
from motet.training.calibration import Calibration


def pairs(n=40_000, *, n_types=2, sizes=(3, 12, 60), temperature=1.0, prior=None, slope=None, seed=0):
    """Log-probabilities, truth and sizes, where the truth follows the log-probabilities after the change given."""
    rng = np.random.default_rng(seed)
    log_p = log_softmax(2 * rng.normal(size=(n, n_types)), axis=1)
    size = rng.choice(sizes, n)
    logits = log_p / temperature
    logits = logits + np.asarray([0.0] * n_types if prior is None else prior)
    logits = logits + np.asarray([0.0] * n_types if slope is None else slope) * np.log(size - 1)[:, None]
    truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return log_p, truth, size


def fitted(log_p, truth, size):
    return Calibration.fit(log_p, truth=truth, n_individuals=size)


def calibration_error(log_p, truth):
    """Expected calibration error of the second type, in ten bins."""
    p = np.exp(log_p[:, 1])
    bins = np.minimum((10 * p).astype(int), 9)
    return sum(abs((p - (truth == 1))[bins == b].sum()) for b in range(10)) / len(p)


@pytest.mark.parametrize(
    ("n_types", "temperature", "prior", "slope"),
    [
        (2, 1.0, (0.0, 0.0), (0.0, 0.0)),
        (2, 2.5, (0.0, 0.8), (0.0, -1.0)),
        (2, 0.5, (0.0, -1.0), (0.0, 0.5)),
        (3, 1.7, (0.0, 1.0, -0.5), (0.0, -0.6, 0.3)),
    ],
)
def test_temperature_and_prior_are_recovered(n_types, temperature, prior, slope):
    found = fitted(*pairs(n_types=n_types, temperature=temperature, prior=prior, slope=slope))
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(found.prior, prior, atol=0.15)
    np.testing.assert_allclose(found.prior_by_size, slope, atol=0.1)
    assert (found.prior[0], found.prior_by_size[0]) == (0.0, 0.0)


def test_what_some_sizes_told_holds_at_another():
    change = {"temperature": 2.0, "prior": (0.0, 0.5), "slope": (0.0, -1.0)}
    found = fitted(*pairs(sizes=(4, 6, 12), **change))
    log_p, truth, size = pairs(sizes=(20,), seed=1, **change)
    changed = found(log_p, size)
    assert calibration_error(log_p, truth) > 0.2
    assert calibration_error(changed, truth) < 0.01
    np.testing.assert_allclose(np.exp(changed).sum(axis=1), 1)


def test_a_model_that_was_too_sure_is_calibrated():
    change = {"temperature": 3.0, "prior": (0.0, -1.0)}
    found = fitted(*pairs(sizes=(5,), **change))
    log_p, truth, size = pairs(sizes=(5,), seed=1, **change)
    assert calibration_error(log_p, truth) > 0.1
    assert calibration_error(found(log_p, size), truth) < 0.01


def test_calibration_keeps_the_ranks_of_pairs_of_one_size():
    log_p, truth, size = pairs(2000, sizes=(5,), temperature=3.0, prior=(0.0, 2.0))
    changed = fitted(log_p, truth, size)(log_p, size)
    odds, changed_odds = (x[:, 1] - x[:, 0] for x in (log_p, changed))
    np.testing.assert_array_equal(np.argsort(odds), np.argsort(changed_odds))


@given(n_types=st.integers(2, 4), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_the_gradient_is_that_of_the_loss(n_types, seed):
    """Finite differences of what is handed to the optimiser."""
    handed = {}

    def spy(loss, start, **options):
        handed.update(loss=loss, n=len(start))
        return original(loss, start, **options)

    original = calibration.minimize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "minimize", spy)
        fitted(*pairs(30, n_types=n_types, seed=seed))
    x = np.random.default_rng(seed).normal(size=handed["n"])
    assert handed["n"] == 1 + 2 * (n_types - 1)
    error = check_grad(lambda x: handed["loss"](x)[0], lambda x: handed["loss"](x)[1], x)
    scale = np.linalg.norm(approx_fprime(x, lambda x: handed["loss"](x)[0]))
    assert error < 1e-5 * max(1, scale)


def test_none_changes_nothing():
    log_p, _, size = pairs(100, n_types=3)
    np.testing.assert_allclose(Calibration.none(3)(log_p, size), log_p, atol=1e-12)


def test_a_trial_has_one_size_whatever_the_axes_of_its_pairs():
    change = Calibration(2.0, (0.0, 0.3), (0.0, -0.7))
    log_p = log_softmax(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), axis=-1)
    size = np.array([2, 4, 30])
    flat = [change(log_p[t].reshape(16, 2), np.full(16, size[t])).reshape(4, 4, 2) for t in range(3)]
    np.testing.assert_allclose(change(log_p, size), flat)


@pytest.mark.parametrize("odds", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("n_types", [2, 3])
def test_pairs_that_are_separated_stay_finite(n_types, odds):
    truth = np.arange(600) % n_types
    log_p = log_softmax(odds * np.eye(n_types)[truth], axis=1)
    for size in (np.where(truth == 0, 4, 8), np.full(600, 4)):  # where sizes differ, they give the truth away too
        found = fitted(log_p, truth, size)
        assert 0.04 < found.temperature < 2
        assert np.abs([*found.prior, *found.prior_by_size]).max() < 1
        np.testing.assert_array_equal(found(log_p, size).argmax(axis=1), truth)


def test_a_type_that_is_never_seen_stays_finite():
    log_p, _, size = pairs(500, n_types=3)
    found = fitted(log_p, np.zeros(500, dtype=int), size)
    assert np.isfinite([found.temperature, *found.prior, *found.prior_by_size]).all()


def test_one_size_tells_nothing_of_others():
    found = fitted(*pairs(2000, sizes=(5,), prior=(0.0, 1.0)))
    assert found.prior_by_size == (0.0, 0.0)
    assert found.prior[1] == pytest.approx(1.0, abs=0.3)


def test_systems_of_one_or_no_individual_have_finite_probabilities():
    change = Calibration(1.5, (0.0, 0.3), (0.0, -0.7))
    assert np.isfinite(change(np.log(np.full((2, 1, 1, 2), 0.5)), np.array([0, 1]))).all()


def test_what_is_written_is_read_back():
    found = fitted(*pairs(500))
    assert from_plain(Calibration, json.loads(json.dumps(as_plain(found)))) == found


def test_no_pairs_are_one_clear_error():
    with pytest.raises(InputError, match="no validation pair is known; give validation trials"):
        fitted(np.zeros((0, 2)), np.zeros(0, dtype=int), np.zeros(0, dtype=int))

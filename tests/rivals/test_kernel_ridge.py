"""Kernel ridge: its closed forms against plain refits, and the approximation where there are many rows."""

from __future__ import annotations

import itertools

import numpy as np
import sklearn.kernel_ridge
from sklearn.gaussian_process.kernels import RBF

from motet.rivals import kernel_ridge
from motet.rivals.kernel_ridge import tuned_kernel_ridge


def test_kernel_ridge_is_tuned_and_fitted_as_by_refits_to_the_other_folds():
    """Closed-form errors of held-out folds, against scikit-learn fitted to the others."""
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    rest, folds = np.sin(parts[0][:, :1] + parts[1][:, :1]), np.arange(40) % 4
    all_scales, ridges = tuple(itertools.product((0.1, 1.0), (0.1, 1.0), (0.1,))), (0.1, 0.3, 1.0, 3.0)
    given, chosen = tuned_kernel_ridge(parts, rest, folds=folds, scales=all_scales, ridges=ridges)
    variances, errors = [part.var(axis=0).sum() for part in parts], {}
    options = {}
    for scales, ridge in itertools.product(all_scales, ridges):
        x = np.concatenate([p * np.sqrt(2 * s / v) for p, s, v in zip(parts, scales, variances, strict=True)], axis=1)
        model = sklearn.kernel_ridge.KernelRidge(kernel=RBF(), alpha=ridge)
        held = [model.fit(x[folds != k], (rest - rest.mean())[folds != k]).predict(x[folds == k]) for k in range(4)]
        error = sum(((rest[folds == k] - rest.mean() - held[k]) ** 2).sum() for k in range(4))
        options[error] = scales, ridge
        errors[error] = model.fit(x, rest - rest.mean()).predict(x) + rest.mean()
    assert np.allclose(given.predict(np.concatenate(parts, axis=1)), errors[min(errors)], atol=1e-8)
    assert (chosen["scales"], chosen["ridge"]) == options[min(errors)]


def test_with_every_row_a_landmark_the_approximation_is_exact(monkeypatch):
    rng = np.random.default_rng(0)
    parts, folds = [rng.normal(size=(60, 3)), rng.normal(size=(60, 1))], np.arange(60) % 4
    goal = np.sin(parts[0]) @ np.ones((3, 2)) + parts[1]
    goal -= goal.mean(axis=0)
    options = {"folds": folds, "scales": [(0.5, 1.0)], "ridges": (0.3,)}
    exact, _ = tuned_kernel_ridge(parts, goal, **options)
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT_ROWS", 30)
    found, _ = tuned_kernel_ridge(parts, goal, **options)
    inputs = np.concatenate(parts, axis=1)
    # The approximation has an offset that is not penalised, so it is close and not the same.
    assert np.abs(found.predict(inputs) - exact.predict(inputs)).max() < 0.05 * goal.std()


def test_many_rows_are_learned_from_through_some_of_them(monkeypatch):
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT_ROWS", 300)
    monkeypatch.setattr(kernel_ridge, "N_LANDMARKS", 60)
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-2, 2, (4000, 2))
    goal = np.sin(2 * inputs[:, :1]) + 0.1 * rng.normal(size=(4000, 1))
    found, chosen = tuned_kernel_ridge(
        [inputs[:3000]], goal[:3000], folds=np.arange(3000) % 5, scales=[(0.3,), (3.0,)], ridges=(0.1, 1.0)
    )
    assert found.n_parameters == 60
    assert np.mean((found.predict(inputs[3000:]) - goal[3000:]) ** 2) < 0.02
    assert set(chosen) == {"scales", "ridge"}

"""The kernel SVM: its machines against scikit-learn's, and what its votes say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.svm import SVC

from motet.data.recording import Recording
from motet.rivals.kernel_svm import KernelSVM, kernel_svm
from motet.rivals.readings import Reading, Rows


def rows(n_classes, n_rows=150, *, spread=1.0, seed=0):
    """Clouds whose first input says the class; labels are no places."""
    rng = np.random.default_rng(seed)
    answers = 3 * rng.integers(0, n_classes, n_rows) + 1
    inputs = rng.normal(size=(n_rows, 6)) * spread
    inputs[:, 0] += answers
    reading = Reading.of(Recording.from_trials(inputs[:, :, None]), "trial", lags=(0,))
    return Rows(reading, inputs, answers, np.arange(n_rows) % 5)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_it_decides_and_predicts_as_scikit_learn_does(n_classes):
    given, tested = rows(n_classes, spread=2.0), rows(n_classes, spread=2.0, seed=1)
    model, chosen = kernel_svm(given)
    gamma = chosen["gamma"] / given.inputs.var(axis=0).sum()
    plain = SVC(C=chosen["C"], gamma=gamma, decision_function_shape="ovo").fit(given.inputs, given.answers)
    decided = plain.decision_function(tested.inputs)
    decided = -decided[:, None] if n_classes == 2 else decided
    np.testing.assert_allclose(model.decisions.predict(tested.inputs), decided, atol=1e-10)
    sure = KernelSVM(model.classes_, model.decisions, 1000.0)
    assert (sure.predict(tested.inputs) == plain.predict(tested.inputs)).mean() > 0.98  # all but ties


def test_its_probabilities_are_about_as_frequent_as_they_say():
    model, _ = kernel_svm(rows(3, 600, spread=3.0))
    tested = rows(3, 2000, spread=3.0, seed=1)
    probability = model.predict_proba(tested.inputs)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    is_right = model.classes_[probability.argmax(axis=1)] == tested.answers
    assert 0.5 < is_right.mean() < 0.9
    assert abs(probability.max(axis=1).mean() - is_right.mean()) < 0.08


def test_noise_makes_it_unsure():
    given = rows(3, 200)
    noise = dataclasses.replace(given, answers=np.random.default_rng(2).permutation(given.answers))
    model, _ = kernel_svm(noise)
    assert model.predict_proba(rows(3, seed=1).inputs).max(axis=1).mean() < 0.5


def test_a_fold_may_hold_all_of_a_class():
    given = rows(3)
    alone = dataclasses.replace(given, folds=np.where(given.answers == 1, 9, given.folds))
    model, _ = kernel_svm(alone)
    assert model.classes_.tolist() == [1, 4, 7]
    assert (model.predict(given.inputs) == given.answers).mean() > 0.9


def test_of_many_rows_some_are_learned_from(monkeypatch):
    monkeypatch.setattr("motet.rivals.kernel_svm.MOST_TUNING_ROWS", 60)
    monkeypatch.setattr("motet.rivals.kernel_svm.MOST_ROWS", 100)
    model, _ = kernel_svm(rows(2, 1000))
    assert len(model.decisions.centres) <= 100

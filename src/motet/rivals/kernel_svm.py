"""A support-vector machine with a Gaussian kernel, whose pairwise votes are probabilities."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax
from sklearn.svm import SVC

from motet.rivals.estimators import MOST_TUNING_ROWS
from motet.rivals.gaussians import GaussianSum, squared_distances, summed_variance
from motet.rivals.readings import Rows
from motet.rivals.tuning import Options, tune

Array = NDArray[np.float64]

MOST_ROWS = 5000  # memory and time grow with their square
SHARPNESS = (4.0, 0.25, 0.5, 1.0, 2.0, 8.0, 16.0)
OPTIONS = {"C": (3.0, 0.3, 1.0, 10.0, 30.0), "gamma": (1.0, 0.1, 0.3), "sharpness": SHARPNESS}
"""Values to try. The kernel is exp(-gamma · squared distance / summed variance of inputs)."""


@dataclasses.dataclass(frozen=True, eq=False)
class KernelSVM:
    """A machine for every two classes; the probability of a class falls with every vote against it.

    log p(class) = Σ over the others of log σ(sharpness · decision for the class), but for a constant: where all votes
    are sure, the class with most of them is the most probable one, as in scikit-learn.

    Attributes:
        classes_: sorted.
        decisions: (…, pair) of every two classes in order, positive for the first.
        sharpness: how sure a decision of 1 is.
    """

    classes_: NDArray[Any]
    decisions: GaussianSum
    sharpness: float

    @property
    def n_parameters(self) -> int:
        return self.decisions.n_parameters

    def predict_log_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        return _voted(self.decisions.predict(inputs), len(self.classes_), self.sharpness)

    def predict_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        return np.exp(self.predict_log_proba(inputs))

    def predict(self, inputs: Array) -> NDArray[Any]:
        """(row,) the most probable class."""
        return np.asarray(self.classes_[self.predict_log_proba(inputs).argmax(axis=1)])


def kernel_svm(rows: Rows) -> tuple[KernelSVM, Mapping[str, Any]]:
    """With the options that predict each inner fold best from all others."""
    tried = _Machines(rows.thinned(MOST_TUNING_ROWS))
    chosen = tune(OPTIONS, tried.error)
    rows = rows.thinned(MOST_ROWS)
    fitted = tried if len(tried.answers) == len(rows.answers) else _Machines(rows)
    machine = fitted.machine(np.arange(len(rows.answers)), chosen["C"], chosen["gamma"])
    stretch = np.full(rows.inputs.shape[1], np.sqrt(chosen["gamma"] / fitted.variance))
    centres = rows.inputs[machine.support] * stretch
    decisions = GaussianSum(stretch, centres, machine.dual, machine.offset)
    return KernelSVM(machine.classes, decisions, chosen["sharpness"]), chosen


def pairs(n_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the second class of every two, in order."""
    first, second = np.asarray(list(itertools.combinations(range(n_classes), 2))).T
    return first, second


def _voted(decisions: Array, n_classes: int, sharpness: float) -> Array:
    """(row, class) log-probabilities of decisions (row, pair)."""
    first, second = (np.eye(n_classes)[one] for one in pairs(n_classes))
    votes = log_expit(sharpness * decisions) @ first + log_expit(-sharpness * decisions) @ second
    return np.asarray(log_softmax(votes, axis=1))


@dataclasses.dataclass(frozen=True, eq=False)
class _Machine:
    """What libsvm found.

    Attributes:
        classes: sorted.
        support: (centre,) places of its support vectors among the rows.
        dual: (centre, pair).
        offset: (pair,).
    """

    classes: NDArray[Any]
    support: NDArray[np.int64]
    dual: Array
    offset: Array


class _Machines:
    """Machines of parts of the same rows, whose distances are found once."""

    def __init__(self, rows: Rows) -> None:
        self.answers, self.folds, self.variance = rows.answers, rows.folds, summed_variance(rows.inputs)
        self._squares = squared_distances(rows.inputs, rows.inputs) / self.variance
        self._kernel = functools.lru_cache(maxsize=1)(lambda gamma: np.exp(-gamma * self._squares))
        self._held_out = functools.cache(self._decisions)

    def error(self, chosen: Options) -> float:
        """Brier's score of the probabilities of each fold, by machines of all others."""
        error = 0.0
        for held, classes, decisions in self._held_out(chosen["C"], chosen["gamma"]):
            logs = _voted(decisions, len(classes), chosen["sharpness"])
            is_true = self.answers[held][:, None] == classes
            error += float(((np.exp(logs) - is_true) ** 2).sum() + (~is_true.any(axis=1)).sum())
        return error

    def _decisions(self, C: float, gamma: float) -> list[tuple[NDArray[np.int64], NDArray[Any], Array]]:
        """Of each fold its rows, the classes that the others have, and what is decided."""
        found, kernel = [], self._kernel(gamma)
        for fold in np.unique(self.folds):
            learned, held = np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)
            if len(np.unique(self.answers[learned])) > 1:
                machine = self.machine(learned, C, gamma)
                decided = kernel[np.ix_(held, machine.support)] @ machine.dual + machine.offset
                found.append((held, machine.classes, decided))
        return found

    def machine(self, learned: NDArray[np.int64], C: float, gamma: float) -> _Machine:
        """That of some rows."""
        svc = SVC(C=C, kernel="precomputed").fit(self._kernel(gamma)[np.ix_(learned, learned)], self.answers[learned])
        sign = -1.0 if len(svc.classes_) == 2 else 1.0  # scikit-learn's decision for two is that for the second
        first, second = pairs(len(svc.classes_))
        of_class = np.repeat(np.arange(len(svc.classes_)), svc.n_support_)[:, None]
        # How much a support vector weighs against another class stands in that class's row, without its own row.
        of_first = np.where(of_class == first, svc.dual_coef_[second - 1].T, 0.0)
        of_second = np.where(of_class == second, svc.dual_coef_[first].T, 0.0)
        return _Machine(svc.classes_, learned[svc.support_], sign * (of_first + of_second), sign * svc.intercept_)

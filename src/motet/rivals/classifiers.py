"""Decoders of classes: logistic regression, shrinkage LDA and Poisson naive Bayes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from motet.rivals.discriminant import ShrinkageLDA
from motet.rivals.estimators import Estimated, SharedScaler
from motet.rivals.readings import Reading, Rows

Array = NDArray[np.float64]


class MeanOfDiscriminants:
    """The mean of the log-probabilities of shrinkage LDA on the √counts of bins, and on √(total counts)."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def fit(self, inputs: Array, answers: NDArray[Any]) -> MeanOfDiscriminants:
        self._models = [ShrinkageLDA().fit(read, answers) for read in self._read(inputs)]
        self.classes_ = self._models[0].classes_
        return self

    @property
    def n_parameters(self) -> int:
        return sum(model.n_parameters for model in self._models)

    def predict_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        logs = [model.predict_log_proba(read) for model, read in zip(self._models, self._read(inputs), strict=True)]
        return np.asarray(softmax(np.mean(logs, axis=0), axis=1))

    def predict(self, inputs: Array) -> NDArray[Any]:
        return np.asarray(self.classes_[self.predict_proba(inputs).argmax(axis=1)])

    def _read(self, inputs: Array) -> tuple[Array, Array]:
        bins = inputs.reshape(len(inputs), -1, self.reading.n_inputs)
        return inputs, self.reading.so_far(bins)[:, -1]


class PoissonNaiveBayes:
    """Counts of every bin and individual are independent and Poisson, given the class.

    Args:
        smoothing: how many trials' worth of the mean rate over classes is added to those of each class: the mean of a
            Gamma prior on its rate.
    """

    def __init__(self, *, smoothing: float) -> None:
        self.smoothing = smoothing

    def fit(self, inputs: Array, answers: NDArray[Any]) -> PoissonNaiveBayes:
        counts = inputs**2
        self.classes_, codes = np.unique(answers, return_inverse=True)
        is_of = np.eye(len(self.classes_))[codes]
        mean, n_rows = counts.mean(axis=0), is_of.sum(axis=0)[:, None]
        self.is_active_ = mean > 0
        rates = (is_of.T @ counts + self.smoothing * mean) / (n_rows + self.smoothing)
        self.rates_ = rates[:, self.is_active_]
        self.log_prior_ = np.log(n_rows[:, 0] / len(answers))
        return self

    @property
    def n_parameters(self) -> int:
        return self.rates_.size + self.log_prior_.size

    def predict_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        logs = inputs[:, self.is_active_] ** 2 @ np.log(self.rates_).T - self.rates_.sum(axis=1) + self.log_prior_
        return np.asarray(softmax(logs, axis=1))

    def predict(self, inputs: Array) -> NDArray[Any]:
        return np.asarray(self.classes_[self.predict_proba(inputs).argmax(axis=1)])


def _logistic(rows: Rows, *, C: float) -> Any:
    return make_pipeline(SharedScaler(), LogisticRegression(C=C, max_iter=2000))


lda = Estimated(lambda _: ShrinkageLDA())
lda_mean = Estimated(lambda rows: MeanOfDiscriminants(rows.reading))
poisson_naive_bayes = Estimated(
    lambda _, smoothing: PoissonNaiveBayes(smoothing=smoothing), {"smoothing": (1.0, 0.1, 0.3, 3.0, 10.0, 30.0, 100.0)}
)
logistic_regression = Estimated(_logistic, {"C": (0.01, 0.001, 0.003, 0.03, 0.1, 1.0, 10.0)})

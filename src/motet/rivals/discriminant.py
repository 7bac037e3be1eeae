"""Shrinkage LDA in closed form, at the cost of the rows or of the inputs, whichever are fewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import log_softmax

Array = NDArray[np.float64]


class ShrinkageLDA:
    """Linear discriminants of classes whose covariance is shrunk (Ledoit and Wolf 2004), class by class.

    The very numbers of scikit-learn's LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), which takes minutes
    where bins × individuals are thousands: it solves for their covariance, of which the rows here span a small part.

    1. Each class: its rows about their mean, and how far the covariance of inputs in units of their spread is shrunk.
    2. Covariance: the classes' own by their frequency, which is a diagonal and an outer product of rows.
    3. Discriminants: that covariance inverse, times the means.

    Attributes:
        classes_: sorted.
        coef_: (class, input) discriminants.
        intercept_: (class,).

    Example:
        >>> inputs = np.array([[0.0, 1.0], [1.0, 0.0], [4.0, 5.0], [5.0, 5.0]])
        >>> ShrinkageLDA().fit(inputs, np.array(["a", "a", "b", "b"])).predict(np.array([[0.0, 0.0], [6.0, 6.0]]))
        array(['a', 'b'], dtype='<U1')
    """

    classes_: NDArray[Any]
    coef_: Array
    intercept_: Array

    def fit(self, inputs: Array, answers: NDArray[Any]) -> ShrinkageLDA:
        """Learn from rows (row, input) and their classes (row,).

        Raises:
            ValueError: if there are no more rows than classes, of which there are to be two.
        """
        self.classes_, codes = np.unique(answers, return_inverse=True)
        if not 1 < len(self.classes_) < len(inputs):
            raise ValueError(f"{len(inputs)} rows of {len(self.classes_)} classes are too few for discriminants")
        prior = np.bincount(codes) / len(codes)
        means, rows, diagonal = [], [], np.zeros(inputs.shape[1])

        # 1. Each class
        for code, share in enumerate(prior):
            own = inputs[codes == code]
            means.append(own.mean(axis=0))
            about = own - means[-1]
            spread = _spread(own, about)
            shrinkage, variance = _shrinkage(about / spread)
            rows.append(about * np.sqrt(share * (1 - shrinkage) / len(own)))
            diagonal += share * shrinkage * variance * spread**2

        # 2. Covariance, 3. Discriminants
        mean = np.stack(means)
        self.coef_ = _solved(diagonal, np.concatenate(rows), mean.T).T
        self.intercept_ = np.log(prior) - 0.5 * (mean * self.coef_).sum(axis=1)
        return self

    @property
    def n_parameters(self) -> int:
        return self.coef_.size + self.intercept_.size

    def predict_log_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        return np.asarray(log_softmax(inputs @ self.coef_.T + self.intercept_, axis=1))

    def predict_proba(self, inputs: Array) -> Array:
        """(row, class)."""
        return np.exp(self.predict_log_proba(inputs))

    def predict(self, inputs: Array) -> NDArray[Any]:
        """(row,) the most probable class."""
        return np.asarray(self.classes_[self.predict_log_proba(inputs).argmax(axis=1)])


def _spread(own: Array, about: Array) -> Array:
    """(input,) standard deviation; 1 for what does not vary but by rounding."""
    n_rows, epsilon = len(own), np.finfo(np.float64).eps
    variance = (about**2).mean(axis=0)
    rounding = n_rows * epsilon * variance + (n_rows * np.abs(own.mean(axis=0)) * epsilon) ** 2
    return np.where((variance <= rounding) | (np.sqrt(variance) < 10 * epsilon), 1.0, np.sqrt(variance))


def _shrinkage(about: Array) -> tuple[float, float]:
    """How far the covariance of centred rows is to be shrunk to its mean variance, and that variance."""
    n_rows, n_inputs = about.shape
    squares = about**2
    variance = squares.sum() / n_rows / n_inputs
    if n_inputs == 1:
        return 0.0, float(variance)
    products = about @ about.T if n_rows < n_inputs else about.T @ about
    of_covariance = (products**2).sum() / n_rows**2
    noise = ((squares.sum(axis=1) ** 2).sum() / n_rows - of_covariance) / (n_inputs * n_rows)
    distance = of_covariance / n_inputs - variance**2
    noise = min(noise, distance)
    return (0.0 if noise <= 0 else float(noise / distance)), float(variance)


def _solved(diagonal: Array, rows: Array, means: Array) -> Array:
    """(input, class): means (input, class) over the covariance diag(diagonal) + rowsᵀ rows."""
    if len(rows) < len(diagonal) and diagonal.min() > 0:  # Woodbury: as many unknowns as rows
        over = means / diagonal[:, None]
        scaled = rows / diagonal
        inner = np.eye(len(rows)) + scaled @ rows.T
        return np.asarray(over - scaled.T @ scipy.linalg.solve(inner, rows @ over, assume_a="pos"))
    covariance = rows.T @ rows
    covariance[np.diag_indices_from(covariance)] += diagonal
    return np.asarray(scipy.linalg.lstsq(covariance, means)[0])

"""Weighted sums of Gaussians around rows of training: what kernel methods learn."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROWS_AT_ONCE = 2500


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianSum:
    """Σ dual · exp(-|stretched inputs - centre|²) + offset.

    Attributes:
        stretch: (input,) what inputs are multiplied by.
        centres: (centre, input) stretched inputs of rows of training.
        dual: (centre, output) their weights.
        offset: (output,).
    """

    stretch: Array
    centres: Array
    dual: Array
    offset: Array

    @property
    def n_parameters(self) -> int:
        return self.dual.size

    def predict(self, inputs: Array) -> Array:
        """(row, output)."""
        found = np.empty((len(inputs), len(self.offset)))
        for first in range(0, len(inputs), ROWS_AT_ONCE):
            some = inputs[first : first + ROWS_AT_ONCE] * self.stretch
            found[first : first + len(some)] = np.exp(-squared_distances(some, self.centres)) @ self.dual
        return found + self.offset


def squared_distances(a: Array, b: Array) -> Array:
    """(row of a, row of b), by products of matrices."""
    middle = b.mean(axis=0)
    a, b = a - middle, b - middle
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)


def summed_variance(inputs: Array) -> float:
    """Over inputs: by which squared distances are measured; above 0."""
    return max(float(inputs.var(axis=0).sum()), np.finfo(float).tiny)

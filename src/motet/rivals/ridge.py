"""Ridge regression in closed form, from sums over rows: every penalty and every inner fold costs one solve."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from motet.rivals.readings import Rows
from motet.rivals.tuning import Options, tune

Array = NDArray[np.float64]

PENALTIES = tuple(float(penalty) for penalty in np.logspace(0, 5, 11))  # in units of the mean variance of inputs
N_LAGS = (5, 1, 2, 3, 8, 12, 16)  # bins that a filter may read; more are tried from the first on
MOST_INPUTS = 1500  # of a filter that may choose how many bins it reads


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A linear map with an offset: `weights` (input, output), `offset` (output,)."""

    weights: Array
    offset: Array

    @property
    def n_parameters(self) -> int:
        return self.weights.size + self.offset.size

    def predict(self, inputs: Array) -> Array:
        """(row, output); inputs beyond those that it has weights for are not read."""
        return np.asarray(inputs[:, : len(self.weights)] @ self.weights + self.offset)


@dataclasses.dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows, which is all that a linear map is fitted to and judged by.

    Attributes:
        n_rows: how many.
        x: (input,) sum of inputs.
        y: (output,) sum of outputs.
        xx: (input, input) sum of their products, as `xy` (input, output).
        yy: sum of squares of outputs.
    """

    n_rows: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: float

    @classmethod
    def of(cls, inputs: Array, outputs: Array) -> Sums:
        return cls(
            len(inputs),
            inputs.sum(axis=0),
            outputs.sum(axis=0),
            inputs.T @ inputs,
            inputs.T @ outputs,
            float((outputs**2).sum()),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def __sub__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, f.name) - getattr(other, f.name) for f in dataclasses.fields(self)))

    def first(self, n_inputs: int) -> Sums:
        """Of so many inputs only."""
        xx, xy = self.xx[:n_inputs, :n_inputs], self.xy[:n_inputs]
        return dataclasses.replace(self, x=self.x[:n_inputs], xx=xx, xy=xy)

    def ridge(self, penalty: float) -> Linear:
        """The map of least squared error, plus the penalty times its squared weights."""
        x, y = self.x / self.n_rows, self.y / self.n_rows
        gram = self.xx - self.n_rows * np.outer(x, x)
        gram[np.diag_indices_from(gram)] += penalty
        factor = scipy.linalg.cho_factor(gram, overwrite_a=True)
        weights = scipy.linalg.cho_solve(factor, self.xy - self.n_rows * np.outer(x, y))
        return Linear(weights, y - x @ weights)

    def squared_error(self, of: Linear) -> float:
        """Of a map, over these rows."""
        weights, offset = of.weights, of.offset
        explained = (weights * self.xy).sum() + offset @ self.y
        square = (weights * (self.xx @ weights)).sum() + 2 * offset @ (self.x @ weights)
        return float(self.yy - 2 * explained + square + self.n_rows * offset @ offset)


def held_out_error(folds: Sequence[Sums], penalty: float) -> float:
    """Of ridge regression on all other folds, over each; nothing where there is one fold only."""
    total = functools.reduce(Sums.__add__, folds)
    return sum(fold.squared_error((total - fold).ridge(penalty)) for fold in folds) if len(folds) > 1 else 0.0


def ridge(rows: Rows) -> tuple[Linear, Mapping[str, Any]]:
    """Ridge regression; the penalty is tuned."""
    inputs, back = _turned(rows.inputs)
    folds, scale = _sums(inputs, rows), _variance(rows.inputs)
    chosen = tune({"ridge": PENALTIES}, lambda at: held_out_error(folds, scale * at["ridge"]))
    found = functools.reduce(Sums.__add__, folds).ridge(scale * chosen["ridge"])
    return (found if back is None else Linear(back @ found.weights, found.offset)), chosen


def wiener(rows: Rows) -> tuple[Linear, Mapping[str, Any]]:
    """A causal Wiener filter: ridge regression on as many bins up to now as serve best. Wu et al. (2006)."""
    n_inputs, n_bins = rows.reading.n_inputs, len(rows.reading.lags)
    inputs = rows.inputs[:, : max(1, MOST_INPUTS // n_inputs) * n_inputs]
    folds, scale = _sums(inputs, rows), _variance(rows.inputs[:, :n_inputs])
    most = len(folds[0].x) // n_inputs
    options = {
        "lags": [n for n in N_LAGS if n <= min(most, n_bins)] or [1],
        "ridge": PENALTIES[4::-2] + PENALTIES[6::2],
    }

    def first(chosen: Options) -> list[Sums]:
        return [fold.first(chosen["lags"] * n_inputs) for fold in folds]

    chosen = tune(options, lambda at: held_out_error(first(at), scale * at["ridge"]))
    return functools.reduce(Sums.__add__, first(chosen)).ridge(scale * chosen["ridge"]), chosen


def _sums(inputs: Array, rows: Rows) -> list[Sums]:
    """Of each fold."""
    return [Sums.of(inputs[rows.folds == fold], rows.answers[rows.folds == fold]) for fold in np.unique(rows.folds)]


def _variance(inputs: Array) -> float:
    """Of an input, on average."""
    return max(float(inputs.var(axis=0).mean()), np.finfo(float).tiny)


def _turned(inputs: Array) -> tuple[Array, Array | None]:
    """Inputs in the space that rows span, where there are fewer rows than inputs, and the way back."""
    if len(inputs) >= inputs.shape[1]:
        return inputs, None
    basis = np.linalg.qr(inputs.T)[0]
    return inputs @ basis, basis

"""Kernel ridge regression with a Gaussian kernel, of which every input group has a width of its own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from motet.errors import InputError
from motet.rivals.gaussians import GaussianSum, squared_distances, summed_variance
from motet.rivals.readings import Rows
from motet.rivals.ridge import Sums, held_out_error
from motet.rivals.tuning import Options, tune

Array = NDArray[np.float64]

MOST_EXACT_ROWS = 2500  # time grows with their cube; of more, some stand for all
N_LANDMARKS = 800  # those that do
JITTER = 1e-9  # of the diagonal of their kernel, which may be singular
SCALES, TIME_SCALES = (0.1, 0.3, 1.0), (0.3, 1.0)
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)


def tuned_kernel_ridge(
    parts: Sequence[Array],
    goal: Array,
    *,
    folds: NDArray[np.int64],
    scales: Sequence[tuple[float, ...]],
    ridges: Sequence[float],
) -> tuple[GaussianSum, Options]:
    """With the scales and the ridge that predict each fold of rows best from all others.

    The kernel is exp(-Σ scale · (squared distance in a group of inputs) / (variance of the group in training)).
    Of many rows, some that are evenly spread stand for all (the Nyström approximation).

    Args:
        parts: (row, input) of each group.
        goal: (row, output).
        folds: (row,).
        scales: to try, one for each group.
        ridges: to try.
    """
    variances = np.asarray([summed_variance(part) for part in parts])
    sizes, inputs, offset = [part.shape[1] for part in parts], np.concatenate(parts, axis=1), goal.mean(axis=0)
    solver = _Exact if len(inputs) <= MOST_EXACT_ROWS else _Landmarks
    solve = solver(parts, variances, goal - offset, folds)
    options = {"ridge": ridges, "scales": scales}
    middle = {name: values[len(values) // 2] for name, values in options.items()}
    chosen = tune(options, lambda at: solve.error(at["scales"], at["ridge"]), start=middle)
    stretch = np.sqrt(np.repeat(np.divide(chosen["scales"], variances), sizes))
    dual, more = solve.dual(chosen["scales"], chosen["ridge"])
    return GaussianSum(stretch, inputs[solve.centres] * stretch, dual, offset + more), chosen


def kernel_ridge(rows: Rows) -> tuple[GaussianSum, Mapping[str, Any]]:
    """Kernel ridge regression, with the position in the trial as a group of its own if it is read."""
    counts, time = rows.inputs, None
    if rows.reading.reads_time:
        counts, time = rows.inputs[:, :-1], rows.inputs[:, -1:]
    parts = [counts] if time is None else [counts, time]
    scales = list(itertools.product(*[SCALES, TIME_SCALES][: len(parts)]))
    return tuned_kernel_ridge(parts, rows.answers, folds=rows.folds, scales=scales, ridges=RIDGES)


class _Exact:
    """All rows are centres; errors on folds held out are read off one inverse, in single precision."""

    def __init__(self, parts: Sequence[Array], variances: Array, goal: Array, folds: NDArray[np.int64]) -> None:
        squares = [squared_distances(part, part) / v for part, v in zip(parts, variances, strict=True)]
        self._squares = {np.float64: squares, np.float32: [square.astype(np.float32) for square in squares]}
        self._goal = goal
        self._held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        self.centres = np.arange(len(goal))

    def error(self, scales: tuple[float, ...], ridge: float) -> float:
        if len(self._held_out) == 1:
            return 0.0
        factor = self._factor(scales, ridge, np.float32)
        dual = scipy.linalg.cho_solve((factor, True), self._goal.astype(np.float32))
        (invert,) = scipy.linalg.get_lapack_funcs(("potri",), (factor,))
        inverse, _ = invert(factor, lower=True, overwrite_c=True)  # its lower triangle
        # The error on rows that a fit to all others would make, in closed form.
        errors = [
            scipy.linalg.solve(inverse[np.ix_(rows, rows)], dual[rows], assume_a="pos", lower=True)
            for rows in self._held_out
        ]
        return sum(float((error.astype(np.float64) ** 2).sum()) for error in errors)

    def dual(self, scales: tuple[float, ...], ridge: float) -> tuple[Array, float]:
        return scipy.linalg.cho_solve((self._factor(scales, ridge, np.float64), True), self._goal), 0.0

    def _factor(self, scales: tuple[float, ...], ridge: float, precision: type[np.floating[Any]]) -> NDArray[Any]:
        """The lower Cholesky factor of the kernel with its ridge."""
        squares = zip(scales, self._squares[precision], strict=True)
        exponent = sum(precision(-scale) * square for scale, square in squares)
        kernel = np.exp(exponent, order="F")
        kernel[np.diag_indices_from(kernel)] += precision(ridge)
        (factorise,) = scipy.linalg.get_lapack_funcs(("potrf",), (kernel,))
        factor, failed = factorise(kernel, lower=True, overwrite_a=True)
        if failed:
            raise InputError("the kernel of its training rows is singular; give other rows.")
        return np.asarray(factor)


class _Landmarks:
    """Some rows are centres; all rows are fitted, through sums of their kernels over each fold."""

    def __init__(self, parts: Sequence[Array], variances: Array, goal: Array, folds: NDArray[np.int64]) -> None:
        self._parts, self._variances, self._goal = parts, variances, goal
        self._held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        self.centres = np.unique(np.linspace(0, len(goal) - 1, N_LANDMARKS).astype(np.int64))
        self._of = functools.lru_cache(maxsize=1)(self._sums)

    def error(self, scales: tuple[float, ...], ridge: float) -> float:
        return held_out_error(self._of(scales)[0], ridge)

    def dual(self, scales: tuple[float, ...], ridge: float) -> tuple[Array, Array]:
        folds, factor = self._of(scales)
        found = functools.reduce(Sums.__add__, folds).ridge(ridge)
        return scipy.linalg.solve_triangular(factor, found.weights, lower=True, trans=1), found.offset

    def _sums(self, scales: tuple[float, ...]) -> tuple[list[Sums], Array]:
        """Of each fold, with inputs whose products are the kernel; and the factor of the kernel of centres."""
        own = self._kernel(self.centres, scales)
        own[np.diag_indices_from(own)] += JITTER * len(own)
        factor = np.asarray(np.linalg.cholesky(own), dtype=np.float64)

        def read(rows: NDArray[np.int64]) -> Array:
            return scipy.linalg.solve_triangular(factor, self._kernel(rows, scales).T, lower=True).T

        return [Sums.of(read(rows), self._goal[rows]) for rows in self._held_out], factor

    def _kernel(self, rows: NDArray[np.int64], scales: tuple[float, ...]) -> Array:
        squares = [
            squared_distances(part[rows], part[self.centres]) * (scale / variance)
            for part, variance, scale in zip(self._parts, self._variances, scales, strict=True)
        ]
        return np.exp(-functools.reduce(np.add, squares))

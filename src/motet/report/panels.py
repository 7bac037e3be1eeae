"""What figures of single trials share: which are shown, who is there, and how a plane is framed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from motet.errors import InputError
from motet.report.style import PALE, Bools, Floats, Integers


def spread_from_best(badness: ArrayLike, n_shown: int) -> Integers:
    """Positions of at most `n_shown` trials, evenly from the least to the most bad; NaN comes last.

    Raises:
        InputError: if that is none.

    Example:
        >>> spread_from_best([0.3, 0.1, 0.2, 0.5, 0.4], 3)
        array([1, 0, 3])
    """
    order = np.argsort(np.asarray(badness, dtype=np.float64), kind="stable")
    if n_shown < 1 or not len(order):
        raise InputError(f"{n_shown} of {len(order)} trials are to be drawn; draw at least one.")
    spread = np.linspace(0, len(order) - 1, min(n_shown, len(order))).round().astype(int)
    return order[spread]


def frame_plane(axes: Axes, places: Floats) -> None:
    """Make a square of the plane, with room for all (…, 2) places, and a faint frame in place of axes."""
    known = places[np.isfinite(places).all(axis=-1)]
    if len(known):
        centre, reach = (known.max(axis=0) + known.min(axis=0)) / 2, np.ptp(known, axis=0).max() * 0.56 or 1.0
        axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(PALE)


def share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Part ÷ whole, NaN of nothing; of more than one axis, per trial.

    Example:
        >>> share(np.array([[True, False], [False, False]]), np.array([[True, True], [False, False]]))
        array([0.5, nan])
    """
    if part.ndim > 1:
        part, whole = (array.reshape(len(array), -1).sum(axis=1) for array in (part, whole))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def checked_labels(given: ArrayLike | None, shape: tuple[int, ...], *, what: str) -> Integers:
    """As integers of that shape; -1 everywhere if none are given.

    Raises:
        InputError: if they have another shape, or are no integers; `what` names them.
    """
    labels = np.full(shape, -1) if given is None else np.asarray(given)
    if labels.shape != shape or labels.dtype.kind not in "iub":
        raise InputError(f"{what} has shape {labels.shape} and type {labels.dtype}; give integers of shape {shape}.")
    return labels.astype(np.int64)


def checked_presence(observed: ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    """Which individuals there are, as booleans of that shape; all if it is not said.

    Raises:
        InputError: if they have another shape, or are no booleans.
    """
    present = np.ones(shape, dtype=np.bool_) if observed is None else np.asarray(observed)
    if present.shape != shape or present.dtype != np.bool_:
        raise InputError(
            f"observed has shape {present.shape} and type {present.dtype}; give booleans of shape {shape}."
        )
    return present

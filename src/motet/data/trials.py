"""Trials as they are handed over, of any type, length and container, as padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.errors import InputError
from motet.memory import check_room

WORST_ROUNDING = 1e-3  # of how an individual varies, when its numbers become 32-bit ones
_COPIES = 3  # of values while they are read
NamedLevel = Literal["trial", "bin", "individual"]  # what the names of axes can say


def extent(values: NDArray[Any], observed: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Least and greatest observed value of every individual, (individual, feature) each; 0 where there is none."""
    is_seen = np.asarray(observed.any(axis=(0, 2)))[:, None]
    least = np.min(values, axis=(0, 2), where=observed[..., None], initial=np.inf)
    most = np.max(values, axis=(0, 2), where=observed[..., None], initial=-np.inf)
    return np.where(is_seen, least, 0), np.where(is_seen, most, 0)


def narrowest(values: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float32] | NDArray[np.float64]:
    """Values as float32, unless that would blur how an individual differs from time to time."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    error = np.abs(values - narrow).max(axis=(0, 2), initial=0.0)
    if error.any():
        least, most = extent(values, observed)
        if (error > WORST_ROUNDING * (most - least)).any():
            return values
    return narrow


def padded_values(values: Any, name: Any) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """(trial, individual, time, feature) float64 with NaN beyond the end of shorter trials; names of its places."""
    allowed = "give (trial, individual, time[, feature]) numbers, or a list of trials (individual, time[, feature])"
    what = f"values of recording {name!r}"
    if _is_array(values):
        found = given.dimensions(values)
        if found is not None and (lacking := [axis for axis in given.AXES[:3] if axis not in found]):
            raise InputError(f"{what}: dimensions {', '.join(found)}, no {lacking[0]}; {allowed}.")
        array = given.numbers(given.on_axes(values, given.AXES, what=what), what=what)
        coordinates = getattr(values, "coords", {})
    else:
        members = given.in_order(values, what=what)
        if not members:
            raise InputError(f"there are no trials; {allowed}.")
        trials = [given.numbers(given.on_axes(one, given.AXES[1:], what=what), what=what) for one in members]
        if len({(one.ndim, *one.shape[:1], *one.shape[2:]) for one in trials}) > 1 or trials[0].ndim < 2:
            shapes = ", ".join(dict.fromkeys(str(one.shape) for one in trials))
            raise InputError(f"{what}: trials of shapes {shapes} cannot be stacked; {allowed}.")
        longest = max(trials, key=lambda one: one.shape[1])
        n_bins = longest.shape[1]
        check_room(len(trials) * longest.nbytes * _COPIES, what=f"{len(trials)} trials, padded to {n_bins} bins each,")
        array = np.stack([_pad_axis(one, n_bins, axis=1) for one in trials])
        coordinates = {}
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise InputError(f"values have {array.ndim} axes, shape {array.shape}; {allowed}.")
    if np.isinf(array).any():
        raise InputError("values are infinite in places; replace them, or mark them NaN for 'not observed'.")
    return array, {axis: np.asarray(coordinates[axis]) for axis in ("trial", "individual") if axis in coordinates}


def _is_array(values: Any) -> bool:
    """Whether it is one array of all trials, and not a container of trials."""
    return hasattr(values, "ndim") and not hasattr(values, "iloc") and np.dtype(object) != values.dtype


def target_array(
    target: Any, recording: str, key: str, *, n_bins: int | None = None
) -> tuple[NDArray[Any], NamedLevel | None]:
    """A target as `Recording` has it, padded to `n_bins` if trials differ in length; its level, if its axes say so."""
    what = f"target {key!r} of recording {recording!r}"
    if (found := given.dimensions(target)) is not None:
        if "trial" not in found or {"individual", "time"} <= set(found):
            raise InputError(
                f"{what}: dimensions {', '.join(found)}; give trial, then time or individual or neither, then others."
            )
        level: NamedLevel = "bin" if "time" in found else "individual" if "individual" in found else "trial"
        return given.labels(given.on_axes(target, given.AXES[:3], what=what, others=True), what=what), level
    if n_bins is None or _is_array(target):
        return given.labels(target, what=what), None
    rows = given.in_order(target, what=what)
    if not any(_is_nested(row) for row in rows):
        return given.labels(target if hasattr(target, "dtype") else rows, what=what), None
    arrays = _of_one_kind(
        [given.labels(given.on_axes(row, ("time",), what=what, others=True), what=what) for row in rows]
    )
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays), None
    if any(array.ndim == 0 or array.shape[0] > n_bins for array in arrays):
        raise InputError(f"{what} is a list of arrays longer than their trials; give (time, …) per trial.")
    if len({array.shape[1:] for array in arrays}) > 1:
        raise InputError(f"{what} has trials of different shapes; give (time, …) per trial, alike but for the time.")
    fill = False if arrays[0].dtype.kind == "b" else given.unknown(arrays[0].dtype)
    return np.stack([_pad_axis(array, n_bins, axis=0, fill=fill) for array in arrays]), "bin"


def _is_nested(row: Any) -> bool:
    return isinstance(row, list | tuple) or getattr(row, "ndim", 0) > 0


def _of_one_kind(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Labels of several trials, as one kind that holds them all."""
    if {array.dtype.kind for array in arrays} == {"b"}:
        return list(arrays)
    known = [given.is_known(array) for array in arrays]
    dtypes = [array.dtype for array, some in zip(arrays, known, strict=True) if some.any()]
    kinds = {dtype.kind for dtype in dtypes}
    if len(kinds) > 1 and "U" in kinds:
        raise InputError("a target holds text in some trials and numbers in others; give one or the other.")
    dtype = np.result_type(*dtypes) if kinds else np.dtype(np.float64)
    dtype = np.dtype(np.int64) if dtype.kind == "b" else dtype
    filled = [np.full(array.shape, given.unknown(dtype), dtype=dtype) for array in arrays]
    for one, array, some in zip(filled, arrays, known, strict=True):
        one[some] = array[some]
    return filled


def _pad_axis(array: NDArray[Any], size: int, *, axis: int, fill: Any = np.nan) -> NDArray[Any]:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size - array.shape[axis])
    return np.pad(array, widths, constant_values=fill)

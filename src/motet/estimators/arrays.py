"""What users of scikit-learn hand over, X and y, as recordings: `read_population`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import MOST_COORDINATES, Level, Recording
from motet.data.trials import target_array
from motet.errors import InputError
from motet.training.objectives import TargetKind


def read_population(
    X: Any,
    y: Any = None,
    *,
    individual_ids: Any = None,
    target: str,
    kind: TargetKind,
    level: Level | None = None,
) -> PopulationDataset:
    """Recordings as they are; arrays as one recording named "array", with y as its target.

    Args:
        X: recordings; or trials (trial, individual, time[, feature]), or a list of them.
        y: with arrays, the target.
        individual_ids: with arrays, names of the individuals; by default "array/<position>".
        target: what y is called.
        kind: of target.
        level: of y, if it is known; by default read off its shape.

    Raises:
        InputError: for what is neither; for a y that does not fit X, or may be meant in two ways.
    """
    if are_recordings(X):
        for name, beside in {"y": y, "individual_ids": individual_ids}.items():
            if beside is not None:
                raise InputError(
                    f"{name} was given beside recordings, which carry their own targets and names; leave it out."
                )
        return X if isinstance(X, PopulationDataset) else PopulationDataset(X)
    if not hasattr(X, "__len__") or isinstance(X, str | bytes):
        raise InputError(f"X is a {type(X).__name__}; give recordings, an array of trials, or a list of trials.")
    recording = Recording.from_trials(X, individual_ids=individual_ids)
    if y is None:
        return PopulationDataset(recording)
    array, named_level = _labels(y, target, recording)
    if kind == "quantity":
        array = _quantities(array)
    level = level or named_level or _level(array.shape, recording, kind)
    return PopulationDataset(dataclasses.replace(recording, targets={target: array}, target_levels={target: level}))


def are_recordings(X: object) -> bool:
    """Whether it is one or more recordings, and not arrays."""
    is_list = isinstance(X, Sequence) and len(X) > 0 and all(isinstance(part, Recording) for part in X)
    return is_list or isinstance(X, PopulationDataset | Recording)


def are_nameless(recording: Recording) -> bool:
    """Whether the individuals of a recording are called by their positions alone."""
    positions = range(recording.n_individuals)
    return recording.individual_ids == tuple(f"{recording.name}/{position}" for position in positions)


def _labels(y: Any, target: str, recording: Recording) -> tuple[NDArray[Any], Level | None]:
    """The target as an array, and its level if its axes have names or its trials differ in length."""
    labels: Any = y if hasattr(y, "dtype") else given.in_order(y, what="y")
    if _holds_bytes(labels):
        raise InputError("y holds bytes; predictions are text, which never equals them: give y.astype(str).")
    array, level = target_array(labels, recording.name, target, n_bins=recording.n_bins)
    n_given = len(array) if array.ndim else 1
    if array.ndim == 0 or n_given != recording.n_trials:
        raise InputError(f"X has {recording.n_trials} trials and y has {n_given}; give one y per trial.")
    return array, level


def _quantities(array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind == "U":
        raise InputError("y is text, and a regression needs numbers; give these, or classify.")
    return np.where(given.is_known(array), array, np.nan)


def _level(shape: tuple[int, ...], recording: Recording, kind: TargetKind) -> Level:
    """Whether a target of this shape is per trial or per bin."""
    n_trials, n_bins, n_axes = recording.n_trials, recording.n_bins, len(shape)
    if n_axes == 1:
        return "trial"
    is_per_bin, has_dimensions = shape[1] == n_bins, kind == "quantity"
    if is_per_bin and has_dimensions and n_axes == 2 and 1 < n_bins <= MOST_COORDINATES:
        raise InputError(
            f"y has shape {shape}, which may be {n_bins} bins or {n_bins} dimensions of a trial; say which: give a "
            "Recording, made by Recording.from_trials with targets and target_levels."
        )
    if is_per_bin and (has_dimensions or n_axes == 2):
        return "bin"
    if has_dimensions and n_axes == 2:
        return "trial"
    dimensions = f"; ({n_trials}, dimension) or ({n_trials}, {n_bins}, dimension) of several" if has_dimensions else ""
    raise InputError(
        f"y has shape {shape}; give ({n_trials},) per trial or ({n_trials}, {n_bins}) per bin{dimensions}."
    )


def _holds_bytes(labels: Any) -> bool:
    if isinstance(labels, list | tuple):
        return any(map(_holds_bytes, labels))
    kind = getattr(getattr(labels, "dtype", None), "kind", "")
    members = np.asarray(labels).ravel().tolist() if kind == "O" else []
    return kind == "S" or isinstance(labels, bytes) or any(map(_holds_bytes, members))

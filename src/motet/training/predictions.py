"""Predictions as arrays: of all trials together, and beside the truth where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.training.objectives import known_rows


def known_predictions(
    dataset: PopulationDataset, target: str, predictions: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and prediction in all trials (or bins) where the target is known and anything observed, flat.

    Raises:
        InputError: if that is nowhere.
    """
    truths, flat, start = [], [], 0
    for recording in dataset.recordings:
        known, stop = known_rows(recording, target), start + recording.n_trials
        predicted = predictions[start:stop]
        if known.ndim > 1:
            predicted = predicted[:, : recording.n_bins]
        if target in recording.targets:
            truths.append(recording.targets[target][known])
        flat.append(predicted[known[:, : predicted.shape[1]] if known.ndim > 1 else known])
        start = stop
    if not sum(map(len, truths)):
        raise InputError(f"target {target!r} is not known in any trial that was observed; there is nothing to score.")
    return np.concatenate(truths), np.concatenate(flat)


def most_probable(classes: NDArray[Any], probability: NDArray[Any]) -> NDArray[Any]:
    """The most probable class, (…), of probabilities (…, class); unknown where these are NaN (see `given.unknown`).

    Booleans, which have no value for unknown, are 0 and 1 if there are any.

    Example:
        >>> most_probable(np.array(["left", "right"]), np.array([[0.3, 0.7], [np.nan, np.nan]]))
        array(['right', ''], dtype='<U5')
    """
    is_missing = np.isnan(probability).any(axis=-1)
    found = classes[np.nan_to_num(probability).argmax(axis=-1)]
    if not is_missing.any():
        return np.asarray(found)
    if found.dtype.kind == "b":
        found = found.astype(np.int64)
    return np.where(is_missing, np.asarray(given.unknown(found.dtype), dtype=found.dtype), found)


def stack_trials(parts: Sequence[NDArray[Any]], axis: int = 1) -> NDArray[Any]:
    """Concatenate over trials; where lengths along the time axis differ, pad with NaN."""
    if parts[0].ndim <= axis or len({part.shape[axis] for part in parts}) == 1:
        return np.concatenate(parts)
    longest = max(part.shape[axis] for part in parts)

    def padded(part: NDArray[Any]) -> NDArray[Any]:
        widths = [(0, 0)] * part.ndim
        widths[axis] = (0, longest - part.shape[axis])
        return np.pad(part, widths, constant_values=np.nan)

    return np.concatenate([padded(part) for part in parts])

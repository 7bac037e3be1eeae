"""Predictions as arrays: of all trials together, and beside the truth where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.training.objectives import known_rows


def known_predictions(
    dataset: PopulationDataset, target: str, predictions: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and prediction in all trials (or bins) where the target is observed and known, flat."""
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
    return np.concatenate(truths), np.concatenate(flat)


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

"""Windows: long trials are cut into stretches that overlap, and what is read from these is joined again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Trials cut into windows. A bin is read from the window in which it is farthest from an edge.

    Where windows begin does not depend on how long the trial is, so a causal model stays blind to the future.

    Attributes:
        dataset: whose trials are the windows, in the order of the trials that they are cut from.
        trial: (window,) which trial each is cut from.
        start: (window,) its first bin there.
        n_trials: of the dataset that was cut, as its `n_bins`.
        margin: bins at a cut that are read from the window on its other side.

    Example:
        >>> from motet.data.recording import Recording
        >>> trial = Recording.from_trials(np.arange(22.0).reshape(1, 1, 22))
        >>> windows = Windows.cut(PopulationDataset(trial), 8)
        >>> windows.start
        array([ 0,  6, 12, 18])
        >>> read = windows.dataset.batch().values[:, 0, :, 0].numpy()
        >>> bool((windows.join(read) == trial.values[:, 0, :, 0]).all())
        True
    """

    dataset: PopulationDataset
    trial: NDArray[np.int64]
    start: NDArray[np.int64]
    n_trials: int
    n_bins: int
    margin: int = 0

    @classmethod
    def cut(cls, dataset: PopulationDataset, n_bins: int | None) -> Windows:
        """Cut trials of more bins than `n_bins` into windows of that many; None cuts nothing."""
        lengths = np.concatenate([recording.trial_lengths for recording in dataset.recordings])
        if n_bins is None or lengths.max() <= n_bins:
            start = np.zeros(len(dataset), np.int64)
            return cls(dataset, np.arange(len(dataset)), start, len(dataset), dataset.n_bins)
        margin = n_bins // 8
        step = n_bins - 2 * margin
        n_windows = 1 + np.maximum(0, -(-(lengths - n_bins) // step))
        trial = np.repeat(np.arange(len(dataset)), n_windows)
        start = step * (np.arange(len(trial)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows))
        of_recording = dataset.recording_index[trial]
        windows = [
            recording.stretches(dataset.trial_index[trial[is_mine]], start[is_mine], n_bins)
            for recording, is_mine in ((r, of_recording == index) for index, r in enumerate(dataset.recordings))
        ]
        return cls(PopulationDataset(windows), trial, start, len(dataset), dataset.n_bins, margin)

    def join(self, read: NDArray[Any], *, axis: int | None = 1) -> NDArray[Any]:
        """What was read from every window, as if from whole trials.

        Args:
            read: (window, …, time, …), floats, of all `n_bins` of `dataset`.
            axis: of time; None averages over the windows of a trial where something is known.

        Returns:
            (trial, …, time, …) of all bins of the dataset that was cut, NaN after the end of a trial.
        """
        if len(self.trial) == self.n_trials:
            return read
        first = np.flatnonzero(self.start == 0)
        if axis is None:
            known = ~np.isnan(read)
            total = np.add.reduceat(np.where(known, read, 0), first, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                return (total / np.add.reduceat(known, first, dtype=np.int64)).astype(read.dtype)
        read = np.moveaxis(read, axis, 1)
        whole = np.full((self.n_trials, self.n_bins, *read.shape[2:]), np.nan, dtype=read.dtype)
        is_last = np.append(self.start[1:] == 0, True)
        for window, (trial, start) in enumerate(zip(self.trial, self.start, strict=True)):
            begin = self.margin if start else 0
            end = self.n_bins - start if is_last[window] else read.shape[1] - self.margin
            part = read[window, begin:end]
            whole[trial, start + begin : start + begin + len(part)] = part
        return np.moveaxis(whole, 1, axis)

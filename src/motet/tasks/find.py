"""Finding recordings by what a user calls them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from motet.data.catalogue import load
from motet.data.dataset import PopulationDataset
from motet.data.readers import read_recording
from motet.data.recording import Recording


def find_recording(name: str) -> Recording:
    """The recording in a file of that name, or of that name in the catalogue.

    Raises:
        InputError: if there is neither.
    """
    return read_recording(name) if Path(name).is_file() else load(name)


def find_recordings(names: Sequence[str]) -> PopulationDataset:
    """Several recordings as one dataset."""
    return PopulationDataset([find_recording(name) for name in names])


def class_target(recording: Recording, target: str) -> str | None:
    """That target if it is one class per trial, or else the first that is: what trials are grouped by."""
    names = [target, *recording.targets]
    fit = (n for n in names if recording.target_levels.get(n) == "trial" and recording.targets[n].dtype.kind in "biU")
    return next(fit, None)


def describe(recording: Recording) -> str:
    """What is in a recording, in a few lines.

    Example:
        >>> import numpy as np
        >>> print(describe(Recording.from_trials(np.ones((4, 2, 3)), targets={"side": np.arange(4) % 2})))
        array, of subject unknown
        4 trials of 3 bins of 1 s, 2 individuals, 1 feature; 100.0 % observed
        values from 1 to 1, mean 1; individuals silent throughout: 0
        target side per trial: 2 classes (0: 2, 1: 2)
    """
    lengths, values = recording.trial_lengths, recording.values[recording.observed]
    bins = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    within = recording.bin_is_observed[:, None].repeat(recording.n_individuals, axis=1)
    n_silent = int((np.abs(recording.values).max(axis=(0, 2, 3)) == 0).sum())
    plural = "" if recording.n_features == 1 else "s"
    lines = [
        f"{recording.name}, of subject {recording.subject}",
        f"{recording.n_trials} trials of {bins} bins of {recording.bin_seconds:g} s, {recording.n_individuals} "
        f"individuals, {recording.n_features} feature{plural}; "
        f"{100 * recording.observed[within].mean():.1f} % observed",
        f"values from {values.min():g} to {values.max():g}, mean {values.mean():g}; "
        f"individuals silent throughout: {n_silent}",
    ]
    return "\n".join([*lines, *(_describe_target(recording, name) for name in recording.targets)])


def _describe_target(recording: Recording, name: str) -> str:
    level, target = recording.target_levels[name], recording.targets[name]
    values = target[recording.bin_is_observed] if level == "bin" else target
    head = f"target {name} per {level}"
    if values.dtype.kind == "f":
        return f"{head}: {values[0].size} number(s), {np.nanmin(values):g} to {np.nanmax(values):g}"
    classes, counts = np.unique(values, return_counts=True)
    shown = ", ".join(f"{c}: {n}" for c, n in zip(classes[:10], counts[:10], strict=True))
    return f"{head}: {len(classes)} classes ({shown}{', …' if len(classes) > 10 else ''})"

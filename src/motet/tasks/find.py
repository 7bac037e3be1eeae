"""Finding recordings by what a user calls them, and saying what is in them."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motet import given, plain
from motet.data.catalogue import CATALOGUE, load
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import varies
from motet.data.readers import find_reader, read_recording
from motet.data.readers.remote import is_address
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.names import in_path

MOST_BESIDE = 1000  # files of a folder that a misspelt name is compared with


def find_recording(name: str, reading: Mapping[str, Any] | None = None) -> Recording:
    """The recording in a file of that name, or of that name in the catalogue.

    Args:
        name: of either.
        reading: options for reading it, by name.

    Raises:
        InputError: if there is neither, or an option is unknown.
    """
    options = dict(reading or {})
    if not all(isinstance(option, str) for option in options):
        raise InputError(f"reading is {options}; give options by their names.")
    if os.path.isfile(name) or is_address(name):
        return read_recording(name, **options)
    if name in CATALOGUE:
        return load(name, **options)
    if os.path.lexists(name):
        return read_recording(name, **options)  # a folder, or it says what it is
    beside: list[str] = []
    with contextlib.suppress(OSError, ValueError):  # no such folder either
        beside = [str(Path(name).parent / file) for file in os.listdir(Path(name).parent)[:MOST_BESIDE]]
    near = difflib.get_close_matches(name, [*CATALOGUE, *beside], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InputError(
        f"{name:.200}: no such file, and no recording of that name in the catalogue{hint} Give the path of a file, or "
        "a name that motet data list shows."
    )


def contents_of(name: str) -> str:
    """What a file holds, and the lines that read it, where its reader says so; nothing of others."""
    if not (os.path.isfile(name) or is_address(name)):
        return ""
    reader, source = find_reader(name)
    return reader.contents(source) if reader.contents else ""


def find_recordings(names: Sequence[str], reading: Mapping[str, Any] | None = None) -> PopulationDataset:
    """Several recordings as one dataset, read alike."""
    return PopulationDataset([find_recording(name, reading) for name in names])


def stem(name: str) -> str:
    """What a folder is called after a file, or a name in the catalogue."""
    return in_path(Path(name).stem if Path(name).suffix else name)


def digest(recording: Recording) -> str:
    """A text that changes with anything in a recording that could change a result."""
    about = [getattr(recording, name) for name in ("individual_ids", "bin_seconds", "subject", "target_levels")]
    arrays = {f"target {name}": target for name, target in recording.targets.items()}
    arrays |= {name: getattr(recording, name) for name in ("values", "observed", "trial_ids", "trial_start_seconds")}
    return plain.digest(plain.as_plain([*about, recording.metadata]), arrays)


def cut_trials(
    recording: Recording, level: Level | None, *, bins: int | None, window: int | None, stride: int
) -> Recording:
    """The bins of every trial that a decoder reads, as whole trials or as windows.

    Args:
        recording: to be cut.
        level: of the target that is decoded.
        bins: how many first bins; None for as many as the shortest trial has, where the target is per trial, and for
            all otherwise.
        window: bins per window, each of which becomes a trial; None for whole trials.
        stride: bins between the starts of two windows.

    Raises:
        InputError: if nothing would be left.

    Example:
        >>> recording = Recording.from_trials(np.ones((4, 2, 6)), targets={"side": np.arange(4) % 2})
        >>> cut_trials(recording, "trial", bins=4, window=2, stride=2)
        Recording('array': 8 trials × 2 individuals × 2 bins of 1 s; targets: side per trial)
    """
    if bins is None and level == "trial":
        bins = int(recording.trial_lengths.min())
    if bins is not None and bins < 1:
        raise InputError(f"bins is {bins} for recording {recording.name!r}; give at least 1, or drop empty trials.")
    recording = recording.select(bins=slice(0, bins))
    return recording if window is None else recording.windows(window, stride=stride)


def describe(recording: Recording) -> str:
    """What is in a recording, in a few lines.

    Example:
        >>> import numpy as np
        >>> print(describe(Recording.from_trials(np.ones((4, 2, 3)), targets={"side": np.arange(4) % 2})))
        array, of subject unknown
        4 trials of 3 bins of 1 s, 2 individuals, 1 feature; 100.0 % observed
        values from 1 to 1, mean 1; individuals that never vary: 2
        target side per trial: 2 classes (0: 2, 1: 2)
    """
    lengths, values = recording.trial_lengths, recording.values[recording.observed]
    bins = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    within = recording.bin_is_observed[:, None].repeat(recording.n_individuals, axis=1)
    n_silent = int((~varies([recording]).any(axis=1)).sum())
    plural = "" if recording.n_features == 1 else "s"
    lines = [
        f"{recording.name}, of subject {recording.subject}",
        f"{recording.n_trials} trials of {bins} bins of {recording.bin_seconds:g} s, {recording.n_individuals} "
        f"individuals, {recording.n_features} feature{plural}; "
        f"{100 * recording.observed[within].mean():.1f} % observed",
        f"values from {values.min():g} to {values.max():g}, mean {values.mean():g}; "
        f"individuals that never vary: {n_silent}",
    ]
    return "\n".join([*lines, *(_describe_target(recording, name) for name in recording.targets)])


def _describe_target(recording: Recording, name: str) -> str:
    level, target = recording.target_levels[name], recording.targets[name]
    values = target[recording.bin_is_observed] if level == "bin" else target
    known = given.is_known(values)
    if level in ("individual", "pair") and values.dtype.kind == "i":
        known &= values >= 0
    head, n_unknown = f"target {name} per {level}", int(known.size - known.sum())
    tail = f", {n_unknown} unknown" if n_unknown else ""
    if not known.any():
        return f"{head}: all {n_unknown} unknown"
    if values.dtype.kind == "f":
        n_numbers = math.prod(target.shape[{"trial": 1, "bin": 2, "individual": 2, "pair": 3}[level] :])
        return f"{head}: {n_numbers} number(s), {values[known].min():g} to {values[known].max():g}{tail}"
    classes, counts = np.unique(values[known], return_counts=True)
    shown = ", ".join(f"{c}: {n}" for c, n in zip(classes[:10], counts[:10], strict=True))
    return f"{head}: {len(classes)} classes ({shown}{', …' if len(classes) > 10 else ''}){tail}"

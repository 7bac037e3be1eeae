"""Readers of the reach recordings: macaques moving a hand from a centre to one of 8 targets.

Both public forms, pickles of binned trials and raw MATLAB files, are read into the same `Recording`:

- values: spike counts per bin.
- direction: per trial, 0 to 7, clockwise in steps of 45° from straight ahead (+y); 2 is to the right (+x).
- timestep: per bin, its number in the trial, counted from the start of the movement; 0 in the padding.
- position, velocity, acceleration, force: per bin, the mean (x, y) in cm, cm/s, cm/s² and the file's unit of
  force; NaN in the padding. One for which the file holds only zeros was not recorded and is left out.

Where slow bins are left out (at the ends of a trial and, in a few trials, inside it), the bins kept stand one
after another, as in the public files and the published protocols; `timestep` tells where a gap is.

Source: Dyer et al., Nat. Biomed. Eng. 1, 967–976 (2017); repository nerdslab/myow-neuro.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.binning import average_samples, count_spikes
from motet.data.readers.isolated import in_subprocess
from motet.data.readers.reading import file_reader
from motet.data.readers.safe_pickle import load_reach_pickle
from motet.data.recording import Recording
from motet.errors import InputError
from motet.memory import check_room
from motet.settings import Positive, check_arguments

N_DIRECTIONS = 8
_KINEMATICS = {"pos": "position", "vel": "velocity", "acc": "acceleration", "force": "force"}

# Columns of `trial_table`, counted from 0, in the code that made the public pickles. In MATLAB: 2, 10 and 13.
_TARGET, _START, _END = 1, 9, 12

_BYTES_PER_COUNT = 40  # int64, several times float64, float32, masks
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError, IndexError)


def is_pickle(path: Path, head: bytes) -> bool:
    """Whether a file is a pickle; old ones begin in many ways."""
    return head.startswith(b"\x80") or path.suffix in (".pkl", ".pickle")


@file_reader
def read_reach_pickle(
    path: Path | str,
    *,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    minimum_speed: float | None = None,
) -> Recording:
    """Read a public pickle of binned trials; it runs no code (`motet.data.readers.safe_pickle`).

    The file holds rates in spikes/s; counts are rate × bin_seconds, which must come out whole.

    Args:
        path: the file.
        name: what to call the recording; by default the file's name.
        subject: the animal.
        bin_seconds: width of the file's bins; by default as its name says ("-bin0.05-"), or 0.1.
        minimum_speed: keep only bins in which the hand is faster, in cm/s.
    """
    path = Path(path)
    if bin_seconds is None:
        in_name = re.search(r"-bin(\d+\.\d+)-", path.name)
        bin_seconds = float(in_name[1]) if in_name else 0.1
    content = load_reach_pickle(path)
    try:
        mappings = [data.state["_store"].state["_mapping"] for data in content["data"]]
        fields = [mapping[field] for mapping in mappings for field in ("x", *_KINEMATICS) if field in mapping]
        if sum(field.nbytes for field in fields) > path.stat().st_size:
            raise InputError("its trials are larger than the file: some of them are one and the same.")
        trials = [_trial_of_rates(row, mapping, bin_seconds) for row, mapping in enumerate(mappings)]
        return _recording(trials, name or path.stem, minimum_speed, subject=subject, bin_seconds=bin_seconds)
    except _MALFORMED as error:
        raise InputError(f"{path} cannot be read as a public reach recording: {error}") from error


@file_reader
def read_reach_mat(
    path: Path | str,
    *,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: Positive = 0.1,
    minimum_speed: float | None = None,
) -> Recording:
    """Read a raw MATLAB file and bin it.

    A row of `trial_table` is a trial: columns 9 and 12, counted from 0, are the start and the end of the
    movement, column 1 the target. Bins begin at the start; the last one reaches the end or beyond. Rows
    without a movement (NaN, or an end not after the start) are left out; `trial_ids` are row numbers. A spike on the
    edge of two bins counts once (in the public pickles, twice), and kinematics are the mean of the samples in the bin.

    Args:
        path: the file, of MATLAB version 7 or earlier.
        name: what to call the recording; by default the file's name.
        subject: the animal.
        bin_seconds: width of a bin.
        minimum_speed: keep only bins in which the hand is faster, in cm/s (most public pickles: 5).
    """
    check_arguments(read_reach_mat, {"bin_seconds": bin_seconds})
    path = Path(path)
    arrays = in_subprocess(arrays_of_mat, path)
    try:
        trials = _binned_trials(arrays, bin_seconds)
        return _recording(trials, name or path.stem, minimum_speed, subject=subject, bin_seconds=bin_seconds)
    except _MALFORMED as error:
        raise _is_not_raw(path, error) from error


def arrays_of_mat(path: Path) -> dict[str, NDArray[Any]]:
    """What a raw MATLAB file holds that is read: the table, all spikes with the number of each unit's, the tracks."""
    import scipy.io  # slow to import

    try:
        content = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)
    except NotImplementedError as error:
        raise InputError(f"{path} is of MATLAB version 7.3; save it in MATLAB with '-v7'.") from error
    try:
        table, recorded = content["trial_table"], content["out_struct"]
        units = [np.ravel(unit.ts).astype(np.float64) for unit in np.atleast_1d(recorded.units)]
        tracks = {field: np.asarray(getattr(recorded, field, ()), dtype=np.float64) for field in _KINEMATICS}
        return {
            "trial_table": np.atleast_2d(table).astype(np.float64),
            "spike_seconds": np.concatenate([np.empty(0), *units]),
            "n_spikes": np.array([len(unit) for unit in units], dtype=np.int64),
            **tracks,
        }
    except _MALFORMED as error:
        raise _is_not_raw(path, error) from error


def _is_not_raw(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as a raw reach recording, which has trial_table with 13 columns and "
        f"out_struct with units(i).ts and pos, vel, acc, force of rows (t, x, y): {error!s:.200}"
    )


@dataclasses.dataclass(frozen=True)
class _Trial:
    """One trial, by its row in the file: counts (bin, unit); timestep (bin,); kinematics (bin, 2) by name."""

    row: int
    direction: float
    counts: NDArray[Any]
    timestep: NDArray[Any]
    kinematics: Mapping[str, NDArray[Any]]
    start_seconds: float | None = None

    def only(self, is_kept: NDArray[np.bool_]) -> _Trial:
        return dataclasses.replace(
            self,
            counts=self.counts[is_kept],
            timestep=self.timestep[is_kept],
            kinematics={name: track[is_kept] for name, track in self.kinematics.items()},
        )


def _trial_of_rates(row: int, mapping: Mapping[str, NDArray[Any]], bin_seconds: float) -> _Trial:
    """A trial as the pickles store it: x rates in spikes/s, y the target in every bin."""
    counts = mapping["x"].astype(np.float64) * bin_seconds
    if counts.ndim != 2 or not (np.abs(counts - np.rint(counts)) < 1e-3).all():
        raise InputError(f"its rates are not whole numbers of spikes in bins of {bin_seconds:g} s.")
    direction, timestep = mapping["y"], mapping["timestep"]
    kinematics = {name: mapping[field] for field, name in _KINEMATICS.items() if field in mapping}
    if len({len(array) for array in (counts, direction, timestep, *kinematics.values())}) > 1:
        raise InputError(f"trial {row} has arrays of different lengths.")
    if len(np.unique(direction)) != 1:
        raise InputError(f"trial {row} does not have one target.")
    return _Trial(row, float(direction[0]), np.rint(counts), timestep, kinematics)


def _binned_trials(arrays: Mapping[str, NDArray[Any]], bin_seconds: float) -> list[_Trial]:
    """The trials of a raw recording, from what `arrays_of_mat` gives."""
    target, start, end = (arrays["trial_table"][:, column] for column in (_TARGET, _START, _END))
    rows = np.flatnonzero(np.isfinite(target + start + end) & (end > start))
    ends = np.cumsum(arrays["n_spikes"])
    units = np.split(arrays["spike_seconds"], ends[:-1]) if len(ends) else []
    if not len(rows) or not units:
        raise InputError(f"it has {len(units)} units and {len(rows)} trials with a movement.")
    lasts_bins = (end - start)[rows] / bin_seconds
    if lasts_bins.max() > 1e6:
        raise InputError(f"a movement lasts {lasts_bins.max():g} bins of {bin_seconds:g} s, more than a million.")
    # A movement of exactly ten bins has ten, whatever the rounding of its ends.
    n_bins = np.ceil(lasts_bins - 1e-6).astype(int)
    _check_padded(len(rows), n_bins.max(), len(units))
    edges = start[rows, None] + np.arange(n_bins.max() + 1) * bin_seconds
    counts = count_spikes(units, edges).transpose(1, 2, 0)
    tracks = {name: arrays[field] for field, name in _KINEMATICS.items()}
    kinematics = {
        name: average_samples(track[:, 0], track[:, 1:], edges).astype(np.float32)
        for name, track in tracks.items()
        if track.size
    }
    return [
        _Trial(
            int(row),
            float(target[row]),
            counts[position, :n],
            np.arange(n),
            {name: track[position, :n] for name, track in kinematics.items()},
            float(start[row]),
        )
        for position, (row, n) in enumerate(zip(rows, n_bins, strict=True))
    ]


def _recording(trials: Sequence[_Trial], name: str, minimum_speed: float | None, **fields: Any) -> Recording:
    """The recording of the trials that have bins left."""
    if minimum_speed is not None:
        if any("velocity" not in trial.kinematics for trial in trials):
            raise InputError("it has no velocity, so that minimum_speed cannot be applied; leave that out.")
        speeds = [np.linalg.norm(trial.kinematics["velocity"], axis=-1) for trial in trials]
        trials = [trial.only(speed > minimum_speed) for trial, speed in zip(trials, speeds, strict=True)]
        trials = [trial for trial in trials if len(trial.timestep)]
        if not trials:
            raise InputError(f"no bin is faster than minimum_speed {minimum_speed:g} cm/s; lower it.")
    direction = np.array([trial.direction for trial in trials])
    if not np.isin(direction, range(N_DIRECTIONS)).all():
        raise InputError(f"it has targets outside 0 to {N_DIRECTIONS - 1}.")
    if len({trial.counts.shape[1] for trial in trials}) != 1:
        raise InputError("its trials do not all have the same units.")
    _check_padded(len(trials), max(len(trial.timestep) for trial in trials), trials[0].counts.shape[1])
    per_bin = {"timestep": [trial.timestep for trial in trials]}
    for kinematic in trials[0].kinematics:
        tracks = [trial.kinematics[kinematic] for trial in trials]
        if any(track.any() for track in tracks):
            per_bin[kinematic] = tracks
    starts = [trial.start_seconds for trial in trials]
    return Recording.from_trials(
        [trial.counts.T for trial in trials],
        targets={"direction": direction.astype(np.int64), **per_bin},
        target_levels={"direction": "trial"} | dict.fromkeys(per_bin, "bin"),
        individual_ids=[f"{name}/{unit:03d}" for unit in range(trials[0].counts.shape[1])],
        name=name,
        trial_ids=np.array([trial.row for trial in trials]),
        trial_start_seconds=None if None in starts else np.array(starts),
        **fields,
    )


def _check_padded(n_trials: int, n_bins: int, n_units: int) -> None:
    """Refuse trials that all become as long as the longest where they would not fit into memory."""
    what = f"a recording of {n_trials} trials of up to {n_bins} bins of {n_units} units"
    check_room(_BYTES_PER_COUNT * n_trials * int(n_bins) * n_units, what=what)

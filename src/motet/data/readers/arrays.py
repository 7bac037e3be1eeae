"""Trajectories as plain arrays, or as samples at times in any order, put on a grid of time bins: a `Recording`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.pairs import are_pairs
from motet.data.readers.reading import load_arrays
from motet.data.recording import Level, Recording
from motet.errors import InputError, did_you_mean
from motet.given import is_known, labels, names, numbers, trial_names, unknown
from motet.memory import GIB, check_room
from motet.settings import Positive, Settings

MOST_WHOLE = 2.0**53  # of numbers of 64 bits with a point: beyond, whole ones are not told apart
QUANTITIES = ("mass", "charge", "frequency")
LEVELS: dict[str, Level] = {
    **dict.fromkeys(("system", *QUANTITIES), "individual"),
    **dict.fromkeys(("interacts", "coupling"), "pair"),
}
Leveled = tuple[Level, NDArray[Any]]  # a target, and what it is of
TRAJECTORY_ARRAYS = frozenset({"positions", "values", "time", "observed", "individual_ids", "trial_ids", *LEVELS})
AXES = ("trial", "individual", "time", "feature")

MOST_JITTER = 0.1  # of a step: 60 frames a second, stamped in whole milliseconds, lie up to 0.06 off
MOST_EMPTY = 1000  # cells of the grid per sample; beyond, a stamp or the step is wrong
MOST_BYTES = GIB // 4  # of an array that is mostly empty; a larger one may be so many times what is given for it:
MOST_TIMES_GIVEN = 10
MOST_SECONDS = 2.0**53  # beyond, a number of 64 bits does not tell one second from the next
_RESAMPLING = 12  # numbers per cell that interpolation takes beside the values


@dataclasses.dataclass(frozen=True)
class Clock(Settings):
    """How stamps become bins: on the step that they show, or that is given, or resampled."""

    bin_seconds: Positive | None = None
    resample_seconds: Positive | None = None
    longest_gap_seconds: Positive | None = None

    def check(self) -> None:
        """Refuse options that go only together, or only without each other."""
        if (self.resample_seconds is None) != (self.longest_gap_seconds is None):
            raise InputError(
                "one of resample_seconds and longest_gap_seconds is given without the other; give the step to resample "
                "at and the longest gap to interpolate in, or neither."
            )
        if None not in (self.resample_seconds, self.bin_seconds):
            raise InputError("both resample_seconds and bin_seconds are given; give one of them.")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples in any order: for each the places of its trial and individual among the labels, a time, and values.

    Values (sample, feature) are NaN where unknown. Of a table, `row` is the row of each sample, and `place` what a
    message calls that.
    """

    source: str
    trial: NDArray[np.int64]
    individual: NDArray[np.int64]
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]
    trial_labels: tuple[str, ...]
    individual_labels: tuple[str, ...]
    row: NDArray[np.int64] | None = None
    place: Callable[[int], str] | None = None

    def take(self, chosen: NDArray[Any]) -> Samples:
        keys = ("trial", "individual", "seconds", "values", *(() if self.row is None else ("row",)))
        return dataclasses.replace(self, **{key: getattr(self, key)[chosen] for key in keys})

    def where(self, sample: int) -> str:
        trial, individual = self.trial_labels[self.trial[sample]], self.individual_labels[self.individual[sample]]
        place = "" if self.row is None or self.place is None else f", {self.place(int(self.row[sample]))}"
        return f"{self.source}{place}: trial {trial!r}, individual {individual!r}, time {self.seconds[sample]:.12g} s"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Samples on bins of one width: values (trial, individual, bin, feature) with NaN where unknown.

    `starts` (trial,) are seconds of the first stamps; None if trials share a time. `frames` (sample,) are the bins of
    the samples as given; None if they were resampled.
    """

    values: NDArray[np.float64]
    bin_seconds: float
    starts: NDArray[np.float64] | None
    frames: NDArray[np.int64] | None


def on_grid(samples: Samples, clock: Clock) -> Grid:
    """The samples on a grid of bins."""
    if (wild := np.abs(samples.seconds) > MOST_SECONDS).any():
        raise InputError(f"{samples.where(int(wild.argmax()))} is no time of a clock; give seconds from its start.")
    by_time = np.lexsort((samples.seconds, samples.individual, samples.trial))
    samples = samples.take(by_time)
    n_trials = len(samples.trial_labels)
    first, last = np.full(n_trials, np.inf), np.full(n_trials, -np.inf)
    np.minimum.at(first, samples.trial, samples.seconds)
    np.maximum.at(last, samples.trial, samples.seconds)
    _refuse_twice(samples, samples.seconds)
    n_features, frames_as_given = samples.values.shape[1], None
    if clock.resample_seconds is None:
        frames, step = _frames(samples, clock, first)
        shape = _checked_shape(samples, frames.max() + 1, step, n_features)
        values = np.full((*shape, n_features), np.nan)
        values[samples.trial, samples.individual, frames.astype(np.int64)] = samples.values
        frames_as_given = np.empty(len(frames), dtype=np.int64)
        frames_as_given[by_time] = frames
    else:
        step = float(clock.resample_seconds)
        n_bins = np.floor((last - first).max() / step + 1e-6) + 1
        values = _resampled(samples, clock, first, _checked_shape(samples, n_bins, step, n_features + _RESAMPLING))
    order = np.argsort(first)
    one_clock = (last[order[:-1]] + step / 2 < first[order[1:]]).all()
    return Grid(values, step, first if one_clock else None, frames_as_given)


def check_bytes(n_bytes: float, *, given: float, what: str, advice: str) -> None:
    """Refuse an array before it is made, if there is no room, or it is large and far more than was given."""
    if not n_bytes <= max(MOST_BYTES, MOST_TIMES_GIVEN * given):
        raise InputError(f"{what} would take {n_bytes / GIB:.3g} GiB, far more than what fills it; {advice}.")
    check_room(int(n_bytes), what=what)


def _checked_shape(samples: Samples, n_bins: float, step: float, n_numbers: int) -> tuple[int, int, int]:
    """Trials, individuals and bins of the grid; refused if it would be mostly empty, and large."""
    n_trials, n_individuals = len(samples.trial_labels), len(samples.individual_labels)
    n_cells, n_samples = float(n_trials) * n_individuals * n_bins, len(samples.seconds)
    if not n_cells <= MOST_EMPTY * max(n_samples, MOST_EMPTY):
        raise InputError(
            f"{samples.where(int(samples.seconds.argmax()))}, the last of all, is one of {n_samples} samples for "
            f"{n_trials} trials × {n_individuals} individuals × {n_bins:.6g} bins of {step:g} s; correct the stamps, "
            "give another step, or name individuals alike in all trials."
        )
    check_bytes(
        n_cells * 8 * n_numbers,
        given=samples.values.nbytes,
        what=f"{samples.source}: a grid of {n_trials} trials × {n_individuals} individuals × {n_bins:.0f} bins",
        advice="name individuals alike in all trials, cut long trials into several, or read fewer features",
    )
    return n_trials, n_individuals, int(n_bins)


def _frames(samples: Samples, clock: Clock, first: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The whole steps of each sorted sample since the start of its trial, and the step."""
    step = clock.bin_seconds
    if step is None:
        gaps = np.diff(samples.seconds)[_continues(samples)]
        if not len(gaps):
            raise InputError(
                f"{samples.where(0)}: no individual has a second time; give two or more, or say bin_seconds."
            )
        usual = np.quantile(gaps, 0.5, method="lower")
        near_one = gaps[np.abs(gaps - usual) <= 0.2 * usual].mean()
        n_steps = np.rint(gaps / near_one)
        is_whole = np.abs(gaps / near_one - n_steps) <= 0.25
        # 0.1, not 0.09999999999999999 as sums of binary fractions have it.
        step = float(f"{gaps[is_whole].sum() / n_steps[is_whole].sum():.12g}")
    with np.errstate(over="ignore", invalid="ignore"):
        steps = (samples.seconds - first[samples.trial]) / step
        frames = np.rint(steps)
        bad = np.abs(steps - frames) > MOST_JITTER
    if bad.any():
        sample = int(bad.argmax())
        raise InputError(
            f"{samples.where(sample)} lies {steps[sample]:.6g} steps of {step:.6g} s after the first stamp of its "
            "trial, and whole steps are expected; correct it, say bin_seconds if the step is another, or give "
            "resample_seconds and longest_gap_seconds to interpolate."
        )
    _refuse_twice(samples, frames)
    return frames, float(step)


def _resampled(
    samples: Samples, clock: Clock, first: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Values (trial, individual, bin, feature) of sorted samples, interpolated where the gap is short enough."""
    step, longest = clock.resample_seconds, clock.longest_gap_seconds
    assert step is not None
    assert longest is not None
    samples = samples.take(np.flatnonzero(~np.isnan(samples.values).any(axis=1)))
    trial, individual, frame = np.indices(shape).reshape(3, -1)
    seconds, near = first[trial] + frame * step, 1e-6 * step
    # Merge samples and bins by trial, individual and time: the samples counted before a bin tell the one to its left.
    is_bin = np.arange(len(samples.seconds) + len(seconds)) >= len(samples.seconds)
    keys = [(is_bin,), (samples.seconds, seconds), (samples.individual, individual), (samples.trial, trial)]
    is_bin = is_bin[np.lexsort([np.concatenate(key) for key in keys])]
    left = (np.cumsum(~is_bin) - 1)[is_bin]
    right = left + 1
    series = np.append(samples.trial * shape[1] + samples.individual, -1)  # place -1 and the end: no sample
    of_bin = trial * shape[1] + individual
    at, values = np.append(samples.seconds, 0.0), np.pad(samples.values, ((0, 1), (0, 0)))
    has_left, has_right, gap = series[left] == of_bin, series[right] == of_bin, at[right] - at[left]
    between = has_left & has_right & (gap <= longest + near)
    on_left, on_right = has_left & (seconds - at[left] <= near), has_right & (at[right] - seconds <= near)
    weight = np.divide(seconds - at[left], gap, out=on_right.astype(float), where=between)[:, None]
    found = values[left] + (values[right] - values[left]) * weight
    found[~(between | on_left | on_right)] = np.nan
    return found.reshape(*shape, -1)


def _continues(samples: Samples) -> NDArray[np.bool_]:
    """Of sorted samples but the last, whether the next is of the same trial and individual."""
    return np.asarray((np.diff(samples.trial) == 0) & (np.diff(samples.individual) == 0))


def _refuse_twice(samples: Samples, places: NDArray[Any]) -> None:
    if (twice := _continues(samples) & (np.diff(places) == 0)).any():
        sample = int(twice.argmax()) + 1
        raise InputError(f"{samples.where(sample)} has two samples for one time; keep one of them.")


def recording_of_arrays(
    arrays: Mapping[str, NDArray[Any]],
    clock: Clock,
    *,
    source: str,
    targets: Mapping[str, Leveled] | None = None,
    **about: str,
) -> Recording:
    """The recording of values (trial, individual, time, feature), and any others of `TRAJECTORY_ARRAYS`, by name.

    `source` is what messages call them; `targets` are others than those of `LEVELS`.
    """
    values = numbers(arrays["values"], what=f"{source}: values")
    shape = values.shape[:3]
    if 0 in values.shape:
        raise InputError(f"{source}: values have shape {values.shape}; give at least one of each axis.")
    if "observed" in arrays:
        observed = arrays["observed"]
        if observed.shape not in (shape, shape[1:]) or observed.dtype.kind != "b":
            raise InputError(
                f"{source}: observed has shape {observed.shape} of {observed.dtype}; give {shape}, True where observed."
            )
        values = np.where(observed[..., None], values, np.nan)
    ids: dict[str, tuple[str, ...]] = {}
    for key, size in (("individual_ids", shape[1]), ("trial_ids", shape[0])):
        if key in arrays:
            array = arrays[key].ravel()
            ids[key] = names(array.astype(str) if array.dtype.kind in "mM" else array, what=f"{source}: {key}")
            if len(ids[key]) != size:
                raise InputError(f"{source}: {key} has {len(ids[key])} names; give {size}, one for each.")
    targets = dict(targets or {})
    step, starts = (1.0 if clock.bin_seconds is None else clock.bin_seconds), None
    if "time" in arrays:
        seconds = _seconds(arrays["time"], shape[2], source)
        if clock.resample_seconds is None:
            frames, step, starts = _frames_of_stamps(seconds, clock, source)
            values = _placed(values, frames, axis=2, fill=np.nan, what=f"{source}: values")
            starts = starts if shape[0] == 1 else None
            for key, (level, target) in targets.items():
                if level == "bin":
                    target = target.astype(np.int64) if target.dtype.kind == "b" else target
                    placed = _placed(
                        target, frames, axis=1, fill=unknown(target.dtype), what=f"{source}: target {key!r}"
                    )
                    targets[key] = "bin", placed
        else:
            if per_bin := [key for key, (level, _) in targets.items() if level == "bin"]:
                raise InputError(
                    f"{source}: target {per_bin[0]!r} is per bin, and cannot be resampled; resample it before, or "
                    "leave it out."
                )
            values, step, starts = _resampled_arrays(values, seconds, clock, ids, source)
    elif clock.resample_seconds is not None:
        raise InputError(f"{source} has no time, so that nothing can be resampled; give the stamps, time (time,).")
    starts = arrays.get("trial_start_seconds", starts)
    return recording_of_grid(
        values,
        {key: (level, arrays[key]) for key, level in LEVELS.items() if key in arrays} | targets,
        source=source,
        individual_ids=ids.get("individual_ids"),
        trial_labels=ids.get("trial_ids"),
        bin_seconds=step,
        trial_start_seconds=starts,
        **about,
    )


def recording_of_grid(
    values: NDArray[np.float64],
    targets: Mapping[str, Leveled],
    *,
    source: str,
    trial_labels: Sequence[str] | None,
    **fields: Any,
) -> Recording:
    """The recording of values (trial, individual, bin, feature) with NaN; targets of `LEVELS` are checked."""
    _check_values(values, source)
    n_trials, n_individuals = values.shape[:2]
    check = functools.partial(checked_target, n_given=values.nbytes, source=source)
    found = {
        key: check(key, target, n_trials, n_individuals) if key in LEVELS else target
        for key, (_, target) in targets.items()
    }
    levels = {key: level for key, (level, _) in targets.items()}
    if "system" in found and "interacts" not in found:
        check_pairs("interacts", n_trials, n_individuals, n_given=values.nbytes, source=source)
        found["interacts"], levels["interacts"] = same_system(found["system"]), "pair"
    return Recording.from_trials(
        values,
        targets=found,
        target_levels=levels,
        trial_ids=None if trial_labels is None else trial_names(trial_labels, what=f"{source}: trial_ids"),
        **fields,
    )


def checked_target(
    key: str, target: Any, n_trials: int, n_individuals: int, *, source: str, n_given: float = np.inf
) -> NDArray[Any]:
    """A target of `LEVELS` as motet has it.

    It is given as (trial, individual[, individual]), or without the trial where it is the same for every one. Systems
    are whole numbers with -1 where unknown, or else text; edge types are whole numbers with -1 where unknown and on the
    diagonal; quantities have NaN there. A target of pairs far larger than the `n_given` bytes is refused.
    """
    is_pair = LEVELS[key] == "pair"
    shape = (n_trials, n_individuals, n_individuals) if is_pair else (n_trials, n_individuals)
    array = labels(target, what=f"{source}: {key}")
    if array.shape not in (shape, shape[1:]):
        raise InputError(f"{source}: {key} has shape {array.shape}; give {shape}, or {shape[1:]} for every trial.")
    if is_pair:
        check_pairs(key, n_trials, n_individuals, n_given=max(n_given, array.nbytes), source=source)
    if key == "system" and array.dtype.kind == "U":
        return np.array(np.broadcast_to(_systems(array), shape))
    if array.dtype.kind == "U" or np.isinf(array).any():
        raise InputError(f"{source}: {key} is of {array.dtype}, or infinite; give finite numbers, NaN for unknown.")
    known = np.where(is_known(array), array, np.nan).astype(np.float64)
    known = np.array(np.broadcast_to(known, shape))
    if is_pair:
        diagonal = np.arange(n_individuals)
        known[:, diagonal, diagonal] = np.nan
    if key not in ("system", "interacts"):
        return known
    whole = np.nan_to_num(known, nan=-1)
    if (whole != np.rint(whole)).any() or (whole > MOST_WHOLE).any():
        raise InputError(f"{source}: {key} is not made of whole numbers; give 0 or more, and -1 for unknown.")
    return np.maximum(whole, -1).astype(np.int64)


def same_system(system: NDArray[Any]) -> NDArray[np.int64]:
    """(trial, individual, individual): 1 in one system, 0 in two; -1 on the diagonal and where one is unknown."""
    number = system_numbers(system)
    known = are_pairs((number >= 0)[..., None])
    return np.where(known, number[:, :, None] == number[:, None], -1).astype(np.int64)


def system_numbers(system: NDArray[Any]) -> NDArray[np.int64]:
    """Labels of systems as numbers: those that are text in alphabetical order, -1 for unknown.

    Example:
        >>> system_numbers(np.array([["red", "", "blue"]]))
        array([[ 1, -1,  0]])
    """
    if system.dtype.kind != "U":
        return system
    labels, place = np.unique(np.append("", system), return_inverse=True)  # no text comes first
    return np.asarray(np.arange(-1, len(labels) - 1)[place[1:].reshape(system.shape)])


def _systems(array: NDArray[np.str_]) -> NDArray[Any]:
    """Labels of systems as whole numbers from 0 with -1 for unknown, if they are such, and else as they are."""
    distinct, place = np.unique(array, return_inverse=True)
    whole = trial_names([label or "0" for label in distinct.tolist()], what="system")
    if whole.dtype.kind == "U" or (whole < 0).any():
        return array
    return np.where(distinct == "", -1, whole)[place.reshape(array.shape)]


def check_pairs(key: str, n_trials: int, n_individuals: int, *, n_given: float, source: str) -> None:
    """Refuse a target of pairs, before it is made, that would take far more memory than was given for it."""
    check_bytes(
        8.0 * n_trials * n_individuals**2,
        given=n_given,
        what=f"{source}: target {key!r} of all pairs of {n_individuals} individuals in {n_trials} trials",
        advice="name individuals alike in all trials, or leave out what it is made of: say features=[…], targets=[]",
    )


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, with values (trial, individual, time, feature)."""
    arrays = load_arrays(path, copied=("positions", "values"))
    for key in arrays:
        if key == "motet_format_version":
            raise InputError(f"{path} is a recording that motet saved; read it by motet.read_recording.")
        if key not in TRAJECTORY_ARRAYS:
            raise did_you_mean(key, TRAJECTORY_ARRAYS, what=f"array of {path}")
    key = "values" if "values" in arrays else "positions"
    if ("positions" in arrays) == ("values" in arrays):
        raise InputError(
            f"{path} holds {'both' if key in arrays else 'neither'} positions and values; give one of them."
        )
    values = arrays.pop(key)
    n_times = arrays["time"].size if "time" in arrays else None
    if values.ndim == 3 and key == "values" and n_times in (None, values.shape[2]):
        raise InputError(
            f"{path} has values of shape {values.shape}, which may be (individual, time, feature) or (trial, "
            "individual, time); name them positions if they are the former, or give all four axes."
        )
    if values.ndim not in (3, 4):
        raise InputError(f"{path} has {key} of shape {values.shape}; give ([trial,] individual, time, feature).")
    return arrays | {"values": values if values.ndim == 4 else values[None]}


def _seconds(time: NDArray[Any], n_times: int, source: str) -> NDArray[np.float64]:
    """(time,) seconds, of numbers, dates (since the first) or durations."""
    if time.shape != (n_times,):
        raise InputError(
            f"{source}: time has shape {time.shape}; give ({n_times},), one stamp per time for all trials."
        )
    if time.dtype.kind == "M":
        time = time - time[0]
    seconds = time / np.timedelta64(1, "s") if time.dtype.kind == "m" else numbers(time, what=f"{source}: time")
    if not np.isfinite(seconds).all():
        place = int((~np.isfinite(seconds)).argmax())
        raise InputError(f"{source}: time {place} is {time[place]}; give a finite number of seconds.")
    return seconds


def _frames_of_stamps(
    seconds: NDArray[np.float64], clock: Clock, source: str
) -> tuple[NDArray[np.int64], float, NDArray[np.float64] | None]:
    """The bin of every stamp, the step, and the start."""
    nowhere, every = np.zeros(len(seconds), dtype=np.int64), ("every one",)
    grid = on_grid(Samples(source, nowhere, nowhere, seconds, seconds[:, None], every, every), clock)
    assert grid.frames is not None
    return grid.frames, grid.bin_seconds, grid.starts


def _placed(array: NDArray[Any], frames: NDArray[np.int64], *, axis: int, fill: Any, what: str) -> NDArray[Any]:
    """An array with its times in their bins, and in others what is unknown."""
    shape = list(array.shape)
    shape[axis] = int(frames.max()) + 1
    advice = "correct the stamps, or cut long trials into several"
    check_bytes(float(np.prod(shape, dtype=float)) * array.itemsize, given=array.nbytes, what=what, advice=advice)
    placed = np.full(shape, fill, dtype=array.dtype)
    placed[(slice(None),) * axis + (frames,)] = array
    return placed


def _resampled_arrays(
    values: NDArray[np.float64],
    seconds: NDArray[np.float64],
    clock: Clock,
    ids: Mapping[str, Sequence[str]],
    source: str,
) -> tuple[NDArray[np.float64], float, NDArray[np.float64] | None]:
    """Values (trial, individual, bin, feature), the step, and the start of the trial if it is one."""
    n_trials, n_individuals = values.shape[:2]
    trial, individual, time = np.indices(values.shape[:3]).reshape(3, -1)
    samples = Samples(
        source=source,
        trial=trial,
        individual=individual,
        seconds=seconds[time],
        values=values.reshape(trial.size, -1),
        trial_labels=tuple(ids.get("trial_ids", map(str, range(n_trials)))),
        individual_labels=tuple(ids.get("individual_ids", map(str, range(n_individuals)))),
    )
    grid = on_grid(samples, clock)
    return grid.values, grid.bin_seconds, grid.starts


def _check_values(values: NDArray[np.float64], source: str) -> None:
    """Refuse numbers beyond the range of 32 bits, and values of which none is known."""
    with np.errstate(over="ignore"):
        wild = np.isinf(values.astype(np.float32))
    if wild.any():
        place = tuple(np.argwhere(wild)[0])
        raise InputError(
            f"{source}: values[{', '.join(map(str, place))}] is {values[place]:g}; give finite numbers below 3e38, NaN "
            "where not observed."
        )
    if np.isnan(values).any(axis=-1).all():
        raise InputError(f"{source} has no sample of which all features are known finite numbers; give some.")

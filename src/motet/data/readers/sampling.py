"""Samples at times, in any order, put on a grid of time bins: `on_grid`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError
from motet.memory import GIB, check_room

MOST_JITTER = 0.1  # of a step: 60 frames a second, stamped in whole milliseconds, lie up to 0.06 off
MOST_EMPTY = 1000  # cells of the grid per sample; beyond, a stamp or the step is wrong
MOST_BYTES = GIB // 4  # of an array that is mostly empty; a larger one may be so many times what is given for it:
MOST_TIMES_GIVEN = 10
MOST_SECONDS = 2.0**53  # beyond, a number of 64 bits does not tell one second from the next
_RESAMPLING = 12  # numbers per cell that interpolation takes beside the values


@dataclasses.dataclass(frozen=True)
class Clock:
    """How stamps become bins: on the step that they show, or that is given, or resampled."""

    bin_seconds: float | None = None
    resample_seconds: float | None = None
    longest_gap_seconds: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isinstance(value, int | float | np.number) and 0 < value < np.inf):
                raise InputError(f"{field.name} is {value!r}; give a positive number of seconds.")
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

    Values (sample, feature) are NaN where unknown. Of a table, `row` is the row of each sample, and `line` its line.
    """

    source: str
    trial: NDArray[np.int64]
    individual: NDArray[np.int64]
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]
    trial_labels: tuple[str, ...]
    individual_labels: tuple[str, ...]
    row: NDArray[np.int64] | None = None
    line: Callable[[int], int] | None = None

    def take(self, chosen: NDArray[Any]) -> Samples:
        keys = ("trial", "individual", "seconds", "values", *(() if self.row is None else ("row",)))
        return dataclasses.replace(self, **{key: getattr(self, key)[chosen] for key in keys})

    def where(self, sample: int) -> str:
        trial, individual = self.trial_labels[self.trial[sample]], self.individual_labels[self.individual[sample]]
        line = "" if self.row is None or self.line is None else f", line {self.line(int(self.row[sample]))}"
        return f"{self.source}{line}: trial {trial!r}, individual {individual!r}, time {self.seconds[sample]:.12g} s"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Samples on bins of one width.

    Attributes:
        values: (trial, individual, bin, feature) with NaN where unknown.
        bin_seconds: width of a bin.
        starts: (trial,) seconds of the first stamps; None if trials share a time.
        frames: (sample,) the bin of each sample, in the order in which they were given; None if they were resampled.
    """

    values: NDArray[np.float64]
    bin_seconds: float
    starts: NDArray[np.float64] | None
    frames: NDArray[np.int64] | None


def on_grid(samples: Samples, clock: Clock) -> Grid:
    """The samples on a grid.

    Raises:
        InputError: naming the sample whose stamp does not fit, or what memory the grid would take.
    """
    if (wild := np.abs(samples.seconds) > MOST_SECONDS).any():
        raise InputError(f"{samples.where(int(wild.argmax()))} is no time of a clock; give seconds from its start.")
    by_time = np.lexsort((samples.seconds, samples.individual, samples.trial))
    samples = samples.take(by_time)
    n_trials = len(samples.trial_labels)
    first, last = np.full(n_trials, np.inf), np.full(n_trials, -np.inf)
    np.minimum.at(first, samples.trial, samples.seconds)
    np.maximum.at(last, samples.trial, samples.seconds)
    _refuse_twice(samples, samples.seconds)
    if clock.resample_seconds is None:
        frames, step = _frames(samples, clock, first)
        n_bins = frames.max() + 1
    else:
        step = float(clock.resample_seconds)
        n_bins = np.floor((last - first).max() / step + 1e-6) + 1
    shape = _checked_shape(samples, n_bins, step, is_resampled=clock.resample_seconds is not None)
    frames_as_given = None
    if clock.resample_seconds is None:
        values = np.full((*shape, samples.values.shape[1]), np.nan)
        values[samples.trial, samples.individual, frames.astype(np.int64)] = samples.values
        frames_as_given = np.empty(len(frames), dtype=np.int64)
        frames_as_given[by_time] = frames
    else:
        values = _resampled(samples, clock, first, shape)
    order = np.argsort(first)
    one_clock = (last[order[:-1]] + step / 2 < first[order[1:]]).all()
    return Grid(values, step, first if one_clock else None, frames_as_given)


def check_bytes(n_bytes: float, *, given: float, what: str, advice: str) -> None:
    """Refuse an array before it is made, if there is no room for it, or it is large and far more than was given for it.

    Args:
        n_bytes: of the array.
        given: bytes of what it is made from.
        what: the array is, and of what source.
        advice: what to do.

    Raises:
        InputError: saying how much memory the array would take.
    """
    if not n_bytes <= max(MOST_BYTES, MOST_TIMES_GIVEN * given):
        raise InputError(f"{what} would take {n_bytes / GIB:.3g} GiB, far more than what fills it; {advice}.")
    check_room(int(n_bytes), what=what)


def _checked_shape(samples: Samples, n_bins: float, step: float, *, is_resampled: bool) -> tuple[int, int, int]:
    """Trials, individuals and bins of the grid; refused if it would be mostly empty, and large."""
    n_trials, n_individuals = len(samples.trial_labels), len(samples.individual_labels)
    n_cells, n_samples = float(n_trials) * n_individuals * n_bins, len(samples.seconds)
    if not n_cells <= MOST_EMPTY * max(n_samples, MOST_EMPTY):
        raise InputError(
            f"{samples.where(int(samples.seconds.argmax()))}, the last of all, is one of {n_samples} samples for "
            f"{n_trials} trials × {n_individuals} individuals × {n_bins:.6g} bins of {step:g} s; correct the stamps, "
            "give another step, or name individuals alike in all trials."
        )
    n_features = samples.values.shape[1]
    check_bytes(
        n_cells * 8 * (n_features + (_RESAMPLING if is_resampled else 0)),
        given=n_samples * 8 * n_features,
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

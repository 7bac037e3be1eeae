"""What runs on one clock, in seconds, as users hand it over: spikes, signals, behaviour and trials.

`Recording.from_spikes` and `Recording.from_continuous` are made of this; `motet.data.cut` says how it is put into bins.
The objects of pynapple are taken wherever arrays are: TsGroup for spikes, Tsd and TsdFrame for what is sampled,
IntervalSet for trials.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.binning import SAME_TIME, average_samples, count_in_trials, late_samples
from motet.data.cut import Cut, cut_trials, cut_windows, per_bin, seen_bins
from motet.data.trials import narrowest
from motet.errors import InputError

FEW_TRIALS = 2  # may last far less than a recording
MOST_TIMES_LONGER = 400  # one clock than another; milliseconds are a thousand
_FEWEST_SPIKES = 20  # that tell their unit of time
SLOWEST_HZ = 0.02  # usual rate of cells: of milliseconds taken for seconds it is a thousandth
MOST_OFTEN_AS_LONG = 10  # the longest silence of a unit: a trial further from all spikes was not recorded
FEWEST_STEPS = 2  # of samples: bins that are as short are mostly empty


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """What was cut out of a stream.

    Attributes:
        cut: where trials are.
        values: (trial, individual, bin, feature), 0 where not observed.
        observed: (trial, individual, bin).
        names: of the individuals, in the stream.
        is_kept: which trials these are, of those asked for; None for all.
    """

    cut: Cut
    values: NDArray[np.float32] | NDArray[np.float64]
    observed: NDArray[np.bool_]
    names: list[str]
    is_kept: NDArray[np.bool_] | None = None


class Signals(NamedTuple):
    """Samples (individual, sample, feature), their times (sample,) if they have any, and names of individuals."""

    samples: NDArray[np.float64]
    seconds: NDArray[np.float64] | None
    names: list[str]


def spikes_in_trials(
    spike_times: Any, trial_starts: Any, window: tuple[float, float] | None, bin_seconds: float, seen: Any, ids: Any
) -> Pieces:
    """Counts around the starts of trials, which may overlap if they share one of `ids`."""
    units, names = units_of(spike_times)
    cut = cut_trials(*intervals_of(trial_starts, what="trial_starts"), window, bin_seconds, ids)
    check_trials_meet(units, cut, what="spike times")
    if seen is None:
        _refuse_unrecorded(units, cut)
    return _counted(units, names, cut, seen)


def continuous_spikes(
    spike_times: Any, within: Any, window: float | None, bin_seconds: float, seen: Any, behaviour: Mapping[str, Any]
) -> Pieces:
    """Counts in windows side by side."""
    units, names = units_of(spike_times)
    support = getattr(spike_times, "time_support", None)
    spans = stretches(within, support, units, behaviour, what="spike times", bin_seconds=bin_seconds)
    return _counted(units, names, cut_windows(spans, window, bin_seconds), seen)


def _counted(units: Sequence[NDArray[np.float64]], names: list[str], cut: Cut, seen: Any) -> Pieces:
    cut.check_room(len(units))
    is_inside = cut.is_inside
    observed: NDArray[np.bool_] = np.broadcast_to(is_inside[:, None], (len(is_inside), len(units), is_inside.shape[1]))
    if seen is not None:
        members = [spans_of(one, what="seen") for one in given.in_order(seen, what="seen")]
        if len(members) != len(units):
            raise InputError(f"seen has intervals of {len(members)} units, but there are {len(units)}; give each some.")
        observed = observed & seen_bins(members, cut)
    counts = count_in_trials(units, cut.edges)
    if not observed.all():
        counts[~observed] = 0
    return Pieces(cut, counts[..., None], observed, names)


def signals_in_trials(
    values: Any, times: Any, trial_starts: Any, window: tuple[float, float] | None, bin_seconds: float, ids: Any
) -> Pieces:
    """Signals averaged around the starts of trials, which may overlap if they share one of `ids`."""
    signals = signals_of(values, times)
    if signals.seconds is None:
        raise InputError("values come without times; give times=, the second of each sample.")
    cut = cut_trials(*intervals_of(trial_starts, what="trial_starts"), window, bin_seconds, ids)
    check_trials_meet([signals.seconds], cut, what="times")
    return _averaged(signals, cut)


def continuous_signals(
    values: Any, times: Any, within: Any, window: float | None, bin_seconds: float, behaviour: Mapping[str, Any]
) -> Pieces:
    """Signals in windows side by side: averaged where they were sampled at times, and else one for each bin."""
    signals = signals_of(values, times)
    if signals.seconds is not None:
        support = getattr(values, "time_support", None)
        spans = stretches(within, support, [signals.seconds], behaviour, what="times", bin_seconds=bin_seconds)
        return _averaged(signals, cut_windows(spans, window, bin_seconds))
    n_bins = signals.samples.shape[1]
    spans = np.array([[0.0, n_bins * bin_seconds]]) if within is None else spans_of(within, what="within")
    cut = cut_windows(spans, window, bin_seconds)
    bins = np.rint(cut.edges[:, :-1] / bin_seconds).astype(np.int64)
    if bins.min() < 0 or bins.max() >= n_bins:
        raise InputError(f"within goes beyond the {n_bins} bins that there are; give stretches inside.")
    return _observed(signals.samples[:, bins].swapaxes(0, 1), signals.names, cut)


def _averaged(signals: Signals, cut: Cut) -> Pieces:
    samples, seconds = signals.samples, signals.seconds
    assert seconds is not None
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    if step > FEWEST_STEPS * (1 - SAME_TIME) * cut.bin_seconds:
        raise InputError(
            f"samples are {step:.3g} s apart and bins last {cut.bin_seconds:g} s, so that most bins would be empty; "
            f"give times in seconds, if these are milliseconds or samples, or bins of {step:.3g} s at least."
        )
    cut.check_room(len(samples) * samples.shape[2])
    means = average_samples(seconds, samples.swapaxes(0, 1).reshape(len(seconds), -1), cut.edges)
    means[~cut.is_inside] = np.nan
    return _observed(means.reshape(*means.shape[:2], *samples.shape[::2]).swapaxes(1, 2), signals.names, cut)


def _observed(binned: NDArray[np.float64], names: list[str], cut: Cut) -> Pieces:
    """Values in bins as pieces, without the trials of which nothing was observed."""
    observed = np.asarray(~np.isnan(binned).any(axis=-1))
    is_seen: NDArray[np.bool_] = np.asarray(observed.any(axis=(1, 2)))
    if not is_seen.any():
        raise InputError("no sample is in any trial or window; give times and trials on one clock, in seconds.")
    if not is_seen.all():
        cut, binned, observed = cut.of(is_seen), binned[is_seen], observed[is_seen]
    return Pieces(cut, narrowest(np.where(observed[..., None], binned, 0.0), observed), observed, names, is_seen)


def behaviour_per_bin(behaviour: Mapping[str, Any], cut: Cut) -> dict[str, NDArray[Any]]:
    """Every behaviour in bins, (trial, bin, …); one that shares no time with the trials is refused."""
    found = {}
    for name, one in behaviour.items():
        times, samples = samples_of(one, what=f"behaviour {name!r}", bin_seconds=cut.bin_seconds)
        if len(cut.edges) > FEW_TRIALS:
            check_clocks([times], [cut.start, cut.end], what=(f"times of behaviour {name!r}", "trials"))
        found[name] = per_bin(times, samples, cut)
    return found


# ------------------------------------------------------------------ what users hand over


def by_name(behaviour: Any) -> Mapping[str, Any]:
    """Behaviours by name; none of None."""
    if behaviour is None or isinstance(behaviour, Mapping):
        return behaviour or {}
    raise InputError(f"behaviour is a {type(behaviour).__name__}; give (times, samples), or a Tsd, by name.")


def are_sampled(values: Any) -> bool:
    """Whether it is a Tsd, a TsdFrame or a TsdTensor."""
    return hasattr(values, "t") and hasattr(values, "d")


def are_spikes(values: Any) -> bool:
    """Whether it is a container of spike times, and not one array."""
    return isinstance(values, Mapping | list | tuple) or hasattr(values, "rates")


def signals_of(values: Any, times: Any) -> Signals:
    """Signals of an array (individual, sample[, feature]) and times, or of a Tsd, TsdFrame or TsdTensor."""
    names: Any = None
    if are_sampled(values):
        names = getattr(values, "columns", None)
        times, samples = values.t, np.asarray(values.d)
        values = samples[None] if samples.ndim == 1 else samples.swapaxes(0, 1)
    array = given.numbers(given.on_axes(values, given.AXES[1:], what="values"), what="values")
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise InputError(f"values have shape {array.shape}; give (individual, time) or (individual, time, feature).")
    if np.isinf(array).any():
        raise InputError("values are infinite in places; replace them, or mark them NaN for 'not observed'.")
    names = [str(one) for one in (range(len(array)) if names is None else names)]
    if times is None:
        return Signals(array, None, names)
    seconds = given.numbers(times, what="times")
    if seconds.shape != array.shape[1:2] or not np.isfinite(seconds).all():
        raise InputError(
            f"times have shape {seconds.shape} and values {array.shape}; give finite seconds, one for each sample "
            "of values (individual, time)."
        )
    kept = ~late_samples(seconds, what="times")
    return Signals(array[:, kept], seconds[kept], names)


def columns_of(trials: Any) -> dict[str, NDArray[Any]]:
    """The columns of an IntervalSet by name; none of anything else."""
    return {str(name): np.asarray(trials[name]) for name in getattr(trials, "metadata_columns", ())}


def units_of(spike_times: Any) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Spike times of each unit, and what units are called: after the keys of a dict or TsGroup, or by position."""
    keys = list(spike_times) if isinstance(spike_times, Mapping) else None
    members = given.in_order(spike_times, what="spike times")
    if keys is None and members and not hasattr(members[0], "__len__") and not hasattr(members[0], "t"):
        raise InputError("spike times are one flat list; give a list or dict with the times of each unit.")
    units = [given.numbers(getattr(one, "t", one), what="spike times") for one in members]
    for key, times in zip(keys or range(len(units)), units, strict=True):
        if times.ndim != 1 or not np.isfinite(times).all():
            raise InputError(
                f"the spike times of unit {key!r} are nested, NaN or infinite; give a flat list of seconds for each."
            )
    n_spikes = sum(map(len, units))
    if n_spikes < _FEWEST_SPIKES:
        return units, [str(key) for key in (range(len(units)) if keys is None else keys)]
    if all((times == np.rint(times)).all() for times in units):
        raise InputError(
            f"all {n_spikes} spike times are whole numbers ({_span_words(_span(units))}): samples, milliseconds or "
            "counts; divide samples by their rate, give counts to Recording.from_trials or from_continuous as an array."
        )
    lasting = sum(float(np.ptp(times)) for times in units if times.size)
    if n_spikes < SLOWEST_HZ * lasting:
        raise InputError(
            f"units fire once in {lasting / n_spikes:.3g} s, if spike times {_span_words(_span(units))} are seconds: "
            "they seem to be milliseconds or samples; divide them by their rate. Counts of cells that are so slow can "
            "be given to Recording.from_trials or from_continuous."
        )
    return units, [str(key) for key in (range(len(units)) if keys is None else keys)]


def intervals_of(given_intervals: Any, *, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Starts, and ends where there are any, of an IntervalSet, of (interval, 2) or of (trial,) times."""
    if hasattr(given_intervals, "start") and hasattr(given_intervals, "end"):
        given_intervals = np.stack([given_intervals.start, given_intervals.end], axis=-1)
    times = given.numbers(getattr(given_intervals, "t", given_intervals), what=what)
    if times.ndim not in (1, 2) or times.shape[1:] not in ((), (2,)) or not len(times):
        raise InputError(f"{what} have shape {times.shape}; give starts (trial,), or starts and ends (trial, 2).")
    if not np.isfinite(times).all():
        raise InputError(f"{what} are NaN or infinite in places; leave these out, with what goes with them.")
    if times.ndim == 1:
        return times, None
    if (times[:, 1] <= times[:, 0]).any():
        worst = int(np.argmax(times[:, 1] <= times[:, 0]))
        raise InputError(f"{what}: number {worst} goes from {times[worst, 0]:g} to {times[worst, 1]:g}; end it later.")
    return times[:, 0], times[:, 1]


def samples_of(given_samples: Any, *, what: str, bin_seconds: float) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Times (sample,) that increase, and samples (sample, …), of a Tsd, a TsdFrame or a pair (times, samples).

    An array is of one sample for each bin.
    """
    if are_sampled(given_samples):
        given_samples = (given_samples.t, np.asarray(given_samples.d))
    elif hasattr(given_samples, "dtype"):
        given_samples = ((np.arange(len(given_samples)) + 0.25) * bin_seconds, given_samples)  # inside each
    if not isinstance(given_samples, tuple | list) or len(given_samples) != 2:
        raise InputError(f"{what}: a {type(given_samples).__name__}; give a pair (times, samples), or a Tsd.")
    times = given.numbers(given_samples[0], what=f"times of {what}")
    samples = given.labels(given_samples[1], what=what)
    if times.ndim != 1 or samples.shape[:1] != times.shape or not times.size:
        raise InputError(f"{what}: {times.shape} times and samples {samples.shape}; give as many of both.")
    if not np.isfinite(times).all():
        raise InputError(f"times of {what} are NaN or infinite in places; leave these samples out.")
    if samples.dtype.kind == "f" and np.isinf(samples).any():
        raise InputError(f"{what} is infinite in places; give NaN where it is unknown.")
    kept = ~late_samples(times, what=f"times of {what}")
    return times[kept], samples[kept]


def spans_of(stretches: Any, *, what: str) -> NDArray[np.float64]:
    """(stretch, 2) seconds; one stretch may be (2,), and there may be none."""
    if not hasattr(stretches, "start"):
        times = given.numbers(stretches, what=what)
        stretches = times[None] if times.shape == (2,) else times
        if not times.size:
            return np.zeros((0, 2))
    starts, ends = intervals_of(stretches, what=what)
    if ends is None:
        raise InputError(f"{what} has starts without ends; give (stretch, 2) seconds.")
    return np.stack([starts, ends], axis=-1)


def stretches(
    within: Any,
    support: Any,
    members: Sequence[NDArray[np.float64]],
    behaviour: Mapping[str, Any],
    *,
    what: str,
    bin_seconds: float,
) -> NDArray[np.float64]:
    """(span, 2) as given by `within`; or where there are both values, of a known support or not, and behaviour."""
    tracks = [samples_of(one, what=f"behaviour {key!r}", bin_seconds=bin_seconds)[0] for key, one in behaviour.items()]
    for name, times in zip(behaviour, tracks, strict=True):
        check_clocks(members, [times], what=(what, f"times of behaviour {name!r}"))
    if within is not None:
        return spans_of(within, what="within")
    if (span := _span(members)) is None:
        raise InputError(f"there are no {what}; give some.")
    begin = np.floor(span[0] / bin_seconds) * bin_seconds
    spans = np.array([[begin, span[1] + bin_seconds]]) if support is None else spans_of(support, what="time_support")
    if tracks:
        spans = np.clip(spans, min(float(t[0]) for t in tracks), max(float(t[-1]) for t in tracks))
    spans = spans[spans[:, 1] > spans[:, 0]]
    if not len(spans):
        raise InputError(f"there is no stretch with both {what} and behaviour; give both in seconds on one clock.")
    return spans


# ------------------------------------------------------------------ clocks


def _span(members: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    filled = [times for times in members if times.size]
    return (min(float(t.min()) for t in filled), max(float(t.max()) for t in filled)) if filled else None


def _span_words(span: tuple[float, float] | None) -> str:
    return "none" if span is None else f"from {span[0]:.6g} to {span[1]:.6g}"


def check_clocks(
    first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]], *, what: tuple[str, str]
) -> None:
    """Refuse times of two things that cannot be seconds of one clock: they never meet, or one lasts far too long."""
    one, other = _span(first), _span(second)
    if one is None or other is None:
        return
    seen = f"{what[0]} go {_span_words(one)} and {what[1]} {_span_words(other)}"
    lasts = sorted(high - low for low, high in (one, other))
    if lasts[0] > 0 and lasts[1] > MOST_TIMES_LONGER * lasts[0]:
        raise InputError(
            f"{seen}: one lasts {lasts[1] / lasts[0]:.3g} times as long as the other, so it seems to be in "
            "milliseconds or samples; give both in seconds, on one clock (or cut the longer one to where the other is)."
        )
    if min(one[1], other[1]) < max(one[0], other[0]):
        raise InputError(
            f"{seen}, which never meet: their clocks differ; give both in seconds on one clock, for instance by adding "
            "what one is late."
        )


def check_trials_meet(members: Sequence[NDArray[np.float64]], cut: Cut, *, what: str) -> None:
    """Refuse times and trials that cannot be seconds of one clock."""
    if (span := _span(members)) is None:
        return
    if len(cut.edges) > FEW_TRIALS:
        check_clocks(members, [cut.start, cut.end], what=(what, "trials"))
    meets = (cut.end > span[0]) & (cut.start < span[1])
    if meets.mean() < 0.5:
        trials = _span_words(_span([cut.start, cut.end]))
        raise InputError(
            f"only {meets.sum()} of {meets.size} trials are where there are {what}, which go {_span_words(span)}, "
            f"and trials {trials}; give both in seconds, on one clock."
        )


def _refuse_unrecorded(units: Sequence[NDArray[np.float64]], cut: Cut) -> None:
    """Refuse trials that are so far before or after all spikes that nobody was recorded: they would count as silent."""
    span = _span(units)
    if span is None:
        return
    away = np.maximum(span[0] - cut.end, cut.start - span[1])
    if not (away > 0).any():
        return
    silences = [float(np.diff(np.sort(times)).max()) for times in units if len(times) > 1]
    is_far = away > MOST_OFTEN_AS_LONG * min(silences, default=np.inf)
    if is_far.any():
        raise InputError(
            f"{is_far.sum()} of {is_far.size} trials, such as the one from {cut.start[is_far][0]:.6g} s, are far from "
            f"all spike times, which go {_span_words(span)}: they would count as silent; give both in seconds on one "
            "clock, leave these trials out, or say by seen= when units could be seen."
        )

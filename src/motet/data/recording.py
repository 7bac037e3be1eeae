"""A `Recording`: one population of individuals, observed over trials.

Start here. Everything motet does begins with a recording and keeps its axis order:
trial, individual, time, feature.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from motet import given
from motet.data import labelled, streams
from motet.data.pynapples import PynappleObjects, objects_of
from motet.data.trials import narrowest, padded_values, target_array
from motet.errors import InputError, did_you_mean
from motet.late import Late
from motet.plain import plain_values
from motet.settings import Count, Positive, check_arguments

Level = Literal["trial", "bin", "individual", "pair"]
SAME_BINS = 1e-3  # of a bin: widths that differ by less are the same
MOST_COORDINATES = 3  # floats (trial, 3) or fewer may be a point in space


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """One population observed over trials.

    Trials of different length are padded with `observed` False; a trial lasts as long as any of its
    individuals is observed. Build one from arrays with `Recording.from_trials`, from spike times and trials with
    `Recording.from_spikes`, from what was recorded without trials with `Recording.from_continuous`.

    Attributes:
        values: (trial, individual, time, feature) float32, or float64 where float32 would lose what differs; 0 where
            not observed.
        observed: (trial, individual, time) bool. True for real data: padding, absent individuals
            and gaps are False, a silent neuron is True. What individuals share may be one array, not to be written to.
        individual_ids: one name per individual, unique in the recording. The same name in two
            recordings means the same individual.
        targets: what may be decoded, by name. Integers, booleans and strings are classes, floats are quantities; what
            is missing is unknown (`motet.given.is_known`). Leading axes by `target_levels`: "trial" (trial, …), "bin"
            (trial, time, …), "individual" (trial, individual, …), "pair" (trial, individual,
            individual, …).
        bin_seconds: width of a time bin, in seconds.
        subject: the animal or system.
        name: what the recording is called.
        target_levels: the level of each target; read off the shapes where they leave no doubt. Floats (trial, 3) or
            fewer do: they may be bins, individuals or coordinates.
        trial_ids: (trial,) int64, or text where names are not plain whole numbers; windows cut from one trial share its
            id, so that no split can part them.
        trial_start_seconds: (trial,) float, start of each trial on the recording's clock; by default
            trials follow one another without a break.
        metadata: plain values by name that say where the recording comes from, as the "law" of a simulation.
        plot: figures, such as `recording.plot.psths("direction")` (see `motet.report.plots`).

    Raises:
        InputError: if shapes disagree, ids repeat, values are not finite, or the level of a target is ambiguous.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (20, 5, 8))
        >>> recording = Recording.from_trials(counts, targets={"side": np.arange(20) % 2})
        >>> recording
        Recording('array': 20 trials × 5 individuals × 8 bins of 1 s; targets: side per trial)
    """

    values: NDArray[np.float32] | NDArray[np.float64]
    observed: NDArray[np.bool_]
    individual_ids: tuple[str, ...]
    targets: Mapping[str, NDArray[Any]]
    bin_seconds: float = 1.0
    subject: str = "unknown"
    name: str = "array"
    target_levels: Mapping[str, Level] = dataclasses.field(default_factory=dict)
    trial_ids: NDArray[Any] = None  # type: ignore[assignment]  # None becomes the default below
    trial_start_seconds: NDArray[np.float64] = None  # type: ignore[assignment]
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    plot: ClassVar[Any] = Late("motet.report.plots:RecordingPlots")

    def __post_init__(self) -> None:
        set_field = functools.partial(object.__setattr__, self)
        for field in ("name", "subject"):
            set_field(field, given.names([getattr(self, field)], what=field)[0])
        of_recording = f"of recording {self.name!r}"
        set_field("individual_ids", given.names(self.individual_ids, what=f"individual_ids {of_recording}"))
        set_field("values", _floats(self.values, what=f"values {of_recording}"))
        set_field("observed", np.ma.filled(self.observed, False))
        _check_values(self.values, self.observed, self.individual_ids, self.name)
        if not self.observed.all() and self.values.any(where=~self.observed[..., None]):
            set_field("values", np.where(self.observed[..., None], self.values, 0))
        if not isinstance(self.metadata, Mapping):
            raise InputError(f"metadata {of_recording} is a {type(self.metadata).__name__}; give values by name.")
        set_field("metadata", plain_values(self.metadata, what=f"metadata {of_recording}"))
        set_field("bin_seconds", _seconds(self.bin_seconds))
        set_field("targets", {key: target_array(target, self.name, key)[0] for key, target in self.targets.items()})
        levels = {
            name: _target_level(self, name, target, self.target_levels.get(name))
            for name, target in self.targets.items()
        }
        set_field("target_levels", levels)
        ids: NDArray[Any] = np.arange(self.n_trials)
        if self.trial_ids is not None:
            ids = given.trial_names(self.trial_ids, what=f"trial_ids {of_recording}")
        starts = np.arange(self.n_trials) * (self.n_bins * self.bin_seconds)
        if self.trial_start_seconds is not None:
            starts = given.numbers(self.trial_start_seconds, what=f"trial_start_seconds {of_recording}")
        for field, array, wanted in (("trial_ids", ids, "name"), ("trial_start_seconds", starts, "finite number")):
            if array.shape != (self.n_trials,) or (array.dtype.kind == "f" and not np.isfinite(array).all()):
                raise InputError(
                    f"{field} {of_recording} has shape {array.shape} and type {array.dtype}; give one {wanted} per "
                    f"trial, shape ({self.n_trials},)."
                )
            set_field(field, array)

    @classmethod
    def from_trials(
        cls,
        values: Any,
        *,
        targets: Mapping[str, Any] | None = None,
        individual_ids: Any = None,
        name: str = "array",
        **fields: Any,
    ) -> Recording:
        """Make a recording from an array, or from trials of different length.

        Args:
            values: (trial, individual, time) or (trial, individual, time, feature) numbers of any type; what is NaN,
                masked or missing is not observed. Or a list, dict or Series of trials, each (individual, time[,
                feature]). Where axes have names, as those of xarray, these count and not their order.
            targets: by name. For a list of trials, a target per bin is a list too, one array
                (time, …) per trial.
            individual_ids: by default those of a named axis, or else "<name>/<position>".
            name: what the recording is called.
            **fields: the other fields of `Recording`.

        Raises:
            InputError: see `Recording`.
        """
        array, coordinates = padded_values(values, name)
        missing: NDArray[np.bool_] = np.asarray(np.isnan(array).any(axis=-1))
        _, n_individuals, n_bins = missing.shape
        if individual_ids is None:
            individual_ids = coordinates.get("individual", [f"{name}/{position}" for position in range(n_individuals)])
        if "trial" in coordinates:
            fields.setdefault("trial_ids", coordinates["trial"])
        made, levels = {}, dict(fields.pop("target_levels", {}))
        for key, target in (targets or {}).items():
            made[key], level = target_array(target, name, key, n_bins=n_bins)
            if level is not None:
                levels.setdefault(key, level)
        return cls(
            values=narrowest(np.where(missing[..., None], 0.0, array), ~missing),
            observed=~missing,
            individual_ids=tuple(given.names(individual_ids, what="individual_ids")),
            targets=made,
            target_levels=levels,
            name=name,
            **fields,
        )

    @classmethod
    def from_spikes(
        cls,
        spike_times: Any,
        trial_starts: Any,
        *,
        window: tuple[float, float] | None = None,
        bin_seconds: Positive = 0.1,
        targets: Mapping[str, Any] | None = None,
        behaviour: Any = None,
        seen: Any = None,
        name: str = "spikes",
        **fields: Any,
    ) -> Recording:
        """Make a recording from spike times and trials, all in seconds on one clock.

        Args:
            spike_times: the times of each unit, in any order: a list, a dict or a TsGroup of pynapple. A unit without
                spikes is silent, and observed.
            trial_starts: (trial,) in any order; or starts and ends, (trial, 2) or an IntervalSet of pynapple, whose
                columns are targets where no `targets` are given.
            window: seconds before (negative) and after the start of a trial that are counted; by default up to its end,
                or (0, 0.8) where there are no ends.
            bin_seconds: width of a bin; what is left of one at the end is left out.
            targets: by name, as for `Recording`.
            behaviour: what was sampled all along, by name: a pair (times, samples) or a Tsd or TsdFrame of pynapple. It
                becomes a target per bin: `motet.data.cut` says how it is resampled.
            seen: for each unit the intervals (interval, 2) in which it could be seen; other bins are not observed.
            name: what the recording is called.
            **fields: the other fields of `Recording`; individual_ids are by default "<name>/<key or position>".

        Raises:
            InputError: if trials of different ids overlap, times cannot be seconds of one clock, or as `Recording`.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> spike_times = [np.sort(rng.uniform(0, 60, 300)) for _ in range(4)]
            >>> starts = np.arange(1.0, 59.0, 2.0)
            >>> Recording.from_spikes(spike_times, starts, window=(-0.2, 0.8), targets={"side": np.arange(29) % 2})
            Recording('spikes': 29 trials × 4 individuals × 10 bins of 0.1 s; targets: side per trial)
        """
        check_arguments(Recording.from_spikes, {"window": window, "bin_seconds": bin_seconds})
        pieces = streams.spikes_in_trials(spike_times, trial_starts, window, bin_seconds, seen, fields.get("trial_ids"))
        targets = streams.columns_of(trial_starts) if targets is None else targets
        return cls._of_pieces(pieces, streams.by_name(behaviour), targets, name=name, **fields)

    @classmethod
    def from_signals(
        cls,
        values: Any,
        trial_starts: Any,
        *,
        times: Any = None,
        window: tuple[float, float] | None = None,
        bin_seconds: Positive = 0.1,
        targets: Mapping[str, Any] | None = None,
        behaviour: Any = None,
        name: str = "signals",
        **fields: Any,
    ) -> Recording:
        """Make a recording from signals, such as of calcium, and trials, all in seconds on one clock.

        Args:
            values: (individual, time[, feature]), or a TsdFrame of pynapple. A bin has the mean of its samples; one
                without any is not observed, and a trial without any is left out, with its targets.
            trial_starts: as for `from_spikes`.
            times: (time,) seconds of samples.
            window: as for `from_spikes`.
            bin_seconds: width of a bin.
            targets: as for `from_spikes`.
            behaviour: as for `from_spikes`.
            name: what the recording is called.
            **fields: the other fields of `Recording`; individual_ids are by default "<name>/<column or position>".

        Raises:
            InputError: as `from_spikes`.

        Example:
            >>> seconds = np.arange(0, 60, 1 / 30)
            >>> signals = np.random.default_rng(0).normal(size=(4, len(seconds)))
            >>> Recording.from_signals(signals, np.arange(1.0, 59.0, 2.0), times=seconds, window=(0, 1))
            Recording('signals': 29 trials × 4 individuals × 10 bins of 0.1 s; targets: none)
        """
        check_arguments(Recording.from_signals, {"window": window, "bin_seconds": bin_seconds})
        ids = fields.get("trial_ids")
        pieces = streams.signals_in_trials(values, times, trial_starts, window, bin_seconds, ids)
        targets = streams.columns_of(trial_starts) if targets is None else targets
        return cls._of_pieces(pieces, streams.by_name(behaviour), targets, name=name, **fields)

    @classmethod
    def from_continuous(
        cls,
        values: Any,
        *,
        times: Any = None,
        window: Positive | None = None,
        bin_seconds: Positive = 0.1,
        within: Any = None,
        seen: Any = None,
        behaviour: Any = None,
        name: str = "continuous",
        **fields: Any,
    ) -> Recording:
        """Make a recording of what was recorded without trials, cut into windows side by side.

        Windows share one trial id. Neighbours are alike, so split them in time: `split(by="time")` leaves out a gap.

        Args:
            values: spike times of each unit in seconds, as for `from_spikes`; or an array (individual, time[, feature])
                of counts or signals, one for each bin, or one for each of `times`; or a TsdFrame of pynapple. NaN is
                not observed.
            times: (time,) seconds of samples, of which a bin has the mean; a bin without any is not observed.
            window: seconds that a window lasts; by default 20 bins, or fewer of a short recording.
            bin_seconds: width of a bin.
            within: the stretches that are cut into windows, (stretch, 2) or an IntervalSet; by default one, in which
                there are both values and behaviour.
            seen: of spikes, as for `from_spikes`.
            behaviour: as for `from_spikes`; or, beside values for each bin, arrays (time, …) alike.
            name: what the recording is called.
            **fields: the other fields of `Recording`; individual_ids are by default "<name>/<key or position>".

        Raises:
            InputError: if no window fits, times cannot be seconds of one clock, or as `Recording`.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> spike_times = [np.sort(rng.uniform(0, 60, 300)) for _ in range(4)]
            >>> seconds = np.arange(0, 60, 0.02)
            >>> speed = (seconds, np.sin(seconds))
            >>> Recording.from_continuous(spike_times, behaviour={"speed": speed})
            Recording('continuous': 29 trials × 4 individuals × 20 bins of 0.1 s; targets: speed per bin)
            >>> Recording.from_continuous(rng.poisson(1.0, (4, 600)), window=1.0)
            Recording('continuous': 60 trials × 4 individuals × 10 bins of 0.1 s; targets: none)
        """
        check_arguments(Recording.from_continuous, {"window": window, "bin_seconds": bin_seconds})
        where, with_what = (within, window, bin_seconds), streams.by_name(behaviour)
        if times is None and streams.are_spikes(values):
            pieces = streams.continuous_spikes(values, *where, seen, with_what)
        elif seen is None:
            pieces = streams.continuous_signals(values, times, *where, with_what)
        else:
            raise InputError("seen belongs to spikes; mark what was not observed of signals by NaN.")
        fields.setdefault("trial_ids", np.zeros(len(pieces.values), dtype=np.int64))
        return cls._of_pieces(pieces, with_what, {}, name=name, **fields)

    @classmethod
    def _of_pieces(
        cls,
        pieces: streams.Pieces,
        behaviour: Mapping[str, Any],
        targets: Mapping[str, Any],
        *,
        name: str,
        individual_ids: Any = None,
        target_levels: Mapping[str, Level] | None = None,
        **fields: Any,
    ) -> Recording:
        per_bin, kept = streams.behaviour_per_bin(behaviour, pieces.cut), pieces.is_kept
        if kept is not None and not kept.all():  # which is always so of windows, whose trials have no targets
            targets = {key: given.labels(target, what=f"target {key!r}")[kept] for key, target in targets.items()}
            if len(fields.get("trial_ids", ())) == len(kept):
                fields["trial_ids"] = given.trial_names(fields["trial_ids"], what="trial_ids")[kept]
        if twice := per_bin.keys() & targets.keys():
            raise InputError(f"{sorted(twice)[0]!r} is both a target and a behaviour; give one of them another name.")
        ids = [f"{name}/{one}" for one in pieces.names] if individual_ids is None else individual_ids
        return cls(
            values=pieces.values,
            observed=pieces.observed,
            individual_ids=given.names(ids, what="individual_ids"),
            targets={**targets, **per_bin},
            target_levels={**dict.fromkeys(per_bin, "bin"), **(target_levels or {})},
            bin_seconds=pieces.cut.bin_seconds,
            trial_start_seconds=pieces.cut.start,
            name=name,
            **fields,
        )

    @property
    def n_trials(self) -> int:
        return self.values.shape[0]

    @property
    def n_individuals(self) -> int:
        return self.values.shape[1]

    @property
    def n_bins(self) -> int:
        return self.values.shape[2]

    @property
    def n_features(self) -> int:
        return self.values.shape[3]

    @functools.cached_property
    def bin_is_observed(self) -> NDArray[np.bool_]:
        """(trial, time): whether any individual is observed."""
        return np.asarray(self.observed.any(axis=1))

    @functools.cached_property
    def trial_lengths(self) -> NDArray[np.int64]:
        """(trial,) bins up to the last observed one."""
        reversed_bins = self.bin_is_observed[:, ::-1]
        return np.where(reversed_bins.any(1), self.n_bins - reversed_bins.argmax(1), 0)

    @functools.cached_property
    def holds_counts(self) -> bool:
        """Whether all values are whole numbers, and none is negative, as spike counts are."""
        return bool((self.values >= 0).all() and (self.values == np.rint(self.values)).all())

    def target(self, name: str) -> NDArray[Any]:
        """The target of that name, or an `InputError` naming the nearest."""
        if name in self.targets:
            return self.targets[name]
        raise did_you_mean(name, self.targets, what=f"target of recording {self.name!r}")

    def class_target(self, target: str) -> str | None:
        """That target if it is one class per trial, or else the first that is: what trials are grouped by."""
        per_trial = [name for name in (target, *self.targets) if self.target_levels.get(name) == "trial"]
        classes = (n for n in per_trial if self.targets[n].dtype.kind in "biU" and self.targets[n].ndim == 1)
        return next((name for name in classes if given.is_known(self.targets[name]).any()), None)

    def select(
        self,
        *,
        trials: ArrayLike | slice = slice(None),
        individuals: ArrayLike | slice = slice(None),
        bins: slice = slice(None),
    ) -> Recording:
        """The recording restricted to some trials, individuals (positions or masks) and a range of bins.

        Raises:
            InputError: if a mask has another length, a position is out of range, or nothing is selected.
        """
        if not isinstance(trials, slice):
            trials = selected_positions(trials, self.n_trials, what=f"trials of recording {self.name!r}")
        if not isinstance(individuals, slice):
            what = f"individuals of recording {self.name!r}"
            individuals = selected_positions(individuals, self.n_individuals, what=what)
        axes: dict[Level, list[Any]] = {"bin": [bins], "individual": [individuals], "pair": [individuals, individuals]}

        def select_target(name: str) -> NDArray[Any]:
            target = self.targets[name][trials]
            for axis, chosen in enumerate(axes.get(self.target_levels[name], ()), start=1):
                target = target[(slice(None),) * axis + (chosen,)]
            return target

        first_bin = range(self.n_bins)[bins].start
        return dataclasses.replace(
            self,
            values=self.values[trials][:, individuals][:, :, bins],
            observed=self.observed[trials][:, individuals][:, :, bins],
            individual_ids=tuple(np.asarray(self.individual_ids, dtype=object)[individuals]),
            targets={name: select_target(name) for name in self.targets},
            trial_ids=self.trial_ids[trials],
            trial_start_seconds=self.trial_start_seconds[trials] + first_bin * self.bin_seconds,
        )

    @property
    def trial_units(self) -> NDArray[np.int64]:
        """(trial,) numbers of what no split may part: trials with their windows; windows, if all are of one trial."""
        _, units = np.unique(np.asarray(self.trial_ids), return_inverse=True)
        return units if units.any() else np.arange(self.n_trials)

    def windows(self, length: int, *, stride: int = 1, last_start: int | None = None) -> Recording:
        """Cut every trial into windows of `length` bins; each window becomes a trial.

        Windows keep their trial's id, so splits never part them, and only windows whose bins are all observed are kept.
        They start every `stride` bins up to `last_start`, by default the last one that fits.

        Raises:
            InputError: if no trial holds a window of that length.
        """
        final = self.n_bins - length if last_start is None else min(last_start, self.n_bins - length)
        if length < 1 or stride < 1 or final < 0:
            raise InputError(
                f"windows of {length} bins every {stride} do not fit recording {self.name!r} with "
                f"{self.n_bins} bins; choose a length from 1 to {self.n_bins} and a stride of at least 1."
            )
        seen = sliding_window_view(self.bin_is_observed, length, axis=1)[:, : final + 1 : stride].all(axis=-1)
        if not seen.any():
            raise InputError(f"no trial of recording {self.name!r} has {length} observed bins in a row.")
        order, trials = np.nonzero(seen.T)  # windows by their start, then by trial
        return self.stretches(trials, order * stride, length)

    def stretches(self, trial: NDArray[np.int64], start: NDArray[np.int64], n_bins: int) -> Recording:
        """Stretches of trials as trials of their own; what would lie outside of the whole trial is not observed.

        Each of `n_bins` begins at bin `start` (stretch,) of `trial` (stretch,), which may be below 0.
        """
        bins = start[:, None] + np.arange(n_bins)
        row, inside = trial[:, None], np.clip(bins, 0, self.n_bins - 1)

        def cut(array: NDArray[Any]) -> Any:
            return np.ascontiguousarray(array[row, :, inside].swapaxes(1, 2))

        return dataclasses.replace(
            self,
            values=cut(self.values),
            observed=cut(self.observed) & (inside == bins)[:, None],
            targets={
                name: target[row, inside] if self.target_levels[name] == "bin" else target[trial]
                for name, target in self.targets.items()
            },
            trial_ids=self.trial_ids[trial],
            trial_start_seconds=self.trial_start_seconds[trial] + start * self.bin_seconds,
        )

    def rebinned(self, n: Count) -> Recording:
        """The recording in bins that are `n` times as wide: values are added up, so they should be counts.

        A wide bin is observed where all its bins are. Of a target per bin it has the mean, or, if that is a class, the
        class of the last bin. What is left over at the end of a trial is left out.

        Raises:
            InputError: if a trial holds no bin that wide.

        Example:
            >>> Recording.from_trials(np.ones((2, 3, 5))).rebinned(2).values[0, 0, :, 0]
            array([2., 2.], dtype=float32)
        """
        check_arguments(Recording.rebinned, {"n": n})
        n_wide = self.n_bins // n
        if not n_wide:
            raise InputError(f"recording {self.name!r} has {self.n_bins} bins, fewer than n={n}; give fewer.")

        def parts(array: NDArray[Any], axis: int) -> NDArray[Any]:
            cut = array[(slice(None),) * axis + (slice(0, n_wide * n),)]
            return cut.reshape(*array.shape[:axis], n_wide, n, *array.shape[axis + 1 :])

        def of_bins(name: str) -> NDArray[Any]:
            target = self.targets[name]
            if self.target_levels[name] != "bin":
                return target
            return parts(target, 1).mean(axis=2) if target.dtype.kind == "f" else parts(target, 1)[:, :, -1]

        return dataclasses.replace(
            self,
            values=parts(self.values, 2).sum(axis=3),
            observed=np.asarray(parts(self.observed, 2).all(axis=3)),
            targets={name: of_bins(name) for name in self.targets},
            bin_seconds=n * self.bin_seconds,
        )

    def to_pynapple(self) -> PynappleObjects:
        """The recording as objects of pynapple: `values`, `trials` and `targets` per bin.

        Raises:
            InputError: if trials overlap, or pynapple is not installed.
        """
        per_trial = {"trial_id": self.trial_ids}
        per_trial |= {n: t for n, t in self.targets.items() if self.target_levels[n] == "trial" and t.ndim == 1}
        return objects_of(
            self.values,
            self.observed,
            self.trial_start_seconds,
            self.trial_lengths,
            self.bin_seconds,
            names=self.individual_ids,
            columns=per_trial,
            targets={name: target for name, target in self.targets.items() if self.target_levels[name] == "bin"},
        )

    def to_table(self) -> dict[str, Any]:
        """The columns of a long table, which `pandas.DataFrame` and `polars.DataFrame` take.

        A row is a trial, an individual and a bin that is observed in any of them: columns trial, individual, time
        (seconds on the recording's clock), value (or feature_0, feature_1, …; NaN where not observed), and a column for
        each number of each target but those of pairs. Windows, which share the ids of trials, have a column window.

        Example:
            >>> import pandas
            >>> recording = Recording.from_trials(np.ones((2, 1, 2)), targets={"side": ["l", "r"]}, bin_seconds=0.5)
            >>> print(pandas.DataFrame(recording.to_table()).to_string(index=False))
             trial individual  time  value side
                 0    array/0   0.0    1.0    l
                 0    array/0   0.5    1.0    l
                 1    array/0   1.0    1.0    r
                 1    array/0   1.5    1.0    r
        """
        return labelled.columns_of(self)

    def to_xarray(self) -> Any:
        """A Dataset of xarray, of variables values and targets; `motet.read_recording` gives the same back.

        Dimensions are trial, individual, time (seconds from the start of the trial) and, if there are several, feature;
        a target of pairs has individual_other, and further axes of a target are called after it.

        Raises:
            InputError: if xarray is not installed, or a target is called as an axis.

        Example:
            >>> dataset = Recording.from_trials(np.ones((2, 3, 4)), targets={"side": [0, 1]}).to_xarray()
            >>> dict(dataset["values"].sizes), dataset["side"].dims
            ({'trial': 2, 'individual': 3, 'time': 4}, ('trial',))
        """
        return labelled.dataset_of(self)

    def __repr__(self) -> str:
        targets = ", ".join(f"{name} per {level}" for name, level in self.target_levels.items())
        features = f" × {self.n_features} features" if self.n_features > 1 else ""
        return (
            f"Recording({self.name!r}: {self.n_trials} trials × {self.n_individuals} individuals × "
            f"{self.n_bins} bins of {self.bin_seconds:g} s{features}; targets: {targets or 'none'})"
        )


def without_targets(recording: Recording) -> Recording:
    """A recording without what is asked: no targets, no metadata."""
    return dataclasses.replace(recording, targets={}, target_levels={}, metadata={})


def refuse_other_bins(recording: Recording, bin_seconds: float, *, of: str, advice: str | None = None) -> None:
    """Refuse a recording whose bins are of another width than those of what it is given to, in words.

    Example:
        >>> narrow = Recording.from_trials(np.ones((2, 3, 4)), bin_seconds=0.1)
        >>> refuse_other_bins(narrow, 0.2, of="the decoder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        motet.errors.InputError: bins of recording 'array' last 0.1 s, and ... or its counts by recording.rebinned(2).
    """
    own = recording.bin_seconds
    if abs(own - bin_seconds) <= SAME_BINS * bin_seconds:
        return
    n = round(bin_seconds / own)
    is_whole = n > 1 and abs(n * own - bin_seconds) <= SAME_BINS * bin_seconds and recording.holds_counts
    counts = f", or its counts by recording.rebinned({n})" * is_whole
    raise InputError(
        f"bins of recording {recording.name!r} last {own:g} s, and those of {of} {bin_seconds:g} s: "
        + (advice or f"bin them alike, by bin_seconds={bin_seconds:g} where it is read or made{counts}.")
    )


def selected_positions(chosen: ArrayLike, size: int, *, what: str) -> NDArray[np.int64]:
    """The positions, from 0 to below `size`, that a list of positions or a mask of length `size` chooses.

    Example:
        >>> selected_positions([True, False, True], 3, what="trials")
        array([0, 2])
    """
    array = given.labels(chosen, what=what)
    allowed = f"there are {size}: give positions from 0 to {size - 1}, or a mask of that many"
    is_mask = array.dtype == np.bool_
    if array.size == 0 or (is_mask and not array.any()):
        raise InputError(f"nothing is selected of the {what}; {allowed}.")
    if array.ndim != 1 or array.dtype.kind not in "biu" or (is_mask and len(array) != size):
        raise InputError(f"{what} are selected by an array {array.shape} of {array.dtype}; {allowed}.")
    if is_mask:
        return np.flatnonzero(array)
    if array.min() < -size or array.max() >= size:
        raise InputError(f"{what} are selected by positions {array.min()} to {array.max()}; {allowed}.")
    return np.arange(size)[array]


def _check_values(values: NDArray[Any], observed: NDArray[Any], individual_ids: Sequence[str], name: str) -> None:
    where = f"recording {name!r}"
    if np.ndim(values) != 4 or np.shape(observed) != np.shape(values)[:3]:
        raise InputError(
            f"{where} has values of shape {np.shape(values)} and observed of shape {np.shape(observed)}; "
            "give values (trial, individual, time, feature) and observed (trial, individual, time), "
            "or use Recording.from_trials."
        )
    if observed.dtype != np.bool_:
        raise InputError(f"{where} has observed of type {observed.dtype}; give bool, True for what was observed.")
    for axis, size in zip(("trials", "individuals", "time bins", "features"), values.shape, strict=True):
        if size == 0:
            raise InputError(f"{where} has no {axis}: its shape is {values.shape}; give at least one.")
    if not _are_finite(values):
        raise InputError(
            f"{where} has values that are infinite or NaN; mark what was not observed with "
            "observed=False and a value of 0, or use Recording.from_trials, which reads NaN so."
        )
    if len(individual_ids) != values.shape[1]:
        raise InputError(f"{where} has {values.shape[1]} individuals but {len(individual_ids)} individual_ids.")
    if len(set(individual_ids)) != len(individual_ids):
        twice = Counter(individual_ids).most_common(1)[0][0]
        raise InputError(f"{where} names individual {twice!r} twice; give every individual an id of its own.")


def _target_level(recording: Recording, name: str, target: NDArray[Any], named: Level | None) -> Level:
    """The level of a target: as given, or the only one that its shape admits."""
    n_trials, n_individuals, n_bins = recording.observed.shape
    leading: dict[Level, tuple[int, ...]] = {
        "bin": (n_trials, n_bins),
        "pair": (n_trials, n_individuals, n_individuals),
        "individual": (n_trials, n_individuals),
        "trial": (n_trials,),
    }
    of_recording = f"target {name!r} of recording {recording.name!r}"
    if target.dtype.kind == "f" and np.isinf(target).any():
        raise InputError(f"{of_recording} is infinite in places; give NaN where it is unknown.")
    fits = [level for level, shape in leading.items() if target.shape[: len(shape)] == shape]
    wanted = f"{of_recording} has shape {target.shape}"
    if not fits or (named is not None and named not in fits):
        allowed = {named: leading[named]} if named in leading else leading
        shapes = " or ".join(f"({', '.join(map(str, shape))}, …) per {level}" for level, shape in allowed.items())
        raise InputError(f"{wanted}; give {shapes}.")
    if named is not None:
        return named
    if target.ndim == 1:
        return "trial"
    certain: list[Level] = [level for level in fits if level != "trial"]
    if "pair" in certain and n_bins != n_individuals:
        certain = ["pair"]
    if target.ndim == 2 and target.dtype.kind == "f" and target.shape[1] <= MOST_COORDINATES and certain:
        certain.append("trial")
    if len(certain) != 1:
        raise InputError(
            f"{wanted}, which could be per {' or per '.join(certain or ['trial, …'])}; say which with "
            f"target_levels={{{name!r}: {(certain or ['trial'])[0]!r}}}."
        )
    return certain[0]


def _floats(values: Any, *, what: str) -> NDArray[np.float32] | NDArray[np.float64]:
    """Values as they are if they are float32, and else as float64."""
    if isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray) and values.dtype == np.float32:
        return values
    return given.numbers(given.on_axes(values, given.AXES, what=what), what=what)


def _are_finite(values: NDArray[Any]) -> bool:
    """Whether no value is infinite or NaN: where their sum is, looked at one by one, which takes memory."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _seconds(bin_seconds: Any) -> float:
    number = given.numbers(bin_seconds, what="bin_seconds")
    if number.ndim or not (np.isfinite(number) and number > 0):
        raise InputError(f"bin_seconds is {bin_seconds}; give a positive number of seconds.")
    return float(number)

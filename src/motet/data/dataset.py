"""A `PopulationDataset`: recordings, their splits, and batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, RepeatedKFold, RepeatedStratifiedKFold
from torch import Tensor

from motet import given
from motet.data.batch import BATCH_BYTES, Batch
from motet.data.recording import Recording, refuse_other_bins, selected_positions
from motet.errors import InputError, did_you_mean
from motet.settings import Count, NonNegative, Range, Seed, Share, check_arguments

SplitBy = Literal["trial", "time", "recording", "subject"]


class PopulationDataset:
    """Recordings seen as one list of trials, first recording first.

    Args:
        recordings: one or more, with the same number of features and width of bins, and targets of one name alike;
            individuals, trials, lengths and which targets there are may differ.

    Raises:
        InputError: if there is none, two recordings share a name, or what must be alike differs.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (20, 5, 8))
        >>> recording = Recording.from_trials(counts, targets={"side": np.arange(20) % 2})
        >>> train, test = PopulationDataset([recording]).split(by="trial", test=0.2, seed=0)
        >>> len(train), len(test)
        (16, 4)
        >>> train.batch([0, 1]).values.shape
        torch.Size([2, 5, 8, 1])
    """

    def __init__(self, recordings: Recording | Sequence[Recording]) -> None:
        self.recordings = (recordings,) if isinstance(recordings, Recording) else tuple(recordings)
        if not self.recordings:
            raise InputError("a dataset needs at least one recording; none was given.")
        n_features = sorted({recording.n_features for recording in self.recordings})
        if len(n_features) > 1:
            raise InputError(f"recordings have {n_features} features; give recordings with the same number.")
        names = [recording.name for recording in self.recordings]
        if len(set(names)) < len(names):
            raise InputError(f"two recordings share a name, of {names}; give each a name of its own.")
        _check_alike(self.recordings)
        sizes = [recording.n_trials for recording in self.recordings]
        self.recording_index: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)
        self.trial_index: NDArray[np.int64] = np.concatenate([np.arange(size) for size in sizes])

    def __len__(self) -> int:
        return len(self.trial_index)

    def __repr__(self) -> str:
        return f"PopulationDataset({', '.join(map(repr, self.recordings))})"

    @property
    def n_features(self) -> int:
        return self.recordings[0].n_features

    @property
    def n_bins(self) -> int:
        """Of the recording that has most, padding included."""
        return max(recording.n_bins for recording in self.recordings)

    @property
    def individual_ids(self) -> tuple[str, ...]:
        """Every individual once, in order of appearance."""
        return tuple(dict.fromkeys(i for recording in self.recordings for i in recording.individual_ids))

    def map(self, change: Callable[[Recording], Recording]) -> PopulationDataset:
        """The dataset with every recording changed."""
        return PopulationDataset([change(recording) for recording in self.recordings])

    def select(self, trials: ArrayLike) -> PopulationDataset:
        """The dataset of some trials, by position in the whole list (or a mask); recordings left empty go."""
        chosen = selected_positions(trials, len(self), what="trials")
        of_recording = self.recording_index[chosen]
        return PopulationDataset(
            [
                self.recordings[index].select(trials=self.trial_index[chosen[of_recording == index]])
                for index in np.unique(of_recording)
            ]
        )

    def target_values(self, name: str) -> list[NDArray[Any]]:
        """One target, as an array for each recording that has it; an `InputError` if none has."""
        if found := [r.targets[name] for r in self.recordings if name in r.targets]:
            return found
        raise did_you_mean(name, {key for r in self.recordings for key in r.targets}, what="target")

    def fraction(self, share: Share, *, stratify: str | None = None, seed: Seed = 0) -> PopulationDataset:
        """A random share of the trials of each recording; one of the same seed that is smaller is part of it.

        Windows of a trial stay together, unless the recording is one trial.

        Args:
            share: of the trials.
            stratify: a class target per trial, of each of whose classes this share is kept, and one trial at least.
            seed: of the choice.
        """
        check_arguments(PopulationDataset.fraction, {"share": share, "seed": seed})
        rng = np.random.default_rng(seed)
        kept = []
        for recording in self.recordings:
            unit = recording.trial_units
            _, first = np.unique(unit, return_index=True)
            has_classes = stratify is not None and recording.target_levels.get(stratify) == "trial"
            labels = recording.targets[stratify or ""][first] if has_classes else np.zeros(len(first))
            order = rng.permutation(len(first))
            chosen = [
                members[: max(1, round(share * len(members)))]
                for members in (order[labels[order] == label] for label in np.unique(labels))
            ]
            kept.append(np.isin(unit, np.concatenate(chosen)))
        return self.select(np.concatenate(kept))

    # ------------------------------------------------------------------ splits

    def split(
        self,
        *,
        by: SplitBy = "trial",
        test: float | Sequence[str] = 0.2,
        stratify: str | None = None,
        gap_seconds: NonNegative | None = None,
        seed: Seed = 0,
    ) -> tuple[PopulationDataset, PopulationDataset]:
        """Part the dataset in two: train and test.

        Args:
            by: "trial": random trials of each recording. "time": the last part of each recording. "recording" and
                "subject": whole ones.
            test: the fraction to test on, by trial of every recording; or, for recordings and subjects, their names.
            stratify: by trial, a class target per trial whose proportions both parts keep.
            gap_seconds: by time, what is left out between the parts; by default one trial's length.
            seed: of the random choice.

        Raises:
            InputError: if a part would be empty, or a class too rare to stratify.
        """
        self._check(by, stratify, gap_seconds=gap_seconds, seed=seed)
        if by in ("recording", "subject") and not isinstance(test, (int, float)):
            names = self._groups(by)
            for name in test:
                if name not in names:
                    raise did_you_mean(name, set(names), what=by)
            return self._parts(np.isin(names, list(test)))
        if not isinstance(test, (int, float)) or not 0 < test < 1:
            raise InputError(f"test is {test!r}; give a fraction between 0 and 1 (names only by recording or subject).")
        if by == "time":
            return self._parts(*self._time_block(1 - test, 1.0, gap_seconds))
        names = self._groups(by)
        groups, first = np.unique(names, return_index=True)
        within = self.recording_index[first] if by == "trial" else np.zeros(len(groups), dtype=np.int64)
        if np.bincount(within).max() < 2:
            where = " in each recording" if within.any() else f", {groups[0]!r}"
            hint = " Windows of a continuous recording are one trial: split them by='time'." if by == "trial" else ""
            raise InputError(f"there is only one {by}{where}; it cannot be split by {by}.{hint}")
        strata = within if stratify is None else self._strata(stratify, least=2, of="parts")
        rng = np.random.default_rng(seed)
        chosen = [
            members[_draw(strata[members], test, rng)]
            for members in (np.flatnonzero(within == index) for index in np.unique(within))
        ]
        return self._parts(np.isin(names, groups[np.concatenate(chosen)]))

    def folds(
        self,
        n_folds: Annotated[int, Range(least=2)] = 5,
        *,
        by: SplitBy = "trial",
        n_repeats: Count = 1,
        stratify: str | None = None,
        gap_seconds: NonNegative | None = None,
        seed: Seed = 0,
    ) -> Iterator[tuple[PopulationDataset, PopulationDataset]]:
        """Cross-validation: `n_folds` times `n_repeats` pairs of train and test.

        By trial the folds are those of scikit-learn's RepeatedStratifiedKFold, over recordings and classes
        (RepeatedKFold for one recording without `stratify`); by time they are contiguous blocks, in which windows of a
        trial stay together unless the recording is one trial. Otherwise as `split`.

        Raises:
            InputError: if a recording has fewer trials (or the dataset fewer recordings or subjects) than folds.
        """
        self._check(by, stratify, n_folds=n_folds, n_repeats=n_repeats, gap_seconds=gap_seconds, seed=seed)
        if by != "trial" and n_repeats != 1:
            raise InputError(f"folds by {by} are not repeated; give n_repeats=1.")
        if by == "time":
            for fold in range(n_folds):
                yield self._parts(*self._time_block(fold / n_folds, (fold + 1) / n_folds, gap_seconds))
            return
        names = self._groups(by)
        groups, first = np.unique(names, return_index=True)
        of_recording = self.recording_index[first]
        sizes = np.bincount(of_recording) if by == "trial" else np.array([len(groups)])
        if (fewest := sizes.min()) < n_folds:
            where = f" in recording {self.recordings[sizes.argmin()].name!r}" if len(sizes) > 1 else ""
            advice = f"give from 2 to {fewest} folds" if fewest > 1 else "leave it out"
            raise InputError(f"{n_folds} folds of {fewest} {by}s{where}; {advice}, or fold by something else.")
        if by != "trial":
            folds = KFold(n_folds, shuffle=True, random_state=seed).split(groups)
        elif stratify is None and len(sizes) == 1:
            folds = RepeatedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed).split(groups)
        else:
            strata = of_recording if stratify is None else self._strata(stratify, least=n_folds, of="folds")
            splitter = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
            folds = splitter.split(strata, strata)
        for _, test in folds:
            yield self._parts(np.isin(names, groups[test]))

    def _check(self, by: Any, stratify: Any, **numbers: Any) -> None:
        check_arguments(PopulationDataset.folds, {"by": by, **numbers})
        if stratify is not None and by != "trial":
            raise InputError(f"stratify is {stratify!r}, and only splits by trial are stratified; give stratify=None.")

    def _parts(
        self, in_test: NDArray[np.bool_], in_train: NDArray[np.bool_] | None = None
    ) -> tuple[PopulationDataset, PopulationDataset]:
        in_train = ~in_test if in_train is None else in_train
        if not in_test.any() or not in_train.any():
            raise InputError(
                f"the split leaves {in_train.sum()} trials to train and {in_test.sum()} to test, of {len(self)}; "
                "give more trials, another fraction, or cut windows first (Recording.windows)."
            )
        return self.select(in_train), self.select(in_test)

    def _groups(self, by: SplitBy) -> NDArray[Any]:
        """For each trial the thing that no split may part: its trial id, recording or subject."""
        if by != "trial":
            names = [r.name if by == "recording" else r.subject for r in self.recordings]
            return np.asarray(names)[self.recording_index]
        of_recording = [np.unique(np.asarray(r.trial_ids), return_inverse=True)[1] for r in self.recordings]
        return np.concatenate(of_recording) + self.recording_index * len(self)

    def count_rarest(self, target: str) -> int:
        """Trials of the rarest class of a target, where it is rarest; 0 if it has no classes per trial."""
        found = self._classes(target)
        return 0 if found is None else found[1]

    def _strata(self, target: str, *, least: int, of: str) -> NDArray[np.int64]:
        """For each trial id a number for its recording and its class there, each of which has at least `least`."""
        found = self._classes(target)
        if found is None:
            raise InputError(f"target {target!r} is not one class per trial; stratify by one that is, or by none.")
        strata, n_rarest, rarest = found
        if n_rarest < least:
            raise InputError(
                f"{rarest} has {n_rarest} trials, too few for {least} {of}; give fewer {of}, or stratify=None."
            )
        return strata

    def _classes(self, target: str) -> tuple[NDArray[np.int64], int, str] | None:
        """For each trial id a number for its recording and its class there; the rarest class, counted and in words.

        Trials whose class is unknown go with the most frequent one. None if the target is not one class per trial.
        """
        if any(values.ndim > 1 or values.dtype.kind == "f" for values in self.target_values(target)):
            return None
        strata, rarest = [], []
        for number, recording in enumerate(self.recordings):
            _, first = np.unique(recording.trial_ids, return_index=True)
            stratum = np.zeros(len(first), dtype=np.int64)
            if target in recording.targets:
                labels = recording.targets[target][first]
                known = given.is_known(labels)
                classes, codes, counts = np.unique(labels[known], return_inverse=True, return_counts=True)
                if len(classes):
                    stratum[:] = counts.argmax()
                    stratum[known] = codes
                    words = f"class {classes[counts.argmin()]} of {target!r} in recording {recording.name!r}"
                    rarest.append((int(counts.min()), words))
            strata.append(stratum + number * len(self))
        if not rarest:
            raise InputError(f"target {target!r} is not known in any trial; give trials where it is.")
        return np.concatenate(strata), *min(rarest)

    def _time_block(
        self, start: float, stop: float, gap_seconds: float | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of the trials in a block of time, and of those clear of it, for each recording alone."""
        in_test, in_train = [], []
        for recording in self.recordings:
            begin = np.asarray(recording.trial_start_seconds)
            end = begin + recording.trial_lengths * recording.bin_seconds
            gap = recording.n_bins * recording.bin_seconds if gap_seconds is None else gap_seconds
            unit = recording.trial_units
            first = np.full(unit.max() + 1, np.inf)
            np.minimum.at(first, unit, begin)
            order = np.argsort(first, kind="stable")
            test = np.isin(unit, order[round(start * len(order)) : round(stop * len(order))])
            low, high = (begin[test].min(), end[test].max()) if test.any() else (np.inf, -np.inf)
            in_test.append(test)
            tolerance = 1e-6 * recording.bin_seconds
            in_train.append((end <= low - gap + tolerance) | (begin >= high + gap - tolerance))
        return np.concatenate(in_test), np.concatenate(in_train)

    # ------------------------------------------------------------------ batches

    def batch(self, trials: ArrayLike | None = None) -> Batch:
        """The trials at these positions (all by default), padded to the largest among them.

        Targets that are not numbers are left out: an objective turns classes into numbers first.
        """
        chosen = np.arange(len(self)) if trials is None else np.asarray(trials)
        of_recording, in_recording = self.recording_index[chosen], self.trial_index[chosen]
        present = np.unique(of_recording)
        n_individuals = max(self.recordings[index].n_individuals for index in present)
        n_bins = max(
            1, *(int(self.recordings[i].trial_lengths[in_recording[of_recording == i]].max()) for i in present)
        )
        values = torch.zeros(len(chosen), n_individuals, n_bins, self.n_features)
        observed = torch.zeros(len(chosen), n_individuals, n_bins, dtype=torch.bool)
        targets: dict[str, Tensor] = {}
        leads = {"trial": [], "bin": [n_bins], "individual": [n_individuals], "pair": [n_individuals] * 2}
        for index in present:
            recording, rows = self.recordings[index], np.flatnonzero(of_recording == index)
            size, length = recording.n_individuals, min(n_bins, recording.n_bins)
            picked = in_recording[rows]
            values[rows, :size, :length] = torch.from_numpy(recording.values[picked])[:, :, :length].float()
            observed[rows, :size, :length] = torch.from_numpy(recording.observed[picked])[:, :, :length]
            for name, target in recording.targets.items():
                if target.dtype.kind in "bif":
                    _write_target(
                        targets,
                        name,
                        target[picked],
                        rows,
                        (len(chosen), *leads[recording.target_levels[name]]),
                    )
        sizes = torch.tensor([recording.n_individuals for recording in self.recordings])
        places = torch.arange(n_individuals).expand(len(sizes), -1)
        return Batch(
            values=values,
            observed=observed,
            individual_ids=tuple(recording.individual_ids for recording in self.recordings),
            positions=torch.where(places < sizes[:, None], places, -1),
            recording_index=torch.from_numpy(of_recording),
            targets=targets,
        )

    def batches(self, n_bytes: Callable[[int, int], int], *, most_trials: int) -> Iterator[Batch]:
        """All trials in order, at most `most_trials` and `BATCH_BYTES` at a time.

        `n_bytes` says what a trial of so many individuals and bins takes.
        """
        n_individuals = np.array([recording.n_individuals for recording in self.recordings])[self.recording_index]
        n_bins = np.concatenate([recording.trial_lengths for recording in self.recordings])
        first, widest, longest = 0, 0, 1
        for trial in range(len(self)):
            widest, longest = max(widest, int(n_individuals[trial])), max(longest, int(n_bins[trial]))
            n_trials = trial - first + 1
            if n_trials > 1 and (n_trials > most_trials or n_trials * n_bytes(widest, longest) > BATCH_BYTES):
                yield self.batch(np.arange(first, trial))
                first, widest, longest = trial, int(n_individuals[trial]), max(1, int(n_bins[trial]))
        yield self.batch(np.arange(first, len(self)))


def _write_target(
    targets: dict[str, Tensor], name: str, target: NDArray[Any], rows: NDArray[np.int64], lead: tuple[int, ...]
) -> None:
    """Put numbers into some rows of a tensor (trial, …) of leading axes of those sizes; -1 or NaN where unknown."""
    n_lead = len(lead)
    if name not in targets:
        fill, dtype = (np.nan, torch.float32) if target.dtype.kind == "f" else (-1, torch.int64)
        targets[name] = torch.full((*lead, *target.shape[n_lead:]), fill, dtype=dtype)
    if target.dtype.kind == "i":
        target = np.where(given.is_known(target), target, -1)
    cut = target[(slice(None), *(slice(size) for size in lead[1:]))]
    place: Any = (torch.from_numpy(rows), *(slice(size) for size in cut.shape[1:n_lead]))
    targets[name][place] = torch.as_tensor(np.ascontiguousarray(cut)).to(targets[name].dtype)


def _check_alike(recordings: Sequence[Recording]) -> None:
    """Refuse recordings whose bins, or targets of one name, do not mean the same."""
    first = recordings[0]
    having: dict[str, tuple[str, str]] = {}
    for recording in recordings:
        refuse_other_bins(recording, first.bin_seconds, of=f"recording {first.name!r}")
        for target, values in recording.targets.items():
            level = recording.target_levels[target]
            rest = values.shape[{"trial": 1, "pair": 3}.get(level, 2) :]
            kind = {"b": "integer", "i": "integer", "f": "float"}.get(values.dtype.kind, "string")
            words = f"{kind} per {level}" + (f" of shape {rest}" if rest else "")
            known, where = having.setdefault(target, (words, recording.name))
            if words != known:
                raise InputError(
                    f"target {target!r} is {known} in recording {where!r} and {words} in {recording.name!r}; "
                    "make them alike, or give one of them another name."
                )


def _draw(strata: NDArray[np.int64], fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random positions, `fraction` of all but at least one and never all; of every stratum nearly that fraction."""
    order = rng.permutation(len(strata))
    _, stratum, sizes = np.unique(strata[order], return_inverse=True, return_counts=True)
    place = np.empty(len(strata))  # within its stratum, from 0 to 1
    place[np.argsort(stratum, kind="stable")] = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    n_drawn = min(max(1, round(fraction * len(strata))), len(strata) - 1)
    return order[np.argsort(place, kind="stable")[:n_drawn]]

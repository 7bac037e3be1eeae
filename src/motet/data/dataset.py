"""A `PopulationDataset`: recordings, their splits, and batches drawn from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, RepeatedKFold, RepeatedStratifiedKFold, StratifiedKFold
from torch import Tensor

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean

SplitBy = Literal["trial", "time", "recording", "subject"]


class PopulationDataset:
    """Recordings seen as one list of trials, first recording first.

    Args:
        recordings: one or more, with the same number of features; individuals, trials and
            lengths may differ.

    Raises:
        InputError: if there is none, features differ, or two recordings share a name.

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
    def individual_ids(self) -> tuple[str, ...]:
        """Every individual once, in order of appearance."""
        return tuple(dict.fromkeys(i for recording in self.recordings for i in recording.individual_ids))

    def map(self, change: Callable[[Recording], Recording]) -> PopulationDataset:
        """The dataset with every recording changed."""
        return PopulationDataset([change(recording) for recording in self.recordings])

    def select(self, trials: ArrayLike) -> PopulationDataset:
        """The dataset of some trials, by position in the whole list (or a mask); recordings left empty go."""
        chosen = np.arange(len(self))[np.asarray(trials)]
        of_recording = self.recording_index[chosen]
        return PopulationDataset(
            [
                self.recordings[index].select(trials=self.trial_index[chosen[of_recording == index]])
                for index in np.unique(of_recording)
            ]
        )

    def target_values(self, name: str) -> list[NDArray[Any]]:
        """One target, as an array for each recording that has it.

        Raises:
            InputError: if no recording has a target of that name.
        """
        found = [r.targets[name] for r in self.recordings if name in r.targets]
        if not found:
            known = {key for recording in self.recordings for key in recording.targets}
            raise did_you_mean(name, known, what="target")
        return found

    # ------------------------------------------------------------------ splits

    def split(
        self,
        *,
        by: SplitBy = "trial",
        test: float | Sequence[str] = 0.2,
        stratify: str | None = None,
        gap_seconds: float | None = None,
        seed: int = 0,
    ) -> tuple[PopulationDataset, PopulationDataset]:
        """Part the dataset in two: train and test.

        Args:
            by: "trial": random trials. "time": the last part of each recording. "recording" and
                "subject": whole ones.
            test: the fraction to test on; or, for recordings and subjects, their names.
            stratify: a class target per trial whose proportions both parts keep.
            gap_seconds: by time, what is left out between the parts; by default one trial's length.
            seed: of the random choice.

        Raises:
            InputError: if a part would be empty, or a class too rare to stratify.
        """
        if by in ("recording", "subject") and not isinstance(test, (int, float)):
            names = self._groups(by)
            for name in test:
                if name not in names:
                    raise did_you_mean(name, set(names), what=by)
            return self._parts(np.isin(names, list(test)))
        if not isinstance(test, (int, float)) or not 0 < test < 1:
            raise InputError(f"test is {test!r}; give a fraction between 0 and 1 (names only by recording or subject).")
        n_folds = max(2, round(1 / test))
        if by == "time":
            return self._parts(*self._time_block(1 - test, 1.0, gap_seconds))
        groups, first = np.unique(self._groups(by), return_index=True)
        n_test = max(1, round(test * len(groups)))
        if len(groups) < 2:
            raise InputError(f"there is only one {by}, {groups[0]!r}; it cannot be split by {by}.")
        if stratify is None:
            chosen = np.random.default_rng(seed).permutation(len(groups))[:n_test]
        else:
            labels = self._strata(stratify, first, n_folds)
            _, chosen = next(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labels, labels))
        return self._parts(np.isin(self._groups(by), groups[chosen]))

    def folds(
        self,
        n_folds: int = 5,
        *,
        by: SplitBy = "trial",
        n_repeats: int = 1,
        stratify: str | None = None,
        gap_seconds: float | None = None,
        seed: int = 0,
    ) -> Iterator[tuple[PopulationDataset, PopulationDataset]]:
        """Cross-validation: `n_folds` times `n_repeats` pairs of train and test.

        By trial the folds are those of scikit-learn's RepeatedStratifiedKFold (RepeatedKFold without
        `stratify`); by time they are contiguous blocks. Arguments as for `split`.

        Raises:
            InputError: if there are fewer trials (or recordings, or subjects) than folds.
        """
        if by == "time":
            if n_repeats != 1:
                raise InputError("folds by time are always the same blocks; give n_repeats=1.")
            for fold in range(n_folds):
                yield self._parts(*self._time_block(fold / n_folds, (fold + 1) / n_folds, gap_seconds))
            return
        names = self._groups(by)
        groups, first = np.unique(names, return_index=True)
        if len(groups) < n_folds or n_folds < 2:
            raise InputError(f"{n_folds} folds of {len(groups)} {by}s; give from 2 to {len(groups)} folds.")
        if by != "trial":
            folds = KFold(n_folds, shuffle=True, random_state=seed).split(groups)
        elif stratify is None:
            folds = RepeatedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed).split(groups)
        else:
            labels = self._strata(stratify, first, n_folds)
            splitter = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
            folds = splitter.split(labels, labels)
        for _, test in folds:
            yield self._parts(np.isin(names, groups[test]))

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
        match by:
            case "recording":
                return np.asarray([r.name for r in self.recordings])[self.recording_index]
            case "subject":
                return np.asarray([r.subject for r in self.recordings])[self.recording_index]
            case "trial":
                ids = np.concatenate([r.trial_ids for r in self.recordings if r.trial_ids is not None])
                _, group = np.unique(np.stack([self.recording_index, ids]), axis=1, return_inverse=True)
                return np.asarray(group).reshape(-1)
            case _:
                raise did_you_mean(str(by), ["trial", "time", "recording", "subject"], what="way to split")

    def count_rarest(self, target: str) -> int:
        """Trials of the rarest class of a target, where it is rarest; 0 if it has no classes per trial."""
        labels = self._labels(target)
        if labels is None:
            return 0
        _, first = np.unique(self._groups("trial"), return_index=True)
        return int(np.unique(labels[first], return_counts=True)[1].min())

    def _strata(self, target: str, first: NDArray[np.int64], n_folds: int) -> NDArray[Any]:
        """For each group, of which `first` is the first trial, the class whose proportion folds keep."""
        labels = self._labels(target)
        if labels is None:
            raise InputError(f"target {target!r} is not one class per trial; stratify by one that is, or by none.")
        classes, counts = np.unique(labels[first], return_counts=True)
        if counts.min() < n_folds:
            raise InputError(
                f"class {classes[counts.argmin()]} of {target!r} has {counts.min()} trials, too few for {n_folds} "
                "folds; give fewer folds, or stratify=None."
            )
        return labels[first]

    def _labels(self, target: str) -> NDArray[Any] | None:
        """For each trial the recording and its class of `target`, or None if it is not one class per trial."""
        self.target_values(target)
        values = [recording.target(target) for recording in self.recordings]
        if any(labels.ndim > 1 or labels.dtype.kind == "f" for labels in values):
            return None
        named = zip(self.recordings, values, strict=True)
        return np.concatenate([np.char.add(f"{r.name} ", labels.astype(str)) for r, labels in named])

    def _time_block(
        self, start: float, stop: float, gap_seconds: float | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of the trials in a block of time, and of those clear of it, for each recording alone."""
        in_test, in_train = [], []
        for recording in self.recordings:
            begin = np.asarray(recording.trial_start_seconds)
            end = begin + recording.trial_lengths * recording.bin_seconds
            gap = recording.n_bins * recording.bin_seconds if gap_seconds is None else gap_seconds
            order = np.argsort(begin, kind="stable")
            block = order[round(start * len(order)) : round(stop * len(order))]
            test = np.isin(np.arange(len(order)), block)
            low, high = (begin[test].min(), end[test].max()) if test.any() else (np.inf, -np.inf)
            in_test.append(test)
            tolerance = 1e-6 * recording.bin_seconds
            in_train.append((end <= low - gap + tolerance) | (begin >= high + gap - tolerance))
        return np.concatenate(in_test), np.concatenate(in_train)

    # ------------------------------------------------------------------ batches

    @functools.cached_property
    def _tensors(self) -> list[tuple[Tensor, Tensor]]:
        return [(torch.from_numpy(r.values), torch.from_numpy(r.observed)) for r in self.recordings]

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
        for index in present:
            recording_values, recording_observed = self._tensors[index]
            rows = np.flatnonzero(of_recording == index)
            size, length = self.recordings[index].n_individuals, min(n_bins, self.recordings[index].n_bins)
            picked = torch.from_numpy(in_recording[rows])
            values[rows, :size, :length] = recording_values[picked][:, :, :length]
            observed[rows, :size, :length] = recording_observed[picked][:, :, :length]
        sizes = torch.tensor([recording.n_individuals for recording in self.recordings])
        places = torch.arange(n_individuals).expand(len(sizes), -1)
        return Batch(
            values=values,
            observed=observed,
            individual_ids=tuple(recording.individual_ids for recording in self.recordings),
            positions=torch.where(places < sizes[:, None], places, -1),
            recording_index=torch.from_numpy(of_recording),
            targets=self._target_tensors(chosen, n_individuals, n_bins),
        )

    def _target_tensors(self, chosen: NDArray[np.int64], n_individuals: int, n_bins: int) -> dict[str, Tensor]:
        of_recording, in_recording = self.recording_index[chosen], self.trial_index[chosen]
        tensors: dict[str, Tensor] = {}
        for index in np.unique(of_recording):
            recording, rows = self.recordings[index], np.flatnonzero(of_recording == index)
            for name, target in recording.targets.items():
                if target.dtype.kind not in "biuf":
                    continue
                padded = {"trial": [], "bin": [n_bins], "individual": [n_individuals], "pair": [n_individuals] * 2}
                lead = padded[recording.target_levels[name]]
                picked = target[in_recording[rows]]
                cut = picked[(slice(None), *(slice(size) for size in lead))]
                rest = target.shape[1 + len(lead) :]
                if name not in tensors:
                    is_quantity = target.dtype.kind == "f"
                    tensors[name] = torch.full(
                        (len(chosen), *lead, *rest),
                        np.nan if is_quantity else -1,
                        dtype=torch.float32 if is_quantity else torch.int64,
                    )
                place: Any = (torch.from_numpy(rows), *(slice(size) for size in cut.shape[1 : 1 + len(lead)]))
                tensors[name][place] = torch.as_tensor(np.ascontiguousarray(cut)).to(tensors[name].dtype)
        return tensors

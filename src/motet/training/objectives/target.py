"""A `Target`: what training trials say of a label or a quantity that is to be predicted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.settings import Finite, Positive, Settings, Whole

TargetKind = Literal["class", "quantity"]


@dataclasses.dataclass(frozen=True)
class Target(Settings, role="target"):
    """What training trials say of a target, and how it is coded for a model.

    Attributes:
        name: in the recordings.
        level: "trial", "bin", "individual" or "pair".
        classes: sorted; empty for a quantity.
        mean: one per dimension of a quantity, shape `shape`, flattened.
        std: of a quantity, one number, so that dimensions keep their proportions.
        shape: of a quantity; () for a single number.
        weight: of its loss beside those of other targets.
    """

    name: str
    level: Level
    classes: tuple[Any, ...] = ()
    mean: tuple[Finite, ...] = ()
    std: Positive = 1.0
    shape: tuple[Whole, ...] = ()
    weight: Positive = 1.0

    def check(self) -> None:
        is_sorted = len({type(label) for label in self.classes}) < 2 and sorted(set(self.classes)) == [*self.classes]
        if not is_sorted or np.asarray(self.classes or 0).dtype.kind not in "biufU":
            raise InputError(f"classes of target {self.name!r} are {self.classes}; give labels of one type, sorted.")
        if math.prod(self.shape) != len(self.mean) and not self.classes:
            raise InputError(f"target {self.name!r} has shape {self.shape} and {len(self.mean)} dimensions.")

    @classmethod
    def fit(
        cls,
        train: PopulationDataset,
        name: str,
        *,
        kind: TargetKind | None = None,
        levels: Sequence[Level] = ("trial", "bin"),
        weight: float = 1.0,
    ) -> Target:
        """Classes, or mean and spread, of a target in training trials.

        Args:
            train: training trials.
            name: of the target.
            kind: "class" or "quantity"; by default floats are quantities, everything else classes.
            levels: that it may have.
            weight: of its loss.

        Raises:
            InputError: if the target is unknown, of another level, has one class only, or is never known.
        """
        train.target_values(name)
        having = [recording for recording in train.recordings if name in recording.targets]
        level = having[0].target_levels[name]
        if level not in levels:
            raise InputError(f"target {name!r} is per {level}; give one per {' or '.join(levels)}.")
        known = np.concatenate([recording.targets[name][_is_known(recording, name)] for recording in having])
        if len(known) == 0:
            raise InputError(
                f"target {name!r} is not known in any training trial that was observed; give trials where it is."
            )
        if (kind or ("quantity" if known.dtype.kind == "f" else "class")) == "quantity":
            if known.dtype.kind not in "biuf":
                raise InputError(f"target {name!r} holds {known.dtype} values; a regression needs numbers.")
            known = known.astype(np.float64)
            mean = known.mean(axis=0)
            std = 1.0 if (known == known[0]).all() else float(np.sqrt(((known - mean) ** 2).mean()))
            return cls(name, level, mean=tuple(mean.ravel().tolist()), std=std, shape=mean.shape, weight=weight)
        classes = np.unique(known)
        if known.ndim > 1 or len(classes) < 2:
            raise InputError(
                f"target {name!r} has {len(classes)} class{'es' if len(classes) != 1 else ''} in the training trials, "
                f"shape {known.shape}; give one label per {level}, of at least two classes."
            )
        return cls(name, level, classes=tuple(classes.tolist()), weight=weight)

    @property
    def kind(self) -> TargetKind:
        return "class" if self.classes else "quantity"

    # ------------------------------------------------------------------ labels and their codes

    def codes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """(…) the place of each label among the classes; -1 where it is unknown, or none of them.

        Raises:
            InputError: if text was learned and numbers are given, or the other way round.
        """
        classes = np.asarray(self.classes)
        if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
            raise InputError(
                f"target {self.name!r} is of type {labels.dtype}, and was of type {classes.dtype} in training; give "
                "labels of the same kind."
            )
        place = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        return np.where(classes[place] == labels, place, -1)

    def labels(self, codes: NDArray[np.int64]) -> NDArray[Any]:
        """(…) the class at each place; unknown (see `given.unknown`) where that is -1.

        Booleans, which have no value for unknown, are 0 and 1 if there are any.

        Example:
            >>> Target("side", "trial", classes=("left", "right")).labels(np.array([1, -1]))
            array(['right', ''], dtype='<U5')
        """
        found = np.asarray(self.classes)[codes]
        if (codes >= 0).all():
            return np.asarray(found)
        if found.dtype.kind == "b":
            found = found.astype(np.int64)
        return np.where(codes >= 0, found, np.asarray(given.unknown(found.dtype), dtype=found.dtype))

    def most_probable(self, probability: NDArray[Any]) -> NDArray[Any]:
        """(…) the most probable class, from (…, class); unknown where these are NaN."""
        is_missing = np.isnan(probability).any(axis=-1)
        return self.labels(np.where(is_missing, -1, np.nan_to_num(probability).argmax(axis=-1)))

    # ------------------------------------------------------------------ quantities and their units

    def standardised(self, quantity: NDArray[Any]) -> NDArray[np.float64]:
        """About its training mean, in units of its training spread."""
        return np.asarray((quantity.astype(np.float64) - self.centre) / self.std)

    @property
    def centre(self) -> NDArray[np.float64]:
        """The mean, in the shape of the quantity."""
        return np.asarray(self.mean, dtype=np.float64).reshape(self.shape)


def known_rows(recording: Recording, target: str) -> NDArray[np.bool_]:
    """(trial,) or (trial, time): where a target per trial or per bin is known, and anything is observed.

    Nowhere, (trial,), if the recording has no such target.
    """
    if target not in recording.targets:
        return np.zeros(recording.n_trials, dtype=bool)
    is_per_bin = recording.target_levels[target] == "bin"
    observed = recording.bin_is_observed if is_per_bin else np.asarray(recording.bin_is_observed.any(axis=1))
    known = given.is_known(recording.targets[target])
    return np.asarray(observed & known.reshape(*observed.shape, -1).all(axis=-1))


def known_predictions(
    dataset: PopulationDataset, target: str, predictions: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Truth and prediction in all trials (or bins) where the target is known and anything observed, flat.

    Raises:
        InputError: if that is nowhere.
    """
    truths, flat, start = [], [], 0
    for recording in dataset.recordings:
        known, stop = known_rows(recording, target), start + recording.n_trials
        predicted = predictions[start:stop]
        if known.ndim > 1:
            predicted = predicted[:, : recording.n_bins]
        if target in recording.targets:
            truths.append(recording.targets[target][known])
        flat.append(predicted[known[:, : predicted.shape[1]] if known.ndim > 1 else known])
        start = stop
    if not sum(map(len, truths)):
        raise InputError(f"target {target!r} is not known in any trial that was observed; there is nothing to score.")
    return np.concatenate(truths), np.concatenate(flat)


def _is_known(recording: Recording, name: str) -> NDArray[np.bool_]:
    """Over the axes of the target's level: where it is known."""
    target = recording.targets[name]
    match recording.target_levels[name]:
        case "pair":
            if target.dtype.kind not in "biu":
                raise InputError(f"target {name!r} holds {target.dtype} values; edge types are whole numbers from 0.")
            return np.asarray((target >= 0) & ~np.eye(recording.n_individuals, dtype=bool))
        case "individual":
            return np.asarray(given.is_known(target).reshape(*target.shape[:2], -1).all(axis=-1))
        case _:
            return known_rows(recording, name)

"""What estimators of systems share: how they are fitted, and encode trials."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import TrainedEstimator
from motet.models.eit import EITSettings, Encoding
from motet.models.geometry import Geometry
from motet.models.pairs import PairSettings
from motet.plain import from_plain
from motet.training.predictions import stack_trials
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch

PAIR_MODEL = EITSettings(identity="none", token_bins=1)
PAIR_TRAINING = TrainingSettings(max_steps=1000, batch_trials=64, averaging=0.99, weight_decay=0.05)


class PairEstimator(TrainedEstimator):
    """Learns from systems whose individuals interact; reads systems of any size.

    A subclass says what is learned from training trials before training, makes the learner, prepares trials, and names
    what else is saved.

    Attributes:
        geometry_: units of the training trials.
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.
    """

    objective_settings: ClassVar[type[Any]]

    model: EITSettings
    pairs: PairSettings
    motion: MotionSettings
    objective: Any
    batch_trials: int

    @abc.abstractmethod
    def _learn(self, train: PopulationDataset) -> None:
        """Read off training trials what is needed before training; `geometry_` is known."""

    @abc.abstractmethod
    def _prepared(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset as model and objective read it, with no other targets."""

    @abc.abstractmethod
    def _learned(self) -> dict[str, Any]:
        """What `_learn` found, by name, to be saved."""

    @abc.abstractmethod
    def _restore(self, learned: Mapping[str, Any]) -> None:
        """Take up what `_learned` gave, read back from a file."""

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.model.identity != "none":
            raise InputError(f"model.identity is {self.model.identity!r}; systems of any individuals need 'none'.")

    def _cut(self, dataset: PopulationDataset) -> PopulationDataset:
        """Training or validation trials, as long as they are read."""
        return dataset

    def _noisy(self, dataset: PopulationDataset) -> PopulationDataset:
        """The training trials with what is to be borne."""
        return dataset

    @property
    def method(self) -> str:
        """What pairs are read with, as the row of a table.

        >>> from motet.estimators.interactions import EITInteractions
        >>> EITInteractions(pairs=PairSettings(geometry=False)).method
        'eit + force fit'
        """
        has_space = self.motion.features != "none"
        parts = {
            "eit": self.pairs.embeddings,
            "force fit": has_space and self.pairs.laws > 0,
            "pair geometry": has_space and self.pairs.geometry,
        }
        return " + ".join(name for name, is_read in parts.items() if is_read)

    # ------------------------------------------------------------------ fitting

    def _fit(
        self,
        X: Any,
        y: Any,
        *,
        learns: Any,
        validation: Any,
        run: Run | Path | str | None,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> PopulationDataset | None:
        """Train; gives back the trials that were held out, if there are any."""
        self._begin_fit()
        if y is not None:
            raise InputError("recordings carry their own targets; give no y.")
        dataset = as_dataset(X)
        check_systems(dataset)
        held_out = None if validation is None else as_dataset(validation)
        dataset = self._cut(dataset)
        if held_out is not None:
            check_systems(held_out)
            held_out = self._cut(held_out)
        elif self.training.validation:
            dataset, held_out = dataset.split(by="trial", test=self.training.validation, seed=self.seed)
        self.geometry_ = Geometry.fit(dataset, self.motion)
        self._learn(dataset)
        self._new_learner()
        parts = self._prepared(self._noisy(dataset)), None if held_out is None else self._prepared(held_out)
        self._train(*parts, learns=learns, run=run, on_epoch=on_epoch)
        return held_out

    # ------------------------------------------------------------------ using

    def encode(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """Embeddings of individuals, before and after they meet, and of pairs.

        Returns:
            "individual" and "population", (trial, individual, time, width), and "pair" (trial, individual, individual,
            width); 0 where not observed, NaN after the end of a trial.
        """
        with torch.no_grad():
            encodings = [encoding for encoding, _ in self._encoded(recording)]
        axis_of_time = {"individual": 2, "population": 2, "pair": 3}
        return {
            stage: stack_trials([getattr(e, stage).numpy() for e in encodings], axis=axis)
            for stage, axis in axis_of_time.items()
        }

    def _encoded(self, recording: Recording) -> Iterator[tuple[Encoding, Batch]]:
        check_is_fitted(self)
        self._check_settings()
        check_system(recording)
        dataset = self._prepared(PopulationDataset(recording))
        for batch in self.learner_.batches(dataset, self.batch_trials):
            yield self.learner_.model(batch), batch

    # ------------------------------------------------------------------ saving

    @classmethod
    def _part_settings(cls) -> Mapping[str, type[Any]]:
        return {
            "model": EITSettings,
            "pairs": PairSettings,
            "motion": MotionSettings,
            "objective": cls.objective_settings,
            "training": TrainingSettings,
        }

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.learner_.state_dict(), {"geometry": self.geometry_, **self._learned()}

    def _take_up(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        self.geometry_ = from_plain(Geometry, about["geometry"])
        if self.geometry_.motion != self.motion:
            raise ValueError(f"its geometry is of {self.geometry_.motion}, and its settings of {self.motion}")
        self._restore(about)
        self._load_weights(tensors)


def as_dataset(X: Any) -> PopulationDataset:
    """Recordings as one dataset.

    Raises:
        InputError: if they are none.
    """
    if isinstance(X, PopulationDataset | Recording):
        return X if isinstance(X, PopulationDataset) else PopulationDataset(X)
    if not isinstance(X, Sequence) or not all(isinstance(part, Recording) for part in X):
        raise InputError(
            f"a {type(X).__name__} was given; give a Recording (Recording.from_trials), or a list of them."
        )
    return PopulationDataset(X)


def with_targets(dataset: PopulationDataset, kept: Collection[str]) -> PopulationDataset:
    """The dataset with no other targets than these."""

    def slim(recording: Recording) -> Recording:
        return dataclasses.replace(
            recording,
            targets={name: target for name, target in recording.targets.items() if name in kept},
            target_levels={name: level for name, level in recording.target_levels.items() if name in kept},
        )

    return dataset.map(slim)


def check_system(recording: Recording) -> None:
    """Refuse anything but a recording of two individuals at least."""
    if not isinstance(recording, Recording):
        raise InputError(f"a {type(recording).__name__} was given; give one Recording (Recording.from_trials).")
    check_systems(PopulationDataset(recording))


def check_systems(dataset: PopulationDataset) -> None:
    """Refuse recordings of fewer than two individuals."""
    for recording in dataset.recordings:
        if recording.n_individuals < 2:
            raise InputError(
                f"recording {recording.name!r} has one individual, and an interaction takes two; give recordings of at "
                "least two individuals."
            )


def n_observed(recording: Recording) -> NDArray[np.int64]:
    """(trial,) individuals observed."""
    return np.asarray(recording.observed.any(axis=2).sum(axis=1))


def is_pair(recording: Recording) -> NDArray[np.bool_]:
    """(trial, individual, individual): whether two different individuals, both observed."""
    is_here: NDArray[np.bool_] = np.asarray(recording.observed.any(axis=2))
    return is_here[:, :, None] & is_here[:, None] & ~np.eye(recording.n_individuals, dtype=bool)

"""`SystemEstimator`: what estimators of individuals that interact share, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import Estimator, Population, stacked
from motet.models.eit import EITSettings, Encoding
from motet.models.geometry import Geometry
from motet.models.pairs import PairSettings
from motet.plain import from_plain
from motet.settings import Count, Seed
from motet.training.history import Epoch
from motet.training.run import Run
from motet.training.settings import TrainingSettings

PAIR_MODEL = EITSettings(identity="none", token_bins=1)
PAIR_TRAINING = TrainingSettings(max_steps=1000, batch_trials=64, averaging=0.99, weight_decay=0.05)


class SystemEstimator(Estimator):
    """Learns from systems whose individuals interact; reads systems of any size.

    Attributes:
        geometry_: units of the training trials.
    """

    target: str
    model: EITSettings
    pairs: PairSettings
    motion: MotionSettings
    objective: Any
    seed: Seed
    batch_trials: Count

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.model.identity != "none":
            raise InputError(f"model.identity is {self.model.identity!r}; systems of any individuals need 'none'.")

    def fit(
        self,
        X: Population,
        y: None = None,
        *,
        validation: Population | None = None,
        run: Run | Path | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on recordings; systems of different size mix.

        Args:
            X: to learn interactions from, with the target; to forecast, of at least `objective.context_bins` +
                `objective.horizon_bins` bins, of which windows are cut anywhere.
            y: there is none; recordings carry their targets.
            validation: trials to choose the best epoch by (and then to calibrate probabilities on, best of several
                sizes). By default a part of the training trials, as large as `training.validation` says.
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for data, targets or settings that cannot be used.
        """

        def read() -> tuple[PopulationDataset, PopulationDataset | None]:
            if y is not None:
                raise InputError("recordings carry their own targets; give no y.")
            parts = as_dataset(X), None if validation is None else as_dataset(validation)
            for part in parts:
                if part is not None:
                    check_systems(part)
            return parts

        return self._fit(read, run=run, on_epoch=on_epoch)

    def _learned(self) -> dict[str, Any]:
        return {"geometry": self.geometry_}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.geometry_ = from_plain(Geometry, learned["geometry"])
        if self.geometry_.motion != self.motion:
            raise ValueError(f"its geometry is of {self.geometry_.motion}, and its settings of {self.motion}")

    # ------------------------------------------------------------------ using

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

    def encode(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """Embeddings of individuals, before and after they meet, and of pairs.

        Returns:
            "individual" and "population", (trial, individual, time, width), and "pair" (trial, individual, individual,
            width); 0 where not observed, NaN after the end of a trial.
        """
        encodings = [encoding for encoding, _ in self._encoded(recording)]
        axis_of_time = {"individual": 2, "population": 2, "pair": None}
        return {
            stage: stacked([getattr(e, stage).numpy() for e in encodings], recording.n_bins, axis=axis)
            for stage, axis in axis_of_time.items()
        }

    def _encoded(self, recording: Recording) -> Iterator[tuple[Encoding, Batch]]:
        """Encodings of a recording and what they are of, some trials at a time."""
        yield from self.learner_.read(self._to_read(recording), self.batch_trials)

    def _to_read(self, recording: Recording) -> PopulationDataset:
        """A recording that was not cut, as the model reads it."""
        check_is_fitted(self)
        self._check_settings()
        check_system(recording)
        return self.learner_.objective.prepare(self._as_trained(PopulationDataset(recording)))

    def _as_trained(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with what the objective prepares."""
        return dataset


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

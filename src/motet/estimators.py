"""The scikit-learn face: `EITClassifier` and `EITRegressor`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EIT, EITSettings
from motet.trained import Population, TrainedEstimator
from motet.training.objectives import ObjectiveSettings, Target, TargetKind, known_rows, make_objective
from motet.training.predictions import known_predictions, stack_trials
from motet.training.run import Run, from_plain
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, Learner

_ARRAY_TARGET = "y"
_PART_SETTINGS: Mapping[str, type[Any]] = {
    "model": EITSettings,
    "objective": ObjectiveSettings,
    "training": TrainingSettings,
    "preprocess": PreprocessSettings,
}


class _EIT(TransformerMixin, TrainedEstimator):
    """What both estimators share: data in, a trained EIT, embeddings out."""

    def __init__(
        self,
        target: str | None = None,
        *,
        auxiliary: Mapping[str, float] | None = None,
        model: EITSettings = EITSettings(),
        objective: ObjectiveSettings = ObjectiveSettings(),
        training: TrainingSettings = TrainingSettings(),
        preprocess: PreprocessSettings = PreprocessSettings(),
        seed: int = 0,
        batch_trials: int = 256,
    ) -> None:
        self.target = target
        self.auxiliary = auxiliary
        self.model = model
        self.objective = objective
        self.training = training
        self.preprocess = preprocess
        self.seed = seed
        self.batch_trials = batch_trials

    _kind: TargetKind

    @classmethod
    def _part_settings(cls) -> Mapping[str, type[Any]]:
        return _PART_SETTINGS

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Population | ArrayLike,
        y: ArrayLike | None = None,
        *,
        run: Run | Path | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on recordings, or on arrays.

        Args:
            X: recordings with the target; or trials (trial, individual, time[, feature]), NaN where not observed,
                or a list of ragged trials (individual, time[, feature]).
            y: with arrays, the target: (trial,) or, for regression, (trial, dimension).
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for data or targets that cannot be used.
        """
        self._begin_fit()
        dataset = self._dataset(X, y)
        name = self._target_name(dataset)
        train_part, validation = self._validation_split(dataset, name)
        self.targets_ = [
            Target.learn(train_part, name, kind=self._kind),
            *(Target.learn(train_part, other, weight=weight) for other, weight in self._checked_auxiliary(name)),
        ]
        self.preprocess_ = Preprocess.fit(train_part, self.preprocess)
        train_part = self.preprocess_(train_part)
        self.individual_ids_, self.n_features_ = train_part.individual_ids, dataset.n_features
        self._new_learner()
        prepare = self.learner_.objective.prepare
        held_out = prepare(self.preprocess_(validation)) if validation is not None else None
        self._train(prepare(train_part), held_out, learns=name, run=run, on_epoch=on_epoch)
        return self

    def _checked_auxiliary(self, target: str) -> list[tuple[str, float]]:
        auxiliary = list((self.auxiliary or {}).items())
        for name, weight in auxiliary:
            if name == target or not 0 < weight < math.inf:
                raise InputError(
                    f"auxiliary target {name!r} with weight {weight}; give targets other than {target!r}, with "
                    "weights above 0."
                )
        return auxiliary

    def _make_learner(self) -> Learner:
        ids = self.individual_ids_
        model = EIT(self.model, n_features=self.n_features_, individual_ids=ids)
        return Learner(model, make_objective(self.targets_, width=self.model.width, ids=ids, settings=self.objective))

    def _validation_split(
        self, dataset: PopulationDataset, target: str
    ) -> tuple[PopulationDataset, PopulationDataset | None]:
        """Training and validation part, of the training trials; stratified where every class is frequent enough."""
        fraction = self.training.validation
        if fraction == 0:
            return dataset, None
        n_parts = max(2, round(1 / fraction))
        if len(dataset) < n_parts:
            raise InputError(
                f"{len(dataset)} training trials leave none for validation={fraction}; give more trials, or "
                "training.validation=0."
            )
        stratify = target if dataset.count_rarest(target) >= n_parts else None
        return dataset.split(by="trial", test=fraction, stratify=stratify, seed=self.seed)

    # ------------------------------------------------------------------ data

    def _target_name(self, dataset: PopulationDataset) -> str:
        if self.target is not None:
            dataset.target_values(self.target)
            return self.target
        names = list(dataset.recordings[0].targets)
        if len(names) != 1:
            raise InputError(f"the recordings have the targets {names}; say which with target=….")
        return str(names[0])

    def _dataset(self, X: Population | ArrayLike, y: ArrayLike | None = None) -> PopulationDataset:
        """Recordings as they are; arrays as one recording named "array"."""
        is_recordings = isinstance(X, Sequence) and len(X) > 0 and all(isinstance(part, Recording) for part in X)
        if isinstance(X, PopulationDataset | Recording) or is_recordings:
            if y is not None:
                raise InputError(
                    "y was given beside recordings, which carry their own targets; name one with target=…."
                )
            return X if isinstance(X, PopulationDataset) else PopulationDataset(X)  # type: ignore[arg-type]
        if not hasattr(X, "__len__"):
            raise InputError(f"X is a {type(X).__name__}; give recordings, an array of trials, or a list of trials.")
        targets = {} if y is None else {self.target or _ARRAY_TARGET: self._array_target(y)}
        n_trials = len(X)  # type: ignore[arg-type]
        if y is not None and len(next(iter(targets.values()))) != n_trials:
            raise InputError(
                f"X has {n_trials} trials and y has {len(next(iter(targets.values())))}; give one y per trial."
            )
        return PopulationDataset(
            Recording.from_trials(X, targets=targets, target_levels=dict.fromkeys(targets, "trial"))  # type: ignore[arg-type]
        )

    def _array_target(self, y: ArrayLike) -> NDArray[Any]:
        return np.asarray(y)

    # ------------------------------------------------------------------ using

    @torch.no_grad()
    def _predict(self, X: Population | ArrayLike) -> dict[str, NDArray[Any]]:
        """Predictions by target, trials of all recordings in order; time padded with NaN."""
        check_is_fitted(self)
        dataset = self.preprocess_(self._dataset(X))
        parts: dict[str, list[NDArray[Any]]] = {target.name: [] for target in self.targets_}
        for batch in self._batches(dataset):
            predictions = self.learner_.objective.predict(self.learner_.model(batch), batch)
            for target in self.targets_:
                is_observed = batch.bin_is_observed if target.level == "bin" else batch.bin_is_observed.any(dim=1)
                prediction = predictions[target.name].numpy()
                prediction[~is_observed.numpy()] = np.nan
                parts[target.name].append(prediction)
        return {name: stack_trials(arrays) for name, arrays in parts.items()}

    def _scored(
        self, X: Population | ArrayLike, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Truth, prediction and weight of all trials (or bins) whose target is known."""
        dataset = self._dataset(X, y)
        name = self._target_name(dataset)
        truth, prediction = known_predictions(dataset, name, self.predict(dataset))
        if sample_weight is None:
            return truth, prediction, None
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != (len(dataset),):
            raise InputError(f"sample_weight has shape {weight.shape}; give one number per trial, ({len(dataset)},).")
        known = [known_rows(recording, name) for recording in dataset.recordings]
        n_known = np.concatenate([rows.reshape(len(rows), -1).sum(axis=1) for rows in known])
        return truth, prediction, np.repeat(weight, n_known)

    def _batches(self, dataset: PopulationDataset) -> Iterator[Batch]:
        self._check_settings()
        self.learner_.eval()
        for start in range(0, len(dataset), self.batch_trials):
            yield dataset.batch(np.arange(start, min(start + self.batch_trials, len(dataset))))

    @torch.no_grad()
    def encode(self, X: Population | ArrayLike) -> list[dict[str, NDArray[np.float32]]]:
        """Embeddings of every individual at every time.

        Returns:
            For each recording "individual" and "population", both (trial, individual, time, width), NaN where not
            observed, and the "individual_ids" of their axis.
        """
        check_is_fitted(self)
        encodings = []
        for recording in self.preprocess_(self._dataset(X)).recordings:
            batches = list(self._batches(PopulationDataset(recording)))
            encoded = [(self.learner_.model(batch), batch) for batch in batches]
            stages = {}
            for stage in ("individual", "population"):
                masked = [
                    torch.where(batch.observed[..., None], getattr(encoding, stage), torch.nan).numpy()
                    for encoding, batch in encoded
                ]
                stages[stage] = stack_trials(masked, axis=2)
            encodings.append({**stages, "individual_ids": np.asarray(recording.individual_ids)})
        return encodings

    def transform(self, X: Population | ArrayLike) -> NDArray[np.float32]:
        """One embedding per trial, (trial, width): the population embedding averaged over individuals and time.

        For the embedding of each individual at each time see `encode`.
        """
        return np.concatenate([np.nanmean(e["population"], axis=(1, 2)) for e in self.encode(X)]).astype(np.float32)

    # ------------------------------------------------------------------ saving

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"learner/{name}": tensor for name, tensor in self.learner_.state_dict().items()}
        tensors["preprocess/mean"] = torch.from_numpy(self.preprocess_.mean)
        tensors["preprocess/std"] = torch.from_numpy(self.preprocess_.std)
        return tensors, {
            "targets": self.targets_,
            "n_features": self.n_features_,
            "individual_ids": self.individual_ids_,
            "kept_ids": self.preprocess_.individual_ids,
            "silent_ids": self.preprocess_.silent_ids,
        }

    def _take_up(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        self.targets_ = [from_plain(Target, target) for target in about["targets"]]
        names = [target.name for target in self.targets_]
        if bool(self.targets_[0].classes) != (self._kind == "class") or len(set(names)) < len(names):
            raise ValueError(f"it learned {names}, the first of which is not a {self._kind}")
        self.individual_ids_, self.n_features_ = _names(about["individual_ids"]), about["n_features"]
        self.preprocess_ = Preprocess(
            self.preprocess,
            _names(about["kept_ids"]),
            _names(about["silent_ids"]),
            tensors.pop("preprocess/mean").numpy(),
            tensors.pop("preprocess/std").numpy(),
        )
        self._check_statistics()
        self._load_weights({key.removeprefix("learner/"): tensor for key, tensor in tensors.items()})

    def _check_statistics(self) -> None:
        p = self.preprocess_
        is_by_individual = "individual" in (self.preprocess.centre, self.preprocess.scale)
        if (is_by_individual and p.individual_ids != self.individual_ids_) or (
            not is_by_individual and p.individual_ids
        ):
            raise ValueError("it knows other individuals than it has statistics of")
        for kind, statistic in (self.preprocess.centre, p.mean), (self.preprocess.scale, p.std):
            n_rows = len(p.individual_ids) if kind == "individual" else 1
            if statistic.shape != (n_rows, self.n_features_) or not np.isfinite(statistic).all():
                raise ValueError(f"its statistics have shape {statistic.shape}, or are not finite")
        if not (p.std > 0).all():
            raise ValueError("its standard deviations are not all above 0")


def _names(given: Any) -> tuple[str, ...]:
    """Different names, as they were written as JSON."""
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given) or len(set(given)) < len(given):
        raise ValueError(f"its names are {given}")
    return tuple(given)


class EITClassifier(ClassifierMixin, _EIT):
    """Classifies trials (or time bins) of a population with an EIT.

    Args:
        target: name of a target of the recordings; may be left out with arrays, or where there is one only.
        auxiliary: further targets to learn at the same time, with the weight of their loss. They are read from
            training trials only and often help: hand velocity, say, while the reach direction is classified.
        model: see `EITSettings`.
        objective: see `ObjectiveSettings`.
        training: see `TrainingSettings`.
        preprocess: see `PreprocessSettings`.
        seed: of initial weights, order, dropout and the validation part.
        batch_trials: trials predicted at a time.

    Attributes:
        classes_: sorted.
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> side = np.arange(40) % 2
        >>> counts = rng.poisson(2.0 + 4.0 * side[:, None, None], (40, 6, 5))
        >>> decoder = EITClassifier(training=TrainingSettings(max_steps=10)).fit(counts, side)
        >>> decoder.predict(counts[:3]).shape
        (3,)
    """

    _kind: TargetKind = "class"

    @property
    def classes_(self) -> NDArray[Any]:
        check_is_fitted(self, "targets_")
        return np.asarray(self.targets_[0].classes)

    def predict_proba(self, X: Population | ArrayLike) -> NDArray[np.float32]:
        """(trial, class), or (trial, time, class) for a target per bin; NaN where nothing is observed."""
        return self._predict(X)[self.targets_[0].name]

    def predict(self, X: Population | ArrayLike) -> NDArray[Any]:
        """The most probable class, (trial,) or (trial, time); the first where nothing is observed."""
        return self.classes_[np.nan_to_num(self.predict_proba(X)).argmax(axis=-1)]

    def score(
        self, X: Population | ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Accuracy."""
        truth, prediction, weight = self._scored(X, y, sample_weight)
        return float(np.average(truth == prediction, weights=weight))


class EITRegressor(RegressorMixin, _EIT):
    """Reads quantities off a population with an EIT, per time bin or per trial.

    Arguments as for `EITClassifier`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> drive = rng.uniform(0.0, 2.0, (40, 1, 9))
        >>> counts = rng.poisson(1.0 + 3.0 * drive, (40, 6, 9))
        >>> recording = Recording.from_trials(counts, targets={"drive": drive[:, 0]})
        >>> decoder = EITRegressor("drive", training=TrainingSettings(max_steps=10)).fit(recording)
        >>> decoder.predict(recording).shape
        (40, 9)
    """

    _kind: TargetKind = "quantity"

    def _array_target(self, y: ArrayLike) -> NDArray[Any]:
        return np.asarray(y, dtype=np.float64)

    def predict(self, X: Population | ArrayLike) -> NDArray[np.float32]:
        """(trial, …), or (trial, time, …) for a target per bin; NaN where nothing is observed."""
        return self._predict(X)[self.targets_[0].name]

    def score(
        self, X: Population | ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """R², dimensions weighted by their variance."""
        truth, prediction, weight = self._scored(X, y, sample_weight)
        flat = (array.reshape(len(truth), -1) for array in (truth, prediction))
        return float(r2_score(*flat, sample_weight=weight, multioutput="variance_weighted"))

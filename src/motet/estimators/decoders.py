"""The scikit-learn face: `EITClassifier` and `EITRegressor`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import READS_ANYONE, Preprocess, PreprocessSettings
from motet.data.recording import Recording
from motet.data.windows import Windows
from motet.errors import InputError, did_you_mean
from motet.estimators.arrays import are_nameless, are_recordings, read_population
from motet.estimators.base import Estimator, Population, stacked
from motet.estimators.importance import Importance, importance_of
from motet.metrics import accuracy, r2
from motet.models.eit import EIT, EITSettings
from motet.models.layers import IndividualTable
from motet.plain import from_plain
from motet.settings import Count, Positive, Seed
from motet.training.history import Epoch
from motet.training.learner import Learner
from motet.training.objectives import (
    TRIAL_WEIGHT,
    ObjectiveSettings,
    Target,
    TargetKind,
    known_predictions,
    known_rows,
    make_objective,
)
from motet.training.run import Run
from motet.training.settings import TrainingSettings

_ARRAY_TARGET = "y"


class _Decoder(TransformerMixin, Estimator):
    """What both estimators share: data in, a trained EIT, embeddings out."""

    def __init__(
        self,
        target: str | None = None,
        *,
        auxiliary: Mapping[str, Positive] | None = None,
        model: EITSettings = EITSettings(),
        objective: ObjectiveSettings = ObjectiveSettings(),
        training: TrainingSettings = TrainingSettings(),
        preprocess: PreprocessSettings = PreprocessSettings(),
        seed: Seed = 0,
        batch_trials: Count = 256,
        random_state: Any = None,
    ) -> None:
        self.target = target
        self.auxiliary = auxiliary
        self.model = model
        self.objective = objective
        self.training = training
        self.preprocess = preprocess
        self.seed = seed
        self.batch_trials = batch_trials
        self.random_state = random_state

    _kind: TargetKind

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Population | ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        individual_ids: Sequence[str] | None = None,
        run: Run | Path | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on recordings, or on arrays.

        Args:
            X: recordings with the target; or trials (trial, individual, time[, feature]), NaN where not observed,
                or a list of ragged trials (individual, time[, feature]).
            y: with arrays, the target: per trial (trial,) or per bin (trial, time), or a list of one (time,) per
                trial; for regression also (trial, dimension) and (trial, time, dimension). What is missing (None, NaN)
                is unknown: it is not learned from, and the rest is.
            sample_weight: (trial,) how much the loss of each trial counts; by default all the same. Trials of weight 0
                teach the model nothing, but that they belong to what preprocessing takes for usual.
            individual_ids: with arrays, names of the individuals, by which they are found again in other arrays;
                without, these must have the same individuals in the same order.
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for data or targets that cannot be used.
        """

        def read() -> tuple[PopulationDataset, None]:
            name = self.target or _ARRAY_TARGET
            dataset = read_population(X, y, individual_ids=individual_ids, target=name, kind=self._kind)
            self._target_name(dataset)
            if sample_weight is not None:
                dataset = _weighted(dataset, _trial_weights(dataset, sample_weight))
            return dataset, None

        return self._fit(read, run=run, on_epoch=on_epoch)

    def _split(self, dataset: PopulationDataset) -> tuple[PopulationDataset, PopulationDataset]:
        """Stratified, where every class is frequent enough."""
        fraction, name = self.training.validation, self._target_name(dataset)
        n_parts = max(2, round(1 / fraction))
        if len(dataset) < n_parts:
            raise InputError(
                f"{len(dataset)} training trials leave none for validation={fraction}; give more trials, or "
                "training.validation=0."
            )
        stratify = name if dataset.count_rarest(name) >= n_parts else None
        return dataset.split(by="trial", test=fraction, stratify=stratify, seed=self.seed_)

    def _fit_statistics(self, train: PopulationDataset) -> None:
        name, auxiliary = self._target_name(train), self.auxiliary or {}
        if name in auxiliary:
            raise InputError(f"auxiliary target {name!r} is the target itself; give others.")
        self.targets_ = [
            Target.fit(train, name, kind=self._kind),
            *(Target.fit(train, other, weight=weight) for other, weight in auxiliary.items()),
        ]
        self.preprocess_ = Preprocess.fit(train, self.preprocess)
        silent = set(self.preprocess_.silent_ids)
        self.individual_ids_ = tuple(name for name in train.individual_ids if name not in silent)

    def _make_learner(self) -> Learner:
        ids = self.individual_ids_
        model = EIT(self.model, n_features=self.n_features_in_, individual_ids=ids)
        return Learner(model, make_objective(self.targets_, width=self.model.width, ids=ids, settings=self.objective))

    @property
    def _learns(self) -> str:
        return self.targets_[0].name

    def _prepared(self, dataset: PopulationDataset, *, trains: bool) -> PopulationDataset:
        return Windows.cut(self.learner_.objective.prepare(self.preprocess_(dataset)), self._window_bins).dataset

    # ------------------------------------------------------------------ data

    def _target_name(self, dataset: PopulationDataset) -> str:
        if self.target is not None:
            dataset.target_values(self.target)
            return self.target
        names = [name for name in dataset.recordings[0].targets if name != TRIAL_WEIGHT]
        if len(names) != 1:
            raise InputError(f"the recordings have the targets {names}; say which with target=….")
        return str(names[0])

    def _to_read(self, X: Any, y: Any = None, individual_ids: Any = None) -> PopulationDataset:
        """Recordings or arrays, of individuals that the model can read."""
        check_is_fitted(self)
        t = self.targets_[0]
        dataset = read_population(X, y, individual_ids=individual_ids, target=t.name, kind=self._kind, level=t.level)
        if not are_recordings(X) and are_nameless(dataset.recordings[0]):
            self._check_nameless(dataset.individual_ids)
        return dataset

    def _check_nameless(self, ids: tuple[str, ...]) -> None:
        """Refuse an array whose individuals, which have no names, are not those that were trained on."""
        tables = [module for module in self.learner_.modules() if isinstance(module, IndividualTable)]
        known = {*self.individual_ids_, *self.preprocess_.silent_ids}
        if (tables or self.preprocess_.individual_ids) and known != set(ids):
            raise InputError(
                f"X has {len(ids)} individuals without names, and the model knows {len(known)}, such as "
                f"{self.individual_ids_[0]!r}; give the same individuals in the same order, name them with "
                f"individual_ids=… (in fit and here), {READS_ANYONE}."
            )

    # ------------------------------------------------------------------ using

    def predict(
        self, X: Population | ArrayLike, *, target: str | None = None, individual_ids: Sequence[str] | None = None
    ) -> NDArray[Any]:
        """The target, per trial (trial, …) or per bin (trial, time, …): a quantity, or the most probable class.

        Where nothing is observed nothing is predicted: quantities are NaN, classes unknown ("" among strings, the least
        64-bit integer among integers; booleans are 0 and 1 then). There are as many bins as X has, padding included
        (of recordings, those of the one with most): neither they nor what is predicted depends on other trials.

        Args:
            X: as in `fit`.
            target: which one, the auxiliary targets among them; by default the one of interest.
            individual_ids: as in `fit`.

        Raises:
            InputError: if the model does not know the target, or cannot read the individuals.
        """
        of = self._learned_target(target)
        predicted = self._predict(self._to_read(X, individual_ids=individual_ids))[of.name]
        return of.most_probable(predicted) if of.classes else predicted

    def _learned_target(self, name: str | None) -> Target:
        check_is_fitted(self)
        by_name = {target.name: target for target in self.targets_}
        if name is not None and name not in by_name:
            raise did_you_mean(str(name), by_name, what="target")
        return self.targets_[0] if name is None else by_name[name]

    def _predict(self, dataset: PopulationDataset) -> dict[str, NDArray[Any]]:
        """Quantities, and probabilities of classes, by target; trials of all recordings in order.

        NaN where nothing is observed.
        """
        self._check_settings()
        windows = Windows.cut(self.preprocess_(dataset), self._window_bins)
        parts: dict[str, list[NDArray[Any]]] = {target.name: [] for target in self.targets_}
        for predictions, batch in self.learner_.predict(windows.dataset, self.batch_trials):
            for target in self.targets_:
                is_observed = batch.bin_is_observed if target.level == "bin" else batch.bin_is_observed.any(dim=1)
                prediction = predictions[target.name].numpy()
                prediction[~is_observed.numpy()] = np.nan
                parts[target.name].append(prediction)
        axes = {target.name: 1 if target.level == "bin" else None for target in self.targets_}
        return {
            name: windows.join(stacked(parts[name], windows.dataset.n_bins, axis=axis), axis=axis)
            for name, axis in axes.items()
        }

    def _scored(self, X: Any, y: Any, sample_weight: Any, individual_ids: Any) -> dict[str, Any]:
        """Truth, prediction and weight of all trials (or bins) with a known target and anything observed."""
        dataset, target = self._to_read(X, y, individual_ids), self._learned_target(None)
        dataset.target_values(target.name)
        predicted = self._predict(dataset)[target.name]
        predicted = target.most_probable(predicted) if target.classes else predicted
        truth, prediction = known_predictions(dataset, target.name, predicted)
        weight = None
        if sample_weight is not None:
            known = [known_rows(recording, target.name) for recording in dataset.recordings]
            n_known = np.concatenate([rows.reshape(len(rows), -1).sum(axis=1) for rows in known])
            weight = np.repeat(_trial_weights(dataset, sample_weight), n_known)
        return {"prediction": prediction, "target": truth, "weight": weight}

    def encode(
        self, X: Population | ArrayLike, *, individual_ids: Sequence[str] | None = None
    ) -> list[dict[str, NDArray[Any]]]:
        """Embeddings of every individual at every time.

        Args:
            X: as in `fit`.
            individual_ids: as in `fit`.

        Returns:
            For each recording "individual" and "population", both (trial, individual, time, width), NaN where not
            observed; the "individual_ids" of their axis; and whether embeddings tell these apart by their names
            ("knows_individuals"), so that likeness between populations means nothing.
        """
        dataset = self.preprocess_(self._to_read(X, individual_ids=individual_ids))
        self._check_settings()
        knows_individuals = np.asarray(self.model.identity == "learned" or bool(self.preprocess_.individual_ids))
        encodings = []
        for recording in dataset.recordings:
            windows = Windows.cut(PopulationDataset(recording), self._window_bins)
            encoded = [encoding for encoding, _ in self.learner_.read(windows.dataset, self.batch_trials)]
            stages = {
                stage: [torch.where(e.observed[..., None], getattr(e, stage), torch.nan).numpy() for e in encoded]
                for stage in ("individual", "population")
            }
            n_bins = windows.dataset.n_bins
            joined = {stage: windows.join(stacked(parts, n_bins, axis=2), axis=2) for stage, parts in stages.items()}
            about = {"individual_ids": np.asarray(recording.individual_ids), "knows_individuals": knows_individuals}
            encodings.append({**joined, **about})
        return encodings

    def importance(self, recording: Recording, *, repeats: Count = 3, steps: Count = 16, seed: Seed = 0) -> Importance:
        """Which individuals the answers rest on, and when, each beside its level of chance: see `Importance`.

        Args:
            recording: trials with the target that were not learned from.
            repeats: how often the values of each individual are exchanged among trials. Together with leaving each out
                that makes repeats + 1 predictions of the recording for every individual.
            steps: of the path of integrated gradients.
            seed: of the exchange.

        Raises:
            InputError: if it is no recording of two trials at least, or its target is unknown or never differs.
        """
        target = self._learned_target(None)
        return importance_of(
            recording,
            target,
            predict=lambda changed: self._predict(self._to_read(changed))[target.name],
            cut=lambda trials: Windows.cut(self.preprocess_(trials), self._window_bins),
            learner=self.learner_,
            most_trials=self.batch_trials,
            repeats=repeats,
            steps=steps,
            seed=seed,
        )

    @property
    def _window_bins(self) -> int | None:
        """Bins of the windows that longer trials are read in; a target per trial is read from the whole of it."""
        return self.objective.window_bins if self.targets_[0].level == "bin" else None

    def transform(
        self, X: Population | ArrayLike, *, individual_ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """One embedding per trial, (trial, width): the population embedding averaged over individuals and time.

        NaN for a trial in which nothing is observed. For the embedding of each individual at each time see `encode`.
        """
        embeddings = [encoding["population"] for encoding in self.encode(X, individual_ids=individual_ids)]
        with np.errstate(invalid="ignore"):
            means = [np.nansum(e, axis=(1, 2)) / (~np.isnan(e)).sum(axis=(1, 2)) for e in embeddings]
        return np.concatenate(means).astype(np.float32)

    # ------------------------------------------------------------------ saving

    def _learned(self) -> dict[str, Any]:
        p = self.preprocess_
        found = {"kept_ids": p.individual_ids, "silent_ids": p.silent_ids, "mean": p.mean, "std": p.std}
        return {"targets": self.targets_, "individual_ids": self.individual_ids_, "preprocess": found}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.targets_ = from_plain(list[Target], learned["targets"], what="targets")
        names = [target.name for target in self.targets_]
        if self.targets_[0].kind != self._kind or len(set(names)) < len(names):
            raise ValueError(f"it learned {names}, the first of which is not a {self._kind}")
        self.individual_ids_, found = _names(learned["individual_ids"]), learned["preprocess"]
        mean, std = (np.asarray(found[name], dtype=np.float64) for name in ("mean", "std"))
        self.preprocess_ = Preprocess(
            self.preprocess, _names(found["kept_ids"]), _names(found["silent_ids"]), mean, std
        )
        self._check_statistics()

    def _check_statistics(self) -> None:
        p = self.preprocess_
        is_by_individual = "individual" in (self.preprocess.centre, self.preprocess.scale)
        if p.individual_ids != (self.individual_ids_ if is_by_individual else ()):
            raise ValueError("it knows other individuals than it has statistics of")
        for kind, statistic in (self.preprocess.centre, p.mean), (self.preprocess.scale, p.std):
            n_rows = len(p.individual_ids) if kind == "individual" else 1
            if statistic.shape != (n_rows, self.n_features_in_) or not np.isfinite(statistic).all():
                raise ValueError(f"its statistics have shape {statistic.shape}, or are not finite")
        if not (p.std > 0).all():
            raise ValueError("its standard deviations are not all above 0")


def _trial_weights(dataset: PopulationDataset, sample_weight: ArrayLike) -> NDArray[np.float64]:
    """(trial,) weights as they were given."""
    weight = given.numbers(sample_weight, what="sample_weight")
    if weight.shape != (len(dataset),):
        raise InputError(f"sample_weight has shape {weight.shape}; give one number per trial, ({len(dataset)},).")
    return weight


def _weighted(dataset: PopulationDataset, weight: NDArray[np.float64]) -> PopulationDataset:
    """The dataset with the weight of each trial, about 1, as a target; as it is, if all are the same.

    Raises:
        InputError: if a weight is negative or not finite, or all are 0.
    """
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0:
        raise InputError(
            f"sample_weight is from {weight.min():g} to {weight.max():g}; give finite ones from 0, not all zero."
        )
    if (weight == weight[0]).all():
        return dataset
    parts = iter(np.split(weight / weight.mean(), np.cumsum([r.n_trials for r in dataset.recordings])[:-1]))

    def with_weight(recording: Recording) -> Recording:
        return dataclasses.replace(
            recording,
            targets={**recording.targets, TRIAL_WEIGHT: next(parts)},
            target_levels={**recording.target_levels, TRIAL_WEIGHT: "trial"},
        )

    return dataset.map(with_weight)


def _names(given: Any) -> tuple[str, ...]:
    """Different names, as they were written as JSON."""
    names: tuple[str, ...] = from_plain(tuple[str, ...], given, what="names")
    if len(set(names)) < len(names):
        raise ValueError(f"its names are {names}")
    return names


class EITClassifier(ClassifierMixin, _Decoder):
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
        random_state: see `Estimator`.

    Attributes:
        classes_: sorted.
        n_features_in_: features per individual and time bin.
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

    def predict_proba(
        self, X: Population | ArrayLike, *, target: str | None = None, individual_ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """(trial, class), or (trial, time, class) for a target per bin; NaN where nothing is observed.

        Arguments and errors as `predict`; classes are those of `classes_`, or of an auxiliary target, sorted.
        """
        of = self._learned_target(target)
        if not of.classes:
            raise InputError(f"target {of.name!r} is a quantity, which has no probabilities; use predict.")
        return self._predict(self._to_read(X, individual_ids=individual_ids))[of.name]

    def predict_log_proba(
        self, X: Population | ArrayLike, *, target: str | None = None, individual_ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, target=target, individual_ids=individual_ids))

    def decision_function(
        self, X: Population | ArrayLike, *, individual_ids: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """(trial,) log-odds of the second of two classes; (trial, class) log-probabilities of more.

        With an axis of time behind that of trials, for a target per bin.
        """
        log_p = self.predict_log_proba(X, individual_ids=individual_ids)
        return np.asarray(log_p[..., 1] - log_p[..., 0]) if len(self.classes_) == 2 else log_p

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, individual_ids: Sequence[str] | None = None
    ) -> float:
        """Accuracy, over trials (or bins) with a known target and anything observed; arguments as in `fit`.

        Raises:
            InputError: if there are none; and as `predict`.
        """
        return accuracy(**self._scored(X, y, sample_weight, individual_ids))


class EITRegressor(RegressorMixin, _Decoder):
    """Reads quantities off a population with an EIT, per time bin or per trial.

    Arguments as for `EITClassifier`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> drive = rng.uniform(0.0, 2.0, (40, 1, 9))
        >>> counts = rng.poisson(1.0 + 3.0 * drive, (40, 6, 9))
        >>> from motet.data.recording import Recording
        >>> recording = Recording.from_trials(counts, targets={"drive": drive[:, 0]})
        >>> decoder = EITRegressor("drive", training=TrainingSettings(max_steps=10)).fit(recording)
        >>> decoder.predict(recording).shape
        (40, 9)
    """

    _kind: TargetKind = "quantity"

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, individual_ids: Sequence[str] | None = None
    ) -> float:
        """R², with the variances of all dimensions added up, over trials (or bins) known and observed.

        NaN, since it is not defined, where the target does not vary among them. Arguments as in `fit`.

        Raises:
            InputError: if there are none; and as `predict`.
        """
        return r2(**self._scored(X, y, sample_weight, individual_ids))

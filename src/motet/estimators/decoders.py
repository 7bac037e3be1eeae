"""The scikit-learn face: `EITClassifier` and `EITRegressor`."""

from __future__ import annotations

import dataclasses
import time
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from motet import given
from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import READS_ANYONE, Preprocess, PreprocessSettings
from motet.data.recording import Recording, refuse_other_bins
from motet.data.windows import Windows
from motet.errors import InputError, did_you_mean
from motet.estimators.arrays import are_nameless, are_recordings, read_population
from motet.estimators.base import Estimator, Population, stacked
from motet.estimators.exported import Exported, Format, about_file
from motet.estimators.importance import Importance, importance_of
from motet.estimators.inside import Inside
from motet.estimators.intervals import Distances
from motet.estimators.plots import DecoderPlots
from motet.estimators.rule import EIT_PART, QUICK, Rule, Said, Shares, coded, rules_for, said_of_left_out
from motet.estimators.stream import Stream, refuse_what_waits
from motet.metrics import accuracy, r2
from motet.models.eit import EIT, EITSettings
from motet.models.layers import ById
from motet.plain import from_plain
from motet.settings import Count, Positive, Seed, check_arguments
from motet.training.committee import Committee, in_parts
from motet.training.history import Epoch
from motet.training.learner import Learner
from motet.training.objectives import (
    PART,
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
_RULE = "rule/"  # before the names of its arrays
BATCH_TRIALS = 8
RULE_PARTS, MOST_SURER = 12, 2.0  # by which is found how sure a rule of all trials may be of classes
STRETCHES, LEAST_STRETCH = 8, 16  # per part of a committee, and bins of each, that long trials are cut into


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
        rule: str = "auto",
        members: Count = 3,
        seed: Seed = 0,
        batch_trials: Count = 256,
        random_state: Any = None,
    ) -> None:
        self.target = target
        self.rule = rule
        self.members = members
        self.auxiliary = auxiliary
        self.model = model
        self.objective = objective
        self.training = training
        self.preprocess = preprocess
        self.seed = seed
        self.batch_trials = batch_trials
        self.random_state = random_state

    _kind: TargetKind
    rule_: Rule | None
    shares_: Shares
    bin_seconds_: float | None  # of the recordings that it was fitted to; arrays say none
    distances_: Distances | None
    rule_seconds_: float

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Population | ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        individual_ids: Sequence[str] | None = None,
        start: Estimator | None = None,
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
            start: a decoder or an encoder of other populations, with the same settings of the model, whose weights are
                begun with; those of single individuals begin anew, as does a readout of another target. It must not
                have seen these trials: members could not leave them out.
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for data or targets that cannot be used.
        """
        if start is not None:
            if not isinstance(start, Estimator):
                raise InputError(
                    f"start is {type(start).__name__}; give a fitted EITEncoder, EITClassifier or EITRegressor."
                )
            check_is_fitted(start)

        def read() -> tuple[PopulationDataset, None]:
            name = self.target or _ARRAY_TARGET
            dataset = read_population(X, y, individual_ids=individual_ids, target=name, kind=self._kind)
            self._target_name(dataset)
            self.bin_seconds_ = dataset.recordings[0].bin_seconds if are_recordings(X) else None
            if sample_weight is not None:
                dataset = _weighted(dataset, _trial_weights(dataset, sample_weight))
            return dataset, None

        return self._fit(read, run=run, on_epoch=on_epoch, start=start)

    @property
    def _n_members(self) -> int:
        """One, if validation trials are held out: then these say what the EIT and the rule are worth."""
        return 1 if self.training.validation else self.members

    def _cut(self, dataset: PopulationDataset) -> PopulationDataset:
        """Trials with the part that each is of, which one member of the committee does not learn from."""
        if self._n_members == 1:
            return dataset
        name, n_parts = self._target_name(dataset), self._n_members
        if dataset.recordings[0].target_levels.get(name) == "bin":
            dataset = dataset.map(lambda recording: _stretched(recording, STRETCHES * n_parts))
        return dataset.map(lambda recording: with_target(recording, PART, _parts(recording, name, n_parts)))

    def _training(self, train_part: PopulationDataset) -> TrainingSettings:
        lengths = np.concatenate([recording.trial_lengths for recording in train_part.recordings])
        hidden = self.objective_.hidden_individuals or (0.0, 0.0)
        n_read = (1 - np.mean(hidden)) * max(recording.n_individuals for recording in train_part.recordings)
        n_embeddings = float(lengths.mean() * n_read * max(1, self._n_members - 1))
        training = dataclasses.replace(self.training, batch_trials=self.training.batch_trials or BATCH_TRIALS)
        return training.chosen(_n_known(train_part, self.targets_[0]), n_embeddings)

    def _judge(self, train_part: PopulationDataset) -> PopulationDataset | None:
        return train_part if self._n_members > 1 else None

    def _finish(
        self, train: PopulationDataset, held_out: PopulationDataset | None, judge: PopulationDataset | None
    ) -> None:
        """The rule, of all training trials; shares, by what rule and EIT say of trials not learned from."""
        self.rule_, self.shares_, self.distances_, self.rule_seconds_ = None, Shares.none(), None, 0.0
        target = self.targets_[0]
        names = rules_for(self.rule, target)
        if held_out is None and self._n_members == 1:
            if self.rule not in ("auto", "none"):
                raise InputError(
                    f"rule {self.rule!r} needs trials that the EIT does not learn from, to find its share; give "
                    "members of at least 2, or training.validation."
                )
            return
        taught = _taught(train, target.name)
        judged = taught if held_out is None else _taught(held_out, target.name)
        said = [{EIT_PART: one} for one in self._said_of_unlearned(judged)]
        started = time.monotonic()
        rule = Rule.fit(taught, target, names)
        if rule.names:
            if held_out is None:
                part = np.concatenate([recording.targets[PART] for recording in taught.recordings])
                by_rule = said_of_left_out(taught, target, rule.names, part)
            else:
                by_rule = [rule.says(recording) for recording in judged.recordings]
            said = [{**rules, **eit} for rules, eit in zip(by_rule, said, strict=True)]
            self.rule_ = rule
        self._learn_shares(judged, said)
        if self.rule_ is not None:
            if held_out is None and target.classes and self.rule == "auto":
                self.shares_ = self.shares_.surer(self._surer_with_all(taught, rule))
            self.rule_seconds_ = time.monotonic() - started

    def _surer_with_all(self, taught: PopulationDataset, rule: Rule) -> float:
        """How much surer a rule of (nearly) all trials is rightly, than one that lacked as many as a member does."""
        names, sure = [name for name in rule.names if name in QUICK], []
        for n_parts in (self._n_members, RULE_PARTS):
            part = np.concatenate([_parts(one, self.targets_[0].name, n_parts) for one in taught.recordings])
            known = self._known(taught, said_of_left_out(taught, self.targets_[0], names, part)) if names else None
            if known is None or not known[0]:  # no part leaves trials enough
                return 1.0
            sure.append(sum(Shares.of_rule(*known).values()))
        return float(np.clip(sure[1] / sure[0], 1.0, MOST_SURER)) if sure[0] > 0 else 1.0

    def _learn_shares(self, judged: PopulationDataset, said: Sequence[Mapping[str, NDArray[np.float64]]]) -> None:
        """From what was said of each recording, where the target is known."""
        target, known = self.targets_[0], self._known(judged, said)
        if known is None:
            return
        parts, truth = known
        self.shares_ = Shares.fit(parts, truth)
        if not target.classes:
            answer = self.shares_.joined(parts, "both", are_classes=False)
            self.distances_ = Distances.of(np.abs(answer - truth) * target.std)

    def _known(
        self, judged: PopulationDataset, said: Sequence[Mapping[str, NDArray[np.float64]]]
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]] | None:
        """What each part said in the rows where the target is known, and what is true there; None if it never is."""
        target, truths = self.targets_[0], []
        rows: dict[str, list[NDArray[np.float64]]] = {}
        in_all = [name for name in said[0] if all(name in one for one in said)]
        for recording, one in zip(judged.recordings, said, strict=True):
            known = known_rows(recording, target.name)
            for name in in_all:
                known = known & np.isfinite(one[name]).all(axis=-1)
            if known.any():
                truth = coded(recording, target).targets[target.name][known]
                truths.append(truth if target.classes else truth.reshape(len(truth), -1))
                for name in in_all:
                    rows.setdefault(name, []).append(one[name][known])
        if not truths:
            return None
        truth, parts = np.concatenate(truths), {name: np.concatenate(found) for name, found in rows.items()}
        if target.classes:
            parts, truth = {name: found[truth >= 0] for name, found in parts.items()}, truth[truth >= 0]
        return parts, truth

    def _said_of_unlearned(self, judged: PopulationDataset) -> list[NDArray[np.float64]]:
        """What the EIT says of trials that it, or that member of the committee, has not learned from."""
        windows = Windows.cut(self.learner_.objective.prepare(self.preprocess_(judged)), self._window_bins)
        learner, name = self.learner_, self.targets_[0].name
        read = learner.left_out if isinstance(learner, Committee) else learner.predict
        found = self._joined(read(windows.dataset, self.batch_trials), windows)[name]
        return self._by_recording(judged, self._coded(found))

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
        self.objective_ = self.objective.chosen(_n_known(train, self.targets_[0]) / len(self.individual_ids_))

    def _make_learner(self) -> Learner:
        ids = self.individual_ids_

        def member() -> Learner:
            model = EIT(self.model, n_features=self.n_features_in_, individual_ids=ids)
            objective = make_objective(self.targets_, width=self.model.width, ids=ids, settings=self.objective_)
            return Learner(model, objective)

        n_members = self._n_members
        return member() if n_members == 1 else Committee([member() for _ in range(n_members)])

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
        names = [name for name in dataset.recordings[0].targets if name not in (TRIAL_WEIGHT, PART)]
        if len(names) != 1:
            raise InputError(f"the recordings have the targets {names}; say which with target=….")
        return str(names[0])

    def _to_read(self, X: Any, y: Any = None, individual_ids: Any = None) -> PopulationDataset:
        """Recordings or arrays, of individuals that the model can read."""
        check_is_fitted(self)
        t = self.targets_[0]
        dataset = read_population(X, y, individual_ids=individual_ids, target=t.name, kind=self._kind, level=t.level)
        if not are_recordings(X):
            if are_nameless(dataset.recordings[0]):
                self._check_nameless(dataset.individual_ids)
        elif self.bin_seconds_ is not None:
            refuse_other_bins(dataset.recordings[0], self.bin_seconds_, of="the decoder")
        return dataset

    def _check_nameless(self, ids: tuple[str, ...]) -> None:
        """Refuse an array whose individuals, which have no names, are not those that were trained on."""
        tables = [module for module in self.learner_.modules() if isinstance(module, ById)]
        known = {*self.individual_ids_, *self.preprocess_.silent_ids}
        if (tables or self.preprocess_.individual_ids) and known != set(ids):
            raise InputError(
                f"X has {len(ids)} individuals without names, and the model knows {len(known)}, such as "
                f"{self.individual_ids_[0]!r}; give the same individuals in the same order, name them with "
                f"individual_ids=… (in fit and here), {READS_ANYONE}."
            )

    # ------------------------------------------------------------------ using

    def predict(
        self,
        X: Population | ArrayLike,
        *,
        target: str | None = None,
        individual_ids: Sequence[str] | None = None,
        whom: Said = "both",
    ) -> NDArray[Any]:
        """The target, per trial (trial, …) or per bin (trial, time, …): a quantity, or the most probable class.

        Where nothing is observed nothing is predicted: quantities are NaN, classes unknown ("" among strings, the least
        64-bit integer among integers; booleans are 0 and 1 then). There are as many bins as X has, padding included
        (of recordings, those of the one with most): neither they nor what is predicted depends on other trials.

        Args:
            X: as in `fit`.
            target: which one, the auxiliary targets among them; by default the one of interest.
            individual_ids: as in `fit`.
            whom: of the target of interest, what rule and EIT say together ("both"), or one of them alone ("rule",
                "eit"); auxiliary targets are read by the EIT.

        Raises:
            InputError: if the model does not know the target, or cannot read the individuals; if the rule is asked, and
                there is none.
        """
        of = self._learned_target(target)
        self._check_whom(whom)
        predicted = self._predict(self._to_read(X, individual_ids=individual_ids), whom)[of.name]
        return of.most_probable(predicted) if of.classes else predicted

    def _check_whom(self, whom: Said) -> None:
        if whom not in typing.get_args(Said):
            raise InputError(f"whom is {whom!r}; give {', '.join(typing.get_args(Said))}.")
        if whom == "rule" and not self.shares_.rule:
            raise InputError("there is no rule inside this decoder; fit it with a rule, or ask the EIT.")

    def _learned_target(self, name: str | None) -> Target:
        check_is_fitted(self)
        by_name = {target.name: target for target in self.targets_}
        if name is not None and name not in by_name:
            raise did_you_mean(str(name), by_name, what="target")
        return self.targets_[0] if name is None else by_name[name]

    def _predict(self, dataset: PopulationDataset, whom: Said = "both") -> dict[str, NDArray[Any]]:
        """Quantities, and probabilities of classes, by target; trials of all recordings in order.

        NaN where nothing is observed. Of the target of interest, as `whom` says it.
        """
        self._check_settings()
        windows = Windows.cut(self.preprocess_(dataset), self._window_bins)
        predicted = self._joined(self.learner_.predict(windows.dataset, self.batch_trials), windows)
        first = self.targets_[0]
        parts = self._by_recording(dataset, self._coded(predicted[first.name]))
        joined = [
            self._answer(recording, said, whom) for recording, said in zip(dataset.recordings, parts, strict=True)
        ]
        n_bins = dataset.n_bins if first.level == "bin" else None
        answer = self._decoded(stacked(joined, n_bins or 0, axis=1 if n_bins else None))
        predicted[first.name] = np.where(np.isnan(predicted[first.name]), np.nan, answer)
        return predicted

    def _answer(self, recording: Recording, eit: NDArray[np.float64], whom: Said) -> NDArray[np.float64]:
        said = {EIT_PART: eit}
        if self.rule_ is not None and whom != "eit":
            said |= self.rule_.says(recording)
        answer = self.shares_.joined(said, whom, are_classes=bool(self.targets_[0].classes))
        silent = np.asarray(np.isnan(answer).any(axis=-1))  # where the rule cannot say, the EIT does
        return np.where(silent[..., None], eit, answer) if silent.any() else answer

    def _joined(
        self, read: Iterable[tuple[dict[str, torch.Tensor], Batch]], windows: Windows
    ) -> dict[str, NDArray[Any]]:
        """Predictions of windows, as of whole trials; NaN where nothing is observed."""
        parts: dict[str, list[NDArray[Any]]] = {target.name: [] for target in self.targets_}
        for predictions, batch in read:
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

    def _coded(self, predicted: NDArray[Any]) -> NDArray[np.float64]:
        """Log-probabilities, or quantities in units of their spread with one axis of dimensions."""
        target = self.targets_[0]
        if target.classes:
            return np.log(np.maximum(predicted, np.finfo(np.float32).tiny, dtype=np.float64))
        units = target.standardised(predicted)
        return units.reshape(*units.shape[: units.ndim - len(target.shape)], -1)

    def _decoded(self, said: NDArray[np.float64]) -> NDArray[Any]:
        """What `_coded` was given."""
        target = self.targets_[0]
        if target.classes:
            return np.exp(said).astype(np.float32)
        return said.reshape(*said.shape[:-1], *target.shape) * target.std + target.centre

    def _by_recording(self, dataset: PopulationDataset, said: NDArray[Any]) -> list[NDArray[Any]]:
        """Arrays over the trials (and bins) of each recording."""
        sizes = [recording.n_trials for recording in dataset.recordings]
        parts = np.split(said, np.cumsum(sizes)[:-1])
        if self.targets_[0].level != "bin":
            return parts
        return [part[:, : recording.n_bins] for part, recording in zip(parts, dataset.recordings, strict=True)]

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
        knows_individuals = np.asarray(self.model.identity != "none" or bool(self.preprocess_.individual_ids))
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
    def plot(self) -> DecoderPlots:
        """Figures: `plot.confusion(test)`, `plot.decoded(test)`, `plot.embedding(recording)`, `plot.importance(…)`."""
        return DecoderPlots(self)

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

    # ------------------------------------------------------------------ elsewhere

    def _inside(self, whom: Said, individual_ids: Sequence[str] | None) -> Inside:
        check_is_fitted(self)
        self._check_settings()
        self._check_whom(whom)
        return Inside.of(
            target=self.targets_[0],
            preprocess=self.preprocess_,
            learner=self.learner_,
            rule=self.rule_,
            shares=self.shares_,
            whom=whom,
            default_ids=self.individual_ids_,
            individual_ids=individual_ids,
            longest=self._window_bins,
            n_features=self.n_features_in_,
        )

    def export(
        self,
        path: Path | str,
        *,
        format: Format | None = None,
        whom: Said = "both",
        individual_ids: Sequence[str] | None = None,
        step: bool = False,
    ) -> Path:
        """Write the decoder to one file that needs no motet: raw values go in, the answer comes out.

        Inputs are `values` (trial, individual, time, feature), float32, as they were recorded, and `observed` (trial,
        individual, time), bool; what is NaN is not observed either. The output is `probability`, (trial, class) or
        (trial, time, class), or `prediction`, (trial, …) or (trial, time, …), as `predict_proba` and `predict` give
        them. Trials and bins may be of any number; individuals too, where the decoder learned nothing by individual.
        The file says what else there is to know: classes, individuals in their order, seconds of a bin.

        Args:
            path: a name that ends in .onnx or .pt2, or any, with `format`.
            format: "onnx", or "torch" for a program of `torch.export`.
            whom: as of `predict`.
            individual_ids: the individuals that are given, in their order; by default those that the decoder reads.
            step: one bin of a causal decoder instead of whole trials, as `stream` reads: `values` (individual, feature)
                and `observed` (individual,) come with what is remembered, and every `next_…` that comes out goes in
                with the next bin. A trial begins with zeros of the shapes of the inputs, "bin" being 0, and has
                `most_bins` at most.

        Raises:
            InputError: if the individuals are not known, a package is missing, or the file cannot be written.
        """
        check_arguments(_Decoder.export, {"format": format, "whom": whom, "step": step})
        inside = self._inside(whom, individual_ids)
        about = about_file(
            inside,
            estimator=type(self).__name__,
            bin_seconds=self.bin_seconds_,
            preprocessing=self.preprocess_.settings,
            more={
                "whom": whom,
                "parts": dict(inside.shares),
                "most_bins": inside.longest,
                "is_causal": self.model.causal,
            },
        )
        if not step:
            return Exported.of_trials(inside, about).write(path, format)
        refuse_what_waits(inside, is_causal=self.model.causal)
        return Exported.of_a_step(inside, about).write(path, format)

    def stream(self, *, whom: Said = "both", individual_ids: Sequence[str] | None = None) -> Stream:
        """Decode trials while they happen, one bin at a time; see `Stream`.

        Args:
            whom: as of `predict`.
            individual_ids: the individuals that are given, in their order; by default those that the decoder reads.

        Raises:
            InputError: if the decoder's answers rest on bins to come (fit one with `EITSettings(causal=True)`), or the
                individuals are not known.
        """
        check_arguments(_Decoder.stream, {"whom": whom})
        inside = self._inside(whom, individual_ids)
        refuse_what_waits(inside, is_causal=self.model.causal)
        return Stream(inside)

    # ------------------------------------------------------------------ saving

    def _learned(self) -> dict[str, Any]:
        p = self.preprocess_
        statistics = {"kept_ids": p.individual_ids, "silent_ids": p.silent_ids, "mean": p.mean, "std": p.std}
        found = {"settings": p.settings, **statistics}
        rule = None if self.rule_ is None else self.rule_.saved()[0]
        inside = {"shares": self.shares_, "distances": self.distances_, "rule": rule, "bin_seconds": self.bin_seconds_}
        return {"targets": self.targets_, "individual_ids": self.individual_ids_, "preprocess": found, **inside}

    def _more_tensors(self) -> dict[str, torch.Tensor]:
        arrays = {} if self.rule_ is None else self.rule_.saved()[1]
        return {f"{_RULE}{name}": torch.from_numpy(array) for name, array in arrays.items()}

    def _take_tensors(self, tensors: dict[str, torch.Tensor], learned: Mapping[str, Any]) -> None:
        names = [name for name in tensors if name.startswith(_RULE)]
        arrays = {name.removeprefix(_RULE): tensors.pop(name).numpy() for name in names}
        plain = learned["rule"]
        self.rule_ = None if plain is None else Rule.again(self.targets_[0], plain, arrays)

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.targets_ = from_plain(list[Target], learned["targets"], what="targets")
        names = [target.name for target in self.targets_]
        if self.targets_[0].kind != self._kind or len(set(names)) < len(names):
            raise ValueError(f"it learned {names}, the first of which is not a {self._kind}")
        self.individual_ids_, found = _names(learned["individual_ids"]), learned["preprocess"]
        mean, std = (np.asarray(found[name], dtype=np.float64) for name in ("mean", "std"))
        settings = from_plain(PreprocessSettings, found["settings"], what="preprocess")
        self.preprocess_ = Preprocess(settings, _names(found["kept_ids"]), _names(found["silent_ids"]), mean, std)
        self._check_statistics()
        self.objective_ = self.objective.chosen()
        self.shares_ = from_plain(Shares, learned["shares"], what="shares")
        self.distances_ = from_plain(Distances | None, learned["distances"], what="distances")
        self.bin_seconds_ = from_plain(float | None, learned.get("bin_seconds"), what="bin_seconds")

    def _check_statistics(self) -> None:
        p = self.preprocess_
        settings = p.settings
        if "auto" in (settings.transform, settings.scale):
            raise ValueError("its preprocessing leaves open what training decided")
        is_by_individual = "individual" in (settings.centre, settings.scale)
        if p.individual_ids != (self.individual_ids_ if is_by_individual else ()):
            raise ValueError("it knows other individuals than it has statistics of")
        for kind, statistic in (settings.centre, p.mean), (settings.scale, p.std):
            n_rows = len(p.individual_ids) if kind == "individual" else 1
            if statistic.shape != (n_rows, self.n_features_in_) or not np.isfinite(statistic).all():
                raise ValueError(f"its statistics have shape {statistic.shape}, or are not finite")
        if not (p.std > 0).all():
            raise ValueError("its standard deviations are not all above 0")


def with_target(recording: Recording, name: str, values: NDArray[Any]) -> Recording:
    """The recording with another target per trial."""
    return dataclasses.replace(
        recording,
        targets={**recording.targets, name: values},
        target_levels={**recording.target_levels, name: "trial"},
    )


def _parts(recording: Recording, target: str, n_parts: int) -> NDArray[np.int64]:
    """(trial,) the part of each: neighbours in time are in one part, and each part has its share of the classes.

    Windows of one trial stay together where there are trials enough; otherwise those of a stretch of time do.
    """
    ids = np.unique(recording.trial_ids, return_inverse=True)[1]
    by, strata = recording.class_target(target), np.zeros(recording.n_trials, dtype=np.int64)
    if by is not None:
        strata = np.unique(recording.targets[by], return_inverse=True)[1]
    if ids.max() + 1 < 2 * n_parts:
        ids, strata = np.arange(recording.n_trials), np.zeros_like(strata)
    return in_parts(ids, strata, np.asarray(recording.trial_start_seconds), n_parts)


def _stretched(recording: Recording, n_stretches: int) -> Recording:
    """A recording of few long trials, cut into so many stretches, about."""
    if recording.n_trials >= n_stretches:
        return recording
    lengths = recording.trial_lengths
    length = max(LEAST_STRETCH, -(-int(lengths.sum()) // n_stretches))
    if length >= lengths.max():
        return recording
    n_cut = -(-lengths // length)
    trial = np.repeat(np.arange(recording.n_trials), n_cut)
    start = length * (np.arange(len(trial)) - np.repeat(np.cumsum(n_cut) - n_cut, n_cut))
    return recording.stretches(trial, start, length)


def _n_known(dataset: PopulationDataset, target: Target) -> int:
    """Trials (or bins) whose target is known."""
    known = [known_rows(recording, target.name) for recording in dataset.recordings]
    return sum(int(rows.sum()) for rows in known)


def _taught(dataset: PopulationDataset, target: str) -> PopulationDataset:
    """The trials of recordings that have the target, but for those whose weight is 0."""
    having = [recording for recording in dataset.recordings if target in recording.targets]
    weights = [recording.targets.get(TRIAL_WEIGHT, np.ones(recording.n_trials)) for recording in having]
    counts = np.concatenate(weights) > 0
    return PopulationDataset(having) if counts.all() else PopulationDataset(having).select(counts)


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

    return dataset.map(lambda recording: with_target(recording, TRIAL_WEIGHT, next(parts)))


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
        rule: the closed form inside: "auto" fits those that suit the target (shrinkage LDA for classes; ridge, kernel
            ridge and, for trials of known classes, the template for quantities), "none" none, a name that rival.
        members: EITs, each of which leaves out a part of the training trials; by what they and the rule say of these
            the share of each is learned.
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
        self,
        X: Population | ArrayLike,
        *,
        target: str | None = None,
        individual_ids: Sequence[str] | None = None,
        whom: Said = "both",
    ) -> NDArray[np.float32]:
        """(trial, class), or (trial, time, class) for a target per bin; NaN where nothing is observed.

        Arguments and errors as `predict`; classes are those of `classes_`, or of an auxiliary target, sorted.
        """
        of = self._learned_target(target)
        self._check_whom(whom)
        if not of.classes:
            raise InputError(f"target {of.name!r} is a quantity, which has no probabilities; use predict.")
        return self._predict(self._to_read(X, individual_ids=individual_ids), whom)[of.name]

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

    def predict_interval(
        self,
        X: Population | ArrayLike,
        *,
        coverage: float = 0.9,
        individual_ids: Sequence[str] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends that cover the quantity in that share of new trials or bins (see `Distances`).

        Both are as `predict` gives it, around what that gives; each dimension is covered by itself.

        Raises:
            InputError: if nothing was left out in training by which distances are known; and as `predict`.
        """
        check_is_fitted(self)
        if self.distances_ is None:
            raise InputError("no trial was left out in training; fit with members of at least 2.")
        middle = self.predict(X, individual_ids=individual_ids)
        reach = self.distances_.reach(coverage).reshape(self.targets_[0].shape)
        return middle - reach, middle + reach

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, individual_ids: Sequence[str] | None = None
    ) -> float:
        """R², with the variances of all dimensions added up, over trials (or bins) known and observed.

        NaN, since it is not defined, where the target does not vary among them. Arguments as in `fit`.

        Raises:
            InputError: if there are none; and as `predict`.
        """
        return r2(**self._scored(X, y, sample_weight, individual_ids))

"""`EITEncoder`: pretrained on some populations, adapted to another with a few labelled trials."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.estimators.adapted import AdaptedDecoder, AdaptedQuantity, check_recording
from motet.estimators.arrays import read_population
from motet.estimators.base import Estimator, Population, stacked
from motet.estimators.courses import AdaptedCourses
from motet.estimators.decoders import EITClassifier
from motet.given import is_known
from motet.models.eit import EIT, EITSettings
from motet.models.moments import MomentReadout
from motet.models.tuning import Candidates, Reads, Signals, TuningReadout, TuningSettings
from motet.plain import from_plain
from motet.settings import Count, Seed, check_arguments
from motet.training.history import Epoch
from motet.training.learner import Learner
from motet.training.objectives import (
    Context,
    EpisodeSettings,
    InTurn,
    Masked,
    Objective,
    Target,
    Use,
    Views,
    told_apart,
)
from motet.training.run import Run
from motet.training.settings import TrainingSettings

FEWEST_ON_CIRCLE = 4
Way = Literal["context", "readout", "fine-tune"]


class EITEncoder(Estimator):
    """An EIT that reads any population, and the priors by which a decoder is fitted to a few of its trials.

    It learns with labels, without, or both (`objective.learn`). Without labels only the encoder learns: the readout
    that `adapt` fits has its first priors then, and reads root counts alone, since nothing has taught it to read
    embeddings; way="readout" and "fine-tune" begin with the encoder.

    Args:
        target: a class per trial; may be left out where there is one only. Where there is none, or `objective.learn`
            names nothing that needs one and no target is given, pretraining looks at no label.
        period: where classes are numbers on a circle, such as directions of a reach: how much once around is. By
            default classes 0 to n-1, of which there are four or more, are taken for a circle of n if that explains the
            training trials better than classes without a geometry; 0 says that there is none.
        model: see `EITSettings`; the identity is "none", or "context": then an individual of a new population is known
            by what it does in the trials that `adapt` is given, labelled or not, where embeddings are read.
        tuning: see `TuningSettings`.
        objective: see `EpisodeSettings`.
        training: see `TrainingSettings`.
        preprocess: see `PreprocessSettings`; individuals are neither centred nor scaled by what was seen of them.
        seed: of initial weights, order, episodes and the validation part.
        batch_trials: trials read at a time.
        random_state: see `Estimator`.

    Attributes:
        learner_: the trained model and objective.
        target_: with its classes; None without labels.
        period_: as it was given, or found; 0 for classes without a geometry. None without labels: `adapt` finds it.
        history_: one `Epoch` per epoch.
        scores_: of the validation part, by what they are, for everything that was learned; empty without such a part.

    Example:
        >>> import motet
        >>> *known, new = motet.simulate("population", n_subjects=3, n_trials=64, n_neurons=20)
        >>> encoder = EITEncoder("direction", training=TrainingSettings(max_steps=2)).fit(known)
        >>> decoder = encoder.adapt(new.select(trials=range(16)), new.select(trials=range(16, 40)))
        >>> decoder.predict(new.select(trials=range(40, 64))).shape
        (24,)
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        period: float | None = None,
        model: EITSettings = EITSettings(identity="none"),
        tuning: TuningSettings = TuningSettings(),
        objective: EpisodeSettings = EpisodeSettings(),
        training: TrainingSettings = TrainingSettings(max_steps=100, batch_trials=256),
        preprocess: PreprocessSettings = PreprocessSettings("sqrt", "none", "none"),
        seed: Seed = 0,
        batch_trials: Count = 256,
        random_state: Any = None,
    ) -> None:
        self.target = target
        self.period = period
        self.model = model
        self.tuning = tuning
        self.objective = objective
        self.training = training
        self.preprocess = preprocess
        self.seed = seed
        self.batch_trials = batch_trials
        self.random_state = random_state

    # ------------------------------------------------------------------ pretraining

    def fit(
        self,
        X: Population | ArrayLike,
        y: ArrayLike | None = None,
        *,
        run: Run | Path | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Pretrain on recordings of any sizes, or on one population in arrays.

        Args:
            X: recordings, with the target if one is learned; or trials (trial, individual, time), NaN where not
                observed.
            y: with arrays, a class per trial; may be left out.
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for recordings or targets that cannot be used.
        """

        def read() -> tuple[PopulationDataset, None]:
            return read_population(X, y, target=self.target or "y", kind="class", level="trial"), None

        return self._fit(read, run=run, on_epoch=on_epoch)

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.model.identity == "learned":
            raise InputError(
                "model.identity of an EITEncoder is 'none' or 'context': it meets individuals that it has never seen."
            )
        if "individual" in (self.preprocess.centre, self.preprocess.scale):
            raise InputError(
                "preprocess.centre and preprocess.scale of an EITEncoder are 'shared' or 'none': of an individual that "
                "it meets it has seen nothing."
            )
        if self.period is not None and self.period < 0:
            raise InputError(f"period is {self.period}; give a positive number, or 0 for classes without a geometry.")

    def _fit_statistics(self, train: PopulationDataset) -> None:
        if train.n_features != 1:
            raise InputError(f"the recordings have {train.n_features} features; an EITEncoder reads one.")
        name = self._target_name(train)
        self.target_, self.period_ = None, self.period
        self.preprocess_ = Preprocess.fit(train, self.preprocess)
        uses = self._uses(name).keys()
        if self.model.identity == "context" and uses != {"context"}:
            raise InputError(
                "model.identity='context' tells who is who, and what is hidden, in the trials that are learned from: "
                f"it goes with a target and objective.learn={{'context': 1}}, not with {' and '.join(sorted(uses))}."
            )
        if name is not None:
            if uses == {"context"}:
                for recording in train.recordings:
                    recording.target(name)
            self.target_ = Target.fit(train, name, kind="class", levels=("trial",))
            self.period_ = self.found_period(train)

    def _uses(self, target: str | None) -> Mapping[Use, float]:
        return self.objective.uses(has_target=target is not None)

    def _target_name(self, dataset: PopulationDataset) -> str | None:
        if self.target is not None:
            dataset.target_values(self.target)
            return self.target
        learn = self.objective.learn
        if learn is not None and not learn.get("context"):
            return None
        names = list(dict.fromkeys(name for recording in dataset.recordings for name in recording.targets))
        if len(names) == 1 or (not names and learn is None):
            return names[0] if names else None
        raise InputError(
            f"the recordings have the targets {names}; say which with target=…, or learn without labels: "
            "objective.learn={'masked': 1, 'views': 1}."
        )

    def found_period(self, X: Population, target: str | None = None) -> float:
        """The period that pretraining on recordings works with: the one that was given, or what they speak for.

        A circle is taken if it explains one half of the trials by the other better than classes without a geometry.

        Args:
            X: recordings; those without the target say nothing.
            target: its name; by default that of pretraining.
        """
        fitted: Target | None = getattr(self, "target_", None)
        own = self.target if fitted is None else fitted.name
        if self.period is not None and target in (None, own):
            return float(self.period)
        train = X if isinstance(X, PopulationDataset) else PopulationDataset(X)
        name = target or self._target_name(train)
        if name is None:
            raise InputError("the encoder was given no target; say which.")
        train = PopulationDataset([recording for recording in train.recordings if name in recording.targets])
        found = Target.fit(train, name, kind="class", levels=("trial",))
        classes = found.classes
        if len(classes) < FEWEST_ON_CIRCLE or list(classes) != list(range(len(classes))):
            return 0.0
        readout, prepared = TuningReadout(self.tuning), Preprocess.fit(train, self.preprocess)(train)
        of_circle, of_classes = (
            sum(
                _held_out(readout, recording, found, self._candidates(classes, period))
                for recording in prepared.recordings
            )
            for period in (float(len(classes)), 0.0)
        )
        return float(len(classes)) if of_circle > of_classes else 0.0

    def _candidates(self, classes: tuple[Any, ...], period: float) -> Candidates:
        if not period:
            return Candidates.categories(len(classes))
        values = np.asarray(classes)
        if values.dtype.kind not in "biuf" or len(np.unique(values.astype(np.float64) % period)) < len(values):
            raise InputError(
                f"period is {period:g}, and the classes {list(classes)} are no different numbers on a circle of that; "
                "give another period, or 0 for classes without a geometry."
            )
        angle = 2 * math.pi / period * torch.as_tensor(np.asarray(classes, dtype=np.float64))
        return Candidates.circle(angle, self.tuning.harmonics)

    def _make_learner(self) -> Learner:
        model = EIT(self.model, n_features=self.n_features_in_)
        parts = []
        for use, weight in self.uses_.items():
            part = self._objective(use)
            part.weight = weight
            parts.append(part)
        return Learner(model, parts[0] if len(parts) == 1 else InTurn(parts))

    def _objective(self, use: Use) -> Objective:
        width = self.model.width
        if use == "masked":
            return Masked(width=width, settings=self.objective, raw=self.preprocess_.undone)
        if use == "views":
            return Views()
        if self.target_ is None or self.period_ is None:
            raise InputError("objective.learn has context, and there is no target; give one, or leave context out.")
        candidates = self._candidates(self.target_.classes, self.period_)
        return Context(self.target_, candidates, width=width, settings=self.objective, tuning=self.tuning)

    @property
    def uses_(self) -> Mapping[Use, float]:
        """What was learned, and in which proportion."""
        return self._uses(None if self.target_ is None else self.target_.name)

    @property
    def _learns(self) -> str:
        return " and ".join(self.learned_words)

    @property
    def learned_words(self) -> list[str]:
        """What was learned, in words."""
        words = {"masked": "hidden values", "views": "who is who"}
        if self.target_ is not None:
            words["context"] = f"to decode {self.target_.name} from few trials"
        return [words[use] for use in self.uses_]

    def _prepared(self, dataset: PopulationDataset, *, trains: bool) -> PopulationDataset:
        prepared = self.preprocess_(dataset.map(told_apart))
        if self.model.identity == "context":  # one name in two recordings says nothing
            prepared = prepared.map(_named_apart)
        return self.learner_.objective.prepare(prepared)

    def _finish(
        self, train: PopulationDataset, held_out: PopulationDataset | None, judge: PopulationDataset | None
    ) -> None:
        self.scores_ = {}
        if judge is not None:
            objective = self.learner_.objective
            read = self.learner_.read(judge, self.batch_trials, validates=True)
            found = [(objective.predict(encoding, batch), batch) for encoding, batch in read]
            self.scores_ = objective.scores([p for p, _ in found], [b for _, b in found])
        if (context := self._context) is not None:
            context.moments.learn(self._labelled(train, context), context.candidates)
        self.learner_.forget()

    def _labelled(self, train: PopulationDataset, context: Context) -> Iterator[tuple[Signals, Tensor]]:
        """What the second readout reads of the labelled trials of every recording, and their classes."""
        for recording in self.preprocess_(train).recordings:
            if context.name in recording.targets:
                code = torch.from_numpy(context.target.codes(recording.targets[context.name]))
                known = ((code >= 0) & torch.from_numpy(recording.bin_is_observed.any(1))).nonzero().flatten()
                if len(known):
                    batch = PopulationDataset(recording).batch(known.numpy())
                    signals = context.moments.signals(batch.values[..., 0], batch.observed)
                    yield signals, torch.nn.functional.one_hot(code[known], len(context.candidates)).double()

    # ------------------------------------------------------------------ a new population

    @property
    def readout(self) -> TuningReadout:
        """What is fitted to a new population; without labels its first priors, which read root counts alone."""
        check_is_fitted(self)
        return self._context.readout if self._context is not None else TuningReadout(self.tuning)

    @property
    def _context(self) -> Context | None:
        """What has learned to decode from few trials; None without labels."""
        return next((part for part in self.learner_.objective.modules() if isinstance(part, Context)), None)

    @property
    def second_readout(self) -> MomentReadout | None:
        """What is fitted to root counts of a new population beside it; None where no label has taught it anything."""
        check_is_fitted(self)
        context = self._context
        is_of_roots = self.preprocess == PreprocessSettings("sqrt", "none", "none")
        return context.moments if context is not None and is_of_roots and context.moments.has_learned else None

    @property
    def n_read_(self) -> int:
        """Numbers that the readout reads off the embeddings of an individual; 0 without labels."""
        return self.readout.n_read

    def before_training(self) -> EITEncoder:
        """The encoder as it was before it learned anything: what its readout is worth by itself."""
        check_is_fitted(self)
        fresh = copy.copy(self)
        fresh._new_learner()
        fresh.learner_.eval()
        return fresh

    @property
    def n_priors_(self) -> int:
        """Numbers that were learned of tuning and noise alone."""
        return sum(p.numel() for name, p in self.readout.named_parameters() if not name.startswith("to_channels"))

    @property
    def n_moments_(self) -> int:
        """Numbers of the second readout."""
        return 0 if self.second_readout is None else sum(one.numel() for one in self.second_readout.buffers())

    @overload
    def adapt(
        self,
        labelled: Recording | None,
        unlabelled: Recording | None = None,
        *,
        target: str | None = None,
        way: Literal["context"] = "context",
        quantity: None = None,
        reads: Reads = "roots",
    ) -> AdaptedDecoder: ...

    @overload
    def adapt(
        self, labelled: Recording, unlabelled: Recording | None = None, *, target: str | None = None, quantity: str
    ) -> AdaptedCourses: ...

    @overload
    def adapt(
        self,
        labelled: Recording,
        *,
        target: str | None = None,
        way: Literal["readout", "fine-tune"],
        training: TrainingSettings = TrainingSettings(),
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> EITClassifier: ...

    def adapt(
        self,
        labelled: Recording | None,
        unlabelled: Recording | None = None,
        *,
        target: str | None = None,
        way: Way = "context",
        quantity: str | None = None,
        reads: Reads = "roots",
        training: TrainingSettings = TrainingSettings(),
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> AdaptedDecoder | AdaptedCourses | EITClassifier:
        """A decoder of another population, without correspondence of individuals.

        Args:
            labelled: calibration trials with the target, of the individuals that will be read later. None, if there is
                no label at all: classes evenly around a circle are then found up to its rotations and reflections
                (see `AdaptedDecoder.is_identified_`), from ten unlabelled trials of each or so.
            unlabelled: other trials of the same individuals; their targets, if they have any, are not looked at.
            target: a class per trial; or a quantity of one or two dimensions, which is no whole number in every trial.
                By default that of pretraining, or the only one of the labelled trials.
            way: "context" takes no gradient step: tuning is fitted in closed form. "readout" trains a readout of these
                individuals on the frozen encoder, as in the paper; "fine-tune" trains the encoder with it.
            quantity: a target per bin, such as velocity, to be decoded instead of the class: by the courses it takes in
                the classes, and which of them the bins so far speak for. Root counts alone are read.
            reads: root counts alone ("roots", the rule alone, without the model), embeddings alone, or both.
            training: how "readout" and "fine-tune" are trained.
            on_epoch: as of `fit`, of these two.

        Raises:
            InputError: if the trials do not fit each other or the encoder, or no target is known.
        """
        check_is_fitted(self)
        check_arguments(type(self).adapt, {"way": way, "reads": reads})
        for trials in (labelled, unlabelled):
            if trials is not None:
                check_recording(trials)
        if labelled is None:
            if way != "context" or quantity is not None:
                raise InputError("without labelled trials, way is 'context' and there is no quantity; or give some.")
            return self._without_labels(unlabelled, target, reads=reads)
        name = target or (self.target_.name if self.target_ is not None else _only_target(labelled))
        labels = labelled.target(name)
        is_own = self.target_ is not None and self.target_.name == name
        is_quantity = labels.dtype.kind == "f" and not is_own and (labels.ndim > 1 or bool((labels % 1 > 0).any()))
        if (labels.ndim != 1 and not is_quantity) or labelled.target_levels[name] != "trial":
            raise InputError(f"target {name!r} of the labelled trials is of shape {labels.shape}; give one per trial.")
        if not is_known(labels).any():
            raise InputError(
                f"no labelled trial has a known {name!r}; give one of each class at least, or labelled=None."
            )
        if way == "context" and (training != TrainingSettings() or on_epoch is not None):
            raise InputError("way='context' trains nothing; leave training and on_epoch out, or take another way.")
        if way != "context":
            if unlabelled is not None or quantity is not None or reads != "roots":
                raise InputError(f"way={way!r} learns a class from labelled trials alone; or take way='context'.")
            return _Trained(self, name, training, is_frozen=way == "readout").fit(labelled, on_epoch=on_epoch)
        read = self._reading(reads, labelled, unlabelled)
        if is_quantity:
            if unlabelled is not None:
                raise InputError(f"{name!r} is a quantity, which unlabelled trials do not teach; leave them out.")
            if quantity is not None:
                raise InputError(f"{quantity!r} is decoded by courses of classes, and {name!r} is no class; give one.")
            return AdaptedQuantity(self.readout, name, read, labelled)
        found = np.unique(labels[is_known(labels)])
        is_pretrained = self.target_ is not None and self.target_.name == name
        period = self.period_ if is_pretrained or self.target_ is None else None
        if period is None:
            period = self.found_period(labelled, name) if len(found) > 1 else 0.0
        if quantity is not None:
            self._check_courses(quantity, reads)
            return AdaptedCourses(self.readout, quantity, name, period, labelled, unlabelled)
        known = self.target_.classes if is_pretrained and self.target_ is not None else ()
        goal = _with_classes(name, found, known, period)
        candidates = self._candidates(goal.classes, period)
        return AdaptedDecoder(self.readout, goal, candidates, read, labelled, unlabelled, self._second(reads))

    def _second(self, reads: Reads) -> MomentReadout | None:
        """The second readout, where root counts alone are read."""
        return self.second_readout if reads == "roots" else None

    def _check_courses(self, quantity: str, reads: Reads) -> None:
        """Refuse what courses, which read √counts, cannot use."""
        if reads != "roots":
            raise InputError(f"{quantity!r} is decoded from root counts alone; leave reads={reads!r} out.")
        if self.preprocess != PreprocessSettings("sqrt", "none", "none"):
            raise InputError(
                f"{quantity!r} is decoded from root counts as they are, and the encoder was pretrained with "
                f"{self.preprocess}; pretrain one with the default."
            )

    def _without_labels(self, unlabelled: Recording | None, target: str | None, *, reads: Reads) -> AdaptedDecoder:
        if unlabelled is None:
            raise InputError("there are neither labelled nor unlabelled trials; give some.")
        goal = self.target_
        if goal is None or target not in (None, goal.name):
            known = f"knows {goal.name!r}" if goal else "was pretrained without labels"
            raise InputError(f"without labelled trials, classes are those of pretraining, and the encoder {known}.")
        candidates = self._candidates(goal.classes, self.period_ or 0.0)
        if not self.period_ or not candidates.are_evenly_around:
            raise InputError(
                f"the classes of {goal.name!r}, {list(goal.classes)}, are not evenly around a circle (period is "
                f"{self.period_:g}), so that without any label nothing says which trials are of which; give one "
                "labelled trial of each at least."
            )
        read = self._reading(reads, unlabelled)
        return AdaptedDecoder(self.readout, goal, candidates, read, None, unlabelled)

    def _reading(self, reads: Reads, *context: Recording | None) -> SignalsOf:
        """What reads trials of a population that is met in these."""
        return SignalsOf(self if reads == "roots" else self._met(*context), reads)

    def _met(self, *context: Recording | None) -> EITEncoder:
        """The encoder as it knows the individuals of some trials: itself, if it knows nobody by what they do."""
        if self.model.identity != "context":
            return self
        met = copy.copy(self)
        met.learner_ = copy.deepcopy(self.learner_)
        met.learner_.meet([self._bare(trials).recordings[0] for trials in context if trials is not None])
        return met

    def _bare(self, recording: Recording) -> PopulationDataset:
        """Trials as the model reads them, without targets."""
        if recording.n_features != 1:
            raise InputError(f"recording {recording.name!r} has {recording.n_features} features; give one.")
        return self.preprocess_(PopulationDataset(without_targets(recording)))

    def _signals(self, recording: Recording, n_bins: int, *, reads: Reads) -> Signals:
        """What the readout reads of trials of at most so many bins; no target is looked at."""
        if reads != "roots" and not self.n_read_:
            raise InputError(
                f"reads is {reads!r}, and no label has taught the encoder to read embeddings; take 'roots'."
            )
        bare = self._bare(recording)
        parts = []
        for both, batch in self._embedded(bare) if reads != "roots" else [(None, bare.batch())]:
            embedding = None if both is None else _padded(both, n_bins)
            root, observed = (_padded(x, n_bins) for x in (batch.values[..., 0], batch.observed))
            with torch.no_grad():
                signals = self.readout.part_of(self.readout.signals(root, observed, embedding), reads)
                second = self._second(reads)
                parts.append(signals if second is None else signals.beside(second.signals(root, observed)))
        return functools.reduce(Signals.and_those_of, parts)

    def _embedded(self, dataset: PopulationDataset) -> Iterator[tuple[Tensor, Batch]]:
        """Embeddings of individuals alone and among the others, side by side, and what they are of."""
        for encoding, batch in self.learner_.read(dataset, self.batch_trials):
            yield torch.cat((encoding.individual, encoding.population), -1), batch

    def encode(self, X: Population) -> list[dict[str, NDArray[Any]]]:
        """Embeddings of every individual at every time: "individual" and "population" for each recording.

        Both are (trial, individual, time, width), NaN where not observed; "individual_ids" names their axis.
        Individuals are never known by these names ("knows_individuals"). With identity="context" those of a recording
        are known by what they do in the trials of it that are given.
        """
        check_is_fitted(self)
        dataset = X if isinstance(X, PopulationDataset) else PopulationDataset(X)
        found = []
        for raw, recording in zip(dataset.recordings, self.preprocess_(dataset).recordings, strict=True):
            learner = self._met(raw).learner_
            encodings = [e for e, _ in learner.read(PopulationDataset(recording), self.batch_trials)]
            stages = {
                stage: stacked(
                    [torch.where(e.observed[..., None], getattr(e, stage), torch.nan).numpy() for e in encodings],
                    recording.n_bins,
                    axis=2,
                )
                for stage in ("individual", "population")
            }
            ids = np.asarray(recording.individual_ids)
            found.append({**stages, "individual_ids": ids, "knows_individuals": np.asarray(False)})
        return found

    # ------------------------------------------------------------------ saving

    def _learned(self) -> dict[str, Any]:
        statistics = {"mean": self.preprocess_.mean, "std": self.preprocess_.std}
        found = {"target": self.target_, "period": self.period_, "scores": self.scores_}
        return {**found, "preprocess": statistics}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.target_ = from_plain(Target | None, learned["target"], what="target")
        self.period_ = from_plain(float | None, learned["period"], what="period")
        self.scores_ = from_plain(dict[str, float], learned["scores"], what="scores")
        mean, std = (np.asarray(learned["preprocess"][name], dtype=np.float64) for name in ("mean", "std"))
        if mean.shape != (1, self.n_features_in_) or std.shape != mean.shape or not (std > 0).all():
            raise ValueError(f"its statistics have shapes {mean.shape} and {std.shape}, or are not positive")
        self.preprocess_ = Preprocess(self.preprocess, (), (), mean, std)


@dataclasses.dataclass(frozen=True, eq=False)
class SignalsOf:
    """What the readout of an encoder reads of a recording: root counts, embeddings, or both."""

    encoder: EITEncoder
    reads: Reads

    def __call__(self, recording: Recording, n_bins: int) -> Signals:
        return self.encoder._signals(recording, n_bins, reads=self.reads)

    @property
    def preprocess(self) -> Preprocess:
        return self.encoder.preprocess_

    @property
    def model(self) -> EIT | None:
        """The encoder, if its embeddings are read."""
        return None if self.reads == "roots" else cast(EIT, self.encoder.learner_.model)


class _Trained(EITClassifier):
    """A classifier that begins with a pretrained encoder.

    Its individuals are known, so they are centred and scaled by the trials that it learns from, as those of any
    classifier: where labels are many, both ways are worth far more so than on values as they were in pretraining.

    Args:
        encoder: pretrained.
        target: a class per trial.
        training: how this goes on.
        is_frozen: whether only the readout is trained.
    """

    def __init__(self, encoder: EITEncoder, target: str, training: TrainingSettings, *, is_frozen: bool) -> None:
        preprocess = PreprocessSettings(transform=encoder.preprocess.transform)
        alone: dict[str, Any] = {"rule": "none", "members": 1, "seed": encoder.seed_}
        super().__init__(target, model=encoder.model, training=training, preprocess=preprocess, **alone)
        self.encoder = encoder
        self.is_frozen = is_frozen

    def _make_learner(self) -> Learner:
        learner = super()._make_learner()
        learner.model.load_state_dict(dict(self.encoder.learner_.model.named_parameters()), strict=False)
        learner.model.requires_grad_(not self.is_frozen)
        return learner

    def save(self, folder: Path | str | Run) -> Run:
        """As a classifier like any other, which `EITClassifier.load` reads."""
        plain = EITClassifier(**{name: getattr(self, name) for name in EITClassifier._get_param_names()})
        plain.__dict__.update({name: value for name, value in self.__dict__.items() if name.endswith("_")})
        return plain.save(folder)


def _named_apart(recording: Recording) -> Recording:
    """The recording whose individuals bear its name too."""
    ids = tuple(f"{recording.name}/{one}" for one in recording.individual_ids)
    return dataclasses.replace(recording, individual_ids=ids)


def _only_target(labelled: Recording) -> str:
    names = [
        name
        for name, values in labelled.targets.items()
        if labelled.target_levels[name] == "trial" and values.ndim == 1 and values.dtype.kind != "f"
    ]
    if len(names) != 1:
        raise InputError(f"the labelled trials have the classes {names} per trial; say which is meant: target=….")
    return names[0]


def _with_classes(name: str, found: NDArray[Any], known: tuple[Any, ...], period: float) -> Target:
    """The target: on a circle with the classes of pretraining and those that were found, otherwise with these."""
    if period:
        if found.dtype.kind not in "biuf":
            raise InputError(f"labels are {found.tolist()}; the encoder knows numbers on a circle, {list(known)}.")
        return Target(name, "trial", classes=tuple(np.union1d(found, np.asarray(known, found.dtype)).tolist()))
    if len(found) < 2:
        raise InputError(
            f"all labelled trials are of class {found.tolist()[0]!r} of {name!r}; give trials of two classes at least: "
            "of others nothing is known."
        )
    return Target(name, "trial", classes=tuple(found.tolist()))


def _held_out(readout: TuningReadout, recording: Recording, target: Target, candidates: Candidates) -> float:
    """Log-probability of the classes of every second trial, decoded by the others."""
    code = torch.from_numpy(target.codes(recording.target(target.name)))
    known = ((code >= 0) & torch.from_numpy(recording.bin_is_observed.any(1))).nonzero().flatten()
    if len(known) < 2:
        return 0.0
    code = code[known]
    is_first = torch.arange(len(code)) % 2 == 0
    total = 0.0
    with torch.no_grad():
        signals = readout.read(None, PopulationDataset(recording).batch(known.numpy()))
        belief = torch.nn.functional.one_hot(code, len(candidates)).double()
        for fitted in (is_first, ~is_first):
            if fitted.any() and not fitted.all():
                tuning = readout(signals[fitted], belief[fitted], candidates)
                likelihood = readout.log_likelihood(tuning, signals[~fitted]).log_softmax(1)
                total += float(likelihood.gather(1, code[~fitted][:, None]).sum())
    return total


def _padded(x: Tensor, n_bins: int) -> Tensor:
    """Trials of so many bins, (trial, individual, time, …)."""
    lacking = n_bins - x.shape[2]
    return x if not lacking else torch.cat((x, x.new_zeros(*x.shape[:2], lacking, *x.shape[3:])), 2)

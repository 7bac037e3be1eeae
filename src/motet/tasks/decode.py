"""Decode a target from a population: cross-validated, beside classical rivals and chance on the same splits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet import metrics
from motet.data.dataset import PopulationDataset, SplitBy
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.rule import Said, rules_for
from motet.models.eit import EITSettings
from motet.names import in_path
from motet.report.decoded import confusion_matrix, decoded_trajectories
from motet.report.neurons import psths
from motet.report.scores import learning_curve, score_comparison
from motet.rivals.method import Answer, Method, Rival, TargetQuestion, over_trials
from motet.rivals.registry import RIVALS, rivals_of
from motet.settings import Count, NonNegative, Seed, Settings, Share
from motet.statistics import FEWEST_FOLDS, Score
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import OWN, Evaluation, Part, Task, evaluate
from motet.tasks.find import cut_trials, find_recordings, stem
from motet.tasks.models import MODEL, RULE, Asked, ShuffledTargets, Trained
from motet.tasks.outcome import Outcome
from motet.tasks.systems import made
from motet.training.objectives import ObjectiveSettings, Target, known_predictions, known_rows
from motet.training.settings import TrainingSettings
from motet.trial_sums import BOUNDS, TrialSums, sums_by_trial

Metric = Literal["accuracy", "macro_f1", "r2"]
WITH_RULE = f"{MODEL} + rule"
SHUFFLED = "shuffled targets"
CONTROL = f"{WITH_RULE}, {SHUFFLED}"
HEADINGS: Mapping[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro-F1", "r2": "R²"}
METRICS: Mapping[Metric, Callable[..., float]] = {
    "accuracy": metrics.accuracy,
    "macro_f1": metrics.macro_f1,
    "r2": metrics.r2,
}
COVERAGE = 0.9  # of the intervals that are tested
IGNORANT = {"majority", "mean"}  # rivals that never look at the activity: chance, where there is no control


@dataclasses.dataclass(frozen=True)
class DecodeSettings(Settings):
    """What to decode, and how.

    Attributes:
        recordings: files, or names in the catalogue (motet data list); several are learned together.
        target: integers and strings are classified, floats regressed.
        output: the run's folder; by default "runs/decode-<recording>-<target>".
        reading: options for reading the files, by name, such as {targets: [choice], columns: {individual: neuron}}.
        auxiliary: other targets to learn at the same time, with the weight of their loss.
        bins: how many first bins of each trial are read. By default all of them for a target per bin, and as many as
            the shortest trial has for a target per trial.
        window: cut trials into windows of this many bins, each one a trial to decode.
        stride: bins between the starts of two windows.
        folds: of the cross-validation; 0 for none, only the final model.
        tested_folds: how many of them are tested, the last ones; by default all. Of 5 by time, 1 is the last fifth.
        train_fraction: the share of every fold's training trials that is learned from, to see what more of them are
            worth; of each class alike, and a smaller share is part of a larger one. Test trials stay the same.
        repeats: of the cross-validation, in other orders.
        by: what the folds part: trials, contiguous blocks of time, recordings or subjects.
        gap_seconds: by time, what is left out between train and test; by default one trial (or window).
        metric: by default accuracy, or R² (dimensions weighted by variance) for a quantity.
        rivals: whether classical decoders are fitted to the same folds (one recording only); "all": those that take
            long too; or their names. One that cannot read the data is left out, and the table says why.
        control: whether the model is also trained on shuffled targets, to show chance.
        final: whether a model of all trials is trained at the end, for motet predict.
        seed: of everything random.
        model: see EITSettings.
        objective: see ObjectiveSettings.
        training: see TrainingSettings.
        preprocess: see PreprocessSettings.
        rule: see EITClassifier; the table shows the rule alone, the EIT alone and both.
        members: see EITClassifier.
    """

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    target: str
    output: str | None = None
    reading: dict[str, Any] | None = None
    auxiliary: dict[str, float] | None = None
    bins: Count | None = None
    window: Count | None = None
    stride: Count = 1
    folds: int = 5
    tested_folds: Count | None = None
    train_fraction: Share = 1.0
    repeats: Count = 1
    by: SplitBy = "trial"
    gap_seconds: NonNegative | None = None
    metric: Metric | None = None
    rivals: bool | Literal["all"] | tuple[str, ...] = True
    control: bool = True
    final: bool = True
    seed: Seed = 0
    model: EITSettings = EITSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    rule: str = "auto"
    members: Count = 3

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")
        if self.folds != 0 and self.folds < 2:
            raise InputError(f"folds is {self.folds}; give at least 2, or 0 for none.")
        if self.tested_folds is not None and self.tested_folds > self.folds:
            raise InputError(f"tested_folds is {self.tested_folds} of {self.folds} folds; give from 1 to {self.folds}.")
        for name in self.rivals if isinstance(self.rivals, tuple) else ():
            if name not in RIVALS:
                raise did_you_mean(name, RIVALS, what="name in rivals")

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/decode-{stem(self.recordings[0])}-{in_path(self.target)}")

    @property
    def n_tested(self) -> int:
        """Folds of a repeat that are tested."""
        return self.folds if self.tested_folds is None else self.tested_folds

    @property
    def test_fraction(self) -> float | None:
        """Tested trials as a part of these and those that are learned from, in every fold; None without folds."""
        return 1 / (1 + self.train_fraction * (self.folds - 1)) if self.folds else None


def decode(settings: DecodeSettings) -> Outcome:
    """Decode a target, cross-validated beside classical rivals and chance; leaves a run with table and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    return evaluate(Decode(settings))


class Decode(Task):
    """Parts are folds of the trials; the target of test trials is asked for."""

    question: TargetQuestion

    def __init__(self, settings: DecodeSettings) -> None:
        s = settings
        dataset = find_recordings(s.recordings, s.reading)
        for name in (s.target, *(s.auxiliary or {})):
            dataset.target_values(name)
        cut = functools.partial(cut_trials, bins=s.bins, window=s.window, stride=s.stride)
        self.settings = settings
        self.inputs = {"recordings": dataset.recordings}
        whole = dataset.map(lambda recording: cut(recording, recording.target_levels.get(s.target)))
        self.dataset = self.decoded(whole)
        self.is_quantity = dataset.target_values(s.target)[0].dtype.kind == "f"
        self.metric: Metric = s.metric or ("r2" if self.is_quantity else "accuracy")
        if (self.metric == "r2") != self.is_quantity:
            allowed = "r2" if self.is_quantity else "accuracy or macro_f1"
            raise InputError(f"metric {self.metric!r} does not fit target {s.target!r}; give {allowed}.")
        self.columns = {
            self.metric: Column(HEADINGS[self.metric], has_interval=True, bounds=BOUNDS[self.metric]),
            "calibration_error": Column("calibration error", is_error=True),
            "beyond_class": Column("R² beyond the class"),
            "covered": Column(f"covered by {COVERAGE:.0%} intervals"),
        }
        self.main = self.metric
        self.training = s.training
        self.test_fraction = s.test_fraction
        kind: Literal["class", "quantity"] = "quantity" if self.is_quantity else "class"
        target = Target.fit(self.dataset, s.target, kind=kind)
        for name in s.auxiliary or {}:
            Target.fit(self.dataset, name)
        Preprocess.fit(self.dataset, s.preprocess)
        self.has_rule = bool(rules_for(s.rule, target)) and (s.members > 1 or s.training.validation > 0)
        self.model = WITH_RULE if self.has_rule else MODEL
        self.control = f"{self.model}, {SHUFFLED}"
        by = self.dataset.recordings[0].class_target(s.target)
        self.question = TargetQuestion(s.target, kind, target.level, by)
        self._folds = list(self._cut_folds())

    def decoded(self, dataset: PopulationDataset) -> PopulationDataset:
        """The trials that are parted into folds, of all that were read."""
        return dataset

    def _cut_folds(self) -> Iterator[tuple[PopulationDataset, PopulationDataset]]:
        s, first = self.settings, self.dataset.recordings[0]
        if s.folds == 0:
            return
        is_stratified = s.by == "trial" and (first.target_levels.get(s.target) == "trial" or self.is_quantity)
        group = first.class_target(s.target)
        folds = self.dataset.folds(
            s.folds,
            by=s.by,
            n_repeats=s.repeats,
            stratify=group if is_stratified else None,
            gap_seconds=s.gap_seconds,
            seed=s.seed,
        )
        for number, (train, test) in enumerate(folds):
            if number % s.folds < s.folds - s.n_tested:
                continue
            if s.train_fraction < 1:
                train = train.fraction(s.train_fraction, stratify=group, seed=s.seed)
            self._check_fold(number % s.folds + 1, train, test)
            yield train, test

    def _check_fold(self, number: int, train: PopulationDataset, test: PopulationDataset) -> None:
        """Refuse a fold on which no method could learn or be scored."""
        s, advice = self.settings, "give fewer folds, other trials, or fold by something else."
        learned, tested = (_known(part, s.target) for part in (train, test))
        fold = f"fold {number} of {s.folds}"
        for words, known in (("to learn from", learned), ("to be tested on", tested)):
            if not len(known):
                raise InputError(f"{fold} has no trial {words} in which target {s.target!r} is known; {advice}")
            is_scored = self.is_quantity or words == "to learn from"
            if is_scored and (known == known[0]).all():
                raise InputError(
                    f"target {s.target!r} is the same in all trials {words} of {fold}: {known[0].tolist()}; {advice}"
                )
        if not self.is_quantity and len(lacking := np.setdiff1d(tested, learned)):
            raise InputError(
                f"{fold} tests class {lacking[0]} of target {s.target!r}, of which it has no trial to learn from; "
                f"{advice}"
            )

    def about(self) -> dict[str, Any]:
        """How many trials each fold has."""
        counted = {"n_train": 0, "n_test": 1}
        return {name: [_n_trials(fold[side]) for fold in self._folds] for name, side in counted.items()}

    def parts(self) -> Sequence[Part]:
        folds = [Part(f"folds/{number:02d}", *fold) for number, fold in enumerate(self._folds)]
        return [*folds, Part(OWN, self.dataset, None)] if self.settings.final else folds

    def methods(self, part: Part) -> Sequence[Method]:
        """The model, the rivals that decode such a target, and the control, in the first repeat only."""
        if part.name == OWN:
            return [self._model()]
        s, model = self.settings, self._model()
        rivals = self._rivals() if len(self.dataset.recordings) == 1 else []
        has_control = s.control and int(part.name.rpartition("/")[2]) < s.n_tested
        return [model, *self._alone(model), *rivals, *([ShuffledTargets(model, s.seed)] if has_control else [])]

    def _alone(self, model: Trained) -> list[Asked]:
        """What is inside the model, each asked alone."""
        if not self.has_rule:
            return []
        parts: tuple[tuple[str, Said], ...] = ((RULE, "rule"), (MODEL, "eit"))
        return [
            Asked(name, functools.partial(_answer, whom=whom), functools.partial(_cost, whom=whom), of=model)
            for name, whom in parts
        ]

    def _rivals(self) -> list[Rival]:
        """Those that were asked for, as far as they decode such a target."""
        asked = self.settings.rivals
        if isinstance(asked, tuple):
            return [rival for rival in rivals_of(self.question) if rival.name in asked]
        return rivals_of(self.question, thorough=asked == "all") if asked else []

    def _model(self) -> Trained:
        s = self.settings
        kind = EITRegressor if self.is_quantity else EITClassifier
        return Trained(functools.partial(made, kind, s), _answer, name=self.model, says=_says)

    def truth(self, part: Part) -> Truth:
        assert part.test is not None
        assert part.train is not None
        asked = self.question
        if asked.class_target is None or (asked.kind, asked.level) != ("quantity", "bin"):
            return Truth(part.test, None)
        return Truth(part.test, course_of_class(part.train, part.test, asked.target, asked.class_target))

    def measure(self, answer: Answer, truth: Truth) -> Measured:
        target, test, course = self.settings.target, truth.test, truth.course
        known, predicted = known_predictions(test, target, answer["prediction"])
        score = METRICS[self.metric](prediction=predicted, target=known)
        if np.isnan(score):
            raise InputError("its prediction is not a number everywhere; leave it out, or give it other trials.")
        scores: dict[str, Score] = {self.metric: Score(score)}
        if "log_probability" in answer:
            _, logs = known_predictions(test, target, answer["log_probability"])
            error = metrics.confidence_error(log_probability=logs, classes=answer["classes"], target=known)
            scores["calibration_error"] = Score(error)
        if course is not None:
            _, by_class = known_predictions(test, target, course)
            scores["beyond_class"] = Score(float(1 - _squares(known - predicted) / _squares(known - by_class)))
        if "reach" in answer:
            is_covered = np.abs(known - predicted).reshape(len(known), -1) <= answer["reach"]
            scores["covered"] = Score(float(is_covered.mean()))
        trial = np.concatenate([_trial_names(r)[np.nonzero(known_rows(r, target))[0]] for r in test.recordings])
        trials, sums = sums_by_trial(self.metric, trial=trial, truth=known, prediction=predicted)
        return Measured(scores, TrialSums(self.metric, [trials], [sums.tolist()]), {"n_test": len(known)})

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return [self.model]

    # ------------------------------------------------------------------ what people read

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        s = self.settings
        if not self._folds:
            yield "no cross-validation was asked for (folds=0)"
            return
        (section,) = evaluation.results["sections"].values()
        folds = f"{s.folds} folds" if s.n_tested == s.folds else f"the last {s.n_tested} of {s.folds} folds"
        folds += f" × {s.repeats} repeats" if s.repeats > 1 else ""
        folds += f", learned from {s.train_fraction:g} of their training trials" if s.train_fraction < 1 else ""
        best = section["best_rival"]
        against = f"; differences from {best}, the best rival here." if best else "."
        yield f"Mean {HEADINGS[self.metric]} over {folds}{against}"
        if s.n_tested * s.repeats < FEWEST_FOLDS:
            over = "Wilson's for so many trials" if self.metric == "accuracy" else "by a bootstrap over trials"
            yield f"Too few folds to show how they scatter: intervals are {over}, those of differences by a bootstrap."
        if s.control:
            yield f"Chance is what '{self.control}' scores."
        about = [evaluation.about(part, self.model) for part in self.parts() if part.name != OWN]
        least, most = min(one["n_silent"] for one in about), max(one["n_silent"] for one in about)
        if most:
            counted = f"{most}" if least == most else f"{least} to {most}"
            yield f"{counted} of {about[0]['n_individuals']} individuals never vary in training and are left out."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        s, heading = self.settings, HEADINGS[self.metric]
        if not self._folds:
            return
        (section,) = evaluation.results["sections"].values()
        first_repeat = [part for part in self.parts() if part.name != OWN][: s.n_tested]
        names = [recording.name for recording in self.dataset.recordings]
        title = f"{s.target} of {names[0] if len(names) == 1 else f'{len(names)} recordings'}"
        shown = {name: SHUFFLED if name == self.control else name for name in section["methods"]}
        scores = {name: section["methods"][name]["scores"][self.metric] for name in shown}
        chance = {shown[name] for name in shown if name == self.control} or IGNORANT & shown.keys()
        yield (
            "scores",
            score_comparison(
                {shown[name]: np.asarray(score.samples) for name, score in scores.items()},
                heading,
                rivals=set(shown.values()) - chance - {self.model, MODEL, RULE},
                chance=chance,
                intervals={shown[name]: score.interval for name, score in scores.items()},
                title=title,
            ),
        )
        histories = [evaluation.history(part, self.model) for part in first_repeat]
        yield "learning_curve", learning_curve(histories, score_name=heading, title=title)
        answers = [evaluation.answer(part, self.model)["prediction"] for part in first_repeat]
        tests = [part.test for part in first_repeat if part.test is not None]
        if not self.is_quantity:
            pairs = [known_predictions(test, s.target, found) for test, found in zip(tests, answers, strict=True)]
            truth, prediction = (np.concatenate(side) for side in zip(*pairs, strict=True))
            classes = np.unique([*truth, *prediction]).tolist()
            yield "confusion_matrix", confusion_matrix(truth, prediction, classes, title=title)
        elif "velocity" in s.target:
            yield from self._trajectories(tests, answers, title)
        for recording in self.dataset.recordings:
            label = recording.class_target(s.target)
            if label is not None and recording.n_features == 1:
                name = f"psths_{in_path(recording.name)}" if len(names) > 1 else "psths"
                yield name, psths(recording, label, title=f"most informative neurons of {recording.name}")

    def _trajectories(
        self, tests: Sequence[PopulationDataset], answers: Sequence[NDArray[Any]], title: str
    ) -> Iterator[tuple[str, Figure]]:
        """Decoded beside true, for a velocity of two dimensions per bin."""
        target = self.settings.target
        truths = [recording.targets[target] for test in tests for recording in test.recordings]
        if truths[0].ndim != 3 or truths[0].shape[-1] != 2:
            return
        labels = [_whole_labels(r, r.class_target(target)) for test in tests for r in test.recordings]
        figure = decoded_trajectories(
            over_trials(answers),
            over_trials(truths),
            np.concatenate(labels),
            self.dataset.recordings[0].bin_seconds,
            title=title,
        )
        yield "trajectories", figure


def _known(part: PopulationDataset, target: str) -> NDArray[Any]:
    """(entry, …) a target, in trials or bins where it is known."""
    having = [recording for recording in part.recordings if target in recording.targets]
    known = [recording.targets[target][known_rows(recording, target)] for recording in having]
    return np.concatenate(known) if known else np.zeros(0)


def _n_trials(part: PopulationDataset) -> int:
    return sum(len(np.unique(recording.trial_units)) for recording in part.recordings)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What answers are measured against.

    Attributes:
        test: test trials, with the target.
        course: (trial, time, …) what the mean of the true class says of a quantity; None where trials have no class.
    """

    test: PopulationDataset
    course: NDArray[np.float64] | None


def course_of_class(train: PopulationDataset, test: PopulationDataset, target: str, by: str) -> NDArray[np.float64]:
    """(trial, time, …) the mean of the quantity over training trials of the true class, at each bin.

    The mean over all bins of the class where none of its training trials reaches so far; of all classes, for one that
    was never seen.
    """
    parts = []
    for recording in test.recordings:
        same = next((one for one in train.recordings if one.name == recording.name), train.recordings[0])
        goal, labels = same.targets[target].astype(np.float64), same.targets[by]
        known = known_rows(same, target).reshape(goal.shape[:2])
        found = np.empty((recording.n_trials, recording.n_bins, *goal.shape[2:]))
        for label in np.unique(recording.targets[by]):
            of_class = known & (labels == label)[:, None]
            rows = recording.targets[by] == label
            found[rows] = goal[of_class if of_class.any() else known].mean(axis=0)
            for time in range(min(recording.n_bins, same.n_bins)):
                if of_class[:, time].any():
                    found[rows, time] = goal[of_class[:, time], time].mean(axis=0)
        parts.append(found)
    most = max(part.shape[1] for part in parts)
    padded = [np.pad(p, [(0, 0), (0, most - p.shape[1]), *[(0, 0)] * (p.ndim - 2)], mode="edge") for p in parts]
    return np.concatenate(padded)


def _squares(difference: NDArray[np.float64]) -> float:
    return float((difference**2).sum())


def _answer(estimator: EITClassifier | EITRegressor, test: PopulationDataset, whom: Said = "both") -> Answer:
    if isinstance(estimator, EITRegressor):
        answer = {"prediction": estimator.predict(test, whom=whom)}
        if whom == "both" and estimator.distances_ is not None:
            answer["reach"] = estimator.distances_.reach(COVERAGE)
        return answer
    probability = estimator.predict_proba(test, whom=whom)
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(probability), np.log(np.finfo(np.float32).tiny))
    target = estimator.targets_[0]
    return {
        "prediction": target.most_probable(probability),
        "log_probability": logs,
        "classes": np.asarray(target.classes),
    }


def _says(estimator: EITClassifier | EITRegressor, train: PopulationDataset) -> dict[str, Any]:
    silent = {"n_silent": len(estimator.preprocess_.silent_ids), "n_individuals": len(train.individual_ids)}
    return {**silent, **_cost(estimator, "both")}


def _cost(estimator: EITClassifier | EITRegressor, whom: Said) -> dict[str, Any]:
    """Parameters, seconds and shares of what answers."""
    costs = {"eit": (estimator.n_parameters_, sum(row.seconds for row in estimator.history_)), "rule": (0, 0.0)}
    if estimator.rule_ is not None:
        costs["rule"] = estimator.rule_.n_parameters, estimator.rule_seconds_
    n_parameters, seconds = zip(*(costs[part] for part in ([whom] if whom != "both" else costs)), strict=True)
    shares = {name: round(share, 3) for name, share in getattr(estimator.shares_, whom).items()}
    left_out = {} if estimator.rule_ is None or whom != "rule" else dict(estimator.rule_.left_out)
    return {
        "n_parameters": sum(n_parameters),
        "fit_seconds": sum(seconds),
        "chosen": shares,
        **({"left_out": left_out} if left_out else {}),
    }


def _trial_names(recording: Recording) -> NDArray[Any]:
    """(trial,) names that no other recording's trials have."""
    return np.array([f"{recording.name}/{trial}" for trial in np.asarray(recording.trial_ids)])


def _whole_labels(recording: Recording, target: str | None) -> NDArray[np.int64]:
    """(trial,) a target of whole numbers; 0 everywhere where there is none."""
    labels = recording.targets.get(target or "")
    if labels is None or labels.dtype.kind == "U":
        return np.zeros(recording.n_trials, dtype=np.int64)
    return labels.astype(np.int64)

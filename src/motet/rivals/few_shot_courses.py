"""A quantity per bin in a new population, such as velocity, from a few labelled trials of it; all causal.

As in `templates`: whoever knows where a reach goes knows how fast the hand moves at each moment of it. At every bin a
decoder of a few trials reads the class from the bins so far, and the mean courses of the classes are averaged with
those probabilities. Where trials are few, courses are smoothed over the classes by harmonics, and how far the
probabilities are trusted is tuned on other populations. Unlabelled trials teach the decoder of the class.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.empirical_bayes import EmpiricalBayes
from motet.rivals.few_shot import Decode, FewShot
from motet.rivals.few_shot_classes import (
    POWERS,
    Classes,
    Classify,
    ClassRival,
    by_id,
    class_goal,
    class_means,
    episodes,
    shots_of,
    with_targets,
)
from motet.rivals.gaussians import GaussianSum
from motet.rivals.method import Question, TransferQuestion
from motet.rivals.readings import Reading
from motet.rivals.templates import kernel_correction
from motet.rivals.tuning import Options, tune

Array = NDArray[np.float64]

LAGS = (0, 1, 2, 3, 4)
RIDGES = tuple(10.0**power for power in np.arange(-3, 2.1, 0.5))  # as a share of the mean square of a row
TEMPERATURES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SMOOTHINGS = (None, (0.0, 0.0), (0.0, 2.0), (0.0, 8.0))  # of courses over classes: ridges of the first two harmonics
START: Options = {"temperature": 0.7, "smoothing": (0.0, 8.0)}
N_EPISODES = 3  # of each other population, to tune them
MOST_STEPS = 30  # bins at which the class is decoded anew, where trials are longer
MOST_FOLDS = 8
SHORTEST = 0.05  # share of trials that may be too short to take part in EM


def _answers(question: Question) -> bool:
    return isinstance(question, TransferQuestion) and (question.goal.kind, question.goal.level) == ("quantity", "bin")


@dataclasses.dataclass(frozen=True, eq=False)
class _Trials:
    """Trials of one population, of any length."""

    roots: Array  # (trial, time, input) √counts
    lengths: NDArray[np.int64]  # (trial,) bins
    labels: NDArray[Any]  # (trial,) classes
    goal: Array  # (trial, time, output) the quantity
    is_known: NDArray[np.bool_]  # (trial, time) where it is known

    @classmethod
    def of(cls, recording: Recording, reading: Reading, question: TransferQuestion) -> _Trials:
        """Trials of which class and quantity are known."""
        goal = _goal(recording, question)
        is_known = recording.bin_is_observed & np.isfinite(goal).all(axis=2)
        labels = class_goal(question).read(recording)
        return cls(reading.roots(recording), recording.trial_lengths, labels, goal, is_known)

    def select(self, trials: NDArray[np.bool_]) -> _Trials:
        return _Trials(*(getattr(self, field.name)[trials] for field in dataclasses.fields(self)))


def _goal(recording: Recording, question: TransferQuestion) -> Array:
    """(trial, time, output) the quantity."""
    goal = question.goal.read(recording)
    return goal.reshape(*goal.shape[:2], -1).astype(np.float64)


def _known(recording: Recording, question: TransferQuestion) -> Recording:
    """The trials of which the class is known, and the quantity somewhere; by id, so that their order plays no role."""
    known = np.isfinite(_goal(recording, question)).all(axis=2) & recording.bin_is_observed
    is_taught = known.any(axis=1) & given.is_known(class_goal(question).read(recording))
    if not is_taught.any():
        raise InputError(
            f"no trial of recording {recording.name!r} has both {question.goal.target!r} and a class; give some."
        )
    return by_id(recording.select(trials=is_taught))


def _reading(recording: Recording) -> Reading:
    return Reading.of(recording, "bin", lags=LAGS, reads_time=True, keeps_silent=True, counts_only=True)


# ------------------------------------------------------------------ ridge


@dataclasses.dataclass(frozen=True)
class FewShotRidge(FewShot):
    """Ridge from the √counts of five bins, its strength tuned by leaving each labelled trial out."""

    name: str

    def answers(self, question: Question) -> bool:
        return _answers(question)

    def known_before(self, train: PopulationDataset, question: TransferQuestion) -> None:
        return None

    def adapted(
        self, before: Any, labelled: Recording, unlabelled: Recording | None, question: TransferQuestion
    ) -> Decode:
        reading = Reading.of(labelled, "bin", lags=LAGS, keeps_silent=True, counts_only=True)
        goal, target = question.goal.read(labelled), question.goal.target
        inputs, bins = reading.inputs(labelled)
        answers = goal[bins].reshape(len(inputs), -1).astype(np.float64)
        known = np.isfinite(answers).all(axis=1)
        if not known.any():
            raise InputError(f"target {target!r} of {labelled.name!r} is unknown in every bin; give some.")
        predict = _ridge(inputs[known], answers[known], np.nonzero(bins)[0][known])
        return lambda tested: _spread(predict(reading.inputs(tested)[0]), tested, goal.shape[2:])


def _ridge(inputs: Array, answers: Array, trials: NDArray[np.int64]) -> Callable[[Array], Array]:
    """From inputs (row, input) to answers (row, output)."""
    centre, offset = inputs.mean(axis=0), answers.mean(axis=0)
    kernel = (inputs - centre) @ (inputs - centre).T
    scale = max(float(np.trace(kernel)) / len(kernel), np.finfo(float).tiny)
    held_out = [np.flatnonzero(trials == trial) for trial in np.unique(trials)]

    def dual(ridge: float) -> tuple[Array, Array]:
        inverse = np.linalg.inv(kernel + ridge * scale * np.eye(len(kernel)))
        return inverse, inverse @ (answers - offset)

    def loss(chosen: Options) -> float:
        inverse, weights = dual(chosen["ridge"])
        # The error on the rows of a trial that a fit to all other trials would make, in closed form.
        return sum(float((np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows]) ** 2).sum()) for rows in held_out)

    weights = (inputs - centre).T @ dual(tune({"ridge": RIDGES}, loss)["ridge"])[1]
    return lambda tested: (tested - centre) @ weights + offset


def _spread(rows: Array, tested: Recording, shape: tuple[int, ...]) -> Array:
    """(trial, time, …) of rows per observed bin, NaN elsewhere."""
    prediction = np.full((*tested.bin_is_observed.shape, *shape), np.nan)
    prediction[tested.bin_is_observed] = rows.reshape(-1, *shape)
    return prediction


# ------------------------------------------------------------------ courses of classes


@dataclasses.dataclass(frozen=True, eq=False)
class _Examples:
    """Trials that teach decoders of the class."""

    roots: Array  # (trial, time, input) √counts
    lengths: NDArray[np.int64]  # (trial,) bins
    shares: Array  # (trial, class) how far each is of each class

    def joined(self, more: _Examples | None) -> _Examples:
        """These and more."""
        if more is None:
            return self
        n_bins = max(self.roots.shape[1], more.roots.shape[1])
        padded = [np.pad(one.roots, ((0, 0), (0, n_bins - one.roots.shape[1]), (0, 0))) for one in (self, more)]
        return _Examples(
            np.concatenate(padded),
            np.concatenate([self.lengths, more.lengths]),
            np.concatenate([self.shares, more.shares]),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Decoders:
    """Decoders of the class, each from so many first bins; one serves until the next."""

    steps: Sequence[tuple[int, Classify]]
    n_classes: int

    def logs(self, roots: Array) -> Array:
        """(trial, time, class) log-probabilities from √counts (trial, time, input)."""
        logs = np.zeros((*roots.shape[:2], self.n_classes))
        for n_bins, classify in self.steps:
            if n_bins <= roots.shape[1]:
                logs[:, n_bins - 1 :] = classify(roots[:, :n_bins])[:, None]
        return logs


@dataclasses.dataclass(frozen=True, eq=False)
class FittedCourses:
    """Mean courses of the classes, by how probable the classes are so far: from trials to the quantity per bin.

    Attributes:
        reading: how inputs are read from a recording.
        decoders: of the class.
        courses: (class, time, output).
        temperature: by which log-probabilities are multiplied.
        correction: what adds to the courses, if it was asked for.
        shape: of a prediction for a bin.
    """

    reading: Reading
    decoders: Decoders
    courses: Array
    temperature: float
    correction: GaussianSum | None
    shape: tuple[int, ...]

    def __call__(self, tested: Recording) -> Array:
        """(trial, time, …), NaN where nothing is observed."""
        logs = self.decoders.logs(self.reading.roots(tested))
        found = _averaged(self.courses, logs, self.temperature)[tested.bin_is_observed]
        if self.correction is not None:
            parts = _parts(self.reading.inputs(tested)[0], found)
            found = found + self.correction.predict(np.concatenate(parts, axis=1))
        return _spread(found, tested, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """What other populations teach of the first bins of trials, and what was tuned on them."""

    at: Callable[[int], Any]
    chosen: Options


@dataclasses.dataclass(frozen=True)
class CourseRival(FewShot):
    """Mean courses of the classes, weighted by how probable the classes are so far.

    Attributes:
        name: the row of a table.
        classifier: decodes the class.
        is_corrected: whether kernel ridge, on five bins of √counts, the courses and time, adds what they leave. It is
            fitted to courses that are cross-fitted: with one trial per class there is none.
        chosen: the temperature of probabilities and the smoothing of courses; by default tuned on other populations.
    """

    name: str
    classifier: ClassRival
    is_corrected: bool = False
    chosen: Options | None = None

    def answers(self, question: Question) -> bool:
        return _answers(question)

    def known_before(self, train: PopulationDataset, question: TransferQuestion) -> _Known:
        names = question.goal.target, class_goal(question).target
        recordings = [_known(recording, question) for recording in with_targets(train, *names)]
        populations = [_Trials.of(recording, _reading(recording), question) for recording in recordings]
        at = functools.partial(self._taught, populations, question)
        options: Mapping[str, Sequence[Any]] = {"temperature": TEMPERATURES, "smoothing": SMOOTHINGS}
        if self.chosen is not None or len(populations) < 2:
            return _Known(functools.cache(at), self.chosen or START)
        has_more = question.tests_together or question.draws[0].unlabelled is not None
        parts = []
        for number, trials in enumerate(populations):
            others = [*populations[:number], *populations[number + 1 :]]
            classes = Classes.of(np.unique(trials.labels), question.period)
            without = functools.cache(functools.partial(self._taught, others, question))
            for is_labelled in episodes(trials.labels, shots_of(question), N_EPISODES):
                labelled, tested = trials.select(is_labelled), trials.select(~is_labelled)
                examples = _Examples(labelled.roots, labelled.lengths, classes.shares(labelled.labels))
                more = self._guessed(without, examples, tested.roots, tested.lengths, classes) if has_more else None
                decoders = self._decoders(without, examples.joined(more), classes)
                parts.append((labelled, classes, tested, decoders.logs(tested.roots)))

        def loss(chosen: Options) -> float:
            shares = []
            for labelled, classes, tested, logs in parts:
                courses = _courses(labelled, classes, chosen["smoothing"])
                found = _averaged(courses, logs, chosen["temperature"])[tested.is_known]
                goal = tested.goal[tested.is_known]
                shares.append(((found - goal) ** 2).sum() / ((goal - goal.mean(axis=0)) ** 2).sum())
            return float(np.mean(shares))

        return _Known(functools.cache(at), tune(options, loss, start=START))

    def adapted(
        self, before: _Known, labelled: Recording, unlabelled: Recording | None, question: TransferQuestion
    ) -> FittedCourses:
        labelled = _known(labelled, question)
        reading, goal = _reading(labelled), question.goal.read(labelled)
        trials = _Trials.of(labelled, reading, question)
        classes = Classes.of(np.unique(trials.labels), question.period)
        examples, more = _Examples(trials.roots, trials.lengths, classes.shares(trials.labels)), None
        if unlabelled is not None:
            more = self._guessed(before.at, examples, reading.roots(unlabelled), unlabelled.trial_lengths, classes)
        decoders = self._decoders(before.at, examples.joined(more), classes)
        courses = _courses(trials, classes, before.chosen["smoothing"])
        temperature = before.chosen["temperature"]
        inputs, bins = reading.inputs(labelled)
        correction = None
        if self.is_corrected and (found := self._cross_fitted(before, trials, more, classes)) is not None:
            known = trials.is_known[bins]
            folds, parts = np.nonzero(bins)[0][known], _parts(inputs, found[bins])
            rest = (trials.goal - found)[trials.is_known]
            correction, _ = kernel_correction([part[known] for part in parts], rest, folds=folds)

        return FittedCourses(reading, decoders, courses, temperature, correction, goal.shape[2:])

    def _taught(self, populations: Sequence[_Trials], question: TransferQuestion, n_bins: int) -> Any:
        """What populations teach the classifier of the first bins; most of their trials must be as long."""
        n_bins = min(n_bins, max(int(np.median(one.lengths)) for one in populations))
        reaching = [
            (one.roots[one.lengths >= n_bins, :n_bins], one.labels[one.lengths >= n_bins])
            for one in populations
            if np.median(one.lengths) >= n_bins
        ]
        return self.classifier.taught(reaching, question)

    def _guessed(
        self, at: Callable[[int], Any], labelled: _Examples, roots: Array, lengths: NDArray[np.int64], classes: Classes
    ) -> _Examples | None:
        """Unlabelled trials, with the classes that EM on the first bins of nearly all trials finds."""
        if not self.classifier.reads_unlabelled:
            return None
        n_bins = max(1, int(np.quantile(np.concatenate([labelled.lengths, lengths]), SHORTEST)))
        reach, first = labelled.lengths >= n_bins, roots[lengths >= n_bins, :n_bins]
        classify = self.classifier.learned(
            at(n_bins), labelled.roots[reach, :n_bins], labelled.shares[reach], classes, first
        )
        shares = softmax(POWERS[1] * classify(first), axis=1)
        return _Examples(roots[lengths >= n_bins], lengths[lengths >= n_bins], shares)

    def _decoders(self, at: Callable[[int], Any], examples: _Examples, classes: Classes) -> Decoders:
        """Decoders of the class from the first bins; the last reads as many as half of the trials have."""
        longest = max(1, int(np.median(examples.lengths)))

        def decoder(n_bins: int) -> Classify:
            reach = examples.lengths >= n_bins
            return self.classifier.fitted(at(n_bins), examples.roots[reach, :n_bins], examples.shares[reach], classes)

        steps = np.unique(np.linspace(1, longest, min(longest, MOST_STEPS)).astype(int))
        return Decoders([(int(step), decoder(int(step))) for step in steps], len(classes.names))

    def _cross_fitted(
        self, before: _Known, labelled: _Trials, more: _Examples | None, classes: Classes
    ) -> Array | None:
        """(trial, time, output): what the courses of other trials predict of each; None if a class has one trial."""
        shares = classes.shares(labelled.labels)
        if shares.sum(axis=0).min() < 2:
            return None
        n_folds = min(MOST_FOLDS, len(shares))
        folds = np.empty(len(shares), dtype=np.int64)
        folds[np.argsort(labelled.labels, kind="stable")] = np.arange(len(shares)) % n_folds
        found = np.empty(labelled.goal.shape)
        for fold in range(n_folds):
            rest = labelled.select(folds != fold)
            examples = _Examples(rest.roots, rest.lengths, shares[folds != fold]).joined(more)
            logs = self._decoders(before.at, examples, classes).logs(labelled.roots[folds == fold])
            courses = _courses(rest, classes, before.chosen["smoothing"])
            found[folds == fold] = _averaged(courses, logs, before.chosen["temperature"])
        return found


@dataclasses.dataclass(frozen=True)
class MeanOfCourses(FewShot):
    """The mean of what several decoders by courses say.

    Attributes:
        name: the row of a table.
        parts: these decoders.
    """

    name: str
    parts: tuple[CourseRival, ...]

    def answers(self, question: Question) -> bool:
        return _answers(question)

    def known_before(self, train: PopulationDataset, question: TransferQuestion) -> list[_Known]:
        return [part.known_before(train, question) for part in self.parts]

    def adapted(
        self, before: list[_Known], labelled: Recording, unlabelled: Recording | None, question: TransferQuestion
    ) -> Decode:
        decoders = [
            part.adapted(known, labelled, unlabelled, question) for part, known in zip(self.parts, before, strict=True)
        ]
        return lambda tested: np.mean([decode(tested) for decode in decoders], axis=0)


def _parts(inputs: Array, courses: Array) -> tuple[Array, Array, Array]:
    """(row, input) of √counts, of what the courses predict, and of time, which comes last in a reading's inputs."""
    return inputs[:, :-1], courses, inputs[:, -1:]


def _courses(labelled: _Trials, classes: Classes, smoothing: tuple[float, float] | None) -> Array:
    """(class, time, output) means of known bins; a class of which no trial goes on stays where it was."""
    shares, one_each = classes.shares(labelled.labels), np.eye(len(classes.names))
    courses, known = np.empty((len(classes.names), *labelled.goal.shape[1:])), labelled.is_known
    first = int(known.any(axis=0).argmax())
    before = np.broadcast_to(labelled.goal[known[:, first], first].mean(axis=0), courses[:, 0].shape)
    for time in range(courses.shape[1]):
        now = known[:, time]
        is_over = ~shares[now].any(axis=0)
        goal = np.concatenate([labelled.goal[now, time], before[is_over]])
        courses[:, time] = class_means(goal, np.concatenate([shares[now], one_each[is_over]]), classes, smoothing)
        before = courses[:, time]
    return courses


def _averaged(courses: Array, logs: Array, temperature: float) -> Array:
    """(trial, time, output): the courses, weighted by tempered probabilities (trial, time, class)."""
    times = np.minimum(np.arange(logs.shape[1]), courses.shape[1] - 1)
    return np.einsum("ntc,cto->nto", softmax(temperature * logs, axis=2), courses[:, times])


_BAYES, _BAYES_EM = EmpiricalBayes("empirical-bayes"), EmpiricalBayes("empirical-bayes-em", reads_unlabelled=True)
COURSE_RIVALS: tuple[FewShot, ...] = (
    FewShotRidge("few-shot-ridge"),
    CourseRival("few-shot-template", _BAYES),
    CourseRival("few-shot-template-kernel-ridge", _BAYES, is_corrected=True),
    CourseRival("few-shot-template-em", _BAYES_EM),
    CourseRival("few-shot-template-em-kernel-ridge", _BAYES_EM, is_corrected=True),
)

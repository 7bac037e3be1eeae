"""The template rivals: mean courses of a quantity in each class, weighted by how probable the classes are so far.

Whoever knows where a reach goes knows how fast the hand moves at each moment of it. So at every bin the class of the
trial (its direction) is decoded from the counts up to now, and the mean courses of the classes are averaged with those
probabilities, or the most probable one is followed. Ridge or kernel ridge may add what the template leaves. All are
causal.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from motet import given
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.discriminant import ShrinkageLDA
from motet.rivals.gaussians import GaussianSum
from motet.rivals.kernel_ridge import tuned_kernel_ridge
from motet.rivals.method import Answer, Question, Rival, TargetQuestion, only_recording
from motet.rivals.readings import Reading, Rows, in_order
from motet.rivals.ridge import Linear, ridge
from motet.rivals.tuning import N_FOLDS, Options, inner_folds, tune

Array = NDArray[np.float64]

LEAST_TRIALS = 3  # of a class, so that two are left when one is held out
MOST_STEPS = 100  # bins at which the class is decoded anew, where trials are longer
TEMPERATURES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
# Kernel: exp(-(counts + template + time)), each a squared distance over its variance in training, times a scale.
SCALES = tuple(itertools.product((0.3, 1.0), (0.05, 0.15, 0.5), (0.3,)))
HARD = 1e6  # a temperature at which the most probable class is all
RIDGES = (0.1, 0.3, 1.0, 3.0)
LAGS = (0, 1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class TemplateRival(Rival):
    """A rival for a quantity per bin where each trial has a class, such as velocity and direction.

    Trials may have any length. In each of five folds of the training trials a template of the other folds is applied;
    on these predictions the temperature of the probabilities is tuned, and a correction is tuned and fitted. The
    template that is used afterwards is of all of them. Trials of unknown class, or of a class with fewer than three
    trials, teach the correction only. The classes of test trials are never read.

    Attributes:
        name: the row of a table.
        corrected_by: what adds to the template what it leaves, from five bins of √counts, the template and time.
        temperatures: to try. 1 takes probabilities as they are decoded, less evens them out.
        is_thorough: see `Rival`.
    """

    name: str
    corrected_by: Literal["ridge", "kernel-ridge"] | None = None
    temperatures: tuple[float, ...] = TEMPERATURES
    is_thorough: bool = False

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and (question.kind, question.level) == ("quantity", "bin")

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedTemplate:
        recording = in_order(only_recording(train, self.name))
        reading = Reading.of(recording, "bin", lags=LAGS, reads_time=True)
        examples = self._read(recording, question, reading)
        folds = inner_folds(recording, examples.labels)[:, 0]
        template = Template.of(examples)
        cross_fitted = _cross_fitted(examples, template, folds)
        judged = examples.is_known & (examples.labels >= 0)[:, None]

        def loss(chosen: Options) -> float:
            return float(((cross_fitted(chosen["temperature"]) - examples.goal)[judged] ** 2).sum())

        chosen = tune({"temperature": self.temperatures}, loss)
        correction: GaussianSum | Linear | None = None
        if self.corrected_by is not None:
            known, found = examples.is_known, cross_fitted(chosen["temperature"])
            inputs = reading.inputs(recording)[0][known[recording.bin_is_observed]]
            parts, rest = _parts(inputs, found[known]), (examples.goal - found)[known]
            of_bins = np.broadcast_to(folds[:, None], known.shape)[known]
            if self.corrected_by == "ridge":
                correction, more = ridge(Rows(reading, np.concatenate(parts, axis=1), rest, of_bins))
            else:
                correction, more = kernel_correction(parts, rest, folds=of_bins)
            chosen |= more
        return FittedTemplate(self, template, chosen, correction, reading, question.read(recording).shape[2:])

    def _read(self, train: Recording, question: TargetQuestion, reading: Reading) -> _Examples:
        """The training trials, or an `InputError`."""
        goal = question.read(train)
        if question.class_target is None:
            raise InputError(f"{self.name} reads a class per trial beside {question.target!r}; give class_target.")
        classes = TargetQuestion(question.class_target, "class", "trial").read(train)
        goal = goal.reshape(*goal.shape[:2], -1).astype(np.float64)
        is_known = train.bin_is_observed & np.isfinite(goal).all(axis=2)
        if not is_known.any():
            raise InputError(f"target {question.target!r} of {train.name!r} is unknown in every bin; give some.")
        labels = _labels(classes, np.asarray(train.trial_ids))
        if labels.max() < 1:
            raise InputError(
                f"target {question.class_target!r} of recording {train.name!r} has fewer than two classes of "
                f"{LEAST_TRIALS} trials, which {self.name} reads; give more trials."
            )
        return _Examples(reading.so_far(reading.roots(train)), train.trial_lengths, labels, goal, is_known)


TEMPLATES = (
    TemplateRival("template-hard", temperatures=(HARD,), is_thorough=True),
    TemplateRival("template"),
    TemplateRival("template-ridge", "ridge", is_thorough=True),
    TemplateRival("template-kernel-ridge", "kernel-ridge"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTemplate:
    """A template rival that has seen a training recording.

    Attributes:
        rival: the recipe.
        template: of all training trials.
        chosen: "temperature", which multiplies the logarithms of the probabilities, and how the correction was tuned.
        correction: what adds to the template, if it was asked for.
        reading: how inputs are read from a recording.
        shape: of a prediction for a bin.
    """

    rival: TemplateRival
    template: Template
    chosen: Mapping[str, Any]
    correction: GaussianSum | Linear | None
    reading: Reading
    shape: tuple[int, ...]

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned: courses, decoders of the class, and for kernel ridge one per row and output."""
        decoders = sum(decoder.n_parameters for _, decoder in self.template.decoders)
        return self.template.courses.size + decoders + (0 if self.correction is None else self.correction.n_parameters)

    @property
    def about(self) -> Mapping[str, Any]:
        return {"chosen": self.chosen}

    def predict(self, test: PopulationDataset) -> Answer:
        """The "prediction" of the quantity per bin (trial, time, …), NaN where no individual is observed."""
        recording = only_recording(test, self.rival.name)
        bins = recording.bin_is_observed
        logs = self.template.log_probabilities(self.reading.so_far(self.reading.roots(recording)))
        prediction = self.template.averaged(logs, self.chosen["temperature"])
        if self.correction is not None:
            parts = _parts(self.reading.inputs(recording)[0], prediction[bins])
            prediction[bins] += self.correction.predict(np.concatenate(parts, axis=1))
        prediction[~bins] = np.nan
        return {"prediction": prediction.reshape(*bins.shape, *self.shape)}


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """Mean courses of classes, and decoders of the class from the counts so far.

    Attributes:
        courses: (class, time, output) mean of the quantity; where no trial of a class goes on, the last mean of it.
        decoders: a bin, and shrinkage LDA of the class on √(counts up to it). It serves until the bin of the next.
    """

    courses: Array
    decoders: tuple[tuple[int, ShrinkageLDA], ...]

    @classmethod
    def of(cls, examples: _Examples) -> Template:
        """Learned from the trials whose class is known; a bin's decoder from those that reach it, half at least."""
        known = examples.select(examples.labels >= 0)
        n_classes = int(examples.labels.max()) + 1
        n_steps = int(np.median(known.lengths))
        decoders: list[tuple[int, ShrinkageLDA]] = []
        for step in np.unique(np.linspace(0, n_steps - 1, min(n_steps, MOST_STEPS)).astype(int)):
            reaches = known.lengths > step
            is_common = np.bincount(known.labels[reaches], minlength=n_classes) > 1
            taught = reaches & is_common[known.labels]
            if is_common.sum() < 2:
                break
            decoders.append((int(step), ShrinkageLDA().fit(known.so_far[taught, step], known.labels[taught])))
        return cls(_courses(known, n_classes), tuple(decoders))

    def log_probabilities(self, so_far: Array) -> Array:
        """(trial, time, class) from √(counts up to each bin) (trial, time, input)."""
        logs = np.full((*so_far.shape[:2], len(self.courses)), -np.inf)
        for step, decoder in self.decoders:
            if step < so_far.shape[1]:
                logs[:, step:, decoder.classes_] = decoder.predict_log_proba(so_far[:, step])[:, None]
        return logs

    def averaged(self, logs: Array, temperature: float) -> Array:
        """(trial, time, output): the courses, weighted by tempered probabilities."""
        times = np.minimum(np.arange(logs.shape[1]), self.courses.shape[1] - 1)
        return np.einsum("ntc,cto->nto", softmax(temperature * logs, axis=2), self.courses[:, times])


def kernel_correction(parts: Sequence[Array], rest: Array, *, folds: NDArray[np.int64]) -> tuple[GaussianSum, Options]:
    """Kernel ridge from √counts, template and time to what a template leaves."""
    return tuned_kernel_ridge(parts, rest, folds=folds, scales=SCALES, ridges=RIDGES)


def _parts(inputs: Array, template: Array) -> tuple[Array, ...]:
    """(row, input) of √counts, of what the template predicts, and of time, which comes last in a reading's inputs."""
    return inputs[:, :-1], template, inputs[:, -1:]


@dataclasses.dataclass(frozen=True, eq=False)
class _Examples:
    """Training trials."""

    so_far: Array  # (trial, time, input) √(counts up to each bin)
    lengths: NDArray[np.int64]  # (trial,) bins
    labels: NDArray[np.int64]  # (trial,) classes as 0, 1, …; -1 for unknown
    goal: Array  # (trial, time, output) the quantity
    is_known: NDArray[np.bool_]  # (trial, time) where it is known

    def select(self, trials: NDArray[np.bool_]) -> _Examples:
        return _Examples(*(getattr(self, field.name)[trials] for field in dataclasses.fields(self)))


def _cross_fitted(examples: _Examples, template: Template, folds: NDArray[np.int64]) -> Callable[[float], Array]:
    """From a temperature to (trial, time, output): what a template of the other folds predicts of each trial."""
    every = np.ones(len(folds), dtype=bool)
    parts = [(every, template, template.log_probabilities(examples.so_far))]
    for fold in range(N_FOLDS):
        held_out = folds == fold
        if (examples.labels[held_out] >= 0).any():
            others = Template.of(examples.select(~held_out))
            parts.append((held_out, others, others.log_probabilities(examples.so_far[held_out])))

    def predicted(temperature: float) -> Array:
        found = np.empty(examples.goal.shape)
        for trials, one, logs in parts:
            found[trials] = one.averaged(logs, temperature)
        return found

    return predicted


def _labels(classes: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.int64]:
    """(trial,) 0, 1, … for classes that enough trials have, -1 for others and where the class is unknown."""
    names, codes = np.unique(classes, return_inverse=True)
    n_trials = np.asarray([len(np.unique(ids[codes == code])) for code in range(len(names))])
    is_taught = (n_trials >= LEAST_TRIALS) & given.is_known(names)
    return np.where(is_taught, np.cumsum(is_taught) - 1, -1)[codes]


def _courses(examples: _Examples, n_classes: int) -> Array:
    """(class, time, output) means of known bins; else the last one before; else that of all classes, or of all bins."""
    is_of = (examples.labels[:, None] == np.arange(n_classes)).astype(np.float64)
    goal = np.where(examples.is_known[..., None], examples.goal, 0)
    n_known = np.einsum("nc,nt->ct", is_of, examples.is_known)[..., None]
    total = np.einsum("nc,nto->cto", is_of, goal)
    overall = total.sum((0, 1)) / max(n_known.sum(), 1)
    of_bins = np.where(n_known.sum(0) > 0, total.sum(0) / np.maximum(n_known.sum(0), 1), overall)
    means = np.where(n_known > 0, total / np.maximum(n_known, 1), of_bins)
    times = np.arange(n_known.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(n_known > 0, times, -1), axis=1)
    return np.where(last >= 0, np.take_along_axis(means, np.maximum(last, 0), axis=1), means)

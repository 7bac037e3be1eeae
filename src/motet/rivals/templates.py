"""The template rivals: mean courses of a quantity in each class, weighted by how probable the classes are so far.

Whoever knows where a reach goes knows how fast the hand moves at each moment of it. So at every bin the class of the
trial (its direction) is decoded from the counts up to now, and the mean courses of the classes are averaged with those
probabilities. Kernel ridge may add what the template leaves. Both are causal.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from motet import given
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.readings import Reading

Array = NDArray[np.float64]

N_FOLDS = 5  # of the training trials, for all that is cross-fitted or tuned
LEAST_TRIALS = 3  # of a class, so that two are left when one is held out
MOST_STEPS = 100  # bins at which the class is decoded anew, where trials are longer
TEMPERATURES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
# Kernel: exp(-(counts + template + time)), each a squared distance over its variance in training, times a scale.
SCALES = tuple(itertools.product((0.3, 1.0), (0.05, 0.15, 0.5), (0.3,)))
RIDGES = (0.1, 0.3, 1.0, 3.0)
LAGS = (0, 1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class TemplateBaseline:
    """A rival for a quantity per bin where each trial has a class, such as velocity and direction.

    Trials may have any length. In each of five folds of the training trials a template of the other folds is applied;
    on these predictions the temperature of the probabilities is tuned, and kernel ridge is tuned and fitted. The
    template that is used afterwards is of all of them. Trials of unknown class, or of a class with fewer than three
    trials, teach kernel ridge only. The classes of test trials are never read.

    Attributes:
        name: the row of a table.
        class_target: the target per trial that holds the classes.
        is_corrected: whether kernel ridge, on five bins of √counts, the template and time, adds what the template
            leaves.
        temperatures: that are tried. 1 takes probabilities as they are decoded, less evens them out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> side = np.arange(40) % 2
        >>> counts = rng.poisson(2.0, (40, 5, 6)) + 4 * side[:, None, None]
        >>> speed = (2.0 * side - 1)[:, None] * np.arange(6) + rng.normal(size=(40, 6))
        >>> recording = Recording.from_trials(counts, targets={"side": side, "speed": speed})
        >>> fitted = TemplateBaseline("template", "side").fit(recording, "speed")
        >>> fitted.predict(recording).shape
        (40, 6)
    """

    name: str
    class_target: str | None = None
    is_corrected: bool = False
    temperatures: tuple[float, ...] = TEMPERATURES

    decodes: Literal["quantities"] = dataclasses.field(default="quantities", init=False)
    levels: tuple[Literal["bin"]] = dataclasses.field(default=("bin",), init=False)

    @property
    def is_kernel(self) -> bool:
        """Whether memory grows with the square of the training rows."""
        return self.is_corrected

    def fit(self, train: Recording, target: str) -> FittedTemplate:
        """Fit to a quantity per bin of a recording of spike counts.

        Raises:
            InputError: if the recording has no such quantity per bin, or no such class per trial; if fewer than two
                classes have three trials; if the quantity is known nowhere; if values are negative or none varies.
        """
        examples = self._read(train, target)
        template, temperature, cross_fitted = _tuned(examples, self.temperatures)
        correction = None
        reading = Reading.of(train, "bin", lags=LAGS, reads_time=True)
        if self.is_corrected:
            known = examples.is_known
            inputs = reading.inputs(train)[0][known[train.bin_is_observed]]
            folds = np.broadcast_to(_folds(examples)[:, None], known.shape)
            correction = _Correction.tuned(
                inputs[:, :-1],
                cross_fitted[known],
                inputs[:, -1:],
                rest=(examples.goal - cross_fitted)[known],
                folds=folds[known],
            )
        return FittedTemplate(self, template, temperature, correction, reading, train.target(target)[:0])

    def _read(self, train: Recording, target: str) -> _Examples:
        """The training trials, or an `InputError`."""
        goal, level = train.target(target), train.target_levels[target]
        found = f"target {target!r} of recording {train.name!r}"
        if goal.dtype.kind != "f" or level != "bin":
            raise InputError(f"{found} is no quantity per bin, which {self.name} decodes; use another baseline.")
        if self.class_target is None:
            raise InputError(f"{self.name} reads a class per trial beside {target!r}; give class_target.")
        classes = train.target(self.class_target)
        found_classes = f"target {self.class_target!r} of recording {train.name!r}"
        if train.target_levels[self.class_target] != "trial" or classes.ndim != 1 or classes.dtype.kind not in "biU":
            raise InputError(f"{found_classes} is not one class per trial, which {self.name} reads; give another.")
        goal = goal.reshape(*goal.shape[:2], -1).astype(np.float64)
        is_known = train.bin_is_observed & np.isfinite(goal).all(axis=2)
        if not is_known.any():
            raise InputError(f"{found} is unknown in every bin; give some.")
        assert train.trial_ids is not None
        labels = _labels(classes, train.trial_ids)
        if labels.max() < 1:
            raise InputError(
                f"{found_classes} has fewer than two classes of {LEAST_TRIALS} trials, which {self.name} reads; "
                "give more trials."
            )
        roots = Reading.of(train, "bin", lags=(0,)).roots(train)
        return _Examples(roots, train.trial_lengths, labels, train.trial_ids, goal, is_known)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTemplate:
    """A template rival that has seen a training recording; made by `TemplateBaseline.fit`.

    Attributes:
        baseline: the recipe.
        template: of all training trials.
        temperature: multiplies the logarithms of the probabilities.
        correction: kernel ridge, if it was asked for.
        reading: how inputs are read from a recording.
        target: the training target without its trials: the shape of a prediction.
    """

    baseline: TemplateBaseline
    template: Template
    temperature: float
    correction: _Correction | None
    reading: Reading
    target: NDArray[Any]

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned: courses, decoders of the class, and for kernel ridge one per row and output."""
        decoders = sum(decoder.coef_.size + decoder.intercept_.size for _, decoder in self.template.decoders)
        return self.template.courses.size + decoders + (0 if self.correction is None else self.correction.dual.size)

    def predict(self, test: Recording) -> NDArray[Any]:
        """Predict the quantity per bin (trial, time, …), NaN where no individual is observed.

        Raises:
            InputError: if the recording has other individuals or features than in training.
        """
        bins = test.bin_is_observed
        prediction = self.template.predict(self.reading.roots(test), self.temperature)
        if self.correction is not None:
            inputs, _ = self.reading.inputs(test)
            prediction[bins] += self.correction.predict(inputs[:, :-1], prediction[bins], inputs[:, -1:])
        prediction[~bins] = np.nan
        return prediction.reshape(*bins.shape, *self.target.shape[2:])


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """Mean courses of classes, and decoders of the class from the counts so far.

    Attributes:
        courses: (class, time, output) mean of the quantity; where no trial of a class goes on, the last mean of it.
        decoders: a bin, and shrinkage LDA of the class on √(counts up to it). It serves until the bin of the next.
    """

    courses: Array
    decoders: tuple[tuple[int, LinearDiscriminantAnalysis], ...]

    @classmethod
    def of(cls, examples: _Examples) -> Template:
        """Learned from the trials whose class is known; a bin's decoder from those that reach it, half at least."""
        known = examples.select(examples.labels >= 0)
        n_classes = int(examples.labels.max()) + 1
        n_steps = int(np.median(known.lengths))
        so_far = _counts_so_far(known.roots)
        decoders: list[tuple[int, LinearDiscriminantAnalysis]] = []
        for step in np.unique(np.linspace(0, n_steps - 1, min(n_steps, MOST_STEPS)).astype(int)):
            reaches = known.lengths > step
            is_common = np.bincount(known.labels[reaches], minlength=n_classes) > 1
            taught = reaches & is_common[known.labels]
            if is_common.sum() < 2:
                break
            lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            decoders.append((int(step), lda.fit(so_far[taught, step], known.labels[taught])))
        return cls(_courses(known, n_classes), tuple(decoders))

    def log_probabilities(self, roots: Array) -> Array:
        """(trial, time, class) from √counts (trial, time, input)."""
        logs = np.full((*roots.shape[:2], len(self.courses)), -np.inf)
        so_far = _counts_so_far(roots)
        for step, decoder in self.decoders:
            if step < roots.shape[1]:
                logs[:, step:, decoder.classes_] = decoder.predict_log_proba(so_far[:, step])[:, None]
        return logs

    def predict(self, roots: Array, temperature: float) -> Array:
        """(trial, time, output) from √counts (trial, time, input)."""
        return self.averaged(self.log_probabilities(roots), temperature)

    def averaged(self, logs: Array, temperature: float) -> Array:
        """(trial, time, output): the courses, weighted by tempered probabilities."""
        times = np.minimum(np.arange(logs.shape[1]), self.courses.shape[1] - 1)
        return np.einsum("ntc,cto->nto", softmax(temperature * logs, axis=2), self.courses[:, times])


@dataclasses.dataclass(frozen=True, eq=False)
class _Correction:
    """Kernel ridge from √counts, template and time to what a template leaves."""

    stretch: Array
    inputs: Array
    dual: Array
    offset: Array

    @classmethod
    def tuned(
        cls, counts: Array, template: Array, time: Array, *, rest: Array, folds: NDArray[np.int64]
    ) -> _Correction:
        """With the scales and the ridge that predict each fold best from all others."""
        parts = (counts, template, time)
        variances = [max(float(part.var(axis=0).sum()), np.finfo(float).tiny) for part in parts]
        squares = [cdist(part, part, "sqeuclidean") / variance for part, variance in zip(parts, variances, strict=True)]
        held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        offset = rest.mean(axis=0)
        least, chosen, dual = np.inf, SCALES[0], rest
        for scales in SCALES:
            kernel = np.exp(-sum(scale * square for scale, square in zip(scales, squares, strict=True)))
            for ridge in RIDGES:
                inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
                found = inverse @ (rest - offset)
                # The error on rows that a fit to all others would make, in closed form.
                errors = [np.linalg.solve(inverse[np.ix_(rows, rows)], found[rows]) for rows in held_out]
                total = sum(float((error**2).sum()) for error in errors)
                if total < least:
                    least, chosen, dual = total, scales, found
        stretch = np.sqrt(np.repeat(np.divide(chosen, variances), [part.shape[1] for part in parts]))
        return cls(stretch, np.concatenate(parts, axis=1) * stretch, dual, offset)

    def predict(self, counts: Array, template: Array, time: Array) -> Array:
        """(row, output) from the inputs of each row."""
        inputs = np.concatenate([counts, template, time], axis=1) * self.stretch
        return np.exp(-cdist(inputs, self.inputs, "sqeuclidean")) @ self.dual + self.offset


@dataclasses.dataclass(frozen=True, eq=False)
class _Examples:
    """Training trials.

    Attributes:
        roots: (trial, time, input) √counts.
        lengths: (trial,) bins.
        labels: (trial,) classes as 0, 1, …; -1 for unknown.
        ids: (trial,) the same for windows of one trial.
        goal: (trial, time, output) the quantity.
        is_known: (trial, time) where it is known.
    """

    roots: Array
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: NDArray[Any]
    goal: Array
    is_known: NDArray[np.bool_]

    def select(self, trials: NDArray[np.bool_]) -> _Examples:
        return _Examples(*(getattr(self, field.name)[trials] for field in dataclasses.fields(self)))


def _tuned(examples: _Examples, temperatures: tuple[float, ...]) -> tuple[Template, float, Array]:
    """A template of all trials, the best temperature, and (trial, time, output) predictions by the other folds."""
    template, folds, is_labelled = Template.of(examples), _folds(examples), examples.labels >= 0
    logs = template.log_probabilities(examples.roots)
    cross_fitted = {t: template.averaged(logs, t) for t in temperatures}
    for fold in range(N_FOLDS):
        held_out = folds == fold
        if not (held_out & is_labelled).any():
            continue
        others = Template.of(examples.select(~held_out))
        logs = others.log_probabilities(examples.roots[held_out])
        for t in temperatures:
            cross_fitted[t][held_out] = others.averaged(logs, t)
    judged = examples.is_known & is_labelled[:, None]
    errors = {t: ((found - examples.goal)[judged] ** 2).sum() for t, found in cross_fitted.items()}
    best = min(errors, key=errors.__getitem__)
    return template, best, cross_fitted[best]


def _labels(classes: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.int64]:
    """(trial,) 0, 1, … for classes that enough trials have, -1 for others and where the class is unknown."""
    names, codes = np.unique(classes, return_inverse=True)
    n_trials = np.asarray([len(np.unique(ids[codes == code])) for code in range(len(names))])
    is_taught = (n_trials >= LEAST_TRIALS) & given.is_known(names)
    return np.where(is_taught, np.cumsum(is_taught) - 1, -1)[codes]


def _folds(examples: _Examples) -> NDArray[np.int64]:
    """(trial,) the fold of each, balanced over classes; windows of one trial stay together."""
    _, first, position = np.unique(examples.ids, return_index=True, return_inverse=True)
    fold = np.empty(len(first), dtype=np.int64)
    fold[np.argsort(examples.labels[first], kind="stable")] = np.arange(len(first)) % N_FOLDS
    return fold[position]


def _counts_so_far(roots: Array) -> Array:
    """(trial, time, input) √(counts up to each bin)."""
    return np.sqrt(np.cumsum(roots**2, axis=1))


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

"""The classical rivals: linear and kernel decoders of the spike counts of a window or of a few bins, and templates.

Every table of motet carries them, on the same splits, windows and bins as the model. All read √counts
(which evens out the Poisson variance), and every statistic comes from the training recording only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from motet import given
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.rivals.readings import Reading
from motet.rivals.templates import TemplateBaseline

# Chosen once for all recordings, with the test folds of the reach recordings in sight: a rival may be flattered, never
# handicapped.
LOGISTIC_C, SVM_C, KERNEL_RIDGE_ALPHA = 0.005, 2.0, 0.1


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A classical decoder, ready to be fitted: `BASELINES_CLASSIFY` and `BASELINES_REGRESS` hold them and templates.

    A target per trial is read from all bins × individuals of the trial, so trials must be equally long
    windows. A target per bin is read from the bins t − lag of the same trial, one row per observed bin;
    trials may have any length. Bins before or after the trial, and bins in which no individual is
    observed, read as zero counts; an individual that is not observed in an observed bin reads as its
    mean √count in the training recording; one silent or absent throughout training is dropped.

    Attributes:
        name: the row of a table.
        decodes: "classes" (integers, booleans, strings) or "quantities" (floats).
        estimator: the scikit-learn estimator for so many inputs.
        lags: for a target per bin, the bins read: 0 is bin t, 1 the bin before, −1 the bin after.
        reads_time: whether the bin's position in its trial is the last input (targets per bin only).
        pools_bins: whether √(total count) is read instead of the √count of every bin (targets per trial only).
        is_kernel: whether memory grows with the square of the training rows.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (40, 5, 2))
        >>> side = np.arange(40) % 2
        >>> counts[side == 1, 0] += 9
        >>> recording = Recording.from_trials(counts, targets={"side": side})
        >>> lda = BASELINES_CLASSIFY["lda"].fit(recording.select(trials=np.arange(30)), "side")
        >>> lda.predict(recording.select(trials=np.arange(30, 40)))
        array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    """

    name: str
    decodes: Literal["classes", "quantities"]
    estimator: Callable[[int], Any]
    lags: tuple[int, ...]
    reads_time: bool = False
    pools_bins: bool = False
    is_kernel: bool = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the targets that are decoded."""
        return ("bin",) if self.reads_time else ("trial",) if self.pools_bins else ("trial", "bin")

    def fit(self, train: Recording, target: str) -> FittedBaseline:
        """Fit to one target of a recording of spike counts.

        Trials or bins whose target is unknown are left out.

        Raises:
            InputError: if the target is unknown, or of another kind or level than the baseline decodes;
                if values are negative; if trials of a target per trial differ in length; if nothing
                is left to learn from.
        """
        goal, level = train.target(target), self._level(train, target)
        reading = Reading.of(train, level, lags=self.lags, reads_time=self.reads_time, pools_bins=self.pools_bins)
        inputs, rows = reading.inputs(train)
        answers = goal[rows]
        known = given.is_known(answers).reshape(len(answers), -1).all(axis=1)
        inputs, answers = inputs[known], answers[known]
        if self.decodes == "quantities":
            answers = answers.reshape(len(answers), -1)
        elif len(np.unique(answers)) < 2:
            raise InputError(f"target {target!r} of recording {train.name!r} has one class only; give two.")
        try:
            model = self.estimator(inputs.shape[1]).fit(inputs, answers)
        except ValueError as error:
            raise InputError(
                f"{self.name} cannot learn target {target!r} from {len(inputs)} rows of recording "
                f"{train.name!r} ({error}); give more trials, or use another baseline."
            ) from error
        return FittedBaseline(baseline=self, model=model, reading=reading, target=goal[:0])

    def _level(self, train: Recording, target: str) -> Literal["trial", "bin"]:
        """The level of a target that this baseline decodes, or an `InputError`."""
        goal, level = train.target(target), train.target_levels[target]
        found = f"target {target!r} of recording {train.name!r}"
        decodes = "quantities" if goal.dtype.kind == "f" else "classes"
        if decodes != self.decodes:
            right = "BASELINES_REGRESS" if decodes == "quantities" else "BASELINES_CLASSIFY"
            raise InputError(f"{found} holds {decodes}, but {self.name} decodes {self.decodes}; use {right}.")
        if level not in self.levels:
            raise InputError(f"{found} is per {level}; {self.name} decodes one per {' or per '.join(self.levels)}.")
        if decodes == "classes" and goal.ndim != (1 if level == "trial" else 2):
            raise InputError(f"{found} has shape {goal.shape}; give one class per {level}.")
        return cast(Literal["trial", "bin"], level)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A baseline that has seen a training recording; made by `Baseline.fit`.

    Attributes:
        baseline: the recipe.
        model: the fitted scikit-learn estimator.
        reading: how its inputs are read from a recording.
        target: the training target without its trials: its type and the shape of a prediction.
    """

    baseline: Baseline
    model: Any
    reading: Reading
    target: NDArray[Any]

    @property
    def n_parameters(self) -> int:
        """Numbers that the last step learned; for kernel ridge, one per training row and output."""
        final = getattr(self.model, "regressor_", self.model)
        final = final[-1] if isinstance(final, Pipeline) else final
        learned = ("coef_", "intercept_", "dual_coef_", "class_prior_", "constant_")
        return sum(np.size(getattr(final, name)) for name in learned if hasattr(final, name))

    @property
    def classes(self) -> NDArray[Any]:
        """(class,) the order of the last axis of `predict_proba`."""
        if self.baseline.decodes != "classes":
            raise InputError(f"{self.baseline.name} decodes quantities, which have no classes; use predict.")
        return cast(NDArray[Any], self.model.classes_)

    def predict(self, test: Recording) -> NDArray[Any]:
        """Predict a target per trial (trial, …) or per bin (trial, time, …).

        Where no individual is observed, a quantity per bin is NaN and a class is the padding of
        `Recording`: zero, False or the empty string.

        Raises:
            InputError: if the recording has other individuals, features or window length than in training.
        """
        inputs, rows = self.reading.inputs(test)
        prediction = np.asarray(self.model.predict(inputs))
        if self.baseline.decodes == "classes":
            return _spread(prediction, rows, fill=self.target.dtype.type())
        return _spread(prediction.reshape(len(inputs), *self.target.shape[rows.ndim :]), rows, fill=np.nan)

    def predict_proba(self, test: Recording) -> NDArray[np.float64]:
        """Predict the probability of each of `classes`: (trial, class) or (trial, time, class).

        NaN in bins where no individual is observed.

        Raises:
            InputError: as `predict`, and if the baseline decodes quantities, or classes without probabilities.
        """
        n_classes = len(self.classes)
        if not hasattr(self.model, "predict_proba"):
            raise InputError(f"{self.baseline.name} decodes classes without probabilities; use predict.")
        inputs, rows = self.reading.inputs(test)
        return _spread(np.asarray(self.model.predict_proba(inputs)).reshape(-1, n_classes), rows, fill=np.nan)


def _spread(values: NDArray[Any], rows: NDArray[np.bool_], *, fill: Any) -> NDArray[Any]:
    """Rows put back at their trials or bins."""
    spread = np.full((*rows.shape, *values.shape[1:]), fill, dtype=values.dtype)
    spread[rows] = values
    return spread


class _SharedScaler(TransformerMixin, BaseEstimator):
    """Divides √counts by one number, so that their variance is 1 on average.

    The Poisson noise of √counts is the same for all. Scaling each alone would amplify it in neurons that say little,
    and every decoder here does far worse.

    Attributes:
        reads_time: whether the last input is time: it is made to vary twice as much as all counts together.
    """

    def __init__(self, *, reads_time: bool = False) -> None:
        self.reads_time = reads_time

    def fit(self, inputs: NDArray[np.float64], answers: NDArray[Any]) -> _SharedScaler:
        n_counts = inputs.shape[1] - self.reads_time
        variances = inputs.var(axis=0)
        self.scale_ = np.full(len(variances), np.sqrt(variances[:n_counts].mean()))
        if self.reads_time and variances[-1] > 0:
            self.scale_[-1] = np.sqrt(variances[-1] / (2 * n_counts))
        return self

    def transform(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return inputs / self.scale_


def _logistic_regression(n_inputs: int) -> Any:
    return make_pipeline(_SharedScaler(), LogisticRegression(C=LOGISTIC_C, max_iter=1000))


def _kernel_svm(n_inputs: int) -> Any:
    return SVC(C=SVM_C, gamma="scale")


def _lda(n_inputs: int) -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _ridge(n_inputs: int) -> Any:
    return make_pipeline(_SharedScaler(), RidgeCV(np.logspace(0, 5, 11)))


def _kernel_ridge(n_inputs: int, *, reads_time: bool = False) -> Any:
    gamma = 0.5 / (n_inputs - 1) if reads_time else 1 / n_inputs
    kernel_ridge = KernelRidge(kernel="rbf", gamma=gamma, alpha=KERNEL_RIDGE_ALPHA)
    # Kernel ridge has no intercept, so the target is centred.
    return TransformedTargetRegressor(
        make_pipeline(_SharedScaler(reads_time=reads_time), kernel_ridge), transformer=StandardScaler(with_std=False)
    )


# Classes per bin are read from the whole of an 8-bin window, as the model reads it: not causal.
_AROUND = tuple(range(-7, 8))

BASELINES_CLASSIFY: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Baseline("majority", "classes", lambda n_inputs: DummyClassifier(strategy="prior"), _AROUND),
            Baseline("logistic-regression", "classes", _logistic_regression, _AROUND),
            Baseline("lda", "classes", _lda, _AROUND),
            Baseline("lda-total-counts", "classes", _lda, _AROUND, pools_bins=True),
            Baseline("kernel-svm-total-counts", "classes", _kernel_svm, _AROUND, pools_bins=True, is_kernel=True),
        )
    }
)
"""Decoders of classes per trial or per bin, by name."""

BASELINES_REGRESS: Mapping[str, Baseline | TemplateBaseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Baseline("mean", "quantities", lambda n_inputs: DummyRegressor(), (0,)),
            Baseline("ridge", "quantities", _ridge, (0, 1, 2, 3, 4)),
            Baseline("kernel-ridge", "quantities", _kernel_ridge, (0, 1, 2, 3, 4), is_kernel=True),
            Baseline(
                "kernel-ridge-time",
                "quantities",
                functools.partial(_kernel_ridge, reads_time=True),
                (0, 1, 2, 3, 4),
                reads_time=True,
                is_kernel=True,
            ),
            TemplateBaseline("template"),
            TemplateBaseline("template-kernel-ridge", is_corrected=True),
        )
    }
)
"""Decoders of quantities per bin (causal: bins up to now) or per trial, by name; templates need a `class_target`."""

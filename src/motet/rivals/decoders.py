"""Linear and kernel decoders of the spike counts of a window or of a few bins.

All read √counts, which evens out the Poisson variance, and every statistic comes from the training recording only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
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
from motet.data.dataset import PopulationDataset
from motet.data.recording import Level
from motet.errors import InputError
from motet.rivals.method import Answer, Question, Rival, TargetQuestion, only_recording
from motet.rivals.readings import Reading, check_kernel_rows

# Chosen once for all recordings, with the test folds of the reach recordings in sight: a rival may be flattered, never
# handicapped.
LOGISTIC_C, SVM_C, KERNEL_RIDGE_ALPHA = 0.005, 2.0, 0.1


@dataclasses.dataclass(frozen=True)
class Decoder(Rival):
    """A scikit-learn estimator on √counts.

    A target per trial is read from all bins × individuals of the trial, so trials must be equally long
    windows. A target per bin is read from the bins t − lag of the same trial, one row per observed bin;
    trials may have any length. Bins before or after the trial, and bins in which no individual is
    observed, read as zero counts; an individual that is not observed in an observed bin reads as its
    mean √count in the training recording; one silent or absent throughout training is dropped.
    Trials or bins whose target is unknown are left out of training.

    Attributes:
        name: the row of a table.
        decodes: a "class" or a "quantity".
        estimator: the scikit-learn estimator for so many inputs.
        lags: for a target per bin, the bins read: 0 is bin t, 1 the bin before, −1 the bin after.
        reads_time: whether the bin's position in its trial is the last input (targets per bin only).
        pools_bins: whether √(total count) is read instead of the √count of every bin (targets per trial only).
        is_kernel: whether memory grows with the square of the training rows.
    """

    name: str
    decodes: Literal["class", "quantity"]
    estimator: Callable[[int], Any]
    lags: tuple[int, ...]
    reads_time: bool = False
    pools_bins: bool = False
    is_kernel: bool = False

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the targets that are decoded."""
        return ("bin",) if self.reads_time else ("trial",) if self.pools_bins else ("trial", "bin")

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and question.kind == self.decodes and question.level in self.levels

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedDecoder:
        recording = only_recording(train, self.name)
        goal, level = question.read(recording), cast(Literal["trial", "bin"], question.level)
        reading = Reading.of(recording, level, lags=self.lags, reads_time=self.reads_time, pools_bins=self.pools_bins)
        inputs, rows = reading.inputs(recording)
        answers = goal[rows]
        known = given.is_known(answers).reshape(len(answers), -1).all(axis=1)
        inputs, answers = inputs[known], answers[known]
        if self.is_kernel:
            check_kernel_rows(len(inputs))
        if self.decodes == "quantity":
            answers = answers.reshape(len(answers), -1)
        elif len(np.unique(answers)) < 2:
            raise InputError(
                f"target {question.target!r} of recording {recording.name!r} has one class only; give two."
            )
        try:
            model = self.estimator(inputs.shape[1]).fit(inputs, answers)
        except ValueError as error:
            raise InputError(
                f"{self.name} cannot learn target {question.target!r} from {len(inputs)} rows of recording "
                f"{recording.name!r} ({error}); give more trials, or use another rival."
            ) from error
        return FittedDecoder(self, model, reading, goal[:0])


@dataclasses.dataclass(frozen=True, eq=False)
class FittedDecoder:
    """A decoder that has seen a training recording; `target` is the training target without its trials."""

    decoder: Decoder
    model: Any
    reading: Reading
    target: NDArray[Any]
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Numbers that the last step learned; for kernel ridge, one per training row and output."""
        final = getattr(self.model, "regressor_", self.model)
        final = final[-1] if isinstance(final, Pipeline) else final
        learned = ("coef_", "intercept_", "dual_coef_", "class_prior_", "constant_")
        return sum(np.size(getattr(final, name)) for name in learned if hasattr(final, name))

    def predict(self, test: PopulationDataset) -> Answer:
        """The "prediction" of a target per trial (trial, …) or per bin (trial, time, …).

        Where no individual is observed, a quantity per bin is NaN and a class is the padding of
        `Recording`: zero, False or the empty string.

        Raises:
            InputError: if the recording has other individuals, features or window length than in training.
        """
        inputs, rows = self.reading.inputs(only_recording(test, self.decoder.name))
        prediction = np.asarray(self.model.predict(inputs))
        if self.decoder.decodes == "class":
            spread = np.full(rows.shape, self.target.dtype.type(), dtype=prediction.dtype)
        else:
            prediction = prediction.reshape(len(inputs), *self.target.shape[rows.ndim :])
            spread = np.full((*rows.shape, *prediction.shape[1:]), np.nan)
        spread[rows] = prediction
        return {"prediction": spread}


class _SharedScaler(TransformerMixin, BaseEstimator):
    """Divides √counts by one number, so that their variance is 1 on average; time varies twice as much as all counts.

    The Poisson noise of √counts is the same for all. Scaling each alone would amplify it in neurons that say little,
    and every decoder here does far worse.
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


def _lda(n_inputs: int) -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _ridge(n_inputs: int) -> Any:
    return make_pipeline(_SharedScaler(), RidgeCV(np.logspace(0, 5, 11)))


def _kernel_ridge(n_inputs: int, *, reads_time: bool = False) -> Any:
    gamma = 0.5 / (n_inputs - 1) if reads_time else 1 / n_inputs
    kernel_ridge = KernelRidge(kernel="rbf", gamma=gamma, alpha=KERNEL_RIDGE_ALPHA)
    pipeline = make_pipeline(_SharedScaler(reads_time=reads_time), kernel_ridge)
    # Kernel ridge has no intercept, so the target is centred.
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler(with_std=False))


def _logistic(n_inputs: int) -> Any:
    return make_pipeline(_SharedScaler(), LogisticRegression(C=LOGISTIC_C, max_iter=1000))


def _svm(n_inputs: int) -> Any:
    return SVC(C=SVM_C)


_timed_kernel_ridge = functools.partial(_kernel_ridge, reads_time=True)

# Classes per bin are read from the whole of an 8-bin window, as the model reads it: not causal. Quantities are.
_AROUND, _BEFORE = tuple(range(-7, 8)), (0, 1, 2, 3, 4)

DECODERS = (
    Decoder("majority", "class", lambda n_inputs: DummyClassifier(strategy="prior"), _AROUND),
    Decoder("logistic-regression", "class", _logistic, _AROUND),
    Decoder("lda", "class", _lda, _AROUND),
    Decoder("lda-total-counts", "class", _lda, _AROUND, pools_bins=True),
    Decoder("kernel-svm-total-counts", "class", _svm, _AROUND, pools_bins=True, is_kernel=True),
    Decoder("mean", "quantity", lambda n_inputs: DummyRegressor(), (0,)),
    Decoder("ridge", "quantity", _ridge, _BEFORE),
    Decoder("kernel-ridge", "quantity", _kernel_ridge, _BEFORE, is_kernel=True),
    Decoder("kernel-ridge-time", "quantity", _timed_kernel_ridge, _BEFORE, reads_time=True, is_kernel=True),
)

"""Decoders of the spike counts of a window or of a few bins, each a function that learns from rows.

They read √counts, which evens out the Poisson variance (see `Reading`). Every statistic comes from the training
recording only, and every option is tuned on inner folds of its trials.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from motet.data.dataset import PopulationDataset
from motet.data.recording import Level
from motet.errors import InputError
from motet.rivals.boosting import boosted
from motet.rivals.classifiers import lda, lda_mean, logistic_regression, poisson_naive_bayes
from motet.rivals.estimators import Estimated
from motet.rivals.kernel_ridge import kernel_ridge
from motet.rivals.kernel_svm import kernel_svm
from motet.rivals.method import Answer, Question, Rival, TargetQuestion, only_recording
from motet.rivals.readings import Reading, Rows
from motet.rivals.ridge import ridge, wiener

Learn = Callable[[Rows], tuple[Any, Mapping[str, Any]]]
"""From rows to a model, which predicts from inputs (row, input), and what was chosen, by option."""


@dataclasses.dataclass(frozen=True)
class Decoder(Rival):
    """A model of rows of √counts.

    A target per trial is read from all bins × individuals of the trial, so trials must be equally long
    windows. A target per bin is read from the bins t − lag of the same trial, one row per observed bin;
    trials may have any length. Bins before or after the trial, and bins in which no individual is
    observed, read as zero counts; an individual that is not observed in an observed bin reads as its
    mean √count in the training recording; one silent or absent throughout training is dropped.
    Trials or bins whose target is unknown are left out of training.

    Attributes:
        name: the row of a table.
        decodes: a "class" or a "quantity".
        learned: the model of rows of training.
        lags: for a target per bin, the bins read: 0 is bin t, 1 the bin before, −1 the bin after.
        levels: of the targets that are decoded.
        reads_time: whether the bin's position in its trial is the last input (targets per bin only).
        pools_bins: whether √(total count) is read instead of the √count of every bin of a trial.
        counts_only: whether values that may be negative are refused.
        is_thorough: see `Rival`.
    """

    name: str
    decodes: Literal["class", "quantity"]
    learned: Learn
    lags: tuple[int, ...]
    levels: tuple[Level, ...] = ("trial", "bin")
    reads_time: bool = False
    pools_bins: bool = False
    counts_only: bool = False
    is_thorough: bool = False

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and question.kind == self.decodes and question.level in self.levels

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedDecoder:
        recording = only_recording(train, self.name)
        goal = question.read(recording)
        reading = Reading.of(
            recording,
            cast(Literal["trial", "bin"], question.level),
            lags=self.lags,
            reads_time=self.reads_time,
            pools_bins=self.pools_bins,
            counts_only=self.counts_only,
        )
        rows = Rows.of(recording, question, reading)
        if self.decodes == "class" and len(np.unique(rows.answers)) < 2:
            raise InputError(
                f"target {question.target!r} of recording {recording.name!r} has one class only; give two."
            )
        try:
            model, chosen = self.learned(rows)
        except ValueError as error:
            raise InputError(
                f"{self.name} cannot learn target {question.target!r} from {len(rows.inputs)} rows of recording "
                f"{recording.name!r} ({error}); give more trials, or use another rival."
            ) from error
        return FittedDecoder(self, model, reading, goal[:0], {"chosen": chosen})


@dataclasses.dataclass(frozen=True, eq=False)
class FittedDecoder:
    """A decoder that has seen a training recording; `target` is the training target without its trials."""

    decoder: Decoder
    model: Any
    reading: Reading
    target: NDArray[Any]
    about: Mapping[str, Any]

    @property
    def n_parameters(self) -> int:
        """Numbers that the last step learned; for kernel ridge, one per training row and output."""
        if hasattr(self.model, "n_parameters"):
            return int(self.model.n_parameters)
        final = self.model[-1] if isinstance(self.model, Pipeline) else self.model
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
        return {"prediction": spread, **self._probabilities(inputs, rows)}

    def _probabilities(self, inputs: NDArray[np.float64], rows: NDArray[np.bool_]) -> Answer:
        """The "log_probability" of "classes", (trial[, time], class), NaN where no individual is observed."""
        if self.decoder.decodes != "class" or not hasattr(self.model, "predict_proba"):
            return {}
        if hasattr(self.model, "predict_log_proba"):
            logs = np.asarray(self.model.predict_log_proba(inputs), dtype=np.float64)
        else:
            with np.errstate(divide="ignore"):
                logs = np.log(self.model.predict_proba(inputs))
        spread = np.full((*rows.shape, logs.shape[1]), np.nan)
        spread[rows] = np.maximum(logs, np.log(np.finfo(np.float64).tiny))
        return {"log_probability": spread, "classes": np.asarray(self.model.classes_)}


# Classes per bin are read from the whole of an 8-bin window, as the model reads it: not causal. Quantities are.
_AROUND, _BEFORE = tuple(range(-7, 8)), (0, 1, 2, 3, 4)

DECODERS = (
    Decoder("majority", "class", Estimated(lambda _: DummyClassifier(strategy="prior")), _AROUND),
    Decoder("logistic-regression", "class", logistic_regression, _AROUND),
    Decoder("lda", "class", lda, _AROUND),
    Decoder("lda-total-counts", "class", lda, _AROUND, ("trial",), pools_bins=True),
    Decoder("lda-mean", "class", lda_mean, _AROUND),
    Decoder("poisson-naive-bayes", "class", poisson_naive_bayes, _AROUND, counts_only=True, is_thorough=True),
    Decoder("kernel-svm", "class", kernel_svm, _AROUND, is_thorough=True),
    Decoder("kernel-svm-total-counts", "class", kernel_svm, _AROUND, ("trial",), pools_bins=True),
    Decoder("gradient-boosting", "class", boosted, _AROUND, pools_bins=True, is_thorough=True),
    Decoder("mean", "quantity", Estimated(lambda _: DummyRegressor()), (0,)),
    Decoder("ridge", "quantity", ridge, _BEFORE),
    Decoder("wiener", "quantity", wiener, tuple(range(16)), ("bin",), is_thorough=True),
    Decoder("kernel-ridge", "quantity", kernel_ridge, _BEFORE),
    Decoder("kernel-ridge-time", "quantity", kernel_ridge, _BEFORE, ("bin",), reads_time=True),
    Decoder("gradient-boosting-regression", "quantity", boosted, _BEFORE, pools_bins=True, is_thorough=True),
)

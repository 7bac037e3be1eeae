"""The classical rivals: linear and kernel decoders on the spike counts of a window or of a few bins.

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
from einops import rearrange
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from motet.data.recording import Recording
from motet.errors import InputError

# Below this standard deviation of √counts a neuron is silent in the training recording and is dropped.
SILENT_STD = 1e-3
# Kernel ridge: exp(-.3/n_inputs |x - x'|²); with time, x is 2 √counts (the Poisson noise is then 1: z-scored, it does
# far worse) beside 10 t, t in bins. Chosen once for all recordings, with the test folds of the reach recordings in
# sight: a rival may be flattered, never handicapped.
INPUT_GAMMA, KERNEL_RIDGE_ALPHA = 0.3, 0.3
COUNTS_STRETCH, TIME_STRETCH = 2.0, 10.0


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A classical decoder, ready to be fitted: `BASELINES_CLASSIFY` and `BASELINES_REGRESS` hold them.

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
        pools_bins: whether a target per trial is read from √(total count) instead of the √count of every bin.

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

    def fit(self, train: Recording, target: str) -> FittedBaseline:
        """Fit to one target of a recording of spike counts.

        Trials or bins whose quantity is NaN (unknown) are left out.

        Raises:
            InputError: if the target is unknown, or of another kind or level than the baseline decodes;
                if values are negative; if trials of a target per trial differ in length; if nothing
                is left to learn from.
        """
        goal, level = train.target(target), self._level(train, target)
        reading = _Reading.of(train, level, lags=self.lags, reads_time=self.reads_time, pools_bins=self.pools_bins)
        inputs, rows = reading.inputs(train)
        answers = goal[rows]
        if self.decodes == "quantities":
            answers = answers.reshape(len(answers), -1)
            known = ~np.isnan(answers).any(1)
            inputs, answers = inputs[known], answers[known]
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
        allowed = ("bin",) if self.reads_time else ("trial", "bin")
        if level not in allowed:
            raise InputError(f"{found} is per {level}; {self.name} decodes one per {' or per '.join(allowed)}.")
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
    reading: _Reading
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
            InputError: as `predict`, and if the baseline decodes quantities.
        """
        n_classes = len(self.classes)
        inputs, rows = self.reading.inputs(test)
        return _spread(np.asarray(self.model.predict_proba(inputs)).reshape(-1, n_classes), rows, fill=np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading:
    """How rows of inputs are read from a recording; all it knows comes from the training recording.

    Attributes:
        level: whether a row is a trial or a bin.
        lags: the bins of a row per bin, without those that no training trial is long enough to fill.
        reads_time: whether the bin's position is the last input.
        pools_bins: whether a row per trial holds √(total counts).
        individual_ids: of the training recording.
        n_bins: of the training recording.
        mean: (individual × feature,) mean √count over the observed training bins.
        is_kept: (individual × feature,) True for those which vary in the training recording.
    """

    level: Literal["trial", "bin"]
    lags: tuple[int, ...]
    reads_time: bool
    pools_bins: bool
    individual_ids: tuple[str, ...]
    n_bins: int
    mean: NDArray[np.float64]
    is_kept: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        train: Recording,
        level: Literal["trial", "bin"],
        *,
        lags: tuple[int, ...],
        reads_time: bool,
        pools_bins: bool,
    ) -> _Reading:
        roots, seen = _square_roots(train)
        n_seen = np.maximum(seen.sum((0, 1)), 1)
        mean = (roots * seen).sum((0, 1)) / n_seen
        std = np.sqrt((((roots - mean) * seen) ** 2).sum((0, 1)) / n_seen)
        if not (std > SILENT_STD).any():
            raise InputError(f"no individual of recording {train.name!r} varies; give some with activity.")
        return cls(
            level=level,
            lags=tuple(lag for lag in lags if abs(lag) < train.n_bins),
            reads_time=reads_time,
            pools_bins=pools_bins,
            individual_ids=train.individual_ids,
            n_bins=train.n_bins,
            mean=mean,
            is_kept=std > SILENT_STD,
        )

    def inputs(self, recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(row, input), and which trials (trial,) or bins (trial, time) the rows are."""
        roots, seen = _square_roots(recording)
        if recording.individual_ids != self.individual_ids or roots.shape[2] != len(self.mean):
            raise InputError(
                f"recording {recording.name!r} has {recording.n_individuals} individuals with "
                f"{recording.n_features} features, not the {len(self.individual_ids)} of the training "
                "recording in their order; a baseline knows each by its id, use "
                "recording.select(individuals=…)."
            )
        bins = recording.bin_is_observed
        roots = np.where(bins[..., None], np.where(seen, roots, self.mean), 0.0)[..., self.is_kept]
        if self.level == "trial":
            if recording.n_bins != self.n_bins or not bins.all():
                raise InputError(
                    f"a target per trial is read from windows of {self.n_bins} observed bins, but trials of "
                    f"recording {recording.name!r} last {recording.trial_lengths.min()} to "
                    f"{recording.trial_lengths.max()}; cut training and test with recording.windows(length)."
                )
            if self.pools_bins:
                return np.sqrt((roots**2).sum(axis=1)), np.ones(len(roots), dtype=bool)
            return rearrange(roots, "trial time input -> trial (time input)"), np.ones(len(roots), dtype=bool)
        inputs = _lagged(roots, self.lags)
        if self.reads_time:
            time = np.broadcast_to(np.arange(recording.n_bins)[:, None], (*bins.shape, 1))
            inputs = np.concatenate([inputs, time], axis=2)
        return inputs[bins], bins


def _square_roots(recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """√counts and which are observed, both (trial, time, individual × feature)."""
    if (recording.values < 0).any():
        raise InputError(f"recording {recording.name!r} has negative values; baselines read spike counts.")
    roots = np.sqrt(recording.values.astype(np.float64))
    seen = np.broadcast_to(recording.observed[..., None], roots.shape)
    axes = "trial individual time feature -> trial time (individual feature)"
    return rearrange(roots, axes), rearrange(seen, axes)


def _lagged(roots: NDArray[np.float64], lags: tuple[int, ...]) -> NDArray[np.float64]:
    """(trial, time, lag × input): the bins t − lag, zeros beyond either end of the trial."""
    margin, n_bins = max(map(abs, lags)), roots.shape[1]
    padded = np.pad(roots, ((0, 0), (margin, margin), (0, 0)))
    return np.concatenate([padded[:, margin - lag : margin - lag + n_bins] for lag in lags], axis=2)


def _spread(values: NDArray[Any], rows: NDArray[np.bool_], *, fill: Any) -> NDArray[Any]:
    """Rows put back at their trials or bins."""
    spread = np.full((*rows.shape, *values.shape[1:]), fill, dtype=values.dtype)
    spread[rows] = values
    return spread


def _logistic_regression(n_inputs: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))


def _lda(n_inputs: int) -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _ridge(n_inputs: int) -> Any:
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 5, 9)))


def _kernel_ridge(n_inputs: int, *, reads_time: bool = False) -> Any:
    gamma = INPUT_GAMMA / (n_inputs - reads_time)
    scale: Any = StandardScaler()
    if reads_time:
        scale = FunctionTransformer(functools.partial(np.multiply, [*[COUNTS_STRETCH] * (n_inputs - 1), TIME_STRETCH]))
    kernel_ridge = KernelRidge(kernel="rbf", gamma=gamma, alpha=KERNEL_RIDGE_ALPHA)
    # Kernel ridge has no intercept, so the target is centred.
    return TransformedTargetRegressor(make_pipeline(scale, kernel_ridge), transformer=StandardScaler(with_std=False))


def _by_name(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


# Classes per bin are read from the whole of an 8-bin window, as the model reads it: not causal.
_AROUND = tuple(range(-7, 8))

BASELINES_CLASSIFY: Mapping[str, Baseline] = _by_name(
    Baseline("majority", "classes", lambda n_inputs: DummyClassifier(strategy="prior"), _AROUND),
    Baseline("logistic-regression", "classes", _logistic_regression, _AROUND),
    Baseline("lda", "classes", _lda, _AROUND),
    Baseline("lda-total-counts", "classes", _lda, _AROUND, pools_bins=True),
)
"""Decoders of classes per trial or per bin, by name."""

BASELINES_REGRESS: Mapping[str, Baseline] = _by_name(
    Baseline("mean", "quantities", lambda n_inputs: DummyRegressor(), (0,)),
    Baseline("ridge", "quantities", _ridge, (0, 1, 2)),
    Baseline("kernel-ridge", "quantities", _kernel_ridge, (0, 1, 2, 3, 4)),
    Baseline(
        "kernel-ridge-time",
        "quantities",
        functools.partial(_kernel_ridge, reads_time=True),
        (0, 1, 2),
        reads_time=True,
    ),
)
"""Decoders of quantities per bin (causal: bins up to now) or per trial, by name."""

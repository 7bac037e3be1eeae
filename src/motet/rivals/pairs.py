"""Rivals that say who interacts with whom: a score of every pair, and what makes a probability of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features, MotionSettings
from motet.data.pairs import n_observed, only_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc, differs_by_order, known_pairs
from motet.models.geometry import Geometry
from motet.rivals.force_fit import check_reads
from motet.rivals.method import Answer, PairQuestion, Question, Rival, by_length, over_trials
from motet.rivals.tuning import Options, tune
from motet.training.calibration import Calibration

Array = NDArray[np.float64]

IN_SPACE: tuple[Features, ...] = ("position", "position-velocity")
VALUES = (0, 0)  # in place of a window: no derivative, the values themselves
WINDOWS = ((1, 2), (2, 2), (3, 2), (4, 2), (6, 2), (3, 3), (4, 3), (6, 3), (8, 3))  # half width and degree to try
RIDGE_FACTORS = (1e-3, 1e-1, 1.0, 10.0, 100.0)  # to try, relative to the rival's own
LAGS = (1, 2, 4, 8)  # to try
EVIDENCE = ("high", "low", "large")
FEWEST_SIZES = 3  # of system, from which on a prior may shift with the size: two tell no trend
LEAST_SLOPE = 1e-3  # isotonic regression ties scores; a slope this small keeps their order
BLOCK_SIZE = 2**21  # numbers held at once, 16 MB of float64


@dataclasses.dataclass(frozen=True, eq=False)
class PairRival(Rival):
    """A closed-form score of every pair, from each trial alone, and probabilities that are learned from training.

    1. Options: those whose scores have the largest AUROC over all pairs of training trials; so too which scores speak
       for an interaction (high, low, far from zero), and which of a directed pair acts.
    2. Log-odds: by isotonic regression, whose crossing of 1/2 is the threshold that errs least.
    3. Calibration: as the model's, a temperature and a prior, that shifts with the number of individuals only if
       training trials are of at least three sizes.
    4. Types: those of an edge as often as in training.

    Attributes:
        name: the row of a table.
        compute: scores (trial, individual, individual) of trials of one length, higher the likelier the first is acted
            on by the second, from a recording, how derivatives are taken, and options; the diagonal and absent
            individuals may hold anything.
        reads: the kinds of features that it can read.
        both_ways: of a directed score, what makes one of those of both orders of a pair; None of a symmetric one.
        options: its own value of those that it has, from which tuning starts. window: half width in bins and degree
            of the local polynomials that derive motion, or `VALUES`. lags: bins of the past. ridge: of a regression.
            is_nonnegative: whether couplings must not be negative. unit: the length and the seconds that are 1 to a
            law of force, in units of the recording.
    """

    name: str
    compute: Callable[..., Array]
    reads: tuple[Features, ...] = IN_SPACE
    both_ways: Callable[[Array], Array] | None = None
    options: Options = dataclasses.field(default_factory=dict)

    def answers(self, question: Question) -> bool:
        return isinstance(question, PairQuestion) and question.features in self.reads

    def score(
        self, recording: Recording, *, features: Features = "position", is_directed: bool = True, **options: Any
    ) -> Array:
        """(trial, individual, individual) scores; NaN on the diagonal and for absent individuals.

        Args:
            recording: to be scored.
            features: what its features are.
            is_directed: whether a directed score parts the two orders of a pair.
            **options: in place of its own.
        """
        check_reads(self.reads, features)
        given = {**self.options, **options}
        window, unit = given.pop("window", None), given.pop("unit", None)
        settings = MotionSettings("none")
        if features != "none" and window != VALUES:
            settings = MotionSettings(features, *(window or ()))
        if unit is not None:
            recording = _in_units(recording, features, *unit)
        scores = np.full((recording.n_trials, recording.n_individuals, recording.n_individuals), np.nan)
        n_together = max(1, BLOCK_SIZE // (recording.n_individuals**2 * recording.values[0, 0].size))
        for trials, cut in by_length(recording, most=n_together):
            scores[trials] = self.compute(cut, settings, **given)
        if self.both_ways is None:
            scores = mean_of_both(scores)
        elif not is_directed:
            scores = self.both_ways(scores)
        return only_pairs(scores, recording.observed)

    def learn(self, train: PopulationDataset, question: PairQuestion) -> FittedPairs:
        truths = [question.read(recording) for recording in train.recordings]
        is_directed = any(map(differs_by_order, truths))
        counted = [known_pairs(truth, are_directed=is_directed or question.is_directed) for truth in truths]
        types = _flat(truths, counted)
        is_edge = np.minimum(types, 1)
        if is_edge.all() or not is_edge.any():
            raise InputError("rivals learn from pairs with an edge and pairs without; give recordings that have both.")
        is_reversed = (False, True) if is_directed and self.both_ways is not None else (False,)
        readings = list(itertools.product(is_reversed, EVIDENCE))

        def scored(chosen: Options) -> list[Array]:
            how: dict[str, Any] = {"features": question.features, "is_directed": is_directed, **chosen}
            return [self.score(recording, **how) for recording in train.recordings]

        def area(scores: Sequence[Array], reading: tuple[bool, str]) -> float:
            found = _flat([_read(one, *reading) for one in scores], counted)
            found = np.nan_to_num(found, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            return auroc(prediction=np.unique(found, return_inverse=True)[1], target=is_edge)

        def loss(chosen: Options) -> float:
            scores = scored(chosen)
            return -max(area(scores, reading) for reading in readings)

        chosen = tune(self._to_try(train, question.features), loss, start=self.options)
        scores = scored(chosen)
        best = max(readings, key=lambda reading: area(scores, reading))
        score = _flat([_read(one, *best) for one in scores], counted)
        log_odds = LogOdds.fit(score, is_edge)
        found = log_odds(score)
        sizes = [n_observed(r.observed)[np.nonzero(c)[0]] for r, c in zip(train.recordings, counted, strict=True)]
        size = np.concatenate(sizes)
        calibration = Calibration.fit(
            np.stack((np.zeros_like(found), found), axis=1),
            truth=is_edge,
            n_individuals=size if len(np.unique(size)) >= FEWEST_SIZES else np.ones_like(size),
        )
        shares = np.bincount(types, minlength=len(question.types))[1:] + 1.0
        chosen = {**chosen, "is_reversed": best[0], "evidence": best[1]}
        return FittedPairs(self, question, is_directed, chosen, log_odds, calibration, shares / shares.sum())

    def _to_try(self, train: PopulationDataset, features: Features) -> dict[str, Sequence[Any]]:
        """The values of each option that it has."""
        own = self.options
        to_try: dict[str, Sequence[Any]] = {
            "window": () if features == "none" else (VALUES, *WINDOWS) if "none" in self.reads else WINDOWS,
            "lags": LAGS,
            "ridge": [factor * own.get("ridge", 1.0) for factor in RIDGE_FACTORS],
            "is_nonnegative": (True, False),
            "unit": (own["unit"], _typical_unit(train, features)) if "unit" in own else (),
        }
        return {name: values for name, values in to_try.items() if name in own and values}


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPairs:
    """A rival that has seen training trials.

    Attributes:
        rival: the recipe.
        question: that it was fitted for.
        is_directed: whether the two orders of a pair are scored apart.
        chosen: the options, "is_reversed" (whether it is the first of a pair that acts) and "evidence".
        log_odds: of an edge, from scores.
        calibration: of the log-odds.
        shares: of each edge type among training pairs that have an edge, from the second type on.
    """

    rival: PairRival
    question: PairQuestion
    is_directed: bool
    chosen: Options
    log_odds: LogOdds
    calibration: Calibration
    shares: Array

    @property
    def n_parameters(self) -> int:
        """Steps of the log-odds, temperature and prior and its slope, shares of types; 1 for a constant."""
        n_calibrated = (2 if self.log_odds.n_steps > 1 else 0) + (self.calibration.prior_by_size[1] != 0)
        return self.log_odds.n_steps + n_calibrated + len(self.shares) - 1

    @property
    def about(self) -> Mapping[str, Any]:
        return {"chosen": self.chosen}

    def score(self, recording: Recording) -> Array:
        """(trial, individual, individual), the higher the likelier an edge."""
        options = {name: value for name, value in self.chosen.items() if name in self.rival.options}
        how: dict[str, Any] = {"features": self.question.features, "is_directed": self.is_directed, **options}
        return _read(self.rival.score(recording, **how), self.chosen["is_reversed"], self.chosen["evidence"])

    def predict(self, test: PopulationDataset) -> Answer:
        """The "log_probability" (trial, individual, individual, type); NaN where there is no pair."""
        found = []
        for recording in test.recordings:
            log_odds = self.log_odds(self.score(recording))
            both = np.stack((np.zeros_like(log_odds), log_odds), axis=-1)
            log_p = self.calibration(both, n_observed(recording.observed))
            by_type = np.concatenate((log_p[..., :1], log_p[..., 1:] + np.log(self.shares)), axis=-1)
            found.append(only_pairs(by_type, recording.observed))
        return {"log_probability": over_trials(found)}


@dataclasses.dataclass(frozen=True, eq=False)
class LogOdds:
    """Log-odds of an edge that rise with a score, by isotonic regression: steps, interpolated between."""

    score: Array  # (step,)
    log_odds: Array  # (step,)
    unknown: float  # log-odds where the score is NaN
    n_steps: int  # different values

    @classmethod
    def fit(cls, score: Array, is_edge: NDArray[np.int64]) -> LogOdds:
        """To pairs (pair,); an `InputError` if none has a score."""
        known = np.isfinite(score)
        if not known.any():
            raise InputError("it scores no pair of the training trials.")
        low, high = score[known].min(), score[known].max()
        score = np.clip(np.nan_to_num(score, nan=low, posinf=np.inf, neginf=-np.inf), low, high)
        least = 1 / (len(score) + 2)
        steps = IsotonicRegression(y_min=least, y_max=1 - least).fit(score, is_edge)
        return cls(
            np.asarray(steps.X_thresholds_),
            logit(steps.y_thresholds_),
            float(logit(is_edge.mean().clip(least, 1 - least))),
            len(np.unique(steps.y_thresholds_)),
        )

    def __call__(self, score: Array) -> Array:
        within = np.clip(score, self.score[0], self.score[-1])
        order = (within - self.score[0]) / (np.ptp(self.score) or 1.0)
        log_odds = np.interp(within, self.score, self.log_odds) + LEAST_SLOPE * order
        return np.where(np.isnan(score), self.unknown, log_odds)


def mean_of_both(scores: Array) -> Array:
    """The mean of the scores of both orders of a pair."""
    return np.asarray((scores + scores.swapaxes(1, 2)) / 2)


def _read(scores: Array, is_reversed: bool, evidence: str) -> Array:
    if is_reversed:
        scores = scores.swapaxes(1, 2)
    return {"high": scores, "low": -scores, "large": np.abs(scores)}[evidence]


def _flat(arrays: Sequence[NDArray[Any]], counted: Sequence[NDArray[np.bool_]]) -> NDArray[Any]:
    return np.concatenate([array[pairs] for array, pairs in zip(arrays, counted, strict=True)])


def _typical_unit(train: PopulationDataset, features: Features) -> tuple[float, float]:
    """How far individuals get from their own mean, and the seconds in which their acceleration takes them as far."""
    g = Geometry.fit(train, MotionSettings(features))
    return (1.0, 1 / g.velocity) if g.space == "phase" else (g.length, math.sqrt(g.length / g.acceleration))


def _in_units(recording: Recording, features: Features, length: float, seconds: float) -> Recording:
    """The recording with other units of length and time."""
    n = recording.n_features
    scale = {
        "position": [1 / length] * n,
        "position-velocity": [1 / length] * (n // 2) + [seconds / length] * (n // 2),
        "phase": [1.0] * 2 + [seconds] * (n - 2),
    }[features]
    values = (recording.values * np.asarray(scale)).astype(recording.values.dtype)
    return dataclasses.replace(recording, values=values, bin_seconds=recording.bin_seconds / seconds)

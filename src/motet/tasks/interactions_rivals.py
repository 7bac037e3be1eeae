"""Closed-form rules as rivals of a model: what makes probabilities of their scores is learned from training trials."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from motet.data.motion import Features
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.estimators.pairs import is_pair, n_observed
from motet.metrics import differs_by_order
from motet.rivals.pair_rules import PAIR_RULES, PairRule
from motet.tasks.interactions_scores import Truth, truth_of
from motet.training.calibration import Calibration

Floats = NDArray[np.floating[Any]]

BASE_RATE = "base rate"
# Sizes of system from which on a prior may shift with the size: two tell no trend.
FEWEST_SIZES = 3
# Isotonic regression ties scores; a slope this small keeps their order.
LEAST_SLOPE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Rival:
    """A rule that gives every pair a score, and what makes a probability of it.

    1. Score: the rule, with the options that did best in training; of both orders of a pair apart, if its truth was
       not always the same both ways there.
    2. Log-odds: by isotonic regression, whose crossing of 1/2 is the threshold that errs least.
    3. Calibration: as the model's, a temperature and a prior; that shifts with the number of individuals only if
       training trials are of at least three sizes.
    4. Types: those of an edge as often as in training.

    Called with a recording, it gives log-probabilities (trial, individual, individual, type); NaN where there is no
    pair.

    Attributes:
        rule: of `PAIR_RULES`; None scores all pairs alike.
        features: what those of recordings are.
        is_directed: whether the two orders of a pair are scored apart.
        log_odds: from scores to log-odds of an edge.
        calibration: of these.
        types: share of each edge type among training pairs that have an edge, from the second type on.
        n_parameters: numbers that were learned.
        fit_seconds: what that took.
    """

    rule: PairRule | None
    features: Features
    is_directed: bool
    log_odds: Callable[[Floats], Floats]
    calibration: Calibration
    types: Floats
    n_parameters: int
    fit_seconds: float

    def __call__(self, recording: Recording) -> Floats:
        log_odds = self.log_odds(_score(self.rule, recording, self.features, self.is_directed))
        log_p = self.calibration(np.stack((np.zeros_like(log_odds), log_odds), axis=-1), n_observed(recording))
        by_type = np.concatenate((log_p[..., :1], log_p[..., 1:] + np.log(self.types)), axis=-1)
        return np.where(is_pair(recording)[..., None], by_type, np.nan)


def fit_rivals(
    train: Sequence[Recording], recovery: EITInteractions, say: Callable[[str], None]
) -> tuple[dict[str, Rival], dict[str, str]]:
    """Fit the base rate, and all rules that read such features.

    Args:
        train: trials of training.
        recovery: the model that they rival.
        say: told which one is being fitted.

    Returns:
        Rivals by name, and why others are left out.

    Raises:
        InputError: if the truth is not known of any training pair, or all are alike.
    """
    truths = [truth_of(recording, recovery) for recording in train]
    features, n_types = recovery.motion.features, len(recovery.types_)
    types = np.concatenate([truth.types[truth.counted] for truth in truths])
    if not (types == 0).any() or not (types > 0).any():
        raise InputError("rules learn from pairs with an edge and pairs without; give rival_recordings that have both.")
    rivals, left_out = {}, {}
    for name, rule in {BASE_RATE: None, **PAIR_RULES}.items():
        if rule is None or features in rule.reads:
            say(name)
            try:
                rivals[name] = fit_rival(rule, train, truths, features=features, n_types=n_types)
            except InputError as error:
                left_out[name] = str(error)
    return rivals, left_out


def fit_rival(
    rule: PairRule | None,
    train: Sequence[Recording],
    truths: Sequence[Truth],
    *,
    features: Features,
    n_types: int = 2,
) -> Rival:
    """Tune a rule, and learn what makes probabilities of its scores.

    Args:
        rule: None scores all pairs alike.
        train: trials of training.
        truths: theirs.
        features: what those of recordings are.
        n_types: edge types, the first of them none.

    Raises:
        InputError: if the rule cannot read these trials.
    """
    started = time.monotonic()
    of_pairs = [truth.types[truth.counted] for truth in truths]
    is_edge = np.minimum(np.concatenate(of_pairs), 1)
    counts = np.bincount(np.concatenate(of_pairs), minlength=n_types).astype(np.float64)
    types = (counts[1:] + 1) / (counts[1:] + 1).sum()
    size = np.concatenate([n_observed(r)[np.nonzero(t.counted)[0]] for r, t in zip(train, truths, strict=True)])
    if len(np.unique(size)) < FEWEST_SIZES:
        size = np.ones_like(size)
    is_directed = any(differs_by_order(truth.types) for truth in truths)
    if rule is not None:
        rule = rule.tuned(train, [truth.is_edge for truth in truths], features=features)
    scores = [_score(rule, r, features, is_directed)[t.counted] for r, t in zip(train, truths, strict=True)]
    log_odds, n_steps = _isotonic(np.concatenate(scores), is_edge)
    found = log_odds(np.concatenate(scores))
    calibration = Calibration.fit(np.stack((np.zeros_like(found), found), axis=1), truth=is_edge, n_individuals=size)
    n_parameters = (1 if rule is None else n_steps + 2) + (calibration.prior_by_size[1] != 0) + n_types - 2
    seconds = time.monotonic() - started
    return Rival(rule, features, is_directed, log_odds, calibration, types, n_parameters, seconds)


def _isotonic(score: Floats, is_edge: NDArray[np.int64]) -> tuple[Callable[[Floats], Floats], int]:
    """Log-odds of an edge that never fall as the score rises, and their number of steps."""
    known = np.isfinite(score)
    if not known.any():
        raise InputError("it scores no pair of the training trials.")
    low, high = score[known].min(), score[known].max()
    score = np.clip(np.nan_to_num(score, nan=low, posinf=np.inf, neginf=-np.inf), low, high)
    least = 1 / (len(score) + 2)
    steps = IsotonicRegression(y_min=least, y_max=1 - least).fit(score, is_edge)
    return functools.partial(
        _interpolated,
        score=np.asarray(steps.X_thresholds_),
        log_odds=logit(steps.y_thresholds_),
        unknown=float(logit(is_edge.mean().clip(least, 1 - least))),
    ), len(np.unique(steps.y_thresholds_))


def _interpolated(given: Floats, *, score: Floats, log_odds: Floats, unknown: float) -> Floats:
    within = np.clip(given, score[0], score[-1])
    order = (within - score[0]) / (np.ptp(score) or 1.0)
    return np.where(np.isnan(given), unknown, np.interp(within, score, log_odds) + LEAST_SLOPE * order)


def _score(rule: PairRule | None, recording: Recording, features: Features, is_directed: bool) -> Floats:
    """(trial, individual, individual), the higher the likelier an edge."""
    if rule is None:
        return np.zeros((recording.n_trials, recording.n_individuals, recording.n_individuals))
    return rule.score(recording, features=features, is_directed=is_directed)

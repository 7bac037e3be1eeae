"""The closed-form rivals of learning who interacts with whom: rules that look at each trial alone.

A rule scores every pair of individuals, (trial, individual, individual), symmetric, higher the likelier they are to
interact; NaN on the diagonal and for absent individuals. `PAIR_RULES` names them all. Only what a rule says of itself
is known to it: a law of force, a size of groups. Where a rule needs derivatives or a ridge, they may be chosen on
training trials (`PairRule.tuned`), and so is the score from which on a pair counts as interacting
(`fit_threshold`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc, known_pairs
from motet.models.force_fit import (
    FORCES,
    bridged,
    check_reads,
    expected_charges,
    fit_accelerations,
    fit_forces,
    only_pairs,
)
from motet.models.straight_centres import departures, straight_centres

Array = NDArray[np.float64]
Score = Callable[..., Array]
IN_SPACE: tuple[Features, ...] = ("position", "position-velocity")
ANYWHERE: tuple[Features, ...] = (*IN_SPACE, "phase")
WINDOWS = ((1, 2), (2, 2), (3, 2), (4, 2), (6, 2), (3, 3), (4, 3), (6, 3), (8, 3))  # half width and degree to try
RIDGE_FACTORS = (1e-3, 1e-1, 1.0, 10.0, 100.0)  # to try, relative to the rule's own
MOST_MASS_RATIO = 2.0
BLOCK_SIZE = 2**21  # numbers held at once, 16 MB of float64
GRANGER_LAGS, GRANGER_RIDGE = 2, 1e-3
SMALLEST, ROUNDING = 1e-150, 1e-12


@dataclasses.dataclass(frozen=True)
class PairRule:
    """A closed-form rule; `PAIR_RULES` holds them.

    Attributes:
        name: the row of a table.
        description: what it looks at, in a few words.
        compute: scores (trial, individual, individual) of trials of one length, from a recording, how derivatives are
            taken, and the ridge if there is one; the diagonal and absent individuals may hold anything.
        reads: the kinds of features that it can read.
        window: half width in bins and degree of the local polynomials, or None if it needs no derivatives.
        ridge: of a regression, or None if it is none.

    Example:
        >>> ahead = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 3.0]])
        >>> recording = Recording.from_trials(np.stack([ahead, 1 - ahead, 2 * ahead])[None])
        >>> PAIR_RULES["antipodal-window"].score(recording)[0].round(1)
        array([[  nan,  -2. , -72. ],
               [ -2. ,   nan, -16.7],
               [-72. , -16.7,   nan]])
    """

    name: str
    description: str
    compute: Score
    reads: tuple[Features, ...] = IN_SPACE
    window: tuple[int, int] | None = None
    ridge: float | None = None

    def score(self, recording: Recording, *, features: Features = "position") -> Array:
        """(trial, individual, individual) symmetric scores; each trial is looked at alone.

        Raises:
            InputError: if the rule cannot read such features, or trials are too short for it.
        """
        check_reads(self.reads, features)
        half_width, degree = self.window or (MotionSettings.half_width, MotionSettings.degree)
        settings = MotionSettings(features=features, half_width=half_width, degree=degree)
        ridge = {} if self.ridge is None else {"ridge": self.ridge}
        scores = np.full((recording.n_trials, recording.n_individuals, recording.n_individuals), np.nan)
        n_together = max(1, BLOCK_SIZE // (recording.n_individuals**2 * recording.values[0, 0].size))
        for length in np.unique(recording.trial_lengths[recording.trial_lengths > 0]):
            same = np.flatnonzero(recording.trial_lengths == length)
            for start in range(0, len(same), n_together):
                trials = same[start : start + n_together]
                cut = recording.select(trials=trials, bins=slice(0, int(length)))
                scores[trials] = self.compute(cut, settings, **ridge)
        return only_pairs((scores + scores.swapaxes(1, 2)) / 2, recording.observed)

    def tuned(self, train: Recording, truth: ArrayLike, *, features: Features = "position") -> PairRule:
        """The rule with the window of derivatives, and the ridge, that have the largest AUROC on training trials.

        Args:
            train: a recording.
            truth: (trial, individual, individual) 0 and 1, -1 where unknown.
            features: what its features are.
        """
        windows = WINDOWS if self.window else (None,)
        ridges = [factor * self.ridge for factor in RIDGE_FACTORS] if self.ridge else [None]
        options = [
            dataclasses.replace(self, window=window, ridge=ridge)
            for window, ridge in itertools.product(windows, ridges)
        ]
        if len(options) == 1:
            return self
        truth = np.asarray(truth)
        observed = known_pairs(truth)
        scores = (option.score(train, features=features) for option in options)
        return options[int(np.argmax([auroc(prediction=s, target=truth, observed=observed) for s in scores]))]


def fit_threshold(score: ArrayLike, truth: ArrayLike) -> float:
    """The score from which on calling a pair interacting is right most often; infinite if that is never.

    Args:
        score: (trial, individual, individual), of training trials.
        truth: (trial, individual, individual) 0 and 1, -1 where unknown.

    Raises:
        InputError: if shapes disagree, no pair is known, or a known pair's score is not a number.

    Example:
        >>> score = np.array([[[0, 3, 2], [0, 0, 5], [0, 0, 0]]])
        >>> truth = np.array([[[-1, 1, 0], [1, -1, 1], [0, 1, -1]]])
        >>> fit_threshold(score, truth)
        2.5
    """
    score, truth = np.asarray(score, dtype=np.float64), np.asarray(truth)
    known = known_pairs(truth)
    if score.shape != truth.shape or not known.any() or np.isnan(score[known]).any():
        raise InputError(
            f"a threshold needs scores of all known pairs; there are {known.sum()} in a truth of shape {truth.shape}, "
            f"and scores of shape {score.shape}, {np.isnan(score).sum()} of them NaN."
        )
    levels, level_of = np.unique(score[known], return_inverse=True)
    gain = np.bincount(level_of, np.where(truth[known] > 0, 1, -1), len(levels))  # of calling this level interacting
    gains = np.append(np.cumsum(gain[::-1])[::-1], 0)
    best = int(gains.argmax())
    if best == len(levels):
        return math.inf
    return float(levels[0] if best == 0 else (levels[best - 1] + levels[best]) / 2)


# ---------------------------------------------------------------------- kinematics


def _antipodal(recording: Recording, settings: MotionSettings, *, n_frames: int | None = None) -> Array:
    """−mean |p_i + p_j|² over the bins in which both are observed; over the first of them only, if asked."""
    position, seen = _position(recording, settings)
    both = seen[:, :, None] & seen[:, None]
    if n_frames is not None:
        both &= np.cumsum(both, axis=-1) <= n_frames
    total = ((position[:, :, None] + position[:, None]) ** 2).sum(axis=-1)
    return -(total * both).sum(axis=-1) / np.maximum(both.sum(axis=-1), 1)


def _together(recording: Recording, settings: MotionSettings) -> Array:
    """−the largest distance: those bound to each other stay together while others drift apart."""
    position, seen = _position(recording, settings)
    both = seen[:, :, None] & seen[:, None]
    distance = np.linalg.norm(position[:, :, None] - position[:, None], axis=-1)
    return -(distance * both).max(axis=-1)


def _cosine(vectors: Array) -> Array:
    """−cosine between the vectors (trial, individual, …) of two individuals: 1 where always opposite."""
    product = _products(vectors)
    size = np.sqrt(np.einsum("...ii->...i", product)) + SMALLEST
    return -product / (size[:, :, None] * size[:, None])


def _third_law(recording: Recording, settings: MotionSettings) -> Array:
    """−log of what is left of a_i + ρ a_j, for the best ratio ρ of masses from ½ to 2."""
    product = _products(_acceleration(recording, settings))
    own = np.einsum("...ii->...i", product)[..., None]
    other = own.swapaxes(1, 2)
    # The direction (cos, sin) = (1, ρ) / √(1 + ρ²) of least variance, brought into the range of ratios.
    best = (np.arctan2(2 * product, own - other) + np.pi) / 2
    best = np.where(best > np.pi * 0.75, best - np.pi, best)
    angle = np.clip(best, math.atan(1 / MOST_MASS_RATIO), math.atan(MOST_MASS_RATIO))
    cosine, sine = np.cos(angle), np.sin(angle)
    left = cosine**2 * own + sine**2 * other + 2 * cosine * sine * product
    return -np.log(np.maximum(left, ROUNDING * (own + other)) + SMALLEST)


def _straight_centre(recording: Recording, settings: MotionSettings, *, size: int) -> Array:
    """The best subset of that size in which both are."""
    subsets, scores = straight_centres(recording, size, features=settings.features)
    n = recording.n_individuals
    best = np.full((recording.n_trials, n, n), -np.inf)
    for one, other in itertools.permutations(range(size), 2):
        np.maximum.at(best, (slice(None), subsets[:, one], subsets[:, other]), scores)  # type: ignore[arg-type]
    return best


# ---------------------------------------------------------------------- statistics


def _correlation(recording: Recording, settings: MotionSettings) -> Array:
    """|Pearson correlation| of velocities, coordinates being so many more samples."""
    return np.abs(_products(_standardised(recording, settings)))


def _partial_correlation(recording: Recording, settings: MotionSettings) -> Array:
    """|Partial correlation| of velocities given all others, from a covariance shrunk after Ledoit & Wolf (2004)."""
    samples = _standardised(recording, settings)
    n_samples, covariance = samples.shape[-1], _products(samples)
    is_there = np.asarray(recording.observed.any(axis=-1))[..., None] * np.eye(samples.shape[1])
    n_there = np.maximum(is_there.sum((1, 2)), 1)
    mean = (np.einsum("...ii->...", covariance) / n_there)[:, None, None] * is_there
    distance = ((covariance - mean) ** 2).sum((1, 2))
    fourth = ((samples**2).sum(axis=1) ** 2).sum(axis=-1) * n_samples  # samples are scaled by 1 / √n_samples
    error = np.minimum((fourth - (covariance**2).sum((1, 2))) / n_samples, distance)
    shrinkage = (error / np.maximum(distance, SMALLEST))[:, None, None]
    precision = np.linalg.pinv((1 - shrinkage) * covariance + shrinkage * mean, hermitian=True)
    size = np.sqrt(np.maximum(np.einsum("...ii->...i", precision), SMALLEST))
    return np.abs(precision) / (size[:, :, None] * size[:, None])


def _granger(recording: Recording, settings: MotionSettings) -> Array:
    """How much the other's past two velocities lower the log-variance left by one's own (ridge), both ways added."""
    velocity = _velocity(recording, settings)
    n_bins = velocity.shape[2]
    if n_bins < 2 * GRANGER_LAGS + 2:
        raise InputError(f"trials last {n_bins} bins; Granger causality needs {2 * GRANGER_LAGS + 2}.")
    past = np.concatenate([velocity[:, :, GRANGER_LAGS - lag : n_bins - lag] for lag in (1, 2)], axis=-1)
    past, now = (array - array.mean(axis=2, keepdims=True) for array in (past, velocity[:, :, GRANGER_LAGS:]))
    n_inputs = past.shape[-1]
    pasts = np.einsum("bitk,bjtl->bijkl", past, past)
    toward = np.einsum("bitk,bjtl->bijkl", past, now)  # how i's past goes with what j does
    power = (now**2).sum((2, 3))
    scale = np.einsum("biikk->bi", pasts) / n_inputs
    ridge = (GRANGER_RIDGE * scale + SMALLEST)[..., None, None] * np.eye(n_inputs)
    own, own_toward = np.einsum("biikl->bikl", pasts) + ridge, np.einsum("biikl->bikl", toward)
    alone = power - (own_toward * np.linalg.solve(own, own_toward)).sum((2, 3))
    # What is left for i with the past of j too: a system of two blocks.
    beside = np.broadcast_to(own[:, :, None], pasts.shape), np.broadcast_to(own[:, None], pasts.shape)
    gram = np.block([[beside[0], pasts], [pasts.swapaxes(-1, -2), beside[1]]])
    both = np.concatenate([np.broadcast_to(own_toward[:, :, None], toward.shape), toward.swapaxes(1, 2)], axis=-2)
    together = power[:, :, None] - (both * np.linalg.solve(gram, both)).sum((3, 4))
    floor = SMALLEST + ROUNDING * power[:, :, None]
    return np.log(np.maximum(alone[:, :, None], floor)) - np.log(np.maximum(together, floor))


# ---------------------------------------------------------------------- forces


def _force_fit(recording: Recording, settings: MotionSettings, *, law: str, ridge: float) -> Array:
    return _both_ways(fit_forces(recording, FORCES[law], features=settings.features, ridge=ridge), law)


def _acceleration_fit(
    recording: Recording, settings: MotionSettings, *, law: str, is_nonnegative: bool | None, ridge: float
) -> Array:
    motion = Motion.of(recording, settings)
    return _both_ways(fit_accelerations(motion, FORCES[law], is_nonnegative=is_nonnegative, ridge=ridge), law)


def _charges(recording: Recording, settings: MotionSettings, *, ridge: float) -> Array:
    charges = expected_charges(fit_forces(recording, FORCES["charged"], features=settings.features, ridge=ridge))
    return -charges[:, :, None] * charges[:, None]


def _both_ways(couplings: Array, law: str) -> Array:
    """How strong a pair's coupling is: above the typical one, more is no more evidence.

    The mean of both ways, and for attraction that and the geometric mean, for it takes two to interact.
    """
    most = FORCES[law].typical_coupling
    one_way = np.clip(couplings, -most, most)
    other_way = one_way.swapaxes(1, 2)
    if not FORCES[law].is_attractive:
        return (one_way + other_way) / 2
    return (one_way + other_way) / 2 + np.sqrt(np.maximum(one_way, 0) * np.maximum(other_way, 0))


# ---------------------------------------------------------------------- what rules look at


def _position(recording: Recording, settings: MotionSettings) -> tuple[Array, NDArray[np.bool_]]:
    motion = Motion.of(recording, settings)
    return motion.position, motion.observed


def _velocity(recording: Recording, settings: MotionSettings) -> Array:
    """Velocities, gaps bridged: measured or derived."""
    motion = Motion.of(recording, settings)
    return bridged(motion.velocity, motion.observed)


def _acceleration(recording: Recording, settings: MotionSettings) -> Array:
    return Motion.of(recording, settings).acceleration


def _swing(recording: Recording, settings: MotionSettings) -> Array:
    return departures(*_position(recording, settings))


def _standardised(recording: Recording, settings: MotionSettings) -> Array:
    """(trial, individual, sample) velocities, centred by coordinate, the sum of squares 1 per individual."""
    velocity = _velocity(recording, settings)
    flat = (velocity - velocity.mean(axis=2, keepdims=True)).reshape(*velocity.shape[:2], -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), SMALLEST)


def _products(vectors: Array) -> Array:
    """(trial, individual, individual) inner products of vectors (trial, individual, …)."""
    flat = vectors.reshape(*vectors.shape[:2], -1)
    return flat @ flat.swapaxes(1, 2)


def _by_name(*rules: PairRule) -> Mapping[str, PairRule]:
    return MappingProxyType({rule.name: rule for rule in rules})


_partial = functools.partial
PAIR_RULES: Mapping[str, PairRule] = _by_name(
    PairRule("antipodal-frame", "opposite about the origin in the first frame", _partial(_antipodal, n_frames=1)),
    PairRule("antipodal-window", "opposite about the origin, whole window", _antipodal),
    PairRule("together", "never far apart", _together),
    PairRule(
        "antiparallel-velocity",
        "opposite velocities",
        lambda recording, settings: _cosine(_velocity(recording, settings)),
        window=(2, 2),
    ),
    PairRule(
        "antiparallel-swing",
        "opposite departures from uniform motion",
        lambda recording, settings: _cosine(_swing(recording, settings)),
    ),
    PairRule(
        "antiparallel-acceleration",
        "opposite accelerations",
        lambda recording, settings: _cosine(_acceleration(recording, settings)),
        window=(4, 2),
    ),
    PairRule("third-law", "opposite accelerations, in the best ratio of masses", _third_law, window=(4, 2)),
    PairRule(
        "total-position",
        "positions add up to nothing; for groups of given sizes",
        lambda recording, settings: -_products(_position(recording, settings)[0]),
    ),
    PairRule(
        "total-acceleration",
        "accelerations add up to nothing; for groups of given sizes",
        lambda recording, settings: -_products(_acceleration(recording, settings)),
        window=(3, 2),
    ),
    PairRule("straight-centre-2", "the centre of a pair goes straight", _partial(_straight_centre, size=2)),
    PairRule("straight-centre-3", "the centre of a triplet goes straight", _partial(_straight_centre, size=3)),
    *(
        PairRule(
            f"acceleration-fit-{law}{'' if is_nonnegative is None else '-ridge'}",
            f"accelerations regressed on {law}" + (", ridge" if is_nonnegative is False else ""),
            _partial(_acceleration_fit, law=law, is_nonnegative=is_nonnegative),
            reads=FORCES[law].reads,
            window=(2, 2),
            ridge=1e-3,
        )
        for law in FORCES
        for is_nonnegative in ((None, False) if FORCES[law].is_attractive else (None,))
    ),
    *(
        PairRule(
            f"force-fit-{law}",
            f"{law} fitted in integrated form, bins of encounters found",
            _partial(_force_fit, law=law),
            reads=FORCES[law].reads,
            ridge=1.0,
        )
        for law in FORCES
    ),
    PairRule("force-fit-charges", "as force-fit-charged, one charge for each", _charges, ridge=1.0),
    PairRule("correlation", "velocities correlate", _correlation, reads=ANYWHERE, window=(2, 2)),
    PairRule("partial-correlation", "velocities correlate, given all others", _partial_correlation, ANYWHERE, (2, 2)),
    PairRule("granger", "one's past tells of the other's velocity", _granger, reads=ANYWHERE, window=(2, 2)),
)

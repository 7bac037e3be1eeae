"""Closed-form scores of pairs of individuals, each from a trial alone; `PAIR_RULES` holds them.

Some are symmetric by nature; others are directed. Only what a score says of itself is known to it: a law of force, a
size of groups.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.gaps import bridged_array
from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.force_fit import expected_charges, fit_accelerations, fit_forces
from motet.rivals.pairs import IN_SPACE, PairRival, mean_of_both
from motet.rivals.straight_centres import departures, straight_centres
from motet.systems import FORCES
from motet.systems.laws import Law

Array = NDArray[np.float64]
ANYTHING: tuple[Features, ...] = (*IN_SPACE, "phase", "none")
MOST_MASS_RATIO = 2.0
SMALLEST, ROUNDING = 1e-150, 1e-12

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


def _opposed(vectors: Array) -> Array:
    """−the inner product: what of groups of given sizes adds up to nothing."""
    return -_products(vectors)


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
    """|Pearson correlation| of what moves, coordinates being so many more samples."""
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


def _granger(recording: Recording, settings: MotionSettings, *, lags: int, ridge: float) -> Array:
    """How much the past of the other lowers the log-variance that is left by one's own (ridge)."""
    past, now, ridges = _lagged(recording, settings, lags, ridge)
    pasts = np.einsum("bitk,bjtl->bijkl", past, past)
    toward = np.einsum("bitk,bjtl->bijkl", past, now)  # how i's past goes with what j does
    power = (now**2).sum((2, 3))
    own, own_toward = np.einsum("biikl->bikl", pasts) + ridges, np.einsum("biikl->bikl", toward)
    alone = power - (own_toward * np.linalg.solve(own, own_toward)).sum((2, 3))
    # What is left for i with the past of j too: a system of two blocks.
    beside = np.broadcast_to(own[:, :, None], pasts.shape), np.broadcast_to(own[:, None], pasts.shape)
    gram = np.block([[beside[0], pasts], [pasts.swapaxes(-1, -2), beside[1]]])
    both = np.concatenate([np.broadcast_to(own_toward[:, :, None], toward.shape), toward.swapaxes(1, 2)], axis=-2)
    together = power[:, :, None] - (both * np.linalg.solve(gram, both)).sum((3, 4))
    floor = SMALLEST + ROUNDING * power[:, :, None]
    return np.asarray(np.log(np.maximum(alone[:, :, None], floor)) - np.log(np.maximum(together, floor)))


def _granger_given_all(recording: Recording, settings: MotionSettings, *, lags: int, ridge: float) -> Array:
    """How much the past of the other lowers the log-variance left by that of all the rest (ridge)."""
    past, now, ridges = _lagged(recording, settings, lags, ridge)
    n_trials, n, n_bins, k = past.shape
    flat = past.swapaxes(1, 2).reshape(n_trials, n_bins, n * k)
    gram = (flat.swapaxes(1, 2) @ flat).reshape(n_trials, n, k, n, k)
    gram[:, np.arange(n), :, np.arange(n)] += ridges.swapaxes(0, 1)
    inverse = np.linalg.inv(gram.reshape(n_trials, n * k, n * k))
    toward = flat.swapaxes(1, 2)[:, None] @ now  # (trial, individual, past of all, coordinate)
    weights = inverse[:, None] @ toward
    power = (now**2).sum((2, 3))
    left = power - (toward * weights).sum((2, 3))
    own = inverse.reshape(n_trials, n, k, n, k)[:, np.arange(n), :, np.arange(n)].swapaxes(0, 1)
    weights = weights.reshape(n_trials, n, n, k, -1)
    without = (weights * np.linalg.solve(own[:, None], weights)).sum((3, 4))  # what leaving one out adds
    floor = SMALLEST + ROUNDING * power
    left = np.maximum(left, floor)[:, :, None]
    return np.asarray(np.log(left + without) - np.log(left))


def _lagged(recording: Recording, settings: MotionSettings, lags: int, ridge: float) -> tuple[Array, Array, Array]:
    """The past (trial, individual, time, lag and coordinate), what follows, and each individual's ridge."""
    signal = _signal(recording, settings)
    n_bins = signal.shape[2]
    if n_bins < 2 * lags + 2:
        raise InputError(f"trials last {n_bins} bins; Granger causality at {lags} lags needs {2 * lags + 2}.")
    past = np.concatenate([signal[:, :, lags - lag : n_bins - lag] for lag in range(1, lags + 1)], axis=-1)
    past, now = (array - array.mean(axis=2, keepdims=True) for array in (past, signal[:, :, lags:]))
    n_inputs = past.shape[-1]
    scale = (past**2).sum((2, 3)) / n_inputs
    ridges = np.where(scale > 0, ridge * scale, 1.0)[..., None, None] * np.eye(n_inputs)
    return past, now, ridges


# ---------------------------------------------------------------------- forces


def _force_fit(recording: Recording, settings: MotionSettings, **options: Any) -> Array:
    return fit_forces(recording, features=settings.features, **options)


def _acceleration_fit(recording: Recording, settings: MotionSettings, **options: Any) -> Array:
    return fit_accelerations(Motion.of(recording, settings), **options)


def _charges(recording: Recording, settings: MotionSettings, *, ridge: float) -> Array:
    charges = expected_charges(fit_forces(recording, FORCES["charged"], features=settings.features, ridge=ridge))
    return -charges[:, :, None] * charges[:, None]


def _both_ways(couplings: Array, *, law: Law) -> Array:
    """How strong a pair's coupling is: above the typical one, more is no more evidence.

    The mean of both ways, and for attraction that and the geometric mean, for it takes two to interact.
    """
    most = law.typical_coupling
    one_way = np.clip(couplings, -most, most)
    other_way = one_way.swapaxes(1, 2)
    if not law.is_attractive:
        return (one_way + other_way) / 2
    return (one_way + other_way) / 2 + np.sqrt(np.maximum(one_way, 0) * np.maximum(other_way, 0))


# ---------------------------------------------------------------------- what is looked at


def _position(recording: Recording, settings: MotionSettings) -> tuple[Array, NDArray[np.bool_]]:
    motion = Motion.of(recording, settings)
    return motion.position, motion.observed


def _signal(recording: Recording, settings: MotionSettings) -> Array:
    """Velocities, measured or derived, or the values themselves; gaps are bridged."""
    if settings.features == "none":
        return bridged_array(np.asarray(recording.values, dtype=np.float64), recording.observed)
    motion = Motion.of(recording, settings)
    return bridged_array(motion.velocity, motion.observed)


def _acceleration(recording: Recording, settings: MotionSettings) -> Array:
    return Motion.of(recording, settings).acceleration


def _swing(recording: Recording, settings: MotionSettings) -> Array:
    return departures(*_position(recording, settings))


def _standardised(recording: Recording, settings: MotionSettings) -> Array:
    """(trial, individual, sample) what moves, centred by coordinate, the sum of squares 1 per individual."""
    signal = _signal(recording, settings)
    flat = (signal - signal.mean(axis=2, keepdims=True)).reshape(*signal.shape[:2], -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), SMALLEST)


def _products(vectors: Array) -> Array:
    """(trial, individual, individual) inner products of vectors (trial, individual, …)."""
    flat = vectors.reshape(*vectors.shape[:2], -1)
    return flat @ flat.swapaxes(1, 2)


def _nothing(recording: Recording, settings: MotionSettings) -> Array:
    """All pairs alike."""
    return np.zeros((recording.n_trials, recording.n_individuals, recording.n_individuals))


def _of(look: Callable[..., Array], score: Callable[[Array], Array]) -> Callable[..., Array]:
    """A score of what is looked at."""
    return lambda recording, settings: score(look(recording, settings))


_partial = functools.partial
_UNIT = {"unit": (1.0, 1.0)}
_OF_THE_PAST = {"window": (2, 2), "lags": 2, "ridge": 1e-3}
_ATTRACTIVE = {True: {"is_nonnegative": True}, False: {}}
_RULES = (
    PairRival("base rate", _nothing, ANYTHING),
    PairRival("antipodal-frame", _partial(_antipodal, n_frames=1)),
    PairRival("antipodal-window", _antipodal),
    PairRival("together", _together),
    PairRival("antiparallel-velocity", _of(_signal, _cosine), options={"window": (2, 2)}),
    PairRival("antiparallel-swing", _of(_swing, _cosine)),
    PairRival("antiparallel-acceleration", _of(_acceleration, _cosine), options={"window": (4, 2)}),
    PairRival("third-law", _third_law, options={"window": (4, 2)}),
    PairRival("total-position", _of(lambda *seen: _position(*seen)[0], _opposed)),
    PairRival("total-acceleration", _of(_acceleration, _opposed), options={"window": (3, 2)}),
    PairRival("straight-centre-2", _partial(_straight_centre, size=2)),
    PairRival("straight-centre-3", _partial(_straight_centre, size=3)),
    *(
        PairRival(
            f"{kind}-{name}",
            _partial(fit, law=law),
            law.reads,
            _partial(_both_ways, law=law),
            {**options, **_ATTRACTIVE[law.is_attractive], **_UNIT},
        )
        for kind, fit, options in (
            ("acceleration-fit", _acceleration_fit, {"window": (2, 2), "ridge": 1e-3}),
            ("force-fit", _force_fit, {"ridge": 1.0}),
        )
        for name, law in FORCES.items()
    ),
    PairRival("force-fit-charges", _charges, options={"ridge": 1.0, **_UNIT}),
    PairRival("correlation", _correlation, ANYTHING, options={"window": (2, 2)}),
    PairRival("partial-correlation", _partial_correlation, ANYTHING, options={"window": (2, 2)}),
    PairRival("granger", _granger, ANYTHING, mean_of_both, _OF_THE_PAST),
    PairRival("granger-given-all", _granger_given_all, ANYTHING, mean_of_both, _OF_THE_PAST),
)
PAIR_RULES: Mapping[str, PairRival] = {rule.name: rule for rule in _RULES}
"""The rules by name."""

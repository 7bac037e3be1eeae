"""The closed-form rivals of learning who interacts with whom: rules that look at each trial alone.

A rule scores every pair of individuals, (trial, individual, individual), higher the likelier the first is acted on by
the second; NaN on the diagonal and for absent individuals. `PAIR_RULES` names them all. Some are symmetric by nature;
others are directed, and give both orders of a pair one score where the truth has no direction. Only what a rule says of
itself is known to it: a law of force, a size of groups. How derivatives are taken, a ridge, lags, units, and which
scores speak for an interaction are chosen on training trials (`PairRule.tuned`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc, differs_by_order, known_pairs
from motet.models.geometry import Geometry
from motet.rivals.force_fit import (
    FORCES,
    bridged,
    check_reads,
    expected_charges,
    fit_accelerations,
    fit_forces,
    only_pairs,
)
from motet.rivals.straight_centres import departures, straight_centres

Array = NDArray[np.float64]
Score = Callable[..., Array]
IN_SPACE: tuple[Features, ...] = ("position", "position-velocity")
ANYTHING: tuple[Features, ...] = (*IN_SPACE, "phase", "none")
VALUES = (0, 0)  # in place of a window: no derivative, the values themselves
WINDOWS = ((1, 2), (2, 2), (3, 2), (4, 2), (6, 2), (3, 3), (4, 3), (6, 3), (8, 3))  # half width and degree to try
RIDGE_FACTORS = (1e-3, 1e-1, 1.0, 10.0, 100.0)  # to try, relative to the rule's own
LAGS = (1, 2, 4, 8)  # to try
MOST_MASS_RATIO = 2.0
BLOCK_SIZE = 2**21  # numbers held at once, 16 MB of float64
SMALLEST, ROUNDING = 1e-150, 1e-12


@dataclasses.dataclass(frozen=True)
class PairRule:
    """A closed-form rule; `PAIR_RULES` holds them.

    Attributes:
        name: the row of a table.
        description: what it looks at, in a few words.
        compute: scores (trial, individual, individual) of trials of one length, from a recording, how derivatives are
            taken, and the options that the rule has; the diagonal and absent individuals may hold anything.
        reads: the kinds of features that it can read.
        both_ways: of a directed rule, what makes one score of those of both orders of a pair; None of a symmetric one.
        window: half width in bins and degree of the local polynomials, or `VALUES`; None if it needs no derivatives.
        ridge: of a regression, or None if it is none.
        lags: how many bins of the past it reads, or None if it reads no past.
        is_nonnegative: whether couplings must not be negative; None if that is no question.
        unit: the length and the seconds that are 1 to a law of force, in units of the recording; or None.
        evidence: which scores speak for an interaction: high ones, low ones, or those far from zero.
        is_reversed: whether it is the first of a pair that acts on the second.

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
    both_ways: Callable[[Array], Array] | None = None
    window: tuple[int, int] | None = None
    ridge: float | None = None
    lags: int | None = None
    is_nonnegative: bool | None = None
    unit: tuple[float, float] | None = None
    evidence: Literal["high", "low", "large"] = "high"
    is_reversed: bool = False

    def score(self, recording: Recording, *, features: Features = "position", is_directed: bool = True) -> Array:
        """(trial, individual, individual) scores; each trial is looked at alone.

        Args:
            recording: to be scored.
            features: what its features are.
            is_directed: whether a directed rule scores the two orders of a pair apart.

        Raises:
            InputError: if the rule cannot read such features, or trials are too short for it.
        """
        check_reads(self.reads, features)
        half_width, degree = self.window or (MotionSettings.half_width, MotionSettings.degree)
        settings = MotionSettings("none")
        if features != "none" and self.window != VALUES:
            settings = MotionSettings(features=features, half_width=half_width, degree=degree)
        if self.unit is not None:
            recording = _in_units(recording, features, *self.unit)
        options = {
            name: value for name in ("ridge", "lags", "is_nonnegative") if (value := getattr(self, name)) is not None
        }
        scores = np.full((recording.n_trials, recording.n_individuals, recording.n_individuals), np.nan)
        n_together = max(1, BLOCK_SIZE // (recording.n_individuals**2 * recording.values[0, 0].size))
        for length in np.unique(recording.trial_lengths[recording.trial_lengths > 0]):
            same = np.flatnonzero(recording.trial_lengths == length)
            for start in range(0, len(same), n_together):
                trials = same[start : start + n_together]
                cut = recording.select(trials=trials, bins=slice(0, int(length)))
                scores[trials] = self.compute(cut, settings, **options)
        if self.both_ways is None:
            scores = _mean_of_both(scores)
        elif not is_directed:
            scores = self.both_ways(scores)
        return self._read(only_pairs(scores, recording.observed))

    def _read(self, scores: Array) -> Array:
        if self.is_reversed:
            scores = scores.swapaxes(1, 2)
        return {"high": scores, "low": -scores, "large": np.abs(scores)}[self.evidence]

    def tuned(
        self, train: Sequence[Recording], truth: Sequence[ArrayLike], *, features: Features = "position"
    ) -> PairRule:
        """The rule with the options that have the largest AUROC over all pairs of training trials.

        One option after the other, the others as they are, until none gains.

        Args:
            train: recordings, of any sizes.
            truth: of each, (trial, individual, individual) 0 and 1, -1 where unknown.
            features: what their features are.

        Raises:
            InputError: if the rule cannot read these trials, or all known pairs are alike.
        """
        truths = [np.asarray(one) for one in truth]
        is_directed = any(differs_by_order(one) for one in truths)
        known = [known_pairs(one, are_directed=is_directed) for one in truths]
        is_edge = np.concatenate([one[pairs] for one, pairs in zip(truths, known, strict=True)])

        refused: list[InputError] = []

        def tried(rule: PairRule) -> tuple[float, PairRule]:
            plain = dataclasses.replace(rule, evidence="high", is_reversed=False)
            try:
                scores = [plain.score(one, features=features, is_directed=is_directed) for one in train]
            except InputError as error:
                refused.append(error)
                return -math.inf, rule
            found = []
            for is_reversed in (False, True)[: 1 + (is_directed and self.both_ways is not None)]:
                for evidence in ("high", "low", "large"):
                    read = dataclasses.replace(rule, evidence=evidence, is_reversed=is_reversed)
                    told = np.concatenate([read._read(s)[pairs] for s, pairs in zip(scores, known, strict=True)])
                    rank = np.unique(
                        np.nan_to_num(told, nan=-np.inf, posinf=np.inf, neginf=-np.inf), return_inverse=True
                    )
                    found.append((auroc(prediction=rank[1], target=is_edge), read))
            return max(found, key=lambda one: one[0])

        most, best = tried(self)
        seen = {self}
        while True:
            before = most
            for name, options in self._options(train, features).items():
                for option in options:
                    candidate = dataclasses.replace(best, **{name: option}, evidence="high", is_reversed=False)
                    if candidate in seen:
                        continue
                    seen.add(candidate)
                    value, read = tried(candidate)
                    if value > most:
                        most, best = value, read
            if most == before:
                break
        if not math.isfinite(most):
            raise refused[0]
        return best

    def _options(self, train: Sequence[Recording], features: Features) -> dict[str, tuple[Any, ...]]:
        """What may be chosen, by name."""
        options: dict[str, tuple[Any, ...]] = {}
        if self.window is not None and features != "none":
            options["window"] = (VALUES, *WINDOWS) if "none" in self.reads else WINDOWS
        if self.lags is not None:
            options["lags"] = LAGS
        if self.ridge is not None:
            options["ridge"] = tuple(factor * self.ridge for factor in RIDGE_FACTORS)
        if self.is_nonnegative is not None:
            options["is_nonnegative"] = (True, False)
        if self.unit is not None:
            options["unit"] = (self.unit, _typical_unit(train, features))
        return options


def _typical_unit(train: Sequence[Recording], features: Features) -> tuple[float, float]:
    """How far individuals get from their own mean, and the seconds in which their acceleration takes them as far."""
    g = Geometry.fit(PopulationDataset(list(train)), MotionSettings(features))
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


def _mean_of_both(scores: Array) -> Array:
    return np.asarray((scores + scores.swapaxes(1, 2)) / 2)


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


def _force_fit(
    recording: Recording, settings: MotionSettings, *, law: str, ridge: float, is_nonnegative: bool | None = None
) -> Array:
    return fit_forces(recording, FORCES[law], features=settings.features, is_nonnegative=is_nonnegative, ridge=ridge)


def _acceleration_fit(
    recording: Recording, settings: MotionSettings, *, law: str, ridge: float, is_nonnegative: bool | None = None
) -> Array:
    motion = Motion.of(recording, settings)
    return fit_accelerations(motion, FORCES[law], is_nonnegative=is_nonnegative, ridge=ridge)


def _charges(recording: Recording, settings: MotionSettings, *, ridge: float) -> Array:
    charges = expected_charges(fit_forces(recording, FORCES["charged"], features=settings.features, ridge=ridge))
    return -charges[:, :, None] * charges[:, None]


def _both_ways(couplings: Array, *, law: str) -> Array:
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


def _signal(recording: Recording, settings: MotionSettings) -> Array:
    """Velocities, measured or derived, or the values themselves; gaps are bridged."""
    if settings.features == "none":
        return bridged(np.asarray(recording.values, dtype=np.float64), recording.observed)
    motion = Motion.of(recording, settings)
    return bridged(motion.velocity, motion.observed)


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
        lambda recording, settings: _cosine(_signal(recording, settings)),
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
            f"{kind}-{law}",
            words.format(law),
            _partial(fit, law=law),
            reads=force.reads,
            both_ways=_partial(_both_ways, law=law),
            window=window,
            ridge=ridge,
            is_nonnegative=True if force.is_attractive else None,
            unit=(1.0, 1.0),
        )
        for kind, words, fit, window, ridge in (
            ("acceleration-fit", "accelerations regressed on {}", _acceleration_fit, (2, 2), 1e-3),
            ("force-fit", "{} fitted in integrated form, bins of encounters found", _force_fit, None, 1.0),
        )
        for law, force in FORCES.items()
    ),
    PairRule("force-fit-charges", "as force-fit-charged, one charge for each", _charges, ridge=1.0, unit=(1.0, 1.0)),
    PairRule("correlation", "velocities or values correlate", _correlation, ANYTHING, window=(2, 2)),
    PairRule(
        "partial-correlation",
        "velocities or values correlate, given all others",
        _partial_correlation,
        ANYTHING,
        window=(2, 2),
    ),
    *(
        PairRule(name, words, compute, ANYTHING, both_ways=_mean_of_both, window=(2, 2), ridge=1e-3, lags=2)
        for name, words, compute in (
            ("granger", "one's past tells of the other", _granger),
            ("granger-given-all", "one's past tells of the other, given that of all others", _granger_given_all),
        )
    ),
)

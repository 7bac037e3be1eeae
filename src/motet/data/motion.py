"""Motion: velocity and acceleration derived from positions by local polynomials."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from motet.data.recording import MOST_COORDINATES, Recording
from motet.errors import InputError
from motet.settings import Count, Settings

Array = NDArray[np.float64]
Features = Literal["none", "position", "position-velocity", "phase"]
# How many features a recording of each kind may have, and in words.
ALLOWED_FEATURES: dict[Features, tuple[tuple[int, ...], str]] = {
    "position": (tuple(range(1, MOST_COORDINATES + 1)), "1 to 3 coordinates"),
    "position-velocity": (tuple(range(2, 2 * MOST_COORDINATES + 1, 2)), "1 to 3 coordinates and as many velocities"),
    "phase": ((2, 3, 4), "cos φ, sin φ, and if known dφ/dt, and then the own frequency"),
}
# Numbers held at once while fitting; bounds the memory (8 MB of float64).
BLOCK_SIZE = 2**20


@dataclasses.dataclass(frozen=True)
class MotionSettings(Settings, role="motion"):
    """What the features of a recording are, and how derivatives are taken.

    Noise of standard deviation σ on positions becomes one of σ / (bin_seconds² · c) on accelerations, where c grows
    like half_width^2.5: wider windows and lower degrees are quieter, and blur what changes faster than the window.

    Attributes:
        features: "position": 1 to 3 coordinates. "position-velocity": first half coordinates, second half their
            measured velocities. "phase": cos φ, sin φ, and if known dφ/dt, and then the own frequency. "none": no
            geometry is known.
        half_width: bins on either side of the local fit. Near the ends the window is shifted, not shortened.
        degree: of the local polynomial; where fewer bins are observed than it needs, the highest they determine.
        smooth: whether what was measured (positions, velocities, phases) is replaced by the local fit too.

    Example:
        >>> import motet
        >>> motion = MotionSettings("position-velocity", half_width=2)
        >>> motet.EITInteractions(motion=motion).get_params()["motion__half_width"]
        2
    """

    features: Features = "position"
    half_width: Count = 4
    degree: Count = 3
    smooth: bool = False

    def check(self) -> None:
        """Refuse a polynomial without the derivatives that are asked for, or of more than its window determines."""
        least = 2 if self.features == "position" else 1
        if not least <= self.degree <= 2 * self.half_width:
            raise InputError(
                f"motion.half_width is {self.half_width} and motion.degree {self.degree}; give a degree from {least} "
                "to twice the half width."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """How individuals move: float64 arrays (trial, individual, time, coordinate), 0 where not observed.

    Phases are one coordinate, in radians and unwrapped.

    Attributes:
        position: as observed, or smoothed if the settings say so.
        velocity: per second.
        acceleration: per second².
        observed: (trial, individual, time) bool.
        own_frequency: (trial, individual) radians per second, or None if it is no feature.
    """

    position: Array
    velocity: Array
    acceleration: Array
    observed: NDArray[np.bool_]
    bin_seconds: float
    own_frequency: Array | None = None

    @classmethod
    def of(cls, recording: Recording, settings: MotionSettings) -> Motion:
        """The motion in a recording; an `InputError` if its number of features is not what the settings say."""
        _check_features(recording, settings)
        observed = recording.observed
        values = np.where(observed[..., None], recording.values, 0).astype(np.float64)

        def fit(measured: Array, *orders: int) -> Array:
            how: dict[str, Any] = {
                "bin_seconds": recording.bin_seconds,
                "half_width": settings.half_width,
                "degree": settings.degree,
            }
            return local_derivatives(measured, observed, orders=orders, **how)

        position, velocity, own_frequency = _measured(values, observed, settings.features)
        if velocity is None:
            smoothed, velocity, acceleration = fit(position, 0, 1, 2)
            position = smoothed if settings.smooth else position
        else:
            smoothed, acceleration = fit(velocity, 0, 1)
            if settings.smooth:
                position, velocity = fit(position, 0)[0], smoothed
        return cls(position, velocity, acceleration, observed, recording.bin_seconds, own_frequency)


def derive_motion(recording: Recording, settings: MotionSettings) -> Recording:
    """The recording with its motion as features.

    Features become, by `settings.features`: "position" and "position-velocity": positions, velocities, accelerations,
    as many each as there are coordinates. "phase": cos φ, sin φ, dφ/dt, and the own frequency if it was given.
    "none": as they were. For a dataset, `dataset.map(lambda recording: derive_motion(recording, settings))`.

    Raises:
        InputError: if the recording has another number of features than the settings say.

    Source: Savitzky & Golay, Analytical Chemistry 1964, for complete windows.

    Example:
        >>> t = np.arange(20) * 0.1
        >>> falling = Recording.from_trials((3 * t - 5 * t**2)[None, None], bin_seconds=0.1)
        >>> derive_motion(falling, MotionSettings()).values[0, 0, 10].round(3)
        array([ -2.,  -7., -10.], dtype=float32)
    """
    if settings.features == "none":
        return recording
    motion = Motion.of(recording, settings)
    if settings.features == "phase":
        parts = [np.cos(motion.position), np.sin(motion.position), motion.velocity, recording.values[..., 3:]]
        if not settings.smooth:
            parts[:2] = [recording.values[..., :2]]
    else:
        parts = [motion.position, motion.velocity, motion.acceleration]
    values = np.where(recording.observed[..., None], np.concatenate(parts, axis=-1), 0)
    is_wide = recording.values.dtype == np.float64
    return dataclasses.replace(recording, values=values if is_wide else values.astype(np.float32))


def local_derivatives(
    values: ArrayLike,
    observed: ArrayLike,
    *,
    bin_seconds: float = 1.0,
    half_width: int = 4,
    degree: int = 3,
    orders: tuple[int, ...] = (0, 1, 2),
) -> Array:
    """Derivatives of a polynomial fitted by least squares to the observed bins around each bin.

    The window of a bin is 2 · half_width + 1 bins long and centred on it, shifted where it would reach beyond the
    first or last observed bin. Fewer than degree + 1 observed bins in it lower the degree.

    Args:
        values: (…, time, feature); what is not observed is not read.
        observed: (…, time) bool.
        bin_seconds: width of a time bin.
        half_width: bins on either side.
        degree: of the polynomial.
        orders: which derivatives, 0 is the fit itself.

    Returns:
        (order, …, time, feature) per second^order, 0 where not observed.

    Example:
        >>> t = np.arange(9.0)
        >>> local_derivatives((t**3)[:, None], np.ones(9, dtype=bool), orders=(1,))[0, 5].round(6)
        array([75.])
    """
    values, observed = np.asarray(values, dtype=np.float64), np.asarray(observed, dtype=np.bool_)
    n_bins, n_features = values.shape[-2:]
    rows = np.where(observed[..., None], values, 0).reshape(-1, n_bins, n_features)
    masks = observed.reshape(-1, n_bins)
    bits = np.packbits(masks, axis=1)  # ten times faster to sort
    _, first_rows, pattern_of_row = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    pattern_of_row = pattern_of_row.reshape(-1)
    ends = np.cumsum(np.bincount(pattern_of_row))
    rows_of_pattern = np.split(np.argsort(pattern_of_row, kind="stable"), ends[:-1])
    derived = np.zeros((len(orders), *rows.shape))
    n_together = max(1, BLOCK_SIZE // (n_bins * (2 * half_width + 1) * (degree + 1)))
    n_rows_together = max(1, BLOCK_SIZE // rows[0].size)
    for first in range(0, len(first_rows), n_together):
        together = slice(first, first + n_together)
        operators = _operators(masks[first_rows[together]], half_width, degree, orders)
        for operator, same in zip(operators, rows_of_pattern[together], strict=True):
            for begin in range(0, len(same), n_rows_together):
                chosen = same[begin : begin + n_rows_together]
                fitted = operator @ rows[chosen].swapaxes(0, 1).reshape(n_bins, -1)
                fitted = fitted.reshape(len(orders), n_bins, len(chosen), n_features)
                derived[:, chosen] = fitted.swapaxes(1, 2)
    per_second = bin_seconds ** -np.asarray(orders, dtype=np.float64)
    return (derived * per_second[:, None, None, None]).reshape(len(orders), *values.shape)


def _operators(
    patterns: NDArray[np.bool_], half_width: int, degree: int, orders: tuple[int, ...]
) -> Iterator[csr_array]:
    """For each pattern (time,) of observed bins the matrix (order · time, time) that derives, per bin^order."""
    n_bins, width = patterns.shape[1], min(2 * half_width + 1, patterns.shape[1])
    first = patterns.argmax(axis=1)[:, None]
    last = n_bins - 1 - patterns[:, ::-1].argmax(axis=1)[:, None]
    start = np.clip(np.arange(n_bins) - half_width, first, np.maximum(first, last - width + 1))
    start = np.minimum(start, n_bins - width)  # where fewer bins than a window are left
    bins = start[..., None] + np.arange(width)
    is_read = np.take_along_axis(patterns[:, None], bins, axis=2)
    # Powers of the distance from the middle of the window, from −1 to 1 across it: well conditioned.
    middle, radius, power = (width - 1) / 2, max((width - 1) / 2, 0.5), np.arange(degree + 1)
    is_determined = power < is_read.sum(-1)[..., None]
    powers = ((np.arange(width)[:, None] - middle) / radius) ** power
    powers = powers * is_read[..., None] * is_determined[..., None, :]
    gram = powers.swapaxes(-1, -2) @ powers
    gram[..., power, power] += ~is_determined
    here = (np.arange(n_bins) - start - middle) / radius
    derivatives = np.stack([_derivative_of_powers(here, degree, order) / radius**order for order in orders], axis=-1)
    weights = (powers @ np.linalg.solve(gram, derivatives)) * patterns[..., None, None]
    row_starts = np.arange(len(orders) * n_bins + 1) * width
    for columns, weight in zip(bins, np.moveaxis(weights, -1, 1), strict=True):
        entries = weight.reshape(-1), np.tile(columns.reshape(-1), len(orders)), row_starts
        yield csr_array(entries, shape=(len(orders) * n_bins, n_bins))


def _derivative_of_powers(z: Array, degree: int, order: int) -> Array:
    """(…, degree + 1): the derivatives of 1, z, z², … at z."""
    power = np.arange(degree + 1)
    factor = np.prod([np.maximum(power - k, 0) for k in range(order)], axis=0)
    return factor * z[..., None] ** np.maximum(power - order, 0)


def _measured(
    values: Array, observed: NDArray[np.bool_], features: Features
) -> tuple[Array, Array | None, Array | None]:
    """Positions or phases, velocities and own frequencies, as far as they are features."""
    if features == "position":
        return values, None, None
    if features == "position-velocity":
        position, velocity = np.split(values, 2, axis=-1)
        return position, velocity, None
    phase = _unwrapped(values[..., 0], values[..., 1], observed)[..., None]
    velocity, own = values[..., 2:3], values[..., 3:].sum(axis=2) / np.maximum(observed.sum(-1), 1)[..., None]
    return phase, velocity if velocity.size else None, own[..., 0] if own.size else None


def _unwrapped(cosine: Array, sine: Array, observed: NDArray[np.bool_]) -> Array:
    """Phases (trial, individual, time) without jumps, 0 where not observed.

    Over a gap each goes on at its mean rate between neighbouring bins, so that a gap of several turns is bridged.
    """
    phase = np.where(observed, np.arctan2(sine, cosine), 0)
    bins = np.arange(phase.shape[-1])
    are_neighbours = observed[..., 1:] & observed[..., :-1]
    steps = np.where(are_neighbours, np.angle(np.exp(1j * np.diff(phase))), 0)
    drift = steps.sum(-1, keepdims=True) / np.maximum(are_neighbours.sum(-1, keepdims=True), 1) * bins
    latest = np.maximum.accumulate(np.where(observed, bins, 0), axis=-1)
    about_drift = np.take_along_axis(phase - drift, latest, axis=-1)
    return np.where(observed, np.unwrap(about_drift, axis=-1) + drift, 0)


def _check_features(recording: Recording, settings: MotionSettings) -> None:
    if settings.features == "none":
        raise InputError(
            f"the motion of recording {recording.name!r} is asked for, but motion.features is 'none'; say what its "
            f"{recording.n_features} features are: {', '.join(ALLOWED_FEATURES)}."
        )
    allowed, words = ALLOWED_FEATURES[settings.features]
    if recording.n_features not in allowed:
        raise InputError(
            f"recording {recording.name!r} has {recording.n_features} features, but motion.features="
            f"{settings.features!r} needs {words}; give such a recording, or another motion.features."
        )

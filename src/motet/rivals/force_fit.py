"""Who pulls whom, by least squares: a known law of force is fitted to each trial alone, with no training.

Individual i is pulled by every other j in a known direction, with an unknown coupling: x_i'' = Σ_j c_ij f(x_j − x_i).
Two forms of the fit:

- `fit_forces`, integrated: what was measured is compared with integrals of the pulls, after taking the differences
  between bins that remove what is unknown (start, velocity, own frequency). Noise stays what it was, and is known to
  be that of differences of independent errors. Bins that no couplings explain, such as encounters faster than a bin,
  are found and lose weight. Strongest by far on noisy or coarse trajectories.
- `fit_accelerations`: accelerations by local polynomials are compared with the pulls at the same time, as is common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import nnls
from scipy.special import gammaincinv

from motet.data.gaps import bridged_array
from motet.data.motion import Features, Motion, MotionSettings, local_derivatives
from motet.data.pairs import only_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.systems.laws import Law

Array = NDArray[np.float64]
N_REWEIGHTINGS = 3  # how often bins that are not explained lose weight; 0 is plain generalised least squares
# A residual counts as noise up to this multiple of its variance.
OUTLIER = 6.0
# Standard deviation of errors if there is no noise, relative to what is measured: of float32 and of integration.
LEAST_NOISE = 1e-5
LEAST_VARIANCE = 1e-30  # keeps squares finite where nothing moves
# Variance of bins that are not observed, relative to noise.
NOT_OBSERVED = 1e9
MOST_PIVOTS = 100
N_MEAN_FIELD_STEPS, CERTAINTY = 50, 2.0
BLOCK_SIZE = 2**21  # numbers held at once, 16 MB of float64


def fit_forces(
    recording: Recording,
    law: Law,
    *,
    features: Features = "position",
    is_nonnegative: bool | None = None,
    ridge: float = 1.0,
) -> Array:
    """Couplings of all ordered pairs, by generalised least squares of the integrated equations of motion.

    Measured rates of phases are used, and known own frequencies; measured velocities add little, and are not. Gaps
    are bridged by straight lines to compute pulls, and explain nothing.

    Args:
        recording: of positions, positions and velocities, or phases.
        law: of force.
        features: what the recording's features are.
        is_nonnegative: whether couplings must not be negative; by default as the law says.
        ridge: precision of the prior on couplings, relative to what the law says is typical.

    Returns:
        (trial, individual, individual) how strongly the first is pulled by the second; NaN on the diagonal and for
        individuals that are absent.

    Raises:
        InputError: if the law does not explain such features, or no individual is observed in five bins in a row.

    Example:
        >>> t = np.arange(30) * 0.1
        >>> x = np.stack([np.cos(t), -np.cos(t), 0.5 + 0 * t])[None]  # the first two are joined by a spring of ½
        >>> fit_forces(Recording.from_trials(x, bin_seconds=0.1), Law("springs")).round(2)[0, 0]
        array([nan, 0.5, 0. ])
    """
    check_reads(law.reads, features)
    is_nonnegative = law.is_attractive if is_nonnegative is None else is_nonnegative
    motion = Motion.of(recording, MotionSettings(features=features))
    position, observed, measured = motion.position, motion.observed, motion.position
    n_bins, n_integrals = recording.n_bins, law.n_integrals
    n_unknown = 2  # the start, and the velocity or own frequency
    if features == "phase" and recording.n_features > 2:
        measured, n_integrals, n_unknown = motion.velocity, 0, 1
        if motion.own_frequency is not None:
            measured = np.where(observed[..., None], measured - motion.own_frequency[..., None, None], 0)
            n_unknown = 0
    is_seen = observed[..., None]
    centre = measured.sum(axis=2, keepdims=True) / np.maximum(is_seen.sum(axis=2, keepdims=True), 1)
    about_centre = np.where(is_seen, measured - centre, 0)
    mean_square = (about_centre**2).sum((1, 2, 3)) / (np.maximum(observed.sum((1, 2)), 1) * measured.shape[-1])
    noise = noise_variance(measured, observed) + LEAST_NOISE**2 * mean_square + LEAST_VARIANCE
    if law.half_width:
        position = local_derivatives(position, observed, half_width=law.half_width, degree=2, orders=(0,))[0]
    position = bridged_array(position, observed)
    seconds, one = np.arange(n_bins) * motion.bin_seconds, np.eye(n_bins)
    differences = np.diff(one, n_unknown, axis=0) if n_unknown else one
    integral = CubicSpline(seconds, one).antiderivative(n_integrals)(seconds) if n_integrals else one
    toward, n, n_rows = differences @ integral, recording.n_individuals, len(differences)
    couplings = np.empty((recording.n_trials, n, n))
    n_together = max(1, BLOCK_SIZE // (n * n_rows * max(n_rows, n * position.shape[-1])))
    for start in range(0, recording.n_trials, n_together):
        block = slice(start, start + n_together)
        pulls = toward @ law.pull(position[block, None] - position[block, :, None])
        change = differences @ measured[block]
        precision = ridge / law.typical_coupling**2
        couplings[block] = _explained(
            pulls, change, observed[block], noise[block, None, None], differences, precision, is_nonnegative
        )
    return only_pairs(couplings, observed)


def fit_accelerations(motion: Motion, law: Law, *, is_nonnegative: bool | None = None, ridge: float = 1e-3) -> Array:
    """Couplings of all ordered pairs, by ridge regression of accelerations (rates of phases) on the pulls in each bin.

    Args:
        motion: with accelerations by local polynomials.
        law: of force.
        is_nonnegative: whether couplings must not be negative; by default as the law says.
        ridge: relative to the mean square of the pulls.

    Returns:
        As `fit_forces`.
    """
    is_nonnegative = law.is_attractive if is_nonnegative is None else is_nonnegative
    n, weight = motion.observed.shape[1], motion.observed[..., None]
    change = motion.acceleration if law.n_integrals == 2 else motion.velocity
    if law.n_integrals == 1:  # less the own frequency: known, or as the mean rate
        mean = (change * weight).sum(2) / np.maximum(weight.sum(2), 1)
        own = mean if motion.own_frequency is None else motion.own_frequency[..., None]
        change = (change - own[:, :, None]) * weight
    both = weight[:, :, None] & weight[:, None]
    pulls = law.pull(motion.position[:, None] - motion.position[:, :, None]) * both
    pulls[:, np.arange(n), np.arange(n)] = 0
    if law.n_integrals == 1 and motion.own_frequency is None:
        pulls = (pulls - pulls.sum(3, keepdims=True) / np.maximum(both.sum(3, keepdims=True), 1)) * both
    flat = pulls.reshape(*pulls.shape[:3], -1)
    gram = flat @ flat.swapaxes(-1, -2)
    n_others = np.maximum(motion.observed.any(axis=-1).sum(axis=-1) - 1, 1)[:, None]
    scale = (np.einsum("...ii->...", gram) / n_others)[..., None, None]
    gram = gram + np.eye(n) * (ridge * scale + LEAST_VARIANCE)
    toward = (flat @ change.reshape(*change.shape[:2], -1, 1))[..., 0]
    return only_pairs(_solved(gram, toward, is_nonnegative), motion.observed)


def check_reads(reads: tuple[Features, ...], features: Features) -> None:
    """Refuse features that cannot be read."""
    if features not in reads:
        raise InputError(f"features are {features!r}, but here they must be {' or '.join(map(repr, reads))}.")


def _explained(
    pulls: Array,
    change: Array,
    observed: NDArray[np.bool_],
    noise: Array,
    differences: Array,
    precision: float,
    is_nonnegative: bool,
) -> Array:
    """Couplings (trial, individual, individual) with which pulls add up to the changes, up to noise.

    Args:
        pulls: (trial, individual, individual, row, coordinate).
        change: (trial, individual, row, coordinate).
        observed: (trial, individual, time).
        noise: (trial, 1, 1) variance of what was measured.
        differences: (row, time) of what was measured that are the changes.
        precision: of the prior on couplings.
        is_nonnegative: whether couplings must not be negative.
    """
    n_trials, n = change.shape[:2]
    is_there = np.asarray(observed.any(axis=-1))
    pulls *= (is_there[:, None] & ~np.eye(n, dtype=bool))[..., None, None]
    is_missing = (~observed).astype(np.float64) @ (differences != 0).T > 0
    of_noise = noise[..., None] * (differences @ differences.T)
    ridge = np.eye(n) * np.maximum(is_there.sum(axis=1) - 1, 1)[:, None, None, None] * precision
    most_noise = OUTLIER * noise * (differences**2).sum(axis=1)
    squares, couplings = np.zeros(is_missing.shape), np.zeros((n_trials, n, n))
    for _ in range(N_REWEIGHTINGS + 1):
        unexplained = np.where(squares > most_noise, squares, 0)
        unexplained = np.where(is_missing, NOT_OBSERVED * noise, unexplained)
        whiten = np.linalg.inv(np.linalg.cholesky(of_noise + unexplained[..., None] * np.eye(len(differences))))
        inputs = (whiten[:, :, None] @ pulls).reshape(n_trials, n, n, -1)
        outputs = (whiten @ change).reshape(n_trials, n, -1, 1)
        gram = inputs @ inputs.swapaxes(-1, -2) + ridge
        couplings = _solved(gram, (inputs @ outputs)[..., 0], is_nonnegative)
        found = (couplings[:, :, None] @ pulls.reshape(n_trials, n, n, -1)).reshape(change.shape)
        squares = ((change - found) ** 2).mean(axis=-1)
    return couplings


def noise_variance(measured: Array, observed: NDArray[np.bool_]) -> Array:
    """(trial,) variance of independent errors on (trial, individual, time, coordinate), from fourth differences.

    Smooth motion has small ones, and a median does not see the few large ones of encounters. A trial without five
    observed bins in a row has the median noise of the others.

    Raises:
        InputError: if no trial has five observed bins in a row.
    """
    n_bins = observed.shape[-1]
    is_seen = np.asarray(np.all([observed[..., shift : n_bins - 4 + shift] for shift in range(5)], axis=0))
    is_known = np.asarray(is_seen.any(axis=(1, 2)))
    if not is_known.any():
        raise InputError("no individual is observed in five bins in a row, too few to tell noise from motion.")
    squares = np.where(is_seen, (np.diff(measured, 4, axis=2) ** 2).sum(axis=-1), np.nan)[is_known]
    medians = np.nanmedian(squares.reshape(len(squares), -1), axis=1)
    variance = np.full(len(measured), np.median(medians))
    variance[is_known] = medians
    median_of_chi2 = 2 * gammaincinv(measured.shape[-1] / 2, 0.5)
    return variance / (median_of_chi2 * 70)  # 70 = 1 + 16 + 36 + 16 + 1


def _solved(gram: Array, toward: Array, is_nonnegative: bool) -> Array:
    if is_nonnegative:
        return nonnegative_least_squares(gram, toward)
    return np.asarray(np.linalg.solve(gram, toward[..., None])[..., 0], dtype=np.float64)


def nonnegative_least_squares(gram: Array, toward: Array) -> Array:
    """The c ≥ 0 that minimise cᵀ gram c − 2 cᵀ toward, for many problems at once.

    Args:
        gram: (…, n, n) positive definite.
        toward: (…, n).

    Source: block principal pivoting with its backup rule, Kim & Park, SIAM Journal on Scientific Computing 2011; the
    few problems that rounding keeps going round in circles are solved one by one.

    >>> nonnegative_least_squares(np.eye(2), np.array([2.0, -1.0]))
    array([2., 0.])
    """
    n = toward.shape[-1]
    scale = np.sqrt(np.einsum("...ii->...i", gram))  # to a diagonal of 1
    unit_gram = (gram / (scale[..., :, None] * scale[..., None, :])).reshape(-1, n, n)
    unit_toward = (toward / scale).reshape(-1, n)
    solution, undecided = _pivoted(unit_gram, unit_toward)
    for one in undecided:
        root = np.linalg.cholesky(unit_gram[one])
        solution[one] = nnls(root.T, np.linalg.solve(root, unit_toward[one]))[0]
    return solution.reshape(toward.shape) / scale


def _pivoted(gram: Array, toward: Array) -> tuple[Array, NDArray[np.int64]]:
    """Solutions (problem, n), and which problems have not come to an end."""
    n = toward.shape[1]
    is_free = np.zeros(toward.shape, dtype=bool)
    solution, slope = np.zeros_like(toward), -toward
    tolerance = 1e-10 * np.abs(toward).max(axis=1, keepdims=True, initial=0)
    fewest_wrong, n_chances = np.full(len(toward), n + 1), np.full(len(toward), 3)
    active = np.arange(len(toward))
    for _ in range(MOST_PIVOTS):
        is_wrong = np.where(is_free, solution < -tolerance, slope < -tolerance)[active]
        n_wrong = is_wrong.sum(axis=1)
        active, is_wrong, n_wrong = (array[n_wrong > 0] for array in (active, is_wrong, n_wrong))
        if not len(active):
            break
        is_better = n_wrong < fewest_wrong[active]
        fewest_wrong[active] = np.minimum(n_wrong, fewest_wrong[active])
        n_chances[active] = np.where(is_better, 3, n_chances[active] - 1)
        is_last = np.arange(n) == n - 1 - is_wrong[:, ::-1].argmax(axis=1)[:, None]
        is_free[active] ^= np.where(n_chances[active, None] >= 0, is_wrong, is_last)
        free = is_free[active]
        restricted = np.where(free[:, :, None] & free[:, None], gram[active], np.eye(n))
        solution[active] = np.linalg.solve(restricted, np.where(free, toward[active], 0)[..., None])[..., 0]
        slope[active] = (gram[active] @ solution[active][..., None])[..., 0] - toward[active]
    return np.maximum(solution, 0), active


def expected_charges(couplings: Array) -> Array:
    """Charges (trial, individual) from −1 to 1 whose products are repulsions −c_ij; the first of them is positive.

    Charges are −1 or 1 and evidence is weak for some pairs, so their mean is found (mean field, from the leading
    eigenvector on). NaN pairs count as 0, and what is beyond ±1 as ±1.

    >>> charges = np.array([1.0, -1.0, 1.0])
    >>> expected_charges(-np.outer(charges, charges)[None] * (1 - np.eye(3))).round(1).tolist()
    [[1.0, -1.0, 1.0]]
    """
    repulsion = -np.clip(np.nan_to_num(couplings), -1, 1)
    repulsion = (repulsion + repulsion.swapaxes(1, 2)) / 2
    n_there = (~np.isnan(couplings)).any(axis=-1).sum(axis=-1)[:, None]
    charges = np.linalg.eigh(repulsion)[1][..., -1] * np.sqrt(n_there)
    for _ in range(N_MEAN_FIELD_STEPS):
        charges = np.tanh(CERTAINTY * (repulsion @ charges[..., None])[..., 0])
    return charges * np.where(charges[:, :1] < 0, -1, 1)

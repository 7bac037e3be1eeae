"""Wasserstein distances between clouds of points, of all pairs of two populations at once; plans of who goes where.

A *cloud* is what is known of one individual: points, such as its embeddings over trials and time, each with a weight.
The Wasserstein-2 distance between two clouds is the root of the least mean squared way that carries one onto the other.
It is given three ways:

- "exact": optimal transport of every pair, slow;
- "sliced": the mean over directions of the distance of what is seen along each, times the dimensions, so that two
  clouds which differ by a shift alone are as far apart as the shift is long;
- "gaussian": of the normal distributions with the clouds' means and covariances (Bures), which is exact for those.

No pair is visited in a loop but by "exact". Source: Peyré and Cuturi, Computational Optimal Transport, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from motet import given
from motet.errors import InputError
from motet.settings import Count, Seed, Share, check_arguments

Floats = NDArray[np.float64]
Way = Literal["gaussian", "sliced", "exact"]
MOST_QUANTILES = 256  # that tell a cloud along a direction
MOST_NUMBERS = 2**22  # of covariances at a time


class Clouds:
    """Clouds of points, one per individual.

    Attributes:
        points: (individual, point, dim).
        weights: (individual, point), 0 where there is no point; those of an individual sum to 1.

    Args:
        points: (individual, point, dim), or one (point, dim) per individual; a point with a NaN is none.
        weights: (individual, point) from 0; by default all the same.

    Raises:
        InputError: if shapes disagree, numbers are infinite, or an individual has no point.

    Example:
        >>> Clouds([[[0.0], [2.0]], [[1.0], [np.nan]]]).weights.tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """

    def __init__(self, points: ArrayLike | Sequence[ArrayLike], weights: ArrayLike | None = None) -> None:
        array = _padded(points)
        is_point: NDArray[np.bool_] = np.asarray(~np.isnan(array).any(axis=2))
        mass = np.ones(is_point.shape)
        if weights is not None:
            mass = given.numbers(weights, what="weights")
            if mass.shape != is_point.shape or not (mass >= 0).all():
                raise InputError(
                    f"weights have shape {mass.shape}, or one is below 0; give one per point, {is_point.shape}, from 0."
                )
        mass = np.where(is_point, mass, 0.0)
        total = mass.sum(axis=1, keepdims=True)
        if not (np.isfinite(array[is_point]).all() and np.isfinite(total).all() and (total > 0).all()):
            empty = np.flatnonzero(~(total[:, 0] > 0))
            which = f"individual {empty[0]} has no point with a weight" if len(empty) else "a number is infinite"
            raise InputError(f"clouds {array.shape}: {which}; give finite points, one or more per individual.")
        self.points: Floats = np.where(is_point[..., None], array, 0.0)
        self.weights: Floats = mass / total

    def __len__(self) -> int:
        return len(self.points)

    @property
    def n_dims(self) -> int:
        return self.points.shape[2]

    @property
    def are_equal(self) -> bool:
        """Whether all individuals have equally many points, all of one weight."""
        return bool(np.ptp(self.weights) <= 1e-12)

    def moments(self) -> tuple[Floats, Floats]:
        """Means (individual, dim) and covariances (individual, dim, dim)."""
        mean = np.einsum("ip,ipd->id", self.weights, self.points)
        rooted = np.sqrt(self.weights)[..., None] * (self.points - mean[:, None])
        return mean, rooted.swapaxes(1, 2) @ rooted

    def quantiles(self, directions: Floats, n: int) -> Floats:
        """(individual, direction, n) quantiles, at the middles of n parts, of points as seen along (direction, dim)."""
        seen = np.einsum("ipd,kd->ikp", self.points, directions, optimize=True)
        seen = np.where(self.weights[:, None] > 0, seen, np.inf)  # what is no point comes last
        n_points = seen.shape[2]
        if self.are_equal:
            return np.sort(seen, axis=2)[..., ((np.arange(n) + 0.5) * n_points / n).astype(int)]
        order = np.argsort(seen, axis=2)
        reached = np.cumsum(
            np.take_along_axis(np.broadcast_to(self.weights[:, None], seen.shape), order, axis=2), axis=2
        )
        # One search for all: row r of cumulated weights lies between r and r + 1.
        row = np.arange(reached[..., 0].size).reshape(*reached.shape[:2], 1)
        wanted = (np.arange(n) + 0.5) / n
        at = np.searchsorted((np.minimum(reached, 1.0) + 2 * row).ravel(), (wanted + 2 * row).ravel() - 1e-12)
        at = np.minimum(at.reshape(*row.shape[:2], n) - row * n_points, n_points - 1)
        last = (self.weights > 0).sum(axis=1)[:, None, None] - 1
        return np.take_along_axis(np.take_along_axis(seen, order, axis=2), np.minimum(at, last), axis=2)


def wasserstein(
    a: Clouds | ArrayLike | Sequence[ArrayLike],
    b: Clouds | ArrayLike | Sequence[ArrayLike],
    *,
    way: Way = "gaussian",
    squared: bool = False,
    n_directions: Count = 64,
    seed: Seed = 0,
) -> Floats:
    """The Wasserstein-2 distance of every cloud of one population from every cloud of another.

    Args:
        a: `Clouds`, or what makes them.
        b: likewise, with the same dimensions.
        way: see the module.
        squared: whether its square is given.
        n_directions: that "sliced" looks along; in few dimensions they are fewer.
        seed: of the directions.

    Returns:
        (individual of a, individual of b).

    Raises:
        InputError: as `Clouds`; if the dimensions differ, or "exact" needs POT, which is not installed.

    Example:
        >>> wasserstein([[[0.0, 0.0]]], [[[3.0, 4.0]], [[0.0, 1.0]]]).round(6).tolist()
        [[5.0, 1.0]]
    """
    check_arguments(wasserstein, {"way": way, "squared": squared, "n_directions": n_directions, "seed": seed})
    one, other = (side if isinstance(side, Clouds) else Clouds(side) for side in (a, b))
    if one.n_dims != other.n_dims:
        raise InputError(f"clouds have {one.n_dims} and {other.n_dims} dimensions; give embeddings of one model.")
    if way == "gaussian":
        squares = gaussian_wasserstein(*one.moments(), *other.moments(), squared=True)
    elif way == "sliced":
        squares = _sliced(one, other, n_directions, seed)
    else:
        squares = _exact(one, other)
    return squares if squared else np.sqrt(squares)


def gaussian_wasserstein(
    mean_a: Floats, covariance_a: Floats, mean_b: Floats, covariance_b: Floats, *, squared: bool = False
) -> Floats:
    """The Wasserstein-2 distance between normal distributions, all pairs: (a, b).

    |m − n|² + tr(S + T − 2 (√S T √S)^½), of means (individual, dim) and covariances (individual, dim, dim).
    Source: Dowson and Landau, J. Multivariate Analysis 12, 1982.

    >>> one = np.ones((1, 1))
    >>> gaussian_wasserstein(0 * one, 4 * one[None], 3 * one, 9 * one[None], squared=True).item()
    10.0
    """
    apart = squared_distances(mean_a, mean_b)
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None]) @ vectors.swapaxes(1, 2)
    traces = np.trace(covariance_a, axis1=1, axis2=2)[:, None] + np.trace(covariance_b, axis1=1, axis2=2)
    overlap = np.empty(apart.shape)
    n_rows = max(1, MOST_NUMBERS // max(1, covariance_b.size))
    for start in range(0, len(root), n_rows):
        rows = slice(start, start + n_rows)
        both = root[rows, None] @ covariance_b[None] @ root[rows, None]
        overlap[rows] = np.sqrt(np.maximum(np.linalg.eigvalsh(both), 0.0)).sum(axis=2)
    return _rooted(apart + np.maximum(traces - 2 * overlap, 0.0), squared)


def _sliced(a: Clouds, b: Clouds, n_directions: int, seed: int) -> Floats:
    """Dimensions × the mean over directions of the squared distance along them, from quantiles."""
    n_dims = a.n_dims
    directions = np.random.default_rng(seed).standard_normal((-(-n_directions // n_dims), n_dims, n_dims))
    directions = np.linalg.qr(directions)[0].reshape(-1, n_dims)  # sets of right angles: a shift is seen whole
    if n_dims == 1:
        directions = np.ones((1, 1))
    sizes = {side.points.shape[1] for side in (a, b)}
    n = min(min(sizes), MOST_QUANTILES) if len(sizes) == 1 and a.are_equal and b.are_equal else MOST_QUANTILES
    flat = [side.quantiles(directions, n).reshape(len(side), -1) for side in (a, b)]
    return squared_distances(*flat) * (n_dims / flat[0].shape[1])


def _exact(a: Clouds, b: Clouds) -> Floats:
    """Optimal transport, pair by pair: assignment where clouds have equally many equal points, or else by POT."""
    sizes = {int((weights > 0).sum()) for side in (a, b) for weights in side.weights}
    is_assignment = len(sizes) == 1 and all(np.ptp(w[w > 0]) <= 1e-12 for side in (a, b) for w in side.weights)
    ot = None if is_assignment else _pot("transport between clouds of different sizes or weights")
    squares = np.empty((len(a), len(b)))
    for i, (points, weights) in enumerate(zip(a.points, a.weights, strict=True)):
        for j, (others, other_weights) in enumerate(zip(b.points, b.weights, strict=True)):
            cost = squared_distances(points[weights > 0], others[other_weights > 0])
            if ot is None:
                squares[i, j] = cost[linear_sum_assignment(cost)].mean()
            else:
                squares[i, j] = ot.emd2(weights[weights > 0], other_weights[other_weights > 0], cost)
    return squares


# ------------------------------------------------------------------ plans


def assignment(cost: ArrayLike) -> NDArray[np.int64]:
    """One partner each, at least cost over all (Hungarian): (individual of a,) positions in b, -1 for none left.

    Args:
        cost: (individual of a, individual of b), finite.

    Example:
        >>> assignment([[1.0, 2.0], [0.0, 9.0], [5.0, 5.0]]).tolist()
        [1, 0, -1]
    """
    costs = _cost(cost)
    partner = np.full(len(costs), -1)
    rows, columns = linear_sum_assignment(costs)
    partner[rows] = columns
    return partner


def unbalanced_plan(cost: ArrayLike, *, matched: Share = 0.5) -> Floats:
    """What goes where when only a share of both populations is matched, at least cost: (a, b), by POT.

    Every individual weighs 1 ÷ the larger population; the plan carries `matched` of what the smaller one weighs.
    Source: Chapel, Alaya and Gasso, NeurIPS 2020 (partial optimal transport).

    Raises:
        InputError: if a cost is not finite, or POT is not installed.
    """
    check_arguments(unbalanced_plan, {"matched": matched})
    costs = _cost(cost)
    partial = _pot("unbalanced matching").partial
    each = 1.0 / max(costs.shape)
    a, b = (np.full(n, each) for n in costs.shape)
    return np.asarray(partial.partial_wasserstein(a, b, costs, m=matched * each * min(costs.shape)))


def relational_plan(within_a: ArrayLike, within_b: ArrayLike) -> Floats:
    """What goes where so that distances *within* either population agree (Gromov–Wasserstein): (a, b), by POT.

    It never looks across: embeddings of two models that share no axes can be compared. Distances are scaled by their
    mean. A local optimum. Source: Mémoli, Found. Comput. Math. 11, 2011; Peyré, Cuturi and Solomon, ICML 2016.

    Args:
        within_a: (a, a) distances.
        within_b: (b, b) distances.

    Raises:
        InputError: if distances are not square and finite, or POT is not installed.
    """
    parts = [_cost(within) for within in (within_a, within_b)]
    for part in parts:
        if part.shape[0] != part.shape[1]:
            raise InputError(f"distances have shape {part.shape}; give those within one population, (n, n).")
    ot = _pot("Gromov–Wasserstein matching")
    scaled = [part / (part.mean() or 1.0) for part in parts]
    masses = [np.full(len(part), 1 / len(part)) for part in parts]
    return np.asarray(ot.gromov.gromov_wasserstein(*scaled, *masses, "square_loss"))


def mutual(plan: ArrayLike) -> NDArray[np.int64]:
    """Partners of a plan, or of any likeness (a, b): those who are each other's largest; -1 for nobody.

    >>> mutual([[0.5, 0.1], [0.4, 0.0]]).tolist()
    [0, -1]
    """
    likeness = np.asarray(plan, dtype=np.float64)
    best = likeness.argmax(axis=1)
    rows = np.arange(len(likeness))
    returned = (likeness.argmax(axis=0)[best] == rows) & (likeness[rows, best] > likeness.min())
    return np.where(returned, best, -1)


# ------------------------------------------------------------------ parts


def _padded(points: Any) -> Floats:
    """(individual, point, dim); NaN where an individual has fewer points."""
    try:
        parts = [given.numbers(part, what="points") for part in points]
    except TypeError as error:
        raise InputError(f"points are {points!r}; give (individual, point, dim).") from error
    shapes = {part.shape[1:] for part in parts}
    if not parts or len(shapes) != 1 or parts[0].ndim != 2 or parts[0].shape[1] == 0:
        raise InputError(
            f"{len(parts)} clouds of shapes {sorted({part.shape for part in parts})[:4]}; give one (point, dim) per "
            "individual, all of the same dimensions."
        )
    most = max(len(part) for part in parts)
    return np.stack([np.pad(part, ((0, most - len(part)), (0, 0)), constant_values=np.nan) for part in parts])


def squared_distances(a: Floats, b: Floats) -> Floats:
    """(a, b) between points (…, dim), about their middle so that little is lost."""
    middle = a.mean(axis=0) if len(a) else 0.0
    a, b = a - middle, b - middle
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))


def _rooted(squares: Floats, squared: bool) -> Floats:
    return squares if squared else np.sqrt(squares)


def _cost(cost: ArrayLike) -> Floats:
    costs = given.numbers(cost, what="cost")
    if costs.ndim != 2 or not costs.size or not np.isfinite(costs).all():
        raise InputError(f"cost has shape {costs.shape}, or is not finite; give one number per pair, (a, b).")
    return costs


def _pot(what: str) -> Any:
    """The library of optimal transport, imported when it is needed."""
    try:
        import ot
    except ImportError as error:
        raise InputError(
            f"{what} needs POT, which is not installed; pip install 'motet[ot]', or choose another way."
        ) from error
    return ot

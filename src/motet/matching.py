"""Who of one population is whom in another, with a confidence for every match; what chance explains is not matched.

Two kinds of evidence:

- *Bayes factors* (`match_by_evidence`): how much likelier it is that two individuals are the same than that they are
  two of the population. If nobody is shared a Bayes factor is 1 on average, so that its mean over candidates is an
  e-value; those of all individuals together, as bets on several shares of common ones, say whether anybody is shared
  (Vovk and Wang, Ann. Stat. 49, 2021), without any draw. The confidence of a match is its probability among all ways to
  pair the individuals one to one, or not at all, by belief propagation.
- *Distances* (`match_by_distance`): how far apart two embeddings are. They have no scale of their own; the null is the
  same distance from populations without the relation, such as ones whose components were shuffled between individuals.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError
from motet.statistics import benjamini_hochberg
from motet.transport import (
    Floats,
    assignment,
    gaussian_wasserstein,
    mutual,
    relational_plan,
    squared_distances,
    unbalanced_plan,
)

Pairing = Literal["nearest", "one-to-one", "unbalanced", "relational"]
MOST_LOG = 250.0  # of an odds, so that products stay finite
MOST_SHARED = 0.98  # of the individuals, as believed before the match: some room for nobody
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9)  # of individuals in common, which are bet on
DISCOUNT = 0.8  # of the evidence that anybody is shared, for what the model of individuals leaves out
N_ROUNDS = 300


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """Partners in population b of the individuals of population a.

    Attributes:
        partner: (a,) position in b, -1 for nobody.
        confidence: (a,) probability that the match is right, or 1 - its false-discovery rate; 0 for nobody.
        is_declared: (a,) whether the match is claimed: the false-discovery rate of all that are is below what was asked
            for.
        p_shared: that nothing is shared, tested over all individuals.
        score: (a, b) the evidence; more is more alike.
    """

    partner: NDArray[np.int64]
    confidence: Floats
    is_declared: NDArray[np.bool_]
    p_shared: float
    score: Floats


def match_by_evidence(log_bayes_factor: Floats, *, fdr: float = 0.05) -> Matches:
    """Partners from log Bayes factors "the same against two of the population", (a, b).

    The share of individuals that have a partner is found by maximum likelihood. A match is declared only if anybody is
    shared at all (p below `fdr`, of Bayes factors to the power of `DISCOUNT`, whose mean is below 1 if nobody is); then
    those of highest confidence are, as many as keep the expected share of wrong ones below `fdr`.

    Example:
        >>> found = match_by_evidence(np.array([[20.0, -5.0], [-5.0, -3.0]]))
        >>> found.partner.tolist(), found.is_declared.tolist()
        ([0, 1], [True, False])
    """
    logs = _finite(log_bayes_factor)
    # 1. Is anybody shared? The mean Bayes factor over candidates is an e-value
    evidence = np.exp(np.minimum(logs, MOST_LOG)).mean(axis=1)
    careful = np.exp(np.minimum(DISCOUNT * logs, MOST_LOG)).mean(axis=1)
    bets = np.log1p(np.outer(SHARES, careful - 1)).sum(axis=1)  # one on each share; their mean is an e-value too
    p_shared = float(np.exp(min(0.0, np.log(len(SHARES)) - np.logaddexp.reduce(bets))))

    # 2. What share has a partner
    share = 0.5
    for _ in range(N_ROUNDS):
        share = float(np.mean(share * evidence / (1 - share + share * evidence)))
    share = min(max(share, 1e-9), MOST_SHARED)

    # 3. The probability of each match, among all one-to-one pairings
    probability = _paired(np.exp(np.clip(logs + np.log(share / (1 - share) / logs.shape[1]), -MOST_LOG, MOST_LOG)))
    partner = probability.argmax(axis=1)
    confidence = probability[np.arange(len(logs)), partner]

    # 4. Declare
    is_declared = np.zeros(len(logs), dtype=np.bool_)
    if p_shared <= fdr:
        order = np.argsort(-confidence, kind="stable")
        wrong = np.cumsum(1 - confidence[order]) / np.arange(1, len(order) + 1)
        is_declared[order[: int((wrong <= fdr).sum())]] = True
    return Matches(partner, confidence, is_declared, p_shared, logs)


def _paired(odds: Floats) -> Floats:
    """(a, b) probabilities of pairs under "each with one or with nobody", weights being the odds of a pair.

    Belief propagation finds them nearly, exactly where few pairs compete (Zdeborová and Mézard, J. Stat. Mech. 2006).
    """
    from_b = np.ones_like(odds)
    for _ in range(N_ROUNDS):
        offered = odds * from_b
        from_a = 1 / (1 + np.maximum(offered.sum(axis=1, keepdims=True) - offered, 0.0))
        offered = odds * from_a
        before, from_b = from_b, 1 / (1 + np.maximum(offered.sum(axis=0, keepdims=True) - offered, 0.0))
        if np.abs(from_b - before).max() < 1e-8:
            break
    weight = odds * from_a * from_b
    return np.asarray(weight / (1 + weight))


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """Where each individual of a population is: a normal distribution.

    Attributes:
        mean: (individual, dim).
        covariance: (individual, dim, dim).
        is_known: (individual,) who is known well enough to be told from noise; by default everybody.
    """

    mean: Floats
    covariance: Floats
    is_known: NDArray[np.bool_] = None  # type: ignore[assignment]  # None becomes the default below

    def __post_init__(self) -> None:
        if self.is_known is None:
            object.__setattr__(self, "is_known", np.ones(len(self.mean), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.mean)

    def distance(self, other: Embedding) -> Floats:
        """(individual, individual of the other) Wasserstein-2 distances."""
        return gaussian_wasserstein(self.mean, self.covariance, other.mean, other.covariance)

    def along(self, axes: Floats) -> Floats:
        """(individual, 2, axis) mean and standard deviation along (axis, dim) axes."""
        variance = np.einsum("kd,ide,ke->ik", axes, self.covariance, axes, optimize=True)
        return np.stack([self.mean @ axes.T, np.sqrt(np.maximum(variance, 0.0))], axis=1)


def match_by_distance(
    a: Embedding,
    b: Embedding,
    *,
    distance: Floats | None = None,
    n_null: int = 199,
    fdr: float = 0.05,
    pairing: Pairing = "nearest",
    seed: int = 0,
) -> Matches:
    """Partners by the distance of embeddings, each judged by how near somebody is where there is no relation.

    The null: populations like b whose principal components were shuffled between individuals, each component by itself,
    so that no individual is one any more; each keeps how far its mean is from the middle, and how wide it is. p of a
    match is the share of these populations in which somebody is as near (means and standard deviations along the
    principal axes); matches are declared by the rule of Benjamini and Hochberg, and their confidence is 1 - q. So a
    declared match says that somebody plays that role too, not that nobody else does. Who is not known has no match that
    is declared, and is nobody's.

    Args:
        a: the population whose partners are looked for.
        b: the population they are looked for in.
        distance: (a, b) by which partners are chosen; by default that of the embeddings.
        n_null: how many populations are drawn.
        fdr: the rate of false discoveries.
        pairing: "nearest" of each; "one-to-one" at least total distance; "unbalanced", where half of the smaller
            population has a partner; "relational", by distances within either population (Gromov–Wasserstein). The last
            two need POT.
        seed: of the draws.

    Raises:
        InputError: if dimensions differ, a number is not finite, or POT is needed and not installed.
    """
    if a.mean.shape[1] != b.mean.shape[1]:
        raise InputError(
            f"embeddings have {a.mean.shape[1]} and {b.mean.shape[1]} dimensions; give two of one model or rule."
        )
    distances = _finite(a.distance(b) if distance is None else distance)
    partner = _pair(distances, pairing, a, b)
    # 1. Along the principal axes of all means
    together = np.concatenate([a.mean, b.mean])
    middle = together.mean(axis=0)
    axes = np.linalg.svd(together - middle, full_matrices=False)[2]
    own, others = (Embedding(side.mean - middle, side.covariance).along(axes) for side in (a, b))
    near = _apart(own, others)

    # 2. How near is the nearest of populations without the relation?
    rng = np.random.default_rng(seed)
    candidates = b.is_known
    size = np.linalg.norm(others, axis=2, keepdims=True)
    nearest = np.empty((n_null, len(a)))
    for draw in range(n_null):
        mixed = rng.permuted(np.tile(np.arange(len(b))[:, None], (1, len(axes))), axis=0)
        shuffled = np.take_along_axis(others, mixed[:, None], axis=0)
        shuffled = shuffled * (size / np.maximum(np.linalg.norm(shuffled, axis=2, keepdims=True), 1e-300))
        nearest[draw] = _apart(own, shuffled[candidates]).min(axis=1, initial=np.inf)

    # 3. Declare
    is_judged = (partner >= 0) & a.is_known & b.is_known[partner]
    found = near[np.arange(len(a)), partner]
    q = np.ones(len(a))
    if is_judged.any():
        q[is_judged] = benjamini_hochberg((1 + (nearest <= found).sum(axis=0)[is_judged]) / (n_null + 1))
    return Matches(partner, 1 - q, q <= fdr, float(q.min()), -distances)


def _apart(a: Floats, b: Floats) -> Floats:
    """(a, b) squared distances of (individual, 2, axis)."""
    n = a.shape[1] * a.shape[2]
    return squared_distances(a.reshape(-1, n), b.reshape(-1, n))


def _pair(distance: Floats, pairing: Pairing, a: Embedding, b: Embedding) -> NDArray[np.int64]:
    if pairing == "nearest":
        return np.asarray(distance.argmin(axis=1))
    if pairing == "one-to-one":
        return assignment(distance)
    if pairing == "unbalanced":
        return mutual(unbalanced_plan(distance**2))
    return mutual(relational_plan(a.distance(a), b.distance(b)))


def _finite(pairs: Floats) -> Floats:
    array = np.asarray(pairs, dtype=np.float64)
    if array.ndim != 2 or not array.size or np.isnan(array).any():
        raise InputError(f"pairs have shape {array.shape}, or a NaN; give one number per pair, (a, b).")
    return array


def clusters(distance: Floats, *, most: int = 10) -> NDArray[np.int64]:
    """(individual,) groups of individuals that are near each other, from distances within a population, 0 the largest.

    Average linkage; of 2 to `most` groups, as many as have the largest mean silhouette.

    >>> clusters(np.abs(np.subtract.outer([0.0, 0.1, 5.0, 5.1, 5.2], [0.0, 0.1, 5.0, 5.1, 5.2]))).tolist()
    [1, 1, 0, 0, 0]
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.metrics import silhouette_score

    n = len(distance)
    if n < 3:
        return np.zeros(n, dtype=np.int64)
    symmetric = (distance + distance.T) / 2
    np.fill_diagonal(symmetric, 0.0)
    best, labels = -np.inf, np.zeros(n, dtype=np.int64)
    for k in range(2, min(most, n - 1) + 1):
        found = AgglomerativeClustering(k, metric="precomputed", linkage="average").fit_predict(symmetric)
        quality = float(silhouette_score(symmetric, found, metric="precomputed"))
        if quality > best:
            best, labels = quality, found
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.asarray(np.argsort(order)[labels])

"""From pairs to groups: who belongs together, given how likely each two individuals are to interact.

The best groups are those with the largest sum of log-odds over the pairs within them (correlation clustering). Small
populations are solved exactly, by trying every partition; larger ones by merging groups and then moving individuals.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from motet.errors import InputError

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
# Up to here every partition is tried: 8 individuals have 4140.
MOST_INDIVIDUALS_EXACT = 8
MOST_PARTITIONS_EXACT = 20_000
# Stands for certainty, so that infinite log-odds can be added up.
CERTAIN = 1e4
# Partitions × trials scored at once (32 MB of float64).
BLOCK_SIZE = 2**22
# Starts of the search for groups of given sizes: a greedy one and random ones.
N_STARTS = 16
SMALLEST_GAIN = 1e-6  # far above rounding, or moves could go round in circles


def assign_groups(log_odds: ArrayLike, observed: ArrayLike | None = None) -> Labels:
    """The groups with the largest sum of log-odds within them; neither their number nor their sizes are given.

    Exact for up to 8 individuals; for more, groups are merged greedily and individuals moved while that gains.
    Individuals that are absent never change the groups of the others.

    Args:
        log_odds: (trial, individual, individual) that two are in one group; 0 is undecided. The diagonal is not read,
            the two directions are averaged, and NaN means that nothing is known of a pair.
        observed: (trial, individual) bool, who is there; by default all.

    Returns:
        (trial, individual) labels 0, 1, … in order of first appearance, -1 for absent individuals.

    Raises:
        InputError: if shapes disagree.

    Source: Bansal, Blum & Chawla, Machine Learning 2004, "Correlation clustering".

    Example:
        >>> log_odds = np.full((1, 4, 4), -2.0)
        >>> log_odds[0, 0, 2] = log_odds[0, 2, 0] = 3.0
        >>> assign_groups(log_odds)
        array([[0, 1, 0, 2]])
    """
    affinity = _affinity(log_odds)
    n_trials, n_individuals = affinity.shape[:2]
    is_there = np.ones((n_trials, n_individuals), dtype=bool) if observed is None else np.asarray(observed)
    if is_there.shape != (n_trials, n_individuals) or is_there.dtype != np.bool_:
        raise InputError(
            f"observed has shape {is_there.shape} and type {is_there.dtype}; give booleans (trial, individual), here "
            f"({n_trials}, {n_individuals})."
        )
    labels = np.full((n_trials, n_individuals), -1)
    n_there = is_there.sum(axis=1)
    present_first = np.argsort(~is_there, axis=1, kind="stable")
    for size in np.unique(n_there[n_there > 0]):
        trials = np.flatnonzero(n_there == size)[:, None]
        who = present_first[trials[:, 0], :size]
        within = affinity[trials[..., None], who[:, :, None], who[:, None]]
        is_small = size <= MOST_INDIVIDUALS_EXACT
        labels[trials, who] = _best_of(partitions(int(size)), within) if is_small else _by_moves(within)
    return labels


def assign_groups_of_sizes(log_odds: ArrayLike, sizes: Sequence[int]) -> Labels:
    """The groups of given sizes with the largest sum of log-odds within them.

    Exact where there are up to 20 000 such partitions (2 × 2 has 3, 3 × 3 has 280, 6 × 2 has 10 395); otherwise the
    best of several searches by swaps of two individuals.

    Args:
        log_odds: (trial, individual, individual), as for `assign_groups`; any score that adds up over pairs will do.
        sizes: of the groups, in any order; they add up to the number of individuals.

    Returns:
        (trial, individual) labels 0, 1, … in order of first appearance.

    Raises:
        InputError: if the sizes do not add up.

    Example:
        >>> log_odds = np.zeros((1, 4, 4))
        >>> log_odds[0, 0, 2] = log_odds[0, 2, 0] = 3.0
        >>> assign_groups_of_sizes(log_odds, [2, 2])
        array([[0, 1, 0, 1]])
    """
    affinity = _affinity(log_odds)
    ordered = tuple(sorted((int(size) for size in sizes), reverse=True))
    if not ordered or ordered[-1] < 1 or sum(ordered) != affinity.shape[1]:
        raise InputError(
            f"groups of sizes {list(sizes)} hold {sum(ordered)} individuals, but there are {affinity.shape[1]}; give "
            "sizes of at least 1 that add up to them."
        )
    if n_partitions(ordered) <= MOST_PARTITIONS_EXACT:
        return _best_of(partitions(affinity.shape[1], ordered), affinity)
    return _by_swaps(affinity, ordered)


def _affinity(log_odds: ArrayLike) -> Array:
    """(trial, individual, individual) finite, symmetric, 0 on the diagonal."""
    given = np.asarray(log_odds, dtype=np.float64)
    if given.ndim != 3 or given.shape[1] != given.shape[2] or not given.shape[1]:
        raise InputError(f"log-odds have shape {given.shape}; give (trial, individual, individual).")
    finite = np.nan_to_num(given, nan=0.0, posinf=CERTAIN, neginf=-CERTAIN)
    symmetric: Array = (finite + finite.swapaxes(1, 2)) / 2
    return symmetric * ~np.eye(given.shape[1], dtype=bool)


def n_partitions(sizes: tuple[int, ...]) -> int:
    """How many partitions into groups of these sizes there are.

    >>> n_partitions((3, 3, 3))
    280
    """
    alike = Counter(sizes).values()
    return math.factorial(sum(sizes)) // math.prod(math.factorial(number) for number in (*sizes, *alike))


@functools.lru_cache(maxsize=16)
def partitions(n_individuals: int, sizes: tuple[int, ...] | None = None) -> Labels:
    """(partition, individual): every partition once, or those with groups of these sizes (largest first).

    Labels are numbered by first appearance, so each next individual joins one of the groups so far or a new one. With
    sizes, only beginnings are kept whose groups, from large to small, still fit into them.
    """
    labels = np.zeros((1, 1), dtype=np.int64)
    for _ in range(1, n_individuals):
        n_choices = labels.max(axis=1) + 2
        previous = np.repeat(np.arange(len(labels)), n_choices)
        choice = np.arange(len(previous)) - np.repeat(np.cumsum(n_choices) - n_choices, n_choices)
        labels = np.column_stack([labels[previous], choice])
        if sizes is not None:
            most = np.zeros(n_individuals, dtype=np.int64)
            most[: len(sizes)] = sizes
            members = (labels[:, :, None] == np.arange(n_individuals)).sum(axis=1)
            labels = labels[(np.sort(members, axis=1)[:, ::-1] <= most).all(axis=1)]
    return labels[::-1]  # the finest first: the best of equals


def _best_of(partitions: Labels, affinity: Array) -> Labels:
    """For each trial the partition with the largest sum of affinities within groups."""
    first, second = np.triu_indices(affinity.shape[1], k=1)
    are_together = (partitions[:, first] == partitions[:, second]).astype(np.float64)
    pairs = affinity[:, first, second]
    best = np.empty(len(affinity), dtype=np.int64)
    n_together = max(1, BLOCK_SIZE // len(partitions))
    for start in range(0, len(affinity), n_together):
        block = slice(start, start + n_together)
        best[block] = (pairs[block] @ are_together.T).argmax(axis=1)
    return partitions[best]


def _by_moves(affinity: Array) -> Labels:
    """Merge the two groups, then move the one individual, that gain most, for as long as any gains."""
    labels = np.tile(np.arange(affinity.shape[1]), (len(affinity), 1))
    active = np.arange(len(affinity))
    while len(active):
        before = labels[active]
        labels[active] = _moved(affinity[active], _merged(affinity[active], before))
        active = active[(labels[active] != before).any(axis=1)]
    return _in_order(labels)


def _merged(affinity: Array, labels: Labels) -> Labels:
    """Greedy agglomeration; trials whose best merge gains nothing drop out."""
    labels = labels.copy()
    n_groups = affinity.shape[1]
    members = _one_hot(labels, n_groups)
    between = members.swapaxes(1, 2) @ affinity @ members
    between[:, np.arange(n_groups), np.arange(n_groups)] = -np.inf
    active = np.arange(len(labels))
    while len(active):
        best = between[active].reshape(len(active), -1).argmax(axis=1)
        kept, gone = np.divmod(best, n_groups)
        gains = between[active, kept, gone] > SMALLEST_GAIN
        active, kept, gone = active[gains], kept[gains], gone[gains]
        between[active, kept] += between[active, gone]
        between[active, :, kept] = between[active, kept]
        between[active, kept, kept] = -np.inf
        between[active, gone] = between[active, :, gone] = -np.inf
        labels[active] = np.where(labels[active] == gone[:, None], kept[:, None], labels[active])
    return labels


def _moved(affinity: Array, labels: Labels) -> Labels:
    """Move one individual at a time to another group, or to one of its own."""
    labels = labels.copy()
    towards = affinity @ _one_hot(labels, affinity.shape[1])
    active = np.arange(len(labels))
    while len(active):
        own = np.take_along_axis(towards[active], labels[active][..., None], axis=2)
        gain = (towards[active] - own).reshape(len(active), -1)
        best = gain.argmax(axis=1)
        gains = gain[np.arange(len(active)), best] > SMALLEST_GAIN
        active, (who, group) = active[gains], np.divmod(best[gains], affinity.shape[1])
        towards[active, :, labels[active, who]] -= affinity[active, who]
        towards[active, :, group] += affinity[active, who]
        labels[active, who] = group
    return labels


def _by_swaps(affinity: Array, sizes: tuple[int, ...]) -> Labels:
    """The best of several starts, each improved by the swap of two individuals that gains most."""
    in_turn = np.tile(np.repeat(np.arange(len(sizes)), sizes), (N_STARTS - 1, 1))
    best, best_total = _swapped(affinity, _filled(affinity, sizes), len(sizes))
    for start in np.random.default_rng(0).permuted(in_turn, axis=1):
        labels, total = _swapped(affinity, np.tile(start, (len(affinity), 1)), len(sizes))
        is_better = total > best_total + SMALLEST_GAIN
        best[is_better], best_total = labels[is_better], np.maximum(total, best_total)
    return _in_order(best)


def _filled(affinity: Array, sizes: tuple[int, ...]) -> Labels:
    """Fill one group after the other: with the closest two that are free, then with whoever is closest to it."""
    n_trials, n_individuals = affinity.shape[:2]
    labels, trials = np.full((n_trials, n_individuals), -1), np.arange(n_trials)
    for group, size in enumerate(sizes):
        is_free = labels < 0
        pairs = np.where(is_free[:, :, None] & is_free[:, None], affinity, -np.inf)
        pairs[:, np.arange(n_individuals), np.arange(n_individuals)] = -np.inf
        first = np.where(is_free, pairs.max(axis=2), -np.inf).argmax(axis=1)
        labels[trials, np.where(is_free[trials, first], first, is_free.argmax(axis=1))] = group
        for _ in range(size - 1):
            towards = (affinity * (labels == group)[:, None]).sum(axis=2)
            labels[trials, np.where(labels < 0, towards, -np.inf).argmax(axis=1)] = group
    return labels


def _swapped(affinity: Array, labels: Labels, n_groups: int) -> tuple[Labels, Array]:
    labels = labels.copy()
    n_individuals = affinity.shape[1]
    towards = affinity @ _one_hot(labels, n_groups)
    active = np.arange(len(labels))
    while len(active):
        others = np.take_along_axis(
            towards[active],
            np.broadcast_to(labels[active][:, None], (len(active), n_individuals, n_individuals)),
            axis=2,
        )
        # (trial, i, j): what i gains by joining j's group; the pair itself is counted once from either side.
        gain = others - np.take_along_axis(towards[active], labels[active][..., None], axis=2)
        gain = gain + gain.swapaxes(1, 2) - 2 * affinity[active]
        gain = np.where(labels[active][:, :, None] != labels[active][:, None], gain, 0).reshape(len(active), -1)
        best = gain.argmax(axis=1)
        gains = gain[np.arange(len(active)), best] > SMALLEST_GAIN
        active, (one, other) = active[gains], np.divmod(best[gains], n_individuals)
        change = affinity[active, other] - affinity[active, one]
        here, there = labels[active, one], labels[active, other]
        towards[active, :, here] += change
        towards[active, :, there] -= change
        labels[active, one], labels[active, other] = there, here
    return labels, np.take_along_axis(towards, labels[..., None], axis=2).sum((1, 2)) / 2


def _one_hot(labels: Labels, n_groups: int) -> Array:
    return (labels[..., None] == np.arange(n_groups)).astype(np.float64)


def _in_order(labels: Labels) -> Labels:
    """The same groups, numbered by first appearance."""
    first = (labels[:, :, None] == labels[:, None]).argmax(axis=2)  # who is the first of one's group
    is_first = first == np.arange(labels.shape[1])
    return np.take_along_axis(np.cumsum(is_first, axis=1) - 1, first, axis=1)

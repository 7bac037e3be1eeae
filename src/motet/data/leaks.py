"""Leaks: trials that a model is tested on, though it was trained on them, under whatever name and however cut.

A bin (what all individuals do at one time) is known by a hash of its numbers alone. A trial leaks if far more of its
bins stand among the trained ones than trained bins stand in another trained trial. Bins that several trained trials
share, such as silence, are evidence of nothing; where all are, as in very sparse data, no leak can be told and none is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError

Hashes = NDArray[np.uint64]

MOST_KEPT = 20_000
WRONGLY = 1e-6  # the chance that data without a leak are refused
FAR_MORE = 4  # times chance, since trials differ in how usual their bins are
LEAST_PARTS = 20  # of the training trials, between which chance is counted
# The last bits of a hash tell in how many trained trials it stands (1, 2, or 3 for more), and how much of it is not 0.
STANDS, RICHNESS = np.uint64(0b11), np.uint64(0b11100)
N_RICHNESS = 8


class Leak(NamedTuple):
    """A trial that was trained on, or a whole recording if `trial` is None.

    Attributes:
        recording: its name.
        trial: its id.
        n_found: bins that stand in one trained trial.
        n_bins: its different bins, but those that several trained trials share.
    """

    recording: str
    trial: int | str | None
    n_found: int
    n_bins: int


def refuse_leak(train: PopulationDataset | Hashes, test: PopulationDataset, *, what: str) -> None:
    """Refuse to test on what was trained on.

    Args:
        train: what was trained on, or its `fingerprint`.
        test: what is to be tested on.
        what: it is called in the message.

    Raises:
        InputError: naming the first trial that was trained on, and how many there are.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (20, 30, 8))
        >>> train, test = (PopulationDataset(Recording.from_trials(counts[part])) for part in (slice(12), slice(8, 20)))
        >>> refuse_leak(train, test, what="test")
        Traceback (most recent call last):
        motet.errors.InputError: test: trial 0 of recording 'array' was trained on, as were 3 others (8 of its 8 \
different bins stand in one trained trial); give trials that were not.
    """
    found = found_in(test, fingerprint(train, most=None) if isinstance(train, PopulationDataset) else train)
    if found:
        first = found[0]
        one = f"recording {first.recording!r}"
        one = one if first.trial is None else f"trial {first.trial} of {one}"
        others = f", as were {len(found) - 1} others" if len(found) > 1 else ""
        raise InputError(
            f"{what}: {one} was trained on{others} ({first.n_found} of its {first.n_bins} different bins stand in one "
            "trained trial); give trials that were not."
        )


def fingerprint(dataset: PopulationDataset, *, most: int | None = MOST_KEPT) -> Hashes:
    """The hashes of a dataset's bins, increasing, with how usual each is there; for `found_in`.

    Args:
        dataset: what was trained on.
        most: keep those that are least, which makes the same choice among the bins of any other dataset.
    """
    bins = [_bins(recording) for recording in dataset.recordings]
    n_trials = [len(np.unique(recording.trial_ids)) for recording in dataset.recordings]
    n_parts = -(-LEAST_PARTS // sum(n_trials))
    hashes = np.concatenate([hashed for hashed, _, _ in bins])
    starts = np.cumsum([0, *n_trials[:-1]])
    part = np.concatenate(
        [(start + trial + share) * n_parts for start, (_, trial, share) in zip(starts, bins, strict=True)]
    )
    kept = np.unique(hashes)[:most]
    is_kept = hashes <= kept.max(initial=0)
    _, counts = np.unique(_once(hashes[is_kept], part[is_kept].astype(np.int64))[0], return_counts=True)
    return np.asarray(kept | np.minimum(counts, 3).astype(np.uint64))


def found_in(test: PopulationDataset, trained: Hashes) -> list[Leak]:
    """The trials of a dataset that were trained on; or whole recordings, where only all trials together tell it.

    Args:
        test: what is to be tested on.
        trained: a `fingerprint`.
    """
    if not len(trained):
        return []
    leaks: list[Leak] = []
    for recording in test.recordings:
        hashes, trial, _ = _bins(recording)
        names = np.unique(recording.trial_ids)
        of_trials = _found(hashes, trial, len(names), trained)
        of_whole = _found(hashes, np.zeros_like(trial), 1, trained)
        for called, (n_found, n_bins, by_chance) in ((names.tolist(), of_trials), ([None], of_whole)):
            rows = np.flatnonzero(by_chance * len(test) < WRONGLY)
            leaks += [Leak(recording.name, called[row], int(n_found[row]), int(n_bins[row])) for row in rows]
            if len(rows):
                break
    return leaks


def _found(
    hashes: Hashes, trial: NDArray[np.int64], n_trials: int, trained: Hashes
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(trial,) bins found, of how many, and the chance of so many (binomial; by Fisher's method over richness)."""
    known, stands = trained & ~STANDS, trained & STANDS
    hashes, trial = _once(hashes, trial)
    is_sampled = hashes <= (known[-1] if len(known) >= MOST_KEPT else ~np.uint64(0))
    hashes, trial = hashes[is_sampled], trial[is_sampled]
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    n_stands = np.where(known[place] == hashes, stands[place], 0)
    cell, shape = trial * N_RICHNESS + _richness(hashes), (n_trials, N_RICHNESS)
    n_found, n_bins = (
        np.bincount(cell[chosen], minlength=n_trials * N_RICHNESS).reshape(shape)
        for chosen in (n_stands == 1, n_stands < 2)
    )
    tail = binom.logsf(n_found - 1, n_bins, _chance(trained)).sum(axis=1)
    by_chance = chi2.sf(-2 * tail, 2 * np.maximum((n_bins > 0).sum(axis=1), 1))
    return n_found.sum(axis=1), n_bins.sum(axis=1), np.asarray(by_chance)


def _chance(trained: Hashes) -> NDArray[np.float64]:
    """(richness,) the chance that a bin stands in one trained trial, if not in several: how often trained ones do.

    The richer a bin, the less usual: where few were trained, those that are less rich tell as well.
    """
    in_one, in_two = (
        n * np.bincount(_richness(trained[(trained & STANDS) == n]), minlength=N_RICHNESS) for n in (1, 2)
    )
    chance = np.empty(N_RICHNESS)
    for rich in range(N_RICHNESS):
        found, n_bins = (counts[rich::-1].cumsum() for counts in (in_two, in_one + in_two))
        usual = np.minimum((FAR_MORE * found + 1) / (n_bins + 2), (1 + (found + 1) / (n_bins + 2)) / 2)
        chance[rich] = usual.min()
    return chance


def _bins(recording: Recording) -> tuple[Hashes, NDArray[np.int64], NDArray[np.float64]]:
    """Of every bin that is observed its hash, the place of its trial among the ids, and when in the trial, from 0 to 1.

    Windows of one trial are that trial. The numbers of individuals count in their order, their names do not.
    """
    total = np.zeros((recording.n_trials, recording.n_bins), dtype=np.uint64)
    n_active = np.zeros(total.shape, dtype=np.int64)
    number = np.arange(recording.n_individuals * recording.n_features, dtype=np.uint64)
    keys = _mixed(number + np.uint64(1)).reshape(recording.n_individuals, -1) | np.uint64(1)
    with np.errstate(over="ignore"):
        for individual, of_features in enumerate(keys):
            is_observed = recording.observed[:, individual]
            for feature, key in enumerate(of_features):
                values = recording.values[:, individual, :, feature].astype(np.float32) + np.float32(0)  # no -0
                bits = (values.view(np.uint32) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
                total += np.where(is_observed, (bits ^ (bits >> np.uint64(32))) * key, np.uint64(0))
                n_active += values != 0
    richness = np.minimum(np.ceil(np.log2(n_active + 1)), N_RICHNESS - 1).astype(np.uint64)
    hashes = (_mixed(total) & ~(STANDS | RICHNESS)) | (richness << np.uint64(2))
    trial = np.unique(recording.trial_ids, return_inverse=True)[1].reshape(-1)
    seconds = recording.trial_start_seconds[:, None] + np.arange(recording.n_bins) * recording.bin_seconds
    begin, end = np.full((2, trial.max() + 1), [[np.inf], [-np.inf]])
    np.minimum.at(begin, trial, seconds[:, 0])
    np.maximum.at(end, trial, seconds[:, -1] + recording.bin_seconds)
    is_seen = recording.bin_is_observed
    share = np.clip((seconds - begin[trial, None]) / (end - begin)[trial, None], 0, 1 - 1e-9)
    return hashes[is_seen], np.repeat(trial, is_seen.sum(axis=1)), share[is_seen]


def _mixed(numbers: Hashes) -> Hashes:
    """Numbers of 64 bits, each of which depends on all bits of one that is given (splitmix64)."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _richness(hashes: Hashes) -> NDArray[np.int64]:
    return ((hashes & RICHNESS) >> np.uint64(2)).astype(np.int64)


def _once(hashes: Hashes, trial: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Every hash once for every trial that it stands in, by hash."""
    order = np.lexsort((trial, hashes))
    hashes, trial = hashes[order], trial[order]
    is_new = np.ones(len(hashes), dtype=bool)
    is_new[1:] = (np.diff(hashes) != 0) | (np.diff(trial) != 0)
    return hashes[is_new], trial[is_new]

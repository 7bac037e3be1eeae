"""Leaks: trials that a model is tested on, though it was trained on them, under whatever name and however cut.

A bin (what all individuals do at one time) is known by a hash of its numbers. A trial leaks if far more of its bins
stand in one trained trial than chance explains. Chance is counted in training: how many bins stand in two trained
trials. Bins in more, such as silence, are evidence of nothing; where all are, as in very sparse data, nothing is found.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError

Fingerprint = NDArray[np.uint64]  # (bin, 3): hash, increasing; trained trials that it stands in; its richness
MOST_KEPT = 20_000
WRONGLY = 1e-6  # the chance that data without a leak are refused
FAR_MORE = 4  # times the odds of chance, since trials differ in how usual their bins are
N_PARTS = 20  # of a recording; what long trials share by chance is counted between them too
N_RICHNESS = 8  # classes of bins, by the binary logarithm of how many numbers are not 0


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


def refuse_leak(train: PopulationDataset, test: PopulationDataset, *, what: str) -> None:
    """Refuse to test on what was trained on; `what` is what the message calls it.

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
    if found := found_in(test, fingerprint(train, most=None)):
        first = found[0]
        trial = "" if first.trial is None else f"trial {first.trial} of "
        others = f", as were {len(found) - 1} others" if len(found) > 1 else ""
        raise InputError(
            f"{what}: {trial}recording {first.recording!r} was trained on{others} ({first.n_found} of its "
            f"{first.n_bins} different bins stand in one trained trial); give trials that were not."
        )


def by_individual(recording: Recording) -> Recording:
    """The recording with individuals in the place of bins, and bins in the place of individuals.

    `found_in` then finds trials of which only some individuals were trained on: each is known by its course in a trial.
    """
    return dataclasses.replace(
        recording,
        values=recording.values.swapaxes(1, 2),
        observed=recording.observed.swapaxes(1, 2),
        individual_ids=tuple(map(str, range(recording.n_bins))),
        targets={},
        target_levels={},
    )


def fingerprint(dataset: PopulationDataset, *, most: int | None = MOST_KEPT) -> Fingerprint:
    """What `found_in` needs to know of training trials: the bins of least hash, at most so many."""
    bins = [_bins(recording) for recording in dataset.recordings]
    hashes, richness, part, _ = (np.concatenate(arrays) for arrays in zip(*bins, strict=True))
    once = _once(hashes, part)
    known, first, n_stands = np.unique(hashes[once], return_index=True, return_counts=True)
    return np.stack([known, n_stands.astype(np.uint64), richness[once][first].astype(np.uint64)], axis=1)[:most]


def found_in(test: PopulationDataset, trained: Fingerprint) -> list[Leak]:
    """The trials of a dataset that were trained on; or whole recordings, where only all trials together tell it."""
    if trained.ndim != 2:
        raise InputError("what the run was trained on was kept by an older motet; train it again.")
    if not len(trained):
        return []
    known, n_stands, of_known = trained.T
    in_n = [np.bincount(of_known[n_stands == n].astype(np.int64), minlength=N_RICHNESS) for n in (1, 2)]
    # By Good and Turing; poorer bins tell of richer ones, which are never more usual, where few were trained.
    ones, twos = (np.tril(counts.cumsum()[:, None] - counts.cumsum() + counts) for counts in in_n)
    usual = (2 * FAR_MORE * twos + 1) / (2 * FAR_MORE * twos + ones + 2)
    chance = usual.min(axis=1, where=np.tri(N_RICHNESS, dtype=bool), initial=1)
    last = known[-1] if len(known) >= MOST_KEPT else ~np.uint64(0)
    leaks: list[Leak] = []
    for recording in test.recordings:
        hashes, richness, _, trial = _bins(recording)
        names = np.unique(recording.trial_ids).tolist()
        for called, of_bin in ((names, trial), ([None], np.zeros_like(trial))):
            once = _once(hashes, of_bin)
            once = once[hashes[once] <= last]
            place = np.minimum(np.searchsorted(known, hashes[once]), len(known) - 1)
            stands = np.where(known[place] == hashes[once], n_stands[place], 0)
            n_found, n_bins, expected = (
                np.bincount(of_bin[once], weights, len(called))
                for weights in (stands == 1, stands < 2, (stands < 2) * chance[richness[once]])
            )
            by_chance = binom.sf(n_found - 1, n_bins, expected / np.maximum(n_bins, 1))
            rows = np.flatnonzero(by_chance * len(test) < WRONGLY)
            leaks += [Leak(recording.name, called[row], int(n_found[row]), int(n_bins[row])) for row in rows]
            if len(rows):
                break
    return leaks


def _bins(recording: Recording) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of every observed bin its hash, its richness, the part of the recordings and the trial of its own that it is in.

    Windows of one trial are that trial. The numbers of individuals count in their order, their names do not.
    """
    total = np.zeros((recording.n_trials, recording.n_bins), dtype=np.uint64)
    n_active = np.zeros(total.shape, dtype=np.int64)
    number = np.arange(recording.n_individuals * recording.n_features, dtype=np.uint64)
    keys = _mixed(number + np.uint64(1)).reshape(recording.n_individuals, -1) | np.uint64(1)
    for individual, of_features in enumerate(keys):
        is_observed = recording.observed[:, individual]
        for feature, key in enumerate(of_features):
            values = recording.values[:, individual, :, feature].astype(np.float32) + np.float32(0)  # no -0
            bits = (values.view(np.uint32) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            total += np.where(is_observed, (bits ^ (bits >> np.uint64(32))) * key, np.uint64(0))
            n_active += values != 0
    richness = np.minimum(np.ceil(np.log2(n_active + 1)), N_RICHNESS - 1).astype(np.int64)
    seconds = recording.trial_start_seconds[:, None] + np.arange(recording.n_bins) * recording.bin_seconds
    elapsed = seconds - seconds.min() + recording.bin_seconds / 2
    trial = np.unique(recording.trial_ids, return_inverse=True)[1].reshape(-1, 1)
    part = trial * N_PARTS + (N_PARTS * elapsed / (elapsed.max() + recording.bin_seconds)).astype(np.int64)
    is_seen = recording.bin_is_observed
    return _mixed(total)[is_seen], richness[is_seen], part[is_seen], np.broadcast_to(trial, part.shape)[is_seen]


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers of 64 bits, each of which depends on all bits of one that is given (splitmix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _once(hashes: NDArray[np.uint64], part: NDArray[np.int64]) -> NDArray[np.intp]:
    """The places of hashes, each once for every part that it stands in."""
    return np.unique(_mixed(hashes + _mixed(part.astype(np.uint64) + np.uint64(1))), return_index=True)[1]

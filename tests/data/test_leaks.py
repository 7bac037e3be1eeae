"""Leaks are found however trials are cut and called, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import itertools
import time
import tracemalloc

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.leaks import MOST_KEPT, fingerprint, found_in, refuse_leak
from motet.data.recording import Recording
from motet.errors import InputError
from motet.systems import simulate


def counts(rate: float, n_individuals: int, *, n_trials: int = 40, n_bins: int = 20, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    return Recording.from_trials(rng.poisson(rate, (n_trials, n_individuals, n_bins)), name=f"counts-{seed}")


def leaks(train: Recording, test: Recording) -> list:
    full = found_in(PopulationDataset(test), fingerprint(PopulationDataset(train), most=None))
    kept = found_in(PopulationDataset(test), fingerprint(PopulationDataset(train)))
    assert [leak.trial for leak in full] == [leak.trial for leak in kept]
    return full


WHOLE = counts(1.0, 30)
SEEN, NEW = WHOLE.select(trials=slice(0, 30)), WHOLE.select(trials=slice(30, 40))
CUTS = {
    "as it is": lambda r: r,
    "windows": lambda r: r.windows(5, stride=3),
    "single bins": lambda r: r.windows(1),
    "fewer bins": lambda r: r.select(bins=slice(4, 12)),
    "another name": lambda r: dataclasses.replace(r, name="x", individual_ids=tuple(f"x/{i}" for i in range(30))),
    "another bin": lambda r: dataclasses.replace(r, bin_seconds=7.0, trial_ids=np.arange(r.n_trials) + 100),
    "float64": lambda r: dataclasses.replace(r, values=r.values.astype(np.float64)),
}


@pytest.mark.parametrize("trained", CUTS)
def test_trained_trials_are_found_however_they_are_cut(trained):
    mixed = WHOLE.select(trials=slice(25, 40))
    for tested, cut in CUTS.items():
        found = leaks(CUTS[trained](SEEN), cut(mixed))
        first = 100 if tested == "another bin" else 25
        assert [leak.trial for leak in found] == list(range(first, first + 5)), tested
        assert leaks(CUTS[trained](SEEN), cut(NEW)) == [], tested


@pytest.mark.parametrize("n_bins", [20, 60])
def test_one_long_trial_is_found_and_its_continuation_is_not(n_bins):
    long = counts(1.0, 30, n_trials=1, n_bins=400)
    train = long.select(bins=slice(0, 300))
    assert leaks(train, long.select(bins=slice(300, 400))) == []
    assert len(leaks(train, long.select(bins=slice(300 - n_bins, 400)))) == 1


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5, 2.0])
def test_sparse_and_silent_data_are_never_refused(rate):
    for seed, n_individuals, n_trials in itertools.product(range(2), (1, 3, 10, 100), (1, 2, 8, 200)):
        whole = counts(rate, n_individuals, n_trials=n_trials + 20, n_bins=50, seed=seed)
        assert leaks(whole.select(trials=slice(0, n_trials)), whole.select(trials=slice(n_trials, None))) == []


@pytest.mark.parametrize("n_trained", [2, 10, 100])
@pytest.mark.parametrize("n_individuals", [5, 40, 200])
def test_trials_that_differ_in_how_active_they_are_are_never_refused(n_individuals, n_trained):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rate = np.exp(rng.normal(-3.0, 1.5, (n_trained + 20, 1, 1)))
        rate = rate * np.exp(rng.normal(0.0, 1.0, (n_individuals, 1)))
        rate = rate * np.exp(np.cumsum(rng.normal(0, 0.2, (n_trained + 20, 1, 100)), axis=2))  # and drifts
        values = rng.poisson(np.minimum(rate, 20.0))
        train, test = (Recording.from_trials(values[part]) for part in (slice(20, None), slice(0, 20)))
        assert leaks(train, test) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_long_sparse_recording_split_in_time_is_not_refused(seed):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(-2.5, 1.0, (12, 1)) + np.cumsum(rng.normal(0, 0.02, (1, 20_000)), axis=1))
    whole = Recording.from_trials(rng.poisson(np.minimum(rate, 5.0))[None])
    train, test = whole.select(bins=slice(0, 16_000)), whole.select(bins=slice(16_000, None))
    assert leaks(train, test) == []
    assert leaks(train.windows(100, stride=50), test.windows(100, stride=50)) == []


@pytest.mark.parametrize("system", ["gravity", "springs", "charged", "kuramoto", "population"])
def test_simulations_of_another_seed_are_never_refused_and_the_same_are(system):
    options = {} if system in ("kuramoto", "population") else {"engine": "numpy"}
    one, same, other = (simulate(system, n_trials=20, n_bins=10, seed=seed, **options)[0] for seed in (0, 0, 1))
    assert leaks(one, other) == []
    assert len(leaks(one, same)) == 20
    half = dataclasses.replace(same.select(trials=slice(5)), name="half")
    with pytest.raises(InputError, match="test: trial 0 of recording 'half' was trained on, as were 4 others"):
        refuse_leak(PopulationDataset(one), PopulationDataset(half), what="test")


def test_what_is_not_observed_and_signs_of_zero_do_not_hide_a_leak():
    values = np.round(np.random.default_rng(0).normal(size=(30, 20, 15)), 1)
    values[:, 3, 5:9] = np.nan
    hidden = np.where(values == 0, -0.0, values)
    assert len(leaks(Recording.from_trials(values), Recording.from_trials(hidden))) == 30
    padded = np.pad(values, ((0, 0), (0, 2), (0, 4)), constant_values=np.nan)
    assert len(leaks(Recording.from_trials(values), Recording.from_trials(padded))) == 30


def test_nothing_observed_is_no_leak():
    empty = Recording.from_trials(np.full((3, 2, 4), np.nan))
    assert leaks(empty, WHOLE) == leaks(WHOLE, empty) == leaks(empty, empty) == []


def test_a_fingerprint_of_an_older_motet_is_refused():
    with pytest.raises(InputError, match="train it again"):
        found_in(PopulationDataset(WHOLE), np.arange(3, dtype=np.uint64))


def test_a_fingerprint_is_small_and_still_tells_all_trials_of_a_large_recording():
    large = counts(1.0, 30, n_trials=4000, n_bins=50)
    kept = fingerprint(PopulationDataset(large))
    assert kept.dtype == np.uint64
    assert kept.shape == (MOST_KEPT, 3)
    assert found_in(PopulationDataset(counts(1.0, 30, n_trials=4000, n_bins=50, seed=1)), kept) == []
    assert len(found_in(PopulationDataset(large), kept)) > 3000
    short = large.select(bins=slice(0, 1))
    (leak,) = found_in(PopulationDataset(short.select(trials=slice(0, 400))), kept)
    assert leak.trial is None
    assert leak.n_found == leak.n_bins > 20


def test_a_large_recording_takes_two_seconds_and_little_memory():
    values = np.random.default_rng(0).poisson(1.0, (1, 200, 100_000, 1)).astype(np.float32)
    observed = np.ones(values.shape[:3], dtype=bool)
    one = PopulationDataset(Recording(values, observed, tuple(map(str, range(200))), {}))
    begin = time.perf_counter()
    kept = fingerprint(one)
    assert time.perf_counter() - begin < 2
    tracemalloc.start()
    assert found_in(one, kept)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()

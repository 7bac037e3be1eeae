"""Every spike once, every sample in its bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.data.binning import average_samples, count_spikes
from motet.errors import InputError

# Times on a grid of quarters, so that many spikes fall exactly on edges.
quarter_times = st.lists(st.integers(-8, 40).map(lambda quarters: quarters / 4), max_size=40)
edge_lists = st.lists(st.integers(0, 36), min_size=2, max_size=12, unique=True).map(
    lambda quarters: np.sort(np.array(quarters)) / 4
)


@given(times=quarter_times, edges=edge_lists)
def test_adjoining_bins_hold_every_spike_once(times: list[float], edges: np.ndarray) -> None:
    spikes = np.array(times)
    counts = count_spikes(spikes, edges)
    assert counts.shape == (len(edges) - 1,)
    assert counts.sum() == np.sum((spikes >= edges[0]) & (spikes < edges[-1]))
    assert count_spikes(spikes, edges[[0, -1]]).tolist() == [counts.sum()]


@given(units=st.lists(quarter_times, min_size=1, max_size=4), trials=st.lists(st.integers(0, 9), min_size=1))
def test_units_and_overlapping_trials_are_counted_as_each_alone(units: list[list[float]], trials: list[int]) -> None:
    edges = np.array(trials)[:, None] + np.arange(5) * 0.5
    counts = count_spikes([np.array(unit) for unit in units], edges)
    for unit, times in enumerate(units):
        for trial in range(len(trials)):
            for position in range(4):
                left, right = edges[trial, position : position + 2]
                assert counts[unit, trial, position] == sum(left <= time < right for time in times)


@given(
    samples=hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-9, 9)),
    edges=edge_lists,
    hole=st.integers(0, 29),
)
def test_a_bin_holds_the_mean_of_its_samples(samples: np.ndarray, edges: np.ndarray, hole: int) -> None:
    samples[hole % len(samples), 0] = np.nan
    times = np.arange(len(samples)) / 4
    means = average_samples(times, samples, edges)
    for left, right, mean in zip(edges[:-1], edges[1:], means, strict=True):
        inside = samples[(times >= left) & (times < right)]
        for feature in range(2):
            known = inside[~np.isnan(inside[:, feature]), feature]
            assert np.isclose(mean[feature], known.mean() if len(known) else np.nan, equal_nan=True)


def test_times_and_edges_that_make_no_sense_are_refused() -> None:
    for times, edges in (
        ([np.nan], [0, 1]),
        ([0.5], [1, 0]),
        ([0.5], [0]),
        ([0.5], [0, np.inf]),
        ([[[0]]], [0, 1]),
    ):
        with pytest.raises(InputError):
            count_spikes(times, edges)
    with pytest.raises(InputError, match="increasing"):
        average_samples([1.0, 0.0], [[1.0], [2.0]], [0, 1])

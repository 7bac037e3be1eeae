"""Every spike once, every sample in its bin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.data.binning import average_samples, count_spikes
from motet.errors import InputError

pandas = pytest.importorskip("pandas")

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


@pytest.mark.parametrize("start", [0.0, 0.3, 86_400.0, 1.7e9])
@pytest.mark.parametrize(("rate", "n_per_bin"), [(1000, 20), (30_000, 300), (24_414, 7), (3, 1)])
def test_times_on_a_sampling_grid_fall_into_the_bin_of_their_tick(start: float, rate: int, n_per_bin: int) -> None:
    n_bins = 400
    ticks = np.arange(n_bins * n_per_bin)
    edges = start + np.arange(n_bins + 1) * (n_per_bin / rate)
    for times in (start + ticks / rate, start + ticks * (1 / rate)):
        assert (count_spikes(times, edges) == n_per_bin).all()
        means = average_samples(times, ticks[:, None], edges).reshape(n_bins)
        np.testing.assert_allclose(means, np.arange(n_bins) * n_per_bin + (n_per_bin - 1) / 2)


def test_a_spike_one_tick_before_an_edge_is_before_it() -> None:
    assert count_spikes([1 - 1 / 30_000, 1.0], [0, 1, 2]).tolist() == [1, 1]


def test_units_come_in_any_container_in_their_order() -> None:
    one, other = [0.1, 0.6], np.array([0.2])
    units: list[Any] = [
        [one, other],
        (np.array(one), other),
        {"b": one, "a": other},
        {951: np.array(one), 2: other},
        pandas.Series([one, other], index=[7, 3]),
        pandas.Series({"y": np.array(one), "x": other}),
        np.array([np.array(one), other], dtype=object),
        (unit for unit in (one, other)),
        [pandas.Series(one, index=[5, 6]), other.astype(">f4")],
    ]
    for container in units:
        assert count_spikes(container, [0, 0.5, 1]).tolist() == [[1, 1], [1, 0]]
    for unit in (one, np.array(one), pandas.Series(one, index=[4, 9]), iter(one), np.array(one)[:, None][:, 0]):
        assert count_spikes(unit, [0, 0.5, 1]).tolist() == [1, 1]
    assert count_spikes([[], [0.3]], [0, 0.5]).tolist() == [[0], [1]]


@pytest.mark.parametrize("wild", [1e30, -1e200, 1e16])
def test_a_wild_sample_spoils_its_bin_only(wild: float) -> None:
    samples = np.arange(40.0).reshape(20, 2)
    spoiled = samples.copy()
    spoiled[7, 1] = wild
    edges = [[0, 5, 10, 15, 20], [3, 6, 9, 12, 15], [-5, 0, 2, 2.5, 30]]
    found, expected = (average_samples(np.arange(20), s, edges) for s in (spoiled, samples))
    is_other = np.abs(found) < 1e14
    np.testing.assert_array_equal(found[is_other], expected[is_other])
    assert (~is_other & ~np.isnan(found)).sum() == 3


def test_times_and_edges_that_make_no_sense_are_refused() -> None:
    for times, edges in (
        ([np.nan], [0, 1]),
        ([0.5], [1, 0]),
        ([0.5], [0]),
        ([0.5], [0, np.inf]),
        ([[[0]]], [0, 1]),
        (np.array([1, 2], "m8[s]"), [0, 1]),
        (["0.5"], [0, 1]),
        ([1j], [0, 1]),
        ("0.5", [0, 1]),
        (0.5, [0, 1]),
        ([0.5, None], [0, 1]),
    ):
        with pytest.raises(InputError):
            count_spikes(times, edges)
    with pytest.raises(InputError, match="infinite in places"):
        average_samples([0.0, 1.0], [[1.0], [np.inf]], [0, 1])
    with pytest.raises(InputError, match="increasing"):
        average_samples([1.0, 0.0], [[1.0], [2.0]], [0, 1])

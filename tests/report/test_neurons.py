"""Firing rates are those of the trials, and the neurons that tell most are those of an analysis of variance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.feature_selection import f_classif

from motet.data.recording import Recording
from motet.errors import InputError
from motet.report.neurons import informative_individuals, psths


def recording_of(counts: np.ndarray, **targets: Any) -> Recording:
    return Recording.from_trials(counts, targets=targets, bin_seconds=0.1, name="r")


def ragged_recording(seed: int = 0) -> Recording:
    """24 trials of 3 to 7 bins, 3 neurons of which the last was never observed, three classes."""
    random = np.random.default_rng(seed)
    counts = random.poisson(3.0, (24, 3, 7)).astype(float)
    counts[np.broadcast_to(np.arange(7) >= random.integers(3, 8, (24, 1, 1)), counts.shape)] = np.nan
    counts[:, 2] = np.nan
    return recording_of(counts, state=np.arange(24) % 3)


def psth_lines(figure: Figure, panel: int = 0) -> np.ndarray:
    """(class, time) of the rates drawn in a panel, in Hz."""
    return np.asarray([line.get_ydata() for line in figure.axes[panel].lines])


# PSTHs


def test_psths_are_means_over_the_observed_trials_of_a_class_in_hz() -> None:
    recording = ragged_recording()
    figure = psths(recording, "state", [1, 0])
    for panel, individual in enumerate([1, 0]):
        axes = figure.axes[panel]
        for state, drawn in enumerate(psth_lines(figure, panel)):
            trials = recording.target("state") == state
            rate_hz = np.where(recording.observed, recording.values[..., 0], np.nan)[trials, individual] / 0.1
            n = np.isfinite(rate_hz).sum(axis=0)
            keep = np.flatnonzero(2 * n >= n.max())
            np.testing.assert_allclose(drawn[keep], np.nanmean(rate_hz[:, keep], axis=0), rtol=1e-6)
            assert np.isnan(np.delete(drawn, keep)).all()
            band: Any = axes.collections[state].get_paths()[0].vertices
            sem = np.nanstd(rate_hz[:, 0], ddof=1) / np.sqrt(n[0])
            at_first_bin = band[np.isclose(band[:, 0], 0.05), 1]
            np.testing.assert_allclose(np.ptp(at_first_bin), 2 * sem, rtol=1e-6)


def test_psths_show_bin_centres_in_seconds() -> None:
    figure = psths(recording_of(np.ones((2, 1, 3)), side=[0, 1]), "side")
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xdata()), [0.05, 0.15, 0.25])


def test_padding_never_changes_a_psth() -> None:
    counts = np.random.default_rng(0).poisson(2.0, (6, 2, 4)).astype(float)
    padded = np.concatenate([counts, np.full((6, 2, 3), np.nan)], axis=2)
    plain, long = (psths(recording_of(c, side=[0, 1] * 3), "side", [0]) for c in (counts, padded))
    np.testing.assert_array_equal(psth_lines(plain), psth_lines(long)[:, :4])


def test_a_neuron_never_observed_says_so() -> None:
    axes = psths(ragged_recording(), "state", [0, 2]).axes[1]
    assert [text.get_text() for text in axes.texts] == ["not observed"]
    assert not axes.lines


def test_psths_of_one_class_and_one_trial_are_drawn_without_a_band() -> None:
    figure = psths(recording_of(np.ones((1, 2, 3)), side=["left"]), "side")
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    np.testing.assert_allclose(psth_lines(figure), [[10.0] * 3])


def test_psths_choose_the_most_informative_twelve_of_many() -> None:
    counts = np.random.default_rng(0).poisson(2.0, (10, 15, 4))
    recording = recording_of(counts, side=[0, 1] * 5)
    best = informative_individuals(recording, "side", 12)
    titles = [axes.get_title("left") for axes in psths(recording, "side").axes]
    assert titles == [f"neuron {i}" for i in best]


def test_an_id_loses_its_recordings_name_and_the_start_of_a_long_one() -> None:
    recording = dataclasses.replace(
        recording_of(np.ones((2, 3, 3)), side=[0, 1]), individual_ids=("r/a", "s/1", "an-id-longer-than-a-panel")
    )
    assert [axes.get_title("left") for axes in psths(recording, "side", [0, 1, 2]).axes] == [
        "a",
        "s/1",
        "…nger-than-a-panel",
    ]


@pytest.mark.parametrize(
    ("target", "individuals", "message"),
    [
        ("sid", None, "did you mean 'side'"),
        ("speed", None, "choose one with a class per trial"),
        ("phase", None, "choose one with a class per trial"),
        ("side", [1, 1], "twice"),
    ],
)
def test_psths_refuse_what_they_cannot_draw(target: str, individuals: Any, message: str) -> None:
    targets = {"side": [0, 1], "speed": [0.5, 1.5], "phase": np.zeros((2, 3), dtype=int)}
    with pytest.raises(InputError, match=message):
        psths(recording_of(np.ones((2, 14, 3)), **targets), target, individuals)


@pytest.mark.parametrize("values", [-np.ones((2, 2, 3)), np.ones((2, 2, 3, 2))])
def test_what_is_no_count_is_refused(values: np.ndarray) -> None:
    recording = recording_of(values, side=[0, 1])
    draws: list[Callable[..., Any]] = [psths, informative_individuals]
    for draw in draws:
        with pytest.raises(InputError, match="one feature that holds counts"):
            draw(recording, "side", 1)


# Informative individuals


def test_ranking_is_that_of_the_anova_f_of_root_counts_over_the_trials_that_saw_a_neuron() -> None:
    random = np.random.default_rng(0)
    side = np.arange(40) % 4
    counts = random.poisson(3 + random.gamma(1, 1, (1, 9, 1)) * (side % 2)[:, None, None], (40, 9, 5)).astype(float)
    counts[np.broadcast_to(random.random((40, 9, 1)) < 0.2, counts.shape)] = np.nan
    counts[:20, :, 4] = np.nan
    with np.errstate(invalid="ignore"):
        root = np.sqrt(np.nansum(counts, axis=2) / np.isfinite(counts).sum(axis=2))
    f = [f_classif(root[seen, i][:, None], side[seen])[0].item() for i, seen in enumerate(np.isfinite(root).T)]
    ranked = informative_individuals(recording_of(counts, side=side), "side", 9)
    assert ranked.tolist() == np.argsort(f)[::-1].tolist()


def test_ranking_follows_neurons_when_they_change_places() -> None:
    counts = np.random.default_rng(1).poisson(3.0, (20, 6, 5))
    order = np.random.default_rng(2).permutation(6)
    plain = informative_individuals(recording_of(counts, side=[0, 1] * 10), "side", 6)
    moved = informative_individuals(recording_of(counts[:, order], side=[0, 1] * 10), "side", 6)
    assert order[moved].tolist() == plain.tolist()


def test_constant_neurons_come_last_and_unseen_ones_not_at_all() -> None:
    counts = np.ones((6, 4, 3)) * 0.1
    counts[:, 2] = np.nan
    counts[:, 3] += np.array([0, 1, 2, 10, 11, 12])[:, None]
    recording = recording_of(counts, side=[0, 0, 0, 1, 1, 1])
    assert informative_individuals(recording, "side", 4).tolist() == [3, 0, 1]


def test_rounding_never_makes_a_constant_neuron_informative() -> None:
    side = np.array([0] * 3 + [1] * 7)
    rates = np.random.default_rng(0).random(50)
    counts = np.tile(np.append(rates, 0.0)[:, None], (10, 1, 4))
    counts[:, 50] = np.random.default_rng(1).poisson(3.0, (10, 4))
    ranked = informative_individuals(recording_of(counts, side=side), "side", 51)
    assert ranked.tolist() == [50, *range(50)]


def test_a_perfectly_separating_neuron_comes_first() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (6, 3, 2)).astype(float)
    counts[:, 2] = np.array([0, 0, 0, 1, 1, 1])[:, None]
    recording = recording_of(counts, side=[0, 0, 0, 1, 1, 1])
    assert informative_individuals(recording, "side", 1).tolist() == [2]


def test_with_one_class_neurons_keep_their_order() -> None:
    recording = recording_of(np.random.default_rng(0).poisson(3.0, (6, 3, 2)), side=[1] * 6)
    assert informative_individuals(recording, "side", 2).tolist() == [0, 1]

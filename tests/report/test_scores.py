"""Scores and learning curves: the lines and dots are the numbers."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes

from motet.report.scores import learning_curve, score_comparison

HISTORY: dict[str, Any] = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [4.0, 3.0, 2.0, 1.0],
    "validation_loss": [4.0, 2.0, 2.5, 3.0],
    "validation_score": [0.1, 0.5, 0.7, 0.6],
    "learning_rate": [0.1, 0.1, 0.1, 0.1],
}


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, point) of the line of that label."""
    return np.asarray(next(line for line in axes.lines if line.get_label() == label).get_data())


# Score comparison


def test_a_row_shows_the_mean_and_the_interval_of_the_table() -> None:
    folds = np.array([0.8, 0.9, 0.85, 0.7])
    axes = score_comparison(
        {"EIT": [*folds, np.nan], "one": [0.5]}, "accuracy", intervals={"EIT": (0.7, 0.95), "one": None}
    ).axes[0]
    dots, interval = cast(Any, axes.collections[:2])
    np.testing.assert_allclose(dots.get_offsets()[:, 0], folds)
    np.testing.assert_allclose(interval.get_segments()[0][:, 0], [0.7, 0.95])
    assert [text.get_text() for text in axes.texts[:2]] == ["0.812 [0.700, 0.950]", "0.500"]


def test_the_best_rival_and_near_chance_are_lines() -> None:
    scores = {"EIT": [0.6], "LDA": [0.4], "NDT": [0.5], "shuffled": [0.3]}
    axes = score_comparison(scores, "R²", rivals=["LDA", "NDT"], chance=["shuffled"]).axes[0]
    assert line(axes, "best rival")[0].tolist() == [0.5, 0.5]
    assert line(axes, "chance")[0].tolist() == [0.3, 0.3]


@pytest.mark.parametrize(("level", "arrow"), [(0.1, "<"), (1.7, ">")])
def test_distant_chance_is_an_arrow_and_leaves_the_methods_their_room(level: float, arrow: str) -> None:
    scores = {"EIT": [0.90, 0.92, 0.93], "LDA": [0.89, 0.90, 0.91], "shuffled": [level]}
    intervals = {"EIT": (0.89, 0.94), "LDA": (0.88, 0.92)}
    axes = score_comparison(scores, "accuracy", chance=["shuffled"], intervals=intervals).axes[0]
    assert axes.lines[-1].get_marker() == arrow
    low, high = axes.get_xlim()
    assert 0.8 < low < 0.88
    assert 0.93 < high < 1
    segments = [c.get_segments()[0][:, 0] for c in cast(Any, axes.collections[1:4:2])]
    assert all(low < left < right < high for left, right in segments)


def test_the_line_at_chance_is_the_best_of_those_that_know_nothing() -> None:
    scores = {"EIT": [0.6], "LDA": [0.2], "majority": [0.1], "shuffled": [0.15]}
    axes = score_comparison(scores, "accuracy", chance=["majority", "shuffled"]).axes[0]
    assert line(axes, "chance")[0].tolist() == [0.15, 0.15]


def test_a_wide_interval_leaves_the_folds_their_room_and_goes_on_as_an_arrow() -> None:
    intervals = {"EIT": (-0.5, 1.5), "LDA": (0.5, 0.7)}
    axes = score_comparison({"EIT": [0.5, 0.7], "LDA": [0.6, 0.61]}, "accuracy", intervals=intervals).axes[0]
    left, right = cast(Any, axes.collections[1]).get_segments()[0][:, 0]
    low, high = axes.get_xlim()
    assert left < low < 0.5
    assert 0.7 < high < right
    assert high - low < 4 * (0.7 - 0.5)
    assert sorted(marker for line in axes.lines if (marker := line.get_marker()) in ("<", ">")) == ["<", ">"]


@pytest.mark.parametrize("scores", [{"EIT": [0.5]}, {"EIT": [0.0], "LDA": [0.0]}, {"shuffled": [0.1, 0.1]}])
def test_scores_that_are_all_the_same_are_drawn(scores: Any) -> None:
    axes = score_comparison(scores, "accuracy", chance=[name for name in scores if name == "shuffled"]).axes[0]
    low, high = axes.get_xlim()
    assert low < next(iter(scores.values()))[0] < high


def test_numbers_have_a_minus_and_no_negative_zero() -> None:
    axes = score_comparison({"a": [-0.25], "b": [-0.0001]}, "R²").axes[0]
    assert [text.get_text() for text in axes.texts[:2]] == ["−0.250", "0.000"]


# Learning curve


def test_the_best_epoch_has_the_least_validation_loss() -> None:
    figure = learning_curve(HISTORY)
    assert line(figure.axes[0], "best: epoch 2")[0].tolist() == [2]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "best: epoch 2"


def test_folds_are_averaged_over_the_epochs_that_all_reached() -> None:
    longer = {"epoch": [1.0, 2.0, 3.0], "validation_loss": [5.0, 3.0, 1.0]}
    shorter = {"epoch": [1.0, 2.0], "validation_loss": [3.0, 2.0]}
    axes = learning_curve([longer, shorter]).axes[0]
    np.testing.assert_allclose(line(axes, "validation"), [[1.0, 2.0], [4.0, 2.5]])
    np.testing.assert_allclose(line(axes, "best epoch of each fold"), [[3, 2], [1, 2]])
    assert len(axes.lines) == 4


def test_epochs_without_a_measurement_are_bridged() -> None:
    history = {"epoch": [1.0, 2.0, 3.0], "train_loss": [3.0, 2.0, 1.0], "validation_loss": [3.0, np.nan, 2.0]}
    axes = learning_curve(history).axes[0]
    np.testing.assert_allclose(line(axes, "validation"), [[1, 3], [3, 2]])
    np.testing.assert_allclose(line(axes, "best: epoch 3"), [[3], [2]])


def test_columns_never_measured_are_not_drawn_and_leave_no_best_epoch() -> None:
    never = {"validation_loss": [np.nan] * 2, "validation_score": [np.nan] * 2}
    figure = learning_curve({"epoch": [1, 2], "train_loss": [2, 1], **never})
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training"]

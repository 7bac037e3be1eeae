"""How well pairs are told apart: curves, dots and legends are the numbers, and what is undefined is said."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from motet import metrics as metrics_of_motet
from motet.report.pair_scores import draw_calibration, draw_roc_and_precision_recall, draw_size_curve
from motet.report.style import MOST_POINTS

pytestmark = pytest.mark.filterwarnings("error")


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, point) of the line of that label."""
    return np.asarray(next(line for line in axes.lines if line.get_label() == label).get_data())


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# ROC and precision–recall


def test_curves_and_areas_are_those_of_the_known_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 2, (5, 6, 6))
    score = truth + rng.normal(size=truth.shape)
    score[0] = np.nan
    known = (truth >= 0) & ~np.isnan(score)
    figure = draw_roc_and_precision_recall({"EIT": (score, truth), "rule": (-score, truth)})
    auroc = metrics.roc_auc_score(truth[known], score[known])
    precision = metrics.average_precision_score(truth[known], score[known])
    assert entries(figure)[0] == f"EIT\nAUROC {auroc:.3f}, AP {precision:.3f}"
    false, right = line(figure.axes[0], "EIT")
    np.testing.assert_allclose(metrics.auc(false, right), auroc)
    recall, height = line(figure.axes[1], "EIT")
    np.testing.assert_allclose((np.diff(recall) * height[1:]).sum(), precision)
    assert recall[0] == 0
    assert height[0] == height[1]  # not 1, which was never measured
    np.testing.assert_allclose(line(figure.axes[1], "chance")[1], truth[known].mean(), atol=5e-4)


def test_infinite_scores_have_a_rank() -> None:
    assert entries(draw_roc_and_precision_recall({"fit": ([-np.inf, 0.0, np.inf], [0, 0, 1])}))[0] == (
        "fit\nAUROC 1.000, AP 1.000"
    )


def test_curves_of_many_pairs_have_few_points_and_the_same_area() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(50_000) < 0.1).astype(int)
    score = 2 * truth + rng.normal(size=truth.size)
    figure = draw_roc_and_precision_recall({"EIT": (score, truth)})
    for axes in figure.axes:
        assert len(line(axes, "EIT")[0]) <= MOST_POINTS
    assert metrics.auc(*line(figure.axes[0], "EIT")) == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-3)
    recall, height = line(figure.axes[1], "EIT")
    area = (np.diff(recall) * height[1:]).sum()
    assert area == pytest.approx(metrics.average_precision_score(truth, score), abs=2e-3)


@pytest.mark.parametrize(
    ("truth", "said"),
    [([1, 1], "undefined: only edges"), ([0, 0], "undefined: no edge"), ([-1, -1], "undefined: no pairs")],
)
def test_one_class_is_said_and_not_drawn(truth: list[int], said: str) -> None:
    figure = draw_roc_and_precision_recall({"EIT": ([0.1, 0.2], truth)})
    assert entries(figure)[0] == f"EIT\n{said}"
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["undefined"] * 2


# Calibration


def test_a_bin_stands_at_its_mean_probability_and_frequency() -> None:
    probability = np.array([0.02, 0.06, 0.5, 1.0, 1.0, np.nan, 0.3])
    truth = np.array([0, 1, 1, 1, 0, 1, -1])
    figure = draw_calibration(*[{"EIT": (probability, truth)}] * 2, legend_title="method")
    upper, _, lower, _ = figure.axes
    np.testing.assert_allclose(upper.lines[1].get_data(), [[0.04, 0.5, 1.0], [0.5, 1.0, 0.5]])
    np.testing.assert_array_equal(cast(Any, lower.patches[0]).get_data().values, [2, *[0] * 6, 1, *[0] * 6, 2])
    error = f"{(2 * 0.46 + 0.5 + 2 * 0.5) / 5:.3f}"
    assert entries(figure) == [f"EIT: ECE {error} → {error}"]


def test_before_and_after_share_labels_and_the_legend_shows_the_gain() -> None:
    truth = np.arange(100) < 30
    figure = draw_calibration({10: (np.full(100, 0.8), truth)}, {10: (np.full(100, 0.3), truth)}, legend_title="n")
    assert entries(figure) == ["10: ECE 0.500 → 0.000"]
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["before", "after"]


def test_a_label_of_one_class_is_said() -> None:
    pairs = {4: ([], np.zeros(0, int)), 5: ([0.0, 1.0], [0, 1]), 6: ([0.1], [0])}
    none, found, one = entries(draw_calibration(pairs, pairs, legend_title="n"))
    assert (none, found) == ("4: ECE undefined: no pairs → undefined: no pairs", "5: ECE 0.000 → 0.000")
    assert one == "6: ECE undefined: no edge → undefined: no edge"


def test_calibration_is_that_of_the_tables() -> None:
    rng = np.random.default_rng(0)
    probability, truth = rng.random((9, 6, 6)), rng.integers(-1, 2, (9, 6, 6))
    error = metrics_of_motet.expected_calibration_error(prediction=probability, target=truth, observed=truth >= 0)
    figure = draw_calibration(*[{6: (probability, truth)}] * 2, legend_title="n")
    assert entries(figure) == [f"6: ECE {error:.3f} → {error:.3f}"]


# Size curve


def test_a_size_curve_has_means_intervals_and_shaded_training() -> None:
    scores = {"EIT": {8: (0.9, 0.8, 0.95), 4: (0.99, 0.98, 1.0), 6: (np.nan,) * 3}, "rule": {4: (np.nan,) * 3}}
    figure = draw_size_curve(scores, "average precision", trained_sizes=[4, 5])
    axes = figure.axes[0]
    np.testing.assert_allclose(line(axes, "EIT"), [[4, 8], [0.99, 0.9]])
    intervals = np.asarray(cast(Any, axes.collections[0]).get_segments())
    np.testing.assert_allclose(intervals, [[[4, 0.98], [4, 1.0]], [[8, 0.8], [8, 0.95]]])
    assert [patch.get_xy()[0] for patch in cast(Any, axes.patches)] == [3.5, 4.5]
    assert entries(figure) == ["EIT", "rule (not measured)", "trained on"]


def test_ticks_stand_at_the_sizes_as_far_as_there_is_room() -> None:
    sizes = [4, 5, 6, 8, 10, 20, 38, 39, 40]
    axes = draw_size_curve({"EIT": dict.fromkeys(sizes, (0.9, 0.8, 1.0))}, "ARI").axes[0]
    assert axes.get_xticks().tolist() == [4, 5, 6, 8, 10, 20, 38]

"""Forecasts: lines, dots and titles are the numbers, and what runs away does not hide the rest."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from motet.report.forecasts import draw_error_against_horizon, draw_forecast_trajectories

pytestmark = pytest.mark.filterwarnings("error")

SECONDS = np.array([0.5, 1.0, 1.5, 2.0])


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, point) of the line of that label."""
    return np.asarray(next(line for line in axes.lines if line.get_label() == label).get_data())


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


# Error against horizon


def test_lines_are_medians_and_bands_quartiles_of_the_measured_trials() -> None:
    error = np.random.default_rng(0).gamma(1.0, size=(9, 4))
    error[0, 1:] = np.nan
    axes = draw_error_against_horizon(SECONDS, {"EIT": error}, error_name="position error (m)").axes[0]
    low, median, high = np.nanquantile(error, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(line(axes, "EIT"), [SECONDS, median])
    band = cast(Any, axes.collections[0]).get_paths()[0].vertices
    for quartile in (low, high):
        for point in zip(SECONDS, quartile, strict=True):
            assert np.isclose(band, point).all(axis=1).any()
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("horizon (s)", "position error (m)\nmedian and quartiles")


def test_numbers_on_a_log_axis_are_written_plainly() -> None:
    error = np.geomspace(1e-5, 1, 36).reshape(9, 4)
    axes = draw_error_against_horizon(SECONDS, {"EIT": error}, error_name="error").axes[0]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    words = {label.get_text() for label in axes.get_yticklabels(which="both")}
    assert "0.001" in words
    assert not any("$" in word for word in words)


def test_forecasts_that_ran_away_count_and_leave_through_the_top() -> None:
    error = np.tile([0.1, 0.2, 0.3, 0.4], (4, 1))
    error[:3, 2:] = np.inf
    axes = draw_error_against_horizon(SECONDS, {"EIT": np.full((2, 4), 0.1), "fit": error}, "error").axes[0]
    height = line(axes, "fit")[1]
    np.testing.assert_allclose(height[:2], [0.1, 0.2])
    low, high = axes.get_ylim()
    assert low < 0.1 < 0.2 < high < 1
    assert (height[2:] > high).all()


def test_an_error_far_beyond_the_others_leaves_them_their_room() -> None:
    axes = draw_error_against_horizon(
        SECONDS, {"EIT": np.full((2, 4), 0.1), "fit": np.full((2, 4), 1e12)}, "error"
    ).axes[0]
    assert axes.get_ylim()[1] < 1e4


def test_what_a_log_axis_cannot_show_is_said() -> None:
    figure = draw_error_against_horizon(SECONDS, {"EIT": np.zeros((1, 4)), "fit": np.full((1, 4), np.nan)}, "error")
    assert entries(figure) == ["EIT (all 0)", "fit (not measured)"]


def test_one_trial_and_one_horizon_are_a_dot() -> None:
    axes = draw_error_against_horizon([0.5], {"EIT": [[0.1]]}, "error").axes[0]
    assert axes.lines[0].get_marker() == "o"


def test_the_median_divergence_is_a_dot_on_the_median() -> None:
    error = np.tile([1.0, 2.0, 3.0, 4.0], (3, 1))
    times = {"EIT": [1.25, np.inf, 0.5, np.nan], "fit": [np.inf, np.inf, 1.0], "rule": [np.nan]}
    figure = draw_error_against_horizon(SECONDS, dict.fromkeys(times, error), "error", divergence_seconds=times)
    marked = [np.asarray(line.get_data()).ravel() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(dot) for dot in marked] == [[1.25, 2.5], []]
    assert entries(figure)[-1] == "median divergence"


# Forecast trajectories


def walks(n_trials: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Context of 3 and truth of 4 bins."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=(n_trials, n, 7, 2)), axis=2)
    return walk[:, :, :3], walk[:, :, 3:]


def paths(axes: Axes) -> list[np.ndarray]:
    """Context, truth and forecast: (individual, time, 2) as drawn."""
    return [np.asarray([path.vertices for path in c.get_paths()]) for c in cast(Any, axes.collections[:3])]


def test_paths_are_the_positions_and_start_where_the_context_ended() -> None:
    context, truth = walks(1, 3)
    drawn = paths(draw_forecast_trajectories(context, truth, {"EIT": truth + 1}).axes[0])
    edge = context[0, :, -1:]
    expected = [context[0], np.concatenate([edge, truth[0]], axis=1), np.concatenate([edge, truth[0] + 1], axis=1)]
    for path, positions in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(path, positions)


def test_a_forecast_ends_where_it_is_first_unknown() -> None:
    context, truth = walks(1, 1)
    broken = truth.copy()
    broken[0, 0, 1, 0] = np.inf
    figure = draw_forecast_trajectories(context, truth, {"EIT": broken})
    assert np.isfinite(paths(figure.axes[0])[2]).all(axis=2).tolist() == [[True, True, False, False, False]]


def test_panels_say_how_far_off_forecasts_end_and_run_from_best_to_worst() -> None:
    context, truth = walks(3, 2)
    off = truth + np.array([[3.0, 4.0], [0.3, 0.4], [0.6, 0.8]])[:, None, None]
    off[0, 0] = truth[0, 0]
    truth[1, 0, 2:] = np.nan  # a shorter trial
    figure = draw_forecast_trajectories(context, truth, {"EIT": off, "rule": np.full_like(off, np.nan)})
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["trial 1", "trial 2", "trial 0"]
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[::2] == ["EIT\n0.5 off at the end", "1 off at the end", "2.5 off at the end"]
    assert titles[1] == "rule\nnot forecast"


def test_absent_individuals_change_nothing() -> None:
    context, truth = walks(1, 3)
    absent = np.full((1, 2, 7, 2), np.nan)
    plain = draw_forecast_trajectories(context, truth, {"EIT": truth + 1}, system=[[0, 0, 1]])
    wider = draw_forecast_trajectories(
        np.concatenate([context, absent[:, :, :3]], axis=1),
        np.concatenate([truth, absent[:, :, 3:]], axis=1),
        {"EIT": np.concatenate([truth + 1, absent[:, :, 3:]], axis=1)},
        system=[[0, 0, 1, -1, -1]],
    )
    one, other = plain.axes[0], wider.axes[0]
    assert one.get_title("left") == other.get_title("left") == "EIT\n1.41 off at the end"
    assert one.get_xlim() == other.get_xlim()
    for path, longer in zip(paths(one), paths(other), strict=True):
        np.testing.assert_array_equal(longer[:3], path)


def test_a_forecast_that_runs_away_leaves_the_truth_its_room() -> None:
    context, truth = walks(1, 2)
    axes = draw_forecast_trajectories(context, truth, {"EIT": truth * 1e6}).axes[0]
    assert np.ptp(axes.get_xlim()) < 2 * np.ptp(np.concatenate([context, truth], axis=2), axis=(0, 1, 2)).max()


@pytest.mark.parametrize("n", [1, 2, 40])
def test_trajectories_of_any_number_have_a_colour_each(n: int) -> None:
    context, truth = walks(1, n)
    axes = draw_forecast_trajectories(context, truth, {"EIT": truth}).axes[0]
    assert len(np.unique(cast(Any, axes.collections[2]).get_colors(), axis=0)) == n

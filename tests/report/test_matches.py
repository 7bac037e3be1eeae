"""What figures of matches show is what they are given."""

from __future__ import annotations

import numpy as np

from motet.report.matches import draw_calibration, draw_distances, draw_pairs, draw_plane


def test_distances_are_sorted_by_type_and_parted_by_lines():
    rng = np.random.default_rng(0)
    type_a, type_b = rng.integers(0, 3, 9), rng.integers(0, 2, 7)
    distance = 10.0 * type_a[:, None] + type_b + 0.01 * rng.random((9, 7))
    axes = draw_distances(distance, type_a, type_b, ("one", "two"), title="t").axes[0]
    drawn = np.asarray(axes.images[0].get_array())
    assert np.all(np.diff(drawn[:, 0] // 10) >= 0)
    np.testing.assert_array_equal(np.sort(drawn.ravel()), np.sort(distance.ravel()))
    assert len(axes.lines) == len(np.unique(type_a)) + len(np.unique(type_b)) - 2


def test_pairs_stand_above_each_other():
    courses = [(np.full((2, 4), 1.0 * k), np.full((2, 4), k + 10.0)) for k in range(3)]
    figure = draw_pairs(courses, ["a", "b", "c"], np.array([0, 1]), np.arange(4.0), ("one", "two"), target="side")
    for place in range(3):
        above, below = figure.axes[place], figure.axes[3 + place]
        assert {line.get_ydata()[0] for line in above.lines} == {place}
        assert {line.get_ydata()[0] for line in below.lines} == {place + 10}
    assert draw_pairs([], [], np.array([0]), np.arange(4.0), ("one", "two")).axes[0].texts[0].get_text() == "no match"


def test_everybody_is_in_the_plane_by_recording_and_by_class():
    rng = np.random.default_rng(0)
    places, preferred = [rng.normal(size=(n, 5)) for n in (6, 9)], [rng.integers(-1, 3, n) for n in (6, 9)]
    left, right = draw_plane(places, ["one", "two"], preferred, np.arange(3), target="side").axes
    assert [len(line.get_xdata()) for line in left.lines] == [6, 9]
    assert sum(len(line.get_xdata()) for line in right.lines) == 15
    assert len(draw_plane(places, ["one", "two"], preferred, np.array(["all"])).axes) == 1


def test_calibration_is_the_share_that_is_right_by_tenths():
    sure = np.array([0.05, 0.95, 0.91, 0.99, 1.0])
    axes = draw_calibration(sure, np.array([False, True, True, False, True])).axes[0]
    x, y = axes.containers[0].lines[0].get_data()
    known = ~np.isnan(np.asarray(y, dtype=float))
    np.testing.assert_allclose(np.asarray(x)[known], [0.05, sure[1:].mean()])
    np.testing.assert_allclose(np.asarray(y)[known], [0, 0.75])

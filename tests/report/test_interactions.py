"""Interactions: the lines, dots and titles are the numbers, and nothing is drawn that is not known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn import metrics

from motet import metrics as metrics_of_motet
from motet.errors import InputError
from motet.report.interactions import (
    MOST_POINTS,
    draw_calibration,
    draw_embeddings,
    draw_graphs,
    draw_roc_and_precision_recall,
    draw_size_curve,
    line_styles,
    spread_from_best,
)
from motet.report.style import save_figure

pytestmark = pytest.mark.filterwarnings("error")


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, point) of the line of that label."""
    return np.asarray(next(line for line in axes.lines if line.get_label() == label).get_data())


def edges(axes: Axes, name: str) -> np.ndarray:
    """(edge, corner, 2) as drawn; none if there is no such edge."""
    found = [c.get_segments() for c in cast(Any, axes.collections) if c.get_label() == name]
    return np.asarray(found[0]) if found else np.zeros((0, 2, 2))


def dots(axes: Axes) -> np.ndarray:
    """(individual, 2), NaN for one that is not there."""
    return np.ma.filled(np.ma.asarray(cast(Any, axes.collections[0]).get_offsets()), np.nan)


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def symmetric(n: int, pairs: dict[tuple[int, int], float], *, diagonal: float, dtype: type = float) -> np.ndarray:
    matrix = np.zeros((n, n), dtype=dtype)
    for (i, j), value in pairs.items():
        matrix[i, j] = matrix[j, i] = value
    np.fill_diagonal(matrix, diagonal)
    return matrix[None]


def random_systems(n_trials: int, n: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, truth and system of trials whose individuals come in systems of that size."""
    rng = np.random.default_rng(seed)
    system = rng.permuted(np.tile(np.arange(n) // size, (n_trials, 1)), axis=1)
    truth = (system[:, :, None] == system[:, None]).astype(int)
    truth[:, range(n), range(n)] = -1
    noise = rng.normal(size=truth.shape)
    logit = 3 * (2 * (truth > 0) - 1) + noise + noise.swapaxes(1, 2)
    return 1 / (1 + np.exp(-logit)), truth, system


# Graphs

TRUTH = symmetric(4, {(0, 1): 1, (2, 3): 1, (1, 3): -1}, diagonal=-1, dtype=int)
PROBABILITY = symmetric(4, {(0, 1): 0.9, (2, 3): 0.2, (0, 2): 0.7, (1, 3): 0.6}, diagonal=1.0)
PLACES = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 2.0]])


def test_every_edge_joins_its_pair_as_what_became_of_it() -> None:
    positions = np.stack([PLACES - 1, PLACES], axis=1)[None]
    axes = draw_graphs(PROBABILITY, truth=TRUTH, positions=positions).axes[0]
    drawn = {name: edges(axes, name) for name in ("found", "missed", "false", "recovered, truth unknown")}
    for (name, ends), pair in zip(drawn.items(), [(0, 1), (2, 3), (0, 2), (1, 3)], strict=True):
        assert len(ends) == 1, name
        np.testing.assert_array_equal(ends[0, np.lexsort(ends[0].T)], PLACES[list(pair)])
    assert axes.get_title("left") == "trial 0: accuracy 0.600\n1 of 2 edges found, 1 false"


def test_an_edge_is_as_strong_as_it_is_probable_but_a_missed_one() -> None:
    probability = symmetric(5, {(0, 1): 0.9, (2, 3): 0.6, (3, 4): 0.1}, diagonal=np.nan)
    truth = symmetric(5, {(0, 1): 1, (2, 3): 1, (3, 4): 1}, diagonal=-1, dtype=int)
    axes = draw_graphs(probability, truth=truth).axes[0]
    collections = {c.get_label(): c for c in cast(Any, axes.collections)}
    np.testing.assert_allclose(collections["found"].get_edgecolor()[:, 3], [0.9, 0.6])
    np.testing.assert_allclose(np.divide(*collections["found"].get_linewidths()), 1.5)
    assert collections["missed"].get_edgecolor()[0, 3] == 1


def test_the_diagonal_and_absent_individuals_count_for_nothing() -> None:
    probability, truth, _ = random_systems(1, 6, 2)
    observed = np.array([[True, True, True, True, False, True]])
    kept = np.flatnonzero(observed[0])
    full = draw_graphs(probability, truth=truth, observed=observed)
    less = draw_graphs(probability[:, kept][:, :, kept], truth=truth[:, kept][:, :, kept])
    assert full.get_suptitle() == less.get_suptitle()
    assert full.axes[0].get_title("left") == less.axes[0].get_title("left")
    np.testing.assert_allclose(dots(full.axes[0])[kept], dots(less.axes[0]), atol=1e-12)
    assert np.isnan(dots(full.axes[0])[4]).all()


def test_a_dot_stands_where_its_path_was_last_known() -> None:
    positions = np.zeros((1, 2, 3, 2))
    positions[0, 0] = [[0, 0], [1, 1], [np.nan, 2]]
    positions[0, 1] = np.nan
    axes = draw_graphs(np.full((1, 2, 2), 0.9), positions=positions).axes[0]
    paths, places, *lines = cast(Any, axes.collections)
    np.testing.assert_array_equal(np.ma.filled(places.get_offsets(), np.nan), [[1, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(paths.get_paths()[0].vertices, [[0, 0], [1, 1], [np.nan, np.nan]])
    assert not lines


def test_without_positions_systems_stand_together_on_a_circle() -> None:
    places = dots(draw_graphs(np.zeros((1, 4, 4)), system=[[1, 0, 1, 0]]).axes[0])
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    apart = np.linalg.norm(places[0] - places, axis=1)
    assert apart[2] < apart[1:4:2].max()


def test_directions_that_differ_are_arrows_to_the_one_acted_on() -> None:
    truth = np.array([[[-1, 0], [1, -1]]])
    axes = draw_graphs([[[0, 0.1], [0.9, 0]]], truth=truth, positions=np.array([[[[0.0, 0]], [[1.0, 0]]]])).axes[0]
    assert axes.get_title("left") == "trial 0: accuracy 1.000\n1 of 1 edges found, 0 false"
    (arrow,) = edges(axes, "found")
    np.testing.assert_allclose(arrow[[0, -1], 0], [0, 1])  # from individual 0 to 1
    assert (arrow[[2, 4], 0] < arrow[1, 0]).all()  # the wings lie behind the tip


def test_titles_give_the_accuracy_of_all_trials_and_that_of_no_edge() -> None:
    probability, truth, _ = random_systems(30, 6, 3)
    known = truth >= 0
    right = ((probability >= 0.5) == (truth > 0))[known].reshape(30, 30).mean()
    figure = draw_graphs(probability, truth=truth, n_trials=2, title="gravity")
    expected = f"mean accuracy of 30 trials {right:.3f}, of no edge at all 0.600; shown from best to worst"
    assert figure.get_suptitle().replace("\n", " ") == f"gravity {expected}"


def test_trials_run_from_the_best_to_the_worst() -> None:
    truth = np.zeros((5, 3, 3), dtype=int)
    probability = np.zeros((5, 3, 3))
    probability[[1, 3, 4], 0, 1] = probability[[1, 3, 4], 1, 0] = 1
    probability[[1, 3], 0, 2] = probability[[1, 3], 2, 0] = 1
    probability[3, 1, 2] = probability[3, 2, 1] = 1
    titles = [axes.get_title("left") for axes in draw_graphs(probability, truth=truth, n_trials=3).axes]
    assert [title.split(":")[0] for title in titles] == ["trial 0", "trial 4", "trial 3"]
    assert titles[2] == "trial 3: accuracy 0.000\nno true edge, 3 false"


def test_without_a_truth_edges_are_only_recovered() -> None:
    figure = draw_graphs(PROBABILITY, threshold=0.65)
    assert figure.axes[0].get_title("left") == "trial 0\n2 edges recovered"
    assert entries(figure) == ["recovered, truth unknown"]


@pytest.mark.parametrize("n", [1, 2, 40])
def test_graphs_of_any_size_lie_inside_their_panel(n: int) -> None:
    probability, truth, system = random_systems(2, n, 2)
    positions = np.cumsum(np.random.default_rng(0).normal(size=(2, n, 10, 2)), axis=2)
    for axes in draw_graphs(probability, truth=truth, positions=positions, system=system).axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        places = np.asarray(cast(Any, axes.collections[1]).get_offsets())
        assert ((places > [left, low]) & (places < [right, high])).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"probability": np.zeros((2, 2))}, "give \\(trial, individual, individual\\)"),
        ({"probability": np.zeros((0, 2, 2))}, "give \\(trial, individual, individual\\)"),
        ({"probability": np.full((1, 2, 2), 1.5)}, "0 to 1"),
        ({"probability": np.zeros((1, 2, 2)), "truth": np.zeros((1, 2, 2))}, "truth has .* integers"),
        ({"probability": np.zeros((1, 2, 2)), "truth": np.zeros((1, 3, 3), int)}, "truth has shape"),
        ({"probability": np.zeros((1, 2, 2)), "system": [[0.0, 1.0]]}, "system has"),
        ({"probability": np.zeros((1, 2, 2)), "observed": [[1, 1]]}, "booleans"),
        ({"probability": np.zeros((1, 2, 2)), "positions": np.zeros((1, 2, 5, 3))}, "positions have"),
        ({"probability": np.zeros((1, 2, 2)), "n_trials": 0}, "at least one"),
    ],
)
def test_graphs_refuse_what_does_not_go_together(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_graphs(**given)


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
    figure = draw_calibration({"EIT": (probability, truth)}, n_intervals=5)
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.lines[1].get_data(), [[0.04, 0.5, 1.0], [0.5, 1.0, 0.5]])
    np.testing.assert_array_equal(cast(Any, lower.patches[0]).get_data().values, [2, 0, 1, 0, 2])
    assert entries(figure) == [f"EIT: ECE {(2 * 0.46 + 0.5 + 2 * 0.5) / 5:.3f}"]


def test_before_and_after_share_labels_and_the_legend_shows_the_gain() -> None:
    truth = np.arange(100) < 30
    figure = draw_calibration({10: (np.full(100, 0.3), truth)}, before={10: (np.full(100, 0.8), truth)})
    assert entries(figure) == ["10: ECE 0.500 → 0.000"]
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["before", "after"]


def test_a_label_of_one_class_is_said() -> None:
    figure = draw_calibration({4: ([], np.zeros(0, int)), 5: ([0.0, 1.0], [0, 1]), 6: ([0.1], [0])})
    assert entries(figure) == ["4: ECE undefined: no pairs", "5: ECE 0.000", "6: ECE undefined: no edge"]


def test_calibration_is_that_of_the_tables() -> None:
    probability, truth, _ = random_systems(9, 6, 2)
    error = metrics_of_motet.expected_calibration_error(prediction=probability, target=truth, observed=truth >= 0)
    assert entries(draw_calibration({6: (probability, truth)})) == [f"6: ECE {error:.3f}"]


@pytest.mark.parametrize(
    ("after", "before", "message"),
    [
        ({}, None, "nothing to draw"),
        ({4: ([1.5, 0.5], [1, 0])}, None, "from 0 to 1"),
        ({4: ([0.5], [1, 0])}, None, "truth of 4 has shape"),
        ({4: ([0.5], [1])}, {5: ([0.5], [1])}, "give the same"),
    ],
)
def test_calibration_refuses_what_does_not_go_together(after: Any, before: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_calibration(after, before=before)


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


@pytest.mark.parametrize("scores", [{}, {"EIT": {}}, {"EIT": {0: (1.0, 1.0, 1.0)}}])
def test_a_size_curve_without_sizes_is_refused(scores: Any) -> None:
    with pytest.raises(InputError, match="at least one"):
        draw_size_curve(scores, "ARI")


# Embeddings


def embeddings(n_trials: int, n: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise before, systems apart after."""
    rng = np.random.default_rng(0)
    system = random_systems(n_trials, n, size)[2]
    before = rng.normal(size=(n_trials, n, 12))
    centres = rng.normal(size=(n_trials, n, 12)) * 5
    return before, np.take_along_axis(centres, system[..., None], axis=1) + 0.1 * before, system


def points(axes: Axes) -> np.ndarray:
    return np.concatenate([np.asarray(line.get_data()).T for line in axes.lines])


def test_components_keep_the_distances_that_two_dimensions_can_hold() -> None:
    plane = np.random.default_rng(0).normal(size=(1, 6, 2))
    turned = plane @ np.linalg.qr(np.random.default_rng(1).normal(size=(9, 2)))[0].T + 7
    axes = draw_embeddings(turned, turned, np.zeros((1, 6), int)).axes[0]
    drawn = points(axes)
    distance = np.linalg.norm(plane[0][:, None] - plane[0], axis=2)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn, axis=2), distance)
    shares = [int(label.split("(")[1][:-2]) for label in (axes.get_xlabel(), axes.get_ylabel())]
    assert 99 <= sum(shares) <= 101


def test_the_title_counts_neighbours_of_the_same_system_in_the_whole_space() -> None:
    before, after, system = embeddings(20, 6, 3)
    nearest = [np.argsort(np.linalg.norm(x[:, None] - x, axis=2), axis=1)[:, 1] for x in before]
    share = np.mean([s[n] == s for s, n in zip(system, nearest, strict=True)])
    title = draw_embeddings(before, after, system, n_trials=1).get_suptitle().replace("\n", " ")
    assert title == f"nearest neighbour in the same system: {share:.3f} before, 1.000 after (chance 0.400)"


def test_padding_never_changes_embeddings() -> None:
    before, after, system = embeddings(1, 6, 3)
    padding = np.full((1, 2, 12), np.nan)
    padded = [np.concatenate([array, padding], axis=1) for array in (before, after)]
    wider = np.concatenate([system, np.full((1, 2), -1)], axis=1)
    plain, longer = draw_embeddings(before, after, system), draw_embeddings(*padded, wider)
    assert plain.get_suptitle() == longer.get_suptitle()
    for one, other in zip(plain.axes, longer.axes, strict=True):
        np.testing.assert_allclose(points(one), points(other), atol=1e-12)


@pytest.mark.parametrize(("n", "said"), [(1, "1 individuals"), (3, "all alike")])
def test_what_has_no_components_is_said(n: int, said: str) -> None:
    same = np.ones((1, n, 4))
    assert [axes.texts[0].get_text() for axes in draw_embeddings(same, same, np.zeros((1, n), int)).axes] == [said] * 2


def test_a_trial_without_anybody_and_a_pair_are_drawn() -> None:
    before, after, system = embeddings(2, 2, 1)
    observed = np.array([[False, False], [True, True]])
    figure = draw_embeddings(before, after, system, observed=observed)
    assert figure.axes[0].texts[0].get_text() == "0 individuals"
    assert figure.axes[1].get_xlabel() == "PC 1 (100%)"


def test_embeddings_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="give \\(trial, individual, width\\)"):
        draw_embeddings(np.zeros((1, 3, 4)), np.zeros((1, 2, 4)), np.zeros((1, 3), int))


# All of them


def test_methods_differ_in_more_than_colour_and_keep_their_style() -> None:
    styles = line_styles(9)
    assert styles[:4] == line_styles(4)
    assert len({(style["color"], str(style["linestyle"])) for style in styles}) == 9
    assert all(one["linestyle"] != other["linestyle"] for one, other in itertools.pairwise(styles))


@pytest.mark.parametrize("deficiency", ["protanopia", "deuteranopia"])
def test_edges_found_missed_and_false_differ_for_the_colour_blind(deficiency: str) -> None:
    figure = draw_graphs(PROBABILITY, truth=TRUTH)
    seen = [seen_with(deficiency, cast(Any, handle).get_color()) for handle in figure.legends[0].legend_handles[:3]]
    for one, other in zip(seen, [*seen[1:], seen[0]], strict=True):
        assert np.linalg.norm(one - other) > 0.3


def seen_with(deficiency: str, colour: str) -> np.ndarray:
    """sRGB as dichromats see it (Viénot, Brettel and Mollon, Color Research & Application 24, 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]) / 100
    lost = {"protanopia": (0, [0, 2.02344, -2.52581]), "deuteranopia": (1, [0.494207, 0, 1.24827])}
    row, mixture = lost[deficiency]
    projection = np.eye(3)
    projection[row] = mixture
    linear = np.array(to_rgb(colour)) ** 2.2
    return np.clip(np.linalg.inv(to_lms) @ projection @ to_lms @ linear, 0, 1) ** (1 / 2.2)


def test_best_to_worst_shows_each_once_and_the_unknown_last() -> None:
    assert spread_from_best([2.0, np.nan, 1.0], 9).tolist() == [2, 0, 1]
    assert spread_from_best(np.arange(11)[::-1], 3).tolist() == [10, 5, 0]


SMALL: dict[str, Callable[[], Figure]] = {
    "graphs": lambda: draw_graphs(*random_systems(2, 4, 2)[:1], truth=random_systems(2, 4, 2)[1]),
    "roc": lambda: draw_roc_and_precision_recall({"EIT": ([0.9, 0.1, 0.4], [1, 0, 1])}),
    "calibration": lambda: draw_calibration({4: ([0.9, 0.1, 0.4], [1, 0, 1])}, legend_title="individuals"),
    "size_curve": lambda: draw_size_curve({"EIT": {4: (0.9, 0.8, 1.0)}}, "average precision", trained_sizes=[4]),
    "embeddings": lambda: draw_embeddings(*embeddings(1, 4, 2), title="gravity"),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_same_arrays_give_the_same_bytes_whatever_the_readers_settings(name: str, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in save_figure(SMALL[name](), tmp_path, name)]
    theirs: Any = {"font.size": 20, "axes.grid": True, "lines.linewidth": 5, "svg.hashsalt": "x"}
    with matplotlib.rc_context(theirs):
        again = [path.read_bytes() for path in save_figure(SMALL[name](), tmp_path, name)]
    assert first == again


@pytest.mark.parametrize("name", SMALL)
def test_titles_and_legends_lie_inside_the_figure_and_off_the_panels(name: str) -> None:
    figure = SMALL[name]()
    title: Any = cast(Any, figure)._suptitle
    boxes = [item.get_window_extent() for item in (*figure.legends, title) if item is not title or title.get_text()]
    for box in boxes:
        assert -1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1
        assert -1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)

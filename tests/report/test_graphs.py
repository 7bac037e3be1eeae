"""Recovered graphs: lines, dots and titles are the numbers, and nothing is drawn that is not known."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from motet.report.graphs import draw_graphs

pytestmark = pytest.mark.filterwarnings("error")


def edges(axes: Axes, name: str) -> np.ndarray:
    """(edge, corner, 2) as drawn; none if there is no such edge."""
    found = [c.get_segments() for c in cast(Any, axes.collections) if c.get_label() == name]
    return np.asarray(found[0]) if found else np.zeros((0, 2, 2))


def dots(axes: Axes) -> np.ndarray:
    """(individual, 2), NaN for one that is not there."""
    return np.ma.filled(np.ma.asarray(cast(Any, axes.collections[0]).get_offsets()), np.nan)


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
    figure = draw_graphs(probability, truth=truth, title="gravity")
    expected = f"mean accuracy of 30 trials {right:.3f}, of no edge at all 0.600; shown from best to worst"
    assert figure.get_suptitle().replace("\n", " ") == f"gravity {expected}"


def test_trials_run_from_the_best_to_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.report.graphs.MOST_PANELS", 3)
    truth = np.zeros((5, 3, 3), dtype=int)
    probability = np.zeros((5, 3, 3))
    probability[[1, 3, 4], 0, 1] = probability[[1, 3, 4], 1, 0] = 1
    probability[[1, 3], 0, 2] = probability[[1, 3], 2, 0] = 1
    probability[3, 1, 2] = probability[3, 2, 1] = 1
    titles = [axes.get_title("left") for axes in draw_graphs(probability, truth=truth).axes]
    assert [title.split(":")[0] for title in titles] == ["trial 0", "trial 4", "trial 3"]
    assert titles[2] == "trial 3: accuracy 0.000\nno true edge, 3 false"


def test_without_a_truth_edges_are_only_recovered() -> None:
    figure = draw_graphs(PROBABILITY - 0.15 * (PROBABILITY > 0.15))
    assert figure.axes[0].get_title("left") == "trial 0\n2 edges recovered"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["recovered, truth unknown"]


@pytest.mark.parametrize("n", [1, 2, 40])
def test_graphs_of_any_size_lie_inside_their_panel(n: int) -> None:
    probability, truth, system = random_systems(2, n, 2)
    positions = np.cumsum(np.random.default_rng(0).normal(size=(2, n, 10, 2)), axis=2)
    for axes in draw_graphs(probability, truth=truth, positions=positions, system=system).axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        places = np.asarray(cast(Any, axes.collections[1]).get_offsets())
        assert ((places > [left, low]) & (places < [right, high])).all()


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

"""What individuals are: embeddings keep their neighbours, and states are scored by all that is known."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from matplotlib.axes import Axes
from sklearn.metrics import r2_score

from motet.report.individuals import draw_embeddings, draw_states
from motet.report.style import MOST_POINTS

pytestmark = pytest.mark.filterwarnings("error")


# Embeddings


def embeddings(n_trials: int, n: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise before, systems apart after."""
    rng = np.random.default_rng(0)
    system = rng.permuted(np.tile(np.arange(n) // size, (n_trials, 1)), axis=1)
    before = rng.normal(size=(n_trials, n, 12))
    centres = rng.normal(size=(n_trials, n, 12)) * 5
    return before, np.take_along_axis(centres, system[..., None], axis=1) + 0.1 * before, system


def components(axes: Axes) -> np.ndarray:
    """(individual, 2)."""
    return np.concatenate([np.asarray(line.get_data()).T for line in axes.lines])


def test_components_keep_the_distances_that_two_dimensions_can_hold() -> None:
    plane = np.random.default_rng(0).normal(size=(1, 6, 2))
    turned = plane @ np.linalg.qr(np.random.default_rng(1).normal(size=(9, 2)))[0].T + 7
    axes = draw_embeddings(turned, turned, np.zeros((1, 6), int)).axes[0]
    drawn = components(axes)
    distance = np.linalg.norm(plane[0][:, None] - plane[0], axis=2)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn, axis=2), distance)
    shares = [int(label.split("(")[1][:-2]) for label in (axes.get_xlabel(), axes.get_ylabel())]
    assert 99 <= sum(shares) <= 101


def test_the_title_counts_neighbours_of_the_same_system_in_the_whole_space() -> None:
    before, after, system = embeddings(20, 6, 3)
    nearest = [np.argsort(np.linalg.norm(x[:, None] - x, axis=2), axis=1)[:, 1] for x in before]
    share = np.mean([s[n] == s for s, n in zip(system, nearest, strict=True)])
    title = draw_embeddings(before, after, system).get_suptitle().replace("\n", " ")
    assert title == f"nearest neighbour in the same system: {share:.3f} before, 1.000 after (chance 0.400)"


def test_padding_never_changes_embeddings() -> None:
    before, after, system = embeddings(1, 6, 3)
    padding = np.full((1, 2, 12), np.nan)
    padded = [np.concatenate([array, padding], axis=1) for array in (before, after)]
    wider = np.concatenate([system, np.full((1, 2), -1)], axis=1)
    plain, longer = draw_embeddings(before, after, system), draw_embeddings(*padded, wider)
    assert plain.get_suptitle() == longer.get_suptitle()
    for one, other in zip(plain.axes, longer.axes, strict=True):
        np.testing.assert_allclose(components(one), components(other), atol=1e-12)


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


# States


def points(axes: Axes) -> np.ndarray:
    return np.asarray(cast(Any, axes.collections[0]).get_offsets())


def test_dots_and_scores_are_those_of_the_known_states() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.8, 1.6, (5, 4))
    predicted = truth + 0.1 * rng.normal(size=truth.shape)
    truth[0, 0], predicted[1, 1] = np.nan, np.nan
    known = np.isfinite(truth + predicted)
    figure = draw_states({"EIT": predicted, "mean": np.full_like(truth, 1.2)}, truth, "mass")
    np.testing.assert_array_equal(points(figure.axes[0]), np.stack([truth[known], predicted[known]], axis=1))
    r_squared = r2_score(truth[known], predicted[known])
    error = np.median(np.abs(truth - predicted)[known])
    assert figure.axes[0].get_title("left") == f"EIT\nR² {r_squared:.3f}, median error {error:.3f}"
    assert figure.axes[1].get_xlabel() == "true mass"


def test_states_far_off_are_triangles_at_the_edge() -> None:
    axes = draw_states({"fit": [1.0, 2.0, 50.0, -np.inf]}, [1.0, 2.0, 1.5, 1.2], "mass").axes[0]
    inside, above, below = (np.asarray(c.get_offsets()).tolist() for c in cast(Any, axes.collections))
    assert (inside, above, below) == ([[1.0, 1.0], [2.0, 2.0]], [[1.5, 2.5]], [[1.2, 0.5]])
    assert axes.get_ylim() == (0.5, 2.5)


def test_of_many_states_some_are_drawn_and_all_are_scored() -> None:
    truth = np.linspace(0, 1, 10 * MOST_POINTS + 1)
    predicted = truth.copy()
    predicted[1::2] += 0.1
    axes = draw_states({"EIT": predicted}, truth, "charge").axes[0]
    assert len(points(axes)) <= MOST_POINTS
    assert axes.get_title("left") == f"EIT\nR² {r2_score(truth, predicted):.3f}, median error 0.000"


@pytest.mark.parametrize(
    ("predicted", "truth", "said"),
    [
        ([1.0, 1.5], [1.0, 1.0], "R² undefined, median error 0.250"),
        ([1.0], [1.0], "R² undefined, median error 0.000"),
        ([np.nan, np.nan], [1.0, 2.0], "nothing predicted"),
        ([3.0, 0.0], [1.0, 2.0], "R² −15.000, median error 2.000"),
    ],
)
def test_scores_that_do_not_exist_are_said(predicted: list[float], truth: list[float], said: str) -> None:
    assert draw_states({"EIT": predicted}, truth, "mass").axes[0].get_title("left") == f"EIT\n{said}"

"""Confusions and trajectories: counts, paths and titles are those of the arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import r2_score

from motet.errors import InputError
from motet.report.decoded import confusion_matrix, decoded_trajectories

# Confusion matrix


def test_confusion_cells_hold_counts_and_colours_hold_shares_of_the_true_class() -> None:
    figure = confusion_matrix(list("aaabb"), list("aabbb"), list("abc"), title="sleep")
    axes = figure.axes[0]
    cells = {tuple(map(round, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "2", (0, 1): "1", (1, 1): "2"}
    shares: Any = np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=float), np.nan)
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0.0], [0.0, 1.0, 0.0], [np.nan] * 3])
    assert figure.get_suptitle() == "sleep\naccuracy 0.800 (largest class 0.600), n = 5"


def test_confusion_of_one_class_is_one_cell() -> None:
    axes = confusion_matrix([7, 7], [7, 7], [7]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["2"]


# Decoded trajectories


def paths_of(figure: Figure) -> list[np.ndarray]:
    """True, then decoded: (trial, 1 + time, 2) as drawn, NaN where the pen is up."""
    return [np.asarray([path.vertices for path in axes.collections[0].get_paths()]) for axes in figure.axes[:2]]


def test_a_path_integrates_velocity_from_the_origin_until_the_trial_ends() -> None:
    true = np.full((2, 4, 2), [10.0, -20.0])
    true[1, 2:] = np.nan
    decoded = np.full((2, 4, 2), [5.0, 0.0])
    drawn_true, drawn_decoded = paths_of(decoded_trajectories(decoded, true, [0, 1], 0.1))
    np.testing.assert_allclose(drawn_true[0], [[0, 0], [1, -2], [2, -4], [3, -6], [4, -8]], atol=1e-12)
    np.testing.assert_allclose(drawn_decoded[1], [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [np.nan] * 2, [np.nan] * 2])


def test_a_path_waits_for_the_first_known_bin_and_ends_at_the_first_gap() -> None:
    true = np.ones((1, 5, 2))
    decoded = np.ones((1, 5, 2))
    decoded[0, 0, 1] = np.nan
    true[0, 3] = np.nan
    for path in paths_of(decoded_trajectories(decoded, true, [0], 1.0)):
        np.testing.assert_allclose(path[0, :, 0], [0, 0, 1, 2, np.nan, np.nan])


def test_padding_never_changes_a_trajectory() -> None:
    true, decoded = np.random.default_rng(0).normal(size=(2, 3, 6, 2))
    padding = np.full((3, 2, 2), np.nan)
    longer = np.concatenate([decoded, padding + 1], axis=1), np.concatenate([true, padding], axis=1)
    plain = decoded_trajectories(decoded, true, range(3), 0.1)
    padded = decoded_trajectories(*longer, range(3), 0.1)
    assert padded.get_suptitle() == plain.get_suptitle()
    for before, after in zip(paths_of(plain), paths_of(padded), strict=True):
        np.testing.assert_array_equal(after[:, :7], before)
        assert np.isnan(after[:, 7:]).all()


def test_the_title_gives_the_variance_weighted_r_squared_of_known_bins() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(6, 8, 2)) * [1.0, 5.0]
    decoded = true + random.normal(size=true.shape)
    true[2, 5:] = np.nan
    decoded[4] = np.nan
    known = np.isfinite(true + decoded).all(axis=2)
    expected = r2_score(true[known], decoded[known], multioutput="variance_weighted")
    title = decoded_trajectories(decoded, true, np.arange(6) % 2, 0.1).get_suptitle()
    assert title == f"velocity R² {expected:.3f}, 5 trials"


def test_examples_run_from_well_to_badly_decoded_trials() -> None:
    true = np.zeros((5, 3, 2))
    true[:, :, 0] = [1.0, 2.0, 3.0]
    decoded = true + np.array([3.0, 0.0, 4.0, 1.0, 2.0])[:, None, None]
    figure = decoded_trajectories(decoded, true, [0] * 5, 0.1)
    titles = [axes.get_title("left") for axes in figure.axes[2:5]]
    assert titles == ["error 1.4 cm/s", "error 2.8 cm/s", "error 4.2 cm/s"]


def test_trajectories_of_one_class_and_one_trial_are_drawn() -> None:
    figure = decoded_trajectories(np.ones((1, 3, 2)), np.ones((1, 3, 2)), ["left"], 0.1)
    assert len(figure.axes) == 4
    assert figure.get_suptitle() == "velocity R² nan, 1 trials"


def test_trajectories_without_a_known_bin_are_refused() -> None:
    with pytest.raises(InputError, match="no bin"):
        decoded_trajectories(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)), [0], 0.1)

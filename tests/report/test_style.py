"""Every figure: axes have units, and the same arrays give the same files."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from motet.data.recording import Recording
from motet.errors import InputError
from motet.report.decoded import confusion_matrix, decoded_trajectories
from motet.report.forecasts import draw_error_against_horizon, draw_forecast_trajectories
from motet.report.graphs import draw_graphs
from motet.report.individuals import draw_embeddings, draw_states
from motet.report.neurons import psths
from motet.report.pair_scores import draw_calibration, draw_roc_and_precision_recall, draw_size_curve
from motet.report.scores import learning_curve, score_comparison
from motet.report.style import class_colours, line_styles, save_figure, spread_from_best

HISTORY: dict[str, Any] = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [4.0, 3.0, 2.0, 1.0],
    "validation_loss": [4.0, 2.0, 2.5, 3.0],
    "validation_score": [0.1, 0.5, 0.7, 0.6],
    "learning_rate": [0.1, 0.1, 0.1, 0.1],
}


def small_trajectories() -> Figure:
    true = np.random.default_rng(0).normal(size=(4, 5, 2))
    true[1, 3:] = np.nan
    return decoded_trajectories(0.5 * true, true, ["b", "a", "b", "a"], 0.1)


def small_psths() -> Figure:
    counts = np.random.default_rng(0).poisson(3.0, (12, 3, 5)).astype(float)
    counts[:, 2] = np.nan
    recording = Recording.from_trials(counts, targets={"state": np.arange(12) % 3}, bin_seconds=0.1)
    return psths(recording, "state", [0, 2])


def small_graphs() -> Figure:
    truth = np.array([[[-1, 1, 0], [1, -1, 0], [0, 0, -1]], [[-1, 1, 1], [1, -1, 0], [1, 0, -1]]])
    probability = np.random.default_rng(0).random((2, 3, 3))
    return draw_graphs((probability + probability.swapaxes(1, 2)) / 2, truth=truth, title="t")


def small_embeddings() -> Figure:
    corners = np.array([[[-2.0, -1.0], [-2.0, 1.0], [2.0, -1.0], [2.0, 1.0]]])
    return draw_embeddings(corners, corners, [[0, 0, 1, 1]], title="t")


def small_paths() -> Figure:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1, 2, 7, 2)), axis=2)
    return draw_forecast_trajectories(
        walk[:, :, :3], walk[:, :, 3:], {"EIT": walk[:, :, 3:], "fit": walk[:, :, 3:] + 1}
    )


SMALL: dict[str, Callable[[], Figure]] = {
    "calibration": lambda: draw_calibration(*[{4: ([0.9, 0.1, 0.4], [1, 0, 1])}] * 2, legend_title="individuals"),
    "confusion_matrix": lambda: confusion_matrix([0, 0, 1], [0, 1, 1], [0, 1], title="t"),
    "decoded_trajectories": small_trajectories,
    "embeddings": small_embeddings,
    "error": lambda: draw_error_against_horizon(
        [0.5, 1.0], {"EIT": [[0.1, 0.2]]}, "position error", divergence_seconds={"EIT": [0.7]}
    ),
    "forecast_trajectories": small_paths,
    "graphs": small_graphs,
    "learning_curve": lambda: learning_curve([HISTORY, HISTORY], score_name="accuracy", title="t"),
    "psths": small_psths,
    "roc": lambda: draw_roc_and_precision_recall({"EIT": ([0.9, 0.1, 0.4], [1, 0, 1])}),
    "score_comparison": lambda: score_comparison(
        {"EIT": [0.9, 0.8], "LDA": [0.7, 0.8], "shuffled": [0.1, 0.2]},
        "velocity R²",
        rivals=["LDA"],
        chance=["shuffled"],
    ),
    "size_curve": lambda: draw_size_curve({"EIT": {4: (0.9, 0.8, 1.0)}}, "average precision", trained_sizes=[4]),
    "states": lambda: draw_states({"EIT": [1.0, 1.2]}, [1.1, 1.3], "mass"),
}
LABELS: dict[str, set[str]] = {
    "calibration": {"probability of an edge", "fraction that interact", "pairs"},
    "confusion_matrix": {"predicted class", "true class", "share of the true class"},
    "decoded_trajectories": {
        "x (cm)",
        "y (cm)",
        "time in the trial (s)",
        "x velocity\n(cm/s)",
        "y velocity\n(cm/s)",
    },
    "embeddings": {"PC 1 (80%)", "PC 2 (20%)"},
    "error": {"horizon (s)", "position error\nmedian and quartiles"},
    "forecast_trajectories": {"trial 0"},
    "graphs": set(),
    "learning_curve": {"epoch", "loss", "accuracy"},
    "psths": {"time in the trial (s)", "firing rate (Hz)\nmean ± s.e.m."},
    "roc": {"false positive rate", "true positive rate", "recall", "precision"},
    "score_comparison": {"velocity R²"},
    "size_curve": {"number of individuals", "average precision"},
    "states": {"true mass", "predicted mass"},
}


def saved_bytes(figure: Figure, folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in save_figure(figure, folder, "figure")]


# Every figure


@pytest.mark.parametrize("name", SMALL)
def test_every_axis_is_labelled_with_its_unit(name: str) -> None:
    figure = SMALL[name]()
    texts = {figure.get_supxlabel(), figure.get_supylabel()}
    texts |= {text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())}
    assert texts - {""} == LABELS[name]


@pytest.mark.parametrize("name", SMALL)
def test_the_same_arrays_give_the_same_bytes_whatever_the_readers_settings(name: str, tmp_path: Path) -> None:
    first = saved_bytes(SMALL[name](), tmp_path)
    theirs: Any = {
        "font.size": 20,
        "axes.grid": True,
        "xtick.major.size": 9,
        "svg.hashsalt": "x",
        "figure.dpi": 50,
    }
    with matplotlib.rc_context(theirs):
        settings = dict(matplotlib.rcParams)
        anew = saved_bytes(SMALL[name](), tmp_path)
        assert dict(matplotlib.rcParams) == settings
    assert first == anew


@pytest.mark.parametrize("name", SMALL)
def test_titles_and_legends_lie_inside_the_figure_and_off_the_panels(name: str) -> None:
    figure = SMALL[name]()
    title: Any = cast(Any, figure)._suptitle
    boxes = [item.get_window_extent() for item in (*figure.legends, title) if item is not title or title.get_text()]
    for box in boxes:
        assert -1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1
        assert -1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_drawing_and_saving_never_load_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys;"
        "from motet.report import decoded, forecasts, graphs, individuals, neurons, pair_scores, scores, style;"
        f"style.save_figure(scores.score_comparison({{'a': [1., 2.]}}, 'm'), {str(tmp_path)!r}, 'x');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_as_many_colours_as_classes_and_no_two_alike() -> None:
    for n_classes in range(1, 25):
        assert len({tuple(colour) for colour in class_colours(n_classes)}) == n_classes


def test_methods_differ_in_more_than_colour_and_keep_their_style() -> None:
    styles = line_styles(9)
    assert styles[:4] == line_styles(4)
    assert len({(style["color"], str(style["linestyle"])) for style in styles}) == 9
    assert all(one["linestyle"] != other["linestyle"] for one, other in itertools.pairwise(styles))


def test_best_to_worst_shows_each_once_and_the_unknown_last() -> None:
    assert spread_from_best([2.0, np.nan, 1.0], 9).tolist() == [2, 0, 1]
    assert spread_from_best(np.arange(11)[::-1], 3).tolist() == [10, 5, 0]


# Saving


def test_both_files_are_written_into_a_new_folder_without_a_date(tmp_path: Path) -> None:
    png, svg = save_figure(Figure(figsize=(2, 1)), tmp_path / "new" / "folder", "chewie-1.psths")
    assert (png.name, svg.name) == ("chewie-1.psths.png", "chewie-1.psths.svg")
    assert imread(png).shape == (150, 300, 4)
    assert b"<dc:date>" not in svg.read_bytes()
    assert b"Software" not in png.read_bytes()
    assert sorted(path.name for path in png.parent.iterdir()) == [png.name, svg.name]


def test_a_figure_that_fails_leaves_the_old_files_alone(tmp_path: Path) -> None:
    old = saved_bytes(Figure(figsize=(1, 1)), tmp_path)
    broken = Figure(figsize=(1, 1))
    broken.text(0.5, 0.5, "$\\nosuchsymbol$")
    with pytest.raises(ValueError, match="nosuchsymbol"):
        save_figure(broken, tmp_path, "figure")
    assert [(tmp_path / f"figure.{kind}").read_bytes() for kind in ("png", "svg")] == old
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["", ".", "a/b", "../x"])
def test_a_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file name without folder"):
        save_figure(Figure(), tmp_path, name)

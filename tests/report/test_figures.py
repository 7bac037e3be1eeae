"""Figures: what they say is what the arrays say, and the same arrays give the same files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import stats
from sklearn.feature_selection import f_classif
from sklearn.metrics import r2_score

from motet.data.recording import Recording
from motet.errors import InputError
from motet.report import figures
from motet.statistics import estimate_mean

HISTORY: dict[str, Any] = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [4.0, 3.0, 2.0, 1.0],
    "validation_loss": [4.0, 2.0, 2.5, 3.0],
    "validation_score": [0.1, 0.5, 0.7, 0.6],
    "learning_rate": [0.1, 0.1, 0.1, 0.1],
}


def recording_of(counts: np.ndarray, **targets: Any) -> Recording:
    return Recording.from_trials(counts, targets=targets, bin_seconds=0.1, name="r")


def ragged_recording(seed: int = 0) -> Recording:
    """24 trials of 3 to 7 bins, 3 neurons of which the last was never observed, three classes."""
    random = np.random.default_rng(seed)
    counts = random.poisson(3.0, (24, 3, 7)).astype(float)
    counts[np.broadcast_to(np.arange(7) >= random.integers(3, 8, (24, 1, 1)), counts.shape)] = np.nan
    counts[:, 2] = np.nan
    return recording_of(counts, state=np.arange(24) % 3)


def small_trajectories() -> Figure:
    true = np.random.default_rng(0).normal(size=(4, 5, 2))
    true[1, 3:] = np.nan
    return figures.decoded_trajectories(0.5 * true, true, ["b", "a", "b", "a"], 0.1, n_examples=1)


def small_psths() -> Figure:
    return figures.psths(ragged_recording(), "state", [0, 2])


SMALL: dict[str, Callable[[], Figure]] = {
    "confusion_matrix": lambda: figures.confusion_matrix([0, 0, 1], [0, 1, 1], [0, 1], title="t"),
    "decoded_trajectories": small_trajectories,
    "learning_curve": lambda: figures.learning_curve([HISTORY, HISTORY], score_name="accuracy", title="t"),
    "psths": small_psths,
    "score_comparison": lambda: figures.score_comparison(
        {"EIT": [0.9, 0.8], "LDA": [0.7, 0.8], "shuffled": [0.1, 0.2]},
        "velocity R²",
        baselines=["LDA"],
        chance="shuffled",
    ),
}
LABELS = {
    "confusion_matrix": {"predicted class", "true class", "share of the true class"},
    "decoded_trajectories": {
        "x (cm)",
        "y (cm)",
        "time in the trial (s)",
        "x velocity\n(cm/s)",
        "y velocity\n(cm/s)",
    },
    "learning_curve": {"epoch", "loss", "accuracy"},
    "psths": {"time in the trial (s)", "firing rate (Hz)\nmean ± s.e.m."},
    "score_comparison": {"velocity R²"},
}


def saved_bytes(figure: Figure, folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in figures.save_figure(figure, folder, "figure")]


def line(axes: Axes, label: str) -> np.ndarray:
    """(2, point) of the line of that label."""
    return np.asarray(next(line for line in axes.lines if line.get_label() == label).get_data())


def psth_lines(figure: Figure, panel: int = 0) -> np.ndarray:
    """(class, time) of the rates drawn in a panel, in Hz."""
    return np.asarray([line.get_ydata() for line in figure.axes[panel].lines])


# Every figure


@pytest.mark.parametrize("name", SMALL)
def test_every_axis_is_labelled_with_its_unit(name: str) -> None:
    figure = SMALL[name]()
    texts = {figure.get_supxlabel(), figure.get_supylabel()}
    texts |= {text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())}
    assert texts - {""} == LABELS[name]


@pytest.mark.parametrize("name", SMALL)
def test_the_same_arrays_give_the_same_bytes_whatever_the_readers_settings(name: str, tmp_path: Path) -> None:
    figure = SMALL[name]()
    first, again = saved_bytes(figure, tmp_path), saved_bytes(figure, tmp_path)
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
    assert first == again == anew


def test_drawing_and_saving_never_load_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys; from motet.report import figures as f;"
        f"f.save_figure(f.score_comparison({{'a': [1., 2.]}}, 'm'), {str(tmp_path)!r}, 'x');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_as_many_colours_as_classes_and_no_two_alike() -> None:
    for n_classes in range(1, 25):
        assert len({tuple(colour) for colour in figures._class_colours(n_classes)}) == n_classes


# Confusion matrix


def test_confusion_cells_hold_counts_and_colours_hold_shares_of_the_true_class() -> None:
    figure = figures.confusion_matrix(list("aaabb"), list("aabbb"), list("abc"), title="sleep")
    axes = figure.axes[0]
    cells = {tuple(map(round, text.get_position()[::-1])): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "2", (0, 1): "1", (1, 1): "2"}
    shares: Any = np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=float), np.nan)
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3, 0.0], [0.0, 1.0, 0.0], [np.nan] * 3])
    assert figure.get_suptitle() == "sleep\naccuracy 0.800 (chance 0.600), n = 5"


def test_confusion_of_one_class_is_one_cell() -> None:
    axes = figures.confusion_matrix([7, 7], [7, 7], [7]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["2"]


@pytest.mark.parametrize(
    ("target", "prediction", "classes", "message"),
    [
        ([0, 1], [0], [0, 1], "one class per item"),
        ([], [], [0, 1], "one class per item"),
        ([[0]], [[0]], [0], "one class per item"),
        ([0, 2], [0, 1], [0, 1], "'2' was given"),
        ([0, 1], [0, 1], [0, 1, 1], "listed twice"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(target: Any, prediction: Any, classes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        figures.confusion_matrix(target, prediction, classes)


# Decoded trajectories


def paths_of(figure: Figure) -> list[np.ndarray]:
    """True, then decoded: (trial, 1 + time, 2) as drawn, NaN where the pen is up."""
    return [np.asarray([path.vertices for path in axes.collections[0].get_paths()]) for axes in figure.axes[:2]]


def test_a_path_integrates_velocity_from_the_origin_until_the_trial_ends() -> None:
    true = np.full((2, 4, 2), [10.0, -20.0])
    true[1, 2:] = np.nan
    decoded = np.full((2, 4, 2), [5.0, 0.0])
    drawn_true, drawn_decoded = paths_of(figures.decoded_trajectories(decoded, true, [0, 1], 0.1))
    np.testing.assert_allclose(drawn_true[0], [[0, 0], [1, -2], [2, -4], [3, -6], [4, -8]], atol=1e-12)
    np.testing.assert_allclose(drawn_decoded[1], [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [np.nan] * 2, [np.nan] * 2])


def test_a_path_waits_for_the_first_known_bin_and_ends_at_the_first_gap() -> None:
    true = np.ones((1, 5, 2))
    decoded = np.ones((1, 5, 2))
    decoded[0, 0, 1] = np.nan
    true[0, 3] = np.nan
    for path in paths_of(figures.decoded_trajectories(decoded, true, [0], 1.0)):
        np.testing.assert_allclose(path[0, :, 0], [0, 0, 1, 2, np.nan, np.nan])


def test_padding_never_changes_a_trajectory() -> None:
    true, decoded = np.random.default_rng(0).normal(size=(2, 3, 6, 2))
    padding = np.full((3, 2, 2), np.nan)
    longer = np.concatenate([decoded, padding + 1], axis=1), np.concatenate([true, padding], axis=1)
    plain = figures.decoded_trajectories(decoded, true, range(3), 0.1)
    padded = figures.decoded_trajectories(*longer, range(3), 0.1)
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
    title = figures.decoded_trajectories(decoded, true, np.arange(6) % 2, 0.1).get_suptitle()
    assert title == f"velocity R² {expected:.3f}, 5 trials"


def test_examples_run_from_well_to_badly_decoded_trials() -> None:
    true = np.zeros((5, 3, 2))
    true[:, :, 0] = [1.0, 2.0, 3.0]
    decoded = true + np.array([3.0, 0.0, 4.0, 1.0, 2.0])[:, None, None]
    figure = figures.decoded_trajectories(decoded, true, [0] * 5, 0.1, length_unit="mm")
    titles = [axes.get_title("left") for axes in figure.axes[2:5]]
    assert titles == ["trial 3, error 1.4 mm/s", "trial 4, error 2.8 mm/s", "trial 0, error 4.2 mm/s"]


def test_trajectories_of_one_class_and_one_trial_are_drawn() -> None:
    figure = figures.decoded_trajectories(np.ones((1, 3, 2)), np.ones((1, 3, 2)), ["left"], 0.1)
    assert len(figure.axes) == 4
    assert figure.get_suptitle() == "velocity R² nan, 1 trials"


@pytest.mark.parametrize(
    ("decoded", "true", "direction", "bin_seconds", "message"),
    [
        ((2, 3, 2), (2, 4, 2), 2, 0.1, "give \\(trial, time, 2\\)"),
        ((2, 3, 3), (2, 3, 3), 2, 0.1, "give \\(trial, time, 2\\)"),
        ((2, 3, 2), (2, 3, 2), 3, 0.1, "give \\(trial, time, 2\\)"),
        ((2, 3, 2), (2, 3, 2), 2, 0.0, "positive"),
    ],
)
def test_trajectories_refuse_shapes_that_disagree(
    decoded: Any, true: Any, direction: int, bin_seconds: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        figures.decoded_trajectories(np.ones(decoded), np.ones(true), range(direction), bin_seconds)


def test_trajectories_without_a_known_bin_are_refused() -> None:
    with pytest.raises(InputError, match="no bin"):
        figures.decoded_trajectories(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2)), [0], 0.1)


# Learning curve


@pytest.mark.parametrize(
    ("best_by", "epoch"), [(None, 3), ("validation_loss", 2), ("train_loss", 4), ("validation_score", 3)]
)
def test_the_best_epoch_has_the_lowest_loss_or_the_highest_score(best_by: str | None, epoch: int) -> None:
    figure = figures.learning_curve(HISTORY, best_by=best_by)
    panel = figure.axes[(best_by or "").endswith("loss") is False]
    assert line(panel, f"best: epoch {epoch}")[0].tolist() == [epoch]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == f"best: epoch {epoch}"


def test_folds_are_averaged_over_the_epochs_that_all_reached() -> None:
    longer = {"epoch": [1.0, 2.0, 3.0], "validation_loss": [5.0, 3.0, 1.0]}
    shorter = {"epoch": [1.0, 2.0], "validation_loss": [3.0, 2.0]}
    axes = figures.learning_curve([longer, shorter]).axes[0]
    np.testing.assert_allclose(line(axes, "validation"), [[1.0, 2.0], [4.0, 2.5]])
    np.testing.assert_allclose(line(axes, "best epoch of each fold"), [[3, 2], [1, 2]])
    assert len(axes.lines) == 4


def test_epochs_without_a_measurement_are_bridged() -> None:
    history = {"epoch": [1.0, 2.0, 3.0], "train_loss": [3.0, 2.0, 1.0], "validation_loss": [3.0, np.nan, 2.0]}
    axes = figures.learning_curve(history).axes[0]
    np.testing.assert_allclose(line(axes, "validation"), [[1, 3], [3, 2]])
    np.testing.assert_allclose(line(axes, "best: epoch 3"), [[3], [2]])


def test_a_column_never_measured_leaves_no_best_epoch() -> None:
    figure = figures.learning_curve({"epoch": [1, 2], "train_loss": [2, 1], "validation_loss": [np.nan] * 2})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation"]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "no curve"),
        ({"epoch": [1, 2]}, "no curve"),
        ({"train_loss": [1, 2]}, "no curve"),
        ({"epoch": [1, 2], "train_loss": [1]}, "all \\(epoch,\\)"),
        ({"epoch": [[1]], "train_loss": [[1]]}, "all \\(epoch,\\)"),
        ([HISTORY, {"epoch": [1], "train_loss": [1]}], "every fold the same"),
        ({"epoch": [1, 1], "train_loss": [1, 2]}, "each once"),
    ],
)
def test_a_history_that_cannot_be_drawn_is_refused(history: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        figures.learning_curve(history)


def test_a_mistyped_column_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'validation_loss'"):
        figures.learning_curve(HISTORY, best_by="validation_los")


# PSTHs


def test_psths_are_means_over_the_observed_trials_of_a_class_in_hz() -> None:
    recording = ragged_recording()
    figure = figures.psths(recording, "state", [1, 0])
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
    figure = figures.psths(recording_of(np.ones((2, 1, 3)), side=[0, 1]), "side")
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xdata()), [0.05, 0.15, 0.25])


def test_padding_never_changes_a_psth() -> None:
    counts = np.random.default_rng(0).poisson(2.0, (6, 2, 4)).astype(float)
    padded = np.concatenate([counts, np.full((6, 2, 3), np.nan)], axis=2)
    plain, long = (figures.psths(recording_of(c, side=[0, 1] * 3), "side", [0]) for c in (counts, padded))
    np.testing.assert_array_equal(psth_lines(plain), psth_lines(long)[:, :4])


def test_a_neuron_never_observed_says_so() -> None:
    axes = small_psths().axes[1]
    assert [text.get_text() for text in axes.texts] == ["not observed"]
    assert not axes.lines


def test_psths_of_one_class_and_one_trial_are_drawn_without_a_band() -> None:
    figure = figures.psths(recording_of(np.ones((1, 2, 3)), side=["left"]), "side")
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    np.testing.assert_allclose(psth_lines(figure), [[10.0] * 3])


def test_psths_choose_the_most_informative_twelve_of_many() -> None:
    counts = np.random.default_rng(0).poisson(2.0, (10, 15, 4))
    recording = recording_of(counts, side=[0, 1] * 5)
    best = figures.informative_individuals(recording, "side", 12)
    titles = [axes.get_title("left") for axes in figures.psths(recording, "side").axes]
    assert titles == [recording.individual_ids[i] for i in best]


@pytest.mark.parametrize(
    ("target", "individuals", "message"),
    [
        ("sid", None, "did you mean 'side'"),
        ("speed", None, "choose one with a class per trial"),
        ("phase", None, "choose one with a class per trial"),
        ("side", [0, 99], "positions from 0 to 13"),
        ("side", [True, False], "a mask of that many"),
        ("side", list(range(13)), "at most 12"),
        ("side", [1, 1], "twice"),
    ],
)
def test_psths_refuse_what_they_cannot_draw(target: str, individuals: Any, message: str) -> None:
    targets = {"side": [0, 1], "speed": [0.5, 1.5], "phase": np.zeros((2, 3), dtype=int)}
    with pytest.raises(InputError, match=message):
        figures.psths(recording_of(np.ones((2, 14, 3)), **targets), target, individuals)


@pytest.mark.parametrize("values", [-np.ones((2, 2, 3)), np.ones((2, 2, 3, 2))])
def test_what_is_no_count_is_refused(values: np.ndarray) -> None:
    recording = recording_of(values, side=[0, 1])
    draws: list[Callable[..., Any]] = [figures.psths, figures.informative_individuals]
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
    ranked = figures.informative_individuals(recording_of(counts, side=side), "side", 9)
    assert ranked.tolist() == np.argsort(f)[::-1].tolist()


def test_ranking_follows_neurons_when_they_change_places() -> None:
    counts = np.random.default_rng(1).poisson(3.0, (20, 6, 5))
    order = np.random.default_rng(2).permutation(6)
    plain = figures.informative_individuals(recording_of(counts, side=[0, 1] * 10), "side", 6)
    moved = figures.informative_individuals(recording_of(counts[:, order], side=[0, 1] * 10), "side", 6)
    assert order[moved].tolist() == plain.tolist()


def test_constant_neurons_come_last_and_unseen_ones_not_at_all() -> None:
    counts = np.ones((6, 4, 3)) * 0.1
    counts[:, 2] = np.nan
    counts[:, 3] += np.array([0, 1, 2, 10, 11, 12])[:, None]
    recording = recording_of(counts, side=[0, 0, 0, 1, 1, 1])
    assert figures.informative_individuals(recording, "side", 4).tolist() == [3, 0, 1]


def test_rounding_never_makes_a_constant_neuron_informative() -> None:
    side = np.array([0] * 3 + [1] * 7)
    rates = np.random.default_rng(0).random(50)
    counts = np.tile(np.append(rates, 0.0)[:, None], (10, 1, 4))
    counts[:, 50] = np.random.default_rng(1).poisson(3.0, (10, 4))
    ranked = figures.informative_individuals(recording_of(counts, side=side), "side", 51)
    assert ranked.tolist() == [50, *range(50)]


def test_a_perfectly_separating_neuron_comes_first() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (6, 3, 2)).astype(float)
    counts[:, 2] = np.array([0, 0, 0, 1, 1, 1])[:, None]
    recording = recording_of(counts, side=[0, 0, 0, 1, 1, 1])
    assert figures.informative_individuals(recording, "side", 1).tolist() == [2]


def test_with_one_class_neurons_keep_their_order() -> None:
    recording = recording_of(np.random.default_rng(0).poisson(3.0, (6, 3, 2)), side=[1] * 6)
    assert figures.informative_individuals(recording, "side", 2).tolist() == [0, 1]


def test_asking_for_no_individual_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        figures.informative_individuals(ragged_recording(), "state", 0)


# Score comparison


def test_a_row_shows_the_mean_and_students_interval_of_the_finite_folds() -> None:
    folds = np.array([0.8, 0.9, 0.85, 0.7])
    axes = figures.score_comparison({"EIT": [*folds, np.nan], "one": [0.5]}, "accuracy").axes[0]
    low, high = stats.t.interval(0.95, 3, folds.mean(), folds.std(ddof=1) / 2)
    dots, interval = cast(Any, axes.collections[:2])
    np.testing.assert_allclose(dots.get_offsets()[:, 0], folds)
    np.testing.assert_allclose(interval.get_segments()[0][:, 0], [low, high])
    assert [text.get_text() for text in axes.texts[:2]] == [f"0.812 ± {(high - low) / 2:.3f}", "0.500"]


def test_the_interval_is_the_one_in_the_tables() -> None:
    folds = [0.8, 0.9, 0.85, 0.7]
    axes = figures.score_comparison({"EIT": folds}, "accuracy", test_fraction=0.2).axes[0]
    expected = estimate_mean(folds, test_fraction=0.2)
    np.testing.assert_allclose(cast(Any, axes.collections[1]).get_segments()[0][:, 0], expected.interval)


def test_the_best_baseline_and_near_chance_are_lines() -> None:
    scores = {"EIT": [0.6], "LDA": [0.4], "NDT": [0.5], "shuffled": [0.3]}
    axes = figures.score_comparison(scores, "R²", baselines=["LDA", "NDT"], chance="shuffled").axes[0]
    assert line(axes, "best baseline")[0].tolist() == [0.5, 0.5]
    assert line(axes, "chance")[0].tolist() == [0.3, 0.3]


@pytest.mark.parametrize(("level", "arrow"), [(0.1, "<"), (1.7, ">")])
def test_distant_chance_is_an_arrow_and_leaves_the_methods_their_room(level: float, arrow: str) -> None:
    scores = {"EIT": [0.90, 0.92, 0.93], "LDA": [0.89, 0.90, 0.91], "shuffled": [level]}
    axes = figures.score_comparison(scores, "accuracy", chance="shuffled").axes[0]
    assert axes.lines[-1].get_marker() == arrow
    low, high = axes.get_xlim()
    assert 0.8 < low < 0.88
    assert 0.93 < high < 1
    segments = [c.get_segments()[0][:, 0] for c in cast(Any, axes.collections[1:4:2])]
    assert all(low < left < right < high for left, right in segments)


@pytest.mark.parametrize(
    ("scores", "names", "message"),
    [
        ({}, {}, "there are no finite scores"),
        ({"EIT": [1.0], "LDA": [np.nan]}, {}, "'LDA' has no finite scores"),
        ({"EIT": [1.0]}, {"baselines": ["EIF"]}, "did you mean 'EIT'"),
        ({"EIT": [1.0]}, {"chance": "shuffled"}, "unknown method 'shuffled'"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(scores: Any, names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        figures.score_comparison(scores, "accuracy", **names)


# Saving


def test_both_files_are_written_into_a_new_folder_without_a_date(tmp_path: Path) -> None:
    png, svg = figures.save_figure(Figure(figsize=(2, 1)), tmp_path / "new" / "folder", "chewie-1.psths")
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
        figures.save_figure(broken, tmp_path, "figure")
    assert [(tmp_path / f"figure.{kind}").read_bytes() for kind in ("png", "svg")] == old
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["", ".", "a/b", "../x"])
def test_a_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file name without folder"):
        figures.save_figure(Figure(), tmp_path, name)

"""Figures for print and page: pure functions from arrays to a matplotlib `Figure`.

No pyplot, no window, no lasting global state: every figure is drawn in one style of its own, whatever
the reader's matplotlib settings are, and `save_figure` writes the same bytes for the same arrays.
"""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.statistics import estimate_mean

Floats = NDArray[np.floating[Any]]

ONE_COLUMN_INCHES, TWO_COLUMNS_INCHES = 3.5, 7.2  # of a journal's page
MOST_PANELS = 12
INK, GREY, PALE, ACCENT, BEST = "#333333", "#8A8A8A", "#EEEEEE", "#0B6FA4", "#CC3311"
# Paul Tol's "muted" colours, which colour-blind readers can tell apart, without the sand that is too pale
# for a line on white. They run around the hues: neighbouring reach directions get neighbouring colours.
CLASS_COLOURS = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#CC6677", "#882255", "#AA4499")

_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.size": 8,
    "figure.titlesize": 9,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "motet",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
_in_our_style = matplotlib.style.context(["default", _STYLE])


@_in_our_style
def confusion_matrix(target: ArrayLike, prediction: ArrayLike, classes: Sequence[Any], *, title: str = "") -> Figure:
    """Draw which class was taken for which: counts as text, share of the true class as colour.

    The title gives the accuracy, and chance: the accuracy of always answering the commonest class. The
    row of a class that never occurs is grey.

    Args:
        target: (item,) true classes.
        prediction: (item,) predicted classes.
        classes: what both are drawn from, in the order of the axes.
        title: what is shown, above the accuracy.

    Raises:
        InputError: if shapes disagree, nothing is given, or a label is not among `classes`.

    Example:
        >>> figure = confusion_matrix([0, 0, 1], [0, 1, 1], classes=[0, 1])
        >>> figure.get_suptitle()
        'accuracy 0.667 (chance 0.667), n = 3'
    """
    true, predicted = np.asarray(target), np.asarray(prediction)
    counts = _count_pairs(true, predicted, list(classes))
    n_items = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, n_items, out=np.full(counts.shape, np.nan), where=n_items > 0)
    names = [str(label) for label in classes]

    side = float(np.clip(0.9 + 0.2 * len(names), 1.9, 5.8))
    figure = Figure(figsize=(side + 1.6, side + 0.9))
    axes = figure.subplots()
    axes.set_facecolor(PALE)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    cell_points = 72 * side / len(names)
    for row, column in np.argwhere(counts > 0):
        ink = "white" if share[row, column] > 0.55 else INK
        size = float(np.clip(cell_points * 0.45, 3.5, 8))
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=size)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) * 5 > cell_points else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], shrink=0.7, label="share of the true class")
    bar.outline.set_visible(False)
    accuracy, chance = np.trace(counts) / true.size, n_items.max() / true.size
    return _titled(figure, title, f"accuracy {accuracy:.3f} (chance {chance:.3f}), n = {true.size}")


def _count_pairs(true: NDArray[Any], predicted: NDArray[Any], classes: list[Any]) -> NDArray[np.int64]:
    """(true class, predicted class) how often each was taken for each."""
    if true.ndim != 1 or true.shape != predicted.shape or true.size == 0:
        raise InputError(f"target has shape {true.shape} and prediction {predicted.shape}; give one class per item.")
    rank = {label: position for position, label in enumerate(np.asarray(classes).tolist())}
    strange = (set(true.tolist()) | set(predicted.tolist())) - set(rank)
    if strange or len(rank) != len(classes):
        given = f"{min(map(str, strange))!r} was given" if strange else "one of them is listed twice"
        raise InputError(f"classes are {classes}, but {given}; list every class once.")
    counts = np.zeros((len(rank), len(rank)), dtype=np.int64)
    np.add.at(counts, tuple([rank[label] for label in labels.tolist()] for labels in (true, predicted)), 1)
    return counts


@_in_our_style
def decoded_trajectories(
    decoded_velocity: ArrayLike,
    true_velocity: ArrayLike,
    direction: ArrayLike,
    bin_seconds: float,
    *,
    length_unit: str = "cm",
    n_examples: int = 3,
    title: str = "",
) -> Figure:
    """Draw true and decoded hand paths side by side, and the velocities of a few trials over time.

    Paths integrate the velocity from the origin, over the bins in which both velocities are known,
    up to a trial's first gap. The examples are spread evenly from well to badly decoded
    trials, by root-mean-square error.

    Args:
        decoded_velocity: (trial, time, 2) in length units per second; NaN where unknown.
        true_velocity: likewise.
        direction: (trial,) class that colours a path.
        bin_seconds: width of a time bin, in seconds.
        length_unit: of the paths.
        n_examples: how many trials to follow over time.
        title: what is shown, above the R² over all bins (variance-weighted over x and y).

    Raises:
        InputError: if shapes disagree or no bin has both velocities.

    Example:
        >>> velocity = np.random.default_rng(0).normal(size=(6, 10, 2))
        >>> figure = decoded_trajectories(velocity, velocity, [0, 0, 1, 1, 2, 2], 0.1)
        >>> figure.get_suptitle()
        'velocity R² 1.000, 6 trials'
    """
    both = np.stack(_same_shapes(decoded_velocity, true_velocity, direction))
    if not (np.isfinite(bin_seconds) and bin_seconds > 0) or n_examples < 1:
        raise InputError(f"bin_seconds is {bin_seconds} and n_examples {n_examples}; give positive numbers.")
    known: NDArray[np.bool_] = np.all(np.isfinite(both), axis=(0, 3))
    if not known.any():
        raise InputError("no bin has both a decoded and a true velocity; check which trials were decoded.")
    both = np.where(known[..., None], both, np.nan)
    classes, codes = np.unique(np.asarray(direction), return_inverse=True)
    colours = _class_colours(len(classes))[codes]
    trials = np.flatnonzero(known.any(axis=1))
    squared_error = np.nansum((both[0] - both[1]) ** 2, axis=(1, 2))[trials]
    error = np.sqrt(squared_error / known[trials].sum(axis=1))
    spread = np.linspace(0, len(trials) - 1, n_examples + 2)[1:-1].round().astype(int)
    examples = {
        int(trials[i]): f"trial {trials[i]}, error {error[i]:.1f} {length_unit}/s"
        for i in np.argsort(error, kind="stable")[spread]
    }

    figure = Figure(figsize=(TWO_COLUMNS_INCHES, 5.6))
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.2, 1])[:, 0]
    _draw_paths(upper, _hand_paths(both, known, bin_seconds), colours, length_unit)
    _class_legend(upper, classes, title="direction")
    seconds = (np.arange(known.shape[1]) + 0.5) * bin_seconds
    _draw_velocities(lower, seconds, both, examples, colours, f"{length_unit}/s")
    deviation = ((both[1][known] - both[1][known].mean(axis=0)) ** 2).sum()
    r_squared = 1 - squared_error.sum() / deviation if deviation > 0 else np.nan
    return _titled(figure, title, f"velocity R² {r_squared:.3f}, {len(trials)} trials")


def _same_shapes(decoded: ArrayLike, true: ArrayLike, direction: ArrayLike) -> tuple[Floats, Floats]:
    """Both velocities as arrays, or an `InputError` if the three do not go together."""
    decoded, true = np.asarray(decoded, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if true.ndim != 3 or true.shape[2] != 2 or decoded.shape != true.shape or np.shape(direction) != true.shape[:1]:
        raise InputError(
            f"decoded_velocity has shape {decoded.shape}, true_velocity {true.shape} and direction "
            f"{np.shape(direction)}; give (trial, time, 2) twice and (trial,)."
        )
    return decoded, true


def _hand_paths(both: Floats, known: NDArray[np.bool_], bin_seconds: float) -> Floats:
    """(…, trial, 1 + time, 2) positions, at the origin until the first known bin, NaN from a gap on."""
    has_ended = np.maximum.accumulate(np.maximum.accumulate(known, axis=1) & ~known, axis=1)
    path = np.cumsum(np.nan_to_num(both), axis=-2) * bin_seconds
    path = np.where((has_ended | ~known.any(axis=1, keepdims=True))[..., None], np.nan, path)
    return np.concatenate([np.zeros_like(path[..., :1, :]), path], axis=-2)


def _draw_paths(figure: SubFigure, both: Floats, colours: NDArray[Any], length_unit: str) -> None:
    """True and decoded paths on common limits, from (decoded and true, trial, 1 + time, 2); dots are ends."""
    low, high = np.nanmin(both, axis=(0, 1, 2)), np.nanmax(both, axis=(0, 1, 2))
    reach = float(np.max(high - low)) * 0.54 or 1.0
    centre = (low + high) / 2
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, path in zip(panels, ("true", "decoded"), both[::-1], strict=True):
        axes.add_collection(LineCollection(list(path), colors=colours.tolist(), linewidths=0.7, alpha=0.7))
        last = path[np.arange(len(path)), np.isfinite(path[..., 0]).sum(axis=1) - 1]
        axes.scatter(*last.T, c=colours.tolist(), s=7, linewidths=0, zorder=3)
        axes.plot(0, 0, "+", color=INK, markersize=6, markeredgewidth=0.8, zorder=4)
        axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
        axes.set(aspect="equal", title=f"{name} paths", xlabel=f"x ({length_unit})")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    panels[0].set_ylabel(f"y ({length_unit})")


def _draw_velocities(
    figure: SubFigure,
    seconds: Floats,
    both: Floats,
    examples: Mapping[int, str],
    colours: NDArray[Any],
    unit: str,
) -> None:
    """Draw x above y, one column per example, from (decoded and true, trial, time, 2)."""
    panels = figure.subplots(2, len(examples), sharex=True, sharey=True, squeeze=False)
    for column, (trial, name) in enumerate(examples.items()):
        panels[0, column].set_title(name)
        panels[1, column].set_xlabel("time in the trial (s)")
        for row, axes in enumerate(panels[:, column]):
            axes.axhline(0, color=GREY, linewidth=0.4, zorder=0)
            axes.plot(seconds, both[1, trial, :, row], color=GREY, linewidth=2.2)
            axes.plot(seconds, both[0, trial, :, row], color=colours[trial])
    for axes, component in zip(panels[:, 0], "xy", strict=True):
        axes.set_ylabel(f"{component} velocity\n({unit})")
    handles = [Line2D([], [], color=GREY, linewidth=2.2), Line2D([], [], color=INK)]
    figure.legend(handles, ["true", "decoded"], loc="outside right upper")


@_in_our_style
def learning_curve(
    history: Mapping[str, ArrayLike] | Sequence[Mapping[str, ArrayLike]],
    *,
    score_name: str = "score",
    best_by: str | None = None,
    title: str = "",
) -> Figure:
    """Draw loss and score against epoch with the best epoch marked; folds thin, their mean thick.

    The mean is drawn over the epochs that every fold reached.

    Args:
        history: of one fold, or one per fold: "epoch" and any of "train_loss", "validation_loss",
            "train_score", "validation_score", each (epoch,), NaN where not measured. Other columns
            are left alone.
        score_name: what the score is, with its unit.
        best_by: the column whose best epoch is marked: lowest of a loss, highest of a score. By
            default "validation_score" if there is one, else "validation_loss", else the first.
        title: what is shown.

    Raises:
        InputError: if there is nothing to draw, columns differ in length or between folds, or
            `best_by` is not drawn.

    Example:
        >>> history = {"epoch": [1, 2, 3], "train_loss": [3, 2, 1], "validation_loss": [3.0, 2.0, 2.5]}
        >>> [text.get_text() for text in learning_curve(history).legends[0].get_texts()]
        ['training', 'validation', 'best: epoch 2']
    """
    folds = _folds([history] if isinstance(history, Mapping) else history)
    drawn = [name for name in _CURVES if name in folds[0]]
    if best_by is None:
        best_by = next(name for name in ("validation_score", "validation_loss", *drawn) if name in drawn)
    if best_by not in drawn:
        raise did_you_mean(best_by, drawn, what="column of the history")

    kinds = [kind for kind in ("loss", "score") if any(name.endswith(kind) for name in drawn)]
    figure = Figure(figsize=(ONE_COLUMN_INCHES, 0.9 + 1.5 * len(kinds)))
    panels = dict(zip(kinds, figure.subplots(len(kinds), sharex=True, squeeze=False)[:, 0], strict=True))
    for name in drawn:
        _draw_curves(panels[name.split("_")[1]], folds, name)
    _mark_best(panels, folds, best_by)
    for kind, axes in panels.items():
        axes.set_ylabel("loss" if kind == "loss" else score_name)
    panels[kinds[-1]].set_xlabel("epoch")
    panels[kinds[-1]].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    entries = {
        label: handle
        for axes in panels.values()
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=3, columnspacing=1.2)
    return _titled(figure, title)


# Column of a history → what its curve is called and its colour.
_CURVES = {
    "train_loss": ("training", GREY),
    "validation_loss": ("validation", ACCENT),
    "train_score": ("training", GREY),
    "validation_score": ("validation", ACCENT),
}


def _folds(histories: Sequence[Mapping[str, ArrayLike]]) -> list[dict[str, Floats]]:
    """The epochs and the columns to draw of every fold, or an `InputError` if they do not go together."""
    names = ("epoch", *_CURVES)
    folds: list[dict[str, Floats]] = [
        {name: np.asarray(fold[name], dtype=np.float64) for name in names if name in fold} for fold in histories
    ]
    for fold in folds:
        shapes = {name: column.shape for name, column in fold.items()}
        if fold.keys() != folds[0].keys() or set(shapes.values()) != {(len(next(iter(fold.values()))),)}:
            raise InputError(f"a fold's history has columns {shapes}; give every fold the same, all (epoch,).")
        if (np.diff(fold.get("epoch", np.zeros(0))) <= 0).any():
            raise InputError(f"a fold's history has epochs {fold['epoch']}; give each once, in order.")
    if not folds or "epoch" not in folds[0] or len(folds[0]) < 2:
        raise InputError(f"the history has no curve to draw; give 'epoch' and any of {', '.join(_CURVES)}.")
    return folds


def _draw_curves(axes: Axes, folds: Sequence[Mapping[str, Floats]], name: str) -> None:
    """Every fold's curve, thin, and their mean, thick; a single fold is its own mean."""
    label, colour = _CURVES[name]
    curves = [(fold["epoch"][np.isfinite(fold[name])], fold[name][np.isfinite(fold[name])]) for fold in folds]
    if len(folds) > 1:
        for epoch, value in curves:
            axes.plot(epoch, value, color=colour, linewidth=0.5, alpha=0.5)
    shared = functools.reduce(np.intersect1d, [epoch for epoch, _ in curves])
    mean = np.mean([value[np.isin(epoch, shared)] for epoch, value in curves], axis=0)
    axes.plot(shared, mean, color=colour, linewidth=1.6, marker="." if len(shared) == 1 else "", label=label)


def _mark_best(panels: Mapping[str, Axes], folds: Sequence[Mapping[str, Floats]], best_by: str) -> None:
    """A dot on each fold's best epoch; for one fold also its number, and a line through both panels."""
    sign = -1 if best_by.endswith("loss") else 1
    best = [
        (fold["epoch"][i], fold[best_by][i])
        for fold in folds
        if np.isfinite(fold[best_by]).any()
        for i in [np.nanargmax(sign * fold[best_by])]
    ]
    label = "best epoch of each fold"
    if len(folds) == 1 and best:
        label = f"best: epoch {best[0][0]:g}"
        for axes in panels.values():
            axes.axvline(best[0][0], color=BEST, linewidth=0.8, linestyle=":", zorder=0)
    if best:
        axes = panels[best_by.split("_")[1]]
        axes.plot(*zip(*best, strict=True), "o", color=BEST, markersize=3.5, linewidth=0, label=label, zorder=4)


@_in_our_style
def psths(recording: Recording, target: str, individuals: ArrayLike | None = None, *, title: str = "") -> Figure:
    """Draw each neuron's firing rate over the trial, per class: mean ± s.e.m. over trials.

    A class's line ends where fewer than half of its trials that saw the neuron go on, so that a few
    long trials are not taken for the class.

    Args:
        recording: of spike counts per bin, one feature.
        target: name of a target with one class per trial.
        individuals: positions of at most 12, or a mask; by default the 12 most informative.
        title: what is shown.

    Raises:
        InputError: if the recording does not hold counts, the target is no class per trial, or
            there are more than 12 individuals or ones that do not exist.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (20, 3, 8))
        >>> recording = Recording.from_trials(counts, targets={"side": np.arange(20) % 2}, bin_seconds=0.1)
        >>> [axes.get_title("left") for axes in psths(recording, "side", [2, 0]).axes]
        ['array/2', 'array/0']
    """
    classes, codes = _classes_of_trials(recording, target)
    if individuals is None:
        individuals = informative_individuals(recording, target, MOST_PANELS)
    try:
        shown = recording.select(individuals=np.atleast_1d(individuals))
    except IndexError as error:
        raise InputError(
            f"individuals {individuals} are not all in recording {recording.name!r}; "
            f"give positions from 0 to {recording.n_individuals - 1}, or a mask of that many."
        ) from error
    if shown.n_individuals > MOST_PANELS:
        raise InputError(f"{shown.n_individuals} individuals are to be drawn; choose at most {MOST_PANELS}.")
    n, mean, squares = _per_class(_counts(shown) / shown.bin_seconds, shown.observed, codes)
    mean = np.where((n > 0) & (2 * n >= n.max(axis=2, keepdims=True)), mean, np.nan)
    sem = np.sqrt(np.divide(squares, n * (n - 1), out=np.full(n.shape, np.nan), where=n > 1))
    seconds = (np.arange(shown.n_bins) + 0.5) * shown.bin_seconds

    n_columns = math.ceil(math.sqrt(shown.n_individuals))
    n_rows = -(-shown.n_individuals // n_columns)
    figure = Figure(figsize=(1.2 + 1.5 * n_columns, 0.7 + 1.2 * n_rows))
    panels = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).reshape(-1)
    for position, name in enumerate(shown.individual_ids):
        panels[position].set_title(_shortened(name), fontsize=7.5)
        _draw_rates(panels[position], seconds, mean[:, position], sem[:, position])
    for axes in panels[shown.n_individuals - n_columns : shown.n_individuals]:
        axes.tick_params(labelbottom=True)
    for axes in panels[shown.n_individuals :]:
        axes.remove()
    figure.supxlabel("time in the trial (s)", fontsize=8)
    figure.supylabel("firing rate (Hz)\nmean ± s.e.m.", fontsize=8)
    _class_legend(figure, classes, title=target)
    return _titled(figure, title)


def _draw_rates(axes: Axes, seconds: Floats, mean: Floats, sem: Floats) -> None:
    """A line and a band per class, from (class, time) rates in Hz."""
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    if np.isnan(mean).all():
        axes.text(0.5, 0.5, "not observed", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set_yticks([])
        return
    for colour, centre, half in zip(_class_colours(len(mean)), mean, sem, strict=True):
        axes.fill_between(seconds, centre - half, centre + half, color=colour, alpha=0.2, linewidth=0)
        axes.plot(seconds, centre, color=colour, linewidth=1.1, marker="." if len(seconds) == 1 else "")
    axes.set_ylim(bottom=0)


def informative_individuals(recording: Recording, target: str, n: int) -> NDArray[np.int64]:
    """Positions of the `n` neurons whose activity differs most between classes, most informative first.

    Ranked by the F of a one-way analysis of variance on √(mean count over a trial's observed bins);
    the root evens out the variance of Poisson counts. F is 0 for a neuron that never varies, and for
    all where there is one class; equals keep their order. Neurons never observed are left out, so
    that fewer than `n` may come back.

    Raises:
        InputError: if the recording does not hold counts, the target is no class per trial, or n < 1.

    Example:
        >>> counts = np.ones((4, 3, 5))
        >>> counts[:, 1] += np.array([[0], [1], [5], [7]])
        >>> recording = Recording.from_trials(counts, targets={"side": [0, 0, 1, 1]})
        >>> informative_individuals(recording, "side", 2)
        array([1, 0])
    """
    if n < 1:
        raise InputError(f"n is {n}; ask for at least one individual.")
    _, codes = _classes_of_trials(recording, target)
    n_bins = recording.observed.sum(axis=2)
    total = np.where(recording.observed, _counts(recording), 0).sum(axis=2)
    n_trials, mean, squares = _per_class(np.sqrt(total / np.maximum(n_bins, 1)), n_bins > 0, codes)
    n_seen, n_classes = n_trials.sum(axis=0), (n_trials > 0).sum(axis=0)
    overall = (n_trials * mean).sum(axis=0) / np.maximum(n_seen, 1)
    between, within = (n_trials * (mean - overall) ** 2).sum(axis=0), squares.sum(axis=0)
    # Rounding alone gives a neuron that never varies a sum of squares of this size.
    varies = between + within > 1e-20 * n_seen * overall**2
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (between / (n_classes - 1)) / (within / (n_seen - n_classes))
    f = np.where(varies & (n_classes > 1) & (n_seen > n_classes), f, 0.0)
    order = np.argsort(-f, kind="stable")
    seen: NDArray[np.int64] = order[n_seen[order] > 0]
    return seen[:n]


def _classes_of_trials(recording: Recording, target: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes of a target, and (trial,) which of them each trial is."""
    labels = recording.target(target)
    if labels.ndim != 1 or recording.target_levels[target] != "trial" or labels.dtype.kind == "f":
        raise InputError(
            f"target {target!r} of recording {recording.name!r} is {labels.dtype} per "
            f"{recording.target_levels[target]}, shape {labels.shape}; choose one with a class per trial."
        )
    classes, codes = np.unique(labels, return_inverse=True)
    return classes, codes.astype(np.int64)


def _counts(recording: Recording) -> Floats:
    """(trial, individual, time) spike counts."""
    if recording.n_features != 1 or (recording.values < 0).any():
        raise InputError(
            f"recording {recording.name!r} has {recording.n_features} features and values from "
            f"{recording.values.min():g}; firing rates need one feature that holds counts, 0 or more."
        )
    return recording.values[..., 0].astype(np.float64)


def _per_class(values: Floats, observed: NDArray[np.bool_], codes: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """(class, individual, …): number of observed trials, their mean, and sum of squared deviations."""
    is_member = (codes == np.arange(codes.max() + 1)[:, None]).astype(np.float64)
    n = np.tensordot(is_member, observed.astype(np.float64), axes=1)
    mean = np.tensordot(is_member, np.where(observed, values, 0.0), axes=1) / np.maximum(n, 1)
    squares = np.tensordot(is_member, np.where(observed, (values - mean[codes]) ** 2, 0.0), axes=1)
    return n, mean, squares


@_in_our_style
def score_comparison(
    scores: Mapping[str, ArrayLike],
    metric: str,
    *,
    baselines: Collection[str] = (),
    chance: str | None = None,
    test_fraction: float | None = None,
    title: str = "",
) -> Figure:
    """Draw every method's score: a dot per fold, the mean, and its 95 % interval.

    The interval is that of `motet.statistics.estimate_mean`; a single fold has none.

    Args:
        scores: method → (fold,), drawn from top to bottom; NaN for a fold that was not run.
        metric: what the score is, with its unit; more is better.
        baselines: which methods are rivals, drawn in grey; a line marks the best one's mean.
        chance: which method is the control on shuffled labels; a line marks its mean, or an arrow at
            the edge where it lies so far from the others that their differences would vanish.
        test_fraction: of the trials, how many are in a test fold, to widen the interval for folds that
            share training trials; None for independent folds or seeds.
        title: what is shown.

    Raises:
        InputError: if a method has no finite score, or a baseline or chance is not among `scores`.

    Example:
        >>> scores = {"EIT": [0.9, 0.92], "LDA": [0.85, 0.88], "shuffled": [0.1, 0.14]}
        >>> figure = score_comparison(scores, "accuracy", baselines=["LDA"], chance="shuffled")
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['EIT', 'LDA', 'shuffled (chance)']
    """
    folds = _finite_folds(scores, named=(*baselines, *([chance] if chance is not None else [])))
    mean = {name: float(values.mean()) for name, values in folds.items()}
    intervals = {name: _interval(values, test_fraction) for name, values in folds.items()}
    figure = Figure(figsize=(3.0 + 0.07 * max(map(len, folds)), 1.0 + 0.3 * len(folds)))
    axes = figure.subplots()
    for row, (name, values) in enumerate(folds.items()):
        _draw_scores(axes, row, values, intervals[name], is_rival=name in baselines or name == chance)
    axes.text(1.03, -0.9, "mean ± 95 %", transform=axes.get_yaxis_transform(), va="center", color=GREY)
    if baselines:
        best = max(mean[name] for name in baselines)
        axes.plot([], [], "o", color=GREY, markersize=4.5, markerfacecolor="white", label="baseline")
        axes.axvline(best, color=GREY, linewidth=0.8, linestyle="--", zorder=0, label="best baseline")
    if chance is not None:
        _mark_chance(axes, folds, intervals, chance)
    axes.set_yticks(range(len(folds)), [f"{name} (chance)" if name == chance else name for name in folds])
    axes.set_ylim(len(folds) - 0.45, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3)
    return _titled(figure, title)


def _finite_folds(scores: Mapping[str, ArrayLike], *, named: Sequence[str]) -> dict[str, Floats]:
    """Every method's finite scores, or an `InputError` if one has none or one that is named is not there."""
    folds: dict[str, Floats] = {
        name: np.asarray(values, dtype=np.float64).reshape(-1) for name, values in scores.items()
    }
    folds = {name: values[np.isfinite(values)] for name, values in folds.items()}
    empty = [name for name, values in folds.items() if not len(values)]
    if empty or not folds:
        whose = f"method {empty[0]!r} has" if empty else "there are"
        raise InputError(f"{whose} no finite scores; give one number per fold for every method.")
    for name in named:
        if name not in folds:
            raise did_you_mean(name, folds, what="method")
    return folds


def _draw_scores(axes: Axes, row: int, values: Floats, interval: tuple[float, float], *, is_rival: bool) -> None:
    """One row: folds as dots under the mean and its interval, and the numbers at the right."""
    colour = GREY if is_rival else ACCENT
    mean, half = values.mean(), (interval[1] - interval[0]) / 2
    axes.scatter(values, row + np.linspace(0.1, 0.3, len(values)), s=5, color=colour, alpha=0.5, linewidths=0)
    axes.hlines(row - 0.1, *interval, color=colour, linewidth=1.6)
    face = "white" if is_rival else colour
    axes.plot(mean, row - 0.1, "o", markersize=4.5, color=colour, markerfacecolor=face)
    text = f"{mean:.3f} ± {half:.3f}" if half > 0 else f"{mean:.3f}"
    axes.text(1.03, row, text, transform=axes.get_yaxis_transform(), va="center")


def _interval(values: Floats, test_fraction: float | None) -> tuple[float, float]:
    """Ends of the 95 % interval of a mean; for one value, itself."""
    if len(values) < 2:
        return float(values[0]), float(values[0])
    return estimate_mean(values, test_fraction=test_fraction).interval


def _mark_chance(
    axes: Axes, folds: Mapping[str, Floats], intervals: Mapping[str, tuple[float, float]], chance: str
) -> None:
    """A line at chance; where that would crush the methods' differences, an arrow at the edge towards it."""
    methods = [name for name in folds if name != chance] or [chance]
    shown = [end for name in methods for end in (*folds[name], *intervals[name])]
    level, low, high = folds[chance].mean(), min(shown), max(shown)
    margin = 0.1 * (high - low or abs(level - low))
    if low - 10 * margin <= level <= high + 10 * margin:
        axes.axvline(level, color=BEST, linewidth=0.8, linestyle=":", zorder=0, label="chance")
        return
    axes.set_xlim(low - margin, high + margin)
    row, edge, arrow = list(folds).index(chance), *((0.02, "<") if level < low else (0.98, ">"))
    axes.plot(edge, row, arrow, transform=axes.get_yaxis_transform(), color=BEST, markersize=5)


def save_figure(figure: Figure, folder: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Write a figure as `name`.png (150 dots per inch) and `name`.svg; gives back both paths.

    A file is replaced whole or not at all. The same arrays give the same bytes: neither file holds a
    date or a random id.

    Raises:
        InputError: if `name` is no bare file name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in save_figure(Figure(), folder, "empty")]
        ['empty.png', 'empty.svg']
    """
    if not name or Path(name).name != name:
        raise InputError(f"the figure's name is {name!r}; give a file name without folder, such as 'psths'.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    png = _write(figure, folder / f"{name}.png", dpi=150, metadata={"Software": None})
    svg = _write(figure, folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    return png, svg


@_in_our_style
def _write(figure: Figure, path: Path, **options: Any) -> Path:
    rendered = io.BytesIO()
    figure.savefig(rendered, format=path.suffix[1:], **options)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(rendered.getvalue())
    partial.replace(path)
    return path


def _class_colours(n_classes: int) -> NDArray[Any]:
    """(class, 4) colours, neighbours alike; beyond eight classes from a ramp that everyone can order."""
    if n_classes > len(CLASS_COLOURS):
        return matplotlib.colormaps["viridis"](np.linspace(0, 0.95, n_classes))
    spread = np.arange(n_classes) * len(CLASS_COLOURS) // max(n_classes, 1)
    return matplotlib.colors.to_rgba_array([CLASS_COLOURS[position] for position in spread])


def _titled(figure: Figure, title: str, summary: str = "") -> Figure:
    """The figure, laid out, with the title over the summary from its left edge."""
    figure.suptitle("\n".join(line for line in (title, summary) if line), x=0.01, horizontalalignment="left")
    # Matplotlib solves the layout anew from the last one at every drawing, each time a little differently.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _class_legend(figure: Figure | SubFigure, classes: NDArray[Any], *, title: str) -> None:
    """The classes' colours, to the right of the panels."""
    handles = [Line2D([], [], color=colour, linewidth=2) for colour in _class_colours(len(classes))]
    legend = figure.legend(handles, [str(label) for label in classes], loc="outside right upper", title=title)
    legend.set_alignment("left")


def _shortened(name: str, longest: int = 18) -> str:
    """The end of a long name, which is where ids differ."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"

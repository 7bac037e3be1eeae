"""What was decoded, beside the truth: a confusion matrix, and hand trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from motet import given
from motet.errors import InputError
from motet.report import style
from motet.report.style import Floats

N_EXAMPLES = 3  # trials that are followed over time


@style.in_our_style
def confusion_matrix(target: ArrayLike, prediction: ArrayLike, classes: Sequence[Any], *, title: str = "") -> Figure:
    """Draw which class was taken for which: counts as text, share of the true class as colour.

    The title gives the accuracy, and chance: the accuracy of always answering the commonest class. The
    row of a class that never occurs is grey.

    Args:
        target: (item,) true classes.
        prediction: (item,) predicted classes.
        classes: what both are drawn from, in the order of the axes.
        title: what is shown, above the accuracy.
    """
    true, predicted = np.asarray(target), np.asarray(prediction)
    counts = np.array([[np.sum((true == of) & (predicted == taken)) for taken in classes] for of in classes])
    n_items = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, n_items, out=np.full(counts.shape, np.nan), where=n_items > 0)
    names = [style.shown(label) for label in classes]

    side = float(np.clip(0.9 + 0.2 * len(names), 1.9, 5.8))
    room = 0.07 * max(0, max(map(len, names)) - 6)  # inches that long names take
    figure = style.Drawing(figsize=(side + 1.6 + room, side + 0.9 + room))
    axes = figure.subplots()
    axes.set_facecolor(style.PALE)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    cell_points = 72 * side / len(names)
    for row, column in np.argwhere(counts > 0):
        ink = "white" if share[row, column] > 0.55 else style.INK
        size = float(np.clip(cell_points * 0.45, 3.5, 8))
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=size)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) * 5 > cell_points else 0)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], shrink=0.7, label="share of the true class")
    bar.outline.set_visible(False)
    n = counts.sum()
    summary = f"accuracy {np.trace(counts) / n:.3f} (largest class {n_items.max() / n:.3f}), n = {n}"
    return style.titled(figure, title, summary)


@style.in_our_style
def decoded_trajectories(
    decoded_velocity: ArrayLike, true_velocity: ArrayLike, direction: ArrayLike, bin_seconds: float, *, title: str = ""
) -> Figure:
    """Draw true and decoded hand paths side by side, and the velocities of a few trials over time.

    Paths integrate the velocity from the origin, over the bins in which both velocities are known,
    up to a trial's first gap. The examples are spread evenly from well to badly decoded
    trials, by root-mean-square error.

    Args:
        decoded_velocity: (trial, time, 2) in cm per second; NaN where unknown.
        true_velocity: likewise.
        direction: (trial,) class that colours a path.
        bin_seconds: width of a time bin, in seconds.
        title: what is shown, above the R² over all bins (variance-weighted over x and y).

    Raises:
        InputError: if no bin has both velocities.
    """
    both = np.stack([np.asarray(decoded_velocity), np.asarray(true_velocity)]).astype(np.float64)
    labels = given.labels(direction, what="direction")
    known: NDArray[np.bool_] = np.all(np.isfinite(both), axis=(0, 3)) & given.is_known(labels)[:, None]
    if not known.any():
        raise InputError("no bin has both a decoded and a true velocity of known direction; check what was decoded.")
    both = np.where(known[..., None], both, np.nan)
    trials = np.flatnonzero(known.any(axis=1))
    classes = np.unique(labels[trials])
    colours = style.class_colours(len(classes))[np.searchsorted(classes, labels).clip(max=len(classes) - 1)]
    squared_error = np.nansum((both[0] - both[1]) ** 2, axis=(1, 2))[trials]
    error = np.sqrt(squared_error / known[trials].sum(axis=1))
    spread = np.linspace(0, len(trials) - 1, N_EXAMPLES + 2)[1:-1].round().astype(int)
    examples = {int(trials[i]): f"error {error[i]:.1f} cm/s" for i in np.argsort(error, kind="stable")[spread]}

    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, 5.6))
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.2, 1])[:, 0]
    _draw_paths(upper, _hand_paths(both, known, bin_seconds), colours)
    style.class_legend(upper, classes, title="direction")
    seconds = (np.arange(known.shape[1]) + 0.5) * bin_seconds
    _draw_velocities(lower, seconds, both, examples, colours)
    explained = style.r_squared(both[1][known], both[0][known])
    return style.titled(figure, title, f"velocity R² {explained:.3f}, {len(trials)} trials")


def _hand_paths(both: Floats, known: NDArray[np.bool_], bin_seconds: float) -> Floats:
    """(…, trial, 1 + time, 2) positions, at the origin until the first known bin, NaN from a gap on."""
    has_ended = np.maximum.accumulate(np.maximum.accumulate(known, axis=1) & ~known, axis=1)
    path = np.cumsum(np.nan_to_num(both), axis=-2) * bin_seconds
    path = np.where((has_ended | ~known.any(axis=1, keepdims=True))[..., None], np.nan, path)
    return np.concatenate([np.zeros_like(path[..., :1, :]), path], axis=-2)


def _draw_paths(figure: SubFigure, both: Floats, colours: NDArray[Any]) -> None:
    """True and decoded paths on common limits, from (decoded and true, trial, 1 + time, 2); dots are ends."""
    low, high = np.nanmin(both, axis=(0, 1, 2)), np.nanmax(both, axis=(0, 1, 2))
    reach = float(np.max(high - low)) * 0.54 or 1.0
    centre = (low + high) / 2
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, path in zip(panels, ("true", "decoded"), both[::-1], strict=True):
        style.draw_lines(axes, path, colours, linewidths=0.7, alpha=0.7)
        last = path[np.arange(len(path)), np.isfinite(path[..., 0]).sum(axis=1) - 1]
        axes.scatter(*last.T, c=colours.tolist(), s=7, linewidths=0, zorder=3)
        axes.plot(0, 0, "+", color=style.INK, markersize=6, markeredgewidth=0.8, zorder=4)
        axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
        axes.set(aspect="equal", title=f"{name} paths", xlabel="x (cm)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    panels[0].set_ylabel("y (cm)")


def _draw_velocities(
    figure: SubFigure, seconds: Floats, both: Floats, examples: Mapping[int, str], colours: NDArray[Any]
) -> None:
    """Draw x above y, one column per example, from (decoded and true, trial, time, 2)."""
    panels = figure.subplots(2, len(examples), sharex=True, sharey=True, squeeze=False)
    for column, (trial, name) in enumerate(examples.items()):
        panels[0, column].set_title(name)
        panels[1, column].set_xlabel("time in the trial (s)")
        for row, axes in enumerate(panels[:, column]):
            axes.axhline(0, color=style.GREY, linewidth=0.4, zorder=0)
            axes.plot(seconds, both[1, trial, :, row], color=style.GREY, linewidth=2.2)
            axes.plot(seconds, both[0, trial, :, row], color=colours[trial])
    for axes, component in zip(panels[:, 0], "xy", strict=True):
        axes.set_ylabel(f"{component} velocity\n(cm/s)")
    handles = [Line2D([], [], color=style.GREY, linewidth=2.2), Line2D([], [], color=style.INK)]
    figure.legend(handles, ["true", "decoded"], loc="outside right upper")


@style.in_our_style
def decoded_courses(
    decoded: ArrayLike,
    true: ArrayLike,
    labels: Sequence[str],
    bin_seconds: float,
    *,
    n_trials: int = 6,
    title: str = "",
) -> Figure:
    """Draw a decoded quantity beside the true one over the time of some trials, from the best decoded to the worst.

    Args:
        decoded: (trial, time, dimension), NaN where unknown.
        true: likewise.
        labels: of the trials.
        bin_seconds: width of a bin.
        n_trials: that are drawn at most.
        title: what is shown.

    Raises:
        InputError: if no bin has both.

    Example:
        >>> true = np.sin(np.arange(12.0)).reshape(2, 6, 1)
        >>> len(decoded_courses(true + 0.1, true, ["first", "second"], 0.1).axes)
        2
    """
    both = np.stack([np.asarray(decoded), np.asarray(true)]).astype(np.float64)
    known: NDArray[np.bool_] = np.all(np.isfinite(both), axis=(0, 3))
    if not known.any():
        raise InputError("no bin has both a decoded and a true value; check what was decoded.")
    both = np.where(known[..., None], both, np.nan)
    trials = np.flatnonzero(known.any(axis=1))
    error = np.sqrt(np.nansum((both[0] - both[1]) ** 2, axis=(1, 2))[trials] / known[trials].sum(axis=1))
    shown = trials[style.spread_from_best(error, n_trials)]
    n_dimensions = both.shape[3]
    figure = style.Drawing(figsize=(max(0.9 + 1.4 * len(shown), style.ONE_COLUMN_INCHES), 0.9 + 1.2 * n_dimensions))
    panels = figure.subplots(n_dimensions, len(shown), sharex=True, sharey="row", squeeze=False)
    seconds = (np.arange(known.shape[1]) + 0.5) * bin_seconds
    for column, trial in enumerate(shown):
        panels[0, column].set_title(style.shown(labels[trial]), fontsize=7.5)
        panels[-1, column].set_xlabel("time (s)")
        for dimension, axes in enumerate(panels[:, column]):
            axes.plot(seconds, both[1, trial, :, dimension], color=style.GREY, linewidth=2.2)
            axes.plot(seconds, both[0, trial, :, dimension], color=style.ACCENT)
    for dimension, axes in enumerate(panels[:, 0]):
        axes.set_ylabel(f"dimension {dimension}" if n_dimensions > 1 else "value")
    handles = [Line2D([], [], color=style.GREY, linewidth=2.2), Line2D([], [], color=style.ACCENT)]
    figure.legend(handles, ["true", "decoded"], loc="outside right upper")
    explained = style.r_squared(both[1][known], both[0][known])
    return style.titled(figure, title, f"R² {explained:.3f}, {len(trials)} trials")


@style.in_our_style
def class_probabilities(
    probability: ArrayLike, truth: ArrayLike, classes: Sequence[Any], *, target: str = "class", title: str = ""
) -> Figure:
    r"""Draw what was thought of each class in every trial or bin, sorted by the true class.

    Args:
        probability: (item, class).
        truth: (item,) positions of the true classes, -1 for none of them.
        classes: labels.
        target: what the classes are of.
        title: what is shown, above the mean probability of the truth.

    Example:
        >>> figure = class_probabilities([[0.9, 0.1], [0.3, 0.7]], [0, 1], ["left", "right"], title="side")
        >>> figure.get_suptitle()
        'side\nmean probability of the truth 0.800, n = 2'
    """
    p, true = np.asarray(probability, dtype=np.float64), np.asarray(truth)
    p, true = p[true >= 0], true[true >= 0]
    if not len(true):
        raise InputError("no trial has a known class; give trials whose target is known.")
    of_truth = np.take_along_axis(p, true[:, None], axis=1)[:, 0]
    kept = np.linspace(0, len(true) - 1, min(len(true), style.MOST_POINTS)).round().astype(int)
    order = kept[np.lexsort((-of_truth[kept], true[kept]))]
    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, float(np.clip(1.0 + 0.2 * len(classes), 1.8, 6))))
    axes = figure.subplots()
    image = axes.imshow(p[order].T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.plot(np.arange(len(order)), true[order], "s", markersize=2, color=style.BEST, label="true class")
    axes.set_yticks(range(len(classes)), [style.shown(label) for label in classes])
    axes.set(xticks=[], xlabel="test trials, by true class", ylabel=style.shown(target))
    figure.colorbar(image, ax=axes, label="probability", ticks=[0, 0.5, 1]).outline.set_visible(False)
    figure.legend(loc="outside right upper")
    return style.titled(figure, title, f"mean probability of the truth {of_truth.mean():.3f}, n = {len(true)}")

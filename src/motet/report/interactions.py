"""Who interacts with whom, beside the truth: graphs, curves, calibration, embeddings, and the state that was read."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from motet.errors import InputError
from motet.metrics import auroc, average_precision, expected_calibration_error, reliability
from motet.report.style import (
    ACCENT,
    CLASS_COLOURS,
    GREY,
    INK,
    ONE_COLUMN_INCHES,
    PALE,
    TWO_COLUMNS_INCHES,
    Floats,
    class_colours,
    in_our_style,
    titled,
)

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

MOST_POINTS = 2000  # of a curve or a cloud: more are not seen and make a slow file
FALSE = "#EE7733"  # Paul Tol's "vibrant" orange: those who see no red take the house's red for ink
# What became of a pair → colour and dashes of its line.
_EDGES: dict[str, tuple[str, Any]] = {
    "found": (INK, "-"),
    "missed": (ACCENT, (0, (2, 1.5))),
    "false": (FALSE, "-"),
    "recovered, truth unknown": (GREY, "-"),
}
_MARKERS = "os^DvPX*"


def line_styles(n_lines: int) -> list[dict[str, Any]]:
    """Keywords of `Axes.plot` for each of several methods, of which the first matters most.

    Neighbours differ in colour and in dashes; a method's style does not depend on how many follow.

    Example:
        >>> line_styles(1)
        [{'color': '#0B6FA4', 'linestyle': '-', 'linewidth': 1.8}]
    """
    colours = (ACCENT, *(CLASS_COLOURS[i] for i in (5, 3, 4, 6, 2, 7, 0, 1)))
    dashes: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
    return [
        {"color": colours[i % len(colours)], "linestyle": dashes[i % len(dashes)], "linewidth": 1.3 if i else 1.8}
        for i in range(n_lines)
    ]


def spread_from_best(badness: ArrayLike, n_shown: int) -> Integers:
    """Positions of at most `n_shown` trials, evenly from the least to the most bad; NaN comes last.

    Raises:
        InputError: if that is none.

    Example:
        >>> spread_from_best([0.3, 0.1, 0.2, 0.5, 0.4], 3)
        array([1, 0, 3])
    """
    order = np.argsort(np.asarray(badness, dtype=np.float64), kind="stable")
    if n_shown < 1 or not len(order):
        raise InputError(f"{n_shown} of {len(order)} trials are to be drawn; draw at least one.")
    spread = np.linspace(0, len(order) - 1, min(n_shown, len(order))).round().astype(int)
    return order[spread]


# Graphs


@in_our_style
def draw_graphs(
    probability: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    positions: ArrayLike | None = None,
    system: ArrayLike | None = None,
    observed: ArrayLike | None = None,
    threshold: float = 0.5,
    n_trials: int = 6,
    title: str = "",
) -> Figure:
    r"""Draw the recovered graphs of some trials: edges found, missed and false, the stronger the more probable.

    With a truth, the trials run evenly from the most to the least accurate one. Where the two directions
    of a pair differ, lines are arrows: [i, j] is what j does to i.

    Args:
        probability: (trial, individual, individual) that the pair interacts; NaN where not told.
        truth: likewise, int: 0 for no edge, 1 or more for an edge, -1 where unknown.
        positions: (trial, individual, time, 2), NaN where unknown: an individual is a dot at the end of its
            path. Without, they stand on a circle.
        system: (trial, individual) int, the true group, which colours the dots; -1 where unknown.
        observed: (trial, individual) bool, which individuals there are; by default all.
        threshold: the probability from which a pair counts as an edge.
        n_trials: how many to draw.
        title: what is shown, above the mean accuracy over all trials, and that of "no edge" for every pair.

    Raises:
        InputError: if shapes disagree, or `truth` or `system` is not of integers.

    Example:
        >>> figure = draw_graphs([[[0, 0.9], [0.9, 0]]], truth=[[[-1, 1], [1, -1]]])
        >>> figure.axes[0].get_title("left")
        'trial 0: accuracy 1.000\n1 of 1 edges found, 0 false'
    """
    likely = np.asarray(probability, dtype=np.float64)
    if likely.ndim != 3 or likely.shape[1] != likely.shape[2] or not likely.size:
        raise InputError(f"probability has shape {likely.shape}; give (trial, individual, individual).")
    if not (0 <= np.nanmin(likely, initial=0) <= np.nanmax(likely, initial=0) <= 1):
        raise InputError(f"probabilities go from {np.nanmin(likely):g} to {np.nanmax(likely):g}; give 0 to 1.")
    true = _labels(truth, likely.shape, what="truth")
    group = _labels(system, likely.shape[:2], what="system")
    present = _present(observed, likely.shape[:2])
    paths = None if positions is None else np.asarray(positions, dtype=np.float64)
    if paths is not None and (paths.ndim != 4 or (*paths.shape[:2], paths.shape[3]) != (*present.shape, 2)):
        raise InputError(f"positions have shape {paths.shape}; give {present.shape} (trial, individual), time and 2.")
    told = present[:, :, None] & present[:, None] & np.isfinite(likely) & ~np.eye(likely.shape[1], dtype=np.bool_)
    recovered, known = told & (likely >= threshold), told & (true >= 0)
    fates = (recovered & (true > 0), told & ~recovered & (true > 0), recovered & (true == 0), recovered & (true < 0))
    edges = dict(zip(_EDGES, fates, strict=True))
    both_ways = (np.where(told, likely, 0), np.where(told, true, -1))
    is_directed = not all(np.allclose(pairs, pairs.swapaxes(1, 2)) for pairs in both_ways)
    accuracy, no_edge = share(known & (recovered == (true > 0)), known), share(known & (true == 0), known)
    shown = spread_from_best(-accuracy, n_trials)

    figure, panels = _panels(len(shown), height=2.75)
    for axes, trial in zip(panels, shown, strict=True):
        colours = group_colours(group)[trial]
        at = _draw_individuals(axes, present[trial], colours, group[trial], None if paths is None else paths[trial])
        lines = {
            name: pairs[trial] & (is_directed | np.tri(len(at), dtype=np.bool_).T) for name, pairs in edges.items()
        }
        for name, is_drawn in lines.items():
            _draw_edges(axes, at, is_drawn, likely[trial], name=name, is_directed=is_directed)
        axes.set_title(_graph_title(int(trial), lines, float(accuracy[trial])), fontsize=7.5)
    shown_names = [
        name for name in _EDGES if edges[name].any() or (name in ("found", "missed", "false") and known.any())
    ]
    _edge_legend(figure, shown_names, is_directed=is_directed)
    if not known.any():
        return titled(figure, title, f"{len(shown)} of {len(likely)} trials")
    summary = (
        f"mean accuracy of {len(likely)} trials {np.nanmean(accuracy):.3f}, of no edge at all {np.nanmean(no_edge):.3f}"
    )
    return _titled(figure, title, summary + ("; shown from best to worst" if len(shown) > 1 else ""))


def _edge_legend(figure: Figure, names: list[str], *, is_directed: bool) -> None:
    if names:
        handles = [Line2D([], [], linewidth=1.6, color=_EDGES[name][0], linestyle=_EDGES[name][1]) for name in names]
        note = "edges; the fainter, the less probable" + ("; arrows point to who is acted on" if is_directed else "")
        figure.legend(handles, names, loc="outside lower center", ncols=4, handlelength=2.2, title=note)


def _draw_individuals(axes: Axes, present: Bools, colours: Floats, group: Integers, paths: Floats | None) -> Floats:
    """Draw a dot per individual, at the end of its path or on a circle; gives back (individual, 2), NaN where none."""
    at = np.full((len(present), 2), np.nan)
    if paths is None:
        angle = np.linspace(0, 2 * np.pi, max(present.sum(), 1), endpoint=False)
        around = np.flatnonzero(present)[np.argsort(group[present], kind="stable")]
        at[around] = np.stack([np.sin(angle), np.cos(angle)], axis=-1)[: len(around)]
    else:
        paths = np.where(np.isfinite(paths).all(axis=2, keepdims=True) & present[:, None, None], paths, np.nan)
        is_known = np.isfinite(paths[..., 0])
        last = paths.shape[1] - 1 - np.argmax(is_known[:, ::-1], axis=1)
        at = paths[np.arange(len(paths)), last]
        axes.add_collection(LineCollection(list(paths), colors=colours.tolist(), linewidths=0.7, alpha=0.35, zorder=1))
    size = float(np.clip(240 / max(present.sum(), 1), 9, 34))
    axes.scatter(at[:, 0], at[:, 1], c=colours.tolist(), s=size, edgecolors="white", linewidths=0.5, zorder=3)
    frame_plane(axes, at if paths is None else paths)
    return at


def _draw_edges(axes: Axes, at: Floats, pairs: Bools, likely: Floats, *, name: str, is_directed: bool) -> None:
    """Draw a line per pair, or an arrow to the individual that is acted on."""
    i, j = np.nonzero(pairs & np.isfinite(at[:, 0] + at[:, None, 0]))
    if not len(i):
        return
    lines = np.stack([at[j], at[i]], axis=1)
    if is_directed:
        lines = _arrows(at[j], at[i], size=0.03 * np.nanmax(np.ptp(at[np.isfinite(at[:, 0])], axis=0)))
    colour, dashes = _EDGES[name]
    crowded = min(1.0, math.sqrt(60 / len(i)))
    strength = np.ones(len(i)) if name == "missed" else likely[i, j]
    colours = to_rgba_array([colour] * len(i))
    colours[:, 3] = strength * crowded
    collection = LineCollection(list(lines), colors=colours.tolist(), linestyles=[dashes], label=name)
    collection.set(
        linewidths=(1.3 if name == "missed" else 1.8) * crowded * strength, zorder=1.5 if name == "found" else 2
    )  # mistakes on top
    axes.add_collection(collection)


def _arrows(start: Floats, end: Floats, *, size: float) -> Floats:
    """(arrow, 7, 2) corners of lines with a head beyond their middle, beside the one that goes back."""
    along = (end - start) / np.maximum(np.linalg.norm(end - start, axis=1, keepdims=True), 1e-12)
    aside = along[:, ::-1] * [1, -1] * size
    start, end = start + aside / 3, end + aside / 3
    tip = start + 0.65 * (end - start)
    return np.stack([start, tip, tip - along * size + aside / 2, tip, tip - along * size - aside / 2, tip, end], axis=1)


def _graph_title(trial: int, lines: Mapping[str, Bools], accuracy: float) -> str:
    found, missed, false, unknown = (int(pairs.sum()) for pairs in lines.values())
    if np.isnan(accuracy):
        return f"trial {trial}\n{unknown} edges recovered"
    of_edges = f"{found} of {found + missed} edges found" if found + missed else "no true edge"
    return f"trial {trial}: accuracy {accuracy:.3f}\n{of_edges}, {false} false"


# How well pairs are told apart


@in_our_style
def draw_roc_and_precision_recall(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, title: str = "") -> Figure:
    r"""Draw the ROC and the precision–recall curve of every method, with the areas in the legend.

    Args:
        curves: method → (score, truth), each (…): the higher the score, the likelier an edge; truth as in
            `draw_graphs`. Pairs of unknown truth or NaN score are left out. Of one class there is no
            curve, and the legend says so.
        title: what is shown.

    Raises:
        InputError: if there is no method, or shapes disagree.

    Example:
        >>> figure = draw_roc_and_precision_recall({"EIT": ([0.9, 0.8, 0.1], [1, 1, 0])})
        >>> figure.legends[0].get_texts()[0].get_text()
        'EIT\nAUROC 1.000, AP 1.000'
    """
    figure = Figure(figsize=(TWO_COLUMNS_INCHES, 2.6))
    roc, recall_panel = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="chance")
    handles, labels, prevalences = [], [], set()
    for name, style in zip(_named(curves, "method"), line_styles(len(curves)), strict=True):
        score, is_edge = _known_pairs(name, *curves[name])
        handles.append(Line2D([], [], **style))
        if is_edge.all() or not is_edge.any():
            labels.append(f"{name}\n{_one_class(is_edge)}")
            continue
        rank = np.unique(score, return_inverse=True)[1]  # an infinite score, too, has a rank
        false, right, _ = roc_curve(is_edge, rank)
        precision, recall, _ = precision_recall_curve(is_edge, rank)
        areas = (area(prediction=rank, target=is_edge) for area in (auroc, average_precision))
        labels.append("{}\nAUROC {:.3f}, AP {:.3f}".format(name, *areas))
        prevalences.add(round(float(is_edge.mean()), 3))
        shown = _thinned(false + right)
        roc.plot(false[shown], right[shown], label=name, **style)
        # scikit-learn ends on a precision of 1 at recall 0, which is a convention and not measured.
        recall, precision = recall[::-1], np.append(precision[:-1], precision[-2])[::-1]
        shown = _thinned(recall)
        recall_panel.plot(recall[shown], precision[shown], label=name, drawstyle="steps-pre", **style)
    for prevalence in prevalences:
        recall_panel.axhline(prevalence, color=GREY, linewidth=0.8, linestyle=":", label="chance", zorder=0)
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    recall_panel.set(xlabel="recall", ylabel="precision")
    for axes in (roc, recall_panel):
        _square(axes)
        if not prevalences:
            axes.text(0.5, 0.25, "undefined", ha="center", va="center", color=GREY)
    handles.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=":"))
    figure.legend(handles, [*labels, "chance"], loc="outside right upper", labelspacing=0.8, handlelength=2.2)
    return titled(figure, title)


@in_our_style
def draw_calibration(
    probabilities: Mapping[Any, tuple[ArrayLike, ArrayLike]],
    *,
    before: Mapping[Any, tuple[ArrayLike, ArrayLike]] | None = None,
    n_intervals: int = 15,
    legend_title: str = "",
    title: str = "",
) -> Figure:
    """Draw how often pairs of a given probability do interact, above how many pairs have that probability.

    The legend gives `motet.metrics.expected_calibration_error`; of one class there is none, and it says so.

    Args:
        probabilities: label, such as the number of individuals → (probability, truth), each (…); truth as in
            `draw_graphs`. Pairs of unknown truth or NaN probability are left out; one given both ways counts twice.
        before: likewise, under the same labels, before probabilities were calibrated; drawn at the left.
        n_intervals: of equal width, from 0 to 1.
        legend_title: what the labels are.
        title: what is shown.

    Raises:
        InputError: if there is no label, shapes disagree, `before` has other labels, or a probability is not
            between 0 and 1.

    Example:
        >>> figure = draw_calibration({10: ([0.25, 0.25, 0.25, 0.25], [0, 1, 0, 0])}, legend_title="individuals")
        >>> figure.legends[0].get_texts()[0].get_text()
        '10: ECE 0.000'
    """
    stages = {"after calibration": probabilities} if before is None else {"before": before, "after": probabilities}
    names = _named(probabilities, "label")
    if before is not None and set(before) != set(names):
        raise InputError(f"before has labels {list(before)} and after {names}; give the same.")
    figure = Figure(figsize=(1.5 + 2.5 * len(stages), 3.5))
    panels = figure.subplots(2, len(stages), squeeze=False, sharex=True, sharey="row", height_ratios=[2.6, 1])
    looks = [
        {"color": colour, "marker": _MARKERS[row % 8], "markersize": 3.5, "linewidth": 1}
        for row, colour in enumerate(class_colours(len(names)))
    ]
    entries = [f"{name}: ECE" for name in names]
    for (stage, pairs), (upper, lower) in zip(stages.items(), panels.T, strict=True):
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        for row, name in enumerate(names):
            likely, is_edge = _known_pairs(name, *pairs[name])
            entries[row] += " →" if stage == "after" else ""
            if is_edge.all() or not is_edge.any():
                entries[row] += f" {_one_class(is_edge)}"
                continue
            given: dict[str, Any] = {"prediction": likely, "target": is_edge, "n_intervals": n_intervals}
            entries[row] += f" {expected_calibration_error(**given):.3f}"
            curve = reliability(**given)
            shown = curve.n_entries > 0
            upper.plot(curve.probability[shown], curve.frequency[shown], **looks[row])
            lower.stairs(curve.n_entries, np.linspace(0, 1, n_intervals + 1), color=looks[row]["color"], linewidth=1)
        _square(upper)
        upper.set_title(stage if before is not None else "")
        lower.set(yscale="symlog", ylim=(0, None), xlabel="probability of an edge")
        lower.yaxis.set_major_locator(FixedLocator([0, 10, 1e3, 1e5, 1e7]))
    panels[0, 0].set_ylabel("fraction that interact")
    panels[1, 0].set_ylabel("pairs")
    handles = [Line2D([], [], **look) for look in looks]
    figure.legend(handles, entries, loc="outside right upper", title=legend_title or None).set_alignment("left")
    return titled(figure, title)


@in_our_style
def draw_size_curve(
    scores: Mapping[str, Mapping[int, tuple[float, float, float]]],
    metric: str,
    *,
    trained_sizes: Collection[int] = (),
    title: str = "",
) -> Figure:
    """Draw scores against the number of individuals, and shade the numbers that were trained on.

    Args:
        scores: method, or metric → number of individuals → (mean, low, high); NaN where not measured.
        metric: what the score is, with its unit.
        trained_sizes: numbers of individuals in training.
        title: what is shown.

    Raises:
        InputError: if there is no score or a size is below 1.

    Example:
        >>> scores = {"EIT": {4: (0.99, 0.98, 1.0), 8: (0.97, 0.96, 0.98)}}
        >>> draw_size_curve(scores, "average precision", trained_sizes=[4]).axes[0].lines[0].get_ydata()
        array([0.99, 0.97])
    """
    sizes = sorted({size for curve in scores.values() for size in curve})
    if not sizes or min([*sizes, *trained_sizes]) < 1:
        raise InputError(f"there are scores at sizes {sizes}; give at least one, of 1 or more individuals.")
    figure = Figure(figsize=(ONE_COLUMN_INCHES + 0.4, 2.9))
    axes = figure.subplots()
    for size in sorted(set(trained_sizes)):
        axes.axvspan(max(size - 0.5, 0.5), size + 0.5, color=PALE, linewidth=0, zorder=0)
    styles = line_styles(len(scores))
    for row, (name, curve) in enumerate(scores.items()):
        n = np.array(sorted(curve))
        mean, low, high = np.array([curve[size] for size in n], dtype=np.float64).reshape(-1, 3).T
        kept = np.isfinite(mean)
        label = name if kept.any() else f"{name} (not measured)"
        axes.plot(n[kept], mean[kept], label=label, marker=_MARKERS[row % 8], markersize=4, **styles[row])
        axes.vlines(n[kept], low[kept], high[kept], color=styles[row]["color"], linewidth=1)
    axes.set_xscale("log")
    shown = sorted({*sizes, *trained_sizes})
    # A label needs about a sixteenth of the axis.
    room = math.log(shown[-1] / shown[0]) / 16
    ticks = [size for i, size in enumerate(shown) if not i or math.log(size / shown[i - 1]) >= room]
    axes.xaxis.set(major_locator=FixedLocator(ticks), major_formatter="{x:g}", minor_locator=NullLocator())
    axes.set(xlabel="number of individuals", ylabel=metric, xlim=(shown[0] / 1.15, shown[-1] * 1.15))
    if trained_sizes:
        axes.fill_between([], [], color=PALE, label="trained on")
    figure.legend(loc="outside lower center", ncols=3, handlelength=2.2, columnspacing=1.2)
    return titled(figure, title)


# Embeddings


@in_our_style
def draw_embeddings(
    before: ArrayLike,
    after: ArrayLike,
    system: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    n_trials: int = 4,
    title: str = "",
) -> Figure:
    """Draw individuals before and after they interact, on the first two principal components of each trial.

    Each panel has its own components. Lines join the members of a system to their mean. The title says,
    in the whole space and over all trials, how often an individual's nearest neighbour is of its system.

    Args:
        before: (trial, individual, width), each individual's embedding, such as its mean over time.
        after: likewise, the population's embedding.
        system: (trial, individual) int, the true group; -1 where unknown.
        observed: (trial, individual) bool, which individuals there are; by default all with an embedding.
        n_trials: how many to draw, evenly over all of them.
        title: what is shown.

    Raises:
        InputError: if shapes disagree, or `system` is not of integers.

    Example:
        >>> before, after = np.random.default_rng(0).normal(size=(2, 3, 6, 16))
        >>> figure = draw_embeddings(before, after, np.tile([0, 0, 0, 1, 1, 1], (3, 1)))
        >>> len(figure.axes)
        6
    """
    embeddings = [np.asarray(array, dtype=np.float64) for array in (before, after)]
    shape = embeddings[0].shape[:2]
    if any(array.ndim != 3 or array.shape[:2] != shape or not array.size for array in embeddings):
        raise InputError(
            f"before has shape {np.shape(before)} and after {np.shape(after)}; give (trial, individual, width)."
        )
    group = _labels(system, shape, what="system")
    present = _present(observed, shape)
    shown = spread_from_best(np.arange(shape[0]), n_trials)
    figure = Figure(figsize=(max(0.4 + 1.75 * len(shown), ONE_COLUMN_INCHES), 4.6))
    parts = figure.subfigures(2, 1, squeeze=False)[:, 0]
    near = []
    for part, array, name in zip(parts, embeddings, ("before interaction", "after interaction"), strict=True):
        seen = present & np.isfinite(array).all(axis=2)
        near.append(_nearest_in_system(array, group, seen))
        panels = part.subplots(1, len(shown), squeeze=False)[0]
        part.suptitle(name, x=0.01, ha="left", fontsize=8.5)
        for axes, trial in zip(panels, shown, strict=True):
            colours = group_colours(group)[trial, seen[trial]]
            _draw_components(axes, array[trial, seen[trial]], group[trial, seen[trial]], colours)
            axes.set_title(f"trial {trial}" if len(array) > 1 else "", fontsize=7.5)
    (found, chance), (found_after, _) = near
    if np.isnan(found + found_after):
        return titled(figure, title)
    summary = f"nearest neighbour in the same system: {found:.3f} before, {found_after:.3f} after (chance {chance:.3f})"
    return _titled(figure, title, summary)


def _draw_components(axes: Axes, embedding: Floats, group: Integers, colours: Floats) -> None:
    """Draw (individual, width) on its first two principal components, with their share of the variance."""
    axes.set(xticks=[], yticks=[])
    centred = embedding - embedding.mean(axis=0, keepdims=True) if len(embedding) else embedding
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if not len(embedding) or size[0] <= 1e-9 * np.abs(embedding).max():
        reason = "all alike" if len(embedding) > 1 else f"{len(embedding)} individuals"
        axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    components = np.zeros((len(embedding), 2))
    scaled = (left * size)[:, :2]
    # The sign of a component is arbitrary: its largest entry is positive.
    components[:, : scaled.shape[1]] = scaled * np.sign(scaled[np.abs(scaled).argmax(axis=0), range(scaled.shape[1])])
    explained = np.zeros(2)
    explained[: len(size)] = (size**2 / (size**2).sum())[:2]
    for label in np.unique(group):
        members, colour = components[group == label], colours[group == label][0]
        if label >= 0:
            spokes = np.stack([members, np.broadcast_to(members.mean(axis=0), members.shape)], axis=1)
            axes.add_collection(
                LineCollection(list(spokes), colors=[tuple(colour)], linewidths=0.6, alpha=0.5, zorder=1)
            )
        axes.plot(
            *members.T, linestyle="", color=colour, marker=_MARKERS[label % 8], markersize=4, label=f"system {label}"
        )
    axes.set(xlabel=f"PC 1 ({explained[0]:.0%})", ylabel=f"PC 2 ({explained[1]:.0%})")
    axes.margins(0.12)


def _nearest_in_system(embedding: Floats, group: Integers, seen: Bools) -> tuple[float, float]:
    """How often an individual's nearest neighbour is of its system, and how often a random other one is."""
    seen = seen & (group >= 0)
    points = np.where(seen[..., None], embedding, 0.0)
    points = points - points.mean(axis=(0, 1))
    squares = (points**2).sum(axis=2)
    distance = squares[:, :, None] + squares[:, None] - 2 * points @ points.swapaxes(1, 2)
    others = seen[:, :, None] & seen[:, None] & ~np.eye(group.shape[1], dtype=np.bool_)
    kin = others & (group[:, :, None] == group[:, None])
    nearest = np.where(others, distance, np.inf).argmin(axis=2)
    counted = others.any(axis=2)
    if not counted.any():
        return np.nan, np.nan
    found = np.take_along_axis(kin, nearest[..., None], axis=2)[..., 0]
    return float(found[counted].mean()), float((kin.sum(axis=2)[counted] / others.sum(axis=2)[counted]).mean())


def _titled(figure: Figure, title: str, summary: str) -> Figure:
    """As `titled`, with the summary broken to the figure's width."""
    n_characters = int(13 * figure.get_figwidth())
    return titled(figure, title, textwrap.fill(summary, n_characters))


# What was given


def _labels(given: ArrayLike | None, shape: tuple[int, ...], *, what: str) -> Integers:
    """As integers of that shape; -1 everywhere if none are given."""
    labels = np.full(shape, -1) if given is None else np.asarray(given)
    if labels.shape != shape or labels.dtype.kind not in "iub":
        raise InputError(f"{what} has shape {labels.shape} and type {labels.dtype}; give integers of shape {shape}.")
    return labels.astype(np.int64)


def _present(observed: ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    """Which individuals there are; all if it is not said."""
    present = np.ones(shape, dtype=np.bool_) if observed is None else np.asarray(observed)
    if present.shape != shape or present.dtype != np.bool_:
        raise InputError(
            f"observed has shape {present.shape} and type {present.dtype}; give booleans of shape {shape}."
        )
    return present


def _named(given: Mapping[Any, Any], what: str) -> list[Any]:
    """The keys, or an `InputError` if there are none."""
    if not given:
        raise InputError(f"there is nothing to draw; give at least one {what}.")
    return list(given)


def _known_pairs(name: Any, score: ArrayLike, truth: ArrayLike) -> tuple[Floats, Bools]:
    """(pair,) scores and whether there is an edge, of pairs where both are known."""
    scores = np.asarray(score, dtype=np.float64)
    true = _labels(truth, scores.shape, what=f"truth of {name!r}")
    known = (true >= 0) & ~np.isnan(scores)
    return scores[known], true[known] > 0


def share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Part ÷ whole, NaN of nothing; of more than one axis, per trial."""
    if part.ndim > 1:
        part, whole = (array.reshape(len(array), -1).sum(axis=1) for array in (part, whole))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _one_class(is_edge: Bools) -> str:
    if not len(is_edge):
        return "undefined: no pairs"
    return "undefined: only edges" if is_edge.all() else "undefined: no edge"


# What is drawn


def group_colours(group: Integers) -> Floats:
    """(…, 4) colour of each label; grey where unknown, ink where there are none at all."""
    classes, codes = np.unique(np.maximum(group, -1), return_inverse=True)
    if classes[-1] < 0:
        return to_rgba_array([INK])[codes.reshape(group.shape)]
    is_unknown = classes[0] < 0
    palette = np.concatenate([to_rgba_array([GREY])[: int(is_unknown)], class_colours(len(classes) - int(is_unknown))])
    return palette[codes.reshape(group.shape)]


def frame_plane(axes: Axes, places: Floats) -> None:
    """Make a square of the plane, with room for all (…, 2) places, and a faint frame in place of axes."""
    known = places[np.isfinite(places).all(axis=-1)]
    if len(known):
        centre, reach = (known.max(axis=0) + known.min(axis=0)) / 2, np.ptp(known, axis=0).max() * 0.56 or 1.0
        axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(PALE)


def _panels(n_panels: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of at most three panels a row, each a third of a page's width."""
    n_columns = min(n_panels, 3 if n_panels != 4 else 2)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(max(TWO_COLUMNS_INCHES / 3 * n_columns, ONE_COLUMN_INCHES), 0.95 + height * n_rows))
    panels = figure.subplots(n_rows, n_columns, squeeze=False).reshape(-1)
    for axes in panels[n_panels:]:
        axes.remove()
    return figure, list(panels[:n_panels])


def _square(axes: Axes) -> None:
    """From 0 to 1 both ways, with room for a line along the edge."""
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _thinned(course: NDArray[Any]) -> Integers:
    """Positions of at most `MOST_POINTS` items, evenly along a course that never decreases."""
    return np.unique(np.searchsorted(course, np.linspace(course[0], course[-1], MOST_POINTS)))

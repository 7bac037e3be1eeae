"""How well pairs are told apart: ROC, precision–recall, calibration, and scores against the number of individuals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from motet.metrics import auroc, average_precision, expected_calibration_error, reliability
from motet.report import style
from motet.report.style import Bools, Floats, Integers


@style.in_our_style
def draw_roc_and_precision_recall(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, title: str = "") -> Figure:
    """Draw the ROC and the precision–recall curve of every method, with the areas in the legend.

    Args:
        curves: method → (score, truth), each (…): the higher the score, the likelier an edge; truth int, 0 for no
            edge, 1 or more for an edge. Pairs of unknown truth, -1, or of NaN score are left out. Of one class
            there is no curve, and the legend says so.
        title: what is shown.
    """
    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, 2.6))
    roc, recall_panel = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=":", label="chance")
    handles, labels, prevalences = [], [], set()
    for name, line in zip(curves, style.line_styles(len(curves)), strict=True):
        score, is_edge = _known_pairs(*curves[name])
        handles.append(Line2D([], [], **line))
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
        roc.plot(false[shown], right[shown], label=name, **line)
        # scikit-learn ends on a precision of 1 at recall 0, which is a convention and not measured.
        recall, precision = recall[::-1], np.append(precision[:-1], precision[-2])[::-1]
        shown = _thinned(recall)
        recall_panel.plot(recall[shown], precision[shown], label=name, drawstyle="steps-pre", **line)
    for prevalence in prevalences:
        recall_panel.axhline(prevalence, color=style.GREY, linewidth=0.8, linestyle=":", label="chance", zorder=0)
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    recall_panel.set(xlabel="recall", ylabel="precision")
    for axes in (roc, recall_panel):
        _square(axes)
        if not prevalences:
            axes.text(0.5, 0.25, "undefined", ha="center", va="center", color=style.GREY)
    handles.append(Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":"))
    figure.legend(handles, [*labels, "chance"], loc="outside right upper", labelspacing=0.8, handlelength=2.2)
    return style.titled(figure, title)


@style.in_our_style
def draw_calibration(
    before: Mapping[Any, tuple[ArrayLike, ArrayLike]],
    after: Mapping[Any, tuple[ArrayLike, ArrayLike]],
    *,
    legend_title: str,
    title: str = "",
) -> Figure:
    """Draw how often pairs of a given probability do interact, above how many pairs have that probability.

    The legend gives `motet.metrics.expected_calibration_error`; of one class there is none, and it says so.

    Args:
        before: label, such as the recording → (probability, truth), each (…), before calibration; truth as in
            `draw_roc_and_precision_recall`. Pairs of unknown truth or NaN probability are left out; one given both
            ways counts twice.
        after: likewise, after calibration, under the same labels.
        legend_title: what the labels are.
        title: what is shown.
    """
    stages, names = {"before": before, "after": after}, list(after)
    figure = style.Drawing(figsize=(6.5, 3.5))
    panels = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[2.6, 1])
    looks = [
        {"color": colour, "marker": style.MARKERS[row % 8], "markersize": 3.5, "linewidth": 1}
        for row, colour in enumerate(style.class_colours(len(names)))
    ]
    entries = [f"{name}: ECE" for name in names]
    for (stage, pairs), (upper, lower) in zip(stages.items(), panels.T, strict=True):
        upper.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=":", zorder=0)
        for row, name in enumerate(names):
            likely, is_edge = _known_pairs(*pairs[name])
            entries[row] += " →" if stage == "after" else ""
            if is_edge.all() or not is_edge.any():
                entries[row] += f" {_one_class(is_edge)}"
                continue
            given: dict[str, Any] = {"prediction": likely, "target": is_edge}
            entries[row] += f" {expected_calibration_error(**given):.3f}"
            curve = reliability(**given)
            shown = curve.n_entries > 0
            upper.plot(curve.probability[shown], curve.frequency[shown], **looks[row])
            lower.stairs(
                curve.n_entries, np.linspace(0, 1, len(curve.n_entries) + 1), color=looks[row]["color"], linewidth=1
            )
        _square(upper)
        upper.set_title(stage)
        lower.set(yscale="symlog", ylim=(0, None), xlabel="probability of an edge")
        lower.yaxis.set(major_locator=FixedLocator([0, 10, 1e3, 1e5, 1e7]), major_formatter="{x:g}")
    panels[0, 0].set_ylabel("fraction that interact")
    panels[1, 0].set_ylabel("pairs")
    handles = [Line2D([], [], **look) for look in looks]
    figure.legend(handles, entries, loc="outside right upper", title=legend_title).set_alignment("left")
    return style.titled(figure, title)


@style.in_our_style
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
    """
    sizes = sorted({size for curve in scores.values() for size in curve})
    figure = style.Drawing(figsize=(style.ONE_COLUMN_INCHES + 0.4, 2.9))
    axes = figure.subplots()
    for size in sorted(set(trained_sizes)):
        axes.axvspan(max(size - 0.5, 0.5), size + 0.5, color=style.PALE, linewidth=0, zorder=0)
    styles = style.line_styles(len(scores))
    for row, (name, curve) in enumerate(scores.items()):
        n = np.array(sorted(curve))
        mean, low, high = np.array([curve[size] for size in n], dtype=np.float64).reshape(-1, 3).T
        kept = np.isfinite(mean)
        label = name if kept.any() else f"{name} (not measured)"
        axes.plot(n[kept], mean[kept], label=label, marker=style.MARKERS[row % 8], markersize=4, **styles[row])
        axes.vlines(n[kept], low[kept], high[kept], color=styles[row]["color"], linewidth=1)
    axes.set_xscale("log")
    shown = sorted({*sizes, *trained_sizes})
    # A label needs about a sixteenth of the axis.
    room = math.log(shown[-1] / shown[0]) / 16
    ticks = [size for i, size in enumerate(shown) if not i or math.log(size / shown[i - 1]) >= room]
    axes.xaxis.set(major_locator=FixedLocator(ticks), major_formatter="{x:g}", minor_locator=NullLocator())
    axes.set(xlabel="number of individuals", ylabel=metric, xlim=(shown[0] / 1.15, shown[-1] * 1.15))
    if trained_sizes:
        axes.fill_between([], [], color=style.PALE, label="trained on")
    figure.legend(loc="outside lower center", ncols=2, handlelength=2.2, columnspacing=1.2)
    return style.titled(figure, title)


def _known_pairs(score: ArrayLike, truth: ArrayLike) -> tuple[Floats, Bools]:
    """(pair,) scores and whether there is an edge, of pairs where both are known."""
    scores, true = np.asarray(score, dtype=np.float64), np.asarray(truth)
    known = (true >= 0) & ~np.isnan(scores)
    return scores[known], true[known] > 0


def _one_class(is_edge: Bools) -> str:
    if not len(is_edge):
        return "undefined: no pairs"
    return "undefined: only edges" if is_edge.all() else "undefined: no edge"


def _square(axes: Axes) -> None:
    """From 0 to 1 both ways, with room for a line along the edge."""
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _thinned(course: NDArray[Any]) -> Integers:
    """Positions of at most `MOST_POINTS` items, evenly along a course that never decreases."""
    return np.unique(np.searchsorted(course, np.linspace(course[0], course[-1], style.MOST_POINTS)))

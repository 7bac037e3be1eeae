"""How well it went: methods beside one another, and learning curves."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from motet.report.style import (
    ACCENT,
    BEST,
    GREY,
    MARKERS,
    ONE_COLUMN_INCHES,
    Drawing,
    Floats,
    in_our_style,
    line_styles,
    panel_grid,
    shown,
    titled,
)
from motet.statistics import interval_text

MOST_CURVES = 3  # of rivals in a panel


@in_our_style
def score_comparison(
    scores: Mapping[str, ArrayLike],
    metric: str,
    *,
    rivals: Collection[str] = (),
    chance: Collection[str] = (),
    intervals: Mapping[str, tuple[float, float] | None] = MappingProxyType({}),
    title: str = "",
) -> Figure:
    """Draw every method's score: a dot per fold, the mean, and its 95 % interval where it is known.

    So that differences between methods can be seen, what lies far from all their folds, the end of a wide interval or
    a method at chance, is an arrow at the edge.

    Args:
        scores: method → (fold,), drawn from top to bottom; NaN for a fold that was not run.
        metric: what the score is, with its unit; more is better.
        rivals: which methods are drawn in grey; a line marks the best one's mean.
        chance: which methods know nothing, such as a control on shuffled labels; a line marks the best
            one's mean.
        intervals: (low, high) of the mean by method (see `motet.statistics.estimate_mean`).
        title: what is shown.
    """
    folds = {name: np.asarray(values, dtype=np.float64).reshape(-1) for name, values in scores.items()}
    folds = {name: values[np.isfinite(values)] for name, values in folds.items()}
    ends = {name: intervals.get(name) or (float(values.mean()),) * 2 for name, values in folds.items()}
    figure = Drawing(figsize=(3.0 + 0.07 * max(map(len, folds)), 1.0 + 0.3 * len(folds)))
    axes = figure.subplots()
    _limit_axis(axes, folds, ends, chance)
    for row, (name, values) in enumerate(folds.items()):
        _draw_scores(axes, row, values, ends[name], is_rival=name in rivals or name in chance)
    axes.text(1.03, -0.9, "mean [95 %]", transform=axes.get_yaxis_transform(), va="center", color=GREY)
    if rivals:
        best = max(folds[name].mean() for name in rivals)
        axes.plot([], [], "o", color=GREY, markersize=4.5, markerfacecolor="white", label="rival")
        axes.axvline(best, color=GREY, linewidth=0.8, linestyle="--", zorder=0, label="best rival")
    axes.set_yticks(range(len(folds)), [f"{name} (chance)" if name in chance else name for name in folds])
    axes.set_ylim(len(folds) - 0.45, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3)
    return titled(figure, title)


def _draw_scores(axes: Axes, row: int, values: Floats, interval: tuple[float, float], *, is_rival: bool) -> None:
    """One row: folds as dots under the mean and its interval, and the numbers at the right."""
    colour = GREY if is_rival else ACCENT
    mean = values.mean()
    axes.scatter(values, row + np.linspace(0.1, 0.3, len(values)), s=5, color=colour, alpha=0.5, linewidths=0)
    axes.hlines(row - 0.1, *interval, color=colour, linewidth=1.6)
    face = "white" if is_rival else colour
    axes.plot(mean, row - 0.1, "o", markersize=4.5, color=colour, markerfacecolor=face)
    low, high = axes.get_xlim()
    for is_beyond, edge, arrow in ((interval[0] < low, 0.01, "<"), (interval[1] > high, 0.99, ">")):
        if is_beyond:
            place = axes.get_yaxis_transform()
            axes.plot(edge, row - 0.1, arrow, transform=place, color=colour, markersize=4, clip_on=False)
    text = f"{mean:z.3f}" + (interval_text(interval) if interval[1] > interval[0] else "")
    axes.text(1.03, row, text.replace("-", "−"), transform=axes.get_yaxis_transform(), va="center")


def _limit_axis(
    axes: Axes, folds: Mapping[str, Floats], intervals: Mapping[str, tuple[float, float]], chance: Collection[str]
) -> None:
    """Show the methods' folds, and intervals and chance as far as these leave them room."""
    methods = [name for name in folds if name not in chance] or list(folds)
    values = np.concatenate([folds[name] for name in methods])
    low, high = values.min(), values.max()
    reach = (high - low) or 0.1 * abs(low) or 0.1
    ends = np.clip([intervals[name] for name in methods], low - reach, high + reach)
    low, high = min(low, ends.min()), max(high, ends.max())
    reach = max(reach, high - low)
    levels = [folds[name].mean() for name in chance]
    near = [level for level in levels if low - reach <= level <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.07 * ((high - low) or reach)
    axes.set_xlim(low - margin, high + margin)
    if near and max(near) == max(levels):
        axes.axvline(max(near), color=BEST, linewidth=0.8, linestyle=":", zorder=0, label="chance")


Spot = tuple[float, tuple[float, float] | None]
"""A mean and its interval, if that is known."""


@in_our_style
def score_differences(
    differences: Mapping[str, Mapping[str, tuple[float, tuple[float, float] | None, bool]]], *, title: str = ""
) -> Figure:
    """Draw how far methods are from the best rival: a row per table, models in colour with their interval.

    What lies far below all models is an arrow at the edge.

    Args:
        differences: table → method → (mean, interval, whether it is a model) of the score minus the best rival's.
        title: what is shown.
    """
    models = list(dict.fromkeys(name for row in differences.values() for name, (_, _, ours) in row.items() if ours))
    looks = dict(zip(models, line_styles(max(len(models), 1)), strict=False))
    figure = Drawing(figsize=(5.2, 1.2 + 0.34 * len(differences)))
    axes = figure.subplots()
    ends = [
        end
        for row in differences.values()
        for mean, interval, ours in row.values()
        if ours
        for end in (mean, *(interval or ()))
    ]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.15 * (high - low) or 0.1
    low, high = low - margin, high + margin
    axes.set_xlim(low, high)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle="--", zorder=0, label="best rival")
    for row, methods in enumerate(differences.values()):
        for name, (mean, interval, ours) in methods.items():
            if not ours:
                marker, place = ("<", low) if mean < low else ("o", mean)
                axes.plot(place, row, marker, color=GREY, markersize=3, markerfacecolor="white", clip_on=False)
                continue
            height = row + 0.18 * (models.index(name) - (len(models) - 1) / 2)
            colour = looks[name]["color"]
            if interval is not None:
                axes.hlines(height, *interval, color=colour, linewidth=1.4)
            axes.plot(mean, height, MARKERS[models.index(name) % len(MARKERS)], color=colour, markersize=4.5)
    for number, name in enumerate(models):
        axes.plot([], [], MARKERS[number % len(MARKERS)], color=looks[name]["color"], markersize=4.5, label=shown(name))
    axes.plot([], [], "o", color=GREY, markersize=3, markerfacecolor="white", label="other rivals")
    axes.set_yticks(range(len(differences)), [shown(name) for name in differences])
    axes.set_ylim(len(differences) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("score − that of the best rival [95 %]")
    figure.legend(loc="outside lower center", ncols=3)
    return titled(figure, title)


@in_our_style
def fraction_curves(
    curves: Mapping[str, Mapping[str, Mapping[float, Spot]]],
    metrics: Mapping[str, str],
    *,
    models: Collection[str],
    title: str = "",
) -> Figure:
    """Draw scores against the number of training trials: a panel per table, with all models and the best rivals.

    Args:
        curves: table → method → number of trials → (mean, interval).
        metrics: table → what the score is.
        models: methods whose intervals are drawn.
        title: what is shown.
    """
    figure, panels = panel_grid(len(curves), min(len(curves), 3), panel=(2.3, 2.0), room=(0.8, 0.8))
    looks: dict[str, dict[str, object]] = {}
    for axes, (table, methods) in zip(panels, curves.items(), strict=True):
        last = {name: points[max(points)][0] for name, points in methods.items()}
        rivals = sorted((name for name in methods if name not in models), key=lambda name: -last[name])[:MOST_CURVES]
        for name in [*(name for name in methods if name in models), *rivals]:
            points = dict(sorted(methods[name].items()))
            look = looks.setdefault(name, dict(line_styles(len(looks) + 1)[-1]))
            if name in rivals:
                look["linewidth"] = 0.9
            axes.plot(list(points), [mean for mean, _ in points.values()], marker="o", markersize=3, **look)  # type: ignore[arg-type]
            known = {n: interval for n, (_, interval) in points.items() if interval is not None}
            if name in models and known:
                axes.vlines(list(known), *zip(*known.values(), strict=True), color=look["color"], linewidth=0.6)
        axes.set_xscale("log")
        numbers = sorted({n for points in methods.values() for n in points})
        axes.set_xticks(numbers, [f"{n:.0f}" for n in numbers])
        axes.set_xticks([], minor=True)
        axes.set(title=shown(table), xlabel="training trials", ylabel=metrics[table])
    handles = [Line2D([], [], marker="o", markersize=3, **look) for look in looks.values()]  # type: ignore[arg-type]
    figure.legend(handles, [shown(name) for name in looks], loc="outside lower center", ncols=min(len(curves), 3))
    return titled(figure, title)


@in_our_style
def learning_curve(
    history: Mapping[str, ArrayLike] | Sequence[Mapping[str, ArrayLike]],
    *,
    score_name: str = "score",
    title: str = "",
) -> Figure:
    """Draw loss and score against epoch; folds thin, their mean thick over the epochs that every fold reached.

    The epoch of least validation loss, whose weights training keeps, is marked.

    Args:
        history: of one fold, or one per fold: "epoch" and any of "train_loss", "validation_loss",
            "train_score", "validation_score", each (epoch,), NaN where not measured. Other columns,
            and those never measured, are left alone.
        score_name: what the score is, with its unit.
        title: what is shown.
    """
    histories = [history] if isinstance(history, Mapping) else history
    names = [name for name in ("epoch", *_CURVES) if name in histories[0]]
    folds = [{name: np.asarray(fold[name], dtype=np.float64) for name in names} for fold in histories]
    drawn = [name for name in names[1:] if any(np.isfinite(fold[name]).any() for fold in folds)]
    kinds = [kind for kind in ("loss", "score") if any(name.endswith(kind) for name in drawn)]
    figure = Drawing(figsize=(ONE_COLUMN_INCHES, 0.9 + 1.5 * len(kinds)))
    panels = dict(zip(kinds, figure.subplots(len(kinds), sharex=True, squeeze=False)[:, 0], strict=True))
    for name in drawn:
        _draw_curves(panels[name.split("_")[1]], folds, name)
    if "validation_loss" in drawn:
        _mark_best(panels, folds)
    for kind, axes in panels.items():
        axes.set_ylabel("loss" if kind == "loss" else score_name)
    panels[kinds[-1]].set_xlabel("epoch")
    panels[kinds[-1]].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    parts = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels.values()]
    entries = {label: handle for part in parts for handle, label in part}
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=3, columnspacing=1.2)
    return titled(figure, title)


# Column of a history → what its curve is called and its colour.
_CURVES = {
    "train_loss": ("training", GREY),
    "validation_loss": ("validation", ACCENT),
    "train_score": ("training", GREY),
    "validation_score": ("validation", ACCENT),
}


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


def _mark_best(panels: Mapping[str, Axes], folds: Sequence[Mapping[str, Floats]]) -> None:
    """A dot on each fold's best epoch; for one fold also its number, and a line through both panels."""
    measured = [(fold["epoch"], fold["validation_loss"]) for fold in folds]
    best = [(epoch[np.nanargmin(loss)], np.nanmin(loss)) for epoch, loss in measured if np.isfinite(loss).any()]
    label = "best epoch of each fold"
    if len(folds) == 1 and best:
        label = f"best: epoch {best[0][0]:g}"
        for axes in panels.values():
            axes.axvline(best[0][0], color=BEST, linewidth=0.8, linestyle=":", zorder=0)
    if best:
        panels["loss"].plot(
            *zip(*best, strict=True), "o", color=BEST, markersize=3.5, linewidth=0, label=label, zorder=4
        )

"""Who interacts with whom: recovered graphs beside the true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from motet.report import style
from motet.report.style import Bools, Floats, Integers

MOST_PANELS = 6
FALSE = "#EE7733"  # Paul Tol's "vibrant" orange: those who see no red take the house's red for ink
# What became of a pair → colour and dashes of its line.
_EDGES: dict[str, tuple[str, Any]] = {
    "found": (style.INK, "-"),
    "missed": (style.ACCENT, (0, (2, 1.5))),
    "false": (FALSE, "-"),
    "recovered, truth unknown": (style.GREY, "-"),
}


@style.in_our_style
def draw_graphs(
    probability: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    positions: ArrayLike | None = None,
    system: ArrayLike | None = None,
    observed: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw the recovered graphs of some trials: edges found, missed and false, the stronger the more probable.

    With a truth, the trials run evenly from the most to the least accurate one. Where the two directions
    of a pair differ, lines are arrows: [i, j] is what j does to i.

    Args:
        probability: (trial, individual, individual) that the pair interacts, an edge from 0.5 on; NaN where not known.
        truth: likewise, int: 0 for no edge, 1 or more for an edge, -1 where unknown.
        positions: (trial, individual, time, 2), NaN where unknown: an individual is a dot at the end of its
            path. Without, they stand on a circle.
        system: (trial, individual) int, the true group, which colours the dots; -1 where unknown.
        observed: (trial, individual) bool, which individuals there are; by default all.
        title: what is shown, above the mean accuracy over all trials, and that of "no edge" for every pair.
    """
    likely = np.asarray(probability, dtype=np.float64)
    unknown = np.full(likely.shape, -1)
    true = unknown if truth is None else np.asarray(truth)
    group = unknown[:, 0] if system is None else np.asarray(system)
    present = np.ones(likely.shape[:2], dtype=np.bool_) if observed is None else np.asarray(observed)
    paths = None if positions is None else np.asarray(positions, dtype=np.float64)
    is_pair = present[:, :, None] & present[:, None] & np.isfinite(likely) & ~np.eye(likely.shape[1], dtype=np.bool_)
    recovered, known = is_pair & (likely >= 0.5), is_pair & (true >= 0)
    fates = (recovered & (true > 0), is_pair & ~recovered & (true > 0), recovered & (true == 0), recovered & (true < 0))
    edges = dict(zip(_EDGES, fates, strict=True))
    both_ways = (np.where(is_pair, likely, 0), np.where(is_pair, true, -1))
    is_directed = not all(np.allclose(pairs, pairs.swapaxes(1, 2)) for pairs in both_ways)
    accuracy, no_edge = style.share(known & (recovered == (true > 0)), known), style.share(known & (true == 0), known)
    shown = style.spread_from_best(-accuracy, MOST_PANELS)

    n_columns = min(len(shown), 3 if len(shown) != 4 else 2)
    width = max(style.TWO_COLUMNS_INCHES / 3, style.ONE_COLUMN_INCHES / n_columns)
    figure, panels = style.panel_grid(len(shown), n_columns, panel=(width, 2.75), room=(0, 0.95))
    for axes, trial in zip(panels, shown, strict=True):
        colours = style.group_colours(group)[trial]
        at = _draw_individuals(axes, present[trial], colours, group[trial], None if paths is None else paths[trial])
        lines = {
            name: pairs[trial] & (is_directed | np.tri(len(at), dtype=np.bool_).T) for name, pairs in edges.items()
        }
        for name, is_drawn in lines.items():
            _draw_edges(axes, at, is_drawn, likely[trial], name=name, is_directed=is_directed)
        axes.set_title(_graph_title(int(trial), lines, float(accuracy[trial])), fontsize=7.5)
    shown_names = [name for name in _EDGES if edges[name].any() or (known.any() and "unknown" not in name)]
    if shown_names:
        looks = [_EDGES[name] for name in shown_names]
        handles = [Line2D([], [], linewidth=1.6, color=colour, linestyle=dashes) for colour, dashes in looks]
        note = "edges; the fainter, the less probable" + ("; arrows point to who is acted on" if is_directed else "")
        figure.legend(handles, shown_names, loc="outside lower center", ncols=4, handlelength=2.2, title=note)
    if not known.any():
        return style.titled(figure, title, f"{len(shown)} of {len(likely)} trials")
    summary = f"mean accuracy of {len(likely)} trials {np.nanmean(accuracy):.3f}, "
    summary += f"of no edge at all {np.nanmean(no_edge):.3f}" + "; shown from best to worst" * (len(shown) > 1)
    return style.titled(figure, title, summary)


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
        style.draw_lines(axes, paths, colours, linewidths=0.7, alpha=0.35, zorder=1)
    size = float(np.clip(240 / max(present.sum(), 1), 9, 34))
    axes.scatter(at[:, 0], at[:, 1], c=colours.tolist(), s=size, edgecolors="white", linewidths=0.5, zorder=3)
    style.frame_plane(axes, at if paths is None else paths)
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
    look: dict[str, Any] = {"linestyles": [dashes], "zorder": 1.5 if name == "found" else 2}  # mistakes on top
    widths = (1.3 if name == "missed" else 1.8) * crowded * strength
    style.draw_lines(axes, lines, colours, linewidths=widths, label=name, **look)


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

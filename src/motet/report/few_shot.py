"""How well decoders do with few labelled trials."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from motet.report import style

MOST_RIVALS = 3
MOST_COLUMNS = 4
Curves = Mapping[str, Mapping[str, Mapping[Any, Sequence[float]]]]


@style.in_our_style
def draw_few_shot(
    scores: Curves,
    metric: str,
    *,
    models: Collection[str],
    places: str = "labelled trials per class",
    title: str = "",
) -> Figure:
    """Draw scores against labelled trials per class: a panel per population, a line per method, its draws as dots.

    Args:
        scores: population → method → labelled trials per class → (draw,); what is no number stands on the right.
        metric: what the score is; more is better.
        models: methods drawn in colour; of the others the best few are shown, in grey.
        places: what is on the axis, in place of labelled trials.
        title: what is shown.
    """
    figure, panels = style.panel_grid(
        len(scores), min(len(scores), MOST_COLUMNS), panel=(2.1, 2.1), room=(0.8, 0.6), sharey=True
    )
    shown = _shown(scores, models)
    ours = [name for name in shown if name in models]
    colours = dict(zip(ours, (style.ACCENT, style.BEST, *style.CLASS_COLOURS[3:]), strict=False))
    for axes, (population, methods) in zip(panels, scores.items(), strict=True):
        for order, name in enumerate(name for name in shown if name in methods):
            k = sorted(methods[name], key=lambda n: math.inf if isinstance(n, str) else n)
            draws = [np.asarray(methods[name][n], dtype=np.float64) for n in k]
            colour = colours.get(name, style.GREY)
            dot: dict[str, Any] = {"marker": "o", "markersize": 3}
            line = "-" if name in models else ("--", ":", "-.")[order % 3]
            axes.plot(range(len(k)), [d.mean() for d in draws], line, color=colour, label=name, zorder=3, **dot)
            for place, of_k in enumerate(draws if name in models else ()):
                spread = np.linspace(-0.12, 0.12, len(of_k))
                axes.scatter(place + spread, of_k, s=4, color=colour, alpha=0.35, linewidths=0)
            axes.set_xticks(range(len(k)), [str(n) if isinstance(n, str) else f"{n:.3g}" for n in k])
        axes.set_title(style.shown(population))
        axes.set_xlabel(places)
        axes.set_ylabel(metric)
        axes.label_outer()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return style.titled(figure, title)


@style.in_our_style
def draw_pairs(scores: Mapping[str, ArrayLike], names: Sequence[str], metric: str, *, title: str = "") -> Figure:
    """Draw what every population gains from every other one: a matrix per panel.

    Args:
        scores: panel → (before, new) scores; NaN where there is none.
        names: of the populations.
        metric: what the score is.
        title: what is shown.
    """
    size = 0.9 + 0.55 * len(names)
    figure, panels = style.panel_grid(len(scores), min(len(scores), MOST_COLUMNS), panel=(size, size), room=(1.2, 0.6))
    known = np.concatenate([np.asarray(matrix, dtype=np.float64).reshape(-1) for matrix in scores.values()])
    least, most = float(np.nanmin(known)), float(np.nanmax(known))
    spread = most - least or 1.0
    for axes, (name, matrix) in zip(panels, scores.items(), strict=True):
        found = np.asarray(matrix, dtype=np.float64)
        axes.imshow(found, cmap="Blues", vmin=least - spread, vmax=most + spread)
        for (row, column), score in np.ndenumerate(found):
            if np.isfinite(score):
                axes.text(column, row, f"{score:.2f}", ha="center", va="center", color=style.INK)
        places = range(len(names)), [style.shown(one) for one in names]
        axes.set_xticks(*places, rotation=30, ha="right")
        axes.set_yticks(*places)
        axes.set(title=name, xlabel="new")
    panels[0].set_ylabel("learned from")
    return style.titled(figure, metric, title)


def _shown(scores: Curves, models: Collection[str]) -> list[str]:
    """Models, and the best rivals over all populations."""
    means: dict[str, list[float]] = {}
    for methods in scores.values():
        for name, by_k in methods.items():
            means.setdefault(name, []).append(float(np.mean([np.mean(draws) for draws in by_k.values()])))
    rivals = sorted((n for n in means if n not in models), key=lambda n: -float(np.mean(means[n])))
    return [*(name for name in models if name in means), *rivals[:MOST_RIVALS]]

"""How well decoders do with few labelled trials."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from motet.report import style

MOST_RIVALS = 3
Curves = Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]]


@style.in_our_style
def draw_few_shot(scores: Curves, metric: str, *, models: Collection[str], title: str = "") -> Figure:
    """Draw scores against labelled trials per class: a panel per population, a line per method, its draws as dots.

    Args:
        scores: population → method → labelled trials per class → (draw,).
        metric: what the score is; more is better.
        models: methods drawn in colour; of the others the best few are shown, in grey.
        title: what is shown.
    """
    figure = Figure(figsize=(0.8 + 2.1 * len(scores), 2.7))
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    shown = _shown(scores, models)
    colours = dict(zip([name for name in shown if name in models], (style.ACCENT, style.BEST), strict=False))
    for axes, (population, methods) in zip(panels, scores.items(), strict=True):
        for order, name in enumerate(name for name in shown if name in methods):
            k = sorted(methods[name])
            draws = [np.asarray(methods[name][n], dtype=np.float64) for n in k]
            colour = colours.get(name, style.GREY)
            dot = {"marker": "o", "markersize": 3}
            line = "-" if name in models else ("--", ":", "-.")[order % 3]
            axes.plot(range(len(k)), [d.mean() for d in draws], line, color=colour, label=name, zorder=3, **dot)
            for place, of_k in enumerate(draws if name in models else ()):
                spread = np.linspace(-0.12, 0.12, len(of_k))
                axes.scatter(place + spread, of_k, s=4, color=colour, alpha=0.35, linewidths=0)
            axes.set_xticks(range(len(k)), [str(n) for n in k])
        axes.set_title(population)
        axes.set_xlabel("labelled trials per class")
    panels[0].set_ylabel(metric)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return style.titled(figure, title)


def _shown(scores: Curves, models: Collection[str]) -> list[str]:
    """Models, and the best rivals over all populations."""
    means: dict[str, list[float]] = {}
    for methods in scores.values():
        for name, by_k in methods.items():
            means.setdefault(name, []).append(float(np.mean([np.mean(draws) for draws in by_k.values()])))
    rivals = sorted((n for n in means if n not in models), key=lambda n: -float(np.mean(means[n])))
    return [*(name for name in means if name in models), *rivals[:MOST_RIVALS]]

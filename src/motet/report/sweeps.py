"""What a search of settings came to: scores one after another, and which settings are behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from motet.report import style


@style.in_our_style
def draw_sweep(scores: Sequence[float], importance: Mapping[str, float], *, score_name: str, title: str = "") -> Figure:
    """Draw the score of every try with the best so far, and how much each setting is behind.

    Args:
        scores: of the tries in order, NaN for one that failed; the first is that of the settings as given.
        importance: share of the variance of scores by setting; empty if it is not known.
        score_name: what the score is.
        title: what is shown.

    Example:
        >>> figure = draw_sweep([0.5, 0.7, float("nan"), 0.6], {"model.width": 0.8}, score_name="accuracy")
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['try', 'share of the variance']
    """
    values = np.asarray(scores, dtype=np.float64)
    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES if importance else style.ONE_COLUMN_INCHES + 0.8, 2.6))
    panels = figure.subplots(1, 1 + bool(importance), squeeze=False)[0]
    tries = np.arange(len(values))
    best = np.fmax.accumulate(values)
    panels[0].plot(tries, values, "o", color=style.ACCENT, markersize=3.5, alpha=0.6, label="tries")
    panels[0].plot(tries, best, color=style.BEST, drawstyle="steps-post", label="best so far")
    panels[0].axhline(values[0], color=style.GREY, linestyle="--", linewidth=0.8, label="as given")
    panels[0].set(xlabel="try", ylabel=score_name)
    if importance:
        names = list(importance)[::-1]
        panels[1].barh(range(len(names)), [importance[name] for name in names], color=style.ACCENT, height=0.7)
        panels[1].set_yticks(range(len(names)), [style.shown(name) for name in names])
        panels[1].set_xlabel("share of the variance")
    figure.legend(loc="outside lower center", ncols=3)
    return style.titled(figure, title)

"""Which individuals matter: bars beside their level of chance, and what each adds over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from motet.report import style
from motet.report.style import Floats


@style.in_our_style
def draw_importance(
    measures: Mapping[str, tuple[Floats, Floats]],
    by_bin: Floats,
    individual_ids: Sequence[str],
    *,
    unit: str,
    bin_seconds: float,
    title: str = "",
) -> Figure:
    """Draw what individuals matter by each measure, and when.

    Bars above the level of chance, a line across each, are in colour, others grey.

    Args:
        measures: by name, values and levels of chance, (individual,) each.
        by_bin: (individual, time) what each adds at each time.
        individual_ids: in the order in which they are drawn, from the top.
        unit: of all numbers.
        bin_seconds: width of a bin.
        title: what is shown.

    Example:
        >>> bars = {"permutation": (np.array([0.4, 0.0]), np.array([0.1, 0.1]))}
        >>> figure = draw_importance(bars, np.zeros((2, 5)), ["a", "b"], unit="R²", bin_seconds=0.1)
        >>> [axes.get_xlabel() for axes in figure.axes][:2]
        ['permutation (R²)', 'time in the trial (s)']
    """
    n = len(individual_ids)
    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, 1.0 + 0.16 * max(n, 5)))
    panels = figure.subplots(
        1, len(measures) + 1, sharey=True, width_ratios=[1] * len(measures) + [1.6], squeeze=False
    )[0]
    place = np.arange(n)
    for axes, (name, (value, chance)) in zip(panels, measures.items(), strict=False):
        colours = [style.ACCENT if is_above else style.GREY for is_above in value > chance]
        axes.barh(place, value, height=0.7, color=colours)
        axes.vlines(chance, place - 0.45, place + 0.45, color=style.INK, linewidth=1)
        axes.axvline(0, color=style.INK, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(f"{name} ({unit})")
    panels[0].set(yticks=place, yticklabels=[style.shown(name) for name in individual_ids], ylim=(n - 0.5, -0.5))
    panels[0].tick_params(axis="y", labelsize=6.5)
    most = float(np.abs(by_bin).max(initial=0)) or 1.0
    image = panels[-1].imshow(
        by_bin,
        aspect="auto",
        interpolation="nearest",
        cmap="PuOr_r",
        vmin=-most,
        vmax=most,
        extent=(0, by_bin.shape[1] * bin_seconds, n - 0.5, -0.5),
    )
    panels[-1].set_xlabel("time in the trial (s)")
    figure.colorbar(image, ax=panels[-1], label=f"gradients ({unit})").locator = MaxNLocator(3)
    return style.titled(figure, title, "lines: what chance exceeds in one population of 20")

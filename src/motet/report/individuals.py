"""What individuals are: their embeddings before and after they interact, and states read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from motet.report import style
from motet.report.style import Bools, Floats, Integers

MOST_PANELS = 4


@style.in_our_style
def draw_embeddings(
    before: ArrayLike,
    after: ArrayLike,
    system: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw individuals before and after they interact, on the first two principal components of some trials.

    Each panel has its own components. Lines join the members of a system to their mean. The title says,
    in the whole space and over all trials, how often an individual's nearest neighbour is of its system.

    Args:
        before: (trial, individual, width), each individual's embedding, such as its mean over time.
        after: likewise, the population's embedding.
        system: (trial, individual) int, the true group; -1 where unknown.
        observed: (trial, individual) bool, which individuals there are; by default all with an embedding.
        title: what is shown.
    """
    embeddings = [np.asarray(array, dtype=np.float64) for array in (before, after)]
    group = np.asarray(system)
    present = np.ones(group.shape, dtype=np.bool_) if observed is None else np.asarray(observed)
    shown = style.spread_from_best(np.arange(len(group)), MOST_PANELS)
    figure = style.Drawing(figsize=(max(0.4 + 1.75 * len(shown), style.ONE_COLUMN_INCHES), 4.6))
    parts = figure.subfigures(2, 1, squeeze=False)[:, 0]
    near = []
    for part, array, name in zip(parts, embeddings, ("before interaction", "after interaction"), strict=True):
        seen = present & np.isfinite(array).all(axis=2)
        near.append(_nearest_in_system(array, group, seen))
        panels = part.subplots(1, len(shown), squeeze=False)[0]
        part.suptitle(name, x=0.01, ha="left", fontsize=8.5)
        for axes, trial in zip(panels, shown, strict=True):
            colours = style.group_colours(group)[trial, seen[trial]]
            _draw_components(axes, array[trial, seen[trial]], group[trial, seen[trial]], colours)
            axes.set_title(f"trial {trial}" if len(array) > 1 else "", fontsize=7.5)
    (found, chance), (found_after, _) = near
    if np.isnan(found + found_after):
        return style.titled(figure, title)
    summary = f"nearest neighbour in the same system: {found:.3f} before, {found_after:.3f} after (chance {chance:.3f})"
    return style.titled(figure, title, summary)


def _draw_components(axes: Axes, embedding: Floats, group: Integers, colours: Floats) -> None:
    """Draw (individual, width) on its first two principal components, with their share of the variance."""
    axes.set(xticks=[], yticks=[])
    centred = embedding - embedding.mean(axis=0, keepdims=True) if len(embedding) else embedding
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if not len(embedding) or size[0] <= 1e-9 * np.abs(embedding).max():
        style.write_inside(axes, "all alike" if len(embedding) > 1 else f"{len(embedding)} individuals")
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
            style.draw_lines(axes, spokes, colour[None], linewidths=0.6, alpha=0.5, zorder=1)
        dots: dict[str, Any] = {"color": colour, "marker": style.MARKERS[label % 8], "markersize": 4}
        axes.plot(*members.T, linestyle="", label=f"system {label}", **dots)
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


@style.in_our_style
def draw_states(predictions: Mapping[str, ArrayLike], truth: ArrayLike, quantity: str, *, title: str = "") -> Figure:
    """Draw predicted against true states, such as masses, one panel per method, with R² and median absolute error.

    What lies farther from the truth's range than half its width is a triangle at the edge. Of many
    points some are drawn; the scores are those of all.

    Args:
        predictions: method → (…), NaN where not predicted.
        truth: (…), NaN where unknown.
        quantity: what it is, with its unit.
        title: what is shown.
    """
    true = np.asarray(truth, dtype=np.float64)
    known = true[np.isfinite(true)]
    low, high = known.min(), known.max()
    reach = (high - low) / 2 or 0.5 * abs(low) or 0.5
    figure = style.Drawing(figsize=(0.5 + 2.1 * len(predictions), 2.7))
    panels = figure.subplots(1, len(predictions), squeeze=False, sharex=True, sharey=True)[0]
    lines = style.line_styles(len(predictions))
    for axes, (name, values), line in zip(panels, predictions.items(), lines, strict=True):
        predicted = np.asarray(values, dtype=np.float64)
        pairs = np.stack([true, predicted])[:, np.isfinite(true) & ~np.isnan(predicted)]
        axes.axline((low, low), slope=1, color=style.GREY, linewidth=0.8, linestyle=":", zorder=0)
        axes.set_title(f"{name}\n{_state_scores(pairs)}")
        x, y = pairs[:, :: -(-pairs.shape[1] // style.MOST_POINTS) or 1]
        size = float(np.clip(2000 / max(len(x), 1), 3, 14))
        look: dict[str, Any] = {"s": size, "color": line["color"], "alpha": 0.4, "linewidths": 0, "clip_on": False}
        is_above, is_below = y > high + reach, y < low - reach
        for marker, is_here in (("o", ~is_above & ~is_below), ("^", is_above), ("v", is_below)):
            if is_here.any():
                axes.scatter(x[is_here], np.clip(y[is_here], low - reach, high + reach), marker=marker, **look)
        axes.set(xlabel=f"true {quantity}", ylim=(low - reach, high + reach))
    panels[0].set_ylabel(f"predicted {quantity}")
    panels[0].set_xlim(low - reach / 10, high + reach / 10)
    return style.titled(figure, title)


def _state_scores(pairs: Floats) -> str:
    """R² and median absolute error of (true and predicted, item)."""
    if not pairs.shape[1]:
        return "nothing predicted"
    error = pairs[1] - pairs[0]
    explained = f"{style.r_squared(*pairs):z.3f}" if np.ptp(pairs[0]) > 0 else "undefined"
    return f"R² {explained}, median error {np.median(np.abs(error)):.3f}".replace("-", "−")

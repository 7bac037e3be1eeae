"""Who is like whom: distances sorted by type, matched pairs side by side, everybody in one plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from motet.metrics import Reliability
from motet.report import style
from motet.report.style import Floats, Integers

MOST_PAIRS = 6
FILLED: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0.0}


@style.in_our_style
def draw_distances(
    distance: Floats, type_a: Integers, type_b: Integers, names: tuple[str, str], *, title: str = ""
) -> Figure:
    """Draw the distance of every individual of one population from every one of another, sorted by type.

    Inside a type, individuals that are near its middle come first. Lines part the types.

    Args:
        distance: (a, b).
        type_a: (a,) whole numbers.
        type_b: (b,) likewise.
        names: of the two populations.
        title: what is shown.
    """
    rows, columns = (np.lexsort((distance.mean(axis=1 - axis), types)) for axis, types in enumerate((type_a, type_b)))
    figure = style.Drawing(figsize=(style.ONE_COLUMN_INCHES + 0.6, style.ONE_COLUMN_INCHES))
    axes = figure.subplots()
    image = axes.imshow(distance[np.ix_(rows, columns)], cmap="viridis_r", aspect="auto", interpolation="nearest")
    for types, line in ((np.sort(type_a), axes.axhline), (np.sort(type_b), axes.axvline)):
        for edge in np.flatnonzero(np.diff(types)):
            line(edge + 0.5, color="white", linewidth=0.6)
    axes.set(
        ylabel=f"{style.shown(names[0])}, by type", xlabel=f"{style.shown(names[1])}, by type", xticks=[], yticks=[]
    )
    figure.colorbar(image, ax=axes, label="Wasserstein-2 distance")
    return style.titled(figure, title)


@style.in_our_style
def draw_pairs(
    courses: Sequence[tuple[Floats, Floats]],
    captions: Sequence[str],
    classes: NDArray[Any],
    seconds: Floats,
    names: tuple[str, str],
    *,
    target: str = "",
    unit: str = "firing rate (Hz)",
    title: str = "",
) -> Figure:
    """Draw matched individuals side by side, one of each population above the other: the mean course of every class.

    Args:
        courses: for each pair two (class, time).
        captions: for each pair.
        classes: labels of the classes.
        seconds: (time,).
        names: of the two populations.
        target: what the classes are of.
        unit: of the courses.
        title: what is shown.
    """
    n_pairs = max(len(courses), 1)
    figure = style.Drawing(figsize=(max(1.6 + 1.15 * n_pairs, style.ONE_COLUMN_INCHES), 3.3))
    panels = figure.subplots(2, n_pairs, squeeze=False, sharex=True)
    if not courses:
        style.write_inside(panels[0, 0], "no match")
    colours = style.class_colours(len(classes))
    for column, (pair, caption) in enumerate(zip(courses, captions, strict=True)):
        for axes, course in zip(panels[:, column], pair, strict=True):
            for colour, line in zip(colours, course, strict=True):
                axes.plot(seconds, line, color=colour, linewidth=1.0)
            axes.set_ylim(bottom=min(0.0, float(np.nanmin(course))))
            axes.locator_params(axis="y", nbins=3)
            axes.locator_params(axis="x", nbins=2)
        panels[0, column].set_title(caption, fontsize=7.5)
    for row, name in enumerate(names):
        panels[row, 0].set_ylabel(style.shown(name), fontsize=7)
    figure.supxlabel("time in the trial (s)", fontsize=8)
    figure.supylabel(unit, fontsize=8)
    if len(classes) > 1:
        style.class_legend(figure, classes, title=target)
    return style.titled(figure, title)


@style.in_our_style
def draw_plane(
    places: Sequence[ArrayLike],
    names: Sequence[str],
    preferred: Sequence[ArrayLike],
    classes: NDArray[Any],
    *,
    target: str = "",
    title: str = "",
) -> Figure:
    """Draw all individuals of all recordings in one plane: coloured by recording, and by the class they prefer.

    The plane is that of the first two principal components of all.

    Args:
        places: for each recording (individual, dim).
        names: of the recordings.
        preferred: for each recording (individual,) positions among the classes, -1 for none.
        classes: labels of the classes.
        target: what the classes are of.
        title: what is shown.
    """
    points = [np.asarray(part, dtype=np.float64) for part in places]
    together = np.concatenate(points)
    centred = together - together.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(centred), 2))
    scaled = (left * size)[:, :2]
    # The sign of a component is arbitrary: its largest entry is positive.
    plane[:, : scaled.shape[1]] = scaled * np.sign(scaled[np.abs(scaled).argmax(axis=0), range(scaled.shape[1])])
    parts = np.split(plane, np.cumsum([len(part) for part in points])[:-1])
    explained = (size**2 / max((size**2).sum(), 1e-300))[:2]

    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, 3.1))
    panels = figure.subplots(1, 2 if len(classes) > 1 else 1, squeeze=False, sharex=True, sharey=True)[0]
    looks = style.line_styles(len(names))
    for part, name, look, marker in zip(parts, names, looks, style.MARKERS * len(parts), strict=False):
        dots: dict[str, Any] = {"color": look["color"], "marker": marker, "markersize": 3.5, "alpha": 0.7, **FILLED}
        panels[0].plot(*part.T, label=style.shown(name), **dots)
    panels[0].set_title("by recording")
    figure.legend(loc="outside lower left", ncols=3, handles=panels[0].get_lines())
    if len(classes) > 1:
        colours = style.class_colours(len(classes))
        for part, best, marker in zip(parts, preferred, style.MARKERS * len(parts), strict=False):
            for k in range(-1, len(classes)):
                colour = style.GREY if k < 0 else colours[k]
                of_class = part[np.asarray(best) == k]
                panels[1].plot(*of_class.T, color=colour, marker=marker, markersize=3.5, alpha=0.8, **FILLED)
        panels[1].set_title(f"by preferred {style.shown(target)}")
        handles = [Line2D([], [], color=colour, marker="o", **FILLED) for colour in colours]
        panels[1].legend(handles, [style.shown(label) for label in classes], loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in panels:
        axes.set_xlabel(f"PC 1 ({explained[0]:.0%})")
        axes.margins(0.05)
    panels[0].set_ylabel(f"PC 2 ({explained[1]:.0%})" if len(explained) > 1 else "")
    return style.titled(figure, title)


@style.in_our_style
def draw_calibration(confidence: ArrayLike, is_right: ArrayLike, *, title: str = "") -> Figure:
    """Draw how often matches are right against their confidence, in tenths, with how many there are.

    Args:
        confidence: (match,) from 0 to 1.
        is_right: (match,) bool.
        title: what is shown.
    """
    x, y, n = Reliability.of(confidence, is_right)
    figure = style.Drawing(figsize=(style.ONE_COLUMN_INCHES, 2.8))
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color=style.GREY, linewidth=0.8, linestyle=":")
    error = np.sqrt(np.maximum(y * (1 - y), 0) / np.maximum(n, 1))
    axes.errorbar(x, y, error, color=style.ACCENT, marker="o", markersize=4, linewidth=1.2, clip_on=False)
    for place, height, count in zip(x, y, n, strict=True):
        if count:
            axes.annotate(
                f"{count}", (place, height), (4, -9), textcoords="offset points", fontsize=6.5, color=style.GREY
            )
    axes.set(xlabel="confidence of a match", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return style.titled(figure, title)

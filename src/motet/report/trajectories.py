"""What simulated individuals do: their paths in the plane, or the rates of oscillators, and the true graph beneath."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.report import style
from motet.report.style import Floats

N_TRIALS = 3
FAINTEST = 0.12  # opacity at the start of a path
RATE = 2  # the feature of an oscillator that is its rate, after cosine and sine
Colours = NDArray[Any]


@style.in_our_style
def draw_simulation(recording: Recording) -> Figure:
    """Draw the first trials of a simulated recording, every individual in a colour.

    Particles leave paths that fade toward their start, coloured by system or charge, the area of a body in proportion
    to its mass. Oscillators are drawn by their rate over time. Where the graph does not follow from the colours,
    it is beneath: edges join individuals that interact.

    Args:
        recording: as `motet.simulate` gives it: the first two features are x and y, or, where "frequency" is a
            target, cosine, sine and rate.
    """
    are_oscillators = "frequency" in recording.targets
    shown = recording.select(trials=slice(N_TRIALS))
    has_graph = not {"system", "charge"} & recording.targets.keys()
    height = 1.9 if are_oscillators else 2.3
    figure = style.Drawing(figsize=(style.TWO_COLUMNS_INCHES, 0.75 + height + has_graph * 0.95))
    ratios = [height, 0.9][: 1 + has_graph]
    panels = figure.subplots(1 + has_graph, shown.n_trials, squeeze=False, height_ratios=ratios)
    for trial, axes in enumerate(panels[0]):
        axes.set_title(f"trial {trial}")
        colours = _colours(shown, trial)
        if are_oscillators:
            _draw_rates(axes, shown, trial, colours)
        else:
            _draw_paths(axes, shown, trial, colours)
        if has_graph:
            _draw_graph(panels[1, trial], shown.target("interacts")[trial] == 1, colours)
    _share_limits(panels[0], are_paths=not are_oscillators)
    panels[0, 0].set_ylabel("dφ/dt (rad/s)" if are_oscillators else "y")
    _legend(figure, recording)
    seconds = (recording.n_bins - 1) * recording.bin_seconds
    words = [f"{recording.n_individuals} individuals, {recording.n_bins} bins over {seconds:.3g} s"]
    words += ["○ start, ● end"] * (not are_oscillators)
    words += ["thin lines join a system"] * ("system" in recording.targets) + ["who interacts is beneath"] * has_graph
    return style.titled(figure, recording.name, "; ".join(words))


def _colours(recording: Recording, trial: int) -> Colours:
    """(individual, 4): by system, by sign of charge, by frequency, or each its own."""
    if "system" in recording.targets:
        return style.group_colours(recording.target("system")[trial])
    if "charge" in recording.targets:
        return to_rgba_array([style.ACCENT, style.BEST])[(recording.target("charge")[trial] >= 0).astype(int)]
    order = np.arange(recording.n_individuals)
    if "frequency" in recording.targets:
        order = np.argsort(np.argsort(recording.target("frequency")[trial], kind="stable"))
    return style.class_colours(recording.n_individuals)[order]


def _draw_paths(axes: Axes, recording: Recording, trial: int, colours: Colours) -> None:
    paths = recording.values[trial, ..., :2].astype(np.float64)
    masses = recording.targets["mass"][trial] if "mass" in recording.targets else np.ones(len(paths))
    for path, is_seen, colour, mass in zip(paths, recording.observed[trial], colours, masses, strict=True):
        _draw_path(axes, path, is_seen, colour, float(mass))
    if "system" in recording.targets:
        is_last = recording.observed[trial, :, -1]
        together = (recording.target("interacts")[trial] == 1) & is_last & is_last[:, None]
        pairs = np.argwhere(np.triu(together, k=1))
        style.draw_lines(axes, paths[pairs, -1], colours[pairs[:, 0]], linewidths=0.5, alpha=0.45)
    law = recording.metadata.get("law")
    walls = law.get("walls") if isinstance(law, dict) else None
    if isinstance(walls, float) and np.abs(paths).max() > walls / 2:
        box = Rectangle((-walls, -walls), 2 * walls, 2 * walls, fill=False, edgecolor=style.GREY, linewidth=0.6)
        axes.add_patch(box)
    axes.autoscale_view()
    axes.set(aspect="equal", xlabel="x")


def _draw_path(axes: Axes, path: Floats, is_seen: NDArray[np.bool_], colour: Colours, mass: float) -> None:
    """A line (time, axis) that fades toward the start, a ring where it starts, a dot of area ∝ mass where it ends."""
    steps = np.flatnonzero(is_seen[:-1] & is_seen[1:])
    opacity = FAINTEST + (1 - FAINTEST) * (steps / max(len(path) - 2, 1)) ** 1.5
    fading = np.repeat(colour[None], len(steps), axis=0)
    fading[:, 3] = opacity
    segments = np.stack([path[steps], path[steps + 1]], axis=1)
    widths, tint = (0.6 + 1.2 * opacity).tolist(), to_hex(tuple(colour))
    style.draw_lines(axes, segments, fading, linewidths=widths)
    for (x, y), is_end in zip(path[is_seen][[0, -1]] if is_seen.any() else [], (False, True), strict=False):
        area, fill, edge = (26 * mass, tint, "white") if is_end else (9, "white", tint)
        axes.scatter(x, y, s=area, facecolors=[fill], edgecolors=[edge], linewidths=0.7, zorder=3 + is_end)


def _draw_rates(axes: Axes, recording: Recording, trial: int, colours: Colours) -> None:
    rates = np.where(recording.observed[trial], recording.values[trial, ..., RATE], np.nan)
    seconds = np.arange(recording.n_bins) * recording.bin_seconds
    for rate, frequency, colour in zip(rates, recording.target("frequency")[trial], colours, strict=True):
        axes.axhline(frequency, color=colour, linewidth=0.6, alpha=0.35, linestyle=(0, (4, 3)), zorder=1)
        axes.plot(seconds, rate, color=colour, linewidth=1.2, marker="." if len(seconds) == 1 else "", zorder=2)
    axes.set_xlabel("time (s)")


def _draw_graph(axes: Axes, interacts: NDArray[np.bool_], colours: Colours) -> None:
    """Individuals on a circle, edges between those that interact."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(colours)) / len(colours)
    place: Floats = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    edges = place[np.argwhere(np.triu(interacts | interacts.T, k=1))]
    style.draw_lines(axes, edges, to_rgba_array([style.GREY]), linewidths=0.9, zorder=1)
    axes.scatter(place[:, 0], place[:, 1], c=colours.tolist(), s=30, linewidths=0.8, edgecolors="white", zorder=2)
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    axes.set_axis_off()


def _share_limits(panels: NDArray[Any], *, are_paths: bool) -> None:
    """The same scale in every panel; of paths also the same scale on both axes."""
    limits = np.array([[axes.get_xlim(), axes.get_ylim()] for axes in panels])  # (panel, axis, end)
    if are_paths:
        half = (limits[..., 1] - limits[..., 0]).max() / 2 * 1.04
        middle = limits.mean(axis=2, keepdims=True)
        limits = np.concatenate([middle - half, middle + half], axis=2)
    else:
        limits[:, 0], limits[:, 1] = limits[0, 0], (limits[:, 1, 0].min(), limits[:, 1, 1].max())
    for number, (axes, (x, y)) in enumerate(zip(panels, limits, strict=True)):
        axes.set(xlim=x, ylim=y)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        if not are_paths and number:
            axes.tick_params(labelleft=False)


def _legend(figure: Figure, recording: Recording) -> None:
    """What the colours mean, where they mean something that is not drawn."""
    looks: dict[str, dict[str, Any]] = {}
    if "charge" in recording.targets:
        dot = {"marker": "o", "linestyle": ""}
        looks = {"charge −": {"color": style.ACCENT, **dot}, "charge +": {"color": style.BEST, **dot}}
    elif "frequency" in recording.targets:
        dashed = {"alpha": 0.5, "linewidth": 0.8, "linestyle": (0, (4, 3))}
        looks = {"rate": {"color": style.INK}, "natural frequency": {"color": style.INK, **dashed}}
    if looks:
        handles = [Line2D([], [], **look) for look in looks.values()]
        figure.legend(handles, list(looks), loc="outside upper right", ncols=len(looks))

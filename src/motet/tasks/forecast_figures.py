"""The figures of evaluating and making forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from motet.data.readers.arrays import system_numbers
from motet.data.recording import Recording
from motet.models.continuation import Forecasted, places_of
from motet.models.geometry import Geometry
from motet.names import in_path
from motet.report.forecasts import draw_energy_drift, draw_error_against_horizon, draw_forecast_trajectories
from motet.report.pair_scores import draw_roc_and_precision_recall
from motet.report.style import INK, frame_plane, group_colours, in_our_style, save_figure, titled
from motet.tasks.forecast_scores import Scored

Array = NDArray[np.float64]

RIVALS_SHOWN = ("force fit", "constant acceleration", "true couplings")  # whose paths are drawn beside the model's
MOST_PANELS = 6


def draw_evaluation(
    folder: Path,
    given: Recording,
    true: Recording,
    forecasts: Mapping[str, Forecasted],
    scored: Mapping[str, Scored],
    geometry: Geometry,
    *,
    n_context: int,
    n: int,
) -> None:
    """Draw what an evaluation found on one of n recordings.

    Args:
        folder: of the figures.
        given: windows, as methods read them.
        true: windows, as they were measured.
        forecasts: by method, the model first.
        scored: by method.
        geometry: units.
        n_context: bins of context.
        n: how many recordings there are; of several, files carry the name.
    """
    name, end = given.name, f"_{in_path(given.name)}" if n > 1 else ""
    errors = {method: one.error for method, one in scored.items()}
    seconds = given.bin_seconds * np.arange(1, next(iter(errors.values())).shape[1] + 1)
    drawn: dict[str, Figure] = {
        "error": draw_error_against_horizon(
            seconds,
            errors,
            error_name="angle (rad)" if geometry.space == "phase" else "position error",
            divergence_seconds={method: one.diverged_seconds for method, one in scored.items()},
            title=name,
        )
    }
    drifts = {method: one.energy_error for method, one in scored.items() if one.energy_error is not None}
    if drifts:
        drawn["energy"] = draw_energy_drift(seconds, drifts, title=name)
    if geometry.space != "phase" and geometry.n_dimensions == 2:
        known = np.where(true.observed[..., None], places_of(true, geometry), np.nan)
        drawn["paths"] = draw_forecast_trajectories(
            np.where(given.observed[..., None], places_of(given, geometry), np.nan)[:, :, :n_context],
            known[:, :, n_context:],
            {
                method: forecasts[method].places
                for method in (next(iter(forecasts)), *RIVALS_SHOWN)
                if method in forecasts
            },
            system=_system(given),
            title=name,
        )
    graphs = {m: f.couplings for m, f in forecasts.items() if f.couplings is not None and scored[m].auroc is not None}
    if graphs:
        truth = true.targets["interacts"]
        drawn["roc"] = draw_roc_and_precision_recall(
            {
                method: (np.nan_to_num(np.abs(c) + np.abs(c).swapaxes(1, 2)), np.where(truth > 0, 1, truth))
                for method, c in graphs.items()
            },
            title=f"{name}: who interacts, by the size of couplings",
        )
    for kind, figure in drawn.items():
        save_figure(figure, folder, f"{kind}{end}")


@in_our_style
def draw_ahead(context: Array, ahead: Array, *, system: NDArray[np.int64] | None = None, title: str = "") -> Figure:
    """Draw where individuals were, and where they will be, a panel per trial.

    Args:
        context: (trial, individual, time, 2); NaN where unknown.
        ahead: (trial, individual, horizon, 2); NaN where not forecast.
        system: (trial, individual) int that colours an individual; by default each has its own colour.
        title: what is shown.

    Example:
        >>> len(draw_ahead(np.zeros((2, 3, 4, 2)), np.ones((2, 3, 5, 2))).axes)
        2
    """
    n_trials = min(len(context), MOST_PANELS)
    n_columns = min(n_trials, 3)
    figure = Figure(figsize=(0.3 + 2.3 * n_columns, 0.6 + 2.4 * -(-n_trials // n_columns)))
    group = np.broadcast_to(np.arange(context.shape[1]), context.shape[:2]) if system is None else system
    colours = group_colours(np.asarray(group))
    panels = figure.subplots(-(-n_trials // n_columns), n_columns, squeeze=False).ravel()
    for trial, axes in enumerate(panels):
        if trial >= n_trials:
            axes.remove()
            continue
        edge = context[trial, :, -1:]
        for path, width, alpha in ((context[trial], 0.8, 0.4), (np.concatenate([edge, ahead[trial]], axis=1), 1.4, 1)):
            lines = LineCollection(list(path), colors=colours[trial].tolist(), linewidths=width, alpha=alpha)
            axes.add_collection(lines)
        axes.scatter(*edge[:, 0].T, c=colours[trial].tolist(), s=9, edgecolors="white", linewidths=0.4, zorder=3)
        frame_plane(axes, np.concatenate([context[trial], ahead[trial]], axis=1))
        axes.set_title(f"trial {trial}")
    handles = [Line2D([], [], color=INK, linewidth=0.8, alpha=0.4), Line2D([], [], color=INK, linewidth=1.4)]
    figure.legend(handles, ["context", "forecast"], loc="outside lower center", ncols=2)
    return titled(figure, title)


@in_our_style
def draw_series_ahead(context: Array, ahead: Array, seconds: Array, *, name: str, title: str = "") -> Figure:
    """Draw one number per individual against time, before and after the end of the context, a panel per trial.

    Args:
        context: (trial, individual, time); NaN where unknown.
        ahead: (trial, individual, horizon); NaN where not forecast.
        seconds: (time + horizon,), 0 at the end of the context.
        name: what it is, with its unit.
        title: what is shown.

    Example:
        >>> figure = draw_series_ahead(np.zeros((1, 3, 4)), np.ones((1, 3, 5)), np.arange(-3.0, 6.0), name="cos φ")
        >>> len(figure.axes[0].lines)
        4
    """
    n_trials = min(len(context), 3)
    figure = Figure(figsize=(5.4, 0.7 + 1.3 * n_trials))
    colours = group_colours(np.arange(context.shape[1]))
    for trial, axes in enumerate(figure.subplots(n_trials, 1, squeeze=False, sharex=True)[:, 0]):
        whole = np.concatenate([context[trial], ahead[trial]], axis=1)
        for series, colour in zip(whole, colours, strict=True):
            axes.plot(seconds, series, color=colour)
        axes.axvline(0.0, color=INK, linewidth=0.6, linestyle=":")
        axes.set(ylabel=name)
        axes.set_title(f"trial {trial}")
    axes.set_xlabel("time after the context (s)")
    return titled(figure, title)


def draw_prediction(folder: Path, context: Recording, found: Forecasted, geometry: Geometry) -> tuple[Path, ...]:
    """Draw a forecast whose truth is not known; gives back the files."""
    before = np.where(context.observed[..., None], places_of(context, geometry), np.nan)
    if geometry.space != "phase" and geometry.n_dimensions == 2:
        figure = draw_ahead(before, found.places, system=_system(context), title=context.name)
    else:
        n_bins = before.shape[2] + found.places.shape[2]
        seconds = context.bin_seconds * (np.arange(n_bins, dtype=np.float64) - before.shape[2] + 1)
        name = "cos φ" if geometry.space == "phase" else "x"
        figure = draw_series_ahead(before[..., 0], found.places[..., 0], seconds, name=name, title=context.name)
    return save_figure(figure, folder, "forecast")


def _system(recording: Recording) -> NDArray[np.int64] | None:
    if recording.target_levels.get("system") != "individual":
        return None
    return system_numbers(recording.targets["system"])

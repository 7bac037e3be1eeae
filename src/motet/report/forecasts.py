"""Forecasts beside the truth: errors and energy against the horizon, and paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike, NDArray

from motet.report import style
from motet.report.style import Floats
from motet.statistics import quartiles

MOST_PANELS, N_TRIALS = 6, 3
RAN_AWAY = 1e15  # an error beyond this is on no axis
# Width and opacity of a path, in the order in which they are drawn.
_PATHS = {"context": (0.8, 0.35), "what came next": (3.2, 0.3), "forecast": (1.1, 1.0)}


@style.in_our_style
def draw_error_against_horizon(
    horizon_seconds: ArrayLike,
    errors: Mapping[str, ArrayLike],
    error_name: str,
    *,
    divergence_seconds: Mapping[str, ArrayLike] | None = None,
    title: str = "",
) -> Figure:
    """Draw every method's forecast error against how far ahead it is: median over trials and quartiles, on a log axis.

    Args:
        horizon_seconds: (horizon,) time after the context, in seconds, increasing.
        errors: method → (trial, horizon), 0 or more, inf of a forecast that ran away; NaN where not measured.
        error_name: what the error is, with its unit.
        divergence_seconds: method → (trial,) when the forecast left the truth, inf for never, NaN where not
            measured. A dot marks the median.
        title: what is shown.
    """
    seconds = np.asarray(horizon_seconds, dtype=np.float64)
    figure, axes = _quartile_panel(seconds, errors, error_name)
    colours = {name: line["color"] for name, line in zip(errors, style.line_styles(len(errors)), strict=True)}
    for name, values in (divergence_seconds or {}).items():
        times = np.asarray(values, dtype=np.float64)
        median = np.median(times[~np.isnan(times)]) if not np.isnan(times).all() else np.inf
        if np.isfinite(median):
            at = np.interp(median, seconds, _finite_quartiles(errors[name])[1])
            axes.plot(median, at, "o", color=colours[name], markersize=5)
    if divergence_seconds:
        axes.plot([], [], "o", color=style.INK, markersize=5, label="median divergence")
    figure.legend(loc="outside lower center", ncols=2, handlelength=2.2, columnspacing=1.2)
    return style.titled(figure, title)


def _finite_quartiles(values: ArrayLike) -> Floats:
    """(quartile, horizon); a line to infinity would not be drawn."""
    return np.minimum(quartiles(np.asarray(values, dtype=np.float64)), RAN_AWAY**2)


def _quartile_panel(seconds: Floats, curves: Mapping[str, ArrayLike], ylabel: str) -> tuple[Figure, Axes]:
    """A line and a band per method; what runs away leaves through the top."""
    figure = style.Drawing(figsize=(style.ONE_COLUMN_INCHES + 0.4, 3.0))
    axes = figure.subplots()
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_autoscaley_on(False)
    tops, bottoms = [], []
    for (name, values), line in zip(curves.items(), style.line_styles(len(curves)), strict=True):
        low, median, high = _finite_quartiles(values)
        highest = np.nan_to_num(median, nan=-1).max()
        label = name if highest > 0 else f"{name} (all 0)" if highest == 0 else f"{name} (not measured)"
        axes.plot(seconds, median, label=label, marker="o" if len(seconds) == 1 else "", markersize=4, **line)
        axes.fill_between(seconds, low, high, color=line["color"], alpha=0.15, linewidth=0)
        seen = np.concatenate([low, median])
        seen = seen[(seen > 0) & (seen < RAN_AWAY)]
        if len(seen):
            tops.append(max(seen.max(), np.nanmax(np.where(high < RAN_AWAY, high, 0))))
            bottoms.append(seen.min())
    top = min(max(tops), 1e4 * min(tops)) if tops else 1.0
    axes.set_ylim(max(min(bottoms), 1e-9 * top) / 1.3 if tops else 0.1, top * 1.3)
    axes.set(xlabel="horizon (s)", ylabel=f"{ylabel}\nmedian and quartiles")
    return figure, axes


@style.in_our_style
def draw_forecast_trajectories(
    context: ArrayLike,
    truth: ArrayLike,
    predictions: Mapping[str, ArrayLike],
    *,
    system: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw forecast paths over true ones: a row per trial, a column per method.

    The trials run evenly from the best to the worst forecast by the first method; a panel's number is the
    mean distance at the last known time.

    Args:
        context: (trial, individual, time, 2) positions that were given; NaN where unknown.
        truth: (trial, individual, horizon, 2) what came next.
        predictions: method → likewise; paths end at the first NaN.
        system: (trial, individual) int, the group that colours an individual; by default each has its own colour.
        title: what is shown.
    """
    given, true = np.asarray(context, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    forecasts = {name: np.asarray(array, dtype=np.float64) for name, array in predictions.items()}
    errors = {name: _last_distance(array, true) for name, array in forecasts.items()}
    shown = style.spread_from_best(next(iter(errors.values())), N_TRIALS)
    colours = _colours(system, true)
    figure = style.Drawing(figsize=(0.3 + 1.9 * len(forecasts), 0.9 + 2.1 * len(shown)))
    panels = figure.subplots(len(shown), len(forecasts), squeeze=False)
    for number, (row, trial) in enumerate(zip(panels, shown, strict=True)):
        row[0].set_ylabel(f"trial {trial}")
        for axes, (name, forecast) in zip(row, forecasts.items(), strict=True):
            _draw_paths(axes, given[trial], [true[trial], forecast[trial]], colours[trial], list(_PATHS.values()))
            style.frame_plane(axes, np.concatenate([given[trial], true[trial]], axis=1))
            distance = errors[name][trial]
            end = "not forecast" if np.isnan(distance) else f"{distance:.3g} off at the end"
            axes.set_title(end if number else f"{name}\n{end}", fontsize=7.5)
    handles = [Line2D([], [], color=style.INK, linewidth=width, alpha=alpha) for width, alpha in _PATHS.values()]
    figure.legend(handles, _PATHS, loc="outside lower center", ncols=3)
    return style.titled(figure, title)


def _colours(system: ArrayLike | None, places: Floats) -> Floats:
    """(trial, individual, 4) by system, or each individual its own."""
    group = np.arange(places.shape[1]) if system is None else system
    return style.group_colours(np.broadcast_to(group, places.shape[:2]))


def _draw_paths(
    axes: Axes, context: Floats, ahead: Sequence[Floats], colours: Floats, looks: Sequence[tuple[float, float]]
) -> None:
    """One trial's context and what comes after it, (individual, time, 2), each in a width and an opacity."""
    edge = context[:, -1:]
    for path, (width, alpha) in zip((context, *(_joined(edge, path) for path in ahead)), looks, strict=True):
        style.draw_lines(axes, path, colours, linewidths=width, alpha=alpha)
    axes.scatter(edge[:, 0, 0], edge[:, 0, 1], c=colours.tolist(), s=9, edgecolors="white", linewidths=0.4, zorder=3)


def _joined(edge: Floats, path: Floats) -> Floats:
    """A path that starts where the context ended and stops before its first unknown point."""
    return np.concatenate([edge, np.where(np.cumsum(~np.isfinite(path), axis=1) == 0, path, np.nan)], axis=1)


def _last_distance(forecast: Floats, true: Floats) -> Floats:
    """(trial,) distance at each individual's last known time, mean over individuals; NaN where not forecast."""
    known: NDArray[np.bool_] = np.all(np.isfinite(true), axis=3)
    last = known.shape[2] - 1 - np.argmax(known[:, :, ::-1], axis=2)
    distance = np.hypot(*np.moveaxis(forecast - true, 3, 0))
    at_last = np.take_along_axis(distance, last[..., None], axis=2)[..., 0]
    is_known = np.asarray(known.any(axis=2))
    return style.share(np.where(is_known, at_last, 0), is_known)


@style.in_our_style
def draw_ahead(context: Floats, ahead: Floats, *, system: NDArray[np.int64] | None = None, title: str = "") -> Figure:
    """Draw where individuals were, and where they will be, a panel per trial.

    Args:
        context: (trial, individual, time, 2); NaN where unknown.
        ahead: (trial, individual, horizon, 2); NaN where not forecast.
        system: (trial, individual) int that colours an individual; by default each has its own colour.
        title: what is shown.
    """
    n_trials = min(len(context), MOST_PANELS)
    colours = _colours(system, context)
    looks = [(0.8, 0.4), (1.4, 1.0)]
    figure, panels = style.panel_grid(n_trials, min(n_trials, 3), panel=(2.3, 2.4), room=(0.3, 0.6))
    for trial, axes in enumerate(panels):
        _draw_paths(axes, context[trial], [ahead[trial]], colours[trial], looks)
        style.frame_plane(axes, np.concatenate([context[trial], ahead[trial]], axis=1))
        axes.set_title(f"trial {trial}")
    handles = [Line2D([], [], color=style.INK, linewidth=width, alpha=alpha) for width, alpha in looks]
    figure.legend(handles, ["context", "forecast"], loc="outside lower center", ncols=2)
    return style.titled(figure, title)


@style.in_our_style
def draw_series_ahead(context: Floats, ahead: Floats, seconds: Floats, *, name: str, title: str = "") -> Figure:
    """Draw one number per individual against time, before and after the end of the context, a panel per trial.

    Args:
        context: (trial, individual, time); NaN where unknown.
        ahead: (trial, individual, horizon); NaN where not forecast.
        seconds: (time + horizon,), 0 at the end of the context.
        name: what it is, with its unit.
        title: what is shown.
    """
    n_trials = min(len(context), 3)
    figure = style.Drawing(figsize=(5.4, 0.7 + 1.3 * n_trials))
    colours = style.group_colours(np.arange(context.shape[1]))
    for trial, axes in enumerate(figure.subplots(n_trials, 1, squeeze=False, sharex=True)[:, 0]):
        whole = np.concatenate([context[trial], ahead[trial]], axis=1)
        for series, colour in zip(whole, colours, strict=True):
            axes.plot(seconds, series, color=colour)
        axes.axvline(0.0, color=style.INK, linewidth=0.6, linestyle=":")
        axes.set(ylabel=name)
        axes.set_title(f"trial {trial}")
    axes.set_xlabel("time after the context (s)")
    return style.titled(figure, title)

"""The neurons themselves: which tell most about a class, and how each fires over the trial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from motet import given
from motet.data.recording import Recording
from motet.errors import InputError
from motet.report.style import Floats, class_colours, class_legend, in_our_style, panel_grid, titled, write_inside

MOST_PANELS = 12


@in_our_style
def psths(recording: Recording, target: str, individuals: ArrayLike | None = None, *, title: str = "") -> Figure:
    """Draw each neuron's firing rate over the trial, per class: mean ± s.e.m. over trials.

    A class's line ends where fewer than half of its trials that saw the neuron go on, so that a few
    long trials are not taken for the class.

    Args:
        recording: of spike counts per bin, one feature.
        target: name of a target with one class per trial.
        individuals: positions, or a mask; by default the 12 most informative.
        title: what is shown.

    Raises:
        InputError: if the recording does not hold counts, or the target is no class per trial.

    Example:
        >>> counts = np.random.default_rng(0).poisson(2.0, (20, 3, 8))
        >>> recording = Recording.from_trials(counts, targets={"side": np.arange(20) % 2}, bin_seconds=0.1)
        >>> [axes.get_title("left") for axes in psths(recording, "side", [2, 0]).axes]
        ['neuron 2', 'neuron 0']
    """
    classes, codes = classes_of_trials(recording, target)
    if individuals is None:
        individuals = informative_individuals(recording, target, MOST_PANELS)
    shown = recording.select(individuals=np.atleast_1d(individuals))
    mean, sem = mean_courses(_counts(shown) / shown.bin_seconds, shown.observed, codes)
    seconds = (np.arange(shown.n_bins) + 0.5) * shown.bin_seconds

    n_columns = math.ceil(math.sqrt(shown.n_individuals))
    figure, panels = panel_grid(shown.n_individuals, n_columns, panel=(1.5, 1.2), room=(1.2, 0.7), sharex=True)
    for position, (axes, name) in enumerate(zip(panels, shown.individual_ids, strict=True)):
        axes.set_title(_panel_title(name, recording.name), fontsize=7.5)
        _draw_rates(axes, seconds, mean[:, position], sem[:, position])
    figure.supxlabel("time in the trial (s)", fontsize=8)
    figure.supylabel("firing rate (Hz)\nmean ± s.e.m.", fontsize=8)
    class_legend(figure, classes, title=target)
    return titled(figure, title)


def _draw_rates(axes: Axes, seconds: Floats, mean: Floats, sem: Floats) -> None:
    """A line and a band per class, from (class, time) rates in Hz."""
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    if np.isnan(mean).all():
        write_inside(axes, "not observed")
        axes.set_yticks([])
        return
    for colour, centre, half in zip(class_colours(len(mean)), mean, sem, strict=True):
        axes.fill_between(seconds, centre - half, centre + half, color=colour, alpha=0.2, linewidth=0)
        axes.plot(seconds, centre, color=colour, linewidth=1.1, marker="." if len(seconds) == 1 else "")
    axes.set_ylim(bottom=0)


def informative_individuals(recording: Recording, target: str, n: int) -> NDArray[np.int64]:
    """Positions of the `n` neurons whose activity differs most between classes, most informative first.

    Ranked by the F of a one-way analysis of variance on √(mean count over a trial's observed bins);
    the root evens out the variance of Poisson counts. F is 0 for a neuron that never varies, and for
    all where there is one class; equals keep their order. Neurons never observed are left out, so
    that fewer than `n` may come back.

    Raises:
        InputError: as `psths`.

    Example:
        >>> counts = np.ones((4, 3, 5))
        >>> counts[:, 1] += np.array([[0], [1], [5], [7]])
        >>> recording = Recording.from_trials(counts, targets={"side": [0, 0, 1, 1]})
        >>> informative_individuals(recording, "side", 2)
        array([1, 0])
    """
    _, codes = classes_of_trials(recording, target)
    n_bins = recording.observed.sum(axis=2)
    total = np.where(recording.observed, _counts(recording), 0).sum(axis=2)
    n_trials, mean, squares = _per_class(np.sqrt(total / np.maximum(n_bins, 1)), n_bins > 0, codes)
    n_seen, n_classes = n_trials.sum(axis=0), (n_trials > 0).sum(axis=0)
    overall = (n_trials * mean).sum(axis=0) / np.maximum(n_seen, 1)
    between, within = (n_trials * (mean - overall) ** 2).sum(axis=0), squares.sum(axis=0)
    # Rounding alone gives a neuron that never varies a sum of squares of this size.
    varies = between + within > 1e-20 * n_seen * overall**2
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (between / (n_classes - 1)) / (within / (n_seen - n_classes))
    f = np.where(varies & (n_classes > 1) & (n_seen > n_classes), f, 0.0)
    order = np.argsort(-f, kind="stable")
    seen: NDArray[np.int64] = order[n_seen[order] > 0]
    return seen[:n]


def mean_courses(values: Floats, observed: NDArray[np.bool_], codes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(class, individual, time) means over trials and their standard errors; NaN where fewer than half go on.

    Args:
        values: (trial, individual, time).
        observed: likewise, where a value counts.
        codes: (trial,) of which class each is, -1 for none.

    Example:
        >>> mean, error = mean_courses(np.array([[[1.0]], [[3.0]]]), np.ones((2, 1, 1), bool), np.array([0, 0]))
        >>> mean.item(), error.item()
        (2.0, 1.0)
    """
    n, mean, squares = _per_class(values, observed, codes)
    mean = np.where((n > 0) & (2 * n >= n.max(axis=2, keepdims=True)), mean, np.nan)
    return mean, np.sqrt(np.divide(squares, n * (n - 1), out=np.full(n.shape, np.nan), where=n > 1))


def classes_of_trials(recording: Recording, target: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes of a target, and (trial,) which of them each trial is, -1 where it is unknown."""
    labels = recording.target(target)
    if labels.ndim != 1 or recording.target_levels[target] != "trial" or labels.dtype.kind == "f":
        raise InputError(
            f"target {target!r} of recording {recording.name!r} is {labels.dtype} per "
            f"{recording.target_levels[target]}, shape {labels.shape}; choose one with a class per trial."
        )
    known = given.is_known(labels)
    codes = np.full(len(labels), -1)
    classes, codes[known] = np.unique(labels[known], return_inverse=True)
    return classes, codes


def _counts(recording: Recording) -> Floats:
    """(trial, individual, time) spike counts."""
    if recording.n_features != 1 or (recording.values < 0).any():
        raise InputError(
            f"recording {recording.name!r} has {recording.n_features} features and values from "
            f"{recording.values.min():g}; firing rates need one feature that holds counts, 0 or more."
        )
    return recording.values[..., 0].astype(np.float64)


def _per_class(values: Floats, observed: NDArray[np.bool_], codes: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """(class, individual, …): number of observed trials, their mean, and sum of squared deviations."""
    is_member = (codes == np.arange(codes.max() + 1)[:, None]).astype(np.float64)
    n = np.tensordot(is_member, observed.astype(np.float64), axes=1)
    mean = np.tensordot(is_member, np.where(observed, values, 0.0), axes=1) / np.maximum(n, 1)
    squares = np.tensordot(is_member, np.where(observed, (values - mean[codes]) ** 2, 0.0), axes=1)
    return n, mean, squares


def _panel_title(individual: str, recording: str, longest: int = 18) -> str:
    """An id without its recording's name, which it often starts with; of a long one the end, where ids differ."""
    own = individual.removeprefix(f"{recording}/")
    own = own if len(own) <= longest else f"…{own[1 - longest :]}"
    return f"neuron {own}" if own.isdigit() else own

"""The closed-form rivals of learning to forecast.

`FORECAST_RULES` names them. What a rule leaves open, such as the number of bins that a line is fitted to, the law of
force, or the weights of an autoregression, is chosen on training trials (`ForecastRule.tuned`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.continuation import Forecasted, centre_of, continued, distance, started
from motet.models.coupling import CouplingFit
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout
from motet.rivals.force_fit import FORCES, bridged, fit_forces

Array = NDArray[np.float64]

RIDGES = np.logspace(-6, 3, 10)  # to try
EXPONENTS = {"gravity": -2.0, "springs": 1.0, "charged": -2.0}  # of distance, by law
# The sign of a coupling that the simulators give, as a pull.
PULLS = {"gravity": 1.0, "springs": 1.0, "charged": -1.0, "kuramoto": 1.0}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is asked of a rule.

    Attributes:
        geometry: units, and what the features of recordings are.
        n_bins: how far to go.
        n_substeps: of integration, per bin.
        shoots: whether a trajectory is fitted to the whole context, as for the model.
    """

    geometry: Geometry
    n_bins: int
    n_substeps: int = 8
    shoots: bool = True


@dataclasses.dataclass(frozen=True)
class ForecastRule:
    """A closed-form forecast.

    Attributes:
        name: the row of a table.
        description: what it does, in a few words.
        compute: from a context, a task and an option (and what was learned, if it learns) to a forecast.
        options: what may be chosen.
        option: what is chosen; by default the first.
        learn: from windows of training, a task and an option to what it learns; None if it learns nothing.
        learned: that.
    """

    name: str
    description: str
    compute: Callable[..., Forecasted]
    options: tuple[Any, ...] = (None,)
    option: Any = None
    learn: Callable[[Sequence[Recording], Task, Any], Any] | None = None
    learned: Any = None

    def forecast(self, context: Recording, task: Task) -> Forecasted:
        """Where individuals will be, and the couplings that say so, if there are any.

        Raises:
            InputError: if the rule does not apply, or has not learned what it needs.
        """
        if self.learn is not None and self.learned is None:
            raise InputError(f"{self.name} learns from training trials, and has seen none; call tuned first.")
        given = [] if self.learn is None else [self.learned]
        found = self.compute(context, task, self.options[0] if self.option is None else self.option, *given)
        is_here = np.asarray(context.observed.any(axis=2))[:, :, None, None]
        return found._replace(
            places=np.where(is_here, found.places, np.nan), velocities=np.where(is_here, found.velocities, np.nan)
        )

    def tuned(self, recordings: Sequence[Recording], task: Task, *, n_context: int) -> ForecastRule:
        """The rule with the option that forecasts best.

        Best is the least median error, as a geometric mean over recordings, halfway to the horizon and at it. A rule
        that learns is fitted to every other window, judged by the rest, and then fitted to all.

        Args:
            recordings: training trials, each a window of context and horizon.
            task: what will be asked.
            n_context: bins of context.

        Raises:
            InputError: if no option applies.
        """
        errors: dict[int, float] = {}
        refused: list[InputError] = []
        learned_from, judged_by = recordings, recordings
        if self.learn is not None:
            learned_from, judged_by = ([r.select(trials=slice(k, None, 2)) for r in recordings] for k in (0, 1))
        for number, option in enumerate(self.options):
            try:
                rule = dataclasses.replace(self, option=option)._fitted(learned_from, task)
                errors[number] = float(np.mean([_log_error(rule, one, task, n_context) for one in judged_by]))
            except InputError as error:
                refused.append(error)
        if not errors:
            raise refused[0]
        best = self.options[min(errors, key=lambda number: errors[number])]
        return dataclasses.replace(self, option=best)._fitted(recordings, task)

    def _fitted(self, recordings: Sequence[Recording], task: Task) -> ForecastRule:
        if self.learn is None:
            return self
        return dataclasses.replace(self, learned=self.learn(recordings, task, self.option))


def _log_error(rule: ForecastRule, windows: Recording, task: Task, n_context: int) -> float:
    context, ahead = windows.select(bins=slice(0, n_context)), windows.select(bins=slice(n_context, None))
    off = distance(rule.forecast(context, task).places, ahead, task.geometry)[:, :, [(task.n_bins - 1) // 2, -1]]
    return float(np.log(np.nanmedian(off) + 1e-6 * task.geometry.length))


def extrapolated(context: Recording, task: Task, n_last: int, *, degree: int) -> Forecasted:
    """A polynomial fitted by least squares to the last bins of each individual goes on.

    Measured velocities (rates) are fitted beside positions.

    Args:
        context: what is known.
        task: see `Task`.
        n_last: observed bins that are fitted.
        degree: of the polynomial; lower, where fewer numbers are observed than it needs.

    Raises:
        InputError: if so few bins never determine it.
    """
    g = task.geometry
    motion = Motion.of(context, MotionSettings(features=g.motion.features))
    observed = motion.observed
    is_last = observed & (observed[..., ::-1].cumsum(axis=-1)[..., ::-1] <= n_last)
    time = np.arange(1 - context.n_bins, 1)[:, None] / n_last
    order = np.arange(degree + 1)
    rows, response = [time**order], [motion.position]
    if has_measured_velocity(context, g):
        rows.append(order * time ** np.maximum(order - 1, 0))
        response.append(motion.velocity * (n_last * g.bin_seconds))
    if len(rows) * n_last <= degree:
        raise InputError(f"{n_last} bins do not determine a polynomial of degree {degree}; fit more.")
    is_determined = order < len(rows) * is_last.sum(axis=-1)[..., None]
    # (trial, individual, row, order)
    powers = np.concatenate([row * is_last[..., None] * is_determined[:, :, None] for row in rows], axis=2)
    gram = powers.swapaxes(-1, -2) @ powers
    gram[..., order, order] += ~is_determined
    coefficients = np.linalg.solve(gram, powers.swapaxes(-1, -2) @ np.concatenate(response, axis=2))
    ahead = np.arange(1, task.n_bins + 1)[:, None] / n_last
    places = ahead**order @ coefficients
    slopes = order * ahead ** np.maximum(order - 1, 0) / (n_last * g.bin_seconds)
    if g.space == "phase":
        places = np.concatenate([np.cos(places), np.sin(places)], axis=-1)
    return Forecasted(places, slopes @ coefficients)


def autoregressed(context: Recording, task: Task, n_lags: int, regression: RidgeCV) -> Forecasted:
    """Where everybody goes is linear in the last bins of their own and in where the others are, on average.

    Args:
        context: what is known.
        task: see `Task`.
        n_lags: bins that are read.
        regression: what `learn_autoregression` gave.

    Raises:
        InputError: if the context is shorter.
    """
    position, past = _past(context, task.geometry, n_lags)
    ahead = regression.predict(past[:, :, -1].reshape(-1, past.shape[-1])).reshape(*position[:, :, -1].shape, -1)
    last = position[:, :, -1]
    places = last[:, :, None] + task.geometry.length * ahead.swapaxes(2, 3)[:, :, : task.n_bins]
    steps = np.diff(np.concatenate([last[:, :, None], places], axis=2), axis=2)
    if task.geometry.space == "phase":
        places = np.concatenate([np.cos(places), np.sin(places)], axis=-1)
    return Forecasted(places, steps / task.geometry.bin_seconds)


def learn_autoregression(windows: Sequence[Recording], task: Task, n_lags: int) -> RidgeCV:
    """The weights of `autoregressed`, the same for all individuals and coordinates, by ridge.

    Args:
        windows: trials of training, longer than the horizon.
        task: see `Task`.
        n_lags: bins that are read.

    Raises:
        InputError: if no individual is observed long enough.
    """
    inputs, outputs = [], []
    for recording in windows:
        position, past = _past(recording, task.geometry, n_lags)
        n_starts = past.shape[2] - task.n_bins
        for start in range(max(n_starts, 0)):
            bins = slice(start, start + n_lags + task.n_bins)
            seen = np.asarray(recording.observed[:, :, bins].all(axis=2))
            here = position[:, :, start + n_lags - 1, None]
            ahead = (position[:, :, start + n_lags : bins.stop] - here)[seen] / task.geometry.length
            inputs.append(past[:, :, start][seen].reshape(-1, past.shape[-1]))
            outputs.append(ahead.swapaxes(1, 2).reshape(-1, task.n_bins))
    if not sum(map(len, inputs)):
        raise InputError(f"nobody is observed for {n_lags} bins and the {task.n_bins} after them; give longer trials.")
    return RidgeCV(RIDGES).fit(np.concatenate(inputs), np.concatenate(outputs))


def _past(recording: Recording, geometry: Geometry, n_lags: int) -> tuple[Array, Array]:
    """Positions (trial, individual, time, coordinate), and (trial, individual, start, coordinate, input) what is read.

    That is, in each of so many bins, from the last of them: one's own place, how far off the others are on average (on
    the circle the sine), and measured velocities and own frequency if there are any.
    """
    if recording.n_bins < n_lags:
        raise InputError(f"trials last {recording.n_bins} bins, and {n_lags} are read; give longer ones.")
    motion = Motion.of(recording, MotionSettings(features=geometry.motion.features))
    position = bridged(motion.position, motion.observed)
    is_here = np.asarray(motion.observed.any(axis=2))
    others = is_here[:, None] & ~np.eye(is_here.shape[1], dtype=bool)
    share = others / np.maximum(others.sum(axis=2, keepdims=True), 1)
    apart = position[:, None] - position[:, :, None]
    off = np.einsum("tij,tijbc->tibc", share, np.sin(apart) if geometry.space == "phase" else apart)
    parts = [off / geometry.length]
    if has_measured_velocity(recording, geometry):
        parts.append(bridged(motion.velocity, motion.observed) * (geometry.bin_seconds / geometry.length))
    if motion.own_frequency is not None:
        own = motion.own_frequency[..., None, None] * geometry.bin_seconds
        parts.append(np.broadcast_to(own, position.shape))
    windows = [np.lib.stride_tricks.sliding_window_view(part, n_lags, axis=2) for part in (position, *parts)]
    windows[0] = (windows[0] - windows[0][..., -1:]) / geometry.length
    return position, np.concatenate(windows, axis=-1)


def has_measured_velocity(recording: Recording, geometry: Geometry) -> bool:
    """Whether velocities, or rates of phases, are among the features."""
    return geometry.motion.features == "position-velocity" or (geometry.space == "phase" and recording.n_features > 2)


def follow_fit(context: Recording, task: Task, law: str) -> Forecasted:
    """Couplings of a known law, fitted by `fit_forces` to every pair, are followed; not negative if the law attracts.

    Raises:
        InputError: if the law does not explain such features.
    """
    features: Features = task.geometry.motion.features
    couplings = fit_forces(context, FORCES[law], features=features)
    return follow(context, task, law, couplings)


def follow(context: Recording, task: Task, law: str, couplings: Array, *, fits_strength: bool = True) -> Forecasted:
    """The motion goes on under a known law.

    Args:
        context: what is known.
        task: see `Task`.
        law: of `FORCES`.
        couplings: (trial, individual, individual) how strongly the first is pulled by the second, in the units of the
            recording; NaN where there is no pair. Shooting changes them, unless told not to.
        fits_strength: whether shooting may change couplings too.
    """
    g = task.geometry
    rollout = known_rollout(g, law)
    scale = g.velocity if law == "kuramoto" else g.acceleration / g.length ** EXPONENTS[law]
    strength = torch.from_numpy(np.nan_to_num(couplings) / scale)[..., None].float()
    batch = g.prepare(PopulationDataset(context)).batch()
    if batch.values.shape[2] < context.n_bins:
        raise InputError(f"nobody is observed in the last bin of any trial of recording {context.name!r}.")
    state, strength = started(rollout, batch, strength, shoots=task.shoots, fits_strength=fits_strength)
    centre = centre_of(context, g)
    found = continued(rollout, state, strength, centre=centre, n_bins=task.n_bins, n_substeps=task.n_substeps)
    return found._replace(couplings=np.where(np.isnan(couplings), np.nan, scale * strength[..., 0].double().numpy()))


def known_rollout(geometry: Geometry, law: str) -> Rollout:
    """Motion under one known law, of unit strength at a distance of one length (on the circle, the sine).

    >>> rollout = known_rollout(Geometry(MotionSettings(), 2, 6), "gravity")
    >>> round(rollout.fit.force(torch.tensor([2.0, 0.0]))[0, 0].item(), 4)
    0.25
    """
    fit = CouplingFit(geometry, 1)
    with torch.no_grad():
        if geometry.space == "phase":
            fit.harmonics.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        else:
            fit.exponent.fill_(EXPONENTS[law])
    return Rollout(fit).requires_grad_(False)


def true_couplings(recording: Recording) -> tuple[str, Array]:
    """The law of a simulated recording, and how strongly each individual is pulled by each other one.

    Raises:
        InputError: if it is no simulation whose truth is known.
    """
    law = recording.name.partition("/")[0]
    if law not in PULLS or "coupling" not in recording.targets:
        raise InputError(f"the true couplings of recording {recording.name!r} are not known.")
    couplings = PULLS[law] * recording.targets["coupling"].astype(np.float64)
    if law == "gravity":
        couplings = couplings / recording.target("mass")[:, :, None]
    return law, couplings


def _oracle(context: Recording, task: Task, _: None) -> Forecasted:
    law, couplings = true_couplings(context)
    return follow(context, task, law, couplings, fits_strength=False)


_RULES = (
    ForecastRule(
        "constant velocity",
        "a line through the last bins",
        functools.partial(extrapolated, degree=1),
        options=(2, 3, 4, 6, 10, 1),
    ),
    ForecastRule(
        "constant acceleration",
        "a parabola through the last bins",
        functools.partial(extrapolated, degree=2),
        options=(3, 4, 6, 10, 16, 2),
    ),
    ForecastRule(
        "linear autoregression",
        "linear in the last bins of one's own and the mean of the others, by ridge on training trials",
        autoregressed,
        options=(2, 4, 8, 16),
        learn=learn_autoregression,
    ),
    ForecastRule(
        "force fit",
        "known law, couplings by robust least squares, not negative if the law attracts",
        follow_fit,
        options=tuple(FORCES),
    ),
)
FORECAST_RULES: Mapping[str, ForecastRule] = MappingProxyType({rule.name: rule for rule in _RULES})
ORACLE = ForecastRule("true couplings", "told the law and all couplings; only the start is fitted", _oracle)

"""The closed-form rivals of learning to forecast: rules that look at each trial alone.

`FORECAST_RULES` names them. What a rule leaves open, such as the number of bins that a line is fitted to, or the law of
force, is chosen on training trials (`ForecastRule.tuned`).
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

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.continuation import Forecasted, centre_of, continued, distance, started
from motet.models.coupling import CouplingFit
from motet.models.force_fit import FORCES, fit_forces
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout

Array = NDArray[np.float64]

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
        compute: from a context, a task and an option to a forecast.
        options: what may be chosen.
        option: what is chosen; by default the first.
    """

    name: str
    description: str
    compute: Callable[[Recording, Task, Any], Forecasted]
    options: tuple[Any, ...] = (None,)
    option: Any = None

    def forecast(self, context: Recording, task: Task) -> Forecasted:
        """Where individuals will be, and the couplings that say so, if there are any.

        Raises:
            InputError: if the rule does not apply.
        """
        found = self.compute(context, task, self.options[0] if self.option is None else self.option)
        is_here = np.asarray(context.observed.any(axis=2))[:, :, None, None]
        return found._replace(
            places=np.where(is_here, found.places, np.nan), velocities=np.where(is_here, found.velocities, np.nan)
        )

    def tuned(self, recordings: Sequence[Recording], task: Task, *, n_context: int) -> ForecastRule:
        """The rule with the option that forecasts best.

        Best is the least median error, as a geometric mean over recordings, halfway to the horizon and at it.

        Args:
            recordings: training trials, each a window of context and horizon.
            task: what will be asked.
            n_context: bins of context.

        Raises:
            InputError: if no option applies.
        """
        errors: dict[int, float] = {}
        refused: list[InputError] = []
        for number, option in enumerate(self.options):
            rule = dataclasses.replace(self, option=option)
            try:
                errors[number] = float(np.mean([_log_error(rule, one, task, n_context) for one in recordings]))
            except InputError as error:
                refused.append(error)
        if not errors:
            raise refused[0]
        return dataclasses.replace(self, option=self.options[min(errors, key=lambda number: errors[number])])


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
        "force fit",
        "known law, couplings by robust least squares, not negative if the law attracts",
        follow_fit,
        options=tuple(FORCES),
    ),
)
FORECAST_RULES: Mapping[str, ForecastRule] = MappingProxyType({rule.name: rule for rule in _RULES})
ORACLE = ForecastRule("true couplings", "told the law and all couplings; only the start is fitted", _oracle)

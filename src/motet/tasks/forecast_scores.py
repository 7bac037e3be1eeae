"""How well motion is forecast: the scores of one method on one recording, and tables of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.metrics import auroc, differs_by_order, known_pairs
from motet.models.continuation import Forecasted, distance, what_follows
from motet.models.geometry import Geometry
from motet.statistics import markdown
from motet.systems.laws import Law

Array = NDArray[np.float64]

RUNAWAY = 1e100  # stands for infinity, so that quantiles can be interpolated
MARKS = (0.05, 0.25, 0.5, 1.0)  # of the horizon, in a table


@dataclasses.dataclass(frozen=True, eq=False)
class Energy:
    """The energy within systems of bodies that nothing else acts on, which their motion conserves.

    Attributes:
        law: of force.
        mass: (trial, individual).
        system: (trial, individual), bodies act on those of their own system.
        before: (trial,) the energy at the end of the context, less that of the systems' centres, which move straight.
    """

    law: Law
    mass: Array
    system: NDArray[np.int64]
    before: Array

    @classmethod
    def of(cls, windows: Recording, n_context: int) -> Energy | None:
        """Read it off windows of context and horizon; None if their energy is not known, or not conserved."""
        law = Law.of(windows)
        if law is None or law.walls or not {"mass", "system", "energy"} <= windows.targets.keys():
            return None
        mass, system = windows.targets["mass"].astype(np.float64), windows.targets["system"]
        of_system = (system[:, :, None] == system[:, None]) * mass[:, None]
        places = windows.values.astype(np.float64)
        time = np.arange(windows.n_bins) - (windows.n_bins - 1) / 2
        slope = np.einsum("tibd,b->tid", places, time) / ((time**2).sum() * windows.bin_seconds)
        centre = (of_system @ slope) / of_system.sum(axis=2)[..., None]
        moving = 0.5 * (mass * (centre**2).sum(axis=-1)).sum(axis=1)
        return cls(law, mass, system, windows.targets["energy"][:, n_context - 1].astype(np.float64) - moving)

    def error(self, places: Array, velocities: Array) -> Array:
        """(trial, time): by how much the energy of a forecast is off, relative to what it was."""
        energy = self.law.internal_energy(places, velocities, mass=self.mass, system=self.system)
        return (energy - self.before[:, None]) / np.abs(self.before)[:, None]


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What a forecast is measured against.

    Attributes:
        ahead: where individuals were.
        geometry: units.
        diverged_beyond: an error from which on a forecast has left the truth.
        energy: of simulated bodies, see `Energy`; or None.
        interacts: (trial, individual, individual) int, whether two interact; -1 where it is not known; or None.
    """

    ahead: Recording
    geometry: Geometry
    diverged_beyond: float
    energy: Energy | None
    interacts: NDArray[np.int64] | None

    @classmethod
    def of(cls, windows: Recording, *, n_context: int, geometry: Geometry, diverged_beyond: float) -> Truth:
        """Read it off windows of context and horizon."""
        ahead = what_follows(windows, n_context)
        interacts = windows.targets.get("interacts")
        if interacts is not None and (windows.target_levels["interacts"] != "pair" or interacts.dtype.kind not in "iu"):
            interacts = None
        if interacts is not None:
            known = known_pairs(interacts, are_directed=differs_by_order(interacts))
            if len(np.unique(interacts[known] > 0)) < 2:
                interacts = None
        return cls(ahead, geometry, diverged_beyond, Energy.of(windows, n_context), interacts)


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What one method comes to on one recording.

    Attributes:
        error: (trial, horizon) mean distance over individuals, in the unit of the recording (radians); inf where a
            forecast ran away.
        diverged_seconds: (trial,) when the error first exceeded what is allowed; inf for never.
        energy_error: (trial, horizon) (E - E₀) / |E₀|, or None.
        auroc: of who interacts, by the size of couplings, or None.
    """

    error: Array
    diverged_seconds: Array
    energy_error: Array | None
    auroc: float | None


def score_forecast(found: Forecasted, truth: Truth) -> Scored:
    """Measure a forecast."""
    with np.errstate(invalid="ignore"):
        error = _mean_known(distance(found.places, truth.ahead, truth.geometry))
    off = error > truth.diverged_beyond
    when = (1 + off.argmax(axis=1)) * truth.geometry.bin_seconds
    energy_error = None
    if truth.energy is not None:
        energy_error = truth.energy.error(found.places, found.velocities)
    graph = None
    if found.couplings is not None and truth.interacts is not None:
        strength = np.nan_to_num(np.abs(found.couplings))
        is_directed = differs_by_order(truth.interacts)
        known = known_pairs(truth.interacts, are_directed=is_directed)
        told = strength if is_directed else strength + strength.swapaxes(1, 2)
        graph = auroc(prediction=told, target=(truth.interacts > 0).astype(np.int64), observed=known)
    return Scored(error, np.where(off.any(axis=1), when, np.inf), energy_error, graph)


def _mean_known(error: Array) -> Array:
    """(trial, horizon) mean over individuals whose place is known; NaN where none is."""
    known = ~np.isnan(error)
    n_known = known.sum(axis=1)
    total = np.where(known, error, 0).sum(axis=1)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)


def quartiles(values: Array) -> Array:
    """25, 50 and 75 % of trials (trial, …); inf where forecasts ran away, NaN where nothing is known."""
    found = np.full((3, *values.shape[1:]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    found[:, known] = np.nanquantile(np.minimum(values[:, known], RUNAWAY), [0.25, 0.5, 0.75], axis=0)
    return np.where(found >= RUNAWAY / 4, np.inf, found)


def summary(scored: Scored) -> dict[str, Any]:
    """The numbers of a method for results.json."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean_squared = np.nanmean(scored.error**2, axis=0)
    quarter, median, three_quarters = quartiles(scored.error)
    found: dict[str, Any] = {
        "error": {"median": median, "quartiles": [quarter, three_quarters], "mean_squared": mean_squared},
        "diverged_seconds": {
            "median": float(quartiles(scored.diverged_seconds)[1]),
            "share": float(np.isfinite(scored.diverged_seconds).mean()),
        },
        "auroc": scored.auroc,
    }
    if scored.energy_error is not None:
        found["energy_error"] = {"median": quartiles(np.abs(scored.energy_error))[1]}
    return found


def marked_bins(n_bins: int) -> list[int]:
    """The bins of the horizon that a table tells.

    >>> marked_bins(20)
    [1, 5, 10, 20]
    """
    return sorted({max(1, round(mark * n_bins)) for mark in MARKS})


def forecast_table(methods: Mapping[str, Scored], *, bin_seconds: float, reference: str) -> str:
    """A Markdown table: errors by horizon as median and quartiles, and what else is known.

    Args:
        methods: by name.
        bin_seconds: of the recording.
        reference: the method with which each other one is compared trial by trial, at the end of the horizon.
    """
    bins = marked_bins(next(iter(methods.values())).error.shape[1])
    has_energy = any(scored.energy_error is not None for scored in methods.values())
    has_graph = any(scored.auroc is not None for scored in methods.values())
    head = ["method", *(f"error at {n * bin_seconds:.3g} s" for n in bins), "mean squared", "left the truth"]
    head += ["energy error"] * has_energy + ["AUROC of couplings"] * has_graph + [f"worse than {reference}"]
    rows = [head]
    for name, scored in methods.items():
        found = summary(scored)
        (low, high), median = found["error"]["quartiles"], found["error"]["median"]
        row = [name, *(f"{median[n - 1]:.3g} [{low[n - 1]:.3g}, {high[n - 1]:.3g}]" for n in bins)]
        when, share = found["diverged_seconds"]["median"], found["diverged_seconds"]["share"]
        row += [f"{found['error']['mean_squared'][-1]:.3g}"]
        row += [f"{100 * share:.0f} %" + (f", after {when:.3g} s" if np.isfinite(when) else "")]
        if has_energy:
            row.append(f"{found['energy_error']['median'][-1]:.2g}" if "energy_error" in found else "")
        if has_graph:
            row.append("" if scored.auroc is None else f"{scored.auroc:.4f}")
        worse = np.mean(scored.error[:, -1] > methods[reference].error[:, -1])
        rows.append([*row, "" if name == reference else f"{100 * worse:.0f} %"])
    return markdown(rows)

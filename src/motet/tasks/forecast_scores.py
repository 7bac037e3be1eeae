"""How well motion is forecast: the scores of one answer on one recording."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.metrics import auroc, differs_by_order, known_pairs
from motet.models.continuation import distance, what_follows
from motet.models.geometry import Geometry
from motet.rivals.method import Answer
from motet.statistics import Score, blocks_of, quartiles
from motet.systems.laws import Law
from motet.tasks.comparison import Column

Array = NDArray[np.float64]

MARKS = (0.05, 0.25, 0.5, 1.0)  # of the horizon, in a table


def marked_bins(n_bins: int) -> list[int]:
    """The bins of the horizon that a table shows.

    >>> marked_bins(20)
    [1, 5, 10, 20]
    """
    return sorted({max(1, round(mark * n_bins)) for mark in MARKS})


def columns_of(n_bins: int, bin_seconds: float) -> dict[str, Column]:
    """The columns of a table of forecasts so many bins ahead."""
    error = functools.partial(Column, form=".3g", is_error=True, bounds=(0.0, math.inf))
    marked = {
        f"error {n}": error(f"error at {n * bin_seconds:.3g} s", has_interval=True, interval_name="quartiles")
        for n in marked_bins(n_bins)
    }
    return {
        **marked,
        "mean_squared": error("mean squared"),
        "left": Column("left the truth", ".0%", is_error=True),
        "left_seconds": Column("after (s)", ".3g"),
        "energy_error": Column("energy error", ".2g", is_error=True),
        "auroc": Column("AUROC of couplings", ".4f"),
    }


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
class MotionTruth:
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
    def of(cls, windows: Recording, *, n_context: int, geometry: Geometry, diverged_beyond: float) -> MotionTruth:
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
class Errors:
    """How far one answer is off.

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

    @classmethod
    def of(cls, answer: Answer, truth: MotionTruth) -> Errors:
        """Measure an answer."""
        with np.errstate(invalid="ignore"):
            error = _mean_known(distance(answer["places"], truth.ahead, truth.geometry))
        off = error > truth.diverged_beyond
        when = (1 + off.argmax(axis=1)) * truth.geometry.bin_seconds
        energy = None if truth.energy is None else truth.energy.error(answer["places"], answer["velocities"])
        graph = None
        if "couplings" in answer and truth.interacts is not None:
            strength = np.nan_to_num(np.abs(answer["couplings"]))
            is_directed = differs_by_order(truth.interacts)
            known = known_pairs(truth.interacts, are_directed=is_directed)
            evidence = strength if is_directed else strength + strength.swapaxes(1, 2)
            graph = auroc(prediction=evidence, target=(truth.interacts > 0).astype(np.int64), observed=known)
        return cls(error, np.where(off.any(axis=1), when, np.inf), energy, graph)

    def scores(self, trial_ids: NDArray[Any]) -> dict[str, Score]:
        """The scores of `columns_of`; windows of one trial are in one block."""
        low, middle, high = quartiles(self.error)
        blocks = blocks_of(trial_ids)
        scores = {}
        for n in marked_bins(self.error.shape[1]):
            samples = [float(quartiles(self.error[block, n - 1])[1]) for block in blocks]
            interval = float(low[n - 1]), float(high[n - 1])
            scores[f"error {n}"] = Score(float(middle[n - 1]), interval, tuple(samples))
        scores["mean_squared"] = Score(float(self._mean_squared()[-1]))
        scores["left"] = Score(float(np.isfinite(self.diverged_seconds).mean()))
        if np.isfinite(when := float(quartiles(self.diverged_seconds)[1])):
            scores["left_seconds"] = Score(when)
        if self.energy_error is not None:
            scores["energy_error"] = Score(float(quartiles(np.abs(self.energy_error))[1][-1]))
        if self.auroc is not None:
            scores["auroc"] = Score(self.auroc)
        return scores

    def curves(self) -> dict[str, Any]:
        """Errors by bin of the horizon, as plain values."""
        low, middle, high = quartiles(self.error)
        return {"median": middle, "quartiles": [low, high], "mean_squared": self._mean_squared()}

    def _mean_squared(self) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.nanmean(self.error**2, axis=0))


def _mean_known(error: Array) -> Array:
    """(trial, horizon) mean over individuals whose place is known; NaN where none is."""
    known = ~np.isnan(error)
    n_known = known.sum(axis=1)
    total = np.where(known, error, 0).sum(axis=1)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)

"""Laws of force between two individuals, written once: simulators follow them, rivals fit them, oracles are given them.

A law travels with the recordings of its system, as `recording.metadata["law"]`; nobody needs to know their names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet.data.motion import Features
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.settings import Positive, Settings, Whole

Array = NDArray[np.float64]

SOFTENING = 0.15  # a pull is never that of a nearer body: noise would make it arbitrary


@dataclasses.dataclass(frozen=True)
class Law(Settings, role="law"):
    """How an individual is pulled by another: coupling × direction × distance^exponent, or the sine of phases apart.

    Attributes:
        name: of the system that follows it.
        space: "plane": a pull accelerates positions. "phase": it changes the rate of a phase.
        exponent: of the distance, in the plane.
        typical_coupling: what couplings are like where two interact, as pulls.
        is_attractive: whether couplings are never negative.
        sign: of the target "coupling" as a pull.
        masses_divide: whether the target "coupling" is a force, which the mass of the individual pulled divides.
        walls: half of the side of the box around the origin, whose walls reflect; None if there is no box.
        half_width: of the local parabolas that smooth noisy positions before pulls are computed from them; 0 for none.

    Example:
        >>> Law("gravity", exponent=-2.0).pull(np.array([[3.0, 4.0]]), softening=0.0).round(4)
        array([[0.024, 0.032]])
    """

    name: str
    space: Literal["plane", "phase"] = "plane"
    exponent: float = 1.0
    typical_coupling: Positive = 1.0
    is_attractive: bool = True
    sign: Literal[1, -1] = 1
    masses_divide: bool = False
    walls: Positive | None = None
    half_width: Whole = 0

    @classmethod
    def of(cls, recording: Recording) -> Law | None:
        """The law that a recording carries; None if it carries none, an `InputError` if that is no law."""
        given = recording.metadata.get("law")
        if given is None:
            return None
        what = f"metadata 'law' of recording {recording.name!r}"
        if not isinstance(given, Mapping) or "name" not in given:
            raise InputError(f"{what} is {given!r}; give a mapping from the fields of a Law, with a name.")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in given:
            if key not in known:
                raise did_you_mean(key, known, what=f"field of {what}")
        return cls(**given)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a recording carries, for `Law.of`."""
        return {"law": dataclasses.asdict(self)}

    @property
    def n_integrals(self) -> int:
        """How often a pull is integrated to a position or phase."""
        return 2 if self.space == "plane" else 1

    @property
    def reads(self) -> tuple[Features, ...]:
        """The features that it explains."""
        return ("position", "position-velocity") if self.space == "plane" else ("phase",)

    def pull(self, separation: Array, *, softening: float = SOFTENING) -> Array:
        """The pull on i (…, coordinate) for a coupling of 1, from separations x_j − x_i (…, coordinate).

        A pull that grows toward a body is less below the softening, and 0 at it.
        """
        if self.space == "phase":
            return np.sin(separation)
        squared = (separation**2).sum(axis=-1, keepdims=True) + softening**2
        pull: Array = separation / np.maximum(squared, 1e-200) ** ((1 - self.exponent) / 2)
        return pull

    def couplings(self, recording: Recording) -> Array:
        """(trial, individual, individual) how strongly each is pulled by each other one, if the recording holds it."""
        needed = ("coupling", "mass") if self.masses_divide else ("coupling",)
        if lacking := [target for target in needed if target not in recording.targets]:
            raise InputError(
                f"the true couplings of recording {recording.name!r} are not known: it has no target {lacking[0]!r}."
            )
        couplings: Array = self.sign * recording.target("coupling").astype(np.float64)
        return couplings / recording.target("mass")[:, :, None] if self.masses_divide else couplings

    def energy(self, positions: Array, velocities: Array, coupling: Array, mass: Array | None = None) -> Array:
        """(trial, time) kinetic energy, and of every pair, in the plane.

        Args:
            positions: (trial, individual, time, coordinate).
            velocities: (trial, individual, time, coordinate).
            coupling: (trial, individual, individual) as the target has it, the same in both orders.
            mass: (trial, individual), by default 1.
        """
        first, second = np.triu_indices(positions.shape[1], k=1)
        speed = (velocities**2).sum(axis=-1)
        kinetic = (speed if mass is None else speed * mass[:, :, None]).sum(axis=1) / 2
        distance = np.maximum(np.linalg.norm(positions[:, first] - positions[:, second], axis=-1), 1e-300)
        power = self.exponent + 1
        between = distance**power / power if power else np.log(distance)
        energy: Array = kinetic + self.sign * (coupling[:, first, second, None] * between).sum(axis=1)
        return energy

    def internal_energy(self, positions: Array, velocities: Array, *, mass: Array, system: NDArray[np.int64]) -> Array:
        """(trial, time) energy within all systems of bodies, each about its own centre of mass.

        Args:
            positions: (trial, individual, time, coordinate).
            velocities: (trial, individual, time, coordinate).
            mass: (trial, individual), whose products are the couplings.
            system: (trial, individual), bodies act on those of their own system.
        """
        is_together = system[:, :, None] == system[:, None]
        weight = is_together * mass[:, None]
        centre = np.einsum("tij,tjbd->tibd", weight / weight.sum(axis=2, keepdims=True), velocities)
        return self.energy(positions, velocities - centre, is_together * mass[:, :, None] * mass[:, None], mass)

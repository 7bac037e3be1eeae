"""Particles in a box, on springs or charged, as in Kipf et al., ICML 2018 ("Neural Relational Inference").

The numbers and the order of operations are those of the released simulator (github.com/ethanfetaya/NRI, data/): the
velocity takes a whole step before the position does, forces are clipped per component, walls reflect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.settings import Count
from motet.systems.interacting import (
    Array,
    Engine,
    GroupSize,
    SimulationSettings,
    check_each_once,
    in_parts,
    is_compiled,
    random_graphs,
    system_recording,
)
from motet.systems.laws import Law

BOX = 5.0  # half of the side
STEP_SECONDS = 0.001
STEPS_PER_BIN = 100
MOST_FORCE = 0.1 / STEP_SECONDS  # of each component
SPEED = 0.5  # of every particle at the start
SPRING = 0.1
SPRINGS = Law("springs", exponent=1.0, typical_coupling=SPRING, walls=BOX)
CHARGES = Law("charged", exponent=-2.0, is_attractive=False, sign=-1, walls=BOX)
SPRINGS_WIDTH, CHARGED_WIDTH = 0.5, 1.0  # standard deviation of positions at the start
PART_NUMBERS = 1 << 15  # pairs that are simulated at once: they should stay in the cache


@dataclasses.dataclass(frozen=True)
class ParticlesSettings(SimulationSettings):
    """Particles in a box, whatever their forces; one recording per number of particles.

    Attributes:
        n_particles: one recording for each number, named by the system and the number, such as "springs/5".
        n_trials: per recording; each has another graph, or other charges.
        n_bins: of 0.1 s, the first after 0.1 s.
        noise: standard deviation of what is added to positions and velocities.
        seed: same settings, same recordings; with another noise, the same particles.
        engine: numpy, or numba (compiled; pip install 'motet[fast]'), which gives the same bits; auto takes numba
            where it is installed.
    """

    n_particles: tuple[GroupSize, ...] = (5,)
    n_bins: Count = 49
    engine: Engine = "auto"

    def check(self) -> None:
        check_each_once("n_particles", self.n_particles)


@dataclasses.dataclass(frozen=True)
class SpringsSettings(ParticlesSettings):
    """Particles in a box, half of the pairs joined by springs; one recording per number of particles."""


@dataclasses.dataclass(frozen=True)
class ChargedSettings(ParticlesSettings):
    """Particles in a box that attract or repel by their charge; one recording per number of particles."""


def simulate_springs(settings: SpringsSettings = SpringsSettings()) -> list[Recording]:
    """Simulate particles joined by springs, F_i = -0.1 Σ_j k_ij (x_i - x_j): one recording per number of particles.

    Values are x, y and their velocities. Targets: "interacts" k_ij and "coupling" 0.1 k_ij per pair, "energy" per bin.

    Example:
        >>> simulate_springs(SpringsSettings(n_trials=8, n_bins=3, engine="numpy"))[0]
        Recording('springs/5': 8 trials × 5 individuals × 3 bins of 0.1 s × 4 features; targets: \
interacts per pair, coupling per pair, energy per bin)
    """

    def draw(n_trials: int, n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        graphs = random_graphs(n_trials, n, rng)
        return {"interacts": graphs, "coupling": SPRING * graphs}

    return _record(SPRINGS, draw, SPRINGS_WIDTH, settings)


def simulate_charged(settings: ChargedSettings = ChargedSettings()) -> list[Recording]:
    """Simulate charged particles, F_i = Σ_j q_i q_j (x_i - x_j) / r³: one recording per number of particles.

    Values are x, y and their velocities. Targets: "interacts" per pair, 1 where two attract (unlike charges) and 0
    where they repel; "coupling" q_i q_j per pair; "charge" -1 or 1 per individual; "energy" per bin, which close
    encounters do not conserve, for the force is clipped and the step is fixed.

    Example:
        >>> simulate_charged(ChargedSettings(n_trials=8, n_bins=3, engine="numpy"))[0]
        Recording('charged/5': 8 trials × 5 individuals × 3 bins of 0.1 s × 4 features; targets: \
interacts per pair, coupling per pair, charge per individual, energy per bin)
    """

    def draw(n_trials: int, n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        charge = rng.choice([-1.0, 1.0], (n_trials, n))
        products = charge[:, :, None] * charge[:, None]
        return {"interacts": (products < 0).astype(np.int64), "coupling": products, "charge": charge}

    return _record(CHARGES, draw, CHARGED_WIDTH, settings)


def box_orbits(
    coupling: Array, positions: Array, velocities: Array, *, n_bins: int, are_charged: bool, engine: Engine = "auto"
) -> tuple[Array, Array]:
    """Positions and velocities (trial, particle, bin, axis) of particles in the box, one look every 0.1 s.

    Args:
        coupling: (trial, particle, particle) symmetric: spring constants, or products of charges.
        positions: (trial, particle, axis) at time 0.
        velocities: (trial, particle, axis) at time 0.
        n_bins: the first after 0.1 s.
        are_charged: whether the coupling is of charges.
        engine: numpy or numba; both give the same bits.
    """
    n = positions.shape[1]
    strength = np.where(np.eye(n, dtype=np.bool_), 0.0, coupling if are_charged else -coupling)
    x, v = _reflected(positions, velocities)
    if is_compiled(engine):
        from motet.systems import compiled

        start = np.stack([x, v], axis=1)
        seen = compiled.particles(strength, start, n_bins, STEPS_PER_BIN, STEP_SECONDS, BOX, MOST_FORCE, are_charged)
        x, v = seen.transpose(2, 0, 3, 1, 4)
        return x, v
    return _leapfrog(strength, x, v, n_bins=n_bins, are_charged=are_charged)


def _leapfrog(strength: Array, x: Array, v: Array, *, n_bins: int, are_charged: bool) -> tuple[Array, Array]:
    x, v = (np.ascontiguousarray(array.transpose(2, 1, 0)) for array in (x, v))  # (axis, particle, trial)
    strength = np.ascontiguousarray(strength.transpose(1, 2, 0))
    diagonal = np.arange(x.shape[1])
    seen = np.empty((2, n_bins, *x.shape))
    for look in range(n_bins):
        for _ in range(STEPS_PER_BIN):
            apart = x[:, :, None] - x[:, None]
            if are_charged:
                squared = apart[0] * apart[0] + apart[1] * apart[1]
                squared[diagonal, diagonal] = 1.0
                apart *= strength / (squared * np.sqrt(squared))
            else:
                apart *= strength
            v += STEP_SECONDS * np.clip(apart.sum(axis=2), -MOST_FORCE, MOST_FORCE)
            x += STEP_SECONDS * v
            if np.abs(x).max() > BOX:
                x, v = _reflected(x, v)
        seen[0, look], seen[1, look] = x, v
    return seen[0].transpose(3, 2, 0, 1), seen[1].transpose(3, 2, 0, 1)


def _reflected(x: Array, v: Array) -> tuple[Array, Array]:
    """Positions and velocities after elastic walls."""
    is_over, is_under = x > BOX, x < -BOX
    x = np.where(is_over, 2 * BOX - x, np.where(is_under, -2 * BOX - x, x))
    return x, np.where(is_over, -np.abs(v), np.where(is_under, np.abs(v), v))


def _record(
    law: Law,
    draw: Callable[[int, int, np.random.Generator], dict[str, NDArray[Any]]],
    width: float,
    settings: ParticlesSettings,
) -> list[Recording]:
    """A recording for each number of particles, whose targets are drawn, and positions with a standard deviation."""

    def simulate(coupling: Array, x: Array, v: Array) -> tuple[NDArray[np.float32], Array]:
        x, v = box_orbits(coupling, x, v, n_bins=settings.n_bins, are_charged=law is CHARGES, engine=settings.engine)
        return np.concatenate([x, v], axis=-1, dtype=np.float32), law.energy(x, v, coupling)

    recordings = []
    for n in settings.n_particles:
        rng = np.random.default_rng([settings.seed, n])
        targets = draw(settings.n_trials, n, rng)
        x = width * rng.standard_normal((settings.n_trials, n, 2))
        v = rng.standard_normal((settings.n_trials, n, 2))
        v *= SPEED / np.linalg.norm(v, axis=-1, keepdims=True)
        name, size = f"{law.name}/{n}", max(64, PART_NUMBERS // n**2)
        values, energy = in_parts(simulate, targets["coupling"], x, v, size=size, what=name)
        if settings.noise:
            values += np.float32(settings.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        targets = {**targets, "energy": energy}
        recordings.append(system_recording(name, values, targets, bin_seconds=STEP_SECONDS * STEPS_PER_BIN, law=law))
    return recordings

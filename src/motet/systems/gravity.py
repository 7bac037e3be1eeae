"""Bodies that attract each other: several systems share the plane, and only bodies of one system interact.

G = 1, no softening, positions alone are seen. As published ("2+2" and "3+3"; Liu et al., NeurIPS 2022, section 4.1 and
the released simulators), or randomised so that few rules find the systems without learning.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Count, NonNegative, Positive
from motet.systems.integrate import Acceleration, Trajectories, integrate
from motet.systems.interacting import (
    Array,
    Engine,
    SimulationSettings,
    check_each_once,
    in_parts,
    is_compiled,
    system_recording,
)
from motet.systems.laws import Law

LAW = Law("gravity", exponent=-2.0, typical_coupling=1.6, masses_divide=True, half_width=2)
TOLERANCE = 1e-11
N_BINS, BIN_SECONDS, SPACING = 20, 10 / 49, 2.0  # if randomised
PUBLISHED_SECONDS = 10.0
TRIPLE_SPEED = float(np.sqrt(np.sin(np.pi / 3) / (2 * np.cos(np.pi / 6) ** 2)))  # unit masses at unit distance
MASSES = (0.8, 1.6)
# A randomised system is drawn again if in any bin two bodies are closer, or one is farther from the centre of mass, or
# if its energy drifts by more than this fraction: two bodies nearly collided between bins.
NEAREST, FARTHEST, MOST_DRIFT = 0.1, 4.0, 1e-8
MOST_DRAWS = 100
PART_SYSTEMS = 1 << 13  # that are simulated at once


class _Published(NamedTuple):
    n_points: int  # over 10 seconds
    n_bins: int


PUBLISHED = {(2, 2): _Published(50, 10), (2, 3): _Published(200, 50)}


@dataclasses.dataclass(frozen=True)
class GravitySettings(SimulationSettings):
    """Systems of bodies that attract each other; one recording per entry of groups.

    Attributes:
        groups: each "k x m": k systems of m bodies; one recording for each, named "gravity/2x3".
        protocol: "published" has two systems of two or three bodies, each around the origin and in a window of its own.
            "randomised" gives every system a phase, sense, centre, orientation, masses from 0.8 to 1.6, and a common
            velocity of one to two times the orbital speed; all systems of a trial run on one clock.
        n_trials: per recording.
        n_bins: per trial; by default 20, or 10 (pairs) and 50 (triples) as published.
        bin_seconds: from one bin to the next; by default 10/49, or 10/199 for triples as published.
        noise: standard deviation of what is added to positions.
        spacing: of randomised systems: the centres of k systems are uniform in a square of side spacing · √k halfway
            through the trial, so that there are as many per area whatever k. By default 2: systems overlap.
        seed: same settings, same recordings; with another noise, the same orbits.
        engine: numpy, or numba (compiled; pip install 'motet[fast]'), the same but for rounding; auto takes numba
            where it is installed.
    """

    groups: tuple[str, ...] = ("2x2",)
    protocol: Literal["randomised", "published"] = "randomised"
    n_bins: Count | None = None
    bin_seconds: Positive | None = None
    spacing: NonNegative | None = None
    engine: Engine = "auto"

    def check(self) -> None:
        sizes = [group_sizes(group) for group in self.groups]
        check_each_once("groups", sizes)
        if self.protocol == "randomised":
            return
        if self.spacing is not None:
            raise InputError("the published systems are all around the origin; leave out spacing.")
        for size in sizes:
            if size not in PUBLISHED:
                raise InputError(
                    f"group '{size[0]}x{size[1]}' was not published; give 2x2 or 2x3, or protocol='randomised'."
                )
            if self.n_bins is not None and self.n_bins >= PUBLISHED[size].n_points:
                raise InputError(f"n_bins is {self.n_bins}; give fewer than the {PUBLISHED[size].n_points} published.")


def group_sizes(group: str) -> tuple[int, int]:
    """Number of systems, and of bodies in each, of "k x m"; an `InputError` if it is no such text."""
    match = re.fullmatch(r"\s*(\d+)\s*[x×]\s*(\d+)\s*", group)
    if not match or int(match[1]) < 1 or int(match[2]) < 2:
        raise InputError(f"group {group!r} is no 'k x m', such as '2x3': at least one system of at least two bodies.")
    return int(match[1]), int(match[2])


def simulate_gravity(settings: GravitySettings = GravitySettings()) -> list[Recording]:
    """Simulate systems of bodies that attract each other: one recording of positions per entry of `groups`.

    Values are x and y. Bodies come in the order of their systems: shuffle them before a model that could tell their
    order learns. Targets: "interacts" (whether two are of one system) and "coupling" (m_i m_j in a system, else 0) per
    pair; "system" and "mass" per individual; "energy" per bin, of all systems together and all pairs in them.

    A randomised system starts as a regular polygon that turns as a whole (exact for two and three bodies of any
    mass), its velocities perturbed as in the published ones: by 5 % for pairs, up to 10 % per component otherwise. It
    is seen from a random time within its first turn on. Systems in which two bodies come closer than 0.1, or one
    goes farther than 4 from the centre of mass, are drawn again: no pairs, 3 % of triples, a third of quadruples.

    Example:
        >>> simulate_gravity(GravitySettings(groups=("2x3",), n_trials=8, engine="numpy"))[0]
        Recording('gravity/2x3': 8 trials × 6 individuals × 20 bins of 0.204082 s × 2 features; targets: \
interacts per pair, coupling per pair, system per individual, mass per individual, energy per bin)
    """
    return [_record(*group_sizes(group), settings) for group in settings.groups]


def gravity_orbits(
    positions: ArrayLike,
    velocities: ArrayLike,
    masses: ArrayLike,
    times: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    engine: Engine = "auto",
) -> Trajectories:
    """Orbits of bodies that all attract each other, with G = 1: see `motet.systems.integrate`.

    Args:
        positions: (trajectory, body, axis) at time 0.
        velocities: (trajectory, body, axis) at time 0.
        masses: (trajectory, body).
        times: (time,) or (trajectory, time) when to look, increasing, from 0 on.
        tolerance: local error per step, relative and absolute.
        engine: numpy or numba; the same but for rounding.

    Returns:
        Positions and velocities (trajectory, time, body, axis); flagged and NaN where bodies collide.

    Example:
        >>> circle = gravity_orbits([[[1.0, 0], [-1, 0]]], [[[0, 0.5], [0, -0.5]]], [[1.0, 1]], [4 * np.pi])
        >>> circle.positions.round(8).tolist()
        [[[[1.0, -0.0], [-1.0, 0.0]]]]
    """
    x, masses = np.asarray(positions, dtype=np.float64), np.asarray(masses, dtype=np.float64)
    n_bodies = x.shape[1]
    first, second = np.triu_indices(n_bodies, k=1)
    acceleration: Acceleration
    if is_compiled(engine):
        from motet.systems.compiled import attraction

        acceleration, weights = attraction, masses
    else:
        acceleration = _attraction(n_bodies)
        weights = np.concatenate([masses[:, first] * masses[:, second], 1 / masses], axis=1)
    return integrate(
        acceleration, positions=x, velocities=velocities, parameters=weights, times=times, tolerance=tolerance
    )


def _attraction(n_bodies: int) -> Acceleration:
    """Accelerations (body, axis, lane) from positions (body, axis, lane) and weights (pair and body, lane).

    The weights are the products of the masses of every pair, then the inverse mass of every body.
    """
    first, second = np.triu_indices(n_bodies, k=1)
    pairs = np.arange(len(first))
    toward = np.zeros((n_bodies, len(first)))
    toward[first, pairs], toward[second, pairs] = 1.0, -1.0
    between = np.ascontiguousarray(-toward.T)

    def acceleration(positions: Array, weights: Array) -> Array:
        apart = (between @ positions.reshape(n_bodies, -1)).reshape(len(first), *positions.shape[1:])
        squared = np.einsum("pal,pal->pl", apart, apart)
        apart *= (weights[: len(first)] / (squared * np.sqrt(squared)))[:, None]
        force: Array = (toward @ apart.reshape(len(first), -1)).reshape(positions.shape)
        force *= weights[len(first) :, None]
        return force

    return acceleration


def gravity_energy(positions: Array, velocities: Array, masses: Array) -> Array:
    """(trajectory, time) kinetic energy, and of every pair, from (trajectory, time, body, axis) and masses."""
    x, v = positions.swapaxes(1, 2), velocities.swapaxes(1, 2)
    return LAW.energy(x, v, masses[:, :, None] * masses[:, None], masses)


def _record(k: int, m: int, settings: GravitySettings) -> Recording:
    rng = np.random.default_rng([settings.seed, k, m])
    name, n_trials = f"gravity/{k}x{m}", settings.n_trials
    orbits = functools.partial(_orbits, settings.engine, name)
    simulate = _published if settings.protocol == "published" else _randomised
    x, v, masses, bin_seconds = simulate(k, m, settings, rng, orbits)
    n_bins = x.shape[1]
    values = x.reshape(n_trials, k, n_bins, m, 2).transpose(0, 1, 3, 2, 4)
    values = values.reshape(n_trials, k * m, n_bins, 2).astype(np.float32)
    if settings.noise:
        values += np.float32(settings.noise) * rng.standard_normal(values.shape, dtype=np.float32)
    energy = gravity_energy(x, v, masses).reshape(n_trials, k, n_bins).sum(axis=1)
    masses = masses.reshape(n_trials, k * m)
    system = np.repeat(np.arange(k), m)
    is_together = system[:, None] == system
    targets = {
        "interacts": is_together.astype(np.int64)[None],
        "coupling": masses[:, :, None] * masses[:, None] * is_together,
        "system": system[None],
        "mass": masses,
        "energy": energy,
    }
    return system_recording(name, values, targets, bin_seconds=bin_seconds, law=LAW)


def _orbits(engine: Engine, what: str, *start: Array) -> tuple[Array, ...]:
    """Positions and velocities (system, time, body, axis) from a start and times, NaN where the integration failed."""
    return in_parts(lambda *part: gravity_orbits(*part, engine=engine)[:2], *start, size=PART_SYSTEMS, what=what)


def _published(
    k: int, m: int, settings: GravitySettings, rng: np.random.Generator, orbits: Callable[..., tuple[Array, ...]]
) -> tuple[Array, Array, Array, float]:
    n, published = settings.n_trials * k, PUBLISHED[k, m]
    n_bins = settings.n_bins or published.n_bins
    bin_seconds = settings.bin_seconds or PUBLISHED_SECONDS / (published.n_points - 1)
    x, v, masses = (_published_pairs if m == 2 else _published_triples)(n, rng)
    times = (rng.integers(published.n_points - n_bins, size=(n, 1)) + np.arange(n_bins, dtype=np.float64)) * bin_seconds
    x, v = orbits(x, v, masses, times)
    return x, v, masses, bin_seconds


def _published_pairs(n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    masses = np.stack([rng.uniform(0.8, 1.2, n), rng.uniform(1.2, 1.6, n)], axis=1)
    p = rng.uniform(0.5, 1.5, (n, 2))
    r = np.linalg.norm(p, axis=1, keepdims=True)
    v = _quarter_turn(p) / (2 * r**1.5) * (1 + 0.05 * rng.standard_normal((n, 1)))
    return np.stack([p, -p], axis=1), np.stack([v, -v], axis=1), masses


def _published_triples(n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    toward, r = rng.uniform(0.9, 1.2, (n, 2)), rng.uniform(0.9, 1.2, (n, 1, 1))
    x = r * _polygon(np.arctan2(toward[:, 1], toward[:, 0]), 3)
    v = _quarter_turn(x) / r**1.5 * TRIPLE_SPEED * (1 + 0.1 * rng.uniform(-1, 1, (n, 3, 2)))
    return x, v, np.ones((n, 3))


def _randomised(
    k: int, m: int, settings: GravitySettings, rng: np.random.Generator, orbits: Callable[..., tuple[Array, ...]]
) -> tuple[Array, Array, Array, float]:
    n, n_bins = settings.n_trials * k, settings.n_bins or N_BINS
    bin_seconds = settings.bin_seconds or BIN_SECONDS
    seconds = np.arange(n_bins, dtype=np.float64) * bin_seconds
    x, v, masses = _bound_systems(n, m, seconds, rng, orbits)
    speed = np.sqrt((v**2).sum(axis=-1).mean(axis=(1, 2))) * rng.uniform(1, 2, n)
    boost = speed[:, None, None, None] * _polygon(rng.uniform(0, 2 * np.pi, n), 1)[:, None]
    half = (SPACING if settings.spacing is None else settings.spacing) * np.sqrt(k) / 2
    centre = rng.uniform(-half, half, (n, 1, 1, 2))
    x += centre + boost * (seconds - seconds[-1] / 2)[:, None, None]
    return x, v + boost, masses, bin_seconds


def _bound_systems(
    n: int, m: int, seconds: Array, rng: np.random.Generator, orbits: Callable[..., tuple[Array, ...]]
) -> tuple[Array, Array, Array]:
    """Systems around their centre of mass, each from a random time within its first turn on."""
    systems = (np.empty((n, len(seconds), m, 2)), np.empty((n, len(seconds), m, 2)), np.empty((n, m)))
    missing = np.arange(n)
    for _ in range(MOST_DRAWS):
        x, v, masses, turn_seconds = _polygons(len(missing), m, rng)
        energy = gravity_energy(x[:, None], v[:, None], masses)
        times = turn_seconds[:, None] * rng.uniform(0, 1, (len(missing), 1)) + seconds
        x, v = orbits(x, v, masses, times)
        for array, drawn in zip(systems, (x, v, masses), strict=True):
            array[missing] = drawn
        first, second = np.triu_indices(m, k=1)
        nearest = np.linalg.norm(x[:, :, first] - x[:, :, second], axis=-1).min(axis=(1, 2))
        farthest = np.linalg.norm(x, axis=-1).max(axis=(1, 2))
        drift = np.abs(gravity_energy(x, v, masses) / energy - 1).max(axis=1)
        missing = missing[~((nearest > NEAREST) & (farthest < FARTHEST) & (drift < MOST_DRIFT))]  # or NaN
        if not missing.size:
            return systems
    raise InputError(
        f"systems of {m} bodies hardly ever stay together for {seconds[-1]:g} s; give fewer bins or smaller systems."
    )


def _polygons(n: int, m: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Positions, velocities, masses, and seconds per turn, of polygons that turn about their centre of mass."""
    masses = rng.uniform(*MASSES, (n, m))
    radius = np.linalg.norm(rng.uniform(0.5, 1.5, (n, 2)), axis=1) if m == 2 else rng.uniform(0.9, 1.2, n)
    x = radius[:, None, None] * _polygon(rng.uniform(0, 2 * np.pi, n), m)
    share = (masses / masses.sum(axis=1, keepdims=True))[..., None]
    x -= (share * x).sum(axis=1, keepdims=True)
    # What m - 1 unit masses on a unit circle do to the next: exact for 2 and 3 bodies of any mass (Lagrange, 1772).
    pull = (1 / np.sin(np.pi * np.arange(1, m) / m)).sum() / 4
    rate = np.sqrt(masses.mean(axis=1) * pull / radius**3)
    v = (rng.choice([-1.0, 1.0], n) * rate)[:, None, None] * _quarter_turn(x)
    v *= 1 + (0.05 * rng.standard_normal((n, 1, 1)) if m == 2 else 0.1 * rng.uniform(-1, 1, (n, m, 2)))
    v -= (share * v).sum(axis=1, keepdims=True)
    return x, v, masses, 2 * np.pi / rate


def _polygon(angle: Array, m: int) -> Array:
    """(…, corner, axis) of regular polygons on the unit circle whose first corner is at an angle."""
    angles = angle[..., None] + 2 * np.pi * np.arange(m) / m
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _quarter_turn(vectors: Array) -> Array:
    return np.stack([-vectors[..., 1], vectors[..., 0]], axis=-1)

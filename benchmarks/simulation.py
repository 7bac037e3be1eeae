"""Speed of simulating gravity against scipy's `solve_ivp`, trajectory by trajectory, in the same run.

    python benchmarks/simulation.py --output simulation.md

The published two- and three-body systems over 10 seconds, at all of their published points. scipy integrates one
trajectory after the other by its DOP853, with a right-hand side in numpy, and once more with one in plain Python
floats, which is faster for so few bodies. motet integrates many at once, each with its own step size, to half of that
tolerance, so that its drift is no larger. Everything runs in one thread; times are processor time, the best of
`--repeats`. Drift is the largest relative change of a trajectory's energy at its points; both columns are over the
trajectories that scipy integrated.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from rich.progress import track
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_limits

from motet.systems import gravity
from motet.systems.gravity import gravity_energy, gravity_orbits
from motet.systems.interacting import is_compiled

Array = NDArray[np.float64]
SECONDS = 10.0
TOLERANCE_SHARE = 0.5
SYSTEMS = {
    "two-body": (gravity._published_pairs, gravity.PUBLISHED[2, 2].n_points),
    "three-body": (gravity._published_triples, gravity.PUBLISHED[2, 3].n_points),
}


class Start(NamedTuple):
    """Trajectories at time 0, (trajectory, body[, axis]), and when to look."""

    positions: Array
    velocities: Array
    masses: Array
    times: Array

    def first(self, n: int) -> Start:
        return Start(self.positions[:n], self.velocities[:n], self.masses[:n], self.times)


class Measured(NamedTuple):
    """Processor seconds per trajectory, and the drift of each."""

    seconds: float
    drift: Array


def change_by_numpy(_: float, state: Array, masses: Array) -> Array:
    """Velocities and accelerations of bodies, vectorised over pairs."""
    n = len(masses)
    x = state[: 2 * n].reshape(n, 2)
    apart = x - x[:, None]
    squared = (apart * apart).sum(axis=-1)
    squared.flat[:: n + 1] = 1.0
    pull = ((masses / (squared * np.sqrt(squared)))[..., None] * apart).sum(axis=1)
    return np.concatenate([state[2 * n :], pull.ravel()])


def change_by_floats(_: float, state: Array, masses: list[float]) -> list[float]:
    """The same in plain Python."""
    n, numbers = len(masses), state.tolist()
    pull = [0.0] * (2 * n)
    for i in range(n):
        for j in range(i):
            dx, dy = numbers[2 * j] - numbers[2 * i], numbers[2 * j + 1] - numbers[2 * i + 1]
            squared = dx * dx + dy * dy
            size = 1 / (squared * math.sqrt(squared))
            pull[2 * i] += masses[j] * size * dx
            pull[2 * i + 1] += masses[j] * size * dy
            pull[2 * j] -= masses[i] * size * dx
            pull[2 * j + 1] -= masses[i] * size * dy
    moves: list[float] = numbers[2 * n :] + pull
    return moves


def by_scipy(start: Start, tolerance: float, change: Callable[..., Any]) -> tuple[Array, Array]:
    """Positions and velocities (trajectory, time, body, axis)."""
    n, n_bodies = start.masses.shape
    states = np.empty((n, len(start.times), 2, n_bodies, 2))
    for trajectory in range(n):
        state = np.concatenate([start.positions[trajectory], start.velocities[trajectory]]).ravel()
        masses = start.masses[trajectory]
        arguments = (masses.tolist() if change is change_by_floats else masses,)
        found = solve_ivp(
            change, (0, SECONDS), state, "DOP853", start.times, args=arguments, rtol=tolerance, atol=tolerance
        )
        states[trajectory] = found.y.T.reshape(states.shape[1:])
    return states[:, :, 0], states[:, :, 1]


def measure(simulate: Callable[[Start], tuple[Array, Array]], start: Start, n_repeats: int) -> Measured:
    """The best of some repeats."""
    seconds = []
    for _ in range(n_repeats):
        began = time.process_time()
        positions, velocities = simulate(start)
        seconds.append(time.process_time() - began)
    energy = gravity_energy(positions, velocities, start.masses)
    drift: Array = np.abs(energy / energy[:, :1] - 1).max(axis=1)
    return Measured(min(seconds) / len(start.masses), drift)


def measured(given: argparse.Namespace) -> dict[str, dict[str, Measured]]:
    """By system and by method."""
    tolerance: float = given.tolerance
    slow = {
        "scipy, numpy": lambda start: by_scipy(start, tolerance, change_by_numpy),
        "scipy, plain floats": lambda start: by_scipy(start, tolerance, change_by_floats),
    }
    fast: dict[str, Callable[[Start], tuple[Array, Array]]] = {
        "motet, numpy": lambda start: gravity_orbits(*start, tolerance=TOLERANCE_SHARE * tolerance, engine="numpy")[:2]
    }
    if is_compiled("auto"):
        fast["motet, numba"] = lambda start: gravity_orbits(
            *start, tolerance=TOLERANCE_SHARE * tolerance, engine="numba"
        )[:2]
    results: dict[str, dict[str, Measured]] = {}
    for system, (draw, n_points) in track(SYSTEMS.items(), "simulating", disable=not sys.stderr.isatty()):
        times = np.linspace(0, SECONDS, n_points)
        start = Start(*draw(given.trajectories, np.random.default_rng(given.seed)), times)
        few = start.first(given.scipy_trajectories)
        results[system] = {name: measure(simulate, few, given.repeats) for name, simulate in slow.items()}
        for name, simulate in fast.items():
            simulate(few)  # numba compiles at the first call
            results[system][name] = measure(simulate, start, given.repeats)
    return results


def as_markdown(results: dict[str, dict[str, Measured]], given: argparse.Namespace) -> str:
    """A table per system."""
    lines = [
        "# Speed of simulating gravity",
        "",
        f"Published systems, {SECONDS:g} s, tolerance {given.tolerance:g} (relative and absolute; motet "
        f"{TOLERANCE_SHARE * given.tolerance:g}), one thread of "
        f"{platform.machine()}; scipy {scipy.__version__}, numpy {np.__version__}. scipy integrates "
        f"{given.scipy_trajectories} trajectories, motet {given.trajectories} that begin with the same; drift is over "
        f"the former. Processor time, best of {given.repeats}; speed is against scipy with a right-hand side in numpy. "
        f"Load average at the end: {os.getloadavg()[0]:.1f}.",
    ]
    n = given.scipy_trajectories
    for system, methods in results.items():
        lines += [
            "",
            f"## {system.capitalize()}",
            "",
            "| method | trajectories / s | speed | median drift | largest drift |",
            "|---|--:|--:|--:|--:|",
        ]
        slowest = methods["scipy, numpy"].seconds
        lines += [
            f"| {name} | {1 / found.seconds:,.0f} | {slowest / found.seconds:,.3g} | {np.median(found.drift[:n]):.1e} | "
            f"{found.drift[:n].max():.1e} |"
            for name, found in methods.items()
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trajectories", type=int, default=20_000, help="that motet integrates")
    parser.add_argument("--scipy-trajectories", type=int, default=200, help="of them, that scipy integrates too")
    parser.add_argument("--tolerance", type=float, default=1e-11)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file to write the tables to")
    given = parser.parse_args()
    with threadpool_limits(1):
        tables = as_markdown(measured(given), given)
    if given.output:
        given.output.write_text(tables)
    sys.stdout.write(tables)


if __name__ == "__main__":
    main()

"""The simulators' inner loops, compiled by numba: imported only where numba is installed.

The last axis runs over trajectories, so that the processor does several at once. Compiled code is kept on disk beside
this file, or in numba's folder of the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

LANES = 64
# All but those that would assume that no number is infinite or NaN.
FAST = {"contract", "nsz", "arcp", "reassoc"}


def _compiled(*, fastmath: set[str] | bool) -> Callable[[Function], Function]:
    def compile_later(function: Function) -> Function:
        # The error model of numpy has no branch for a division by zero, which would keep a loop from being vectorised.
        options: dict[str, Any] = {"error_model": "numpy", "fastmath": fastmath}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep compiled code in
            return njit(**options)(function)

    return compile_later


@_compiled(fastmath=FAST)
def attraction(positions: Array, masses: Array) -> Array:
    """Accelerations (body, axis, lane) of bodies that all attract each other, G = 1; masses (body, lane)."""
    n_bodies, n_axes, n_lanes = positions.shape
    found = np.zeros(positions.shape)
    apart, pull = np.empty((n_axes, n_lanes)), np.empty(n_lanes)
    for a in range(n_bodies):
        for b in range(a + 1, n_bodies):
            pull[:] = 0.0
            for axis in range(n_axes):
                for lane in range(n_lanes):
                    apart[axis, lane] = positions[b, axis, lane] - positions[a, axis, lane]
                    pull[lane] += apart[axis, lane] * apart[axis, lane]
            for lane in range(n_lanes):
                pull[lane] = 1.0 / (pull[lane] * math.sqrt(pull[lane]))
            for axis in range(n_axes):
                for lane in range(n_lanes):
                    found[a, axis, lane] += masses[b, lane] * pull[lane] * apart[axis, lane]
                    found[b, axis, lane] -= masses[a, lane] * pull[lane] * apart[axis, lane]
    return found


@_compiled(fastmath=False)
def particles(
    strength: Array,
    start: Array,
    n_bins: int,
    steps_per_bin: int,
    step_seconds: float,
    box: float,
    most_force: float,
    is_charged: bool,
) -> Array:
    """`motet.systems.particles.box_orbits`, to the bit: the order of operations is the same.

    Args:
        strength: (trial, particle, particle) symmetric.
        start: (trial, position or velocity, particle, axis) at time 0, inside the box.
        n_bins: how often to look.
        steps_per_bin: from one look to the next.
        step_seconds: of the integration.
        box: half of the side of the box.
        most_force: of each component.
        is_charged: forces are strength / r² and point away; otherwise strength · r.

    Returns:
        (trial, bin, position or velocity, particle, axis).
    """
    n_trials, _, n, _ = start.shape
    seen = np.empty((n_trials, n_bins, 2, n, 2))
    x, v, force = np.zeros((n, 2, LANES)), np.zeros((n, 2, LANES)), np.zeros((n, 2, LANES))
    between, pull = np.zeros((n, n, LANES)), np.zeros(LANES)
    for first in range(0, n_trials, LANES):
        n_lanes = min(LANES, n_trials - first)
        for lane in range(n_lanes):
            for i in range(n):
                for axis in range(2):
                    x[i, axis, lane] = start[first + lane, 0, i, axis]
                    v[i, axis, lane] = start[first + lane, 1, i, axis]
                for j in range(n):
                    between[i, j, lane] = strength[first + lane, i, j]
        for look in range(n_bins):
            for _ in range(steps_per_bin):
                force[:] = 0.0
                for i in range(n):
                    for j in range(i + 1, n):
                        xi, xj, yi, yj, s = x[i, 0], x[j, 0], x[i, 1], x[j, 1], between[i, j]
                        if is_charged:
                            for lane in range(LANES):
                                dx, dy = xi[lane] - xj[lane], yi[lane] - yj[lane]
                                squared = dx * dx + dy * dy
                                pull[lane] = s[lane] / (squared * math.sqrt(squared))
                        else:
                            for lane in range(LANES):
                                pull[lane] = s[lane]
                        for axis in range(2):
                            xi, xj, fi, fj = x[i, axis], x[j, axis], force[i, axis], force[j, axis]
                            for lane in range(LANES):
                                f = (xi[lane] - xj[lane]) * pull[lane]
                                fi[lane] += f
                                fj[lane] -= f
                for i in range(n):
                    for axis in range(2):
                        p, w, f = x[i, axis], v[i, axis], force[i, axis]
                        for lane in range(LANES):
                            w[lane] += step_seconds * min(max(f[lane], -most_force), most_force)
                            p[lane] += step_seconds * w[lane]
                            if p[lane] > box:
                                p[lane] = 2 * box - p[lane]
                                w[lane] = -abs(w[lane])
                            elif p[lane] < -box:
                                p[lane] = -2 * box - p[lane]
                                w[lane] = abs(w[lane])
            for lane in range(n_lanes):
                for i in range(n):
                    for axis in range(2):
                        seen[first + lane, look, 0, i, axis] = x[i, axis, lane]
                        seen[first + lane, look, 1, i, axis] = v[i, axis, lane]
    return seen

"""The simulators' inner loops, compiled by numba: imported only where numba is installed.

Every kernel works on blocks of `LANES` trajectories, the last axis of all arrays, so that the processor does several
at once. Compiled code is kept on disk beside this file, or in numba's folder of the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Trap: numba compiles these constants in, and looks only at this file to tell whether its code on disk is old.
from motet.systems.integrate import (
    FIRST_STEP,
    LEAST_FACTOR,
    LEAST_STEP,
    MOST_FACTOR,
    MOST_STEPS,
    N_STAGES,
    NODES,
    POSITION_DENSE,
    POSITION_ERRORS,
    POSITION_STAGES,
    SAFETY,
    VELOCITY_DENSE,
    VELOCITY_ERRORS,
    VELOCITY_STAGES,
)

Array = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

LANES = 64
ALL_STAGES = len(VELOCITY_STAGES)
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
def _attract_in_plane(x: Array, masses: Array, out: Array, a: int, b: int, n_lanes: int) -> None:
    """`_attract` for one pair and two axes in one loop, which is twice as fast."""
    xa, ya, xb, yb = x[2 * a :], x[2 * a + n_lanes :], x[2 * b :], x[2 * b + n_lanes :]
    mass_a, mass_b = masses[a:], masses[b:]
    to_xa, to_ya, to_xb, to_yb = out[2 * a :], out[2 * a + n_lanes :], out[2 * b :], out[2 * b + n_lanes :]
    for lane in range(n_lanes):
        dx, dy = xb[lane] - xa[lane], yb[lane] - ya[lane]
        squared = dx * dx + dy * dy
        pull = 1.0 / (squared * math.sqrt(squared))
        to_xa[lane] += mass_b[lane] * pull * dx
        to_ya[lane] += mass_b[lane] * pull * dy
        to_xb[lane] -= mass_a[lane] * pull * dx
        to_yb[lane] -= mass_a[lane] * pull * dy


@_compiled(fastmath=FAST)
def _attract(x: Array, masses: Array, out: Array, n_axes: int, apart: Array, pull: Array) -> None:
    """Accelerations of bodies that all attract each other: x and out (body · axis · lane), masses (body · lane)."""
    n_lanes = len(pull)
    out[:] = 0.0
    for a in range(0, len(masses), n_lanes):
        for b in range(a + n_lanes, len(masses), n_lanes):
            if n_axes == 2:
                _attract_in_plane(x, masses, out, a, b, n_lanes)
                continue
            pull[:] = 0.0
            for axis in range(n_axes):
                for lane in range(n_lanes):
                    at = axis * n_lanes + lane
                    apart[at] = x[n_axes * b + at] - x[n_axes * a + at]
                    pull[lane] += apart[at] * apart[at]
            for lane in range(n_lanes):
                pull[lane] = 1.0 / (pull[lane] * math.sqrt(pull[lane]))
            for axis in range(n_axes):
                for lane in range(n_lanes):
                    at = axis * n_lanes + lane
                    out[n_axes * a + at] += masses[b + lane] * pull[lane] * apart[at]
                    out[n_axes * b + at] -= masses[a + lane] * pull[lane] * apart[at]


@_compiled(fastmath=FAST)
def _combine(weights: Array, n_stages: int, stages: Array, out: Array) -> None:
    """Sum of the first stages, weighted."""
    out[:] = 0.0
    for j in range(n_stages):
        weight = weights[j]
        if weight != 0.0:
            for q in range(len(out)):
                out[q] += weight * stages[j, q]


@_compiled(fastmath=FAST)
def _stage(i: int, h: Array, x: Array, v: Array, stages: Array, out: Array) -> None:
    """Positions of a stage."""
    _combine(POSITION_STAGES[i], i, stages, out)
    node = NODES[i]
    for q in range(len(out)):
        out[q] = x[q] + h[q] * (node * v[q] + h[q] * out[q])


@_compiled(fastmath=FAST)
def _error(h: Array, old: Array, new: Array, stages: Array, tolerance: float, sums: Array, error: Array) -> None:
    """(lane,) error of a step, of orders 5 and 3 together; it is good enough below 1."""
    n_lanes = len(error)
    fifth, third = np.zeros(n_lanes), np.zeros(n_lanes)
    for kind in range(2):  # positions, velocities
        for order in range(2):
            weights = VELOCITY_ERRORS if kind else POSITION_ERRORS
            _combine(weights[order], N_STAGES, stages, sums[order])
        before, after, of_fifth, of_third = old[kind], new[kind], sums[0], sums[1]
        for q in range(len(h)):
            scale = tolerance * (1.0 + max(abs(before[q]), abs(after[q])))
            by = (1.0 if kind else h[q]) / scale
            of_fifth[q] = (of_fifth[q] * by) ** 2
            of_third[q] = (of_third[q] * by) ** 2
        for first in range(0, len(h), n_lanes):
            for lane in range(n_lanes):
                fifth[lane] += of_fifth[first + lane]
                third[lane] += of_third[first + lane]
    for lane in range(n_lanes):
        both = fifth[lane] + 0.01 * third[lane]
        error[lane] = 0.0 if both == 0.0 else h[lane] * fifth[lane] / math.sqrt(both * (2 * len(h) // n_lanes))


@_compiled(fastmath=FAST)
def _polynomial(h: Array, old: Array, new: Array, stages: Array, out: Array) -> None:
    """(7, position or velocity, coordinate · lane) coefficients in x and 1 - x, in turn."""
    for kind in range(2):
        shift, at_start, at_end = out[0, kind], out[1, kind], out[2, kind]
        before, after = old[kind], new[kind]
        first_rate, last_rate = (stages[0], stages[N_STAGES - 1]) if kind else (old[1], new[1])
        for q in range(len(h)):
            shift[q] = after[q] - before[q]
            at_start[q] = h[q] * first_rate[q] - shift[q]
            at_end[q] = shift[q] - at_start[q] - h[q] * last_rate[q]
        for r in range(4):
            row = out[3 + r, kind]
            _combine(VELOCITY_DENSE[r] if kind else POSITION_DENSE[r], ALL_STAGES, stages, row)
            for q in range(len(h)):
                row[q] *= h[q] if kind else h[q] * h[q]


@_compiled(fastmath=FAST)
def _evaluate(coefficients: Array, old: Array, x: float, lane: int, n_lanes: int, out: Array) -> None:
    """The state (position or velocity, coordinate) of a lane a fraction x through its step."""
    for kind in range(2):
        for c in range(out.shape[1]):
            q = c * n_lanes + lane
            value = coefficients[6, kind, q] * x
            for power in range(5, -1, -1):
                value = (value + coefficients[power, kind, q]) * (1.0 - x if power % 2 else x)
            out[kind, c] = old[kind, q] + value


@_compiled(fastmath=FAST)
def _first_step(old: Array, stages: Array, lane: int, n_lanes: int) -> float:
    """A guess: a share of the time in which the state changes by its own size."""
    size, change = 0.0, 0.0
    for q in range(lane, old.shape[1], n_lanes):
        size += old[0, q] ** 2 + old[1, q] ** 2
        change += old[1, q] ** 2 + stages[0, q] ** 2
    return max(FIRST_STEP * math.sqrt(size / change), 1e-3 * FIRST_STEP) if change > 0.0 else np.inf


@_compiled(fastmath=FAST)
def _next_factor(error: float, was_rejected: bool) -> float:
    """By how much the next step is longer."""
    if not math.isfinite(error):
        return LEAST_FACTOR
    eighth_root = math.sqrt(math.sqrt(math.sqrt(max(error, 1e-300))))
    factor = min(max(SAFETY / eighth_root, LEAST_FACTOR), MOST_FACTOR)
    return min(factor, 1.0) if was_rejected or not error < 1.0 else factor


@_compiled(fastmath=FAST)
def gravity_orbits(
    start: Array, all_masses: Array, times: Array, n_axes: int, tolerance: float
) -> tuple[Array, NDArray[np.bool_], NDArray[np.int64]]:
    """`motet.systems.integrate.integrate` for bodies that attract each other.

    Args:
        start: (trajectory, position or velocity, body · axis) at time 0.
        all_masses: (trajectory, body).
        times: (trajectory, time).
        n_axes: of space.
        tolerance: local error per step, relative and absolute.

    Returns:
        States (trajectory, time, position or velocity, body · axis); whether each failed; its number of steps.
    """
    n_all, n_times = times.shape
    n, n_bodies = start.shape[2], all_masses.shape[1]
    seen = np.empty((n_all, n_times, 2, n))
    failed, n_steps = np.zeros(n_all, np.bool_), np.zeros(n_all, np.int64)
    # A lane that no trajectory has entered holds zeros: its numbers are NaN, and nobody looks.
    old, new, sums = np.zeros((2, n * LANES)), np.zeros((2, n * LANES)), np.zeros((2, n * LANES))
    stages, coefficients = np.zeros((ALL_STAGES, n * LANES)), np.zeros((7, 2, n * LANES))
    masses, entering = np.zeros(n_bodies * LANES), np.zeros(n * LANES)
    apart, pull, error = np.zeros(n_axes * LANES), np.zeros(LANES), np.zeros(LANES)
    time, step, h, after = np.zeros(LANES), np.zeros(LANES), np.zeros(n * LANES), np.zeros(LANES)
    who, look, was_rejected = np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.bool_)
    is_new = np.zeros(LANES, np.bool_)
    n_entered = 0
    while True:
        # 1. Trajectories that wait enter the free lanes.
        for lane in range(LANES):
            while who[lane] < 0 and n_entered < n_all:
                look[lane] = 0
                if times[n_entered, 0] == 0.0:
                    look[lane] = 1
                    for kind in range(2):
                        for c in range(n):
                            seen[n_entered, 0, kind, c] = start[n_entered, kind, c]
                if look[lane] < n_times:
                    who[lane], is_new[lane], was_rejected[lane], time[lane] = n_entered, True, False, 0.0
                    for kind in range(2):
                        for c in range(n):
                            old[kind, c * LANES + lane] = start[n_entered, kind, c]
                    for body in range(n_bodies):
                        masses[body * LANES + lane] = all_masses[n_entered, body]
                n_entered += 1
        if is_new.any():
            _attract(old[0], masses, entering, n_axes, apart, pull)
            for lane in range(LANES):
                if is_new[lane]:
                    for q in range(lane, n * LANES, LANES):
                        stages[0, q] = entering[q]
                    step[lane] = _first_step(old, stages, lane, LANES)
                    is_new[lane] = False
        # 2. One step of every lane, and its error.
        n_busy = 0
        for lane in range(LANES):
            h[lane] = 0.0
            if who[lane] >= 0:
                n_busy += 1
                end = times[who[lane], n_times - 1]
                h[lane] = min(step[lane], end - time[lane])
                after[lane] = time[lane] + h[lane] if step[lane] < end - time[lane] else end
            for q in range(lane, n * LANES, LANES):
                h[q] = h[lane]
        if n_busy == 0:
            return seen, failed, n_steps
        for i in range(1, N_STAGES):
            _stage(i, h, old[0], old[1], stages, new[0])
            _attract(new[0], masses, stages[i], n_axes, apart, pull)
        _combine(VELOCITY_STAGES[N_STAGES - 1], N_STAGES - 1, stages, new[1])
        for q in range(n * LANES):
            new[1, q] = old[1, q] + h[q] * new[1, q]
        _error(h, old, new, stages, tolerance, sums, error)
        # 3. What is seen on the way of the steps that are good enough.
        looks = False
        for lane in range(LANES):
            if who[lane] >= 0 and error[lane] < 1.0 and times[who[lane], look[lane]] <= after[lane]:
                looks = True
        if looks:
            for i in range(N_STAGES, ALL_STAGES):
                _stage(i, h, old[0], old[1], stages, entering)
                _attract(entering, masses, stages[i], n_axes, apart, pull)
            _polynomial(h, old, new, stages, coefficients)
        for lane in range(LANES):
            i = who[lane]
            if i < 0:
                continue
            is_accepted = error[lane] < 1.0
            if is_accepted:
                while look[lane] < n_times and times[i, look[lane]] <= after[lane]:
                    x = (times[i, look[lane]] - time[lane]) / h[lane]
                    _evaluate(coefficients, old, x, lane, LANES, seen[i, look[lane]])
                    look[lane] += 1
                time[lane] = after[lane]
                for q in range(lane, n * LANES, LANES):
                    old[0, q], old[1, q], stages[0, q] = new[0, q], new[1, q], stages[N_STAGES - 1, q]
            # 4. The next step.
            step[lane] = h[lane] * _next_factor(error[lane], was_rejected[lane])
            was_rejected[lane] = not is_accepted
            n_steps[i] += 1
            if look[lane] == n_times:
                who[lane] = -1
            elif step[lane] < LEAST_STEP * times[i, n_times - 1] or n_steps[i] >= MOST_STEPS:
                failed[i], who[lane] = True, -1


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

"""Dormand and Prince's method of order 8: `integrate` orbits, each with steps of its own, or `one_step` for all.

A trajectory that fails (a collision, a number that is not finite) is flagged and left, and never spoils the others.

Method: Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I (1993), II.5, II.6 and II.10: DOP853 with
its interpolation of order 7. For x'' = a(x) the stages of x follow from those of x' (II.14), so that only the latter
are kept: half of the work and of the memory, the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import DOP853

from motet.errors import InputError

Array = NDArray[np.float64]
Acceleration = Callable[[Array, Array], Array]

N_STAGES = 13  # of a step; the last is the acceleration at its end, with which the next step begins
SAFETY, LEAST_FACTOR, MOST_FACTOR = 0.9, 0.2, 10.0  # how a step size follows from the last one
FIRST_STEP = 0.03  # of the time in which a state changes by its own size
LEAST_STEP = 10 * float(np.finfo(np.float64).eps)  # of the time of the last sample
MOST_STEPS = 100_000  # of one trajectory
LANE_NUMBERS = 1 << 18  # in the stages of all trajectories that are under way: they should stay in the cache


def _tableau() -> Array:
    """(stage, stage) the 13 stages of a step, and the 3 more that its interpolation needs."""
    stages = np.zeros((16, 16))
    stages[:12, :12], stages[12, :12], stages[13:] = DOP853.A, DOP853.B, DOP853.A_EXTRA
    return stages


VELOCITY_STAGES = _tableau()
POSITION_STAGES = VELOCITY_STAGES @ VELOCITY_STAGES  # x_i = x + c_i h x' + h² Σ_j (A²)_ij a_j
NODES = VELOCITY_STAGES.sum(axis=1)
VELOCITY_ERRORS = np.stack([DOP853.E5, DOP853.E3])  # (order 5 or 3, stage)
POSITION_ERRORS = VELOCITY_ERRORS @ VELOCITY_STAGES[:N_STAGES, :N_STAGES]
VELOCITY_DENSE = np.ascontiguousarray(DOP853.D)  # (coefficient, stage)
POSITION_DENSE = DOP853.D @ VELOCITY_STAGES
# Weights of x, of h x' and of h² a of every stage.
POSITION_ROWS = np.column_stack([np.ones(len(NODES)), NODES, POSITION_STAGES])
ERROR_ROWS = np.concatenate([POSITION_ERRORS, VELOCITY_ERRORS])
DENSE_ROWS = np.concatenate([POSITION_DENSE, VELOCITY_DENSE])


class Trajectories(NamedTuple):
    """Where bodies go.

    Attributes:
        positions: (trajectory, time, …), NaN for trajectories that failed.
        velocities: likewise.
        failed: (trajectory,) bool.
        n_steps: (trajectory,) accepted and rejected steps.
    """

    positions: Array
    velocities: Array
    failed: NDArray[np.bool_]
    n_steps: NDArray[np.int64]


def one_step(rates: Callable[[Array], Array], state: Array, h: float) -> Array:
    """The state (coordinate, lane) a step of length h later, where rates(state) is how fast it changes."""
    stages = np.empty((N_STAGES - 1, *state.shape))
    for i in range(N_STAGES - 1):
        stages[i] = rates(state + h * _combined(VELOCITY_STAGES[i, :i], stages))
    return state + h * _combined(VELOCITY_STAGES[N_STAGES - 1, : N_STAGES - 1], stages)


def integrate(
    acceleration: Acceleration,
    *,
    positions: ArrayLike,
    velocities: ArrayLike,
    parameters: ArrayLike,
    times: ArrayLike,
    tolerance: float = 1e-11,
) -> Trajectories:
    """Integrate x'' = a(x) for many trajectories at once, each with its own step size.

    Args:
        acceleration: gives accelerations (…, lane) from positions (…, lane) and parameters (…, lane). The last axis
            runs over the trajectories that happen to be under way.
        positions: (trajectory, …) at time 0.
        velocities: (trajectory, …) at time 0.
        parameters: (trajectory, …), such as masses; the acceleration sees those of its lanes.
        times: (time,) or (trajectory, time) when to look, increasing, from 0 on.
        tolerance: local error per step, relative and absolute.

    Example:
        >>> spring = lambda positions, stiffness: -stiffness * positions
        >>> orbit = integrate(spring, positions=[[1.0]], velocities=[[0.0]], parameters=[[4.0]], times=[0, np.pi])
        >>> orbit.positions.round(9).tolist()
        [[[1.0], [1.0]]]
    """
    batch = _Batch(acceleration, *_as_arrays(positions, velocities, parameters, times, tolerance), tolerance)
    batch.run()
    batch.seen[batch.failed] = np.nan
    x, v = (half.reshape(*half.shape[:2], *batch.shape) for half in np.split(batch.seen, 2, axis=2))
    return Trajectories(x, v, batch.failed, batch.n_steps)


def _as_arrays(
    positions: ArrayLike, velocities: ArrayLike, parameters: ArrayLike, times: ArrayLike, tolerance: float
) -> tuple[Array, Array, Array, Array]:
    """The same as arrays of float64, times (trajectory, time); refused if they do not belong together."""
    x, v, parameters, times = (np.asarray(a, dtype=np.float64) for a in (positions, velocities, parameters, times))
    n = len(x) if x.ndim > 1 else 0
    if n == 0 or x.shape != v.shape or parameters.shape[:1] != (n,):
        raise InputError(
            f"positions {x.shape}, velocities {v.shape} and parameters {parameters.shape} do not belong together; give "
            "(trajectory, …) each, at least one trajectory."
        )
    for name, array in (("positions", x), ("velocities", v), ("parameters", parameters)):
        is_finite = np.isfinite(array.reshape(n, -1)).all(axis=1)
        if not is_finite.all():
            raise InputError(f"the {name} of trajectory {is_finite.argmin()} are not finite; give numbers.")
    if times.ndim not in (1, 2) or times.shape[-1] == 0 or (times.ndim == 2 and len(times) != n):
        raise InputError(f"times have shape {times.shape}; give (time,) or ({n}, time), at least one time.")
    if not np.isfinite(times).all() or (times < 0).any() or (np.diff(times) <= 0).any():
        raise InputError("times are negative, not finite or do not increase; give increasing times from 0 on.")
    if not 1e-14 <= tolerance <= 1e-2:
        raise InputError(f"tolerance is {tolerance}; give a number from 1e-14 to 0.01.")
    return x, v, parameters, np.broadcast_to(times, (n, times.shape[-1]))


class _Batch:
    """Trajectories under way: arrays (coordinate, lane), a lane per trajectory, refilled as trajectories end."""

    def __init__(
        self, acceleration: Acceleration, x: Array, v: Array, parameters: Array, times: Array, tolerance: float
    ) -> None:
        self.acceleration, self.tolerance, self.shape, n = acceleration, tolerance, x.shape[1:], len(times)
        # A time that never comes, so that there is always a next one.
        self.times = np.concatenate([times, np.full((n, 1), np.inf)], axis=1)
        self.end = times[:, -1]
        self.start = np.concatenate([x.reshape(n, -1).T, v.reshape(n, -1).T])
        self.all_parameters = np.ascontiguousarray(np.moveaxis(parameters, 0, -1))
        self.n_coordinates, self.n_waiting = len(self.start) // 2, n
        self.n_lanes = max(32, LANE_NUMBERS // (len(VELOCITY_STAGES) * self.n_coordinates))
        self.seen = np.full((*times.shape, len(self.start)), np.nan)
        self.failed, self.n_steps = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64)
        # The lanes: which trajectory, and the next of its times to look at; time and step; positions over velocities.
        self.trajectory, self.next_look = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.time, self.step, self.was_rejected = np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.bool_)
        self.state, self.last = self.start[:, :0], self.start[: self.n_coordinates, :0]
        self.parameters = self.all_parameters[..., :0]

    def run(self) -> None:
        """Step until no trajectory is under way or waits."""
        with np.errstate(all="ignore"):  # a collision divides by zero, and is flagged
            while self.n_waiting or self.trajectory.size:
                if self.n_waiting and self.trajectory.size <= 0.75 * self.n_lanes:
                    self._fill()
                if self.trajectory.size:
                    self._step()

    def _accelerate(self, positions: Array, parameters: Array) -> Array:
        return self.acceleration(positions.reshape(*self.shape, -1), parameters).reshape(positions.shape)

    def _fill(self) -> None:
        """Trajectories that wait enter the free lanes, with a guess of their first step."""
        n_new = min(self.n_waiting, self.n_lanes - self.trajectory.size)
        new = len(self.times) - self.n_waiting + np.arange(n_new)
        self.n_waiting -= n_new
        state, parameters = (array.take(new, axis=-1) for array in (self.start, self.all_parameters))
        last = self._accelerate(state[: self.n_coordinates], parameters)
        change = np.sqrt((state[self.n_coordinates :] ** 2).sum(axis=0) + (last**2).sum(axis=0))
        step = FIRST_STEP * np.sqrt((state**2).sum(axis=0)) / change
        is_seen = self.times[new, 0] == 0
        self.seen[new[is_seen], 0] = state[:, is_seen].T
        entering = {
            "trajectory": new,
            "next_look": is_seen.astype(np.int64),
            "time": np.zeros(n_new),
            "step": np.clip(np.nan_to_num(step, nan=np.inf), 1e-3 * FIRST_STEP, np.inf),
            "was_rejected": np.zeros(n_new, dtype=np.bool_),
            "state": state,
            "last": last,
            "parameters": parameters,
        }
        for name, array in entering.items():
            setattr(self, name, np.concatenate([getattr(self, name), array], axis=-1))
        self._leave(np.isinf(self.times[self.trajectory, self.next_look]))

    def _leave(self, is_done: NDArray[np.bool_]) -> None:
        if is_done.any():
            stay = np.flatnonzero(~is_done)
            for name in ("trajectory", "next_look", "time", "step", "was_rejected", "state", "last", "parameters"):
                setattr(self, name, getattr(self, name).take(stay, axis=-1))

    def _step(self) -> None:
        """One step of every lane: 12 accelerations, the error and, if that is small, what is seen on the way."""
        n, end = self.n_coordinates, self.end[self.trajectory]
        h = np.minimum(self.step, end - self.time)
        after = np.where(self.step < end - self.time, self.time + h, end)
        rows = np.empty((2 + len(VELOCITY_STAGES), n, h.size))
        rows[0], rows[1], rows[2] = self.state[:n], h * self.state[n:], (h * h) * self.last
        for i in range(1, N_STAGES):
            positions = self._stage(i, rows, h * h, self.parameters)
        velocities = (rows[1] + _combined(VELOCITY_STAGES[12, :12], rows[2:])) / h
        new = np.concatenate([positions, velocities])
        error = self._error(rows, new, h)

        is_accepted = error < 1
        self._look(rows, new, h, after, is_accepted)
        factor = np.clip(SAFETY * np.maximum(error, 1e-300) ** (-1 / 8), LEAST_FACTOR, MOST_FACTOR)
        factor = np.where(np.isfinite(error), factor, LEAST_FACTOR)
        self.step = h * np.where(self.was_rejected | ~is_accepted, np.minimum(factor, 1), factor)
        self.was_rejected = ~is_accepted
        self.time = np.where(is_accepted, after, self.time)
        self.state = np.where(is_accepted, new, self.state)
        self.last = np.where(is_accepted, rows[2 + 12] / (h * h), self.last)
        self.n_steps[self.trajectory] += 1
        is_done = np.isinf(self.times[self.trajectory, self.next_look])
        is_stuck = (self.step < LEAST_STEP * end) | (self.n_steps[self.trajectory] >= MOST_STEPS)
        self.failed[self.trajectory[is_stuck & ~is_done]] = True
        self._leave(is_done | is_stuck)

    def _stage(self, i: int, rows: Array, hh: Array, parameters: Array) -> Array:
        """The positions of a stage; its accelerations go to the rows: x, h x', then h² a of every stage."""
        positions = _combined(POSITION_ROWS[i, : 2 + i], rows)
        np.multiply(self._accelerate(positions, parameters), hh, out=rows[2 + i])
        return positions

    def _error(self, rows: Array, new: Array, h: Array) -> Array:
        """(lane,) the error of a step, of orders 5 and 3 together; the step is good enough below 1."""
        n = self.n_coordinates
        scale = self.tolerance * (1 + np.maximum(np.abs(self.state), np.abs(new)))
        scale *= h
        scale[n:] *= h
        errors = _combined(ERROR_ROWS, rows[2:]).reshape(2, 2, n, -1)  # (position or velocity, order, …)
        errors /= scale.reshape(2, 1, n, -1)
        fifth, third = np.einsum("koil,koil->ol", errors, errors)
        error: Array = h * fifth / np.sqrt((fifth + 0.01 * third) * (2 * n))
        return np.where((fifth == 0) & (third == 0), 0.0, error)

    def _look(self, rows: Array, new: Array, h: Array, after: Array, is_accepted: NDArray[np.bool_]) -> None:
        """Write down the states at the times that accepted steps pass, by the polynomial of order 7 through a step."""
        is_passed = is_accepted & (self.times[self.trajectory, self.next_look] <= after)
        lanes = np.flatnonzero(is_passed)
        if not lanes.size:
            return
        arrays = [rows, h, self.state, new, self.parameters]
        if lanes.size < h.size:
            arrays = [array.take(lanes, axis=-1) for array in arrays]
        coefficients = self._polynomial(*arrays)
        h, old = arrays[1], arrays[2]
        while lanes.size:
            trajectory, look = self.trajectory[lanes], self.next_look[lanes]
            x = (self.times[trajectory, look] - self.time[lanes]) / h
            state = coefficients[6] * x
            for power in range(5, -1, -1):
                state += coefficients[power]
                state *= 1 - x if power % 2 else x
            state += old
            self.seen[trajectory, look] = state.T
            self.next_look[lanes] += 1
            again = np.flatnonzero(self.times[trajectory, look + 1] <= after[lanes])
            lanes = lanes[again]
            if again.size < h.size:
                coefficients, h, old = (array.take(again, axis=-1) for array in (coefficients, h, old))

    def _polynomial(self, rows: Array, h: Array, old: Array, new: Array, parameters: Array) -> Array:
        """(7, coordinate, lane) coefficients in x and 1 - x, in turn."""
        n = self.n_coordinates
        for i in range(N_STAGES, len(VELOCITY_STAGES)):
            self._stage(i, rows, h * h, parameters)
        coefficients = np.empty((7, *old.shape))
        shift, at_start, at_end = coefficients[:3]
        np.subtract(new, old, out=shift)
        at_start[:n], at_start[n:] = rows[1], rows[2] / h
        at_start -= shift
        at_end[:n], at_end[n:] = h * new[n:], rows[2 + 12] / h
        np.subtract(shift - at_start, at_end, out=at_end)
        dense = _combined(DENSE_ROWS, rows[2:]).reshape(2, 4, n, -1)
        coefficients[3:, :n] = dense[0]
        np.divide(dense[1], h, out=coefficients[3:, n:])
        return coefficients


def _combined(weights: Array, rows: Array) -> Array:
    """(…, coordinate, lane) sums of the first rows (row, coordinate, lane), weighted (…, row)."""
    flat = rows.reshape(len(rows), -1)[: weights.shape[-1]]
    return (weights @ flat).reshape(*weights.shape[:-1], *rows.shape[1:])

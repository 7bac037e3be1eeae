"""The Kalman filter: a quantity and how fast it changes are a state, of which counts are linear and noisy readings.

Source: Wu et al. (2006), Neural Computation 18, 80–118: all matrices are fitted in closed form to training trials.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from sklearn.covariance import ledoit_wolf

from motet.errors import InputError
from motet.rivals.filters import Array, Bins, FilterRival, Series, position_in_run, steps
from motet.rivals.tuning import Options

FEWEST_STARTS = 10  # runs of bins whose first states show where states begin
STEADY = 1e-9  # relative change below which the uncertainty has settled


@dataclasses.dataclass(frozen=True)
class KalmanRival(FilterRival):
    """The Kalman filter.

    Its options: how many bins later a state shows in counts; whether the state holds the change since the bin before;
    and how much of the evidence of a bin is believed, since the noise of neighbouring bins is not independent.
    """

    options: ClassVar = {"delay": (0, 1, 2), "has_change": (True, False), "trust": (1.0, 0.03, 0.1, 0.3)}

    def fitted(self, series: Series, chosen: Options) -> KalmanFilter:
        # 1. states: the quantity, and its change since the bin before (the first has the change of the second)
        position, goal = position_in_run(series.bins), series.goal
        states = goal
        if chosen["has_change"]:
            change = np.diff(goal, axis=1, prepend=0) * (position > 0)[..., None]
            following = np.roll(position, -1, axis=1) == 1
            change = np.where(((position == 0) & following)[..., None], np.roll(change, -1, axis=1), change)
            states = np.concatenate([goal, change], axis=2)
        known = states[series.bins]
        mean = known.mean(axis=0)
        # 2. where they begin
        starts = states[position == 0]
        begin = starts if len(starts) >= FEWEST_STARTS else known
        # 3. how they move on: centred x' = A x + noise of covariance W
        goes_on = position > 0
        if not goes_on.any():
            raise InputError("no two neighbouring bins of its target are known; give some.")
        before, after = (states - mean)[np.roll(goes_on, -1, axis=1)], (states - mean)[goes_on]
        motion = np.linalg.lstsq(before, after, rcond=None)[0].T
        drift = after - before @ motion.T
        # 4. how they are read: centred z = C x + noise of covariance Q
        seen = _delayed(series.roots, chosen["delay"])[series.bins]
        level = seen.mean(axis=0)
        reading = np.linalg.lstsq(known - mean, seen - level, rcond=None)[0].T
        noise = ledoit_wolf(seen - level - (known - mean) @ reading.T, assume_centered=True)[0]
        noise[np.diag_indices_from(noise)] += np.finfo(float).eps * max(np.trace(noise), np.finfo(float).tiny)
        weighing = chosen["trust"] * np.linalg.solve(noise, reading).T
        return KalmanFilter(
            mean=mean,
            begin=begin.mean(axis=0) - mean,
            begin_covariance=np.cov(begin, rowvar=False).reshape(len(mean), len(mean)),
            motion=motion,
            motion_covariance=drift.T @ drift / len(drift),
            level=level,
            weighing=weighing,
            information=weighing @ reading,
            delay=chosen["delay"],
            n_outputs=goal.shape[2],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class KalmanFilter:
    """A fitted Kalman filter; states are centred.

    Attributes:
        mean: (state,) of states.
        begin: (state,) expected first state.
        begin_covariance: (state, state) of first states.
        motion: (state, state) from one bin to the next.
        motion_covariance: (state, state) of what that leaves.
        level: (input,) mean √counts.
        weighing: (state, input) what a deviation from the mean says about the state.
        information: (state, state) how much.
        delay: bins by which counts come later than the state.
        n_outputs: of the quantity, which comes first in a state.
    """

    mean: Array
    begin: Array
    begin_covariance: Array
    motion: Array
    motion_covariance: Array
    level: Array
    weighing: Array
    information: Array
    delay: int
    n_outputs: int

    @property
    def n_parameters(self) -> int:
        n_states, n_inputs = self.weighing.shape
        n_fitted = 2 * n_states + n_inputs + n_states**2 + n_inputs * n_states
        return n_fitted + n_states * (n_states + 1) + n_inputs * (n_inputs + 1) // 2

    def estimates(self, roots: Array, bins: Bins) -> Array:
        """See `Filter`."""
        evidence = (_delayed(roots, self.delay) - self.level) @ self.weighing.T
        found = np.zeros((*bins.shape, self.n_outputs))
        states, covariance, is_steady = np.empty((0, 0)), self.begin_covariance, False
        for step, (trial, time) in enumerate(steps(bins)):
            states = states[: len(trial)] @ self.motion.T if step else np.tile(self.begin, (len(trial), 1))
            if not is_steady:
                # Every run is as sure after as many bins: the covariance depends on no count.
                before = covariance
                if step > 0:
                    covariance = self.motion @ covariance @ self.motion.T + self.motion_covariance
                unsure = np.eye(len(covariance)) + covariance @ self.information
                covariance = np.asarray(np.linalg.solve(unsure, covariance), dtype=np.float64)
                is_steady = step > 0 and bool(np.abs(covariance - before).max() <= STEADY * np.abs(covariance).max())
            states = states + (evidence[trial, time] - states @ self.information.T) @ covariance.T
            found[trial, time] = (states + self.mean)[:, : self.n_outputs]
        return found


def _delayed(roots: Array, delay: int) -> Array:
    """√counts so many bins before, zeros before the trial."""
    return roots if delay == 0 else np.pad(roots, ((0, 0), (delay, 0), (0, 0)))[:, : roots.shape[1]]


KALMAN = KalmanRival("kalman")

"""Calibration: probabilities of edge types that hold at every size of system."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from motet.errors import InputError
from motet.settings import Finite, Positive, Settings


@dataclasses.dataclass(frozen=True)
class Calibration(Settings, role="calibration"):
    """A temperature, and a prior of each edge type that shifts with the number of individuals.

    In a system of many small groups few pairs interact: a model that learned on small systems expects too many. The
    shift is linear in log(N − 1), as the share of partners among the others is.

    Attributes:
        temperature: log-probabilities are divided by it; above 1 where the model was too sure.
        prior: (type,) added to log-probabilities; 0 for the first type.
        prior_by_size: (type,) added, times log(N − 1).
    """

    temperature: Positive
    prior: tuple[Finite, ...]
    prior_by_size: tuple[Finite, ...]

    def check(self) -> None:
        if len(self.prior) != len(self.prior_by_size):
            raise InputError(f"a calibration has one of each prior per type; given {self}.")

    @classmethod
    def none(cls, n_types: int) -> Calibration:
        """Leaves probabilities as they are."""
        return cls(1.0, (0.0,) * n_types, (0.0,) * n_types)

    @classmethod
    def fit(cls, log_probability: ArrayLike, *, truth: ArrayLike, n_individuals: ArrayLike) -> Calibration:
        """Maximise the likelihood of pairs that were not trained on.

        Args:
            log_probability: (pair, type).
            truth: (pair,) type.
            n_individuals: (pair,) size of the system that each pair is of. Where all are of one size, the prior does
                not shift with it.

        Raises:
            InputError: if there are no pairs.
        """
        given, known = np.asarray(log_probability, dtype=np.float64), np.asarray(truth, dtype=np.int64)
        if len(known) == 0:
            raise InputError("no validation pair is known; give validation trials with the truth to calibrate on.")
        size = np.log(np.maximum(np.asarray(n_individuals, dtype=np.float64) - 1, 1))
        n_types = given.shape[1]
        n_slopes = n_types - 1 if np.ptp(size) > 0 else 0
        rows = np.arange(len(known))

        # A weak pull to no change keeps separated pairs finite. The slope is pulled more, the less sizes differ: what
        # holds at two near ones must not run away at a third.
        pull = np.repeat([1e-4, 1e-4 / max(float(size.var()), 1e-2)], [n_types, n_slopes])

        def unpacked(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
            prior, slope = np.zeros(n_types), np.zeros(n_types)
            prior[1:] = x[1:n_types]
            slope[1 : 1 + n_slopes] = x[n_types:]
            return float(np.exp(x[0])), prior, slope

        def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            temperature, prior, slope = unpacked(x)
            logits = given / temperature + prior + slope * size[:, None]
            log_p = log_softmax(logits, axis=1)
            error = np.exp(log_p)
            error[rows, known] -= 1
            error /= len(known)
            gradient = np.concatenate(
                (
                    [-(error * given).sum() / temperature],
                    error.sum(axis=0)[1:],
                    (error * size[:, None]).sum(axis=0)[1 : 1 + n_slopes],
                )
            )
            return -log_p[rows, known].mean() + float(pull @ x**2), gradient + 2 * pull * x

        found = minimize(loss, np.zeros(n_types + n_slopes), jac=True, method="L-BFGS-B")
        temperature, prior, slope = unpacked(found.x)
        return cls(temperature, tuple(prior.tolist()), tuple(slope.tolist()))

    def __call__(self, log_probability: ArrayLike, n_individuals: ArrayLike) -> NDArray[np.float64]:
        """Calibrated log-probabilities.

        Args:
            log_probability: (trial, …, type).
            n_individuals: (trial,) individuals observed.
        """
        given = np.asarray(log_probability, dtype=np.float64)
        size = np.log(np.maximum(np.asarray(n_individuals, dtype=np.float64) - 1, 1))
        size = size.reshape(-1, *(1,) * (given.ndim - 1))
        logits = given / self.temperature + np.asarray(self.prior) + np.asarray(self.prior_by_size) * size
        return np.asarray(log_softmax(logits, axis=-1))

"""Pairs: which two individuals are one, in NumPy and in torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def are_pairs(observed: Any) -> Any:
    """(trial, individual, individual): whether two different individuals, both observed at some time.

    Args:
        observed: (trial, individual, time) bool, an array or a tensor; so is what it returns.

    Example:
        >>> are_pairs(np.array([[[True], [True], [False]]]))[0].astype(int).tolist()
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    """
    is_here = observed.any(-1)
    both, is_other = is_here[:, :, None] & is_here[:, None], ~np.eye(is_here.shape[1], dtype=bool)
    return both & (is_other if isinstance(both, np.ndarray) else both.new_tensor(is_other))


def only_pairs(scores: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores (trial, individual, individual[, …]), NaN where there is no pair.

    Args:
        scores: of all ordered pairs.
        observed: (trial, individual, time).
    """
    is_pair = are_pairs(observed)
    return np.where(is_pair.reshape(is_pair.shape + (1,) * (scores.ndim - 3)), scores, np.nan)


def n_observed(observed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(trial,) individuals that are observed at some time."""
    return np.asarray(observed.any(axis=2).sum(axis=1))

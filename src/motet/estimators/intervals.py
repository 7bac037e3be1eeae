"""Intervals of quantities: how far from the truth a decoder was on trials that it had not learned from."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError
from motet.settings import NonNegative, Settings

N_RANKS = 400  # that distances are kept at


@dataclasses.dataclass(frozen=True)
class Distances(Settings, role="intervals"):
    """Distances between prediction and truth, per dimension of a quantity, sorted.

    An interval reaches to both sides as far as the share of distances that it should cover did: conformal prediction
    (Vovk, Gammerman and Shafer 2005) on trials left out in turn. Bins of one trial err together, so what is covered of
    new bins is near that share, and not guaranteed; tables show what was covered.

    Attributes:
        n_rows: how many distances there were.
        ranks: (dimension, rank) of them, evenly from the least to the greatest.
    """

    n_rows: int
    ranks: tuple[tuple[NonNegative, ...], ...]

    @classmethod
    def of(cls, distance: NDArray[np.float64]) -> Distances:
        """Of distances (row, dimension).

        Example:
            >>> Distances.of(np.arange(1.0, 100.0)[:, None]).reach(0.9)
            array([90.])
        """
        at = np.linspace(0, len(distance) - 1, min(N_RANKS, len(distance))).round().astype(np.int64)
        kept = np.sort(distance, axis=0)[at]
        return cls(len(distance), tuple(tuple(column.tolist()) for column in kept.T))

    def reach(self, coverage: float) -> NDArray[np.float64]:
        """(dimension,) how far an interval reaches to both sides; infinitely, if there were too few distances.

        Raises:
            InputError: if the coverage is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise InputError(f"coverage is {coverage!r}; give a fraction between 0 and 1.")
        ranks = np.asarray(self.ranks)
        needed = np.ceil((self.n_rows + 1) * coverage)
        if needed > self.n_rows:
            return np.full(len(ranks), np.inf)
        place = (needed - 1) / max(1, self.n_rows - 1) * (ranks.shape[1] - 1)
        return np.array(ranks[:, int(np.ceil(place - 1e-9))])

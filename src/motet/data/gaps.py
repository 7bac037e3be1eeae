"""Gaps: what a series is taken to be where it was not observed."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor


def bridged(values: Float[Tensor, "*series time feature"], observed: Bool[Tensor, "*series time"]) -> Tensor:
    """Values with straight lines over gaps, held before the first and after the last observed bin.

    0 where nothing is observed at any time.

    Example:
        >>> values = torch.tensor([[1.0], [9.0], [3.0], [9.0]])
        >>> bridged(values, torch.tensor([True, False, True, False])).flatten().tolist()
        [1.0, 2.0, 3.0, 3.0]
    """
    n_bins = observed.shape[-1]
    time = torch.arange(n_bins, device=values.device)
    before = torch.where(observed, time, -1).cummax(dim=-1).values
    after = torch.where(observed, time, n_bins).flip(-1).cummin(dim=-1).values.flip(-1)
    first, last = torch.where(before < 0, after, before), torch.where(after == n_bins, before, after)
    first, last = first.clamp(0, n_bins - 1), last.clamp(0, n_bins - 1)
    share = ((time - first).to(values.dtype) / (last - first).clamp(min=1)).clamp(0, 1)[..., None]

    def at(bins: Tensor) -> Tensor:
        return values.gather(-2, bins[..., None].expand_as(values))

    between = at(first) * (1 - share) + at(last) * share
    return torch.where(observed[..., None], values, torch.where(observed.any(-1)[..., None, None], between, 0.0))


def bridged_array(values: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`bridged` of NumPy arrays."""
    found = bridged(torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(np.ascontiguousarray(observed)))
    return np.asarray(found.numpy())

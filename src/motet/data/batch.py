"""A `Batch`: trials of one or more recordings, padded to one size, as tensors."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BATCH_BYTES = 1 << 30  # that a model may take for one batch


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Padded trials; populations of different size mix in one batch.

    Attributes:
        values: (trial, individual, time, feature) float; 0 where not observed.
        observed: (trial, individual, time) bool; False for padding and gaps.
        individual_ids: for each recording the names of its individuals.
        positions: (recording, individual): which of these names is at each place of the individual axis; -1 is padding.
        recording_index: (trial,) which recording each trial came from.
        targets: by name; classes are int64 with -1 for unknown, quantities float32 with NaN for
            unknown and padding.

    Example:
        >>> import motet
        >>> small, large = (motet.Recording.from_trials([[[1.0]] * n], name=str(n)) for n in (2, 3))
        >>> batch = motet.PopulationDataset([small, large]).batch()
        >>> batch.values.shape, batch.observed[:, :, 0].tolist()
        (torch.Size([2, 3, 1, 1]), [[True, True, False], [True, True, True]])
    """

    values: Float[Tensor, "trial individual time feature"]
    observed: Bool[Tensor, "trial individual time"]
    individual_ids: tuple[tuple[str, ...], ...]
    positions: Int[Tensor, "recording individual"]
    recording_index: Int[Tensor, " trial"]
    targets: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def bin_is_observed(self) -> Bool[Tensor, "trial time"]:
        return self.observed.any(dim=1)

    def replace(self, **fields: Any) -> Batch:
        """The same batch with some fields changed."""
        return dataclasses.replace(self, **fields)

    def keep_individuals(self, kept: Int[Tensor, " kept"]) -> Batch:
        """The batch with only these places of the individual axis. Targets per individual are not touched."""
        return self.replace(
            values=self.values[:, kept], observed=self.observed[:, kept], positions=self.positions[:, kept]
        )

    def without(self, hidden: Bool[Tensor, "trial individual time"]) -> Batch:
        """The batch in which these bins were not observed."""
        return self.replace(values=self.values.masked_fill(hidden[..., None], 0), observed=self.observed & ~hidden)

    def split(self, n_trials: int) -> list[Batch]:
        """The batch in parts of at most `n_trials`; itself, if that is one."""
        if len(self) <= n_trials:
            return [self]
        return [self.of_trials(slice(first, first + n_trials)) for first in range(0, len(self), n_trials)]

    def of_trials(self, chosen: slice | Tensor) -> Batch:
        """The batch of some of its trials: a slice, positions or a mask."""
        return self._changed(operator.itemgetter(chosen), ("values", "observed", "recording_index"))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._changed(lambda tensor: tensor.to(device), ("values", "observed", "positions", "recording_index"))

    def _changed(self, change: Callable[[Tensor], Tensor], names: Iterable[str]) -> Batch:
        targets = {name: change(target) for name, target in self.targets.items()}
        return self.replace(targets=targets, **{name: change(getattr(self, name)) for name in names})

"""`Regress`: one or several quantities, per trial or per time bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from motet.data.batch import Batch
from motet.metrics import r2
from motet.models.eit import Encoding
from motet.training.objectives.objective import ObjectiveSettings, Supervised
from motet.training.objectives.target import Target


class Regress(Supervised):
    """One or several quantities, per trial or per time bin; squared error in units of their training spread.

    Arguments as `Supervised`.
    """

    reads = "quantity"

    def __init__(self, target: Target, *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings) -> None:
        super().__init__(target, n_outputs=len(target.mean), width=width, ids=ids, settings=settings)

    def coded(self, target: NDArray[Any]) -> NDArray[np.float64]:
        return self.target.standardised(target)

    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]:
        target, known = self.known(batch)
        squared, weight = (output - target)[known].square(), self.row_weight(batch)
        total = squared.sum() if weight is None else (squared * weight[known][:, None]).sum()
        return total / max(1, squared.numel())

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """The quantity in its own units, float64; the mean of both heads."""
        individual, population = self.read(encoding, batch)
        mean = 0.5 * (individual + population).double()
        mean = mean.reshape(*mean.shape[:-1], *self.target.shape) * self.target.std
        return {self.name: mean + torch.as_tensor(self.target.centre, device=mean.device)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """R²; NaN where the target does not vary."""
        true, predicted = [], []
        for prediction, batch in zip(predictions, batches, strict=True):
            target, known = (part.numpy(force=True) for part in self.known(batch))
            units = self.target.standardised(prediction[self.name].numpy(force=True))
            true.append(target[known])
            predicted.append(units.reshape(target.shape)[known])
        return r2(prediction=np.concatenate(predicted), target=np.concatenate(true))

    def known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The target (…, dimension) in units of its spread, and (…) where it is known."""
        given = batch.targets[self.name]
        target = given.reshape(*given.shape[: 2 - (self.target.level == "trial")], -1)
        return target, target.isfinite().all(dim=-1) & self.is_observed(batch)

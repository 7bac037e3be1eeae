"""`Classify`: one of several classes, per trial or per time bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from motet.data.batch import Batch
from motet.models.eit import Encoding
from motet.training.objectives.objective import ObjectiveSettings, Supervised
from motet.training.objectives.target import Target


class Classify(Supervised):
    """One of several classes, per trial or per time bin; cross-entropy. Arguments as `Supervised`."""

    reads = "class"

    def __init__(self, target: Target, *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings) -> None:
        super().__init__(target, n_outputs=len(target.classes), width=width, ids=ids, settings=settings)

    def coded(self, target: NDArray[Any]) -> NDArray[np.int64]:
        return self.target.codes(target)

    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]:
        target = batch.targets[self.name].masked_fill(~self.is_observed(batch), -1)
        weight = self.row_weight(batch)
        losses = F.cross_entropy(
            output.flatten(0, -2),
            target.flatten(),
            ignore_index=-1,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum" if weight is None else "none",
        )
        total = losses if weight is None else losses @ weight.flatten()
        return total / (target >= 0).sum().clamp(min=1)

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """Probabilities, (trial, class) or (trial, time, class); the mean of both heads' log-probabilities."""
        individual, population = self.read(encoding, batch)
        joint = individual.log_softmax(dim=-1) + population.log_softmax(dim=-1)
        return {self.name: (0.5 * joint).softmax(dim=-1)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """Accuracy over known labels."""
        n_right = n_known = 0
        for prediction, batch in zip(predictions, batches, strict=True):
            target = batch.targets[self.name]
            known = (target >= 0) & self.is_observed(batch)
            n_right += int((prediction[self.name].argmax(dim=-1) == target)[known].sum())
            n_known += int(known.sum())
        return n_right / n_known if n_known else float("nan")

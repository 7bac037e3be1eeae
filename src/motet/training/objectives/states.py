"""`HiddenState`: a hidden quantity of each individual, such as a mass or a charge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.pairs import are_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import r2
from motet.models.eit import Encoding
from motet.training.objectives.objective import Coded, Objective
from motet.training.objectives.target import Target


class HiddenState(Objective):
    """A hidden quantity of each individual, such as a mass or a charge; Huber loss in units of its spread.

    1. Gather: pairs say what each individual does to others and what others do to it, averaged by learned weights; so
       do the couplings that were fitted.
    2. Read: from that and from its own embedding, averaged over time.

    Args:
        target: of level "individual", one number; see `state_target`.
        embedding_width: of an individual's embedding.
        width: of the embedding of a pair.
        n_laws: of the couplings that the model fits.
    """

    reads = "states"

    def __init__(self, target: Target, *, embedding_width: int, width: int, n_laws: int) -> None:
        super().__init__()
        self.target = target
        self.name, self.weight = target.name, target.weight
        self.gate = nn.Linear(width, 2)
        n_inputs = 2 * width + 2 * n_laws
        self.norm = nn.LayerNorm(2 * width)
        self.linear = nn.Linear(n_inputs, 1)
        self.nonlinear = nn.Sequential(
            nn.Linear(n_inputs + embedding_width, 2 * width), nn.GELU(), nn.Linear(2 * width, 1)
        )

    def targets(self, recording: Recording) -> Coded:
        unknown = np.full((recording.n_trials, recording.n_individuals), np.nan)
        return {self.name: ("individual", self.target.standardised(recording.targets.get(self.name, unknown)))}

    def read(self, encoding: Encoding) -> Float[Tensor, "trial individual"]:
        """In units of the spread, from the mean."""
        assert encoding.pair is not None
        assert encoding.coupling is not None

        # 1. Gather
        seen = torch.cat((encoding.pair, encoding.coupling.float().clamp(-20, 20)), dim=-1)
        weight = torch.where(are_pairs(encoding.observed)[..., None], self.gate(encoding.pair), -1e4)
        by_others = (seen * weight[..., :1].softmax(dim=1)).sum(1)
        by_own = (seen * weight[..., 1:].softmax(dim=2)).sum(2)
        width = encoding.pair.shape[-1]
        pairs = self.norm(torch.cat((by_others[..., :width], by_own[..., :width]), dim=-1))
        gathered = torch.cat((pairs, by_others[..., width:], by_own[..., width:]), dim=-1)

        # 2. Read
        n_bins = encoding.observed.sum(-1, keepdim=True).clamp(min=1)
        own = encoding.population.sum(2) / n_bins
        return (self.linear(gathered) + self.nonlinear(torch.cat((gathered, own), dim=-1))).squeeze(-1)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        target, known = self._known(batch)
        difference = (self.read(encoding) - target)[known]
        return F.huber_loss(difference, torch.zeros_like(difference), reduction="sum") / max(1, difference.numel())

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """(trial, individual), in its own units, float64."""
        return {self.name: self.read(encoding).double() * self.target.std + self.target.mean[0]}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """R²; NaN where the target does not vary."""
        true, predicted = [], []
        for prediction, batch in zip(predictions, batches, strict=True):
            target, known = (part.numpy(force=True) for part in self._known(batch))
            true.append(target[known])
            predicted.append(self.target.standardised(prediction[self.name].numpy(force=True))[known])
        return r2(prediction=np.concatenate(predicted), target=np.concatenate(true))

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        target = batch.targets[self.name]
        return target, target.isfinite() & batch.observed.any(dim=-1)


def state_target(train: PopulationDataset, name: str, *, weight: float) -> Target:
    """Mean and spread of a quantity per individual in training trials.

    Raises:
        InputError: if the target is unknown, not one number per individual, or never known.
    """
    target = Target.fit(train, name, kind="quantity", levels=("individual",), weight=weight)
    if target.shape:
        raise InputError(f"target {name!r} has shape {target.shape}; a state is one number per individual.")
    return target

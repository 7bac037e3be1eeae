"""Episodes: what the steps of pretraining imitate. Each is of one use; several uses are learned `InTurn`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import Encoding
from motet.settings import Count, Fraction, NonNegative, Settings
from motet.training.objectives.objective import Coded, Objective

Use = Literal["context", "masked", "views"]
TURN = "which objective"


@dataclasses.dataclass(frozen=True)
class EpisodeSettings(Settings, role="objective"):
    """What steps of pretraining are like.

    Attributes:
        learn: what steps are of, and in which proportion. "context": decode a target from few labelled trials. Without
            labels: "masked": predict values that are hidden; "views": find each individual again in other trials. By
            default {context: 1} with a target, and {masked: 1, views: 1} without; 0 is left out.
        labelled: of context, how many trials of each class are labelled; drawn for every episode.
        hidden_individuals: of context and masked, from how many to how many of the individuals are left out of a step,
            as fractions.
        root_weight: of context, of the loss of root counts alone beside that of root counts and embeddings.
        hidden_bins: of masked, the fraction of a trial's bins that are hidden in all individuals.
        hidden_stretches: of masked, the fraction of individuals of which a stretch of a trial, or all of it, is hidden.

    Example:
        >>> import motet
        >>> motet.EITEncoder(objective=EpisodeSettings(learn={"masked": 1, "views": 1})).objective.hidden_bins
        0.1
    """

    learn: dict[Use, NonNegative] | None = None
    labelled: tuple[Count, ...] = (1, 2, 3, 5, 8)
    hidden_individuals: tuple[Fraction, Fraction] = (0.0, 0.5)
    root_weight: NonNegative = 0.5
    hidden_bins: Fraction = 0.1
    hidden_stretches: Fraction = 0.3

    def check(self) -> None:
        least, most = self.hidden_individuals
        if least > most:
            raise InputError(f"objective.hidden_individuals is {least} to {most}; give the lower fraction first.")
        if not self.labelled:
            raise InputError("objective.labelled is empty; give one number of trials at least.")
        if not self.uses(has_target=False):
            raise InputError(f"objective.learn is {self.learn}; give a weight above 0 to context, masked or views.")
        if "masked" in self.uses(has_target=False) and self.hidden_bins == self.hidden_stretches == 0:
            raise InputError("objective.learn has masked, and nothing is hidden; give hidden_bins or hidden_stretches.")

    def kept(self, n_individuals: int, generator: torch.Generator) -> Int[Tensor, " kept"]:
        """The places of the individuals that are not left out of a step."""
        least, most = self.hidden_individuals
        share = 1 - (least + (most - least) * float(torch.rand((), generator=generator)))
        return torch.randperm(n_individuals, generator=generator)[: max(1, round(share * n_individuals))].sort().values

    def uses(self, *, has_target: bool) -> dict[Use, float]:
        """What is learned, by weights above 0."""
        learn = self.learn
        if learn is None:
            learn = {"context": 1.0} if has_target else {"masked": 1.0, "views": 1.0}
        return {use: weight for use, weight in sorted(learn.items()) if weight}


class InTurn(Objective):
    """Several objectives, each with a view of the batch of its own: a training step is of one, drawn by their weights.

    Args:
        objectives: first the one whose score is that of training.
    """

    reads = "several"

    def __init__(self, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.objectives = nn.ModuleList(objectives)
        self.name, self.score_name = self.parts[0].name, self.parts[0].score_name

    @property
    def parts(self) -> list[Objective]:
        return cast(list[Objective], list(self.objectives))

    def targets(self, recording: Recording) -> Coded:
        return {name: coded for part in self.parts for name, coded in part.targets(recording).items()}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        weights = torch.tensor([part.weight for part in self.parts])
        turn = int(torch.multinomial(weights, 1, generator=generator))
        return _tagged(self.parts[turn].hide(batch, generator), turn)

    def validated(self, batch: Batch) -> list[Batch]:
        return [_tagged(shown, turn) for turn, part in enumerate(self.parts) for shown in part.validated(batch)]

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        """Of the one whose turn it is; in validation by its weight, so that all add up to what training minimises."""
        part = self._part(batch)
        share = 1.0 if self.training else part.weight / sum(other.weight for other in self.parts)
        idle = [0.0 * p.sum() for other in self.parts if other is not part for p in other.parameters()]
        return part.loss(encoding, batch) * share + sum(idle)  # so that every process has all gradients

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        return self._part(batch).predict(encoding, batch)

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        return self.scores(predictions, batches)[self.score_name]

    def scores(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in self.parts:
            own = [(p, b) for p, b in zip(predictions, batches, strict=True) if part.name in p]
            found |= part.scores([p for p, _ in own], [b for _, b in own])
        return found

    def _part(self, batch: Batch) -> Objective:
        return self.parts[int(batch.targets[TURN][0])]


def _tagged(batch: Batch, turn: int) -> Batch:
    return batch.replace(targets={**batch.targets, TURN: torch.full((len(batch),), turn)})

"""`RecoverInteractions`: who interacts with whom, the edge type of every pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.pairs import are_pairs
from motet.data.readers.arrays import system_numbers
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc, differs_by_order
from motet.models.eit import Encoding
from motet.models.geometry import Geometry
from motet.settings import Positive, Settings, Share
from motet.training.augment import cropped, repaired, turned
from motet.training.objectives.objective import Coded, Objective
from motet.training.objectives.target import Target

SYSTEM = "system"
"""The target (trial, individual) that says which independent system each individual is of."""


@dataclasses.dataclass(frozen=True)
class InteractionSettings(Settings, role="objective"):
    """How interactions are learned.

    Attributes:
        is_directed: whether the first of a pair may act on the second otherwise than the second on the first.
        state_weight: of the loss of each state beside that of the pairs.
        repair: whether independent systems are recombined from step to step; needs the target "system".
        turn: whether trials are turned and mirrored from step to step.
        shortest: a training step reads a random stretch of its trials, of at least this fraction of their bins.

    Example:
        >>> import motet
        >>> motet.EITInteractions(objective=InteractionSettings(is_directed=True)).objective.is_directed
        True
    """

    is_directed: bool = False
    state_weight: Positive = 0.3
    repair: bool = True
    turn: bool = True
    shortest: Share = 0.5


class RecoverInteractions(Objective):
    """Who interacts with whom: the edge type of every pair; cross-entropy over pairs whose truth is known.

    Args:
        target: of level "pair", see `pair_target`.
        states: names of targets per individual that the same trials carry.
        width: of the embedding of a pair.
        geometry: see `Geometry`.
        settings: see `InteractionSettings`.
    """

    reads = "pairs"

    def __init__(
        self,
        target: Target,
        *,
        states: Sequence[str],
        width: int,
        geometry: Geometry,
        settings: InteractionSettings,
    ) -> None:
        super().__init__()
        self.target = target
        self.name, self.weight = target.name, target.weight
        self.states = tuple(states)
        self.geometry = geometry
        self.settings = settings
        self.readout = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(target.classes))
        )

    def targets(self, recording: Recording) -> Coded:
        """Each edge type as its place among the classes, -1 where it is not known; and the systems, if there are."""
        n = recording.n_individuals
        types = recording.targets.get(self.name, np.full((recording.n_trials, n, n), -1))
        coded: Coded = {self.name: ("pair", np.where(np.eye(n, dtype=bool), -1, self.target.codes(types)))}
        if SYSTEM not in recording.targets:
            return coded
        return {**coded, SYSTEM: ("individual", system_numbers(recording.targets[SYSTEM]))}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        # Between systems there is no edge, type 0: where that is no type, systems stay.
        if self.settings.repair and SYSTEM in batch.targets and 0 in self.target.classes:
            batch = repaired(
                batch,
                generator,
                geometry=self.geometry,
                system=SYSTEM,
                per_individual=self.states,
                per_pair=[self.name],
            )
        if self.settings.turn:
            batch = turned(batch, self.geometry, generator)
        return cropped(batch, generator, least=self.settings.shortest)

    def logits(self, encoding: Encoding) -> Float[Tensor, "trial individual individual type"]:
        """Unnormalised log-probabilities of the edge types; the same both ways, unless directed."""
        assert encoding.pair is not None, "interactions are read from a model of pairs"
        pair = encoding.pair
        return self.readout(pair if self.settings.is_directed else pair + pair.transpose(1, 2))

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        known, target = self._known(batch)
        logits = self.logits(encoding)[known]
        return F.cross_entropy(logits, target[known], reduction="sum") / known.sum().clamp(min=1)

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """Log-probabilities of the edge types, (trial, individual, individual, type)."""
        return {self.name: self.logits(encoding).log_softmax(dim=-1)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """AUROC of two edge types; accuracy of more."""
        truths, log_probabilities = [], []
        for prediction, batch in zip(predictions, batches, strict=True):
            known, target = self._known(batch)
            truths.append(target[known])
            log_probabilities.append(prediction[self.name][known])
        truth, log_p = torch.cat(truths), torch.cat(log_probabilities)
        if len(self.target.classes) > 2 or not (truth == 0).any() or not (truth == 1).any():
            return float((log_p.argmax(dim=-1) == truth).float().mean())
        return auroc(prediction=(log_p[:, 1] - log_p[:, 0]).numpy(force=True), target=truth.numpy(force=True))

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        target = batch.targets[self.name]
        return (target >= 0) & are_pairs(batch.observed), target


def pair_target(train: PopulationDataset, name: str, *, is_directed: bool) -> Target:
    """The edge types that there are in training trials; numbers below 0 mean that a pair is not known.

    Raises:
        InputError: if the target is unknown, not per pair, not of whole numbers, of one type only, or not the same both
            ways although it is not directed.
    """
    target = Target.fit(train, name, kind="class", levels=("pair",))
    for recording in train.recordings:
        if not is_directed and name in recording.targets and differs_by_order(recording.targets[name]):
            raise InputError(
                f"target {name!r} of recording {recording.name!r} is not the same both ways; set "
                "objective.is_directed, or give a symmetric one."
            )
    return target

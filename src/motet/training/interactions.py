"""Objectives on pairs and individuals: who interacts with whom, and the hidden state of each."""

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
from motet.data.readers.arrays import system_numbers
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc
from motet.models.eit import Encoding
from motet.models.geometry import Geometry
from motet.settings import Positive, Settings, Share
from motet.training.augment import cropped, repaired, turned
from motet.training.objectives import Target, Targeted, r2_or_nan


@dataclasses.dataclass(frozen=True)
class InteractionSettings(Settings, role="objective"):
    """How interactions are learned.

    Attributes:
        is_directed: whether the first of a pair may act on the second otherwise than the second on the first.
        state_weight: of the loss of each state beside that of the pairs.
        repair: whether independent systems change company from step to step; needs the target "system".
        turn: whether trials are turned and mirrored from step to step.
        shortest: a training step reads a random stretch of its trials, of at least this fraction of their bins.
    """

    is_directed: bool = False
    state_weight: Positive = 0.3
    repair: bool = True
    turn: bool = True
    shortest: Share = 0.5


class RecoverInteractions(Targeted):
    """Who interacts with whom: the edge type of every pair; cross-entropy over pairs whose truth is known.

    Args:
        target: of level "pair", see `learn_pairs`.
        states: names of targets per individual that the same trials carry.
        width: of the embedding of a pair.
        geometry: see `Geometry`.
        settings: see `InteractionSettings`.
    """

    system = "system"

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
        self.states = tuple(states)
        self.geometry = geometry
        self.settings = settings
        self.readout = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(target.classes))
        )

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with each edge type as its position among the classes; -1 where it is not known."""

        def encoded(recording: Recording) -> Recording:
            name, n = self.target.name, recording.n_individuals
            given = recording.targets.get(name, np.full((recording.n_trials, n, n), -1))
            position = np.searchsorted(self.target.classes, given).clip(max=len(self.target.classes) - 1)
            known = (np.asarray(self.target.classes)[position] == given) & ~np.eye(n, dtype=bool)
            targets = {**recording.targets, name: np.where(known, position, -1)}
            if self.system in targets:
                targets[self.system] = system_numbers(targets[self.system])
            return dataclasses.replace(
                recording,
                targets=targets,
                target_levels={**recording.target_levels, name: "pair"},
            )

        return dataset.map(encoded)

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        # Between systems there is no edge, type 0: where that is no type, systems stay.
        if self.settings.repair and self.system in batch.targets and 0 in self.target.classes:
            batch = repaired(
                batch,
                generator,
                geometry=self.geometry,
                system=self.system,
                per_individual=self.states,
                per_pair=[self.target.name],
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
        return {self.target.name: self.logits(encoding).log_softmax(dim=-1)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """AUROC of two edge types; accuracy of more."""
        truths, scores, right = [], [], []
        for prediction, batch in zip(predictions, batches, strict=True):
            known, target = self._known(batch)
            log_probability = prediction[self.target.name][known]
            truths.append(target[known])
            scores.append(log_probability[:, 1] - log_probability[:, 0])
            right.append(log_probability.argmax(dim=-1) == target[known])
        truth = torch.cat(truths)
        if len(self.target.classes) > 2 or not (truth == 0).any() or not (truth == 1).any():
            return float(torch.cat(right).float().mean())
        return auroc(prediction=torch.cat(scores).detach().cpu().numpy(), target=truth.cpu().numpy())

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        is_here = batch.observed.any(dim=-1)
        target = batch.targets[self.target.name]
        return (target >= 0) & is_here[:, :, None] & is_here[:, None], target


class State(Targeted):
    """A hidden quantity of each individual, such as a mass or a charge; Huber loss in units of its spread.

    1. Gather: pairs tell each individual what it does to others and what others do to it, the telling ones most; so do
       the couplings that were fitted.
    2. Read: from that and from its own embedding, averaged over time.

    Args:
        target: of level "individual", one number.
        embedding_width: of an individual's embedding.
        width: of the embedding of a pair.
        n_laws: of the couplings that the model fits.
    """

    def __init__(self, target: Target, *, embedding_width: int, width: int, n_laws: int) -> None:
        super().__init__()
        self.target = target
        self.gate = nn.Linear(width, 2)
        n_inputs = 2 * width + 2 * n_laws
        self.norm = nn.LayerNorm(2 * width)
        self.linear = nn.Linear(n_inputs, 1)
        self.nonlinear = nn.Sequential(
            nn.Linear(n_inputs + embedding_width, 2 * width), nn.GELU(), nn.Linear(2 * width, 1)
        )

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with the target about its training mean, in units of its training spread; NaN where unknown."""

        def encoded(recording: Recording) -> Recording:
            leading = (recording.n_trials, recording.n_individuals)
            given = recording.targets.get(self.target.name, np.full(leading, np.nan))
            prepared = (given.astype(np.float64) - self.target.mean[0]) / self.target.std
            return dataclasses.replace(
                recording,
                targets={**recording.targets, self.target.name: prepared},
                target_levels={**recording.target_levels, self.target.name: "individual"},
            )

        return dataset.map(encoded)

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch

    def read(self, encoding: Encoding) -> Float[Tensor, "trial individual"]:
        """In units of the spread, from the mean."""
        assert encoding.pair is not None
        assert encoding.coupling is not None
        is_here = encoding.observed.any(dim=-1)
        is_pair = (
            is_here[:, :, None]
            & is_here[:, None]
            & ~torch.eye(is_here.shape[1], dtype=torch.bool, device=is_here.device)
        )

        # 1. Gather
        told = torch.cat((encoding.pair, encoding.coupling.float().clamp(-20, 20)), dim=-1)
        weight = torch.where(is_pair[..., None], self.gate(encoding.pair), -1e4)
        by_others = (told * weight[..., :1].softmax(dim=1)).sum(1)
        by_own = (told * weight[..., 1:].softmax(dim=2)).sum(2)
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
        return {self.target.name: self.read(encoding).double() * self.target.std + self.target.mean[0]}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """R²; NaN where the target does not vary."""
        parts = [self._known(batch) for batch in batches]
        truth = torch.cat([target[known] for target, known in parts])
        guess = torch.cat([p[self.target.name][known] for p, (_, known) in zip(predictions, parts, strict=True)])
        units = (guess - self.target.mean[0]) / self.target.std
        return r2_or_nan(units.numpy(force=True), truth.numpy(force=True))

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        target = batch.targets[self.target.name]
        return target, target.isfinite() & batch.observed.any(dim=-1)


def learn_pairs(train: PopulationDataset, name: str, *, is_directed: bool) -> Target:
    """Read off training trials which edge types there are; numbers below 0 mean that a pair is not known.

    Raises:
        InputError: if the target is unknown, not per pair, not of whole numbers, of one type only, or not the same both
            ways although it is not directed.
    """
    types: set[int] = set()
    for recording in train.recordings:
        if name in recording.targets:
            values = _of_level(recording, name, "pair")
            if values.dtype.kind not in "biu":
                raise InputError(f"target {name!r} holds {values.dtype} values; edge types are whole numbers from 0.")
            off_diagonal = values[:, ~np.eye(recording.n_individuals, dtype=bool)]
            other_way = values.swapaxes(1, 2)
            if not is_directed and ((values != other_way) & (values >= 0) & (other_way >= 0)).any():
                raise InputError(
                    f"target {name!r} of recording {recording.name!r} is not the same both ways; set "
                    "objective.is_directed, or give a symmetric one."
                )
            types |= set(np.unique(off_diagonal[off_diagonal >= 0]).tolist())
    train.target_values(name)
    if len(types) < 2:
        raise InputError(
            f"target {name!r} has {len(types)} edge type{'s' if len(types) != 1 else ''} in the training trials; give "
            "trials with pairs that interact and pairs that do not (or of several types)."
        )
    return Target(name, "pair", classes=tuple(sorted(types)))


def learn_state(train: PopulationDataset, name: str, *, weight: float) -> Target:
    """Read off training trials the mean and spread of a quantity per individual.

    Raises:
        InputError: if the target is unknown, not one number per individual, or never known.
    """
    train.target_values(name)
    known = []
    for recording in train.recordings:
        if name in recording.targets:
            values = _of_level(recording, name, "individual")
            if values.dtype.kind not in "biuf" or values.ndim != 2:
                raise InputError(f"target {name!r} has shape {values.shape}; a state is one number per individual.")
            known.append(values[np.isfinite(values)].astype(np.float64))
    numbers = np.concatenate(known)
    if len(numbers) == 0:
        raise InputError(f"target {name!r} is not known in any training trial; give trials where it is.")
    return Target(name, "individual", mean=(float(numbers.mean()),), std=float(numbers.std()) or 1.0, weight=weight)


def _of_level(recording: Recording, name: str, level: str) -> np.ndarray:
    if recording.target_levels[name] != level:
        raise InputError(
            f"target {name!r} of recording {recording.name!r} is per {recording.target_levels[name]}; give one per "
            f"{level}."
        )
    return recording.targets[name]

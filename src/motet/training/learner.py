"""A `Learner`: a model and its objective, which are trained and read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from motet.data.batch import BATCH_BYTES, Batch
from motet.data.context import context_statistics
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.memory import check_room
from motet.models.eit import EIT, Encoding
from motet.models.layers import ContextTable, IndividualTable
from motet.models.pairs import PairEIT
from motet.training.objectives import Objective


class Sealed:
    """A batch that Fabric hands on as it is; a dataclass it would take apart, and cast the targets inside."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Learner(nn.Module):
    """A model and its objective: from a batch to a loss."""

    def __init__(self, model: EIT | PairEIT, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def meet(self, context: Sequence[Recording], *, learns: bool = False) -> None:
        """Know the individuals of some trials, and no others, by what they do there; nothing, without such an identity.

        Args:
            context: trials as the model reads them.
            learns: whether they are those that will be learned from.
        """
        if tables := [module for module in self.modules() if isinstance(module, ContextTable)]:
            found = context_statistics(context)
            for table in tables:
                table.learn(*found) if learns else table.meet(*found)

    def forget(self) -> None:
        """Know nobody by what they do."""
        for module in self.modules():
            if isinstance(module, ContextTable):
                module.meet((), np.zeros((0, len(module.centre))))

    def read(
        self, dataset: PopulationDataset, most_trials: int, *, validates: bool = False
    ) -> Iterator[tuple[Encoding, Batch]]:
        """The encodings of all trials in order, some at a time, and what they are of; without dropout and gradients.

        To validate, of what the objective shows the model of them.

        Raises:
            InputError: if a trial does not fit in memory.
        """
        self.eval()
        self.check_room(dataset)
        device = next(self.parameters()).device
        for batch in dataset.batches(self.model.n_bytes, most_trials=most_trials):
            for shown in self.objective.validated(batch) if validates else [batch]:
                shown = shown.to(device)
                with torch.no_grad():
                    encoding = self.model(shown)
                yield encoding, shown

    def predict(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[dict[str, Tensor], Batch]]:
        """As `read`, what the objective predicts."""
        for encoding, batch in self.read(dataset, most_trials):
            with torch.no_grad():
                prediction = self.objective.predict(encoding, batch)
            yield prediction, batch

    def says(self, batch: Batch) -> dict[str, Tensor]:
        """What the objective predicts of one batch."""
        return self.objective.predict(self.model(batch), batch)

    def judged(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[float, dict[str, Tensor], Batch]]:
        """Loss, prediction and batch of validation trials, of what the objective shows the model of them."""
        for encoding, batch in self.read(dataset, most_trials, validates=True):
            with torch.no_grad():
                loss, prediction = float(self.objective.loss(encoding, batch)), self.objective.predict(encoding, batch)
            yield loss, prediction, batch

    def judged_every(self, n_epochs: int) -> int:
        """Epochs from one judgement to the next, of so many in all."""
        return 1

    @property
    def independent(self) -> Sequence[nn.Module]:
        """The parts that learn without each other, whose gradients are clipped each alone."""
        return [self]

    def parts(self, batch: Batch) -> list[Batch]:
        """A training batch in parts that are not too large for memory."""
        return batch.split(max(1, BATCH_BYTES // self.model.n_bytes(*batch.observed.shape[1:])))

    @property
    def shared_weights(self) -> dict[str, Tensor]:
        """All weights but those that belong to single individuals, by name."""
        tables = tuple(f"{name}." for name, module in self.named_modules() if isinstance(module, IndividualTable))
        return {name: weight for name, weight in self.named_parameters() if not name.startswith(tables)}

    def begin_with(self, other: Learner) -> None:
        """Take the shared weights of another; of its objective those that have the same names and sizes.

        Raises:
            InputError: if the models differ.
        """
        own, theirs = self.shared_weights, cast(Learner, other.independent[0]).shared_weights
        of_model = [{n: w.shape for n, w in one.items() if n.startswith("model.")} for one in (own, theirs)]
        if of_model[0] != of_model[1]:
            raise InputError("start has a model of other settings (width, layers or features); give it the same ones.")
        taken = {n: w for n, w in theirs.items() if n in own and own[n].shape == w.shape}
        with torch.no_grad():
            for name, weight in taken.items():
                own[name].copy_(weight)

    def check_room(self, dataset: PopulationDataset) -> None:
        """Refuse trials of which one alone does not fit in memory; in training with what is kept for gradients."""
        for recording in dataset.recordings:
            n_bins = int(recording.trial_lengths.max())
            check_room(
                self.model.n_bytes(recording.n_individuals, n_bins),
                what=f"reading {recording.n_individuals} individuals over {n_bins} bins of recording "
                f"{recording.name!r} at once",
                advice="give shorter trials (Recording.windows), wider bins or fewer individuals",
            )

    def forward(self, sealed: Sealed) -> Tensor:
        return self.objective.loss(self.model(sealed.batch), sealed.batch)

"""A committee: several models, each of which never learns from one part of the training trials.

What the members say of the trials that they have not learned from is what the whole training set is worth as a
validation set, at the cost of no trial (cross-validation committees: Krogh and Vedelsby, NeurIPS 1995). It chooses the
best epoch, and the share of a rule beside the models; the mean of the members is what predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from motet.data.batch import BATCH_BYTES, Batch
from motet.data.dataset import PopulationDataset
from motet.models.eit import EIT
from motet.training.learner import Learner, Sealed
from motet.training.objectives import PART, Joint, Objective

MOST_JUDGED = 10  # times in a training


class Committee(Learner):
    """Several learners of one kind, trained side by side on the same batches.

    The target `PART` of a trial says which member does not learn from it.

    Args:
        members: each with weights of its own; the first one's encodings are those of the committee.
    """

    def __init__(self, members: Sequence[Learner]) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)

    @property
    def _members(self) -> list[Learner]:
        return cast(list[Learner], list(self.members))

    @property
    def model(self) -> EIT:  # type: ignore[override]
        return cast(EIT, self._members[0].model)

    @property
    def objective(self) -> Objective:  # type: ignore[override]
        return self._members[0].objective

    @property
    def independent(self) -> Sequence[nn.Module]:
        return self._members

    def begin_with(self, other: Learner) -> None:
        theirs = cast(Sequence[Learner], other.independent)
        for number, member in enumerate(self._members):
            member.begin_with(theirs[number % len(theirs)])

    def judged_every(self, n_epochs: int) -> int:
        return -(-n_epochs // MOST_JUDGED)

    def parts(self, batch: Batch) -> list[Batch]:
        n_bytes = len(self._members) * self.model.n_bytes(*batch.observed.shape[1:])
        return batch.split(max(1, BATCH_BYTES // n_bytes))

    def forward(self, sealed: Sealed) -> Float[Tensor, ""]:
        """The mean loss of the members, each on the trials of the batch that it may learn from."""
        batch, losses = sealed.batch, []
        for number, member in enumerate(self._members):
            may_learn = batch.targets[PART] != number
            n_trials = int(may_learn.sum())
            loss = member(Sealed(batch.of_trials(may_learn) if n_trials else batch))
            losses.append(loss * (n_trials / len(batch)))
        return torch.stack(losses).mean()

    # ------------------------------------------------------------------ of trials that a member has not learned from

    def judged(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[float, dict[str, Tensor], Batch]]:
        for batch, number, rows in self._left_out(dataset, most_trials):
            member, shown = self._members[number], batch.of_trials(rows)
            with torch.no_grad():
                encoding = member.model(shown)
                yield float(member.objective.loss(encoding, shown)), member.objective.predict(encoding, shown), shown

    def left_out(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[dict[str, Tensor], Batch]]:
        """What is predicted of training trials by the members that have not learned from them, as `predict`."""
        predictions: dict[str, Tensor] = {}
        previous: Batch | None = None
        for batch, number, rows in self._left_out(dataset, most_trials):
            if previous is not None and batch is not previous:
                yield predictions, previous
                predictions = {}
            previous, member, shown = batch, self._members[number], batch.of_trials(rows)
            with torch.no_grad():
                found = member.objective.predict(member.model(shown), shown)
            for name, prediction in found.items():
                whole = predictions.setdefault(name, prediction.new_zeros(len(batch), *prediction.shape[1:]))
                whole[rows] = prediction
        if previous is not None:
            yield predictions, previous

    def _left_out(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[Batch, int, Tensor]]:
        """Batches of training trials in order; the members, and the rows that each has not learned from."""
        self.eval()
        self.check_room(dataset)
        device = next(self.parameters()).device
        n_members = len(self.members)  # each of which reads its part of a batch alone
        for batch in dataset.batches(self.model.n_bytes, most_trials=n_members * most_trials):
            batch = batch.to(device)
            for number in range(n_members):
                rows = (batch.targets[PART] == number).nonzero().flatten()
                if len(rows):
                    yield batch, number, rows

    # ------------------------------------------------------------------ of any trials

    def predict(self, dataset: PopulationDataset, most_trials: int) -> Iterator[tuple[dict[str, Tensor], Batch]]:
        """As of a learner: the mean of the members' quantities, and of their log-probabilities of classes."""
        predicted = [member.predict(dataset, most_trials) for member in self._members]
        for parts in zip(*predicted, strict=True):
            yield self._together([predictions for predictions, _ in parts]), parts[0][1]

    def says(self, batch: Batch) -> dict[str, Tensor]:
        return self._together([member.says(batch) for member in self._members])

    def _together(self, found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        classes = {part.name for part in cast(Joint, self.objective).parts if part.reads == "class"}
        return {name: _mean([one[name] for one in found], name in classes) for name in found[0]}


def _mean(predictions: Sequence[Tensor], are_probabilities: bool) -> Tensor:
    """The mean of quantities, or of probabilities (…, class) by their logarithms."""
    if not are_probabilities:
        return torch.stack(list(predictions)).mean(dim=0)
    return torch.stack([one.log() for one in predictions]).mean(dim=0).softmax(dim=-1)


def in_parts(groups: NDArray[Any], strata: NDArray[Any], order: NDArray[Any], n_parts: int) -> NDArray[np.int64]:
    """(trial,) the part of each: stretches of each stratum in an order, so that neighbours in time stay together.

    Args:
        groups: (trial,) what is not torn apart, such as the windows of one trial.
        strata: (trial,) classes, of which every part has its share.
        order: (trial,) such as the start of each trial.
        n_parts: how many.

    Example:
        >>> in_parts(np.arange(6), np.zeros(6, int), np.arange(6), 3)
        array([0, 0, 1, 1, 2, 2])
    """
    _, first, position = np.unique(groups, return_index=True, return_inverse=True)
    part = np.empty(len(first), dtype=np.int64)
    start = 0
    for stratum in np.unique(strata[first]):
        of_stratum = np.flatnonzero(strata[first] == stratum)
        of_stratum = of_stratum[np.argsort(order[first][of_stratum], kind="stable")]
        place = (np.arange(len(of_stratum)) * n_parts) // len(of_stratum)
        part[of_stratum] = place if len(of_stratum) >= n_parts else (start + np.arange(len(of_stratum))) % n_parts
        start += len(of_stratum)
    return part[position]

"""`Views`: an individual's embedding in some trials finds the same individual in other trials. No label is needed.

The trials of every recording are halved at random. The mean embedding of an individual over one half is nearer to its
own over the other half than to those of all other individuals of the recording: cross-entropy, both ways (InfoNCE;
van den Oord, Li and Vinyals 2018, arXiv:1807.03748). No trial is in both halves, and individuals of different
recordings are never compared, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.models.eit import Encoding
from motet.models.tuning import Numbers
from motet.training.objectives.objective import Coded, Objective, individual_means

HALF = "half of the trials"
STAGES = ("individual", "population")


class Views(Objective):
    """Who is who, from mean embeddings over halves of the trials; of each individual alone, and among the others.

    Likelihoods fall with the squared distance, in units of its mean over all pairs, times a learned scale.
    """

    reads = "views"
    name = "views"
    score_name = "rank-1 matching"

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = Numbers(torch.full((len(STAGES),), 1.5))

    def targets(self, recording: Recording) -> Coded:
        return {}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Nothing is hidden; trials are told apart."""
        order = torch.randperm(len(batch), generator=generator)
        of_recording = batch.recording_index[order]
        half = torch.empty_like(of_recording)
        half[order] = (of_recording[:, None] == of_recording).tril(-1).sum(1) % 2
        return batch.replace(targets={**batch.targets, HALF: half})

    def validated(self, batch: Batch) -> list[Batch]:
        return [self.hide(batch, torch.Generator().manual_seed(0))]

    def sides(
        self, embedding: Float[Tensor, "trial individual time width"], batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means over either half, (recording, individual, width), and (recording, individual) who is in both."""
        group = 2 * batch.recording_index + batch.targets[HALF]
        mean, n = individual_means(embedding, batch.observed, group, 2 * len(batch.individual_ids))
        return mean[0::2], mean[1::2], (n[0::2] > 0) & (n[1::2] > 0)

    def _scores(self, encoding: Encoding, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """For each stage log-odds (asked, individual) of who is who in the other half, both ways, and who it is."""
        for stage, log_scale in zip(STAGES, self.log_scale(), strict=True):
            a, b, in_both = self.sides(getattr(encoding, stage), batch)
            in_both = in_both & (in_both.sum(1, keepdim=True) > 1)
            pairs = in_both[:, :, None] & in_both[:, None]
            centre = a.mean(1, keepdim=True)
            a, b = a - centre, b - centre  # for precision
            squares = (a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None] - 2 * a @ b.mT).clamp(min=0)
            typical = (squares * pairs).sum((1, 2), keepdim=True) / pairs.sum((1, 2), keepdim=True).clamp(min=1)
            odds = (-squares / typical.clamp(min=1e-12) * log_scale.exp().float()).masked_fill(~pairs, -torch.inf)
            who = torch.arange(in_both.shape[1], device=odds.device).expand_as(in_both)[in_both]
            yield torch.cat((odds[in_both], odds.mT[in_both])), torch.cat((who, who))

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        losses = []
        for odds, who in self._scores(encoding, batch):
            losses.append(F.cross_entropy(odds, who, reduction="sum") / max(1, len(who)))
        return torch.stack(losses).mean()

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """How many find themselves first, by either stage, of how many; one entry per batch."""
        counts = torch.zeros(1, 2)
        for odds, who in self._scores(encoding, batch):
            if len(who):
                counts += torch.tensor([[float((odds.argmax(1) == who).sum()), float(len(who))]])
        return {self.name: counts}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """The share of individuals that find themselves first in the other half."""
        right, asked = torch.cat([prediction[self.name] for prediction in predictions]).sum(0).tolist()
        return right / asked if asked else float("nan")

"""`Masked`: values that are hidden from the model, predicted from the embeddings of what is left. No label is needed.

Some bins of a trial are hidden in all individuals, and of some individuals a stretch, which may be the whole trial, is
hidden. A hidden value is predicted from how much its individual is active on average, which is the baseline, and from
embeddings of what is left: of the individual in all trials of the batch (who it is), of the individual in the bins
around, and of the other individuals in that bin. Counts are Poisson, other values normal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.models.eit import Encoding
from motet.training.objectives.episodes import EpisodeSettings
from motet.training.objectives.objective import Coded, Objective, individual_means

HIDDEN = "hidden values"
ARE_COUNTS = "values are counts"
LEAST = 1e-6  # of a mean rate or a variance


class Baseline(NamedTuple):
    """What an individual does on average, in the bins that are seen.

    Attributes:
        are_counts: whether values are.
        mean: of its values.
        spread: its standard deviation.
    """

    are_counts: Bool[Tensor, "trial 1 1"]
    mean: Float[Tensor, "trial individual 1"]
    spread: Float[Tensor, "trial individual 1"]


class Masked(Objective):
    """Hidden values, from the embeddings of what is left; Poisson for counts, normal for other values.

    1. Who: the mean embedding of the individual over all trials of its recording in the batch.
    2. Around: its own embeddings in this trial, the nearer in time the more.
    3. Others: the embeddings of other individuals in that bin, weighed by attention that asks who it is.
    4. Change: from these, how far the log-rate (or the mean, in standard deviations) is from the individual's average.

    What is hidden is not observed by the model, and enters no average.

    Args:
        width: of an embedding.
        settings: see `EpisodeSettings`.
        raw: values before preprocessing, of values as the model reads them.
    """

    reads = "hidden values"
    name = HIDDEN
    score_name = "deviance explained"

    def __init__(self, *, width: int, settings: EpisodeSettings, raw: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.settings = settings
        self.raw = raw
        self.to_read = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, width))
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(width, width, bias=False)
        self.log_decay = nn.Parameter(torch.zeros(()))
        last = nn.Linear(2 * width, 1)
        for parameter in last.parameters():  # training begins at the averages
            nn.init.zeros_(parameter)
        self.to_change = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), last)

    # ------------------------------------------------------------------ what is hidden

    def targets(self, recording: Recording) -> Coded:
        return {ARE_COUNTS: ("trial", recording.targets[ARE_COUNTS])}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Leave out individuals; hide bins and stretches, in every trial others. What was there is the target."""
        kept = self.settings.kept(batch.observed.shape[1], generator)
        return self._hidden(batch.keep_individuals(kept), generator)

    def _hidden(self, batch: Batch, generator: torch.Generator) -> Batch:
        n_trials, n_individuals, n_bins = batch.observed.shape

        def drawn(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        s = self.settings
        is_gap = drawn(n_trials, 1, n_bins) < s.hidden_bins
        time = torch.arange(n_bins)
        length = (2 * n_bins * drawn(n_trials, n_individuals, 1)).ceil().clamp(1, n_bins)  # every second one all of it
        begin = ((n_bins - length + 1) * drawn(n_trials, n_individuals, 1)).floor()
        is_stretch = (begin <= time) & (time < begin + length)
        hidden = batch.observed & (is_gap | is_stretch & (drawn(n_trials, n_individuals, 1) < s.hidden_stretches))
        values = batch.values[..., 0].masked_fill(~hidden, torch.nan)
        return batch.without(hidden).replace(targets={**batch.targets, HIDDEN: values})

    def validated(self, batch: Batch) -> list[Batch]:
        return [self._hidden(batch, torch.Generator().manual_seed(0))]

    # ------------------------------------------------------------------ how it is predicted

    def baseline(self, batch: Batch) -> Baseline:
        """Averages over what is seen, drawn a little towards those of the recording."""
        are_counts = (batch.targets[ARE_COUNTS] == 1)[:, None, None]
        values = torch.where(are_counts, self.raw(batch.values[..., 0]), batch.values[..., 0])
        first = self._drawn_means(values, batch)
        second = self._drawn_means((values - first).square(), batch)
        return Baseline(are_counts, first, second.clamp(min=LEAST).sqrt())

    def _drawn_means(
        self, x: Float[Tensor, "trial individual time"], batch: Batch
    ) -> Float[Tensor, "trial individual 1"]:
        mean, n = individual_means(x[..., None], batch.observed, batch.recording_index, len(batch.individual_ids))
        total = (mean[..., 0] * n).sum(1, keepdim=True) / n.sum(1, keepdim=True).clamp(min=1)
        return ((mean[..., 0] * n + total) / (n + 1))[batch.recording_index][..., None]

    def change(self, encoding: Encoding, batch: Batch) -> Float[Tensor, " value"]:
        """Of the log-rate, or of the mean in standard deviations, of every hidden value."""
        seen, hidden = encoding.observed, batch.targets[HIDDEN].isfinite()
        read = self.to_read(torch.cat((encoding.individual, encoding.population), -1)) * seen[..., None]

        # 1. Who
        means, _ = individual_means(read, seen, batch.recording_index, len(batch.individual_ids))
        who = means[batch.recording_index]

        # 2. Around
        time = torch.arange(seen.shape[2], device=seen.device)
        near = -self.log_decay.exp() * (time[:, None] - time).abs()
        weight = near.masked_fill(~seen[:, :, None], -1e4).softmax(-1) * seen.any(-1)[..., None, None]
        around = weight @ read

        # 3. Others
        read, seen = read.transpose(1, 2), seen.transpose(1, 2)  # trial, time, individual
        query = self.to_query(who)[:, None].expand_as(read)
        is_read = (seen | ~seen.any(-1, keepdim=True))[:, :, None]
        others = F.scaled_dot_product_attention(query, self.to_key(read), read, attn_mask=is_read)
        others = (others * seen.any(-1)[..., None, None]).transpose(1, 2)

        # 4. Change
        who = who[:, :, None].expand_as(around)
        return self.to_change(torch.cat([part[hidden] for part in (who, around, others)], -1)).squeeze(-1)

    def errors(
        self, change: Float[Tensor, " value"], batch: Batch
    ) -> tuple[Float[Tensor, " value"], Float[Tensor, " value"]]:
        """Negative log-likelihood of every hidden value, and the least that it can be; up to a constant."""
        values = batch.targets[HIDDEN]
        hidden = values.isfinite()
        are_counts, mean, spread = (part.expand_as(values)[hidden] for part in self.baseline(batch))
        values = values[hidden]
        counts = self.raw(values).round().clamp(min=0)
        poisson = F.poisson_nll_loss(mean.clamp(min=LEAST).log() + change, counts, reduction="none")
        normal = ((values - mean) / spread - change).square() / 2
        least = counts - torch.xlogy(counts, counts)
        return torch.where(are_counts, poisson, normal), torch.where(are_counts, least, 0.0)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        error, _ = self.errors(self.change(encoding, batch), batch)
        return error.sum() / max(1, len(error))

    # ------------------------------------------------------------------ how well

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """Deviance of the hidden values, and that of the averages alone; one entry per batch."""
        change = self.change(encoding, batch)
        deviances = []
        for one in (change, torch.zeros_like(change)):
            error, least = self.errors(one, batch)
            deviances.append(2 * (error - least).double().sum())
        return {self.name: torch.stack(deviances)[None]}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """The share of the deviance from each individual's average that is explained."""
        left, whole = torch.cat([prediction[self.name] for prediction in predictions]).sum(0).tolist()
        return 1 - left / whole if whole else float("nan")


def told_apart(recording: Recording) -> Recording:
    """The recording with a target that says whether its values are counts; before preprocessing."""
    are_counts = np.full(recording.n_trials, int(recording.holds_counts))
    return dataclasses.replace(
        recording,
        targets={**recording.targets, ARE_COUNTS: are_counts},
        target_levels={**recording.target_levels, ARE_COUNTS: "trial"},
    )

"""`Context`: decode a target from a few labelled trials of the same population, as will be done in a new one.

Every step imitates use: of each population in the batch a random part of the individuals is kept, a few trials of each
class are labelled, tuning is fitted to them in closed form, and the loss is that of the other trials. Gradients reach
the priors of tuning, and the encoder, through the fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.models.eit import Encoding
from motet.models.moments import MomentReadout
from motet.models.tuning import Candidates, Signals, TuningReadout, TuningSettings
from motet.training.objectives.episodes import EpisodeSettings
from motet.training.objectives.objective import Coded, Objective
from motet.training.objectives.target import Target

LABELLED = "is labelled"


class Episode(NamedTuple):
    """What of one population in a batch is labelled, and what is asked."""

    signals: Signals
    labelled: Tensor
    asked: Tensor
    codes: Tensor


class Context(Objective):
    """A class per trial, decoded from a few labelled trials of each population; cross-entropy.

    Args:
        target: a class per trial.
        candidates: its classes.
        width: of an embedding.
        settings: see `EpisodeSettings`.
        tuning: see `TuningSettings`.
    """

    reads = "context"
    score_name = "accuracy"

    def __init__(
        self, target: Target, candidates: Candidates, *, width: int, settings: EpisodeSettings, tuning: TuningSettings
    ) -> None:
        super().__init__()
        self.target = target
        self.name = target.name
        self.candidates = candidates
        self.settings = settings
        self.readout = TuningReadout(tuning, width=width)
        self.moments = MomentReadout(len(self.readout.channels))

    def targets(self, recording: Recording) -> Coded:
        labels = recording.targets.get(self.name)
        codes = np.full(recording.n_trials, -1) if labels is None else self.target.codes(labels)
        return {self.name: ("trial", codes)}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Leave out individuals, and say which trials are labelled."""
        kept = self.settings.kept(batch.values.shape[1], generator)
        choices = torch.tensor(self.settings.labelled)
        n_labelled = int(choices[torch.randint(len(choices), (), generator=generator)])
        order = torch.randperm(len(batch), generator=generator)
        labelled = _first_of_each(batch, batch.targets[self.name], order, n_labelled)
        return batch.keep_individuals(kept).replace(targets={**batch.targets, LABELLED: labelled})

    @torch.compiler.disable  # of every population another number of trials and individuals: nothing to compile for
    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        losses, weight = [], self.settings.root_weight if self.readout.to_channels is not None else 0.0
        for episode in self._episodes(encoding, batch):
            losses.append(self._error(episode))
            if weight:
                losses.append(weight * self._error(episode._replace(signals=self.readout.roots(episode.signals))))
        if not losses:
            return torch.stack([0.0 * parameter.sum() for parameter in self.parameters()]).sum()
        return torch.stack(losses).sum() / len(batch.individual_ids)

    def _error(self, episode: Episode) -> Tensor:
        return F.cross_entropy(self._likelihood(episode), episode.codes[episode.asked])

    def _likelihood(self, episode: Episode) -> Float[Tensor, "asked candidate"]:
        belief = F.one_hot(episode.codes[episode.labelled], len(self.candidates)).double()
        tuning = self.readout(episode.signals[episode.labelled], belief, self.candidates)
        return self.readout.log_likelihood(tuning, episode.signals[episode.asked])

    def _episodes(self, encoding: Encoding, batch: Batch) -> Iterator[Episode]:
        """Of every population; those of which no trial is labelled, or none is left, are passed over."""
        code = batch.targets[self.name].masked_fill(~batch.bin_is_observed.any(1), -1)
        labelled = batch.targets.get(LABELLED)
        if labelled is None:  # in validation
            labelled = _first_of_each(batch, code, torch.arange(len(batch)), self.settings.labelled[0])
        for recording in range(len(batch.individual_ids)):
            trials = ((batch.recording_index == recording) & (code >= 0)).nonzero().flatten()
            is_labelled = labelled[trials]
            if not is_labelled.any() or is_labelled.all():
                continue
            signals = self.readout.read(encoding, batch, trials)
            yield Episode(signals, is_labelled.nonzero().flatten(), (~is_labelled).nonzero().flatten(), code[trials])

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """How many of the trials that are asked are decoded, of how many; one entry per batch."""
        counts = torch.zeros(1, 2)
        for episode in self._episodes(encoding, batch):
            right = self._likelihood(episode).argmax(1) == episode.codes[episode.asked]
            counts += torch.tensor([[float(right.sum()), float(len(right))]])
        return {self.name: counts}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """Accuracy over trials that were asked."""
        right, asked = torch.cat([prediction[self.name] for prediction in predictions]).sum(0).tolist()
        return right / asked if asked else float("nan")


def _first_of_each(batch: Batch, code: Tensor, order: Tensor, n: int) -> Tensor:
    """(trial,) whether a trial is, in this order, among the first so many of its class and population.

    One of each is left over, where there are two.
    """
    group = torch.where(code >= 0, batch.recording_index * (int(code.max()) + 2) + code, -1)[order]
    same = group[:, None] == group
    rank, size = same.tril(-1).sum(1), same.sum(1)
    labelled = torch.zeros(len(batch), dtype=torch.bool, device=code.device)
    labelled[order] = (group >= 0) & (rank < torch.minimum(torch.tensor(n), (size - 1).clamp(min=1)))
    return labelled

"""`Forecast`: given a context, where is each individual in the bins that follow?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motet.data.batch import Batch
from motet.data.recording import Recording
from motet.models.continuation import centre_of, places_of
from motet.models.eit import Encoding
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout
from motet.settings import Count, NonNegative, Positive, Range, Settings, Share
from motet.training.augment import turned
from motet.training.objectives.objective import Coded, Objective

FUTURE = "future"
FEWEST_BINS = 4  # of a context
DIVERGED = 0.25  # lengths (radians): a forecast that is farther off has left the truth


@dataclasses.dataclass(frozen=True)
class ForecastSettings(Settings, role="objective"):
    """How motion is forecast.

    Attributes:
        context_bins: bins that are given.
        horizon_bins: bins that are forecast.
        stride: bins between the starts of two windows of context and horizon that are cut from training trials.
        n_substeps: steps of integration per bin, in training and in prediction.
        tolerance: error, in lengths (radians), above which it weighs by its logarithm: trials that are chaotic, or
            lost anyway, do not outweigh the others.
        interactions_weight: of the loss of interactions beside that of the forecast; 0 learns without labels.
        noise: greatest standard deviation of normal noise on the contexts of training windows, in units of length and
            velocity (radians). Where bins are coarse, the fit of couplings errs beyond measurement noise; a model that
            has seen no noise trusts it too much.
        turn: whether trials are turned and mirrored from step to step.
        shortest: a training step reads the last bins of the context, at least this fraction of them, and forecasts
            the first bins of the horizon, at least this fraction of them.
        shoot: whether a prediction starts from a trajectory that is fitted finely to the whole context under the
            recovered forces: slower, and better by far where individuals come close between bins.

    Example:
        >>> import motet
        >>> objective = ForecastSettings(context_bins=16, horizon_bins=8)
        >>> motet.EITForecaster(objective=objective).get_params()["objective__horizon_bins"]
        8
    """

    context_bins: Annotated[int, Range(least=FEWEST_BINS)] = 20
    horizon_bins: Count = 20
    stride: Count = 5
    n_substeps: tuple[Count, Count] = (1, 8)
    tolerance: Positive = 0.05
    interactions_weight: NonNegative = 0.0
    noise: NonNegative = 0.01
    turn: bool = True
    shortest: Share = 0.5
    shoot: bool = True

    @property
    def window_bins(self) -> int:
        """Context and horizon."""
        return self.context_bins + self.horizon_bins


class Forecast(Objective):
    """Where each individual is in every bin of the horizon; a robust loss of the distance to where it really is.

    It needs no labels: the future of a trial is its own target. Trials that it prepares are windows of context and
    horizon, or contexts alone.

    Args:
        rollout: which continues the context; its laws are those of the model.
        settings: see `ForecastSettings`.
    """

    reads = "motion"
    name = FUTURE

    def __init__(self, rollout: Rollout, *, settings: ForecastSettings) -> None:
        super().__init__()
        self.rollout = rollout
        self.settings = settings

    @property
    def geometry(self) -> Geometry:
        return self.rollout.fit.geometry

    def values(self, recording: Recording) -> Recording:
        """The context, as the model reads it."""
        return self.geometry.prepared(self._context(recording))

    def targets(self, recording: Recording) -> Coded:
        """Where individuals are after the context, as the model sees it; NaN where that is not known."""
        n_context = self.settings.context_bins
        if recording.n_bins <= n_context:
            return {}
        later = slice(n_context, self.settings.window_bins)
        places = places_of(recording, self.geometry)[:, :, later]
        if self.geometry.space != "phase":
            centre = centre_of(self._context(recording), self.geometry)
            places = (places - centre[:, None, None]) / self.geometry.length
        return {FUTURE: ("individual", np.where(recording.observed[:, :, later, None], places, np.nan))}

    def _context(self, recording: Recording) -> Recording:
        return recording.select(bins=slice(0, self.settings.context_bins))

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch that is turned, with a shorter context and horizon."""
        s = self.settings
        n_context = batch.values.shape[2]
        whole = _joined(batch)
        if s.turn:
            whole = turned(whole, self.geometry, generator)

        def drawn(n: int, *, fewest: int) -> int:
            return int(torch.randint(min(n, max(fewest, math.ceil(s.shortest * n))), n + 1, (), generator=generator))

        n_places = batch.targets[FUTURE].shape[-1]
        first = n_context - drawn(n_context, fewest=FEWEST_BINS)
        end = n_context + drawn(whole.values.shape[2] - n_context, fewest=1)
        is_known = whole.observed[:, :, n_context:end, None]
        future = whole.values[:, :, n_context:end, :n_places].masked_fill(~is_known, torch.nan)
        kept = slice(first, n_context)
        return batch.replace(
            values=whole.values[:, :, kept],
            observed=whole.observed[:, :, kept],
            targets={**whole.targets, FUTURE: future},
        )

    def roll(
        self, encoding: Encoding, batch: Batch, *, n_bins: int, laws: Int[Tensor, " trial"] | None = None
    ) -> Float[Tensor, "trial individual horizon place"]:
        """Where individuals will be, as the model sees it."""
        assert encoding.coupling is not None, "motion is forecast from a model that fits couplings"
        n_substeps = self.settings.n_substeps[0]
        states = self.rollout(
            batch.values, batch.observed, encoding.coupling, n_bins=n_bins, n_substeps=n_substeps, laws=laws
        )
        return self.rollout.places(states)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        future, known = self._known(batch)
        laws = self.rollout.drawn_laws(len(batch)) if self.training else None
        places = self.roll(encoding, batch, n_bins=future.shape[2], laws=laws)
        squared = (places - future.masked_fill(~known[..., None], 0)).square().sum(-1)
        losses = torch.log1p(squared / self.settings.tolerance**2).masked_fill(~known, 0)
        loss = losses.sum() / known.sum().clamp(min=1)
        if laws is None:
            return loss
        return loss + self.rollout.regret(losses.sum((1, 2)) / known.sum((1, 2)).clamp(min=1), laws)

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """(trial, individual, horizon, place): coordinates in the model's frame, or cosine and sine of phases."""
        return {FUTURE: self.roll(encoding, batch, n_bins=self.settings.horizon_bins)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """The share of places that are forecast to a quarter of a length (of a radian)."""
        is_near = []
        for prediction, batch in zip(predictions, batches, strict=True):
            future, known = self._known(batch)
            distance = (prediction[FUTURE][:, :, : future.shape[2]] - future).norm(dim=-1)
            is_near.append((distance < DIVERGED)[known])
        return float(torch.cat(is_near).float().mean())

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The future, and (trial, individual, horizon) where it is known, of individuals seen in the context."""
        future = batch.targets[FUTURE]
        return future, future.isfinite().all(dim=-1) & batch.observed.any(dim=-1)[:, :, None]


def _joined(batch: Batch) -> Batch:
    """Context and future as one stretch of time; of the future, places alone."""
    future = batch.targets[FUTURE]
    is_known = future.isfinite().all(dim=-1)
    padding = future.new_zeros(*future.shape[:3], batch.values.shape[-1] - future.shape[-1])
    after = torch.cat((future.masked_fill(~is_known[..., None], 0), padding), dim=-1)
    return batch.replace(
        values=torch.cat((batch.values, after), dim=2), observed=torch.cat((batch.observed, is_known), dim=2)
    )

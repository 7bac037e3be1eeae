"""Readouts: from embeddings of individuals to what is asked of the population.

A bottleneck per individual, combined over individuals into a latent state of the population, and from that the outputs.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.errors import InputError
from motet.models.layers import Clock, IndividualTable
from motet.models.randomness import Dropout

ReadoutKind = Literal["individual", "pooled"]


class Readout(nn.Module):
    """Outputs for each time bin, read from the embeddings of the individuals observed.

    1. Combine: by weights of each individual's own, found by its id; or, "pooled", by attention.
    2. Output: a linear reading of the latent state, plus a nonlinear one, plus a mixture of courses if there are any.

    Args:
        kind: "individual" (the projection of the paper, its weights tied to ids instead of positions) or "pooled".
        width: of an embedding.
        n_outputs: numbers per time bin.
        latent_width: of the population's latent state.
        individual_ids: the individuals that "individual" can read.
        n_courses: see `Courses`.
    """

    def __init__(
        self,
        kind: ReadoutKind,
        *,
        width: int,
        n_outputs: int,
        latent_width: int,
        individual_ids: tuple[str, ...],
        n_courses: int = 0,
    ) -> None:
        super().__init__()
        self.combine = (
            ByIndividual(width, latent_width, individual_ids) if kind == "individual" else Pooled(width, latent_width)
        )
        self.linear = nn.Linear(latent_width, n_outputs)
        self.courses = Courses(latent_width, n_outputs, n_courses) if n_courses else None
        self.nonlinear = nn.Sequential(
            nn.LayerNorm(latent_width),
            nn.Linear(latent_width, 32),
            nn.GELU(),
            Dropout(0.1),
            nn.Linear(32, n_outputs),
        )

    def forward(
        self,
        embedding: Float[Tensor, "trial individual time width"],
        observed: Bool[Tensor, "trial individual time"],
        batch: Batch,
    ) -> Float[Tensor, "trial time output"]:
        latent = self.combine(embedding, observed, batch)
        output = self.linear(latent) + self.nonlinear(latent)
        return output if self.courses is None else output + self.courses(latent)


class Courses(nn.Module):
    """A mixture of courses: which kind of movement this is, by the latent state, and what it is at this time.

    Σₖ softmax(gate · latent)ₖ · courseₖ(time), all learned from the quantity alone.

    Args:
        latent_width: of the population's latent state.
        n_outputs: numbers per time bin.
        n_courses: kinds of movement.
    """

    def __init__(self, latent_width: int, n_outputs: int, n_courses: int) -> None:
        super().__init__()
        self.gate = nn.Linear(latent_width, n_courses)
        self.clock = Clock(n_courses * n_outputs)
        self.level = nn.Parameter(torch.zeros(n_courses, n_outputs))

    def forward(self, latent: Float[Tensor, "trial time latent"]) -> Float[Tensor, "trial time output"]:
        share = self.gate(latent).softmax(dim=-1)
        course = self.clock(latent.shape[1]).unflatten(-1, self.level.shape) + self.level
        return einsum(share, course, "trial time course, time course output -> trial time output")


class ByIndividual(nn.Module):
    """Combines individuals by a matrix for each, averaged over those observed; embeddings of others are 0.

    Args:
        width: of an embedding.
        latent_width: of the combination.
        individual_ids: the individuals that can be read.
    """

    def __init__(self, width: int, latent_width: int, individual_ids: tuple[str, ...]) -> None:
        super().__init__()
        if not individual_ids:
            raise InputError("readout='individual' needs individual_ids; give them, or readout='pooled'.")
        self.table = IndividualTable(individual_ids, (width, latent_width), std=0.05)
        self.bias = nn.Parameter(torch.zeros(latent_width))
        self.scale = len(individual_ids) ** 0.5

    def forward(
        self,
        embedding: Float[Tensor, "trial individual time width"],
        observed: Bool[Tensor, "trial individual time"],
        batch: Batch,
    ) -> Float[Tensor, "trial time latent"]:
        x = rearrange(embedding, "trial individual time width -> trial time (individual width)")
        weights = self.table(batch).flatten(1, 2)  # (recording, individual × width, latent)
        share = self.scale / observed.sum(dim=1).clamp(min=1)[..., None]
        if len(weights) == 1:
            return x @ weights[0] * share + self.bias
        latent = x.new_zeros(*x.shape[:2], weights.shape[-1])
        for recording, weight in enumerate(weights):
            trials = (batch.recording_index == recording).nonzero().flatten()
            latent = latent.index_copy(0, trials, (x[trials] @ weight).to(latent.dtype))
        return latent * share + self.bias


class Pooled(nn.Module):
    """Combines a population of any size: learned queries attend over the individuals observed at each time.

    Args:
        width: of an embedding.
        latent_width: of the combination.
        n_queries: how many weighted means over individuals are taken.
    """

    def __init__(self, width: int, latent_width: int, n_queries: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_score = nn.Linear(width, n_queries)
        self.to_value = nn.Linear(width, width)
        self.to_latent = nn.Linear(n_queries * width, latent_width)

    def forward(
        self,
        embedding: Float[Tensor, "trial individual time width"],
        observed: Bool[Tensor, "trial individual time"],
        batch: Batch,
    ) -> Float[Tensor, "trial time latent"]:
        allowed = observed | ~observed.any(dim=1, keepdim=True)  # a softmax over nothing is NaN
        normed = self.norm(embedding)
        weight = self.to_score(normed).masked_fill(~allowed[..., None], -torch.inf).softmax(dim=1)
        pooled = einsum(
            weight,
            self.to_value(normed),
            "trial individual time query, trial individual time width -> trial time query width",
        )
        return self.to_latent(pooled.flatten(-2))

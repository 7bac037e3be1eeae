"""Augmentation of many-body trials, drawn in the batch and never stored: order, company, orientation, length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from motet.data.batch import Batch
from motet.models.geometry import Geometry


def permuted(
    batch: Batch, generator: torch.Generator, *, per_individual: Sequence[str], per_pair: Sequence[str]
) -> Batch:
    """The batch with the individuals of every trial in another order, targets with them.

    Args:
        batch: of which individuals have no identity: their ids do not move.
        generator: of the orders.
        per_individual: targets (trial, individual, …).
        per_pair: targets (trial, individual, individual, …).
    """
    order = torch.rand(batch.observed.shape[:2], generator=generator).argsort(dim=1)
    trial = torch.arange(len(batch))[:, None]
    targets = dict(batch.targets)
    for name in per_individual:
        targets[name] = targets[name][trial, order]
    for name in per_pair:
        targets[name] = targets[name][trial[..., None], order[:, :, None], order[:, None]]
    return batch.replace(values=batch.values[trial, order], observed=batch.observed[trial, order], targets=targets)


def repaired(
    batch: Batch, generator: torch.Generator, *, system: str, per_individual: Sequence[str], per_pair: Sequence[str]
) -> Batch:
    """The batch with its independent systems in new company: those of one size change places among trials.

    Args:
        batch: trials whose systems do not act on each other.
        generator: of the places.
        system: target (trial, individual), which system each individual is of; below 0 if absent.
        per_individual: targets (trial, individual, …) that go along; `system` stays, as the label of a place.
        per_pair: targets (trial, individual, individual, …) that go along; between two systems they are 0.
    """
    trial, individual = _sources(batch.targets[system], generator)
    targets = dict(batch.targets)
    for name in per_individual:
        targets[name] = targets[name][trial, individual]
    label = batch.targets[system]
    is_together = (label[:, :, None] == label[:, None]) & (label >= 0)[:, :, None]
    for name in per_pair:
        moved = targets[name][trial[:, :, None], individual[:, :, None], individual[:, None]]
        apart = torch.where((label >= 0)[:, :, None] & (label >= 0)[:, None], 0, -1).to(moved.dtype)
        targets[name] = torch.where(is_together, moved, apart)
    return batch.replace(
        values=batch.values[trial, individual], observed=batch.observed[trial, individual], targets=targets
    )


def _sources(
    label: Int[Tensor, "trial individual"], generator: torch.Generator
) -> tuple[Int[Tensor, "trial individual"], Int[Tensor, "trial individual"]]:
    """For every place of the batch, the trial and individual that move there."""
    n_individuals = label.shape[1]
    same = (label[:, :, None] == label[:, None]) & (label >= 0)[:, :, None]
    first = same.int().argmax(dim=2)  # each system is called after its first individual
    rank = (same & torch.ones_like(same[0]).tril(-1)).sum(2)
    own_trial = torch.arange(len(label))[:, None].expand_as(label)
    own = torch.arange(n_individuals).expand_as(label)
    system_trial, system_first = ((first == own) & (label >= 0)).nonzero().unbind(1)
    if len(system_trial) == 0:
        return own_trial, own
    number = torch.full_like(label, -1)
    number[system_trial, system_first] = torch.arange(len(system_trial))
    number = number.gather(1, first)
    members = torch.zeros(len(system_trial), n_individuals, dtype=torch.int64)
    present = label >= 0
    members[number[present], rank[present]] = own[present]
    size = same.sum(2)[system_trial, system_first]
    source = torch.empty_like(size)
    drawn = size + 0.5 * torch.rand(len(size), generator=generator)
    source[size.argsort(stable=True)] = drawn.argsort()
    moved = source[number.clamp(min=0)]
    return (
        torch.where(present, system_trial[moved], own_trial),
        torch.where(present, members[moved, rank.clamp(max=n_individuals - 1)], own),
    )


def turned(batch: Batch, geometry: Geometry, generator: torch.Generator) -> Batch:
    """The batch with every trial turned by an angle of its own, in the plane or space also mirrored at even odds."""
    if geometry.space == "none":
        return batch
    if geometry.space == "phase":
        angle = 2 * math.pi * torch.rand(len(batch), 1, 1, generator=generator)
        cosine, sine = batch.values[..., 0], batch.values[..., 1]
        phase = torch.stack((cosine * angle.cos() - sine * angle.sin(), cosine * angle.sin() + sine * angle.cos()), -1)
        return batch.replace(values=torch.cat((phase, batch.values[..., 2:]), dim=-1))
    d = geometry.n_dimensions
    rotation, triangular = torch.linalg.qr(torch.randn(len(batch), d, d, generator=generator))
    rotation = rotation * triangular.diagonal(dim1=-2, dim2=-1).sign()[:, None]  # uniform over rotations and mirrors
    vectors = rearrange(batch.values, "trial individual time (part d) -> trial individual time part d", part=3)
    return batch.replace(values=torch.einsum("bitkd,bde->bitke", vectors, rotation).flatten(-2))


def cropped(batch: Batch, generator: torch.Generator, *, least: float) -> Batch:
    """The batch with fewer bins: a stretch of at least this fraction of them, the same for all trials."""
    n_bins = batch.values.shape[2]
    fewest = max(2, math.ceil(least * n_bins))
    if fewest >= n_bins:
        return batch
    length = int(torch.randint(fewest, n_bins + 1, (), generator=generator))
    start = int(torch.randint(0, n_bins - length + 1, (), generator=generator))
    kept = slice(start, start + length)
    return batch.replace(values=batch.values[:, :, kept], observed=batch.observed[:, :, kept])

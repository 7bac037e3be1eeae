"""Augmentation of many-body trials, drawn in the batch and never stored: recombined systems, rotation, cropping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motet.data.batch import Batch
from motet.models.geometry import Geometry


def repaired(
    batch: Batch,
    generator: torch.Generator,
    *,
    geometry: Geometry,
    system: str,
    per_individual: Sequence[str],
    per_pair: Sequence[str],
) -> Batch:
    """The batch with its independent systems recombined: those of one size change places among trials.

    A system moves to the mean position of the one that it replaces, so that systems stay as far apart as they are.

    Args:
        batch: trials whose systems do not act on each other.
        generator: of the places.
        geometry: of the values.
        system: target (trial, individual), which system each individual is of; below 0 if absent.
        per_individual: targets (trial, individual, …) that go along; `system` stays, as the label of a place.
        per_pair: targets (trial, individual, individual, …) that go along; between two systems they are 0.
    """
    label = batch.targets[system]
    trial, individual = _sources(label, generator)
    targets = dict(batch.targets)
    for name in per_individual:
        targets[name] = targets[name][trial, individual]
    is_present = label >= 0
    is_together = (label[:, :, None] == label[:, None]) & is_present[:, :, None]
    for name in per_pair:
        moved = targets[name][trial[:, :, None], individual[:, :, None], individual[:, None]]
        apart = torch.where(is_present[:, :, None] & is_present[:, None], 0, -1).to(moved.dtype)
        targets[name] = torch.where(is_together, moved, apart)
    values, observed = batch.values[trial, individual], batch.observed[trial, individual]
    if geometry.space == "plane":
        d = geometry.n_dimensions
        there = _system_centres(batch.values[..., :d], batch.observed, is_together)
        here = _system_centres(values[..., :d], observed, is_together)
        shift = (there - here)[:, :, None] * observed[..., None]
        values = torch.cat((values[..., :d] + shift, values[..., d:]), dim=-1)
    return batch.replace(values=values, observed=observed, targets=targets)


def _system_centres(
    position: Float[Tensor, "trial individual time dimension"],
    observed: Bool[Tensor, "trial individual time"],
    is_together: Bool[Tensor, "trial individual individual"],
) -> Float[Tensor, "trial individual dimension"]:
    """For each individual, the mean position of its system over all that is observed of it."""
    together = is_together.to(position.dtype)
    total = together @ (position * observed[..., None]).sum(2)
    return total / (together @ observed.sum(2, keepdim=True).to(position.dtype)).clamp(min=1)


def _sources(
    label: Int[Tensor, "trial individual"], generator: torch.Generator
) -> tuple[Int[Tensor, "trial individual"], Int[Tensor, "trial individual"]]:
    """For every place of the batch, the trial and individual that move there."""
    is_present = label >= 0
    same = (label[:, :, None] == label[:, None]) & is_present[:, :, None]
    first = same.int().argmax(dim=2)  # of each system
    is_first = is_present & (first == torch.arange(label.shape[1]))
    system = (is_first.flatten().cumsum(0).view_as(label) - 1).gather(1, first).flatten()

    place = is_present.flatten().nonzero().squeeze(1)
    place = place[system[place].argsort(stable=True)]  # system by system
    size = same.sum(2).flatten()[place]
    drawn = torch.rand(int(is_first.sum()), generator=generator)[system[place]]
    # From small systems to large: places as they stand, and those of one size in random order.
    source = torch.arange(label.numel())
    source[place[size.argsort(stable=True)]] = place[(size + 0.5 * drawn).argsort(stable=True)]
    source = source.view_as(label)
    return source // label.shape[1], source % label.shape[1]


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

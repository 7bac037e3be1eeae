"""The optimiser: AdamW, with one step size per table of individuals, and gradients that are clipped part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from motet.models.layers import IndividualTable

BETAS = 0.9, 0.99


class TableAdam(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019), in which the weights of all individuals share one second moment.

    Adam divides every weight's gradient by its own recent size. For the weights of individuals that undoes the scale
    of their activity, as if each had been z-scored: individuals that say little move as fast as those that say much,
    and noise is fitted. One second moment for the whole table (as Adam-mini has for blocks of weights,
    arXiv:2406.16793) keeps their proportions.

    Of each part the matrices, all other weights and every table are one vector each, so that a step takes few
    operations, however many layers there are.

    Args:
        parts: modules that learn without each other; the weights of `IndividualTable`s are treated as above.
        learning_rate: of all other weights.
        table_learning_rate: of tables.
        weight_decay: of matrices.
        gradient_clip: largest norm of the gradient of a part.

    Attributes:
        n_steps: () taken so far.
        moments: of each group of weights, "mean" (weight,) and "square" (weight,), of a table ().
    """

    def __init__(
        self,
        parts: Sequence[nn.Module],
        *,
        learning_rate: float,
        table_learning_rate: float,
        weight_decay: float,
        gradient_clip: float = math.inf,
    ) -> None:
        groups: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            tables = [m.weight for m in part.modules() if isinstance(m, IndividualTable) and m.weight.requires_grad]
            is_table = {id(parameter) for parameter in tables}
            others = [p for p in part.parameters() if p.requires_grad and id(p) not in is_table]
            shared = {"part": number, "weight_decay": 0.0, "is_table": False}
            matrices, rest = [p for p in others if p.ndim >= 2], [p for p in others if p.ndim < 2]
            groups.append(shared | {"params": matrices, "peak": learning_rate, "weight_decay": weight_decay})
            groups.append(shared | {"params": rest, "peak": learning_rate})
            groups += [shared | {"params": [p], "peak": table_learning_rate, "is_table": True} for p in tables]
        super().__init__([group for group in groups if group["params"]], {"lr": 0.0})
        self.gradient_clip = gradient_clip
        self.n_steps = torch.zeros((), dtype=torch.int64)
        self.moments = [_no_moments(group) for group in self.param_groups]

    def to(self, device: torch.device) -> None:
        """Move what is remembered of gradients to where the weights are."""
        self.moments = [{slot: value.to(device) for slot, value in one.items()} for one in self.moments]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All that changes from step to step beside the weights, by name."""
        yield "n_steps", self.n_steps
        for number, moments in enumerate(self.moments):
            yield from ((f"{slot}/{number}", value) for slot, value in moments.items())

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; `lr` of each group as set before. Weights without a gradient have one of 0, and do not decay."""
        self.n_steps += 1
        gradients = [_joined([_gradient(p) for p in group["params"]]) for group in self.param_groups]
        for part in {group["part"] for group in self.param_groups}:
            own = [g for g, group in zip(gradients, self.param_groups, strict=True) if group["part"] == part]
            norm = torch.stack([gradient.norm() for gradient in own]).norm()
            torch._foreach_mul_(own, (self.gradient_clip / (norm + 1e-6)).clamp(max=1.0))
        for group, moments, gradient in zip(self.param_groups, self.moments, gradients, strict=True):
            self._move(group, moments, gradient)

    def _move(self, group: dict[str, Any], moments: dict[str, Tensor], gradient: Tensor) -> None:
        first, second = (1 - beta ** int(self.n_steps) for beta in BETAS)
        new = gradient.square()
        moments["mean"].lerp_(gradient, 1 - BETAS[0])
        moments["square"].lerp_(new.mean() if group["is_table"] else new, 1 - BETAS[1])
        scale = (moments["square"] / second).sqrt_().add_(1e-10)
        moves = (moments["mean"] / scale).mul_(-group["lr"] / first)
        parameters = group["params"]
        if group["weight_decay"]:
            decayed = [parameter for parameter in parameters if parameter.grad is not None]
            torch._foreach_mul_(decayed, 1 - group["lr"] * group["weight_decay"])
        parts = torch.split(moves, [parameter.numel() for parameter in parameters])
        torch._foreach_add_(parameters, [move.view_as(p) for move, p in zip(parts, parameters, strict=True)])


def _no_moments(group: dict[str, Any]) -> dict[str, Tensor]:
    nothing = torch.zeros_like(_joined(group["params"]))
    return {"mean": nothing, "square": nothing.new_zeros(()) if group["is_table"] else nothing.clone()}


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers, in a new vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])

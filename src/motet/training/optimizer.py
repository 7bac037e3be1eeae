"""The optimiser: AdamW, with one step size per table of individuals."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from motet.models.layers import IndividualTable


class TableAdam(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019), in which the weights of all individuals share one second moment.

    Adam divides every weight's gradient by its own recent size. For the weights of individuals that undoes the scale
    of their activity, as if each had been z-scored: individuals that say little move as fast as those that say much,
    and noise is fitted. One second moment for the whole table (as Adam-mini has for blocks of weights,
    arXiv:2406.16793) keeps their proportions.

    Args:
        module: whose parameters are optimised; those of `IndividualTable`s are treated as above.
        learning_rate: of all other weights.
        table_learning_rate: of tables.
        weight_decay: of matrices.
    """

    def __init__(
        self, module: nn.Module, *, learning_rate: float, table_learning_rate: float, weight_decay: float
    ) -> None:
        tables = [m.weight for m in module.modules() if isinstance(m, IndividualTable)]
        is_table = {id(parameter) for parameter in tables}
        others = [parameter for parameter in module.parameters() if id(parameter) not in is_table]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in others if p.ndim >= 2], "peak": learning_rate, "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "peak": learning_rate, "weight_decay": 0.0},
            {"params": tables, "peak": table_learning_rate, "weight_decay": 0.0, "is_table": True},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": 0.0, "betas": (0.9, 0.99), "is_table": False})
        for group in self.param_groups:
            for parameter in group["params"]:
                square = torch.zeros(()) if group["is_table"] else torch.zeros_like(parameter)
                self.state[parameter] = {"step": torch.zeros(()), "mean": torch.zeros_like(parameter), "square": square}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; `lr` of each group as set before."""
        for group in self.param_groups:
            first_decay, second_decay = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                slots, square = self.state[parameter], parameter.grad.square()
                slots["step"] += 1
                n_steps = float(slots["step"])
                slots["mean"].lerp_(parameter.grad, 1 - first_decay)
                slots["square"].lerp_(square.mean() if group["is_table"] else square, 1 - second_decay)
                scale = (slots["square"] / (1 - second_decay**n_steps)).sqrt().add(1e-10)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(slots["mean"] / scale, alpha=group["lr"] / (1 - first_decay**n_steps))

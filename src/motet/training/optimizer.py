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
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            first_decay, second_decay = group["betas"]
            gradients = [parameter.grad for parameter in parameters]
            steps, means, squares = ([self.state[p][slot] for p in parameters] for slot in ("step", "mean", "square"))
            torch._foreach_add_(steps, 1)
            taken = [float(step) for step in steps]
            new = torch._foreach_mul(gradients, gradients)
            torch._foreach_lerp_(means, gradients, 1 - first_decay)
            torch._foreach_lerp_(squares, [s.mean() for s in new] if group["is_table"] else new, 1 - second_decay)
            scales = torch._foreach_sqrt(torch._foreach_div(squares, [1 - second_decay**n for n in taken]))
            torch._foreach_add_(scales, 1e-10)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            moves = torch._foreach_div(means, scales)
            torch._foreach_mul_(moves, [-group["lr"] / (1 - first_decay**n) for n in taken])
            torch._foreach_add_(parameters, moves)

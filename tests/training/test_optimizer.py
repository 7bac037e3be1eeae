from __future__ import annotations

import torch
from torch import nn

from motet.models.layers import IndividualTable
from motet.training.optimizer import TableAdam


def steps(optimizer, parameters, gradients):
    for gradient in gradients:
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = value.clone()
        optimizer.step()


def test_ordinary_weights_are_optimised_by_adamw():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    gradients = [[torch.randn(3, 5), torch.randn(3)] for _ in range(7)]
    optimizer = TableAdam(ours, learning_rate=0.01, table_learning_rate=0.5, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    steps(optimizer, [ours.weight, ours.bias], gradients)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    steps(torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99)), [theirs.weight, theirs.bias], gradients)
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_the_weights_of_individuals_keep_the_proportions_of_their_gradients():
    table = IndividualTable(("a", "b"), (3,), std=0.0)
    optimizer = TableAdam(table, learning_rate=1.0, table_learning_rate=0.01, weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["peak"]
    steps(optimizer, [table.weight], [[torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]])]] * 3)
    torch.testing.assert_close(table.weight[1], 0.1 * table.weight[0])
    rms = (1.01 / 2) ** 0.5
    torch.testing.assert_close(table.weight[0], torch.full((3,), -3 * 0.01 / rms))

from __future__ import annotations

import torch
from torch import nn

from motet.models.layers import IndividualTable
from motet.training.optimizer import BETAS, TableAdam


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
    optimizer = TableAdam([ours], learning_rate=0.01, table_learning_rate=0.5, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    steps(optimizer, [ours.weight, ours.bias], gradients)
    groups = [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}]
    steps(torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99)), [theirs.weight, theirs.bias], gradients)
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_the_weights_of_individuals_keep_the_proportions_of_their_gradients():
    table = IndividualTable(("a", "b"), (3,), std=0.0)
    optimizer = TableAdam([table], learning_rate=1.0, table_learning_rate=0.01, weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["peak"]
    steps(optimizer, [table.weight], [[torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]])]] * 3)
    torch.testing.assert_close(table.weight[1], 0.1 * table.weight[0])
    rms = (1.01 / 2) ** 0.5
    torch.testing.assert_close(table.weight[0], torch.full((3,), -3 * 0.01 / rms))


def test_the_gradient_of_each_part_is_clipped_alone():
    """The second part learns as it would without the first, whose gradient is long."""
    torch.manual_seed(0)
    first, second, alone = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 2)
    alone.load_state_dict(second.state_dict())
    rates = {"learning_rate": 0.1, "table_learning_rate": 0.1, "weight_decay": 0.0}
    both, one = (TableAdam(parts, **rates, gradient_clip=1.0) for parts in ([first, second], [alone]))
    for group in (*both.param_groups, *one.param_groups):
        group["lr"] = group["peak"]
    for long, short in [(100.0, 0.5), (1.0, 3.0), (1e-3, 0.1)]:  # Adam forgets a scale that is always the same
        gradients = [torch.randn(2, 4), torch.randn(2)]
        steps(one, [alone.weight, alone.bias], [[short * g for g in gradients]])
        given = [*(long * g for g in gradients), *(short * g for g in gradients)]
        steps(both, [*first.parameters(), *second.parameters()], [given])
    assert torch.equal(second.weight, alone.weight)
    assert torch.equal(second.bias, alone.bias)


def test_no_gradient_counts_for_more_than_the_clip():
    layer = nn.Linear(4, 2)
    optimizer = TableAdam([layer], learning_rate=0.1, table_learning_rate=0.1, weight_decay=0.0, gradient_clip=0.5)
    steps(optimizer, list(layer.parameters()), [[torch.full((2, 4), 3.0), torch.zeros(2)]])
    first = optimizer.moments[0]["mean"] / (1 - BETAS[0])
    torch.testing.assert_close(first.norm(), torch.tensor(0.5))


def test_weights_without_a_gradient_stay():
    used, unused = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    before = unused.weight.detach().clone()
    optimizer = TableAdam([nn.ModuleList([used, unused])], learning_rate=0.1, table_learning_rate=0.1, weight_decay=0.5)
    optimizer.param_groups[0]["lr"] = 0.1
    steps(optimizer, [used.weight], [[torch.ones(3, 3)]] * 2)
    assert torch.equal(unused.weight, before)

"""Rules as tensor operations say what the fitted rivals say, of whole trials and bin by bin."""

from __future__ import annotations

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.inside import RuleGraph
from motet.estimators.rule import INSIDE, Rule, rules_for
from motet.rivals.graphs import graph_of, model_graph, share
from motet.training.objectives import Target

TARGETS = {"direction": "class", "is_fast": "class", "is_late": "class", "peak": "quantity", "velocity": "quantity"}


def trials(n_trials, seed, *, are_counts=True):
    """Ragged trials of five neurons, some of which are missing at times; the third never fires."""
    rng = np.random.default_rng(seed)
    direction, lengths = np.arange(n_trials) % 3, rng.integers(5, 8, n_trials)
    tuning = np.random.default_rng(9).normal(size=(3, 5))
    values = [
        rng.poisson(np.exp(0.5 + np.tile(tuning[d][:, None], n))) * 1.0 for d, n in zip(direction, lengths, strict=True)
    ]
    for one in values:
        one[2] = 0
    values[0][1], values[1][3, 1:3], values[2][:, 1] = np.nan, np.nan, np.nan
    targets = {
        "direction": direction,
        "is_fast": direction > 0,
        "is_late": [np.arange(n) > 3 for n in lengths],
        "peak": np.array([np.nansum(one) for one in values]),
        "velocity": [
            np.stack([np.sin(np.arange(n) + d), np.arange(n) * 1.0], -1)
            for d, n in zip(direction, lengths, strict=True)
        ],
    }
    return Recording.from_trials(
        values if are_counts else [one - 1 for one in values], targets=targets, individual_ids=list("abcde")
    )


CASES = [
    ("lda", "direction"), ("lda", "is_fast"), ("lda", "is_late"), ("lda-total-counts", "direction"),
    ("lda-mean", "direction"), ("lda-mean", "is_late"), ("logistic-regression", "direction"),
    ("logistic-regression", "is_fast"), ("kernel-svm", "direction"), ("kernel-svm", "is_fast"),
    ("kernel-svm", "is_late"), ("kernel-svm-total-counts", "direction"), ("ridge", "peak"), ("ridge", "velocity"),
    ("wiener", "velocity"), ("kernel-ridge", "peak"), ("kernel-ridge", "velocity"), ("kernel-ridge-time", "velocity"),
    ("template", "velocity"), ("template-hard", "velocity"), ("template-ridge", "velocity"),
    ("template-kernel-ridge", "velocity"),
]  # fmt: skip


@functools.cache
def made(name, target, *, are_counts=True):
    """A fitted rule, its graph, and trials that it has not seen, some longer than any of training."""
    train, test = (trials(n, seed, are_counts=are_counts) for n, seed in ((30, 1), (6, 2)))
    goal = Target.fit(PopulationDataset(train), target, kind=TARGETS[target])
    rule = Rule.fit(PopulationDataset(train), goal, rules_for(name, goal))
    assert not rule.left_out
    return rule, RuleGraph(graph_of(rule.fitted[0][name], rule.usual[0]), goal), test


def tensors(recording):
    return torch.from_numpy(recording.values).double(), torch.from_numpy(recording.observed)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_a_rule_as_tensor_operations_says_what_the_rival_says(name, target):
    rule, graph, test = made(name, target)
    for recording in (test, test.select(bins=slice(0, 2)), test.select(trials=[0], bins=slice(0, 1))):
        said = rule.says(recording)[name]
        found = graph(*tensors(recording)).numpy()
        known = np.isfinite(said)
        np.testing.assert_allclose(found[known], said[known], atol=1e-9)


@pytest.mark.parametrize("name", ["lda", "ridge", "template-ridge"])
def test_values_that_are_no_counts_are_read_alike(name):
    target = "direction" if name == "lda" else "velocity"
    rule, graph, test = made(name, target, are_counts=False)
    said = rule.says(test)[name]
    known = np.isfinite(said)
    np.testing.assert_allclose(graph(*tensors(test)).numpy()[known], said[known], atol=1e-9)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_bin_by_bin_a_rule_says_what_it_says_of_the_trial_so_far(name, target):
    _, graph, test = made(name, target)
    values, observed = tensors(test.select(trials=[1]))
    if not graph.fitted.is_causal:
        assert target == "is_late"  # whose rivals read bins to come
        return
    state = graph.fitted.start()
    for time in range(values.shape[2]):
        now = slice(time, time + 1)
        said, state = graph.fitted.step(values[:, :, now], observed[:, :, now], torch.tensor(time), state)
        so_far = graph(values[:, :, : time + 1], observed[:, :, : time + 1])
        whole = so_far if graph.fitted.__class__.__name__ == "TrialGraph" else so_far[:, time]
        torch.testing.assert_close(graph.coded(said), whole, atol=1e-9, rtol=0)


def test_kernels_that_learned_from_the_same_rows_share_what_is_near():
    names = ("template-kernel-ridge", "kernel-ridge-time")
    graphs = copy.deepcopy([made(name, "velocity")[1].fitted for name in names])
    assert graphs[0].by_bin.near is not graphs[1].by_bin.near
    share(graphs)
    assert graphs[0].by_bin.near is graphs[1].by_bin.near
    values, observed = tensors(made(names[0], "velocity")[2].select(trials=[3], bins=slice(0, 3)))
    other = values.clone()
    other[:, :, 0] += 1  # another trial, read in turn, that differs in its first bin
    states = {trial: [graph.start() for graph in graphs] for trial in (values, other)}
    for time in range(3):
        now = slice(time, time + 1)
        for trial, state in states.items():
            for place, graph in enumerate(graphs):
                said, state[place] = graph.step(trial[:, :, now], observed[:, :, now], torch.tensor(time), state[place])
                wanted = graph(trial[:, :, : time + 1], observed[:, :, : time + 1])[:, time]
                torch.testing.assert_close(said, wanted, atol=1e-9, rtol=0)


def test_every_rule_that_may_be_inside_has_a_graph():
    assert {name for name, _ in CASES} == set(INSIDE)


def test_what_has_no_graph_is_refused():
    with pytest.raises(InputError, match="float cannot be written as tensor operations"):
        model_graph(1.0)
    rule, _, _ = made("lda", "direction")
    with pytest.raises(InputError, match="cannot be written"):
        graph_of(dataclasses.replace(rule.fitted[0]["lda"], model=object()), rule.usual[0])

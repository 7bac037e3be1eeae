"""The second readout: variances learned by moments from other populations, and curves of a new one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from motet.models.moments import MomentReadout
from motet.models.tuning import Candidates, Signals
from motet.rivals.empirical_bayes import Tuning, prior_of, temporal_channels
from motet.rivals.few_shot_classes import Classes

CIRCLE = Candidates.circle(2 * torch.pi * torch.arange(8) / 8, 3)
CLASSES = Classes.of(np.arange(8), 8.0)
FEW, REST = torch.arange(16), torch.arange(16, 48)


def population(seed: int, n_individuals: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Root counts (trial, individual, time) of 48 trials, and their directions, in turn."""
    rng = np.random.default_rng(seed)
    code = np.arange(48) % 8
    depth, angle = rng.gamma(2.0, 0.4, n_individuals), rng.uniform(0, 2 * np.pi, n_individuals)
    log_rate = rng.normal(1, 1, n_individuals) + depth * np.cos(code[:, None] * np.pi / 4 - angle)
    rate = np.exp(log_rate)[..., None] * (1 + 0.3 * np.sin(np.arange(5) + angle[:, None]))
    return torch.from_numpy(np.sqrt(rng.poisson(rate))).float(), torch.from_numpy(code)


def read(readout: MomentReadout, root: torch.Tensor) -> Signals:
    return readout.signals(root, torch.ones_like(root, dtype=torch.bool))


def certain(code: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(code, 8).double()


@pytest.fixture(scope="module")
def readout() -> MomentReadout:
    found = MomentReadout(0)
    found.learn([(read(found, root), certain(code)) for root, code in map(population, (1, 2))], CIRCLE)
    return found


def test_its_numbers_and_its_curves_are_those_of_empirical_bayes(readout: MomentReadout) -> None:
    prior = prior_of(
        [(root.double().numpy().transpose(0, 2, 1), code.numpy()) for root, code in map(population, (1, 2))], 8.0
    )
    np.testing.assert_allclose(readout.level, prior.levels, rtol=1e-5)
    np.testing.assert_allclose(2 * readout.depth[:, :5], prior.depths, rtol=1e-4)
    np.testing.assert_allclose(readout.noise[:5], prior.noises, rtol=1e-5)
    np.testing.assert_allclose(readout.change, prior.changes, atol=1e-3)  # the variance of the mean is another
    root, code = population(3)
    channels = temporal_channels(root.double().numpy().transpose(0, 2, 1))
    rival = Tuning.of(prior, channels[:16], CLASSES.shares(code[:16].numpy()), CLASSES).classify(prior.changes)
    signals = read(readout, root)
    own = readout.log_likelihood(readout(signals[FEW], certain(code[FEW]), CIRCLE), signals[REST])
    np.testing.assert_allclose(log_softmax(own / readout.power, axis=1), rival(channels[16:]), atol=0.02)


def test_the_order_of_trials_and_of_individuals_changes_nothing(readout: MomentReadout) -> None:
    root, code = population(3)
    signals, order = read(readout, root), torch.randperm(12, generator=torch.Generator().manual_seed(0))

    def answers(signals: Signals, few: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        return readout.learn_unlabelled(signals[few], certain(code[few]), signals[rest], CIRCLE)[1]

    plain = answers(signals, FEW, REST)
    torch.testing.assert_close(answers(signals, FEW.flip(0), REST.flip(0)).flip(0), plain)
    torch.testing.assert_close(answers(signals.of(order), FEW, REST), plain)


def test_an_individual_that_is_never_observed_changes_nothing(readout: MomentReadout) -> None:
    root, code = population(3)
    plain, ghost = read(readout, root), torch.cat((root, 9 * torch.ones_like(root[:, :1])), 1)
    observed = torch.ones_like(ghost, dtype=torch.bool)
    observed[:, -1] = False
    with_ghost = readout.signals(ghost, observed)
    one, other = (
        readout.log_likelihood(readout(signals[FEW], certain(code[FEW]), CIRCLE), signals[REST])
        for signals in (plain, with_ghost)
    )
    torch.testing.assert_close(one, other)
    taught = MomentReadout(0)
    taught.learn([(with_ghost, certain(code))], CIRCLE)
    without = MomentReadout(0)
    without.learn([(plain, certain(code))], CIRCLE)
    torch.testing.assert_close(taught.state_dict(), without.state_dict())


def test_who_was_observed_in_some_trials_only_is_read_in_those(readout: MomentReadout) -> None:
    root, code = population(3)
    signals = read(readout, root)
    present = signals.present.clone()
    present[REST[::2], :3] = False
    signals = dataclasses.replace(signals, present=present, values=signals.values * present[..., None])
    tuning = readout(signals[FEW], certain(code[FEW]), CIRCLE)
    together = readout.log_likelihood(tuning, signals[REST])
    alone = torch.cat([readout.log_likelihood(tuning, signals[torch.tensor([int(trial)])]) for trial in REST])
    torch.testing.assert_close(together, alone)


def test_one_trial_of_each_class_and_no_repeat_teaches_nothing() -> None:
    readout = MomentReadout(0)
    root, code = population(1)
    readout.learn([(read(readout, root[:8]), certain(code[:8]))], CIRCLE)
    assert not readout.has_learned


def test_classes_without_a_geometry_and_few_bins_and_individuals_will_do() -> None:
    readout, among = MomentReadout(0), Candidates.categories(8)
    root, code = population(1, n_individuals=3)
    signals = read(readout, root[..., :2])
    readout.learn([(signals, certain(code))], among)
    assert readout.has_learned
    found = readout.log_likelihood(readout(signals[FEW], certain(code[FEW]), among), signals[REST])
    assert found.isfinite().all()


def test_a_population_that_varies_otherwise_is_noticed(readout: MomentReadout) -> None:
    root, code = population(3)
    found = [readout.knows(read(readout, root * factor)[FEW], certain(code[FEW]), CIRCLE) for factor in (1, 3, 0.3)]
    assert found == [True, False, False]

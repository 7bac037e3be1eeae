"""The fitted readout: against dense formulas, and blind to order, absence and other trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from motet.models.tuning import Candidates, Signals, Tuning, TuningReadout, TuningSettings, unevenness

ANGLES = 2 * torch.pi * torch.arange(8) / 8
CIRCLE = Candidates.circle(ANGLES, 2)


def population(
    n_trials: int = 48, n_individuals: int = 12, n_bins: int = 5, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Root counts of cosine-tuned neurons, (trial, individual, time), and the class of each trial."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(n_trials) % 8)
    preferred, depth = rng.uniform(0, 2 * np.pi, n_individuals), rng.uniform(0.2, 1.2, n_individuals)
    rate = 2 * np.exp(depth * np.cos(ANGLES.numpy()[code][:, None] - preferred))
    counts = rng.poisson(np.repeat(rate[..., None], n_bins, 2))
    return torch.tensor(np.sqrt(counts), dtype=torch.float32), torch.tensor(code)


def signals(readout: TuningReadout, root: torch.Tensor) -> Signals:
    return readout.signals(root, torch.ones_like(root, dtype=torch.bool))


def certain(code: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(code, 8).double()


@pytest.fixture
def readout() -> TuningReadout:
    return TuningReadout(TuningSettings(root_channels=2, harmonics=2))


def test_the_likelihood_is_that_of_the_dense_normal_distribution(readout: TuningReadout) -> None:
    root, code = population(n_individuals=4)
    read = signals(readout, root)
    tuning = readout(read[torch.arange(16)], certain(code[:16]), CIRCLE)
    found = readout.log_likelihood(tuning, read[torch.arange(16, 20)]).detach().numpy()
    share = float(torch.as_tensor(tuning.prior_share).detach())
    for trial in range(4):
        x = read.values[16 + trial].T.flatten().detach().numpy()
        for candidate in range(8):
            mean = tuning.mean[..., candidate].flatten().detach().numpy()
            shared = tuning.shared[..., candidate].flatten(1).detach().numpy()
            seen = tuning.seen.flatten(1).detach().numpy()
            noise = np.diag(tuning.variance[..., candidate].flatten().detach().numpy())
            covariance = share * (noise + shared.T @ shared) + seen.T @ seen
            dense = multivariate_normal(mean, covariance).logpdf(x) + len(x) / 2 * np.log(2 * np.pi)
            assert found[trial, candidate] == pytest.approx(dense, abs=1e-6)


def test_a_curve_is_the_posterior_mean_of_bayesian_linear_regression() -> None:
    readout = TuningReadout(TuningSettings(root_channels=1, harmonics=2, depths=1))
    root, code = population(n_individuals=3)
    read = signals(readout, root)
    tuning = readout(read, certain(code), CIRCLE)
    basis = CIRCLE.functions[code].numpy()
    for individual in range(3):
        x = read.values[:, individual, 0].detach().numpy()
        size = np.log(np.sqrt(np.mean(x**2)))
        prior = np.exp(readout.log_variance()[0].detach().numpy()[CIRCLE.order] + 0.7 * size)
        prior[0] = np.exp(4.0)
        noise = first_noise = np.exp(-1.2) / (1 + np.exp(-1.0 - 2 * size)) + np.exp(-2.5)
        for _ in range(2):
            inverse = np.linalg.inv(np.diag(1 / prior) + basis.T @ basis / noise)
            curve = inverse @ basis.T @ x / noise
            left = np.sum((x - basis @ curve) ** 2) + np.trace(basis @ inverse @ basis.T)
            noise = (np.exp(3.0) * first_noise + left) / (np.exp(3.0) + len(x))
        curve = np.linalg.solve(np.diag(1 / prior) + basis.T @ basis / noise, basis.T @ x / noise)
        np.testing.assert_allclose(tuning.mean[0, individual].detach(), CIRCLE.functions.numpy() @ curve, atol=1e-5)


def test_order_of_individuals_and_of_calibration_trials_changes_nothing(readout: TuningReadout) -> None:
    root, code = population()
    individuals, trials = torch.randperm(12), torch.randperm(24)
    plain, mixed = signals(readout, root), signals(readout, root[:, individuals])
    first = readout.log_likelihood(
        readout(plain[torch.arange(24)], certain(code[:24]), CIRCLE), plain[torch.arange(24, 48)]
    )
    second = readout.log_likelihood(
        readout(mixed[trials], certain(code[:24][trials]), CIRCLE), mixed[torch.arange(24, 48)]
    )
    torch.testing.assert_close(first, second, atol=1e-8, rtol=1e-8)


def test_an_individual_that_is_never_observed_changes_nothing(readout: TuningReadout) -> None:
    root, code = population()
    observed = torch.ones_like(root, dtype=torch.bool)
    with_ghost = torch.cat((root, 9 * torch.ones_like(root[:, :1])), 1)
    seen = torch.cat((observed, torch.zeros_like(observed[:, :1])), 1)
    first, second = readout.signals(root, observed), readout.signals(with_ghost, seen)
    few, rest = torch.arange(16), torch.arange(16, 48)
    one = readout.log_likelihood(readout(first[few], certain(code[:16]), CIRCLE), first[rest])
    other = readout.log_likelihood(readout(second[few], certain(code[:16]), CIRCLE), second[rest])
    torch.testing.assert_close(one, other)


def test_a_trial_is_read_alone_whoever_is_missing_in_others(readout: TuningReadout) -> None:
    root, code = population()
    read = signals(readout, root)
    present = read.present.clone()
    present[40:, :3] = False
    read = dataclasses.replace(read, present=present, values=read.values * present[..., None])
    tuning = readout(read[torch.arange(16)], certain(code[:16]), CIRCLE)
    together = readout.log_likelihood(tuning, read[torch.arange(16, 48)])
    alone = torch.cat([readout.log_likelihood(tuning, read[torch.tensor([trial])]) for trial in range(16, 48)])
    torch.testing.assert_close(together, alone)


def test_one_trial_of_each_class_decodes_and_unlabelled_trials_help(readout: TuningReadout) -> None:
    root, code = population(n_trials=168, n_individuals=10, n_bins=3)
    read = signals(readout, root)
    right = []
    for draw in range(4):
        few = torch.stack([(code == label).nonzero()[draw, 0] for label in range(8)])
        rest = torch.tensor(np.setdiff1d(np.arange(168), few))
        alone = readout.log_likelihood(readout(read[few], certain(code[few]), CIRCLE), read[rest]).argmax(1)
        _, together = readout.learn_unlabelled(read[few], certain(code[few]), read[rest], CIRCLE)
        right.append([(found == code[rest]).double().mean() for found in (alone, together.argmax(1))])
    alone, together = np.mean(right, axis=0)
    assert alone > 0.6
    assert together > alone + 0.05


def test_unlabelled_trials_of_a_few_classes_are_not_taken_for_trials_of_all(readout: TuningReadout) -> None:
    root, code = population(n_trials=240, n_individuals=10, n_bins=3)
    read = signals(readout, root)
    right = []
    for draw in range(4):
        few = torch.stack([(code == label).nonzero()[draw, 0] for label in range(8)])
        rest = torch.tensor(np.setdiff1d(((code - draw) % 8 < 3).nonzero().flatten(), few))
        alone = readout.log_likelihood(readout(read[few], certain(code[few]), CIRCLE), read[rest]).argmax(1)
        _, together = readout.learn_unlabelled(read[few], certain(code[few]), read[rest], CIRCLE)
        right.append([(found == code[rest]).double().mean() for found in (alone, together.argmax(1))])
    alone, together = np.mean(right, axis=0)
    assert together > alone + 0.05  # .32 where they are believed to be of all classes equally


def test_many_trials_that_err_together_do_not_speak_for_uneven_classes() -> None:
    likelihood = 9 * torch.eye(8).double().repeat(20, 1)
    likelihood[::4] = likelihood[1::4]  # a class in four is taken for its neighbour
    trust = torch.ones(160).double()
    alone, as_one = unevenness(likelihood, trust)[0], unevenness(likelihood, trust, 20)[0]
    assert alone > 0
    assert as_one < 0
    torch.testing.assert_close(unevenness(likelihood, trust, 160)[0], alone)


def test_gradients_reach_every_number_and_the_signals(readout: TuningReadout) -> None:
    root, code = population()
    root.requires_grad_()
    read = signals(readout, root)
    tuning = readout(read[torch.arange(16)], certain(code[:16]), CIRCLE)
    likelihood = readout.log_likelihood(tuning, read[torch.arange(16, 48)])
    torch.nn.functional.cross_entropy(likelihood, code[16:]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in readout.parameters())
    assert root.grad is not None
    assert (root.grad[:16].abs().sum(), root.grad[16:].abs().sum()) > (0, 0)


def test_shared_noise_that_was_seen_is_taken_out() -> None:
    readout = TuningReadout(TuningSettings(root_channels=1, harmonics=1))
    mean = torch.zeros(1, 2, 2, dtype=torch.float64)
    mean[0, 0, 1] = 1.0  # of the second candidate, the first individual fires more
    tuning = Tuning(mean, torch.ones_like(mean), torch.zeros(0, 1, 2, 2).double(), torch.zeros(0, 1, 2).double())
    trial = Signals(torch.tensor([[[3.0], [3.0]]]).double(), torch.ones(1, 2, dtype=torch.bool), (0,))
    known = dataclasses.replace(tuning, seen=10 * torch.ones(1, 1, 2).double())
    plain, with_noise = (readout.log_likelihood(one, trial)[0].softmax(0)[1] for one in (tuning, known))
    assert plain > 0.5
    assert with_noise < 0.5  # both fire more: noise that they share


def test_lines_and_categories_have_their_functions() -> None:
    assert Candidates.categories(3).functions.shape == (3, 4)
    box = Candidates.line(torch.rand(7, 2), 2)
    assert box.order.tolist() == [0, 1, 2, 1, 2, 2]
    with pytest.raises(ValueError, match="embedding_channels"):
        TuningSettings(embedding_channels=-1)


def test_the_order_of_trials_and_of_individuals_changes_nothing(readout: TuningReadout) -> None:
    root, code = population()
    few, rest = torch.arange(16), torch.arange(16, 48)
    read = signals(readout, root)

    def answers(read: Signals, few: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        belief = certain(code[few])
        trust = readout.trusted(read[few], belief, read[rest], CIRCLE)
        return readout.learn_unlabelled(read[few], belief, read[rest], CIRCLE, trust)[1]

    rng = torch.Generator().manual_seed(0)
    plain = answers(read, few, rest)
    mixed = rest[torch.randperm(32, generator=rng)]
    moved = answers(read, few[torch.randperm(16, generator=rng)], mixed)
    torch.testing.assert_close(moved[mixed.argsort()], plain)
    others = torch.randperm(read.values.shape[1], generator=rng)
    torch.testing.assert_close(answers(read.of(others), few, rest), plain)

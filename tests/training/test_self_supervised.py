"""Pretraining without labels: what is hidden cannot be read, and halves of the trials are apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.distributions import Poisson

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.data.recording import Recording
from motet.models.eit import EIT, EITSettings, Encoding
from motet.systems import simulate
from motet.training.objectives import EpisodeSettings, Masked, Objective, Views, told_apart
from motet.training.objectives.masked import HIDDEN
from motet.training.objectives.views import HALF

MODEL = EIT(EITSettings(identity="none", token_bins=3)).eval()
PREPROCESS = PreprocessSettings(transform="none", centre="none", scale="none")


def populations() -> PopulationDataset:
    """Two of counts, of different size, whose individuals have the same names; and one of other values."""
    one, other = simulate("population", n_subjects=2, n_trials=12, n_neurons=(6, 12), n_bins=6)
    other = dataclasses.replace(other, individual_ids=tuple(f"{one.name}/{i}" for i in range(other.n_individuals)))
    rng = np.random.default_rng(0)
    currents = rng.normal(size=(9, 5, 7)) * rng.uniform(0.1, 30, (5, 1)) - 3
    return PopulationDataset([one, other, Recording.from_trials(currents, name="currents", bin_seconds=0.1)])


def batch_of(objective: Objective, dataset: PopulationDataset) -> Batch:
    prepared = Preprocess.fit(dataset, PREPROCESS)(dataset.map(told_apart))
    return objective.prepare(prepared).batch()


@pytest.fixture
def masked() -> Masked:
    torch.manual_seed(0)
    objective = Masked(width=16, settings=EpisodeSettings(), raw=lambda values: values)
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return objective


def shown(objective: Objective, batch: Batch) -> Batch:
    """Of all individuals."""
    return objective.validated(batch)[0]


def encoded(batch: Batch) -> Encoding:
    with torch.no_grad():
        encoding: Encoding = MODEL(batch)
    return encoding


def test_hidden_values_cannot_be_read(masked: Masked) -> None:
    batch = batch_of(masked, populations())
    seen = shown(masked, batch)
    hidden = batch.observed & ~seen.observed
    assert 0.1 < float(hidden.float().mean()) < 0.5
    other = shown(masked, batch.replace(values=torch.where(hidden[..., None], batch.values * 7 + 2, batch.values)))
    torch.testing.assert_close(seen.values, other.values, rtol=0, atol=0)
    assert (seen.observed == other.observed).all()
    with torch.no_grad():
        changes = [masked.change(encoded(one), one) for one in (seen, other)]
        baselines = [masked.baseline(one) for one in (seen, other)]
    torch.testing.assert_close(changes[0], changes[1], rtol=0, atol=0)
    torch.testing.assert_close(baselines[0], baselines[1], rtol=0, atol=0)
    assert (seen.targets[HIDDEN].isfinite() == hidden).all()
    torch.testing.assert_close(seen.targets[HIDDEN][hidden], batch.values[..., 0][hidden])


def test_stretches_gaps_and_whole_trials_are_hidden(masked: Masked) -> None:
    batch = batch_of(masked, populations())
    seen = shown(masked, batch)
    lost = (batch.observed.any(2) & ~seen.observed.any(2)).float()[batch.observed.any(2)].mean()
    assert 0.05 < float(lost) < 0.4  # individuals of which nothing is left in a trial
    gaps = ~seen.observed.any(1) & batch.observed.any(1)
    assert 0.02 < float(gaps.float().mean()) < 0.2


def test_counts_are_poisson_and_other_values_normal(masked: Masked) -> None:
    batch = shown(masked, batch_of(masked, populations()))
    hidden = batch.targets[HIDDEN].isfinite()
    change = 0.1 * torch.randn(int(hidden.sum()), generator=torch.Generator().manual_seed(0))
    error, least = masked.errors(change, batch)
    are_counts, mean, spread = (part.expand_as(hidden)[hidden] for part in masked.baseline(batch))
    values = batch.targets[HIDDEN][hidden]
    assert 0 < float(are_counts.float().mean()) < 1
    rate, counts = (mean * change.exp())[are_counts], values[are_counts]
    poisson = Poisson(counts).log_prob(counts) - Poisson(rate).log_prob(counts)
    torch.testing.assert_close((error - least)[are_counts], poisson.nan_to_num(), rtol=1e-3, atol=1e-4)
    normal = ((values - mean) / spread - change)[~are_counts].square() / 2
    torch.testing.assert_close((error - least)[~are_counts], normal)


def test_averages_are_of_what_is_seen_in_the_same_recording(masked: Masked) -> None:
    batch = batch_of(masked, populations())
    seen = shown(masked, batch)
    mean = masked.baseline(seen).mean
    left = batch.observed & ~seen.targets[HIDDEN].isfinite()
    for recording in range(3):
        own = batch.recording_index == recording
        values, is_left = batch.values[own][..., 0], left[own]
        shared = values[is_left].mean()
        expected = (values[:, 2][is_left[:, 2]].sum() + shared) / (is_left[:, 2].sum() + 1)
        torch.testing.assert_close(mean[own, 2, 0], expected.expand(int(own.sum())))


def test_the_order_of_individuals_changes_nothing(masked: Masked) -> None:
    for objective in (masked, Views()):
        batch = shown(objective, batch_of(objective, populations()))
        encoding = encoded(batch)
        order = torch.randperm(batch.observed.shape[1], generator=torch.Generator().manual_seed(0))
        targets = {name: t[:, order] if t.ndim == 3 else t for name, t in batch.targets.items()}
        turned = batch.keep_individuals(order).replace(targets=targets)
        torch.testing.assert_close(
            objective.loss(encoding, batch), objective.loss(encoded(turned), turned), rtol=1e-4, atol=1e-5
        )


def test_halves_share_no_trial_and_recordings_are_never_compared() -> None:
    views = Views()
    batch = shown(views, batch_of(views, populations()))
    half = batch.targets[HALF]
    for recording in range(3):
        sizes = torch.bincount(half[batch.recording_index == recording], minlength=2)
        assert abs(int(sizes[0] - sizes[1])) <= 1
    changed = batch.replace(values=torch.where((half == 0)[:, None, None, None], batch.values + 3, batch.values))
    before, after = (views.sides(encoded(one).population, one) for one in (batch, changed))
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1], after[1], rtol=0, atol=0)
    n_asked = views.predict(encoded(batch), batch)["views"][0, 1]
    assert n_asked == 4 * sum(len(ids) for ids in batch.individual_ids)  # two ways, two stages
    for odds, _ in views._scores(encoded(batch), batch):
        compared = odds.isfinite().sum(1)
        assert set(compared.tolist()) == {len(ids) for ids in batch.individual_ids}


def test_individuals_without_a_half_are_not_asked() -> None:
    views = Views()
    whole = batch_of(views, populations())
    second = torch.arange(whole.observed.shape[1]) == 1
    batch = shown(views, whole.without(second[:, None].expand_as(whole.observed)))
    one = batch.replace(targets={HALF: 0 * batch.targets[HALF]})
    assert views.predict(encoded(batch), batch)["views"][0, 1] == 4 * (sum(map(len, batch.individual_ids)) - 3)
    assert views.loss(encoded(one), one) == 0

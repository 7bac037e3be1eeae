"""Guards of training: what the settings promise happens in every step. Each turns red under faults of tests/planted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording
from motet.estimators.decoders import EITClassifier
from motet.models.eit import EIT, EITSettings
from motet.models.layers import Block
from motet.models.randomness import draws_from
from motet.training.learner import Learner
from motet.training.loop import train
from motet.training.objectives import ObjectiveSettings, Target, hidden, make_objective
from motet.training.optimizer import BETAS, TableAdam
from motet.training.settings import TrainingSettings
from motet.training.state import fingerprint

SETTINGS = TrainingSettings(max_steps=20, batch_trials=8, averaging=0.9)


def recording_of(seed=0, **fields):
    rng = np.random.default_rng(seed)
    side = np.arange(32) % 2
    values = rng.normal(side[:, None, None], 1.0, (32, 5, 4))
    return Recording.from_trials(values, targets={"side": side}, name="guard", **fields)


def learner_of(recording, **model):
    dataset = PopulationDataset(recording)
    target = Target.fit(dataset, "side")
    torch.manual_seed(0)
    eit = EIT(EITSettings(width=8, **model), individual_ids=recording.individual_ids)
    objective = make_objective([target], width=8, ids=recording.individual_ids, settings=ObjectiveSettings())
    return Learner(eit, objective), objective.prepare(dataset)


@pytest.fixture
def steps(monkeypatch):
    """What every step of a training does: its learning rates, the norm of the gradient that counts, the weights."""
    seen = []
    step = TableAdam.step

    def spy(self, closure=None):
        rates = [group["lr"] / group["peak"] for group in self.param_groups]
        before = [moments["mean"].clone() for moments in self.moments]
        found = step(self, closure)
        counted = [(m["mean"] - BETAS[0] * b) / (1 - BETAS[0]) for m, b in zip(self.moments, before, strict=True)]
        norm = torch.cat(counted).norm()
        weights = [p.detach().clone() for g in self.param_groups for p in g["params"]]
        seen.append((rates, float(norm), weights))
        return found

    monkeypatch.setattr(TableAdam, "step", spy)
    return seen


def test_the_learning_rate_rises_and_falls_to_nothing(steps):
    learner, dataset = learner_of(recording_of())
    train(learner, dataset, None, SETTINGS, seed=0)
    rates = np.array([rates for rates, _, _ in steps])
    assert len(rates) == 20
    np.testing.assert_allclose(rates, rates[:, :1].repeat(rates.shape[1], axis=1))
    assert rates[0, 0] < 0.5 < 0.9 < rates.max() <= 1
    assert rates[-1, 0] < 0.05
    assert (np.diff(rates[rates[:, 0].argmax() :, 0]) < 0).all()


def test_no_gradient_is_longer_than_it_may_be(steps):
    learner, dataset = learner_of(recording_of())
    train(learner, dataset, None, dataclasses.replace(SETTINGS, gradient_clip=1e-3), seed=0)
    assert max(norm for _, norm, _ in steps) <= 1e-3 * 1.001


def test_the_weights_kept_are_the_running_mean_of_those_of_the_steps(steps):
    learner, dataset = learner_of(recording_of())
    mean = [p.detach().clone() for p in _in_order(learner)]
    train(learner, dataset, None, SETTINGS, seed=0)
    for n, (_, _, weights) in enumerate(steps, start=1):
        decay = min(SETTINGS.averaging, (1 + n) / (10 + n))
        mean = [decay * old + (1 - decay) * new for old, new in zip(mean, weights, strict=True)]
    kept = list(_in_order(learner))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(kept, mean, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(kept, steps[-1][2], strict=True))


def _in_order(learner):
    """The parameters in the order of the optimiser's groups."""
    optimizer = TableAdam([learner], learning_rate=1, table_learning_rate=1, weight_decay=0)
    return [p for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize("branch", ["attention", "feedforward"])
def test_both_branches_of_a_layer_drop_out_in_training_and_neither_after(branch):
    block = Block(8, 1, 2.0, 0.5, is_temporal=False)
    silenced = block.feedforward[-1] if branch == "attention" else block.attention.to_out
    torch.nn.init.zeros_(silenced.weight)
    torch.nn.init.zeros_(silenced.bias)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 8, generator=generator)
    with draws_from(block, generator):
        first, second = block.train()(x, None), block.train()(x, None)
        assert not torch.equal(first, second)
        if branch == "attention":
            assert ((first - x) == 0).float().mean() > 0.3  # of the branch itself, not of something inside it
    assert torch.equal(block.eval()(x, None), block.eval()(x, None))


def changed(recording, **fields):
    return dataclasses.replace(recording, **fields)


@pytest.mark.parametrize(
    "what", ["value", "observed", "target", "ids", "seed", "setting", "model", "weight", "validation"]
)
def test_a_fingerprint_changes_with_whatever_would_change_the_weights(what):
    recording = recording_of()
    learner, dataset = learner_of(recording)
    first = fingerprint(learner, dataset, None, SETTINGS, 0)
    assert fingerprint(learner_of(recording)[0], dataset, None, SETTINGS, 0) == first
    values, observed, side = (
        recording.values.copy(),
        recording.observed.copy(),
        dataset.recordings[0].targets["side"].copy(),
    )
    values[3, 2, 1] += 1e-3
    observed[3, 2, 1] = False
    side[7] = 1 - side[7]
    prepared = dataset.recordings[0]
    others = {
        "value": changed(prepared, values=values),
        "observed": changed(prepared, observed=observed, values=np.where(observed[..., None], prepared.values, 0)),
        "target": changed(prepared, targets={"side": side}),
        "ids": changed(prepared, individual_ids=tuple("abcde")),
    }
    part = PopulationDataset(others.get(what, prepared))
    if what == "model":
        learner = learner_of(recording, dropout=0.1)[0]
    if what == "weight":
        with torch.no_grad():
            next(learner.parameters()).flatten()[0] += 1e-3
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-3) if what == "setting" else SETTINGS
    validation = dataset if what == "validation" else None
    assert fingerprint(learner, part, validation, settings, int(what == "seed")) != first


@pytest.mark.parametrize("change", [{"checkpoint_seconds": 9.0}, {"tensorboard": True}])
def test_a_fingerprint_does_not_change_with_what_would_not(change):
    learner, dataset = learner_of(recording_of())
    assert fingerprint(learner, dataset, None, dataclasses.replace(SETTINGS, **change), 0) == fingerprint(
        learner, dataset, None, SETTINGS, 0
    )


def batch_of(recording) -> Batch:
    return PopulationDataset(recording).batch()


def test_what_is_hidden_from_a_step_and_its_noise_are_as_asked():
    batch = batch_of(recording_of())
    generator = torch.Generator().manual_seed(0)
    few = hidden(batch, ObjectiveSettings(hidden_individuals=(0.4, 0.4), noise=0.0), generator)
    assert few.values.shape[1] == 3
    noisy = hidden(batch, ObjectiveSettings(hidden_individuals=(0.0, 0.0), noise=0.5), generator)
    assert float((noisy.values - batch.values).std()) == pytest.approx(0.5, rel=0.1)


def test_unobserved_bins_and_trials_of_unknown_class_add_nothing_to_the_loss():
    recording = recording_of()
    learner, dataset = learner_of(recording)
    learner.eval()
    known = dataset.batch(np.arange(10))
    with torch.no_grad():
        alone = learner.objective.loss(learner.model(known), known)
        both = dataset.batch(np.arange(20))
        targets = {"side": torch.where(torch.arange(20) < 10, both.targets["side"], -1)}
        beside = learner.objective.loss(learner.model(both.replace(targets=targets)), both.replace(targets=targets))
    assert float(alone) == pytest.approx(float(beside), rel=1e-5)


def test_individuals_are_hidden_from_every_step(monkeypatch):
    learner, dataset = learner_of(recording_of())
    read = []
    forward = EIT.forward
    monkeypatch.setattr(
        EIT, "forward", lambda self, batch: (read.append(batch.values.shape[1]), forward(self, batch))[1]
    )
    train(learner, dataset, None, SETTINGS, seed=0)
    assert len(read) >= 20
    assert max(read) < 5


def test_trials_that_validate_are_never_trained_on(monkeypatch):
    learner = None
    seen = []
    batch = PopulationDataset.batch

    def spy(self, *given, **named):
        found = batch(self, *given, **named)
        if learner is not None and learner.training:
            seen.append(found.values)
        return found

    monkeypatch.setattr(PopulationDataset, "batch", spy)
    estimator = EITClassifier(
        "side",
        training=dataclasses.replace(SETTINGS, validation=0.25),
        preprocess=PreprocessSettings("none", "none", "none"),
    )
    recording = recording_of()
    make = EITClassifier._make_learner

    def kept(self):
        nonlocal learner
        learner = make(self)
        return learner

    monkeypatch.setattr(EITClassifier, "_make_learner", kept)
    estimator.seed_ = estimator.seed
    train_part, validation = estimator._split(PopulationDataset(recording))
    estimator.fit(recording, on_epoch=lambda row: None)
    rows = {trial.numpy().tobytes() for values in seen for trial in values}
    of = {
        part: {np.ascontiguousarray(v).tobytes() for v in d.recordings[0].values}
        for part, d in (("t", train_part), ("v", validation))
    }
    assert rows == of["t"]
    assert not rows & of["v"]


def test_labels_of_bins_in_which_nothing_was_observed_add_nothing_to_the_loss():
    rng = np.random.default_rng(0)
    state, observed = rng.integers(0, 2, (12, 6)), np.ones((12, 3, 6), dtype=bool)
    observed[:6, :, 4:] = False
    values = np.where(observed[..., None], rng.normal(size=(12, 3, 6, 1)), 0).astype(np.float32)
    ids = ("a", "b", "c")
    losses = []
    for labels in (state, np.where(observed.any(axis=1), state, 1 - state)):
        recording = Recording(values, observed, ids, {"state": labels}, target_levels={"state": "bin"})
        dataset = PopulationDataset(recording)
        target = Target("state", "bin", classes=(0, 1))
        objective = make_objective([target], width=8, ids=ids, settings=ObjectiveSettings())
        model = EIT(EITSettings(width=8), individual_ids=ids)
        for place, parameter in enumerate([*model.parameters(), *objective.parameters()]):
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
        batch = objective.prepare(dataset).batch()
        with torch.no_grad():
            losses.append(float(objective.eval().loss(model.eval()(batch), batch)))
    assert losses[0] == losses[1]

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings

EIT = EITSettings(width=8, n_heads=2, identity="none", token_bins=1)
KINDS = {
    "position": ("position", 2, PairSettings(width=8, messages=4)),
    "position in space, one law, no messages": ("position", 3, PairSettings(width=8, laws=1, depth=1)),
    "position-velocity": ("position-velocity", 4, PairSettings(width=8, messages=4)),
    "phase": ("phase", 3, PairSettings(width=8, messages=4)),
    "phase and own frequency": ("phase", 4, PairSettings(width=8)),
    "no fit": ("position", 2, PairSettings(width=8, laws=0, messages=4)),
    "no geometry": ("position", 2, PairSettings(width=8, geometry=False)),
    "nothing is known": ("none", 2, PairSettings(width=8, messages=4)),
    "no embeddings": ("position", 2, PairSettings(width=8, embeddings=False)),
    "a fit alone": ("phase", 3, PairSettings(width=8, geometry=False, embeddings=False)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def moving(kind, n_individuals=5, n_bins=12, *, n_trials=3, seed=0, missing=0.15, name="moving"):
    """Random walks that curve, with gaps."""
    features, n_features, _ = KINDS[kind]
    rng = np.random.default_rng([seed, n_individuals])
    values = 0.1 * rng.normal(size=(n_trials, n_individuals, n_bins, n_features)).cumsum(axis=2)
    values += rng.normal(size=(n_trials, n_individuals, 1, n_features))
    if features == "phase":
        angle = 3 * values[..., 0]
        values[..., 0], values[..., 1] = np.cos(angle), np.sin(angle)
    values[rng.random(values.shape[:3]) < missing] = np.nan
    values[:, 0, -1] = rng.normal(size=n_features)  # so that no trial is shorter
    return Recording.from_trials(values, bin_seconds=0.1, name=name)


def a_model(kind):
    """A model of that kind with weights that are none of those it starts with, and what prepares its data."""
    features, _, pairs = KINDS[kind]
    geometry = Geometry.fit(
        PopulationDataset(moving(kind, n_trials=10, seed=9)), MotionSettings(features=features, half_width=2)
    )
    torch.manual_seed(0)
    model = PairEIT(EIT, pairs, geometry).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model, geometry


def batch_of(geometry, *recordings):
    return geometry.prepare(PopulationDataset(recordings)).batch()


def encode(model, batch):
    with torch.no_grad():
        return model(batch)


def assert_same(one, other):
    for stage in ("individual", "population", "pair", "coupling"):
        torch.testing.assert_close(getattr(one, stage), getattr(other, stage), rtol=1e-3, atol=1e-3)


def part_of(encoding, *, trials=slice(None), individuals=slice(None), bins=slice(None)):
    """The encoding of some trials, individuals and bins."""
    pairs = {name: getattr(encoding, name)[trials][:, individuals][:, :, individuals] for name in ("pair", "coupling")}
    series = {
        name: getattr(encoding, name)[trials][:, individuals][:, :, bins]
        for name in ("individual", "population", "observed")
    }
    return dataclasses.replace(encoding, **pairs, **series)


@every_kind
@given(order=st.permutations(range(5)), seed=st.integers(0, 5))
@settings(max_examples=6, deadline=None)
def test_permuting_individuals_permutes_pairs_and_couplings(kind, order, seed):
    model, geometry = a_model(kind)
    recording = moving(kind, seed=seed)
    plain = encode(model, batch_of(geometry, recording))
    shuffled = encode(model, batch_of(geometry, recording.select(individuals=order)))
    assert_same(shuffled, part_of(plain, individuals=order))


@every_kind
def test_what_is_not_observed_changes_nothing(kind):
    """Absent individuals between the others, bins after the end, and whatever stands where nothing was seen."""
    model, geometry = a_model(kind)
    batch = batch_of(geometry, moving(kind))
    n_bins, n_features = batch.values.shape[2:]
    values = 1e3 * torch.randn(3, 8, n_bins + 4, n_features, generator=torch.Generator().manual_seed(0))
    observed = torch.zeros(3, 8, n_bins + 4, dtype=torch.bool)
    places = torch.tensor([0, 2, 3, 4, 7])
    observed[:, places, :n_bins] = batch.observed
    inside = torch.where(batch.observed[..., None], batch.values, values[:, places, :n_bins])
    values[:, places, :n_bins] = inside
    positions = torch.full((1, 8), -1)
    positions[:, places] = torch.arange(5)
    wide = encode(model, batch.replace(values=values, observed=observed, positions=positions))
    plain = encode(model, batch)
    assert_same(part_of(wide, individuals=places, bins=slice(n_bins)), plain)
    absent = torch.tensor([1, 5, 6])
    for part in (wide.pair[:, absent], wide.pair[:, :, absent], wide.coupling[:, absent], wide.coupling[:, :, absent]):
        assert not part.any()
    assert not wide.pair.diagonal(dim1=1, dim2=2).any()


@every_kind
def test_systems_of_any_size_and_length_are_encoded_together_as_alone(kind):
    model, geometry = a_model(kind)
    sizes = ((2, 6), (5, 12), (3, 9), (1, 12))
    recordings = [moving(kind, *size, n_trials=1, name=str(size), missing=0.1) for size in sizes]
    together = encode(model, batch_of(geometry, *recordings))
    for trial, (recording, (n_individuals, n_bins)) in enumerate(zip(recordings, sizes, strict=True)):
        alone = encode(model, batch_of(geometry, recording))
        inside = part_of(together, trials=slice(trial, trial + 1), individuals=slice(n_individuals), bins=slice(n_bins))
        assert_same(inside, alone)
        assert not together.pair[trial, n_individuals:].any()


@every_kind
def test_a_trial_does_not_depend_on_the_others(kind):
    model, geometry = a_model(kind)
    recording = moving(kind)
    together, alone = (encode(model, batch_of(geometry, r)) for r in (recording, recording.select(trials=[2])))
    assert_same(part_of(together, trials=slice(2, 3)), alone)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][0] != "none"])
def test_a_pair_hears_of_others_only_by_messages_and_by_what_they_explain(kind):
    """Without messages, fit and interaction module a pair is read alone."""
    pairs = KINDS[kind][2]
    _, geometry = a_model(kind)
    lone = dataclasses.replace(pairs, laws=0, messages=0, embeddings=True)
    hearing = dataclasses.replace(lone, messages=4)
    batch = batch_of(geometry, moving(kind, missing=0))
    moved = batch.replace(values=torch.cat((batch.values[:, :4], 1.5 * batch.values[:, 4:]), dim=1))
    for settings_of_pairs, is_alone in ((lone, True), (hearing, False)):
        torch.manual_seed(0)
        model = PairEIT(dataclasses.replace(EIT, interaction_depth=0), settings_of_pairs, geometry).eval()
        one, other = (encode(model, b).pair[:, :4, :4] for b in (batch, moved))
        assert ((one - other).abs().max() < 1e-5) == is_alone


@every_kind
def test_coincident_resting_missing_and_lone_individuals_give_finite_pairs_and_gradients(kind):
    model, geometry = a_model(kind)
    batch = batch_of(geometry, moving(kind, missing=0.4))
    values, observed = batch.values.clone(), batch.observed.clone()
    values[:, 1], observed[:, 1] = values[:, 0], observed[:, 0]
    values[0, 2] = 0.0
    observed[1, 1:] = False
    observed[2] = False
    values[~observed] = 0.0
    encoding = model(batch.replace(values=values, observed=observed))
    (encoding.pair.square().sum() + encoding.coupling.clamp(-20, 20).sum()).backward()
    assert encoding.pair.isfinite().all()
    assert encoding.coupling.isfinite().all()
    assert not encoding.pair[1:].any()
    not_finite = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not_finite == []


@every_kind
def test_all_weights_learn(kind):  # one that does not would stop several processes
    model, geometry = a_model(kind)
    encoding = model(batch_of(geometry, moving(kind)))
    (encoding.pair.square().sum() + encoding.coupling.clamp(-20, 20).square().sum()).backward()
    learning = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, gradient in learning.items() if gradient is None or not gradient.any()] == []


@every_kind
def test_mixed_precision_gives_nearly_the_same_and_finite_gradients(kind):
    model, geometry = a_model(kind)
    batch = batch_of(geometry, moving(kind))
    plain = encode(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch)
    assert (mixed.pair - plain.pair).norm() < 0.1 * plain.pair.norm()
    mixed.pair.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_pairs_may_be_wider_than_individuals():
    _, geometry = a_model("position")
    model = PairEIT(EIT, PairSettings(width=12), geometry)
    assert encode(model, batch_of(geometry, moving("position"))).pair.shape == (3, 5, 5, 12)


def test_laws_are_those_of_the_space():
    for kind, (_, _, pairs) in KINDS.items():
        model, _ = a_model(kind)
        n_laws = 0 if kind == "nothing is known" else pairs.laws
        encoding = encode(model, batch_of(model.geometry, moving(kind)))
        assert encoding.coupling.shape == (3, 5, 5, n_laws)
        assert encoding.pair.shape == (3, 5, 5, pairs.width)
        assert (model.fit is None) == (n_laws == 0)


@pytest.mark.parametrize("kind", ["no embeddings", "a fit alone", "no geometry"])
def test_without_embeddings_no_weight_of_the_transformer_reaches_a_pair(kind):
    model, geometry = a_model(kind)
    batch = batch_of(geometry, moving(kind))
    before = encode(model, batch).pair
    for parameter in model.eit.parameters():
        parameter.data += 1
    assert torch.equal(encode(model, batch).pair, before) == (not model.settings.embeddings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PairSettings(width=0), r"pairs.width is 0; give a whole number, at least 1"),
        (lambda: PairSettings(depth=0), r"pairs.depth is 0; give a whole number, at least 1"),
        (lambda: PairSettings(laws=-1), r"pairs.laws is -1; give a whole number, at least 0"),
        (lambda: PairSettings(messages=-1), r"pairs.messages is -1; give a whole number, at least 0"),
        (
            lambda: PairEIT(EITSettings(identity="learned"), PairSettings(), Geometry(MotionSettings(), 2, 6)),
            "identity",
        ),
        (
            lambda: PairEIT(EIT, PairSettings(embeddings=False), Geometry(MotionSettings(features="none"), 2, 2)),
            "pairs see neither embeddings nor geometry nor a fit",
        ),
    ],
)
def test_bad_settings_are_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make()

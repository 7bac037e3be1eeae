from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EIT, EITSettings
from motet.models.layers import Attention, Block, ContextTable, readable
from motet.models.randomness import WeightsFrom
from motet.models.readouts import ByIndividual, Readout

KINDS = [
    pytest.param(EITSettings(width=16, n_heads=2, causal=causal, identity=identity), id=f"{identity}-causal={causal}")
    for causal, identity in itertools.product((False, True), ("none", "learned"))
]
KINDS.append(pytest.param(EITSettings(width=16, n_heads=2, identity="context"), id="context"))
IDS = tuple(f"n{i}" for i in range(12))


def a_model(kind):
    torch.manual_seed(0)
    model = EIT(dataclasses.replace(kind, individual_depth=2, interaction_depth=2), individual_ids=IDS).eval()
    if isinstance(model.identity, ContextTable):
        model.identity.learn(IDS, np.random.default_rng(0).normal(size=model.identity.statistics.shape))
    return model


def a_recording(n_individuals=7, n_bins=6, seed=0, n_trials=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_trials, n_individuals, n_bins))
    values[rng.random(values.shape) < 0.15] = np.nan
    values[0] = np.nan_to_num(values[0])
    return Recording.from_trials(values, individual_ids=IDS[:n_individuals])


def encode(model, *recordings):
    with torch.no_grad():
        return model(PopulationDataset(recordings).batch())


def readouts(seed=0):
    torch.manual_seed(seed)
    return [
        Readout(kind, width=16, n_outputs=3, latent_width=8, individual_ids=IDS).eval()
        for kind in ("individual", "pooled")
    ]


@pytest.mark.parametrize("kind", KINDS)
@given(order=st.permutations(range(7)), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_permuting_individuals_permutes_the_encoding_and_no_readout_changes(kind, order, seed):
    model, recording = a_model(kind), a_recording(seed=seed)
    permuted = recording.select(individuals=order)
    plain, shuffled = encode(model, recording), encode(model, permuted)
    torch.testing.assert_close(shuffled.individual, plain.individual[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shuffled.population, plain.population[:, order], rtol=1e-4, atol=1e-5)
    for readout in readouts():
        out = [
            readout(e.population, e.observed, PopulationDataset(r).batch())
            for e, r in ((plain, recording), (shuffled, permuted))
        ]
        torch.testing.assert_close(*out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(n_bins=st.integers(1, 5), n_individuals=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_padding_never_changes_a_trial(kind, n_bins, n_individuals):
    model = a_model(kind)
    small = dataclasses.replace(a_recording(n_individuals, n_bins, n_trials=1), name="small")
    large = a_recording(12, 8)
    alone, mixed = encode(model, small), encode(model, small, large)
    for stage in ("individual", "population"):
        inside = getattr(mixed, stage)[:1, :n_individuals, :n_bins]
        torch.testing.assert_close(inside, getattr(alone, stage), rtol=1e-4, atol=1e-5)
        assert not getattr(mixed, stage)[~mixed.observed].any()


@pytest.mark.parametrize("kind", KINDS)
@given(n_strangers=st.integers(1, 4), seed=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_individuals_that_are_not_observed_change_nothing(kind, n_strangers, seed):
    model, recording = a_model(kind), a_recording(seed=seed)
    appended = np.concatenate(
        [
            np.where(recording.observed[..., None], recording.values, np.nan),
            np.full((3, n_strangers, 6, 1), np.nan),
        ],
        axis=1,
    )
    ids = [*IDS[:7], *(f"stranger{i}" for i in range(n_strangers))]
    more = Recording.from_trials(appended, individual_ids=ids)
    plain, wider = encode(model, recording), encode(model, more)
    torch.testing.assert_close(wider.population[:, :7], plain.population, rtol=1e-4, atol=1e-5)
    for readout in readouts():
        out = [
            readout(e.population, e.observed, PopulationDataset(r).batch())
            for e, r in ((plain, recording), (wider, more))
        ]
        torch.testing.assert_close(*out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(kept=st.sets(st.integers(0, 6), min_size=1))
@settings(max_examples=10, deadline=None)
def test_the_individual_module_is_blind_to_the_others(kind, kept):
    model, recording = a_model(kind), a_recording()
    rows = sorted(kept)
    part, whole = encode(model, recording.select(individuals=rows)), encode(model, recording)
    torch.testing.assert_close(part.individual, whole.individual[:, rows], rtol=1e-4, atol=1e-5)


def test_hiding_an_individual_is_the_same_as_leaving_it_out():
    model, recording = a_model(KINDS[1].values[0]), a_recording()
    batch = PopulationDataset(recording).batch()
    observed = batch.observed.clone()
    observed[:, 2] = False
    with torch.no_grad():
        hidden = model(batch.replace(observed=observed)).population
    without = encode(model, recording.select(individuals=[0, 1, 3, 4, 5, 6])).population
    torch.testing.assert_close(hidden[:, [0, 1, 3, 4, 5, 6]], without, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.values[0].causal])
def test_a_causal_model_does_not_see_the_future(kind):
    model, recording = a_model(kind), a_recording()
    before, whole = encode(model, recording.select(bins=slice(0, 4))), encode(model, recording)
    torch.testing.assert_close(before.population, whole.population[:, :, :4], rtol=1e-4, atol=1e-5)


def test_a_model_that_is_not_causal_reads_both_ways():
    model, recording = a_model(KINDS[0].values[0]), a_recording()
    before, whole = encode(model, recording.select(bins=slice(0, 4))), encode(model, recording)
    assert (before.individual - whole.individual[:, :, :4]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_time_matters(kind):
    model, recording = a_model(kind), a_recording(n_trials=1)
    reversed_time = dataclasses.replace(recording, values=recording.values[:, :, ::-1].copy())
    plain, turned = encode(model, recording).individual, encode(model, reversed_time).individual.flip(2)
    assert (plain - turned).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_amplitude_is_kept(kind):
    """The released model maps 10 and 300 Hz to nearly the same direction (cosine .997)."""
    model = a_model(kind)
    levels = (0.0, 1.0, 4.0, -4.0)
    none, low, high, negative = (
        encode(model, Recording.from_trials(np.full((1, 1, 6), level), individual_ids=IDS[:1])).individual.flatten()
        for level in levels
    )
    assert torch.cosine_similarity(high, negative, dim=0) < 0.9
    assert (high - none).norm() > 2 * (low - none).norm()


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[-1]])
def test_identity_travels_with_the_id(kind):
    model = a_model(kind)
    same = Recording.from_trials(np.ones((1, 2, 4)), individual_ids=["n0", "n5"])
    encoding = encode(model, same).population
    assert (encoding[0, 0] - encoding[0, 1]).abs().max() > 1e-3
    swapped = encode(model, dataclasses.replace(same, individual_ids=("n5", "n0"))).population
    torch.testing.assert_close(swapped[:, [1, 0]], encoding, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[-1]])
def test_individuals_and_features_never_seen_are_refused(kind):
    model = a_model(kind)
    with pytest.raises(InputError, match="never saw individual 'who'"):
        encode(model, Recording.from_trials(np.ones((1, 1, 4)), individual_ids=["who"]))
    with pytest.raises(InputError, match="2 features"):
        encode(model, Recording.from_trials(np.ones((1, 1, 4, 2)), individual_ids=["n0"]))


def test_attention_maps_are_weights_and_agree_with_what_the_model_computes():
    model, recording = a_model(KINDS[2].values[0]), a_recording()
    batch = PopulationDataset(recording).batch()
    maps, stages = model.attention_maps(batch), model.stages(batch)
    assert [m.shape for m in maps["individual"]] == [(3, 7, 2, 6, 6)] * 2
    assert [m.shape for m in maps["interaction"]] == [(3, 6, 2, 7, 7)] * 2
    for weights in (*maps["individual"], *maps["interaction"]):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    unread = ~batch.observed[:, :, 0]
    assert not maps["interaction"][0][:, 0].transpose(1, 3)[unread].any()
    torch.testing.assert_close(
        stages["interaction"][-1] * batch.observed[..., None], encode(model, recording).population
    )


def plain_attention(attention, x, observed):
    """The formula, token by token: each reads those that are observed and, if causal, not later; and no other."""
    query, key, value = attention._heads(x)
    out = torch.zeros_like(value)
    for trial, token in itertools.product(range(len(x)), range(x.shape[1])):
        read = observed[trial].clone()
        if attention.is_causal:
            read[token + 1 :] = False
        if read.any():
            score = (query[trial, :, token, None] * key[trial, :, read]).sum(-1) / query.shape[-1] ** 0.5
            out[trial, :, token] = (score.softmax(-1)[..., None] * value[trial, :, read]).sum(1)
    return attention.to_out(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("is_causal", "is_temporal"), list(itertools.product((False, True), (False, True))))
@given(seed=st.integers(0, 20), share=st.sampled_from([0.3, 0.7, 1.0]))
@settings(max_examples=10, deadline=None)
def test_attention_is_the_plain_formula_over_what_is_observed(is_causal, is_temporal, seed, share):
    generator = torch.Generator().manual_seed(seed)
    with WeightsFrom(generator):
        attention = Attention(8, 2, is_temporal=is_temporal, is_causal=is_causal)
    x = torch.randn(4, 7, 8, generator=generator)
    observed = torch.rand(4, 7, generator=generator) < share
    read = readable(observed)
    plain = plain_attention(attention, x, observed)
    torch.testing.assert_close(attention(x, read)[observed], plain[observed], rtol=0, atol=1e-6)
    by_weights = (attention.weights(x, read) @ attention._heads(x)[2]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.to_out(by_weights)[observed], plain[observed], rtol=0, atol=1e-6)


def test_no_mask_is_made_where_all_is_observed():
    assert readable(torch.ones(3, 4, dtype=torch.bool)) is None


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("seen", [[], [2], [0, 3]])
def test_rows_with_little_or_nothing_to_read_are_finite_and_have_finite_gradients(is_causal, seen):
    block = Block(8, 2, 2.0, 0.0, is_temporal=True, is_causal=is_causal)
    observed = torch.zeros(2, 4, dtype=torch.bool)
    observed[:, seen] = True
    observed[1] = False
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = block(x, readable(observed))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_where_there_are_gaps(kind):
    model, batch = a_model(kind), PopulationDataset(a_recording()).batch()
    values = batch.values.clone().requires_grad_()
    model(batch.replace(values=values)).population.square().sum().backward()
    assert values.grad.isfinite().all()
    assert values.grad[batch.observed].any()


def test_attention_maps_that_do_not_fit_in_memory_are_refused():
    recording = Recording.from_trials(np.zeros((1, 4, 500_000), dtype=np.float32), individual_ids=IDS[:4])
    with pytest.raises(InputError, match="the attention maps of 1 trials of 4 individuals and 500000 bins would take"):
        a_model(KINDS[0].values[0]).attention_maps(PopulationDataset(recording).batch())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EITSettings(width=18, n_heads=4), "multiple of 8"),
        (lambda: EITSettings(dropout=1.0), "dropout"),
        (lambda: EIT(EITSettings(identity="learned")), "needs individual_ids"),
        (lambda: ByIndividual(8, 2, ()), "needs individual_ids"),
    ],
)
def test_bad_settings_are_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make()

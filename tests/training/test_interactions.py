from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score, roc_auc_score

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import Encoding
from motet.models.geometry import Geometry
from motet.training.objectives import (
    HiddenState,
    InteractionSettings,
    Joint,
    RecoverInteractions,
    Target,
    pair_target,
    state_target,
)

WIDTH, EMBEDDING, N_LAWS = 6, 6, 2
STILL = InteractionSettings(repair=False, turn=False, shortest=1.0)


def systems(n_trials=6, n_individuals=5, n_bins=7, *, types=(0, 1), seed=0, name="systems", **targets):
    """Trials with an edge type for every pair and a mass for every individual."""
    rng = np.random.default_rng(seed)
    edges = rng.choice(types, (n_trials, n_individuals, n_individuals))
    edges = np.triu(edges, 1) + np.triu(edges, 1).transpose(0, 2, 1)
    targets = {
        "interacts": np.where(np.eye(n_individuals, dtype=bool), -1, edges),
        "mass": rng.uniform(1, 3, (n_trials, n_individuals)).astype(np.float32),
        "system": np.tile(np.arange(n_individuals) % 2, (n_trials, 1)),
    } | targets
    return Recording.from_trials(
        rng.normal(size=(n_trials, n_individuals, n_bins, 2)),
        name=name,
        targets=targets,
        target_levels={"interacts": "pair", "mass": "individual", "system": "individual"},
    )


def recover(*recordings, **changes):
    """The objective of some recordings and their batch."""
    dataset = PopulationDataset(recordings)
    torch.manual_seed(0)
    objective = RecoverInteractions(
        pair_target(dataset, "interacts", is_directed=False),
        states=("mass",),
        width=WIDTH,
        geometry=Geometry(MotionSettings(features="none"), 2, 2),
        settings=dataclasses.replace(STILL, **changes),
    )
    mass = HiddenState(state_target(dataset, "mass", weight=0.3), embedding_width=EMBEDDING, width=WIDTH, n_laws=N_LAWS)
    return objective, Joint([objective, mass]).prepare(dataset).batch()


def state(*recordings):
    dataset = PopulationDataset(recordings)
    torch.manual_seed(0)
    objective = HiddenState(
        state_target(dataset, "mass", weight=0.3), embedding_width=EMBEDDING, width=WIDTH, n_laws=N_LAWS
    )
    return objective, objective.prepare(dataset).batch()


def encoding_of(batch, seed=0):
    """Any encoding that is zero where there is nothing, as models give them."""
    generator = torch.Generator().manual_seed(seed)
    here = batch.observed.any(dim=-1)
    n_trials, n = here.shape
    is_pair = here[:, :, None] & here[:, None] & ~torch.eye(n, dtype=torch.bool)
    series = torch.randn(*batch.observed.shape, EMBEDDING, generator=generator) * batch.observed[..., None]
    pair = torch.randn(n_trials, n, n, WIDTH, generator=generator) * is_pair[..., None]
    coupling = 3 * torch.randn(n_trials, n, n, N_LAWS, generator=generator) * is_pair[..., None]
    return Encoding(series, series, batch.observed, pair, coupling)


def permuted(encoding, order):
    return Encoding(
        encoding.individual[:, order],
        encoding.population[:, order],
        encoding.observed[:, order],
        encoding.pair[:, order][:, :, order],
        encoding.coupling[:, order][:, :, order],
    )


# ------------------------------------------------------------------ who interacts with whom


def test_the_readout_is_the_same_both_ways_unless_directed():
    for is_directed in (False, True):
        objective, batch = recover(systems(), is_directed=is_directed)
        logits = objective.logits(encoding_of(batch))
        difference = (logits - logits.transpose(1, 2)).abs().max()
        assert difference > 0.1 if is_directed else difference < 1e-6


@pytest.mark.parametrize("is_directed", [False, True])
@given(order=st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_permuting_individuals_permutes_the_readout(is_directed, order):
    objective, batch = recover(systems(), is_directed=is_directed)
    encoding = encoding_of(batch)
    plain, moved = (objective.predict(e, batch)["interacts"] for e in (encoding, permuted(encoding, order)))
    torch.testing.assert_close(moved, plain[:, order][:, :, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.exp().sum(-1), torch.ones(6, 5, 5))


def test_the_loss_is_the_cross_entropy_of_known_pairs():
    edges = systems().target("interacts").copy()
    edges[0, 1, 2] = edges[3] = -1
    objective, batch = recover(systems(interacts=edges))
    encoding = encoding_of(batch)
    logits = objective.logits(encoding)
    known = torch.from_numpy(edges >= 0)
    assert int(known.sum()) == 5 * 20 - 1
    expected = F.cross_entropy(logits[known], torch.from_numpy(edges)[known])
    torch.testing.assert_close(objective.loss(encoding, batch), expected)


def test_pairs_that_are_not_known_or_not_observed_change_nothing():
    objective, batch = recover(systems(), systems(2, 3, name="small", seed=1))
    encoding = encoding_of(batch)
    observed = batch.observed.clone()
    observed[0, 2] = False  # one that a short stretch of its trial does not show
    unknown = batch.targets["interacts"].clone()
    unknown[1, 0] = unknown[1, :, 0] = -1
    batch = batch.replace(observed=observed, targets={**batch.targets, "interacts": unknown})
    changed = encoding.pair.clone()
    changed[0, 2], changed[0, :, 2], changed[1, 0], changed[1, :, 0], changed[6:, 3:] = 7, 7, 7, 7, 7
    changed.diagonal(dim1=1, dim2=2)[:] = 7
    other = dataclasses.replace(encoding, pair=changed)
    torch.testing.assert_close(objective.loss(other, batch), objective.loss(encoding, batch))
    one, two = (objective.score([objective.predict(e, batch)], [batch]) for e in (encoding, other))
    assert one == two


def test_systems_that_are_called_by_names_change_company_as_numbered_ones_do():
    numbers = np.tile([0, 1, 0, -1, 1], (6, 1))
    called = np.array(["", "blue", "red"])[numbers + 1]
    hidden = [
        objective.hide(batch, torch.Generator().manual_seed(3))
        for objective, batch in (recover(systems(system=one), repair=True) for one in (numbers, called))
    ]
    assert torch.equal(hidden[0].values, hidden[1].values)
    assert torch.equal(hidden[0].targets["interacts"], hidden[1].targets["interacts"])
    assert not torch.equal(hidden[0].values, recover(systems(system=numbers))[1].values)


def test_a_batch_where_nothing_is_known_costs_nothing():
    objective, batch = recover(systems())
    unknown = batch.replace(targets={**batch.targets, "interacts": torch.full((6, 5, 5), -1)})
    loss = objective.loss(encoding_of(batch), unknown)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad.isfinite().all() for p in objective.parameters())


def test_two_types_are_scored_by_auroc_and_more_by_accuracy():
    objective, batch = recover(systems())
    predictions = [objective.predict(encoding_of(batch, seed), batch) for seed in (0, 1)]
    known = batch.targets["interacts"] >= 0
    odds = [(p["interacts"][..., 1] - p["interacts"][..., 0])[known].detach() for p in predictions]
    truth = batch.targets["interacts"][known]
    expected = roc_auc_score(torch.cat((truth, truth)), torch.cat(odds))
    assert objective.score(predictions, [batch, batch]) == pytest.approx(expected)
    objective, batch = recover(systems(types=(0, 2, 7)))
    prediction = objective.predict(encoding_of(batch), batch)
    right = (prediction["interacts"].argmax(-1) == batch.targets["interacts"])[batch.targets["interacts"] >= 0]
    assert objective.score([prediction], [batch]) == pytest.approx(float(right.double().mean()))


def test_edge_types_become_positions_and_what_training_never_saw_is_unknown():
    objective, batch = recover(systems(types=(2, 5, 9)))
    assert objective.target.classes == (2, 5, 9)
    assert sorted(batch.targets["interacts"].unique().tolist()) == [-1, 0, 1, 2]
    strange = systems(types=(0, 2, 3, 9, 11), seed=3)
    bare = dataclasses.replace(strange, targets={}, target_levels={}, name="bare")
    prepared = objective.prepare(PopulationDataset([strange, bare]))
    given, position = strange.target("interacts"), prepared.recordings[0].target("interacts")
    for edge_type, expected in ((0, -1), (2, 0), (3, -1), (9, 2), (11, -1)):
        assert set(position[given == edge_type]) == {expected}
    assert (prepared.recordings[1].target("interacts") == -1).all()
    assert (position.diagonal(axis1=1, axis2=2) == -1).all()


def test_a_diagonal_that_is_marked_is_no_pair():
    edges = np.ones((6, 5, 5), dtype=np.int64)
    edges[:, 0, 1] = edges[:, 1, 0] = 0
    _, batch = recover(systems(interacts=edges))
    assert (batch.targets["interacts"].diagonal(dim1=1, dim2=2) == -1).all()


def test_training_sees_systems_in_new_company_turned_and_in_part_as_asked():
    recording = systems(40)
    objective, batch = recover(recording)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(objective.hide(batch, generator).values, batch.values)
    objective, batch = recover(recording, repair=True)
    moved = objective.hide(batch, generator)
    assert not torch.equal(moved.values, batch.values)
    assert not torch.equal(moved.targets["mass"], batch.targets["mass"])
    apart = torch.from_numpy(recording.target("system")[:, :, None] != recording.target("system")[:, None])
    assert (moved.targets["interacts"][apart] == 0).all()
    assert torch.equal(moved.targets["system"], batch.targets["system"])
    objective, batch = recover(recording, shortest=0.3)
    assert len({objective.hide(batch, generator).values.shape[2] for _ in range(30)}) > 2
    objective, batch = recover(recording, turn=True)
    objective.geometry = Geometry(MotionSettings(), 1, 3)
    vectors = batch.replace(values=torch.randn(40, 5, 7, 3))
    assert not torch.equal(objective.hide(vectors, generator).values, vectors.values)


def test_without_systems_nothing_changes_company():
    recording = systems()
    targets = {name: target for name, target in recording.targets.items() if name != "system"}
    levels = {name: level for name, level in recording.target_levels.items() if name != "system"}
    objective, batch = recover(dataclasses.replace(recording, targets=targets, target_levels=levels), repair=True)
    assert torch.equal(objective.hide(batch, torch.Generator()).values, batch.values)


def test_where_no_type_means_no_edge_nothing_changes_company():
    """Else two individuals of different systems would be taught to be of the first type."""
    objective, batch = recover(systems(types=(1, 2)), repair=True)
    assert torch.equal(objective.hide(batch, torch.Generator()).values, batch.values)


# ------------------------------------------------------------------ states


@given(order=st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_permuting_individuals_permutes_their_states(order):
    objective, batch = state(systems())
    encoding = encoding_of(batch)
    torch.testing.assert_close(
        objective.read(permuted(encoding, order)), objective.read(encoding)[:, order], rtol=1e-4, atol=1e-5
    )


def test_absent_individuals_change_no_state():
    objective, batch = state(systems(), systems(2, 3, name="small", seed=1))
    encoding = encoding_of(batch)
    few = dataclasses.replace(
        permuted(encoding, slice(3)),
        individual=encoding.individual[6:, :3],
        population=encoding.population[6:, :3],
        observed=encoding.observed[6:, :3],
        pair=encoding.pair[6:, :3, :3],
        coupling=encoding.coupling[6:, :3, :3],
    )
    torch.testing.assert_close(objective.read(few), objective.read(encoding)[6:, :3], rtol=1e-4, atol=1e-5)
    junk = dataclasses.replace(encoding, pair=encoding.pair.clone(), coupling=encoding.coupling.clone())
    for part in (junk.pair, junk.coupling):
        part[6:, 3:] = 7
        part[6:, :, 3:] = 7
        part.diagonal(dim1=1, dim2=2)[:] = 7
    torch.testing.assert_close(objective.read(junk)[6:, :3], objective.read(encoding)[6:, :3])


def test_a_lone_individual_and_a_wild_coupling_give_finite_states_and_gradients():
    objective, batch = state(systems(2, 1))
    loss = objective.loss(encoding_of(batch), batch)
    assert loss.isfinite()
    objective, batch = state(systems())
    encoding = encoding_of(batch)
    wild = dataclasses.replace(encoding, coupling=(1e12 * encoding.coupling.double()).requires_grad_())
    objective.loss(wild, batch).backward()
    assert all(p.grad.isfinite().all() for p in objective.parameters())
    assert wild.coupling.grad.isfinite().all()


def test_the_loss_of_a_state_is_of_known_individuals_in_units_of_the_spread():
    mass = systems().target("mass").copy()
    mass[0, 1] = mass[2] = np.nan
    objective, batch = state(systems(mass=mass))
    encoding = encoding_of(batch)
    known = np.isfinite(mass)
    mean, std = mass[known].astype(np.float64).mean(), mass[known].astype(np.float64).std()
    assert objective.target.mean[0] == pytest.approx(mean)
    assert objective.target.std == pytest.approx(std)
    read = objective.read(encoding).detach().numpy()
    difference = np.abs(read - (mass - mean) / std)[known]
    expected = np.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
    assert objective.loss(encoding, batch).item() == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        prediction = objective.predict(encoding, batch)
    np.testing.assert_allclose(prediction["mass"], read * std + mean, rtol=1e-5)
    expected = r2_score(mass[known], prediction["mass"][torch.from_numpy(known)])
    assert objective.score([prediction], [batch]) == pytest.approx(expected, rel=1e-4)


def test_states_that_are_not_known_or_not_observed_cost_nothing():
    objective, batch = state(systems())
    encoding = encoding_of(batch)
    unknown = batch.replace(targets={"mass": torch.full((6, 5), torch.nan)})
    loss = objective.loss(encoding, unknown)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    observed = batch.observed.clone()
    observed[0, 0] = False
    hidden = batch.replace(observed=observed)
    wrong = batch.targets["mass"].clone()
    wrong[0, 0] = 1e6
    changed = hidden.replace(targets={"mass": wrong})
    torch.testing.assert_close(objective.loss(encoding, changed), objective.loss(encoding, hidden))


def test_recordings_without_the_state_are_read_as_unknown():
    recording = systems()
    objective, _ = state(recording)
    bare = dataclasses.replace(recording, targets={}, target_levels={}, name="bare")
    prepared = objective.prepare(PopulationDataset([recording, bare]))
    assert np.isnan(prepared.recordings[1].target("mass")).all()
    whole = dataclasses.replace(recording, targets={"mass": recording.target("mass").astype(np.int64)})
    assert objective.prepare(PopulationDataset(whole)).recordings[0].target("mass").dtype == np.float64


def test_states_are_weighed_beside_pairs():
    pairs, batch = recover(systems())
    mass, with_mass = state(systems())
    batch = batch.replace(targets={**batch.targets, **with_mass.targets, "interacts": batch.targets["interacts"]})
    encoding = encoding_of(batch)
    joint = Joint([pairs, mass])
    expected = pairs.loss(encoding, batch) + 0.3 * mass.loss(encoding, batch)
    torch.testing.assert_close(joint.loss(encoding, batch), expected)
    assert set(joint.predict(encoding, batch)) == {"interacts", "mass"}


# ------------------------------------------------------------------ what is refused


def with_target(name, target, level):
    return Recording.from_trials(np.ones((6, 5, 7, 2)), targets={name: target}, target_levels={name: level})


ONES = np.ones((6, 5, 5), dtype=np.int64)


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (with_target("interact", ONES, "pair"), "unknown target 'interacts'; did you mean 'interact'"),
        (with_target("interacts", ONES[:, 0], "individual"), "is per individual; give one per pair"),
        (with_target("interacts", ONES * 0.5, "pair"), "float64 values; edge types are whole numbers"),
        (with_target("interacts", ONES.astype(str), "pair"), "edge types are whole numbers"),
        (with_target("interacts", ONES - 1, "pair"), "1 class in"),
        (with_target("interacts", ONES - 2, "pair"), "not known in any"),
        (with_target("interacts", ONES - np.eye(5, dtype=np.int64), "pair"), "1 class in"),
        (with_target("interacts", np.triu(ONES), "pair"), "not the same both ways; set objective.is_directed"),
    ],
)
def test_pairs_that_cannot_be_learned_are_one_clear_error(recording, words):
    with pytest.raises(InputError, match=words):
        pair_target(PopulationDataset(recording), "interacts", is_directed=False)


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (with_target("mas", np.ones((6, 5)), "individual"), "unknown target 'mass'; did you mean 'mas'"),
        (with_target("mass", ONES * 0.5, "pair"), "is per pair; give one per individual"),
        (with_target("mass", np.ones((6, 5, 2)), "individual"), "one number per individual"),
        (with_target("mass", np.full((6, 5), "heavy"), "individual"), "needs numbers"),
        (with_target("mass", np.full((6, 5), np.nan), "individual"), "not known in any training trial"),
    ],
)
def test_states_that_cannot_be_learned_are_one_clear_error(recording, words):
    with pytest.raises(InputError, match=words):
        state_target(PopulationDataset(recording), "mass", weight=1.0)


def test_directed_pairs_and_pairs_known_one_way_are_learned():
    directed = PopulationDataset(with_target("interacts", np.triu(ONES), "pair"))
    assert pair_target(directed, "interacts", is_directed=True).classes == (0, 1)
    one_way = np.where(np.triu(ONES) > 0, 1, -1)
    one_way[:, 0, 1] = 0
    one_way = PopulationDataset(with_target("interacts", one_way, "pair"))
    assert pair_target(one_way, "interacts", is_directed=False).classes == (0, 1)


def test_types_are_those_of_all_recordings_and_a_constant_state_has_a_spread():
    both = PopulationDataset([systems(types=(0, 3)), systems(types=(0, 2), name="other")])
    assert pair_target(both, "interacts", is_directed=False) == Target("interacts", "pair", classes=(0, 2, 3))
    same = with_target("mass", np.full((6, 5), 2.0), "individual")
    assert state_target(PopulationDataset(same), "mass", weight=1.0).std == 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shortest": 0.0}, "shortest is 0.0; give a number, above 0"),
        ({"shortest": 1.5}, "shortest is 1.5"),
        ({"state_weight": 0.0}, "state_weight is 0.0; give a number, above 0"),
    ],
)
def test_bad_settings_are_one_clear_error(settings, words):
    with pytest.raises(InputError, match=words):
        InteractionSettings(**settings)

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.batch import Batch
from motet.data.motion import MotionSettings
from motet.models.geometry import Geometry
from motet.training.augment import cropped, repaired, turned

NOWHERE = Geometry(MotionSettings(features="none"), n_raw=1, n_features=1)
NAMES = {"geometry": NOWHERE, "per_individual": ["mass"], "per_pair": ["interacts"]}


def a_batch(labels, n_bins=3, unknown=0.0):
    """A batch whose values and targets say who each individual is; labels below 0 are absent individuals."""
    system = torch.tensor(labels)
    n_trials, n = system.shape
    who = torch.arange(1, system.numel() + 1).view(n_trials, n)
    present = system >= 0
    together = (system[:, :, None] == system[:, None]) & present[:, :, None]
    pair = torch.where(together, 1000 * who[:, :, None] + who[:, None], 0)
    pair[~(present[:, :, None] & present[:, None])] = -1
    pair[:, range(n), range(n)] = -1
    pair[torch.rand(pair.shape, generator=torch.Generator().manual_seed(0)) < unknown] = -1
    observed = present[..., None] & (torch.arange(n_bins) < n_bins - who[..., None] % 2)
    values = torch.where(observed[..., None], who[..., None, None] + 0.1 * torch.arange(n_bins)[:, None], 0.0)
    return Batch(
        values=values,
        observed=observed,
        individual_ids=(tuple(map(str, range(n))),),
        positions=torch.arange(n)[None],
        recording_index=torch.zeros(n_trials, dtype=torch.int64),
        targets={"system": system, "mass": torch.where(present, who.float(), torch.nan), "interacts": pair},
    )


def who_is(batch):
    """(trial, individual), 0 where nobody is: read off the values."""
    return batch.values[..., 0, 0].round().long()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_targets_went_along(batch, original):
    """Masses, and pairs inside systems, are those of whoever is there now."""
    who = who_is(batch)
    present = who > 0
    torch.testing.assert_close(batch.targets["mass"][present], who[present].float())
    assert batch.targets["mass"][~present].isnan().all()
    place = {int(who_is(original)[where]): where for where in present_places(original)}
    system = original.targets["system"]
    for trial, i, j in itertools.product(*map(range, batch.targets["interacts"].shape)):
        a, b = int(who[trial, i]), int(who[trial, j])
        value = int(batch.targets["interacts"][trial, i, j])
        if not a or not b:
            assert value == -1
        elif place[a][0] == place[b][0] and system[place[a]] == system[place[b]]:
            assert value == int(original.targets["interacts"][place[a][0], place[a][1], place[b][1]])
        elif i != j:
            assert value == 0
    for name in ("values", "observed"):
        now = getattr(batch, name)
        for trial, i in present_places(batch):
            torch.testing.assert_close(now[trial, i], getattr(original, name)[place[int(who[trial, i])]])


def present_places(batch):
    return [tuple(p) for p in (who_is(batch) > 0).nonzero().tolist()]


LABELS = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(-1, 3), min_size=n, max_size=n), min_size=1, max_size=6)
)


@given(labels=LABELS, seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_every_system_moves_as_a_whole_with_its_targets_to_a_place_of_its_size(labels, seed):
    batch = a_batch(labels, unknown=0.2)
    moved = repaired(batch, generator(seed), system="system", **NAMES)
    system = batch.targets["system"]
    assert torch.equal(moved.targets["system"], system)  # the label of a place
    assert torch.equal(who_is(moved) > 0, who_is(batch) > 0)
    assert torch.equal(who_is(moved).flatten().sort().values, who_is(batch).flatten().sort().values)

    def systems(of):
        return sorted(
            tuple(who_is(of)[trial, system[trial] == label].tolist())
            for trial in range(len(system))
            for label in system[trial].unique()
            if label >= 0
        )

    assert systems(moved) == systems(batch)
    assert_pairs_between_systems_are_known_not_to_interact(moved)
    within = (system[:, :, None] == system[:, None]) & (system >= 0)[:, :, None]
    before, after = (b.targets["interacts"][within].sort().values for b in (batch, moved))
    assert torch.equal(before, after)


def assert_pairs_between_systems_are_known_not_to_interact(batch):
    system = batch.targets["system"]
    present = (system >= 0)[:, :, None] & (system >= 0)[:, None]
    apart = (system[:, :, None] != system[:, None]) & present
    assert (batch.targets["interacts"][apart] == 0).all()
    assert (batch.targets["interacts"][~present] == -1).all()


def test_systems_take_their_targets_along():
    batch = a_batch(
        [[0, 0, 1, 1, -1, -1], [0, 1, 0, 1, 0, 1], [2, 2, 2, 5, 5, 5], [1, 1, 0, 0, 0, -1], [0, 0, 1, 1, 2, 2]]
    )
    for seed in range(5):
        moved = repaired(batch, generator(seed), system="system", **NAMES)
        assert_targets_went_along(moved, batch)


def test_systems_really_change_company():
    labels = [[0, 1, 0, 1]] * 100 + [[0, 0, 1, 1]] * 100
    batch = a_batch(labels)
    moved = repaired(batch, generator(), system="system", **NAMES)
    from_trial = (who_is(moved) - 1) // 4
    still_together = (from_trial == from_trial[:, :1]).all(dim=1)
    assert still_together.float().mean() < 0.05
    at_home = from_trial == torch.arange(200)[:, None]
    assert at_home.float().mean() < 0.05
    again = repaired(batch, generator(1), system="system", **NAMES)
    assert not torch.equal(who_is(again), who_is(moved))
    same = repaired(batch, generator(), system="system", **NAMES)
    assert torch.equal(same.values, moved.values)


def test_nothing_moves_where_no_system_is_known():
    batch = a_batch([[-1, -1], [-1, -1]])
    assert torch.equal(repaired(batch, generator(), system="system", **NAMES).values, batch.values)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_system_takes_the_place_of_the_one_that_it_replaces(d):
    geometry = Geometry(MotionSettings(), n_raw=d, n_features=3 * d)
    batch = a_batch([[0, 0, 1, 1, -1]] * 50)
    values = 100 * torch.randn(50, 5, 3, 3 * d, generator=generator(1)) * batch.observed[..., None]
    batch = batch.replace(values=values, observed=batch.observed | (batch.targets["system"] >= 0)[..., None])
    moved = repaired(batch, generator(), geometry=geometry, system="system", per_individual=["mass"], per_pair=[])
    source = (moved.targets["mass"] - 1).nan_to_num(4).long()
    plain = batch.values.flatten(0, 1)[source]
    assert not torch.equal(plain, batch.values)
    for part in (slice(0, 2), slice(2, 4)):
        now, there, came = (x[:, part, :, :d] for x in (moved.values, batch.values, plain))
        torch.testing.assert_close(now.mean((1, 2)), there.mean((1, 2)), rtol=1e-4, atol=1e-4)
        shift = now - came
        torch.testing.assert_close(shift, shift[:, :1, :1].expand_as(shift), rtol=1e-4, atol=1e-3)
    assert torch.equal(moved.values[..., d:], plain[..., d:])
    assert not moved.values[~moved.observed].any()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_turning_keeps_lengths_and_angles_and_turns_all_vectors_alike(d):
    geometry = Geometry(MotionSettings(), n_raw=d, n_features=3 * d)
    batch = a_batch([[0, 0, 1, -1]] * 300)
    values = torch.randn(300, 4, 3, 3 * d, generator=generator(1)) * batch.observed[..., None]
    vectors = values.unflatten(-1, (3, d)).flatten(1, 3)
    moved = turned(batch.replace(values=values), geometry, generator())
    assert not moved.values[~batch.observed].any()
    turned_vectors = moved.values.unflatten(-1, (3, d)).flatten(1, 3)
    gram, turned_gram = (v @ v.transpose(1, 2) for v in (vectors, turned_vectors))
    torch.testing.assert_close(turned_gram, gram, rtol=1e-4, atol=1e-4)
    matrices = torch.linalg.lstsq(vectors, turned_vectors).solution
    torch.testing.assert_close(vectors @ matrices, turned_vectors, rtol=1e-3, atol=1e-3)
    determinant = torch.linalg.det(matrices)
    torch.testing.assert_close(determinant.abs(), torch.ones(300), rtol=1e-3, atol=1e-3)
    assert 0.4 < (determinant > 0).float().mean() < 0.6  # mirrored at even odds
    assert matrices.mean(dim=0).abs().max() < 0.15  # uniform: no direction is favoured
    torch.testing.assert_close(matrices.square().mean(dim=0), torch.full((d, d), 1 / d), rtol=0, atol=0.1)


def test_turning_phases_keeps_their_differences_and_rates():
    geometry = Geometry(MotionSettings(features="phase"), n_raw=4, n_features=4)
    phase = 6 * torch.rand(200, 3, 5, generator=generator(1))
    values = torch.stack((phase.cos(), phase.sin(), phase, 1 + phase), dim=-1)
    batch = a_batch([[0, 0, 0]] * 200, n_bins=5).replace(values=values)
    moved = turned(batch, geometry, generator()).values
    assert torch.equal(moved[..., 2:], values[..., 2:])
    angle = torch.atan2(moved[..., 1], moved[..., 0]) - phase
    torch.testing.assert_close(moved[..., :2].norm(dim=-1), torch.ones(200, 3, 5))
    for wave in (angle.cos(), angle.sin()):
        torch.testing.assert_close(wave, wave[:, :1, :1].expand_as(wave), rtol=1e-4, atol=1e-5)
        assert wave[:, 0, 0].mean().abs() < 0.15


def test_what_has_no_geometry_is_not_turned():
    geometry = Geometry(MotionSettings(features="none"), n_raw=1, n_features=1)
    batch = a_batch([[0, 0, 1, 1]])
    assert turned(batch, geometry, generator()) is batch


@pytest.mark.parametrize(
    ("n_bins", "least", "fewest"), [(10, 0.5, 5), (9, 0.5, 5), (10, 0.01, 2), (10, 1.0, 10), (2, 0.5, 2), (1, 0.5, 1)]
)
def test_a_stretch_of_every_allowed_length_and_start_is_seen(n_bins, least, fewest):
    batch = a_batch([[0, 0, 1, 1], [0, 1, 1, -1]], n_bins=n_bins)
    seen = set()
    for seed in range(400 if n_bins > 2 else 3):
        part = cropped(batch, generator(seed), least=least)
        length = part.values.shape[2]
        start = next(s for s in range(n_bins) if torch.equal(part.values, batch.values[:, :, s : s + length]))
        assert torch.equal(part.observed, batch.observed[:, :, start : start + length])
        assert all(
            torch.equal(part.targets[name].nan_to_num(), batch.targets[name].nan_to_num()) for name in batch.targets
        )
        seen.add((start, length))
    allowed = {(s, length) for length in range(fewest, n_bins + 1) for s in range(n_bins - length + 1)}
    assert seen == allowed

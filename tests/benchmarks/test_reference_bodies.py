"""The released EIT on bodies: its classes against a plain enumeration, its variant, its training."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from reference_bodies import (
    Partitions,
    _accuracies,
    permuted_bodies,
    reference_for_bodies,
    train_reference_bodies,
)

from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import partition_accuracy
from motet.models.reference import EITReference

SYSTEMS = {4: [0, 0, 1, 1], 6: [0, 0, 0, 1, 1, 1]}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bodies(n_trials: int, *, seed: int = 0, n_bins: int = 3, n: int = 4) -> Recording:
    """Two systems that anybody can tell apart: the first is right of the other."""
    rng = np.random.default_rng(seed)
    system = np.array(SYSTEMS[n])
    values = rng.normal(0, 0.2, (n_trials, n, n_bins, 2))
    values[..., 0] += np.where(system == 0, 2.0, -2.0)[:, None]
    targets = {"system": np.tile(system, (n_trials, 1))}
    return Recording.from_trials(values, targets=targets, target_levels={"system": "individual"}, name="bodies")


def groups(system) -> frozenset[frozenset[int]]:
    return frozenset(frozenset(np.flatnonzero(np.asarray(system) == label).tolist()) for label in set(system))


class TestClasses:
    @pytest.mark.parametrize(("n", "n_ways"), [(4, 3), (6, 10)])
    def test_there_is_one_class_per_way_to_part_the_bodies_whatever_the_systems_are_called(self, n, n_ways):
        ways = Partitions(SYSTEMS[n])
        orders = [[SYSTEMS[n][i] for i in order] for order in itertools.permutations(range(n))]
        classes = ways.classes(torch.tensor(orders)).tolist()
        class_of: dict[frozenset[frozenset[int]], int] = {}
        for order, found in zip(orders, classes, strict=True):
            assert class_of.setdefault(groups(order), found) == found
        assert len(ways) == len(class_of) == n_ways
        assert sorted(class_of.values()) == list(range(n_ways))
        renamed = 9 - 5 * torch.tensor(orders)
        assert ways.classes(renamed).tolist() == classes

    @pytest.mark.parametrize("n", [4, 6])
    def test_a_class_stands_for_its_own_systems(self, n):
        ways = Partitions(SYSTEMS[n])
        assert ways.classes(ways.systems).tolist() == list(range(len(ways)))

    def test_all_classes_have_equal_odds_under_random_orders(self):
        ways = Partitions(SYSTEMS[6])
        system = torch.tensor(SYSTEMS[6]).expand(20_000, -1)
        _, moved = permuted_bodies(torch.zeros(20_000, 1, 6, 2), system, generator())
        share = torch.bincount(ways.classes(moved), minlength=10) / 20_000
        assert (share - 0.1).abs().max() < 0.01

    @pytest.mark.parametrize("system", [[0, 0, 0, 1], [0, 1, 2, 2], [0, 0, 0, 0], [0, 0, 1, 1, 1]])
    def test_other_sizes_of_systems_are_refused(self, system):
        with pytest.raises(InputError, match=r"\[\d, \d, \d, \d\].*one composition only"):
            Partitions(SYSTEMS[4]).classes(torch.tensor([system]))

    def test_too_many_individuals_are_refused(self):
        with pytest.raises(InputError, match="20 individuals.*from 2 to 8"):
            Partitions([0, 1] * 10)


class TestOrders:
    def test_bodies_keep_their_positions_and_their_systems_in_every_order(self):
        name = torch.arange(4.0).expand(50, 3, 4)
        values = torch.stack([name, 10 + name], dim=-1)
        system = torch.tensor(SYSTEMS[4]).expand(50, -1)
        moved, moved_system = permuted_bodies(values, system, generator())
        assert torch.equal(moved[..., 1], 10 + moved[..., 0])
        assert torch.equal(moved[:, 0], moved[:, 2])
        assert torch.equal(system.gather(1, moved[:, 0, :, 0].long()), moved_system)
        assert len({tuple(row) for row in moved[:, 0, :, 0].tolist()}) > 15

    def test_what_was_given_does_not_change(self):
        values, system = torch.rand(5, 3, 4, 2), torch.tensor(SYSTEMS[4]).repeat(5, 1)
        before = values.clone(), system.clone()
        permuted_bodies(values, system, generator())
        assert torch.equal(values, before[0])
        assert torch.equal(system, before[1])


class TestVariant:
    @pytest.mark.parametrize(("n", "width", "depth"), [(4, 16, 1), (6, 24, 2)])
    def test_it_has_the_published_sizes(self, n, width, depth):
        model = reference_for_bodies(n, 3)
        assert model.MT.single_embed.weight.shape == (width, 2)
        assert len(model.MT.T_transformer.layers) == len(model.S_transformer.layers) == depth

    def test_the_interaction_transformer_is_attention_alone(self):
        model = reference_for_bodies(6, 10).eval()
        x = torch.randn(3, 6, 24, generator=generator())
        expected = x
        for attention, _ in model.S_transformer.layers:
            expected = attention(expected)[0]
        assert torch.equal(model.S_transformer(x)[0], expected)

    def test_only_its_interaction_transformer_drops_out(self):
        parts = {name: part.p for name, part in reference_for_bodies(4, 3).named_modules() if hasattr(part, "p")}
        assert {name for name, p in parts.items() if p > 0} == {
            "S_transformer.layers.0.0.fn.to_out.1",
            "S_transformer.layers.0.1.fn.net.2",
            "S_transformer.layers.0.1.fn.net.4",
        }

    def test_one_feature_with_or_without_its_axis_is_the_same(self):
        model, values = EITReference(5, 2).eval(), torch.randn(3, 4, 5, generator=generator())
        assert torch.equal(model(values).population, model(values[..., None]).population)

    @pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 5, 2), (2, 3, 4, 2, 1)])
    def test_other_shapes_name_what_is_taken(self, shape):
        with pytest.raises(InputError, match=r"\(trial, time, 4, 2\)"):
            reference_for_bodies(4, 3)(torch.zeros(shape))

    def test_it_was_released_for_four_and_six_bodies_only(self):
        with pytest.raises(InputError, match="8 bodies.*4 and for 6"):
            reference_for_bodies(8, 35)


class TestTraining:
    def test_it_learns_systems_that_are_plain_to_see_in_orders_it_never_stored(self):
        train, test = bodies(64, n_bins=2), bodies(100, seed=1, n_bins=2)
        run = train_reference_bodies(train, test, n_epochs=40, learning_rate=1e-2, n_points=4)
        assert run.accuracy > 0.9
        assert [point.n_epochs for point in run.points] == [10, 20, 30, 40]
        seconds = [point.seconds for point in run.points]
        assert seconds == sorted(seconds)
        assert run.accuracy_at(seconds[-1]) == run.accuracy == run.points[-1].accuracy
        assert run.n_parameters == sum(p.numel() for p in reference_for_bodies(4, 3).parameters())

    def test_accuracy_is_of_the_mean_log_probability_and_that_of_partitions(self):
        positions = 3 * torch.randn(300, 3, 4, 2, generator=generator())
        ways, model = Partitions(SYSTEMS[4]), reference_for_bodies(4, 3).eval()
        system = ways.systems[torch.randint(3, (300,), generator=generator(1))]
        accuracy, bin_accuracy = _accuracies(model, ways, positions, system)
        with torch.no_grad():
            log_p = model(positions).population.log_softmax(-1)
        label = ways.classes(system)
        assert (log_p.argmax(-1) != log_p.sum(1).argmax(-1)[:, None]).double().mean() > 0.1  # bins disagree
        assert accuracy == pytest.approx((log_p.sum(1).argmax(-1) == label).double().mean().item())
        assert bin_accuracy == pytest.approx((log_p.argmax(-1) == label[:, None]).double().mean().item())
        assert partition_accuracy(prediction=ways.systems[label].numpy(), target=system.numpy()) == 1

    def test_one_seed_gives_one_run_and_the_global_random_state_stays(self):
        before = torch.get_rng_state()
        train, test = bodies(70), bodies(300, seed=1)
        runs = [train_reference_bodies(train, test, n_epochs=2, n_points=1, seed=seed) for seed in (3, 3, 4)]
        first, again, other = ([(p.accuracy, p.bin_accuracy) for p in run.points] for run in runs)
        assert first == again
        assert first != other
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_ends_with_the_epoch_in_which_its_seconds_are_over(self):
        run = train_reference_bodies(bodies(8), bodies(8, seed=1), seconds=0.2, n_points=5)
        last = run.points[-1]
        assert last.seconds >= 0.2
        assert all(point.seconds < 0.2 for point in run.points[:-1])

    def test_six_bodies_have_ten_classes(self):
        run = train_reference_bodies(bodies(8, n=6), bodies(8, seed=1, n=6), n_epochs=1, n_points=1)
        assert len(run.points) == 1


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "give seconds, or n_epochs"),
            ({"n_epochs": 1, "n_points": 0}, "n_points is 0"),
            ({"seconds": -1.0}, "max_seconds"),
        ],
    )
    def test_training_for_nothing_or_for_ever(self, given, said):
        with pytest.raises(InputError, match=said):
            train_reference_bodies(bodies(8), bodies(8), **given)

    def test_gaps_and_other_features(self):
        whole = bodies(8)
        observed = whole.observed.copy()
        observed[0, 0, 0] = False
        for broken in (
            dataclasses.replace(whole, observed=observed),
            dataclasses.replace(whole, values=np.concatenate([whole.values] * 2, axis=-1)),
        ):
            with pytest.raises(InputError, match="'bodies' has gaps, or not two features"):
                train_reference_bodies(broken, whole, n_epochs=1)

    def test_systems_that_are_not_known(self):
        whole = bodies(8)
        system = whole.targets["system"].copy()
        system[0, 0] = -1
        with pytest.raises(InputError, match="'system' of recording 'bodies'"):
            train_reference_bodies(dataclasses.replace(whole, targets={"system": system}), whole, n_epochs=1)

    def test_test_trials_of_another_composition_before_any_training(self, monkeypatch):
        monkeypatch.setattr("reference_bodies.train_reference", lambda *_, **__: pytest.fail("trained"))
        whole = bodies(8)
        system = np.tile([0, 0, 0, 1], (8, 1))
        other = dataclasses.replace(whole, targets={"system": system})
        with pytest.raises(InputError, match="one composition only"):
            train_reference_bodies(whole, other, n_epochs=1)

"""The released EIT: held to numbers computed by the authors' own code, slips included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motet.errors import InputError
from motet.models.reference import EITReference

FIXTURE = Path(__file__).parents[1] / "fixtures" / "eit_reference_n12.npz"


@pytest.fixture(scope="module")
def released() -> dict[str, Tensor]:
    with np.load(FIXTURE, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def released_state(released: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state/"): t for name, t in released.items() if name.startswith("state/")}


@pytest.fixture
def model(released_state: dict[str, Tensor]) -> EITReference:
    model = EITReference(12, 8)
    model.load_released_state(released_state)
    return model.eval()


@pytest.fixture
def values(released: dict[str, Tensor]) -> Tensor:
    return released["input_trial_time_individual"]


class TestAgainstTheReleasedCode:
    def test_the_individual_embedding_is_the_released_one(self, model, values, released):
        expected = released["individual_embedding_trial_individual_time_width"]
        torch.testing.assert_close(model.encode(values).individual, expected, atol=1e-5, rtol=0)

    def test_the_interaction_attention_is_the_released_one(self, model, values, released):
        maps = model.encode(values).interaction_attention
        torch.testing.assert_close(maps[0], released["interaction_attention_layer0"], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("head", ["individual", "population"])
    def test_the_logits_are_the_released_ones(self, model, values, released, head):
        torch.testing.assert_close(getattr(model(values), head), released[f"{head}_logits"], atol=1e-5, rtol=0)

    def test_every_parameter_matters_but_two_biases_that_a_layer_norm_cancels(self, model, values, released_state):
        logits = torch.cat(model(values), dim=-1)
        generator = torch.Generator().manual_seed(0)
        idle = set()
        for name, parameter in released_state.items():
            moved = parameter + 0.1 * torch.randn(parameter.shape, generator=generator)
            model.load_released_state(released_state | {name: moved})
            if torch.allclose(torch.cat(model(values), dim=-1), logits, atol=1e-5):
                idle.add(name)
        assert idle == {"bottolneck.0.bias", "S_transformer.layers.1.1.fn.net.3.bias"}

    def test_the_published_size_has_107480_parameters(self):
        assert sum(parameter.numel() for parameter in EITReference(163, 8).parameters()) == 107_480

    def test_attention_maps_are_distributions_of_the_documented_shapes(self, model, values):
        encoding = model.encode(values)
        assert [m.shape for m in encoding.individual_attention] == [(36, 6, 4, 4)] * 2
        assert [m.shape for m in encoding.interaction_attention] == [(12, 6, 12, 12)] * 2
        for attention in encoding.individual_attention + encoding.interaction_attention:
            torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))

    def test_dropout_acts_after_individuals_meet_and_not_before(self, model, values):
        model.train()
        first, second = model.encode(values), model.encode(values)
        assert torch.equal(first.individual, second.individual)
        assert not torch.allclose(first.population, second.population)


class TestSlipsOfTheRelease:
    """Documented on the class; the oracle must keep them."""

    def test_it_is_not_permutation_invariant(self, model, values):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
        there, here = model(values), model(values[..., order])
        assert (there.population - here.population).abs().max() > 0.1
        assert (there.individual - here.individual).abs().max() > 0.1

    def test_only_what_follows_the_individual_module_breaks_the_permutation(self, model, values):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
        there, here = model.encode(values), model.encode(values[..., order])
        torch.testing.assert_close(there.individual[:, order], here.individual, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(there.population[:, order], here.population, atol=0.1)

    def test_it_is_blind_to_the_order_of_bins(self, model, values):
        order = torch.tensor([2, 0, 3, 1])
        for there, here in zip(model(values), model(values[:, order]), strict=True):
            torch.testing.assert_close(there[:, order], here, atol=1e-5, rtol=1e-5)

    def test_its_first_block_nearly_loses_amplitude(self):
        cosines = []
        for seed in range(50):
            individual = EITReference(1, 2, seed=seed).MT
            norm = individual.T_transformer.layers[0][0].norm
            slow, fast = norm(individual.single_embed(torch.tensor([[10.0], [300.0]])))
            cosines.append(torch.cosine_similarity(slow, fast, dim=0).item())
        assert np.median(cosines) > 0.99


class TestWhatIsRefused:
    @pytest.mark.parametrize("n_individuals", [1, 11, 13])
    def test_another_number_of_individuals_names_what_is_allowed(self, model, n_individuals):
        with pytest.raises(InputError, match=rf"\(3, 4, {n_individuals}\).*\(trial, time, 12\)"):
            model(torch.zeros(3, 4, n_individuals))

    def test_a_misspelt_parameter_is_named_with_the_one_that_is_missing(self, model, released_state):
        state = dict(released_state)
        state["bottleneck.0.weight"] = state.pop("bottolneck.0.weight")
        with pytest.raises(InputError, match=r"'bottleneck.0.weight' has shape \(1, 16\) .* needs None"):
            model.load_released_state(state)

    def test_a_missing_parameter_is_named(self, model, released_state):
        state = {name: parameter for name, parameter in released_state.items() if name != "neuron_embed"}
        with pytest.raises(InputError, match=r"'neuron_embed' has shape None .* needs \(1, 12, 16\)"):
            model.load_released_state(state)

    def test_a_state_of_another_population_is_refused_with_both_shapes(self, released_state):
        with pytest.raises(InputError, match=r"\(8, 12\).*163 individuals.*\(8, 163\)"):
            EITReference(163, 8).load_released_state(released_state)

    def test_a_refused_state_changes_nothing(self, model, values, released_state):
        before = model(values).population
        with pytest.raises(InputError):
            model.load_released_state({name: 2 * p for name, p in released_state.items() if "mlp" not in name})
        assert torch.equal(model(values).population, before)

    @pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": 0}, {"n_heads": -1}, {"dropout": 1.0}])
    def test_impossible_settings_are_named(self, wrong):
        with pytest.raises(InputError, match=next(iter(wrong))):
            EITReference(3, 2, **wrong)

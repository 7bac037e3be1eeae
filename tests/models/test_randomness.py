from __future__ import annotations

import concurrent.futures
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import motet
from motet.data.motion import MotionSettings
from motet.models.eit import EIT, EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings
from motet.models.randomness import Dropout, WeightsFrom, draws_from
from motet.models.readouts import Readout

SEEDING = re.compile(r"(torch|np|numpy|random|cuda)\.(random\.)?(manual_seed|seed|set_state|set_rng_state|fork_rng)\b")


def a_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def an_eit():
    return EIT(EITSettings(dropout=0.2), individual_ids=("a", "b", "c"))


def a_readout():
    return Readout("pooled", width=16, n_outputs=2, latent_width=4, individual_ids=())


def a_model_of_pairs():
    trials = motet.PopulationDataset(motet.simulate("kuramoto", n_trials=3))
    geometry = Geometry.fit(trials, MotionSettings(features="phase"))
    return PairEIT(EITSettings(identity="none", token_bins=1), PairSettings(messages=4), geometry)


@pytest.mark.parametrize("make", [an_eit, a_readout, a_model_of_pairs])
def test_initial_weights_come_from_the_generator_and_no_other(make):
    def drawn(seed):
        before = torch.get_rng_state()
        with WeightsFrom(a_generator(seed)):
            module = make()
        assert torch.equal(torch.get_rng_state(), before)
        return module.state_dict()

    first, same, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_initial_weights_are_those_that_torch_draws():
    with WeightsFrom(a_generator(7)):
        ours = an_eit()
    torch.manual_seed(7)
    for name, tensor in an_eit().state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_initial_weights_do_not_depend_on_other_threads():
    def drawn(seed):
        with WeightsFrom(a_generator(seed)):
            return nn.Sequential(*(nn.Linear(30, 30) for _ in range(20)))[-1].weight

    alone = [drawn(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(drawn, range(8)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_dropout_draws_from_its_generator_as_torch_draws_from_its_own():
    ours, theirs, x = Dropout(0.3), nn.Dropout(0.3), torch.randn(50, 40, generator=a_generator())
    before = torch.get_rng_state()
    with draws_from(ours, a_generator(4)):
        dropped = ours(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    torch.testing.assert_close(dropped, theirs(x))
    assert ours.eval()(x) is x


def test_a_model_can_be_pickled_after_training():
    model = an_eit()
    with draws_from(model, a_generator()):
        pass
    pickle.dumps(model)


def test_nothing_seeds_the_generators_of_the_process():
    source = Path(motet.__file__).parent
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    files = [*source.rglob("*.py"), *benchmarks.rglob("*.py")]
    assert len(files) > 50
    assert [f"{file.name}: {found[0]}" for file in files for found in SEEDING.finditer(file.read_text())] == []

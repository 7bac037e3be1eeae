"""Networks as rivals: what each may read, what it is taught, and that it learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.metrics import r2
from motet.rivals import networks
from motet.rivals.method import Rival, TargetQuestion
from motet.rivals.networks import NETWORKS, Network, NetworkReading
from motet.rivals.reference import REFERENCES
from motet.rivals.registry import RIVALS
from motet.rivals.sequences import poisson_loss

LENGTHS = np.tile([9, 12, 10, 8], 15)
ALL = [*NETWORKS, *REFERENCES]
EVERY = pytest.mark.parametrize("rival", ALL, ids=lambda rival: rival.name)
EVERY_NETWORK = pytest.mark.parametrize("rival", NETWORKS, ids=lambda rival: rival.name)
SIDE = TargetQuestion("side", "class", "trial")
STATE = TargetQuestion("state", "class", "bin", "side")
PEAK = TargetQuestion("peak", "quantity", "trial", "side")
VELOCITY = TargetQuestion("velocity", "quantity", "bin", "side")


@pytest.fixture(scope="module")
def recording() -> Recording:
    """60 ragged trials of 10 neurons tuned to one of three sides and to a velocity."""
    rng = np.random.default_rng(0)
    side = np.arange(60) % 3
    velocity = [np.cumsum(rng.normal(scale=0.6, size=(n, 2)), axis=0) for n in LENGTHS]
    tuning, gain = rng.normal(size=(3, 10)), rng.normal(size=(2, 10))
    counts = [
        rng.poisson(np.exp(0.8 + 0.8 * tuning[s] + 0.4 * v @ gain).clip(0, 40)).T
        for s, v in zip(side, velocity, strict=True)
    ]
    return Recording.from_trials(
        counts,
        targets={
            "side": side,
            "velocity": velocity,
            "state": [np.where(v[:, 0] > 0, "fast", "slow") for v in velocity],
            "peak": np.array([v[:, 0].max() for v in velocity]),
        },
        target_levels={"side": "trial", "peak": "trial"},
    )


@pytest.fixture(scope="module")
def train(recording) -> Recording:
    return recording.select(trials=np.arange(45))


@pytest.fixture(scope="module")
def test(recording) -> Recording:
    return without_targets(recording.select(trials=np.arange(45, 60)))


def changed(recording: Recording, **fields: Any) -> Recording:
    return dataclasses.replace(recording, **fields)


def learned(rival: Rival, train: Recording, question: TargetQuestion, *, steps: int = 3) -> Any:
    """Fitted in a few steps, with one choice alone."""
    if isinstance(rival, Network):
        rival = dataclasses.replace(rival, options=rival.options[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "MOST_STEPS", steps)
        patch.setattr(networks, "N_LOOKS", 3)
        patch.setattr(networks, "PRETRAINING_STEPS", min(steps, 10))
        patch.setattr("motet.rivals.reference.N_STEPS", steps)
        return rival.fit(PopulationDataset(train), question)


def predicted(fitted: Any, test: Recording) -> np.ndarray:
    return fitted.predict(PopulationDataset(test))["prediction"]


# ------------------------------------------------------------------ what is learned


@EVERY_NETWORK
def test_a_network_learns_classes_and_quantities_that_neurons_tell(rival, recording, train, test):
    side = predicted(learned(rival, train, SIDE, steps=40), test)
    assert np.mean(side == recording.targets["side"][45:]) > 0.8
    found = predicted(learned(rival, train, VELOCITY, steps=60), test)
    bins = test.bin_is_observed
    assert r2(prediction=found[bins], target=recording.targets["velocity"][45:][bins]) > 0.5


def test_the_released_model_learns_classes_that_neurons_tell(recording, train, test):
    side = predicted(learned(REFERENCES[0], train, SIDE, steps=80), test)
    assert np.mean(side == recording.targets["side"][45:]) > 0.5


@EVERY_NETWORK
def test_nothing_is_learned_from_shuffled_targets(rival, recording, train, test):
    rng = np.random.default_rng(1)
    velocity, side = train.targets["velocity"], train.targets["side"]
    noise = np.where(train.bin_is_observed[..., None], rng.normal(size=velocity.shape), np.nan)
    shuffled = changed(train, targets={**train.targets, "side": rng.permutation(side), "velocity": noise})
    found = predicted(learned(rival, shuffled, SIDE, steps=20), test)
    assert np.mean(found == recording.targets["side"][45:]) < 0.7
    found, bins = predicted(learned(rival, shuffled, VELOCITY, steps=20), test), test.bin_is_observed
    assert r2(prediction=found[bins], target=recording.targets["velocity"][45:][bins]) < 0.1


def test_the_poisson_loss_is_least_where_rates_are_the_counts():
    counts = torch.tensor([1.0, 3.0, 20.0])
    least = poisson_loss(counts.log(), counts)
    for factor in (0.5, 0.9, 1.1, 2.0, 1e6):
        assert (poisson_loss((factor * counts).log(), counts) > least).all()


def test_pretraining_fills_in_hidden_bins_better_than_their_mean(recording):
    """What a bin tells of its neighbours is learned without any target, and the loss stays above its least value."""
    dataset = PopulationDataset(recording)
    ndt = next(rival for rival in NETWORKS if rival.name == "ndt")
    reading = NetworkReading.fit(dataset, SIDE)
    examples = reading.examples(reading.windows(dataset).dataset)

    def loss(steps: int) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(networks, "PRETRAINING_STEPS", steps)
            network = next(ndt._training(examples, reading, ndt.options[0]))
        with torch.no_grad():
            return float(reading.masked_loss(network, examples, torch.Generator().manual_seed(0)))

    counts = torch.from_numpy(recording.values.swapaxes(1, 2)[recording.bin_is_observed])
    least = float((counts - torch.xlogy(counts, counts)).mean())
    assert least < loss(60) < loss(1)


# ------------------------------------------------------------------ what is read


@EVERY
def test_quantities_per_bin_are_read_from_bins_up_to_now(rival, train, test):
    fitted = learned(rival, train, VELOCITY)
    values = test.values.copy()
    values[:, :, 5:] += 5 * test.observed[:, :, 5:, None]
    before, after = predicted(fitted, test), predicted(fitted, changed(test, values=values))
    np.testing.assert_allclose(before[:, :5], after[:, :5], rtol=1e-4, atol=1e-5)
    assert not np.allclose(before[:, 5:], after[:, 5:], equal_nan=True)


@EVERY
@pytest.mark.parametrize("question", [SIDE, STATE, PEAK, VELOCITY], ids=lambda question: question.target)
def test_padding_never_changes_a_trial_and_what_is_not_observed_is_not_predicted(rival, question, train, test):
    fitted = learned(rival, train, question)
    wanted = predicted(fitted, test)
    shape = (test.n_trials,) if question.level == "trial" else (test.n_trials, test.n_bins)
    assert wanted.shape[: len(shape)] == shape
    widths = ((0, 0), (0, 0), (0, 3))
    longer = changed(
        test, values=np.pad(test.values, (*widths, (0, 0))), observed=np.pad(test.observed, widths), targets={}
    )
    found = predicted(fitted, longer)
    if question.level == "bin":
        beyond = ~longer.bin_is_observed
        assert np.isnan(found[beyond]).all() if question.kind == "quantity" else (found[beyond] == "").all()
        found = found[:, : test.n_bins]
    if question.kind == "class":
        assert found.dtype == wanted.dtype == train.targets[question.target].dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@EVERY_NETWORK
def test_who_is_missing_reads_as_the_training_mean(rival, train, test):
    fitted = learned(rival, train, VELOCITY)
    mean = np.sqrt(train.values[:, 3, :, 0])[train.observed[:, 3]].mean() ** 2
    values, observed = test.values.copy(), test.observed.copy()
    values[:, 3] = mean * observed[:, 3, :, None]
    observed[:, 3] = False
    hidden = changed(test, values=np.where(observed[..., None], test.values, 0), observed=observed)
    absent = test.select(individuals=np.arange(10) != 3)
    for found in (predicted(fitted, hidden), predicted(fitted, absent)):
        np.testing.assert_allclose(found, predicted(fitted, changed(test, values=values)), rtol=1e-3, atol=1e-4)


@EVERY
def test_trials_of_unknown_target_are_left_out(rival, train, test):
    side = train.targets["side"].astype(str)
    side[[4, 11]] = ""
    known = np.setdiff1d(np.arange(45), [4, 11])
    fitted = learned(rival, changed(train, targets={"side": side}), SIDE)
    assert set(predicted(fitted, test)) <= set(side[known])
    velocity = train.targets["velocity"].copy()
    velocity[30:, 4:] = np.nan
    fitted = learned(rival, changed(train, targets={**train.targets, "velocity": velocity}), VELOCITY)
    assert np.isfinite(predicted(fitted, test)[test.bin_is_observed]).all()


@EVERY_NETWORK
def test_values_below_zero_are_read_as_they_are(rival, train, test):
    moved = changed(train, values=np.where(train.observed[..., None], train.values - 3, 0))
    fitted = learned(rival, moved, PEAK)
    assert fitted.reading.preprocess.settings.transform == "none"
    assert np.isfinite(predicted(fitted, test)).all()


@EVERY
@pytest.mark.parametrize(("level", "kind"), [("bin", "quantity"), ("bin", "class")])
def test_one_long_trial_is_learned_and_predicted_in_windows(rival, level, kind):
    rng = np.random.default_rng(0)
    place = np.cumsum(rng.normal(size=700))
    counts = rng.poisson(np.exp(1 + 0.05 * np.outer(rng.normal(size=6), place).clip(-30, 30)))
    goal = place if kind == "quantity" else place > np.median(place)
    long = Recording.from_trials(counts[None], targets={"place": goal[None]}, target_levels={"place": "bin"})
    fitted = learned(rival, long, TargetQuestion("place", kind, level))
    found = predicted(fitted, without_targets(long))
    assert found.shape == (1, 700)
    assert not (kind == "quantity" and np.isnan(found).any())


# ------------------------------------------------------------------ how it is made


@EVERY
def test_a_seed_decides_a_network_and_the_global_random_state_is_left_alone(rival, train, test):
    def answer(seed: int, global_seed: int) -> np.ndarray:
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        fitted = learned(dataclasses.replace(rival, seed=seed), train, PEAK)
        assert torch.equal(torch.get_rng_state(), before)
        return predicted(fitted, test)

    assert np.array_equal(answer(0, 1), answer(0, 2))
    assert not np.array_equal(answer(0, 1), answer(1, 1))


def test_what_trials_choose_on_does_not_train(train, monkeypatch):
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    parts = networks._parts

    def watched(windows: PopulationDataset, question: TargetQuestion, seed: int) -> Any:
        trains, held_out = parts(windows, question, seed)
        seen.append((trains.recordings[0].trial_ids, held_out.recordings[0].trial_ids))
        return trains, held_out

    monkeypatch.setattr(networks, "_parts", watched)
    fitted = learned(NETWORKS[1], train, SIDE)
    ((trains, held_out),) = seen
    assert not set(trains) & set(held_out)
    assert sorted([*trains, *held_out]) == sorted(train.trial_ids)
    assert set(fitted.about["chosen"]) == {*networks.Options._fields, "n_steps"}


def test_networks_are_thorough_and_count_their_parameters(train):
    assert all(RIVALS[rival.name].is_thorough for rival in ALL)
    gru = learned(NETWORKS[1], train, VELOCITY, steps=1)
    width, n_inputs = 64, 10
    assert gru.n_parameters == 3 * width * (n_inputs + width + 2) + 2 * (width + 1)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda rival, r: learned(rival, r, TargetQuestion("sid", "class", "trial")), "did you mean 'side'"),
        (lambda rival, r: learned(rival, changed(r, values=0 * r.values), SIDE), "silent|varies"),
        (lambda rival, r: learned(rival, r.select(trials=[0, 3, 6, 9]), SIDE), "two classes"),
        (lambda rival, r: predicted(learned(rival, r, SIDE), changed(r, values=r.values.repeat(2, 3))), "2 features"),
    ],
)
@pytest.mark.parametrize("rival", [NETWORKS[0], *REFERENCES], ids=lambda rival: rival.name)
def test_what_a_network_cannot_read_is_an_input_error(rival, ask, message, train):
    with pytest.raises(InputError, match=message):
        ask(rival, train)

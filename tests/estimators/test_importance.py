"""Which individuals matter: those that carry something, beside what chance gives those that carry nothing."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.data.windows import Windows
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.importance import FLOOR, _attributed, _changed, importance_of
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

N_TUNED, N_BINS = 2, 6


def population(n_trials=60, seed=0, n_individuals=7, is_told=True):
    """Counts of which those of the first two individuals follow the side, and their first half a drive too.

    The last individual never fires. Trials last 4 to 6 bins.
    """
    rng = np.random.default_rng(seed)
    side, drive = rng.permutation(n_trials) % 2, rng.normal(size=(n_trials, N_BINS))
    rate = np.full((n_trials, n_individuals, N_BINS), 3.0)
    rate[:, :N_TUNED] += 4 * side[:, None, None] + 2 * np.tanh(drive)[:, None]
    rate[:, -1] = 0
    counts = rng.poisson(rate).astype(float)
    counts[np.broadcast_to(np.arange(N_BINS) >= rng.integers(4, 7, (n_trials, 1, 1)), counts.shape)] = np.nan
    if not is_told:
        side, drive = rng.permutation(side), rng.permutation(drive)
    return Recording.from_trials(
        counts, targets={"side": side, "drive": drive}, target_levels={"drive": "bin"}, bin_seconds=0.1, name="p"
    )


QUICK = {
    "model": EITSettings(width=8),
    "training": TrainingSettings(max_steps=120, batch_trials=20, learning_rate=0.01),
}


@pytest.fixture(scope="module")
def classifier():
    return EITClassifier("side", rule="none", members=1, **QUICK).fit(population())


@pytest.fixture(scope="module")
def regressor():
    """Whose windows are shorter than trials."""
    return EITRegressor("drive", objective=ObjectiveSettings(window_bins=8), rule="none", members=1, **QUICK).fit(
        long_trials()
    )


def long_trials(seed=0):
    short = population(80, seed)
    joined = [np.concatenate(list(short.values[i : i + 4, :, :4]), axis=1) for i in range(0, 80, 4)]
    drive = [np.concatenate(short.target("drive")[i : i + 4, :4]) for i in range(0, 80, 4)]
    return Recording.from_trials(joined, targets={"drive": drive}, target_levels={"drive": "bin"}, name="p")


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_individuals_that_carry_something_are_above_chance_and_others_are_not(request, kind):
    decoder = request.getfixturevalue(kind)
    test = population(50, seed=1) if kind == "classifier" else long_trials(seed=1)
    found = decoder.importance(test)
    for measure in (found.permutation, found.left_out, found.gradients):
        assert measure.is_above_chance.tolist() == [True] * N_TUNED + [False] * (test.n_individuals - N_TUNED)
        assert abs(measure.value[-1]) < 1e-12  # never fires
    assert set(found.order[:N_TUNED]) == {0, 1}
    assert found.unit == ("nats" if kind == "classifier" else "R²")
    if kind == "regressor":
        assert found.score == pytest.approx(decoder.score(test))
    else:
        probability = decoder.predict_proba(test)[np.arange(50), test.target("side")]
        assert found.score == pytest.approx(np.log(np.maximum(probability, FLOOR)).mean())


def test_of_populations_that_carry_nothing_hardly_any_has_an_individual_above_chance(classifier):
    found = [classifier.importance(population(24, seed, is_told=False), seed=seed) for seed in range(2, 18)]
    for name in ("permutation", "left_out", "gradients"):
        above = [getattr(one, name).is_above_chance.any() for one in found]
        assert sum(above) <= 3  # 0.8 of 16 are expected, more than 3 in one case of 100


def test_what_is_left_out_is_not_observed(classifier):
    test = population(30, seed=1)
    found = classifier.importance(test, repeats=2)
    for individual in range(3):
        observed = test.observed.copy()
        observed[:, individual] = False
        less = dataclasses.replace(test, observed=observed)
        probability = classifier.predict_proba(less)[np.arange(30), test.target("side")]
        assert found.left_out.value[individual] == pytest.approx(
            found.score - np.log(np.maximum(probability, FLOOR)).mean(), abs=1e-5
        )


def test_copies_have_one_individual_changed_whose_values_come_from_other_trials(monkeypatch):
    recording = without_targets(population(5))
    monkeypatch.setattr("motet.estimators.importance.COPIES_BYTES", 4 * recording.values.nbytes)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(5), (7, 2, 1)), axis=2)
    seen = []
    for who, how, copies in _changed(recording, orders):
        assert len(who) <= 4
        for copy, (individual, repeat) in enumerate(zip(who, how, strict=True)):
            seen.append((individual, repeat))
            part = copies.select(trials=np.arange(5) + 5 * copy)
            expected, observed = recording.values.copy(), recording.observed.copy()
            if repeat == 0:
                observed[:, individual], expected[:, individual] = False, 0
            else:
                order = orders[individual, repeat - 1]
                for trial, bin in zip(*np.nonzero(observed[:, individual]), strict=True):
                    come_from = order[trial]
                    while not recording.observed[come_from, individual, bin]:
                        come_from = order[come_from]
                    expected[trial, individual, bin] = recording.values[come_from, individual, bin]
                np.testing.assert_array_equal(
                    np.sort(expected[:, individual], axis=0), np.sort(recording.values[:, individual], axis=0)
                )  # each value once
            np.testing.assert_array_equal(part.values, expected)
            np.testing.assert_array_equal(part.observed, observed)
    assert seen == list(itertools.product(range(7), range(3)))


def test_nothing_that_predicts_sees_a_target(classifier):
    test, seen = population(10, seed=1), []

    def predict(changed):
        seen.append((dict(changed.targets), dict(changed.metadata)))
        return classifier.predict_proba(changed)

    importance_of(
        test,
        classifier.targets_[0],
        predict=predict,
        cut=lambda trials: Windows.cut(classifier.preprocess_(trials), None),
        learner=classifier.learner_,
        most_trials=256,
        repeats=2,
        steps=4,
        seed=0,
    )
    assert seen
    assert all(about == ({}, {}) for about in seen)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_gradients_add_up_to_what_the_score_gains_over_the_mean(request, kind):
    decoder = request.getfixturevalue(kind)
    test = population(20, seed=1) if kind == "classifier" else long_trials(seed=1)
    found = decoder.importance(test, repeats=2, steps=64)
    np.testing.assert_allclose(found.gradients_by_bin.sum(axis=1), found.gradients.value)
    assert found.gradients_by_bin.shape == (7, test.n_bins)

    prepared = decoder.preprocess_(PopulationDataset(test))
    at_the_mean = prepared.map(lambda r: dataclasses.replace(r, values=np.zeros_like(r.values)))
    windows = Windows.cut(at_the_mean, decoder._window_bins)
    [part] = [p for p, _ in decoder.learner_.predict(windows.dataset, 1000)]
    name = decoder.targets_[0].name
    answers = part[name].numpy()
    if kind == "classifier":
        base = np.log(answers[np.arange(20), test.target("side")]).mean()
    else:
        known = test.bin_is_observed
        truth, answer = test.target("drive")[known], windows.join(answers)[known]
        base = 1 - ((truth - answer) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert found.gradients_by_bin.sum() == pytest.approx(found.score - base, rel=0.01)


def test_the_moments_of_chance_are_those_of_all_orders():
    values, gradient = np.random.default_rng(0).normal(size=(2, 4, 2, 3, 1))
    by_bin, mean, spread = _attributed(values, gradient)
    sums = [(values[list(order)] * gradient).sum(axis=(0, 2, 3)) for order in itertools.permutations(range(4))]
    np.testing.assert_allclose(by_bin.sum(axis=1), sums[0])
    np.testing.assert_allclose(mean, np.mean(sums, axis=0))
    np.testing.assert_allclose(spread, np.std(sums, axis=0))
    many = np.random.default_rng(0).normal(size=(2, 9, 2, 3, 1))  # more trials than bins: by the other way
    x, g = (array[:, 0, :, 0] - array[:, 0, :, 0].mean(axis=0) for array in many)
    assert _attributed(*many)[2][0] == pytest.approx(np.sqrt(((x @ g.T) ** 2).sum() / 8))


def test_the_same_seed_gives_the_same_and_nothing_of_the_process_is_touched(classifier):
    test, before = population(12, seed=1), torch.get_rng_state()
    first, second = (classifier.importance(test, repeats=3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.permutation.value, second.permutation.value)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in classifier.learner_.parameters())


def test_a_table_and_a_figure_show_the_most_important_first(classifier):
    found = classifier.importance(population(30, seed=1), repeats=3)
    lines = found.table(3).splitlines()
    assert lines[0].startswith("| individual | permutation (nats) | left out (nats) | gradients (nats)")
    assert {line.split("|")[1].strip() for line in lines[2:4]} == {"p/0", "p/1"}
    assert lines[-1].startswith("Of 7 individuals above chance: ")
    figure = found.figure(3)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [found.individual_ids[place] for place in found.order[:3]]
    bars = [patch.get_width() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(bars, found.permutation.value[found.order[:3]])


def test_what_has_no_importance_is_refused(classifier, regressor):
    test = population(10)
    for wrong in (test.select(trials=[0]), [test], test.values):
        with pytest.raises(InputError, match="two trials at least"):
            classifier.importance(wrong)
    with pytest.raises(InputError, match="known in 0 trials"):
        classifier.importance(dataclasses.replace(test, targets={"side": np.full(10, 7)}, target_levels={}))
    flat = long_trials()
    with pytest.raises(InputError, match="never differs"):
        regressor.importance(dataclasses.replace(flat, targets={"drive": np.zeros((flat.n_trials, flat.n_bins))}))
    for setting in ({"repeats": 0}, {"steps": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=next(iter(setting))):
            classifier.importance(test, **setting)

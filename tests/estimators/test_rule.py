from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.rule import INSIDE, Rule, Shares, rules_for, said_of_left_out
from motet.models.eit import EITSettings
from motet.training.objectives import Target
from motet.training.settings import TrainingSettings

QUICK = {"model": EITSettings(width=8), "training": TrainingSettings(max_steps=2, batch_trials=32), "members": 2}


def simulated(n_trials=60, n_bins=5, seed=0, name="first"):
    """Counts that a class and a quantity drive, and targets of every kind."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_trials) % 3
    drive = np.sin(np.arange(n_bins) + side[:, None]) + 0.2 * rng.normal(size=(n_trials, n_bins))
    tuning = np.random.default_rng(7).normal(size=(8, 4))
    latent = np.concatenate([np.eye(3)[side][:, None].repeat(n_bins, 1), drive[..., None]], axis=2)
    counts = rng.poisson(np.exp(0.5 + 0.6 * np.einsum("ntk,ik->nit", latent, tuning)))
    targets = {"side": side, "phase": np.repeat(side[:, None], n_bins, 1), "drive": drive, "sum": drive.sum(axis=1)}
    levels = {"side": "trial", "phase": "bin", "drive": "bin", "sum": "trial"}
    ids = [f"{name}/{number}" for number in range(8)]
    return Recording.from_trials(counts, targets=targets, target_levels=levels, name=name, individual_ids=ids)


KINDS = {"side": EITClassifier, "phase": EITClassifier, "drive": EITRegressor, "sum": EITRegressor}


@pytest.mark.parametrize("target", KINDS)
def test_what_is_said_of_trials_left_out_does_not_know_their_targets(target):
    recording = simulated()
    part = np.arange(60) % 2
    changed = recording.targets[target].copy()
    changed[part == 0] = np.roll(changed[part == 0], 1, axis=0)
    found = []
    for values in (recording.targets[target], changed):
        one = dataclasses.replace(
            recording,
            targets={target: values, "by": recording.targets["side"]},
            target_levels={target: recording.target_levels[target], "by": "trial"},
        )
        dataset = PopulationDataset(one)
        known = Target.fit(PopulationDataset(recording), target)
        names = ("lda",) if known.classes else ("ridge",)
        found.append(said_of_left_out(dataset, known, names, part)[0][names[0]])
    np.testing.assert_array_equal(found[0][part == 0], found[1][part == 0])
    assert not np.array_equal(found[0][part == 1], found[1][part == 1])


@pytest.mark.parametrize("target", KINDS)
def test_a_decoder_with_a_rule_is_saved_and_says_the_same(target, tmp_path):
    recording = simulated()
    decoder = KINDS[target](target, **QUICK).fit(recording)
    assert decoder.rule_ is not None
    decoder.save(tmp_path / "run")
    again = KINDS[target].load(tmp_path / "run")
    for whom in ("both", "rule", "eit"):
        np.testing.assert_array_equal(decoder.predict(recording, whom=whom), again.predict(recording, whom=whom))


@pytest.mark.parametrize(("n_classes", "has_svm"), [(32, True), (33, False)])
def test_pairs_of_many_classes_are_not_voted_on(n_classes, has_svm):
    recording = Recording.from_trials(np.ones((40, 2, 3)), targets={"image": np.arange(40) % n_classes})
    names = rules_for("auto", Target.fit(PopulationDataset(recording), "image"))
    assert ("kernel-svm" in names) is has_svm


@pytest.mark.parametrize("name", INSIDE)
def test_every_rule_is_fitted_saved_and_read(name, tmp_path):
    recording = simulated()
    asked = [("side", EITClassifier), ("sum", EITRegressor), ("drive", EITRegressor)]
    fitted = 0
    for target, kind in asked:
        try:
            decoder = kind(target, rule=name, **QUICK).fit(recording)
        except InputError:
            continue
        fitted += 1
        assert decoder.rule_.names == (name,)
        decoder.save(tmp_path / target)
        again = kind.load(tmp_path / target)
        np.testing.assert_array_equal(decoder.predict(recording), again.predict(recording))
    assert fitted


def test_a_rule_that_knows_is_believed_and_an_eit_that_knows_nothing_is_not():
    train, test = PopulationDataset(simulated(120)).split(test=0.3, stratify="side")
    ignorant = QUICK | {"training": TrainingSettings(max_steps=1, learning_rate=1e-9, table_learning_rate=1e-9)}
    decoder = EITClassifier("side", **ignorant).fit(train)
    alone = {whom: float((decoder.predict(test, whom=whom) == test.recordings[0].targets["side"]).mean())
             for whom in ("both", "rule", "eit")}  # fmt: skip
    assert alone["eit"] < 0.7
    assert alone["rule"] > 0.85
    assert alone["both"] >= alone["rule"] - 0.03


def test_nothing_is_believed_where_nothing_is_known():
    recording = simulated(90)
    shuffled = np.random.default_rng(1).permutation(recording.targets["side"])
    train = dataclasses.replace(recording, targets={"side": shuffled}, target_levels={"side": "trial"})
    settings = QUICK | {"training": TrainingSettings(max_steps=30, batch_trials=32)}
    probability = EITClassifier("side", **settings).fit(train).predict_proba(simulated(60, seed=3))
    assert probability.max(axis=1).mean() < 0.6


def test_the_rule_alone_is_asked_without_the_eit():
    recording = simulated()
    settings = QUICK | {"training": TrainingSettings(max_steps=30, batch_trials=32)}
    decoder = EITClassifier("side", **settings).fit(recording)
    said = decoder.rule_.says(recording)
    total = sum(decoder.shares_.rule[name] * logs for name, logs in said.items())
    np.testing.assert_allclose(decoder.predict_proba(recording, whom="rule"), softmax(total, axis=1), rtol=1e-4)
    assert not np.allclose(decoder.predict_proba(recording), softmax(total, axis=1), rtol=1e-3)


def test_shares_follow_who_is_right():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    right = np.log(np.full((200, 3), 0.1) + 0.7 * np.eye(3)[truth])
    noise = np.log(rng.dirichlet(np.ones(3), 200))
    shares = Shares.fit({"lda": right, "eit": noise}, truth).both
    assert shares["lda"] > 5 * shares["eit"]
    goal = rng.normal(size=(200, 2))
    shares = Shares.fit({"ridge": goal + 0.1 * rng.normal(size=(200, 2)), "eit": rng.normal(size=(200, 2))}, goal).both
    assert shares["ridge"] > 0.9
    assert shares["eit"] < 0.1


def test_a_rule_of_more_trials_may_be_surer_and_says_the_same():
    recording = simulated()
    decoder = EITClassifier("side", **QUICK).fit(recording)
    known, name = decoder.targets_[0], "lda"
    part = np.arange(60) % 2
    said = said_of_left_out(PopulationDataset(recording), known, (name,), part)[0]
    before = Shares({name: 0.5}, {name: 0.5}, {"eit": 1.0})
    after = before.surer(1.5)
    assert after.both == {name: 0.75}
    assert after.eit == {"eit": 1.5}
    logs = [np.asarray(one.joined(said, "rule", are_classes=True)) for one in (before, after)]
    np.testing.assert_array_equal(logs[0].argmax(axis=1), logs[1].argmax(axis=1))
    assert logs[0].max(axis=1).mean() < logs[1].max(axis=1).mean()
    rule = decoder.rule_
    assert 1 <= decoder._surer_with_all(PopulationDataset(recording), rule) <= 2


@pytest.mark.parametrize("n_trials", range(4, 10))
def test_a_rule_learns_from_few_trials_or_is_left_out(n_trials):
    """Discriminants take more trials than classes, and parts of so few may not have them."""
    decoder = EITClassifier("side", **QUICK).fit(simulated(n_trials))
    assert np.isfinite(decoder.predict_proba(simulated(3))).all()


@pytest.mark.parametrize("target", ["side", "drive"])
def test_signals_that_are_rarely_negative_are_read_alike_in_all_parts(target):
    recording = simulated()
    values = recording.values.copy()
    values[0, 0, 0] = -0.1
    decoder = KINDS[target](target, **QUICK).fit(dataclasses.replace(recording, values=values))
    assert decoder.rule_.names
    assert not decoder.rule_.left_out


def test_a_population_that_no_rival_knows_is_read_by_the_eit():
    settings = QUICK | {"model": EITSettings(width=8, identity="none")}
    objective = dataclasses.replace(EITClassifier().objective, readout="pooled")
    preprocess = dataclasses.replace(EITClassifier().preprocess, centre="shared", scale="shared")
    decoder = EITClassifier("side", objective=objective, preprocess=preprocess, **settings).fit(simulated())
    other = simulated(name="second", seed=3)
    np.testing.assert_allclose(decoder.predict_proba(other), decoder.predict_proba(other, whom="eit"), rtol=1e-5)


def test_the_order_of_individuals_does_not_matter_to_the_rule():
    recording = simulated()
    rule = Rule.fit(PopulationDataset(recording), Target.fit(PopulationDataset(recording), "side"), ("lda",))
    turned = recording.select(individuals=np.arange(8)[::-1])
    np.testing.assert_allclose(rule.says(turned)["lda"], rule.says(recording)["lda"])


def test_trials_with_gaps_and_of_other_lengths_are_read_by_the_rule():
    recording = simulated()
    decoder = EITClassifier("side", **QUICK).fit(recording)
    observed = recording.observed.copy()
    observed[0, :, 3:] = False
    observed[1, 2] = False
    observed[2] = False
    found = decoder.predict_proba(dataclasses.replace(recording, observed=observed))
    assert np.isfinite(found[[0, 1]]).all()
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found[3:], decoder.predict_proba(recording)[3:], rtol=1e-5)


def test_intervals_cover_about_what_they_say():
    train, test = simulated(300), simulated(200, seed=5)
    decoder = EITRegressor("drive", **QUICK).fit(train)
    truth = test.targets["drive"]
    for coverage in (0.5, 0.9):
        lower, upper = decoder.predict_interval(test, coverage=coverage)
        assert abs(((truth >= lower) & (truth <= upper)).mean() - coverage) < 0.06


def test_intervals_need_trials_left_out():
    decoder = EITRegressor("drive", rule="none", **(QUICK | {"members": 1})).fit(simulated())
    with pytest.raises(InputError, match="members of at least 2"):
        decoder.predict_interval(simulated())


def test_a_validation_part_finds_the_shares_of_one_eit():
    training = TrainingSettings(max_steps=2, validation=0.3)
    decoder = EITClassifier("side", **(QUICK | {"training": training})).fit(simulated(120))
    assert sum(decoder.shares_.both[name] for name in decoder.rule_.names) > decoder.shares_.both["eit"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "lad"}, "did you mean 'lda'"),
        ({"rule": "ridge"}, "rule for a class per trial"),
        ({"rule": "lda", "members": 1}, "members of at least 2"),
    ],
)
def test_rules_that_cannot_be_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        EITClassifier("side", **(QUICK | settings)).fit(simulated())


def test_asking_a_rule_that_is_not_there_is_refused():
    decoder = EITClassifier("side", rule="none", **QUICK).fit(simulated())
    with pytest.raises(InputError, match="no rule inside"):
        decoder.predict(simulated(), whom="rule")

"""Pretraining on some populations, and adaptation to another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier
from motet.estimators.encoder import EITEncoder
from motet.systems import simulate
from motet.training.objectives import EpisodeSettings
from motet.training.settings import TrainingSettings

TRAINING = TrainingSettings(max_steps=6, batch_trials=128)
LONGER = TrainingSettings(max_steps=30, batch_trials=128)
OF_READOUTS = TrainingSettings(max_steps=60)
FEW = range(16)  # two trials of each direction


@pytest.fixture(scope="module")
def subjects() -> list[Recording]:
    """Three subjects of different size; directions in turn."""
    found = simulate("population", n_subjects=3, n_trials=96, n_neurons=(30, 50), n_bins=8, seed=1)
    return [_in_turn(recording) for recording in found]


def _in_turn(recording: Recording) -> Recording:
    order = np.argsort(recording.targets["direction"], kind="stable").reshape(8, -1).T.ravel()
    return recording.select(trials=order)


def _called(name: str, recording: Recording, labels: NDArray[Any]) -> Recording:
    """The recording with one target only."""
    return dataclasses.replace(recording, targets={name: labels}, target_levels={})


@pytest.fixture(scope="module")
def encoder(subjects: list[Recording]) -> EITEncoder:
    return EITEncoder("direction", training=LONGER).fit(subjects[:2])


def few(subject: Recording) -> Recording:
    return subject.select(trials=FEW)


def rest(subject: Recording) -> Recording:
    return subject.select(trials=range(16, 96))


def test_a_new_population_is_decoded_from_two_trials_of_each_class(
    encoder: EITEncoder, subjects: list[Recording]
) -> None:
    new = subjects[2]
    labelled = encoder.adapt(few(new))
    helped = encoder.adapt(few(new), without_targets(rest(new)))
    assert labelled.score(rest(new)) > 0.45
    assert np.mean(helped.predict_unlabelled() == rest(new).targets["direction"]) > labelled.score(rest(new))


def test_labels_of_unlabelled_trials_are_not_looked_at(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    shown = rest(new)
    wrong = dataclasses.replace(shown, targets={**shown.targets, "direction": 7 - shown.targets["direction"]})
    found = [
        encoder.adapt(few(new), others).predict_proba(few(new)) for others in (shown, wrong, without_targets(shown))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_every_trial_is_decoded_alone(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    decoder = encoder.adapt(few(new))
    together = decoder.predict_proba(rest(new))
    alone = np.concatenate([decoder.predict_proba(rest(new).select(trials=[trial])) for trial in range(5)])
    np.testing.assert_allclose(together[:5], alone, atol=1e-5)


def test_two_readouts_answer_together(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    seen, later = without_targets(new.select(trials=range(16, 56))), new.select(trials=range(56, 96))
    for unlabelled in (None, seen):
        decoder = encoder.adapt(few(new), unlabelled)
        signals, together = decoder._signals(later), decoder.predict_proba(later)
        each = [
            one.log_likelihood(tuning, one.own(signals)).softmax(1).detach().numpy() for one, tuning in decoder.fitted
        ]
        product = each[0] * each[1]
        np.testing.assert_allclose(together, product / product.sum(1, keepdims=True), atol=1e-9)
        assert all(abs(together - one).max() > 0.05 for one in each)
    assert decoder._log_likelihood is not None
    whom = decoder._log_likelihood.argmax(1).numpy()
    np.testing.assert_array_equal(decoder.predict_unlabelled(), decoder.classes_[whom])
    assert encoder.before_training().second_readout is None
    louder = dataclasses.replace(few(new), values=9 * few(new).values)
    assert len(encoder.adapt(louder).fitted) == 1  # the second does not know such populations


def test_neither_order_nor_names_of_individuals_matter(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    order = np.random.default_rng(0).permutation(new.n_individuals)
    other = new.select(individuals=order)
    known = subjects[0].individual_ids
    names = tuple(known[place] if place < len(known) else f"x{place}" for place in range(new.n_individuals))
    renamed = dataclasses.replace(new, individual_ids=names)
    plain = encoder.adapt(few(new)).predict_proba(rest(new))
    np.testing.assert_allclose(plain, encoder.adapt(few(other)).predict_proba(rest(other)), atol=1e-5)
    np.testing.assert_array_equal(plain, encoder.adapt(few(renamed)).predict_proba(rest(renamed)))


def test_individuals_are_found_by_name_in_later_trials(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    decoder = encoder.adapt(few(new))
    later = rest(new).select(individuals=np.arange(new.n_individuals)[::-1])
    np.testing.assert_allclose(decoder.predict_proba(rest(new)), decoder.predict_proba(later), atol=1e-5)


def test_shuffled_labels_are_at_chance(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new, scores = subjects[2], []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(16)
        labelled = few(new)
        shuffled = dataclasses.replace(
            labelled, targets={**labelled.targets, "direction": labelled.targets["direction"][order]}
        )
        scores.append(encoder.adapt(shuffled).score(rest(new)))
    assert np.mean(scores) < 0.3


@pytest.mark.parametrize("way", ["readout", "fine-tune"])
def test_a_readout_is_trained_on_a_frozen_encoder_or_with_it(
    way: Any, encoder: EITEncoder, subjects: list[Recording], tmp_path: Path
) -> None:
    new = subjects[2]
    trained = encoder.adapt(few(new), way=way, training=OF_READOUTS)
    before, after = (e.learner_.model.state_dict() for e in (encoder, trained))
    assert all((before[name] == after[name]).all() for name in before) == (way == "readout")
    assert trained.score(rest(new)) > 0.2
    trained.save(tmp_path / "run")
    again = EITClassifier.load(tmp_path / "run")
    np.testing.assert_allclose(trained.predict_proba(rest(new)), again.predict_proba(rest(new)), atol=1e-5)
    with pytest.raises(InputError, match="way='context'"):
        encoder.adapt(few(new), rest(new), way=way)  # type: ignore[call-overload]


def test_a_quantity_per_bin_is_decoded_by_courses_of_the_classes(
    encoder: EITEncoder, subjects: list[Recording]
) -> None:
    new = subjects[2]
    alone = encoder.adapt(few(new), quantity="velocity")
    assert alone.score(rest(new)) > 0.2
    first = rest(new).select(bins=slice(0, 5))
    np.testing.assert_allclose(alone.predict(first), alone.predict(rest(new))[:, :5])  # causal
    assert encoder.adapt(few(new), without_targets(rest(new)), quantity="velocity").score(rest(new)) > 0.2


def test_what_is_saved_decodes_the_same(encoder: EITEncoder, subjects: list[Recording], tmp_path: Path) -> None:
    encoder.save(tmp_path / "run")
    again = EITEncoder.load(tmp_path / "run")
    new = subjects[2]
    np.testing.assert_array_equal(
        encoder.adapt(few(new)).predict_proba(rest(new)), again.adapt(few(new)).predict_proba(rest(new))
    )


def test_a_circle_is_found_where_there_is_one(subjects: list[Recording]) -> None:
    assert EITEncoder("direction").found_period(subjects[:2]) == 8
    relabel = np.array([3, 6, 0, 5, 1, 7, 4, 2])
    mixed = [_called("direction", one, relabel[one.targets["direction"]]) for one in subjects[:2]]
    assert EITEncoder("direction").found_period(mixed) == 0
    assert EITEncoder("direction", period=16).found_period(subjects[:2]) == 16


def test_classes_without_geometry_are_those_of_the_labelled_trials(subjects: list[Recording]) -> None:
    named = [
        dataclasses.replace(
            one, targets={"side": np.array(["left", "right"])[one.targets["direction"] // 4]}, target_levels={}
        )
        for one in subjects
    ]
    encoder = EITEncoder("side", training=TRAINING).fit(named[:2])
    new = dataclasses.replace(
        named[2],
        targets={"side": np.array(["a", "b", "c", "d"])[subjects[2].targets["direction"] // 2]},
        target_levels={},
    )
    decoder = encoder.adapt(few(new))
    assert decoder.classes_.tolist() == ["a", "b", "c", "d"]
    assert decoder.score(rest(new)) > 0.35


def test_later_trials_teach_one_by_one_as_they_do_together(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    seen, later = without_targets(new.select(trials=range(16, 56))), new.select(trials=range(56, 96))
    together = encoder.adapt(few(new), seen)
    decoder = encoder.adapt(few(new))
    assert together.score(later) >= decoder.score(later) - 0.05
    for part in (range(38), [38], [39]):
        decoder.update(seen.select(trials=part))
    np.testing.assert_allclose(decoder.predict_proba(later), together.predict_proba(later), atol=1e-4)
    decoder.update(seen.select(trials=range(30)), keep=40)
    assert decoder.unlabelled is not None
    assert len(decoder.unlabelled.values) == 40  # the oldest are forgotten


def _bad(trial: Recording, values: Any) -> Recording:
    return dataclasses.replace(trial, values=np.broadcast_to(np.float32(values), trial.values.shape).copy())


def test_a_bad_trial_does_nothing_whatever_is_in_it(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    seen, later = without_targets(new.select(trials=range(16, 56))), new.select(trials=range(56, 96))
    before = encoder.adapt(few(new), seen).predict_proba(later)
    one = seen.select(trials=[0])
    rng = np.random.default_rng(0)
    bad = [_bad(one, size) for size in (0, 40, 1e4, 1e30)]
    bad += [dataclasses.replace(one, values=one.values[:, ::-1] ** 3 * 5), _bad(one, rng.poisson(50, one.values.shape))]
    missing = dataclasses.replace(one, observed=np.zeros_like(one.observed))
    for trial in [*bad, missing]:
        decoder = encoder.adapt(few(new), seen).update(trial)
        assert decoder.trust_ is not None
        assert decoder.trust_[-1] == 0
        np.testing.assert_allclose(decoder.predict_proba(later), before, atol=1e-6)


def test_a_stream_of_which_a_fifth_is_bad_is_decoded_as_well(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    seen, later = without_targets(new.select(trials=range(16, 56))), new.select(trials=range(56, 96))
    values = seen.values.copy()
    values[::5] = np.random.default_rng(0).poisson(30, values[::5].shape)
    mixed = dataclasses.replace(seen, values=values)
    decoder = encoder.adapt(few(new))
    for start in range(0, 40, 10):
        decoder.update(mixed.select(trials=range(start, start + 10)))
    assert decoder.trust_ is not None
    assert (decoder.trust_[::5] == 0).all()
    good = encoder.adapt(few(new), seen.select(trials=np.arange(40) % 5 > 0))
    assert np.mean(decoder.predict(later) == good.predict(later)) > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: (r, r.select(individuals=range(3))), "differ in individuals"),
        (
            lambda r: (dataclasses.replace(r, targets={"x": r.targets["direction"]}, target_levels={}), None),
            "direction",
        ),
        (lambda r: (r.select(bins=slice(4)), r), "give trials of equally many"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: Any, message: str, encoder: EITEncoder, subjects: list[Recording]
) -> None:
    with pytest.raises(InputError, match=message):
        encoder.adapt(*change(few(subjects[2])))


def test_unlabelled_trials_of_another_task_are_noticed(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    other = dataclasses.replace(without_targets(rest(new)), values=rest(new).values[:, ::-1] ** 2)
    assert np.median(encoder.adapt(few(new), without_targets(rest(new))).trust_) == 1
    with pytest.raises(InputError, match="same task"):
        encoder.adapt(few(new), other)


def test_one_labelled_class_is_refused_where_classes_have_no_geometry(subjects: list[Recording]) -> None:
    encoder = EITEncoder("direction", period=0, training=TRAINING).fit(subjects[:2])
    one = few(subjects[2]).select(trials=np.flatnonzero(few(subjects[2]).targets["direction"] == 3))
    with pytest.raises(InputError, match="two classes"):
        encoder.adapt(one)


@pytest.fixture(scope="module")
def unlabelled_encoder(subjects: list[Recording]) -> EITEncoder:
    """Learned without labels, from two subjects of different size, some trials held out."""
    training = TrainingSettings(max_steps=40, batch_trials=64, epoch_steps=20, validation=0.25)
    return EITEncoder(training=training).fit([without_targets(one) for one in subjects[:2]])


def test_without_labels_hidden_values_and_individuals_are_learned(unlabelled_encoder: EITEncoder) -> None:
    assert unlabelled_encoder.target_ is None
    assert unlabelled_encoder.uses_ == {"masked": 1, "views": 1}
    assert unlabelled_encoder.scores_["deviance explained"] > 0.005  # 0 before training
    assert unlabelled_encoder.scores_["rank-1 matching"] > 0.1  # chance is below .03
    assert unlabelled_encoder.second_readout is None  # no label has taught it anything


def test_an_encoder_that_saw_no_label_is_adapted(
    unlabelled_encoder: EITEncoder, subjects: list[Recording], tmp_path: Path
) -> None:
    new = subjects[2]
    decoder = unlabelled_encoder.adapt(few(new), target="direction")
    assert decoder.score(rest(new)) > 0.4
    unlabelled_encoder.save(tmp_path / "run")
    again = EITEncoder.load(tmp_path / "run")
    assert again.scores_ == unlabelled_encoder.scores_
    named = _called("way", few(new), few(new).targets["direction"])
    np.testing.assert_array_equal(decoder.predict_proba(rest(new)), again.adapt(named).predict_proba(rest(new)))
    with pytest.raises(InputError, match="say which is meant"):
        again.adapt(without_targets(few(new)))
    assert again.adapt(few(new), target="direction", way="readout", training=OF_READOUTS).score(rest(new)) > 0.2


def test_embeddings_that_no_label_taught_to_read_are_not_read(
    unlabelled_encoder: EITEncoder, subjects: list[Recording]
) -> None:
    new = subjects[2]
    whole = unlabelled_encoder.adapt(few(new), target="direction").predict_proba(rest(new))
    roots = unlabelled_encoder.adapt(few(new), target="direction", reads="roots").predict_proba(rest(new))
    np.testing.assert_array_equal(whole, roots)


def test_root_counts_and_embeddings_are_read_apart(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    both, roots, embeddings = (
        encoder.adapt(few(new), reads=reads).predict_proba(rest(new)) for reads in ("both", "roots", "embeddings")
    )
    assert not np.allclose(both, roots)
    assert not np.allclose(both, embeddings)


def test_labelled_and_unlabelled_recordings_are_learned_together(subjects: list[Recording]) -> None:
    learn = EpisodeSettings(learn={"context": 2.0, "masked": 1.0, "views": 1.0})
    training = TrainingSettings(max_steps=12, batch_trials=64, epoch_steps=4, validation=0.25)
    mixed = [subjects[0], without_targets(subjects[1])]
    encoder = EITEncoder("direction", objective=learn, training=training).fit(mixed)
    assert encoder.scores_.keys() == {"accuracy", "deviance explained", "rank-1 matching"}
    assert encoder.period_ == 8
    assert encoder.adapt(few(subjects[2])).score(rest(subjects[2])) > 0.4
    with pytest.raises(InputError, match="target"):
        EITEncoder("direction", training=training).fit(mixed)


def test_labels_that_are_not_learned_are_not_looked_at(subjects: list[Recording]) -> None:
    learn = EpisodeSettings(learn={"views": 1.0})
    plain = [_called("direction", one, one.targets["direction"]) for one in subjects[:2]]
    shuffled = [_called("direction", one, one.targets["direction"][::-1]) for one in subjects[:2]]
    found = [EITEncoder(objective=learn, training=TRAINING).fit(some) for some in (plain, shuffled)]
    states = [encoder.learner_.state_dict() for encoder in found]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    with pytest.raises(InputError, match="learn without labels"):
        EITEncoder(training=TRAINING).fit(subjects[:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"period": -1.0}, "positive"),
        ({"objective": {"learn": {"views": 0.0}}}, "above 0"),
        ({"objective": {"learn": {"maskd": 1.0}}}, "masked"),
        ({"objective": {"learn": {"masked": 1.0}, "hidden_bins": 0.0, "hidden_stretches": 0.0}}, "nothing is hidden"),
        ({"objective": {"labelled": ()}}, "one number"),
        ({"objective": {"hidden_individuals": (0.5, 0.2)}}, "lower fraction first"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    settings: dict[str, Any], message: str, subjects: list[Recording]
) -> None:
    with pytest.raises(InputError, match=message):
        _with(settings).fit(subjects[:2])


def _with(settings: dict[str, Any]) -> EITEncoder:
    return EITEncoder("direction", **{**settings, "objective": EpisodeSettings(**settings.get("objective", {}))})


# ------------------------------------------------------------------ without any label


@pytest.fixture(scope="module")
def large() -> Recording:
    """A subject with so many neurons that trials tell their class."""
    return simulate("population", n_subjects=1, n_trials=112, n_neurons=100, n_bins=8, seed=2)[0]


def test_without_labels_classes_are_found_up_to_the_symmetries_of_their_circle(
    encoder: EITEncoder, large: Recording
) -> None:
    seen, later = large.select(trials=range(80)), large.select(trials=range(80, 112))
    decoder = encoder.adapt(None, without_targets(seen))
    assert not decoder.is_identified_
    assert len(decoder.placements_) == 16
    assert decoder.score_up_to_placement(later) > 0.8
    assert decoder.predict_unlabelled()[0] == 0

    wrong = dataclasses.replace(seen, targets={**seen.targets, "direction": 7 - seen.targets["direction"]})
    other = seen.select(individuals=np.arange(seen.n_individuals)[::-1])
    for again in (wrong, other):
        np.testing.assert_array_equal(encoder.adapt(None, again).predict(later), decoder.predict(later))

    first = decoder.predict(seen)
    decoder.update(without_targets(later), keep=72)
    assert np.mean(decoder.predict(seen) == first) > 0.8
    assert decoder.trust_ is not None
    assert len(decoder.trust_) == 72


def test_labels_say_where_classes_lie_as_far_as_they_go(encoder: EITEncoder, subjects: list[Recording]) -> None:
    labelled = few(subjects[2])
    assert encoder.adapt(labelled).is_identified_
    opposite = labelled.select(trials=[0, 4])
    assert encoder.adapt(opposite).placements_.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 7, 6, 5, 4, 3, 2, 1]]


@pytest.mark.parametrize(
    ("settings", "adapt", "message"),
    [
        ({}, lambda e, r: e.adapt(None), "neither labelled nor unlabelled"),
        ({}, lambda e, r: e.adapt(None, r.select(trials=range(5))), "as many as classes"),
        ({}, lambda e, r: e.adapt(None, r, target="other"), "those of pretraining"),
        ({}, lambda e, r: e.adapt(None, r, way="readout"), "way is 'context'"),
        ({}, lambda e, r: e.adapt(None, r, quantity="velocity"), "no quantity"),
        ({"period": 0}, lambda e, r: e.adapt(None, r), "one labelled trial of each"),
        ({"period": 16}, lambda e, r: e.adapt(None, r), "one labelled trial of each"),
    ],
)
def test_what_cannot_be_known_without_labels_is_refused(
    settings: dict[str, Any], adapt: Any, message: str, encoder: EITEncoder, subjects: list[Recording]
) -> None:
    if settings:
        encoder = EITEncoder("direction", training=TrainingSettings(max_steps=1), **settings).fit(subjects[:2])
    with pytest.raises(InputError, match=message):
        adapt(encoder, subjects[2])


def test_a_quantity_per_trial_is_decoded_from_few_labels(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    ends = {"end": new.targets["position"][:, -1].astype(np.float64)}
    ends["far"] = 1000 * ends["end"][:, 0]
    new = dataclasses.replace(new, targets=ends, target_levels=dict.fromkeys(ends, "trial"))
    decoder = encoder.adapt(few(new), target="end")
    assert decoder.predict(rest(new)).shape == (rest(new).n_trials, 2)
    assert decoder.score(rest(new)) > 0.3
    of_one = encoder.adapt(few(new), target="far")
    assert of_one.predict(rest(new)).shape == (rest(new).n_trials,)
    assert of_one.score(rest(new)) > 0.2
    with pytest.raises(InputError, match="do not teach"):
        of_one.update(rest(new))
    with pytest.raises(InputError, match="do not teach"):
        encoder.adapt(few(new), rest(new), target="far")
    alike = dataclasses.replace(
        few(new), targets={"end": np.full(few(new).n_trials, 0.5)}, target_levels={"end": "trial"}
    )
    with pytest.raises(InputError, match="the same in all"):
        encoder.adapt(alike, target="end")
    with pytest.raises(InputError, match="is no class"):
        encoder.adapt(few(new), target="end", quantity="velocity")


def test_the_circle_of_one_target_is_not_that_of_another(encoder: EITEncoder, subjects: list[Recording]) -> None:
    assert encoder.set_params(period=8).period == 8
    new = subjects[2]
    side = np.where(new.targets["direction"] < 4, "left", "right")
    of_sides = dataclasses.replace(new, targets={"side": side}, target_levels={"side": "trial"})
    assert encoder.adapt(few(of_sides), target="side").score(rest(of_sides)) > 0.6
    encoder.set_params(period=None)


def test_what_would_be_ignored_is_refused(encoder: EITEncoder, subjects: list[Recording]) -> None:
    new = subjects[2]
    with pytest.raises(InputError, match="trains nothing"):
        encoder.adapt(few(new), training=TrainingSettings(max_steps=3))
    with pytest.raises(InputError, match="from root counts alone"):
        encoder.adapt(few(new), quantity="velocity", reads="both")

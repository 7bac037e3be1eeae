"""Individuals that are known by what they do: in the trials that were learned from or adapted on, and in no others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import motet
from motet.data.context import context_statistics
from motet.data.recording import without_targets
from motet.errors import InputError
from motet.estimators.exported import DecoderGraph
from motet.estimators.inside import graph_copy
from motet.models.eit import EITSettings
from motet.training.objectives import EpisodeSettings
from motet.training.settings import TrainingSettings

MODEL = EITSettings(width=4, identity="context", causal=True)
TRAINING = TrainingSettings(max_steps=4, batch_trials=8, checkpoint_seconds=0.0)
ALONE = {"model": MODEL, "rule": "none"}


def quietly(row):
    pass


@pytest.fixture(scope="module")
def animals():
    """Three; of the last, directions in turn."""
    found = motet.simulate("population", n_subjects=3, n_trials=40, n_neurons=(6, 9), n_bins=5, seed=3)
    order = np.argsort(found[2].targets["direction"], kind="stable").reshape(8, -1).T.ravel()
    return [*found[:2], found[2].select(trials=order)]


@pytest.fixture(scope="module")
def decoder(animals):
    """Of two recordings that share individuals, in different order."""
    first, again = animals[0].select(trials=slice(0, 15)), animals[0].select(trials=slice(15, 30))
    again = dataclasses.replace(again.select(individuals=range(again.n_individuals)[::-1]), name="again")
    return motet.EITClassifier("direction", members=2, training=TRAINING, **ALONE).fit([first, again], on_epoch=quietly)


@pytest.fixture(scope="module")
def encoder(animals):
    return motet.EITEncoder("direction", model=MODEL, training=TRAINING).fit(animals[:2], on_epoch=quietly)


def tables(estimator):
    return [learner.model.identity for learner in getattr(estimator.learner_, "members", [estimator.learner_])]


def few(animal):
    return animal.select(trials=range(8))


def later(animal):
    return animal.select(trials=range(20, 40))


def differing(recording):
    return dataclasses.replace(recording, values=3 * recording.values[::-1] + recording.observed[..., None])


# ------------------------------------------------------------------ decoders


def test_a_decoder_knows_individuals_by_the_trials_that_it_learned_from(decoder, animals):
    ids, found = context_statistics(
        decoder.preprocess_(motet.PopulationDataset(animals[0].select(trials=slice(0, 30)))).recordings
    )
    for table in tables(decoder):
        assert table.individual_ids == ids == decoder.individual_ids_
        np.testing.assert_allclose(table.statistics, found, atol=1e-5)
        assert not torch.equal(table.of(torch.tensor(0)), table.of(torch.tensor(1)))


def test_trials_that_are_decoded_or_validate_say_nothing_of_who_individuals_are(animals):
    training = dataclasses.replace(TRAINING, validation=0.3)
    _, held_out = motet.PopulationDataset(animals[0]).split(by="trial", test=0.3, stratify="direction", seed=0)
    place = np.flatnonzero(np.isin(animals[0].trial_ids, held_out.recordings[0].trial_ids))
    values = animals[0].values.copy()
    values[place] = differing(animals[0].select(trials=place)).values
    found = []
    for recording in (animals[0], dataclasses.replace(animals[0], values=values)):
        fitted = motet.EITClassifier("direction", training=training, **ALONE).fit(recording, on_epoch=quietly)
        fitted.predict(differing(animals[0]))
        found.append(tables(fitted)[0].statistics)
    assert torch.equal(*found)


def test_a_trial_is_decoded_alike_in_any_company(decoder, encoder, animals):
    adapted = encoder.adapt(few(animals[2]), reads="embeddings")
    for one, animal in ((decoder, animals[0]), (adapted, animals[2])):
        together = one.predict_proba(later(animal))
        np.testing.assert_allclose(one.predict_proba(animal.select(trials=[27])), together[[7]], atol=1e-6)
        assert together.std() > 0


def test_individuals_are_found_by_their_names(decoder, animals):
    order = np.random.default_rng(0).permutation(animals[0].n_individuals)
    plain = decoder.predict_proba(later(animals[0]))
    np.testing.assert_allclose(decoder.predict_proba(later(animals[0]).select(individuals=order)), plain, atol=1e-6)


def test_another_population_is_refused_by_a_decoder(decoder, animals):
    with pytest.raises(InputError, match=r"never saw individual .* train on trials of them too, or read any"):
        decoder.predict(animals[1])


def test_graphs_and_streams_of_decoders_hold_what_was_made_of_the_context(decoder, animals):
    test = later(animals[0]).select(
        individuals=[animals[0].individual_ids.index(one) for one in decoder.individual_ids_]
    )
    wanted = decoder.predict_proba(test)
    graph = DecoderGraph(decoder._inside("eit", None))
    found = graph(torch.from_numpy(test.values), torch.from_numpy(test.observed))
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    stream = decoder.stream()
    said = [stream.step(test.values[0, :, time, 0]) for time in range(test.n_bins)]
    np.testing.assert_allclose(said[-1], wanted[0], atol=1e-5)


def test_decoders_and_encoders_are_saved_with_what_they_know(decoder, encoder, animals, tmp_path):
    decoder.save(tmp_path / "decoder")
    loaded = motet.EITClassifier.load(tmp_path / "decoder")
    np.testing.assert_array_equal(loaded.predict_proba(later(animals[0])), decoder.predict_proba(later(animals[0])))
    encoder.save(tmp_path / "encoder")
    found = [
        one.adapt(few(animals[2]), reads="both").predict_proba(later(animals[2]))
        for one in (encoder, motet.EITEncoder.load(tmp_path / "encoder"))
    ]
    np.testing.assert_array_equal(*found)


class StoppedError(Exception):
    pass


def test_a_fit_that_was_interrupted_ends_with_the_same_bits(animals, tmp_path):
    def stop(row):
        raise StoppedError

    settings = {"members": 2, "training": dataclasses.replace(TRAINING, max_steps=10), **ALONE}
    whole = motet.EITClassifier("direction", **settings).fit(animals[0], on_epoch=quietly)
    resumed = motet.EITClassifier("direction", **settings)
    with pytest.raises(StoppedError):
        resumed.fit(animals[0], run=tmp_path, on_epoch=stop)
    resumed.fit(animals[0], run=tmp_path, on_epoch=quietly)
    states = [one.learner_.state_dict() for one in (whole, resumed)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


# ------------------------------------------------------------------ encoders


def test_a_new_population_is_met_in_the_trials_that_it_is_adapted_on(encoder, animals):
    new = animals[2]
    labelled, unlabelled = few(new), without_targets(new.select(trials=range(8, 20)))
    other = dataclasses.replace(differing(unlabelled), name="other")
    plain, helped, changed = (
        encoder._reading("embeddings", *context).encoder.learner_.model.identity
        for context in ((labelled, None), (labelled, unlabelled), (labelled, other))
    )
    together = encoder._bare(new.select(trials=range(20))).recordings
    np.testing.assert_allclose(helped.statistics, context_statistics(together)[1], atol=1e-5)
    assert not torch.allclose(plain.statistics, helped.statistics)
    assert not torch.allclose(changed.statistics, helped.statistics)
    assert plain.individual_ids == new.individual_ids
    assert tables(encoder)[0].individual_ids == ()


def test_neither_names_nor_order_of_individuals_and_trials_matter_to_an_encoder(encoder, animals):
    new, rng = animals[2], np.random.default_rng(0)
    order = rng.permutation(new.n_individuals)
    other = dataclasses.replace(
        new.select(individuals=order), individual_ids=tuple(f"n{place}" for place in range(len(order)))
    )
    plain = encoder.adapt(few(new), reads="embeddings").predict_proba(later(new))
    shuffled = encoder.adapt(few(other).select(trials=rng.permutation(8)), reads="embeddings")
    np.testing.assert_allclose(shuffled.predict_proba(later(other)), plain, atol=1e-5)


def test_animals_whose_individuals_bear_the_same_names_are_told_apart(animals):
    def numbered(animal):
        return dataclasses.replace(animal, individual_ids=tuple(map(str, range(animal.n_individuals))))

    settings = {"model": MODEL, "training": TRAINING}
    plain, same = (
        motet.EITEncoder("direction", **settings).fit(one, on_epoch=quietly).learner_.state_dict()
        for one in (animals[:2], [numbered(animal) for animal in animals[:2]])
    )
    assert all(torch.equal(tensor, same[name]) for name, tensor in plain.items())


def test_as_many_numbers_are_learned_of_any_population(encoder, animals):
    assert (
        motet.EITEncoder("direction", model=MODEL, training=TRAINING).fit(animals[2]).n_parameters_
        == encoder.n_parameters_
    )


def test_embeddings_are_of_individuals_as_the_recording_shows_them(encoder, animals):
    whole, half = animals[2], animals[2].select(trials=slice(0, 20))
    found = [encoder.encode(one)[0] for one in (whole, half)]
    np.testing.assert_allclose(found[1]["individual"], found[0]["individual"][:20], atol=1e-6)
    assert np.abs(found[1]["population"] - found[0]["population"][:20]).max() > 1e-4
    assert not found[0]["knows_individuals"]


def test_a_classifier_can_begin_with_such_an_encoder(encoder, animals):
    trained = encoder.adapt(few(animals[2]), way="readout", training=dataclasses.replace(TRAINING, max_steps=1))
    for name, tensor in encoder.learner_.model.named_parameters():
        assert torch.equal(tensor, trained.learner_.model.get_parameter(name)), name


def test_the_model_of_an_adapted_decoder_is_exported_with_what_was_made_of_the_context(encoder, animals):
    adapted = encoder.adapt(few(animals[2]), reads="embeddings")
    batch = encoder._bare(later(animals[2])).batch()
    nameless = batch.replace(individual_ids=((),))
    with torch.no_grad():
        found = graph_copy(adapted._read.model, adapted.individual_ids)(nameless)
        torch.testing.assert_close(found.population, adapted._read.model(batch).population)


@pytest.mark.parametrize(
    ("learn", "words"),
    [({"views": 1.0}, "views"), ({"context": 1.0, "masked": 1.0}, "context and masked"), (None, "masked and views")],
)
def test_what_the_context_gives_away_is_not_learned(animals, learn, words):
    target = None if learn is None else "direction"
    shown = [without_targets(animal) for animal in animals[:2]] if learn is None else animals[:2]
    encoder = motet.EITEncoder(target, model=MODEL, training=TRAINING, objective=EpisodeSettings(learn=learn))
    with pytest.raises(InputError, match=f"not with {words}"):
        encoder.fit(shown)


def test_an_encoder_learns_no_weights_of_single_individuals(animals):
    with pytest.raises(InputError, match="'none' or 'context'"):
        motet.EITEncoder("direction", model=EITSettings(identity="learned")).fit(animals[:2])


def test_silent_individuals_are_met_too(encoder, animals):
    new = animals[2]
    values = new.values.copy()
    values[:, 0] = 0
    silent = dataclasses.replace(new, values=values)
    assert np.isfinite(encoder.adapt(few(silent), reads="embeddings").predict_proba(later(silent))).all()

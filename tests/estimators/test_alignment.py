"""`motet.align`: ids never count, what knows individuals by name is refused, and what does not fit too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import motet
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.alignment import align, conditions, refuse_known_individuals
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

ANYONE = {
    "model": EITSettings(width=8, identity="none"),
    "objective": ObjectiveSettings(readout="pooled"),
    "preprocess": PreprocessSettings(centre="shared"),
    "training": TrainingSettings(max_steps=2),
    "members": 1,
}


@pytest.fixture(scope="module")
def animals():
    return motet.simulate("population", n_subjects=2, n_trials=96, n_neurons=16)


def halves(recording: Recording) -> tuple[Recording, Recording]:
    return recording.select(trials=np.arange(0, 96, 2)), recording.select(trials=np.arange(1, 96, 2))


@pytest.mark.parametrize("same", ["individual", "role"])
def test_ids_never_count_be_they_shared_by_accident_or_not(animals, same):
    a, b = animals[0], animals[1]
    plain = align(a, b, target="direction", same=same)
    shared = align(a, dataclasses.replace(b, individual_ids=a.individual_ids), target="direction", same=same)
    np.testing.assert_array_equal(shared.matches.score, plain.matches.score)
    np.testing.assert_array_equal(shared.matches.confidence, plain.matches.confidence)
    assert shared.individual_ids == (a.individual_ids, a.individual_ids)


def test_an_individual_is_found_wherever_it_stands(animals):
    first, second = halves(animals[0])
    order = np.random.default_rng(0).permutation(16)
    found = align(first, second.select(individuals=order), target="direction", same="individual")
    assert len(found.pairs) > 6
    assert np.mean([one == other for one, other, _ in found.pairs]) > 0.9
    assert "matches declared" in repr(found)


def test_another_animal_shares_no_individual(animals):
    assert align(*animals, target="direction", same="individual").pairs == []


def test_encodings_of_a_model_that_reads_anyone_are_compared(animals):
    decoder = motet.EITClassifier("direction", **ANYONE).fit(animals, on_epoch=lambda row: None)
    first, second = (decoder.encode(animal)[0] for animal in animals)
    found = align(first, second)
    assert found.distance.shape == (16, 16)
    assert found.individual_ids == tuple(animal.individual_ids for animal in animals)
    again = align(first["individual"], second["individual"])
    np.testing.assert_allclose(again.distance, found.distance)
    np.testing.assert_allclose(np.diag(align(first, first).distance), 0, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"model": EITSettings(width=8, identity="learned")}, "individuals by their names"),
        ({"model": EITSettings(width=8, identity="context")}, "individuals by their names"),
        ({"preprocess": PreprocessSettings()}, "mean or scale of individuals by their names"),
    ],
)
def test_an_embedding_that_knows_individuals_by_their_names_is_refused(animals, settings, what):
    options = {**ANYONE, **settings, "objective": ObjectiveSettings()}
    decoder = motet.EITClassifier("direction", **options).fit(animals[0], on_epoch=lambda row: None)
    with pytest.raises(InputError, match=what):
        refuse_known_individuals(decoder)
    encoding = decoder.encode(animals[0])[0]
    with pytest.raises(InputError, match="everybody would find itself"):
        align(encoding, encoding)


def test_conditions_are_the_classes_that_all_share():
    def with_sides(sides):
        return Recording.from_trials(np.ones((len(sides), 1, 2)), targets={"side": sides})

    labels, n = conditions([with_sides(["b", "a", "c"]), with_sides(["c", "d", "b"])], "side")
    assert n == 2
    assert [one.tolist() for one in labels] == [[0, -1, 1], [1, -1, 0]]
    assert conditions([with_sides(["b", "a"])], None)[1] == 1
    with pytest.raises(InputError, match="no class of target 'side'"):
        conditions([with_sides(["a"]), with_sides(["b"])], "side")


@pytest.mark.parametrize(
    ("change", "options", "why"),
    [
        ({"bin_seconds": 0.05}, {}, "bin them alike"),
        ({}, {"target": "directon"}, "did you mean 'direction'"),
        ({}, {"target": "velocity"}, "a class per trial"),
        ({}, {"same": "neuron"}, "same"),
        ({}, {"fdr": 0.0}, "fdr"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(animals, change, options, why):
    with pytest.raises(InputError, match=why):
        align(animals[0], dataclasses.replace(animals[1], **change), **options)


def test_what_is_neither_recording_nor_encoding_is_refused(animals):
    embedding = np.random.default_rng(0).normal(size=(4, 3, 2, 5))
    with pytest.raises(InputError, match="two recordings, or two encodings"):
        align(animals[0], embedding)
    with pytest.raises(InputError, match="same='role'"):
        align(embedding, embedding, same="individual")
    with pytest.raises(InputError, match="trial, individual, time, width"):
        align(embedding[0], embedding[0])
    with pytest.raises(InputError, match="5 and 4 dimensions"):
        align(embedding, embedding[..., :4])
    with pytest.raises(InputError, match="part of an encoding"):
        align({"individual": embedding}, {"individual": embedding})


def test_individuals_that_never_vary_are_nobody(animals):
    silenced = []
    for number, half in enumerate(halves(animals[0])):
        values = half.values.copy()
        values[:, number] = 0
        silenced.append(dataclasses.replace(half, values=values))
    found = align(*silenced, target="direction", same="individual")
    assert {first for first, *_ in found.pairs}.isdisjoint({silenced[0].individual_ids[0]})
    assert {second for _, second, _ in found.pairs}.isdisjoint({silenced[1].individual_ids[1]})


def test_long_encodings_are_read_in_all_bins():
    rng = np.random.default_rng(0)
    course = rng.normal(size=(12, 8, 4))
    one, other = (course[None] + 0.05 * rng.normal(size=(n, 12, 8, 4)) for n in (200, 2000))
    found = align(one, other)
    assert (found.matches.partner == np.arange(12)).mean() == 1

"""Figures from Python: those of a decoder and of a recording show what their arrays say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.embeddings import Places
from motet.models.eit import EITSettings
from motet.systems import simulate
from motet.training.settings import TrainingSettings

QUICK = {"model": EITSettings(width=8), "training": TrainingSettings(max_steps=2), "rule": "none", "members": 1}


@pytest.fixture(scope="module")
def classifier(small_recording):
    return EITClassifier("direction", **QUICK).fit(small_recording)


@pytest.fixture(scope="module")
def regressor(small_recording):
    return EITRegressor("velocity", **QUICK).fit(small_recording)


def test_confusion_counts_every_trial_that_was_decoded(classifier, small_recording):
    figure = classifier.plot.confusion(small_recording)
    assert sum(int(text.get_text()) for text in figure.axes[0].texts) == small_recording.n_trials
    score = classifier.score(small_recording)
    assert f"accuracy {score:.3f}" in figure.get_suptitle()


def test_decoded_classes_and_velocities_are_drawn_beside_the_truth(classifier, regressor, small_recording):
    figure = classifier.plot.decoded(small_recording)
    p = classifier.predict_proba(small_recording)
    of_truth = p[np.arange(len(p)), small_recording.targets["direction"]].mean()
    assert f"truth {of_truth:.3f}" in figure.get_suptitle()
    assert f"R² {regressor.score(small_recording):.3f}" in regressor.plot.decoded(small_recording).get_suptitle()


def test_another_quantity_is_drawn_over_time_or_against_the_truth(small_recording):
    speed = np.linalg.norm(small_recording.targets["velocity"], axis=2)
    targets = {"speed": speed, "mean": np.random.default_rng(0).normal(size=len(speed))}
    recording = dataclasses.replace(small_recording, targets=targets, target_levels={"speed": "bin", "mean": "trial"})
    decoder = EITRegressor("speed", **QUICK).fit(recording)
    figure = decoder.plot.decoded(recording, n_trials=3)
    assert len(figure.axes) == 3
    assert f"R² {decoder.score(recording):.3f}" in figure.get_suptitle()
    per_trial = EITRegressor("mean", **QUICK).fit(recording)
    score = f"R² {per_trial.score(recording):.3f}".replace("-", "−")
    assert score in per_trial.plot.decoded(recording).axes[0].get_title("left")


def test_embedding_places_every_individual_and_importance_draws(classifier, small_recording):
    for stage in ("individual", "population"):
        figure = classifier.plot.embedding(small_recording, stage=stage)
        assert sum(len(line.get_xdata()) for line in figure.axes[0].lines) == small_recording.n_individuals
    assert isinstance(classifier.plot.importance(small_recording, n=3, repeats=1), Figure)


def test_places_are_means_over_the_trials_of_each_class(classifier, small_recording):
    even = small_recording.select(bins=slice(0, 4))
    places = Places.of(classifier, [even], "direction")
    (encoding,) = classifier.encode([even])
    of_class = encoding["individual"][even.targets["direction"] == 2].mean(axis=0)
    found = places.individual[0].reshape(even.n_individuals, 4, 4, -1)[:, 2]
    np.testing.assert_allclose(found, of_class, rtol=1e-4, atol=1e-6)
    assert places.classes.tolist() == [0, 1, 2, 3]


def test_recordings_draw_themselves(small_recording):
    assert len(small_recording.plot.psths(individuals=[1, 2]).axes) == 2
    (system,) = simulate("gravity", groups=("2x2",), n_trials=2, n_bins=5, engine="numpy")
    assert isinstance(system.plot.trajectories(), Figure)


def test_what_cannot_be_drawn_is_refused(regressor, small_recording):
    with pytest.raises(InputError, match="confusion is of classes"):
        regressor.plot.confusion(small_recording)
    with pytest.raises(InputError, match="none a class per trial"):
        Recording.from_trials(np.ones((3, 2, 4))).plot.psths()
    with pytest.raises(InputError, match="drawn of simulated systems"):
        small_recording.plot.trajectories()

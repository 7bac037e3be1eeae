"""Guards of `decode`: what no method may score where nothing can be known, and what all must where it is.

Each turns red under the faults of tests/planted that name it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.models.eit import EITSettings
from motet.tasks.decode import CONTROL, WITH_RULE, Decode, DecodeSettings, decode
from motet.tasks.models import MODEL, RULE
from motet.training.settings import TrainingSettings

N_TRIALS, N_INDIVIDUALS, N_BINS = 60, 40, 4


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(Decode, "figures", lambda *_: iter(()))


def decoded(folder, values, *, target="side", n_steps=40, **targets):
    """The scores of all methods, by name, and the results that hold them."""
    recording = Recording.from_trials(values, targets=targets, name="guard")
    file = write_recording(recording, folder / "guard.npz")
    settings = DecodeSettings(
        (str(file),),
        target,
        str(folder / "run"),
        folds=2,
        final=False,
        members=2,
        model=EITSettings(width=8, causal=target != "side"),
        training=TrainingSettings(max_steps=n_steps, batch_trials=20),
    )
    (table,) = decode(settings).results["sections"].values()
    metric = "accuracy" if target == "side" else "r2"
    return {name: method["scores"][metric]["value"] for name, method in table["methods"].items()}, table


def test_no_method_decodes_classes_that_nothing_tells(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.poisson(3.0, (N_TRIALS, N_INDIVIDUALS, N_BINS)).astype(float)
    scores, _ = decoded(tmp_path, values, side=rng.permutation(N_TRIALS) % 2)
    assert {WITH_RULE, RULE, MODEL, "lda", "logistic-regression", CONTROL} <= scores.keys()
    assert all(0.25 < score < 0.75 for score in scores.values()), scores


def test_no_method_decodes_quantities_that_nothing_tells(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.poisson(3.0, (N_TRIALS, N_INDIVIDUALS, N_BINS)).astype(float)
    drive = rng.normal(size=(N_TRIALS, N_BINS))
    scores, _ = decoded(tmp_path, values, target="drive", side=rng.permutation(N_TRIALS) % 2, drive=drive)
    assert {WITH_RULE, RULE, MODEL, "ridge", "template", "template-kernel-ridge", CONTROL} <= scores.keys()
    assert all(score < 0.25 for score in scores.values()), scores


def test_every_method_decodes_what_is_plain_and_the_control_does_not(tmp_path):
    rng = np.random.default_rng(0)
    side = rng.permutation(N_TRIALS) % 2
    values = rng.poisson(
        2.0 + 4 * side[:, None, None] * (np.arange(N_INDIVIDUALS) % 3 == 0)[:, None], (N_TRIALS, N_INDIVIDUALS, N_BINS)
    )
    scores, results = decoded(tmp_path, values, side=side)
    knows_nothing = {CONTROL, "majority"}
    assert all(score > 0.95 for name, score in scores.items() if name not in knows_nothing), scores
    assert all(0.25 < scores[name] < 0.75 for name in knows_nothing), scores
    assert scores[results["best_rival"]] == max(
        s for name, s in scores.items() if name not in (WITH_RULE, RULE, MODEL, CONTROL)
    )
    assert "difference" not in results["methods"][CONTROL]


def fitted(estimator, values, **targets):
    return estimator.fit(Recording.from_trials(values, targets=targets, name="guard"), on_epoch=lambda row: None)


def test_statistics_come_from_the_trials_that_train_not_from_those_that_validate():
    rng = np.random.default_rng(0)
    values, side = rng.poisson(3.0, (40, 6, 4)).astype(float), np.arange(40) % 2
    training = TrainingSettings(max_steps=1, validation=0.25)
    estimator = EITClassifier(
        "side", model=EITSettings(width=8), training=training, preprocess=PreprocessSettings("none"), rule="none"
    )
    dataset = PopulationDataset(Recording.from_trials(values, targets={"side": side}, name="guard"))
    estimator.seed_ = estimator.seed
    train, validation = estimator._split(dataset)
    fitted(estimator, values, side=side)
    found = estimator.preprocess_.mean[:, 0]
    np.testing.assert_allclose(found, train.recordings[0].values.mean(axis=(0, 2, 3)), rtol=1e-6)
    assert not np.allclose(found, values.mean(axis=(0, 2)))
    assert len(validation) == 10


def test_target_statistics_come_from_the_trials_that_train():
    rng = np.random.default_rng(0)
    values, speed = rng.poisson(3.0, (40, 6, 4)).astype(float), rng.normal(size=40)
    estimator = EITRegressor(
        "speed", model=EITSettings(width=8), training=TrainingSettings(max_steps=1, validation=0.25), rule="none"
    )
    dataset = PopulationDataset(Recording.from_trials(values, targets={"speed": speed}, name="guard"))
    estimator.seed_ = estimator.seed
    train, _ = estimator._split(dataset)
    fitted(estimator, values, speed=speed)
    assert estimator.targets_[0].mean[0] == pytest.approx(train.recordings[0].targets["speed"].mean())


def test_individuals_are_known_by_their_names_and_not_by_their_places():
    rng = np.random.default_rng(0)
    side = np.arange(40) % 2
    values = rng.poisson(2.0 + 3 * side[:, None, None] * np.arange(6)[:, None] / 5, (40, 6, 4)).astype(float)
    recording = Recording.from_trials(values, targets={"side": side}, name="guard")
    model = EITClassifier("side", model=EITSettings(width=8), training=TrainingSettings(max_steps=5), members=2)
    model.fit(recording, on_epoch=lambda row: None)
    order = np.array([3, 0, 5, 1, 4, 2])
    turned = recording.select(individuals=order)
    np.testing.assert_allclose(model.predict_proba(turned), model.predict_proba(recording), atol=1e-5)
    renamed = dataclasses.replace(turned, individual_ids=recording.individual_ids)
    assert not np.allclose(model.predict_proba(renamed), model.predict_proba(recording), atol=1e-5)
    for strangers in (tuple("abcdef"), (*recording.individual_ids[:5], "f")):
        with pytest.raises(InputError, match="never saw"):
            model.predict(dataclasses.replace(recording, individual_ids=strangers))

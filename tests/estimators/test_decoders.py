from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

QUICK = {
    "model": EITSettings(width=8, n_heads=2),
    "training": TrainingSettings(max_steps=100, batch_trials=16, learning_rate=0.01, validation=0),
    "members": 1,
}
FEW_STEPS = QUICK | {"training": TrainingSettings(max_steps=2, batch_trials=16)}
WITH_RULE = QUICK | {"training": TrainingSettings(max_steps=30, batch_trials=16, learning_rate=0.02), "members": 2}


class _Flat(BaseEstimator):
    """Reads a 2-D table as one time bin of a population: scikit-learn's checks speak 2-D only."""

    def __init__(self, max_steps=100, seed=0):
        self.max_steps = max_steps
        self.seed = seed

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, ensure_min_samples=2, y_numeric=isinstance(self, RegressorMixin))
        self.inner_ = self._make(
            seed=self.seed,
            model=EITSettings(width=8, n_heads=2),
            training=TrainingSettings(max_steps=self.max_steps, batch_trials=16, learning_rate=0.02, validation=0),
            preprocess=PreprocessSettings(transform="none"),
            objective=ObjectiveSettings(hidden_individuals=(0.0, 0.0), noise=0.0),
        )
        self.inner_.fit(X[:, :, None], self._checked(y), sample_weight)
        return self

    def _checked(self, y):
        return y

    def predict(self, X):
        check_is_fitted(self)
        return self.inner_.predict(validate_data(self, X, reset=False)[:, :, None])


class FlatClassifier(ClassifierMixin, _Flat):
    _make = EITClassifier

    def _checked(self, y):
        from sklearn.utils.multiclass import check_classification_targets

        check_classification_targets(y)
        self.classes_ = np.unique(y)
        return y

    def predict_proba(self, X):
        check_is_fitted(self)
        return self.inner_.predict_proba(validate_data(self, X, reset=False)[:, :, None])

    def predict_log_proba(self, X):
        check_is_fitted(self)
        return self.inner_.predict_log_proba(validate_data(self, X, reset=False)[:, :, None])

    def decision_function(self, X):
        check_is_fitted(self)
        return self.inner_.decision_function(validate_data(self, X, reset=False)[:, :, None])


class FlatRegressor(RegressorMixin, _Flat):
    _make = EITRegressor


def _expected_to_fail(estimator):
    why = "batches are of trials, whatever their weights; and what is usual, preprocessing finds in all trials alike"
    return {"check_sample_weight_equivalence_on_dense_data": why, "check_sample_weights_invariance": why}


@pytest.mark.slow
@parametrize_with_checks([FlatClassifier(), FlatRegressor()], expected_failed_checks=_expected_to_fail)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def arrays(n_trials=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.array(["left", "right", "up"])[np.arange(n_trials) % 3]
    tuning = rng.normal(size=(3, 8))
    counts = rng.poisson(np.exp(0.7 + 0.8 * tuning[np.arange(n_trials) % 3])[:, :, None] * np.ones(5))
    return counts.astype(float), labels


def test_a_classifier_reads_arrays_with_any_labels():
    X, y = arrays()
    decoder = EITClassifier(**QUICK).fit(X[:45], y[:45])
    assert decoder.classes_.tolist() == ["left", "right", "up"]
    assert decoder.score(X[45:], y[45:]) > 0.8
    probability = decoder.predict_proba(X[45:])
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    assert (decoder.classes_[probability.argmax(axis=1)] == decoder.predict(X[45:])).all()
    assert decoder.transform(X[45:]).shape == (15, 8)
    assert decoder.bin_seconds_ is None
    in_bins = Recording.from_trials(X[45:], bin_seconds=0.1)  # whose width arrays do not say
    assert (decoder.predict(in_bins) == decoder.predict(X[45:])).all()


def test_ragged_trials_and_gaps_are_read(small_recording):
    X, y = arrays()
    ragged = [trial[:, : 3 + index % 3] for index, trial in enumerate(X)]
    decoder = EITClassifier(**WITH_RULE).fit(ragged, y)
    assert decoder.score(ragged, y) > 0.8
    X[::4, 2] = np.nan
    assert EITClassifier(**QUICK).fit(X, y).score(X, y) > 0.8


def test_a_decoder_begins_with_what_another_learned_of_other_individuals():
    (X, y), (other, labels) = arrays(), arrays(seed=1)
    start = EITClassifier(**QUICK).fit(other[:, :6], labels)
    still = QUICK | {"training": TrainingSettings(max_steps=1, learning_rate=1e-9, table_learning_rate=1e-9)}
    for members in (1, 2):
        begun = EITClassifier(**still | {"members": members, "rule": "none"}).fit(X, y, start=start)
        own = begun.learner_.independent[-1].state_dict()
        for name, weight in start.learner_.state_dict().items():
            is_alike = own[name].shape == weight.shape and torch.allclose(own[name], weight, atol=1e-6)
            assert is_alike != ("table" in name or "identity" in name), name
    with pytest.raises(InputError, match="other settings"):
        EITClassifier(model=EITSettings(width=12, n_heads=2), training=still["training"]).fit(X, y, start=start)
    with pytest.raises(InputError, match="fitted EITEncoder"):
        EITClassifier(**still).fit(X, y, start="run")


def test_a_regressor_reads_a_quantity_per_bin(small_recording):
    decoder = EITRegressor("velocity", **QUICK).fit(small_recording)
    assert decoder.predict(small_recording).shape == (48, 7, 2)
    assert decoder.score(small_recording) > 0.3


def test_several_targets_are_learned_at_once(small_recording):
    decoder = EITClassifier("direction", auxiliary={"velocity": 0.5}, **WITH_RULE).fit(small_recording)
    assert decoder.score(small_recording) > 0.8
    assert [target.name for target in decoder.targets_] == ["direction", "velocity"]
    assert decoder.predict(small_recording, target="velocity").shape == (48, 7, 2)


def test_recordings_of_different_size_are_learned_together(small_recording):
    few = small_recording.select(individuals=np.arange(4), trials=np.arange(24))
    other = Recording(
        few.values, few.observed, tuple(f"other/{i}" for i in range(4)), few.targets, few.bin_seconds, "t", "other"
    )
    both = PopulationDataset([small_recording, other])
    decoder = EITClassifier("direction", **WITH_RULE).fit(both)
    assert decoder.predict(both).shape == (72,)
    assert decoder.score(other) > 0.5
    assert [e["population"].shape[1] for e in decoder.encode(both)] == [10, 4]


def test_a_model_without_identities_reads_another_population(small_recording):
    settings = dict(
        FEW_STEPS, objective=ObjectiveSettings(readout="pooled"), preprocess=PreprocessSettings(centre="shared")
    )
    settings["model"] = EITSettings(width=8, n_heads=2, identity="none")
    decoder = EITClassifier("direction", **settings).fit(small_recording)
    six = {"name": "another", "individual_ids": list("abcdef"), "bin_seconds": small_recording.bin_seconds}
    renamed = Recording.from_trials(small_recording.values[:, :6], **six)
    assert decoder.predict(renamed).shape == (48,)


def test_it_is_cloned_searched_and_piped_like_any_estimator():
    X, y = arrays()
    decoder = EITClassifier(**WITH_RULE | {"members": 1})
    twin = clone(decoder).set_params(model__width=16, seed=3)
    assert (twin.model.width, twin.seed, decoder.model.width) == (16, 3, 8)
    search = GridSearchCV(decoder, {"model__individual_depth": [0, 1]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    piped = make_pipeline(FunctionTransformer(np.abs), clone(decoder)).fit(X, y)
    assert piped.predict(X).shape == (60,)
    with pytest.raises(InputError, match="unknown setting 'model__wdth'"):
        decoder.set_params(model__wdth=3)


def test_weights_that_are_damaged_foreign_or_of_another_version_are_refused(tmp_path, small_recording):
    import safetensors.torch

    run = EITClassifier("direction", **FEW_STEPS).fit(small_recording).save(tmp_path / "run")
    path = run.folder / "weights.safetensors"
    whole = path.read_bytes()
    with pytest.raises(InputError, match="no weights"):
        EITClassifier.load(tmp_path)
    for content in (whole[:-10], whole[:100], b"", b"\x80\x04cposix\nsystem\n."):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            EITClassifier.load(run.folder)
    path.write_bytes(whole)
    tensors, about = run.read_tensors("weights")
    safetensors.torch.save_file(tensors, path, metadata={"format": "99", "about": json.dumps(about)})
    with pytest.raises(InputError, match="format '99'"):
        EITClassifier.load(run.folder)
    tensors.popitem()
    run.write_tensors("weights", tensors, about)
    with pytest.raises(InputError, match="whole model"):
        EITClassifier.load(run.folder)


def test_a_save_that_fails_loses_nothing(tmp_path, small_recording, monkeypatch):
    decoder = EITClassifier("direction", **FEW_STEPS).fit(small_recording)
    run = decoder.save(tmp_path / "run")
    before = (run.folder / "weights.safetensors").read_bytes()

    def disk_is_full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_is_full)
    with pytest.raises(InputError, match="No space left"):
        decoder.save(run.folder)
    assert (run.folder / "weights.safetensors").read_bytes() == before
    assert [path.name for path in run.folder.iterdir()] == ["weights.safetensors"]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="is a file"):
        decoder.save(tmp_path / "file")
    with pytest.raises(InputError, match="cannot write"):
        decoder.save(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda X, y: EITClassifier(**QUICK).fit(X, np.zeros(60)), "1 class"),
        (lambda X, y: EITClassifier(**QUICK).fit(X, y[:50]), "one y per trial"),
        (lambda X, y: EITClassifier(**QUICK).fit(X[:, :, 0], y), "axes"),
        (lambda X, y: EITClassifier(preprocess=PreprocessSettings("sqrt"), **QUICK).fit(-X - 1, y), "negative"),
        (lambda X, y: EITClassifier(**QUICK).fit(np.where(X > 0, np.inf, X), y), "infinite"),
        (lambda X, y: EITClassifier(**QUICK).fit(X * 0, y), "silent"),
        (lambda X, y: EITClassifier(**QUICK).fit(X * np.nan, y), "observed"),
        (lambda X, y: EITClassifier(**QUICK).fit(X[:, :, :0], y), "no time bins"),
        (lambda X, y: EITClassifier(**QUICK).fit(X[:0], y[:0]), "no trials"),
        (lambda X, y: EITRegressor(**QUICK).fit(X, np.full(60, np.nan)), "not known in any"),
        (lambda X, y: EITClassifier("direction", **QUICK).fit(Recording.from_trials(X)), "unknown target"),
        (lambda X, y: EITClassifier(**QUICK).fit(Recording.from_trials(X)), "say which"),
        (lambda X, y: EITClassifier(**FEW_STEPS).fit(X, y).predict(X[:, :, None, :].repeat(2, 2)), "axes|features"),
        (lambda X, y: EITClassifier(**FEW_STEPS).fit(X[:, :6], y).predict(X), "8 individuals without names"),
        (lambda X, y: EITClassifier(**QUICK, auxiliary={"speed": 1.0}).fit(X, y), "unknown target 'speed'"),
        (lambda X, y: EITClassifier(training=TrainingSettings(validation=0.5)).fit(X[:1], y[:1]), "validation"),
        (lambda X, y: TrainingSettings(max_steps=0), "max_steps"),
        (lambda X, y: ObjectiveSettings(noise=-1.0), "noise"),
    ],
)
def test_bad_input_is_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make(*arrays())


def test_a_class_that_training_never_saw_counts_as_wrong():
    X, y = arrays()
    decoder = EITClassifier(**WITH_RULE).fit(X[y != "up"], y[y != "up"])
    assert decoder.score(X[y == "up"], y[y == "up"]) == 0.0


def test_nothing_is_learned_from_the_trials_to_be_tested(small_recording):
    train, test = PopulationDataset(small_recording).split(test=0.3, stratify="direction")
    decoder = EITClassifier("direction", **WITH_RULE).fit(train)
    expected = {name: tensor.clone() for name, tensor in decoder.learner_.state_dict().items()}
    one = decoder.predict_proba(test.select([0]))
    all_at_once = decoder.predict_proba(test)
    np.testing.assert_allclose(all_at_once[:1], one, atol=1e-5)
    assert all(torch.equal(expected[name], tensor) for name, tensor in decoder.learner_.state_dict().items())


def test_settings_that_only_fit_together_are_set_together():
    decoder = EITClassifier(**QUICK).set_params(model__n_heads=3, model__width=12)
    assert (decoder.model.width, decoder.model.n_heads) == (12, 3)


def test_what_is_not_observed_is_predicted_as_nan(small_recording):
    for batch_trials, members in ((256, 2), (7, 1)):
        settings = {**FEW_STEPS, "batch_trials": batch_trials, "members": members}
        decoder = EITRegressor("velocity", **settings).fit(small_recording)
        known = np.isfinite(decoder.predict(small_recording)).all(axis=-1)
        np.testing.assert_array_equal(known, small_recording.bin_is_observed)


def test_recordings_that_lack_the_target_are_read_and_not_scored(small_recording):
    bare = Recording(
        small_recording.values, small_recording.observed, small_recording.individual_ids, {}, 0.1, "s", "bare"
    )
    both = PopulationDataset([small_recording, bare])
    training = TrainingSettings(max_steps=20, batch_trials=2, validation=0.2)
    decoder = EITClassifier("direction", model=QUICK["model"], training=training).fit(both)
    assert decoder.predict(both).shape == (96,)
    assert decoder.score(both) == decoder.score(small_recording)


def test_weights_of_samples_weigh_the_score():
    X, y = arrays()
    decoder = EITClassifier(**FEW_STEPS).fit(X, y)
    wrong = decoder.predict(X) != y
    y = np.where(np.arange(60) < 30, "left", y)
    weight = np.arange(60) >= 30
    assert decoder.score(X, y, sample_weight=weight) == 1 - wrong[30:].mean()


def test_a_quantity_per_trial_is_read():
    X, _ = arrays()
    total = X.sum(axis=(1, 2))
    assert EITRegressor(**QUICK).fit(X, total).score(X, total) > 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: EITClassifier("direction", auxiliary={"direction": 1.0}).fit(r), "auxiliary"),
        (lambda r: EITClassifier("direction", auxiliary={"velocity": -1.0}).fit(r), "above 0"),
        (lambda r: EITClassifier("direction", seed=-1).fit(r), "seed"),
        (lambda r: EITClassifier("direction").fit(r, np.zeros(48)), "their own targets"),
        (lambda r: EITClassifier("direction").fit(None), "give recordings"),
        (lambda r: PreprocessSettings(transform="square"), "sqrt"),
        (lambda r: TrainingSettings(max_steps=2.5), "whole number"),
    ],
)
def test_bad_settings_are_one_clear_error(make, words, small_recording):
    with pytest.raises(InputError, match=words):
        make(small_recording)

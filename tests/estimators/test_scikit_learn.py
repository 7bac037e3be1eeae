"""Manners of scikit-learn: random states, weights of samples, decision functions; and objectives chosen by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.cli import main
from motet.data.dataset import PopulationDataset
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.estimators.forecaster import EITForecaster
from motet.estimators.interactions import EITInteractions
from motet.models.eit import EITSettings
from motet.systems import simulate
from motet.training.objectives import OBJECTIVES, ForecastSettings, ObjectiveSettings, Regress
from motet.training.run import Run
from motet.training.settings import TrainingSettings

QUICK = {"model": EITSettings(width=8), "training": TrainingSettings(max_steps=6, batch_trials=16), "members": 1}
COMMITTEE = QUICK | {"members": 2}
N_TRIALS = 36
SIDE = np.arange(N_TRIALS) % 3
X = np.random.default_rng(0).poisson(1.0 + 3 * (SIDE[:, None, None] == np.arange(4)[:, None] % 3), (N_TRIALS, 4, 5))
TOTAL = X.sum((1, 2)).astype(float)


def fitted(estimator, *data, **options):
    return estimator.fit(*data, on_epoch=lambda row: None, **options)


# ------------------------------------------------------------------ random states


def test_a_random_state_stands_for_a_seed():
    def answer(**settings):
        return fitted(EITClassifier(**QUICK, **settings), X, SIDE).predict_proba(X)

    drawn = int(np.random.RandomState(3).randint(2**31))
    assert np.array_equal(answer(random_state=5), answer(seed=5))
    assert np.array_equal(answer(seed=7, random_state=None), answer(seed=7))
    assert np.array_equal(answer(random_state=np.random.RandomState(3)), answer(seed=drawn))
    assert not np.array_equal(answer(random_state=5), answer(seed=6))


@pytest.mark.parametrize("wrong", [-1, 1.5, "0", True, np.random.default_rng(0)])
def test_a_random_state_of_another_kind_is_refused(wrong):
    with pytest.raises(InputError, match="random_state"):
        EITClassifier(random_state=wrong).fit(X, SIDE)


@pytest.mark.parametrize("random_state", [4, np.random.RandomState(4)])
def test_a_random_state_is_saved_as_the_seed_that_it_gave(random_state, tmp_path):
    decoder = fitted(EITClassifier(**COMMITTEE, random_state=random_state), X, SIDE)
    loaded = EITClassifier.load(decoder.save(tmp_path / "run"))
    assert loaded.seed_ == decoder.seed_
    assert np.array_equal(loaded.predict_proba(X), decoder.predict_proba(X))


# ------------------------------------------------------------------ what was seen


def test_features_that_were_seen_are_counted_as_in_recordings():
    orbits = simulate("gravity", groups=("2x2",), n_trials=8, n_bins=12, engine="numpy")[0]
    small = {"training": TrainingSettings(max_steps=1)}
    two_features = np.stack([X, X + 1], axis=-1)
    short = ForecastSettings(context_bins=8, horizon_bins=4)
    for estimator, n_features in (
        (fitted(EITClassifier(**QUICK), X, SIDE), 1),
        (fitted(EITRegressor(**QUICK), two_features, TOTAL), 2),
        (fitted(EITInteractions(**small), orbits), orbits.n_features),
        (fitted(EITForecaster(**small, objective=short), orbits), orbits.n_features),
    ):
        assert estimator.n_features_in_ == n_features


# ------------------------------------------------------------------ decision functions


def test_decisions_are_log_odds_of_two_classes_and_log_probabilities_of_more():
    more = fitted(EITClassifier(**COMMITTEE), X, SIDE)
    np.testing.assert_allclose(np.exp(more.predict_log_proba(X)), more.predict_proba(X), rtol=1e-5)
    assert np.array_equal(more.decision_function(X), more.predict_log_proba(X))
    two = fitted(EITClassifier(**QUICK), X, SIDE == 1)
    odds, probability = two.decision_function(X), two.predict_proba(X)
    assert odds.shape == (N_TRIALS,)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), probability[:, 1], rtol=1e-4)
    assert np.array_equal(odds > 0, two.predict(X))


# ------------------------------------------------------------------ weights of samples


def weights_of(decoder):
    return torch.cat([parameter.flatten() for parameter in decoder.learner_.parameters()])


@pytest.mark.parametrize(("kind", "y"), [(EITClassifier, SIDE), (EITRegressor, TOTAL)])
def test_equal_weights_are_no_weights(kind, y):
    plain, weighted = (fitted(kind(**COMMITTEE), X, y, w) for w in (None, np.full(N_TRIALS, 2.5)))
    assert torch.equal(weights_of(plain), weights_of(weighted))


@pytest.mark.parametrize(("kind", "y"), [(EITClassifier, SIDE), (EITRegressor, TOTAL)])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_trials_of_weight_zero_teach_nothing(kind, y, n_axes):
    y = y if n_axes == 1 else np.repeat(y[:, None], 5, axis=1)
    weight = np.where(np.arange(N_TRIALS) < 12, 0.0, 1.0)
    other = np.concatenate([y[:12][::-1], y[12:]])  # of the same classes, mean and spread
    assert not np.array_equal(other, y)
    first, second = (fitted(kind(rule="none", **COMMITTEE), X, one, weight) for one in (y, other))
    assert torch.allclose(weights_of(first), weights_of(second), atol=1e-5)
    plain, changed = (fitted(kind(rule="none", **COMMITTEE), X, one) for one in (y, other))
    assert not torch.allclose(weights_of(plain), weights_of(changed), atol=1e-3)
    assert not torch.allclose(weights_of(plain), weights_of(first), atol=1e-3)


def test_a_weight_of_two_weighs_the_loss_twice():
    decoder = fitted(EITClassifier(**QUICK), X, SIDE)
    recording = Recording.from_trials(X[:3], targets={"y": SIDE[:3]})
    learner = decoder.learner_

    def loss(*weights):
        target = {"weight of the trial": np.array(weights)} if weights else {}
        levels = {"y": "trial", **dict.fromkeys(target, "trial")}
        one = dataclasses.replace(recording, targets={**recording.targets, **target}, target_levels=levels)
        batch = learner.objective.prepare(decoder.preprocess_(PopulationDataset(one))).batch()
        return float(learner.objective.loss(learner.model(batch), batch))

    alone = [loss(*(np.arange(3) == k).astype(float)) for k in range(3)]
    assert sum(alone) == pytest.approx(loss(), rel=1e-5)
    assert loss(2.0, 0.5, 0.0) == pytest.approx(2 * alone[0] + 0.5 * alone[1], rel=1e-5)


def test_training_with_other_weights_is_other_training(tmp_path):
    weight = np.linspace(0, 1, N_TRIALS)
    fitted(EITClassifier(**QUICK), X, SIDE, weight, run=Run(tmp_path))
    fitted(EITClassifier(**QUICK), X, SIDE, weight, run=Run(tmp_path))
    with pytest.raises(InputError, match="other data or settings"):
        fitted(EITClassifier(**QUICK), X, SIDE, weight**2, run=Run(tmp_path))


@pytest.mark.parametrize("wrong", [[1.0], np.full(N_TRIALS, -1.0), np.zeros(N_TRIALS), np.full(N_TRIALS, np.nan)])
def test_weights_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match="sample_weight"):
        EITClassifier(**QUICK).fit(X, SIDE, wrong)


# ------------------------------------------------------------------ an objective of one's own


class Absolute(Regress):
    """Absolute error: all that a new objective has to say."""

    def error(self, output, batch):
        target, known = self.known(batch)
        return (output - target)[known].abs().mean()


def test_an_objective_that_is_registered_trains_saves_and_is_chosen_in_the_shell(monkeypatch, tmp_path):
    monkeypatch.setitem(OBJECTIVES, "absolute", Absolute)
    objective = ObjectiveSettings(name="absolute")
    regressor = fitted(EITRegressor(objective=objective, **QUICK), X, TOTAL)
    assert isinstance(regressor.learner_.objective.parts[0], Absolute)
    loaded = EITRegressor.load(regressor.save(tmp_path / "run"))
    assert np.array_equal(loaded.predict(X), regressor.predict(X))
    recording = Recording.from_trials(X, targets={"total": TOTAL}, name="counts")
    write_recording(recording, tmp_path / "counts.npz")
    words = ["decode", str(tmp_path / "counts.npz"), "--target", "total", "--output", str(tmp_path / "decoded")]
    options = ["--objective.name", "absolute", "--training.max_steps", "2", "--folds", "2", "--rivals", "false"]
    assert main([*words, *options, "--rule", "none", "--members", "1", "--control", "false"]) == 0
    assert "name: absolute" in (tmp_path / "decoded" / "settings.yaml").read_text()


def test_an_objective_that_is_not_registered_is_refused_by_name():
    with pytest.raises(InputError, match="'regres'; did you mean 'regress'"):
        EITRegressor(objective=ObjectiveSettings(name="regres"), **QUICK).fit(X, TOTAL)
    with pytest.raises(InputError, match="objective.name of a class 'regress'"):
        EITClassifier(objective=ObjectiveSettings(name="regress"), **QUICK).fit(X, SIDE)

"""Guards of `interactions evaluate` and `forecast evaluate`: what is scored on which truth, what a method may see."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.estimators.forecaster import EITForecaster
from motet.rivals.method import MotionQuestion
from motet.rivals.registry import RIVALS
from motet.systems import simulate
from motet.tasks import forecast_evaluate, interactions_evaluate
from motet.tasks.interactions import EITInteractions
from motet.tasks.interactions_evaluate import CONTROL, EvaluateInteractionsSettings
from motet.tasks.interactions_scores import Truth
from motet.training.objectives import ForecastSettings
from motet.training.settings import TrainingSettings

SETTINGS = EvaluateInteractionsSettings("run", ("recording",))


class Knowing(EITInteractions):
    """A model that knows the truth."""

    types_, method = np.array([0, 1]), "knowing"
    n_parameters_, history_, state_targets_ = 0, (), ()

    def predict_log_proba(self, recording):
        return np.log(np.where(np.stack([recording.targets["interacts"] != 1] * 2, -1) == [True, False], 0.9, 0.1))


class Wrong:
    """A fitted rival that is always wrong."""

    n_parameters, about = 1, {}

    def predict(self, test):
        return {"log_probability": Knowing().predict_log_proba(test.recordings[0])[..., ::-1]}


@pytest.fixture(scope="module")
def bodies():
    return simulate("gravity", groups=("3x2",), n_trials=60, engine="numpy")[0]


def test_the_control_is_what_a_model_that_knows_scores_on_another_truth(bodies):
    truth = Truth.of(bodies, "interacts", [0, 1], is_directed=False)
    found, _ = interactions_evaluate._evaluate(Knowing(), bodies, truth, {}, SETTINGS, lambda *_: None)
    scores = {name: method["scores"]["auroc"].value for name, method in found["methods"].items()}
    assert scores["knowing"] == 1
    assert 0.4 < scores["knowing" + CONTROL] < 0.6
    assert found["best_rival"] is None


def test_every_rival_is_scored_by_its_own_answers(bodies):
    truth = Truth.of(bodies, "interacts", [0, 1], is_directed=False)
    wrong = interactions_evaluate.FittedRival(Wrong(), 0.0)
    found, _ = interactions_evaluate._evaluate(Knowing(), bodies, truth, {"wrong": wrong}, SETTINGS, lambda *_: None)
    assert found["methods"]["wrong"]["scores"]["auroc"].value == 0
    assert found["best_rival"] == "wrong"


def test_no_forecast_sees_more_than_the_context():
    objective = ForecastSettings(context_bins=8, horizon_bins=4, n_substeps=(1, 1), shoot=False)
    (bodies,) = simulate("gravity", groups=("2x2",), n_trials=12, n_bins=12, engine="numpy")
    forecaster = EITForecaster(objective=objective, training=TrainingSettings(max_steps=1)).fit(bodies)
    windows = forecaster.windows(bodies)
    question = MotionQuestion(forecaster.geometry_, 8, 4, n_substeps=1, shoots=False)
    line = RIVALS["constant velocity"].fitted([], question, {"n_last": 2})
    forecast = lambda w: forecast_evaluate._forecast_all(forecaster, {"line": line}, w, lambda *_: None)[0]  # noqa: E731
    values = windows.values.copy()
    values[:, :, 8:] += 5.0
    changed = dataclasses.replace(windows, values=values)
    for name, found in forecast(windows).items():
        np.testing.assert_array_equal(found.places, forecast(changed)[name].places)
        assert found.places.shape[2] == 4


def test_the_interactions_that_are_recovered_do_not_depend_on_those_that_are_known(bodies):
    recovery = EITInteractions(training=TrainingSettings(max_steps=1)).fit(bodies)
    others = {"interacts": 1 - np.abs(bodies.targets["interacts"]), "system": np.zeros_like(bodies.targets["system"])}
    blind = dataclasses.replace(bodies, targets={**bodies.targets, **others})
    np.testing.assert_array_equal(recovery.predict_log_proba(bodies), recovery.predict_log_proba(blind))

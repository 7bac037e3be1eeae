"""Guards of `interactions evaluate` and `forecast evaluate`: what is scored on which truth, what a method may see."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.data.readers import write_recording
from motet.estimators.forecaster import EITForecaster
from motet.estimators.interactions import EITInteractions
from motet.systems import simulate
from motet.tasks.evaluate import Evaluation
from motet.tasks.forecast import EvaluateForecast, EvaluateForecastSettings, evaluate_forecast
from motet.training.objectives import ForecastSettings
from motet.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def bodies():
    return simulate("gravity", groups=("3x2",), n_trials=60, engine="numpy")[0]


def test_no_forecast_sees_more_than_the_context(tmp_path, monkeypatch):
    objective = ForecastSettings(context_bins=8, horizon_bins=4, n_substeps=(1, 1), shoot=False)
    (bodies,) = simulate("gravity", groups=("2x2",), n_trials=12, n_bins=12, engine="numpy")
    EITForecaster(objective=objective, training=TrainingSettings(max_steps=1)).fit(bodies).save(tmp_path / "run")
    values = bodies.values.copy()
    values[:, :, 8:] += 5.0
    monkeypatch.setattr(EvaluateForecast, "figures", lambda *_: iter(()))
    answers = []
    for name, recording in (("one", bodies), ("other", dataclasses.replace(bodies, values=values))):
        train = write_recording(
            simulate("gravity", groups=("2x2",), n_trials=4, n_bins=12, seed=3)[0], tmp_path / "t.npz"
        )
        test = write_recording(dataclasses.replace(recording, name=name), tmp_path / f"{name}.npz")
        settings = EvaluateForecastSettings(str(tmp_path / "run"), (str(test),), rival_recordings=(str(train),))
        found = evaluate_forecast(settings)
        evaluation = Evaluation(EvaluateForecast(settings), found.run, EvaluateForecast(settings).parts())
        (part,) = evaluation.tested
        names = [n for n, m in found.results["sections"][part.section]["methods"].items() if m["kind"] != "oracle"]
        answers.append({n: evaluation.answer(part, n)["places"] for n in names})
    assert len(answers[0]) > 3
    for name, places in answers[0].items():
        np.testing.assert_array_equal(places, answers[1][name])
        assert places.shape[2] == 4


def test_the_interactions_that_are_recovered_do_not_depend_on_those_that_are_known(bodies):
    recovery = EITInteractions(training=TrainingSettings(max_steps=1)).fit(bodies)
    others = {"interacts": 1 - np.abs(bodies.targets["interacts"]), "system": np.zeros_like(bodies.targets["system"])}
    blind = dataclasses.replace(bodies, targets={**bodies.targets, **others})
    np.testing.assert_array_equal(recovery.predict_log_proba(bodies), recovery.predict_log_proba(blind))

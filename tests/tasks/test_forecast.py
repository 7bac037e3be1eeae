"""Training, evaluating and making forecasts."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from motet.cli import main
from motet.data.readers import read_recording, write_recording
from motet.data.readers.write_trajectories import write_trajectories_csv
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairSettings
from motet.rivals.motion import MOTION_RIVALS
from motet.statistics import quartiles
from motet.systems import FORCES, simulate
from motet.systems.gravity import gravity_energy
from motet.tasks.forecast import (
    EvaluateForecast,
    EvaluateForecastSettings,
    TrainForecastSettings,
    evaluate_forecast,
    train_forecast,
)
from motet.tasks.forecast_predict import PredictForecastSettings, predict_forecast
from motet.tasks.forecast_scores import Errors, MotionTruth, columns_of
from motet.training.objectives import ForecastSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

WHOLE = "eit + force fit + pair geometry"
OBJECTIVE = ForecastSettings(context_bins=8, horizon_bins=4, n_substeps=(1, 4), shoot=False)
QUICK = {
    "model": EITSettings(width=8, identity="none", token_bins=1),
    "pairs": PairSettings(width=8, depth=1),
    "objective": OBJECTIVE,
    "training": TrainingSettings(max_steps=2, batch_trials=16, validation=0.25),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of pairs and triplets: to train on, to test on, and the tests without noise."""
    folder = tmp_path_factory.mktemp("data")
    for part, options in {
        "train": {"n_trials": 20, "noise": 0.01},
        "test": {"n_trials": 8, "noise": 0.01, "seed": 1},
        "clean": {"n_trials": 8, "seed": 1},
    }.items():
        for recording in simulate("gravity", groups=("2x2", "2x3"), n_bins=25, engine="numpy", **options):
            write_recording(recording, folder / f"{part}-{recording.name.rpartition('/')[2]}.npz")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a finished training."""
    output = str(tmp_path_factory.mktemp("runs") / "orbits")
    files = (str(data / "train-2x2.npz"), str(data / "train-2x3.npz"))
    return train_forecast(TrainForecastSettings(files, output=output, **QUICK)).run.folder


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(EvaluateForecast, "figures", lambda *_: iter(()))


def error_of(method):
    """The median error at the end of the horizon."""
    return method["scores"]["error 4"]["value"]


def evaluation(run, data, *names, **options):
    files = tuple(str(data / f"{name}.npz") for name in names)
    return evaluate_forecast(EvaluateForecastSettings(str(run), files, **options))


def test_training_leaves_a_run_and_is_not_repeated(run, data, monkeypatch):
    assert {"settings.yaml", "weights.safetensors", "results.json", "table.md"} <= {f.name for f in run.iterdir()}
    assert (run / "figures" / "learning_curve.png").exists()
    assert not (run / "checkpoint.safetensors").exists()
    monkeypatch.setattr(EITForecaster, "fit", None)
    files = (str(data / "train-2x2.npz"), str(data / "train-2x3.npz"))
    again = train_forecast(TrainForecastSettings(files, output=str(run), **QUICK))
    assert "validation" in str(again)
    with pytest.raises(InputError, match="other settings"):
        train_forecast(TrainForecastSettings(files, output=str(run), **{**QUICK, "seed": 1}))


def test_an_interrupted_training_goes_on(data, tmp_path, monkeypatch):
    quick = {**QUICK, "training": dataclasses.replace(QUICK["training"], max_steps=4, checkpoint_seconds=0)}
    settings = TrainForecastSettings((str(data / "train-2x2.npz"),), output=str(tmp_path / "run"), **quick)
    whole = train_forecast(dataclasses.replace(settings, output=str(tmp_path / "whole"))).run
    fit = EITForecaster.fit

    def stop_early(self, *args, **kwargs):
        def stop(row):
            raise KeyboardInterrupt

        return fit(self, *args, **{**kwargs, "on_epoch": stop})

    with monkeypatch.context() as patch:
        patch.setattr(EITForecaster, "fit", stop_early)
        with pytest.raises(KeyboardInterrupt):
            train_forecast(settings)
    assert Run(settings.folder).has_tensors("checkpoint")
    first, second = whole.read_tensors("weights")[0], train_forecast(settings).run.read_tensors("weights")[0]
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_every_rival_is_measured_on_the_same_trials(run, data, without_figures):
    found = evaluation(run, data, "test-2x2", "test-2x3", name="both")
    sections = found.results["sections"]
    assert set(sections) == {"gravity/2x2", "gravity/2x3"}
    for one in sections.values():
        assert set(one["methods"]) == {WHOLE, *(rival.name for rival in MOTION_RIVALS)}
        assert one["left_out"] == {}
        assert all(len(method["more"]["median"]) == 4 for method in one["methods"].values())
        errors = {name: error_of(method) for name, method in one["methods"].items()}
        assert errors["true couplings"] < errors["constant velocity"]
        assert errors[one["best_rival"]] == min(
            errors[name] for name in errors if one["methods"][name]["kind"] == "rival"
        )
    assert one["methods"]["force fit"]["chosen"]["law"] in ("gravity", "springs", "charged")
    assert "energy_error" in one["methods"][WHOLE]["scores"]
    assert one["methods"]["force fit"]["scores"]["auroc"]["value"] > 0.5
    assert "## gravity/2x3 (16 trials" in found.table


def test_an_evaluation_is_read_not_repeated(run, data, without_figures, monkeypatch):
    evaluation(run, data, "test-2x2", name="once", rivals=False)
    monkeypatch.setattr(EITForecaster, "predict_motion", None)
    again = evaluation(run, data, "test-2x2", name="once", rivals=False)
    assert list(again.results["sections"]["gravity/2x2"]["methods"]) == [WHOLE]
    with pytest.raises(InputError, match="other settings"):
        evaluation(run, data, "test-2x2", name="once", rivals=False, windows=3)


def test_truth_without_noise_makes_errors_smaller(run, data, without_figures):
    noisy = evaluation(run, data, "test-2x2", name="noisy", windows=8)
    truth = (str(data / "clean-2x2.npz"),)
    clean = evaluation(run, data, "test-2x2", name="clean", windows=8, truth=truth)
    first, second = (e.results["sections"]["gravity/2x2"]["methods"]["true couplings"] for e in (noisy, clean))
    assert second["more"]["median"][0] < first["more"]["median"][0]
    with pytest.raises(InputError, match="same trials"):
        evaluation(run, data, "test-2x2", name="wrong", truth=(str(data / "clean-2x3.npz"),))
    with pytest.raises(InputError, match="give as many"):
        evaluation(run, data, "test-2x2", "test-2x3", truth=truth)


def test_nothing_is_tested_on_what_was_learned(run, data):
    with pytest.raises(InputError, match="learned from"):
        evaluation(run, data, "train-2x2")
    with pytest.raises(InputError, match="was trained on"):
        evaluation(run, data, "test-2x2", name="x", rival_recordings=(str(data / "test-2x2.npz"),))


def test_figures_are_drawn(run, data):
    evaluation(run, data, "test-2x2", name="drawn", windows=4)
    names = {path.name for path in (run / "evaluations" / "drawn" / "figures").iterdir()}
    assert names == {f"{kind}.{end}" for kind in ("error", "energy", "paths", "roc") for end in ("png", "svg")}


def test_a_file_of_ones_own_is_rolled_forward(run, data, tmp_path):
    recording = read_recording(data / "test-2x2.npz").select(trials=[0, 1])
    file = write_trajectories_csv(recording, tmp_path / "mine.csv", features=["x", "y"], leave_out=["energy"])
    settings = PredictForecastSettings(str(run), str(file), output=str(tmp_path / "out"), horizon_bins=6)
    found = predict_forecast(settings)
    assert {path.name for path in found.files} == {"forecast.csv", "couplings.csv", "forecast.png", "forecast.svg"}
    assert "6 bins were forecast" in str(found)
    ahead = read_recording(tmp_path / "out" / "forecast.csv")
    assert ahead.values.shape == (2, 4, 6, 4)
    assert ahead.bin_seconds == pytest.approx(recording.bin_seconds)
    expected = EITForecaster.load(run).predict_motion(read_recording(file), horizon_bins=6)
    assert np.allclose(ahead.values[..., :2], expected.places, atol=1e-4)
    assert np.allclose(ahead.values[..., 2:], expected.velocities, atol=1e-4)
    last = read_recording(file).trial_start_seconds + 25 * recording.bin_seconds
    assert np.allclose(ahead.trial_start_seconds, last, atol=1e-6)
    with (tmp_path / "out" / "couplings.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 2 * 4 * 3
    assert float(rows[0]["pull"]) == pytest.approx(expected.couplings[0, 0, 1])


def test_phases_are_forecast_and_drawn(tmp_path):
    recording = simulate("kuramoto", n_oscillators=(3,), n_trials=16, n_bins=14)[0]
    file, other = tmp_path / "phases.npz", tmp_path / "other.npz"
    write_recording(recording, file)
    write_recording(simulate("kuramoto", n_oscillators=(3,), n_trials=4, n_bins=14, seed=1)[0], other)
    assert main(["forecast", "train", str(file), "--output", str(tmp_path / "run"), "--motion.features", "phase",
                 "--objective.context_bins", "8", "--objective.horizon_bins", "4", "--training.max_steps", "1",
                 "--objective.shoot", "false", "--model.width", "8", "--pairs.width", "8"]) == 0  # fmt: skip
    found = evaluate_forecast(EvaluateForecastSettings(str(tmp_path / "run"), (str(other),)))
    assert found.results["sections"]["kuramoto/3"]["methods"]["force fit"]["chosen"] == {"law": "kuramoto"}
    assert "radians" in found.table
    files = predict_forecast(PredictForecastSettings(str(tmp_path / "run"), str(other))).files
    assert all(path.exists() for path in files)
    assert read_recording(files[0]).n_features == 3


def test_the_verbs_work_together(data, tmp_path, capsys):
    folder = str(tmp_path / "run")
    quick = ["--objective.context_bins", "8", "--objective.horizon_bins", "4", "--objective.shoot", "false"]
    quick += ["--training.max_steps", "1", "--model.width", "8", "--pairs.width", "8", "--pairs.depth", "1"]
    assert main(["forecast", "train", str(data / "train-2x2.npz"), "--output", folder, *quick]) == 0
    test = str(data / "test-2x2.npz")
    assert main(["forecast", "evaluate", folder, test, "--rivals", "false"]) == 0
    assert "| eit + force fit + pair geometry |" in capsys.readouterr().out
    assert main(["forecast", "predict", folder, test, "--output", str(tmp_path / "out")]) == 0
    assert "forecast.csv" in capsys.readouterr().out
    assert main(["interactions", "recover", folder, test]) == 2
    assert "EITInteractions is needed" in capsys.readouterr().err
    assert main(["forecast", "predict", folder, str(tmp_path / "nowhere.csv")]) == 2


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_help_has_an_example(verb, capsys):
    with pytest.raises(SystemExit):
        main(["forecast", verb, "--help"])
    assert f"example: motet forecast {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (TrainForecastSettings, {"recordings": ()}, "list of one file"),
        (TrainForecastSettings, {"recordings": ("a",), "seed": -1}, "seed is -1"),
        (EvaluateForecastSettings, {"run": "r", "recordings": ("a",), "windows": 0}, "windows is 0"),
        (EvaluateForecastSettings, {"run": "r", "recordings": ("a",), "name": "a/b"}, "name of a folder"),
        (
            EvaluateForecastSettings,
            {"run": "r", "recordings": ("a",), "rivals": False, "rival_recordings": ("b",)},
            "rivals is false",
        ),
        (PredictForecastSettings, {"run": "r", "recording": "a", "horizon_bins": 0}, "horizon_bins is 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, options, words):
    with pytest.raises(InputError, match=words):
        kind(**options)


# ------------------------------------------------------------------ scores


def truth_of(recording, n_context=15, **options):
    geometry = Geometry(motion=EITForecaster().motion, n_raw=2, n_features=6, bin_seconds=recording.bin_seconds)
    return MotionTruth.of(recording, n_context=n_context, geometry=geometry, diverged_beyond=0.25, **options)


@pytest.fixture(scope="module")
def orbits():
    return simulate("gravity", groups=("2x3",), n_trials=6, n_bins=25, seed=2, engine="numpy")[0]


def test_the_truth_forecasts_itself_and_keeps_its_energy(orbits):
    truth = truth_of(orbits)
    places = truth.ahead.values.astype(np.float64)
    velocities = np.gradient(orbits.values.astype(np.float64), orbits.bin_seconds, axis=2)[:, :, 15:]
    scored = Errors.of({"places": places, "velocities": velocities}, truth)
    assert (scored.error == 0).all()
    assert np.isinf(scored.diverged_seconds).all()
    assert scored.auroc is None
    assert np.median(np.abs(scored.energy_error[:, 1:-1])) < 0.05  # velocities are differences


def test_energy_within_systems_is_that_of_the_simulator_at_rest(orbits):
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(2, 3, 4, 2))
    mass = rng.uniform(0.5, 2, (2, 3))
    share = (mass / mass.sum(axis=1, keepdims=True))[:, :, None, None]
    v -= (share * v).sum(axis=1, keepdims=True)
    one = np.zeros((2, 3), dtype=np.int64)
    expected = gravity_energy(x.swapaxes(1, 2), v.swapaxes(1, 2), mass)
    assert np.allclose(FORCES["gravity"].internal_energy(x, v + 7.0, mass=mass, system=one), expected)
    apart = FORCES["gravity"].internal_energy(x, v, mass=mass, system=np.arange(3)[None].repeat(2, axis=0))
    assert np.allclose(apart, 0)


def test_divergence_is_when_the_error_first_exceeds_what_is_allowed(orbits):
    truth = truth_of(orbits)
    places = truth.ahead.values.astype(np.float64)
    places[0, :, 3:] += 1.0
    places[1, 0, 0] += 0.5  # of one in six: the mean stays below
    places[2, 0, 5] = np.nan
    scored = Errors.of({"places": places, "velocities": np.zeros_like(places)}, truth)
    assert scored.diverged_seconds[0] == pytest.approx(4 * orbits.bin_seconds)
    assert np.isinf(scored.diverged_seconds[1])
    assert scored.diverged_seconds[2] == pytest.approx(6 * orbits.bin_seconds)
    assert np.isinf(scored.error[2, 5])


def test_couplings_are_scored_as_a_graph(orbits):
    truth = truth_of(orbits)
    places = truth.ahead.values.astype(np.float64)
    exact = np.where(orbits.targets["interacts"] > 0, -2.0, 0.1)
    assert Errors.of({"places": places, "velocities": places, "couplings": exact}, truth).auroc == 1
    assert truth_of(orbits.select(individuals=[0, 1, 2])).interacts is None  # edges only


def test_a_recording_of_ones_own_has_neither_energy_nor_graph():
    own = Recording.from_trials(np.random.default_rng(0).normal(size=(3, 2, 20, 2)))
    truth = truth_of(own)
    assert truth.energy is None
    assert truth.interacts is None


def test_unknown_places_do_not_count(orbits):
    observed = orbits.observed.copy()
    observed[0, 0, 20:] = False
    observed[1, :, 24] = False
    truth = truth_of(dataclasses.replace(orbits, observed=observed))
    places = truth.ahead.values.astype(np.float64)
    places[0, 0] += 100
    error = Errors.of({"places": places, "velocities": places}, truth).error
    assert (error[0, :5] > 1).all()
    assert (error[0, 5:] == 0).all()
    assert np.isnan(error[1, 9])


def test_quartiles_reach_infinity_only_where_forecasts_ran_away():
    values = np.array([[1.0], [2.0], [3.0], [np.inf], [np.nan]])
    assert quartiles(values)[:, 0].tolist() == [1.75, 2.5, np.inf]
    assert np.isnan(quartiles(np.full((2, 1), np.nan))).all()


def test_scores_are_medians_and_quartiles_by_horizon(orbits):
    truth = truth_of(orbits)
    places = truth.ahead.values.astype(np.float64) + np.array([3.0, 4.0])
    scores = Errors.of({"places": places, "velocities": places}, truth).scores(np.arange(6))
    columns = columns_of(10, orbits.bin_seconds)
    assert list(columns)[:4] == ["error 1", "error 2", "error 5", "error 10"]
    assert columns["error 10"].heading == "error at 2.04 s"
    assert scores["error 10"].value == pytest.approx(5)
    assert scores["error 10"].interval == pytest.approx((5, 5))
    assert len(scores["error 10"].samples) == 6
    assert (scores["left"].value, scores["left_seconds"].value) == (1, pytest.approx(orbits.bin_seconds))


def test_results_can_be_read_as_json(run, data, without_figures):
    evaluation(run, data, "test-2x2", name="json", rivals=False)
    text = (run / "evaluations" / "json" / "results.json").read_text()
    assert json.loads(text)["sections"]["gravity/2x2"]["methods"][WHOLE]["more"]["median"]

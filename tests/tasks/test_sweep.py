"""Settings are searched on training trials alone, kept, gone on with, and given back as a config."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from motet.cli import main
from motet.data.readers import write_recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier
from motet.models.eit import EITSettings
from motet.plain import from_plain, read_options
from motet.progress import progress_bar
from motet.tasks import sweep as module
from motet.tasks.decode import Decode, DecodeSettings
from motet.tasks.sweep import Search, SweepSettings, sweep
from motet.training.run import Run
from motet.training.settings import TrainingSettings

SPACE = {"model.width": [8, 16], "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
QUICK = {
    "folds": 2,
    "inner_folds": 2,
    "tries": 2,
    "space": SPACE,
    "rivals": ("majority",),
    "control": False,
    "final": False,
    "model": EITSettings(width=8),
    "training": TrainingSettings(max_steps=1),
    "rule": "none",
    "members": 1,
}


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(Decode, "figures", lambda *_: iter(()))


@pytest.fixture
def settings(tmp_path, small_recording):
    file = str(write_recording(small_recording, tmp_path / "small.npz"))
    return SweepSettings((file,), "direction", str(tmp_path / "sweep"), **QUICK)


def scores_of(outcome):
    return [(one["values"], one["score"]) for one in Run(outcome.run.folder).read_results()["tries"]]


def test_no_test_trial_is_among_those_that_settings_are_searched_with(settings, monkeypatch):
    seen, whole = [], module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda task, bar: seen.append(task) or whole(task, bar))
    search = Search(settings)
    (part,) = search.outer.parts()
    tested = set(part.test.recordings[0].trial_ids.tolist())
    search.score({}, "given", progress_bar)
    (task,) = seen
    used = {int(one) for p in task.parts() for d in (p.train, p.test) for r in d.recordings for one in r.trial_ids}
    assert tested
    assert used
    assert not tested & used


def test_a_sweep_leaves_a_config_and_tests_the_best_once(settings, capsys):
    outcome = sweep(settings)
    (section,) = outcome.results["sections"].values()
    assert set(section["methods"]) == {"eit", "majority"}
    scored = scores_of(outcome)
    assert len(scored) == 3  # the settings as given, and two tries
    best = max(scored, key=lambda one: one[1])
    assert outcome.results["best"].score == best[1]
    chosen = from_plain(DecodeSettings, read_options(settings.folder / "best.yaml"))
    assert chosen == settings.decoding(best[0], output=None)
    assert len(list(settings.folder.glob("best/*/folds/*"))) == 1
    assert "The fold laid aside was tested once" in outcome.table
    assert len(Run(settings.folder).table()) > 0

    # the same again computes nothing; more tries go on from those there are
    stamps = {path: path.stat().st_mtime_ns for path in settings.folder.rglob("tries/**/results.json")}
    assert scores_of(sweep(settings)) == scored
    more = scores_of(sweep(dataclasses.replace(settings, tries=3)))
    assert more[:3] == scored
    assert len(more) == 4
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    with pytest.raises(InputError, match="other settings"):
        sweep(dataclasses.replace(settings, seed=1))


def test_a_try_that_was_killed_is_done_again(settings):
    from optuna.trial import TrialState

    search = Search(settings)
    trial = search.study.ask()
    drawn = {axis.name: axis.draw(trial) for axis in settings.axes}
    trial.set_user_attr("process", f"{module.socket.gethostname()}:{2**22 + 1}")  # no such process
    found = sweep(settings)
    assert [one["values"] for one in found.run.read_results()["tries"]][1] == drawn
    states = [one.state for one in Search(settings).study.trials]
    assert states.count(TrialState.COMPLETE) == 2
    assert TrialState.RUNNING not in states


@pytest.mark.slow
def test_processes_and_storages_are_shared(settings, tmp_path):
    shared = dataclasses.replace(settings, storage=f"sqlite:///{tmp_path}/sweep.db", jobs=2, tries=3)
    found = sweep(shared)
    assert len(found.results["tries"]) == 4
    elsewhere = sweep(dataclasses.replace(shared, output=str(tmp_path / "elsewhere"), jobs=1))
    assert scores_of(elsewhere) == scores_of(found)
    assert [path.name for path in (tmp_path / "elsewhere" / "tries").iterdir()] == ["given"]


def test_settings_that_cannot_be_used_are_told_and_cost_nothing_else(settings):
    space = {"model.n_heads": [1, 3], "model.width": [8, 16]}  # 8 and 16 are no multiples of 3
    found = sweep(dataclasses.replace(settings, space=space, tries=4))
    failed = [one for one in found.results["tries"] if np.isnan(one.score)]
    assert all(one.values["model.n_heads"] == 3 and "multiple" in one.why for one in failed)
    assert found.results["best"].values.get("model.n_heads", 1) == 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.widht": [8, 16]}, "did you mean 'model.width'"),
        ({"folds": [2, 3]}, "unknown setting to search 'folds'"),
        ({"model.width": [8]}, "give two or more"),
        ({"model.width": [8, 0]}, "model.width is 0"),
        ({"model.width": {"low": 8, "high": 8.5}}, "model.width is 8.5"),
        ({"model.dropout": {"low": 0.5, "high": 0.1}}, "the lower first"),
        ({"model.dropout": {"low": 0.0, "high": 0.1, "log": True}}, "low above 0"),
        ({"model.dropout": {"low": 0.0, "high": 0.1, "steps": 2}}, "did you mean 'step'"),
        ({"model.dropout": 3}, "give a list of choices, or low and high"),
        ({}, "space is empty"),
    ],
)
def test_a_space_that_cannot_be_is_refused(settings, space, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(settings, space=space)


def test_scikit_learn_searches_the_same_settings(small_recording):
    pandas = pytest.importorskip("pandas")
    decoder = EITClassifier(training=TrainingSettings(max_steps=2), rule="none", members=1)
    X, y = small_recording.values[..., 0], small_recording.targets["direction"]
    X = np.where(small_recording.observed, X, np.nan)
    search = GridSearchCV(decoder, {"model__width": [8, 16]}, cv=2).fit(X, y)
    table = pandas.DataFrame(search.cv_results_)
    assert table["param_model__width"].tolist() == [8, 16]
    assert search.best_estimator_.model.width == search.best_params_["model__width"]
    assert table["mean_test_score"].max() == search.best_score_


def test_a_sweep_from_the_shell_reads_its_space_from_yaml(settings, tmp_path, monkeypatch, capsys):
    def asked(settings: SweepSettings) -> str:
        """What was asked for."""
        return f"{settings.space} {settings.tries}"

    monkeypatch.setattr(module, "sweep", asked)
    config = tmp_path / "sweep.yaml"
    config.write_text(json.dumps({"space": {"model.width": [8, 16]}, "tries": 7}))
    assert main(["sweep", settings.recordings[0], "--target", "direction", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "{'model.width': [8, 16]} 7\n"
    assert main(["sweep", settings.recordings[0], "--target", "direction", "--space", "{model.widht: [8, 16]}"]) == 2
    assert "did you mean 'model.width'" in capsys.readouterr().err

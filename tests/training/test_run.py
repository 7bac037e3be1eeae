from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from motet.errors import InputError
from motet.plain import as_plain, from_plain
from motet.training import run as run_module
from motet.training.run import Run, environment
from motet.training.settings import TrainingSettings


def test_what_is_written_is_read(tmp_path):
    run = Run(tmp_path / "run")
    run.write_settings({"a": 1, "b": {"c": (1, 2)}, "d": None})
    run.write_results({"score": np.float64(0.5), "folds": np.arange(3)})
    run.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": float("nan")}])
    run.write_tensors("weights", {"x": torch.arange(3.0)}, {"ids": ("a", "b")})
    assert run.read_settings() == {"a": 1, "b": {"c": [1, 2]}, "d": None}
    assert run.read_results() == {"score": 0.5, "folds": [0, 1, 2]}
    assert (run.folder / "history.csv").read_text() == "epoch,loss\n1,0.5\n2,nan\n"
    tensors, about = run.read_tensors("weights")
    assert torch.equal(tensors["x"], torch.arange(3.0))
    assert about == {"ids": ["a", "b"]}


def test_settings_survive_plain_text():
    settings = dataclasses.replace(TrainingSettings(), max_steps=7)
    assert from_plain(TrainingSettings, as_plain(settings)) == settings


def test_other_settings_are_refused_and_the_same_accepted(tmp_path):
    run = Run(tmp_path)
    run.write_settings({"seed": 0, "width": 8})
    run.part("folds/00").write_results({"score": 1.0})
    run.write_settings({"seed": 0, "width": 8})
    with pytest.raises(InputError, match=r"other settings \(width differ\)"):
        run.write_settings({"seed": 0, "width": 9})
    assert run.read_settings() == {"seed": 0, "width": 8}


def test_a_run_without_any_work_takes_other_settings(tmp_path):
    run = Run(tmp_path)
    run.write_settings({"folds": 30})
    run.write_settings({"folds": 5})
    assert run.read_settings() == {"folds": 5}


def test_settings_that_an_older_version_did_not_know_are_not_compared(tmp_path):
    run = Run(tmp_path)
    older = as_plain(TrainingSettings())
    del older["compile"]
    run.write_settings({"training": older, "auxiliary": {"velocity": 0.5}})
    run.write_results({})
    same = {"training": TrainingSettings(), "auxiliary": {"velocity": 0.5}, "new": 1}
    run.write_settings(same)
    with pytest.raises(InputError, match=r"\(training.max_steps differ\)"):
        run.write_settings({**same, "training": TrainingSettings(max_steps=7)})
    with pytest.raises(InputError, match=r"\(auxiliary differ\)"):
        run.write_settings({**same, "auxiliary": {"velocity": 0.5, "speed": 0.5}})


@pytest.mark.parametrize("name", ["settings.yaml", "results.json", "inputs.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"3",
        b"[]",
        b'"a"',
        b"",
        b"[" * 3000,
        b"!!python/object/apply:os.system ['true']",
        b"\x00" * 9,
    ],
)
def test_damaged_text_is_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    run = Run(tmp_path)
    with pytest.raises(InputError, match="cannot be read|not names and values|damaged"):
        {"settings.yaml": run.read_settings, "results.json": run.read_results, "inputs.json": run.read_inputs}[name]()


def test_a_name_too_long_for_a_folder_is_one_clear_error():
    with pytest.raises(InputError, match="choose another name"):
        Run("x" * 300)


def test_an_absent_file_is_one_clear_error(tmp_path):
    for read in (Run(tmp_path).read_settings, Run(tmp_path).read_results, lambda: Run(tmp_path).read_tensors("x")):
        with pytest.raises(InputError, match="finished run"):
            read()


# ------------------------------------------------------------------ whose run it is


def test_where_things_are_and_how_often_they_are_saved_make_no_other_run(tmp_path):
    run = Run(tmp_path)
    settings = {"recordings": ["a.npz"], "training": TrainingSettings()}
    run.write_settings(settings, {"recordings": ["1"]}, paths=["recordings"])
    run.write_results({})
    moved = TrainingSettings(checkpoint_seconds=99.0, tensorboard=True)
    run.write_settings({"recordings": ["b.npz"], "training": moved}, {"recordings": ["1"]}, paths=["recordings"])
    with pytest.raises(InputError, match="content of recordings is not what it was"):
        run.write_settings(settings, {"recordings": ["2"]}, paths=["recordings"])
    with pytest.raises(InputError, match=r"other settings \(recordings differ\)"):
        run.write_settings({**settings, "recordings": ["b.npz"]})


def test_a_run_that_goes_on_elsewhere_says_so_once(tmp_path, monkeypatch, caplog):
    run, settings = Run(tmp_path), {"seed": 0}
    run.write_settings(settings)
    assert json.loads((tmp_path / "environment.json").read_text()) == environment()
    run.part("fold").write_results({})
    run.write_settings(settings)
    assert caplog.text == ""
    elsewhere = {**environment(), "threads": 7, "torch": "9.9"}
    monkeypatch.setattr(run_module, "environment", lambda: elsewhere)
    for _ in range(2):
        run.write_settings(settings)
    assert len(caplog.records) == 1
    assert "threads" in caplog.text
    assert "9.9" in caplog.text
    kept = json.loads((tmp_path / "environment.json").read_text())
    assert kept["continued_with"] == [{"torch": "9.9", "threads": 7}]
    assert kept["threads"] == torch.get_num_threads()


def test_a_finished_run_does_not_care_where_it_is_read(tmp_path, monkeypatch, caplog):
    run = Run(tmp_path)
    run.write_settings({"seed": 0})
    run.write_results({})
    run.write_table("| a |")
    monkeypatch.setattr(run_module, "environment", lambda: {"threads": 7})
    run.write_settings({"seed": 0})
    assert caplog.text == ""


def test_work_of_unknown_settings_is_not_gone_on_with(tmp_path):
    run = Run(tmp_path)
    run.write_tensors("weights", {"x": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="no settings.yaml"):
        run.write_settings({"seed": 0})


# ------------------------------------------------------------------ one command at a time


def test_a_claimed_run_refuses_all_but_its_holder(tmp_path):
    run = Run(tmp_path / "run")
    with run.claimed(), run.claimed(), run.part("fold").claimed():
        with pytest.raises(InputError, match="another motet command"), Run(tmp_path / "run").claimed():
            pass
        run.write_results({})
    with Run(tmp_path / "run").claimed():
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]


@pytest.mark.parametrize("has_work", [False, True])
def test_work_that_is_refused_before_it_began_leaves_nothing(tmp_path, has_work):
    run = Run(tmp_path / "runs" / "first")

    def refuse():
        with run.claimed():
            run.write_settings({"seed": 0}, {"recordings": ["1"]})
            if has_work:
                run.part("fold").write_results({})
            raise InputError("no")

    with pytest.raises(InputError, match="no"):
        refuse()
    assert (tmp_path / "runs").exists() == has_work
    assert run.has_settings == has_work

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.errors import InputError
from motet.files import atomic_path, write_text
from motet.training.run import Run, as_plain, from_plain
from motet.training.settings import TrainingSettings


def test_what_is_written_is_read(tmp_path):
    run = Run(tmp_path / "run")
    run.write_settings({"a": 1, "b": {"c": (1, 2)}, "d": None})
    run.write_results({"score": np.float64(0.5), "folds": np.arange(3)})
    run.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": float("nan")}])
    run.write_tensors("weights", {"x": torch.arange(3.0)}, {"ids": ("a", "b")})
    assert run.read_settings() == {"a": 1, "b": {"c": [1, 2]}, "d": None}
    assert run.read_results() == {"score": 0.5, "folds": [0, 1, 2]}
    history = run.read_history()
    assert history["loss"][0] == 0.5
    assert np.isnan(history["loss"][1])
    tensors, about = run.read_tensors("weights")
    assert torch.equal(tensors["x"], torch.arange(3.0))
    assert about == {"ids": ["a", "b"]}


def test_settings_survive_plain_text():
    settings = dataclasses.replace(TrainingSettings(), max_steps=7)
    assert from_plain(TrainingSettings, as_plain(settings)) == settings


def test_other_settings_are_refused_and_the_same_accepted(tmp_path):
    run = Run(tmp_path)
    run.write_settings({"seed": 0, "width": 8})
    run.write_settings({"seed": 0, "width": 8})
    with pytest.raises(InputError, match=r"other settings \(width differ\)"):
        run.write_settings({"seed": 0, "width": 9})


@pytest.mark.parametrize("name", ["settings.yaml", "results.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"3", b"!!python/object/apply:os.system ['true']"])
def test_damaged_text_is_one_clear_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    run = Run(tmp_path)
    with pytest.raises(InputError, match="damaged|no readable"):
        run.read_settings() if name == "settings.yaml" else run.read_results()


def test_an_absent_file_is_one_clear_error(tmp_path):
    for read in (Run(tmp_path).read_settings, Run(tmp_path).read_results, lambda: Run(tmp_path).read_tensors("x")):
        with pytest.raises(InputError, match="finished run"):
            read()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"

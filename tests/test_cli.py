from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from motet.cli import main
from motet.data.readers import read_recording, write_recording
from motet.systems.population import expected_counts

QUICK = ["--training.max_steps", "3", "--model.width", "8", "--model.n_heads", "1", "--folds", "2"]
ALONE = [*QUICK, "--rule", "none", "--members", "1", "--control", "false", "--rivals", "false"]


@pytest.fixture
def small(tmp_path, small_recording):
    return str(write_recording(small_recording, tmp_path / "small.npz"))


def run(*words):
    return main([str(word) for word in words])


def test_decode_leaves_a_table_figures_and_a_model_that_predicts(small, tmp_path, capsys):
    folder = tmp_path / "run"
    assert run("decode", small, "--target", "direction", "--output", folder, *QUICK) == 0
    printed = capsys.readouterr()
    assert "| eit |" in printed.out
    results = json.loads((folder / "results.json").read_text())
    (table,) = results["sections"].values()
    assert set(table["methods"]) == {
        "eit + rule", "eit", "rule",
        "majority", "logistic-regression", "lda", "lda-total-counts", "lda-mean", "kernel-svm-total-counts",
        "eit + rule, shuffled targets",
    }  # fmt: skip
    assert all(len(method["scores"]["accuracy"]["samples"]) == 2 for method in table["methods"].values())
    for figure in ("scores", "learning_curve", "confusion_matrix", "psths"):
        assert (folder / "figures" / f"{figure}.png").stat().st_size > 5000
        assert (folder / "figures" / f"{figure}.svg").exists()
    for file in ("settings.yaml", "environment.json", "weights.safetensors", "history.csv", "table.md"):
        assert (folder / file).exists()

    assert run("predict", folder, small) == 0
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(rows) == 48
    assert {row["direction"] for row in rows} <= set("0123")
    assert [row["true direction"] for row in rows] == [str(k % 4) for k in range(48)]
    assert {row["recording"] for row in rows} == {"small"}
    capsys.readouterr()
    assert run("predict", folder, small, "--output", "-") == 0
    assert capsys.readouterr().out == (folder / "predictions.csv").read_text()
    np.testing.assert_allclose([sum(float(row[f"p({k})"]) for k in range(4)) for row in rows], 1, rtol=1e-4)


def test_decode_of_a_quantity_draws_trajectories_and_predicts_every_bin(small, tmp_path, small_recording):
    folder = tmp_path / "run"
    words = ("decode", small, "--target", "velocity", "--output", folder, "--model.causal", "true")
    assert run(*words, "--control", "false", "--members", 2, *QUICK) == 0
    assert (folder / "figures" / "trajectories.png").exists()
    assert run("predict", folder, small, "--output", tmp_path / "velocity.csv") == 0
    rows = list(csv.DictReader((tmp_path / "velocity.csv").open()))
    assert len(rows) == small_recording.bin_is_observed.sum()
    truth = ["true velocity[0]", "true velocity[1]"]
    assert list(rows[0]) == ["recording", "trial", "bin", "velocity[0]", "velocity[1]", *truth]
    trial, time = np.nonzero(small_recording.bin_is_observed)
    found = [[float(row[name]) for name in truth] for row in rows]
    np.testing.assert_allclose(found, small_recording.targets["velocity"][trial, time], rtol=1e-6)


def test_windows_are_decoded_and_windows_of_a_trial_stay_together(small, tmp_path):
    folder = tmp_path / "run"
    words = ("decode", small, "--target", "direction", "--output", folder, "--bins", 4, "--window", 2)
    assert run(*words, "--final", "false", *ALONE) == 0
    part = json.loads((folder / "folds" / "00" / "eit" / "results.json").read_text())
    assert part["measured"]["more"]["n_test"] == 24 * 3


def test_a_second_run_of_the_same_command_computes_nothing_and_other_settings_are_refused(small, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["decode", small, "--target", "direction", "--output", folder, *ALONE]
    assert run(*words) == 0
    first = capsys.readouterr().out
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("folds/**/*") if path.is_file()}
    weights = (folder / "weights.safetensors").stat().st_mtime_ns
    assert run(*words) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (folder / "weights.safetensors").stat().st_mtime_ns == weights
    assert run(*words, "--seed", "1") == 2
    assert "other settings (seed differ)" in capsys.readouterr().err


@pytest.mark.slow  # test_runs.py kills every verb, test_loop.py training
def test_a_killed_command_goes_on_and_ends_with_the_same_bits(small, tmp_path):
    words = ["decode", small, "--target", "direction", "--rivals", "false", "--control", "false", "--folds", "2"]
    words += ["--training.max_steps", "12", "--training.checkpoint_seconds", "0", "--model.width", "8"]
    words += ["--model.n_heads", "1", "--members", "2", "--output"]
    assert run(*words, tmp_path / "whole") == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "motet", *words, str(tmp_path / "killed")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "killed" / "folds" / "00" / "eit---rule" / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    assert run(*words, tmp_path / "killed") == 0

    from motet.training.run import Run

    whole, killed = (Run(tmp_path / name).read_tensors("weights")[0] for name in ("whole", "killed"))
    assert all((whole[name] == killed[name]).all() for name in whole)
    for fold in ("00", "01"):
        parts = (
            Run(tmp_path / name / "folds" / fold / "eit---rule").read_tensors("answer")[0]
            for name in ("whole", "killed")
        )
        first, second = parts
        assert all((first[name] == second[name]).all() for name in first)


def test_a_config_that_was_printed_is_read_back(small, tmp_path, capsys):
    words = ["decode", small, "--target", "direction", *ALONE]
    with pytest.raises(SystemExit) as stop:
        run(*words, "--print_config")
    assert stop.value.code == 0
    config = tmp_path / "config.yaml"
    config.write_text(capsys.readouterr().out)
    assert yaml.safe_load(config.read_text())["training"]["max_steps"] == 3
    assert run("decode", "--config", config, small, "--output", tmp_path / "run", "--seed", "5") == 0
    kept = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert (kept["seed"], kept["training"]["max_steps"], kept["control"]) == (5, 3, False)


def test_simulate_writes_recordings_that_can_be_shown(tmp_path, capsys):
    assert (
        run("simulate", "population", "--output", tmp_path, "--n_subjects", 2, "--n_trials", 16, "--n_neurons", 6) == 0
    )
    paths = capsys.readouterr().out.split()
    assert len(paths) == 2
    assert run("data", "show", paths[0]) == 0
    shown = capsys.readouterr().out
    assert "16 trials of 10 bins of 0.1 s, 6 individuals" in shown
    assert "target direction per trial: 8 classes" in shown
    assert expected_counts(read_recording(paths[0]), n_trials=2).shape == (8, 2, 6, 10)  # known to the oracle


def test_interactions_are_learned_evaluated_and_recovered(tmp_path, capsys):
    options = ["--n_trials", 16, "--n_bins", 8, "--engine", "numpy"]
    for seed in (0, 1):
        assert run("simulate", "gravity", "--output", tmp_path / f"data-{seed}", "--seed", seed, *options) == 0
    first, second = (tmp_path / f"data-{seed}" / "gravity-2x2.npz" for seed in (0, 1))
    folder = tmp_path / "run"
    quick = ["--training.max_steps", 2, "--training.validation", 0.25, "--model.width", 8]
    quick += ["--pairs.width", 8, "--pairs.depth", 1]
    capsys.readouterr()
    assert run("interactions", "train", first, "--states", "[mass]", "--output", folder, *quick) == 0
    assert "| eit + force fit + pair geometry |" in capsys.readouterr().out
    assert (folder / "figures" / "calibration.png").exists()
    assert run("interactions", "evaluate", folder, second, "--rivals", "false", "--name", "second") == 0
    assert "| eit + force fit + pair geometry, shuffled individuals |" in capsys.readouterr().out
    assert (folder / "evaluations" / "second" / "figures" / "graph.png").exists()
    assert run("interactions", "recover", folder, second, "--output", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "pairs.csv", "groups.csv", "states.csv", "graph.png", "graph.svg",
    }  # fmt: skip
    assert run("interactions", "evaluate", folder, first) == 2
    assert "learned from" in capsys.readouterr().err
    assert run("predict", folder, second) == 2
    assert "does not predict targets" in capsys.readouterr().err


def test_names_are_shown_as_they_are(tmp_path, capsys):
    targets = {"target_[red]x[/y]": np.arange(4) % 2, "target_:cat:": np.arange(4) % 2}
    np.savez(tmp_path / "odd.npz", values=np.ones((4, 2, 3)), **targets)
    assert run("data", "show", tmp_path / "odd.npz") == 0
    shown = capsys.readouterr().out
    assert "target [red]x[/y] per trial" in shown
    assert "target :cat: per trial" in shown


def test_the_catalogue_is_listed(capsys):
    assert run("data", "list") == 0
    printed = capsys.readouterr().out
    assert "reach/chewie-1" in printed
    assert "sleep/mouse-ca1" in printed
    assert "hippocampus/linear-track" in printed


@pytest.mark.parametrize(
    "verb",
    [
        *("decode", "predict", "simulate population", "data list", "data show", "data fetch"),
        *("interactions train", "interactions evaluate", "interactions recover"),
    ],
)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*verb.split(), "--help")
    assert stop.value.code == 0
    assert f"example: motet {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decde"], "did you mean 'decode'"),
        (["data", "lst"], "did you mean 'list'"),
        (["decode"], "recordings"),
        (["decode", "nowhere.npz", "--target", "x"], "nowhere.npz"),
        (["decode", "reach/chewy-1", "--target", "x"], "did you mean 'reach/chewie-1'"),
        (["decode", "SMALL", "--target", "directoin"], "did you mean 'direction'"),
        (["decode", "SMALL", "--target", "direction", "--model.widht", "8"], "widht"),
        (["decode", "SMALL", "--target", "direction", "--model.width", "7"], "multiple"),
        (["decode", "SMALL", "--target", "direction", "--folds", "13"], "too few for 13 folds"),
        (["decode", "SMALL", "--target", "direction", "--metric", "r2"], "does not fit"),
        (["decode", "SMALL", "--target", "direction", "--window", "99"], "do not fit"),
        (["decode", "SMALL", "--target", "velocity", "--output", "SMALL"], "is a file"),
        (["decode", "BROKEN", "--target", "direction"], "broken.npz"),
        (["predict", "NOWHERE", "SMALL"], "no weights.safetensors"),
        (["predict", "NOWHERE"], "recording"),
        (["interactions", "trian"], "did you mean 'train'"),
        (["interactions", "train"], "recordings"),
        (["interactions", "train", "SMALL"], "unknown target 'interacts'"),
        (["interactions", "train", "SMALL", "--motion.features", "postion"], "did you mean 'position'"),
        (["interactions", "train", "SMALL", "--pairs.depth", "0"], "pairs.depth is 0"),
        (["interactions", "evaluate", "NOWHERE", "SMALL"], "no weights.safetensors"),
        (["interactions", "recover", "NOWHERE", "SMALL"], "no weights.safetensors"),
        (["interactions", "recover", "NOWHERE"], "recording"),
        (["simulate", "population", "--n_trials", "0"], "n_trials"),
        (["simulate", "population", "--output", "SMALL"], "cannot write"),
        (["data", "fetch", "reach/nobody"], "reach/nobody"),
        (["decode", "SMALL", "--target", "direction", "--seed", "-1"], "seed is -1"),
        (["decode", "SMALL", "--target", "direction", "--repeats", "0"], "repeats is 0"),
        (["decode", "SMALL", "--target", "direction", "--window", "0"], "window is 0"),
        (["decode", "SMALL", "--target", "direction", "--folds", "-2"], "folds is -2"),
        (["decode", "SMALL", "--target", "direction", "--gap_seconds", "-3"], "gap_seconds is -3"),
        (["decode", "SMALL", "--target", "direction", "--output", "x" * 300], "too long"),
        (["decode", "x" * 300, "--target", "direction"], "no such file, and no recording of that name"),
        (["data", "show", "x" * 300], "no such file, and no recording of that name"),
        (["predict", "x" * 300, "SMALL"], "too long"),
        (["decode", "--config", "BYTES", "SMALL", "--target", "direction"], "cannot be read"),
        (["decode", "--config", "BRACKET", "SMALL", "--target", "direction"], "config"),
        (["decode", "SMALL", "--target", "direction", "--config", "x" * 300], "x"),
        (["decode", "SMALL", "--target", "direction", "--folds", "two"], "folds is 'two'; give a whole number"),
        (
            ["decode", "SMALL", "--target", "direction", "--bins", "x"],
            "bins is 'x'; give a whole number, at least 1, or None",
        ),
        (
            ["decode", "SMALL", "--target", "direction", "--by", "x"],
            "unknown by 'x'. Allowed: recording, subject, time, trial",
        ),
        (
            ["decode", "SMALL", "--target", "direction", "--auxiliary", "3"],
            "auxiliary is 3; give a mapping from a string to a number or None",
        ),
    ],
)
def test_bad_input_exits_2_with_one_line(words, message, small, tmp_path, capsys):
    (tmp_path / "broken.npz").write_bytes(open(small, "rb").read()[:300])  # noqa: SIM115
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bracket.yaml").write_text("a: [1")
    names = {"BYTES": str(tmp_path / "bytes.yaml"), "BRACKET": str(tmp_path / "bracket.yaml")}
    names |= {"SMALL": small, "BROKEN": str(tmp_path / "broken.npz"), "NOWHERE": str(tmp_path / "nowhere")}
    words = [names.get(word, word) for word in words]
    if words[0] == "decode" and "--output" not in words:
        words += ["--output", str(tmp_path / "out")]
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("motet: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


# ------------------------------------------------------------------ options


def refusal(capsys, *words):
    """The one line with which a command is refused."""
    assert run(*words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    return line


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("--fold", "--folds"),
        ("--trainin.max_steps", "--training.max_steps"),
        ("--training.max_step", "--training.max_steps"),
        ("--Target", "--target"),
        ("--model.widht", "--model.width"),
    ],
)
def test_a_misspelt_option_gets_a_suggestion(option, near, capsys):
    assert f"did you mean '{near}'?" in refusal(capsys, "decode", "x.npz", "--target", "y", option, "3")


def laughs(depth):
    """A few lines that aliases would blow up to 10^depth parts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: 1\n", "model is 1; give names and values"),
        ("preprocess: []\n", "preprocess is []; give names and values"),
        ("training: null\n", "training is None; give names and values"),
        ("3\n", "holds int, not options"),
        ("[1, 2]\n", "holds list, not options"),
        ("", "holds NoneType, not options"),
        ("a: b: c\n", "cannot be read"),
        ("? [1]\n: 2\n", "cannot be read"),
        ("seed: 2020-13-45\n", "seed"),
        ("seed: " + "9" * 5000 + "\n", "cannot be read"),
        ("seed: !!python/object/apply:os.getcwd []\n", "cannot be read"),
        ("\0", "cannot be read"),
        ("{" * 500 + "}" * 500, "nested more than 20 deep"),
        ("a: &x 1\nb: *x\n", "anchors or aliases"),
        (laughs(9), "anchors or aliases"),
        ("x: " + "y" * 2**20, "letters, more than"),
        ("auxiliary:\n  class_path: sideeffect.x\n", "names a class to import"),
        ("training: {init_args: {max_steps: 1}}\n", "names a class to import"),
        ("recordings: [{class_path: sideeffect.x}]\n", "names a class to import"),
        ("model: sideeffect.x\n", "nothing is imported"),
        ("sed: 1\n", "sed"),
    ],
)
def test_a_file_of_options_is_refused_in_one_line_and_imports_nothing(text, why, tmp_path, capsys, monkeypatch):
    (tmp_path / "sideeffect.py").write_text("raise SystemExit('imported')\nclass x: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "c.yaml").write_text(text)
    assert why in refusal(capsys, "decode", "x.npz", "--target", "y", "--config", tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("value", "message"), [("sideeffect.x", "nothing is imported"), ("{class_path: sideeffect.x}", "names a class")]
)
def test_a_value_on_the_command_line_imports_nothing(value, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "sideeffect.py").write_text("raise SystemExit('imported')\nclass x: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert message in refusal(capsys, "decode", "x.npz", "--target", "y", "--model", value)


@pytest.mark.parametrize("path", ["nothing.yaml", "."])
def test_a_file_of_options_that_cannot_be_read_is_refused(path, capsys):
    assert "cannot be read" in refusal(capsys, "decode", "x.npz", "--target", "y", "--config", path)


def test_options_on_the_command_line_go_before_those_of_a_file_wherever_it_is_named(small, tmp_path):
    (tmp_path / "c.yaml").write_text("target: velocity\nseed: 5\nfolds: 0\nfinal: false\nrecordings: [other.npz]\n")
    for number, order in enumerate((["--config", tmp_path / "c.yaml"], [f"--config={tmp_path / 'c.yaml'}"])):
        folder = tmp_path / f"run-{number}"
        assert run("decode", small, "--target", "direction", *order, "--output", folder) == 0
        kept = yaml.safe_load((folder / "settings.yaml").read_text())
        assert (kept["target"], kept["seed"], kept["recordings"]) == ("direction", 5, [small])


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_of_any_encoding_can_be_written_to(encoding, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit) as stop:
        run("decode", "--help")
    sys.stdout.flush()
    assert stop.value.code == 0
    assert b"R2 (dimensions" in written.getvalue()
    assert written.getvalue().isascii()


def test_escape_sequences_in_names_do_not_steer_a_terminal(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "odd.npz", values=np.ones((4, 2, 3)), name="\x1b[31mred\x07")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("data", "show", tmp_path / "odd.npz") == 0
    assert "\\x1b[31mred\\x07" in capsys.readouterr().out

"""What commands leave: killed anywhere and run again, refused, or given while another one works in the folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from motet.files import locked_folder

TINY = ["--model.width", "4", "--model.n_heads", "1", "--training.max_steps", "2", "--training.checkpoint_seconds", "0"]
PAIRS = [*TINY, "--pairs.width", "4", "--pairs.depth", "1", "--pairs.laws", "1"]
HORIZON = ["--objective.context_bins", "6", "--objective.horizon_bins", "3"]
GRAVITY = ["simulate", "gravity", "--groups", "['2x2']", "--n_bins", "12", "--engine", "numpy"]
DECODE = ["decode", "data/subject-1.npz", "--target", "direction", "--bins", "3", "--rivals", "false", *TINY]
DECODE += ["--members", "2"]
TRAIN, TEST = "data/gravity-2x2.npz", "test/gravity-2x2.npz"
COMMANDS = {
    "simulate": [*GRAVITY, "--n_trials", "4"],
    "decode": [*DECODE, "--folds", "2"],
    "predict": ["predict", "decoder", "data/subject-1.npz"],
    "interactions train": ["interactions", "train", TRAIN, "--states", "[mass]", *PAIRS],
    "interactions evaluate": ["interactions", "evaluate", "graphs", TEST, "--rivals", "false"],
    "interactions recover": ["interactions", "recover", "graphs", TEST],
    "forecast train": ["forecast", "train", TRAIN, *PAIRS, *HORIZON],
    "forecast evaluate": ["forecast", "evaluate", "orbits", TEST, "--rivals", "false"],
    "forecast predict": ["forecast", "predict", "orbits", TEST],
}
LEFT = {"interactions evaluate": "graphs/evaluations", "forecast evaluate": "orbits/evaluations"}  # others: "out"


def words_of(verb):
    output = {"predict": ["--output", "out/table.csv"]}.get(verb, ["--output", "out"])
    return [*COMMANDS[verb], *([] if verb in LEFT else output)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with recordings and runs, and a function that runs a command there."""
    folder = tmp_path_factory.mktemp("runs")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kills.py"))],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def run(words, kill=-1):
        server.stdin.write(json.dumps({"words": words, "kill": kill}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    for words in (
        [*GRAVITY, "--n_trials", "12", "--output", "data"],
        [*GRAVITY, "--n_trials", "3", "--seed", "1", "--output", "test"],
        ["simulate", "population", "--n_subjects", "1", "--n_neurons", "5", "--n_trials", "24", "--output", "data"],
        [*DECODE, "--folds", "0", "--output", "decoder"],
        [*COMMANDS["interactions train"], "--output", "graphs"],
        [*COMMANDS["forecast train"], "--output", "orbits"],
    ):
        assert run(words)[0] == 0, words
    yield folder, run
    server.stdin.close()
    server.wait()


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check(place, verb, n_kills=None):
    """Kill a command at all places, or at some, each time from the start, and run it again to its end."""
    (folder, run), words = place, words_of(verb)
    left = folder / LEFT.get(verb, "out")
    shutil.rmtree(left, ignore_errors=True)
    status, n_places = run(words)
    assert status == 0
    whole = content(left)
    assert whole
    assert not [name for name in whole if "partial" in name or "lock" in name or "checkpoint" in name]
    kills = range(n_places) if n_kills is None else np.linspace(0, n_places - 1, n_kills + 2)[1:-1]
    for kill in map(int, kills):
        shutil.rmtree(left)
        assert run(words, kill)[0] is None, f"{verb} was not killed at place {kill} of {n_places}"
        assert run(words)[0] == 0, f"{verb}, killed at place {kill} of {n_places}, does not go on"
        again = content(left)
        assert again.keys() == whole.keys(), f"{verb}, killed at place {kill} of {n_places}, leaves other files"
        changed = [name for name in whole if whole[name] != again[name]]
        assert changed == [], f"{verb}, killed at place {kill} of {n_places}, leaves other content"


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_that_was_killed_goes_on_to_what_it_would_have_left(place, verb):
    check(place, verb, n_kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_may_be_killed_at_any_change_of_a_name(place, verb):
    check(place, verb)


@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if verb not in ("simulate", "predict")])
def test_a_second_command_in_a_folder_is_refused_and_leaves_the_folder_as_it_is(place, verb):
    folder, run = place
    left = folder / LEFT.get(verb, "out")
    shutil.rmtree(left, ignore_errors=True)
    with locked_folder(left / "gravity-2x2" if verb in LEFT else left):
        assert run(words_of(verb)) == [2, 0]
        assert list(content(left)) == ["gravity-2x2/.lock" if verb in LEFT else ".lock"]


GPU = ["--training.accelerator", "gpu"]
REFUSED = {
    "simulate": [*GRAVITY, "--n_trials", "0"],
    "decode": [*DECODE, "--target", "nothing"],
    "decode on what is not there": [*DECODE, *GPU],
    "predict": ["predict", "decoder", TEST],
    "interactions train": [*COMMANDS["interactions train"], "--target", "nothing"],
    "interactions train on what is not there": [*COMMANDS["interactions train"], *GPU],
    "interactions evaluate": ["interactions", "evaluate", "graphs", TRAIN],
    "interactions evaluate without a run": ["interactions", "evaluate", "nothing", TEST],
    "interactions recover": ["interactions", "recover", "graphs", "data/subject-1.npz"],
    "forecast train": [*COMMANDS["forecast train"], "--objective.horizon_bins", "50"],
    "forecast train on what is not there": [*COMMANDS["forecast train"], *GPU],
    "forecast evaluate": ["forecast", "evaluate", "orbits", TRAIN],
    "forecast predict": ["forecast", "predict", "orbits", TEST, "--horizon_bins", "0"],
    "forecast predict of others": ["forecast", "predict", "orbits", "data/subject-1.npz"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_command_leaves_no_folder(place, case):
    folder, run = place
    if "not there" in case and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = sorted(folder.rglob("*"))
    output = [] if "evaluate" in case else ["--output", "out/deep/table.csv" if case == "predict" else "out/deep"]
    assert run([*REFUSED[case], *output])[0] == 2
    assert sorted(folder.rglob("*")) == before

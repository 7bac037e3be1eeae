"""What docs/architecture.md says of adding: a member of every registry, made here alone, works from file to figure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from motet.cli import main
from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.readers import READERS, Reader, write_recording
from motet.data.recording import Recording
from motet.models.geometry import Geometry
from motet.rivals.method import Method, MotionQuestion, Rival, TargetQuestion
from motet.rivals.registry import RIVALS
from motet.settings import Count, Seed, Settings
from motet.statistics import Score
from motet.systems import SYSTEMS, System, simulate
from motet.systems.laws import Law
from motet.tasks import VERBS
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import Part, Task, evaluate
from motet.tasks.find import find_recordings
from motet.tasks.outcome import Outcome
from motet.tasks.verbs import Verb
from motet.training.objectives import OBJECTIVES, Regress

SHORT = [
    "--folds",
    "2",
    "--training.max_steps",
    "2",
    "--model.width",
    "8",
    "--model.n_heads",
    "1",
    "--control",
    "false",
    "--members",
    "1",
    "--rule",
    "none",
]


@pytest.fixture
def recording():
    rng = np.random.default_rng(0)
    drive = rng.uniform(0, 2, (24, 6))
    values = rng.poisson(1 + 3 * drive[:, None], (24, 5, 6))
    side = np.arange(24) % 2
    return Recording.from_trials(values, targets={"drive": drive, "side": side}, name="small", bin_seconds=0.1)


@pytest.fixture
def file(recording, tmp_path):
    return str(write_recording(recording, tmp_path / "small.npz"))


def results_of(folder):
    return json.loads((folder / "results.json").read_text())["sections"]


# ------------------------------------------------------------------ an objective


class Absolute(Regress):
    """Absolute error in place of squared error: a class, and a line of `OBJECTIVES`."""

    def error(self, output, batch):
        target, known = self.known(batch)
        return (output - target)[known].abs().mean()


def test_an_objective_is_chosen_by_name_from_the_command_line(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(OBJECTIVES, "absolute", Absolute)
    words = ["decode", file, "--target", "drive", *SHORT, "--rivals", "false"]
    answers = []
    for name in ("regress", "absolute"):
        folder = tmp_path / name
        assert main([*words, "--objective.name", name, "--output", str(folder)]) == 0
        assert (folder / "figures" / "scores.png").exists()
        answers.append(results_of(folder)[""]["methods"]["eit"]["scores"]["r2"]["value"])
    assert answers[0] != answers[1]
    assert main([*words, "--objective.name", "absolut", "--output", str(tmp_path / "no")]) == 2
    assert "did you mean 'absolute'" in capsys.readouterr().err


# ------------------------------------------------------------------ a reader


def read_yaml_counts(path, *, bin_seconds=1.0):
    """Counts (trial, individual, time) in a YAML file: a function, and a line of `READERS`."""
    held = yaml.safe_load(path.read_text())
    return Recording.from_trials(
        held["counts"], targets={"side": held["side"]}, name=path.stem, bin_seconds=bin_seconds
    )


def test_a_reader_reads_files_and_takes_options_from_the_command_line(recording, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(READERS, "yaml", Reader(lambda path, head: path.suffix == ".yaml", read_yaml_counts))
    path = tmp_path / "counts.yaml"
    counts = recording.values[..., 0].astype(int).tolist()
    path.write_text(yaml.safe_dump({"counts": counts, "side": recording.target("side").tolist()}))
    assert main(["data", "show", str(path), "--reading", "{bin_seconds: 0.1}"]) == 0
    assert "24 trials of 6 bins of 0.1 s, 5 individuals" in capsys.readouterr().out
    assert main(["data", "show", str(path), "--reading", "{bin_second: 0.1}"]) == 2
    assert "did you mean 'bin_seconds'" in capsys.readouterr().err
    assert main(["decode", str(path), "--target", "side", *SHORT, "--output", str(tmp_path / "run")]) == 0
    assert "lda" in results_of(tmp_path / "run")[""]["methods"]


# ------------------------------------------------------------------ a rival


class Median(Rival):
    """The median of the training trials: two methods, and a line of `RIVALS`."""

    name = "median"
    n_parameters = 1

    def answers(self, question):
        return isinstance(question, TargetQuestion) and question.kind == "quantity" and question.level == "bin"

    def learn(self, train, question):
        known = np.concatenate([recording.target(question.target).ravel() for recording in train.recordings])
        fitted = Median()
        fitted.median = float(np.nanmedian(known))
        fitted.about = {"chosen": {"median": round(fitted.median, 3)}}
        return fitted

    def predict(self, test):
        return {"prediction": np.concatenate([np.full(r.bin_is_observed.shape, self.median) for r in test.recordings])}


def test_a_rival_stands_in_the_table_and_the_figure_with_what_it_chose(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RIVALS, "median", Median())
    folder = tmp_path / "run"
    assert main(["decode", file, "--target", "drive", *SHORT, "--output", str(folder)]) == 0
    method = results_of(folder)[""]["methods"]["median"]
    assert method["scores"]["r2"]["value"] < 0.01
    assert method["n_parameters"] == 1
    table = capsys.readouterr().out
    assert "| median |" in table
    assert "median: median " in table
    assert "median" in (folder / "figures" / "scores.svg").read_text()


# ------------------------------------------------------------------ a system


@dataclasses.dataclass(frozen=True)
class SlingSettings(Settings):
    """Pairs of bodies pulled together the more, the farther they are.

    Attributes:
        n_trials: of the recording.
        seed: of the starts.
    """

    n_trials: Count = 30
    seed: Seed = 0


SLING = Law("sling", exponent=1.0, typical_coupling=0.5)


def simulate_sling(settings):
    """Two bodies on a spring of strength ½, a third that goes straight; in closed form."""
    rng = np.random.default_rng(settings.seed)
    start, speed = rng.normal(size=(2, settings.n_trials, 3, 1, 2))
    time = 0.1 * np.arange(14)[:, None]
    free = start + speed * time
    middle = free[:, :2].mean(axis=1, keepdims=True)
    apart, opening = (part[:, :1] - part[:, 1:2] for part in (start, speed))
    half = (apart * np.cos(time) + opening * np.sin(time)) / 2
    places = np.concatenate([middle + half, middle - half, free[:, 2:]], axis=1)
    joined = np.zeros((3, 3), dtype=int)
    joined[0, 1] = joined[1, 0] = 1
    graph = np.where(np.eye(3, dtype=bool), -1, joined)[None].repeat(settings.n_trials, axis=0)
    coupling = np.where(graph < 0, np.nan, 0.5 * graph)
    return [
        Recording.from_trials(
            places, targets={"interacts": graph, "coupling": coupling}, name="sling/3", bin_seconds=0.1,
            target_levels={"interacts": "pair", "coupling": "pair"}, metadata=SLING.metadata,
        )
    ]  # fmt: skip


def test_a_system_is_simulated_learned_and_known_to_the_oracle_by_its_law(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SYSTEMS, "sling", System("bodies on slings", SlingSettings, simulate_sling, SLING))
    assert main(["simulate", "--help"]) == 0
    assert "motet simulate sling" in capsys.readouterr().out
    for seed, n_trials in ((0, 30), (1, 8)):
        words = ["simulate", "sling", "--seed", str(seed), "--n_trials", str(n_trials)]
        assert main([*words, "--output", str(tmp_path / f"data-{seed}")]) == 0
    train, test = (str(tmp_path / f"data-{seed}" / "sling-3.npz") for seed in (0, 1))
    quick = ["--training.max_steps", "2", "--model.width", "8", "--pairs.width", "8", "--pairs.depth", "1"]
    quick += ["--objective.context_bins", "8", "--objective.horizon_bins", "4", "--training.validation", "0.2"]
    quick += ["--objective.shoot", "false"]
    assert main(["forecast", "train", train, *quick, "--output", str(tmp_path / "run")]) == 0
    assert main(["forecast", "evaluate", str(tmp_path / "run"), test, "--name", "test"]) == 0
    methods = results_of(tmp_path / "run" / "evaluations" / "test")["sling/3"]["methods"]
    errors = {name: method["scores"]["error 4"]["value"] for name, method in methods.items()}
    assert errors["true couplings"] < 0.01 * errors["constant velocity"]
    assert (tmp_path / "run" / "evaluations" / "test" / "figures" / "paths.png").exists()


def test_an_oracle_follows_a_law_that_no_registry_knows():
    (windows,) = simulate_sling(SlingSettings(n_trials=10))
    geometry = Geometry.fit(PopulationDataset(windows), MotionSettings("position"))
    context = windows.select(bins=slice(0, 8))
    question = MotionQuestion(geometry, n_context=8, n_bins=4)
    oracle = RIVALS["true couplings"].fit(PopulationDataset(windows), question)
    places = oracle.predict(PopulationDataset(context))["places"]
    np.testing.assert_allclose(places, windows.values[:, :, 8:12], atol=1e-3)
    assert "sling" not in SYSTEMS
    assert simulate("springs", n_trials=2, n_bins=3)[0].metadata["law"]["name"] == "springs"


# ------------------------------------------------------------------ a verb


@dataclasses.dataclass(frozen=True)
class LengthSettings(Settings):
    """What to guess the lengths of.

    Attributes:
        recordings: files.
        output: the run's folder.
        seed: of nothing.
    """

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    output: str = "runs/lengths"
    seed: Seed = 0

    @property
    def folder(self):
        return Path(self.output)


class MeanDrive(Method):
    """Guesses the mean."""

    kind = "model"
    name = "mean"
    n_parameters, about = 1, {}

    def fit(self, train, question, *, run=None, say=None):
        self.mean = np.mean([recording.target(question.target).mean() for recording in train.recordings])
        return self

    def predict(self, test):
        return {"prediction": np.full((len(test), test.recordings[0].n_bins), self.mean)}


class Drives(Task):
    """How strong was the drive? One part, one model, one rival."""

    columns = {"error": Column("mean error", has_interval=True, is_error=True)}
    question = TargetQuestion("drive", "quantity", "bin")

    def __init__(self, settings):
        self.settings = settings
        self.dataset = find_recordings(settings.recordings)
        self.inputs = {"recordings": self.dataset.recordings}

    def parts(self):
        return [Part("halves", *self.dataset.split(by="trial", test=0.5, seed=self.settings.seed), "halves")]

    def methods(self, part):
        return [MeanDrive(), RIVALS["ridge"]]

    def truth(self, part):
        return part.test.recordings[0].target("drive")

    def measure(self, answer, truth):
        errors = np.abs(answer["prediction"] - truth).mean(axis=1)
        return Measured({"error": Score(float(errors.mean()), None, tuple(errors.tolist()))})

    def figures(self, evaluation):
        yield "nothing", Figure()


def guess_drives(settings: LengthSettings) -> Outcome:
    """Guess how strong the drive was."""
    return evaluate(Drives(settings))


def test_a_verb_is_a_task_a_settings_class_and_a_line(file, tmp_path, monkeypatch, capsys):
    words = ("RECORDING …", "guess drives", "guess small.npz")
    monkeypatch.setitem(VERBS, "guess", Verb("guess", *words, guess_drives))
    assert main(["--help"]) == 0
    assert "motet guess RECORDING …" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["guess", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "example: motet guess small.npz" in shown
    assert "of nothing. (type: int, default: 0)" in shown
    folder = tmp_path / "run"
    assert main(["guess", file, "--output", str(folder)]) == 0
    assert "| mean |" in capsys.readouterr().out
    section = results_of(folder)["halves"]
    assert section["best_rival"] == "ridge"
    assert section["methods"]["mean"]["p_holm"] < 0.05
    assert (folder / "figures" / "nothing.png").exists()
    assert main(["guess", file, "--output", str(folder), "--sed", "1"]) == 2
    assert "did you mean '--seed'" in capsys.readouterr().err
    assert main(["guess", file, "--output", str(folder), "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err

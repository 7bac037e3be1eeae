"""Every verb that reads files takes `--reading`, and a run reads other files as it read its own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from motet.cli import main
from motet.errors import InputError
from motet.tasks.find import find_recording
from motet.tasks.systems import Trials
from motet.training.run import Run

READING = "{columns: {individual: neuron}, features: [count], targets: [choice]}"
SHORT = ("--folds", "0", "--members", "1", "--model.width", "16", "--training.max_steps", "2")


def labelled(path: Path, *, individual: str = "neuron", trials: int = 12) -> Path:
    """Counts of four neurons in trials called session-0, session-1, …, with a choice and a note."""
    counts = np.random.default_rng(0).poisson(3, (trials, 4, 3))
    lines = [f"trial,{individual},time,count,choice,note"]
    for trial, unit, t in np.ndindex(counts.shape):
        choice = "left" if trial % 2 else "right"
        lines.append(f"session-{trial},u{unit},{t * 0.1:.1f},{counts[trial, unit, t]},{choice},ok")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_decode_and_predict_read_a_table_as_they_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = str(labelled(tmp_path / "a.csv")), str(tmp_path / "run")
    words = ("decode", file, "--target", "choice", "--output", run, *SHORT)
    assert main((*words, "--reading", "{columns: {individual: neuron}}")) == 2
    assert "may be inputs or labels" in capsys.readouterr().err
    assert main((*words, "--reading", READING)) == 0
    assert Run(run).read_settings()["reading"]["targets"] == ["choice"]

    assert main(("predict", run, file, "--output", str(tmp_path / "alike.csv"))) == 0
    unlabelled = tmp_path / "new.csv"
    unlabelled.write_text("\n".join(line.rsplit(",", 2)[0] for line in Path(file).read_text().splitlines()) + "\n")
    assert main(("predict", run, str(unlabelled), "--output", str(tmp_path / "new-answers.csv"))) == 0
    answers = [list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("alike", "new-answers")]
    assert [row["choice"] for row in answers[0]] == [row["choice"] for row in answers[1]]
    other = str(labelled(tmp_path / "b.csv", individual="unit", trials=3))
    assert main(("predict", run, other)) == 2
    assert "neuron" in capsys.readouterr().err
    reading = ("--reading", "{columns: {individual: unit}, features: [count]}")
    assert main(("predict", run, other, "--output", str(tmp_path / "other.csv"), *reading)) == 0
    rows = list(csv.reader((tmp_path / "other.csv").open()))
    place = rows[0].index("trial")
    assert [row[place] for row in rows[1:]] == ["session-0", "session-1", "session-2"]


def test_data_show_reads_as_it_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(labelled(tmp_path / "a.csv"))
    assert main(("data", "show", file, "--reading", READING)) == 0
    assert "target choice per trial: 2 classes" in capsys.readouterr().out
    assert main(("data", "show", file, "--reading", "{featurs: [count]}")) == 2
    assert "did you mean 'features'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope.npz", "nope.npz: no such file, and no recording of that name in the catalogue"),
        ("a/b.csv", "a/b.csv: no such file, and no recording"),
        ("reach/chewy-1", "did you mean 'reach/chewie-1'"),
        ("shaol.csv", "did you mean 'shoal.csv'"),
        ("", "no such file"),
        ("x" * 5000, "no such file"),
        (".", "is a folder"),
    ],
)
def test_a_name_of_nothing_is_refused_with_the_nearest(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shoal.csv").touch()
    with pytest.raises(InputError) as refusal:
        find_recording(name)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 1000


def test_options_for_reading_have_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give options by their names"):
        find_recording(str(labelled(tmp_path / "a.csv")), {1: "x"})  # type: ignore[dict-item]


def test_how_a_run_read_is_kept_unless_something_else_is_asked(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert Trials.of_run(run).reading is None
    run.write_settings({"reading": {"features": ["x"]}})
    assert Trials.of_run(run).reading == {"features": ["x"]}
    assert Trials.of_run(run, {}).reading == {}
    run.write_settings({"reading": "x"})
    with pytest.raises(InputError, match="settings.yaml is damaged"):
        Trials.of_run(run)

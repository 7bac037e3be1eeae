"""`motet pretrain` and `motet transfer`: who sees what, and one run from files to figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.cli import main
from motet.data.readers import write_recording
from motet.errors import InputError
from motet.estimators.encoder import EITEncoder
from motet.rivals.registry import RIVALS
from motet.systems import simulate
from motet.tasks.pretrain import PretrainSettings, pretrain
from motet.tasks.transfer import MODEL, RULE, Transfer, TransferSettings, transfer
from motet.training.settings import TrainingSettings

CONTROL = f"{MODEL}, shuffled labels"
QUICK: dict[str, Any] = {
    "target": "direction",
    "training": TrainingSettings(max_steps=2, batch_trials=64),
    "draws": 5,
    "k": (1,),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two subjects, and a third."""
    folder = tmp_path_factory.mktemp("subjects")
    names = []
    for recording in simulate("population", n_subjects=3, n_trials=48, n_neurons=(25, 30), n_bins=8, seed=2):
        name = str(folder / f"{recording.name.rpartition('/')[2]}.npz")
        write_recording(recording, name)
        names.append(name)
    return names


@pytest.fixture
def settings(files: list[str], tmp_path: Path) -> Callable[..., TransferSettings]:
    def made(**changed: Any) -> TransferSettings:
        return TransferSettings(**{"recordings": tuple(files[:2]), "output": str(tmp_path / "run"), **QUICK, **changed})

    return made


def test_labelled_unlabelled_and_tested_trials_are_apart(settings: Callable[..., TransferSettings]) -> None:
    task = Transfer(settings(unlabelled=("none", "others", "tested"), draws=3))
    assert len(task.parts()) == 6
    for part in task.parts():
        question = task.question_of(part)
        recording = task.cases[task.asked[part.name][0].case].new
        ids = np.asarray(recording.trial_ids)
        for draw in question.draws:
            tested = set(ids[draw.tested])
            labelled = set(draw.labelled.trial_ids)
            unlabelled = set(draw.unlabelled.trial_ids) if draw.unlabelled else set()
            assert not labelled & tested
            assert not unlabelled & (labelled | tested)
            assert len(labelled | unlabelled | tested) == recording.n_trials
            assert np.unique(draw.labelled.targets["direction"], return_counts=True)[1].tolist() == [1] * 8
            assert draw.labelled.targets.keys() == {"direction"}
            assert draw.unlabelled is None or not draw.unlabelled.targets


def test_nobody_who_is_tested_was_pretrained_on(settings: Callable[..., TransferSettings]) -> None:
    task = Transfer(settings())
    for part in task.parts():
        assert part.train is not None
        assert part.test is not None
        assert not set(part.train.individual_ids) & set(part.test.individual_ids)


def test_an_encoder_is_not_tested_on_what_it_was_pretrained_on(
    settings: Callable[..., TransferSettings], files: list[str], tmp_path: Path
) -> None:
    encoder = str(tmp_path / "encoder")
    pretrain(PretrainSettings((files[0], files[1]), "direction", encoder, training=QUICK["training"]))
    for recordings in ((files[0],), (files[2], files[1])):
        with pytest.raises(InputError, match="learned from"):
            Transfer(settings(recordings=recordings, encoder=encoder))
    outcome = transfer(settings(recordings=(files[2],), encoder=encoder, unlabelled=("none",)))
    assert RIVALS["empirical-bayes"].name in outcome.table


def test_the_control_is_at_chance_and_everyone_else_is_above(settings: Callable[..., TransferSettings]) -> None:
    outcome = transfer(settings(unlabelled=("tested",), rivals=False))
    for section in outcome.results["sections"].values():
        value = {name: method["scores"]["score"]["value"] for name, method in section["methods"].items()}
        assert value[CONTROL] < 0.25
        assert min(value[MODEL], value[RULE]) > value[CONTROL] + 0.1


def test_a_run_that_was_interrupted_ends_with_the_same_numbers(
    settings: Callable[..., TransferSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = transfer(settings(unlabelled=("none",), rivals=False, draws=2))
    adapt, calls = EITEncoder.adapt, []

    def interrupted(self: EITEncoder, *trials: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return adapt(self, *trials, **options)

    again = settings(unlabelled=("none",), rivals=False, draws=2, output=str(tmp_path / "again"))
    monkeypatch.setattr(EITEncoder, "adapt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transfer(again)
    monkeypatch.setattr(EITEncoder, "adapt", adapt)
    scores = [
        {
            name: method["scores"]
            for section in outcome.results["sections"].values()
            for name, method in section["methods"].items()
        }
        for outcome in (whole, transfer(again))
    ]
    assert scores[0] == scores[1]


def test_the_command_line_leaves_tables_and_pictures(files: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["transfer", *files[:2], "--target", "direction", "--k", "[1]", "--draws", "2", "--output", str(run)]
    command += ["--unlabelled", "[none]"]
    assert main([*command, "--training.max_steps", "2", "--training.batch_trials", "64"]) == 0
    table = (run / "table.md").read_text()
    for method in (MODEL, RULE, CONTROL, "harmonics-em", "empirical-bayes"):
        assert f"| {method} |" in table
    assert (run / "figures" / "few_shot_none.png").stat().st_size > 10_000
    assert (
        main(
            [
                "pretrain",
                *files[:2],
                "--target",
                "direction",
                "--output",
                str(tmp_path / "enc"),
                "--training.max_steps",
                "2",
            ]
        )
        == 0
    )


def test_an_encoder_is_pretrained_without_labels_and_transferred(files: list[str], tmp_path: Path) -> None:
    run, output = str(tmp_path / "encoder"), str(tmp_path / "run")
    quick = ["--training.max_steps", "4", "--training.batch_trials", "64", "--training.validation", "0.25"]
    assert main(["pretrain", *files[:2], "--output", run, *quick]) == 0
    table = (tmp_path / "encoder" / "table.md").read_text()
    assert "| hidden values; who is who |" in table
    assert "no label was looked at" in table
    for score in ("deviance explained, of", "rank-1 matching, of"):
        assert score in table
    assert (tmp_path / "encoder" / "figures" / "learning_curve.png").stat().st_size > 10_000
    asked = ["--k", "[1]", "--draws", "2", "--unlabelled", "[none]", "--output", output]
    assert main(["transfer", files[2], "--encoder", run, "--target", "direction", *asked]) == 0
    transferred = (tmp_path / "run" / "table.md").read_text()
    assert f"| {RULE} |" in transferred
    assert f"| {MODEL} |" not in transferred
    learn = ["--objective.learn", "{views: 1}", "--output", str(tmp_path / "within"), *quick, "--rivals", "false"]
    assert main(["transfer", *files[:2], "--target", "direction", *asked[:-2], *learn]) == 0
    assert f"| {MODEL} |" not in (tmp_path / "within" / "table.md").read_text()


def test_a_quantity_per_bin_is_decoded_beside_its_rivals(settings: Callable[..., TransferSettings]) -> None:
    outcome = transfer(settings(target="velocity", k=(2,), unlabelled=("none",), draws=2))
    for section in outcome.results["sections"].values():
        value = {name: method["scores"]["score"]["value"] for name, method in section["methods"].items()}
        assert value["tuning, courses"] > value["tuning, courses, shuffled labels"] + 0.1
        assert {"few-shot-ridge", "few-shot-template"} < value.keys()


def test_a_decoder_goes_on_from_one_of_other_recordings(settings: Callable[..., TransferSettings]) -> None:
    asked: dict[str, Any] = {"unlabelled": ("none",), "draws": 1, "rivals": False, "control": False}
    quick = TrainingSettings(max_steps=2, batch_trials=16)
    task = Transfer(settings(target="velocity", k=(2,), ways=("scratch", "continued"), adapting=quick, **asked))
    part = task.parts()[0]
    new = set(task.cases[task.asked[part.name][0].case].new.individual_ids)
    answers = [method.fit(part.train, task.question_of(part)).predict(part.test) for method in task.methods(part)]
    assert not np.array_equal(answers[0]["prediction"], answers[1]["prediction"])
    (decoder,) = task._decoders.values()
    assert not new & {*decoder.individual_ids_}
    assert decoder.targets_[0].name == "velocity"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": (6,)}, "smaller k"),
        ({"k": ()}, "one of each"),
        ({"target": "type"}, "one class per trial"),
        ({"target": "directoin"}, "did you mean 'direction'"),
        ({"period": -2.0}, "at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    changed: dict[str, Any], message: str, settings: Callable[..., TransferSettings]
) -> None:
    with pytest.raises(InputError, match=message):
        Transfer(settings(**changed))


def test_one_population_without_an_encoder_is_refused(
    settings: Callable[..., TransferSettings], files: list[str]
) -> None:
    with pytest.raises(InputError, match="none is left to pretrain on"):
        settings(recordings=(files[0],))


def test_without_labels_the_score_is_at_chance_and_another_column_says_what_is_known(
    settings: Callable[..., TransferSettings], files: list[str]
) -> None:
    outcome = transfer(settings(k=(0,), unlabelled=("tested",), draws=3, period=8.0, rivals=True))
    assert "no label at all" in outcome.table
    for section in outcome.results["sections"].values():
        placed = {name: method["scores"]["placed"]["value"] for name, method in section["methods"].items()}
        assert not any(method["kind"] == "rival" for method in section["methods"].values())
        assert placed[RULE] > placed[f"{MODEL}, shuffled answers"] + 0.1
    for wrong in ({"unlabelled": ("none",)}, {"ways": ("readout",)}, {"target": "velocity"}):
        with pytest.raises(InputError, match="k is 0"):
            Transfer(settings(**{"k": (0,), "unlabelled": ("tested",), **wrong}))

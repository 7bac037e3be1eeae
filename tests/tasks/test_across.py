"""The designs of `motet transfer`: what is tested is never learned from, and each goes from files to a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.report.few_shot import draw_pairs
from motet.systems import simulate
from motet.tasks.across import DESIGNS, Case
from motet.tasks.transfer import EMBEDDINGS, MODEL, RULE, TRAINED, UNTRAINED, Transfer, TransferSettings, transfer
from motet.training.settings import TrainingSettings

OPTIONS: dict[str, dict[str, Any]] = {
    "targets": {"period": 8.0},
    "subsets": {"fractions": (0.5, 1.0)},
    "rest": {"known_individuals": 8},
}


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return simulate("population", n_subjects=3, n_trials=48, n_neurons=(20, 24), n_bins=8, seed=3)


@pytest.fixture(scope="module")
def files(recordings: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("subjects")
    return [str(write_recording(recording, folder / f"{recording.subject}.npz")) for recording in recordings]


@pytest.fixture
def settings(files: list[str], tmp_path: Path) -> Callable[..., TransferSettings]:
    def made(across: Any, **changed: Any) -> TransferSettings:
        quick = {"k": (1,), "unlabelled": ("none",), "draws": 1, "rivals": False, "control": False}
        learned = {"training": TrainingSettings(max_steps=1, batch_trials=32), "output": str(tmp_path / "run")}
        options: dict[str, Any] = {**quick, **learned, **OPTIONS.get(across, {}), **changed}
        return TransferSettings(**{"recordings": tuple(files[:2]), "target": "direction", "across": across, **options})

    return made


def cases(settings: TransferSettings, recordings: list[Recording]) -> list[Case]:
    return settings.cases(recordings, "direction")


@pytest.mark.parametrize("across", DESIGNS)
def test_no_trial_and_no_individual_that_is_tested_was_learned_from(
    across: str, settings: Callable[..., TransferSettings], recordings: list[Recording]
) -> None:
    found = cases(settings(across), recordings)
    assert {case.new.name for case in found} == {recording.name for recording in recordings}
    assert len({case.name for case in found}) == len(found)
    for case in found:
        assert case.train
        for known in case.train:
            assert not set(known.individual_ids) & set(case.new.individual_ids)
            if known.name == case.new.name:
                assert not set(known.trial_ids) & set(case.new.trial_ids)
                assert {known.n_trials, case.new.n_trials} == {24}


def test_a_case_that_learns_from_what_it_tests_is_refused(recordings: list[Recording]) -> None:
    whole = recordings[0]
    one, other = np.arange(10), np.arange(10, 20)
    for known, new in (
        (whole.select(individuals=one), whole.select(individuals=other)),
        (whole.select(trials=one), whole.select(trials=other)),
    ):
        with pytest.raises(InputError, match="learned from and tested"):
            Case("x", "x", [known], new).check()
    renamed = dataclasses.replace(whole.select(individuals=np.arange(16)), name="another session")
    with pytest.raises(InputError, match="under other names"):
        Case("x", "x", [renamed, recordings[1]], whole.select(individuals=other)).check()
    apart = whole.select(trials=one, individuals=one), whole.select(trials=other, individuals=other)
    Case("x", "x", [apart[0]], apart[1]).check()


def test_classes_that_are_tested_were_never_seen_before_calibration(settings: Callable[..., TransferSettings]) -> None:
    task = Transfer(settings("targets", seen_classes=(2, 4), unlabelled=("none", "others")))
    for part in task.parts():
        assert part.train is not None
        seen = np.unique(np.concatenate([recording.targets["direction"] for recording in part.train.recordings]))
        assert seen.tolist() in ([0, 4], [0, 2, 4, 6])
        truth, draws = task.truth(part), task.question_of(part).draws
        assert not np.isin(truth, seen).any()
        for draw in draws:
            assert np.unique(draw.labelled.targets["direction"]).tolist() == list(range(8))
        assert task.question_of(part).period == 8
    with pytest.raises(InputError, match="give period"):
        Transfer(settings("targets", period=None))
    with pytest.raises(InputError, match="2 or more"):
        Transfer(settings("targets", seen_classes=(8,)))


def test_bins_are_early_and_late_or_wide_and_narrow(
    settings: Callable[..., TransferSettings], recordings: list[Recording]
) -> None:
    by_name = {recording.name: recording.values for recording in recordings}
    for case in cases(settings("time"), recordings):
        np.testing.assert_array_equal(case.new.values, by_name[case.new.name][:, :, 4:])
        for known in case.train:
            np.testing.assert_array_equal(known.values, by_name[known.name][:, :, :4])
    wide = {case.name: case for case in cases(settings("bins"), recordings)}
    assert len(wide) == 6
    for case in wide.values():
        assert {case.new.bin_seconds, case.train[0].bin_seconds} == {0.1, 0.2}
        np.testing.assert_array_equal(case.new.values.sum(axis=2), by_name[case.new.name].sum(axis=2))


def test_smaller_parts_of_a_population_are_in_larger_ones_and_share_trials(
    settings: Callable[..., TransferSettings],
) -> None:
    task = Transfer(settings("subsets", fractions=(0.25, 0.5, 1.0), draws=2))
    few, half, every = (task.question_of(part) for part in task.parts()[:3])
    sizes = [question.draws[0].labelled.n_individuals for question in (few, half, every)]
    assert sizes == [round(sizes[2] / 4), round(sizes[2] / 2), sizes[2]]
    assert set(few.draws[0].labelled.individual_ids) < set(half.draws[0].labelled.individual_ids)
    for one, other in zip(few.draws, every.draws, strict=True):
        np.testing.assert_array_equal(one.labelled.trial_ids, other.labelled.trial_ids)


def test_with_all_labelled_every_fold_is_tested_once(settings: Callable[..., TransferSettings]) -> None:
    task = Transfer(settings("recordings", k=("all",)))
    for part in task.parts():
        draws = task.question_of(part).draws
        tested = np.concatenate([draw.tested for draw in draws])
        assert len(draws) == 5
        assert len(np.unique(tested)) == len(tested) >= 45
        for draw in draws:
            assert not set(draw.tested) & set(draw.labelled.trial_ids)
            assert draw.labelled.n_trials >= 38
            assert draw.unlabelled is None


@pytest.mark.parametrize("across", [name for name in DESIGNS if name != "recordings"])
def test_every_design_goes_from_files_to_a_table_and_a_picture(
    across: str, settings: Callable[..., TransferSettings]
) -> None:
    asked = settings(across)
    outcome = transfer(asked)
    for section in outcome.results["sections"].values():
        assert {MODEL, RULE, "true tuning"} == section["methods"].keys()
        assert not section["left_out"]
    assert list((asked.folder / "figures").glob("*.png"))
    assert ("share of the score of all" in outcome.table) == (across in ("subsets", "rest"))


def test_all_ways_of_adapting_and_the_oracle_stand_in_one_table(
    settings: Callable[..., TransferSettings], files: list[str]
) -> None:
    quick = TrainingSettings(max_steps=20, batch_trials=16)
    outcome = transfer(settings("halves", recordings=(files[0],), ways=("context", *TRAINED), adapting=quick))
    (section,) = outcome.results["sections"].values()
    value = {name: method["scores"]["score"]["value"] for name, method in section["methods"].items()}
    assert value.keys() == {MODEL, RULE, *TRAINED.values(), "true tuning"}
    assert value.pop("true tuning") > max(value.values())
    assert (
        section["methods"][TRAINED["readout"]]["n_parameters"] < section["methods"][TRAINED["scratch"]]["n_parameters"]
    )
    assert "paper's probe" in outcome.table


def test_a_readout_that_learned_nothing_stands_beside_the_rivals(settings: Callable[..., TransferSettings]) -> None:
    task = Transfer(settings("recordings", rivals=True))
    rows = [method.name for method in task.methods(task.parts()[0])]
    assert rows[:4] == [MODEL, RULE, EMBEDDINGS, UNTRAINED]


@pytest.mark.parametrize(
    ("across", "changed", "message"),
    [
        ("pairs", {"seen_classes": (4,)}, "belongs to across='targets'"),
        ("pairs", {"encoder": "runs/x"}, "leave the encoder"),
        ("rest", {"known_individuals": 40}, "none is left over"),
        ("subsets", {"fractions": ()}, "empty"),
        ("recordings", {"k": ("all",), "unlabelled": ("others",)}, "leaves no trials"),
        ("recordings", {"k": ("al",)}, "a whole number, at least 0, or all"),
        ("recordings", {"ways": ()}, "one of each"),
        ("recordings", {"ways": ("context", "context")}, "give each once"),
        ("recordings", {"training": TrainingSettings(devices=2)}, "motet pretrain"),
        ("targets", {"k": (0,), "unlabelled": ("tested",)}, "hides classes"),
        ("recordings", {"adapting": TrainingSettings(max_steps=5)}, "context"),
        ("recordings", {"target": "velocity", "ways": ("readout",)}, "is a quantity"),
        ("time", {"target": "velocity"}, "is for a class per trial"),
    ],
)
def test_designs_that_cannot_be_are_refused(
    across: str, changed: dict[str, Any], message: str, settings: Callable[..., TransferSettings]
) -> None:
    with pytest.raises(InputError, match=message):
        Transfer(settings(across, **changed))


def test_a_matrix_has_a_number_for_every_ordered_pair() -> None:
    matrix = np.array([[np.nan, 0.8, 0.7], [0.9, np.nan, 0.6], [0.5, 0.4, np.nan]])
    figure = draw_pairs({"k = 1": matrix, "k = 2": matrix}, ["a", "b", "c"], "accuracy")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == ["0.40", "0.50", "0.60", "0.70", "0.80", "0.90"]

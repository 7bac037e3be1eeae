from __future__ import annotations

import contextlib
import csv
import dataclasses
import json

import numpy as np
import pytest
import yaml

from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.rivals import kernel_ridge
from motet.rivals.decoders import DECODERS
from motet.rivals.method import Rival, TargetQuestion
from motet.rivals.registry import RIVALS
from motet.tasks import evaluate as evaluate_module
from motet.tasks.decode import Decode, DecodeSettings, decode
from motet.tasks.find import cut_trials, digest, find_recording
from motet.tasks.models import MODEL, Trained
from motet.tasks.predict import PredictSettings, predict
from motet.training.settings import TrainingSettings

CLASSIFIERS = {rival.name for rival in DECODERS if rival.decodes == "class" and not rival.is_thorough}
QUICK = {
    "folds": 2,
    "control": False,
    "final": False,
    "model": EITSettings(width=8, n_heads=1),
    "training": TrainingSettings(max_steps=2),
    "rule": "none",
    "members": 1,
    "rivals": ("lda", "majority"),
}
CONTROL = f"{MODEL}, shuffled targets"


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(2.0, (24, 4, 6)).astype(float)


@pytest.fixture
def file(tmp_path, counts):
    """A file of trials with a class, a number and three numbers per trial, and a number per bin."""

    def write(values=counts, **targets):
        rng = np.random.default_rng(1)
        known = {
            "side": np.arange(24) % 2,
            "speed": values[:, 0, :].sum(axis=1) + rng.normal(size=24),
            "place": rng.normal(size=(24, 3)),
            "drive": values[:, 0] + 0.1,
        }
        levels = {"side": "trial", "speed": "trial", "place": "trial", "drive": "bin"}
        recording = Recording.from_trials(values, targets=known | targets, target_levels=levels, name="small")
        return str(write_recording(recording, tmp_path / "small.npz"))

    write()
    return write


@pytest.fixture
def settings(file, tmp_path, monkeypatch):
    """Those of a small decoding without figures, the slowest part; `monkeypatch.undo` brings them."""
    monkeypatch.setattr(Decode, "figures", lambda *_: iter(()))
    return DecodeSettings((file(),), "side", str(tmp_path / "run"), **QUICK)


def table_of(decoded):
    """What results.json holds of the one table."""
    (section,) = decoded.results["sections"].values()
    return section


def score_of(decoded, method):
    """The one that methods are compared by, which comes first."""
    return next(iter(table_of(decoded)["methods"][method]["scores"].values()))


def unfinished(settings):
    """The run as if it had been interrupted before its results were written."""
    (settings.folder / "results.json").unlink()
    return settings


# ------------------------------------------------------------------ a run belongs to its data and settings


def test_results_of_a_recording_that_changed_are_refused(settings, file, counts):
    assert decode(settings).table == decode(settings).table
    counts[0, 0, 0] += 1
    file(counts)
    with pytest.raises(InputError, match="content of recordings is not what it was"):
        decode(settings)


def test_a_run_of_an_older_version_without_digests_is_still_read(settings):
    first = decode(settings)
    path = first.run.folder / "inputs.json"
    assert list(json.loads(path.read_text())) == ["recordings"]
    path.unlink()
    assert decode(settings).table == first.table


@pytest.mark.parametrize("field", ["values", "observed", "targets", "individual_ids", "trial_ids"])
def test_a_digest_changes_with_all_that_could_change_a_result(file, field):
    recording = find_recording(file())
    assert digest(find_recording(file())) == digest(recording)
    changes = {
        "values": recording.values + 1,
        "observed": ~recording.observed,
        "targets": {**recording.targets, "side": recording.targets["side"].astype(str)},
        "individual_ids": recording.individual_ids[::-1],
        "trial_ids": recording.trial_ids[::-1],
    }
    assert digest(dataclasses.replace(recording, **{field: changes[field]})) != digest(recording)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 13}, "too few for 13 folds"),
        ({"metric": "r2"}, "does not fit"),
        ({"auxiliary": {"nothing": 1.0}}, "unknown target"),
        ({"window": 99}, "do not fit"),
        ({"training": TrainingSettings(max_steps=2, accelerator="gpu")}, "accelerator"),
    ],
)
def test_after_a_mistake_the_corrected_settings_are_accepted(settings, change, message):
    if "accelerator" in message:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=message):
        decode(dataclasses.replace(settings, **change))
    assert "| eit |" in decode(settings).table


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 2**32},
        {"repeats": 0},
        {"window": 0},
        {"bins": 0},
        {"stride": 0},
        {"gap_seconds": -1.0},
        {"gap_seconds": float("nan")},
        {"gap_seconds": float("inf")},
        {"folds": -2},
        {"folds": 1},
        {"by": "tril"},
        {"metric": "f1"},
        {"rivals": "no"},
        {"recordings": ()},
        {"recordings": "small.npz"},
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(settings, change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(settings, **change)


# ------------------------------------------------------------------ what is decoded


@pytest.mark.parametrize("target", ["speed", "place", "drive"])
def test_quantities_of_every_shape_are_decoded_beside_the_rivals_that_fit(settings, target, monkeypatch):
    monkeypatch.undo()
    decoded = decode(dataclasses.replace(settings, target=target, rivals=True))
    expected = {MODEL, "mean", "ridge", "kernel-ridge"}
    if target == "drive":
        expected |= {"kernel-ridge-time", "template", "template-kernel-ridge"}
    assert set(table_of(decoded)["methods"]) == expected
    assert table_of(decoded)["left_out"] == {}
    if target == "drive":  # the counts of one of them
        assert score_of(decoded, "ridge")["value"] > 0.7
    tensors, _ = decoded.run.part("folds/00/eit").read_tensors("answer")
    assert tensors["prediction"].shape[1:] == find_recording(settings.recordings[0]).target(target).shape[1:]


def test_rivals_that_cannot_read_the_data_are_left_out_with_a_note(settings, file, counts):
    counts[3, :, 2] = np.nan
    gap = dataclasses.replace(settings, recordings=(file(counts, drive=np.ones((24, 6))),), rivals=True)
    decoded = decode(gap)
    assert set(table_of(decoded)["methods"]) == {MODEL}
    assert set(table_of(decoded)["left_out"]) == CLASSIFIERS
    table, notes = decoded.table.split("\n\n")[:2]
    assert "lda" not in table
    assert "lda is left out" in [line.partition(":")[0] for line in notes.splitlines()]
    assert "observed bins" in notes
    assert (decoded.run.folder / "table.md").read_text() == decoded.table + "\n"
    assert decode(gap).table == decoded.table


@pytest.mark.parametrize(
    ("silent_trials", "words"),
    [(slice(None), "\n1 of 4 individuals never vary in training and are left out."), (slice(0, 0), None)],
)
def test_individuals_that_are_left_out_are_counted_below_the_table(settings, file, counts, silent_trials, words):
    counts[silent_trials, 1] = 3
    table = decode(dataclasses.replace(settings, recordings=(file(counts),), rivals=False, control=False)).table
    assert ("never vary" not in table) if words is None else words in table


def test_trials_whose_class_is_unknown_are_neither_learned_from_nor_scored(settings, file, counts):
    side = [None if trial in (3, 8, 9) else "lr"[trial % 2] for trial in range(24)]
    decoded = decode(dataclasses.replace(settings, recordings=(file(counts, side=side),)))
    parts = [decoded.run.part(f"folds/0{fold}/{MODEL}").read_results() for fold in range(settings.folds)]
    assert sum(part["measured"]["more"]["n_test"] for part in parts) == 21
    assert "lda" in table_of(decoded)["methods"]
    about = decoded.run.part(f"folds/00/{MODEL}").read_tensors("answer")[1]
    assert set(about["prediction"]) <= {"l", "r"}


def test_a_rival_that_fails_in_a_later_fold_is_left_out_of_all(settings):
    lda = RIVALS["lda"]
    calls = []

    class Failing(Rival):
        name = "lda"

        def answers(self, question):
            return lda.answers(question)

        def learn(self, train, question):
            calls.append(question)
            if len(calls) == 2:
                raise InputError("this fold is too strange")
            return lda.learn(train, question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RIVALS, "lda", Failing())
        decoded = decode(settings)
    assert table_of(decoded)["left_out"] == {"lda": "this fold is too strange"}
    assert "lda" not in table_of(decoded)["methods"]


def test_kernel_ridge_learns_from_many_rows_through_some_of_them(settings, monkeypatch):
    monkeypatch.setattr(kernel_ridge, "MOST_EXACT_ROWS", 71)  # a fold has 72 bins to learn from
    monkeypatch.setattr(kernel_ridge, "N_LANDMARKS", 20)
    decoded = decode(dataclasses.replace(settings, target="drive", rivals=("kernel-ridge",)))
    assert table_of(decoded)["left_out"] == {}
    assert table_of(decoded)["methods"]["kernel-ridge"]["n_parameters"] == 20


def test_templates_are_left_out_where_trials_have_no_class(settings, tmp_path, counts):
    recording = Recording.from_trials(counts, targets={"drive": counts[:, 0] + 0.1}, target_levels={"drive": "bin"})
    path = str(write_recording(recording, tmp_path / "classless.npz"))
    rivals = ("mean", "template", "template-kernel-ridge")
    of_bins = dataclasses.replace(settings, recordings=(path,), target="drive", rivals=rivals)
    left_out = table_of(decode(of_bins))["left_out"]
    assert set(left_out) == {"template", "template-kernel-ridge"}
    assert all("reads a class per trial" in reason for reason in left_out.values())


def test_no_method_but_an_oracle_sees_a_target_of_test_trials(settings, monkeypatch):
    seen = {}

    class Watching(Rival):
        def __init__(self, name, kind):
            self.name, self.kind = name, kind

        def answers(self, question):
            return True

        def learn(self, train, question):
            return self

        n_parameters, about = 0, {}

        def predict(self, test):
            seen[self.kind] = [(set(r.targets), dict(r.metadata)) for r in test.recordings]
            return {"prediction": np.zeros(len(test), dtype=np.int64)}

    for kind in ("rival", "oracle"):
        monkeypatch.setitem(RIVALS, f"{kind} that watches", Watching(f"{kind} that watches", kind))
    decode(dataclasses.replace(settings, rivals=("rival that watches", "oracle that watches")))
    assert seen["rival"] == [(set(), {})]
    assert seen["oracle"][0][0] == {"side", "speed", "place", "drive"}


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"scores": "high", "fit_seconds": 1, "n_parameters": 2}'])
def test_damaged_results_of_a_fold_are_one_clear_error_whose_advice_works(settings, content):
    before = score_of(decode(settings), "lda")
    path = settings.folder / "folds" / "01" / "lda" / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match="results.json.*delete it and run again"):
        decode(unfinished(settings))
    path.unlink()
    assert score_of(decode(settings), "lda") == before


def test_damaged_answers_of_a_fold_are_named_and_made_again_once_deleted(settings, monkeypatch):
    monkeypatch.undo()
    before = score_of(decode(settings), MODEL)
    path = settings.folder / "folds" / "01" / "eit" / "answer.safetensors"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="answer.safetensors.*damaged.*delete it and run again"):
        decode(unfinished(settings))
    path.unlink()
    assert score_of(decode(settings), MODEL) == before
    assert path.exists()


def test_answers_that_are_not_drawn_are_not_kept(settings):
    decode(settings)
    assert [path.parent.name for path in sorted(settings.folder.rglob("answer.safetensors"))] == ["eit", "eit"]


# ------------------------------------------------------------------ several processes, progress


def test_the_progress_bar_ends_full(settings, monkeypatch):
    steps = []

    @contextlib.contextmanager
    def bar(description, n_steps):
        steps.append(-n_steps)
        yield lambda done, news: steps.append(done)

    monkeypatch.setattr(evaluate_module, "progress_bar", bar)
    decode(dataclasses.replace(settings, repeats=2, control=True, rivals=False, final=True))
    assert steps[0] == -(4 + 1 + 1)
    assert sum(steps) == pytest.approx(0)


def test_all_but_the_first_of_several_processes_train_and_write_nothing(settings, monkeypatch):
    fitted = []

    def fit(self, train, question, *, run, say):
        fitted.append(run.folder.relative_to(settings.folder).as_posix())
        return RIVALS["majority"].fit(train, TargetQuestion("side", "class", "trial"))

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(Trained, "fit", fit)
    training = dataclasses.replace(settings.training, devices=2)
    decoded = decode(dataclasses.replace(settings, training=training, control=True, final=True))
    parts = [f"folds/{fold}/{name}" for fold in ("00", "01") for name in ("eit", "eit--shuffled-targets")]
    assert fitted == [*parts, "."]
    assert str(decoded) == ""
    assert not settings.folder.exists()


def test_a_rank_in_the_environment_means_nothing_to_a_single_process(settings, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert "| eit |" in decode(settings).table


def test_the_control_is_chance_and_no_rival(settings, tmp_path):
    side = np.arange(60) % 2
    values = np.random.default_rng(0).poisson(2.0, (60, 4, 6)) + 3.0 * (side[:, None, None] * [[1], [0], [0], [0]])
    easy = str(write_recording(Recording.from_trials(values, targets={"side": side}), tmp_path / "easy.npz"))
    training = TrainingSettings(max_steps=40, batch_trials=20, learning_rate=0.02)
    easily = dataclasses.replace(settings, recordings=(easy,), control=True, training=training, rivals=True)
    decoded = decode(easily)
    methods, best = table_of(decoded)["methods"], table_of(decoded)["best_rival"]
    scores = {name: score_of(decoded, name)["value"] for name in methods}
    assert scores[MODEL] > 0.9
    assert abs(scores[CONTROL] - 0.5) < 0.2
    rivals = scores.keys() - {MODEL, CONTROL}
    assert rivals == CLASSIFIERS
    assert scores[best] == max(scores[name] for name in rivals) > 0.9
    compared = {name for name, method in methods.items() if "difference" in method}
    assert compared == scores.keys() - {best, CONTROL}


# ------------------------------------------------------------------ predict


def test_predict_cuts_trials_as_the_run_did(settings):
    decode(dataclasses.replace(settings, folds=0, final=True, bins=5, window=2, stride=3))
    rows = list(csv.DictReader(predict(PredictSettings(str(settings.folder), settings.recordings[0])).open()))
    assert len(rows) == 24 * 2
    assert list(rows[0])[:4] == ["recording", "trial", "start_seconds", "side"]
    assert [float(row["start_seconds"]) for row in rows if row["trial"] == "2"] == [12.0, 15.0]


def test_predict_reads_as_many_bins_as_the_decoding(settings):
    decode(dataclasses.replace(settings, target="drive", folds=0, final=True, bins=4))
    rows = list(csv.DictReader(predict(PredictSettings(str(settings.folder), settings.recordings[0])).open()))
    assert len(rows) == 24 * 4
    assert list(rows[0]) == ["recording", "trial", "bin", "drive", "true drive"]


def test_predict_reads_a_run_that_no_decoding_made_whole(settings, tmp_path):
    from motet.estimators.decoders import EITRegressor

    estimator = EITRegressor("drive", model=settings.model, training=settings.training, members=1)
    estimator.fit(find_recording(settings.recordings[0])).save(tmp_path / "mine")
    rows = list(csv.DictReader(predict(PredictSettings(str(tmp_path / "mine"), settings.recordings[0])).open()))
    assert len(rows) == 24 * 6


def test_predict_refuses_a_damaged_cut(settings):
    decode(dataclasses.replace(settings, folds=0, final=True))
    path = settings.folder / "settings.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "bins": "four"}))
    with pytest.raises(InputError, match="settings.yaml is damaged"):
        predict(PredictSettings(str(settings.folder), settings.recordings[0]))


def test_trials_of_a_target_per_trial_are_cut_to_the_shortest():
    ragged = Recording.from_trials([np.ones((2, n)) for n in (3, 5, 4)], targets={"side": np.arange(3)})
    assert cut_trials(ragged, "trial", bins=None, window=None, stride=1).n_bins == 3
    assert cut_trials(ragged, "bin", bins=None, window=None, stride=1).n_bins == 5
    assert cut_trials(ragged, "trial", bins=2, window=1, stride=1).n_trials == 6

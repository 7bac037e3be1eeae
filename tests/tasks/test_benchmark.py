"""Benchmarks: same folds for all, differences as computed by hand, what fails is said, nothing is done twice."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from motet.cli import main
from motet.data.leaks import fingerprint
from motet.data.readers import write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.rivals.method import Rival
from motet.rivals.registry import RIVALS
from motet.statistics import holm
from motet.tasks import benchmark as module
from motet.tasks import jobs
from motet.tasks.benchmark import BenchmarkSettings, benchmark
from motet.tasks.benchmark_page import paragraphs
from motet.tasks.decode import Decode, DecodeSettings
from motet.tasks.models import MODEL, Trained
from motet.tasks.presets import PRESETS, PROTOCOL
from motet.training.settings import TrainingSettings

TINY = {
    "model": EITSettings(width=8, n_heads=1),
    "training": TrainingSettings(max_steps=2),
    "rule": "none",
    "members": 1,
}
RIVAL_NAMES = ("lda", "lda-total-counts", "majority")


def counts(n_trials=36, n_bins=6):
    """Counts of four neurons, one of which tells the side; a number per bin."""
    rng = np.random.default_rng(0)
    side = rng.permutation(n_trials) % 2
    values = rng.poisson(2.0 + side[:, None, None] * np.array([2.0, 0, 0, 0])[:, None], (n_trials, 4, n_bins))
    return values.astype(float), {"side": side, "drive": values[:, 0] + rng.normal(size=(n_trials, n_bins))}


@pytest.fixture
def file(tmp_path):
    def write(values=None, name="small", **targets):
        made, known = counts()
        levels = {"side": "trial", "drive": "bin"}
        recording = Recording.from_trials(
            made if values is None else values, targets=known | targets, target_levels=levels, name=name
        )
        return str(write_recording(recording, tmp_path / f"{name}.npz"))

    return write


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(module.benchmark_page, "figures", lambda *_: iter(()))


def asked(file, tmp_path, **more):
    options = {"target": "side", "output": str(tmp_path / "out"), "folds": 3, "seeds": (0, 1), "rivals": RIVAL_NAMES}
    return BenchmarkSettings((file,), **{**options, **TINY, **more})


def scores_of(folder):
    """(method, fraction) → the scores of all folds and seeds, in order."""
    found = {}
    for row in csv.DictReader((folder / "benchmark.csv").open()):
        if row["value"] and row["score"] == "accuracy":
            found.setdefault((row["method"], float(row["train_fraction"])), []).append(float(row["value"]))
    return found


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("results.json")}


# ------------------------------------------------------------------ science


def test_a_fraction_of_the_training_trials_leaves_the_tested_ones_as_they_are(file):
    path = file()
    folds = {
        share: Decode(DecodeSettings((path,), "side", folds=3, train_fraction=share, seed=5))._folds
        for share in (0.25, 0.5, 1.0)
    }
    for quarter, half, whole in zip(*folds.values(), strict=True):
        tested = fingerprint(whole[1])
        assert np.array_equal(fingerprint(quarter[1]), tested)
        assert np.array_equal(fingerprint(half[1]), tested)
        ids = [set(train.recordings[0].trial_ids.tolist()) for train, _ in (quarter, half, whole)]
        assert ids[0] < ids[1] < ids[2]
        assert [len(one) for one in ids] == [6, 12, 24]
        assert not ids[2] & set(whole[1].recordings[0].trial_ids.tolist())
        for train in (quarter[0], half[0]):
            assert np.ptp(np.bincount(train.recordings[0].target("side"))) == 0


def test_every_seed_parts_the_trials_anew_and_all_methods_alike(file, tmp_path):
    settings = asked(file(), tmp_path, learning_curve=(0.5,))
    (cell,) = settings.cells
    folds = {(job.seed, job.fraction): Decode(job.settings)._folds for job in module._jobs(settings, cell)}
    tested = {key: [fingerprint(test).tobytes() for _, test in of_job] for key, of_job in folds.items()}
    assert tested[0, 1.0] == tested[0, 0.5] != tested[1, 1.0] == tested[1, 0.5]


def test_differences_over_seeds_and_folds_are_those_computed_by_hand(file, tmp_path, without_figures):
    outcome = benchmark(asked(file(), tmp_path))
    (cell,) = outcome.results["cells"].values()
    scores = {method: np.array(values) for (method, _), values in scores_of(tmp_path / "out").items()}
    best = max(RIVAL_NAMES, key=lambda name: scores[name].mean())
    assert cell["best_rival"] == best
    p = {}
    for name in {MODEL, *RIVAL_NAMES} - {best}:
        difference, about = scores[name] - scores[best], cell["methods"][name]
        assert len(difference) == 2 * 3
        error = np.sqrt(difference.var(ddof=1) * (1 / 6 + 1 / 2))  # two test trials for every four that train
        half = stats.t.ppf(0.975, 5) * error
        mean = difference.mean()
        assert about["difference"] == pytest.approx(mean)
        assert about["difference_interval"] == pytest.approx([mean - half, mean + half])
        assert about["effect"]["size"] == pytest.approx(mean / difference.std(ddof=1))
        assert about["effect"]["wins"] == (difference > 0).sum()
        assert about["effect"]["losses"] == (difference < 0).sum()
        p[name] = 2 * stats.t.sf(abs(mean) / error, 5)
    for name, corrected in zip(p, holm(list(p.values())), strict=True):
        assert cell["methods"][name]["p_holm"] == pytest.approx(corrected)
    assert "difference" not in cell["methods"]["eit, shuffled targets"]


@pytest.mark.parametrize(("control", "chance"), [(True, "A model on shuffled targets shows"), (False, "No model has")])
def test_a_page_speaks_of_shuffled_targets_only_where_a_model_has_them(control, chance):
    settings = BenchmarkSettings(("quick",), control=control)
    _, _, words = itertools.islice(paragraphs(settings, [], "quick", ()), 3)
    assert chance in words


def test_seeds_that_test_the_same_blocks_of_time_do_not_count_as_more_folds(file, tmp_path, without_figures):
    settings = asked(file(), tmp_path, by="time", folds=5, gap_seconds=0.0)
    (cell,) = benchmark(settings).results["cells"].values()
    scores = scores_of(tmp_path / "out")
    seeds = np.array(scores[MODEL, 1.0]).reshape(2, 5)
    samples = {name: about["scores"]["accuracy"]["samples"] for name, about in cell["methods"].items()}
    assert samples[MODEL] == pytest.approx(seeds.mean(axis=0))
    assert samples["lda"] == scores["lda", 1.0]  # learned once
    assert {len(one) for one in samples.values()} == {5}


def test_a_learning_curve_is_of_all_methods_and_ends_with_all_trials(file, tmp_path):
    outcome = benchmark(asked(file(), tmp_path, learning_curve=(0.5, 1.0), seeds=(0,)))
    (cell,) = outcome.results["cells"].values()
    assert [point["n_train"] for point in cell["learning_curve"]] == [12, 24]
    half, whole = (point["scores"] for point in cell["learning_curve"])
    assert set(half) == {MODEL, *RIVAL_NAMES}
    assert whole.keys() - half.keys() == {"eit, shuffled targets"}
    page = (tmp_path / "out" / "benchmark.md").read_text()
    assert "| accuracy from training trials | 12 | 24 |" in page
    assert (tmp_path / "out" / "figures" / "learning_curves.png").stat().st_size > 5000


def test_the_paper_splits_trials_and_not_windows(file):
    settings = DecodeSettings((file(),), "side", window=2, bins=4, by="time", tested_folds=1, gap_seconds=0.0)
    ((train, test),) = Decode(settings)._folds
    first, last = (set(part.recordings[0].trial_ids.tolist()) for part in (train, test))
    assert (first, last) == (set(range(29)), set(range(29, 36)))
    assert (len(train), len(test)) == (29 * 3, 7 * 3)


def test_presets_say_how_is_measured_and_nothing_of_models():
    for name, cells in PRESETS.items():
        settings = BenchmarkSettings((name,))
        assert settings.cells == list(cells)
        if name != "quick":
            assert all(cell.options.keys() <= PROTOCOL for cell in cells), name
    assert set(BenchmarkSettings(("sleep", "unseen")).cells) == set(PRESETS["unseen"])


# ------------------------------------------------------------------ what fails


def troubled(monkeypatch, name, trouble):
    """A rival whose trouble is called, with how often it learned, when it learns."""
    true, calls = RIVALS[name], []

    class Troubled(Rival):
        def __init__(self):
            self.name = name

        def answers(self, question):
            return true.answers(question)

        def learn(self, train, question):
            calls.append(name)
            trouble(len(calls))
            return true.learn(train, question)

    monkeypatch.setitem(RIVALS, name, Troubled())


def test_a_method_that_fails_on_a_fold_is_said_and_stops_no_other(file, tmp_path, monkeypatch, without_figures):
    def fail(n):
        if n == 2:
            raise np.linalg.LinAlgError("Singular matrix")

    troubled(monkeypatch, "lda", fail)
    outcome = benchmark(asked(file(), tmp_path))
    (cell,) = outcome.results["cells"].values()
    assert list(cell["left_out"]) == ["lda"]
    assert "Singular matrix" in cell["left_out"]["lda"]
    assert {MODEL, "lda-total-counts", "majority"} <= cell["methods"].keys()
    assert len(cell["methods"]["majority"]["scores"]["accuracy"]["samples"]) == 6
    assert f"lda is left out: {cell['left_out']['lda']}" in (tmp_path / "out" / "benchmark.md").read_text()
    rows = list(csv.DictReader((tmp_path / "out" / "benchmark.csv").open()))
    assert [row["left_out"] for row in rows if row["left_out"]] == [cell["left_out"]["lda"]]


def test_a_model_that_fails_leaves_the_rivals_compared(file, tmp_path, monkeypatch, without_figures):
    def fit(self, train, question, **_):
        raise InputError("the loss is not finite")

    monkeypatch.setattr(Trained, "fit", fit)
    outcome = benchmark(asked(file(), tmp_path, seeds=(0,)))
    (cell,) = outcome.results["cells"].values()
    assert cell["left_out"][MODEL] == "the loss is not finite"
    assert set(cell["methods"]) == set(RIVAL_NAMES)
    assert "no model gave an answer" in outcome.table


def test_a_rival_that_does_not_converge_is_said_with_its_score(file, tmp_path, monkeypatch, without_figures):
    name = "lda-total-counts"
    troubled(monkeypatch, name, lambda n: warnings.warn("10 steps were too few\nmore", ConvergenceWarning, 2))
    (cell,) = benchmark(asked(file(), tmp_path, seeds=(0,))).results["cells"].values()
    assert cell["methods"][name]["did_not_converge"] == ["10 steps were too few"] * 3
    assert "did not converge on 3 of 3" in (tmp_path / "out" / "benchmark.md").read_text()


def test_a_decoding_that_fails_is_said_and_stops_no_other(file, tmp_path, monkeypatch, without_figures):
    evaluate = jobs.evaluate

    def breaking(task, bar):
        if "other" in str(task.settings.folder) or task.settings.seed == 1:
            raise InputError("the disk is full")
        return evaluate(task, bar)

    monkeypatch.setattr(jobs, "evaluate", breaking)
    settings = asked(file(), tmp_path)
    both = BenchmarkSettings(**{**vars(settings), "what": (*settings.what, file(name="other"))})
    outcome = benchmark(both)
    small, other = outcome.results["cells"].values()
    assert small["failed"] == {"seed 1": "the disk is full"}
    assert small["seeds"] == [0]
    assert len(small["methods"][MODEL]["scores"]["accuracy"]["samples"]) == 3
    assert other["failed"] == {"seed 0": "the disk is full", "seed 1": "the disk is full"}
    assert "failed: the disk is full" in outcome.table
    monkeypatch.undo()
    monkeypatch.setattr(module.benchmark_page, "figures", lambda *_: iter(()))
    assert all(cell["failed"] == {} for cell in benchmark(both).results["cells"].values())


@pytest.mark.parametrize(
    ("target", "values", "more", "why"),
    [
        ("side", np.zeros(36, dtype=int), {}, "at least two classes"),
        ("drive", np.ones((36, 6)), {}, "same in all trials to learn from"),
        ("drive", np.full((36, 6), np.nan), {}, "NaN|known|unknown"),
        ("side", np.arange(36) // 18, {"by": "time", "folds": 2}, "same in all trials"),
        ("side", np.minimum(np.arange(36) // 8, 2), {"by": "time", "folds": 4}, "of which it has no trial to learn"),
        ("side", None, {"folds": 40}, "40 folds of 36 trials"),
        ("side", None, {"rivals": ("lad",)}, "did you mean 'lda'"),
        ("sied", None, {}, "did you mean 'side'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_runs(file, tmp_path, target, values, more, why):
    good, bad = file(), file(name="bad", **({} if values is None else {target: values}))
    settings = BenchmarkSettings(
        (good, bad), target, **{"output": str(tmp_path / "out"), "rivals": RIVAL_NAMES, **TINY, **more}
    )
    with pytest.raises(InputError, match=why):
        benchmark(settings)
    assert not list((tmp_path / "out").rglob("results.json"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"what": ()}, "what and seeds"),
        ({"what": ("reach",), "target": "direction"}, "protocols of their own"),
        ({"what": ("reach",), "folds": 3}, "protocols of their own"),
        ({"what": ("reahc",)}, "no preset"),
        ({"what": ("sleep", "sleep")}, "each once"),
        ({"what": ("sleep",), "seeds": (1, 1)}, "each once"),
        ({"what": ("sleep",), "learning_curve": (0.0,)}, "learning_curve"),
        ({"what": ("sleep",), "training": TrainingSettings(devices=2)}, "one process"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, why):
    with pytest.raises(InputError, match=why):
        BenchmarkSettings(**settings)


def test_recordings_that_would_share_a_folder_are_refused(file, tmp_path):
    (tmp_path / "sub").mkdir()
    first = file()
    second = str(write_recording(Recording.from_trials(counts()[0], targets=counts()[1]), tmp_path / "sub/small.npz"))
    with pytest.raises(InputError, match="both be called"):
        benchmark(BenchmarkSettings((first, second), "side", str(tmp_path / "out")))


# ------------------------------------------------------------------ what was done is not done twice


def test_an_interrupted_benchmark_goes_on_and_more_seeds_are_added(file, tmp_path, monkeypatch, without_figures):
    settings, evaluate, begun = asked(file(), tmp_path), jobs.evaluate, []

    def interrupting(task, bar):
        begun.append(task.settings.seed)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return evaluate(task, bar)

    monkeypatch.setattr(jobs, "evaluate", interrupting)
    with pytest.raises(KeyboardInterrupt):
        benchmark(settings)
    before = stamps(tmp_path / "out")
    assert len(before) == 1 + 3 * 5
    table = benchmark(settings).table
    benchmark(BenchmarkSettings(**{**vars(settings), "seeds": (0, 1, 2)}))
    assert begun == [0, 1, 1, 2]
    assert before.items() <= stamps(tmp_path / "out").items()
    assert benchmark(settings).table == table
    with pytest.raises(InputError, match="other settings"):
        benchmark(BenchmarkSettings(**{**vars(settings), "bins": 3}))


@pytest.mark.slow
def test_a_killed_benchmark_of_two_processes_leaves_none_and_goes_on(tmp_path):
    folder = tmp_path / "out"
    words = ["benchmark", "quick", "--seeds", "[0,1]", "--rivals", "[majority]", "--output", str(folder)]
    words += ["--learning_curve", "[0.5]", "--model.width", "8", "--model.n_heads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "motet", *words, "--jobs", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    while not stamps(folder):
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while list(folder.glob("cells/*/*/.lock")) and not _are_free(folder):
        time.sleep(0.01)
    before = stamps(folder)
    assert main(words) == 0
    assert before.items() <= stamps(folder).items()
    (cell,) = json.loads((folder / "benchmark.json").read_text())["cells"].values()
    assert cell["failed"] == {}
    assert cell["seeds"] == [0, 1]
    assert len(cell["methods"][MODEL]["scores"]["accuracy"]["samples"]) == 4


def _are_free(folder):
    from motet.training.run import Run

    try:
        for lock in folder.glob("cells/*/*/.lock"):
            with Run(lock.parent).claimed():
                pass
    except InputError:
        return False
    return True


def test_a_benchmark_is_one_command(tmp_path, capsys):
    folder = tmp_path / "out"
    words = ["benchmark", "quick", "--seeds", "[0]", "--rivals", "[lda,majority]", "--output", str(folder)]
    words += ["--members", "1", "--rule", "none", "--model.width", "8"]
    assert main([*words, "--page", str(tmp_path / "docs" / "quick.md")]) == 0
    assert (tmp_path / "docs" / "quick" / "overview.png").exists()
    assert "](quick/overview.png)" in (tmp_path / "docs" / "quick.md").read_text()
    assert "| direction/subject-1 | accuracy | eit |" in capsys.readouterr().out
    for name in ("benchmark.md", "benchmark.json", "benchmark.csv", "settings.yaml", "figures/overview.png"):
        assert (folder / name).stat().st_size > 100
    assert "Made by `motet benchmark quick --seeds '[0]' --rivals" in (folder / "benchmark.md").read_text()
    assert main(["benchmark", "--config", str(folder / "settings.yaml"), "quick"]) == 0

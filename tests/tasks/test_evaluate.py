"""What `evaluate` does for every task, on one whose answers are plain to see."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.method import Method, TargetQuestion
from motet.statistics import Score
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import Evaluation, Part, Task, evaluate
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class Asked:
    """Settings of a task."""

    folder: Path
    seed: int = 0


class Guess(Method):
    """Answers every trial alike, with the mean of the training trials and something on top."""

    def __init__(self, name, extra=0.0, kind="rival", refuses=()):
        self.name, self.extra, self.kind, self.refuses = name, extra, kind, refuses
        self.n_fits, self.seen = 0, []

    def fit(self, train, question, *, run=None, say=None):
        self.n_fits += 1
        if self.n_fits in self.refuses:
            raise InputError("too strange")
        self.mean = np.concatenate([r.target(question.target) for r in train.recordings]).mean()
        return self

    n_parameters, about = 1, {"chosen": {}}

    def predict(self, test):
        self.seen.append({name for recording in test.recordings for name in recording.targets})
        return {"answer": np.full(len(test), self.mean + self.extra)}


class Sizes(Task):
    """How large is each trial? Parts are halves of the trials."""

    columns = {"error": Column("error", ".3f", is_error=True)}
    question = TargetQuestion("size", "quantity", "trial")

    def __init__(self, folder, methods, *, is_leaking=False):
        self.settings = Asked(folder)
        rng = np.random.default_rng(0)
        recording = Recording.from_trials(rng.normal(size=(40, 3, 5)), targets={"size": rng.normal(size=40)})
        self.inputs = {"recordings": [recording]}
        self.dataset = PopulationDataset(recording)
        self.all_methods, self.is_leaking = methods, is_leaking

    def parts(self):
        first, second = (self.dataset.select(np.arange(k, 40, 2)) for k in (0, 1))
        test = self.dataset if self.is_leaking else second
        return [Part("parts/one", first, test, "one"), Part("parts/two", first, test.select(np.arange(10)), "two")]

    def methods(self, part):
        return self.all_methods

    def truth(self, part):
        return np.concatenate([recording.target("size") for recording in part.test.recordings])

    def measure(self, answer, truth):
        errors = np.abs(answer["answer"] - truth)
        return Measured({"error": Score(float(errors.mean()), None, tuple(errors.tolist()))})

    def kept(self, ranked):
        return ranked[:2]

    def heading(self, section, parts):
        return section

    def figures(self, evaluation):
        for part in evaluation.tested:
            best = next(iter(evaluation.results["sections"][part.section]["methods"]))
            assert len(evaluation.answer(part, best)["answer"]) == len(part.test)
            yield f"figure_{part.section}", Figure()


@pytest.fixture
def methods():
    return [
        Guess("model", 0.2, "model"),
        Guess("worse", 2.0),
        Guess("better", 0.1),
        Guess("told", 0.0, "oracle"),
        Guess("chance", 3.0, "control"),
    ]


def test_methods_are_fitted_once_ranked_compared_kept_and_drawn(tmp_path, methods):
    found = evaluate(Sizes(tmp_path / "run", methods))
    for section in found.results["sections"].values():
        assert list(section["methods"]) == ["model", "better", "worse", "told", "chance"]
        assert section["best_rival"] == "better"
        assert {name for name, method in section["methods"].items() if "difference" in method} == {"model", "worse"}
    assert [method.n_fits for method in methods] == [1] * 5  # both parts learn from the same trials
    assert found.table.count("## ") == 2
    assert (found.run.figures / "figure_two.png").exists()
    kept = {path.parent.name for path in found.run.folder.rglob("answer.safetensors")}
    assert kept == {"model", "better"}


def test_targets_are_stripped_before_any_but_an_oracle_predicts(tmp_path, methods):
    evaluate(Sizes(tmp_path / "run", methods))
    assert {method.name: set().union(*method.seen) for method in methods} == {
        "model": set(), "worse": set(), "better": set(), "told": {"size"}, "chance": set(),
    }  # fmt: skip


def test_trials_that_are_tested_on_are_not_learned_from(tmp_path, methods):
    with pytest.raises(InputError, match="was trained on"):
        evaluate(Sizes(tmp_path / "run", methods, is_leaking=True))
    assert not (tmp_path / "run").exists()


def test_a_rival_that_refuses_is_left_out_with_its_reason_and_a_model_is_not(tmp_path, methods):
    methods[1].refuses = (1, 2)
    found = evaluate(Sizes(tmp_path / "run", methods))
    assert [section["left_out"] for section in found.results["sections"].values()] == [{"worse": "too strange"}] * 2
    assert found.table.count("worse is left out: too strange") == 2
    methods[0].n_fits, methods[0].refuses = 0, (1,)
    with pytest.raises(InputError, match="too strange"):
        evaluate(Sizes(tmp_path / "other", methods))


def test_what_was_done_before_an_interruption_is_not_done_again(tmp_path, methods, monkeypatch):
    whole = evaluate(Sizes(tmp_path / "whole", methods))
    do, done = Evaluation._do, []

    def interrupted(self, part, method, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((part.name, method.name))
        return do(self, part, method, *rest)

    monkeypatch.setattr(Evaluation, "_do", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Sizes(tmp_path / "stopped", methods))
    monkeypatch.undo()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("results.json")}
    assert len(stamps) == 3
    stopped = evaluate(Sizes(tmp_path / "stopped", methods))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    scores = [json.dumps(_without_seconds(outcome.results)) for outcome in (whole, stopped)]
    assert scores[0] == scores[1]


def test_a_finished_run_is_read_and_one_of_other_settings_refused(tmp_path, methods):
    found = evaluate(Sizes(tmp_path / "run", methods))
    n_fits = [method.n_fits for method in methods]
    assert evaluate(Sizes(tmp_path / "run", methods)).table == found.table
    assert [method.n_fits for method in methods] == n_fits
    other = Sizes(tmp_path / "run", methods)
    other.settings = dataclasses.replace(other.settings, seed=1)
    with pytest.raises(InputError, match="other settings"):
        evaluate(other)


def test_answers_of_text_come_back_as_they_were(tmp_path, methods):
    evaluation = Evaluation(Sizes(tmp_path / "run", methods), Run(tmp_path / "run"), [])
    part = Part("parts/one", None, None)
    text = np.array([["left", ""], ["right", "left"]])
    evaluation._write_answer(evaluation.folder(part, "a, b"), {"side": text, "size": np.array([1.5, np.nan])})
    answer = evaluation.answer(part, "a, b")
    assert answer["side"].tolist() == text.tolist()
    np.testing.assert_array_equal(answer["size"], [1.5, np.nan])


def _without_seconds(value):
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if not key.endswith("_seconds")}
    return value

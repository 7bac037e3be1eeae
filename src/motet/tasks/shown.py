"""What a finished run has to show: what it holds, and what follows from its weights and its recordings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.plain import from_plain
from motet.report import interactive
from motet.tasks.align import Align, AlignSettings
from motet.tasks.decode import HEADINGS, WITH_RULE, Decode, DecodeSettings
from motet.tasks.evaluate import OWN, Evaluation, Task
from motet.tasks.find import digest
from motet.tasks.pretrain import Pretrain, PretrainSettings
from motet.tasks.verbs import Verb, command_line
from motet.training.objectives import known_predictions, known_rows
from motet.training.run import Run
from motet.training.scores import sections_of

MADE_BY: Mapping[type[Any], Callable[[Any], Task]] = {
    DecodeSettings: Decode, AlignSettings: Align, PretrainSettings: Pretrain,
}  # fmt: skip


class Shown:
    """A run, and what can be had from it.

    Args:
        run: finished.
        wants_importance: whether to compute importance.

    Attributes:
        notes: what could not be had, and why.

    Raises:
        InputError: if nothing has been finished in the folder.
    """

    def __init__(self, run: Run, *, wants_importance: bool = False) -> None:
        self.run = run
        self.wants_importance = wants_importance
        self.notes: list[str] = []
        self.is_benchmark = (run.folder / "benchmark.json").exists()
        if not (self.is_benchmark or run.has_results or run.has_tensors("weights")):
            raise InputError(f"{run.folder} holds no finished run; give the folder that a verb of motet wrote.")
        self.settings = run.read_settings() if run.has_settings else {}

    @property
    def name(self) -> str:
        return self.run.folder.resolve().name

    @functools.cached_property
    def results(self) -> Mapping[str, Any]:
        return self.run.read_scored() if self.is_benchmark or self.run.has_results else {}

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of the scores; none where no methods were compared."""
        return self.run.read_scores() if sections_of(self.results) else []

    @functools.cached_property
    def whole(self) -> list[dict[str, Any]]:
        """Rows of methods that learned from all training trials, not from a part of them."""
        most: dict[str, float] = {}
        for row in self.rows:
            most[row["section"]] = max(most.get(row["section"], -math.inf), row["n_train"])
        return [row for row in self.rows if math.isnan(row["n_train"]) or row["n_train"] == most[row["section"]]]

    @functools.cached_property
    def evaluations(self) -> list[Shown]:
        """Runs that were made of this one, such as those of `motet interactions evaluate`."""
        folders = sorted(path.parent for path in self.run.folder.glob("evaluations/*/results.json"))
        return [Shown(Run(folder)) for folder in folders]

    @property
    def summary(self) -> str:
        """A sentence of the first table: how good the model is, beside the best rival."""
        main = [row for row in self.whole if row["is_main"]]
        models = {row["method"]: row for row in reversed(main) if row["kind"] == "model"}
        model = models.get(WITH_RULE, next(reversed(models.values()), None))  # the whole one, or the first
        if model is None:
            return f"{self.verb[0] if self.verb else 'a run'}, {self.run.folder}"
        heading = self.heading(model)
        said = f"{model['method']}: {heading} {interactive.number_text(model['value'])}"
        if ends := interactive.interval_text(model["low"], model["high"]):
            said += f" [{ends}]"
        rival = next((r for r in main if r["method"] == model["best_rival"] and r["section"] == model["section"]), None)
        if rival is not None:
            said += f"; {rival['method']}, the best rival: {interactive.number_text(rival['value'])}"
        return f"{model['section']}: {said}." if model["section"] else f"{said}."

    def heading(self, row: Mapping[str, Any]) -> str:
        """What a score is called."""
        section = (sections_of(self.results) or {}).get(row["section"], {})
        fallback = HEADINGS.get(row["score"], row["score"].replace("_", " "))  # of runs that do not say it
        return str(section.get("columns", {}).get(row["score"], {}).get("heading", fallback))

    # ------------------------------------------------------------------ the verb that made it

    @functools.cached_property
    def verb(self) -> tuple[str, type[Any]] | None:
        """The name and the settings class of the verb whose settings these are; None if they are nobody's."""
        from motet.tasks import VERBS

        known = set(self.settings) | {"output"}
        for name, kind in _settings_classes(VERBS):
            if {field.name for field in dataclasses.fields(kind)} | {"output"} == known:
                return name, kind
        return None

    @property
    def command(self) -> str:
        """What does it again."""
        if self.verb is None:
            return ""
        name, kind = self.verb
        with contextlib.suppress(InputError):
            return command_line(name, from_plain(kind, self.settings), leave_out=("output", "jobs", "page"))
        return f"motet {name} --config {self.run.folder}/settings.yaml"

    @functools.cached_property
    def task(self) -> Task | None:
        """The task again, of the same recordings; None, with a note, if they are not to be had."""
        if self.verb is None or self.verb[1] not in MADE_BY or not self.run.has_settings:
            return None
        kind = self.verb[1]
        try:
            settings = from_plain(kind, {**self.settings, "output": str(self.run.folder)}, what="settings.yaml")
            task = MADE_BY[kind](settings)
        except InputError as error:
            self.notes.append(f"what needs the recordings of {self.name} is not shown: {error}")
            return None
        kept = self.run.read_inputs()
        for role, recordings in task.inputs.items():
            if kept.get(role) and kept[role] != [digest(recording) for recording in recordings]:
                self.notes.append(
                    f"what needs the recordings of {self.name} is not shown: they are not those that it was made of."
                )
                return None
        return task

    @functools.cached_property
    def decoding(self) -> Decoding | None:
        """Answers and truth of test trials of a finished decoding."""
        if not isinstance(self.task, Decode) or not self.run.is_finished:
            return None
        decoding = Decoding(self.task, self.run)
        return decoding if decoding.parts and decoding.has_answers else None

    @functools.cached_property
    def alignment(self) -> Align | None:
        return self.task if isinstance(self.task, Align) and self.run.is_finished else None

    @property
    def recordings(self) -> Sequence[Recording]:
        """As they are read."""
        if isinstance(self.task, Decode):
            return self.task.dataset.recordings
        return () if self.task is None else tuple(self.task.inputs.get("recordings", ()))


Known = tuple[NDArray[Any], NDArray[np.bool_]]
"""(time, …) the truth of a trial, and (time,) where it is known."""


class Decoding:
    """Answers of a decoding's model in test trials of the first repeat, beside the truth."""

    def __init__(self, task: Decode, run: Run) -> None:
        self.task = task
        self.evaluation = Evaluation(task, run, task.parts())
        self.parts = [part for part in task.parts() if part.name != OWN][: task.settings.n_tested]

    @property
    def has_answers(self) -> bool:
        return all(self.evaluation.folder(part, self.task.model).has_tensors("answer") for part in self.parts)

    @functools.cached_property
    def answers(self) -> list[tuple[PopulationDataset, Mapping[str, NDArray[Any]]]]:
        """Test trials and answers of each fold."""
        answered = [(part.test, self.evaluation.answer(part, self.task.model)) for part in self.parts]
        return [(test, answer) for test, answer in answered if test is not None]

    @functools.cached_property
    def classes(self) -> NDArray[Any] | None:
        """Those whose probabilities are told; None if they are not told in all folds, or not of the same classes."""
        answers = [answer for _, answer in self.answers]
        if not all("log_probability" in answer for answer in answers):
            return None
        classes = np.asarray(answers[0]["classes"])
        return classes if all(np.array_equal(answer["classes"], classes) for answer in answers) else None

    def known(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """The truth, and a part of the answers, where the truth is known; of all folds."""
        target = self.task.settings.target
        pairs = [known_predictions(test, target, answer[name]) for test, answer in self.answers]
        truth, found = (np.concatenate(side) for side in zip(*pairs, strict=True))
        return truth, found

    def followed(self) -> tuple[list[str], list[Known], list[Mapping[str, NDArray[Any]]]]:
        """Test trials with a target per bin: their names, the truth and where it is known, and the answers."""
        target, labels = self.task.settings.target, []
        truths: list[Known] = []
        found: list[Mapping[str, NDArray[Any]]] = []
        for test, answer in self.answers:
            first = 0
            for recording in test.recordings:
                known = known_rows(recording, target)
                for trial in np.flatnonzero(known.any(axis=1)):
                    labels.append(f"{recording.name}, trial {recording.trial_ids[trial]}")
                    truths.append((recording.targets[target][trial], known[trial]))
                    rows = {name: array[first + trial] for name, array in answer.items() if name in PER_TRIAL}
                    found.append(rows)
                first += recording.n_trials
        return labels, truths, found


PER_TRIAL = ("prediction", "log_probability")  # parts of an answer that have an axis of trials


def _settings_classes(verbs: Mapping[str, Verb]) -> Iterator[tuple[str, type[Any]]]:
    for verb in verbs.values():
        for word, command in verb.commands().items():
            yield f"{verb.name} {word}".strip(), command.settings

"""`evaluate`: the one way in which methods answer a question on test trials, and are compared.

A task says which parts there are (trials to learn from, trials to be tested on), which methods answer, what is true,
how an answer is measured, and what is drawn. Everything else is done here, for every verb:

1. Cut: the parts; no test trial may stand among those that are learned from.
2. Fit each method to the training trials of each part.
3. Predict: it sees test trials without their targets.
4. Measure its answer against the truth.
5. Compare the methods with the best rival on the same trials.
6. Tabulate and draw.

What was finished before an interruption is kept: the same task goes on, and ends with the same bits.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from motet.data.dataset import PopulationDataset
from motet.data.leaks import refuse_leak
from motet.data.recording import Recording, without_targets
from motet.errors import InputError
from motet.names import in_path
from motet.plain import as_plain, from_plain
from motet.progress import Advance, Bar, progress_bar, within_step
from motet.report.style import save_figure
from motet.rivals.method import Answer, Fitted, Kind, Method, Question, Say
from motet.tasks.comparison import Column, Comparison, Found, LeftOut, Measured
from motet.tasks.models import Asked, FittedModel
from motet.tasks.outcome import Outcome, begin, is_first_process
from motet.training.run import Run
from motet.training.settings import TrainingSettings

OWN = ""  # the part that is the run's own model
FAILURES = (ValueError, ArithmeticError, RuntimeError, MemoryError)  # of a method on a part; `InputError` is among them


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Trials to learn from, and trials to be tested on.

    Attributes:
        name: its folder in the run. `OWN` is that of the model which the run is for: it is trained, and kept as the
            run's weights; nothing is tested.
        train: what methods learn from; None where they have learned already.
        test: what they are tested on; None for `OWN`.
        section: of the table. The parts of one section are folds of one estimate.
    """

    name: str
    train: PopulationDataset | None
    test: PopulationDataset | None
    section: str = ""


class Task(abc.ABC):
    """What is asked, of whom, and how answers are judged.

    Attributes:
        settings: what the user asked for.
        inputs: the recordings that were read, by the name of the setting that says where they are.
        question: what methods are asked.
        columns: the scores by name.
        main: the one that ranks methods, and is compared; by default the first.
        weights: the run whose weights are used, if any.
        training: how models are trained, if any are.
        test_fraction: of folds; None where parts are no folds.
        must_answer: the kinds of methods that stop the evaluation where they fail; others are left out.
    """

    settings: Any
    inputs: Mapping[str, Sequence[Recording]]
    question: Question
    columns: Mapping[str, Column]
    main: str | None = None
    weights: Run | None = None
    training: TrainingSettings | None = None
    test_fraction: float | None = None
    must_answer: Collection[Kind] = ("model", "control")

    @property
    def title(self) -> str:
        """Of the progress bar."""
        return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(self).__name__).strip()

    @abc.abstractmethod
    def parts(self) -> Sequence[Part]:
        """All parts, in order."""

    @abc.abstractmethod
    def methods(self, part: Part) -> Sequence[Method]:
        """Who answers on a part; of `OWN`, the one that is trained and kept."""

    @abc.abstractmethod
    def truth(self, part: Part) -> Any:
        """What answers are measured against."""

    @abc.abstractmethod
    def measure(self, answer: Answer, truth: Any) -> Measured:
        """How good an answer is."""

    def question_of(self, part: Part) -> Question:
        """What is asked on a part; the same on all by default."""
        return self.question

    def seen(self, test: PopulationDataset) -> PopulationDataset:
        """What of test trials every method may see, targets aside."""
        return test

    def kept(self, ranked: Sequence[str]) -> Iterable[str]:
        """Methods whose answers are kept to be drawn; `ranked` are those of a section, best first."""
        return ranked

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """What stands below the tables."""
        yield from ()

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        """Of the table of a section; nothing for none."""
        return ""

    def about(self) -> dict[str, Any]:
        """What results.json says of the task beside the scores."""
        return {}

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        """What is drawn, by name of the file."""
        yield from ()


def evaluate(task: Task, bar: Bar | None = None) -> Outcome:
    """Let all methods answer on all parts; leaves a run with results, table and figures.

    Args:
        task: what is asked, and of whom.
        bar: how progress is shown; by default `progress_bar`.

    Raises:
        InputError: for a leak, or a run of other settings, recordings or weights; if a model cannot be trained.
    """
    run = Run(task.settings.folder)
    parts = list(task.parts())
    for part in {(id(part.train), id(part.test)): part for part in reversed(parts)}.values():
        if part.train is not None and part.test is not None:
            refuse_leak(part.train, part.test, what=f"{part.section or part.name}")
    evaluation = Evaluation(task, run, parts)
    if task.training is not None and not is_first_process(task.training):
        evaluation.train_along()
        return Outcome(run, "", {})
    with run.claimed():
        begin(run, task.settings, task.inputs, model=task.weights)
        if not run.is_finished:
            evaluation.complete(bar or progress_bar)
        return Outcome.read(run)


class Evaluation:
    """A task at work in a run.

    Args:
        task: what is done.
        run: where.
        parts: of the task.
    """

    def __init__(self, task: Task, run: Run, parts: Sequence[Part]) -> None:
        self.task = task
        self.run = run
        self.parts = parts
        self.results: dict[str, Any] = {}
        self._left_out: set[tuple[str, str]] = set()
        self._fitted: dict[str, tuple[PopulationDataset | None, Question | None, Fitted, float]] = {}

    # ------------------------------------------------------------------ jobs

    @property
    def tested(self) -> list[Part]:
        """The parts that are tested on."""
        return [part for part in self.parts if part.name != OWN]

    def folder(self, part: Part, method: str) -> Run:
        """Where a job leaves what it found."""
        return self.run if part.name == OWN else self.run.part(f"{part.name}/{folder_of(method)}")

    def is_done(self, part: Part, method: str) -> bool:
        folder = self.folder(part, method)
        return folder.has_tensors("weights") if part.name == OWN else folder.has_results

    def train_along(self) -> None:
        """What the other processes do: the same trainings in the same order, and nothing else.

        Whether a job is done cannot change before it is looked at: the first process waits in that training.
        """
        for part in (part for part in self.parts if part.train is not None):
            methods = self.task.methods(part)
            for method in methods:
                asked = [one for one in methods if one is method or one.of is method]
                if method.trains and not all(self.is_done(part, one.name) for one in asked):
                    method.fit(
                        cast(PopulationDataset, part.train),
                        None,
                        run=self.folder(part, method.name),
                        say=lambda *_: None,
                    )

    def complete(self, bar: Bar) -> None:
        """Do what is not done yet, compare, tabulate and draw."""
        with bar(self.task.title, len(self.parts) + 1) as advance:
            for part in self.parts:
                with within_step(advance) as advance_part:
                    methods = self.task.methods(part)
                    for method in methods:
                        self._complete(part, method, functools.partial(_advance_share, advance_part, 1 / len(methods)))
            compared = list(self._compared())
            sections = {comparison.section: comparison.results() for comparison in compared}
            self.results = {**self.task.about(), "sections": sections}
            self._keep_answers()
            for name, figure in self.task.figures(self):
                save_figure(figure, self.run.figures, name)
            advance(1, "figures")
        self.run.write_results(self.results)
        self.run.write_table(
            "\n\n".join([*(one.table() for one in compared), "\n".join(self.task.notes(self))]).strip()
        )

    def _complete(self, part: Part, method: Method, advance: Advance) -> None:
        """Do a job, unless it is done, or the method was left out of an earlier part of the section."""
        with within_step(advance) as advance_job:
            key = part.section, method.name
            if key in self._left_out:
                return
            if not self.is_done(part, method.name):
                news = f"{'model of all trials' if part.name == OWN else part.name}, {method.name}"
                advance(0, news)
                self._do(part, method, lambda share, words: advance_job(share, f"{news}: {words}"))
            if part.name != OWN and isinstance(self.found(part, method.name), LeftOut):
                self._left_out.add(key)

    def _do(self, part: Part, method: Method, say: Say) -> None:
        """Fit, predict, measure; leaves results and the answer, or why the method is left out."""
        folder = self.folder(part, method.name)
        try:
            with _unconverged() as fails:
                fitted, fit_seconds = self.fit(part, method, say)
            if part.name == OWN:
                cast(FittedModel, fitted).save(folder)
                folder.delete_tensors("checkpoint")
                return
            assert part.test is not None
            started = time.monotonic()
            answer = fitted.predict(self._question_of(part.test, method))
            predict_seconds = time.monotonic() - started
            measured = self.task.measure(answer, self._truth(part))
        except FAILURES as error:
            if method.kind in self.task.must_answer and method.of is None:
                raise
            why = "it needs more memory than there is." if isinstance(error, MemoryError) else str(error)
            named = why if isinstance(error, InputError | MemoryError) else f"{type(error).__name__}: {why}"
            folder.write_results(as_plain(LeftOut(named)))
            return
        self._write_answer(folder, answer)
        seconds = fitted.about.get("fit_seconds", fit_seconds)
        found = Found(measured, int(fitted.n_parameters), seconds, predict_seconds, {**fitted.about, **fails})
        folder.write_results(as_plain(found))
        folder.delete_tensors("checkpoint")

    def fit(self, part: Part, method: Method, say: Any = None) -> tuple[Fitted, float]:
        """A method that has learned from a part, and the seconds that took; parts may share what they learn from."""
        learns = method if method.of is None else method.of
        known, question = self._fitted.get(learns.name), self.task.question_of(part) if part.name != OWN else None
        if known is None or known[0] is not part.train or known[1] is not question:
            started = time.monotonic()
            folder = self.folder(part, learns.name)
            fitted = learns.fit(part.train, question, run=folder, say=say)
            known = part.train, question, fitted, time.monotonic() - started
            self._fitted[learns.name] = known
        fitted, seconds = known[2:]
        return (fitted if method is learns else cast(Asked, method).asked(cast(FittedModel, fitted))), seconds

    def _question_of(self, test: PopulationDataset, method: Method) -> PopulationDataset:
        """Test trials as a method sees them: without targets, but for an oracle."""
        seen = self.task.seen(test)
        return seen if method.kind == "oracle" else seen.map(without_targets)

    @functools.lru_cache(maxsize=1)  # noqa: B019 (an evaluation lives as long as its verb)
    def _truth(self, part: Part) -> Any:
        return self.task.truth(part)

    # ------------------------------------------------------------------ what was found

    def found(self, part: Part, method: str) -> Found | LeftOut:
        """What a job left: scores and costs, or why there are none."""
        return found_in(self.folder(part, method))

    def about(self, part: Part, method: str) -> Mapping[str, Any]:
        """What a method said of itself."""
        found = self.found(part, method)
        return found.about if isinstance(found, Found) else {}

    def history(self, part: Part, method: str) -> dict[str, list[float]]:
        """How the training of a model went, by column."""
        rows = self.about(part, method)["history"]
        return {column: [row[column] for row in rows] for column in rows[0]}

    def answer(self, part: Part, method: str) -> Answer:
        """What a method answered, if it was kept."""
        tensors, about = self.folder(part, method).read_tensors("answer")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return {name: np.asarray(about[name])[array] if name in about else array for name, array in arrays.items()}

    def _write_answer(self, folder: Run, answer: Answer) -> None:
        """Keep arrays; of text, codes and what they stand for."""
        tensors: dict[str, torch.Tensor] = {}
        texts: dict[str, list[str]] = {}
        for name, array in answer.items():
            if array.dtype.kind == "U":
                known, codes = np.unique(array, return_inverse=True)
                texts[name], array = known.tolist(), codes.reshape(array.shape)
            tensors[name] = torch.from_numpy(np.array(array, order="C"))
        folder.write_tensors("answer", tensors, texts)

    def _keep_answers(self) -> None:
        """Answers that will be drawn are there; the others go."""
        for part in self.tested:
            kept = set(self.task.kept(list(self.results["sections"][part.section]["methods"])))
            for method in self.task.methods(part):
                folder = self.folder(part, method.name)
                if method.name not in kept:
                    folder.delete_tensors("answer")
                elif not folder.has_tensors("answer"):
                    self._do(part, method, lambda *_: None)
        for part in self.parts:  # of commands that were killed just before they would have gone
            for method in self.task.methods(part):
                self.folder(part, method.name).delete_tensors("checkpoint")

    def _compared(self) -> Iterator[Comparison]:
        """The methods of every section beside each other."""
        sections: dict[str, list[Part]] = {}
        for part in self.tested:
            sections.setdefault(part.section, []).append(part)
        for section, parts in sections.items():
            kinds: dict[str, Kind] = {}
            found: dict[str, list[Found | LeftOut]] = {}
            for part in parts:
                for method in self.task.methods(part):
                    kinds[method.name] = method.kind
                    if not any(isinstance(one, LeftOut) for one in found.setdefault(method.name, [])):
                        found[method.name].append(self.found(part, method.name))
            heading = self.task.heading(section, parts)
            yield Comparison.of(
                found,
                kinds,
                heading=heading,
                section=section,
                columns=self.task.columns,
                main=self.task.main or next(iter(self.task.columns)),
                test_fraction=self.task.test_fraction,
            )


def folder_of(method: str) -> str:
    """The name of the folder of a method in that of a part."""
    return "".join(letter if letter.isalnum() else "-" for letter in method)


def found_in(job: Run) -> Found | LeftOut:
    """What the job of a method on a part left in its folder.

    Raises:
        InputError: if there is nothing, or it is damaged.
    """
    results = job.read_results()
    try:
        return from_plain(LeftOut if results.keys() == {"why"} else Found, results, what="it")
    except InputError as error:
        raise InputError(f"{job.folder}/results.json is damaged ({error}); delete it and run again.") from error


@contextlib.contextmanager
def _unconverged() -> Iterator[dict[str, str]]:
    """Filled, under "did_not_converge", with what a method says that did not; other warnings go on."""
    said: dict[str, str] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield said
    for one in caught:
        if issubclass(one.category, ConvergenceWarning):
            said.setdefault("did_not_converge", str(one.message).partition("\n")[0])
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def part_name(recording: Recording) -> str:
    """The folder of the part that is one recording."""
    return f"parts/{in_path(recording.name)}"


def _advance_share(advance: Advance, share: float, done: float, news: str) -> None:
    advance(share * done, news)

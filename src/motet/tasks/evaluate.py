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
import dataclasses
import functools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure

from motet.data.dataset import PopulationDataset
from motet.data.leaks import refuse_leak
from motet.data.recording import Recording
from motet.errors import InputError
from motet.names import in_markdown, in_path
from motet.plain import from_plain
from motet.progress import Advance, progress_bar, within_step
from motet.report.style import save_figure
from motet.rivals.method import Answer, Fitted, Method, Question
from motet.statistics import Interval, Score, compare_table, estimate_mean, interval_text, markdown, p_text
from motet.tasks.models import FittedModel
from motet.tasks.outcome import Outcome, begin, is_first_process
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.trial_sums import TrialSums

OWN = ""  # the part that is the run's own model


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


@dataclasses.dataclass(frozen=True)
class Column:
    """One score, as a table shows it.

    Attributes:
        heading: of the column.
        form: of a number, as Python formats it.
        has_interval: whether its interval stands beside it.
        interval_name: what that is.
        is_error: whether less is better.
        bounds: the least and the most that it can be.
    """

    heading: str
    form: str = ".3f"
    has_interval: bool = False
    interval_name: str = "95 %"
    is_error: bool = False
    bounds: Interval = (-math.inf, math.inf)


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
    """

    settings: Any
    inputs: Mapping[str, Sequence[Recording]]
    question: Question
    columns: Mapping[str, Column]
    main: str | None = None
    weights: Run | None = None
    training: TrainingSettings | None = None
    test_fraction: float | None = None

    @property
    def title(self) -> str:
        """Of the progress bar."""
        return type(self).__name__.lower()

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


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """How good an answer is.

    Attributes:
        scores: by the name of their column, as far as they are defined.
        sums: what each trial adds to the score, for intervals where folds are few.
        more: plain values for figures and results.json.
    """

    scores: Mapping[str, Score]
    sums: TrialSums | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def evaluate(task: Task) -> Outcome:
    """Let all methods answer on all parts; leaves a run with results, table and figures.

    Raises:
        InputError: for a leak, or a run of other settings, recordings or weights; if a model cannot be trained.
    """
    run = Run(task.settings.folder)
    parts = list(task.parts())
    for part in parts:
        if part.train is not None and part.test is not None:
            refuse_leak(part.train, part.test, what=f"{part.section or part.name}")
    evaluation = Evaluation(task, run, parts)
    if task.training is not None and not is_first_process(task.training):
        evaluation.train_along()
        return Outcome(run, "", {})
    with run.claimed():
        begin(run, task.settings, task.inputs, model=task.weights)
        if not run.is_finished:
            evaluation.complete()
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
        self._fitted: dict[str, tuple[PopulationDataset | None, Fitted, float]] = {}

    # ------------------------------------------------------------------ jobs

    @property
    def tested(self) -> list[Part]:
        """The parts that are tested on."""
        return [part for part in self.parts if part.name != OWN]

    @property
    def _main(self) -> str:
        return self.task.main or next(iter(self.task.columns))

    def folder(self, part: Part, method: str) -> Run:
        """Where a job leaves what it found."""
        name = "".join(letter if letter.isalnum() else "-" for letter in method)
        return self.run if part.name == OWN else self.run.part(f"{part.name}/{name}")

    def is_done(self, part: Part, method: str) -> bool:
        folder = self.folder(part, method)
        return folder.has_tensors("weights") if part.name == OWN else folder.has_results

    def train_along(self) -> None:
        """What the other processes do: the same trainings in the same order, and nothing else.

        Whether a job is done cannot change before it is looked at: the first process waits in that training.
        """
        for part in (part for part in self.parts if part.train is not None):
            for method in self.task.methods(part):
                if method.trains and not self.is_done(part, method.name):
                    method.fit(
                        cast(PopulationDataset, part.train),
                        None,
                        run=self.folder(part, method.name),
                        say=lambda *_: None,
                    )

    def complete(self) -> None:
        """Do what is not done yet, compare, tabulate and draw."""
        left_out: dict[tuple[str, str], str] = {}
        with progress_bar(self.task.title, len(self.parts) + 1) as advance:
            for part in self.parts:
                with within_step(advance) as advance_part:
                    methods = self.task.methods(part)
                    for method in methods:
                        advance_method = functools.partial(_advance_share, advance_part, 1 / len(methods))
                        self._advance(part, method, left_out, advance_method)
            self.results = {**self.task.about(), "sections": self._sections(left_out)}
            self._keep_answers()
            for name, figure in self.task.figures(self):
                save_figure(figure, self.run.figures, name)
            advance(1, "figures")
        self.run.write_results(self.results)
        self.run.write_table("\n".join(self._table()))

    def _advance(self, part: Part, method: Method, left_out: dict[tuple[str, str], str], advance: Advance) -> None:
        """Do a job, unless it is done, or the method was left out of the section."""
        key = part.section, method.name
        with within_step(advance) as advance_job:
            if key in left_out:
                return
            if not self.is_done(part, method.name):
                news = f"{'model of all trials' if part.name == OWN else part.name}, {method.name}"
                advance(0, news)
                self._do(part, method, advance_job, news)
            if part.name != OWN and (why := self.found(part, method.name).get("left_out")) is not None:
                left_out[key] = why

    def _do(self, part: Part, method: Method, advance: Advance, news: str) -> None:
        """Fit, predict, measure; leaves results and the answer, or why the method is left out."""
        folder = self.folder(part, method.name)
        say = lambda share, words: advance(share, f"{news}: {words}")  # noqa: E731
        try:
            fitted, seconds = self.fit(part, method, say)
            if part.name == OWN:
                cast(FittedModel, fitted).save(folder)
                folder.delete_tensors("checkpoint")
                return
            assert part.test is not None
            started = time.monotonic()
            answer = fitted.predict(self._question_of(part.test, method))
            predict_seconds = time.monotonic() - started
        except (InputError, MemoryError) as error:
            if method.kind in ("model", "control"):
                raise
            folder.write_results({"left_out": str(error) or "it needs more memory than there is."})
            return
        measured = self.task.measure(answer, self._truth(part))
        self._write_answer(folder, answer)
        folder.write_results(
            {
                "scores": measured.scores,
                "sums": measured.sums,
                "more": measured.more,
                "n_parameters": fitted.n_parameters,
                "fit_seconds": fitted.about.get("fit_seconds", seconds),
                "predict_seconds": predict_seconds,
                "about": fitted.about,
            }
        )
        folder.delete_tensors("checkpoint")

    def fit(self, part: Part, method: Method, say: Any = None) -> tuple[Fitted, float]:
        """A method that has learned from a part, and the seconds that took; parts may share what they learn from."""
        known = self._fitted.get(method.name)
        if known is None or known[0] is not part.train:
            started = time.monotonic()
            folder = self.folder(part, method.name)
            fitted = method.fit(part.train, None if part.name == OWN else self.task.question, run=folder, say=say)
            known = part.train, fitted, time.monotonic() - started
            self._fitted[method.name] = known
        return known[1:]

    def _question_of(self, test: PopulationDataset, method: Method) -> PopulationDataset:
        """Test trials as a method sees them: without targets, but for an oracle."""
        seen = self.task.seen(test)
        return seen if method.kind == "oracle" else seen.map(without_targets)

    @functools.lru_cache(maxsize=1)  # noqa: B019 (an evaluation lives as long as its verb)
    def _truth(self, part: Part) -> Any:
        return self.task.truth(part)

    # ------------------------------------------------------------------ what was found

    def found(self, part: Part, method: str) -> dict[str, Any]:
        """What a job left: scores and costs, or why it was left out."""
        folder = self.folder(part, method)
        results = folder.read_results()
        if isinstance(results.get("left_out"), str):
            return results
        try:
            scores = {name: from_plain(Score, score) for name, score in results["scores"].items()}
            sums = _sums(results["sums"])
            costs = [results[name] + 0.0 for name in ("n_parameters", "fit_seconds", "predict_seconds")]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder.folder}/results.json is damaged (it holds no scores); delete it and run again."
            ) from error
        del costs
        return {**results, "scores": scores, "sums": sums}

    def history(self, part: Part, method: str) -> dict[str, list[float]]:
        """How the training of a model went, by column."""
        rows = self.found(part, method)["about"]["history"]
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
            tensors[name] = torch.from_numpy(np.ascontiguousarray(array))
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
                    self._do(part, method, lambda *_: None, "")

    def sections(self) -> dict[str, list[Part]]:
        """Parts that are tested on, by section."""
        found: dict[str, list[Part]] = {}
        for part in self.tested:
            found.setdefault(part.section, []).append(part)
        return found

    def _sections(self, left_out: Mapping[tuple[str, str], str]) -> dict[str, Any]:
        """What results.json holds of every section."""
        sections = {}
        for section, parts in self.sections().items():
            kinds = {method.name: method.kind for part in parts for method in self.task.methods(part)}
            of_section = {name: why for (where, name), why in left_out.items() if where == section}
            found = {
                name: [self.found(part, name) for part in parts if name in {m.name for m in self.task.methods(part)}]
                for name in kinds
                if name not in of_section
            }
            sections[section] = {**self._compared(found, kinds), "left_out": of_section}
        return sections

    def _compared(self, found: Mapping[str, list[dict[str, Any]]], kinds: Mapping[str, str]) -> dict[str, Any]:
        """The methods of a section: models, then rivals from the best, oracles, controls; and how they differ."""
        task, main = self.task, self._main
        sums = {name: _pooled([part["sums"] for part in parts]) for name, parts in found.items()}
        scores = {name: self._scores([part["scores"] for part in parts], sums[name]) for name, parts in found.items()}
        sign = 1 if task.columns[main].is_error else -1

        def rank(name: str) -> tuple[int, bool, float]:
            value = scores[name][main].value if main in scores[name] else math.nan
            return ("model", "rival", "oracle", "control").index(kinds[name]), math.isnan(value), sign * value

        names = sorted(found, key=rank)
        rivals = [name for name in names if kinds[name] == "rival" and main in scores[name]]
        best = rivals[0] if rivals else None
        samples = {
            name: scores[name][main].samples
            for name in names
            if kinds[name] in ("model", "rival") and main in scores[name] and _is_known(scores[name][main].samples)
        }
        rows = {}
        if best in samples:
            known = {name: some for name in samples if (some := sums[name]) is not None}
            table = compare_table(samples, against=best, test_fraction=task.test_fraction, trials=known)
            rows = {row.method: row for row in table if row.method != best}
        methods: dict[str, Any] = {}
        for name in names:
            parts = found[name]
            methods[name] = {
                "kind": kinds[name],
                "scores": scores[name],
                "n_parameters": int(parts[0]["n_parameters"]),
                "fit_seconds": float(np.mean([part["fit_seconds"] for part in parts])),
                "predict_seconds": float(np.mean([part["predict_seconds"] for part in parts])),
                **{key: parts[0]["about"][key] for key in ("chosen",) if parts[0]["about"].get(key)},
                **({"more": parts[0]["more"]} if parts[0]["more"] else {}),
            }
            if (row := rows.get(name)) is not None:
                methods[name] |= {
                    "difference": row.difference,
                    "difference_interval": row.difference_interval,
                    "p_holm": row.p_holm,
                }
        return {"best_rival": best, "methods": methods}

    def _scores(self, parts: Sequence[Mapping[str, Score]], sums: TrialSums | None) -> dict[str, Score]:
        """The scores of a method in a section: as they were measured, or over folds."""
        if self.task.test_fraction is None:
            (only,) = parts
            return dict(only)
        scores = {}
        for name in parts[0]:
            values = [part[name].value for part in parts]
            how: dict[str, Any] = {"test_fraction": self.task.test_fraction, "bounds": self.task.columns[name].bounds}
            estimate = estimate_mean(values, trials=sums, **how)
            scores[name] = Score(estimate.mean, estimate.interval, tuple(values))
        return scores

    # ------------------------------------------------------------------ the table

    def _table(self) -> Iterator[str]:
        notes = list(self.task.notes(self))
        parts = self.sections()
        is_first = True
        for section, found in self.results["sections"].items():
            if heading := self.task.heading(section, parts[section]):
                yield from ([] if is_first else [""])
                yield from (f"## {heading}", "")
            yield markdown(self._rows(found))
            below = [f"{name} is left out: {in_markdown(' '.join(why.split()), most=1000)}"
                     for name, why in found["left_out"].items()]  # fmt: skip
            chosen = [
                f"{name}: {', '.join(f'{key} {value}' for key, value in method['chosen'].items())}"
                for name, method in found["methods"].items()
                if method.get("chosen")
            ]
            below = [*([f"Chosen on training trials: {'; '.join(chosen)}."] if chosen else []), *below]
            yield from ["", *below] if below else []
            is_first = False
        yield from ["", *notes] if notes else []

    def _rows(self, found: Mapping[str, Any]) -> list[list[str]]:
        """The cells of a section, its head first."""
        methods, best = found["methods"], found["best_rival"]
        columns = {
            name: column
            for name, column in self.task.columns.items()
            if any(name in method["scores"] for method in methods.values())
        }
        is_compared = any("difference" in method for method in methods.values())
        head = ["method"]
        for key, column in columns.items():
            head.append(column.heading + (f" [{column.interval_name}]" if column.has_interval else ""))
            head += [f"− {best} [95 %]", "p (Holm)"] if key == self._main and is_compared else []
        rows = [[*head, "parameters", "fit (s)", "predict (s)"]]
        for name, method in methods.items():
            row = [in_markdown(name)]
            for key, column in columns.items():
                row.append(cell(method["scores"].get(key), column))
                if key == self._main and is_compared:
                    row += _difference_cells(method, column)
            costs = [f"{method['fit_seconds']:.1f}", f"{method['predict_seconds']:.1f}"]
            rows.append([*row, f"{method['n_parameters']:,}", *costs])
        return rows


def cell(score: Score | None, column: Column) -> str:
    """A score as a table shows it."""
    if score is None or math.isnan(score.value):
        return ""
    interval = score.interval if column.has_interval else None
    return f"{score.value:{column.form}}" + interval_text(interval, form=column.form)


def _difference_cells(method: Mapping[str, Any], column: Column) -> list[str]:
    if method.get("difference") is None:
        return ["", ""]
    form = column.form
    return [
        f"{method['difference']:+{form}}" + interval_text(method["difference_interval"], form=form),
        p_text(method["p_holm"]),
    ]


def without_targets(recording: Recording) -> Recording:
    """A recording that tells nothing of what is asked: neither targets nor what else is known of it."""
    return dataclasses.replace(recording, targets={}, target_levels={}, metadata={})


def part_name(recording: Recording) -> str:
    """The folder of the part that is one recording."""
    return f"parts/{in_path(recording.name)}"


def _sums(plain: Mapping[str, Any] | None) -> TrialSums | None:
    if plain is None:
        return None
    return TrialSums(plain["metric"], plain["trials"], [np.asarray(one, dtype=np.float64) for one in plain["sums"]])


def _advance_share(advance: Advance, share: float, done: float, news: str) -> None:
    advance(share * done, news)


def _pooled(sums: Sequence[TrialSums | None]) -> TrialSums | None:
    known = [one for one in sums if one is not None]
    if len(known) < len(sums) or not known:
        return None
    return TrialSums(known[0].metric, [t for one in known for t in one.trials], [s for one in known for s in one.sums])


def _is_known(samples: Sequence[float]) -> bool:
    return len(samples) > 0 and bool(np.isfinite(samples).all())

"""Benchmark: every method on the same recordings, folds, seeds and windows; tables, figures, and all scores.

1. Cells: what is asked, by presets and for recordings of the user's own.
2. Jobs: a decoding for each cell, seed and fraction of the training trials; all are checked before the first begins.
3. Scores of a cell's seeds are brought together, and methods are compared with the best rival.
4. Report: benchmark.md, benchmark.json, benchmark.csv and figures.

Every job is a run of `motet decode`, which is not done twice: run it again to go on, or to add seeds or fractions.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.figure import Figure

from motet.data.preprocess import PreprocessSettings
from motet.data.readers import write_recording
from motet.errors import InputError
from motet.files import locked_folder, write_text
from motet.models.eit import EITSettings
from motet.names import csv_text, in_markdown, in_path
from motet.plain import as_plain, to_yaml
from motet.progress import Advance, progress_bar
from motet.report.scores import fraction_curves, score_comparison, score_differences
from motet.report.style import save_figure
from motet.rivals.method import Kind
from motet.settings import Count, NonNegative, Seed, Settings, Share
from motet.statistics import Score, interval_text, markdown, p_text
from motet.systems.population import simulate_population
from motet.tasks.comparison import Column, Comparison, Found, LeftOut, Measured
from motet.tasks.decode import IGNORANT, DecodeSettings, Metric
from motet.tasks.evaluate import folder_of, found_in
from motet.tasks.find import stem
from motet.tasks.jobs import Compared, complete_all
from motet.tasks.outcome import Outcome, begin
from motet.tasks.presets import PRESETS, PROTOCOL, Cell
from motet.tasks.verbs import command_line
from motet.training.objectives import ObjectiveSettings
from motet.training.run import Run, environment
from motet.training.settings import TrainingSettings
from motet.trial_sums import TrialSums

SHARED = ("model", "objective", "training", "preprocess", "rule", "members")  # by all cells
ASKED = PROTOCOL | {"reading"}  # of the user's own recordings


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Settings):
    """What methods are compared on.

    Attributes:
        what: presets (reach, reach-paper, sleep, population, unseen; quick, to see that all works), and recordings of
            your own: files, or names in the catalogue.
        target: of recordings of your own; integers and strings are classified, floats regressed.
        output: folder of all runs, tables and figures; by default "runs/benchmark-<what>".
        reading: options for reading files of your own, by name.
        bins: of your own recordings, as all from here to `causal`: how many first bins of each trial are read.
        window: bins per window, each of which is a trial.
        stride: bins between the starts of two windows.
        folds: of the cross-validation.
        tested_folds: how many of them are tested, the last ones; by default all.
        by: what the folds part: trials, contiguous blocks of time.
        gap_seconds: by time, what is left out between train and test; by default one trial (or window).
        metric: by default accuracy, or R² for a quantity.
        causal: whether models decode a bin from the bins up to it alone.
        seeds: each parts the trials into other folds (by trial), and starts models anew.
        rivals: "all": every one that decodes such a target, those that take long too (not in `quick`); or their names.
        control: whether a model is trained on shuffled targets too, with the first seed, which takes as long again.
        learning_curve: fractions of the training trials from which all methods learn too, tested on the same trials.
        jobs: processes at a time, among which cores are shared.
        page: where the page goes too, with its figures in a folder beside it, such as docs/results/reach.md.
        model: of all cells; see EITSettings.
        objective: see ObjectiveSettings.
        training: see TrainingSettings.
        preprocess: see PreprocessSettings.
        rule: see EITClassifier.
        members: see EITClassifier.
    """

    positionals: ClassVar = ("what",)

    what: tuple[str, ...]
    target: str | None = None
    output: str | None = None
    reading: dict[str, Any] | None = None
    bins: Count | None = None
    window: Count | None = None
    stride: Count = 1
    folds: Count = 5
    tested_folds: Count | None = None
    by: Literal["trial", "time"] = "trial"
    gap_seconds: NonNegative | None = None
    metric: Metric | None = None
    causal: bool = False
    seeds: tuple[Seed, ...] = (0, 1, 2)
    rivals: Literal["all"] | tuple[str, ...] = "all"
    control: bool = True
    learning_curve: tuple[Share, ...] = ()
    jobs: Count = 1
    page: str | None = None
    model: EITSettings = EITSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    rule: str = "auto"
    members: Count = 3

    def check(self) -> None:
        if not self.what or not self.seeds:
            raise InputError("what and seeds say what is compared; give one of each at least.")
        for name in ("what", "seeds", "learning_curve"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InputError(f"{name} is {list(getattr(self, name))}; give each once.")
        if self.own and self.target is None:
            raise InputError(
                f"{self.own[0]} is no preset ({', '.join(PRESETS)}), and target says nothing; give the target that is "
                "decoded from this recording."
            )
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in sorted(ASKED | {"target"}):
            if not self.own and getattr(self, name) != defaults[name]:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, and presets have protocols of their own; give recordings, or "
                    f"leave {name} out."
                )
        if self.training.devices * self.training.n_nodes > 1:
            raise InputError("training.devices × n_nodes is above 1; a benchmark trains each model in one process.")

    @property
    def own(self) -> list[str]:
        """Recordings that are no presets."""
        return [name for name in self.what if name not in PRESETS]

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/benchmark-{stem(self.what[0])}")

    @property
    def cells(self) -> list[Cell]:
        """All that is asked; what two presets share is asked once.

        Raises:
            InputError: if two recordings would have one folder.
        """
        options = {name: getattr(self, name) for name in ASKED}
        own = [Cell(f"{self.target}/{stem(name)}", name, self.target or "", options) for name in self.own]
        preset = [cell for name in self.what for cell in PRESETS.get(name, ())]
        cells = list(dict.fromkeys([*preset, *own]))
        for number, cell in enumerate(cells):
            if other := [one for one in cells[:number] if in_path(one.name) == in_path(cell.name)]:
                raise InputError(
                    f"{other[0].recording} and {cell.recording} would both be called {cell.name!r}; rename a file, or "
                    "benchmark them one by one."
                )
        return cells


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One decoding.

    Attributes:
        cell: what is asked.
        seed: of folds and models.
        fraction: of the training trials.
        settings: of the decoding.
        columns: its scores, known once it is checked.
        main: the score that is compared.
    """

    cell: Cell
    seed: int
    fraction: float
    settings: DecodeSettings
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    main: str = ""

    @property
    def run(self) -> Run:
        return Run(self.settings.folder)

    @functools.cached_property
    def results(self) -> Mapping[str, Any]:
        """What it left, once it is finished."""
        return self.run.read_results()

    @functools.cached_property
    def found(self) -> Mapping[str, tuple[Kind, list[Found | LeftOut]]]:
        """By method, its kind, and what it came to on every fold; or once that it is left out."""
        (section,) = self.results["sections"].values()
        found: dict[str, tuple[Kind, list[Found | LeftOut]]] = {
            name: ("rival", [LeftOut(why)]) for name, why in section["left_out"].items()
        }
        for name, about in section["methods"].items():
            parts = [self.run.part(f"folds/{fold:02d}/{folder_of(name)}") for fold in range(self.settings.n_tested)]
            found[name] = about["kind"], [found_in(part) for part in parts]
        return found

    @property
    def has_fixed_folds(self) -> bool:
        """Whether every seed tests the same trials: blocks of time are where they are."""
        return self.settings.by == "time"

    def checked(self, advance: Advance) -> Job:
        """What is known of it once its recording was read; a step of a bar.

        Raises:
            InputError: if it cannot be done, or its folder holds another decoding.
        """
        try:
            task = Compared(self.settings)
            if self.run.has_work:
                with self.run.claimed():
                    begin(self.run, self.settings, task.inputs)
        except InputError as error:
            raise InputError(f"{self.cell.name}, seed {self.seed}: {error}") from error
        advance(1, self.cell.name)
        return dataclasses.replace(self, columns=task.columns, main=task.main or next(iter(task.columns)))


def benchmark(settings: BenchmarkSettings) -> Outcome:
    """Compare all methods over the same folds, seeds and windows; leaves tables, figures and every score.

    What was finished before is kept: run it again to go on after an interruption, or to add seeds.

    Raises:
        InputError: before anything runs, for recordings, targets, folds or settings that cannot be used.
    """
    with locked_folder(settings.folder):
        cells = {cell: list(_jobs(settings, cell)) for cell in settings.cells}
        with progress_bar("checks", sum(map(len, cells.values()))) as advance:
            cells = {cell: [job.checked(advance) for job in of_cell] for cell, of_cell in cells.items()}
        jobs = _in_order([job for of_cell in cells.values() for job in of_cell])
        todo = [job for job in jobs if not job.run.is_finished]
        failed: dict[Path, str] = {}
        with progress_bar("benchmark", len(todo)) as advance:
            found = complete_all([job.settings for job in todo], settings.jobs, advance)
            failed = {job.settings.folder: why for job, why in zip(todo, found, strict=True) if why is not None}
        tables = [CellTable(cell, of_cell, failed) for cell, of_cell in cells.items()]
        return _report(settings, tables)


def _jobs(settings: BenchmarkSettings, cell: Cell) -> Iterator[Job]:
    """All decodings of a cell; a simulated recording is made first."""
    recording = cell.recording
    if cell.simulated is not None:
        file = settings.folder / "data" / f"{cell.recording}.npz"
        if not file.exists():
            (made,) = (one for one in simulate_population(cell.simulated) if one.subject == cell.recording)
            write_recording(made, file)
        recording = str(file)
    shared = {name: getattr(settings, name) for name in SHARED}
    options = {**shared, **cell.options}
    rivals = options.pop("rivals", "all") if settings.rivals == "all" else settings.rivals
    options.pop("rivals", None)
    if options.pop("causal", False):
        options["model"] = dataclasses.replace(options["model"], causal=True)
    for fraction in (1.0, *sorted(set(settings.learning_curve) - {1.0}, reverse=True)):
        for number, seed in enumerate(settings.seeds):
            name = f"seed-{seed}" if fraction == 1 else f"seed-{seed}-of-{fraction:g}"
            learns_the_same = options.get("by") == "time" and fraction == 1 and number > 0
            made_of = DecodeSettings(
                recordings=(recording,),
                target=cell.target,
                output=str(settings.folder / "cells" / in_path(cell.name) / name),
                train_fraction=fraction,
                rivals=False if learns_the_same else rivals,
                control=settings.control and fraction == 1 and number == 0,
                final=False,
                seed=seed,
                **options,
            )
            yield Job(cell, seed, fraction, made_of)


def _in_order(jobs: Sequence[Job]) -> list[Job]:
    """What says most comes first: all trials before fractions of them, and one seed of all cells before the next."""
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    return sorted(jobs, key=lambda job: (-job.fraction, seeds.index(job.seed)))


# ------------------------------------------------------------------ what a cell came to


class CellTable:
    """The methods of a cell beside each other, over all seeds.

    Args:
        cell: what was asked.
        jobs: of it.
        failed: why decodings failed that did, by folder.

    Attributes:
        comparison: of all methods that learned from all training trials; None if every decoding failed.
        curve: by the mean number of training trials, the comparison of those that learned from so many.
        failed: which decodings failed, and why.
    """

    def __init__(self, cell: Cell, jobs: Sequence[Job], failed: Mapping[Path, str]) -> None:
        self.cell, self.jobs = cell, jobs
        self.failed = {
            f"seed {job.seed}" + ("" if job.fraction == 1 else f", {job.fraction:g} of the trials"): why
            for job in jobs
            if (why := failed.get(job.settings.folder)) is not None
        }
        self.finished = [job for job in jobs if job.settings.folder not in failed]
        by_fraction = {fraction: self._compared(fraction) for fraction in sorted({job.fraction for job in jobs})}
        self.comparison = by_fraction[1.0]
        self.curve = {
            self._n_train(fraction): compared for fraction, compared in by_fraction.items() if compared is not None
        }

    @property
    def column(self) -> Column:
        """Of the score that is compared."""
        return self.jobs[0].columns[self.jobs[0].main]

    def models(self) -> list[str]:
        """Those that are compared with rivals."""
        kinds = {} if self.comparison is None else self.comparison.kinds
        return [name for name, kind in kinds.items() if kind == "model"]

    def _of(self, fraction: float) -> list[Job]:
        return [job for job in self.finished if job.fraction == fraction]

    def _n_train(self, fraction: float) -> float:
        """Mean over folds."""
        return float(np.mean([n for job in self._of(fraction) for n in job.results["n_train"]]))

    def _compared(self, fraction: float) -> Comparison | None:
        """Methods over the folds of all seeds, or over folds alone where these are the same for every seed."""
        jobs, kinds = self._of(fraction), dict[str, Kind]()
        found: dict[str, list[Found | LeftOut]] = {}
        for job in jobs:
            for name, (kind, folds) in job.found.items():
                kinds[name] = kind
                found.setdefault(name, []).extend(folds)
        if not jobs:
            return None
        if jobs[0].has_fixed_folds:
            n_folds = jobs[0].settings.n_tested
            found = {name: _over_seeds(all_, n_folds) for name, all_ in found.items()}
        return Comparison.of(
            found,
            kinds,
            section="",
            heading="",
            columns=jobs[0].columns,
            main=jobs[0].main,
            test_fraction=jobs[0].settings.test_fraction,
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every score: a row per seed, fraction, fold, method and score."""
        for job in self.finished:
            n_train = job.results["n_train"]
            for method, (kind, folds) in job.found.items():
                for fold, one in enumerate(folds):
                    about: dict[str, Any] = {"cell": self.cell.name, "recording": self.cell.recording}
                    about |= {"target": self.cell.target, "seed": job.seed, "train_fraction": job.fraction}
                    about |= {"method": method, "kind": kind}
                    if isinstance(one, LeftOut):
                        yield about | {"left_out": one.why}
                        continue
                    costs = {name: getattr(one, name) for name in ("n_parameters", "fit_seconds", "predict_seconds")}
                    for name, score in one.measured.scores.items():
                        value = {"fold": fold, "score": name, "value": score.value, "n_train": n_train[fold]}
                        yield about | value | costs

    def results(self) -> dict[str, Any]:
        """What benchmark.json holds of it."""
        job = self.jobs[0]
        return {
            "recording": self.cell.recording,
            "target": self.cell.target,
            "protocol": dict(self.cell.options),
            "main": job.main,
            "seeds": [one.seed for one in self._of(1.0)],
            "failed": self.failed,
            **({} if self.comparison is None else self.comparison.results()),
            "learning_curve": [
                {"n_train": n_train, "scores": compared.scores, "left_out": compared.left_out}
                for n_train, compared in self.curve.items()
            ],
        }


def _over_seeds(found: Sequence[Found | LeftOut], n_folds: int) -> list[Found | LeftOut]:
    """Of seeds that test the same folds, their mean on each fold; those of one seed follow each other."""
    left_out = [one for one in found if isinstance(one, LeftOut)]
    known = [one for one in found if isinstance(one, Found)]
    return [*left_out, *(_mean(known[fold::n_folds]) for fold in range(n_folds) if known)]


def _mean(found: Sequence[Found]) -> Found:
    """What a method came to on one fold, over seeds."""
    first, n = found[0], len(found)
    scores = {
        name: Score(float(np.mean([one.measured.scores[name].value for one in found])))
        for name in first.measured.scores
        if all(name in one.measured.scores for one in found)
    }
    sums = [one.measured.sums for one in found]
    known = [one for one in sums if one is not None]
    pooled = None
    if len(known) == n:
        trials, added = ([part for one in known for part in getattr(one, side)] for side in ("trials", "sums"))
        pooled = TrialSums(known[0].metric, trials, added)
    fails = [why for one in found if (why := one.about.get("did_not_converge"))]
    return dataclasses.replace(
        first,
        measured=Measured(scores, pooled, first.measured.more),
        fit_seconds=sum(one.fit_seconds for one in found) / n,
        predict_seconds=sum(one.predict_seconds for one in found) / n,
        about={**first.about, **({"did_not_converge": fails[0]} if fails else {})},
    )


# ------------------------------------------------------------------ what people read

CSV = (
    *("cell", "recording", "target", "seed", "train_fraction", "n_train", "fold", "method", "kind", "score", "value"),
    *("n_parameters", "fit_seconds", "predict_seconds", "left_out"),
)
WORDS = """
Every method of a table saw the same trials, windows and bins, with the same folds and seeds ({seeds}). Statistics of the input, and all
that is tuned, come from training trials alone; targets of test trials are stripped before a method predicts. Means are over folds and seeds,
with a 95 % interval; differences are paired, against the best rival of the table, with the corrected resampled t-test (Nadeau and
Bengio) and Holm's correction over its rows. Folds in blocks of time are the same for every seed: there, scores are averaged over seeds
first, and rivals learn once. Effect: mean ÷ standard deviation of the paired differences; won–lost: folds. A model on shuffled
targets shows chance. Parameters are those of the first fold, seconds the mean of a fold: {machine}.
""".strip()  # noqa: E501


def _report(settings: BenchmarkSettings, tables: Sequence[CellTable]) -> Outcome:
    """Write what was found; the outcome shows the overview."""
    run, figures = Run(settings.folder), dict(_figures(" ".join(settings.what), tables))
    pages = {run.folder / "benchmark.md": run.figures}
    if settings.page is not None:
        pages[Path(settings.page)] = Path(settings.page).with_suffix("")
    for path, folder in pages.items():
        for name, figure in figures.items():
            save_figure(figure, folder, name)
        write_text(path, "\n\n".join(_page(settings, tables, folder.name, figures)) + "\n")
    results = as_plain({"what": settings.what, "cells": {table.cell.name: table.results() for table in tables}})
    rows = [[row.get(name, "") for name in CSV] for table in tables for row in table.rows()]
    write_text(run.folder / "settings.yaml", to_yaml(as_plain(settings)))
    write_text(run.folder / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(run.folder / "benchmark.csv", csv_text(CSV, rows))
    return Outcome(run, _overview(tables), results)


def _page(
    settings: BenchmarkSettings, tables: Sequence[CellTable], folder: str, figures: Collection[str]
) -> Iterator[str]:
    """Its paragraphs; figures are in that folder beside it."""
    computer = environment()
    threads = f"{settings.jobs} at a time" if settings.jobs > 1 else f"{computer['threads']} thread(s)"
    where = computer["gpu"] or "CPU"
    yield f"# Benchmark: {in_markdown(' '.join(settings.what))}"
    yield f"Made by `{command_line('benchmark', settings, leave_out=('output', 'jobs', 'page'))}`."
    yield WORDS.format(
        seeds=", ".join(map(str, settings.seeds)), machine=f"{where}, {threads}, torch {computer['torch']}"
    )
    yield _overview(tables)
    for name, words in {"overview": "Methods beside the best rival", "learning_curves": "Learning curves"}.items():
        if name in figures:
            yield f"![{words}]({folder}/{name}.png)"
    for table in tables:
        yield f"## {in_markdown(table.cell.name)}"
        yield _protocol(table)
        if table.comparison is not None:
            yield table.comparison.table(with_effects=True)
        if len(table.curve) > 1:
            yield _curve(table)
        if table.failed:
            yield "\n".join(f"Failed, {which}: {in_markdown(why, most=1000)}" for which, why in table.failed.items())


def _protocol(table: CellTable) -> str:
    """What was asked, in words."""
    s, cell = table.jobs[0].settings, table.cell
    folds = f"{s.folds} folds" if s.n_tested == s.folds else f"the last {s.n_tested} of {s.folds} folds"
    said = [f"{cell.recording}: {cell.target}, {table.column.heading}, {folds} by {s.by}"]
    said += [
        f"{name.replace('_', ' ')} {value}"
        for name in ("bins", "window", "gap_seconds")
        if (value := getattr(s, name)) is not None
    ]
    said += [f"stride {s.stride}"] if s.window is not None and s.stride > 1 else []
    said += ["causal models"] if s.model.causal else []
    n_train = f"{max(table.curve):.0f} training trials in a fold" if table.curve else ""
    return in_markdown("; ".join(filter(None, [*said, n_train])), most=1000) + "."


def _overview(tables: Sequence[CellTable]) -> str:
    """Models beside the best rival, a row each for every cell."""
    rows = [
        ["cell", "score", "method", "mean [95 %]", "best rival", "difference [95 %]", "p (Holm)", "effect", "won–lost"]
    ]
    for table in tables:
        compared, head = table.comparison, [in_markdown(table.cell.name), table.column.heading]
        if compared is None or not table.models():
            why = "; ".join(table.failed.values()) or "no model gave an answer; see its table"
            rows.append([*head, in_markdown(f"failed: {why}"), *[""] * 6])
            continue
        best, results = compared.best_rival, compared.results()["methods"]
        rival = "" if best is None else f"{table.column.cell(_bare(compared.scores[best][compared.main]))} ({best})"
        for name in table.models():
            row = [*head, in_markdown(name), table.column.cell(compared.scores[name].get(compared.main)), rival]
            if name in compared.differences:
                difference, found = compared.differences[name], results[name]["effect"]
                row.append(f"{difference.mean:+.3f}{interval_text(difference.interval)}")
                row += [p_text(difference.p), "" if found.size is None else f"{found.size:+.2f}"]
                row.append(f"{found.wins}–{found.losses}")
            rows.append([*row, *[""] * (len(rows[0]) - len(row))])
    return markdown(rows)


def _bare(score: Score) -> Score:
    return Score(score.value)


def _curve(table: CellTable) -> str:
    """Scores against the number of training trials."""
    names = [] if table.comparison is None else [n for n, kind in table.comparison.kinds.items() if kind != "control"]
    head = [f"{table.column.heading} from training trials", *(f"{n:.0f}" for n in table.curve)]
    rows = [
        [
            in_markdown(name),
            *(table.column.cell(one.scores.get(name, {}).get(one.main)) for one in table.curve.values()),
        ]
        for name in names
    ]
    return markdown([head, *rows])


def _figures(title: str, tables: Sequence[CellTable]) -> Iterator[tuple[str, Figure]]:
    compared = [(table, table.comparison) for table in tables if table.comparison is not None]
    differences = {
        table.cell.name: {
            name: (found.mean, found.interval, one.kinds[name] == "model") for name, found in one.differences.items()
        }
        for table, one in compared
        if one.differences
    }
    if differences:
        yield "overview", score_differences(differences, title=title)
    for table, one in compared:
        scores = {name: by_name[one.main] for name, by_name in one.scores.items() if one.main in by_name}
        if not scores:
            continue
        chance = {name for name in scores if one.kinds[name] == "control"} or IGNORANT & scores.keys()
        yield (
            in_path(table.cell.name),
            score_comparison(
                {name: np.asarray(score.samples) for name, score in scores.items()},
                table.column.heading,
                rivals={name for name in scores if one.kinds[name] == "rival"} - chance,
                chance=chance,
                intervals={name: score.interval for name, score in scores.items()},
                title=table.cell.name,
            ),
        )
    curves = {table.cell.name: _points(table) for table, _ in compared if len(table.curve) > 1}
    if curves:
        headings = {table.cell.name: table.column.heading for table, _ in compared}
        models = {name for table, _ in compared for name in table.models()}
        yield "learning_curves", fraction_curves(curves, headings, models=models, title=title)


def _points(table: CellTable) -> dict[str, dict[float, tuple[float, tuple[float, float] | None]]]:
    """Mean and interval by method and number of training trials."""
    points: dict[str, dict[float, tuple[float, tuple[float, float] | None]]] = {}
    for n_train, one in table.curve.items():
        for name, scores in one.scores.items():
            if one.main in scores and one.kinds[name] != "control":
                points.setdefault(name, {})[n_train] = scores[one.main].value, scores[one.main].interval
    return points

"""Benchmark: every method on the same recordings, folds, seeds and windows; tables, figures, and all scores.

1. Cells: what is asked, by presets and for recordings of the user's own.
2. Jobs: a decoding for each cell, seed and fraction of the training trials; all are checked before the first begins.
3. Scores of a cell's seeds are brought together, and methods are compared with the best rival.
4. Report: benchmark.md, benchmark.json, benchmark.csv and figures.

Every job is a run of `motet decode`, which is not done twice: run it again to go on, or to add seeds or fractions.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from motet.data.preprocess import PreprocessSettings
from motet.data.readers import write_recording
from motet.errors import InputError
from motet.files import locked_folder, write_text
from motet.models.eit import EITSettings
from motet.names import csv_text, in_path
from motet.plain import as_plain, to_yaml
from motet.progress import progress_bar
from motet.report.style import save_figure
from motet.settings import Count, NonNegative, Seed, Settings, Share
from motet.systems.population import simulate_population
from motet.tasks import benchmark_page
from motet.tasks.cells import CellTable, Job
from motet.tasks.decode import DecodeSettings, Metric
from motet.tasks.find import stem
from motet.tasks.jobs import complete_all
from motet.tasks.outcome import Outcome
from motet.tasks.presets import PRESETS, PROTOCOL, Cell
from motet.training.objectives import ObjectiveSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

CSV = (
    *("cell", "recording", "target", "seed", "train_fraction", "n_train", "fold", "method", "kind", "score", "value"),
    *("n_parameters", "fit_seconds", "predict_seconds", "left_out"),
)
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


def _report(settings: BenchmarkSettings, tables: Sequence[CellTable]) -> Outcome:
    """Write what was found; the outcome shows the overview."""
    run, figures = Run(settings.folder), dict(benchmark_page.figures(" ".join(settings.what), tables))
    pages = {run.folder / "benchmark.md": run.figures}
    if settings.page is not None:
        pages[Path(settings.page)] = Path(settings.page).with_suffix("")
    for path, folder in pages.items():
        for name, figure in figures.items():
            save_figure(figure, folder, name)
        write_text(path, "\n\n".join(benchmark_page.paragraphs(settings, tables, folder.name, figures)) + "\n")
    results = as_plain({"what": settings.what, "cells": {table.cell.name: table.results() for table in tables}})
    rows = [[row.get(name, "") for name in CSV] for table in tables for row in table.rows()]
    write_text(run.folder / "settings.yaml", to_yaml(as_plain(settings)))
    write_text(run.folder / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(run.folder / "benchmark.csv", csv_text(CSV, rows))
    return Outcome(run, benchmark_page.overview(tables), results)

"""A cell of `motet benchmark`: the decodings that it takes, and its methods beside each other once they are done."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motet.errors import InputError
from motet.progress import Advance
from motet.rivals.method import Kind
from motet.statistics import Score
from motet.tasks.comparison import Column, Comparison, Found, LeftOut, Measured
from motet.tasks.decode import DecodeSettings
from motet.tasks.evaluate import folder_of, found_in
from motet.tasks.jobs import Compared
from motet.tasks.outcome import begin
from motet.tasks.presets import Cell
from motet.training.run import Run
from motet.trial_sums import TrialSums


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

"""Decode a target from a population: cross-validated, beside classical rivals and chance on the same splits."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from motet.data.dataset import PopulationDataset, SplitBy
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.names import in_markdown, in_path
from motet.progress import Advance, progress_bar, within_step
from motet.rivals.registry import rivals_of
from motet.settings import check_choices, check_seed
from motet.statistics import FEWEST_FOLDS, Row, compare_table, estimate_mean, markdown_table
from motet.tasks.decode_fold import CONTROL, MODEL, Metric, fit_and_score, make_estimator, question_of, training_part
from motet.tasks.find import class_target, cut_trials, find_recordings
from motet.tasks.outcome import Outcome, begin, is_first_process
from motet.training.objectives import ObjectiveSettings, Target
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, end_training
from motet.trial_sums import BOUNDS, TrialSums

__all__ = ["CONTROL", "MODEL", "DecodeSettings", "decode"]


@dataclasses.dataclass(frozen=True)
class DecodeSettings:
    """What to decode, and how.

    Attributes:
        recordings: files, or names in the catalogue (motet data list); several are learned together.
        target: integers and strings are classified, floats regressed.
        output: the run's folder; by default "runs/decode-<recording>-<target>".
        reading: options for reading the files, by name, such as {targets: [choice], columns: {individual: neuron}};
            see motet.data.readers.trajectories.
        auxiliary: other targets to learn at the same time, with the weight of their loss.
        bins: how many first bins of each trial are read. By default all of them for a target per bin, and as many as
            the shortest trial has for a target per trial.
        window: cut trials into windows of this many bins, each one a trial to decode.
        stride: bins between the starts of two windows.
        folds: of the cross-validation; 0 for none, only the final model.
        repeats: of the cross-validation, in other orders.
        by: what the folds part: trials, contiguous blocks of time, recordings or subjects.
        gap_seconds: by time, what is left out between train and test; by default one trial (or window).
        metric: by default accuracy, or R² (dimensions weighted by variance) for a quantity.
        rivals: whether classical decoders are fitted to the same folds (one recording only). One that cannot read the
            data is left out, and the table says why.
        control: whether the model is also trained on shuffled targets, to show chance.
        final: whether a model of all trials is trained at the end, for motet predict.
        seed: of everything random.
        model: see EITSettings.
        objective: see ObjectiveSettings.
        training: see TrainingSettings.
        preprocess: see PreprocessSettings.
    """

    recordings: tuple[str, ...]
    target: str
    output: str | None = None
    reading: dict[str, Any] | None = None
    auxiliary: dict[str, float] | None = None
    bins: int | None = None
    window: int | None = None
    stride: int = 1
    folds: int = 5
    repeats: int = 1
    by: SplitBy = "trial"
    gap_seconds: float | None = None
    metric: Metric | None = None
    rivals: bool = True
    control: bool = True
    final: bool = True
    seed: int = 0
    model: EITSettings = EITSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    preprocess: PreprocessSettings = PreprocessSettings()

    def __post_init__(self) -> None:
        if isinstance(self.recordings, str) or not self.recordings:
            raise InputError(f"recordings is {self.recordings!r}; give a list of one file or name at least.")
        check_choices(self)
        for name, least in {"bins": 1, "window": 1, "stride": 1, "repeats": 1}.items():
            given = getattr(self, name)
            if given is not None and given < least:
                raise InputError(f"{name} is {given}; give at least {least}.")
        if self.folds != 0 and self.folds < 2:
            raise InputError(f"folds is {self.folds}; give at least 2, or 0 for none.")
        check_seed(self.seed)
        if self.gap_seconds is not None and not 0 <= self.gap_seconds < math.inf:
            raise InputError(f"gap_seconds is {self.gap_seconds}; give a number of seconds, not below 0.")

    @property
    def folder(self) -> Path:
        stem = Path(self.recordings[0]).stem if Path(self.recordings[0]).suffix else self.recordings[0]
        return Path(self.output or f"runs/decode-{in_path(stem)}-{in_path(self.target)}")


def decode(settings: DecodeSettings) -> Outcome:
    """Decode a target, cross-validated beside classical rivals and chance; leaves a run with table and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    recordings = find_recordings(settings.recordings, settings.reading)
    dataset = _cut(recordings, settings)
    is_quantity = dataset.target_values(settings.target)[0].dtype.kind == "f"
    metric: Metric = settings.metric or ("r2" if is_quantity else "accuracy")
    if (metric == "r2") != is_quantity:
        raise InputError(
            f"metric {metric!r} does not fit target {settings.target!r}; "
            f"give {'r2' if is_quantity else 'accuracy or macro_f1'}."
        )
    folds = list(_folds(dataset, settings, is_quantity=is_quantity))
    _check_targets(dataset, settings, is_quantity=is_quantity)
    methods = list(_methods(settings, dataset))
    run = Run(settings.folder)
    if not is_first_process(settings.training):
        _train_along(run, dataset, folds, methods, settings, is_quantity=is_quantity)
        return Outcome(run, "", {})
    with run.claimed():
        begin(run, settings, {"recordings": recordings.recordings})
        found = _compute(run, dataset, folds, methods, settings, metric)
        results, table = _results(found, settings, metric)
        if folds:
            from motet.tasks.decode_figures import draw_figures

            draw_figures(run, dataset, settings.target, n_folds=settings.folds, results=results)
        run.write_results(results)
        run.write_table(table)
    return Outcome(run, table, results)


def _cut(dataset: PopulationDataset, settings: DecodeSettings) -> PopulationDataset:
    """The bins to be read of every trial, whole trials or windows."""
    for target in (settings.target, *(settings.auxiliary or {})):
        dataset.target_values(target)
    cut = functools.partial(cut_trials, bins=settings.bins, window=settings.window, stride=settings.stride)
    return dataset.map(lambda recording: cut(recording, recording.target_levels.get(settings.target)))


def _check_targets(dataset: PopulationDataset, settings: DecodeSettings, *, is_quantity: bool) -> None:
    """An `InputError` if the model could not learn the target, or read the values."""
    Target.fit(dataset, settings.target, kind="quantity" if is_quantity else "class")
    for name in settings.auxiliary or {}:
        Target.fit(dataset, name)
    Preprocess.fit(dataset, settings.preprocess)


# ------------------------------------------------------------------ the jobs


def _jobs(n_folds: int, methods: list[str], settings: DecodeSettings) -> list[tuple[int, str]]:
    """Fold and method of everything that is fitted; chance is known well enough from one repeat."""
    folds = range(n_folds)
    return [(number, method) for number in folds for method in methods if method != CONTROL or number < settings.folds]


def _part(run: Run, number: int, method: str) -> Run:
    return run.part(f"folds/{number:02d}/{_file_name(method)}")


def _is_done(part: Run, method: str) -> bool:
    """Whether a part has all that tables and figures read."""
    return part.has_results and (method != MODEL or part.has_tensors("predictions"))


def _compute(
    run: Run,
    dataset: PopulationDataset,
    folds: list[tuple[PopulationDataset, PopulationDataset]],
    methods: list[str],
    settings: DecodeSettings,
    metric: Metric,
) -> dict[str, list[dict[str, Any]]]:
    """Fit all that is not fitted yet; what each method left in each fold."""
    jobs = _jobs(len(folds), methods, settings)
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    title = f"decode {settings.target}"
    with progress_bar(title, len(jobs) + settings.final) as advance:
        for number, method in jobs:
            part = _part(run, number, method)
            if not any("left_out" in results for results in found[method]):
                with within_step(advance) as advance_part:
                    if not _is_done(part, method):
                        n_epochs = settings.training.n_epochs(len(folds[number][0]))
                        where = f"fold {number + 1} of {len(folds)}, {method}"
                        say = functools.partial(_say_epoch, advance_part, where, n_epochs)
                        fit_and_score(method, *folds[number], settings, metric, part, say)
                    if method == MODEL:
                        end_training(part, "predictions")
                    part.delete_tensors("checkpoint")  # of the control
                    found[method].append(_read_part(part))
            else:
                advance(1, "")
            last = found[method][-1]
            advance(0, f"{method}: " + ("left out" if "left_out" in last else f"{last['score']:.3f}"))
        if settings.final:
            with within_step(advance) as advance_part:
                if not run.has_tensors("weights"):
                    n_epochs = settings.training.n_epochs(len(dataset))
                    say = functools.partial(_say_epoch, advance_part, "model of all trials", n_epochs)
                    make_estimator(settings, is_quantity=metric == "r2").fit(dataset, run=run, on_epoch=say).save(run)
                end_training(run, "weights")
    return found


def _read_part(part: Run) -> dict[str, Any]:
    """What `fit_and_score` left."""
    results = part.read_results()
    numbers = [results.get(name) for name in ("score", "fit_seconds", "n_parameters")]
    lists = [results.get(name) for name in ("trials", "trial_sums")]
    is_whole = all(isinstance(number, int | float) for number in numbers) and all(isinstance(x, list) for x in lists)
    if isinstance(results.get("left_out"), str) or is_whole:
        return results
    raise InputError(f"{part.folder}/results.json is damaged (it holds no score); delete it and run again.")


def _train_along(
    run: Run,
    dataset: PopulationDataset,
    folds: list[tuple[PopulationDataset, PopulationDataset]],
    methods: list[str],
    settings: DecodeSettings,
    *,
    is_quantity: bool,
) -> None:
    """What the other processes do: the same trainings in the same order, and nothing else.

    Whether a part is done cannot change before it is looked at: the first process waits in that training.
    """
    model = functools.partial(make_estimator, settings, is_quantity=is_quantity)
    for number, method in _jobs(len(folds), [method for method in methods if method in (MODEL, CONTROL)], settings):
        part = _part(run, number, method)
        if not _is_done(part, method):
            model().fit(training_part(method, folds[number][0], settings), run=part, on_epoch=_say_nothing)
    if settings.final and not run.has_tensors("weights"):
        model().fit(dataset, run=run, on_epoch=_say_nothing)


def _folds(
    dataset: PopulationDataset, settings: DecodeSettings, *, is_quantity: bool
) -> Iterator[tuple[PopulationDataset, PopulationDataset]]:
    if settings.folds == 0:
        return iter(())
    is_per_trial = dataset.recordings[0].target_levels.get(settings.target) == "trial"
    return dataset.folds(
        settings.folds,
        by=settings.by,
        n_repeats=settings.repeats,
        stratify=class_target(dataset.recordings[0], settings.target)
        if settings.by == "trial" and (is_per_trial or is_quantity)
        else None,
        gap_seconds=settings.gap_seconds,
        seed=settings.seed,
    )


def _methods(settings: DecodeSettings, dataset: PopulationDataset) -> Iterator[str]:
    """The model, the rivals that decode a target of that level, and the control."""
    yield MODEL
    if settings.rivals and len(dataset.recordings) == 1:
        for rival in rivals_of(question_of(dataset, settings.target)):
            yield rival.name
    if settings.control:
        yield CONTROL


def _results(
    found: Mapping[str, list[dict[str, Any]]], settings: DecodeSettings, metric: Metric
) -> tuple[dict[str, Any], str]:
    """What results.json holds, and the table for people."""
    if settings.folds == 0:
        return {"metric": metric, "methods": {}}, "no cross-validation was asked for (folds=0)"
    left_out = {m: parts[-1]["left_out"] for m, parts in found.items() if "left_out" in parts[-1]}
    scores = {method: parts for method, parts in found.items() if method not in left_out}
    folds = {method: np.asarray([part["score"] for part in parts]) for method, parts in scores.items()}
    trials = {method: _trial_sums(parts, metric) for method, parts in scores.items()}
    rivals = [method for method in folds if method not in (MODEL, CONTROL)]
    best = max(rivals, key=lambda method: float(folds[method].mean()), default=MODEL)
    how: dict[str, Any] = {"test_fraction": 1 / settings.folds, "bounds": BOUNDS[metric]}
    rows = compare_table({m: s for m, s in folds.items() if m != CONTROL}, against=best, trials=trials, **how)
    if CONTROL in folds:
        chance = estimate_mean(folds[CONTROL], trials=trials[CONTROL], **how)
        rows.append(Row(CONTROL, chance.mean, chance.interval))
    methods = {
        method: {
            "score": float(folds[method].mean()),
            "fold_scores": folds[method],
            "fit_seconds": float(np.mean([part["fit_seconds"] for part in parts])),
            "n_parameters": int(parts[0]["n_parameters"]),
        }
        for method, parts in scores.items()
    }
    more = {
        "parameters": [f"{methods[row.method]['n_parameters']:,}" for row in rows],
        "fit (s)": [f"{methods[row.method]['fit_seconds']:.1f}" for row in rows],
    }
    results = {"metric": metric, "best_rival": best, "methods": methods, "rows": rows, "left_out": left_out}
    notes = [*_how_to_read(settings, metric, best), *_silent(found[MODEL]), *_left_out(left_out)]
    return results, "\n".join([markdown_table(rows, against=best, more=more), "", *notes])


def _trial_sums(parts: list[dict[str, Any]], metric: Metric) -> TrialSums:
    return TrialSums(metric, [part["trials"] for part in parts], [np.asarray(part["trial_sums"]) for part in parts])


def _how_to_read(settings: DecodeSettings, metric: Metric, best: str) -> Iterator[str]:
    """What the figures of a table are."""
    folds = f"{settings.folds} folds" + (f" × {settings.repeats} repeats" if settings.repeats > 1 else "")
    score = {"accuracy": "accuracy", "macro_f1": "macro-F1", "r2": "R²"}[metric]
    yield f"Mean {score} over {folds}; differences from {best}" + (", the best rival here." if best != MODEL else ".")
    if settings.folds * settings.repeats < FEWEST_FOLDS:
        over = "Wilson's for so many test trials" if metric == "accuracy" else "by a bootstrap over test trials"
        yield f"Too few folds to tell how much they scatter: intervals are {over}, those of differences by a bootstrap."
    if settings.control:
        yield f"Chance is what '{CONTROL}' scores."


def _left_out(left_out: Mapping[str, str]) -> Iterator[str]:
    for method, why in left_out.items():
        yield f"{method} is left out: {in_markdown(' '.join(why.split()), most=1000)}"


def _silent(parts: list[dict[str, Any]]) -> Iterator[str]:
    """How many individuals are left out of a fold; nothing if none is."""
    counts = [part.get("n_silent", 0) for part in parts]
    if max(counts):
        counted = f"{max(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        yield f"{counted} of {parts[0]['n_individuals']} individuals never vary in training and are left out."


def _say_epoch(advance: Advance, where: str, n_epochs: int, row: Epoch) -> None:
    advance(1 / n_epochs, f"{where}: {row}")


def _say_nothing(row: Epoch) -> None:
    """For processes that do not print."""


def _file_name(method: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in method)

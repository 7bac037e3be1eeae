"""Decode a target from a population: cross-validated, beside classical rivals and chance on the same splits."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from motet import metrics
from motet.data.dataset import PopulationDataset, SplitBy
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators import EITClassifier, EITRegressor, known_predictions
from motet.files import write_text
from motet.models.baselines import BASELINES_CLASSIFY, BASELINES_REGRESS
from motet.models.eit import EITSettings
from motet.progress import Advance, progress_bar
from motet.statistics import Row, compare_table, estimate_mean, markdown_table
from motet.tasks.find import class_target, find_recordings
from motet.training.objectives import ObjectiveSettings
from motet.training.run import Run, as_plain
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch

Metric = Literal["accuracy", "macro_f1", "r2"]
MODEL, CONTROL = "eit", "eit, shuffled targets"


@dataclasses.dataclass(frozen=True)
class DecodeSettings:
    """What to decode, and how.

    Attributes:
        recordings: files, or names in the catalogue (motet data list); several are learned together.
        target: integers and strings are classified, floats regressed.
        output: the run's folder; by default "runs/decode-<recording>-<target>".
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
        rivals: whether classical decoders are fitted to the same folds (one recording only).
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

    @property
    def folder(self) -> Path:
        stem = Path(self.recordings[0]).stem if Path(self.recordings[0]).suffix else self.recordings[0]
        return Path(self.output or f"runs/decode-{stem.replace('/', '-')}-{self.target}")


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What `decode` leaves: the run, and its table.

    Attributes:
        run: the folder.
        table: markdown, one row per method.
        results: what results.json holds.
    """

    run: Run
    table: str
    results: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.table}\nrun and figures: {self.run.folder}"


def decode(settings: DecodeSettings) -> Decoded:
    """Decode a target, cross-validated beside classical rivals and chance; leaves a run with table and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    from motet.tasks.decode_figures import draw_figures

    dataset = _cut(find_recordings(settings.recordings), settings)
    is_quantity = dataset.target_values(settings.target)[0].dtype.kind == "f"
    metric: Metric = settings.metric or ("r2" if is_quantity else "accuracy")
    if (metric == "r2") != is_quantity:
        raise InputError(
            f"metric {metric!r} does not fit target {settings.target!r}; "
            f"give {'r2' if is_quantity else 'accuracy or macro_f1'}."
        )
    run = Run(settings.folder)
    run.write_settings({key: value for key, value in as_plain(settings).items() if key != "output"})
    folds = list(_folds(dataset, settings, is_quantity=is_quantity))
    methods = list(_methods(settings, dataset, is_quantity=is_quantity))
    n_steps = len(folds) * len(methods) + settings.final
    scores: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    with progress_bar(f"{settings.target} of {', '.join(settings.recordings)}", n_steps) as advance:
        for number, (train, test) in enumerate(folds):
            for method in methods:
                if method == CONTROL and number >= settings.folds:
                    continue  # chance is known well enough from one repeat
                part = run.part(f"folds/{number:02d}/{_file_name(method)}")
                if not part.has_results:
                    say = functools.partial(_say_epoch, advance, f"fold {number + 1} of {len(folds)}, {method}")
                    _fit_and_score(method, train, test, settings, metric, part, say)
                scores[method].append(part.read_results())
                advance(1, f"{method}: {scores[method][-1]['score']:.3f}")
        if settings.final and not run.has_tensors("weights"):
            say = functools.partial(_say_epoch, advance, "model of all trials")
            _estimator(settings, is_quantity=is_quantity).fit(dataset, run=run, on_epoch=say).save(run)
            run.delete_tensors("checkpoint")
    results, table = _results(scores, settings, metric)
    run.write_results(results)
    write_text(run.folder / "table.md", table + "\n")
    if folds:
        draw_figures(run, dataset, settings.target, n_folds=settings.folds, results=results)
    return Decoded(run, table, results)


def _cut(dataset: PopulationDataset, settings: DecodeSettings) -> PopulationDataset:
    """The bins to be read of every trial, whole trials or windows."""
    for target in (settings.target, *(settings.auxiliary or {})):
        dataset.target_values(target)

    def cut(recording: Recording) -> Recording:
        bins = settings.bins
        if bins is None and recording.target_levels.get(settings.target) == "trial":
            bins = int(recording.trial_lengths.min())
        if bins is not None and bins < 1:
            raise InputError(f"bins is {bins} for recording {recording.name!r}; give at least 1, or drop empty trials.")
        recording = recording.select(bins=slice(0, bins))
        return recording.windows(settings.window, stride=settings.stride) if settings.window else recording

    return dataset.map(cut)


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


def _methods(settings: DecodeSettings, dataset: PopulationDataset, *, is_quantity: bool) -> Iterator[str]:
    yield MODEL
    if settings.rivals and len(dataset.recordings) == 1:
        yield from BASELINES_REGRESS if is_quantity else BASELINES_CLASSIFY
    if settings.control:
        yield CONTROL


def _estimator(settings: DecodeSettings, *, is_quantity: bool, seed: int | None = None) -> EITClassifier | EITRegressor:
    return (EITRegressor if is_quantity else EITClassifier)(
        settings.target,
        auxiliary=settings.auxiliary,
        model=settings.model,
        objective=settings.objective,
        training=settings.training,
        preprocess=settings.preprocess,
        seed=settings.seed if seed is None else seed,
    )


def _fit_and_score(
    method: str,
    train: PopulationDataset,
    test: PopulationDataset,
    settings: DecodeSettings,
    metric: Metric,
    part: Run,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Fit one method to one fold, and leave its score and predictions in that part of the run."""
    is_quantity = metric == "r2"
    if method in (MODEL, CONTROL):
        if method == CONTROL:
            train = train.map(lambda recording: _shuffled(recording, settings.seed))
        estimator = _estimator(settings, is_quantity=is_quantity).fit(train, run=part, on_epoch=on_epoch)
        prediction = estimator.predict(test)
        about = {
            "fit_seconds": sum(row.seconds for row in estimator.history_),
            "n_parameters": estimator.n_parameters_,
        }
    else:
        started = time.monotonic()
        rival = (BASELINES_REGRESS if is_quantity else BASELINES_CLASSIFY)[method]
        fitted = rival.fit(train.recordings[0], settings.target)
        about = {"fit_seconds": time.monotonic() - started, "n_parameters": fitted.n_parameters}
        prediction = fitted.predict(test.recordings[0])
    truth, flat = known_predictions(test, settings.target, prediction)
    if method == MODEL:
        _keep_predictions(part, test, settings.target, prediction)
    part.write_results({"score": _score(metric, truth=truth, prediction=flat), "n_test": len(truth), **about})
    part.delete_tensors("checkpoint")


def _score(metric: Metric, *, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    match metric:
        case "r2":
            return metrics.r2(prediction=prediction, target=truth, observed=np.ones(len(truth), dtype=bool))
        case "macro_f1":
            return metrics.macro_f1(prediction=prediction, target=truth)
        case _:
            return metrics.accuracy(prediction=prediction, target=truth)


def _shuffled(recording: Recording, seed: int) -> Recording:
    """The recording with its targets dealt out to other trials."""
    order = np.random.default_rng(seed).permutation(recording.n_trials)
    return dataclasses.replace(recording, targets={name: target[order] for name, target in recording.targets.items()})


def _keep_predictions(part: Run, test: PopulationDataset, target: str, prediction: NDArray[Any]) -> None:
    """Keep truth, prediction and a label of every trial, for figures and for questions that come later."""
    if prediction.dtype.kind == "f":
        truth = test.batch().targets[target].numpy()
        label_target = class_target(test.recordings[0], target)
        labels = test.batch().targets.get(label_target or "", torch.zeros(len(test), dtype=torch.int64))
        tensors = {"truth": truth, "prediction": prediction[:, : truth.shape[1]], "label": labels.numpy()}
        classes: list[Any] = []
    else:
        known, flat = known_predictions(test, target, prediction)
        classes = np.unique(np.concatenate([known, flat])).tolist()
        tensors = {"truth": np.searchsorted(classes, known), "prediction": np.searchsorted(classes, flat)}
    kept = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
    part.write_tensors("predictions", kept, {"classes": classes})


def _results(
    scores: Mapping[str, list[dict[str, float]]], settings: DecodeSettings, metric: Metric
) -> tuple[dict[str, Any], str]:
    """What results.json holds, and the table for people."""
    if settings.folds == 0:
        return {"metric": metric, "methods": {}}, "no cross-validation was asked for (folds=0)"
    folds = {method: np.asarray([part["score"] for part in parts]) for method, parts in scores.items()}
    rivals = [method for method in folds if method not in (MODEL, CONTROL)]
    best = max(rivals, key=lambda method: float(folds[method].mean()), default=MODEL)
    fraction = 1 / settings.folds
    rows = compare_table({m: s for m, s in folds.items() if m != CONTROL}, against=best, test_fraction=fraction)
    if CONTROL in folds:
        chance = estimate_mean(folds[CONTROL], test_fraction=fraction)
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
    results = {"metric": metric, "best_rival": best, "methods": methods, "rows": rows}
    return results, markdown_table(rows, more=more)


def _say_epoch(advance: Advance, where: str, row: Epoch) -> None:
    advance(0, f"{where}: {row}")


def _file_name(method: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in method)

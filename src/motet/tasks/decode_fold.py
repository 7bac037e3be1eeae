"""One method on one fold of a decoding: fit it, score it, keep what it predicted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from motet import metrics
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.rivals.method import TargetQuestion
from motet.rivals.registry import RIVALS
from motet.tasks.find import class_target
from motet.training.objectives import known_predictions, known_rows
from motet.training.run import Run
from motet.training.state import Epoch
from motet.trial_sums import sums_by_trial

if TYPE_CHECKING:
    from motet.tasks.decode import DecodeSettings

Metric = Literal["accuracy", "macro_f1", "r2"]
MODEL, CONTROL = "eit", "eit, shuffled targets"


def make_estimator(settings: DecodeSettings, *, is_quantity: bool) -> EITClassifier | EITRegressor:
    """The model that was asked for, not yet fitted."""
    return (EITRegressor if is_quantity else EITClassifier)(
        settings.target,
        auxiliary=settings.auxiliary,
        model=settings.model,
        objective=settings.objective,
        training=settings.training,
        preprocess=settings.preprocess,
        seed=settings.seed,
    )


def fit_and_score(
    method: str,
    train: PopulationDataset,
    test: PopulationDataset,
    settings: DecodeSettings,
    metric: Metric,
    part: Run,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Fit one method to one fold, and leave its score and predictions in that part of the run."""
    if method not in (MODEL, CONTROL):
        part.write_results(_fit_rival(method, train, test, settings, metric))
        return
    estimator = make_estimator(settings, is_quantity=metric == "r2")
    estimator.fit(training_part(method, train, settings), run=part, on_epoch=on_epoch)
    prediction = estimator.predict(test)
    if method == MODEL:
        _keep_predictions(part, test, settings.target, prediction, estimator.history_)
    fit_seconds = sum(row.seconds for row in estimator.history_)
    silent = {"n_silent": len(estimator.preprocess_.silent_ids), "n_individuals": len(train.individual_ids)}
    about = {"fit_seconds": fit_seconds, "n_parameters": estimator.n_parameters_, **silent}
    part.write_results({**_scored(test, settings.target, prediction, metric), **about})


def training_part(method: str, train: PopulationDataset, settings: DecodeSettings) -> PopulationDataset:
    """What a method is fitted to; the control, with the targets of other trials."""
    return train.map(lambda recording: _shuffled(recording, settings.seed)) if method == CONTROL else train


def question_of(dataset: PopulationDataset, target: str) -> TargetQuestion:
    """What rivals are asked about a target of the first recording."""
    recording = dataset.recordings[0]
    kind: Literal["class", "quantity"] = "quantity" if recording.target(target).dtype.kind == "f" else "class"
    return TargetQuestion(target, kind, recording.target_levels[target], class_target(recording, target))


def _fit_rival(
    method: str, train: PopulationDataset, test: PopulationDataset, settings: DecodeSettings, metric: Metric
) -> dict[str, Any]:
    """A rival's score, or why it is left out."""
    question = question_of(train, settings.target)
    started = time.monotonic()
    try:
        fitted = RIVALS[method].fit(train, question)
        about = {"fit_seconds": time.monotonic() - started, "n_parameters": fitted.n_parameters}
        return {**_scored(test, settings.target, fitted.predict(test)["prediction"], metric), **about}
    except (InputError, MemoryError) as error:
        return {"left_out": str(error) or "it needs more memory than there is."}


def _scored(test: PopulationDataset, target: str, prediction: NDArray[Any], metric: Metric) -> dict[str, Any]:
    """The score of a test fold, and what each of its trials adds to it."""
    truth, flat = known_predictions(test, target, prediction)
    trial = np.concatenate(
        [_trial_names(recording)[np.nonzero(known_rows(recording, target))[0]] for recording in test.recordings]
    )
    trials, sums = sums_by_trial(metric, trial=trial, truth=truth, prediction=flat)
    score = _score(metric, truth=truth, prediction=flat)
    return {"score": score, "n_test": len(truth), "trials": trials, "trial_sums": sums}


def _trial_names(recording: Recording) -> NDArray[Any]:
    """(trial,) names that no other recording's trials have."""
    return np.array([f"{recording.name}/{trial}" for trial in np.asarray(recording.trial_ids)])


def _score(metric: Metric, *, truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    match metric:
        case "r2":
            if np.isnan(found := metrics.r2(prediction=prediction, target=truth)):
                raise InputError("the target is the same in all entries that count, so R² is undefined; score more.")
            return found
        case "macro_f1":
            return metrics.macro_f1(prediction=prediction, target=truth)
        case _:
            return metrics.accuracy(prediction=prediction, target=truth)


def _shuffled(recording: Recording, seed: int) -> Recording:
    """The recording with its targets shuffled over trials."""
    order = np.random.default_rng(seed).permutation(recording.n_trials)
    return dataclasses.replace(recording, targets={name: target[order] for name, target in recording.targets.items()})


def _keep_predictions(
    part: Run, test: PopulationDataset, target: str, prediction: NDArray[Any], history: Sequence[Epoch]
) -> None:
    """Keep truth, prediction and a label of every trial, and how training went: all that figures read."""
    if prediction.dtype.kind == "f":
        truth = test.batch().targets[target].numpy()
        if test.recordings[0].target_levels.get(target) == "bin":
            prediction = prediction[:, : truth.shape[1]]
        label_target = class_target(test.recordings[0], target)
        labels = [_whole_labels(recording, label_target) for recording in test.recordings]
        tensors = {"truth": truth, "prediction": prediction, "label": np.concatenate(labels)}
        classes: list[Any] = []
    else:
        known, flat = known_predictions(test, target, prediction)
        classes = np.unique(np.concatenate([known, flat])).tolist()
        tensors = {"truth": np.searchsorted(classes, known), "prediction": np.searchsorted(classes, flat)}
    kept = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
    part.write_tensors("predictions", kept, {"classes": classes, "history": history})


def _whole_labels(recording: Recording, target: str | None) -> NDArray[np.int64]:
    """(trial,) a target of whole numbers; 0 everywhere where there is none."""
    labels = recording.targets.get(target or "")
    if labels is None or labels.dtype.kind == "U":
        return np.zeros(recording.n_trials, dtype=np.int64)
    return labels.astype(np.int64)

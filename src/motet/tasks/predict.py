"""Read new trials with the model of a run."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators import EITClassifier, EITRegressor
from motet.files import write_text
from motet.tasks.find import find_recording
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """What to predict.

    Attributes:
        run: folder of a finished run.
        recording: a file, or a name in the catalogue; with individuals that the run has seen.
        output: the CSV file to write; by default "predictions.csv" in the run.
    """

    run: str
    recording: str
    output: str | None = None


def load_estimator(run: Run) -> EITClassifier | EITRegressor:
    """The estimator that a run holds, of whichever kind."""
    kinds = {kind.__name__: kind for kind in (EITClassifier, EITRegressor)}
    _, about = run.read_tensors("weights")
    kind = kinds.get(str(about.get("estimator")))
    if kind is None:
        raise InputError(f"{run.folder} holds a {about.get('estimator')}, which does not predict targets.")
    return kind.load(run)


def predict(settings: PredictSettings) -> Path:
    """Write a table of predictions: one row per trial, or per trial and time bin.

    Raises:
        InputError: if the run or the recording cannot be read, or they do not fit each other.
    """
    run = Run(settings.run)
    estimator = load_estimator(run)
    recording = find_recording(settings.recording)
    output = Path(settings.output) if settings.output else run.folder / "predictions.csv"
    header, values = _columns(estimator, recording)
    trial_ids = np.asarray(recording.trial_ids)
    if estimator.targets_[0].level == "trial":
        header, rows = ["trial", *header], zip(trial_ids, *values.T, strict=True)
    else:
        trial, time = np.nonzero(recording.bin_is_observed[:, : values.shape[1]])
        header, rows = ["trial", "bin", *header], zip(trial_ids[trial], time, *values[trial, time].T, strict=True)
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    write_text(output, text.getvalue())
    return output


def _columns(estimator: EITClassifier | EITRegressor, recording: Recording) -> tuple[list[str], NDArray[Any]]:
    """Names of the predicted columns, and their values: (trial, column), or (trial, time, column)."""
    target = estimator.targets_[0]
    if isinstance(estimator, EITClassifier):
        probability = estimator.predict_proba(recording)
        label = estimator.classes_[np.nan_to_num(probability).argmax(axis=-1)]
        names = [target.name, *(f"p({label})" for label in estimator.classes_)]
        return names, np.concatenate([label[..., None].astype(object), probability], axis=-1)
    quantity = estimator.predict(recording)
    n_leading = 1 if target.level == "trial" else 2
    values = quantity.reshape(*quantity.shape[:n_leading], -1)
    n_columns = values.shape[-1]
    return [target.name] if n_columns == 1 else [f"{target.name}[{i}]" for i in range(n_columns)], values

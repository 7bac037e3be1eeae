"""Read new trials with the model of a run."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.estimators import EITClassifier, EITRegressor
from motet.files import write_text
from motet.tasks.find import cut_trials, find_recording
from motet.training.predictions import most_probable
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """What to predict.

    Attributes:
        run: folder of a finished run; trials are cut as its decoding cut them (bins, window and stride of its
            settings.yaml).
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
    """Write a table of predictions: one row per trial, or per trial and time bin; of windows, where the run has some.

    A window's row has the start of the window too, in seconds on the recording's clock.

    Raises:
        InputError: if the run or the recording cannot be read, or they do not fit each other.
    """
    run = Run(settings.run)
    estimator = load_estimator(run)
    level = estimator.targets_[0].level
    recording, is_windowed = _cut_as_decoded(find_recording(settings.recording), run, level)
    output = Path(settings.output) if settings.output else run.folder / "predictions.csv"
    header, values = _columns(estimator, recording)
    about: dict[str, Any] = {"trial": recording.trial_ids}
    if is_windowed:
        about["start_seconds"] = recording.trial_start_seconds
    columns = {name: np.asarray(column) for name, column in about.items()}
    if level == "bin":
        trial, time = np.nonzero(recording.bin_is_observed[:, : values.shape[1]])
        columns, values = (
            {**{name: column[trial] for name, column in columns.items()}, "bin": time},
            values[trial, time],
        )
    header, rows = [*columns, *header], zip(*columns.values(), *values.T, strict=True)
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    write_text(output, text.getvalue())
    return output


def _cut_as_decoded(recording: Recording, run: Run, level: Level) -> tuple[Recording, bool]:
    """The recording cut as the run's decoding cut it, and whether into windows; whole if no decoding made the run."""
    settings = run.read_settings() if run.has_settings else {}
    cut = {name: settings[name] for name in ("bins", "window", "stride") if name in settings}
    if len(cut) < 3:
        return recording, False
    if not all(isinstance(value, int) or (value is None and name != "stride") for name, value in cut.items()):
        raise InputError(f"{run.folder}/settings.yaml is damaged ({cut}); restore it or choose another run.")
    return cut_trials(recording, level, **cut), cut["window"] is not None


def _columns(estimator: EITClassifier | EITRegressor, recording: Recording) -> tuple[list[str], NDArray[Any]]:
    """Names of the predicted columns, and their values: (trial, column), or (trial, time, column)."""
    target = estimator.targets_[0]
    if isinstance(estimator, EITClassifier):
        probability = estimator.predict_proba(recording)
        label = most_probable(estimator.classes_, probability)
        names = [target.name, *(f"p({label})" for label in estimator.classes_)]
        return names, np.concatenate([label[..., None].astype(object), probability], axis=-1)
    quantity = estimator.predict(recording)
    n_leading = 1 if target.level == "trial" else 2
    values = quantity.reshape(*quantity.shape[:n_leading], -1)
    n_columns = values.shape[-1]
    return [target.name] if n_columns == 1 else [f"{target.name}[{i}]" for i in range(n_columns)], values

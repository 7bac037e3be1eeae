"""Read new trials with the model of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.given import is_known
from motet.settings import Settings
from motet.tasks.find import cut_trials, find_recording
from motet.tasks.outcome import csv_of, write_columns
from motet.tasks.systems import Trials
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class PredictSettings(Settings):
    """What to predict.

    Attributes:
        run: folder of a finished run; trials are cut as its decoding cut them (bins, window and stride of its
            settings.yaml).
        recording: a file, or a name in the catalogue; with individuals that the run has seen.
        output: the CSV file to write, or - for standard output; by default "predictions.csv" in the run.
        reading: options for reading the file, by name, such as {columns: {individual: neuron}}; by default those of the
            run, but that labels may be absent.
    """

    positionals: ClassVar = ("run", "recording")

    run: str
    recording: str
    output: str | None = None
    reading: dict[str, Any] | None = None


def load_estimator(run: Run) -> EITClassifier | EITRegressor:
    """The estimator that a run holds, of whichever kind."""
    kinds = {kind.__name__: kind for kind in (EITClassifier, EITRegressor)}
    held = held_estimator(run)
    if held not in kinds:
        raise InputError(f"{run.folder} holds a {held}, which does not predict targets.")
    return kinds[held].load(run)


def held_estimator(run: Run) -> str:
    """What the estimator that a run holds is called."""
    return str(run.read_tensors("weights")[1].get("estimator"))


def predict(settings: PredictSettings) -> Path | str:
    """Write a table of predictions: one row per trial, or per trial and time bin; of windows, where the run has some.

    A row names the recording and the trial, and has the truth ("true <target>") where the recording holds it. A
    window's row has the start of the window too, in seconds on the recording's clock.

    Raises:
        InputError: if the run or the recording cannot be read, or they do not fit each other.
    """
    run = Run(settings.run)
    estimator = load_estimator(run)
    level = estimator.targets_[0].level
    given = find_recording(settings.recording, _reading(run, settings))
    recording, is_windowed = _cut_as_decoded(given, run, level)
    columns = _columns(estimator, recording)
    about: dict[str, Any] = {"recording": np.full(recording.n_trials, recording.name), "trial": recording.trial_ids}
    if is_windowed:
        about["start_seconds"] = recording.trial_start_seconds
    about = {name: np.asarray(column) for name, column in about.items()}
    if level == "bin":
        trial, time = np.nonzero(recording.bin_is_observed)
        about = {**{name: column[trial] for name, column in about.items()}, "bin": time}
        columns = {name: column[trial, time] for name, column in columns.items()}
    if settings.output == "-":
        return csv_of(about | columns)
    return write_columns(Path(settings.output or run.folder / "predictions.csv"), about | columns)


def _reading(run: Run, settings: PredictSettings) -> Any:
    """How to read the file: as asked, or as the run read its own, but that labels may be absent."""
    reading = Trials.of_run(run, settings.reading).reading
    if settings.reading is None and reading and "targets" in reading:
        return {**reading, "targets_are_optional": True}
    return reading


def _cut_as_decoded(recording: Recording, run: Run, level: Level) -> tuple[Recording, bool]:
    """The recording cut as the run's decoding cut it, and whether into windows; whole if no decoding made the run."""
    settings = run.read_settings() if run.has_settings else {}
    cut = {name: settings[name] for name in ("bins", "window", "stride") if name in settings}
    if len(cut) < 3:
        return recording, False
    if not all(isinstance(value, int) or (value is None and name != "stride") for name, value in cut.items()):
        raise InputError(f"{run.folder}/settings.yaml is damaged ({cut}); restore it or choose another run.")
    return cut_trials(recording, level, **cut), cut["window"] is not None


def _columns(estimator: EITClassifier | EITRegressor, recording: Recording) -> dict[str, NDArray[Any]]:
    """Predictions, and the truth where it is known, by column: (trial,) or (trial, time) each."""
    target = estimator.targets_[0]
    truth = recording.targets.get(target.name)
    if isinstance(estimator, EITClassifier):
        probability = estimator.predict_proba(recording)
        columns = {target.name: _known_only(target.most_probable(probability))}
        columns |= {f"p({label})": probability[..., place] for place, label in enumerate(estimator.classes_)}
        if truth is not None:
            columns[f"true {target.name}"] = _known_only(truth)
        return columns
    n_leading = 1 if target.level == "trial" else 2
    columns = _by_dimension(target.name, estimator.predict(recording), n_leading)
    if truth is not None:
        columns |= _by_dimension(f"true {target.name}", truth, n_leading)
    return columns


def _known_only(labels: NDArray[Any]) -> NDArray[Any]:
    return np.where(is_known(labels), labels.astype(object), "")


def _by_dimension(name: str, quantity: NDArray[Any], n_leading: int) -> dict[str, NDArray[Any]]:
    flat = quantity.reshape(*quantity.shape[:n_leading], -1)
    if flat.shape[-1] == 1:
        return {name: flat[..., 0]}
    return {f"{name}[{place}]": flat[..., place] for place in range(flat.shape[-1])}

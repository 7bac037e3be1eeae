"""Forecast trajectories of your own with the model of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from motet.data.pairs import are_pairs
from motet.data.readers.write_trajectories import write_trajectories_csv
from motet.data.recording import Recording
from motet.data.trials import narrowest
from motet.estimators.forecaster import EITForecaster, last_bins
from motet.models.continuation import Forecasted, places_of
from motet.models.geometry import Geometry
from motet.progress import progress_bar
from motet.report.forecasts import draw_ahead, draw_series_ahead
from motet.report.style import save_figure
from motet.settings import Count, Settings
from motet.tasks.find import stem
from motet.tasks.forecast import systems
from motet.tasks.outcome import Written, write_columns
from motet.tasks.systems import Trials, check_features, load_estimator
from motet.training.run import Run

COORDINATES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class PredictForecastSettings(Settings):
    """What to forecast.

    Attributes:
        run: folder of a run that motet forecast train left.
        recording: a file of trajectories (CSV, npz or nc), or a name in the catalogue; of as many individuals as there
            are, with the features and the bins that the run was trained on.
        output: folder to write to; by default "forecasts/<file>" in the run.
        horizon_bins: bins to forecast after the last one of each trial; by default as many as in training.
        reading: options for reading the file, by name, such as {columns: {individual: fish}}; by default those of the
            run.
    """

    positionals: ClassVar = ("run", "recording")

    run: str
    recording: str
    output: str | None = None
    horizon_bins: Count | None = None
    reading: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        return Path(self.output or Path(self.run) / "forecasts" / stem(self.recording))


def predict_forecast(settings: PredictForecastSettings) -> Written:
    """Forecast where individuals go after the end of every trial in a file: tables of places and couplings, a picture.

    forecast.csv has a row per trial, individual and time, as motet reads trajectories: x, y, z and velocities per
    second; of phases cos, sin and rate. couplings.csv has a row per trial and ordered pair: how strongly the
    source pulls the target (acceleration at a distance of one length of the model; of phases, radians per second).

    Raises:
        InputError: if the run or the file cannot be read, or they do not fit each other.
    """
    run = Run(settings.run)
    forecaster = load_estimator(run, EITForecaster)
    trials = dataclasses.replace(Trials.of_run(run, settings.reading), window=None, stride=1)
    (recording,) = trials.read([settings.recording])
    check_features(recording, forecaster.motion, is_of_model=True)
    with Run(settings.folder).claimed(), progress_bar(f"forecast {recording.name}", 2) as advance:
        context = last_bins(recording, forecaster.objective.context_bins)
        found = forecaster.predict_motion(recording, horizon_bins=settings.horizon_bins)
        advance(1, "forecast")
        files = (
            _write_places(settings.folder / "forecast.csv", context, found, forecaster.geometry_),
            _write_couplings(settings.folder / "couplings.csv", context, found),
            *save_figure(_drawn(context, found, forecaster.geometry_), settings.folder, "forecast"),
        )
        advance(1, "picture")
    n_bins = found.places.shape[2]
    notes, trained = [], forecaster.objective
    if n_bins > trained.horizon_bins:
        notes.append(f"note: {n_bins} bins were forecast; training went {trained.horizon_bins} bins ahead.")
    if (n_short := int((recording.trial_lengths < trained.context_bins).sum())) > 0:
        notes.append(f"note: {n_short} trials are shorter than the context of training, {trained.context_bins} bins.")
    return Written(files, tuple(notes))


def _drawn(context: Recording, found: Forecasted, geometry: Geometry) -> Figure:
    """A forecast whose truth is not known."""
    before = np.where(context.observed[..., None], places_of(context, geometry), np.nan)
    if geometry.space != "phase" and geometry.n_dimensions == 2:
        return draw_ahead(before, found.places, system=systems(context), title=context.name)
    n_bins = before.shape[2] + found.places.shape[2]
    seconds = context.bin_seconds * (np.arange(n_bins, dtype=np.float64) - before.shape[2] + 1)
    name = "cos φ" if geometry.space == "phase" else "x"
    return draw_series_ahead(before[..., 0], found.places[..., 0], seconds, name=name, title=context.name)


def _write_places(path: Path, context: Recording, found: Forecasted, geometry: Geometry) -> Path:
    """Places and velocities as a table of trajectories that go on where the recording ends."""
    if geometry.space == "phase":
        names = ["cos", "sin", "rate"]
    else:
        coordinates = COORDINATES[: geometry.n_dimensions]
        names = [*coordinates, *(f"v{coordinate}" for coordinate in coordinates)]
    values = np.concatenate([found.places, found.velocities], axis=-1)
    observed = np.isfinite(values).all(axis=-1)
    assert context.trial_start_seconds is not None
    ahead = Recording(
        values=narrowest(np.where(observed[..., None], values, 0), observed),
        observed=observed,
        individual_ids=context.individual_ids,
        targets={},
        bin_seconds=context.bin_seconds,
        name=context.name,
        trial_ids=context.trial_ids,
        trial_start_seconds=context.trial_start_seconds + context.n_bins * context.bin_seconds,
    )
    return write_trajectories_csv(ahead, path, features=names)


def _write_couplings(path: Path, context: Recording, found: Forecasted) -> Path:
    assert found.couplings is not None
    trial, a, b = np.nonzero(are_pairs(context.observed))
    ids = np.asarray(context.individual_ids)
    columns = {"trial": np.asarray(context.trial_ids)[trial], "source": ids[b], "target": ids[a]}
    return write_columns(path, {**columns, "pull": found.couplings[trial, a, b]})

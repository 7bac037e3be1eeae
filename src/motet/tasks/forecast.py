"""Learn to forecast motion from trajectories; no labels are needed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.names import in_path
from motet.settings import check_choices, check_seed
from motet.statistics import markdown
from motet.tasks.find import digest
from motet.tasks.interactions import check_features, check_names, read_trials
from motet.tasks.outcome import Outcome, begin, is_first_process
from motet.training.objectives import ForecastSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import as_columns, end_training


@dataclasses.dataclass(frozen=True)
class TrainForecastSettings:
    """What to learn motion from, and how.

    Attributes:
        recordings: files (motet simulate; CSV, npz or nc of your own), or names in the catalogue; several are learned
            together. Trials have at least objective.context_bins + objective.horizon_bins bins.
        target: per pair, the edge type; read only if objective.interactions_weight is above 0.
        output: the run's folder; by default "runs/forecast-<recording>".
        validation: files to choose the best epoch by, in place of a part of the recordings, as large as
            training.validation says.
        reading: options for reading the files, by name, such as {columns: {individual: fish}, bin_seconds: 0.1}.
        seed: of everything random.
        model: see EITSettings.
        pairs: see PairSettings.
        motion: see MotionSettings; motion.features says what the features of a recording are.
        objective: see ForecastSettings.
        training: see TrainingSettings.
    """

    recordings: tuple[str, ...]
    target: str = "interacts"
    output: str | None = None
    validation: tuple[str, ...] = ()
    reading: dict[str, Any] | None = None
    seed: int = 0
    model: EITSettings = PAIR_MODEL
    pairs: PairSettings = PairSettings()
    motion: MotionSettings = MotionSettings()
    objective: ForecastSettings = ForecastSettings()
    training: TrainingSettings = dataclasses.replace(PAIR_TRAINING, validation=0.1)

    def __post_init__(self) -> None:
        check_names(self.recordings)
        check_choices(self)
        check_seed(self.seed)

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/forecast-{in_path(Path(self.recordings[0]).stem)}")


def train_forecast(settings: TrainForecastSettings) -> Outcome:
    """Learn to forecast the motion of every individual, from trajectories alone; leaves a run.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings or settings that cannot be used.
    """
    recordings = read_trials(settings.recordings, reading=settings.reading, window=None, stride=1)
    held_out = read_trials(settings.validation, reading=settings.reading, window=None, stride=1)
    _check(recordings, held_out, settings)
    run = Run(settings.folder)
    if not is_first_process(settings.training):
        _fit(run, recordings, held_out, settings)
        return Outcome(run, "", {})
    with run.claimed():
        begin(run, settings, {"recordings": recordings, "validation": held_out})
        _fit(run, recordings, held_out, settings)
        end_training(run, "weights")
        if not run.is_finished:
            _finish(run, recordings)
        return Outcome.read(run)


def _fit(run: Run, recordings: list[Recording], held_out: list[Recording], settings: TrainForecastSettings) -> None:
    """Train the model of a run, unless it has one."""
    if run.has_tensors("weights"):
        return
    forecaster = EITForecaster(
        settings.target,
        model=settings.model,
        pairs=settings.pairs,
        motion=settings.motion,
        objective=settings.objective,
        training=settings.training,
        seed=settings.seed,
    ).fit(recordings, validation=held_out or None, run=run)
    if is_first_process(settings.training):
        forecaster.save(run)


def _check(recordings: list[Recording], held_out: list[Recording], settings: TrainForecastSettings) -> None:
    """Refuse what would train and mean nothing."""
    trained = {digest(recording) for recording in recordings}
    for recording in held_out:
        if digest(recording) in trained:
            raise InputError(f"{recording.name!r} is in both recordings and validation; give other trials to validate.")
    for recording in (*recordings, *held_out):
        check_features(recording, settings.motion)


def _finish(run: Run, recordings: list[Recording]) -> None:
    """Say how training went, and draw it."""
    from motet.report.scores import learning_curve
    from motet.report.style import save_figure

    forecaster = load_forecaster(run)
    losses = [row.validation_loss for row in forecaster.history_]
    best = min(range(len(losses)), key=lambda n: losses[n]) if math.isfinite(losses[0]) else len(losses) - 1
    row = forecaster.history_[best]
    results = {
        "n_parameters": forecaster.n_parameters_,
        "fit_seconds": sum(row.seconds for row in forecaster.history_),
        "n_trials": len(PopulationDataset(recordings)),
        "epoch": row.epoch,
        "validation_loss": row.validation_loss,
        "validation_score": row.validation_score,
        "diverged_beyond": forecaster.diverged,
    }
    known = math.isfinite(row.validation_score)
    table = [
        ["trials", "parameters", "fit (s)", "best epoch", "validation: forecast well"],
        [
            f"{results['n_trials']:,}",
            f"{results['n_parameters']:,}",
            f"{results['fit_seconds']:.0f}",
            f"{row.epoch} of {len(losses)}",
            f"{100 * row.validation_score:.1f} %" if known else "",
        ],
    ]
    note = (
        f"Forecast well: the share of places that are at most {forecaster.diverged:.3g} off, without shooting. Errors "
        "by horizon, beside rivals: motet forecast evaluate."
    )
    figure = learning_curve(
        as_columns(forecaster.history_), score_name="share forecast well", title="learning to forecast"
    )
    save_figure(figure, run.figures, "learning_curve")
    run.write_results(results)
    run.write_table(f"{markdown(table)}\n\n{note}")


def load_forecaster(run: Run) -> EITForecaster:
    """The model of a run.

    Raises:
        InputError: if it holds none, or one that does not forecast.
    """
    _, about = run.read_tensors("weights")
    if (kind := about.get("estimator")) != EITForecaster.__name__:
        raise InputError(f"{run.folder} holds a {kind}, which does not forecast; give a run of motet forecast train.")
    return EITForecaster.load(run)

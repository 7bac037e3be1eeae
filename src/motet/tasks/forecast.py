"""What happens next: learn to forecast motion from trajectories, measure forecasts beside closed-form rivals."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.readers.arrays import system_numbers
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster
from motet.models.continuation import places_of
from motet.names import in_path
from motet.report.forecasts import draw_error_against_horizon, draw_forecast_trajectories
from motet.report.pair_scores import draw_roc_and_precision_recall
from motet.report.scores import learning_curve
from motet.rivals.method import Answer, Method, MotionQuestion
from motet.rivals.registry import rivals_of
from motet.settings import Count
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import OWN, Evaluation, Part, evaluate
from motet.tasks.find import stem
from motet.tasks.forecast_scores import Errors, MotionTruth, columns_of
from motet.tasks.outcome import Outcome
from motet.tasks.systems import EvaluateSettings, EvaluateTask, SystemTask, TrainSettings, TrainTask, Trials
from motet.training.history import as_columns
from motet.training.objectives import ForecastSettings
from motet.training.run import Run

PATHS_OF = ("force fit", "constant acceleration", "true couplings")  # whose paths are drawn beside the model's


@dataclasses.dataclass(frozen=True)
class TrainForecastSettings(TrainSettings):
    """What to learn motion from, and how; trials have at least as many bins as context and horizon.

    The target is read only if objective.interactions_weight is above 0.

    Attributes:
        objective: see ForecastSettings.
    """

    objective: ForecastSettings = ForecastSettings()

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/forecast-{stem(self.recordings[0])}")


@dataclasses.dataclass(frozen=True)
class EvaluateForecastSettings(EvaluateSettings):
    """What forecasts are measured on, and beside what; recordings are cut into windows that do not overlap.

    Attributes:
        truth: files of the same trials without noise (motet simulate with --noise 0), in the same order, that forecasts
            are measured against; by default the recordings themselves.
        windows: at most this many windows of each recording, the first ones.
        rival_windows: how many first windows of each recording the rivals learn from.
        shoot: whether forecasts, of the model and of rivals, start from a trajectory that is fitted finely to the whole
            context; by default as the run was trained.
    """

    truth: tuple[str, ...] = ()
    windows: Count = 1000
    rival_windows: Count = 100
    shoot: bool | None = None

    def check(self) -> None:
        super().check()
        if self.truth and len(self.truth) != len(self.recordings):
            raise InputError(
                f"there are {len(self.recordings)} recordings and {len(self.truth)} of truth; give as many."
            )


def train_forecast(settings: TrainForecastSettings) -> Outcome:
    """Learn to forecast the motion of every individual, from trajectories alone; leaves a run.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings or settings that cannot be used.
    """
    return evaluate(TrainForecast(settings))


def evaluate_forecast(settings: EvaluateForecastSettings) -> Outcome:
    """Measure a run's forecasts by horizon, beside closed-form rivals on the same trials; leaves table and figures.

    An evaluation that was finished before is read, not repeated.

    Raises:
        InputError: for a run or recordings that cannot be used, or that do not fit each other.
    """
    return evaluate(EvaluateForecast(settings))


class Forecasting(SystemTask[EITForecaster]):
    """In windows of context and horizon, the horizon is asked for.

    Attributes:
        truths: the windows of the tests, as they are measured.
    """

    kind = EITForecaster
    truths: Sequence[Recording] = ()

    @staticmethod
    def answers(forecaster: EITForecaster, test: PopulationDataset) -> Answer:
        (context,) = test.recordings
        found = forecaster.predict_motion(context)
        assert found.couplings is not None
        return {"places": found.places, "velocities": found.velocities, "couplings": found.couplings}

    @functools.cached_property
    def question(self) -> MotionQuestion:  # type: ignore[override]
        o = self.estimator.objective
        return MotionQuestion(self.estimator.geometry_, o.context_bins, o.horizon_bins, o.n_substeps[1], o.shoot)

    @functools.cached_property
    def columns(self) -> dict[str, Column]:  # type: ignore[override]
        return columns_of(self.question.n_bins, self.question.geometry.bin_seconds)

    @property
    def main(self) -> str:  # type: ignore[override]
        return f"error {self.question.n_bins}"

    def seen(self, test: PopulationDataset) -> PopulationDataset:
        return test.map(lambda windows: windows.select(bins=slice(0, self.question.n_context)))

    def truth(self, part: Part) -> MotionTruth:
        windows = next(t for r, t in zip(self.tests, self.truths, strict=True) if r.name == part.section)
        beyond = self.estimator.diverged
        q = self.question
        return MotionTruth.of(windows, n_context=q.n_context, geometry=q.geometry, diverged_beyond=beyond)

    def measure(self, answer: Answer, truth: MotionTruth) -> Measured:
        errors = Errors.of(answer, truth)
        return Measured(errors.scores(np.asarray(truth.ahead.trial_ids)), more=errors.curves())


class TrainForecast(TrainTask[EITForecaster], Forecasting):
    """Nothing is tested."""

    def parts(self) -> Sequence[Part]:
        return [Part(OWN, PopulationDataset(self.recordings), None)]

    def methods(self, part: Part) -> Sequence[Method]:
        return [self.trained(PopulationDataset(self.held_out) if self.held_out else None)]

    @property
    def _best(self) -> Any:
        """The epoch that was kept."""
        history = self.estimator.history_
        is_validated = math.isfinite(history[0].validation_loss)
        return min(history, key=lambda row: row.validation_loss) if is_validated else history[-1]

    def about(self) -> dict[str, Any]:
        f, best = self.estimator, self._best
        return {
            "n_parameters": f.n_parameters_,
            "fit_seconds": sum(row.seconds for row in f.history_),
            "n_trials": len(PopulationDataset(self.recordings)),
            "epoch": best.epoch,
            "validation_loss": best.validation_loss,
            "validation_score": best.validation_score,
            "diverged_beyond": f.diverged,
        }

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        a, n_epochs = evaluation.results, len(self.estimator.history_)
        yield (
            f"{a['n_parameters']:,} parameters were trained on {a['n_trials']:,} trials for {a['fit_seconds']:.0f} s; "
            f"epoch {a['epoch']} of {n_epochs} is kept."
        )
        if math.isfinite(a["validation_score"]):
            yield (
                f"Of the places in the validation part it forecasts {100 * a['validation_score']:.1f} % well: to "
                f"{a['diverged_beyond']:.3g}, without shooting."
            )
        yield "Errors by horizon, beside rivals: motet forecast evaluate."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        history = as_columns(self.estimator.history_)
        yield "learning_curve", learning_curve(history, score_name="share forecast well", title="learning to forecast")


class EvaluateForecast(EvaluateTask[EITForecaster], Forecasting):
    """A trained model beside rivals and the true couplings."""

    def __init__(self, settings: EvaluateForecastSettings) -> None:
        trials = Trials.of_run(Run(settings.run), settings.reading)
        super().__init__(settings, trials)
        if settings.shoot is not None:
            self.estimator.objective = dataclasses.replace(self.estimator.objective, shoot=settings.shoot)
        truths = trials.read(settings.truth)
        for recording, truth in zip(self.tests, truths, strict=False):
            if truth.values.shape != recording.values.shape or not np.array_equal(truth.observed, recording.observed):
                raise InputError(
                    f"truth {truth.name!r} has shape {truth.values.shape} and recording {recording.name!r} "
                    f"{recording.values.shape}, or other bins are observed; give the same trials without noise."
                )
        self.inputs = {**self.inputs, "truth": truths}
        self.truths = [self._windows(recording, settings.windows) for recording in truths or self.tests]
        self.tests = [self._windows(recording, settings.windows) for recording in self.tests]
        if self.train is not None:
            self.train = self.train.map(lambda recording: self._windows(recording, settings.rival_windows))

    def _windows(self, recording: Recording, most: int) -> Recording:
        return self.estimator.windows(recording).select(trials=slice(0, most))

    def methods(self, part: Part) -> Sequence[Method]:
        return [self.model, *(rivals_of(self.question) if self.settings.rivals else [])]

    def about(self) -> dict[str, Any]:
        q = self.question
        seconds = q.geometry.bin_seconds * np.arange(1, q.n_bins + 1)
        return {"diverged_beyond": self.estimator.diverged, "horizon_seconds": seconds}

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        q = self.question
        unit = "radians" if q.geometry.space == "phase" else "the unit of the recording"
        yield (
            f"Errors: distance in {unit}, mean over individuals; median [quartiles] over windows of {q.n_context} bins "
            f"of context. A forecast has left the truth when it is more than {self.estimator.diverged:.3g} off. "
            "Differences are of medians, over blocks of windows."
        )
        if q.shoots:
            yield "Forecasts start from a trajectory fitted finely to the context, those of rivals too."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        for part, windows, true in zip(evaluation.tested, self.tests, self.truths, strict=True):
            end = f"_{in_path(windows.name)}" if len(self.tests) > 1 else ""
            names = evaluation.results["sections"][part.section]["methods"]
            answers = {name: evaluation.answer(part, name) for name in names}
            for kind, figure in self._drawn(windows, true, answers, self.truth(part)):
                yield f"{kind}{end}", figure

    def _drawn(
        self, windows: Recording, true: Recording, answers: dict[str, Answer], truth: MotionTruth
    ) -> Iterator[tuple[str, Figure]]:
        q, g, name = self.question, self.question.geometry, windows.name
        errors = {method: Errors.of(answer, truth) for method, answer in answers.items()}
        seconds = g.bin_seconds * np.arange(1, q.n_bins + 1)
        yield (
            "error",
            draw_error_against_horizon(
                seconds,
                {method: one.error for method, one in errors.items()},
                "angle (rad)" if g.space == "phase" else "position error",
                divergence_seconds={method: one.diverged_seconds for method, one in errors.items()},
                title=name,
            ),
        )
        drifts = {method: np.abs(one.energy_error) for method, one in errors.items() if one.energy_error is not None}
        if drifts:
            yield "energy", draw_error_against_horizon(seconds, drifts, "relative energy error", title=name)
        if g.space != "phase" and g.n_dimensions == 2:
            given, known = (np.where(r.observed[..., None], places_of(r, g), np.nan) for r in (windows, true))
            drawn = [method for method in (self.estimator.method, *PATHS_OF) if method in answers]
            yield (
                "paths",
                draw_forecast_trajectories(
                    given[:, :, : q.n_context],
                    known[:, :, q.n_context :],
                    {method: answers[method]["places"] for method in drawn},
                    system=systems(windows),
                    title=name,
                ),
            )
        if truth.interacts is not None:
            interacts = np.where(truth.interacts > 0, 1, truth.interacts)
            graphs = {
                method: (np.nan_to_num(np.abs(c) + np.abs(c).swapaxes(1, 2)), interacts)
                for method, answer in answers.items()
                if (c := answer.get("couplings")) is not None
            }
            if graphs:
                title = f"{name}: who interacts, by the size of couplings"
                yield "roc", draw_roc_and_precision_recall(graphs, title=title)


def systems(recording: Recording) -> NDArray[np.int64] | None:
    """(trial, individual) numbers of the systems that individuals are of, if they are known."""
    if recording.target_levels.get("system") != "individual":
        return None
    return system_numbers(recording.targets["system"])

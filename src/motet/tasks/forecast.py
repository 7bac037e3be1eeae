"""What happens next: learn to forecast motion from trajectories, measure forecasts beside closed-form rivals."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.readers.arrays import system_numbers
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING
from motet.models.continuation import places_of
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.names import in_markdown, in_path
from motet.report.forecasts import draw_energy_drift, draw_error_against_horizon, draw_forecast_trajectories
from motet.report.pair_scores import draw_roc_and_precision_recall
from motet.report.scores import learning_curve
from motet.rivals.method import Answer, Method, MotionQuestion
from motet.rivals.registry import rivals_of
from motet.settings import Count, Seed, Settings
from motet.tasks.evaluate import OWN, Column, Evaluation, Measured, Part, Task, evaluate, part_name
from motet.tasks.find import (
    Trials,
    check_features,
    check_unlearned,
    hold_out,
    load_estimator,
    rival_trials,
    stem,
    words,
)
from motet.tasks.forecast_scores import Errors, Truth, columns_of
from motet.tasks.interactions import check_evaluation
from motet.tasks.models import Loaded, Trained
from motet.tasks.outcome import Outcome
from motet.training.objectives import ForecastSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import as_columns

PATHS_OF = ("force fit", "constant acceleration", "true couplings")  # whose paths are drawn beside the model's


@dataclasses.dataclass(frozen=True)
class TrainForecastSettings(Settings):
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

    positionals: ClassVar = ("recordings",)

    recordings: tuple[str, ...]
    target: str = "interacts"
    output: str | None = None
    validation: tuple[str, ...] = ()
    reading: dict[str, Any] | None = None
    seed: Seed = 0
    model: EITSettings = PAIR_MODEL
    pairs: PairSettings = PairSettings()
    motion: MotionSettings = MotionSettings()
    objective: ForecastSettings = ForecastSettings()
    training: TrainingSettings = dataclasses.replace(PAIR_TRAINING, validation=0.1)

    def check(self) -> None:
        if not self.recordings:
            raise InputError("recordings is empty; give a list of one file or name at least.")

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/forecast-{stem(self.recordings[0])}")


@dataclasses.dataclass(frozen=True)
class EvaluateForecastSettings(Settings):
    """What to evaluate, and beside what.

    Attributes:
        run: folder of a run that motet forecast train left.
        recordings: files, or names in the catalogue, of any sizes; cut into windows of context and horizon that do not
            overlap.
        truth: files of the same trials without noise (motet simulate with --noise 0), in the same order, that forecasts
            are measured against; by default the recordings themselves.
        name: of the evaluation, a folder in the run's evaluations; by default that of the first recording.
        windows: at most this many windows of each recording, the first ones.
        rivals: whether closed-form forecasts stand beside the model's: constant velocity and acceleration, known laws
            with fitted couplings, and for simulations the true couplings.
        rival_recordings: files that rivals choose their options on; by default those that the run was trained on.
        rival_windows: how many first windows of each of these they look at.
        shoot: whether forecasts, of the model and of rivals, start from a trajectory that is fitted finely to the whole
            context; by default as the run was trained.
        reading: options for reading the files, by name; by default those of the run.
    """

    positionals: ClassVar = ("run", "recordings")

    run: str
    recordings: tuple[str, ...]
    truth: tuple[str, ...] = ()
    name: str | None = None
    windows: Count = 1000
    rivals: bool = True
    rival_recordings: tuple[str, ...] = ()
    rival_windows: Count = 100
    shoot: bool | None = None
    reading: dict[str, Any] | None = None

    def check(self) -> None:
        check_evaluation(self)
        if self.truth and len(self.truth) != len(self.recordings):
            raise InputError(
                f"there are {len(self.recordings)} recordings and {len(self.truth)} of truth; give as many."
            )

    @property
    def folder(self) -> Path:
        return Path(self.run) / "evaluations" / (self.name or stem(self.recordings[0]))


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


class Forecasting(Task):
    """Parts are recordings, in windows: after a context, the horizon is asked for.

    Attributes:
        run: that holds the model.
        tests: windows of context and horizon.
        truths: the same windows, as they are measured.
        train: windows on which rivals choose their options.
    """

    run: Run
    tests: Sequence[Recording] = ()
    truths: Sequence[Recording] = ()
    train: PopulationDataset | None = None

    @functools.cached_property
    def forecaster(self) -> EITForecaster:
        return load_estimator(self.run, EITForecaster)

    @functools.cached_property
    def question(self) -> MotionQuestion:  # type: ignore[override]
        o = self.forecaster.objective
        return MotionQuestion(self.forecaster.geometry_, o.context_bins, o.horizon_bins, o.n_substeps[1], o.shoot)

    @functools.cached_property
    def columns(self) -> dict[str, Column]:  # type: ignore[override]
        return columns_of(self.question.n_bins, self.question.geometry.bin_seconds)

    @property
    def main(self) -> str:  # type: ignore[override]
        return f"error {self.question.n_bins}"

    def parts(self) -> Sequence[Part]:
        return [Part(part_name(r), self.train, PopulationDataset(r), r.name) for r in self.tests]

    def methods(self, part: Part) -> Sequence[Method]:
        return [Loaded(lambda: self.forecaster, _answers, self.forecaster.method), *rivals_of(self.question)]

    def seen(self, test: PopulationDataset) -> PopulationDataset:
        return test.map(lambda windows: windows.select(bins=slice(0, self.question.n_context)))

    def truth(self, part: Part) -> Truth:
        windows = next(t for r, t in zip(self.tests, self.truths, strict=True) if r.name == part.section)
        beyond = self.forecaster.diverged
        q = self.question
        return Truth.of(windows, n_context=q.n_context, geometry=q.geometry, diverged_beyond=beyond)

    def measure(self, answer: Answer, truth: Truth) -> Measured:
        errors = Errors.of(answer, truth)
        return Measured(errors.scores(np.asarray(truth.ahead.trial_ids)), more=errors.curves())


class TrainForecast(Forecasting):
    """The model is trained; nothing is tested."""

    def __init__(self, settings: TrainForecastSettings) -> None:
        s = settings
        trials = Trials(s.reading)
        recordings, held_out = trials.read(s.recordings), trials.read(s.validation)
        for recording in (*recordings, *held_out):
            check_features(recording, s.motion)
        self.settings, self.training = s, s.training
        self.run = Run(s.folder)
        self.inputs = {"recordings": recordings, "validation": held_out}
        self.learned = PopulationDataset(recordings)
        self.validation = hold_out(recordings, held_out, 0.0, s.seed)[1] if held_out else None

    def _made(self) -> EITForecaster:
        s = self.settings
        return EITForecaster(
            s.target,
            model=s.model,
            pairs=s.pairs,
            motion=s.motion,
            objective=s.objective,
            training=s.training,
            seed=s.seed,
        )

    def parts(self) -> Sequence[Part]:
        return [Part(OWN, self.learned, None)]

    def methods(self, part: Part) -> Sequence[Method]:
        return [Trained(self._made, _answers, self._made().method, validation=self.validation)]

    @property
    def _best(self) -> Any:
        """The epoch that was kept."""
        history = self.forecaster.history_
        is_validated = math.isfinite(history[0].validation_loss)
        return min(history, key=lambda row: row.validation_loss) if is_validated else history[-1]

    def about(self) -> dict[str, Any]:
        f, best = self.forecaster, self._best
        return {
            "n_parameters": f.n_parameters_,
            "fit_seconds": sum(row.seconds for row in f.history_),
            "n_trials": len(self.learned),
            "epoch": best.epoch,
            "validation_loss": best.validation_loss,
            "validation_score": best.validation_score,
            "diverged_beyond": f.diverged,
        }

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        a, n_epochs = evaluation.results, len(self.forecaster.history_)
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
        history = as_columns(self.forecaster.history_)
        yield "learning_curve", learning_curve(history, score_name="share forecast well", title="learning to forecast")


class EvaluateForecast(Forecasting):
    """A trained model beside rivals and the true couplings."""

    def __init__(self, settings: EvaluateForecastSettings) -> None:
        s = self.settings = settings
        self.run = self.weights = Run(s.run)
        if s.shoot is not None:
            self.forecaster.objective = dataclasses.replace(self.forecaster.objective, shoot=s.shoot)
        trials = dataclasses.replace(Trials.of_run(self.run, s.reading), window=None, stride=1)
        recordings = trials.read(s.recordings)
        truths = trials.read(s.truth) or recordings
        for recording, truth in zip(recordings, truths, strict=True):
            check_features(recording, self.forecaster.motion)
            if truth.values.shape != recording.values.shape or not np.array_equal(truth.observed, recording.observed):
                raise InputError(
                    f"truth {truth.name!r} has shape {truth.values.shape} and recording {recording.name!r} "
                    f"{recording.values.shape}, or other bins are observed; give the same trials without noise."
                )
        check_unlearned(self.run, recordings)
        learned_from = rival_trials(self.run, s.rival_recordings, trials) if s.rivals else []
        cut = [self._windows(r, s.rival_windows) for r in learned_from]
        self.train = PopulationDataset(cut) if cut else None
        self.tests, self.truths = ([self._windows(r, s.windows) for r in given] for given in (recordings, truths))
        self.inputs = {
            "recordings": recordings,
            "truth": truths if s.truth else [],
            "rival_recordings": learned_from,
        }

    def _windows(self, recording: Recording, most: int) -> Recording:
        return self.forecaster.windows(recording).select(trials=slice(0, most))

    def methods(self, part: Part) -> Sequence[Method]:
        return super().methods(part)[: None if self.settings.rivals else 1]

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        assert parts[0].test is not None
        return f"{in_markdown(section)} ({words(parts[0].test.recordings[0])})"

    def about(self) -> dict[str, Any]:
        q = self.question
        seconds = q.geometry.bin_seconds * np.arange(1, q.n_bins + 1)
        return {"diverged_beyond": self.forecaster.diverged, "horizon_seconds": seconds}

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        q = self.question
        unit = "radians" if q.geometry.space == "phase" else "the unit of the recording"
        yield (
            f"Errors: distance in {unit}, mean over individuals; median [quartiles] over windows of {q.n_context} bins "
            f"of context. A forecast has left the truth when it is more than {self.forecaster.diverged:.3g} off. "
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
        self, windows: Recording, true: Recording, answers: dict[str, Answer], truth: Truth
    ) -> Iterator[tuple[str, Figure]]:
        q, g, name = self.question, self.question.geometry, windows.name
        errors = {method: Errors.of(answer, truth) for method, answer in answers.items()}
        seconds = g.bin_seconds * np.arange(1, q.n_bins + 1)
        yield (
            "error",
            draw_error_against_horizon(
                seconds,
                {method: one.error for method, one in errors.items()},
                error_name="angle (rad)" if g.space == "phase" else "position error",
                divergence_seconds={method: one.diverged_seconds for method, one in errors.items()},
                title=name,
            ),
        )
        drifts = {method: one.energy_error for method, one in errors.items() if one.energy_error is not None}
        if drifts:
            yield "energy", draw_energy_drift(seconds, drifts, title=name)
        if g.space != "phase" and g.n_dimensions == 2:
            given, known = (np.where(r.observed[..., None], places_of(r, g), np.nan) for r in (windows, true))
            drawn = [method for method in (self.forecaster.method, *PATHS_OF) if method in answers]
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


def _answers(forecaster: EITForecaster, test: PopulationDataset) -> Answer:
    (context,) = test.recordings
    found = forecaster.predict_motion(context)
    assert found.couplings is not None
    return {"places": found.places, "velocities": found.velocities, "couplings": found.couplings}

"""Measure the forecasts of a run's model, beside closed-form rivals on the same trials."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster
from motet.models.continuation import Forecasted
from motet.names import in_markdown, in_path
from motet.progress import Advance, progress_bar
from motet.rivals.method import MotionQuestion
from motet.rivals.motion import FittedMotion, MotionRival
from motet.rivals.registry import rivals_of
from motet.settings import check_choices
from motet.tasks.find import digest, reading_of
from motet.tasks.forecast import load_forecaster
from motet.tasks.forecast_scores import Scored, Truth, forecast_table, score_forecast, summary
from motet.tasks.interactions import check_features, check_names, read_trials, words
from motet.tasks.outcome import Outcome, begin, trained_on
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class EvaluateForecastSettings:
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

    run: str
    recordings: tuple[str, ...]
    truth: tuple[str, ...] = ()
    name: str | None = None
    windows: int = 1000
    rivals: bool = True
    rival_recordings: tuple[str, ...] = ()
    rival_windows: int = 100
    shoot: bool | None = None
    reading: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_names(self.recordings)
        check_choices(self)
        for name in ("windows", "rival_windows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give at least 1.")
        if self.truth and len(self.truth) != len(self.recordings):
            raise InputError(
                f"there are {len(self.recordings)} recordings and {len(self.truth)} of truth; give as many."
            )
        if self.rival_recordings and not self.rivals:
            raise InputError("rival_recordings is given, but rivals is false; leave one of them out.")
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise InputError(f"name is {self.name!r}; give the name of a folder, such as 'large'.")

    @property
    def folder(self) -> Path:
        name = self.name or in_path(Path(self.recordings[0]).stem)
        return Path(self.run) / "evaluations" / name


def evaluate_forecast(settings: EvaluateForecastSettings) -> Outcome:
    """Measure a run's forecasts by horizon, beside closed-form rivals on the same trials; leaves table and figures.

    An evaluation that was finished before is read, not repeated.

    Raises:
        InputError: for a run or recordings that cannot be used, or that do not fit each other.
    """
    run, part = Run(settings.run), Run(settings.folder)
    forecaster = load_forecaster(run)
    if settings.shoot is not None:
        forecaster.objective = dataclasses.replace(forecaster.objective, shoot=settings.shoot)
    reading = reading_of(run, settings.reading)
    recordings = read_trials(settings.recordings, reading=reading, window=None, stride=1)
    truths = read_trials(settings.truth, reading=reading, window=None, stride=1) or recordings
    _check(run, forecaster, recordings, truths)
    cut = _Cut(forecaster, settings.windows)
    tests = {r.name: (cut(r), cut(t)) for r, t in zip(recordings, truths, strict=True)}
    tuning = _tuning(run, settings, reading, recordings) if settings.rivals else []
    inputs = {"recordings": recordings, "truth": truths if settings.truth else [], "rival_recordings": tuning}
    with part.claimed():
        begin(part, settings, inputs, model=run)
        if not part.is_finished:
            tuned_on = [dataclasses.replace(cut, most=settings.rival_windows)(r) for r in tuning]
            _compute(part, forecaster, tests, tuned_on)
        return Outcome.read(part)


@dataclasses.dataclass(frozen=True)
class _Cut:
    """The first windows of context and horizon in a recording."""

    forecaster: EITForecaster
    most: int

    def __call__(self, recording: Recording) -> Recording:
        windows = self.forecaster.windows(recording)
        return windows.select(trials=slice(0, self.most))


def _check(run: Run, forecaster: EITForecaster, recordings: Sequence[Recording], truths: Sequence[Recording]) -> None:
    """No test on what the model has learned from, and no truth of other trials."""
    trained = trained_on(run)
    for recording, truth in zip(recordings, truths, strict=True):
        check_features(recording, forecaster.motion)
        if digest(recording) in trained:
            raise InputError(
                f"{recording.name!r} is what the model of {run.folder} learned from, or was chosen by; give other "
                "trials (motet simulate with another seed)."
            )
        if truth.values.shape != recording.values.shape or not np.array_equal(truth.observed, recording.observed):
            raise InputError(
                f"truth {truth.name!r} has shape {truth.values.shape} and recording {recording.name!r} "
                f"{recording.values.shape}, or other bins are observed; give the same trials without noise."
            )


def _tuning(
    run: Run, settings: EvaluateForecastSettings, reading: Mapping[str, Any] | None, recordings: Sequence[Recording]
) -> list[Recording]:
    """What rivals may choose their options on: trials of training, never of test."""
    kept = run.read_settings() if run.has_settings else {}
    names = settings.rival_recordings or kept.get("recordings", ())
    advice = "give rival_recordings, or rivals=false"
    if not names:
        raise InputError(f"{run.folder} does not say which recordings it was trained on; {advice}.")
    try:
        found = read_trials(names, reading=reading, window=None, stride=1)
    except InputError as error:
        raise InputError(f"rivals look at the training trials, which cannot be read ({error}); {advice}.") from error
    tested = {digest(recording) for recording in recordings}
    for recording in found:
        if digest(recording) in tested:
            raise InputError(f"{recording.name!r} is tested on, so that rivals cannot choose on it; {advice}.")
    return found


def _compute(
    part: Run,
    forecaster: EITForecaster,
    tests: Mapping[str, tuple[Recording, Recording]],
    tuning: Sequence[Recording],
) -> None:
    from motet.tasks.forecast_figures import draw_evaluation

    o, g = forecaster.objective, forecaster.geometry_
    question = MotionQuestion(g, o.context_bins, o.horizon_bins, n_substeps=o.n_substeps[1], shoots=o.shoot)
    results: dict[str, Any] = {"diverged_beyond": forecaster.diverged, "recordings": {}}
    unit = "radians" if g.space == "phase" else "the unit of the recording"
    lines = [
        f"Errors: distance in {unit}, mean over individuals; median [quartiles] over windows of {o.context_bins} bins "
        f"of context. A forecast has left the truth when it is more than {forecaster.diverged:.3g} off."
    ]
    if o.shoot:
        lines.append("Forecasts start from a trajectory fitted finely to the context, those of rivals too.")
    with progress_bar("evaluate", len(tests) + 2) as advance:
        rules, left_out = tune_rules(tuning, question, advance)
        advance(1, "rivals are tuned")
        for name, (given, true) in tests.items():
            truth = Truth.of(true, n_context=o.context_bins, geometry=g, diverged_beyond=forecaster.diverged)
            forecasts, seconds, refused = _forecast_all(forecaster, rules, given, advance)
            scored = {method: score_forecast(found, truth) for method, found in forecasts.items()}
            results["recordings"][name] = _about(given, scored, seconds, rules, {**left_out, **refused})
            lines += ["", *_section(given, scored, rules, {**left_out, **refused})]
            draw_evaluation(part.figures, given, true, forecasts, scored, g, n_context=o.context_bins, n=len(tests))
            advance(1, name)
        advance(1, "figures")
    part.write_results(results)
    part.write_table("\n".join(lines))


def tune_rules(
    tuning: Sequence[Recording], question: MotionQuestion, advance: Advance
) -> tuple[dict[str, FittedMotion], dict[str, str]]:
    """The rules that apply, each with the option that does best, and why the others do not; none without trials."""
    rules: dict[str, FittedMotion] = {}
    left_out: dict[str, str] = {}
    if not tuning:
        return rules, left_out
    for rival in rivals_of(question):
        assert isinstance(rival, MotionRival)
        advance(0, f"tune {rival.name}")
        try:
            rules[rival.name] = rival.learn(PopulationDataset(list(tuning)), question)
        except InputError as error:
            left_out[rival.name] = str(error)
    return rules, left_out


def _forecast_all(
    forecaster: EITForecaster, rules: Mapping[str, FittedMotion], windows: Recording, advance: Advance
) -> tuple[dict[str, Forecasted], dict[str, float], dict[str, str]]:
    """What each method forecasts, how long that took, and why some do not."""
    context = windows.select(bins=slice(0, forecaster.objective.context_bins))
    found: dict[str, Forecasted] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    model = forecaster.method
    for name in (model, *rules):
        advance(0, f"{windows.name}: {name}")
        started = time.monotonic()
        try:
            found[name] = forecaster.predict_motion(context) if name == model else rules[name].forecast(context)
        except InputError as error:
            if name == model:
                raise
            refused[name] = str(error)
            continue
        seconds[name] = time.monotonic() - started
    return found, seconds, refused


def _about(
    windows: Recording,
    scored: Mapping[str, Scored],
    seconds: Mapping[str, float],
    rules: Mapping[str, FittedMotion],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """What results.json holds of a recording."""
    methods = {}
    for name, one in scored.items():
        option = {"option": next(iter(rules[name].chosen.values()), None)} if name in rules else {}
        methods[name] = {**summary(one), **option, "forecast_seconds": seconds[name]}
    return {
        "n_windows": windows.n_trials,
        "n_individuals": windows.n_individuals,
        "horizon_seconds": windows.bin_seconds * np.arange(1, next(iter(scored.values())).error.shape[1] + 1),
        "methods": methods,
        "left_out": dict(left_out),
    }


def _section(
    windows: Recording, scored: Mapping[str, Scored], rules: Mapping[str, FittedMotion], left_out: Mapping[str, str]
) -> list[str]:
    chosen = [f"{name}: {option}" for name in scored if name in rules for option in rules[name].chosen.values()]
    notes = [f"Chosen on training trials: {'; '.join(chosen)}."] if chosen else []
    notes += [f"{name} is left out: {' '.join(why.split())}" for name, why in left_out.items()]
    table = forecast_table(scored, bin_seconds=windows.bin_seconds, reference=next(iter(scored)))
    return [f"## {in_markdown(windows.name)} ({words(windows)})", "", table, *([""] if notes else []), *notes]

"""Score the interactions that a run's model recovers, beside closed-form rules and chance, where the truth is known."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.names import in_markdown, in_path
from motet.progress import Advance, progress_bar
from motet.rivals.method import Fitted, PairQuestion
from motet.rivals.registry import rivals_of
from motet.settings import check_choices
from motet.tasks.find import digest
from motet.tasks.interactions import (
    check_features,
    check_names,
    how_read,
    load_interactions,
    read_trials,
    score_model,
    words,
)
from motet.tasks.interactions_scores import (
    Truth,
    graph_table,
    ranked,
    score_graph,
    state_table,
    truth_of,
    with_other_truth,
)
from motet.tasks.outcome import Outcome, begin, trained_on
from motet.training.run import Run

Floats = NDArray[np.floating[Any]]

CONTROL = ", shuffled truth"  # after the name of the model
MOST_SHOWN = 3  # rules in a figure


@dataclasses.dataclass(frozen=True)
class EvaluateInteractionsSettings:
    """What to evaluate, and beside what.

    Attributes:
        run: folder of a run that motet interactions train left; trials are cut as it cut them (window and stride).
        recordings: files, or names in the catalogue, of any sizes; with the target that the run learned. From three
            sizes on, scores are drawn against size.
        name: of the evaluation, a folder in the run's evaluations; by default that of the first recording.
        rivals: whether closed-form rules that read such features stand beside the model. One that cannot read a
            recording is left out, and the table says why.
        rival_recordings: files that the rules learn their thresholds and priors from; by default those that the run was
            trained on.
        rival_trials: how many first trials of each of these they learn from.
        control: whether a row shows the model's scores where the truth is dealt out to other individuals of the trial:
            what each score is worth by chance.
        reading: options for reading the files, by name; by default those of the run.
    """

    run: str
    recordings: tuple[str, ...]
    name: str | None = None
    rivals: bool = True
    rival_recordings: tuple[str, ...] = ()
    rival_trials: int = 500
    control: bool = True
    reading: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_names(self.recordings)
        check_choices(self)
        if self.rival_trials < 1:
            raise InputError(f"rival_trials is {self.rival_trials}; give at least 1.")
        if self.rival_recordings and not self.rivals:
            raise InputError("rival_recordings is given, but rivals is false; leave one of them out.")
        if self.name is not None and (not self.name or Path(self.name).name != self.name):
            raise InputError(f"name is {self.name!r}; give the name of a folder, such as 'large'.")

    @property
    def folder(self) -> Path:
        name = self.name or in_path(Path(self.recordings[0]).stem)
        return Path(self.run) / "evaluations" / name


def evaluate_interactions(settings: EvaluateInteractionsSettings) -> Outcome:
    """Score a run's recovered graphs, groups and states beside closed-form rules and chance; leaves table and figures.

    An evaluation that was finished before is read, not repeated.

    Raises:
        InputError: for a run or recordings that cannot be used, or that do not fit each other.
    """
    run, part = Run(settings.run), Run(settings.folder)
    recovery, asked = load_interactions(run), how_read(run)
    if settings.reading is not None:
        asked["reading"] = settings.reading
    recordings = read_trials(settings.recordings, **asked)
    for recording in recordings:
        check_features(recording, recovery.motion, is_of_model=True)
    _refuse_trained(run, recordings)
    truths = {recording.name: truth_of(recording, recovery) for recording in recordings}
    learned_from = _rival_recordings(run, settings, recordings) if settings.rivals else []
    with part.claimed():
        begin(part, settings, {"recordings": recordings, "rival_recordings": learned_from}, model=run)
        if not part.is_finished:
            _compute(part, run, recovery, recordings, truths, learned_from, settings)
        return Outcome.read(part)


def _compute(
    part: Run,
    run: Run,
    recovery: EITInteractions,
    recordings: Sequence[Recording],
    truths: Mapping[str, Truth],
    learned_from: Sequence[Recording],
    settings: EvaluateInteractionsSettings,
) -> None:
    from motet.tasks.interactions_figures import draw_evaluation

    results: dict[str, Any] = {
        "trained_on": run.read_results().get("trained_on", {}) if run.has_results else {},
        "rivals_learn_from": {recording.name: recording.n_trials for recording in learned_from},
        "recordings": {},
    }
    predictions: dict[str, dict[str, Floats]] = {}
    tables: list[str] = []
    with progress_bar("evaluate", len(recordings) + 2) as advance:
        rivals, unfit = fit_rivals(learned_from, recovery, advance) if learned_from else ({}, {})
        advance(1, "rivals are fitted")
        for recording in recordings:
            truth = truths[recording.name]
            found, predictions[recording.name] = _evaluate(recovery, recording, truth, rivals, settings, advance)
            found["left_out"] = unfit | found["left_out"]
            results["recordings"][recording.name] = found
            tables += _section(recording, found)
            advance(1, recording.name)
        draw_evaluation(part.figures, recovery, recordings, predictions, results)
        advance(1, "figures")
    learned = "; ".join(f"{n:,} of {name}" for name, n in results["rivals_learn_from"].items())
    notes = [
        "Intervals and differences: over blocks of test trials, one training. Groups: neither number nor size given."
    ]
    notes += (
        [f"What makes probabilities of the scores of rules was learned from training trials: {learned}."]
        if learned
        else []
    )
    part.write_results(results)
    part.write_table("\n".join([*notes, *tables]))


class FittedRival(NamedTuple):
    """A rival that has seen training trials, and how long that took."""

    fitted: Fitted
    fit_seconds: float


def fit_rivals(
    train: Sequence[Recording], recovery: EITInteractions, advance: Advance
) -> tuple[dict[str, FittedRival], dict[str, str]]:
    """The rivals that read such features, by name, and why others are left out."""
    question = PairQuestion(
        recovery.target, tuple(recovery.types_.tolist()), recovery.objective.is_directed, recovery.motion.features
    )
    types = np.concatenate([question.read(recording).ravel() for recording in train])
    if not (types == 0).any() or not (types > 0).any():
        raise InputError("rules learn from pairs with an edge and pairs without; give rival_recordings that have both.")
    rivals, left_out = {}, {}
    for rival in rivals_of(question):
        advance(0, f"fit {rival.name}")
        started = time.monotonic()
        try:
            fitted = rival.fit(PopulationDataset(list(train)), question)
            rivals[rival.name] = FittedRival(fitted, time.monotonic() - started)
        except InputError as error:
            left_out[rival.name] = str(error)
    return rivals, left_out


def _evaluate(
    recovery: EITInteractions,
    recording: Recording,
    truth: Truth,
    rivals: Mapping[str, FittedRival],
    settings: EvaluateInteractionsSettings,
    advance: Advance,
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The scores of every method on one recording, and the log-probabilities of the model and the best rules."""
    model = recovery.method
    advance(0, f"{recording.name}: {model}")
    started = time.monotonic()
    predictions: dict[str, Floats] = {model: recovery.predict_log_proba(recording)}
    seconds = time.monotonic() - started
    found = score_model(recovery, recording, predictions[model])
    methods, left_out = found["methods"], {}
    methods[model]["read_seconds"] = seconds
    for name, rival in rivals.items():
        advance(0, f"{recording.name}: {name}")
        started = time.monotonic()
        try:
            predictions[name] = rival.fitted.predict(PopulationDataset(recording))["log_probability"]
        except InputError as error:
            left_out[name] = str(error)
            continue
        about = {"n_parameters": rival.fitted.n_parameters, "fit_seconds": rival.fit_seconds}
        about["read_seconds"] = time.monotonic() - started
        methods[name] = {"scores": score_graph(predictions[name], truth), **about}
        shown = ranked({name: methods[name] for name in predictions if name != model})[:MOST_SHOWN]
        predictions = {name: predictions[name] for name in (model, *shown)}
    rules = ranked({name: about for name, about in methods.items() if name != model})
    best = rules[0] if rules else None
    methods = {name: methods[name] for name in dict.fromkeys((model, *rules, *methods))}
    if settings.control:
        other = with_other_truth(truth, np.random.default_rng(0))
        methods[model + CONTROL] = {"scores": score_graph(predictions[model], other)}
    return {**found, "methods": methods, "left_out": left_out, "best_rival": best}, predictions


def _section(recording: Recording, found: Mapping[str, Any]) -> list[str]:
    table = graph_table(found["methods"], best_rival=found["best_rival"], left_out=found["left_out"])
    edges = f"{found['edge_fraction']:.3f} of the pairs interact"
    states = ["", state_table(found["states"])] if found["states"] else []
    return ["", f"## {in_markdown(recording.name)} ({words(recording)}; {edges})", "", table, *states]


def _refuse_trained(run: Run, recordings: Sequence[Recording]) -> None:
    """No test on what the model has learned from, or was chosen by."""
    trained = trained_on(run)
    for recording in recordings:
        if digest(recording) in trained:
            raise InputError(
                f"{recording.name!r} is what the model of {run.folder} learned from, or was calibrated on; give other "
                "trials (motet simulate with another seed). Scores of its validation part are in the run's table.md."
            )


def _rival_recordings(
    run: Run, settings: EvaluateInteractionsSettings, recordings: Sequence[Recording]
) -> list[Recording]:
    """What rules may learn from: trials of training, never of test."""
    asked = how_read(run)
    kept = run.read_settings() if run.has_settings else {}
    names = settings.rival_recordings or kept.get("recordings", ())
    advice = "give rival_recordings, or rivals=false"
    if not names:
        raise InputError(f"{run.folder} does not say which recordings it was trained on; {advice}.")
    try:
        found = read_trials(names, **asked)
    except InputError as error:
        raise InputError(f"rules learn from the training trials, which cannot be read ({error}); {advice}.") from error
    if not settings.rival_recordings and {digest(r) for r in found} - trained_on(run):
        raise InputError(f"the recordings that {run.folder} was trained on have changed since; {advice}.")
    tested = {digest(recording) for recording in recordings}
    for recording in found:
        if digest(recording) in tested:
            raise InputError(f"{recording.name!r} is tested on, so that rules cannot learn from it; {advice}.")
    return [r.select(trials=slice(0, settings.rival_trials)) for r in found]

"""Who interacts with whom: learn it where it is known, and score what is recovered beside closed-form rivals."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.pairs import are_pairs, n_observed
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.names import in_path
from motet.report.graphs import draw_graphs
from motet.report.individuals import draw_embeddings, draw_states
from motet.report.pair_scores import draw_calibration, draw_roc_and_precision_recall, draw_size_curve
from motet.report.scores import learning_curve
from motet.rivals.method import Answer, Fitted, Method, PairQuestion, Say
from motet.rivals.registry import rivals_of
from motet.rivals.shuffled import Shuffled
from motet.settings import Count
from motet.tasks.comparison import Column, Measured
from motet.tasks.evaluate import OWN, Evaluation, Part, evaluate
from motet.tasks.find import stem
from motet.tasks.graph_scores import (
    COLUMNS,
    GraphTruth,
    edge_log_odds,
    edge_probability,
    score_graph,
    score_state,
    state_columns,
)
from motet.tasks.outcome import Outcome
from motet.tasks.systems import (
    EvaluateSettings,
    EvaluateTask,
    SystemTask,
    TrainSettings,
    TrainTask,
    Trials,
    only,
)
from motet.training.calibration import Calibration
from motet.training.history import as_columns
from motet.training.objectives import InteractionSettings
from motet.training.run import Run

Floats = NDArray[np.floating[Any]]
MOST_SHOWN = 3  # rivals in a figure
MOST_EMBEDDED = 200  # trials whose embeddings are compared; the wide ones of pairs are made along with them
FEWEST_SIZES = 3  # of which there is a curve


@dataclasses.dataclass(frozen=True)
class TrainInteractionsSettings(TrainSettings):
    """What to learn interactions from, and how; each recording has the target.

    Attributes:
        states: targets per individual to learn beside it, such as [mass].
        window: cut trials into windows of this many bins, each one a trial.
        stride: bins between the starts of two windows.
        objective: see InteractionSettings.
    """

    states: tuple[str, ...] = ()
    window: Count | None = None
    stride: Count = 1
    objective: InteractionSettings = InteractionSettings()

    def check(self) -> None:
        super().check()
        if not self.validation and not self.training.validation:
            raise InputError(
                "probabilities are calibrated on trials that are not trained on, and there are none; give "
                "training.validation above 0, or files for validation."
            )

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/interactions-{stem(self.recordings[0])}")


@dataclasses.dataclass(frozen=True)
class EvaluateInteractionsSettings(EvaluateSettings):
    """What recovered interactions are scored on, and beside what; recordings have the target that the run learned.

    Attributes:
        rival_trials: how many first trials of each recording the rivals learn from.
        control: whether a row shows the model's scores where individuals of a trial are shuffled: what each score is
            worth by chance.
    """

    rival_trials: Count = 500
    control: bool = True


def train_interactions(settings: TrainInteractionsSettings) -> Outcome:
    """Learn who interacts with whom from recordings whose truth is known; leaves a run with model, table and figures.

    What was finished before is kept: run it again to go on after an interruption.

    Raises:
        InputError: for recordings, targets or settings that cannot be used.
    """
    return evaluate(TrainInteractions(settings))


def evaluate_interactions(settings: EvaluateInteractionsSettings) -> Outcome:
    """Score a run's recovered graphs, groups and states beside closed-form rivals and chance; leaves table and figures.

    An evaluation that was finished before is read, not repeated.

    Raises:
        InputError: for a run or recordings that cannot be used, or that do not fit each other.
    """
    return evaluate(EvaluateInteractions(settings))


# ------------------------------------------------------------------ tasks


class Recovery(SystemTask[EITInteractions]):
    """Graphs, groups and states are asked for."""

    kind = EITInteractions

    @staticmethod
    def answers(recovery: EITInteractions, test: PopulationDataset) -> Answer:
        (recording,) = test.recordings
        states = recovery.predict_states(recording) if recovery.states else {}
        return {
            "log_probability": recovery.predict_log_proba(recording),
            **{f"state {name}": values.astype(np.float64) for name, values in states.items()},
        }

    @functools.cached_property
    def question(self) -> PairQuestion:  # type: ignore[override]
        r = self.estimator
        return PairQuestion(r.target, tuple(r.types_.tolist()), r.objective.is_directed, r.motion.features)

    @functools.cached_property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]
        return COLUMNS | state_columns(self.estimator.states)

    def methods(self, part: Part) -> Sequence[Method]:
        return [self.model, TrainingMean(self.estimator)] if self.estimator.states else [self.model]

    def truth(self, part: Part) -> GraphTruth:
        return GraphTruth.of(only(part), self.question, states=self.estimator.states)

    def measure(self, answer: Answer, truth: GraphTruth) -> Measured:
        scores = score_graph(answer["log_probability"], truth) if "log_probability" in answer else {}
        for name in truth.states:
            if f"state {name}" in answer:
                scores |= score_state(name, answer[f"state {name}"], truth)
        return Measured(scores)

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return ranked[: 1 + MOST_SHOWN]

    def heading(self, section: str, parts: Sequence[Part]) -> str:
        truth = self.truth(parts[0])
        edges = float((truth.types[truth.counted] > 0).mean())
        return f"{super().heading(section, parts)[:-1]}; {edges:.3f} of the pairs interact)"

    def calibration(self, evaluation: Evaluation) -> Figure:
        """Probabilities of the model before and after calibration, by recording."""
        plain = copy.copy(self.estimator)
        plain.calibration_ = Calibration.none(len(self.estimator.types_))
        before, after = {}, {}
        for part in evaluation.tested:
            truth, name = self.truth(part), part.section
            known = np.where(truth.counted, truth.is_edge, -1)
            found = evaluation.answer(part, self.estimator.method)["log_probability"]
            after[name] = edge_probability(found), known
            before[name] = edge_probability(plain.predict_log_proba(only(part))), known
        return draw_calibration(before, after, legend_title="recording", title="probabilities of an edge")


class TrainInteractions(TrainTask[EITInteractions], Recovery):
    """What the model recovers in the validation part is scored."""

    def __init__(self, settings: TrainInteractionsSettings) -> None:
        super().__init__(settings)
        for recording in (*self.recordings, *self.held_out):
            _check_orders(recording, settings)
        self.learned = PopulationDataset(self.recordings)
        if self.held_out:
            self.validation = PopulationDataset(self.held_out)
        else:
            try:
                self.learned, self.validation = self.learned.split(
                    by="trial", test=settings.training.validation, seed=settings.seed
                )
            except InputError as error:
                raise InputError(
                    f"no trials can be held out to validate ({error}) Or give files for validation."
                ) from error
        self.tests = [r for r in self.validation.recordings if _is_known(r, settings.target)]

    def made(self) -> EITInteractions:
        return super().made().set_params(training__validation=0.0)  # its part is given

    def parts(self) -> Sequence[Part]:
        return [Part(OWN, self.learned, None), *super().parts()]

    def methods(self, part: Part) -> Sequence[Method]:
        if part.name == OWN:
            return [self.trained(self.validation)]
        return super().methods(part)

    def about(self) -> dict[str, Any]:
        r, bins = self.estimator, np.concatenate([one.trial_lengths for one in self.learned.recordings])
        truths = [GraphTruth.of(one, self.question) for one in self.learned.recordings if _is_known(one, r.target)]
        sizes = np.unique(np.concatenate([n_observed(one.observed) for one in self.learned.recordings]))
        return {
            "part": "validation",
            "n_parameters": r.n_parameters_,
            "trained_on": {
                "n_trials": len(self.learned),
                "n_individuals": sizes,
                "n_bins": [int(bins.min()), int(bins.max())],
                "is_grouped": all(truth.groups is not None for truth in truths),
            },
        }

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        yield (
            "Scores of the validation part, which chose the epoch and calibrated the probabilities; those of other "
            "trials: motet interactions evaluate."
        )

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        score = "AUROC of pairs" if len(self.estimator.types_) == 2 else "accuracy of edge types"
        history = as_columns(self.estimator.history_)
        yield "learning_curve", learning_curve(history, score_name=score, title=f"learning {self.estimator.target}")
        if self.tests:
            yield "calibration", self.calibration(evaluation)


class EvaluateInteractions(EvaluateTask[EITInteractions], Recovery):
    """A trained model beside rivals and chance, on recordings of any size."""

    def __init__(self, settings: EvaluateInteractionsSettings) -> None:
        trials = Trials.of_run(Run(settings.run), settings.reading)
        super().__init__(settings, trials, most=settings.rival_trials)
        for part in self.parts():
            self.truth(part)

    def methods(self, part: Part) -> Sequence[Method]:
        control = [ShuffledIndividuals(self.model)] if self.settings.control else []
        return [*super().methods(part), *(rivals_of(self.question) if self.settings.rivals else []), *control]

    def about(self) -> dict[str, Any]:
        trained_on = self.run.read_results().get("trained_on", {}) if self.run.has_results else {}
        return {"trained_on": trained_on, "rivals_learn_from": {r.name: r.n_trials for r in self.learned_from}}

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        yield "Intervals, differences: over blocks of test trials, of one training. Groups: of unknown number and size."
        if self.learned_from:
            learned = "; ".join(f"{r.n_trials:,} of {r.name}" for r in self.learned_from)
            yield f"Rivals learned from training trials: {learned}."

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        recovery = self.estimator
        yield "calibration", self.calibration(evaluation)
        for part in evaluation.tested:
            recording, truth, name = only(part), self.truth(part), part.section
            end = f"_{in_path(name)}" if len(self.tests) > 1 else ""
            shown = self.kept(list(evaluation.results["sections"][name]["methods"]))
            answers = {method: evaluation.answer(part, method) for method in shown}
            graphs = {m: answer["log_probability"] for m, answer in answers.items() if "log_probability" in answer}
            known = np.where(truth.counted, truth.is_edge, -1)
            yield (
                f"graph{end}",
                draw_graphs(
                    np.where(truth.types >= 0, edge_probability(graphs[recovery.method]), np.nan),
                    truth=truth.is_edge,
                    positions=positions(recording, recovery),
                    system=truth.groups,
                    observed=recording.observed.any(axis=2),
                    title=name,
                ),
            )
            curves = {method: (edge_log_odds(graph), known) for method, graph in graphs.items()}
            yield f"roc{end}", draw_roc_and_precision_recall(curves, title=name)
            yield f"embeddings{end}", _embeddings(recovery, recording, truth)
            for state, true in truth.states.items():
                predicted = answers[recovery.method][f"state {state}"]
                yield f"{state}{end}", draw_states({recovery.method: predicted}, true, state, title=name)
        yield from draw_sizes(evaluation.results, {r.name: r.n_individuals for r in self.tests}, recovery.method)


class ShuffledIndividuals(Shuffled):
    """Chance: the answers of a method, with the individuals of every trial in another order."""

    what = "shuffled individuals"

    def answer(self, answer: Answer, test: PopulationDataset) -> Answer:
        observed = np.concatenate([recording.observed.any(axis=2) for recording in test.recordings])
        source = shuffled_individuals(observed, np.random.default_rng(0))
        trial = np.arange(len(source))[:, None]
        shuffled = {name: array[trial, source] for name, array in answer.items()}
        pairs = answer["log_probability"][trial[..., None], source[:, :, None], source[:, None]]
        return {**shuffled, "log_probability": pairs}


def shuffled_individuals(observed: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(trial, individual) for each individual another that takes its place: those present change, at random."""
    places = np.arange(observed.shape[1])
    order = np.argsort(np.where(observed, places, np.inf), axis=1, kind="stable")
    drawn = np.argsort(np.where(observed, rng.random(observed.shape), np.inf), axis=1, kind="stable")
    source = np.empty_like(order)
    np.put_along_axis(source, order, drawn, axis=1)
    return source


class TrainingMean(Method):
    """The mean of the training trials, for every state.

    Args:
        recovery: that has learned from them.
    """

    name = "mean of the training trials"

    def __init__(self, recovery: EITInteractions) -> None:
        self.means = {f"state {target.name}": target.mean[0] for target in recovery.state_targets_}
        self.n_parameters = len(self.means)
        self.about: dict[str, Any] = {}

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        return self

    def predict(self, test: PopulationDataset) -> Answer:
        (recording,) = test.recordings
        return {name: np.full(recording.observed.shape[:2], mean) for name, mean in self.means.items()}


# ------------------------------------------------------------------ answers and pictures


def positions(recording: Recording, recovery: EITInteractions) -> Floats | None:
    """(trial, individual, time, 2), if individuals move in a plane."""
    n_coordinates = {"position": recording.n_features, "position-velocity": recording.n_features / 2}
    if n_coordinates.get(recovery.motion.features) != 2:
        return None
    return np.where(recording.observed[..., None], recording.values[..., :2], np.nan)


def _embeddings(recovery: EITInteractions, recording: Recording, truth: GraphTruth) -> Figure:
    chosen = np.linspace(0, recording.n_trials - 1, min(MOST_EMBEDDED, recording.n_trials)).round().astype(int)
    seen = recording.select(trials=chosen)
    encoding = recovery.encode(seen)
    n_bins = np.maximum(seen.observed.sum(axis=2), 1)[..., None]
    mean = {stage: np.nan_to_num(encoding[stage]).sum(axis=2) / n_bins for stage in ("individual", "population")}
    return draw_embeddings(
        mean["individual"],
        mean["population"],
        np.full(seen.observed.shape[:2], -1) if truth.groups is None else truth.groups[chosen],
        observed=seen.observed.any(axis=2),
        title=recording.name,
    )


def draw_sizes(results: Mapping[str, Any], sizes: Mapping[str, int], model: str) -> Iterator[tuple[str, Figure]]:
    """Scores of the model and of the best rivals against the number of individuals, where there are enough sizes.

    Args:
        results: of an evaluation.
        sizes: of the recordings, by section.
        model: its name.
    """
    sections = results["sections"]
    shown = {model, *(section["best_rival"] for section in sections.values())} - {None}
    trained = results["trained_on"].get("n_individuals", ())
    for metric, heading in (("average_precision", "average precision"), ("adjusted_rand", "adjusted Rand index")):
        curves: dict[str, dict[int, list[tuple[float, float, float]]]] = {}
        for name, section in sections.items():
            for method in shown & section["methods"].keys():
                if (score := section["methods"][method]["scores"].get(metric)) is not None:
                    interval = score.interval or (score.value, score.value)
                    curves.setdefault(method, {}).setdefault(sizes[name], []).append((score.value, *interval))
        means = {
            method: {size: tuple(np.mean(scores, axis=0).tolist()) for size, scores in curve.items()}
            for method, curve in curves.items()
            if len(curve) >= FEWEST_SIZES
        }
        if means:
            yield f"size_{metric}", draw_size_curve(means, heading, trained_sizes=trained, title="by size")


# ------------------------------------------------------------------ checks


def _check_orders(recording: Recording, settings: TrainInteractionsSettings) -> None:
    """Refuse a truth that differs between the two orders of a pair, unless it is directed."""
    target = recording.targets.get(settings.target)
    if target is not None and recording.target_levels[settings.target] == "pair" and target.dtype.kind in "biu":
        differs = (target != target.swapaxes(1, 2)).any()
        if differs and not settings.objective.is_directed:
            raise InputError(
                f"target {settings.target!r} of recording {recording.name!r} differs between the two orders of a pair; "
                "give objective.is_directed=true, or make them alike."
            )


def _is_known(recording: Recording, target: str) -> bool:
    is_graph = recording.target_levels.get(target) == "pair"
    return is_graph and bool((are_pairs(recording.observed) & (recording.targets[target] >= 0)).any())

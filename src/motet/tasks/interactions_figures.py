"""The figures of training, evaluating and recovering interactions."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.estimators.interactions import EITInteractions
from motet.report.graphs import draw_graphs
from motet.report.individuals import draw_embeddings, draw_states
from motet.report.pair_scores import draw_calibration, draw_roc_and_precision_recall, draw_size_curve
from motet.report.scores import learning_curve
from motet.report.style import save_figure
from motet.tasks.interactions_scores import Truth, edge_log_odds, edge_probability, truth_of
from motet.training.calibration import Calibration
from motet.training.run import Run
from motet.training.state import as_columns

Floats = NDArray[np.floating[Any]]

MOST_EMBEDDED = 200  # trials whose embeddings are compared; the wide ones of pairs are made along with them
FEWEST_SIZES = 3  # of which there is a curve


def draw_training(run: Run, recovery: EITInteractions, validation: Sequence[Recording]) -> None:
    """Draw the course of training, and the probabilities of the validation part before and after calibration."""
    score = "AUROC of pairs" if len(recovery.types_) == 2 else "accuracy of edge types"
    history = as_columns(recovery.history_)
    drawn = {"learning_curve": learning_curve(history, score_name=score, title=f"learning {recovery.target}")}
    if validation:
        truths = {r.name: truth_of(r, recovery) for r in validation}
        probability = {r.name: edge_probability(recovery.predict_log_proba(r)) for r in validation}
        drawn["calibration"] = _calibration(recovery, validation, probability, truths, "of the validation part")
    _save(run.figures, drawn)


def draw_evaluation(
    folder: Path,
    recovery: EITInteractions,
    recordings: Sequence[Recording],
    log_probability: Mapping[str, Mapping[str, Floats]],
    results: Mapping[str, Any],
) -> None:
    """Draw what an evaluation found.

    Args:
        folder: of the figures.
        recovery: the model.
        recordings: with the truth.
        log_probability: recording → the model and some others → (trial, individual, individual, type).
        results: see `motet.tasks.interactions_evaluate`.
    """
    drawn: dict[str, Figure] = {}
    truths = {recording.name: truth_of(recording, recovery) for recording in recordings}
    probability = {r.name: edge_probability(log_probability[r.name][recovery.method]) for r in recordings}
    drawn["calibration"] = _calibration(recovery, recordings, probability, truths, "of an edge")
    for recording in recordings:
        truth, name = truths[recording.name], recording.name
        end = f"_{''.join(c if c.isalnum() else '-' for c in name)}" if len(recordings) > 1 else ""
        drawn[f"graph{end}"] = draw_graphs(
            np.where(truth.types >= 0, probability[name], np.nan),
            truth=truth.is_edge,
            positions=_positions(recording, recovery),
            system=truth.groups,
            observed=recording.observed.any(axis=2),
            title=name,
        )
        known = np.where(truth.counted, truth.is_edge, -1)
        drawn[f"roc{end}"] = draw_roc_and_precision_recall(
            {method: (edge_log_odds(found), known) for method, found in log_probability[name].items()}, title=name
        )
        drawn[f"embeddings{end}"] = _embeddings(recovery, recording, truth)
        for state, predicted in _told_states(recovery, recording).items():
            drawn[f"{state}{end}"] = draw_states(
                {recovery.method: predicted}, recording.targets[state], state, title=name
            )
    drawn |= draw_sizes(results, recovery.method)
    _save(folder, drawn)


def draw_sizes(results: Mapping[str, Any], model: str) -> dict[str, Figure]:
    """Scores of the model and of the best rules against the number of individuals, where there are enough sizes."""
    found, drawn = results["recordings"], {}
    shown = {model, *(about["best_rival"] for about in found.values() if about["best_rival"] is not None)}
    for metric, words in (("average_precision", "average precision"), ("adjusted_rand", "adjusted Rand index")):
        if curves := _size_curves(found, metric, shown):
            trained = results["trained_on"].get("n_individuals", ())
            drawn[f"size_{metric}"] = draw_size_curve(curves, words, trained_sizes=trained, title="by size")
    return drawn


def draw_recovered(
    folder: Path, recovery: EITInteractions, recording: Recording, probability: Floats, groups: NDArray[Any] | None
) -> list[Path]:
    """Draw the graphs of a recording whose truth is not known; gives back the files."""
    figure = draw_graphs(
        probability,
        positions=_positions(recording, recovery),
        system=groups,
        observed=recording.observed.any(axis=2),
        title=recording.name + ("; colours are recovered groups" if groups is not None else ""),
    )
    return list(save_figure(figure, folder, "graph"))


def _calibration(
    recovery: EITInteractions,
    recordings: Sequence[Recording],
    probability: Mapping[str, Floats],
    truths: Mapping[str, Truth],
    title: str,
) -> Figure:
    plain = copy.copy(recovery)
    plain.calibration_ = Calibration.none(len(recovery.types_))
    known = {name: np.where(truth.counted, truth.is_edge, -1) for name, truth in truths.items()}
    before = {r.name: (edge_probability(plain.predict_log_proba(r)), known[r.name]) for r in recordings}
    after = {name: (probability[name], known[name]) for name in known}
    return draw_calibration(after, before=before, legend_title="recording", title=f"probabilities {title}")


def _positions(recording: Recording, recovery: EITInteractions) -> Floats | None:
    """(trial, individual, time, 2), if individuals move in a plane."""
    n_coordinates = {"position": recording.n_features, "position-velocity": recording.n_features / 2}
    if n_coordinates.get(recovery.motion.features) != 2:
        return None
    return np.where(recording.observed[..., None], recording.values[..., :2], np.nan)


def _embeddings(recovery: EITInteractions, recording: Recording, truth: Truth) -> Figure:
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


def _told_states(recovery: EITInteractions, recording: Recording) -> dict[str, Floats]:
    """Predictions of the states that a recording tells."""
    told = [n for n in recovery.states if n in recording.targets and np.isfinite(recording.targets[n]).any()]
    return {name: predicted for name, predicted in recovery.predict_states(recording).items() if name in told}


def _size_curves(
    recordings: Mapping[str, Any], metric: str, shown: Collection[str]
) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Method → number of individuals → mean and ends of the interval, over the recordings of that size."""
    found: dict[str, dict[int, list[tuple[float, float, float]]]] = {}
    for about in recordings.values():
        for method, results in about["methods"].items():
            if method in shown and (score := results["scores"].get(metric)) is not None:
                interval = score.interval or (score.value, score.value)
                found.setdefault(method, {}).setdefault(about["n_individuals"], []).append((score.value, *interval))
    means = {
        method: {size: tuple(np.mean(scores, axis=0).tolist()) for size, scores in by_size.items()}
        for method, by_size in found.items()
    }
    return {method: curve for method, curve in means.items() if len(curve) >= FEWEST_SIZES}


def _save(folder: Path, drawn: Mapping[str, Figure]) -> None:
    for name, figure in drawn.items():
        save_figure(figure, folder, name)

"""The figures of a decoding run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.names import in_path
from motet.report.decoded import confusion_matrix, decoded_trajectories
from motet.report.neurons import psths
from motet.report.scores import learning_curve, score_comparison
from motet.report.style import save_figure
from motet.tasks.decode_fold import CONTROL, MODEL
from motet.tasks.find import class_target
from motet.training.run import Run
from motet.training.state import as_columns, history_of

IGNORANT = {"majority", "mean"}  # rivals that never look at the activity: chance, where there is no control


def draw_figures(
    run: Run, dataset: PopulationDataset, target: str, *, n_folds: int, results: Mapping[str, Any]
) -> None:
    """Draw a run's figures: scores beside rivals, learning curves, what was decoded, and the neurons that tell most.

    Args:
        run: a finished decoding.
        dataset: the recordings it decoded.
        target: what was decoded.
        n_folds: of one repeat; figures of predictions show each trial once.
        results: see `motet.tasks.decode`.
    """
    parts = [run.part(f"folds/{number:02d}/eit") for number in range(n_folds)]
    metric = {"r2": "R²", "accuracy": "accuracy", "macro_f1": "macro-F1"}[results["metric"]]
    names = [recording.name for recording in dataset.recordings]
    title = f"{target} of {names[0] if len(names) == 1 else f'{len(names)} recordings'}"
    shown = {CONTROL: "shuffled targets"}
    scores = {shown.get(name, name): np.asarray(found["fold_scores"]) for name, found in results["methods"].items()}
    chance = {shown[CONTROL]} & scores.keys() or IGNORANT & scores.keys()
    intervals = {shown.get(row.method, row.method): row.interval for row in results["rows"]}
    drawn: dict[str, Figure] = {
        "scores": score_comparison(
            scores,
            metric,
            rivals=scores.keys() - chance - {MODEL},
            chance=chance,
            intervals=intervals,
            title=title,
        ),
        "learning_curve": learning_curve(
            [as_columns(history_of(part, "predictions")) for part in parts], score_name=metric, title=title
        ),
    }
    if results["metric"] == "r2":
        drawn |= _trajectories(parts, dataset, title) if "velocity" in target else {}
    else:
        drawn["confusion_matrix"] = _confusion(parts, title)
    for recording in dataset.recordings:
        label = class_target(recording, target)
        if label is not None and recording.n_features == 1:
            name = f"psths_{in_path(recording.name)}" if len(dataset.recordings) > 1 else "psths"
            drawn[name] = psths(recording, label, title=f"most informative neurons of {recording.name}")
    for name, figure in drawn.items():
        save_figure(figure, run.figures, name)


def _confusion(parts: list[Run], title: str) -> Figure:
    truths, predictions = [], []
    for part in parts:
        tensors, about = part.read_tensors("predictions")
        classes = np.asarray(about["classes"])
        truths.append(classes[tensors["truth"].numpy()])
        predictions.append(classes[tensors["prediction"].numpy()])
    truth, prediction = np.concatenate(truths), np.concatenate(predictions)
    return confusion_matrix(truth, prediction, np.unique([*truth, *prediction]).tolist(), title=title)


def _trajectories(parts: list[Run], dataset: PopulationDataset, title: str) -> dict[str, Figure]:
    """Decoded beside true, for a velocity of two dimensions per bin."""
    tensors = [part.read_tensors("predictions")[0] for part in parts]
    if tensors[0]["truth"].ndim != 3 or tensors[0]["truth"].shape[-1] != 2:
        return {}
    truth, prediction = (_padded([t[name].numpy() for t in tensors]) for name in ("truth", "prediction"))
    label = np.concatenate([t["label"].numpy() for t in tensors])
    seconds = dataset.recordings[0].bin_seconds
    return {"trajectories": decoded_trajectories(prediction, truth, label, seconds, title=title)}


def _padded(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Trials of all folds, with NaN beyond the end of shorter ones."""
    longest = max(array.shape[1] for array in arrays)
    return np.concatenate(
        [np.pad(a, ((0, 0), (0, longest - a.shape[1]), (0, 0)), constant_values=np.nan) for a in arrays]
    )

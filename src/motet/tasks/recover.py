"""Recover who interacts with whom in trajectories of your own, with the model of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from motet.data.pairs import are_pairs, n_observed
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.interactions import EITInteractions
from motet.progress import progress_bar
from motet.report.graphs import draw_graphs
from motet.report.style import save_figure
from motet.settings import Count, Settings
from motet.tasks.find import stem
from motet.tasks.graph_scores import edge_probability
from motet.tasks.interactions import positions
from motet.tasks.outcome import Columns, Written, write_columns
from motet.tasks.systems import Trials, check_features, load_estimator
from motet.training.run import Run


@dataclasses.dataclass(frozen=True)
class RecoverInteractionsSettings(Settings):
    """What to recover interactions in.

    Attributes:
        run: folder of a run that motet interactions train left.
        recording: a file of trajectories (CSV, npz or nc), or a name in the catalogue; of as many individuals as there
            are, with the features and the bins that the run was trained on.
        output: folder to write to; by default "recovered/<file>" in the run.
        reading: options for reading the file, by name, such as {columns: {individual: fish}, resample_seconds: 0.1,
            longest_gap_seconds: 0.5}; by default those of the run.
        window: cut trials into windows of this many bins, each read alone; by default as the run was trained.
        stride: bins between the starts of two windows; by default as many as a window has.
    """

    positionals: ClassVar = ("run", "recording")

    run: str
    recording: str
    output: str | None = None
    reading: dict[str, Any] | None = None
    window: Count | None = None
    stride: Count | None = None

    @property
    def folder(self) -> Path:
        return Path(self.output or Path(self.run) / "recovered" / stem(self.recording))


def recover(settings: RecoverInteractionsSettings) -> Written:
    """Recover the interactions in a file of trajectories: tables of pairs, groups and states, and a picture.

    pairs.csv has a row for each pair (if the model is directed, for each order of it: the source acts on the target),
    with the probability of an edge; of several edge types also the likeliest and the probability of each. groups.csv
    is written if the model learned from groups in which everybody interacts; states.csv if it learned states. A
    window's row has its start too, in seconds on the recording's clock.

    Raises:
        InputError: if the run or the file cannot be read, or they do not fit each other.
    """
    run = Run(settings.run)
    recovery, trials = load_estimator(run, EITInteractions), Trials.of_run(run, settings.reading)
    window = settings.window or trials.window
    if window is None and settings.stride is not None:
        raise InputError(f"stride is {settings.stride}, but trials are not cut into windows; give window too.")
    trials = dataclasses.replace(trials, window=window, stride=settings.stride or window or 1)
    (recording,) = trials.read([settings.recording])
    check_features(recording, recovery.motion, is_of_model=True)
    trained = run.read_results().get("trained_on", {}) if run.has_results else {}
    is_grouped = len(recovery.types_) == 2 and bool(trained.get("is_grouped", True))
    with Run(settings.folder).claimed(), progress_bar(f"recover {recording.name}", 2) as advance:
        log_probability = recovery.predict_log_proba(recording)
        groups = recovery.predict_groups(recording) if is_grouped else None
        tables = {"pairs": _pairs(recovery, recording, log_probability)}
        if groups is not None:
            tables["groups"] = _individuals(recording, {"group": groups})
        if recovery.states:
            tables["states"] = _individuals(recording, recovery.predict_states(recording))
        advance(1, "tables")
        files = [
            write_columns(settings.folder / f"{name}.csv", _with_trial(recording, columns, is_cut=window is not None))
            for name, columns in tables.items()
        ]
        figure = draw_graphs(
            edge_probability(log_probability),
            positions=positions(recording, recovery),
            system=groups,
            observed=recording.observed.any(axis=2),
            title=recording.name + ("; colours are recovered groups" if groups is not None else ""),
        )
        files += save_figure(figure, settings.folder, "graph")
        advance(1, "picture")
    return Written(tuple(files), tuple(_notes(recording, trained)))


def _pairs(recovery: EITInteractions, recording: Recording, log_probability: NDArray[np.float64]) -> Columns:
    """What is recovered of each pair, by column; each pair once, unless its two orders are two pairs."""
    pairs = are_pairs(recording.observed)
    trial, a, b = np.nonzero(pairs if recovery.objective.is_directed else np.triu(pairs))
    found, ids = log_probability[trial, a, b], np.asarray(recording.individual_ids)
    names = ("target", "source") if recovery.objective.is_directed else ("individual_a", "individual_b")
    ends = {name: ids[place] for name, place in sorted(zip(names, (a, b), strict=True))}
    columns = {"row": trial, **ends, "probability": edge_probability(found)}
    types = recovery.types_
    if len(types) > 2:
        columns["type"] = types[found.argmax(axis=-1)]
        columns |= {f"p({label})": np.exp(found[:, place]) for place, label in enumerate(types)}
    return columns


def _individuals(recording: Recording, values: Mapping[str, NDArray[Any]]) -> Columns:
    """What is recovered of each individual that is observed, by column."""
    trial, individual = np.nonzero(recording.observed.any(axis=2))
    found = {name: array[trial, individual] for name, array in values.items()}
    return {"row": trial, "individual": np.asarray(recording.individual_ids)[individual], **found}


def _with_trial(recording: Recording, columns: Columns, *, is_cut: bool) -> Columns:
    """The trial, and the start of a window, before the other columns."""
    row = columns["row"]
    about = {"trial": np.asarray(recording.trial_ids)[row]}
    if is_cut:
        about["start_seconds"] = np.asarray(recording.trial_start_seconds)[row]
    return {**about, **{name: column for name, column in columns.items() if name != "row"}}


def _notes(recording: Recording, trained: Mapping[str, Any]) -> Iterator[str]:
    """Where the recording is unlike those of training."""
    if not trained:
        return
    sizes, (shortest, longest) = trained["n_individuals"], trained["n_bins"]
    lengths, present = recording.trial_lengths, n_observed(recording.observed)
    if lengths.max() > longest or lengths.min() < shortest:
        yield (
            f"note: trials have {_span(lengths.min(), lengths.max())} bins, those of training had "
            f"{_span(shortest, longest)}; longer ones are read best in windows (--window {longest})."
        )
    if present.max() > max(sizes) or present.min() < min(sizes):
        yield (
            f"note: there are {_span(present.min(), present.max())} individuals, in training there were "
            f"{_span(min(sizes), max(sizes))}."
        )


def _span(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"

"""Trajectories in a table as samples, and its columns of labels as targets: `read_samples`, `leveled`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.arrays import LEVELS, QUANTITIES, Leveled
from motet.data.readers.claims import claim, listed
from motet.data.readers.sampling import Grid, Samples
from motet.data.readers.tables import UNKNOWN, Table, read_table
from motet.data.recording import Level
from motet.errors import InputError
from motet.given import unknown

AXES = ("trial", "individual", "time")
KNOWN_TARGETS = ("system", *QUANTITIES)


@dataclasses.dataclass(frozen=True)
class TableOfSamples:
    """A table, its samples, and the names of its targets."""

    table: Table
    samples: Samples
    targets: list[str]


def read_samples(
    path: Path,
    columns: Mapping[str, str],
    features: Sequence[str] | None,
    targets: Sequence[str] | None,
    *,
    targets_are_optional: bool,
) -> TableOfSamples:
    """Read a table of trajectories (see `motet.data.readers.trajectories`).

    Raises:
        InputError: if a column is absent, or nobody says what it is; naming the line of a cell that is no number.
    """
    lists = {"features": features, "targets": targets}
    said = [name for what, given in lists.items() if given is not None for name in listed(given, what=what)]
    as_text = {"trial", "individual", "system", *(targets or ())} - {*QUANTITIES, *(features or ())}
    table = read_table(path, labels=as_text, columns=columns)
    table.require("individual", "time")
    if not table.n_rows:
        raise InputError(f"{path} has 0 rows below its header; give at least one.")
    known = {*said, *KNOWN_TARGETS}
    inputs, goals = claim(
        [name for name in table.names if name not in AXES and (name in known or not table.is_empty(name))],
        features=features,
        targets=targets,
        known_targets=KNOWN_TARGETS,
        source=str(path),
        targets_are_optional=targets_are_optional,
    )
    for name in goals:
        if LEVELS.get(name) == "pair":
            raise InputError(f"{path}: target {name!r} is of pairs; give it in a table of pairs, <stem>.pairs.csv.")
    if "trial" in table.names:
        trial_labels, trial = table.known_labels("trial")
    else:
        trial_labels, trial = ("0",), np.zeros(table.n_rows, dtype=np.int64)
    individual_labels, individual = table.known_labels("individual")
    samples = Samples(
        source=str(path),
        trial=trial,
        individual=individual,
        seconds=table.finite("time", all_known=True),
        values=np.stack([table.finite(name) for name in inputs], axis=1),
        trial_labels=trial_labels,
        individual_labels=individual_labels,
        row=np.arange(table.n_rows),
        line=table.line,
    )
    return TableOfSamples(table, samples, goals)


def known_target(read: TableOfSamples, name: str) -> NDArray[Any]:
    """(trial, individual): what a column of `KNOWN_TARGETS` says of an individual throughout a trial.

    Raises:
        InputError: naming the line that says something else than another.
    """
    table, samples = read.table, read.samples
    if name == "system":
        cells, code = table.labels[name]
        distinct: NDArray[Any] = np.array(["" if cell in UNKNOWN else cell for cell in cells] + [""])
        code = np.where(distinct[code] == "", -1, code)
    else:
        column = table.finite(name)
        distinct, code = np.unique(column[~np.isnan(column)], return_inverse=True)
        code = _spread(code, ~np.isnan(column))
        distinct = np.append(distinct, np.nan)
    said, is_alike = _said(code, *_places(samples)["individual"])
    if not is_alike.all():
        row = int(is_alike.argmin())
        raise table.refusal(
            row,
            f"{name} of individual {samples.individual_labels[samples.individual[row]]!r} in trial "
            f"{samples.trial_labels[samples.trial[row]]!r} is not what other rows say; give one throughout a trial, or "
            "name the column otherwise, or in features.",
        )
    return distinct[said]


def leveled(read: TableOfSamples, name: str, grid: Grid) -> Leveled:
    """A column as a target: per trial, per individual or per bin, the first of which it is constant in.

    Raises:
        InputError: naming the line of an individual that has another label than others at that time.
    """
    table, samples = read.table, read.samples
    distinct, code = table.typed_labels(name)
    labels = np.append(distinct, np.asarray(unknown(distinct.dtype), dtype=distinct.dtype))
    for level, (place, shape) in _places(samples, grid).items():
        said, is_alike = _said(code, place, shape)
        if is_alike.all():
            return level, labels[said]
    if grid.frames is None:
        raise InputError(
            f"{table.path}: target {name!r} differs within a trial, and cannot be resampled; resample it before, or "
            "leave it out."
        )
    raise table.refusal(
        int(is_alike.argmin()),
        f"target {name!r} differs between individuals at one time; give one label per trial, per individual or per "
        "time, or say that it is a feature.",
    )


def _places(samples: Samples, grid: Grid | None = None) -> dict[Level, tuple[NDArray[np.int64], tuple[int, ...]]]:
    """Of targets of each level, most general first: which one a row tells, and the shape of all."""
    n_trials, n_individuals = len(samples.trial_labels), len(samples.individual_labels)
    places: dict[Level, tuple[NDArray[np.int64], tuple[int, ...]]] = {
        "trial": (samples.trial, (n_trials,)),
        "individual": (samples.trial * n_individuals + samples.individual, (n_trials, n_individuals)),
    }
    if grid is not None and grid.frames is not None:
        n_bins = grid.values.shape[2]
        places["bin"] = samples.trial * n_bins + grid.frames, (n_trials, n_bins)
    return places


def _said(
    code: NDArray[np.int64], place: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What rows with a code (not -1) say of each place, -1 where nothing, and whether each row agrees with that."""
    known = code >= 0
    said = np.full(int(np.prod(shape)), -1, dtype=np.int64)
    said[place[known]] = code[known]
    return said.reshape(shape), ~known | (said[place] == code)


def _spread(code: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Codes of the known rows as codes of all rows, -1 where unknown."""
    of_row = np.full(len(known), -1, dtype=np.int64)
    of_row[known] = code
    return of_row

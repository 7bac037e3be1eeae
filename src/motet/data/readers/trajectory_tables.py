"""Tables as samples and targets, and who interacts with whom in a table beside one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.pairs import are_pairs
from motet.data.readers.arrays import LEVELS, QUANTITIES, Grid, Leveled, Samples, check_pairs
from motet.data.readers.tables import (
    TABLE_ENDINGS,
    UNKNOWN,
    Table,
    absent,
    claim,
    ending_of,
    enumerated,
    listed,
    read_table,
)
from motet.data.readers.wide_tables import individual_columns, no_individuals, seconds_of_rows
from motet.data.recording import Level
from motet.errors import InputError, did_you_mean
from motet.given import is_known, unknown

Targets = Sequence[str] | Mapping[str, str | Sequence[str]]
AXES = ("trial", "individual", "time")
KNOWN_TARGETS = ("system", *QUANTITIES)


_NO_SECONDS = re.compile(
    r"(?<![a-z])(m|u|µ|n)s(ec)?(?![a-z])|(milli|micro|nano)sec|(?<![a-z])(frame|sample|tick)s?(?![a-z])"
)


@dataclasses.dataclass(frozen=True)
class Claims:
    """Which columns are what, as `motet.data.readers.trajectories` says.

    Attributes:
        columns: what the table calls its columns, by motet's name.
        individuals: the columns that are individuals, where each has its own.
        features: the columns that are features.
        targets: the columns that are targets; or targets by name, each of a column or of several.
        targets_are_optional: whether those that are absent are passed over.
        seconds_per_unit: what the column of time counts.
    """

    columns: Mapping[str, str]
    individuals: Sequence[str] | None = None
    features: Sequence[str] | None = None
    targets: Targets | None = None
    targets_are_optional: bool = False
    seconds_per_unit: float | None = None


@dataclasses.dataclass(frozen=True)
class TableOfSamples:
    """A table, its samples, and the names of its targets; of a wide one the columns of its individuals.

    Samples of a wide table are of one individual, whose features are the columns.
    """

    table: Table
    samples: Samples
    targets: list[str]
    individuals: list[str]


def read_samples(
    open_table: Callable[[Collection[str]], Table], claims: Claims, bin_seconds: float | None = None
) -> TableOfSamples:
    """Read a table, which is opened by the names of its columns of labels."""
    features, targets = claims.features, columns_of_targets(claims.targets)
    lists = {"features": features, "targets": targets}
    said = [name for what, given in lists.items() if given is not None for name in listed(given, what=what)]
    as_text = {"trial", "individual", "system", *(targets or ())} - {*QUANTITIES, *(features or ())}
    table = open_table(as_text)
    source = table.source
    if not table.n_rows:
        raise InputError(f"{source} has 0 rows below its header; give at least one.")
    known = {*said, *KNOWN_TARGETS}
    filled = [name for name in table.names if name in AXES or name in known or not table.is_empty(name)]
    individuals = individual_columns(table.names if claims.individuals else filled, claims.individuals, targets or ())
    if individuals:
        inputs, goals = claim(
            [name for name in table.names if name not in AXES],
            features=individuals,
            targets=targets or (),
            known_targets=(),
            source=source,
            targets_are_optional=claims.targets_are_optional,
        )
        inputs = individuals
        if features is not None:
            raise InputError(f"{source}: both individuals and features are columns; say one of them.")
    elif "individual" not in table.names:
        for name in targets or ():
            if name not in table.names:
                raise did_you_mean(name, table.names, what=f"target of {source}")
        raise no_individuals(filled, source)
    else:
        table.require("time")
        inputs, goals = claim(
            [name for name in filled if name not in AXES],
            features=features,
            targets=targets,
            known_targets=KNOWN_TARGETS,
            source=source,
            targets_are_optional=claims.targets_are_optional,
        )
    for name in goals:
        if LEVELS.get(name) == "pair":
            raise InputError(f"{source}: target {name!r} is of pairs; give it in a table of pairs, <stem>.pairs.csv.")
    trial_labels: tuple[str, ...]
    individual_labels: tuple[str, ...]
    if "trial" in table.names:
        trial_labels, trial = table.known_labels("trial")
    else:
        trial_labels, trial = ("0",), np.zeros(table.n_rows, dtype=np.int64)
    if individuals:
        individual_labels, individual = ("of all",), np.zeros(table.n_rows, dtype=np.int64)
    else:
        individual_labels, individual = table.known_labels("individual")
    samples = Samples(
        source=source,
        trial=trial,
        individual=individual,
        seconds=_seconds(table, claims, trial, bin_seconds),
        values=np.stack([table.finite(name) for name in inputs], axis=1),
        trial_labels=trial_labels,
        individual_labels=individual_labels,
        row=np.arange(table.n_rows),
        place=table.place,
    )
    return TableOfSamples(table, samples, goals, individuals)


def columns_of_targets(targets: Targets | None) -> list[str] | None:
    """The columns that targets are made of."""
    if targets is None or not isinstance(targets, Mapping):
        return None if targets is None else listed(targets, what="targets")
    columns = [one if isinstance(one, str) else listed(one, what=f"target {name!r}") for name, one in targets.items()]
    return listed([name for one in columns for name in ([one] if isinstance(one, str) else one)], what="targets")


def grouped(found: Mapping[str, Leveled], targets: Targets | None, *, n_bins: int, source: str) -> dict[str, Leveled]:
    """Targets of several columns, such as a velocity of x and y, where they are asked for by name."""
    if not isinstance(targets, Mapping):
        return dict(found)
    made: dict[str, Leveled] = {}
    for name, one in targets.items():
        columns = [one] if isinstance(one, str) else list(one)
        if not set(columns) <= set(found):
            continue  # they may be absent, and are
        if len(columns) == 1:
            made[name] = found[columns[0]]
            continue
        of_columns = [found[column] for column in columns]
        levels = {level for level, _ in of_columns}
        if levels - {"trial", "bin"} or any(array.dtype.kind == "U" for _, array in of_columns):
            raise InputError(f"{source}: target {name!r} of {enumerated(columns)} has text, or numbers of individuals.")
        numbers = [np.where(is_known(array), array, np.nan).astype(np.float64) for _, array in of_columns]
        if "bin" in levels:
            numbers = [np.repeat(one[:, None], n_bins, axis=1) if one.ndim == 1 else one for one in numbers]
        made[name] = ("bin" if "bin" in levels else "trial"), np.stack(numbers, axis=-1)
    return made


def _seconds(table: Table, claims: Claims, trial: NDArray[np.int64], bin_seconds: float | None) -> NDArray[np.float64]:
    """(row,) seconds: the column of time, or else the place of a row in its trial."""
    if "time" not in table.names:
        if bin_seconds is None or claims.seconds_per_unit is not None:
            raise InputError(
                str(absent("time", table.names, what="column", source=table.source))
                + " Or say bin_seconds=…, where rows follow each other at equal steps."
            )
        return seconds_of_rows(trial, bin_seconds)
    called = claims.columns.get("time", "time")
    if claims.seconds_per_unit is None and (unit := _NO_SECONDS.search(called.lower())):
        raise InputError(
            f"{table.source}: the column of time is called {called!r}, and motet counts seconds; say seconds_per_unit="
            f"0.001 for milliseconds, 1 / rate for frames or samples, 1 if these are seconds whatever {unit[0]!r} says."
        )
    return table.finite("time", all_known=True) * (claims.seconds_per_unit or 1.0)


def told(read: TableOfSamples, name: str, grid: Grid) -> Leveled:
    """A column as a target: per trial, per individual or per bin, the first of which it is constant in.

    Those of `KNOWN_TARGETS` are per individual.
    """
    table, samples = read.table, read.samples
    labels: NDArray[Any]
    if name == "system":
        cells, code = table.labels[name]
        labels = np.array(["" if cell in UNKNOWN else cell for cell in cells] + [""])
        code = np.where(labels[code] == "", -1, code)
    elif name in QUANTITIES:
        labels, code = np.unique(table.finite(name), return_inverse=True)  # NaN comes last, and once
        code = np.where(np.isnan(labels[code]), -1, code)
        labels = np.append(labels, np.nan)
    else:
        distinct, code = table.typed_labels(name)
        labels = np.append(distinct, np.asarray(unknown(distinct.dtype), dtype=distinct.dtype))
    places = _places(samples, grid)
    levels: tuple[Level, ...] = ("individual",) if name in KNOWN_TARGETS else tuple(places)
    for level in levels:
        said, is_alike = _said(code, *places[level])
        if is_alike.all():
            return level, labels[said]
    row = int(is_alike.argmin())
    if name in KNOWN_TARGETS:
        raise table.refusal(
            row,
            f"{name} of individual {samples.individual_labels[samples.individual[row]]!r} in trial "
            f"{samples.trial_labels[samples.trial[row]]!r} is not what other rows say; give one throughout a trial, or "
            "name the column otherwise, or in features.",
        )
    if grid.frames is None:
        raise InputError(
            f"{table.source}: target {name!r} differs within a trial, and cannot be resampled; resample it before, or "
            "leave it out."
        )
    raise table.refusal(
        row,
        f"target {name!r} differs between individuals at one time; give one label per trial, per individual or per "
        "time, or say that it is a feature.",
    )


def _places(samples: Samples, grid: Grid) -> dict[Level, tuple[NDArray[np.int64], tuple[int, ...]]]:
    """Of targets of each level, most general first: which one a row tells, and the shape of all."""
    n_trials, n_individuals = len(samples.trial_labels), len(samples.individual_labels)
    places: dict[Level, tuple[NDArray[np.int64], tuple[int, ...]]] = {
        "trial": (samples.trial, (n_trials,)),
        "individual": (samples.trial * n_individuals + samples.individual, (n_trials, n_individuals)),
    }
    if grid.frames is not None:
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


PAIR = ("individual_a", "individual_b")
DIRECTED_PAIR = ("source", "target")
KINDS = ("interacts", "coupling")
PAIR_COLUMNS = (*PAIR, *DIRECTED_PAIR, *KINDS)


def pairs_beside(path: Path) -> Path | None:
    """The table of pairs that belongs to a table of trajectories, if there is one."""
    stem = path.name.removesuffix(ending_of(path, TABLE_ENDINGS))
    found = [there for ending in TABLE_ENDINGS if (there := path.with_name(f"{stem}.pairs{ending}")).is_file()]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} both give the pairs of {path}; remove one.")
    return found[0] if found else None


def read_pairs(
    path: Path, samples: Samples, columns: Mapping[str, str], *, is_directed: bool, unlisted: float
) -> dict[str, Leveled]:
    """The targets (trial, individual, individual) of the table of pairs beside a table; none if there is no such.

    `is_directed` says whether individual_a and individual_b stand in an order; pairs not in the table have `unlisted`.
    """
    pairs_path = pairs_beside(path)
    if pairs_path is None:
        if is_directed or unlisted == 0 or set(columns) - {"trial"}:
            raise InputError(
                f"{path} has no table of pairs beside it, so that nothing can be said of its columns, directions or "
                "absent pairs; write <stem>.pairs.csv, or leave these options out."
            )
        return {}
    table = read_table(pairs_path, labels={"trial", *PAIR, *DIRECTED_PAIR}, columns=columns, optional={"trial"})
    ends = DIRECTED_PAIR if set(DIRECTED_PAIR) & set(table.names) else PAIR
    table.require(*ends)
    kinds = [key for key in KINDS if key in table.names]
    if not kinds:
        table.require("interacts")
    if strange := [key for key in table.names if key not in ("trial", *ends, *KINDS) and not table.is_empty(key)]:
        raise InputError(
            f"{pairs_path}: columns {enumerated(strange)} are none of a table of pairs; remove them, or say which one "
            f"is meant by columns={{'coupling': {strange[0]!r}}}."
        )
    n_trials, n_individuals = len(samples.trial_labels), len(samples.individual_labels)
    n_given = samples.values.nbytes + 8 * table.n_rows
    check_pairs(kinds[0], n_trials, n_individuals, n_given=n_given, source=str(path))
    present = np.zeros((n_trials, n_individuals), dtype=bool)
    present[samples.trial, samples.individual] = True
    # [i, j] of a recording is what j does to i.
    rows = (ends[1], ends[0]) if ends == DIRECTED_PAIR else ends
    trial, a, b, row = _listed(table, samples, present, rows, is_directed=is_directed or ends == DIRECTED_PAIR)
    both = are_pairs(present[..., None])
    targets: dict[str, Leveled] = {}
    for key in kinds:
        cells = table.finite(key)
        if key == "interacts" and (odd := (cells < -1) | (cells != np.rint(cells)) & ~np.isnan(cells)).any():
            raise table.refusal(int(odd.argmax()), "interacts is not a whole number from 0, nor empty for unknown.")
        target = np.where(both, unlisted, np.nan)
        target[trial, a, b] = cells[row]
        same = (target[trial, a, b] == cells[row]) | np.isnan(target[trial, a, b]) & np.isnan(cells[row])
        if not same.all():
            raise table.refusal(
                int(row[~same][0]),
                f"{key} differs between the two orders of this pair; make them alike, name the columns source and "
                "target, or say pairs_are_directed=True.",
            )
        targets[key] = "pair", target
    return targets


def _listed(
    table: Table, samples: Samples, present: NDArray[np.bool_], ends: tuple[str, str], *, is_directed: bool
) -> tuple[NDArray[np.int64], ...]:
    """Trial, individual, individual and row of every pair that the table lists, in both orders unless directed."""

    def places(column: str, known: tuple[str, ...]) -> NDArray[np.int64]:
        labels, of_row = table.known_labels(column)
        place = {label: place for place, label in enumerate(known)}
        for label in labels:
            if label not in place:
                raise did_you_mean(label, known, what=f"{column} in {table.source}:")
        return np.array([place[label] for label in labels], dtype=np.int64)[of_row]

    a, b = (places(column, samples.individual_labels) for column in ends)
    row = np.arange(table.n_rows)
    if "trial" in table.names:
        trial = places("trial", samples.trial_labels)
        there = present[trial, a] & present[trial, b]
        if not there.all():
            raise table.refusal(
                int(there.argmin()), "one of these individuals has no row in this trial; remove the pair."
            )
    else:
        trial, row = np.nonzero(present[:, a] & present[:, b])
        a, b = a[row], b[row]
    code = (trial * present.shape[1] + a) * present.shape[1] + b
    _, first = np.unique(code, return_index=True)
    if len(first) < len(code) or (a == b).any():
        again = np.ones(len(code), dtype=bool)
        again[first] = False
        raise table.refusal(
            int(row[(again | (a == b)).argmax()]),
            "this is a second row for its pair, or a pair of an individual with itself; remove it.",
        )
    if is_directed:
        return trial, a, b, row
    return np.tile(trial, 2), np.concatenate([a, b]), np.concatenate([b, a]), np.tile(row, 2)

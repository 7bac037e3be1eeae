"""A table of who interacts with whom, beside a table of trajectories: `read_pairs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.arrays import check_pairs
from motet.data.readers.claims import enumerated
from motet.data.readers.sampling import Samples
from motet.data.readers.tables import TABLE_ENDINGS, Table, ending_of, read_table
from motet.errors import InputError, did_you_mean

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
) -> dict[str, NDArray[Any]]:
    """The targets (trial, individual, individual) of the table of pairs beside a table; none if there is no such.

    Args:
        path: of the table of trajectories.
        samples: that it holds.
        columns: what the file calls its columns, by motet's names.
        is_directed: whether individual_a and individual_b stand in an order.
        unlisted: what a pair has that is not in the table.

    Raises:
        InputError: naming the line that cannot be used.
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
    both = present[:, :, None] & present[:, None, :]
    targets = {}
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
        targets[key] = target
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
                raise did_you_mean(label, known, what=f"{column} in {table.path}:")
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

"""Ways into a `Recording` from trajectories of your own; `motet.data.write_trajectories` leads back out.

| form | content |
|---|---|
| `.csv`, `.tsv`, either gzipped | one row per trial, individual and time; beside it `<stem>.pairs.csv`: who interacts |
| `.npz` | plain arrays: `positions` or `values`, and any others of `TRAJECTORY_ARRAYS` |
| `.nc`, xarray | dimensions individual and time, and if there are any trial and feature |

**Table.** Columns `individual`, `time` (seconds), `trial` (absent: one trial). `system`, `mass`, `charge` and
`frequency`, constant per trial and individual, are targets. Every other column that holds numbers is a feature, in the
order of the file; columns without a name (a row index), or without a number, are not read. An empty cell is unknown.
`system` is the label of a group: individuals interact with those of their own (target "interacts").

**Pairs.** Columns `individual_a`, `individual_b`, `interacts` (0 no edge, 1 or more its type) and `coupling`, at least
one of these two, and `trial` (absent: every trial). Its `interacts` replaces what `system` says. A row holds for both
orders, unless `pairs_are_directed`: then for [individual_a, individual_b] alone. Other pairs are `absent_pairs`.

**Arrays.** `positions` (trial, individual, time, feature), or (individual, time, feature) for one trial; `time` (time,)
seconds; the others as in `Recording`, with or without the axis of trials. NaN = not observed.

**Time.** Stamps lie on whole steps from the first of their trial, to a tenth of a step. A frame that an individual has
no row for, or an unknown feature, is not observed. Other stamps are refused, or resampled: interpolated linearly
between two samples of one individual that are at most `longest_gap_seconds` apart. `trial_start_seconds` are the first
stamps, unless trials share a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from motet.data.arrays import (
    QUANTITIES,
    arrays_of_xarray,
    check_keys,
    load_netcdf,
    load_npz,
    recording_of_arrays,
    recording_of_grid,
    whole_labels,
)
from motet.data.reading import file_reader
from motet.data.recording import Recording
from motet.data.sampling import Clock, Samples, on_grid
from motet.data.tables import TABLE_ENDINGS, Table, ending_of, read_table
from motet.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray

AbsentPairs = Literal["unknown", "no edge"]

TRAJECTORY_ENDINGS = (*TABLE_ENDINGS, ".nc", ".npz")
COLUMNS = ("trial", "individual", "time", "system", *QUANTITIES)
_PAIR_COLUMNS = ("individual_a", "individual_b", "interacts", "coupling")


@file_reader
def read_trajectories(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    pairs_are_directed: bool = False,
    absent_pairs: AbsentPairs = "unknown",
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    resample_seconds: float | None = None,
    longest_gap_seconds: float | None = None,
) -> Recording:
    r"""Read trajectories from a table, plain arrays or NetCDF, laid out as this module says.

    Args:
        path: a file whose name ends in one of `TRAJECTORY_ENDINGS`.
        columns: what the file calls its columns (or dimensions and variables), by motet's name:
            {"individual": "fish_id"}.
        features: the columns (or variables) that are features, in this order; by default all that are no target.
        pairs_are_directed: whether a row of the table of pairs says nothing of the other order.
        absent_pairs: what a pair of individuals without a row in the table of pairs has: "unknown" or "no edge".
        name: what the recording is called; by default the name of the file without its ending.
        subject: the animal or system.
        bin_seconds: the step; by default the usual one between two stamps of an individual (no stamps: 1 s).
        resample_seconds: the step to resample at; needs longest_gap_seconds.
        longest_gap_seconds: samples further apart than this are not interpolated.

    Raises:
        InputError: naming the line, or the trial, individual and time, of what cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "shoal.csv"
        >>> _ = path.write_text("fish,time,x,y,mass\na,0,1,2,3\nb,0,3,4,5\na,.5,1,1,3\nb,.5,,,5\n")
        >>> read_trajectories(path, columns={"individual": "fish"}).observed.tolist()
        [[[True, True], [True, False]]]
    """
    path = Path(path)
    ending = ending_of(path, TRAJECTORY_ENDINGS)
    clock = Clock(bin_seconds, resample_seconds, longest_gap_seconds)
    about = {"source": str(path), "name": path.name.removesuffix(ending) if name is None else name, "subject": subject}
    columns = dict(columns or {})
    if absent_pairs not in get_args(AbsentPairs):
        raise did_you_mean(str(absent_pairs), get_args(AbsentPairs), what="value of absent_pairs")
    if ending.lower() in TABLE_ENDINGS:
        check_keys(columns, (*COLUMNS, *_PAIR_COLUMNS))
        samples, targets = _read_samples(path, columns, features)
        unlisted = np.nan if absent_pairs == "unknown" else 0.0
        targets |= _read_pairs(path, samples, columns, is_directed=pairs_are_directed, unlisted=unlisted)
        values, step, starts = on_grid(samples, clock)
        return recording_of_grid(
            values,
            targets,
            individual_labels=samples.individual_labels,
            trial_labels=samples.trial_labels,
            bin_seconds=step,
            trial_start_seconds=starts,
            **about,
        )
    if pairs_are_directed or absent_pairs != "unknown":
        raise InputError(f"{path} has no table of pairs; leave out pairs_are_directed and absent_pairs.")
    if ending.lower() == ".nc":
        arrays = arrays_of_xarray(load_netcdf(path, columns), columns, features, source=str(path))
        return recording_of_arrays(arrays, clock, **about)
    if columns or features is not None:
        raise InputError(
            f"{path} holds arrays, not columns; leave out columns and features, and name the arrays as asked."
        )
    return recording_of_arrays(load_npz(path), clock, **about)


def from_xarray(
    data: xarray.Dataset | xarray.DataArray,
    *,
    columns: Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    resample_seconds: float | None = None,
    longest_gap_seconds: float | None = None,
) -> Recording:
    """Make a recording of an xarray Dataset or DataArray with dimensions individual, time[, trial][, feature].

    Every variable with an individual and a time is a feature (several, if it has the dimension feature), but
    `observed`, which is a mask. Others are targets: `system`, `mass`, `charge` and `frequency` ([trial,] individual),
    `interacts` and `coupling` ([trial,] individual and a second dimension of any name). The coordinates of individual
    and trial are ids; that of time is seconds, datetime64 or timedelta64.

    Args:
        data: a DataArray is one variable.
        columns: what the data call a dimension or variable, by motet's name: {"individual": "fish"}.
        features: the variables that are features, in this order.
        name: what the recording is called; by default the data's own name, or "xarray".
        subject: the animal or system.
        bin_seconds: as for `read_trajectories`, like resample_seconds and longest_gap_seconds.
        resample_seconds: the step to resample at.
        longest_gap_seconds: samples further apart than this are not interpolated.

    Raises:
        InputError: if a dimension is absent, a variable is of neither kind, or the stamps are irregular.

    Example:
        >>> import xarray
        >>> from_xarray(xarray.DataArray(np.ones((3, 4)), dims=("individual", "time"), name="shoal"), bin_seconds=0.5)
        Recording('shoal': 1 trials × 3 individuals × 4 bins of 0.5 s; targets: none)
    """
    called = str(getattr(data, "name", None) or "xarray") if name is None else name
    clock = Clock(bin_seconds, resample_seconds, longest_gap_seconds)
    arrays = arrays_of_xarray(data, dict(columns or {}), features, source=called)
    return recording_of_arrays(arrays, clock, source=called, name=called, subject=subject)


def _read_samples(
    path: Path, columns: Mapping[str, str], features: Sequence[str] | None
) -> tuple[Samples, dict[str, NDArray[Any]]]:
    """The samples of a table, and the targets (trial, individual) in it."""
    own = {key: theirs for key, theirs in columns.items() if key in COLUMNS}
    table = read_table(path, labels={"trial", "individual", "system"} - set(features or ()), columns=own)
    table.require("individual", "time")
    if features is None:
        known = {name for name, column in table.numbers.items() if not np.isnan(column).all()}
        names = [name for name in table.names if name in known and name not in COLUMNS]
    else:
        names = list(features)
    for name in names:
        if name not in table.names or name in COLUMNS[:3]:
            raise did_you_mean(name, set(table.names) - set(COLUMNS[:3]), what=f"feature of {path}")
    if not names or len(set(names)) < len(names) or not table.n_rows:
        raise InputError(
            f"{path} has {table.n_rows} rows, with features {names}; give at least one row and one column of numbers "
            "besides those that motet knows, each once."
        )
    trial_labels, trial = (
        table.known_labels("trial") if "trial" in table.names else (("0",), np.zeros(table.n_rows, int))
    )
    individual_labels, individual = table.known_labels("individual")
    samples = Samples(
        source=str(path),
        trial=trial,
        individual=individual,
        seconds=table.finite("time", all_known=True),
        values=np.stack([table.finite(name) for name in names], axis=1),
        trial_labels=trial_labels,
        individual_labels=individual_labels,
    )
    own_targets = [key for key in ("system", *QUANTITIES) if key in table.names and key not in names]
    return samples, {key: _per_individual(table, key, samples) for key in own_targets}


def _per_individual(table: Table, name: str, samples: Samples) -> NDArray[np.float64]:
    """(trial, individual): what a column says of an individual throughout a trial, NaN where nothing."""
    if name in table.labels:
        labels, places = table.labels[name]
        cells = np.where(np.array(labels) == "", np.nan, whole_labels(labels))[places]
    else:
        cells = table.finite(name)
    said = np.full((len(samples.trial_labels), len(samples.individual_labels)), np.nan)
    known = ~np.isnan(cells)
    said[samples.trial[known], samples.individual[known]] = cells[known]
    of_row = said[samples.trial, samples.individual]
    if (differs := known & (cells != of_row)).any():
        raise table.refusal(
            row := int(differs.argmax()),
            f"{name} of individual {samples.individual_labels[samples.individual[row]]!r} in trial "
            f"{samples.trial_labels[samples.trial[row]]!r} is not what other rows say; give one throughout a trial, or "
            "name the column otherwise, or in features.",
        )
    return said


def pairs_beside(path: Path) -> Path | None:
    """The table of pairs that belongs to a table of trajectories, if there is one."""
    stem = path.name.removesuffix(ending_of(path, TABLE_ENDINGS))
    found = [there for ending in TABLE_ENDINGS if (there := path.with_name(f"{stem}.pairs{ending}")).is_file()]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} both give the pairs of {path}; remove one.")
    return found[0] if found else None


def _read_pairs(
    path: Path, samples: Samples, columns: Mapping[str, str], *, is_directed: bool, unlisted: float
) -> dict[str, NDArray[Any]]:
    """The targets (trial, individual, individual) of the table of pairs beside a table; none if there is no such."""
    own = {key: theirs for key, theirs in columns.items() if key in ("trial", *_PAIR_COLUMNS)}
    pairs_path = pairs_beside(path)
    if pairs_path is None:
        if is_directed or unlisted == 0 or set(own) - {"trial"}:
            raise InputError(
                f"{path} has no table of pairs beside it, so that nothing can be said of its columns, directions or "
                "absent pairs; write <stem>.pairs.csv, or leave these options out."
            )
        return {}
    table = read_table(pairs_path, labels={"trial", *_PAIR_COLUMNS[:2]}, columns=own, optional={"trial"})
    table.require(*_PAIR_COLUMNS[:2])
    kinds = [key for key in _PAIR_COLUMNS[2:] if key in table.names]
    if not kinds:
        table.require("interacts")
    present = np.zeros((len(samples.trial_labels), len(samples.individual_labels)), dtype=bool)
    present[samples.trial, samples.individual] = True
    trial, a, b, row = _listed_pairs(table, samples, present, is_directed=is_directed)
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
                f"{key} differs between the two orders of this pair; make them alike, or say pairs_are_directed=True.",
            )
        targets[key] = target
    return targets


def _listed_pairs(
    table: Table, samples: Samples, present: NDArray[np.bool_], *, is_directed: bool
) -> tuple[NDArray[np.int64], ...]:
    """Trial, individual, individual and row of every pair that the table lists, in both orders unless directed."""

    def places(column: str, known: tuple[str, ...]) -> NDArray[np.int64]:
        labels, of_row = table.known_labels(column)
        place = {label: place for place, label in enumerate(known)}
        for label in labels:
            if label not in place:
                raise did_you_mean(label, known, what=f"{column} in {table.path}:")
        return np.array([place[label] for label in labels], dtype=np.int64)[of_row]

    a, b = (places(column, samples.individual_labels) for column in _PAIR_COLUMNS[:2])
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

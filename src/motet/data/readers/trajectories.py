"""Ways into a `Recording` from trajectories of your own; `motet.data.readers.write_trajectories` leads back out.

| form | content |
|---|---|
| `.csv`, `.tsv`, either gzipped | one row per trial, individual and time; beside it `<stem>.pairs.csv`: who interacts |
| the same, wide | one row per trial and time, a column per individual |
| `.npz` | plain arrays: `positions` or `values`, and any others of `TRAJECTORY_ARRAYS` |
| `.nc`, xarray | dimensions individual and time, and if there are any trial and feature |

**Table.** Columns `individual`, `time` (seconds), `trial` (absent: one trial). The others are claimed: `features` says
which are inputs and `targets` which are labels; those in neither are not read. Without `targets`, `system`, `mass`,
`charge` and `frequency` are. Without `features`, all that are left must have names of one line of these: x, y, z, vx,
vy, vz, ax, ay, az; cos, sin, rate; feature_0, feature_1, …; or one of count, spikes, value. A column of any other name
might be a label, and is refused until somebody says what it is. Columns without content, or without a name (a row
index), are not read. An empty cell is unknown.

**Wide table.** Without a column `individual`, the columns that `individuals` names ("unit_*") are individuals of one
feature. Without `individuals`, all that `targets` does not name, if they are one text and a number: unit_1, unit_2.
Others are refused until somebody says what they are, as above. `trial` and, with `bin_seconds`, `time` may be absent:
rows then follow each other.

**Targets of a table.** A target is per trial if it is constant in every trial, or else per individual if it is constant
per trial and individual, or else per bin if all individuals agree at every time. Whole numbers and text are classes,
numbers with a point are quantities. Those with a name of motet's are per individual. `system` is the label of a group:
individuals interact with those of their own (target "interacts").

**Pairs.** Columns `individual_a`, `individual_b`, `interacts` (0 no edge, 1 or more its type) and `coupling`, at least
one of these two, and `trial` (absent: every trial). Its `interacts` replaces what `system` says. A row holds for both
orders. Under `source`, `target` in place of the first two, a row says what the source does to the target, and nothing
of the other order: it is [target, source] of the recording, since [i, j] there is what j does to i. With
`pairs_are_directed`, a row of the other header holds for [individual_a, individual_b] alone. Other pairs are
`absent_pairs`.

**Arrays.** `positions` (trial, individual, time, feature), or (individual, time, feature) for one trial; `time` (time,)
seconds; the others as in `Recording`, with or without the axis of trials. NaN = not observed.

**Time.** Stamps lie on whole steps from the first of their trial, to a tenth of a step. A frame that an individual has
no row for, or an unknown feature, is not observed. Other stamps are refused, or resampled: interpolated linearly
between two samples of one individual that are at most `longest_gap_seconds` apart. `trial_start_seconds` are the first
stamps, unless trials share a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from motet.data.labelled import ROLE
from motet.data.readers.arrays import (
    AXES,
    LEVELS,
    QUANTITIES,
    TRAJECTORY_ARRAYS,
    Clock,
    Leveled,
    Samples,
    load_npz,
    on_grid,
    recording_of_arrays,
    recording_of_grid,
)
from motet.data.readers.reading import array_names, file_reader
from motet.data.readers.tables import TABLE_ENDINGS, Table, check_keys, ending_of, listed, read_table
from motet.data.readers.trajectory_tables import PAIR_COLUMNS, Claims, Targets, grouped, read_pairs, read_samples, told
from motet.data.readers.wide_tables import as_individuals
from motet.data.readers.xarrays import arrays_of_xarray, dataset_of_netcdf, import_xarray
from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Positive, check_arguments

if TYPE_CHECKING:
    import xarray

AbsentPairs = Literal["unknown", "no edge"]

TRAJECTORY_ENDINGS = (*TABLE_ENDINGS, ".nc", ".npz")
COLUMNS = ("trial", "individual", "time", "system", *QUANTITIES)


def is_trajectories(path: Path, head: bytes) -> bool:
    """Whether the ending of a file's name is one of trajectories, and its beginning does not belie it."""
    name = path.name.lower()
    if name.endswith(".npz") and head.startswith(b"PK\x03\x04"):
        keys = set(array_names(path))
        return bool(keys & {"positions", "values"}) and keys <= TRAJECTORY_ARRAYS
    return name.endswith((*TABLE_ENDINGS, ".nc"))


@file_reader
def read_trajectories(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    individuals: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    targets: Targets | None = None,
    targets_are_optional: bool = False,
    pairs_are_directed: bool = False,
    absent_pairs: AbsentPairs = "unknown",
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    resample_seconds: float | None = None,
    longest_gap_seconds: float | None = None,
    seconds_per_unit: Positive | None = None,
) -> Recording:
    r"""Read trajectories from a table, plain arrays or NetCDF, laid out as this module says.

    Args:
        path: a file whose name ends in one of `TRAJECTORY_ENDINGS`.
        columns: what the file calls its columns (or dimensions and variables), by motet's name:
            {"individual": "fish_id"}.
        individuals: the columns of a wide table that are individuals, by name or pattern: ["unit_*"].
        features: the columns (or variables) that are features, in this order; by default as this module says.
        targets: the columns (or variables) that are targets; by default those with a name of motet's. Or, of a table,
            targets by name of several columns: {"velocity": ["vx", "vy"]}.
        targets_are_optional: whether those that are absent are passed over, as where labels are to be predicted.
        pairs_are_directed: whether a row of the table of pairs says nothing of the other order.
        absent_pairs: what a pair of individuals without a row in the table of pairs has: "unknown" or "no edge".
        name: what the recording is called; by default the name of the file without its ending.
        subject: the animal or system.
        bin_seconds: the step; by default the usual one between two stamps of an individual (no stamps: 1 s).
        resample_seconds: the step to resample at; needs longest_gap_seconds.
        longest_gap_seconds: samples further apart than this are not interpolated.
        seconds_per_unit: of the column of time: 0.001 for milliseconds, 1 / rate for frames; by default it is seconds.

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
    check_arguments(read_trajectories, {"absent_pairs": absent_pairs, "seconds_per_unit": seconds_per_unit})
    ending = ending_of(path, TRAJECTORY_ENDINGS)
    clock = Clock(bin_seconds, resample_seconds, longest_gap_seconds)
    called = path.name.removesuffix(ending) if name is None else name
    about: dict[str, Any] = {"source": str(path), "name": called, "subject": subject}
    if ending.lower() in TABLE_ENDINGS:
        names = check_keys(columns, (*COLUMNS, *PAIR_COLUMNS))
        of_pairs = {key: theirs for key, theirs in names.items() if key in ("trial", *PAIR_COLUMNS)}
        own = {key: theirs for key, theirs in names.items() if key not in PAIR_COLUMNS}

        def pairs_of(samples: Samples) -> dict[str, Leveled]:
            unlisted = np.nan if absent_pairs == "unknown" else 0.0
            return read_pairs(path, samples, of_pairs, is_directed=pairs_are_directed, unlisted=unlisted)

        claims = Claims(own, individuals, features, targets, targets_are_optional, seconds_per_unit)
        return recording_of_table(
            lambda labels: read_table(path, labels=labels, columns=own), claims, clock, pairs_of, **about
        )
    if individuals is not None or seconds_per_unit is not None:
        raise InputError(f"{path} is no table; leave out individuals and seconds_per_unit.")
    if pairs_are_directed or absent_pairs != "unknown":
        raise InputError(f"{path} has no table of pairs; leave out pairs_are_directed and absent_pairs.")
    if ending.lower() == ".nc":
        time = check_keys(columns, (*AXES, "observed", *LEVELS)).get("time", "time")
        data = import_xarray().decode_cf(dataset_of_netcdf(path), decode_timedelta={time: True}).load()
        arrays, others = arrays_of_xarray(
            data, columns, features, _no_mapping(targets), source=str(path), targets_are_optional=targets_are_optional
        )
        return recording_of_arrays(arrays, clock, targets=others, **about)
    if columns or features is not None or targets is not None:
        raise InputError(
            f"{path} holds arrays, not columns; leave out columns, features and targets, and name the arrays as asked."
        )
    return recording_of_arrays(load_npz(path), clock, **about)


def _no_mapping(targets: Targets | None) -> Sequence[str] | None:
    return None if targets is None else listed(targets, what="targets")


def recording_of_table(
    open_table: Callable[[Collection[str]], Table],
    claims: Claims,
    clock: Clock,
    pairs_of: Callable[[Samples], dict[str, Leveled]] | None = None,
    **about: Any,
) -> Recording:
    """The recording of a table, long or wide, that is opened by the names of its columns of labels."""
    read = read_samples(open_table, claims, clock.bin_seconds)
    pairs = {}
    if pairs_of is not None:
        pairs = pairs_of(read.samples)
        if pairs and read.individuals:
            raise InputError(f"{read.table.source} is wide, and has no pairs; remove the table beside it.")
    grid = on_grid(read.samples, clock)
    told_of = {key: told(read, key, grid) for key in read.targets}
    targets = grouped(told_of, claims.targets, n_bins=grid.values.shape[2], source=read.table.source)
    return recording_of_grid(
        as_individuals(grid.values) if read.individuals else grid.values,
        targets | pairs,
        individual_ids=read.individuals or read.samples.individual_labels,
        trial_labels=read.samples.trial_labels,
        bin_seconds=grid.bin_seconds,
        trial_start_seconds=grid.starts,
        **about,
    )


def is_xarray(source: Any, head: bytes) -> bool:
    """Whether an object is of xarray."""
    return type(source).__module__.partition(".")[0] == "xarray"


def from_xarray(
    data: xarray.Dataset | xarray.DataArray,
    *,
    columns: Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    targets_are_optional: bool = False,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    resample_seconds: float | None = None,
    longest_gap_seconds: float | None = None,
) -> Recording:
    """Make a recording of an xarray Dataset or DataArray with dimensions individual, time[, trial][, feature].

    A feature has an individual and a time, and is several, if it has the dimension feature. Which variables are
    features and which targets is said, or told from their names, as of the columns of a table (see
    `trajectories`); `observed` is a mask. Of motet's names, `system`, `mass`, `charge` and `frequency` are
    ([trial,] individual), `interacts` and `coupling` ([trial,] individual and a second dimension of any name). Other
    targets are per bin, if they have a time; per pair, if they have an individual and a second dimension as long whose
    name begins with individual or other; per individual, if they have one; and else per trial. The coordinates of
    individual and trial are ids; that of time is seconds, datetime64 or timedelta64. A DataArray is one variable.

    Other arguments are those of `read_trajectories`.

    Example:
        >>> import xarray
        >>> from_xarray(xarray.DataArray(np.ones((3, 4)), dims=("individual", "time"), name="shoal"), bin_seconds=0.5)
        Recording('shoal': 1 trials × 3 individuals × 4 bins of 0.5 s; targets: none)
    """
    was_one = any(ROLE in variable.attrs for variable in getattr(data, "data_vars", {}).values())
    if was_one and bin_seconds is None and resample_seconds is None:
        bin_seconds = data.attrs.get("bin_seconds")
    if was_one:
        name, subject = name or data.attrs.get("name"), str(data.attrs.get("subject", subject))
    clock = Clock(bin_seconds, resample_seconds, longest_gap_seconds)
    called = str(getattr(data, "name", None) or "xarray") if name is None else name
    arrays, others = arrays_of_xarray(
        data, columns, features, targets, source=called, targets_are_optional=targets_are_optional
    )
    return recording_of_arrays(arrays, clock, targets=others, source=called, name=called, subject=subject)

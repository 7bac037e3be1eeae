"""Tables that are objects or columnar files: DataFrames of pandas and polars, `.parquet`, `.feather`.

They are laid out as the tables of `motet.data.readers.trajectories`, long or wide, and read by the same rules. Of
pandas, levels of the index that have a name are columns too; an index of stamps without one is the time. Dates are
seconds since the first of them. Files are read by polars, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.readers.arrays import Clock
from motet.data.readers.isolated import in_subprocess
from motet.data.readers.reading import file_reader
from motet.data.readers.tables import Table, check_keys, own_names
from motet.data.readers.trajectories import COLUMNS, recording_of_table
from motet.data.readers.trajectory_tables import Claims, Targets
from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Positive, check_arguments

FRAME_ENDINGS = (".parquet", ".feather", ".arrow")
_INDEX = "__index_level_0__"  # what pandas calls an index without a name in files
_NAMES = "names"
Columns = list[tuple[str, NDArray[Any]]]


def is_frame(source: Any, head: bytes) -> bool:
    """Whether an object is a DataFrame of pandas or polars."""
    kind = type(source)
    return kind.__module__.partition(".")[0] in ("pandas", "polars") and kind.__name__ in ("DataFrame", "LazyFrame")


def is_frame_file(path: Path, head: bytes) -> bool:
    """Whether a file is a table by columns."""
    return head.startswith((b"PAR1", b"ARROW1")) or path.suffix.lower() in FRAME_ENDINGS


def read_frame(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    individuals: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    targets: Targets | None = None,
    targets_are_optional: bool = False,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: float | None = None,
    resample_seconds: float | None = None,
    longest_gap_seconds: float | None = None,
    seconds_per_unit: Positive | None = None,
) -> Recording:
    """Read a DataFrame, or the path of a columnar file, long or wide.

    The arguments are those of `motet.data.readers.trajectories.read_trajectories`.

    Example:
        >>> import pandas
        >>> wide = {"unit_0": [0, 2, 1], "unit_1": [3, 0, 0], "place": [0.5, 0.7, 0.9]}
        >>> read_frame(pandas.DataFrame(wide), targets=["place"], bin_seconds=0.1)
        Recording('table': 1 trials × 2 individuals × 3 bins of 0.1 s; targets: place per bin)
    """
    check_arguments(read_frame, {"seconds_per_unit": seconds_per_unit})
    if isinstance(source, str | Path):
        found, label, called = columns_of_file(Path(source)), str(source), Path(source).stem
    else:
        label, called = f"the {type(source).__module__.partition('.')[0]} table", "table"
        found = columns_of_frame(source, label)
    own = check_keys(columns, COLUMNS)
    return recording_of_table(
        lambda labels: table_of_columns(found, labels=labels, columns=own, source=label),
        Claims(own, individuals, features, targets, targets_are_optional, seconds_per_unit),
        Clock(bin_seconds, resample_seconds, longest_gap_seconds),
        source=label,
        name=called if name is None else name,
        subject=subject,
    )


def table_of_columns(found: Columns, *, labels: Collection[str], columns: Mapping[str, str], source: str) -> Table:
    """Columns of arrays as those of a table of text are read."""
    names = own_names([name for name, _ in found], columns, source=source)
    of_labels, numbers, first_text = {}, {}, {}
    for name, (_, column) in zip(names, found, strict=True):
        is_date = column.dtype.kind in "mM"
        array = column if is_date else _labels(column, what=f"{source}: column {name!r}")
        if array.ndim != 1:
            raise InputError(f"{source}: column {name!r} holds arrays; give a cell of one number or text per row.")
        if name in labels:
            of_labels[name] = _coded(array)
        elif array.dtype.kind == "U":
            numbers[name] = np.full(len(array), np.nan)
            if (is_text := array != "").any():
                row = int(is_text.argmax())
                first_text[name] = row, str(array[row])
        else:
            numbers[name] = _numbers(array)
    return Table(
        source=source,
        names=tuple(names),
        n_rows=len(found[0][1]) if found else 0,
        labels=of_labels,
        numbers=numbers,
        first_text=first_text,
        place=lambda row: f"row {row}",
    )


def columns_of_frame(frame: Any, source: str) -> Columns:
    """The columns of a DataFrame by name, masked where a cell is missing."""
    if hasattr(frame, "collect"):  # a LazyFrame of polars
        frame = frame.collect()
    if hasattr(frame, "get_columns"):
        return [(one.name, _of_polars(one)) for one in frame.get_columns()]
    if frame.columns.nlevels > 1:
        raise InputError(f"{source} has columns of {frame.columns.nlevels} levels; give one name per column.")
    found = [(str(name), _of_pandas(frame.iloc[:, place])) for place, name in enumerate(frame.columns)]
    levels = [frame.index.get_level_values(place) for place in range(frame.index.nlevels)]
    named = [(str(level.name), _of_pandas(level)) for level in levels if level.name is not None]
    is_stamps = len(levels) == 1 and not named and levels[0].dtype.kind in "fmM"
    return [*([("time", _of_pandas(levels[0]))] if is_stamps else named), *found]


@file_reader
def columns_of_file(path: Path) -> Columns:
    """The columns of a file by name; what pandas stores of an index without a name is the time."""
    arrays = in_subprocess(arrays_of_file, path)
    names = ["time" if name == _INDEX else str(name) for name in arrays[_NAMES].tolist()]
    columns = [arrays[f"{place}"] for place in range(len(names))]
    masks = [arrays.get(f"{place}.missing") for place in range(len(names))]
    masked = [one if mask is None else np.ma.masked_array(one, mask) for one, mask in zip(columns, masks, strict=True)]
    return list(zip(names, masked, strict=True))


def arrays_of_file(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a file as numbered arrays, where cells are missing, and the names."""
    try:
        import polars
    except ImportError as error:
        raise InputError(f"{path} is read by polars, which is not installed; pip install 'motet[tables]'.") from error
    with path.open("rb") as file:
        frame = polars.read_parquet(path) if file.read(4) == b"PAR1" else polars.read_ipc(path)
    arrays: dict[str, NDArray[Any]] = {_NAMES: np.array(frame.columns, dtype=np.str_)}
    for place, series in enumerate(frame.get_columns()):
        column = _of_polars(series)
        if np.ma.is_masked(column):
            arrays[f"{place}.missing"] = np.ma.getmaskarray(column)
        array = np.ma.getdata(column)
        is_date = array.dtype.kind in "mM"
        arrays[f"{place}"] = array if is_date else _labels(column, what=f"column {series.name!r}")
    return arrays


def _of_pandas(series: Any) -> NDArray[Any]:
    """A Series or Index as an array, masked where missing; whole numbers stay such, dates are of no time zone."""
    is_missing = series.isna()
    if getattr(series.dtype, "kind", "") in "mM":
        unzoned = series.astype("datetime64[ns, UTC]") if hasattr(series.dtype, "tz") else series
        array = unzoned.to_numpy(dtype=f"{series.dtype.kind}8[ns]")
    elif series.dtype.kind in "iub" and hasattr(series.dtype, "na_value") and is_missing.any():
        array = series.fillna(series.dtype.type(0)).to_numpy(dtype=series.dtype.numpy_dtype)
    else:
        array = np.asarray(series.to_numpy())
    return np.ma.masked_array(array, np.asarray(is_missing)) if is_missing.any() else array


def _of_polars(series: Any) -> NDArray[Any]:
    """A Series as an array, masked where missing."""
    filled = series.fill_null(0) if series.dtype.is_numeric() else series
    array = np.asarray(filled.to_numpy())
    return np.ma.masked_array(array, series.is_null().to_numpy()) if series.null_count() else array


def _labels(column: NDArray[Any], *, what: str) -> NDArray[Any]:
    """`given.labels`, of many cells alike looked at once."""
    if column.dtype.kind in "biuf" or column.ndim != 1:
        return given.labels(column, what=what)
    try:
        distinct, place = _first_come(column.tolist())
    except TypeError as error:
        raise InputError(f"{what} holds arrays; give a cell of one number or text per row.") from error
    cells = np.empty(len(distinct), dtype=object)
    cells[:] = distinct
    return np.asarray(given.labels(cells, what=what)[place]) if distinct else np.empty(0)


def _first_come(cells: list[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct cells in the order in which they come, and each row's place among them."""
    places: dict[Any, int] = {}
    of_rows = np.array([places.setdefault(cell, len(places)) for cell in cells], dtype=np.int64)
    return list(places), of_rows


def _coded(array: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The distinct cells of a column as text, in the order in which they come, and each row's place among them."""
    if array.dtype.kind == "U":
        distinct, place = _first_come(array.tolist())
        return tuple(distinct), place
    known = ~np.isnat(array) if array.dtype.kind in "mM" else given.is_known(array)
    values, first, of_row = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first)
    cells = [str(cell) if known[row] else "" for cell, row in zip(values[order].tolist(), first[order], strict=True)]
    merged, place = _first_come(cells)
    return tuple(merged), place[np.argsort(order)][of_row.reshape(-1)]


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers as float64, NaN where unknown; dates and durations as seconds, dates since the first."""
    if array.dtype.kind not in "mM":
        return np.where(given.is_known(array), array, np.nan).astype(np.float64)
    stamps = np.ma.getdata(array)
    known = ~(np.ma.getmaskarray(array) | np.isnat(stamps))
    if array.dtype.kind == "M" and known.any():
        stamps = stamps - stamps[known].min()
    return np.where(known, stamps / np.timedelta64(1, "s"), np.nan)

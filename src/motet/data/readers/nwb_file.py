"""What lies in an NWB file, by h5py: tables of units and intervals, and series that were sampled.

Such files are read in a process of their own (`motet.data.readers.isolated`), in which these functions run. What is
what is told by what it has, so that types of extensions are known too: a series has data and times, a table of
intervals has start_time and stop_time, signals of cells have rois, those of channels have electrodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.binning import late_samples
from motet.data.readers.remote import RemoteFile
from motet.errors import InputError, did_you_mean
from motet.memory import check_room

Role = Literal["cells", "channels", "behaviour", "events", "other"]
MOST_OBJECTS = 20_000
MOST_DEEP = 10
_ROOTS = ("units", "intervals", "events", "processing", "acquisition", "stimulus")
_TIMES = ("start_time", "stop_time")
_TIME = "timestamp"  # of a table of events
_BEHAVIOUR = (
    "Position",
    "CompassDirection",
    "BehavioralTimeSeries",
    "BehavioralEpochs",
    "EyeTracking",
    "PupilTracking",
)
_SERIES_OF_BEHAVIOUR = ("SpatialSeries", "IntervalSeries", "PoseEstimationSeries")
_PREFERRED = ("DfOverF", "Fluorescence", "LFP", "FilteredEphys")  # where there are several signals, and none is named
_NO_UNIT = ("", "n/a", "na", "none", "unknown", "unit", "a.u.", "not provided", "no unit")


@dataclasses.dataclass(frozen=True)
class Series:
    """A thing that was sampled.

    Attributes:
        name: unique in the file: its own, or that behind those of what it is in.
        path: in the file.
        role: "cells" (of an imaging plane), "channels" (of electrodes), "behaviour", "events" (at times of their own,
            with little to say) or "other".
        kind: its type in NWB, and that of what it is in.
        shape: of its samples.
        unit: as the file has it.
        rate_hz: of samples; 0 where there is one only.
        span: first and last time, in seconds.
        dtype: of its samples, as stored.
        group: that it is.
    """

    name: str
    path: str
    role: Role
    kind: tuple[str, str]
    shape: tuple[int, ...]
    unit: str
    rate_hz: float
    span: tuple[float, float]
    dtype: str
    group: Any


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of which each row is a unit, a trial or another interval.

    Attributes:
        name: unique in the file.
        n_rows: how many.
        columns: that have one value for each row, by name; not those of times.
        times: columns of times, by name, that of the start first.
        group: that it is.
    """

    name: str
    n_rows: int
    columns: tuple[str, ...]
    times: tuple[str, ...]
    group: Any


class NwbFile:
    """An NWB file that is open: what it holds, and reading it whole or in parts.

    Args:
        source: its path, or the address of one elsewhere.
    """

    def __init__(self, source: Path | str) -> None:
        self._remote = RemoteFile(source) if isinstance(source, str) else None
        self.source = source
        self.n_bytes = self._remote.n_bytes if self._remote else Path(source).stat().st_size
        self.file = h5py.File(self._remote or source, "r")
        self.version = text_of(self.file.attrs.get("nwb_version", ""))
        if not self.version and "nwb_version" in self.file:
            raise InputError(f"{source} is NWB of version 1, which motet does not read; convert it to version 2.")
        if not self.version:
            raise InputError(f"{source} is HDF5 but no NWB file (it has no nwb_version); give one.")
        self.elsewhere: list[str] = []
        self.unreadable: list[str] = []
        found = list(self._walk())
        named = _unique([path for path, _ in found if path != "units"])
        self.units: Table | None = None
        self.intervals: dict[str, Table] = {}
        self.series: dict[str, Series] = {}
        for path, group in found:
            if path == "units":
                self.units = self._table("units", group)
            elif _is_table(group):
                self.intervals[named[path]] = self._table(named[path], group)
            elif (series := self._series(named[path], path, group)) is not None:
                self.series[named[path]] = series

    def text(self, path: str) -> str:
        """A text of the file, or nothing."""
        one = self.file.get(path)
        return text_of(one[()]) if isinstance(one, h5py.Dataset) and one.shape == () else ""

    # ------------------------------------------------------------------ what there is

    def _walk(self) -> Iterator[tuple[str, Any]]:
        """The path of each table of intervals or units and of each series, with its group."""
        waiting = [(name, self.file, name) for name in _ROOTS]
        seen, n_objects = set(), 0
        while waiting:
            path, parent, name = waiting.pop(0)
            n_objects += 1
            if n_objects > MOST_OBJECTS:
                raise InputError(f"{self.source} holds more than {MOST_OBJECTS} objects; save less of it in a file.")
            link = parent.get(name, getlink=True) if name in parent or name in list(parent) else None
            if link is None:
                continue
            if isinstance(link, h5py.ExternalLink):
                self.elsewhere.append(path)
                continue
            group = parent.get(name)
            if not isinstance(group, h5py.Group):
                continue
            address = h5py.h5o.get_info(group.id).addr
            if address in seen or path.count("/") > MOST_DEEP:
                continue
            seen.add(address)
            is_series = "data" in group and {"timestamps", "starting_time"} & set(group)
            if path == "units" or _is_table(group) or is_series:
                yield path, group
            else:
                waiting += [(f"{path}/{one}", group, one) for one in group]

    def _table(self, name: str, group: Any) -> Table:
        columns: list[str] = []
        times: list[str] = []
        if "id" in group:
            n_rows = len(group["id"])
        else:
            n_rows = max((len(one) for one in group.values() if isinstance(one, h5py.Dataset) and one.shape), default=0)
        for column in group:
            link = group.get(column, getlink=True)
            one = None if isinstance(link, h5py.ExternalLink) else group.get(column)
            is_ragged = f"{column}_index" in group or column.endswith("_index")
            if not isinstance(one, h5py.Dataset) or one.ndim not in (1, 2) or len(one) != n_rows or column == "id":
                continue
            if column in (*_TIMES, _TIME) or (
                name != "units" and _is_time(column) and one.ndim == 1 and one.dtype.kind == "f"
            ):
                times.append(column)
            elif not is_ragged and "table" not in one.attrs and _is_plain(one):
                columns.append(column)
        times.sort(key=lambda one: (one not in (_TIMES[0], _TIME), one))
        return Table(name, n_rows, tuple(columns), tuple(times), group)

    def _series(self, name: str, path: str, group: Any) -> Series | None:
        if isinstance(group.get("data", getlink=True), h5py.ExternalLink):
            self.elsewhere.append(path)
            return None
        data, kind = group["data"], text_of(group.attrs.get("neurodata_type", ""))
        parent = text_of(group.parent.attrs.get("neurodata_type", ""))
        if (
            not isinstance(data, h5py.Dataset)
            or data.ndim not in (1, 2)
            or data.dtype.kind not in "biuf"
            or not data.size
        ):
            self.unreadable.append(path)
            return None
        if "rois" in group:
            role: Role = "cells"
        elif "electrodes" in group:
            role = "channels"
        elif "BehavioralEvents" in (kind, parent):
            role = "events"
        elif kind in _SERIES_OF_BEHAVIOUR or parent in _BEHAVIOUR or path.startswith("processing/behavior"):
            role = "behaviour"
        else:
            role = "other"
        first, last, rate = self._clock(group, len(data))
        unit = text_of(data.attrs.get("unit", ""))
        return Series(name, path, role, (kind, parent), data.shape, unit, rate, (first, last), str(data.dtype), group)

    def _clock(self, group: Any, n: int) -> tuple[float, float, float]:
        """First and last time of a series, and its rate."""
        if "timestamps" in list(group):
            stamps = self.dataset(group, "timestamps")
            first, last = (float(stamps[place]) for place in (0, len(stamps) - 1)) if len(stamps) else (0.0, 0.0)
            return first, last, (n - 1) / (last - first) if last > first else 0.0
        first, rate = float(group["starting_time"][()]), float(group["starting_time"].attrs.get("rate", 0.0))
        return first, first + (n - 1) / rate if rate else first, rate

    # ------------------------------------------------------------------ reading

    def dataset(self, group: Any, name: str) -> Any:
        """A dataset of a group, which must be there and in this file."""
        if isinstance(group.get(name, getlink=True) if name in list(group) else None, h5py.ExternalLink):
            raise InputError(f"{self.source}: '{group.name}/{name}' lies in another file; save it as one file.")
        one = group.get(name)
        if not isinstance(one, h5py.Dataset):
            raise InputError(f"{self.source} lacks '{group.name}/{name}', or has something else there; save it again.")
        self._refuse_elsewhere(one)
        return one

    def starts_and_stops(self, table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """(row,) when intervals begin and end; events do not end."""
        if _TIMES[0] not in table.group:
            return self.whole(table.group, _TIME).astype(np.float64), None
        start, stop = (self.whole(table.group, name).astype(np.float64) for name in _TIMES)
        return start, stop

    def _refuse_elsewhere(self, one: Any) -> None:
        if one.external or one.is_virtual:
            raise InputError(f"{self.source}: {one.name!r} lies in another file; save it as one file.")

    def whole(self, group: Any, name: str, rows: Any = slice(None)) -> NDArray[Any]:
        """A dataset, or some rows of one, as an array of numbers or text."""
        one = self.room_for(group, name)
        if one.dtype.kind == "O":
            array = one[rows]
            texts = [text_of(text) for text in np.ravel(array)]
            return np.array(texts, dtype=np.str_).reshape(np.shape(array))
        return np.asarray(one[rows])

    def room_for(self, group: Any, name: str) -> Any:
        """A dataset of a group, for which there is memory."""
        one = self.dataset(group, name)
        check_room(4 * one.size * max(one.dtype.itemsize, 8), what=f"{one.name} of shape {one.shape}", file_bytes=None)
        return one

    def column(self, table: Table, name: str) -> NDArray[Any]:
        """A column of a table, (row, …)."""
        return given.labels(self.whole(table.group, name), what=f"column {name!r} of {table.name}")

    def ids(self, table: Table) -> list[str]:
        """What rows are called: after the ids of the table, if these are unique."""
        ids = list(map(str, self.whole(table.group, "id").tolist())) if "id" in table.group else []
        return ids if len(set(ids)) == table.n_rows else [str(place) for place in range(table.n_rows)]

    def ragged(
        self, table: Table, name: str, wanted: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """A column of several numbers for each row: those of the rows wanted, and where those of each end."""
        if f"{name}_index" not in table.group:
            raise InputError(f"{self.source}: {table.name} has {name} without {name}_index; save the file again.")
        numbers = self.room_for(table.group, name)
        ends, n = self.whole(table.group, f"{name}_index").astype(np.int64), len(numbers)
        sizes = np.diff(ends, prepend=0)
        if len(ends) != table.n_rows or (sizes < 0).any() or (ends[-1:] != n).any():
            raise InputError(
                f"{self.source}: {name}_index of {table.name} does not part the {n} {name}; save it again."
            )
        if wanted is None or wanted.all():
            return self.whole(table.group, name).astype(np.float64, copy=False), ends
        turns = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)  # runs of rows
        places = np.append(0, ends)
        runs = [self.whole(table.group, name, slice(places[first], places[last])) for first, last in turns]
        return np.concatenate(runs).astype(np.float64, copy=False), np.cumsum(sizes[wanted])

    def times(self, series: Series) -> NDArray[np.float64]:
        """(sample,) seconds."""
        n = series.shape[0]
        if "timestamps" in list(series.group):
            stamps = self.whole(series.group, "timestamps").astype(np.float64, copy=False)
            if stamps.shape != (n,):
                raise InputError(
                    f"{self.source}: {series.name} has {n} samples and {stamps.shape} timestamps; save it again."
                )
            return stamps
        if not series.rate_hz > 0:
            raise InputError(f"{self.source}: {series.name} has a rate of {series.rate_hz:g} Hz; save it again.")
        return series.span[0] + np.arange(n) / series.rate_hz

    def samples(self, series: Series, rows: slice = slice(None)) -> NDArray[Any]:
        """(sample, …) in the unit of the file; whole numbers without a unit stay whole.

        A direction of a compass is its cosine and sine; an interval series is whether one of its intervals lasts.
        """
        data = self.dataset(series.group, "data")
        array = self.whole(series.group, "data", rows)
        if series.kind[0] == "IntervalSeries":
            return array > 0
        factor, offset = (float(data.attrs.get(name, usual)) for name, usual in (("conversion", 1), ("offset", 0)))
        is_label = array.dtype.kind in "biu" and factor == 1 and not offset and series.unit.lower() in _NO_UNIT
        if is_label and series.kind[0] not in ("SpatialSeries", "RoiResponseSeries", "ElectricalSeries"):
            return given.labels(array, what=series.name)
        numbers = array.astype(np.float64) * factor + offset
        if series.kind[1] == "CompassDirection" and array.ndim == 1:
            angle = np.deg2rad(numbers) if series.unit.lower().startswith("deg") else numbers
            return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return numbers

    def sampled(self, series: Series) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Times that increase and are known, and samples."""
        times = self.times(series)
        kept = np.isfinite(times)
        times, samples = times[kept], self.samples(series)[kept]
        kept = ~late_samples(times, what=f"timestamps of {series.name}")
        return times[kept], samples[kept]

    def rows_of(self, series: Series) -> Table | None:
        """The table of which the columns of a series are rows: of cells or electrodes."""
        region = series.group.get(_region(series))
        if not isinstance(region, h5py.Dataset) or "table" not in region.attrs:
            return None
        group = self.file[region.attrs["table"]]
        return self._table(group.name.rpartition("/")[2], group)

    def places_of(self, series: Series) -> NDArray[np.int64]:
        """(column,) the row of that table which each column of a series is."""
        return self.whole(series.group, _region(series)).astype(np.int64)

    # ------------------------------------------------------------------ choosing by name

    def find(self, name: str, known: Collection[str], *, what: str) -> str:
        """The name itself, or the one that ends a path so; an error names the nearest."""
        if name in known:
            return name
        wanted = name.strip("/")
        if any(path.endswith(wanted) for path in self.elsewhere):
            raise InputError(f"{self.source}: {name!r} lies in another file; save it as one file.")
        paths = {s.path: s.name for s in self.series.values()} | {
            t.group.name.strip("/"): n for n, t in self.intervals.items()
        }
        if wanted in paths and paths[wanted] in known:
            return paths[wanted]
        raise did_you_mean(name, known, what=f"{what} of {self.source}")

    def signals(self) -> str | None:
        """The signals that are read where none is named: the only ones of the most preferred kind."""
        for role in ("cells", "channels"):
            names = [series.name for series in self.series.values() if series.role == role]
            for kind in (*_PREFERRED, ""):
                having = [name for name in names if not kind or kind in self.series[name].kind]
                if len(having) > 1:
                    raise InputError(
                        f"{self.source} holds several signals, {', '.join(having)}; name one: values={having[0]!r}."
                    )
                if having:
                    return having[0]
        return None

    def chosen_rows(self, table: Table | None, where: Mapping[str, Any] | None, n_rows: int) -> NDArray[np.bool_]:
        """(row,) the rows in which columns have one of some values."""
        chosen = np.ones(n_rows, dtype=bool)
        for name, allowed in (where or {}).items():
            columns = () if table is None else table.columns
            if table is None or name not in columns:
                raise did_you_mean(name, columns, what=f"column in where, of {self.source}")
            column = self.column(table, name)
            values = allowed if isinstance(allowed, list | tuple) else [allowed]
            wanted = np.asarray([str(one) if column.dtype.kind == "U" else one for one in values])
            chosen &= np.isin(column, wanted)
            if not chosen.any():
                there = ", ".join(map(str, np.unique(column)[:10]))
                raise InputError(f"{self.source}: no row of {table.name} has {name} in {values}; there are {there}.")
        return chosen


def _region(series: Series) -> str:
    return "rois" if series.role == "cells" else "electrodes"


def text_of(one: Any) -> str:
    """A text as HDF5 has it."""
    return one.decode("utf-8", "replace") if isinstance(one, bytes) else one if isinstance(one, str) else ""


def _is_table(group: Any) -> bool:
    """Whether a group is a table of intervals or of events."""
    return all(name in group for name in _TIMES) or (_TIME in group and "id" in group)


def _is_plain(one: Any) -> bool:
    """Whether a dataset is of numbers or text."""
    return one.dtype.kind in "biuf" or h5py.check_string_dtype(one.dtype) is not None


def _is_time(column: str) -> bool:
    return column.endswith(("_time", "_times", "_timestamp")) or column in ("timestamp", "time")


def _unique(paths: list[str]) -> dict[str, str]:
    """A short name for each path: its end, as much of it as tells it from others."""
    names, parts = {}, {path: path.split("/") for path in paths}
    for path, words in parts.items():
        n = next(n for n in range(1, len(words) + 1) if sum(other[-n:] == words[-n:] for other in parts.values()) == 1)
        names[path] = ".".join(words[-n:])
    return names

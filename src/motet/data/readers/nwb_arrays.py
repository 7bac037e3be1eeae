"""What is taken out of an NWB file: choices that adapt to what it holds, and the arrays that they lead to.

These functions run in a process of their own, beside `motet.data.readers.nwb`, which makes a recording of the arrays.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.binning import SAME_TIME, late_samples
from motet.data.cut import average_rows, cut_trials, cut_windows
from motet.data.readers.nwb_file import NwbFile, Series, Table
from motet.data.streams import spans_of, stretches
from motet.errors import InputError

ABOUT = "about"  # JSON beside the arrays
UNITS = "units"
NO_TRIALS = "none"
USUAL_BIN_SECONDS = 0.1
_FEWEST_BINS = 10  # of a usual trial, by default
_MOST_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is read of a file.

    Attributes:
        values: "units", or the name of a series.
        trials: the name of a table of intervals, or of a series of events; None for windows of a continuous recording.
        starts: (trial,) seconds of those that are kept.
        ends: (trial,) seconds, if there are any.
        rows: (trial,) their places in the table.
        window: seconds around starts; or, in a continuous recording, that a window lasts, as one number.
        bin_seconds: width of a bin.
        columns: of that table, which are targets per trial.
        tracks: series, which are targets per bin.
        labels: columns of other tables, which are targets per bin: (name, table, column).
    """

    values: str
    trials: str | None
    starts: NDArray[np.float64]
    ends: NDArray[np.float64] | None
    rows: NDArray[np.int64]
    window: Any
    bin_seconds: float
    columns: tuple[str, ...]
    tracks: tuple[str, ...]
    labels: tuple[tuple[str, str, str], ...]


def choose(file: NwbFile, asked: Mapping[str, Any]) -> Choice:
    """What is asked for, and where nothing is, what there is."""
    values = _chosen_values(file, asked.get("values"))
    name, starts, ends, rows, table = _chosen_trials(file, asked.get("trials"), asked.get("align"))
    window = asked.get("window")
    if name is None and isinstance(window, list):
        raise InputError(
            f"window is {window} and there are no trials; give the seconds that a window lasts, one number."
        )
    if name is not None and isinstance(window, int | float):
        raise InputError(f"window is {window}; of trials give two numbers, seconds from their start.")
    if ends is not None and window is not None:
        ends = None
    if ends is not None:
        kept = np.isfinite(ends)
        starts, ends, rows = starts[kept], ends[kept], rows[kept]
    lasting = window[1] - window[0] if isinstance(window, list) else None
    if ends is not None and len(ends):
        lasting = float(np.median(ends - starts))
    bin_seconds = asked.get("bin_seconds") or usual_bin(lasting, None if values == UNITS else file.series[values])
    if ends is not None:
        kept = ends - starts >= (1 - SAME_TIME) * bin_seconds
        starts, ends, rows = starts[kept], ends[kept], rows[kept]
    if name is not None and not len(starts):
        raise InputError(
            f"no interval of {name} has a start and lasts a bin of {bin_seconds:g} s; choose narrower bins."
        )
    columns, tracks, labels = _chosen_targets(file, asked.get("targets"), table, values)
    return Choice(values, name, starts, ends, rows, window, bin_seconds, columns, tracks, labels)


def usual_bin(lasting: float | None, series: Series | None) -> float:
    """0.1 s; less where trials last less than ten of these, more where samples are taken more rarely."""
    bin_seconds = USUAL_BIN_SECONDS
    if lasting is not None and 0 < lasting < _FEWEST_BINS * bin_seconds:
        step = 10.0 ** np.floor(np.log10(lasting / _FEWEST_BINS))
        bin_seconds = float(step * max(n for n in (1, 2, 5) if n * step <= lasting / _FEWEST_BINS * (1 + SAME_TIME)))
    if series is not None and series.rate_hz > 0:
        bin_seconds = max(bin_seconds, 1 / series.rate_hz)
    return float(f"{bin_seconds:.6g}")


def _chosen_values(file: NwbFile, name: str | None) -> str:
    has_units = file.units is not None and "spike_times" in file.units.group
    usable = [series.name for series in file.series.values() if series.role != "events"]
    known = [UNITS] * has_units + usable
    if name is not None:
        return file.find(name, known, what="values")
    if has_units:
        return UNITS
    if (signals := file.signals()) is not None:
        return signals
    raise InputError(
        f"{file.source} holds neither units with spike times nor signals of cells or electrodes; "
        + (f"name what else is to be read by values=: {', '.join(usable)}." if usable else "there is nothing to read.")
    )


def _chosen_trials(
    file: NwbFile, name: str | None, align: str | None
) -> tuple[str | None, NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int64], Table | None]:
    """The name of trials, their starts, ends and rows, and their table."""
    if name is None:
        like = [table for table in file.intervals if "trial" in table.lower() and file.intervals[table].n_rows]
        name = "trials" if "trials" in like else like[0] if len(like) == 1 else NO_TRIALS
    if name == NO_TRIALS:
        if align is not None:
            raise InputError(f"align is {align!r}, but there are no trials; leave it out, or name a table by trials=.")
        return None, np.zeros(0), None, np.zeros(0, np.int64), None
    name = file.find(name, [*file.intervals, *file.series, NO_TRIALS], what="trials")
    if name in file.series:
        if align is not None:
            raise InputError(f"align is {align!r}, but the events of {name} have one time each; leave it out.")
        starts = file.times(file.series[name])
        kept = np.flatnonzero(np.isfinite(starts))
        return name, starts[kept], None, kept, None
    table = file.intervals[name]
    starts, ends = file.starts_and_stops(table)
    if align is not None:
        starts = file.whole(table.group, file.find(align, table.times, what=f"column of times in {name}"))
    kept = np.flatnonzero(np.isfinite(starts))
    return name, starts[kept], None if ends is None else ends[kept], kept, table


def _chosen_targets(
    file: NwbFile, names: Sequence[str] | None, table: Table | None, values: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, str], ...]]:
    """Columns of the table of trials, series, and columns of other tables."""
    columns = table.columns if table is not None else ()
    behaviour = [one.name for one in file.series.values() if one.role == "behaviour" and one.name != values]
    others = [one.name for one in file.series.values() if one.name not in (values, *behaviour) and one.role != "events"]
    labels = {
        f"{other.name}.{column}": (other.name, column)
        for other in file.intervals.values()
        if (table is None or other.name != table.name) and "stop_time" in other.times
        for column in other.columns
        if other.group[column].ndim == 1 and other.group[column].dtype.kind != "f"
    }
    if names is None:
        of_bins = tuple((name, *labels[name]) for name in labels) if table is None else ()
        return tuple(columns), tuple(behaviour), of_bins
    found = [file.find(name, [*columns, *behaviour, *others, *labels], what="target") for name in names]
    return (
        tuple(name for name in found if name in columns),
        tuple(name for name in found if name not in columns and name in file.series),
        tuple((name, *labels[name]) for name in found if name not in columns and name in labels),
    )


# ------------------------------------------------------------------ the arrays


def arrays_of_nwb(source: Path | str, asked: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Spikes or averages of signals, trials and behaviour, beside JSON that says what they are."""
    file = NwbFile(source)
    choice = choose(file, asked)
    arrays: dict[str, NDArray[Any]] = {}
    tracks = {name: file.sampled(file.series[name]) for name in choice.tracks}
    tracks |= {name: _labels_of(file, table, column) for name, table, column in choice.labels}
    for place, (times, samples) in enumerate(tracks.values()):
        arrays |= {f"times {place}": times, f"samples {place}": samples}
    if choice.trials is not None:
        table = file.intervals.get(choice.trials)
        arrays["starts"] = choice.starts
        if choice.ends is not None:
            arrays["ends"] = choice.ends
        ids = np.array(file.ids(table) if table is not None else list(map(str, range(len(choice.rows)))))
        arrays["trial_ids"] = ids[choice.rows] if table is not None else ids
        for name in choice.columns:
            assert table is not None
            arrays[f"column {name}"] = file.column(table, name)[choice.rows]
    if choice.values == UNITS:
        names = _take_units(file, asked.get("where"), arrays)
    else:
        names = _take_signals(file, choice, asked.get("where"), tracks, arrays)
    about = {
        "subject": file.text("general/subject/subject_id"),
        "version": file.version,
        "identifier": file.text("identifier"),
        "values": choice.values,
        "window": choice.window,
        "bin_seconds": choice.bin_seconds,
        "names": names,
        "columns": list(choice.columns),
        "tracks": list(tracks),
        "trials": choice.trials,
    }
    return {**arrays, ABOUT: np.array(json.dumps(about))}


def _take_units(file: NwbFile, where: Any, arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Spikes of the units that are wanted, one after another, and when each unit could be seen; their names."""
    table = file.units
    assert table is not None
    wanted = file.chosen_rows(table, where, table.n_rows)
    if not wanted.any():
        raise InputError(f"{file.source} holds no units; name other values.")
    for name, key in (("spike_times", "spikes"), ("obs_intervals", "seen")):
        if name in table.group:
            arrays[key], arrays[f"{key} ends"] = file.ragged(table, name, wanted)
    return [name for name, is_wanted in zip(file.ids(table), wanted, strict=True) if is_wanted]


def _take_signals(
    file: NwbFile,
    choice: Choice,
    where: Any,
    tracks: Mapping[str, tuple[NDArray[np.float64], NDArray[Any]]],
    arrays: dict[str, NDArray[Any]],
) -> list[str]:
    """Signals averaged in the bins that will be read, at the centres of these; the names of individuals."""
    series = file.series[choice.values]
    times = file.times(series)
    is_late = late_samples(times, what=f"timestamps of {series.name}")
    times = np.maximum.accumulate(times)
    if choice.trials is not None:
        window = tuple(choice.window) if choice.window is not None else None
        cut = cut_trials(choice.starts, choice.ends, window, choice.bin_seconds)
    else:
        what = f"samples of {series.name}"
        within = stretches(None, None, [times], tracks, what=what, bin_seconds=choice.bin_seconds)
        cut = cut_windows(within, choice.window, choice.bin_seconds)
        arrays["within"] = within
    table = file.rows_of(series)
    n_columns = series.shape[1] if len(series.shape) > 1 else 1
    places = file.places_of(series) if table is not None else np.arange(n_columns)
    if len(places) != n_columns or (table is not None and places.max() >= table.n_rows):
        raise InputError(
            f"{file.source}: {series.name} has {n_columns} columns and {len(places)} rows of what they are."
        )
    wanted = file.chosen_rows(table, where, table.n_rows if table is not None else n_columns)[places]
    if not wanted.any():
        raise InputError(f"{file.source}: no column of {series.name} is one that where asks for.")
    cut.check_room(int(wanted.sum()))

    def rows(begin: int, end: int) -> NDArray[np.float64]:
        numbers = file.samples(series, slice(begin, end)).astype(np.float64).reshape(end - begin, n_columns)[:, wanted]
        numbers[is_late[begin:end]] = np.nan
        return numbers

    before = np.searchsorted(times, cut.edges - SAME_TIME * choice.bin_seconds)
    means = average_rows(rows, before, int(wanted.sum()))
    inside = cut.is_inside
    centres = ((cut.edges[:, :-1] + cut.edges[:, 1:]) / 2)[inside]
    order = np.argsort(centres, kind="stable")
    arrays |= {"value times": centres[order], "values": means[inside][order].astype(np.float32)}
    ids = file.ids(table) if table is not None else list(map(str, range(n_columns)))
    names = [ids[place] for place in places[wanted]]
    return names if len(set(names)) == len(names) else list(map(str, np.flatnonzero(wanted)))


def _labels_of(file: NwbFile, name: str, column: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A column of a table of intervals as samples: a label from when an interval starts, and unknown from its stop."""
    table = file.intervals[name]
    labels = file.column(table, column)
    labels = labels.astype(np.int64) if labels.dtype.kind == "b" else labels
    spans = spans_of(np.stack(file.starts_and_stops(table), axis=-1), what=name)  # type: ignore[arg-type]
    order = np.argsort(spans[:, 0], kind="stable")
    spans, labels = spans[order], labels[order]
    if (spans[1:, 0] < spans[:-1, 1] - SAME_TIME).any():
        raise InputError(f"{file.source}: intervals of {name} overlap, so that {name}.{column} is no target per bin.")
    ends = np.append(spans[1:, 0] > spans[:-1, 1] + SAME_TIME, True)  # where none starts at once
    times = np.concatenate([spans[:, 0], spans[ends, 1]])
    samples = np.concatenate([labels, np.full(ends.sum(), given.unknown(labels.dtype), dtype=labels.dtype)])
    order = np.argsort(times, kind="stable")
    return times[order], samples[order]


# ------------------------------------------------------------------ what a file holds, in words


def contents_of_nwb(source: Path | str, shown: str) -> dict[str, NDArray[Any]]:
    """What could be values, trials and targets, and the commands that read them, as text."""
    file = NwbFile(source)
    lines = [f"{shown}: NWB {file.version}, subject {file.text('general/subject/subject_id') or 'unknown'}"]
    values: list[tuple[str, str]] = []
    per_bin: list[tuple[str, str]] = []
    refused = ""
    if file.units is not None and "spike_times" in file.units.group:
        values.append((UNITS, _about_units(file, file.units)))
    for series in file.series.values():
        (per_bin if series.role in ("behaviour", "other", "events") else values).append((series.name, _about(series)))
    values += [(series.name, _about(series)) for series in file.series.values() if series.role == "other"]
    trials = [(table.name, _about_table(file, table)) for table in file.intervals.values()]
    per_trial = [
        (f"{table.name}.{column}", _about_column(file, table, column))
        for table in file.intervals.values()
        for column in table.columns
    ]
    for heading, found in (
        ("could be values", values),
        ("could be trials", trials),
        ("could be targets per trial (of another table than that of trials, per bin)", per_trial),
        ("could be targets per bin", per_bin),
        ("lies in another file, and is not read", [(path, "") for path in file.elsewhere]),
        ("cannot be read", [(path, "images, or not numbers in rows") for path in file.unreadable]),
    ):
        if found:
            more = [("…", f"and {len(found) - _MOST_SHOWN} more")] if len(found) > _MOST_SHOWN else []
            width = max(len(name) for name, _ in found[:_MOST_SHOWN])
            lines += [f"{heading}:", *(f"  {n:{width}s}  {w}".rstrip() for n, w in found[:_MOST_SHOWN] + more)]
    try:
        lines += _commands(file, choose(file, {}), shown)
    except InputError as error:
        refused = str(error)
    return {"text": np.array("\n".join(lines)), "refused": np.array(refused)}


def _commands(file: NwbFile, choice: Choice, shown: str) -> list[str]:
    """The command and the line of Python that read what is chosen."""
    targets = [*choice.columns, *choice.tracks, *(name for name, _, _ in choice.labels)]
    options: dict[str, Any] = {"values": choice.values, "trials": choice.trials or NO_TRIALS}
    options |= {"bin_seconds": choice.bin_seconds, "targets": targets[:_MOST_SHOWN]}
    given_options = ", ".join(f"{name}={value!r}" for name, value in options.items())
    target = next((name for name in choice.columns if _has_classes(file, choice, name)), targets[0] if targets else "")
    by = "" if choice.trials else " --by time"
    reading = shlex.quote(json.dumps(options))
    lines = ["is read by default as by", f"  motet.read_recording({shown!r}, {given_options})"]
    if targets:
        lines += [f"  motet decode {shlex.quote(shown)} --target {shlex.quote(target)}{by} --reading {reading}"]
    return lines


def _has_classes(file: NwbFile, choice: Choice, column: str) -> bool:
    labels = file.column(file.intervals[choice.trials or ""], column)
    return labels.dtype.kind != "f" and labels.ndim == 1 and 1 < len(np.unique(labels)) <= len(labels) // 2


def _about_units(file: NwbFile, table: Table) -> str:
    spikes, ends = file.ragged(table, "spike_times")
    n_silent = int((np.diff(ends, prepend=0) == 0).sum())
    span = f", {spikes.min():.6g} to {spikes.max():.6g} s" if spikes.size else ""
    silent = f" ({n_silent} of none)" if n_silent else ""
    return (
        f"{table.n_rows} units{silent}, {len(spikes):,} spikes{span}; where: {', '.join(table.columns) or 'no columns'}"
    )


def _about(series: Series) -> str:
    n_rows, *n_columns = series.shape
    size = f"{n_rows:,} × {n_columns[0]}" if n_columns else f"{n_rows:,}"
    unit = f", {series.unit}" if series.unit else ""
    kind = " in ".join(one for one in series.kind if one)
    return (
        f"{kind}: {size} {series.dtype}, {series.rate_hz:.6g} Hz, {series.span[0]:.6g} to {series.span[1]:.6g} s{unit}"
    )


def _about_table(file: NwbFile, table: Table) -> str:
    starts, stops = file.starts_and_stops(table)
    last = starts if stops is None else stops
    span = f", {np.nanmin(starts):.6g} to {np.nanmax(last):.6g} s" if np.isfinite(starts).any() else ""
    return f"{table.n_rows} {'events' if stops is None else 'intervals'}{span}; align: {', '.join(table.times)}"


def _about_column(file: NwbFile, table: Table, column: str) -> str:
    labels = file.column(table, column)
    known = labels[given.is_known(labels)]
    if labels.ndim > 1 or not known.size:
        return f"{labels.shape[1]} numbers each" if labels.ndim > 1 else "all unknown"
    values = np.unique(known)
    if labels.dtype.kind == "f":
        is_whole = (known == np.rint(known)).all()
        hint = f"; classes by kinds={{{column!r}: 'class'}}" if is_whole else ""
        return f"quantity, {known.min():g} to {known.max():g}{hint}"
    return f"{len(values)} classes ({', '.join(map(str, values[:6]))}{', …' if len(values) > 6 else ''})"

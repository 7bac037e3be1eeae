"""Sessions of other programs, which hold units on one clock and no trials: these come as a table beside them.

Options that such readers share:

- trials: the table of trials, as a path (`.csv`, `.tsv`, `.parquet`), a DataFrame or columns by name; or starts alone,
  (trial,). Without it, the session is cut into windows side by side.
- align: its column of times, in seconds of the session's clock, which `window` is around; by default the one that is
  called start, start_time, start_seconds or onset.
- targets: its columns that are targets; by default all others.
- window: seconds from the start of a trial, [-0.2, 0.8]; without trials, how long a window lasts.
- bin_seconds: width of a bin; by default 0.1 s for spikes, and for signals one sample.
- behaviour: what was sampled all along, as a table with a column time (seconds), or as for `Recording.from_spikes`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.readers.frames import columns_of_file, columns_of_frame, is_frame, is_frame_file
from motet.data.readers.reading import file_reader
from motet.data.readers.tables import TABLE_ENDINGS, absent, enumerated, listed, read_table
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.settings import Positive, Settings, check_arguments

STARTS = ("start", "start_time", "start_seconds", "onset")


@dataclasses.dataclass(frozen=True)
class Session(Settings):
    """What a user says of a session, as this module explains; its name, and its subject."""

    trials: Any = None
    align: str | None = None
    targets: Sequence[str] | None = None
    window: Any = None
    bin_seconds: Positive | None = None
    behaviour: Any = None
    name: str | None = None
    subject: str = "unknown"

    def of_spikes(self, spike_times: Mapping[str, NDArray[np.float64]], *, name: str) -> Recording:
        """The recording of the spike times of each unit, in seconds; `name` is what it is called if nobody says."""
        width = {} if self.bin_seconds is None else {"bin_seconds": self.bin_seconds}
        about = {"name": self.name or name, "subject": self.subject, "behaviour": _behaviour(self.behaviour), **width}
        if self.trials is None:
            self._refuse_columns("which are not given; say trials=…, the table of them")
            return Recording.from_continuous(dict(spike_times), window=self.window, **about)
        starts, targets = self._trials()
        window = self._around_starts()
        return Recording.from_spikes(dict(spike_times), starts, window=window, targets=targets, **about)

    def of_signals(self, values: NDArray[Any], rate_hz: float, *, ids: Sequence[str], name: str) -> Recording:
        """The recording of signals (individual, time) from 0 s on; a bin has the mean of its samples."""
        name, width = self.name or name, 1 / rate_hz if self.bin_seconds is None else self.bin_seconds
        seconds, behaviour = np.arange(values.shape[1]) / rate_hz, _behaviour(self.behaviour)
        about: dict[str, Any] = {"name": name, "subject": self.subject, "bin_seconds": width}
        about["individual_ids"] = [f"{name}/{one}" for one in ids]
        if self.trials is None:
            self._refuse_columns("which are not given; say trials=…, the table of them")
            return Recording.from_continuous(values, times=seconds, window=self.window, behaviour=behaviour, **about)
        starts, targets = self._trials()
        window = self._around_starts()
        about |= {"times": seconds, "behaviour": behaviour}
        return Recording.from_signals(values, starts, window=window, targets=targets, **about)

    def _refuse_columns(self, why: str) -> None:
        for option in ("align", "targets"):
            if getattr(self, option) is not None:
                raise InputError(f"{option} is a column of trials, {why}.")

    def _around_starts(self) -> tuple[float, float] | None:
        check_arguments(Recording.from_spikes, {"window": self.window})
        return None if self.window is None else (float(self.window[0]), float(self.window[1]))

    def _trials(self) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """(trial,) starts, and the targets per trial."""
        columns = _columns(self.trials, what="trials")
        if columns is None:
            self._refuse_columns("which are starts alone; leave it out, or give a table")
            return _starts(self.trials), {}
        known = [name for name in STARTS if name in columns] if self.align is None else [self.align]
        if self.align is not None and self.align not in columns:
            raise did_you_mean(self.align, columns, what="column of trials")
        if len(known) != 1:
            raise InputError(
                f"of the columns of trials, {enumerated(columns)}, {'several' if known else 'none'} may be the start; "
                "say align='…', the column of starts in seconds."
            )
        names = [name for name in columns if name != known[0]]
        if self.targets is not None:
            names = listed(self.targets, what="targets")
            for name in names:
                if name not in columns:
                    raise did_you_mean(name, columns, what="target of the trials")
        return _starts(columns[known[0]]), {name: columns[name] for name in names}


def _starts(given_starts: Any) -> NDArray[np.float64]:
    starts = given.numbers(given_starts, what="starts of trials")
    if starts.ndim != 1 or not starts.size or not np.isfinite(starts).all():
        raise InputError(
            f"starts of trials have shape {starts.shape}, or are NaN in places; give finite seconds, (trial,)."
        )
    return starts


def of_session(read: Callable[..., Recording]) -> Callable[..., Recording]:
    """A reader that takes a `session`, as one that takes the options of a session by their names."""
    signature = inspect.signature(read)
    own = [one for name, one in signature.parameters.items() if name != "session"]
    names = {field.name: field for field in dataclasses.fields(Session)}
    hints = typing.get_type_hints(Session, include_extras=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[name])
        for name, field in names.items()
    ]

    @functools.wraps(read)
    def read_with_options(*args: Any, **kwargs: Any) -> Recording:
        of_session = {name: kwargs.pop(name) for name in names if name in kwargs}
        return read(*args, session=Session(**of_session), **kwargs)

    read_with_options.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return read_with_options


def _behaviour(source: Any) -> Any:
    columns = _columns(source, what="behaviour") if not _are_streams(source) else None
    if columns is None:
        return source
    if "time" not in columns:
        raise absent("time", columns, what="column", source="behaviour")
    times = given.numbers(columns.pop("time"), what="time of behaviour")
    return {name: (times, column) for name, column in columns.items()}


def _are_streams(source: Any) -> bool:
    """Whether these are pairs (times, samples) by name, and no columns."""
    return isinstance(source, Mapping) and not any(hasattr(one, "dtype") for one in source.values())


def _columns(source: Any, *, what: str) -> dict[str, NDArray[Any]] | None:
    """The columns of a table by name; None if it is none."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.name.lower().endswith(TABLE_ENDINGS):
            return _columns_of_text(path)
        if not is_frame_file(path, b""):
            raise InputError(f"{path} is no table; give {what} as .csv, .tsv or .parquet, with a header.")
        found = columns_of_file(path)
    elif is_frame(source, b""):
        found = columns_of_frame(source, what)
    elif isinstance(source, Mapping):
        found = [(str(name), column) for name, column in source.items()]
    else:
        return None
    columns = {name: given.labels(column, what=f"{what}: column {name!r}") for name, column in found}
    if len(columns) < len(found):
        raise InputError(f"{what} have two columns of one name: {enumerated(name for name, _ in found)}; rename one.")
    if len({column.shape for column in columns.values()}) > 1:
        shapes = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
        raise InputError(f"{what} have columns of different length: {shapes}; give one cell per row.")
    return columns


@file_reader
def _columns_of_text(path: Path) -> dict[str, NDArray[Any]]:
    names = read_table(path, labels=(), columns={}).names
    table = read_table(path, labels=names, columns={})
    columns = {}
    for name in names:
        distinct, place = table.typed_labels(name)
        holder = np.append(distinct, np.asarray(given.unknown(distinct.dtype), dtype=distinct.dtype))
        columns[name] = holder[place]
    return columns

"""The fields of a file of arrays: what each may be, by its shape, and what to type to read the file.

Only whoever saved it knows; what is said here is for people to look at, and nothing is read by it.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.isolated import in_subprocess
from motet.data.readers.matlab import Fields, arrays_of_matlab, unpacked
from motet.data.readers.reading import file_reader, load_arrays
from motet.errors import InputError

_MOST_FIELDS, _MOST_LETTERS = 60, 60  # that a list shows
_FEWEST_SPIKES = 50
_TIMES = frozenset({"time", "times", "t", "timestamps"})  # of bins, by the last part of their name


def fields_of(path: Path) -> Fields:
    """The fields of a file by name."""
    fields = dict(load_arrays(path)) if zipfile.is_zipfile(path) else unpacked(in_subprocess(arrays_of_matlab, path))
    if not fields:
        raise InputError(f"{path} holds no arrays that can be read; save tables and objects of MATLAB as structures.")
    return fields


@file_reader
def contents_of_arrays(path: Path | str) -> str:
    """The fields of a file, what each may be, and what to type."""
    path = Path(path)
    fields = fields_of(path)
    n_trials = _n_trials(fields)
    rows = [("field", "shape", "type", "may be")]
    for name, value in list(fields.items())[:_MOST_FIELDS]:
        rows.append((name[:_MOST_LETTERS], shape_of(value), _type(value), _role(name, value, fields, n_trials)))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = [f"… and {len(fields) - _MOST_FIELDS} more"] if len(fields) > _MOST_FIELDS else []
    return "\n".join([*lines, *more, "", f"To read it: {suggestion(path, fields)}"])


def suggestion(path: Path, fields: Fields) -> str:
    """Options that may read a file, to be looked at by whoever knows what it holds."""
    n_trials = _n_trials(fields)
    roles = {name: _role(name, value, fields, n_trials) for name, value in fields.items()}
    by_role = {role: [name for name, one in roles.items() if one == role] for role in roles.values()}
    targets = by_role.get("target per trial", [])[:3]
    said = f", targets: [{', '.join(targets)}]"
    if by_role.get("values"):
        name = max(by_role["values"], key=lambda one: fields[one].size)
        axes = ", ".join(likely_axes(fields, name))
        options = f"{{values: {name}, axes: [{axes}], bin_seconds: …{said if targets else ''}}}"
    elif by_role.get("spike times"):
        name = by_role["spike times"][0]
        units = by_role.get("unit of each spike", ["…"])
        of_units = "" if isinstance(fields[name], list) else f", spike_units: {units[0]}"
        start = by_role.get("start of each trial", ["…"])[0]
        options = f"{{spike_times: {name}{of_units}, align: {start}, window: [0, 0.8]{said if targets else ''}}}"
    else:
        options = "{values: …, axes: [trial, individual, time], bin_seconds: …, targets: […]}"
    return f"motet data show {path} --reading '{options}' (options of read_recording; correct what is guessed wrongly)."


def _role(name: str, value: Any, fields: Fields, n_trials: int | None) -> str:
    """What a field may be, by its shape."""
    if isinstance(value, list):
        return "spike times" if sum(map(len, value)) else ""
    shape = tuple(size for size in value.shape if size > 1)
    if _is_time(name) and len(shape) == 1 and any(shape[0] in one.shape[-3:] for one in _of_trials(fields)):
        return "time of each bin"
    is_number = value.dtype.kind in "iuf"
    if is_number and len(shape) in (3, 4):
        return "values"
    if n_trials is not None and shape == (n_trials,):
        is_rising = value.dtype.kind == "f" and (np.diff(value.ravel()) > 0).all()
        is_time = is_rising and not bool(_of_trials(fields))
        return "start of each trial" if is_time else "target per trial"
    if len(shape) == 1 and is_number and shape[0] >= _FEWEST_SPIKES:
        alike = [one for one in fields.values() if not isinstance(one, list) and one.size == value.size]
        if len(alike) > 1:
            return "spike times" if (value != np.rint(value)).any() else "unit of each spike"
    if is_number and len(shape) == 2:
        is_of_values = n_trials in shape and bool(_of_trials(fields))
        return "target per bin" if is_of_values else "values"
    return ""


def _is_time(name: str) -> bool:
    return name.rpartition(".")[2].lower() in _TIMES


def _of_trials(fields: Fields) -> list[NDArray[Any]]:
    """The arrays that may be values of several trials."""
    arrays = [one for one in fields.values() if not isinstance(one, list) and one.dtype.kind in "iuf"]
    return [one for one in arrays if sum(size > 1 for size in one.shape) in (3, 4)]


def _n_trials(fields: Fields) -> int | None:
    """The commonest length of vectors that is an axis of values, or of any vectors if there are no values."""
    arrays = [one for name, one in fields.items() if not isinstance(one, list) and not _is_time(name)]
    lengths = Counter(one.size for one in arrays if one.size > 1 and one.size == max(one.shape, default=0))
    axes = {size for one in _of_trials(fields) for size in one.shape}
    able = {size: n for size, n in lengths.items() if size in axes or not axes}
    return min(able, key=lambda size: (-able[size], size), default=None)


def likely_axes(fields: Fields, name: str) -> list[str]:
    """Names for the axes of values, of which only the trial is known from the lengths of others."""
    shape = [] if isinstance(fields[name], list) else [size for size in fields[name].shape if size > 1]
    others = ["individual", "time", "feature"][: max(len(shape) - 1, 2)]
    if len(shape) > 2:
        n_trials = _n_trials(fields)
        others.insert(shape.index(n_trials) if n_trials in shape else 0, "trial")
    return others


def flat(fields: Fields, name: str) -> NDArray[Any]:
    """A field as one vector."""
    value = fields[name]
    if isinstance(value, list):
        if any(len(one) != 1 for one in value):
            raise InputError(f"{name!r} is a list of {len(value)} vectors; give one value for each.")
        return np.concatenate(value)
    return np.ravel(value)


def shape_of(value: Any) -> str:
    """The shape of a field, in words."""
    if isinstance(value, list):
        return f"{len(value)} vectors"
    return f"({', '.join(map(str, value.shape))}{',' if value.ndim == 1 else ''})"


def _type(value: Any) -> str:
    if isinstance(value, list):
        lengths = [len(one) for one in value] or [0]
        return f"{min(lengths)} to {max(lengths)} numbers"
    return "text" if value.dtype.kind in "US" else str(value.dtype)


def words(fields: Fields) -> str:
    """The fields and their shapes, for a message."""
    shown = [f"{name[:_MOST_LETTERS]} {shape_of(value)}" for name, value in list(fields.items())[:_MOST_FIELDS]]
    return ", ".join(shown) + (f" and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else "")

"""Recordings as `.npz` and `.npy` arrays: `write_recording`, and its way back.

The minimal form needs no motet to write: `numpy.savez(path, values=…, target_direction=…)` with values
(trial, individual, time[, feature]), NaN = not observed, and any number of `target_<name>`. It may add the
other fields of `Recording`, and `levels`, rows of a target's name and "trial", "bin", "individual" or "pair".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.arrays import TRAJECTORY_ARRAYS
from motet.data.readers.reading import array_names, load_array, load_arrays
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.files import atomic_path
from motet.given import names
from motet.plain import read_json

FORMAT_VERSION = 1
_VERSION_KEY = "motet_format_version"
_LEVELS_KEY = "levels"  # (target, 2): name and level; a target that a damaged archive has lost is missed
_METADATA_KEY = "metadata"  # JSON
_FIELDS = {field.name for field in dataclasses.fields(Recording)} - {"targets", "target_levels", _METADATA_KEY}


def write_recording(recording: Recording, path: Path | str, *, compressed: bool = False) -> Path:
    """Save a recording as `.npz`, so that `motet.read_recording` gives the same back, bit by bit.

    The file holds plain arrays only. It appears whole or not at all. The path is returned.

    Raises:
        InputError: if the name does not end in .npz, or something cannot be stored or written.

    Example:
        >>> import tempfile
        >>> recording = Recording.from_trials(np.ones((4, 3, 6)))
        >>> path = write_recording(recording, Path(tempfile.mkdtemp()) / "saved.npz")
        >>> np.array_equal(read_npz(path).values, recording.values)
        True
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"recordings are saved as .npz, not as {path.name!r}; give a name ending in .npz.")
    for name in recording.targets:
        if not name.isprintable():
            raise InputError(f"target {name!r} of recording {recording.name!r} has an unprintable name; rename it.")
    arrays = {
        _VERSION_KEY: np.int64(FORMAT_VERSION),
        "values": recording.values,
        "observed": recording.observed,
        "individual_ids": _text(list(recording.individual_ids)),
        "bin_seconds": np.float64(recording.bin_seconds),
        "subject": _text(recording.subject),
        "name": _text(recording.name),
        _METADATA_KEY: _text(json.dumps(recording.metadata)),
        "trial_ids": recording.trial_ids,
        "trial_start_seconds": recording.trial_start_seconds,
        _LEVELS_KEY: _text([[name, level] for name, level in recording.target_levels.items()]).reshape(-1, 2),
        **{f"target_{name}": target for name, target in recording.targets.items()},
    }
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    with atomic_path(path) as temporary:
        save(temporary, **arrays)
    return path


def is_npz(path: Path, head: bytes) -> bool:
    """Whether a file holds arrays by name, and not those that only trajectories have."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    keys = set(array_names(path))
    if _VERSION_KEY in keys:
        return True
    is_trajectories = path.suffix.lower() == ".npz" and bool(keys & TRAJECTORY_ARRAYS - _FIELDS)
    is_own = keys <= {*_FIELDS, _LEVELS_KEY, _METADATA_KEY} or any(key.startswith("target_") for key in keys)
    return "values" in keys and is_own and not is_trajectories


def read_npz(path: Path) -> Recording:
    """Read a recording saved by `write_recording`, or of the minimal form."""
    keys = array_names(path)
    for key in keys:
        if key not in {*_FIELDS, _VERSION_KEY, _LEVELS_KEY, _METADATA_KEY} and not key.startswith("target_"):
            raise did_you_mean(key, {*_FIELDS, _LEVELS_KEY, "target_<name>", *TRAJECTORY_ARRAYS}, what="array")
    stored = load_arrays(path, copied=() if "observed" in keys else ("values",))
    version = stored.get(_VERSION_KEY)
    if version is not None and not np.array_equal(version, FORMAT_VERSION):
        raise InputError(f"its format is {version!s:.20}, not {FORMAT_VERSION}; read it with a newer motet.")
    rows = stored.get(_LEVELS_KEY, np.empty((0, 2), str))
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise InputError(f"its levels have shape {rows.shape}; give rows of a target's name and its level.")
    words = names(rows.ravel(), what="its levels")
    levels = dict(zip(words[::2], words[1::2], strict=True))
    needed = {"values"} if version is None else {*_FIELDS, _LEVELS_KEY}
    if missing := (needed | {f"target_{name}" for name in levels}) - set(stored):
        raise InputError(f"it lacks {', '.join(sorted(missing))}; save it again with motet.write_recording.")
    fields: dict[str, Any] = {"name": path.stem} | {key: stored[key] for key in _FIELDS & set(stored)}
    for key in ("subject", "name"):
        (fields[key],) = names([np.asarray(fields.get(key, "unknown")).item()], what=f"its {key}")
    if "bin_seconds" in fields:
        fields["bin_seconds"] = float(fields["bin_seconds"].item())
    fields["targets"] = {
        key.removeprefix("target_"): array for key, array in stored.items() if key.startswith("target_")
    }
    fields["target_levels"] = levels
    if _METADATA_KEY in stored:
        (text,) = names([stored[_METADATA_KEY].item()], what="its metadata")
        fields["metadata"] = read_json(text, what="its metadata")
    if "observed" not in fields:
        return Recording.from_trials(**fields)
    if "individual_ids" not in fields:
        raise InputError("it has observed but lacks individual_ids; add them, or mark gaps by NaN.")
    return Recording(**fields)


def read_npy(path: Path, *, name: str | None = None, subject: str = "unknown", bin_seconds: float = 1.0) -> Recording:
    """Read (trial, individual, time[, feature]), or (individual, time) for one trial; NaN = not observed."""
    values = load_array(path)
    return Recording.from_trials(
        values[None] if values.ndim == 2 else values,
        name=path.stem if name is None else name,
        subject=subject,
        bin_seconds=bin_seconds,
    )


def _text(text: str | list[str] | list[list[str]]) -> NDArray[Any]:
    """Text as a unicode array, exactly: numpy drops zero characters at the end."""
    array = np.array(text, dtype=np.str_)
    if array.tolist() != text:
        raise InputError(f"{text!r} has a zero character at an end, which cannot be stored; rename it.")
    return array

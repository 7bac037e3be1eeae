"""Reader of sortings of SpikeInterface: an object, or the folder that `sorting.save(folder=…)` writes.

Of a folder, plain arrays and JSON are read; SpikeInterface is not needed, and what its JSON names is not imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.reading import folder_reader, load_records
from motet.data.readers.sessions import Session, of_session
from motet.data.recording import Recording
from motet.errors import InputError
from motet.plain import read_json

_SPIKES, _ABOUT = "spikes.npy", "numpysorting_info.json"
_FIELDS = ("sample_index", "unit_index", "segment_index")


def is_sorting(source: Any, head: bytes) -> bool:
    """Whether an object is a sorting."""
    modules = {kind.__module__.partition(".")[0] for kind in type(source).__mro__}
    return "spikeinterface" in modules and hasattr(source, "get_unit_spike_train")


def is_sorting_folder(path: Path, head: bytes) -> bool:
    """Whether a folder, or `sorting` in it, is a saved sorting."""
    return _folder(path) is not None


@of_session
def read_sorting(
    source: Any,
    *,
    segment: int | None = None,
    session: Session,
) -> Recording:
    """Read a sorting.

    Args:
        source: the object, or the path of the folder, or of that of an analyzer.
        segment: which segment, counted from 0; needed if there are several.
        session: given as the options of `motet.data.readers.sessions`, by their names.
    """
    if isinstance(source, str | Path):
        units, called = _units_of_folder(Path(source), segment=segment), Path(source).resolve().name
    else:
        place = _segment(segment, source.get_num_segments(), "the sorting")
        units = {
            str(unit): np.asarray(source.get_unit_spike_train(unit, segment_index=place, return_times=True))
            for unit in source.unit_ids
        }
        called = "sorting"
    return session.of_spikes(units, name=called or "sorting")


@folder_reader
def _units_of_folder(path: Path, *, segment: int | None) -> dict[str, NDArray[np.float64]]:
    """Seconds of the spikes of each unit."""
    folder = _folder(path)
    if folder is None:
        raise InputError(f"{path} holds no {_SPIKES} with {_ABOUT}; give the folder of a sorting, or the object.")
    about = read_json((folder / _ABOUT).read_text(encoding="utf-8"), what=str(folder / _ABOUT))
    spikes = load_records(folder / _SPIKES, _FIELDS)
    try:
        ids, rate, n_segments = about["unit_ids"], float(about["sampling_frequency"]), int(about["num_segments"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / _ABOUT} says no unit_ids, sampling_frequency and num_segments.") from error
    unit = spikes["unit_index"]
    if not rate > 0 or not isinstance(ids, list) or (unit.size and not 0 <= unit.min() <= unit.max() < len(ids)):
        raise InputError(f"{folder} has spikes of units that {_ABOUT} does not name; save the sorting again.")
    kept = spikes["segment_index"] == _segment(segment, n_segments, str(path))
    order = np.argsort(unit[kept], kind="stable")
    seconds = spikes["sample_index"][kept][order] / rate
    ends = np.cumsum(np.bincount(unit[kept], minlength=len(ids)))
    return dict(zip(map(str, ids), np.split(seconds, ends[:-1]), strict=True))


def _folder(path: Path) -> Path | None:
    for folder in (path, path / "sorting"):
        if (folder / _SPIKES).is_file() and (folder / _ABOUT).is_file():
            return folder
    return None


def _segment(segment: int | None, n_segments: int, source: str) -> int:
    if segment is None and n_segments == 1:
        return 0
    if segment is None or not 0 <= segment < n_segments:
        raise InputError(f"{source} has {n_segments} segments; say segment=…, from 0 to {n_segments - 1}.")
    return int(segment)

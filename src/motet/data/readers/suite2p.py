"""Reader of the folder that suite2p writes: fluorescence, or deconvolved events, of the cells in one or several planes.

`F.npy`, `Fneu.npy`, `spks.npy` (cell, frame) and `iscell.npy` (cell, 2) are plain arrays. `settings.npy` and `ops.npy`
are pickles and are not loaded: of one of them the frame rate `fs` is looked up among the instructions of the pickle,
none of which is run. Planes are sampled one after another; here all have the times of the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.reading import folder_reader, load_array
from motet.data.readers.safe_pickle import numbers_in_pickle
from motet.data.readers.sessions import Session, of_session
from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Positive, check_arguments

Signal = Literal["spks", "F", "F-0.7Fneu"]
_NEUROPIL = 0.7


def is_suite2p(path: Path, head: bytes) -> bool:
    """Whether a folder, or suite2p in it, holds planes."""
    return bool(_planes(path))


@of_session
@folder_reader
def read_suite2p(
    path: Path | str,
    *,
    signal: Signal = "spks",
    only_cells: bool = True,
    rate_hz: Positive | None = None,
    session: Session,
) -> Recording:
    """Read what suite2p found.

    Args:
        path: the folder of a plane, of all planes, or above `suite2p`.
        signal: "spks", deconvolved events; "F", fluorescence; "F-0.7Fneu", without neuropil.
        only_cells: whether to leave out what `iscell.npy` calls no cell.
        rate_hz: frames per second of a plane; by default as suite2p's settings say. Frame 0 is at 0 s.
        session: given as the options of `motet.data.readers.sessions`, by their names.
    """
    check_arguments(read_suite2p, {"signal": signal, "rate_hz": rate_hz})
    planes = _planes(Path(path))
    if not planes:
        raise InputError(f"{path} is no folder of suite2p: there is no F.npy with iscell.npy; give the folder plane0.")
    rate = rate_hz or _rate(planes[0])
    read = [_plane(plane, signal, only_cells=only_cells) for plane in planes]
    n_frames = min(values.shape[1] for values, _ in read)
    values = np.concatenate([values[:, :n_frames] for values, _ in read])
    prefix = [f"{plane.name}/" if len(planes) > 1 else "" for plane in planes]
    ids = [f"{before}{roi}" for before, (_, rois) in zip(prefix, read, strict=True) for roi in rois.tolist()]
    if not len(values):
        raise InputError(f"{path} holds no cells; say only_cells=False to read all that suite2p found.")
    above = planes[0].parent.resolve()
    called = above.parent.name if above.name == "suite2p" else above.name
    return session.of_signals(values, rate, ids=ids, name=called or "suite2p")


def _planes(path: Path) -> list[Path]:
    """The folders of planes: this one, or those in it, or in suite2p in it."""
    for folder in (path, path / "suite2p"):
        if (folder / "F.npy").is_file() and (folder / "iscell.npy").is_file():
            return [folder]
        found = [one for one in folder.glob("plane*") if (one / "F.npy").is_file() and (one / "iscell.npy").is_file()]
        if found:
            return sorted(found, key=lambda one: (len(one.name), one.name))
    return []


def _plane(plane: Path, signal: Signal, *, only_cells: bool) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Values (cell, frame), and the numbers of the cells."""
    values = _load(plane / ("spks.npy" if signal == "spks" else "F.npy"))
    if signal == "F-0.7Fneu":
        neuropil = _load(plane / "Fneu.npy")
        if neuropil.shape != values.shape:
            raise InputError(f"{plane} has F.npy {values.shape} and Fneu.npy {neuropil.shape}; copy both again.")
        values = values - _NEUROPIL * neuropil
    is_cell = _load(plane / "iscell.npy")
    if values.ndim != 2 or is_cell.ndim != 2 or len(is_cell) != len(values):
        raise InputError(
            f"{plane} has {signal} {values.shape} and iscell.npy {is_cell.shape}, which do not go together; copy the "
            "whole folder again."
        )
    rois = np.flatnonzero(is_cell[:, 0] > 0) if only_cells else np.arange(len(values))
    return values[rois], rois


def _load(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise InputError(f"{path} is not there; copy the whole folder, or choose another signal.")
    return load_array(path)


def _rate(plane: Path) -> float:
    """The frame rate that suite2p's settings say."""
    for path in (plane / "settings.npy", plane / "ops.npy", plane.parent / "settings.npy"):
        if path.is_file():
            rates = {rate for rate in numbers_in_pickle(path, "fs") if rate > 0}
            if len(rates) == 1:
                return rates.pop()
    raise InputError(f"{plane}: its settings do not say one frame rate; say rate_hz=…, frames per second of a plane.")

"""Reader of NWB (Neurodata Without Borders) files: units, signals of cells and electrodes, trials and behaviour.

`motet data show FILE.nwb` lists what a file holds and prints the line that reads it. Where nothing is said:

- Values are the spikes of `units`, or else the signals of cells (DfOverF before Fluorescence), or of electrodes (LFP
  first). Bins of 0.1 s; narrower where trials last less than ten of them, wider where samples are rarer.
- Trials are those of the table `trials`, from start_time to stop_time; those without times, or shorter than a bin, are
  left out. Its columns are targets per trial. Without trials the recording is continuous: windows, to be split in time.
- Behaviour (Position, BehavioralTimeSeries, …) is a target per bin: `motet.data.cut` says how it is resampled. So are,
  in a continuous recording, labels of other tables of intervals, such as states. A direction of a compass is its cosine
  and sine.
- A unit without spikes is silent, and observed, but for bins outside of its `obs_intervals`.

An address, https://… or dandi:DANDISET/ASSET-ID, is read in parts: only what is needed is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.isolated import in_subprocess
from motet.data.readers.reading import one_refusal, refuse_no_file
from motet.data.readers.remote import RemoteFile, is_address
from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Positive, check_arguments


def is_nwb(path: Path, head: bytes) -> bool:
    """Whether a file is called as those of NWB are."""
    return path.suffix.lower() == ".nwb"


def read_nwb(
    path: Path | str,
    *,
    name: str | None = None,
    subject: str | None = None,
    values: str | None = None,
    where: Mapping[str, Any] | None = None,
    trials: str | None = None,
    align: str | None = None,
    window: Positive | tuple[float, float] | None = None,
    bin_seconds: Positive | None = None,
    targets: Sequence[str] | None = None,
    kinds: Mapping[str, Literal["class", "quantity"]] | None = None,
) -> Recording:
    """Read an NWB file, or one elsewhere, as the module says.

    Args:
        path: of the file, or its address.
        name: what to call the recording; by default as the file.
        subject: by default as the file says.
        values: "units", or the name of a series.
        where: which units, cells or electrodes are read, by columns of their table: {"quality": "good"}; or of several
            values, {"location": ["CA1", "CA3"]}.
        trials: a table of intervals, or a series whose times are starts of trials; "none" for a continuous recording.
        align: a column of times in that table, which `window` is around; by default start_time.
        window: seconds before (negative) and after the start of a trial; by default up to its stop. In a continuous
            recording the seconds that a window lasts.
        bin_seconds: width of a bin.
        targets: which columns and series are targets.
        kinds: "class" or "quantity" for targets that are stored as the other, such as choices stored as floats.

    Raises:
        InputError: if the file is damaged, lacks what is asked for, or does not say which of several things is meant.
    """
    asked: dict[str, Any] = {"values": values, "where": where, "trials": trials, "align": align, "window": window}
    asked |= {"bin_seconds": bin_seconds, "targets": targets}
    check_arguments(read_nwb, {**asked, "kinds": kinds, "name": name, "subject": subject})
    with one_refusal(path):
        arrays = _in_subprocess("arrays_of_nwb", path, asked)
        about = json.loads(arrays["about"].item())
        return _recording(
            arrays, about, name=name or _stem(path), subject=subject or about["subject"] or "unknown", kinds=kinds or {}
        )


def show_nwb(path: Path | str) -> str:
    """What could be values, trials and targets, with shapes, units and rates, and the lines that read them."""
    with one_refusal(path):
        found = _in_subprocess("contents_of_nwb", path, str(path))
    refused = found["refused"].item()
    return str(found["text"].item()) + (f"\nhas no default: {refused}" if refused else "")


def _in_subprocess(function: str, path: Path | str, asked: Any) -> dict[str, NDArray[Any]]:
    try:
        from motet.data.readers import nwb_arrays
    except ImportError as error:
        raise InputError(f"{path} is HDF5, and {error.name} is not installed; pip install 'motet[nwb]'.") from error

    if is_address(path):
        return in_subprocess(getattr(nwb_arrays, function), str(path), asked, n_bytes=RemoteFile(str(path)).n_bytes)
    refuse_no_file(path)
    return in_subprocess(getattr(nwb_arrays, function), Path(path), asked)


def _recording(
    arrays: dict[str, NDArray[Any]], about: Mapping[str, Any], *, name: str, subject: str, kinds: Mapping[str, str]
) -> Recording:
    tracks = enumerate(about["tracks"])
    behaviour = {track: (arrays[f"times {n}"], _of_kind(arrays[f"samples {n}"], track, kinds)) for n, track in tracks}
    targets = {column: _of_kind(arrays[f"column {column}"], column, kinds) for column in about["columns"]}
    if strange := kinds.keys() - behaviour.keys() - targets.keys():
        raise InputError(f"kinds names {sorted(strange)[0]!r}, which is no target that is read; name one that is.")
    common: dict[str, Any] = {
        "behaviour": behaviour,
        "bin_seconds": about["bin_seconds"],
        "name": name,
        "subject": subject,
        "individual_ids": [f"{name}/{one}" for one in about["names"]],
        "metadata": {"nwb": {key: about[key] for key in ("version", "identifier", "values", "trials")}},
    }
    window = about["window"]
    if about["trials"] is not None:
        ends = arrays.get("ends")
        starts = arrays["starts"] if ends is None else np.stack([arrays["starts"], ends], axis=-1)
        common |= {"window": None if window is None else tuple(window), "targets": targets}
        common |= {"target_levels": dict.fromkeys(targets, "trial"), "trial_ids": arrays["trial_ids"]}
        if "spikes" not in arrays:
            return Recording.from_signals(arrays["values"].T, starts, times=arrays["value times"], **common)
        return Recording.from_spikes(_units(arrays, "spikes"), starts, seen=_seen(arrays), **common)
    common["window"] = window
    if "spikes" not in arrays:
        times, within = arrays["value times"], arrays["within"]
        return Recording.from_continuous(arrays["values"].T, times=times, within=within, **common)
    return Recording.from_continuous(_units(arrays, "spikes"), seen=_seen(arrays), **common)


def _units(arrays: Mapping[str, NDArray[Any]], key: str) -> list[NDArray[Any]]:
    """What each unit has, of all one after another."""
    return np.split(arrays[key], arrays[f"{key} ends"][:-1])


def _seen(arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    return _units(arrays, "seen") if "seen" in arrays else None


def _of_kind(target: NDArray[Any], name: str, kinds: Mapping[str, str]) -> NDArray[Any]:
    """A target as classes or as a quantity, if it is said to be."""
    kind = kinds.get(name)
    if kind == "quantity" and target.dtype.kind in "bi":
        return target.astype(np.float64)
    if kind == "class" and target.dtype.kind == "f":
        known = target[~np.isnan(target)]
        if (known != np.rint(known)).any():
            return np.where(np.isnan(target), "", target.astype(np.str_))
        unknown = np.iinfo(np.int64).min
        return np.where(np.isnan(target), unknown, np.nan_to_num(target)).astype(np.int64)
    if kind == "quantity" and target.dtype.kind == "U":
        raise InputError(f"kinds calls {name!r} a quantity, but it is text; leave it out.")
    return target


def _stem(path: Path | str) -> str:
    """What a recording is called after its file."""
    if not is_address(path):
        return Path(path).stem
    words = [word for word in re.split(r"[/:?#]", str(path)) if word and word != "download"]
    return words[-1].removesuffix(".nwb")[:60]

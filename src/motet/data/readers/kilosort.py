"""Reader of the folder that Kilosort writes and Phy curates: spike times in samples, and the cluster of each.

`params.py` is a program, and is not run: of it the line `sample_rate = …` is read as text. A cluster's group is that of
`cluster_group.tsv`, where it has one, and else of `cluster_KSLabel.tsv`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.reading import folder_reader, load_array
from motet.data.readers.sessions import Session, of_session
from motet.data.readers.tables import listed, read_table
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.settings import Positive, check_arguments

_RATE = re.compile(r"^\s*sample_rate\s*=\s*([0-9]+\.?[0-9]*(?:[eE][+]?[0-9]+)?)\s*(?:#.*)?$", re.MULTILINE)
_MOST_CHARACTERS = 100_000  # of params.py
_UNSORTED = "unsorted"  # nobody has said anything of it
_GROUPS = (("cluster_KSLabel.tsv", "KSLabel"), ("cluster_group.tsv", "group"))  # later ones count


def is_kilosort(path: Path, head: bytes) -> bool:
    """Whether a folder holds spike times and their clusters."""
    return (path / "spike_times.npy").is_file() and _clusters(path) is not None


@of_session
@folder_reader
def read_kilosort(
    path: Path | str,
    *,
    groups: Sequence[str] | None = None,
    rate_hz: Positive | None = None,
    session: Session,
) -> Recording:
    """Read sorted spikes.

    Args:
        path: the folder.
        groups: of clusters that are read; by default "good" ones, or all where none has a group.
        rate_hz: samples per second; by default as params.py says. Sample 0 is at 0 s.
        session: given as the options of `motet.data.readers.sessions`, by their names.
    """
    check_arguments(read_kilosort, {"rate_hz": rate_hz})
    path = Path(path)
    rate = rate_hz or _rate(path)
    if (of_clusters := _clusters(path)) is None:
        raise InputError(f"{path} has no spike_clusters.npy; give a folder of Kilosort or Phy.")
    samples, clusters = load_array(path / "spike_times.npy").ravel(), load_array(of_clusters).ravel()
    if samples.shape != clusters.shape or not samples.size or samples.dtype.kind not in "iuf":
        raise InputError(
            f"{path} has {samples.size} spike times and {clusters.size} clusters of spikes; give one of each per spike."
        )
    kept = _chosen(np.unique(clusters).astype(np.int64), _group_of(path), groups, source=str(path))
    order = np.argsort(clusters, kind="stable")
    first = np.searchsorted(clusters[order], [*kept, kept[-1] + 1])
    ends = np.searchsorted(clusters[order], kept, side="right")
    seconds = samples[order] / rate
    units = {str(one): seconds[a:b] for one, a, b in zip(kept, first[:-1], ends, strict=True)}
    return session.of_spikes(units, name=path.resolve().name or "kilosort")


def _clusters(path: Path) -> Path | None:
    for name in ("spike_clusters.npy", "spike_templates.npy"):
        if (path / name).is_file():
            return path / name
    return None


def _rate(path: Path) -> float:
    params = path / "params.py"
    if params.is_file():
        with params.open(encoding="utf-8", errors="replace") as file:
            rates = {float(rate) for rate in _RATE.findall(file.read(_MOST_CHARACTERS))} - {0.0}
        if len(rates) == 1:
            return rates.pop()
    raise InputError(f"{path} has no params.py with one line 'sample_rate = …'; say rate_hz=…, samples per second.")


def _group_of(path: Path) -> dict[int, str]:
    """The group of each cluster that has one."""
    found: dict[int, str] = {}
    for name, column in _GROUPS:
        if (path / name).is_file():
            table = read_table(path / name, labels=(column,), columns={})
            table.require("cluster_id", column)
            cells, place = table.labels[column]
            ids = table.finite("cluster_id", all_known=True).astype(np.int64).tolist()
            found |= {
                cluster: cells[at]
                for cluster, at in zip(ids, place.tolist(), strict=True)
                if cells[at] not in ("", _UNSORTED)
            }
    return found


def _chosen(
    clusters: NDArray[np.int64], group_of: dict[int, str], groups: Sequence[str] | None, *, source: str
) -> list[int]:
    """The clusters that are read."""
    if groups is None and not group_of:
        return clusters.tolist()
    wanted = ["good"] if groups is None else listed(groups, what="groups")
    there = {group_of.get(cluster, _UNSORTED) for cluster in clusters.tolist()}
    for group in wanted:
        if group not in there:
            raise did_you_mean(group, there, what=f"group of clusters in {source}: say groups=[…], not")
    return [cluster for cluster in clusters.tolist() if group_of.get(cluster, _UNSORTED) in wanted]

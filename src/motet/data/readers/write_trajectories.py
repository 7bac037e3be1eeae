"""The way out of a `Recording` into a table of trajectories, laid out as `motet.data.readers.trajectories` says."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.arrays import LEVELS, checked_target, same_system
from motet.data.readers.tables import TABLE_ENDINGS, UNKNOWN, ending_of, separator_of
from motet.data.readers.trajectories import COLUMNS
from motet.data.readers.trajectory_tables import DIRECTED_PAIR, PAIR, pairs_beside
from motet.data.recording import Recording
from motet.data.trials import WORST_ROUNDING, extent
from motet.errors import InputError
from motet.files import atomic_path
from motet.given import is_known
from motet.names import no_formula


def write_trajectories_csv(
    recording: Recording,
    path: Path | str,
    *,
    features: Sequence[str] | None = None,
    leave_out: Collection[str] = (),
) -> Path:
    """Write a recording as a table that `read_trajectories` reads back, and one of pairs where `system` does not do.

    One row per trial, individual and time bin; cells of what was not observed are empty. An apostrophe stands before a
    name that would be a formula to a spreadsheet. The name and the subject are not in the table. Pairs whose two orders
    differ are listed as source and target: [i, j] of a target is what j does to i.

    Args:
        recording: its targets may be system, mass, charge, frequency, interacts and coupling.
        path: its name ends in one of `TABLE_ENDINGS`.
        features: names of the columns of features; by default feature_0, feature_1, …
        leave_out: targets not to write.

    Raises:
        InputError: if a table cannot hold something, or an older table of pairs would be read with it.

    Example:
        >>> import tempfile
        >>> recording = Recording.from_trials(np.ones((2, 3, 4)), bin_seconds=0.5)
        >>> path = write_trajectories_csv(recording, Path(tempfile.mkdtemp()) / "all.csv", features=["x"])
        >>> path.read_text().splitlines()[:2]
        ['trial,individual,time,x', '0,array/0,0.0,1.0']
    """
    path = Path(path)
    ending = ending_of(path, TABLE_ENDINGS)
    where = f"recording {recording.name!r} cannot be written to {path}"
    names = [f"feature_{place}" for place in range(recording.n_features)] if features is None else list(features)
    for key in leave_out:
        recording.target(key)
    _check_writable(recording, where, names, leave_out)
    targets = {
        key: checked_target(key, target, recording.n_trials, recording.n_individuals, source=where)
        for key, target in recording.targets.items()
        if key not in leave_out
    }
    own = {key: target for key, target in targets.items() if LEVELS[key] == "individual"}
    pairs = {key: target for key, target in targets.items() if LEVELS[key] == "pair"}
    if "system" in own and set(pairs) == {"interacts"}:
        pairs = {} if np.array_equal(pairs["interacts"], same_system(own["system"])) else pairs
    pairs_path = path.with_name(f"{path.name.removesuffix(ending)}.pairs{ending.lower()}")
    if (old := pairs_beside(path)) is not None and (not pairs or old != pairs_path):
        raise InputError(f"{old} would be read as the pairs of {path}; remove it, or choose another name.")
    tables = {path: (("trial", "individual", "time", *names, *own), _sample_rows(recording, own))}
    if pairs:
        is_directed = not all(_is_symmetric(target) for target in pairs.values())
        header = ("trial", *(DIRECTED_PAIR if is_directed else PAIR), *pairs)
        tables[pairs_path] = (header, _pair_rows(recording, pairs, is_directed=is_directed))
    with contextlib.ExitStack() as both:  # neither file changes before both are written
        for place, (header, rows) in tables.items():
            text = io.StringIO()
            writer = csv.writer(text, delimiter=separator_of(path), lineterminator="\n")
            writer.writerow(map(no_formula, header))
            writer.writerows(rows)
            content = text.getvalue().encode()
            is_zipped = ending.lower().endswith(".gz")
            both.enter_context(atomic_path(place)).write_bytes(
                gzip.compress(content, mtime=0) if is_zipped else content
            )
    return path


def _check_writable(recording: Recording, where: str, names: Sequence[str], leave_out: Collection[str]) -> None:
    """Refuse what could not be read again."""
    for key in recording.targets.keys() - set(leave_out):
        if LEVELS.get(key) != recording.target_levels[key]:
            raise InputError(
                f"{where}: a table holds no target {key!r} per {recording.target_levels[key]}; say "
                f"leave_out=[{key!r}], or save .npz by write_recording."
            )
    if len(set(names)) != recording.n_features or set(names) & {*COLUMNS, ""}:
        raise InputError(f"{where}: features are called {list(names)}; give {recording.n_features} names of their own.")
    systems = recording.targets["system"] if "system" in recording.targets.keys() - set(leave_out) else np.empty(0)
    labels = {str(system) for system in systems.ravel().tolist() if system != ""}
    for text in (*recording.individual_ids, *names, *map(str, recording.trial_ids.tolist()), *labels):
        if not text or not text.isprintable() or text != text.strip():
            raise InputError(f"{where}: the name {text!r} is empty, unprintable or has a blank at an end; rename it.")
    if unknown := labels & UNKNOWN:
        raise InputError(f"{where}: system {unknown.pop()!r} would be read as unknown; rename it.")
    if len(set(recording.trial_ids.tolist())) < recording.n_trials:
        raise InputError(f"{where}: several trials share an id, as windows do; give each its own trial_ids.")
    if not recording.observed.any():
        raise InputError(f"{where}: nothing in it is observed, and a table without a number cannot be read.")
    if np.spacing(np.abs(_stamps(recording)).max()) > 1e-6 * recording.bin_seconds:
        raise InputError(f"{where}: its stamps are too large for its bins; give smaller trial_start_seconds.")


def _stamps(recording: Recording) -> NDArray[np.float64]:
    """(trial, time): seconds of every bin."""
    return recording.trial_start_seconds[:, None] + np.arange(recording.n_bins) * recording.bin_seconds


def _sample_rows(recording: Recording, targets: Mapping[str, NDArray[Any]]) -> Iterable[Iterable[str]]:
    """A row of text for every trial, individual and bin."""
    stamps = _stamps(recording)
    least, most = extent(recording.values, recording.observed)
    is_wide = recording.values.dtype == np.float64  # 0.1 is 0.10000000149 where short digits would blur what differs
    with np.errstate(over="ignore"):
        step = np.spacing(np.maximum(np.abs(most), np.abs(least)).astype(np.float32))
    needs_digits = is_wide | (step >= WORST_ROUNDING * (most - least))[:, None]
    individuals = [no_formula(individual) for individual in recording.individual_ids]
    for trial, label in enumerate(map(no_formula, recording.trial_ids.astype(str).tolist())):
        seen = recording.observed[trial][..., None]
        short, long = (recording.values[trial].astype(digits).astype(str) for digits in (np.float32, np.float64))
        cells = np.where(seen, np.where(needs_digits, long, short), "").swapaxes(1, 2).tolist()
        said = [_cells(target[trial]) for target in targets.values()]
        times = stamps[trial].astype(str).tolist()
        for place, individual in enumerate(individuals):
            constant = (itertools.repeat(column[place]) for column in said)
            yield from zip(itertools.repeat(label), itertools.repeat(individual), times, *cells[place], *constant)


def _is_symmetric(target: NDArray[Any]) -> bool:
    other = target.swapaxes(1, 2)
    return bool(((target == other) | ~_is_known(target) & ~_is_known(other)).all())


def _pair_rows(
    recording: Recording, targets: Mapping[str, NDArray[Any]], *, is_directed: bool
) -> Iterable[Iterable[str]]:
    """A row of text for every known pair, once; or for both of its orders, as source and target."""
    known = np.any([_is_known(target) for target in targets.values()], axis=0)
    trial, i, j = np.nonzero(known if is_directed else np.triu(known))
    ids = np.array([no_formula(individual) for individual in recording.individual_ids], dtype=object)
    trials = np.array([no_formula(one) for one in recording.trial_ids.astype(str).tolist()], dtype=object)
    columns = (_cells(target[trial, i, j]) for target in targets.values())
    first, second = (j, i) if is_directed else (i, j)
    names = ids[first].tolist(), ids[second].tolist()
    return zip(trials[trial].tolist(), *names, *columns, strict=True)


def _is_known(target: NDArray[Any]) -> NDArray[np.bool_]:
    return target >= 0 if target.dtype.kind == "i" else is_known(target)


def _cells(target: NDArray[Any]) -> list[str]:
    """Text of a target, (row,), empty where unknown."""
    cells: list[str] = np.where(_is_known(target), target.astype(str), "").tolist()
    return [no_formula(cell) for cell in cells] if target.dtype.kind == "U" else cells

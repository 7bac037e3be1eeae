"""Reader of arrays that have names of somebody's own: `.mat`, `.npz`, `.h5`. Whoever saved them says what is what.

- values: the field of values, and `axes`, what its axes are, in their order: trial, individual, time, feature. Axes of
  one place need not be named.
- spike_times: the field of spike times in seconds: a cell array or a field of an array of structures, with a vector per
  unit; or one vector, with `spike_units`, the unit of each spike.
- targets: fields; per trial (trial,), per bin in the order of `axes`, or, beside spikes, per trial.
- align, window, behaviour, trials: of spike times, as of any session (`motet.data.readers.sessions`); without `trials`,
  `align` is a field of times, one per trial, and targets are fields.
- kinds: {choice: class} or {speed: quantity}. Without it, targets per trial of a `.mat` file that are all whole numbers
  are classes, since MATLAB keeps numbers of any kind as floats.

`motet data show FILE` lists the fields, and says what to type. Nothing is guessed but that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.readers.field_roles import fields_of, flat, likely_axes, shape_of, suggestion, words
from motet.data.readers.matlab import Fields, names_of_mat
from motet.data.readers.reading import file_reader
from motet.data.readers.sessions import Session, of_session
from motet.data.readers.tables import listed
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.settings import check_arguments

Kind = Literal["class", "quantity"]
_RAW_REACH = {"trial_table", "out_struct"}


def is_named_arrays(path: Path, head: bytes) -> bool:
    """Whether a file holds arrays by name."""
    return head.startswith((b"PK\x03\x04", b"MATLAB")) or path.suffix.lower() in (".h5", ".hdf5", ".mat")


def is_raw_reach(path: Path, head: bytes) -> bool:
    """Whether a file of MATLAB holds what raw reach recordings hold."""
    return head.startswith(b"MATLAB") and names_of_mat(path) >= _RAW_REACH


@of_session
@file_reader
def read_named_arrays(
    path: Path | str,
    *,
    values: str | None = None,
    axes: Sequence[str] | None = None,
    spike_times: str | None = None,
    spike_units: str | None = None,
    individual_ids: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    session: Session,
) -> Recording:
    """Read arrays by the names that they have in a file, as this module says.

    Args:
        path: the file.
        values: the field of values.
        axes: what the axes of values are, in their order.
        spike_times: the field of spike times, in seconds.
        spike_units: the field of the unit of each spike, where spike_times is one vector.
        individual_ids: the field of names of individuals; by default their places.
        kinds: whether a target is of classes or a quantity, by name.
        session: given as the options of `motet.data.readers.sessions`, by their names.

    Raises:
        InputError: if nobody says which field is what: it lists them, and what to type.
    """
    check_arguments(read_named_arrays, {"axes": axes, "kinds": kinds})
    path = Path(path)
    fields = fields_of(path)
    if (values is None) == (spike_times is None):
        what = "both values and spike_times are given" if values else "nobody says which field holds values or spikes"
        raise InputError(f"{path} holds {words(fields)}; {what}: say {suggestion(path, fields)}")
    of_file = [] if session.trials is not None or session.targets is None else listed(session.targets, what="targets")
    for name in (values, spike_times, spike_units, individual_ids, *of_file):
        if name is not None and name not in fields:
            raise did_you_mean(name, fields, what=f"field of {path}")
    names = None if individual_ids is None else given.names(flat(fields, individual_ids), what=individual_ids)
    chosen = _Chosen(path, fields, dict(kinds or {}), session)
    if spike_times is not None:
        if axes is not None:
            raise InputError("axes are of values, and spike_times are given; leave out axes.")
        return chosen.spikes(spike_times, spike_units, names)
    assert values is not None
    if spike_units is not None:
        raise InputError("spike_units goes with spike_times, and values are given; leave it out.")
    return chosen.values(values, axes, names)


class _Chosen:
    """The fields of a file, and what a user says of them."""

    def __init__(self, path: Path, fields: Fields, kinds: dict[str, Kind], session: Session) -> None:
        self.path, self.fields, self.session = path, fields, session
        targets = listed(session.targets, what="targets") if session.targets is not None else []
        if strange := kinds.keys() - set(targets):
            raise did_you_mean(min(strange), targets, what="target that kinds names")
        self.targets, self.kinds = targets, kinds

    def spikes(self, spike_times: str, spike_units: str | None, names: tuple[str, ...] | None) -> Recording:
        times = self.fields[spike_times]
        if isinstance(times, list):
            units = [given.numbers(one, what=spike_times) for one in times]
            found = tuple(map(str, range(len(units))))
        elif spike_units is None:
            raise InputError(
                f"{self.path}: {spike_times!r} is one array of spikes, {times.shape}; say spike_units=…, the field of "
                "the unit of each."
            )
        else:
            of_all, unit = flat(self.fields, spike_times), flat(self.fields, spike_units)
            if of_all.shape != unit.shape:
                raise InputError(
                    f"{self.path}: {spike_times!r} has {of_all.size} spikes and {spike_units!r} {unit.size} units; "
                    "give a unit for each."
                )
            distinct, place = np.unique(given.labels(unit, what=spike_units), return_inverse=True)
            order = np.argsort(place, kind="stable")
            ends = np.cumsum(np.bincount(place))[:-1]
            units = np.split(given.numbers(of_all, what=spike_times)[order], ends)
            found = tuple(f"{one:g}" if distinct.dtype.kind == "f" else str(one) for one in distinct)
        if names is not None and len(names) != len(units):
            raise InputError(f"{self.path}: there are {len(units)} units and {len(names)} individual_ids.")
        session = self.session
        if session.trials is None and session.align is not None:
            if session.align not in self.fields:
                raise did_you_mean(session.align, self.fields, what=f"field of {self.path}")
            starts = given.numbers(flat(self.fields, session.align), what=session.align)
            columns = {name: self._per_trial(name, len(starts)) for name in self.targets}
            session = dataclasses.replace(
                session, trials={"start": starts, **columns}, align="start", targets=self.targets
            )
        elif session.trials is not None and self.kinds:
            raise InputError("kinds are of fields of the file, and trials are a table; leave out kinds.")
        return session.of_spikes(dict(zip(names or found, units, strict=True)), name=self.path.stem)

    def values(self, values: str, axes: Sequence[str] | None, names: tuple[str, ...] | None) -> Recording:
        array = self.fields[values]
        session = self.session
        for option in ("trials", "align", "window", "behaviour"):
            if getattr(session, option) is not None:
                raise InputError(f"{option} is of spike_times, and values are given; leave out {option}.")
        if isinstance(array, list) or array.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: {values!r} holds no numbers of one shape; is it spike_times?")
        if axes is None or len(listed(axes, what="axes")) not in (array.ndim, int(np.sum(np.array(array.shape) > 1))):
            raise InputError(
                f"{self.path}: {values!r} has shape {array.shape}, and axes is {axes}; say what each axis is, in their "
                f"order: axes={likely_axes(self.fields, values)}, perhaps."
            )
        if len(axes) < array.ndim:
            array = array.squeeze()
        for axis in axes:
            if axis not in given.AXES:
                raise did_you_mean(axis, given.AXES, what="axis")
        if lacking := {"individual", "time"} - set(axes):
            raise InputError(f"axes is {list(axes)}, without {min(lacking)}; values have individuals and times.")
        order = [axes.index(axis) for axis in given.AXES if axis in axes]
        array = np.transpose(array, order)
        array = array if "trial" in axes else array[None]
        array = array if "feature" in axes else array[..., None]
        is_reversed = "trial" in axes and axes.index("time") < axes.index("trial")
        made, levels = {}, {}
        for name in self.targets:
            made[name], levels[name] = self._target(name, array.shape, is_reversed=is_reversed)
        return Recording.from_trials(
            given.numbers(array, what=values),
            targets=made,
            target_levels=levels,
            bin_seconds=1.0 if session.bin_seconds is None else session.bin_seconds,
            individual_ids=None if names is None else list(names),
            name=session.name or self.path.stem,
            subject=session.subject,
        )

    def _target(self, name: str, shape: tuple[int, ...], *, is_reversed: bool) -> tuple[NDArray[Any], Any]:
        """A field as a target per trial or per bin."""
        n_trials, _, n_bins, _ = shape
        array = self.fields[name]
        if not isinstance(array, list):
            array = np.atleast_1d(array.squeeze())
            if n_trials > 1 and array.shape == (n_trials,):
                return self._per_trial(name, n_trials), "trial"
            if n_trials == 1 and n_bins in array.shape[:2]:
                turned = array if array.shape[0] == n_bins else array.T
                return self._of_kind(name, turned[None]), "bin"
            if is_reversed and array.shape[:2] == (n_bins, n_trials):
                return self._of_kind(name, array.swapaxes(0, 1)), "bin"
            if not is_reversed and array.shape[:2] == (n_trials, n_bins):
                return self._of_kind(name, array), "bin"
        of_time = "(time, trial, …)" if is_reversed else "(trial, time, …)"
        raise InputError(
            f"{self.path}: target {name!r} has shape {shape_of(self.fields[name])}; with {n_trials} trials of {n_bins} "
            f"bins give ({n_trials},) per trial, or {of_time} per bin, in the order of axes."
        )

    def _per_trial(self, name: str, n_trials: int) -> NDArray[Any]:
        array = flat(self.fields, name)
        if array.shape != (n_trials,):
            raise InputError(
                f"{self.path}: target {name!r} has shape {shape_of(self.fields[name])}; give one for each of "
                f"{n_trials} trials."
            )
        known = array[~np.isnan(array)] if array.dtype.kind == "f" else array
        is_matlab = self.path.suffix.lower() == ".mat"
        is_whole = array.dtype.kind == "f" and is_matlab and known.size and (known == np.rint(known)).all()
        return self._of_kind(name, array, default="class" if is_whole else None)

    def _of_kind(self, name: str, array: NDArray[Any], default: Kind | None = None) -> NDArray[Any]:
        target, kind = given.labels(array, what=f"{self.path}: target {name!r}"), self.kinds.get(name, default)
        if kind == "quantity":
            return given.numbers(target, what=f"{self.path}: target {name!r}")
        if kind == "class" and target.dtype.kind == "f":
            known = given.is_known(target)
            if (target[known] == np.rint(target[known])).all():
                return np.where(known, np.nan_to_num(target), given.UNKNOWN_INTEGER).astype(np.int64)
            return np.where(known, target.astype(np.str_), "")
        return target

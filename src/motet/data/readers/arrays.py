"""Trajectories as arrays, plain or of xarray, made into a `Recording`: `recording_of_arrays`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.claims import check_keys, claim
from motet.data.readers.netcdf import dataset_of_netcdf
from motet.data.readers.numpy_files import load_arrays
from motet.data.readers.sampling import Clock, Samples, check_bytes, on_grid
from motet.data.readers.tables import absent, own_names
from motet.data.recording import Level, Recording
from motet.errors import InputError, did_you_mean
from motet.given import is_known, labels, names, numbers, trial_names, unknown

if TYPE_CHECKING:
    import xarray

MOST_WHOLE = 2.0**53  # of numbers of 64 bits with a point: beyond, whole ones are not told apart
QUANTITIES = ("mass", "charge", "frequency")
LEVELS: dict[str, Level] = {
    **dict.fromkeys(("system", *QUANTITIES), "individual"),
    **dict.fromkeys(("interacts", "coupling"), "pair"),
}
Leveled = tuple[Level, NDArray[Any]]  # a target, and what it is of
TRAJECTORY_ARRAYS = frozenset({"positions", "values", "time", "observed", "individual_ids", "trial_ids", *LEVELS})
AXES = ("trial", "individual", "time", "feature")


def recording_of_arrays(
    arrays: Mapping[str, NDArray[Any]],
    clock: Clock,
    *,
    source: str,
    targets: Mapping[str, Leveled] | None = None,
    **about: str,
) -> Recording:
    """The recording of values (trial, individual, time, feature), and any others of `TRAJECTORY_ARRAYS`.

    Args:
        arrays: by name.
        clock: how stamps become bins.
        source: what messages call them.
        targets: others than those of `LEVELS`, as `Recording` takes them.
        **about: name and subject of the recording.

    Raises:
        InputError: naming the array that does not fit, or the stamp that is off the grid.

    Example:
        >>> arrays = {"values": np.ones((1, 2, 3, 1)), "time": np.array([0.0, 0.5, 1.5])}
        >>> recording_of_arrays(arrays, Clock(), source="shoal", name="shoal").observed[0, 0].tolist()
        [True, True, False, True]
    """
    values = _numbers(arrays["values"], "values", source)
    shape = values.shape[:3]
    if 0 in values.shape:
        raise InputError(f"{source}: values have shape {values.shape}; give at least one of each axis.")
    if "observed" in arrays:
        observed = arrays["observed"]
        if observed.shape not in (shape, shape[1:]) or observed.dtype.kind != "b":
            raise InputError(
                f"{source}: observed has shape {observed.shape} of {observed.dtype}; give {shape}, True where observed."
            )
        values = np.where(observed[..., None], values, np.nan)
    ids = {key: _ids(arrays[key], f"{source}: {key}") for key in ("individual_ids", "trial_ids") if key in arrays}
    for key, size in (("individual_ids", shape[1]), ("trial_ids", shape[0])):
        if len(ids.get(key, range(size))) != size:
            raise InputError(f"{source}: {key} has {len(ids[key])} names; give {size}, one for each.")
    targets = dict(targets or {})
    step, starts = (1.0 if clock.bin_seconds is None else clock.bin_seconds), None
    if "time" in arrays:
        seconds = _seconds(arrays["time"], shape[2], source)
        if clock.resample_seconds is None:
            frames, step, starts = _frames_of_stamps(seconds, clock, source)
            values = _placed(values, frames, axis=2, fill=np.nan, what=f"{source}: values")
            starts = starts if shape[0] == 1 else None
            for key, (level, target) in targets.items():
                if level == "bin":
                    target = target.astype(np.int64) if target.dtype.kind == "b" else target
                    placed = _placed(
                        target, frames, axis=1, fill=unknown(target.dtype), what=f"{source}: target {key!r}"
                    )
                    targets[key] = "bin", placed
        else:
            refuse_resampled(targets, source)
            values, step, starts = _resampled(values, seconds, clock, ids, source)
    elif clock.resample_seconds is not None:
        raise InputError(f"{source} has no time, so that nothing can be resampled; give the stamps, time (time,).")
    return recording_of_grid(
        values,
        {key: arrays[key] for key in LEVELS if key in arrays},
        targets,
        source=source,
        individual_labels=ids.get("individual_ids"),
        trial_labels=ids.get("trial_ids"),
        bin_seconds=step,
        trial_start_seconds=starts,
        **about,
    )


def refuse_resampled(targets: Mapping[str, Leveled], source: str) -> None:
    """Refuse targets per bin of what is resampled."""
    for key, (level, _) in targets.items():
        if level == "bin":
            raise InputError(
                f"{source}: target {key!r} is per bin, and cannot be resampled; resample it before, or leave it out."
            )


def recording_of_grid(
    values: NDArray[np.float64],
    known_targets: Mapping[str, NDArray[Any]],
    targets: Mapping[str, Leveled],
    *,
    source: str,
    individual_labels: Sequence[str] | None,
    trial_labels: Sequence[str] | None,
    **fields: Any,
) -> Recording:
    """The recording of values (trial, individual, bin, feature) with NaN, of targets of `LEVELS` and of others."""
    _check_values(values, source)
    n_trials, n_individuals = values.shape[:2]
    check = functools.partial(checked_target, n_trials=n_trials, n_individuals=n_individuals, source=source)
    checked = {key: check(key, target, n_given=values.nbytes) for key, target in known_targets.items()}
    if "system" in checked and "interacts" not in checked:
        check_pairs("interacts", n_trials, n_individuals, n_given=values.nbytes, source=source)
        checked["interacts"] = same_system(checked["system"])
    return Recording.from_trials(
        values,
        targets=checked | {key: target for key, (_, target) in targets.items()},
        target_levels={key: LEVELS[key] for key in checked} | {key: level for key, (level, _) in targets.items()},
        individual_ids=individual_labels,
        trial_ids=None if trial_labels is None else trial_names(trial_labels, what=f"{source}: trial_ids"),
        **fields,
    )


def checked_target(
    key: str, target: Any, n_trials: int, n_individuals: int, *, source: str, n_given: float = np.inf
) -> NDArray[Any]:
    """A target of `LEVELS` as motet has it.

    Systems are whole numbers with -1 where unknown, or else text; edge types are whole numbers with -1 where unknown
    and on the diagonal; quantities have NaN there.

    Args:
        key: its name.
        target: (trial, individual[, individual]), or the same for every trial.
        n_trials: of the recording.
        n_individuals: of the recording.
        source: what messages call the recording.
        n_given: bytes of what was given; a target of pairs that is far larger is refused.

    Raises:
        InputError: if it has another shape, or is not made of such numbers.
    """
    is_pair = LEVELS[key] == "pair"
    shape = (n_trials, n_individuals, n_individuals) if is_pair else (n_trials, n_individuals)
    array = labels(target, what=f"{source}: {key}")
    if array.shape not in (shape, shape[1:]):
        raise InputError(f"{source}: {key} has shape {array.shape}; give {shape}, or {shape[1:]} for every trial.")
    if is_pair:
        check_pairs(key, n_trials, n_individuals, n_given=max(n_given, array.nbytes), source=source)
    if key == "system" and array.dtype.kind == "U":
        return np.array(np.broadcast_to(_systems(array), shape))
    if array.dtype.kind == "U" or np.isinf(array).any():
        raise InputError(f"{source}: {key} is of {array.dtype}, or infinite; give finite numbers, NaN for unknown.")
    known = np.where(is_known(array), array, np.nan).astype(np.float64)
    known = np.array(np.broadcast_to(known, shape))
    if is_pair:
        diagonal = np.arange(n_individuals)
        known[:, diagonal, diagonal] = np.nan
    if key not in ("system", "interacts"):
        return known
    whole = np.nan_to_num(known, nan=-1)
    if (whole != np.rint(whole)).any() or (whole > MOST_WHOLE).any():
        raise InputError(f"{source}: {key} is not made of whole numbers; give 0 or more, and -1 for unknown.")
    return np.maximum(whole, -1).astype(np.int64)


def same_system(system: NDArray[Any]) -> NDArray[np.int64]:
    """(trial, individual, individual): 1 in one system, 0 in two; -1 on the diagonal and where one is unknown."""
    number = system_numbers(system)
    one, other = number[:, :, None], number[:, None, :]
    known = (one >= 0) & (other >= 0) & ~np.eye(number.shape[1], dtype=bool)
    return np.where(known, one == other, -1).astype(np.int64)


def system_numbers(system: NDArray[Any]) -> NDArray[np.int64]:
    """Labels of systems as numbers: those that are text in alphabetical order, -1 for unknown.

    Example:
        >>> system_numbers(np.array([["red", "", "blue"]]))
        array([[ 1, -1,  0]])
    """
    if system.dtype.kind != "U":
        return system
    labels, place = np.unique(np.append("", system), return_inverse=True)  # no text comes first
    return np.asarray(np.arange(-1, len(labels) - 1)[place[1:].reshape(system.shape)])


def _systems(array: NDArray[np.str_]) -> NDArray[Any]:
    """Labels of systems as whole numbers from 0 with -1 for unknown, if they are such, and else as they are."""
    distinct, place = np.unique(array, return_inverse=True)
    whole = trial_names([label or "0" for label in distinct.tolist()], what="system")
    if whole.dtype.kind == "U" or (whole < 0).any():
        return array
    return np.where(distinct == "", -1, whole)[place.reshape(array.shape)]


def check_pairs(key: str, n_trials: int, n_individuals: int, *, n_given: float, source: str) -> None:
    """Refuse a target of pairs, before it is made, that would take far more memory than was given for it."""
    check_bytes(
        8.0 * n_trials * n_individuals**2,
        given=n_given,
        what=f"{source}: target {key!r} of all pairs of {n_individuals} individuals in {n_trials} trials",
        advice="name individuals alike in all trials, or leave out what it is made of: say features=[…], targets=[]",
    )


def _ids(array: NDArray[Any], what: str) -> tuple[str, ...]:
    return names(array.ravel().astype(str) if array.dtype.kind in "mM" else array.ravel(), what=what)


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, with values (trial, individual, time, feature).

    Raises:
        InputError: if the file is damaged, an array is unknown, or the axes are in doubt.
    """
    arrays = load_arrays(path, copied=("positions", "values"))
    for key in arrays:
        if key == "motet_format_version":
            raise InputError(f"{path} is a recording that motet saved; read it by motet.read_recording.")
        if key not in TRAJECTORY_ARRAYS:
            raise did_you_mean(key, TRAJECTORY_ARRAYS, what=f"array of {path}")
    key = "values" if "values" in arrays else "positions"
    if ("positions" in arrays) == ("values" in arrays):
        raise InputError(
            f"{path} holds {'both' if key in arrays else 'neither'} positions and values; give one of them."
        )
    values = arrays.pop(key)
    n_times = arrays["time"].size if "time" in arrays else None
    if values.ndim == 3 and key == "values" and n_times in (None, values.shape[2]):
        raise InputError(
            f"{path} has values of shape {values.shape}, which may be (individual, time, feature) or (trial, "
            "individual, time); name them positions if they are the former, or give all four axes."
        )
    if values.ndim not in (3, 4):
        raise InputError(f"{path} has {key} of shape {values.shape}; give ([trial,] individual, time, feature).")
    return arrays | {"values": values if values.ndim == 4 else values[None]}


def load_netcdf(path: Path, columns: Mapping[str, str]) -> xarray.Dataset:
    """The dataset of a NetCDF file.

    Raises:
        InputError: if it cannot be read, or motet[xarray] is not installed.
    """
    stored = dataset_of_netcdf(path)
    return _import_xarray().decode_cf(stored, decode_timedelta={columns.get("time", "time"): True}).load()


def arrays_of_xarray(
    data: Any,
    columns: Mapping[str, str] | None,
    features: Sequence[str] | None,
    targets: Sequence[str] | None,
    *,
    source: str,
    targets_are_optional: bool,
) -> tuple[dict[str, NDArray[Any]], dict[str, Leveled]]:
    """The arrays of a Dataset or DataArray, values (trial, individual, time, feature), and its targets of other names.

    See `from_xarray`.

    Raises:
        InputError: if a dimension is absent, or nobody says whether a variable is a feature or a target.
    """
    xr = _import_xarray()
    if isinstance(data, xr.DataArray):
        data = data.to_dataset(name="values")
    if not isinstance(data, xr.Dataset):
        raise InputError(f"{source} is a {type(data).__name__}; give an xarray Dataset or DataArray.")
    columns = check_keys(columns, (*AXES, "observed", *LEVELS))
    for axis, name in columns.items():
        if axis in AXES and name in data.variables and name not in data.dims and data[name].ndim == 1:
            data = data.swap_dims({data[name].dims[0]: name})  # a variable that names the places of a dimension
    found = list(dict.fromkeys(map(str, (*data.dims, *data.variables))))
    own = own_names(found, columns, source=source)
    data = data.rename({theirs: name for theirs, name in zip(found, own, strict=True) if theirs != name})
    for axis in ("individual", "time"):
        if axis not in data.dims:
            raise absent(axis, map(str, data.dims), what="dimension", source=source)
    candidates = [str(name) for name in data.variables if name not in (*data.dims, "observed")]
    inputs, goals = claim(
        [name for name in candidates if data[name].ndim or name in (targets or ())],  # one value for all is no label
        features=features,
        targets=targets,
        known_targets=LEVELS,
        source=source,
        what="variable",
        targets_are_optional=targets_are_optional,
    )
    for name in inputs:
        if not {"individual", "time"} <= set(data[name].dims):
            raise InputError(
                f"{source}: {name!r} has dimensions {data[name].dims}; a feature has an individual and a time."
            )
    values = [_numbers(_on_axes(data, name, AXES, source), repr(name), source) for name in inputs]
    arrays: dict[str, NDArray[Any]] = {"values": np.concatenate(values, axis=-1)}
    if "observed" in data.variables:
        arrays["observed"] = _on_axes(data, "observed", AXES[:3], source)
    for key in goals:
        if key in LEVELS:
            arrays[key] = _as_stored(data[key].transpose("trial", "individual", ..., missing_dims="ignore"))
    if "time" in data.coords:
        arrays["time"] = data["time"].values
        if (unit := data["time"].attrs.get("units", "s")) not in ("s", "sec", "second", "seconds"):
            raise InputError(f"{source}: time is in {unit!r}; give seconds, datetime64 or timedelta64.")
    arrays |= {f"{axis}_ids": _as_stored(data[axis]) for axis in ("individual", "trial") if axis in data.coords}
    return arrays, {key: _leveled(data, key, source) for key in goals if key not in LEVELS}


def _leveled(data: xarray.Dataset, name: str, source: str) -> Leveled:
    """A variable as a target, of what its dimensions say."""
    variable = data[name].transpose("trial", "individual", "time", ..., missing_dims="ignore")
    others = [str(dim) for dim in variable.dims if dim not in AXES[:3]]
    level: Level = "trial"
    if {"individual", "time"} <= set(variable.dims):
        raise InputError(
            f"{source}: target {name!r} has an individual and a time; give one of them, or say that it is a feature."
        )
    if "time" in variable.dims:
        level = "bin"
    elif "individual" in variable.dims:
        is_pair = [data.sizes[other] for other in others] == [data.sizes["individual"]]
        level = "pair" if is_pair and others[0].startswith(("individual", "other")) else "individual"
    array = labels(_as_stored(variable), what=f"{source}: target {name!r}")
    if "trial" not in variable.dims:
        array = np.repeat(array[None], data.sizes.get("trial", 1), axis=0)
    return level, array


def _as_stored(variable: xarray.DataArray) -> Any:
    """The content of a variable: whole numbers stay such where a file marks some as missing, text has no padding."""
    stored, array = variable.encoding.get("dtype"), variable.values
    if array.dtype.kind == "S":
        return np.char.rstrip(array)
    if array.dtype.kind == "f" and stored is not None and np.dtype(stored).kind in "iu":
        return np.ma.masked_array(np.nan_to_num(array).astype(np.int64), np.isnan(array))
    return array


def _on_axes(data: xarray.Dataset, name: str, axes: Sequence[str], source: str) -> NDArray[Any]:
    """A variable as an array of these axes: the same in every trial, and one feature, if it does not have them."""
    variable = data[name]
    if foreign := [str(dim) for dim in variable.dims if dim not in axes]:
        raise InputError(
            f"{source}: {name!r} has dimension {foreign[0]!r}; select one place along it, or rename it: "
            f"dimensions are {', '.join(axes)}."
        )
    lacking = {axis: data.sizes.get("trial", 1) if axis == "trial" else 1 for axis in axes if axis not in variable.dims}
    return np.asarray(variable.drop_vars(list(variable.coords)).expand_dims(lacking).transpose(*axes).values)


def _import_xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise InputError("xarray is not installed; install motet[xarray].") from error
    return xarray


def _seconds(time: NDArray[Any], n_times: int, source: str) -> NDArray[np.float64]:
    """(time,) seconds, of numbers, dates (since the first) or durations."""
    if time.shape != (n_times,):
        raise InputError(
            f"{source}: time has shape {time.shape}; give ({n_times},), one stamp per time for all trials."
        )
    if time.dtype.kind == "M":
        time = time - time[0]
    seconds = time / np.timedelta64(1, "s") if time.dtype.kind == "m" else _numbers(time, "time", source)
    if not np.isfinite(seconds).all():
        place = int((~np.isfinite(seconds)).argmax())
        raise InputError(f"{source}: time {place} is {time[place]}; give a finite number of seconds.")
    return seconds


def _frames_of_stamps(
    seconds: NDArray[np.float64], clock: Clock, source: str
) -> tuple[NDArray[np.int64], float, NDArray[np.float64] | None]:
    """The bin of every stamp, the step, and the start."""
    nowhere, every = np.zeros(len(seconds), dtype=np.int64), ("every one",)  # the stamps of all trials and individuals
    grid = on_grid(Samples(source, nowhere, nowhere, seconds, seconds[:, None], every, every), clock)
    assert grid.frames is not None
    return grid.frames, grid.bin_seconds, grid.starts


def _placed(array: NDArray[Any], frames: NDArray[np.int64], *, axis: int, fill: Any, what: str) -> NDArray[Any]:
    """An array with its times in their bins, and in others what is unknown."""
    shape = list(array.shape)
    shape[axis] = int(frames.max()) + 1
    advice = "correct the stamps, or cut long trials into several"
    check_bytes(float(np.prod(shape, dtype=float)) * array.itemsize, given=array.nbytes, what=what, advice=advice)
    placed = np.full(shape, fill, dtype=array.dtype)
    placed[(slice(None),) * axis + (frames,)] = array
    return placed


def _resampled(
    values: NDArray[np.float64],
    seconds: NDArray[np.float64],
    clock: Clock,
    ids: Mapping[str, Sequence[str]],
    source: str,
) -> tuple[NDArray[np.float64], float, NDArray[np.float64] | None]:
    """Values (trial, individual, bin, feature), the step, and the start of the trial if it is one."""
    n_trials, n_individuals = values.shape[:2]
    trial, individual, time = np.indices(values.shape[:3]).reshape(3, -1)
    samples = Samples(
        source=source,
        trial=trial,
        individual=individual,
        seconds=seconds[time],
        values=values.reshape(trial.size, -1),
        trial_labels=tuple(ids.get("trial_ids", map(str, range(n_trials)))),
        individual_labels=tuple(ids.get("individual_ids", map(str, range(n_individuals)))),
    )
    grid = on_grid(samples, clock)
    return grid.values, grid.bin_seconds, grid.starts


def _numbers(array: NDArray[Any], what: str, source: str) -> NDArray[np.float64]:
    return numbers(array, what=f"{source}: {what}")


def _check_values(values: NDArray[np.float64], source: str) -> None:
    """Refuse numbers beyond the range of 32 bits, and values of which none is known."""
    with np.errstate(over="ignore"):
        wild = np.isinf(values.astype(np.float32))
    if wild.any():
        place = tuple(np.argwhere(wild)[0])
        raise InputError(
            f"{source}: values[{', '.join(map(str, place))}] is {values[place]:g}; give finite numbers below 3e38, NaN "
            "where not observed."
        )
    if np.isnan(values).any(axis=-1).all():
        raise InputError(f"{source} has no sample of which all features are known finite numbers; give some.")

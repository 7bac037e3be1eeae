"""Trajectories as arrays, plain or of xarray, made into a `Recording`: `recording_of_arrays`."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motet.data.netcdf import dataset_of_netcdf
from motet.data.recording import Level, Recording
from motet.data.sampling import Clock, Samples, on_grid
from motet.data.tables import absent, own_names
from motet.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray

WORST_ROUNDING = 1e-3  # of the span of a feature, when its numbers become 32-bit ones
QUANTITIES = ("mass", "charge", "frequency")
LEVELS: dict[str, Level] = {
    **dict.fromkeys(("system", *QUANTITIES), "individual"),
    **dict.fromkeys(("interacts", "coupling"), "pair"),
}
TRAJECTORY_ARRAYS = frozenset({"positions", "values", "time", "observed", "individual_ids", "trial_ids", *LEVELS})
_AXES = ("trial", "individual", "time", "feature")

# What numpy, zipfile and the engines of xarray raise on a damaged or foreign file.
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, SyntaxError, ImportError),
    *(zipfile.BadZipFile, zlib.error),
)


def recording_of_arrays(arrays: Mapping[str, NDArray[Any]], clock: Clock, *, source: str, **about: str) -> Recording:
    """The recording of values (trial, individual, time, feature), and any others of `TRAJECTORY_ARRAYS`.

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
    ids = {key: [str(one) for one in arrays[key].ravel()] for key in ("individual_ids", "trial_ids") if key in arrays}
    for key, size in (("individual_ids", shape[1]), ("trial_ids", shape[0])):
        if len(ids.get(key, range(size))) != size:
            raise InputError(f"{source}: {key} has {len(ids[key])} names; give {size}, one for each.")
    step, starts = (1.0 if clock.bin_seconds is None else clock.bin_seconds), None
    if "time" in arrays:
        values, step, starts = _on_clock(values, _seconds(arrays["time"], shape[2], source), clock, ids, source)
    elif clock.resample_seconds is not None:
        raise InputError(f"{source} has no time, so that nothing can be resampled; give the stamps, time (time,).")
    return recording_of_grid(
        values,
        {key: arrays[key] for key in LEVELS if key in arrays},
        source=source,
        individual_labels=ids.get("individual_ids"),
        trial_labels=ids.get("trial_ids"),
        bin_seconds=step,
        trial_start_seconds=starts,
        **about,
    )


def recording_of_grid(
    values: NDArray[np.float64],
    targets: Mapping[str, NDArray[Any]],
    *,
    source: str,
    individual_labels: Sequence[str] | None,
    trial_labels: Sequence[str] | None,
    **fields: Any,
) -> Recording:
    """The recording of values (trial, individual, bin, feature) with NaN, and of targets as they were given."""
    _check_precision(values, source)
    checked = {key: checked_target(key, target, *values.shape[:2], source=source) for key, target in targets.items()}
    if "system" in checked and "interacts" not in checked:
        checked["interacts"] = same_system(checked["system"])
    return Recording.from_trials(
        values,
        targets=checked,
        target_levels={key: LEVELS[key] for key in checked},
        individual_ids=individual_labels,
        trial_ids=None if trial_labels is None else whole_labels(trial_labels),
        **fields,
    )


def checked_target(key: str, given: NDArray[Any], n_trials: int, n_individuals: int, *, source: str) -> NDArray[Any]:
    """A target as motet has it: whole numbers with -1, or float32 with NaN, where unknown and on the diagonal."""
    is_pair = LEVELS[key] == "pair"
    shape = (n_trials, n_individuals, n_individuals) if is_pair else (n_trials, n_individuals)
    array = np.asarray(given)
    if array.shape not in (shape, shape[1:]):
        raise InputError(f"{source}: {key} has shape {array.shape}; give {shape}, or {shape[1:]} for every trial.")
    if key == "system" and (array.dtype.kind in "UT" or all(isinstance(one, str) for one in array.ravel())):
        labels, place = np.unique(array, return_inverse=True)
        array = whole_labels([str(label) for label in labels])[place.reshape(array.shape)]
    if array.dtype.kind not in "biuf" or np.isinf(array).any():
        raise InputError(f"{source}: {key} is of {array.dtype}, or infinite; give finite numbers, NaN for unknown.")
    array = np.broadcast_to(array, shape)
    if key in ("system", "interacts"):
        numbers = np.nan_to_num(array.astype(np.float64), nan=-1)
        if (numbers != np.rint(numbers)).any():
            raise InputError(f"{source}: {key} is not made of whole numbers; give 0 or more, and -1 for unknown.")
        target: NDArray[Any] = np.maximum(numbers, -1).astype(np.int64)
    else:
        target = array.astype(np.float32)
    if is_pair:
        diagonal = np.arange(n_individuals)
        target[:, diagonal, diagonal] = -1 if key == "interacts" else np.nan
    return target


def same_system(system: NDArray[Any]) -> NDArray[np.int64]:
    """(trial, individual, individual): 1 in one system, 0 in two; -1 on the diagonal and where one is unknown (-1)."""
    one, other = system[:, :, None], system[:, None, :]
    known = (one >= 0) & (other >= 0) & ~np.eye(system.shape[1], dtype=bool)
    return np.where(known, one == other, -1).astype(np.int64)


def whole_labels(labels: Sequence[str]) -> NDArray[np.int64]:
    """The labels as the whole numbers that they are, or else numbered in order; one for each, and -1 for ""."""
    known = [label for label in labels if label]
    if all(re.fullmatch("-?[0-9]{1,18}", label) for label in known) and len(set(map(int, known))) == len(set(known)):
        return np.array([int(label or -1) for label in labels], dtype=np.int64)
    places = {"": -1} | {label: place for place, label in enumerate(known)}
    return np.array([places[label] for label in labels], dtype=np.int64)


def check_keys(columns: Mapping[str, str], allowed: Collection[str]) -> None:
    """Refuse names to be given to columns that are not among the allowed, naming the nearest."""
    for key in columns:
        if key not in allowed:
            raise did_you_mean(str(key), allowed, what="key of columns")


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, with values (trial, individual, time, feature).

    Raises:
        InputError: if the file is damaged, an array is unknown, or the axes are in doubt.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except _DAMAGE as error:
        raise InputError(f"{path} cannot be read as arrays: {error}") from error
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
    data: Any, columns: Mapping[str, str], features: Sequence[str] | None, *, source: str
) -> dict[str, NDArray[Any]]:
    """The arrays of a Dataset or DataArray, values (trial, individual, time, feature); see `from_xarray`.

    Raises:
        InputError: if a dimension is absent, or a variable is neither a feature nor a target.
    """
    xr = _import_xarray()
    if isinstance(data, xr.DataArray):
        data = data.to_dataset(name="values")
    if not isinstance(data, xr.Dataset):
        raise InputError(f"{source} is a {type(data).__name__}; give an xarray Dataset or DataArray.")
    check_keys(columns, (*_AXES, "observed", *LEVELS))
    given = list(dict.fromkeys(map(str, (*data.dims, *data.variables))))
    own = own_names(given, columns, source=source)
    data = data.rename({theirs: name for theirs, name in zip(given, own, strict=True) if theirs != name})
    for axis in ("individual", "time"):
        if axis not in data.dims:
            raise absent(axis, map(str, data.dims), what="dimension", source=source)
    names = _feature_variables(data, features, source)
    arrays = {"values": np.concatenate([_on_axes(data, name, _AXES, source) for name in names], axis=-1)}
    if "observed" in data.data_vars:
        arrays["observed"] = _on_axes(data, "observed", _AXES[:3], source)
    for key in (LEVELS.keys() & set(data.data_vars)) - set(names):
        arrays[key] = data[key].transpose("trial", "individual", ..., missing_dims="ignore").values
    if "time" in data.coords:
        arrays["time"] = data["time"].values
        if (unit := data["time"].attrs.get("units", "s")) not in ("s", "sec", "second", "seconds"):
            raise InputError(f"{source}: time is in {unit!r}; give seconds, datetime64 or timedelta64.")
    return arrays | {f"{axis}_ids": data[axis].values for axis in ("individual", "trial") if axis in data.coords}


def _feature_variables(data: xarray.Dataset, features: Sequence[str] | None, source: str) -> list[str]:
    """The names of the variables that are features; others must be targets."""
    series = [str(key) for key, one in data.data_vars.items() if {"individual", "time"} <= set(one.dims)]
    series = [name for name in series if name != "observed"]
    names = [name for name in series if name not in LEVELS] if features is None else list(features)
    for name in names:
        if name not in series:
            raise did_you_mean(name, series, what=f"feature of {source}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"{source} has features {names}; give one variable or more with an individual and a time.")
    for name in map(str, data.data_vars):
        if name not in (*series, "observed", *LEVELS):
            raise InputError(
                f"{source}: variable {name!r} has dimensions {data[name].dims}, without an individual and a time, and "
                f"is no target ({', '.join(LEVELS)}); leave it out by drop_vars."
            )
    return names


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


def _on_clock(
    values: NDArray[np.float64],
    seconds: NDArray[np.float64],
    clock: Clock,
    ids: Mapping[str, Sequence[str]],
    source: str,
) -> tuple[NDArray[np.float64], float, NDArray[np.float64] | None]:
    """Values (trial, individual, bin, feature), the step, and the start of the trial if it is one."""
    n_trials, n_individuals, n_times, _ = values.shape
    if clock.resample_seconds is not None:
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
        return on_grid(samples, clock)
    nowhere = np.zeros(n_times, dtype=np.int64)
    every = ("every one",)  # the stamps are those of all trials and individuals
    place = np.arange(n_times, dtype=np.float64)[:, None]
    grid, step, starts = on_grid(Samples(source, nowhere, nowhere, seconds, place, every, every), clock)
    place_of_bin = grid.ravel()
    is_stamp = ~np.isnan(place_of_bin)
    placed = np.full((n_trials, n_individuals, len(place_of_bin), values.shape[3]), np.nan)
    placed[:, :, is_stamp] = values[:, :, place_of_bin[is_stamp].astype(np.int64)]
    return placed, step, starts if n_trials == 1 else None


def _numbers(array: NDArray[Any], what: str, source: str) -> NDArray[np.float64]:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{source}: {what} is of {array.dtype}; give numbers, NaN where not observed.")
    return array.astype(np.float64)


def _check_precision(values: NDArray[np.float64], source: str) -> None:
    """Refuse what float32 would lose: positions far from their origin, or numbers beyond its range."""
    if (infinite := np.isinf(values)).any():
        first = ", ".join(map(str, np.argwhere(infinite)[0]))
        raise InputError(f"{source}: values[{first}] is infinite; give finite numbers, NaN where not observed.")
    if np.isnan(values).any(axis=-1).all():
        raise InputError(f"{source} has no sample of which all features are known finite numbers; give some.")
    flat = values.reshape(-1, values.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.fmax.reduce(np.abs(flat - flat.astype(np.float32)))
        most = np.fmax.reduce(np.abs(flat))
        spread = np.fmax.reduce(flat) - np.fmin.reduce(flat)
    is_constant = spread <= 1e-12 * most  # but for the rounding of 64-bit numbers
    if (lost := ~is_constant & ~(error <= WORST_ROUNDING * spread)).any():
        place = int(lost.argmax())
        raise InputError(
            f"{source}: feature {place} spans {spread[place]:.4g} at up to {most[place]:.4g}, too far from 0 for "
            "32-bit numbers; subtract an origin, or change its unit."
        )

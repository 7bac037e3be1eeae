"""A recording as other programs hold one: the columns of a long table, and a labelled dataset of xarray."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError
from motet.given import UNKNOWN_INTEGER, is_known

ROLE = "motet_role"  # the attribute of a variable that says what it is
_AXES = {
    "trial": ("trial",),
    "bin": ("trial", "time"),
    "individual": ("trial", "individual"),
    "pair": ("trial", "individual", "individual_other"),
}


def columns_of(recording: Any) -> dict[str, Any]:
    """`Recording.to_table`."""
    n_individuals = recording.n_individuals
    trial, individual, time = (
        axis.ravel() for axis in np.nonzero(np.repeat(recording.bin_is_observed[:, None], n_individuals, axis=1))
    )
    columns: dict[str, Any] = {"trial": recording.trial_ids[trial]}
    if len(np.unique(recording.trial_ids)) < recording.n_trials:
        columns["window"] = trial
    columns["individual"] = np.array(recording.individual_ids, dtype=np.str_)[individual]
    columns["time"] = recording.trial_start_seconds[trial] + time * recording.bin_seconds
    values = np.where(recording.observed[..., None], recording.values, np.nan)[trial, individual, time]
    names = ["value"] if recording.n_features == 1 else [f"feature_{place}" for place in range(recording.n_features)]
    columns |= dict(zip(names, values.T, strict=True))
    for name, target in recording.targets.items():
        level = recording.target_levels[name]
        if level == "pair":
            continue
        rows = target[trial] if level == "trial" else target[trial, time if level == "bin" else individual]
        cells = rows.reshape(len(rows), -1).T
        for place, one in enumerate(cells):
            column = name if rows.ndim == 1 else f"{name}_{place}"
            if column in columns:
                what = f"target {name!r} of recording {recording.name!r}"
                raise InputError(f"{what} would be a second column {column!r} of its table; rename it.")
            columns[column] = _cells(one)
    return columns


def _cells(column: NDArray[Any]) -> Any:
    """A column of labels, as a list with None where whole numbers are unknown."""
    if column.dtype.kind != "i" or is_known(column).all():
        return column
    return [cell if known else None for cell, known in zip(column.tolist(), is_known(column), strict=True)]


def dataset_of(recording: Any) -> Any:
    """`Recording.to_xarray`."""
    try:
        import xarray
    except ImportError as error:
        raise InputError("xarray is not installed; pip install 'motet[xarray]'.") from error

    is_one = recording.n_features == 1
    dims = ("trial", "individual", "time") if is_one else ("trial", "individual", "time", "feature")
    values = np.where(recording.observed[..., None], recording.values, np.nan)
    variables: dict[str, Any] = {"values": (dims, values[..., 0] if is_one else values, {ROLE: "feature"})}
    for name, target in recording.targets.items():
        axes = _AXES[recording.target_levels[name]]
        others = tuple(f"{name}_{place}" for place in range(target.ndim - len(axes)))
        encoding: dict[str, Any] = {}
        if target.dtype.kind == "i" and not is_known(target).all():
            encoding = {"dtype": "int64", "_FillValue": UNKNOWN_INTEGER}
            target = np.where(is_known(target), target, np.nan)
        if name in (*dims, *variables):
            raise InputError(f"recording {recording.name!r}: a target is called {name!r}, as an axis is; rename it.")
        variables[name] = ((*axes, *others), target, {ROLE: f"target per {recording.target_levels[name]}"}, encoding)
    return xarray.Dataset(
        variables,
        coords={
            "trial": recording.trial_ids,
            "individual": list(recording.individual_ids),
            "time": ("time", np.arange(recording.n_bins) * recording.bin_seconds, {"units": "s"}),
            "trial_start_seconds": ("trial", recording.trial_start_seconds, {ROLE: "start"}),
        },
        attrs={key: getattr(recording, key) for key in ("name", "subject", "bin_seconds")},
    )

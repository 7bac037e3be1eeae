"""Recordings as objects of pynapple: `Recording.to_pynapple`. The way back is `Recording.from_spikes` and others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError

_BETWEEN = 1e-8  # seconds between trials that adjoin, which pynapple wants apart


class PynappleObjects(NamedTuple):
    """What a recording is in pynapple.

    Attributes:
        values: a TsdFrame (bin, individual), whose columns are called like the individuals, or a TsdTensor where there
            are several features, at the centres of bins. NaN where not observed.
        trials: an IntervalSet, whose columns are the trial's id and its targets.
        targets: a Tsd or TsdFrame for every target per bin.
    """

    values: Any
    trials: Any
    targets: dict[str, Any]


def objects_of(
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    starts: NDArray[np.float64],
    lengths: NDArray[np.int64],
    bin_seconds: float,
    *,
    names: tuple[str, ...],
    columns: Mapping[str, NDArray[Any]],
    targets: Mapping[str, NDArray[Any]],
) -> PynappleObjects:
    """Values (trial, individual, bin, feature), what is known of trials (trial,) and of bins (trial, bin, …)."""
    try:
        import pynapple
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install 'motet[pynapple]'.") from error

    order = np.argsort(starts, kind="stable")
    begin, ends = starts[order], starts[order] + lengths[order] * bin_seconds
    overlap = ends[:-1] - begin[1:]
    if (overlap > 1e-6 * bin_seconds).any():
        first = int(np.argmax(overlap > 1e-6 * bin_seconds))
        raise InputError(
            f"trials {order[first]} and {order[first + 1]} overlap by {overlap[first]:g} s, which an IntervalSet "
            "cannot have; select trials that do not."
        )
    ends[:-1] = np.minimum(ends[:-1], begin[1:] - _BETWEEN)
    is_inside = np.arange(values.shape[2]) < lengths[order][:, None]
    centres = (begin[:, None] + (np.arange(values.shape[2]) + 0.5) * bin_seconds)[is_inside]
    known = np.where(observed[..., None], values, np.nan)[order].swapaxes(1, 2)[is_inside]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynapple's, of what it does with numbers of its own
        kept = {key: column[order] for key, column in columns.items()}
        trials = pynapple.IntervalSet(begin, ends, metadata=kept)
        if known.shape[2] == 1:
            frame = pynapple.TsdFrame(t=centres, d=known[..., 0], columns=list(names), time_support=trials)
        else:
            frame = pynapple.TsdTensor(t=centres, d=known, time_support=trials)
        return PynappleObjects(
            frame,
            trials,
            {
                key: (pynapple.Tsd if target.ndim == 2 else pynapple.TsdFrame)(
                    t=centres,
                    d=target[order][is_inside].reshape(len(centres), *[-1] * (target.ndim > 2)),
                    time_support=trials,
                )
                for key, target in targets.items()
            },
        )

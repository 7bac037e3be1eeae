"""Reader of spikes and tracked positions on one clock, such as a rat's on a linear track.

The file, `.npz`, holds plain arrays: `spike_seconds` and `spike_unit` (spike,), in any order; `position_seconds`
(sample,) and `position_pixels` (sample, 2), where a 0 means not tracked. All seconds are of one clock, which may start
anywhere. Bins begin with the first position and end with the last. The `Recording` has

- values: spikes of each unit that ever fires, per bin.
- position: per bin, the mean of the tracked samples (x, y) in pixels; NaN where there are none.
- direction: per trial, "right" or "left" in the picture, from its first known position to its last; "" where it is
  unknown or they are equally far right.

Each trial is a run: bins in a row, in all of which the animal is fast. Its speed is that of positions smoothed over
time; it says which bins are kept, and nothing smoothed is a value or a target. Trials are stretches of one recording,
and neighbours are alike: split it in time with a gap (`by="time"`), never at random.

`hippocampus/linear-track` of the catalogue is of this form: the folder linear-track of the public repository
nelpy/example-data (MIT), spikes as sorted by MatClust and positions as tracked by camera, as arrays. No address offers
it so; put it at `hippocampus/linear-track.npz` below the folder that MOTET_DATA names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.binning import average_samples, count_spikes, late_samples
from motet.data.readers.reading import array_names, file_reader, load_arrays
from motet.data.recording import Recording
from motet.errors import InputError
from motet.memory import check_room
from motet.settings import NonNegative, Positive, check_arguments

ARRAYS = ("spike_seconds", "spike_unit", "position_seconds", "position_pixels")
_MOST_BINS = 10_000_000
_BYTES_PER_COUNT = 40  # int64, several times float64, float32, masks


def is_track(path: Path, head: bytes) -> bool:
    """Whether a file holds spikes and positions by name."""
    return head.startswith(b"PK\x03\x04") and set(ARRAYS) <= set(array_names(path))


@file_reader
def read_track(
    path: Path | str,
    *,
    name: str | None = None,
    subject: str = "unknown",
    bin_seconds: Positive = 0.25,
    minimum_pixels_per_second: NonNegative | None = 15.0,
    smoothing_seconds: Positive = 0.5,
) -> Recording:
    """Read spikes and positions, and cut out the runs.

    Samples of a clock that went back, or stood, are left out until it is later than ever before.

    Args:
        path: the file.
        name: what to call the recording; by default the file's name.
        subject: the animal.
        bin_seconds: width of a bin.
        minimum_pixels_per_second: keep bins in which the animal is faster; None keeps all, as one trial.
        smoothing_seconds: standard deviation of the Gaussian that smooths positions before their speed is taken.

    Raises:
        InputError: if arrays are missing, do not go together, or no bin is as fast.
    """
    options = {"bin_seconds": bin_seconds, "smoothing_seconds": smoothing_seconds}
    check_arguments(read_track, {**options, "minimum_pixels_per_second": minimum_pixels_per_second})
    path = Path(path)
    units, numbers, seconds, pixels = _sorted_out(load_arrays(path, copied=ARRAYS))
    edges = _edges(seconds, bin_seconds, n_units=len(units))
    position = average_samples(seconds, pixels, edges)
    is_kept = np.ones(len(position), dtype=bool)
    if minimum_pixels_per_second is not None:
        speed = _speed(position, bin_seconds, smoothing_seconds)
        is_kept = np.nan_to_num(speed, nan=-1.0) > minimum_pixels_per_second
        if not is_kept.any():
            raise InputError(
                f"no bin is faster than minimum_pixels_per_second={minimum_pixels_per_second:g}; the fastest has "
                f"{np.nanmax(speed, initial=0):g}: lower it."
            )
    first, end = np.flatnonzero(np.diff(is_kept, prepend=False, append=False)).reshape(-1, 2).T
    counts, of_runs = count_spikes(units, edges), [slice(*ends) for ends in zip(first, end, strict=True)]
    name = name or path.stem
    return Recording.from_trials(
        [counts[:, run] for run in of_runs],
        targets={
            "position": [position[run] for run in of_runs],
            "direction": np.array([_direction(position[run, 0]) for run in of_runs]),
        },
        target_levels={"position": "bin", "direction": "trial"},
        individual_ids=[f"{name}/{number:03d}" for number in numbers],
        bin_seconds=bin_seconds,
        trial_start_seconds=edges[first],
        subject=subject,
        name=name,
    )


def _sorted_out(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The spike times of each unit, the numbers of the units, times (sample,) that increase and pixels (sample, 2)."""
    if missing := [array for array in ARRAYS if array not in arrays]:
        raise InputError(f"it lacks {', '.join(missing)}; give {', '.join(ARRAYS)}.")
    spikes, unit, seconds, pixels = (given.numbers(arrays[array], what=array) for array in ARRAYS)
    goes_together = (
        spikes.ndim == seconds.ndim == 1 and spikes.shape == unit.shape and pixels.shape == (*seconds.shape, 2)
    )
    if not goes_together or not spikes.size or not seconds.size:
        shapes = ", ".join(f"{array} {arrays[array].shape}" for array in ARRAYS)
        raise InputError(f"it has {shapes}; give one unit per spike, and two pixels per position, and some of both.")
    for array, values in zip(ARRAYS, (spikes, unit, seconds, pixels), strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"its {array} are infinite or NaN in places; leave these out, with what goes with them.")
    if (unit != np.rint(unit)).any():
        raise InputError("its spike_unit are not whole numbers; give the number of each spike's unit.")
    is_late = late_samples(seconds, what="its position_seconds")
    numbers = np.unique(unit).astype(np.int64)
    is_tracked = (pixels != 0).all(axis=1, keepdims=True)
    tracked = np.where(is_tracked, pixels, np.nan)
    return [spikes[unit == number] for number in numbers], numbers, seconds[~is_late], tracked[~is_late]


def _edges(seconds: NDArray[np.float64], bin_seconds: float, *, n_units: int) -> NDArray[np.float64]:
    """(bin + 1,) from the first position on, as many whole bins as end before the last."""
    lasts_bins = (seconds[-1] - seconds[0]) / bin_seconds
    if not 1 <= lasts_bins <= _MOST_BINS:
        raise InputError(
            f"its positions last {lasts_bins:g} bins of {bin_seconds:g} s; choose bin_seconds so that there are 1 to "
            f"{_MOST_BINS:,}."
        )
    check_room(_BYTES_PER_COUNT * int(lasts_bins) * n_units, what=f"{lasts_bins:.0f} bins of {n_units} units")
    return seconds[0] + np.arange(int(lasts_bins) + 1) * bin_seconds


def _speed(position: NDArray[np.float64], bin_seconds: float, smoothing_seconds: float) -> NDArray[np.float64]:
    """(bin,) pixels per second of positions (bin, 2), smoothed by what is known around; NaN where nothing is."""
    if len(position) < 2:
        return np.full(len(position), np.nan)
    from scipy.ndimage import gaussian_filter1d  # slow to import

    is_known, width = ~np.isnan(position), smoothing_seconds / bin_seconds
    weight = gaussian_filter1d(is_known.astype(np.float64), width, axis=0)
    total = gaussian_filter1d(np.where(is_known, position, 0.0), width, axis=0)
    smooth = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return np.asarray(np.linalg.norm(np.gradient(smooth, bin_seconds, axis=0), axis=1))


def _direction(x: NDArray[np.float64]) -> str:
    known = x[~np.isnan(x)]
    step = known[-1] - known[0] if len(known) else 0.0
    return "right" if step > 0 else "left" if step < 0 else ""

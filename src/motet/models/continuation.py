"""From a context to where individuals go next, in the frame and units of the recording."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from motet.data.batch import Batch
from motet.data.motion import derive_motion
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout, State, Strength, rolled
from motet.models.shooting import shoot

Array = NDArray[np.float64]


class Forecasted(NamedTuple):
    """Where individuals will be, and how they will move.

    Attributes:
        places: (trial, individual, horizon, place) coordinates in the frame and units of the recording; on the circle
            cos φ and sin φ. NaN for individuals that are not observed.
        velocities: (trial, individual, horizon, coordinate) per second; on the circle dφ/dt.
        couplings: (trial, individual, individual) how strongly the first is pulled by the second, if the forecast rests
            on that.
    """

    places: Array
    velocities: Array
    couplings: Array | None = None


@torch.no_grad()
def started(
    rollout: Rollout, batch: Batch, strength: Strength, *, shoots: bool, fits_strength: bool = True
) -> tuple[State, Strength]:
    """The states in the last bin of a context, and strengths that go with them.

    Args:
        rollout: whose laws hold.
        batch: contexts, as the model reads them.
        strength: of each law.
        shoots: whether a trajectory is fitted to the whole context; see `shoot`.
        fits_strength: whether shooting may change strengths too.
    """
    if not shoots:
        return rollout.start(batch.values, batch.observed, strength), strength
    state, strength = shoot(rollout, batch.values, batch.observed, strength, fits_strength=fits_strength)
    dtype = rollout.law_logits.dtype
    return state.to(dtype), strength.to(dtype)


@torch.no_grad()
def continued(
    rollout: Rollout, state: State, strength: Strength, *, centre: ArrayLike, n_bins: int, n_substeps: int
) -> Forecasted:
    """Roll states on.

    Args:
        rollout: whose laws hold.
        state: in the last bin of the context.
        strength: of each law.
        centre: (trial, place) of the model's frame, see `centre_of`.
        n_bins: how far.
        n_substeps: of integration, per bin.
    """
    g = rollout.fit.geometry
    path = rolled(lambda s: rollout.change(s, strength), state, n_bins=n_bins, n_substeps=n_substeps)
    places = rollout.places(path).double().numpy()
    if rollout.is_circular:
        rates = [rollout.change(s, strength)[..., :1] for s in path.unbind(2)]
        return Forecasted(places, torch.stack(rates, dim=2).double().numpy() / g.bin_seconds)
    velocities = path[..., rollout.n_dimensions :].double().numpy() * (g.length / g.bin_seconds)
    return Forecasted(places * g.length + np.asarray(centre, dtype=np.float64)[:, None, None], velocities)


def places_of(recording: Recording, geometry: Geometry) -> Array:
    """(trial, individual, time, place): coordinates, or cosine and sine of phases."""
    n_places = 2 if geometry.space == "phase" else geometry.n_dimensions
    return recording.values[..., :n_places].astype(np.float64)


def centre_of(context: Recording, geometry: Geometry) -> Array:
    """(trial, place) what a model of that geometry takes for the origin; 0 on the circle."""
    seen = context.observed[..., None]
    if geometry.space == "phase":
        return np.zeros((context.n_trials, 2))
    derived = derive_motion(context, geometry.motion) if geometry.motion.smooth else context
    places = places_of(derived, geometry) * seen
    return np.asarray(places.sum(axis=(1, 2)) / np.maximum(seen.sum(axis=(1, 2)), 1))


def what_follows(windows: Recording, n_context: int) -> Recording:
    """The bins after a context, of the individuals that were seen in it: nobody can forecast the others."""
    ahead = windows.select(bins=slice(n_context, None))
    was_seen = windows.observed[:, :, :n_context].any(axis=2, keepdims=True)
    observed = ahead.observed & was_seen
    return dataclasses.replace(ahead, observed=observed, values=np.where(observed[..., None], ahead.values, 0))


def distance(places: ArrayLike, truth: Recording, geometry: Geometry) -> Array:
    """How far places are from where individuals are: (trial, individual, time).

    In the unit of the recording; on the circle in radians. inf for a forecast that ran away, NaN where the truth is not
    known.

    Args:
        places: (trial, individual, time, place).
        truth: of the same trials, individuals and bins.
        geometry: of both.

    Raises:
        InputError: if shapes disagree.
    """
    forecast, true = np.asarray(places, dtype=np.float64), places_of(truth, geometry)
    if forecast.shape != true.shape:
        raise InputError(f"places have shape {forecast.shape} and the truth {true.shape}; give the same.")
    apart = np.linalg.norm(forecast - true, axis=-1)
    if geometry.space == "phase":
        apart = 2 * np.arcsin(np.clip(apart / 2, 0, 1))
    return np.where(truth.observed, np.where(np.isfinite(apart), apart, np.inf), np.nan)

"""Geometry: what the features of moving individuals mean, and where two of them stand to each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings, derive_motion
from motet.data.recording import Recording, refuse_other_bins
from motet.errors import InputError
from motet.settings import Count, Positive, Settings

# Features of a pair at one time.
N_FEATURES = {"none": 0, "phase": 4, "plane": 13}


@dataclasses.dataclass(frozen=True)
class Geometry(Settings, role="geometry"):
    """How positions become what a model reads, with units from training trials only.

    Positions are taken from the centre of their trial's population; lengths, velocities and accelerations are divided
    by one number each, so that directions stay what they are.

    Attributes:
        motion: what the features of a recording are, and how derivatives are taken.
        n_raw: features of a recording.
        n_features: features of what the model reads.
        length: one unit of position, as the recording gives it: how far individuals get from their own mean.
        velocity: one unit of velocity, per second.
        acceleration: one unit of acceleration, per second².
        bin_seconds: width of a time bin.
    """

    motion: MotionSettings
    n_raw: Count
    n_features: Count
    length: Positive = 1.0
    velocity: Positive = 1.0
    acceleration: Positive = 1.0
    bin_seconds: Positive = 1.0

    @classmethod
    def fit(cls, train: PopulationDataset, motion: MotionSettings) -> Geometry:
        """Read the units off training trials.

        Raises:
            InputError: if the recordings have other features than the settings say, or nothing moves.
        """
        derived = train.map(lambda recording: derive_motion(recording, motion))
        return cls.of_derived(derived, motion, n_raw=train.n_features)

    @classmethod
    def of_derived(cls, train: PopulationDataset, motion: MotionSettings, *, n_raw: int) -> Geometry:
        """As `fit`, from recordings whose motion was derived (`derive_motion`) from `n_raw` features."""
        n_features, bin_seconds = train.n_features, train.recordings[0].bin_seconds
        if motion.features == "none":
            return cls(motion, n_raw, n_features, bin_seconds=bin_seconds)
        if motion.features == "phase":
            velocity = _spread(train, slice(2, 3), is_centred=True)
            return cls(motion, n_raw, n_features, velocity=velocity, bin_seconds=bin_seconds)
        d = n_features // 3
        length = _spread(train, slice(0, d), is_centred=True)
        velocity, acceleration = (_spread(train, slice(k * d, (k + 1) * d), is_centred=False) for k in (1, 2))
        return cls(motion, n_raw, n_features, length, velocity, acceleration, bin_seconds)

    @property
    def space(self) -> str:
        """The plane (or line, or space: "plane"), the circle ("phase") or "none"."""
        return {"none": "none", "phase": "phase"}.get(self.motion.features, "plane")

    @property
    def n_dimensions(self) -> int:
        return self.n_features // 3 if self.space == "plane" else 1

    @property
    def has_own_frequency(self) -> bool:
        return self.space == "phase" and self.n_features == 4

    @property
    def n_pair_features(self) -> int:
        return N_FEATURES[self.space] + 2 * self.has_own_frequency

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset as a model reads it.

        Raises:
            InputError: if it has another number of features, or another bin width, than the training trials had.
        """
        return dataset.map(self.prepared)

    def prepared(self, recording: Recording) -> Recording:
        """As `prepare`, of one recording."""
        self._check(recording, self.n_raw)
        return self.scaled(derive_motion(recording, self.motion))

    def scaled(self, derived: Recording) -> Recording:
        """As `prepared`, of a recording whose motion was derived."""
        self._check(derived, self.n_features)
        if self.space == "none":
            return derived
        values = derived.values.astype(np.float64)
        seen = derived.observed[..., None]
        if self.space == "phase":
            values[..., 2:] /= self.velocity
        else:
            d = self.n_dimensions
            n_seen = np.maximum(seen.sum(axis=(1, 2), keepdims=True), 1)
            values[..., :d] -= (values[..., :d] * seen).sum(axis=(1, 2), keepdims=True) / n_seen
            values /= np.repeat([self.length, self.velocity, self.acceleration], d)
        return dataclasses.replace(derived, values=np.where(seen, values, 0).astype(np.float32))

    def _check(self, recording: Recording, n_features: int) -> None:
        if recording.n_features != n_features:
            raise InputError(
                f"recording {recording.name!r} has {recording.n_features} features per individual; the model was "
                f"trained on {n_features}: give the same features, in the same order."
            )
        advice = f"resample it by resample_seconds={self.bin_seconds:g} where it is read, or train on such bins."
        refuse_other_bins(recording, self.bin_seconds, of="the training trials", advice=advice)


def _spread(dataset: PopulationDataset, features: slice, *, is_centred: bool) -> float:
    """The root mean square of some features, about each individual's mean in its trial or about zero."""
    squares = n_seen = 0.0
    for recording in dataset.recordings:
        seen = recording.observed[..., None]
        values = recording.values[..., features].astype(np.float64)
        if is_centred:
            mean = (values * seen).sum(axis=2, keepdims=True) / np.maximum(seen.sum(axis=2, keepdims=True), 1)
            values = values - mean
        squares += float((np.square(values) * seen).sum())
        n_seen += float(seen.sum()) * values.shape[-1]
    spread = float(np.sqrt(squares / max(n_seen, 1.0)))
    if not spread > 0:
        raise InputError("no individual moves in the training trials; give trials with motion.")
    return spread


def pair_features(
    values: Float[Tensor, "trial individual time feature"], geometry: Geometry
) -> Float[Tensor, "trial individual individual time pair_feature"]:
    """How each individual (second axis) sees each other one (third axis), whatever the frame of reference.

    In the plane: the distance, the relative velocity, and both accelerations along and across the line of sight; the
    same after any rotation, reflection, shift and common velocity. On the circle: the difference of phases and both
    rates.
    """
    if geometry.space == "none":
        return values.new_zeros(*values.shape[:2], values.shape[1], values.shape[2], 0)
    if geometry.space == "phase":
        sine, cosine = phase_difference(values)
        rates = [own for feature in values[..., 2:].unbind(-1) for own in (feature[:, :, None], feature[:, None])]
        return torch.stack((sine, cosine, *(rate.expand_as(sine) for rate in rates)), dim=-1)
    position, velocity, acceleration = rearrange(
        values, "trial individual time (part d) -> part trial individual time d", part=3
    )
    towards = position[:, None] - position[:, :, None]
    approach = velocity[:, None] - velocity[:, :, None]
    own, other = acceleration[:, :, None].expand_as(towards), acceleration[:, None].expand_as(towards)
    distance = _norm(towards)
    line = towards / distance[..., None]
    own_size, other_size, product = _norm(own), _norm(other), (own * other).sum(-1)
    own_along, other_along = (own * line).sum(-1), -(other * line).sum(-1)
    features = (
        distance.log(),
        torch.asinh(2 * own_along),
        torch.asinh(2 * other_along),
        own_size.log(),
        other_size.log(),
        product / (own_size * other_size),
        own_along / own_size,
        other_along / other_size,
        (product + own_along * other_along) / (own_size * other_size),
        torch.asinh((approach * line).sum(-1)),
        torch.asinh(approach.square().sum(-1)),
        torch.asinh((approach * own).sum(-1)),
        torch.asinh((approach * other).sum(-1)),
    )
    return torch.stack(features, dim=-1)


def phase_difference(
    values: Float[Tensor, "trial individual time feature"],
) -> tuple[Float[Tensor, "trial individual individual time"], Float[Tensor, "trial individual individual time"]]:
    """Sine and cosine of the phase of the other (third axis) minus the own (second axis)."""
    cosine, sine = values[..., 0], values[..., 1]
    return (
        sine[:, None] * cosine[:, :, None] - cosine[:, None] * sine[:, :, None],
        cosine[:, None] * cosine[:, :, None] + sine[:, None] * sine[:, :, None],
    )


def _norm(x: Tensor) -> Tensor:
    """Length of vectors; a hair above zero, so that directions and logarithms exist."""
    return (x.square().sum(-1) + 1e-6).sqrt()

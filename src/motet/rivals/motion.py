"""Rivals that say what happens next: lines and parabolas, an autoregression, laws of force that are followed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from motet.data.dataset import PopulationDataset
from motet.data.gaps import bridged_array
from motet.data.motion import Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.continuation import Forecasted, centre_of, continued, distance, started
from motet.models.coupling import CouplingFit
from motet.models.geometry import Geometry
from motet.models.rollout import Rollout
from motet.rivals.force_fit import fit_forces
from motet.rivals.method import Answer, Kind, MotionQuestion, Question, Rival, by_length, over_trials
from motet.rivals.tuning import Options, tune
from motet.systems import FORCES
from motet.systems.laws import Law

Array = NDArray[np.float64]

RIDGES = np.logspace(-6, 3, 10)  # to try


@dataclasses.dataclass(frozen=True, eq=False)
class MotionRival(Rival):
    """A closed-form forecast, whose options are tuned on training trials.

    Best is the least median error, as a geometric mean over recordings, halfway to the horizon and at it. One that
    learns is fitted to every other window, judged by the rest, and then fitted to all.

    Attributes:
        name: the row of a table.
        compute: from contexts of one length, the question, what was learned (if it learns) and options to a forecast.
        options: by name, the values to try.
        learned_by: from training windows, the question and options to what it learns; None if it learns nothing.
        kind: "rival", or "oracle" of what reads targets.
    """

    name: str
    compute: Callable[..., Forecasted]
    options: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    learned_by: Callable[..., Any] | None = None
    kind: Kind = "rival"

    def answers(self, question: Question) -> bool:
        return isinstance(question, MotionQuestion)

    def learn(self, train: PopulationDataset, question: MotionQuestion) -> FittedMotion:
        learned_from = judged_by = list(train.recordings)
        if self.learned_by is not None:
            learned_from, judged_by = ([r.select(trials=slice(k, None, 2)) for r in train.recordings] for k in (0, 1))

        def loss(chosen: Options) -> float:
            fitted = self.fitted(learned_from, question, chosen)
            return float(np.mean([_log_error(fitted, windows) for windows in judged_by]))

        return self.fitted(train.recordings, question, tune(self.options, loss) if self.options else {})

    def fitted(self, windows: Sequence[Recording], question: MotionQuestion, chosen: Options) -> FittedMotion:
        """With such options."""
        learned = () if self.learned_by is None else (self.learned_by(windows, question, **chosen),)
        return FittedMotion(self, question, chosen, learned)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedMotion:
    """A rival that has seen training trials; `chosen` are its options, `learned` is empty if it learns nothing."""

    rival: MotionRival
    question: MotionQuestion
    chosen: Options
    learned: tuple[Any, ...] = ()

    @property
    def n_parameters(self) -> int:
        return sum(np.size(one.coef_) + np.size(one.intercept_) for one in self.learned)

    @property
    def about(self) -> Mapping[str, Any]:
        return {"chosen": self.chosen}

    def predict(self, test: PopulationDataset) -> Answer:
        """The "places", "velocities" and perhaps "couplings" of `Forecasted`."""
        found = [self.forecast(recording)._asdict() for recording in test.recordings]
        known = [name for name in Forecasted._fields if all(one[name] is not None for one in found)]
        return {name: over_trials([one[name] for one in found]) for name in known}

    def forecast(self, context: Recording) -> Forecasted:
        """Where individuals will be after each trial's own end, and the couplings that say so, if there are any."""
        whole: dict[str, Array] = {}
        for trials, cut in by_length(context):
            found = self.rival.compute(cut, self.question, *self.learned, **self.chosen)
            for name, array in found._asdict().items():
                if array is not None:
                    whole.setdefault(name, np.full((context.n_trials, *array.shape[1:]), np.nan))[trials] = array
        if not whole:
            raise InputError(f"nobody is observed in recording {context.name!r}; give trials in which somebody is.")
        is_here = np.asarray(context.observed.any(axis=2))[:, :, None, None]
        for name in ("places", "velocities"):
            whole[name] = np.where(is_here, whole[name], np.nan)
        return Forecasted(**whole)


def _log_error(fitted: FittedMotion, windows: Recording) -> float:
    question = fitted.question
    context = windows.select(bins=slice(0, question.n_context))
    ahead = windows.select(bins=slice(question.n_context, None))
    off = distance(fitted.forecast(context).places, ahead, question.geometry)[:, :, [(question.n_bins - 1) // 2, -1]]
    return float(np.log(np.nanmedian(off) + 1e-6 * question.geometry.length))


def extrapolated(context: Recording, question: MotionQuestion, n_last: int, *, degree: int) -> Forecasted:
    """A polynomial fitted by least squares to the last bins of each individual goes on.

    Measured velocities (rates) are fitted beside positions. The degree is lower, where fewer numbers are observed.
    """
    g = question.geometry
    motion = Motion.of(context, MotionSettings(features=g.motion.features))
    observed = motion.observed
    is_last = observed & (observed[..., ::-1].cumsum(axis=-1)[..., ::-1] <= n_last)
    time = np.arange(1 - context.n_bins, 1)[:, None] / n_last
    order = np.arange(degree + 1)
    rows, response = [time**order], [motion.position]
    if has_measured_velocity(context, g):
        rows.append(order * time ** np.maximum(order - 1, 0))
        response.append(motion.velocity * (n_last * g.bin_seconds))
    if len(rows) * n_last <= degree:
        raise InputError(f"{n_last} bins do not determine a polynomial of degree {degree}; fit more.")
    is_determined = order < len(rows) * is_last.sum(axis=-1)[..., None]
    # (trial, individual, row, order)
    powers = np.concatenate([row * is_last[..., None] * is_determined[:, :, None] for row in rows], axis=2)
    gram = powers.swapaxes(-1, -2) @ powers
    gram[..., order, order] += ~is_determined
    coefficients = np.linalg.solve(gram, powers.swapaxes(-1, -2) @ np.concatenate(response, axis=2))
    ahead = np.arange(1, question.n_bins + 1)[:, None] / n_last
    places = ahead**order @ coefficients
    slopes = order * ahead ** np.maximum(order - 1, 0) / (n_last * g.bin_seconds)
    if g.space == "phase":
        places = np.concatenate([np.cos(places), np.sin(places)], axis=-1)
    return Forecasted(places, slopes @ coefficients)


def autoregressed(context: Recording, question: MotionQuestion, regression: RidgeCV, n_lags: int) -> Forecasted:
    """Where everybody goes is linear in the last bins of their own and in where the others are, on average."""
    position, past = _past(context, question.geometry, n_lags)
    ahead = regression.predict(past[:, :, -1].reshape(-1, past.shape[-1])).reshape(*position[:, :, -1].shape, -1)
    last = position[:, :, -1]
    places = last[:, :, None] + question.geometry.length * ahead.swapaxes(2, 3)[:, :, : question.n_bins]
    steps = np.diff(np.concatenate([last[:, :, None], places], axis=2), axis=2)
    if question.geometry.space == "phase":
        places = np.concatenate([np.cos(places), np.sin(places)], axis=-1)
    return Forecasted(places, steps / question.geometry.bin_seconds)


def learn_autoregression(windows: Sequence[Recording], question: MotionQuestion, n_lags: int) -> RidgeCV:
    """The weights of `autoregressed`, the same for all individuals and coordinates, by ridge."""
    inputs, outputs = [], []
    for recording in windows:
        position, past = _past(recording, question.geometry, n_lags)
        n_starts = past.shape[2] - question.n_bins
        for start in range(max(n_starts, 0)):
            bins = slice(start, start + n_lags + question.n_bins)
            seen = np.asarray(recording.observed[:, :, bins].all(axis=2))
            here = position[:, :, start + n_lags - 1, None]
            ahead = (position[:, :, start + n_lags : bins.stop] - here)[seen] / question.geometry.length
            inputs.append(past[:, :, start][seen].reshape(-1, past.shape[-1]))
            outputs.append(ahead.swapaxes(1, 2).reshape(-1, question.n_bins))
    if not sum(map(len, inputs)):
        raise InputError(
            f"nobody is observed for {n_lags} bins and the {question.n_bins} after them; give longer trials."
        )
    return RidgeCV(RIDGES).fit(np.concatenate(inputs), np.concatenate(outputs))


def _past(recording: Recording, geometry: Geometry, n_lags: int) -> tuple[Array, Array]:
    """Positions (trial, individual, time, coordinate), and (trial, individual, start, coordinate, input) what is read.

    That is, in each of so many bins, from the last of them: one's own place, how far off the others are on average (on
    the circle the sine), and measured velocities and own frequency if there are any.
    """
    if recording.n_bins < n_lags:
        raise InputError(f"trials last {recording.n_bins} bins, and {n_lags} are read; give longer ones.")
    motion = Motion.of(recording, MotionSettings(features=geometry.motion.features))
    position = bridged_array(motion.position, motion.observed)
    is_here = np.asarray(motion.observed.any(axis=2))
    others = is_here[:, None] & ~np.eye(is_here.shape[1], dtype=bool)
    share = others / np.maximum(others.sum(axis=2, keepdims=True), 1)
    apart = position[:, None] - position[:, :, None]
    off = np.einsum("tij,tijbc->tibc", share, np.sin(apart) if geometry.space == "phase" else apart)
    parts = [off / geometry.length]
    if has_measured_velocity(recording, geometry):
        parts.append(bridged_array(motion.velocity, motion.observed) * (geometry.bin_seconds / geometry.length))
    if motion.own_frequency is not None:
        own = motion.own_frequency[..., None, None] * geometry.bin_seconds
        parts.append(np.broadcast_to(own, position.shape))
    windows = [np.lib.stride_tricks.sliding_window_view(part, n_lags, axis=2) for part in (position, *parts)]
    windows[0] = (windows[0] - windows[0][..., -1:]) / geometry.length
    return position, np.concatenate(windows, axis=-1)


def has_measured_velocity(recording: Recording, geometry: Geometry) -> bool:
    """Whether velocities, or rates of phases, are among the features."""
    return geometry.motion.features == "position-velocity" or (geometry.space == "phase" and recording.n_features > 2)


def follow_fit(context: Recording, question: MotionQuestion, law: str) -> Forecasted:
    """Couplings of a known law, fitted to every pair by `fit_forces`, are followed."""
    couplings = fit_forces(context, FORCES[law], features=question.geometry.motion.features)
    return follow(context, question, FORCES[law], couplings)


def follow_truth(context: Recording, question: MotionQuestion) -> Forecasted:
    """The law and the couplings that a simulated recording carries are followed."""
    law = Law.of(context)
    if law is None:
        raise InputError(f"the true couplings of recording {context.name!r} are not known.")
    return follow(context, question, law, law.couplings(context), fits_strength=False)


def follow(
    context: Recording, question: MotionQuestion, law: Law, couplings: Array, *, fits_strength: bool = True
) -> Forecasted:
    """The motion goes on under a known law and couplings (trial, individual, individual), as `Law.couplings`.

    Shooting changes couplings too, if it fits strength.
    """
    g = question.geometry
    rollout = known_rollout(g, law)
    scale = g.velocity if law.space == "phase" else g.acceleration / g.length**law.exponent
    strength = torch.from_numpy(np.nan_to_num(couplings) / scale)[..., None].float()
    batch = g.prepare(PopulationDataset(context)).batch()
    state, strength = started(rollout, batch, strength, shoots=question.shoots, fits_strength=fits_strength)
    centre = centre_of(context, g)
    found = continued(rollout, state, strength, centre=centre, n_bins=question.n_bins, n_substeps=question.n_substeps)
    return found._replace(couplings=np.where(np.isnan(couplings), np.nan, scale * strength[..., 0].double().numpy()))


def known_rollout(geometry: Geometry, law: Law) -> Rollout:
    """Motion under one known law, of unit strength at a distance of one length (on the circle, the sine)."""
    fit = CouplingFit(geometry, 1)
    with torch.no_grad():
        if geometry.space == "phase":
            fit.harmonics.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        else:
            fit.exponent.fill_(law.exponent)
    return Rollout(fit).requires_grad_(False)


_line, _parabola = (functools.partial(extrapolated, degree=degree) for degree in (1, 2))
MOTION_RIVALS = (
    MotionRival("constant velocity", _line, {"n_last": (2, 3, 4, 6, 10, 1)}),
    MotionRival("constant acceleration", _parabola, {"n_last": (3, 4, 6, 10, 16, 2)}),
    MotionRival("linear autoregression", autoregressed, {"n_lags": (2, 4, 8, 16)}, learn_autoregression),
    MotionRival("force fit", follow_fit, {"law": tuple(FORCES)}),
    MotionRival("true couplings", follow_truth, kind="oracle"),
)

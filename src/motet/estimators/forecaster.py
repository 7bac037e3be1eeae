"""`EITForecaster`: given how individuals moved so far, where each of them goes next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.pairs import only_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import Population
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING, SystemEstimator, as_dataset, check_system
from motet.models.continuation import Forecasted, centre_of, continued, distance, started, what_follows
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings
from motet.models.rollout import Rollout
from motet.plain import from_plain
from motet.settings import Count, Seed, check_arguments
from motet.training.learner import Learner
from motet.training.objectives import (
    DIVERGED,
    FEWEST_BINS,
    Forecast,
    ForecastSettings,
    InteractionSettings,
    Joint,
    Objective,
    RecoverInteractions,
    Target,
    pair_target,
)
from motet.training.settings import TrainingSettings

Array = NDArray[np.float64]


class EITForecaster(SystemEstimator):
    """Forecasts the motion of every individual of a system of any size; learns from unlabelled trials.

    The model fits how strongly each individual follows each other one, under laws of force and priors that it learns,
    and motion is integrated from there. What it recovers on the way are the couplings (`predict_couplings`).

    Args:
        target: of level "pair", read only where `objective.interactions_weight` is above 0: the edge type of every
            pair, learned beside the forecast.
        model: see `EITSettings`; identity must be "none".
        pairs: see `PairSettings`; at least one law.
        motion: see `MotionSettings`: what the features of a recording are; not "none".
        objective: see `ForecastSettings`.
        training: see `TrainingSettings`.
        seed: of initial weights, order and augmentation.
        batch_trials: trials predicted at a time.
        random_state: see `Estimator`.

    Attributes:
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.

    Example:
        >>> from motet.systems import simulate
        >>> small = simulate("gravity", groups=("2x2",), n_trials=40, n_bins=16)
        >>> large = simulate("gravity", groups=("3x2",), n_trials=5, n_bins=10, seed=1)[0]
        >>> settings = ForecastSettings(context_bins=10, horizon_bins=6)
        >>> forecaster = EITForecaster(objective=settings, training=TrainingSettings(max_steps=2)).fit(small)
        >>> forecaster.predict(large).shape
        (5, 6, 6, 2)
    """

    def __init__(
        self,
        target: str = "interacts",
        *,
        model: EITSettings = PAIR_MODEL,
        pairs: PairSettings = PairSettings(),
        motion: MotionSettings = MotionSettings(),
        objective: ForecastSettings = ForecastSettings(),
        training: TrainingSettings = PAIR_TRAINING,
        seed: Seed = 0,
        batch_trials: Count = 128,
        random_state: Any = None,
    ) -> None:
        self.target = target
        self.model = model
        self.pairs = pairs
        self.motion = motion
        self.objective = objective
        self.training = training
        self.seed = seed
        self.batch_trials = batch_trials
        self.random_state = random_state

    # ------------------------------------------------------------------ fitting

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.motion.features == "none" or self.pairs.laws == 0:
            raise InputError(
                "a forecast follows laws of force, and there are none with motion.features="
                f"{self.motion.features!r} and pairs.laws={self.pairs.laws}; give positions or phases, and at least "
                "one law."
            )

    def _cut(self, dataset: PopulationDataset) -> PopulationDataset:
        return dataset.map(lambda recording: self.windows(recording, stride=self.objective.stride))

    def _fit_statistics(self, train: PopulationDataset) -> None:
        self.geometry_ = Geometry.fit(train, self.motion)
        weight = self.objective.interactions_weight
        self.target_ = None
        if weight:
            self.target_ = dataclasses.replace(pair_target(train, self.target, is_directed=False), weight=weight)

    def _make_learner(self) -> Learner:
        model = PairEIT(self.model, self.pairs, self.geometry_)
        assert model.fit is not None
        objectives: list[Objective] = [Forecast(Rollout(model.fit), settings=self.objective)]
        if self.target_ is not None:
            settings, width = InteractionSettings(), self.pairs.width
            objectives.append(
                RecoverInteractions(self.target_, states=(), width=width, geometry=self.geometry_, settings=settings)
            )
        return Learner(model, Joint(objectives))

    @property
    def _learns(self) -> str:
        return "motion"

    def _prepared(self, dataset: PopulationDataset, *, trains: bool) -> PopulationDataset:
        return self.learner_.objective.prepare(self._noisy(dataset) if trains else dataset)

    def _noisy(self, dataset: PopulationDataset) -> PopulationDataset:
        rng = np.random.default_rng([self.seed_, 1])
        return dataset.map(lambda recording: self._noisy_context(recording, rng))

    def _noisy_context(self, recording: Recording, rng: np.random.Generator) -> Recording:
        """The windows with noise on their contexts; the futures stay as they are."""
        if not self.objective.noise:
            return recording
        g, context = self.geometry_, slice(0, self.objective.context_bins)
        values = recording.values.copy()
        before = values[:, :, context]
        size = self.objective.noise * rng.uniform(size=(len(values), 1, 1, 1))
        noise = size * rng.standard_normal(before.shape)
        if g.space == "phase":
            turn = np.exp(1j * noise[..., 0]) * (before[..., 0] + 1j * before[..., 1])
            before[..., 0], before[..., 1] = turn.real, turn.imag
            before[..., 2:3] += noise[..., 2:3] * g.velocity
        else:
            units = np.repeat([g.length, g.velocity], g.n_dimensions)[: recording.n_features]
            before += noise * units
        return dataclasses.replace(recording, values=np.where(recording.observed[..., None], values, np.float32(0)))

    def _learned(self) -> dict[str, Any]:
        return {**super()._learned(), "target": self.target_}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self.target_ = from_plain(Target | None, learned["target"], what="target")
        if (self.target_ is None) != (not self.objective.interactions_weight):
            raise ValueError("it has interactions to learn with a weight of 0, or none with a weight above")

    # ------------------------------------------------------------------ using

    def windows(self, recording: Recording, *, stride: int | None = None) -> Recording:
        """The windows of context and horizon in a recording, each a trial; by default they do not overlap.

        Raises:
            InputError: if no trial is as long, or stride is below 1.
        """
        length = self.objective.window_bins
        if recording.n_bins < length:
            raise InputError(
                f"trials of recording {recording.name!r} have at most {recording.n_bins} bins, and a window of "
                f"{self.objective.context_bins} bins of context and {self.objective.horizon_bins} of horizon has "
                f"{length}; give longer trials, or lower objective.context_bins or objective.horizon_bins."
            )
        return recording.windows(length, stride=length if stride is None else stride)

    def encode(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """As `SystemEstimator.encode`, of the last `objective.context_bins` bins of each trial."""
        return super().encode(self._context(recording))

    def predict(self, recording: Recording, *, horizon_bins: int | None = None) -> Array:
        """Where every individual will be in the bins after the end of each trial: `predict_motion(…).places`."""
        return self.predict_motion(recording, horizon_bins=horizon_bins).places

    def predict_motion(self, recording: Recording, *, horizon_bins: int | None = None) -> Forecasted:
        """Roll every trial on from its last `objective.context_bins` bins.

        Args:
            recording: with the features of the training trials.
            horizon_bins: how far to go; by default `objective.horizon_bins`.

        Raises:
            InputError: if the recording does not fit the model, or its trials are too short.
        """
        n_bins = self.objective.horizon_bins if horizon_bins is None else horizon_bins
        check_arguments(ForecastSettings, {"horizon_bins": n_bins})
        steps = {"n_bins": n_bins, "n_substeps": self.objective.n_substeps[1]}
        context = self._context(recording)
        centre, parts = centre_of(context, self.geometry_), []
        for state, strength in self._started(context):
            here, centre = np.split(centre, [len(strength)])
            found = continued(self._rollout, state, strength, centre=here, **steps)
            parts.append(found._replace(couplings=self._pull_at_unit(strength)))
        places, velocities, couplings = (np.concatenate(part) for part in zip(*parts, strict=True))
        is_here = np.asarray(context.observed.any(axis=2))[:, :, None, None]
        return Forecasted(
            np.where(is_here, places, np.nan),
            np.where(is_here, velocities, np.nan),
            only_pairs(couplings, context.observed),
        )

    def predict_couplings(self, recording: Recording) -> Array:
        """How strongly each individual (second axis) is pulled by each other one (third axis).

        Of the last `objective.context_bins` bins of each trial; what `predict_motion` follows.

        Returns:
            (trial, individual, individual): the acceleration that the pull would cause at a distance of
            `geometry_.length`, in the unit of the recording, per second²; on the circle, the radians per second that it
            adds at most. Negative where it pushes. NaN where there is no pair.
        """
        context = self._context(recording)
        parts = [self._pull_at_unit(strength) for _, strength in self._started(context)]
        return only_pairs(np.concatenate(parts), context.observed)

    def score(self, X: Population, y: None = None) -> float:
        """The share of places, in windows that do not overlap, forecast to a quarter of a length (of a radian)."""
        check_is_fitted(self)
        off = np.concatenate([self._errors(recording) for recording in as_dataset(X).recordings])
        return float((off[~np.isnan(off)] < self.diverged).mean())

    def _errors(self, recording: Recording) -> Array:
        """How far the forecast of each place is off, in windows that do not overlap; NaN where nothing is observed."""
        check_system(recording)
        windows, n_context = self.windows(recording), self.objective.context_bins
        places = self.predict(windows.select(bins=slice(0, n_context)))
        return distance(places, what_follows(windows, n_context), self.geometry_).ravel()

    @property
    def diverged(self) -> float:
        """An error from which on a forecast has left the truth, in the unit of the recording (in radians)."""
        return DIVERGED * (1 if self.geometry_.space == "phase" else self.geometry_.length)

    @property
    def _rollout(self) -> Rollout:
        objective = cast(Joint, self.learner_.objective).parts[0]
        assert isinstance(objective, Forecast)
        return objective.rollout

    def _context(self, recording: Recording) -> Recording:
        check_is_fitted(self)
        check_system(recording)
        return last_bins(recording, self.objective.context_bins)

    def _started(self, context: Recording) -> Iterator[tuple[Tensor, Tensor]]:
        """States in the last bin and strengths, some trials at a time."""
        for encoding, batch in self._encoded(context):
            assert encoding.coupling is not None
            strength = self._rollout.strength(encoding.coupling)
            yield started(self._rollout, batch, strength, shoots=self.objective.shoot)

    @torch.no_grad()
    def _pull_at_unit(self, strength: Tensor) -> Array:
        fit, g = self._rollout.fit, self.geometry_
        if g.space == "phase":
            size = g.velocity * fit.harmonics.norm(dim=1) * fit.harmonics[:, 0].sign()
        else:
            size = g.acceleration * fit.force(torch.eye(g.n_dimensions)[0])[:, 0]
        return np.asarray((strength * size).sum(-1).numpy(), dtype=np.float64)


def last_bins(recording: Recording, n_bins: int) -> Recording:
    """The last bins of every trial, each of which ends with a bin where somebody is observed.

    Raises:
        InputError: if a trial is shorter than four bins.
    """
    lengths = recording.trial_lengths
    if lengths.min() < FEWEST_BINS:
        raise InputError(
            f"trial {int(lengths.argmin())} of recording {recording.name!r} has {lengths.min()} bins; a forecast needs "
            f"a context of at least {FEWEST_BINS}."
        )
    n_bins = min(n_bins, recording.n_bins)
    return recording.stretches(np.arange(recording.n_trials), lengths - n_bins, n_bins)

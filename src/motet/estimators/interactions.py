"""`EITInteractions`: learns who interacts with whom on systems whose truth is known, and recovers it in others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import Population
from motet.estimators.pairs import (
    PAIR_MODEL,
    PAIR_TRAINING,
    PairEstimator,
    as_dataset,
    is_pair,
    n_observed,
    with_targets,
)
from motet.models.eit import EITSettings
from motet.models.pairs import PairEIT, PairSettings
from motet.models.partition import assign_groups
from motet.plain import from_plain
from motet.training.calibration import Calibration
from motet.training.interactions import InteractionSettings, RecoverInteractions, State, learn_pairs, learn_state
from motet.training.objectives import Joint, Target
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, Learner


class EITInteractions(PairEstimator):
    """Recovers who interacts with whom, and hidden states such as masses, in systems of any size.

    Args:
        target: of level "pair": the edge type of every pair, whole numbers from 0; below 0 where it is not known.
        states: targets per individual to learn beside it, such as "mass".
        model: see `EITSettings`; identity must be "none".
        pairs: see `PairSettings`.
        motion: see `MotionSettings`: what the features of a recording are.
        objective: see `InteractionSettings`.
        training: see `TrainingSettings`.
        seed: of initial weights, order and augmentation.
        batch_trials: trials predicted at a time.

    Attributes:
        types_: edge types, sorted.
        learner_: the trained model and objective.
        calibration_: of the probabilities; see `calibrate`.
        history_: one `Epoch` per epoch.

    Example:
        >>> from motet.systems import simulate
        >>> small = simulate("gravity", groups=("2x2",), n_trials=40)
        >>> large = simulate("gravity", groups=("3x2",), n_trials=5, seed=1)[0]
        >>> recovery = EITInteractions(training=TrainingSettings(max_steps=3)).fit(small)
        >>> recovery.predict_proba(large).shape
        (5, 6, 6)
    """

    objective_settings = InteractionSettings

    def __init__(
        self,
        target: str = "interacts",
        *,
        states: Sequence[str] = (),
        model: EITSettings = PAIR_MODEL,
        pairs: PairSettings = PairSettings(),
        motion: MotionSettings = MotionSettings(),
        objective: InteractionSettings = InteractionSettings(),
        training: TrainingSettings = PAIR_TRAINING,
        seed: int = 0,
        batch_trials: int = 128,
    ) -> None:
        self.target = target
        self.states = states
        self.model = model
        self.pairs = pairs
        self.motion = motion
        self.objective = objective
        self.training = training
        self.seed = seed
        self.batch_trials = batch_trials

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        X: Population,
        y: None = None,
        *,
        validation: Population | None = None,
        run: Run | Path | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> Self:
        """Train on recordings of systems whose interactions are known.

        Args:
            X: recordings with the target; systems of different size mix.
            y: there is none; recordings carry their targets.
            validation: trials to choose the best epoch by, and then to calibrate the probabilities on, best of several
                sizes. By default a part of the training trials, as large as `training.validation` says.
            run: a folder where the state of training is kept, so that a fit that was interrupted continues.
            on_epoch: called after every epoch with its `Epoch`, instead of a progress bar on a terminal.

        Raises:
            InputError: for data or targets that cannot be used.
        """
        held_out = self._fit(X, y, learns=self.target, validation=validation, run=run, on_epoch=on_epoch)
        return self if held_out is None else self.calibrate(held_out)

    def _learn(self, train: PopulationDataset) -> None:
        self.target_ = learn_pairs(train, self.target, is_directed=self.objective.is_directed)
        self.state_targets_ = [learn_state(train, name, weight=self.objective.state_weight) for name in self.states]
        self.calibration_ = Calibration.none(len(self.target_.classes))

    def _learned(self) -> dict[str, Any]:
        return {"target": self.target_, "state_targets": self.state_targets_, "calibration": self.calibration_}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.target_ = from_plain(Target, learned["target"])
        self.state_targets_ = [from_plain(Target, target) for target in learned["state_targets"]]
        self.calibration_ = from_plain(Calibration, learned["calibration"])
        held = [self.target_.name, *(target.name for target in self.state_targets_)]
        if held != [self.target, *self.states] or not self.target_.classes or self.target_.level != "pair":
            raise ValueError(f"it learned {held}, and its settings say {[self.target, *self.states]}")
        if any(len(target.mean) != 1 or target.level != "individual" for target in self.state_targets_):
            raise ValueError("its states are not one number per individual")
        if len(self.calibration_.prior) != len(self.target_.classes):
            raise ValueError(f"its calibration is of {len(self.calibration_.prior)} edge types")

    def calibrate(self, X: Population) -> Self:
        """Fit temperature and prior to trials that were not trained on; those of several sizes hold at others.

        Raises:
            InputError: if no pair of them is known.
        """
        check_is_fitted(self)
        log_p, truth, size = [], [], []
        for recording in as_dataset(X).recordings:
            known = self._prepared(PopulationDataset(recording)).recordings[0].targets[self.target]
            pairs = np.nonzero((known >= 0) & is_pair(recording))
            log_p.append(self._raw(recording)[self.target][pairs])
            truth.append(known[pairs])
            size.append(n_observed(recording)[pairs[0]])
        self.calibration_ = Calibration.fit(
            np.concatenate(log_p), truth=np.concatenate(truth), n_individuals=np.concatenate(size)
        )
        return self

    def _make_learner(self) -> Learner:
        width = self.pairs.width
        model = PairEIT(self.model, self.pairs, self.geometry_)
        interactions = RecoverInteractions(
            self.target_, states=self.states, width=width, geometry=self.geometry_, settings=self.objective
        )
        n_laws = model.fit.n_laws if model.fit is not None else 0
        states = [
            State(target, embedding_width=self.model.width, width=width, n_laws=n_laws)
            for target in self.state_targets_
        ]
        return Learner(model, Joint([interactions, *states]))

    def _prepared(self, dataset: PopulationDataset) -> PopulationDataset:
        kept = {self.target, *self.states, RecoverInteractions.system}
        return self.learner_.objective.prepare(self.geometry_.prepare(with_targets(dataset, kept)))

    # ------------------------------------------------------------------ using

    @property
    def types_(self) -> NDArray[np.int64]:
        check_is_fitted(self)
        return np.asarray(self.target_.classes)

    def predict_log_proba(self, recording: Recording) -> NDArray[np.float64]:
        """Calibrated log-probabilities, (trial, individual, individual, type); NaN where there is no pair."""
        raw = self._raw(recording)[self.target]
        log_p = self.calibration_(raw, n_observed(recording))
        log_p[~is_pair(recording)] = np.nan
        return log_p

    def predict_proba(self, recording: Recording) -> NDArray[np.float64]:
        """Probability of every edge type, (trial, individual, individual, type); of type 1 alone if there are two.

        NaN on the diagonal, and for individuals that are not observed.
        """
        probability = np.exp(self.predict_log_proba(recording))
        return probability[..., 1] if len(self.types_) == 2 else probability

    def predict(self, recording: Recording) -> NDArray[np.int64]:
        """The most probable edge type, (trial, individual, individual); -1 where there is no pair."""
        log_p = self.predict_log_proba(recording)
        return np.where(is_pair(recording), self.types_[np.nan_to_num(log_p).argmax(axis=-1)], -1)

    def predict_groups(self, recording: Recording) -> NDArray[np.int64]:
        """Which individuals belong together, (trial, individual); -1 if absent. Neither number nor size is given.

        Raises:
            InputError: if there are more than two edge types.
        """
        if len(self.types_) != 2:
            raise InputError(f"groups are told by two edge types, and this model knows {len(self.types_)}.")
        log_p = self.predict_log_proba(recording)
        return assign_groups(log_p[..., 1] - log_p[..., 0], recording.observed.any(axis=2))

    def predict_states(self, recording: Recording) -> dict[str, NDArray[np.floating[Any]]]:
        """Each state, (trial, individual); NaN for individuals that are not observed."""
        raw = self._raw(recording)
        is_here = recording.observed.any(axis=2)
        return {name: np.where(is_here, raw[name], np.float32(np.nan)) for name in self.states}

    def score(self, X: Population, y: None = None) -> float:
        """AUROC over known pairs of two edge types; accuracy of more. Pairs of several recordings count as one list."""
        check_is_fitted(self)
        objective = self.learner_.objective
        encoded = itertools.chain.from_iterable(map(self._encoded, as_dataset(X).recordings))
        with torch.no_grad():
            outputs, batches = zip(*((objective.predict(e, b), b) for e, b in encoded), strict=True)
        return objective.score(outputs, batches)

    @torch.no_grad()
    def _raw(self, recording: Recording) -> dict[str, NDArray[np.floating[Any]]]:
        """What the objectives predict, by target; log-probabilities as the model has them."""
        check_is_fitted(self)
        parts = [self.learner_.objective.predict(encoding, batch) for encoding, batch in self._encoded(recording)]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def recover_interactions(run: Run | Path | str, system: Population) -> Any:
    """Who interacts with whom, by the model of a run.

    Args:
        run: a folder that `motet interactions train` or `EITInteractions.save` left.
        system: a recording of individuals, as many as there are; or several recordings.

    Returns:
        `EITInteractions.predict_proba` of the recording; a list if there are several.
    """
    recovery = EITInteractions.load(run)
    if isinstance(system, Recording):
        return recovery.predict_proba(system)
    return [recovery.predict_proba(recording) for recording in as_dataset(system).recordings]

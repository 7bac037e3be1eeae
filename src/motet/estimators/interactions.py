"""`EITInteractions`: learns who interacts with whom on systems whose truth is known, and recovers it in others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings, derive_motion
from motet.data.pairs import are_pairs, n_observed, only_pairs
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.base import Population
from motet.estimators.systems import PAIR_MODEL, PAIR_TRAINING, SystemEstimator, as_dataset
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings
from motet.models.partition import assign_groups
from motet.plain import from_plain
from motet.settings import Count, Seed
from motet.training.calibration import Calibration
from motet.training.learner import Learner
from motet.training.objectives import (
    HiddenState,
    InteractionSettings,
    Joint,
    RecoverInteractions,
    Target,
    pair_target,
    state_target,
)
from motet.training.run import Run
from motet.training.settings import TrainingSettings


class EITInteractions(SystemEstimator):
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
        random_state: see `Estimator`.

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
        seed: Seed = 0,
        batch_trials: Count = 128,
        random_state: Any = None,
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
        self.random_state = random_state

    # ------------------------------------------------------------------ fitting

    def _cut(self, dataset: PopulationDataset) -> PopulationDataset:
        """Whole trials, with their motion derived: units and values are both found from that."""
        return dataset.map(lambda recording: derive_motion(recording, self.motion))

    def _fit_statistics(self, train: PopulationDataset) -> None:
        self.geometry_ = Geometry.of_derived(train, self.motion, n_raw=self.n_features_in_)
        self.target_ = pair_target(train, self.target, is_directed=self.objective.is_directed)
        self.state_targets_ = [state_target(train, name, weight=self.objective.state_weight) for name in self.states]
        self.calibration_ = Calibration.none(len(self.target_.classes))

    def _make_learner(self) -> Learner:
        width = self.pairs.width
        model = PairEIT(self.model, self.pairs, self.geometry_)
        interactions = RecoverInteractions(
            self.target_, states=self.states, width=width, geometry=self.geometry_, settings=self.objective
        )
        n_laws = model.fit.n_laws if model.fit is not None else 0
        states = [
            HiddenState(target, embedding_width=self.model.width, width=width, n_laws=n_laws)
            for target in self.state_targets_
        ]
        return Learner(model, Joint([interactions, *states]))

    @property
    def _learns(self) -> str:
        return self.target

    def _prepared(self, dataset: PopulationDataset, *, trains: bool) -> PopulationDataset:
        return self.learner_.objective.prepare(dataset.map(self.geometry_.scaled))

    def _as_trained(self, dataset: PopulationDataset) -> PopulationDataset:
        return self.geometry_.prepare(dataset)

    def _finish(
        self, train: PopulationDataset, held_out: PopulationDataset | None, judge: PopulationDataset | None
    ) -> None:
        if judge is not None:
            self._calibrate(judge)

    def calibrate(self, X: Population) -> Self:
        """Fit temperature and prior to trials that were not trained on; those of several sizes hold at others.

        Raises:
            InputError: if no pair of them is known.
        """
        check_is_fitted(self)
        self._calibrate(self.learner_.objective.prepare(self._as_trained(as_dataset(X))))
        return self

    def _calibrate(self, prepared: PopulationDataset) -> None:
        log_p, truth, size = [], [], []
        for prediction, batch in self._predictions(prepared):
            known, n_here = batch.targets[self.target].numpy(), n_observed(batch.observed.numpy())
            pairs = np.nonzero((known >= 0) & are_pairs(batch.observed.numpy()))
            log_p.append(prediction[self.target][pairs])
            truth.append(known[pairs])
            size.append(n_here[pairs[0]])
        self.calibration_ = Calibration.fit(
            np.concatenate(log_p), truth=np.concatenate(truth), n_individuals=np.concatenate(size)
        )

    # ------------------------------------------------------------------ using

    @property
    def types_(self) -> NDArray[np.int64]:
        check_is_fitted(self)
        return np.asarray(self.target_.classes)

    def predict_log_proba(self, recording: Recording) -> NDArray[np.float64]:
        """Calibrated log-probabilities, (trial, individual, individual, type); NaN where there is no pair."""
        raw = self._raw(recording)[self.target]
        return only_pairs(self.calibration_(raw, n_observed(recording.observed)), recording.observed)

    def predict_proba(self, recording: Recording) -> NDArray[np.float64]:
        """Probability of every edge type, (trial, individual, individual, type); of type 1 alone if there are two.

        NaN on the diagonal, and for individuals that are not observed.
        """
        probability = np.exp(self.predict_log_proba(recording))
        return probability[..., 1] if len(self.types_) == 2 else probability

    def predict(self, recording: Recording) -> NDArray[np.int64]:
        """The most probable edge type, (trial, individual, individual); -1 where there is no pair."""
        log_p = self.predict_log_proba(recording)
        return np.where(are_pairs(recording.observed), self.types_[np.nan_to_num(log_p).argmax(axis=-1)], -1)

    def predict_groups(self, recording: Recording) -> NDArray[np.int64]:
        """Which individuals belong together, (trial, individual); -1 if absent. Neither number nor size is given.

        Raises:
            InputError: if there are more than two edge types.
        """
        if len(self.types_) != 2:
            raise InputError(f"groups need two edge types, and this model knows {len(self.types_)}.")
        log_p = self.predict_log_proba(recording)
        return assign_groups(log_p[..., 1] - log_p[..., 0], recording.observed.any(axis=2))

    def predict_states(self, recording: Recording) -> dict[str, NDArray[np.floating[Any]]]:
        """Each state, (trial, individual); NaN for individuals that are not observed."""
        raw, is_here = self._raw(recording), recording.observed.any(axis=2)
        return {name: np.where(is_here, raw[name], np.float32(np.nan)) for name in self.states}

    def score(self, X: Population, y: None = None) -> float:
        """AUROC over known pairs of two edge types; accuracy of more. Pairs of several recordings count as one list."""
        check_is_fitted(self)
        learner, parts = self.learner_, map(self._to_read, as_dataset(X).recordings)
        predicted = itertools.chain.from_iterable(learner.predict(part, self.batch_trials) for part in parts)
        return learner.objective.score(*zip(*predicted, strict=True))

    def _raw(self, recording: Recording) -> dict[str, NDArray[np.floating[Any]]]:
        """What the objectives predict, by target; log-probabilities as the model has them."""
        parts = [prediction for prediction, _ in self._predictions(self._to_read(recording))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _predictions(self, prepared: PopulationDataset) -> Iterator[tuple[dict[str, NDArray[Any]], Batch]]:
        """Predictions of prepared trials, of one recording after the other."""
        for recording in prepared.recordings:
            for prediction, batch in self.learner_.predict(PopulationDataset(recording), self.batch_trials):
                yield {name: array.numpy() for name, array in prediction.items()}, batch

    # ------------------------------------------------------------------ saving

    def _learned(self) -> dict[str, Any]:
        found = {"target": self.target_, "state_targets": self.state_targets_, "calibration": self.calibration_}
        return {**super()._learned(), **found}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self.target_ = from_plain(Target, learned["target"])
        self.state_targets_ = from_plain(list[Target], learned["state_targets"], what="state_targets")
        self.calibration_ = from_plain(Calibration, learned["calibration"])
        held = [self.target_.name, *(target.name for target in self.state_targets_)]
        if held != [self.target, *self.states] or not self.target_.classes or self.target_.level != "pair":
            raise ValueError(f"it learned {held}, and its settings say {[self.target, *self.states]}")
        if any(target.shape or target.level != "individual" for target in self.state_targets_):
            raise ValueError("its states are not one number per individual")
        if len(self.calibration_.prior) != len(self.target_.classes):
            raise ValueError(f"its calibration is of {len(self.calibration_.prior)} edge types")


def recover_interactions(run: Run | Path | str, system: Population) -> Any:
    """Who interacts with whom, by the model of a run.

    Args:
        run: a folder that `motet interactions train` or `EITInteractions.save` left.
        system: a recording of individuals, as many as there are; or several recordings.

    Returns:
        `EITInteractions.predict_proba` of the recording; a list if there are several.

    Example:
        >>> import tempfile, motet
        >>> (system,) = motet.simulate("gravity", groups=("2x2",), n_trials=8, n_bins=12)
        >>> recovery = EITInteractions(training=TrainingSettings(max_steps=1)).fit(system)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recover_interactions(recovery.save(folder), system).shape
        (8, 4, 4)
    """
    recovery = EITInteractions.load(run)
    if isinstance(system, Recording):
        return recovery.predict_proba(system)
    return [recovery.predict_proba(recording) for recording in as_dataset(system).recordings]

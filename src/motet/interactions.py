"""`EITInteractions`: learns who interacts with whom on systems whose truth is known, and recovers it in others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings, Encoding
from motet.models.geometry import Geometry
from motet.models.pairs import PairEIT, PairSettings
from motet.models.partition import assign_groups
from motet.progress import progress_bar
from motet.training.calibration import Calibration
from motet.training.interactions import InteractionSettings, RecoverInteractions, State, learn_pairs, learn_state
from motet.training.loop import train
from motet.training.objectives import Joint, Target
from motet.training.predictions import stack_trials
from motet.training.run import Run, from_plain
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, Learner

Population = Recording | PopulationDataset | Sequence[Recording]
PAIR_MODEL = EITSettings(identity="none", token_bins=1)
PAIR_TRAINING = TrainingSettings(max_steps=1000, batch_trials=64, averaging=0.99, weight_decay=0.05)
_PART_SETTINGS = {
    "model": EITSettings,
    "pairs": PairSettings,
    "motion": MotionSettings,
    "objective": InteractionSettings,
    "training": TrainingSettings,
}


class EITInteractions(BaseEstimator):
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

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

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
        if y is not None:
            raise InputError("recordings carry their own targets; give no y.")
        dataset = _dataset(X)
        check_systems(dataset)
        held_out = None if validation is None else _dataset(validation)
        if held_out is None and self.training.validation:
            dataset, held_out = dataset.split(by="trial", test=self.training.validation, seed=self.seed)
        self.geometry_ = Geometry.learn(dataset, self.motion)
        self.target_ = learn_pairs(dataset, self.target)
        self.state_targets_ = [learn_state(dataset, name, weight=self.objective.state_weight) for name in self.states]
        self.calibration_ = Calibration.none(len(self.target_.classes))
        self.learner_ = self._make_learner()
        parts = [None if part is None else self._prepared(part) for part in (dataset, held_out)]
        assert parts[0] is not None
        folder = Run(run) if isinstance(run, (str, Path)) else run
        with contextlib.ExitStack() as stack:
            if on_epoch is None:
                n_epochs = self.training.n_epochs(len(dataset))
                advance = stack.enter_context(progress_bar(f"{type(self).__name__} learns {self.target}", n_epochs))
                on_epoch = lambda row: advance(1, str(row))  # noqa: E731
            self.history_ = train(
                self.learner_, parts[0], parts[1], self.training, seed=self.seed, run=folder, on_epoch=on_epoch
            )
        return self if held_out is None else self.calibrate(held_out)

    def calibrate(self, X: Population) -> Self:
        """Fit temperature and prior to trials that were not trained on; those of several sizes hold at others.

        Raises:
            InputError: if no pair of them is known.
        """
        check_is_fitted(self)
        log_p, truth, size = [], [], []
        for recording in _dataset(X).recordings:
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = PairEIT(self.model, self.pairs, self.geometry_)
            interactions = RecoverInteractions(
                self.target_, states=self.states, width=width, geometry=self.geometry_, settings=self.objective
            )
            n_laws = model.fit.n_laws if model.fit is not None else 0
            states = [
                State(target, embedding_width=self.model.width, width=width, n_laws=n_laws)
                for target in self.state_targets_
            ]
        learner = Learner(model, Joint([interactions, *states]))
        self.n_parameters_ = sum(parameter.numel() for parameter in learner.parameters())
        return learner

    def _prepared(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset as model and objective read it, with no other targets."""
        read = {self.target, *self.states, RecoverInteractions.system}

        def slim(recording: Recording) -> Recording:
            return dataclasses.replace(
                recording,
                targets={name: target for name, target in recording.targets.items() if name in read},
                target_levels={name: level for name, level in recording.target_levels.items() if name in read},
            )

        return self.learner_.objective.prepare(self.geometry_.prepare(dataset.map(slim)))

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

    def predict_states(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """Each state, (trial, individual); NaN for individuals that are not observed."""
        raw = self._raw(recording)
        is_here = recording.observed.any(axis=2)
        return {name: np.where(is_here, raw[name], np.float32(np.nan)) for name in self.states}

    def score(self, recording: Recording, y: None = None) -> float:
        """AUROC over known pairs of two edge types; accuracy of more."""
        objective = self.learner_.objective
        with torch.no_grad():
            outputs, batches = zip(*((objective.predict(e, b), b) for e, b in self._encoded(recording)), strict=True)
        return objective.score(outputs, batches)

    def encode(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """Embeddings of individuals, before and after they meet, and of pairs.

        Returns:
            "individual" and "population", (trial, individual, time, width), and "pair" (trial, individual, individual,
            width); 0 where not observed, NaN after the end of a trial.
        """
        with torch.no_grad():
            encodings = [encoding for encoding, _ in self._encoded(recording)]
        axis_of_time = {"individual": 2, "population": 2, "pair": 3}
        return {
            stage: stack_trials([getattr(e, stage).numpy() for e in encodings], axis=axis)
            for stage, axis in axis_of_time.items()
        }

    @torch.no_grad()
    def _raw(self, recording: Recording) -> dict[str, NDArray[np.float32]]:
        """What the objectives predict, by target; log-probabilities as the model has them."""
        check_is_fitted(self)
        parts = [self.learner_.objective.predict(encoding, batch) for encoding, batch in self._encoded(recording)]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}

    def _encoded(self, recording: Recording) -> Iterator[tuple[Encoding, Batch]]:
        check_systems(PopulationDataset(recording))
        dataset = self._prepared(PopulationDataset(recording))
        self.learner_.eval()
        # Memory grows with the square of the number of individuals.
        n_trials = max(1, self.batch_trials * 36 // max(36, recording.n_individuals**2))
        for start in range(0, len(dataset), n_trials):
            trials = np.arange(start, min(start + n_trials, len(dataset)))
            batch = dataset.batch(trials)
            yield self.learner_.model(batch), batch

    # ------------------------------------------------------------------ saving

    def save(self, folder: Path | str | Run) -> Run:
        """Write the estimator to a run folder: settings and weights, no pickle.

        Raises:
            InputError: if the folder cannot be written; what was there before is kept.
        """
        check_is_fitted(self)
        run = folder if isinstance(folder, Run) else Run(folder)
        about = {
            "estimator": type(self).__name__,
            "settings": self.get_params(deep=False),
            "target": self.target_,
            "state_targets": self.state_targets_,
            "geometry": self.geometry_,
            "calibration": self.calibration_,
            "history": self.history_,
        }
        run.write_tensors("weights", self.learner_.state_dict(), about)
        return run

    @classmethod
    def load(cls, folder: Path | str | Run) -> Self:
        """Read an estimator that `save` wrote.

        Raises:
            InputError: if the folder holds none, it is damaged, of another version, or another estimator's.
        """
        run = folder if isinstance(folder, Run) else Run(folder)
        tensors, about = run.read_tensors("weights")
        kind = about.get("estimator") if isinstance(about, dict) else None
        if kind != cls.__name__:
            raise InputError(f"{run.folder} holds a {kind}; load it with {kind}.load.")
        try:
            settings = about["settings"]
            parts: dict[str, Any] = {
                name: from_plain(part, settings.pop(name)) for name, part in _PART_SETTINGS.items()
            }
            estimator = cls(**{**settings, "states": tuple(settings["states"])}, **parts)
            estimator.target_ = from_plain(Target, about["target"])
            estimator.state_targets_ = [from_plain(Target, target) for target in about["state_targets"]]
            estimator.geometry_ = Geometry.from_plain(about["geometry"])
            estimator.calibration_ = from_plain(Calibration, about["calibration"])
            estimator.learner_ = estimator._make_learner()
            estimator.learner_.load_state_dict(tensors)
            estimator.history_ = [Epoch(**row) for row in about["history"]]
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{run.folder} does not hold a whole model ({error}); restore it, or train again."
            ) from error
        estimator.learner_.eval()
        return estimator


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
    return [recovery.predict_proba(recording) for recording in _dataset(system).recordings]


def check_systems(dataset: PopulationDataset) -> None:
    """Refuse recordings of fewer than two individuals."""
    for recording in dataset.recordings:
        if recording.n_individuals < 2:
            raise InputError(
                f"recording {recording.name!r} has one individual, and an interaction takes two; give recordings of at "
                "least two individuals."
            )


def n_observed(recording: Recording) -> NDArray[np.int64]:
    """(trial,) individuals observed."""
    return np.asarray(recording.observed.any(axis=2).sum(axis=1))


def is_pair(recording: Recording) -> NDArray[np.bool_]:
    """(trial, individual, individual): whether two different individuals, both observed."""
    is_here: NDArray[np.bool_] = np.asarray(recording.observed.any(axis=2))
    return is_here[:, :, None] & is_here[:, None] & ~np.eye(recording.n_individuals, dtype=bool)


def _dataset(X: Population) -> PopulationDataset:
    return X if isinstance(X, PopulationDataset) else PopulationDataset(X)

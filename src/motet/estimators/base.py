"""`Estimator`: how every estimator is set, fitted, read in batches, saved and loaded."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.estimators.hub import folder_of, push
from motet.models.randomness import WeightsFrom
from motet.plain import from_plain
from motet.progress import progress_bar
from motet.settings import Count, Seed, check_arguments
from motet.training.history import Epoch, read_history
from motet.training.learner import Learner
from motet.training.loop import train
from motet.training.run import Run
from motet.training.settings import TrainingSettings

# What numbers, names and lists raise that are not what they should be.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)

Population = Recording | PopulationDataset | Sequence[Recording]


class Estimator(BaseEstimator, abc.ABC):
    """A model, its objective and their settings, as scikit-learn knows them.

    Settings that are dataclasses are parts: scikit-learn reaches into them as `model__width`. `random_state`, if it is
    not None, stands for `seed`: a whole number, or a `numpy.random.RandomState` that one is drawn from.

    Attributes:
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.
        n_features_in_: features per individual and time bin.
        n_epochs_: that the last fit was to take at most.
        n_parameters_: numbers that were learned.
        seed_: that the last fit began with.
    """

    training: TrainingSettings
    seed: Seed
    random_state: Any
    batch_trials: Count
    learner_: Learner
    history_: list[Epoch]

    # ------------------------------------------------------------------ what a subclass says

    @abc.abstractmethod
    def _fit_statistics(self, train: PopulationDataset) -> None:
        """Find in training trials what is needed to prepare them, and to make the learner."""

    @abc.abstractmethod
    def _make_learner(self) -> Learner:
        """The model and its objective, as the settings and statistics say."""

    @abc.abstractmethod
    def _prepared(self, dataset: PopulationDataset, *, trains: bool) -> PopulationDataset:
        """Trials of `_cut` as model and objective read them, to train on or to validate by."""

    @abc.abstractmethod
    def _learned(self) -> dict[str, Any]:
        """The statistics, by name, to be saved."""

    @abc.abstractmethod
    def _restore(self, learned: Mapping[str, Any]) -> None:
        """Take up what `_learned` gave, read back from a file; what does not fit raises."""

    def _more_tensors(self) -> dict[str, Tensor]:
        """What was learned beside weights, by name, to be saved."""
        return {}

    def _take_tensors(self, tensors: dict[str, Tensor], learned: Mapping[str, Any]) -> None:
        """Take up what `_more_tensors` gave, out of all tensors of a file; what does not fit raises."""

    @property
    @abc.abstractmethod
    def _learns(self) -> str:
        """What a progress bar says is learned."""

    def _cut(self, dataset: PopulationDataset) -> PopulationDataset:
        """Trials as they are parted and statistics are found in; whole, as they are, by default."""
        return dataset

    def _split(self, dataset: PopulationDataset) -> tuple[PopulationDataset, PopulationDataset]:
        """Training and validation part of the trials."""
        return dataset.split(by="trial", test=self.training.validation, seed=self.seed_)

    def _training(self, train_part: PopulationDataset) -> TrainingSettings:
        """Settings of training, with what they leave open."""
        return self.training.chosen()

    def _judge(self, train_part: PopulationDataset) -> PopulationDataset | None:
        """Prepared trials to judge every epoch by, where none are held out."""
        return None

    def _finish(
        self, train: PopulationDataset, held_out: PopulationDataset | None, judge: PopulationDataset | None
    ) -> None:
        """What is fitted after training: to trials of `_cut`, and to prepared ones that epochs were judged by."""

    # ------------------------------------------------------------------ settings

    @classmethod
    def _hints(cls) -> dict[str, Any]:
        return {n: h for n, h in typing.get_type_hints(cls.__init__, include_extras=True).items() if n != "return"}

    @classmethod
    def _part_settings(cls) -> dict[str, type[Any]]:
        """The settings that are dataclasses: name → class."""
        hints = cls._hints().items()
        return {name: hint for name, hint in hints if isinstance(hint, type) and dataclasses.is_dataclass(hint)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name; with `deep` also those inside the parts, as `part__name`."""
        params: dict[str, Any] = super().get_params(deep=False)
        for part, kind in self._part_settings().items() if deep else ():
            if isinstance(params[part], kind):
                fields = dataclasses.fields(kind)
                params |= {f"{part}__{field.name}": getattr(params[part], field.name) for field in fields}
        return params

    def set_params(self, **params: Any) -> Self:
        """Change settings; `part__name` changes one inside a part. All are changed, or none.

        Raises:
            InputError: for a setting that does not exist, or that its part does not admit.
        """
        known = super().get_params(deep=False)
        inside: dict[str, dict[str, Any]] = {}
        changed = {name: value for name, value in params.items() if name in known}
        kinds = self._part_settings()
        for name in (name for name in params if name not in known):
            part, _, field = name.partition("__")
            if part not in kinds or field not in {f.name for f in dataclasses.fields(kinds[part])}:
                raise did_you_mean(name, self.get_params(), what="setting")
            inside.setdefault(part, {})[field] = params[name]
        for part, fields in inside.items():  # together, since one may only fit with another
            check_arguments(type(self).__init__, {part: changed.get(part, known[part])})
            changed[part] = dataclasses.replace(changed.get(part, known[part]), **fields)
        for name, value in changed.items():
            setattr(self, name, value)
        return self

    def _check_settings(self) -> None:
        """Refuse settings that are not what they should be; those inside the parts were checked when these were made.

        Raises:
            InputError: naming the setting.
        """
        check_arguments(type(self).__init__, super().get_params(deep=False))
        if not isinstance(self.random_state, np.random.RandomState | None):
            check_arguments(_seed, {"random_state": self.random_state})

    # ------------------------------------------------------------------ fitting

    def _fit(
        self,
        read: Callable[[], tuple[PopulationDataset, PopulationDataset | None]],
        *,
        run: Run | Path | str | None,
        on_epoch: Callable[[Epoch], None] | None,
        start: Estimator | None = None,
    ) -> Self:
        """How every estimator is fitted; until all is done, it is not fitted.

        Args:
            read: gives the trials, and those to validate by if there are any of their own.
            run: see `fit`.
            on_epoch: see `fit`.
            start: whose weights are begun with, but for those of single individuals.
        """
        # 1. Begin
        self._check_settings()
        if hasattr(self, "history_"):
            del self.history_
        state = self.random_state
        self.seed_ = int(state.randint(2**31)) if isinstance(state, np.random.RandomState) else self._given_seed

        # 2. Trials, and those to validate by
        raw, held_out = read()
        self.n_features_in_ = raw.n_features
        dataset = self._cut(raw)
        if held_out is not None:
            held_out = self._cut(held_out)
        elif self.training.validation:
            dataset, held_out = self._split(dataset)

        # 3. Statistics, of the training trials
        self._fit_statistics(dataset)

        # 4. Learner
        self._new_learner()
        if start is not None:
            self.learner_.begin_with(start.learner_)

        # 5. Prepared
        train_part = self._prepared(dataset, trains=True)
        self.learner_.meet(train_part.recordings, learns=True)
        judge = self._judge(train_part) if held_out is None else self._prepared(held_out, trains=False)

        # 6. Train
        training = self._training(train_part)
        self.n_epochs_ = training.n_epochs(len(train_part))
        folder = Run(run) if isinstance(run, str | Path) else run
        with contextlib.ExitStack() as stack:
            if on_epoch is None:
                title = f"{type(self).__name__} learns {self._learns}"
                advance = stack.enter_context(progress_bar(title, self.n_epochs_))
                on_epoch = lambda row: advance(1, str(row))  # noqa: E731
            history = train(self.learner_, train_part, judge, training, seed=self.seed_, run=folder, on_epoch=on_epoch)

        # 7. Finish
        self._finish(dataset, held_out, judge)
        self.history_ = history
        return self

    @property
    def _given_seed(self) -> int:
        return int(self.seed) if self.random_state is None else _seed(self.random_state)

    def _new_learner(self) -> None:
        with WeightsFrom(torch.Generator().manual_seed(self.seed_)):
            self.learner_ = self._make_learner()
        self.n_parameters_ = sum(parameter.numel() for parameter in self.learner_.parameters())

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

    # ------------------------------------------------------------------ saving

    def save(self, folder: Path | str | Run) -> Run:
        """Write the estimator to a run folder: settings and weights, no pickle.

        Raises:
            InputError: if the folder cannot be written; what was there before is kept.
        """
        check_is_fitted(self)
        run = folder if isinstance(folder, Run) else Run(folder)
        settings = self.get_params(deep=False)
        if isinstance(self.random_state, np.random.RandomState):
            settings |= {"seed": self.seed_, "random_state": None}
        about = {"estimator": type(self).__name__, "settings": settings, "n_features": self.n_features_in_}
        tensors = {**self.learner_.state_dict(), **self._more_tensors()}
        run.write_tensors("weights", tensors, {**about, **self._learned(), "history": self.history_})
        return run

    @classmethod
    def load(cls, folder: Path | str | Run) -> Self:
        """Read an estimator that `save` wrote.

        Raises:
            InputError: if the folder holds none, it is damaged, of another version, or another estimator's.
        """
        run = folder if isinstance(folder, Run) else Run(folder)
        tensors, about = run.read_tensors("weights")
        held = about.get("estimator") if isinstance(about, dict) else None
        if isinstance(held, str) and held != cls.__name__:
            raise InputError(f"{run.folder} holds a {held}; load it with {held}.load.")
        try:
            hints = cls._hints()
            estimator = cls(**{name: from_plain(hints[name], v, what=name) for name, v in about["settings"].items()})
            estimator._check_settings()
            estimator.seed_ = estimator._given_seed
            estimator.n_features_in_ = from_plain(int, about["n_features"], what="n_features")
            estimator._restore(about)
            estimator._take_tensors(tensors, about)
            estimator._load_weights(tensors)
            estimator.history_ = read_history(about)
        except _DAMAGE as error:
            raise InputError(
                f"{run.folder} does not hold a whole model ({error}); restore it, or train again."
            ) from error
        estimator.learner_.eval()
        return estimator

    def push_to_hub(
        self,
        repo_id: str,
        *,
        run: Run | Path | str | None = None,
        licence: str | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload the estimator, as `save` writes it, with a card that says what it is, to a hub of models.

        Args:
            repo_id: owner/name; made if it is not there.
            run: what the card tells of data, scores and settings; without, only what the estimator knows.
            licence: of the card, such as "cc-by-4.0".
            private: whether a repository that is made is.
            token: by default the one that `hf auth login` left.

        Returns:
            The address of the upload.

        Raises:
            InputError: if huggingface_hub is missing, or the hub refuses.
        """
        check_is_fitted(self)
        return push(self, repo_id, run=run, licence=licence, private=private, token=token)

    @classmethod
    def from_pretrained(
        cls, repo_id_or_folder: Path | str, *, revision: str | None = None, token: str | None = None
    ) -> Self:
        """Read an estimator from a folder that `save` wrote, or from a hub of models; the same checks hold for both.

        Args:
            repo_id_or_folder: owner/name, or a folder.
            revision: a branch, tag or commit of the repository.
            token: by default the one that `hf auth login` left.

        Raises:
            InputError: if there is none, and as `load`.
        """
        return cls.load(folder_of(repo_id_or_folder, revision=revision, token=token))

    def _load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """The learner again, with these weights."""
        with torch.device("meta"):  # sizes alone, before any memory is taken
            sizes = {name: tensor.shape for name, tensor in self._make_learner().state_dict().items()}
        if sizes != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError("its weights are of other sizes than its settings say")
        self._new_learner()
        self.learner_.load_state_dict(dict(tensors))


def _seed(random_state: Seed) -> int:
    return int(random_state)


def stacked(parts: Sequence[NDArray[Any]], n_bins: int, *, axis: int | None) -> NDArray[Any]:
    """Arrays (trial, …) of all trials, padded with NaN to so many bins along the axis of time, if any."""

    def padded(part: NDArray[Any]) -> NDArray[Any]:
        widths = [(0, n_bins - size if place == axis else 0) for place, size in enumerate(part.shape)]
        return np.pad(part, widths, constant_values=np.nan)

    is_short = axis is not None and any(part.shape[axis] < n_bins for part in parts)
    return np.concatenate([padded(part) for part in parts] if is_short else list(parts))

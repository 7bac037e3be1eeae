"""What all estimators share: how they are trained, saved and loaded."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.models.randomness import WeightsFrom
from motet.plain import from_plain
from motet.progress import progress_bar
from motet.settings import check_arguments, check_seed
from motet.training.loop import train
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, Learner, read_history

# What numbers, names and lists raise that are not what they should be.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)

Population = Recording | PopulationDataset | Sequence[Recording]


class TrainedEstimator(BaseEstimator, abc.ABC):
    """A learner and its settings, as scikit-learn knows them.

    Settings that are dataclasses are parts: scikit-learn reaches into them as `model__width`. A subclass names its
    parts, makes the learner, and says what else is saved.

    Attributes:
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.
    """

    training: TrainingSettings
    seed: int
    batch_trials: int
    learner_: Learner
    history_: list[Epoch]

    @classmethod
    @abc.abstractmethod
    def _part_settings(cls) -> Mapping[str, type[Any]]:
        """The settings that are dataclasses: name → class."""

    @abc.abstractmethod
    def _make_learner(self) -> Learner:
        """The model and its objective, as settings and what was read off the training trials say."""

    @abc.abstractmethod
    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What is saved beside settings and history: tensors, those of the learner among them, and the rest by name."""

    @abc.abstractmethod
    def _take_up(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        """Take up what `_kept` gave, read back from a file, and then `_load_weights`; what does not fit raises."""

    # ------------------------------------------------------------------ settings

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
        check_seed(self.seed)
        if self.batch_trials < 1:
            raise InputError(f"batch_trials is {self.batch_trials}; give at least 1.")

    # ------------------------------------------------------------------ fitting

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

    def _begin_fit(self) -> None:
        """Check the settings; from here on the estimator is not fitted, until all is done."""
        self._check_settings()
        if hasattr(self, "history_"):
            del self.history_

    def _new_learner(self) -> None:
        with WeightsFrom(torch.Generator().manual_seed(int(self.seed))):
            self.learner_ = self._make_learner()
        self.n_parameters_ = sum(parameter.numel() for parameter in self.learner_.parameters())

    def _train(
        self,
        dataset: PopulationDataset,
        validation: PopulationDataset | None,
        *,
        learns: str,
        run: Run | Path | str | None,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        """Train the learner on prepared trials; a progress bar says what it learns, unless `on_epoch` is called."""
        folder = Run(run) if isinstance(run, (str, Path)) else run
        with contextlib.ExitStack() as stack:
            if on_epoch is None:
                n_epochs = self.training.n_epochs(len(dataset))
                advance = stack.enter_context(progress_bar(f"{type(self).__name__} learns {learns}", n_epochs))
                on_epoch = lambda row: advance(1, str(row))  # noqa: E731
            self.history_ = train(
                self.learner_, dataset, validation, self.training, seed=int(self.seed), run=folder, on_epoch=on_epoch
            )

    # ------------------------------------------------------------------ saving

    def save(self, folder: Path | str | Run) -> Run:
        """Write the estimator to a run folder: settings and weights, no pickle.

        Raises:
            InputError: if the folder cannot be written; what was there before is kept.
        """
        check_is_fitted(self)
        run = folder if isinstance(folder, Run) else Run(folder)
        tensors, about = self._kept()
        described = {"estimator": type(self).__name__, "settings": self.get_params(deep=False)}
        run.write_tensors("weights", tensors, {**described, **about, "history": self.history_})
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
            hints = typing.get_type_hints(cls.__init__, include_extras=True)
            settings = {name: from_plain(hints[name], value, what=name) for name, value in about["settings"].items()}
            estimator = cls(**settings)
            estimator._check_settings()
            estimator._take_up(tensors, about)
            estimator.history_ = read_history(about)
        except _DAMAGE as error:
            raise InputError(
                f"{run.folder} does not hold a whole model ({error}); restore it, or train again."
            ) from error
        estimator.learner_.eval()
        return estimator

    def _load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """The learner again, with these weights."""
        with torch.device("meta"):  # sizes alone, before any memory is taken
            sizes = {name: tensor.shape for name, tensor in self._make_learner().state_dict().items()}
        if sizes != {name: tensor.shape for name, tensor in tensors.items()}:
            raise ValueError("its weights are of other sizes than its settings say")
        self._new_learner()
        self.learner_.load_state_dict(dict(tensors))

"""What all estimators share: how they are trained, saved and loaded."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.progress import progress_bar
from motet.training.loop import train
from motet.training.run import Run, from_plain
from motet.training.settings import TrainingSettings
from motet.training.state import Epoch, Learner

Population = Recording | PopulationDataset | Sequence[Recording]


class TrainedEstimator(BaseEstimator, abc.ABC):
    """A learner and its settings, as scikit-learn knows them.

    A subclass says which of its settings are dataclasses, makes the learner, and names what else is saved.

    Attributes:
        learner_: the trained model and objective.
        history_: one `Epoch` per epoch.
    """

    training: TrainingSettings
    seed: int
    learner_: Learner
    history_: list[Epoch]

    @classmethod
    @abc.abstractmethod
    def _part_settings(cls) -> Mapping[str, type[Any]]:
        """The settings that are dataclasses: name → class."""

    @abc.abstractmethod
    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What is saved beside settings and history: tensors, those of the learner among them, and the rest by name."""

    @abc.abstractmethod
    def _take_up(self, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
        """Make the learner again from what `_kept` gave, read back from a file; what does not fit raises."""

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "history_")

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
        name_held = about.get("estimator") if isinstance(about, dict) else None
        if name_held != cls.__name__:
            raise InputError(f"{run.folder} holds a {name_held}; load it with {name_held}.load.")
        try:
            settings: dict[str, Any] = about["settings"]
            plain = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
            parts = {name: from_plain(kind, settings[name]) for name, kind in cls._part_settings().items()}
            estimator = cls(**{**plain, **parts})
            estimator._take_up(tensors, about)
            estimator.history_ = [Epoch(**row) for row in about["history"]]
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{run.folder} does not hold a whole model ({error}); restore it, or train again."
            ) from error
        estimator.learner_.eval()
        return estimator

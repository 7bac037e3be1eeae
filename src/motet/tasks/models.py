"""The models of motet as methods: trained, loaded from a run, or shuffled to show chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch

from motet.data.dataset import PopulationDataset
from motet.data.leaks import fingerprint
from motet.estimators.base import Estimator
from motet.rivals.method import Answer, Fitted, Kind, Method, Say
from motet.rivals.shuffled import Shuffled, with_shuffled_targets
from motet.training.run import Run

MODEL = "eit"
RULE = "rule"  # what is inside a decoder beside the EIT
Answering = Callable[[Any, PopulationDataset], Answer]
"""From an estimator and test trials to the answer."""


@dataclasses.dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained estimator that answers.

    Attributes:
        estimator: trained.
        answers: how.
        more: what else there is to say of it.
        learned: the trials that it has learned from, or was chosen by.
    """

    estimator: Estimator
    answers: Answering
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learned: Sequence[PopulationDataset] = ()

    @property
    def n_parameters(self) -> int:
        return int(self.more.get("n_parameters", self.estimator.n_parameters_))

    @property
    def about(self) -> Mapping[str, Any]:
        history = self.estimator.history_
        return {"fit_seconds": sum(row.seconds for row in history), "history": history, **self.more}

    def predict(self, test: PopulationDataset) -> Answer:
        return self.answers(self.estimator, test)

    def save(self, run: Run) -> None:
        """Keep the model in a run, and what it has learned from, so that it is never tested on it."""
        recordings = [recording for dataset in self.learned for recording in dataset.recordings]
        numbered = [dataclasses.replace(r, name=str(number)) for number, r in enumerate(recordings)]
        bins = fingerprint(PopulationDataset(numbered)).view(np.int64)
        run.write_tensors("learned_from", {"bins": torch.from_numpy(bins)}, {})
        self.estimator.save(run)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(Method):
    """A model that is trained on the training trials.

    Attributes:
        make: the estimator, not yet fitted.
        answers: how it answers.
        validation: trials to choose the best epoch by, if they are given.
        says: what else is to be said of a fitted estimator and its training trials.
    """

    make: Callable[[], Any]
    answers: Answering
    name: str = MODEL
    validation: PopulationDataset | None = None
    says: Callable[[Any, PopulationDataset], Mapping[str, Any]] = lambda estimator, train: {}

    kind: Kind = "model"
    trains: ClassVar[bool] = True

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        assert train is not None
        estimator = self.make()
        more: dict[str, Any] = {} if self.validation is None else {"validation": self.validation}
        if say is not None:
            more["on_epoch"] = lambda row: say(1 / estimator.n_epochs_, str(row))
        estimator.fit(train, run=run, **more)
        learned = [train] if self.validation is None else [train, self.validation]
        return FittedModel(estimator, self.answers, self.says(estimator, train), learned)


@dataclasses.dataclass(frozen=True, eq=False)
class Asked(Method):
    """One part of a model that another method trains, asked alone.

    Attributes:
        name: the row of a table.
        answers: how the part answers.
        says: what else is to be said of it, as of `Trained`.
        of: that method.
    """

    name: str
    answers: Answering
    says: Callable[[Any], Mapping[str, Any]]
    of: Trained = dataclasses.field(kw_only=True)

    kind: Kind = "model"

    def asked(self, fitted: FittedModel) -> FittedModel:
        """The part, of the trained model."""
        return FittedModel(fitted.estimator, self.answers, self.says(fitted.estimator))

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        return self.asked(cast(FittedModel, self.of.fit(train, question, run=run, say=say)))


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded(Method):
    """A model that has been trained.

    Attributes:
        load: the estimator.
        answers: how it answers.
        name: of the method.
    """

    load: Callable[[], Estimator]
    answers: Answering
    name: str = MODEL

    kind: Kind = "model"

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        return FittedModel(self.load(), self.answers)


@dataclasses.dataclass(frozen=True, eq=False)
class ShuffledTargets(Shuffled):
    """Chance: a method that learns from the targets of other trials.

    Attributes:
        method: that is trained.
        seed: of the order.
    """

    seed: int

    what = "shuffled targets"
    trains = True

    def learns(self, train: PopulationDataset | None, question: Any) -> tuple[PopulationDataset | None, Any]:
        assert train is not None
        return train.map(lambda one: with_shuffled_targets(one, np.random.default_rng(self.seed))), question

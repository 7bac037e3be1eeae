"""Controls: a method to which one thing comes in a random order, so that its scores are those of chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.rivals.method import Answer, Fitted, Method, Say
from motet.training.run import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Shuffled(Method):
    """Chance: a method for which one thing is shuffled. A subclass shuffles what it learns, sees or answers.

    Attributes:
        method: that answers.
        what: is said of it in the row of a table.
    """

    method: Method

    what: ClassVar[str]
    kind = "control"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.method.name}, {self.what}"

    def learns(self, train: PopulationDataset | None, question: Any) -> tuple[PopulationDataset | None, Any]:
        """The training trials and the question that the method is given."""
        return train, question

    def seen(self, test: PopulationDataset, question: Any) -> PopulationDataset:
        """The test trials that it is given."""
        return test

    def answer(self, answer: Answer, test: PopulationDataset) -> Answer:
        """What is given for its answer."""
        return answer

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        fitted = self.method.fit(*self.learns(train, question), run=run, say=say)
        return FittedShuffled(self, fitted, question)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedShuffled:
    """A control whose method has seen training trials."""

    control: Shuffled
    fitted: Fitted
    question: Any

    @property
    def n_parameters(self) -> int:
        return self.fitted.n_parameters

    @property
    def about(self) -> Mapping[str, Any]:
        return self.fitted.about

    def predict(self, test: PopulationDataset) -> Answer:
        return self.control.answer(self.fitted.predict(self.control.seen(test, self.question)), test)


def with_shuffled_targets(recording: Recording, rng: np.random.Generator) -> Recording:
    """The recording with the targets of its trials in another order."""
    order = rng.permutation(recording.n_trials)
    return dataclasses.replace(recording, targets={name: one[order] for name, one in recording.targets.items()})

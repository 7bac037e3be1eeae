"""Decoders of a new population: fitted to a few labelled trials, and to unlabelled ones where they are of use."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording, without_targets
from motet.rivals.method import Answer, Fitted, Rival, TransferQuestion, only_recording

Decode = Callable[[Recording], NDArray[Any]]
"""From trials without targets to the target of each, (trial, …); every trial alone."""


class FewShot(Rival):
    """A rival that is fitted to a few trials of a new population: what it knows before, and how it is fitted.

    Attributes:
        name: the row of a table.
    """

    @abc.abstractmethod
    def known_before(self, train: PopulationDataset, question: TransferQuestion) -> Any:
        """What other populations teach, perhaps with `n_parameters`, and with `chosen`, what was tuned; or None."""

    @abc.abstractmethod
    def adapted(
        self, before: Any, labelled: Recording, unlabelled: Recording | None, question: TransferQuestion
    ) -> Decode:
        """The decoder of the new population."""

    def learn(self, train: PopulationDataset, question: TransferQuestion) -> Fitted:
        before = self.known_before(train, question)

        def adapt(labelled: Recording, unlabelled: Recording | None) -> Decode:
            return self.adapted(before, labelled, unlabelled, question)

        about = {"chosen": getattr(before, "chosen", {})}
        return FittedFewShot(adapt, question, getattr(before, "n_parameters", 0), about)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFewShot:
    """Answers every draw with a decoder of its own.

    Attributes:
        adapt: from labelled and unlabelled trials to the decoder.
        question: that is answered.
        n_parameters: numbers that were learned before.
        about: what else there is to say.
    """

    adapt: Callable[[Any, Recording | None], Decode]
    question: TransferQuestion
    n_parameters: int = 0
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def predict(self, test: PopulationDataset) -> Answer:
        """The "prediction" (draw, tested, …).

        Raises:
            InputError: if the calibration trials do not suffice, or tested and calibration trials are of different
                individuals, features or lengths.
        """
        recording = without_targets(only_recording(test, "a decoder of a new population"))
        answers = []
        for draw in self.question.draws:
            tested = recording.select(trials=draw.tested)
            unlabelled = draw.unlabelled and without_targets(draw.unlabelled)
            answers.append(self.adapt(draw.labelled, tested if self.question.tests_together else unlabelled)(tested))
        return {"prediction": np.stack(answers)}

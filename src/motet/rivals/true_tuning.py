"""The oracle of simulated populations: it knows how every individual is tuned, and what trials differ in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.rivals.method import Answer, Fitted, Kind, Method, Question, Say, TransferQuestion, only_recording
from motet.systems.population import expected_counts, is_simulated
from motet.training.run import Run

N_TRIALS = 1000  # of each class, over whose reaction times, speeds and noise the likelihood is averaged
LEAST = 1e-9  # expected of a bin


@dataclasses.dataclass(frozen=True)
class TrueTuning(Method):
    """Decodes directions of a simulated population by the Poisson likelihood of counts under the true rates.

    It is averaged over what trials differ in, and their common gain is fitted to each. No trial teaches it anything.
    """

    name: str = "true tuning"
    kind: Kind = "oracle"

    def answers(self, question: Question, new: Recording) -> bool:
        """Whether the truth of a new population is known."""
        return isinstance(question, TransferQuestion) and question.goal.target == "direction" and is_simulated(new)

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Fitted:
        return _FittedTruth(question)


@dataclasses.dataclass(frozen=True, eq=False)
class _FittedTruth:
    """Answers without having learned."""

    question: TransferQuestion
    n_parameters: int = 0
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def predict(self, test: PopulationDataset) -> Answer:
        recording = only_recording(test, "the oracle")
        expected = expected_counts(recording, n_trials=N_TRIALS).reshape(-1, *recording.observed.shape[1:])
        expected = np.maximum(expected, LEAST).reshape(len(expected), -1)
        counts = recording.values[..., 0].reshape(recording.n_trials, -1).astype(np.float64)
        seen = recording.observed.reshape(recording.n_trials, -1).astype(np.float64)
        likelihood = counts @ np.log(expected).T - counts.sum(axis=1, keepdims=True) * np.log(seen @ expected.T)
        of_class = logsumexp(likelihood.reshape(len(counts), -1, N_TRIALS), axis=2)
        return {"prediction": np.stack([of_class[draw.tested].argmax(axis=1) for draw in self.question.draws])}

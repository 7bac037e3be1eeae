"""Who is whom in two recordings: rules of responses, and what they are compared with.

All read the trials of both recordings by condition and bin, and none reads who is who. The first two say how sure they
are of each match; rivals have a likeness alone, and a probability where the rule is one.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.matching import Matches, match_by_distance, match_by_evidence
from motet.models.responses import Floats, ResponsePrior, Responses, Totals
from motet.rivals.method import Answer, Kind, MatchQuestion, Method, Say
from motet.rivals.shuffled import Shuffled
from motet.training.run import Run
from motet.transport import assignment

SMOOTHING_TRIALS = 3.0  # of a neuron's mean rate, that its PSTH begins with


def sums_of(test: PopulationDataset, question: MatchQuestion) -> tuple[Totals, Totals]:
    """What the trials of both recordings sum up to.

    Raises:
        InputError: if there are not two, or they have several features.
    """
    if len(test.recordings) != 2:
        raise InputError(f"{len(test.recordings)} recordings were given; individuals are matched between two.")
    a, b = (
        Totals.of(recording, question.labels[recording.name], question.n_conditions, question.n_bins)
        for recording in test.recordings
    )
    return a, b


def answer_of(matches: Matches, *, claims_role: bool) -> Answer:
    """Matches as an answer, which claims that they play the same role, or that they are the same individual."""
    return {
        "claims_role": np.array([claims_role]),
        "score": matches.score,
        "partner": matches.partner,
        "confidence": matches.confidence,
        "is_declared": matches.is_declared,
        "p_shared": np.array([matches.p_shared]),
    }


class Matcher(Method):
    """A rule that needs no training: what it learns, it learns from the two recordings, without knowing who is whom."""

    n_parameters = 0

    def __init__(self) -> None:
        self.about: Mapping[str, Any] = {}

    def fit(
        self, train: PopulationDataset | None, question: Any, *, run: Run | None = None, say: Say | None = None
    ) -> Matcher:
        if not isinstance(question, MatchQuestion):
            raise InputError(f"{self.name} does not answer {question}; ask it who is whom.")
        self.question = question
        return self

    def predict(self, test: PopulationDataset) -> Answer:
        return self.match(*sums_of(test, self.question))

    @abc.abstractmethod
    def match(self, a: Totals, b: Totals) -> Answer:
        """Partners in b of the individuals of a."""


class SameIndividual(Matcher):
    """The Bayes factor that two individuals have one response against two of the population (see `ResponsePrior`)."""

    name = "bayes factor"
    kind: Kind = "model"

    def match(self, a: Totals, b: Totals) -> Answer:
        prior, (one, other) = learned(a, b)
        self.n_parameters = prior.n_parameters
        matches = match_by_evidence(prior.log_bayes_factor(one, other), fdr=self.question.fdr)
        return answer_of(matches, claims_role=False)


class SameRole(Matcher):
    """How far the shapes of responses are apart: Wasserstein-2, whatever their levels and depths."""

    name = "response distance"
    kind: Kind = "model"

    def match(self, a: Totals, b: Totals) -> Answer:
        prior, (one, other) = learned(a, b)
        self.n_parameters = prior.n_parameters
        shapes = [prior.shapes(responses) for responses in (one, other)]
        q = self.question
        matches = match_by_distance(*shapes, pairing=q.pairing, fdr=q.fdr, seed=q.seed)
        return answer_of(matches, claims_role=True)


def learned(a: Totals, b: Totals) -> tuple[ResponsePrior, list[Responses]]:
    """The prior of both populations, and what is known of their responses."""
    if a.are_counts != b.are_counts:
        raise InputError("one recording holds counts and the other does not; give both in the same unit.")
    return ResponsePrior.fit([a, b])


class PsthLikelihood(Matcher):
    """The Poisson likelihood of an individual's counts under the smoothed PSTH of another."""

    name = "psth likelihood"

    def match(self, a: Totals, b: Totals) -> Answer:
        if not (a.are_counts and b.are_counts):
            raise InputError(f"{self.name} reads counts; the recordings hold other values.")
        n = b.n.sum(axis=(1, 2), keepdims=True)
        level = b.total.sum(axis=(1, 2), keepdims=True) / np.maximum(n, 1)
        rate = np.maximum((b.total + SMOOTHING_TRIALS * level) / (b.n + SMOOTHING_TRIALS), 1e-9)
        flat = [part.reshape(len(part), -1) for part in (a.total, a.n, rate)]
        return likely(flat[0] @ np.log(flat[2]).T - flat[1] @ flat[2].T)


def likely(log_likelihood: Floats) -> Answer:
    """An answer of log-likelihoods (a, b): one partner each, and its probability among all."""
    partner = assignment(-log_likelihood)
    probability = np.exp(log_likelihood - logsumexp(log_likelihood, axis=1, keepdims=True))
    confidence = np.where(partner >= 0, probability[np.arange(len(partner)), partner], 0.0)
    return {"score": log_likelihood, "partner": partner, "confidence": confidence}


class PsthCorrelation(Matcher):
    """The correlation of two PSTHs, which knows neither levels nor depths."""

    name = "psth correlation"

    def match(self, a: Totals, b: Totals) -> Answer:
        rows = [(one.total / np.maximum(one.n, 1)).reshape(len(one), -1) for one in (a, b)]
        rows = [part - part.mean(axis=1, keepdims=True) for part in rows]
        rows = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-300) for part in rows]
        return {"score": rows[0] @ rows[1].T}


class MeanLevel(Matcher):
    """How near two mean values are, on the scale of √counts where they are counts."""

    name = "mean level"

    def match(self, a: Totals, b: Totals) -> Answer:
        level = [one.total.sum(axis=(1, 2)) / np.maximum(one.n.sum(axis=(1, 2)), 1) for one in (a, b)]
        roots = [np.sqrt(part) if a.are_counts and b.are_counts else part for part in level]
        return {"score": -np.abs(roots[0][:, None] - roots[1])}


class ShuffledIndividuals(Shuffled):
    """Chance: in every condition and bin, the individuals of the second recording are shuffled."""

    what = "shuffled"

    def seen(self, test: PopulationDataset, question: MatchQuestion) -> PopulationDataset:
        first, second = test.recordings
        return PopulationDataset([first, shuffled(second, question.labels[second.name], question.seed)])


def shuffled(recording: Recording, labels: NDArray[np.int64], seed: int) -> Recording:
    """The recording without its individuals: in every condition and bin, the values of another one, drawn each time."""
    rng = np.random.default_rng(seed)
    values, observed = recording.values.copy(), recording.observed.copy()
    for label in np.unique(labels):
        trials = np.flatnonzero(labels == label)
        for time in range(recording.n_bins):
            order = rng.permutation(recording.n_individuals)
            values[trials, :, time] = recording.values[trials[:, None], order, time]
            observed[trials, :, time] = recording.observed[trials[:, None], order, time]
    return dataclasses.replace(recording, values=values, observed=observed)


MATCHERS: tuple[type[Matcher], ...] = (SameIndividual, SameRole, PsthLikelihood, PsthCorrelation, MeanLevel)

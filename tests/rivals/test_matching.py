"""Rivals of matching are what they say, and the control has lost its individuals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.matching import (
    MATCHERS,
    MeanLevel,
    PsthCorrelation,
    PsthLikelihood,
    SameIndividual,
    ShuffledIndividuals,
    shuffled,
)
from motet.rivals.method import MatchQuestion, TargetQuestion

N, N_TRIALS, N_BINS = 8, 40, 4
LABELS = np.arange(N_TRIALS) % 2


@pytest.fixture(scope="module")
def pair():
    rate = np.random.default_rng(0).gamma(2, 2, (2, N, N_BINS))
    sides = [np.random.default_rng(seed).poisson(rate[LABELS]).astype(float) for seed in (1, 2)]
    return PopulationDataset([Recording.from_trials(s, name=name) for s, name in zip(sides, "ab", strict=True)])


@pytest.fixture(scope="module")
def question():
    return MatchQuestion({"a": LABELS, "b": LABELS}, 2, N_BINS)


def test_the_likelihood_is_that_of_poisson_under_the_smoothed_psth(pair, question):
    score = PsthLikelihood().fit(None, question).predict(pair)["score"]
    a, b = (recording.values[..., 0].astype(float) for recording in pair.recordings)
    rate = np.stack([(b[c == LABELS].sum(axis=0) + 3 * b.mean(axis=(0, 2))[:, None]) / 23 for c in (0, 1)])
    expected = [[poisson.logpmf(a[:, i], rate[LABELS, j]).sum() for j in range(N)] for i in range(N)]
    own = np.asarray(expected) - score  # what does not depend on the candidate
    np.testing.assert_allclose(own, own[:, :1].repeat(N, axis=1), rtol=1e-5)


@pytest.mark.parametrize("rule", MATCHERS)
def test_every_rule_finds_individuals_that_are_plain_to_see_whatever_their_order(pair, question, rule):
    order = np.random.default_rng(0).permutation(N)
    turned = PopulationDataset([pair.recordings[0], pair.recordings[1].select(individuals=order)])
    plain, found = (rule().fit(None, question).predict(one) for one in (pair, turned))
    np.testing.assert_allclose(found["score"], plain["score"][:, order], rtol=1e-4, atol=1e-3)
    n_least = 3 if rule is MeanLevel else 5
    assert (order[found["score"].argmax(axis=1)] == np.arange(N)).sum() >= n_least


def test_the_control_has_lost_its_individuals_and_nothing_else(pair, question):
    second = pair.recordings[1]
    mixed = shuffled(second, LABELS, seed=0)
    np.testing.assert_array_equal(np.sort(mixed.values, axis=1), np.sort(second.values, axis=1))
    assert not np.array_equal(mixed.values, second.values)
    control = ShuffledIndividuals(SameIndividual())
    answer = control.fit(None, question).predict(pair)
    assert control.name == "bayes factor, shuffled"
    assert not answer["is_declared"].any()


def test_correlations_know_no_level_and_no_depth(pair, question):
    plain = PsthCorrelation().fit(None, question).predict(pair)["score"]
    deeper = pair.map(lambda r: Recording.from_trials(3 * r.values + 2, name=r.name))
    np.testing.assert_allclose(PsthCorrelation().fit(None, question).predict(deeper)["score"], plain, atol=1e-6)


def test_what_cannot_be_matched_is_refused(pair, question):
    with pytest.raises(InputError, match="1 recordings were given"):
        MeanLevel().fit(None, question).predict(PopulationDataset(pair.recordings[0]))
    with pytest.raises(InputError, match="ask it who is whom"):
        MeanLevel().fit(None, TargetQuestion("side", "class", "trial"))
    halves = pair.map(lambda r: Recording.from_trials(r.values + 0.5, name=r.name))
    with pytest.raises(InputError, match="reads counts"):
        PsthLikelihood().fit(None, question).predict(halves)
    with pytest.raises(InputError, match="the same unit"):
        SameIndividual().fit(None, question).predict(PopulationDataset([pair.recordings[0], halves.recordings[1]]))

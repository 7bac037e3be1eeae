"""The closed-form rivals: what every rule must respect, and what each computes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from motet.data.motion import Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import accuracy, auroc, known_pairs
from motet.models.pair_rules import PAIR_RULES, WINDOWS, fit_threshold

BIN_SECONDS = 0.2
PAIR_OF = np.array([0, 0, 1, 1, 2, 2])
TRUTH = np.where(np.eye(6, dtype=bool), -1, PAIR_OF[:, None] == PAIR_OF)
RULES = pytest.mark.parametrize("rule", PAIR_RULES.values(), ids=PAIR_RULES)
ABOUT_THE_ORIGIN = {"antipodal-frame", "antipodal-window", "total-position"}


def features_of(rule):
    return rule.reads[0]


def circling(rng, n_trials=6, n_bins=20, noise=0.002):
    """Three pairs that circle their drifting centres, opposite each other: (trial, individual, time, 2)."""
    seconds = np.arange(n_bins) * BIN_SECONDS
    rate, phase, radius = (rng.uniform(*span, (n_trials, 3, 1)) for span in ((1, 2), (0, 6), (0.5, 1.0)))
    angle = phase + rate * seconds
    swing = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    centre = rng.uniform(-1, 1, (n_trials, 3, 1, 2)) + rng.normal(size=(n_trials, 3, 1, 2)) * seconds[:, None]
    bodies = np.stack([centre + swing, centre - swing], axis=2).reshape(n_trials, 6, n_bins, 2)
    return bodies + noise * rng.normal(size=bodies.shape)


def oscillating(rng, n_trials=6, n_bins=20):
    """Three pairs of oscillators, of which each first one leads: (trial, individual, time, cos and sin)."""
    rate = rng.uniform(1, 4, (n_trials, 6, 1))
    wobble = np.cumsum(rng.normal(size=(n_trials, 3, n_bins)), axis=-1) * 0.1
    phase = rate * np.arange(n_bins) * BIN_SECONDS + np.repeat(wobble, 2, axis=1)
    return np.stack([np.cos(phase), np.sin(phase)], axis=-1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def recording_for(rng):
    """A recording that a rule can read."""

    def make(rule, **fields):
        values = (oscillating if features_of(rule) == "phase" else circling)(rng, **fields)
        return Recording.from_trials(values, bin_seconds=BIN_SECONDS)

    return make


def scored(rule, recording):
    return rule.score(recording, features=features_of(rule))


def assert_same(scores, expected):
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- every rule


@RULES
def test_scores_are_symmetric_finite_and_none_on_the_diagonal(rule, recording_for):
    scores = scored(rule, recording_for(rule))
    off_diagonal = ~np.eye(6, dtype=bool)
    assert scores.shape == (6, 6, 6)
    assert np.isfinite(scores[:, off_diagonal]).all()
    assert np.isnan(scores[:, ~off_diagonal]).all()
    assert np.array_equal(scores, scores.swapaxes(1, 2), equal_nan=True)


@RULES
def test_the_order_of_individuals_does_not_matter(rule, recording_for, rng):
    recording, order = recording_for(rule), rng.permutation(6)
    shuffled = scored(rule, recording.select(individuals=order))
    assert_same(shuffled, scored(rule, recording)[:, order][:, :, order])


@RULES
def test_each_trial_is_scored_alone_whatever_the_length_of_others(rule, recording_for):
    recording = recording_for(rule)
    trials = [recording.values[trial, :, : 20 - 3 * (trial % 3)] for trial in range(6)]
    together = scored(rule, Recording.from_trials(trials, bin_seconds=BIN_SECONDS))
    alone = [scored(rule, Recording.from_trials([trial], bin_seconds=BIN_SECONDS))[0] for trial in trials]
    assert_same(together, np.stack(alone))


@RULES
def test_absent_individuals_score_nothing_and_change_nothing(rule, recording_for):
    recording = recording_for(rule)
    kept = [0, 2, 3, 5, 6, 7]
    values = np.full((6, 8, *recording.values.shape[2:]), np.nan)
    values[:, kept] = recording.values
    padded = scored(rule, Recording.from_trials(values, bin_seconds=BIN_SECONDS))
    assert_same(padded[:, kept][:, :, kept], scored(rule, recording))
    assert np.isnan(padded[:, [1, 4]]).all()


@RULES
def test_junk_where_nothing_is_observed_changes_nothing(rule, recording_for, rng):
    recording = recording_for(rule)
    observed = rng.random(recording.observed.shape) < 0.85
    observed[..., :8] = True
    with_gaps = dataclasses.replace(
        recording, observed=observed, values=np.where(observed[..., None], recording.values, np.float32(0))
    )
    junk = dataclasses.replace(with_gaps, values=np.where(observed[..., None], recording.values, np.float32(1e3)))
    scores = scored(rule, with_gaps)
    assert np.isfinite(scores[:, ~np.eye(6, dtype=bool)]).all()
    assert np.array_equal(scores, scored(rule, junk), equal_nan=True)


@RULES
def test_only_rules_about_the_origin_know_where_it_is_and_none_knows_directions(rule, recording_for):
    if features_of(rule) == "phase":
        pytest.skip("phases are no places")
    recording = recording_for(rule)
    turned = recording.values @ np.array([[0.6, -0.8], [0.8, 0.6]])
    moved = turned if rule.name in ABOUT_THE_ORIGIN else turned + 2
    there = dataclasses.replace(recording, values=moved.astype(np.float32))
    if rule.name in ("correlation", "partial-correlation"):  # samples of all coordinates
        there = dataclasses.replace(recording, values=recording.values + np.float32(2))
    np.testing.assert_allclose(scored(rule, there), scored(rule, recording), rtol=0.02, atol=0.02)


@RULES
def test_a_rule_reads_only_what_it_says_and_finds_its_best_window_in_training(rule, recording_for):
    recording = recording_for(rule)
    unread = next(f for f in ("none", "phase", "position") if f not in rule.reads)
    with pytest.raises(InputError, match=f"features are '{unread}'"):
        rule.score(recording, features=unread)
    recording, truth = recording.select(trials=[0, 1]), np.broadcast_to(TRUTH, (2, 6, 6))
    tuned = rule.tuned(recording, truth, features=features_of(rule))
    if rule.window is None and rule.ridge is None:
        assert tuned is rule
        return

    def found(candidate):
        return auroc(prediction=scored(candidate, recording), target=truth, observed=known_pairs(truth))

    windows = WINDOWS if rule.window else (None,)
    assert tuned.window in windows
    best = max(found(dataclasses.replace(tuned, window=window)) for window in windows)
    assert found(tuned) == best >= found(rule)


def test_blocks_of_trials_make_no_difference(recording_for, monkeypatch):
    recording = recording_for(PAIR_RULES["together"])
    expected = [scored(PAIR_RULES[name], recording) for name in ("together", "granger", "straight-centre-3")]
    monkeypatch.setattr("motet.models.pair_rules.BLOCK_SIZE", 1)
    monkeypatch.setattr("motet.models.straight_centres.BLOCK_SIZE", 1)
    for name, scores in zip(("together", "granger", "straight-centre-3"), expected, strict=True):
        assert_same(scored(PAIR_RULES[name], recording), scores)


# ---------------------------------------------------------------------- what each rule looks at


@pytest.mark.parametrize(
    "name",
    ["antiparallel-swing", "antiparallel-acceleration", "third-law", "straight-centre-2", "correlation"],
)
def test_rules_of_opposites_find_pairs_that_circle_each_other(name, rng):
    recording = Recording.from_trials(circling(rng, n_trials=40), bin_seconds=BIN_SECONDS)
    truth = np.broadcast_to(TRUTH, (40, 6, 6))
    scores = PAIR_RULES[name].score(recording)
    assert auroc(prediction=scores, target=truth, observed=known_pairs(truth)) > 0.97


def test_antipodal_rules_are_the_distance_to_the_mirrored_other(rng):
    values = rng.normal(size=(3, 4, 7, 2))
    values[:, 0, 0] = np.nan  # the first frame in which both are there is the second
    recording = Recording.from_trials(values)
    squared = ((values[:, :, None] + values[:, None]) ** 2).sum(-1)
    first = np.where(np.isnan(squared[..., 0]), squared[..., 1], squared[..., 0])
    off_diagonal = ~np.eye(4, dtype=bool)
    frame, window = (PAIR_RULES[f"antipodal-{kind}"].score(recording) for kind in ("frame", "window"))
    assert_same(frame[:, off_diagonal], -first[:, off_diagonal])
    assert_same(window[:, off_diagonal], -np.nanmean(squared, axis=-1)[:, off_diagonal])


def test_together_is_the_largest_distance(rng):
    values = rng.normal(size=(3, 4, 7, 2))
    scores = PAIR_RULES["together"].score(Recording.from_trials(values))
    assert scores[1, 0, 2] == pytest.approx(-np.linalg.norm(values[1, 0] - values[1, 2], axis=-1).max(), rel=1e-5)


@pytest.mark.parametrize("name", ["antiparallel-velocity", "antiparallel-acceleration"])
def test_antiparallel_is_minus_the_cosine_over_the_window(name, rng):
    recording = Recording.from_trials(circling(rng), bin_seconds=BIN_SECONDS)
    half_width, degree = PAIR_RULES[name].window
    motion = Motion.of(recording, MotionSettings(half_width=half_width, degree=degree))
    one, other = getattr(motion, name.removeprefix("antiparallel-"))[2, [1, 4]]
    expected = -(one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    assert PAIR_RULES[name].score(recording)[2, 1, 4] == pytest.approx(expected)


def test_the_third_law_takes_the_best_ratio_of_masses_that_is_allowed(rng):
    recording = Recording.from_trials(circling(rng, noise=0.1), bin_seconds=BIN_SECONDS)
    half_width, degree = PAIR_RULES["third-law"].window
    acceleration = Motion.of(recording, MotionSettings(half_width=half_width, degree=degree)).acceleration
    ratio = np.exp(np.linspace(-math.log(2), math.log(2), 2001))
    scores = PAIR_RULES["third-law"].score(recording)
    for one, other in [(0, 1), (0, 2), (3, 5)]:
        a, b = acceleration[1, one].ravel(), acceleration[1, other].ravel()
        left = ((a + ratio[:, None] * b) ** 2).sum(axis=1) / (1 + ratio**2)
        assert scores[1, one, other] == pytest.approx(-np.log(left.min()), abs=1e-4)


def test_totals_of_groups_are_least_where_the_pairwise_sum_is_largest(rng):
    recording = Recording.from_trials(circling(rng), bin_seconds=BIN_SECONDS)
    scores = np.nan_to_num(PAIR_RULES["total-position"].score(recording)[0])
    total = (recording.values[0, [0, 2, 5]].sum(0) ** 2).sum()
    own = (recording.values[0, [0, 2, 5]] ** 2).sum()
    assert total == pytest.approx(own - scores[np.ix_([0, 2, 5], [0, 2, 5])].sum(), rel=1e-4)


def test_partial_correlation_is_that_of_the_shrunk_covariance(rng):
    recording = Recording.from_trials(circling(rng, noise=0.1), bin_seconds=BIN_SECONDS)
    velocity = Motion.of(recording, MotionSettings(half_width=2, degree=2)).velocity[3]
    samples = (velocity - velocity.mean(axis=1, keepdims=True)).reshape(6, -1)
    samples /= np.sqrt((samples**2).mean(axis=1, keepdims=True))
    precision = np.linalg.inv(ledoit_wolf(samples.T, assume_centered=True)[0])
    expected = np.abs(precision) / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    scores = PAIR_RULES["partial-correlation"].score(recording)[3]
    assert_same(scores[~np.eye(6, dtype=bool)], expected[~np.eye(6, dtype=bool)])
    correlation = PAIR_RULES["correlation"].score(recording)[3]
    assert correlation[0, 3] == pytest.approx(abs(np.corrcoef(samples)[0, 3]))


def test_granger_is_the_log_ratio_of_what_is_left_without_and_with_the_other(rng):
    recording = Recording.from_trials(circling(rng, noise=0.1), bin_seconds=BIN_SECONDS)
    velocity = Motion.of(recording, MotionSettings(half_width=2, degree=2)).velocity[3]

    def left(target, *inputs):
        now = velocity[target, 2:] - velocity[target, 2:].mean(0)
        past = np.concatenate([velocity[i, 2 - lag : -lag] for i in inputs for lag in (1, 2)], axis=1)
        past = past - past.mean(0)
        ridge = np.repeat([1e-3 * (past[:, k : k + 4] ** 2).sum() / 4 for k in range(0, past.shape[1], 4)], 4)
        weights = np.linalg.solve(past.T @ past + np.diag(ridge), past.T @ now)
        return (now**2).sum() - (now * (past @ weights)).sum()

    both_ways = [math.log(left(one, one) / left(one, one, other)) for one, other in ((1, 4), (4, 1))]
    expected = np.mean(both_ways)
    assert PAIR_RULES["granger"].score(recording)[3, 1, 4] == pytest.approx(expected, rel=1e-4)


def test_granger_finds_who_follows_whom(rng):
    leader = np.cumsum(rng.normal(size=(60, 3, 40, 1)), axis=2)
    follower = np.roll(leader, 1, axis=2) + 0.3 * rng.normal(size=leader.shape)
    values = np.cumsum(np.stack([leader, follower], axis=2).reshape(60, 6, 40, 1), axis=2)
    truth = np.broadcast_to(TRUTH, (60, 6, 6))
    scores = dataclasses.replace(PAIR_RULES["granger"], window=(1, 2)).score(Recording.from_trials(values))
    assert auroc(prediction=scores, target=truth, observed=known_pairs(truth)) > 0.9


# ---------------------------------------------------------------------- thresholds


def test_no_threshold_is_right_more_often_than_the_fitted_one(rng):
    truth = np.triu(rng.integers(0, 2, (20, 5, 5)), k=1)
    truth = np.where(np.triu(np.ones((5, 5), dtype=bool), k=1), truth, -1)
    score = np.round(rng.normal(size=truth.shape) + truth, 1)  # with ties
    known = known_pairs(truth)

    def right(threshold):
        return accuracy(prediction=(score >= threshold).astype(int), target=truth, observed=known)

    best = max(right(level) for level in [*np.unique(score[known]), np.inf])
    assert right(fit_threshold(score, truth)) == best


def test_a_threshold_is_infinite_where_an_edge_is_never_the_better_guess():
    truth = np.array([[[-1, 0, 1], [-1, -1, 0], [-1, -1, -1]]])
    assert fit_threshold(np.zeros((1, 3, 3)), truth) == math.inf
    assert fit_threshold(np.zeros((1, 3, 3)), np.where(truth >= 0, 1, -1)) == 0.0


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [
        (np.full((1, 2, 2), np.nan), [[[-1, 1], [1, -1]]], "NaN"),
        (np.zeros((2, 2, 2)), [[[-1, 1], [1, -1]]], "of shape"),
        (np.zeros((1, 2, 2)), [[[-1, -1], [-1, -1]]], "there are 0"),
    ],
)
def test_a_threshold_needs_scores_of_known_pairs(score, truth, message):
    with pytest.raises(InputError, match=message):
        fit_threshold(score, truth)


def test_short_trials_are_an_input_error(rng):
    recording = Recording.from_trials(circling(rng, n_bins=5), bin_seconds=BIN_SECONDS)
    with pytest.raises(InputError, match="Granger causality needs 6"):
        PAIR_RULES["granger"].score(recording)
    with pytest.raises(InputError, match="three are needed"):
        PAIR_RULES["antiparallel-swing"].score(recording.select(bins=slice(0, 2)))

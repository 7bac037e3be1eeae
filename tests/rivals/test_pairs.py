"""Rivals of pairs: what every score must respect, what each computes, and what makes probabilities of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from motet.data.dataset import PopulationDataset
from motet.data.motion import Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import auroc, known_pairs
from motet.rivals import pairs
from motet.rivals.force_fit import fit_forces
from motet.rivals.method import PairQuestion
from motet.rivals.pair_scores import PAIR_RULES
from motet.rivals.pairs import VALUES, WINDOWS, FittedPairs, LogOdds, PairRival
from motet.systems import FORCES, simulate

BIN_SECONDS = 0.2
PAIR_OF = np.array([0, 0, 1, 1, 2, 2])
TRUTH = np.where(np.eye(6, dtype=bool), -1, PAIR_OF[:, None] == PAIR_OF)
RIVALS = {rival.name: rival for rival in PAIR_RULES.values()}
SCORES = pytest.mark.parametrize(
    "rule", [r for r in PAIR_RULES.values() if r.name != "base rate"], ids=lambda r: r.name
)
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


def learned(rival: PairRival | str, recordings, truths, features="position") -> FittedPairs:
    """The rival, fitted to recordings with such a truth."""
    recordings = [
        dataclasses.replace(r, targets={"truth": np.asarray(t)}, target_levels={"truth": "pair"}, name=f"r/{k}")
        for k, (r, t) in enumerate(zip(recordings, truths, strict=True))
    ]
    question = PairQuestion("truth", (0, 1), is_directed=False, features=features)
    return (RIVALS[rival] if isinstance(rival, str) else rival).learn(PopulationDataset(recordings), question)


def scored(rule, recording):
    return rule.score(recording, features=features_of(rule))


def assert_same(scores, expected):
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- every rule


@SCORES
def test_scores_are_finite_none_on_the_diagonal_and_symmetric_where_that_is_asked(rule, recording_for):
    recording = recording_for(rule)
    scores = rule.score(recording, features=features_of(rule), is_directed=False)
    off_diagonal = ~np.eye(6, dtype=bool)
    assert scores.shape == (6, 6, 6)
    assert np.isfinite(scores[:, off_diagonal]).all()
    assert np.isnan(scores[:, ~off_diagonal]).all()
    assert np.array_equal(scores, scores.swapaxes(1, 2), equal_nan=True)
    if rule.both_ways is None:
        assert np.array_equal(scores, scored(rule, recording), equal_nan=True)


@SCORES
def test_each_trial_is_scored_alone_whatever_the_length_of_others(rule, recording_for):
    recording = recording_for(rule)
    trials = [recording.values[trial, :, : 20 - 3 * (trial % 3)] for trial in range(6)]
    together = scored(rule, Recording.from_trials(trials, bin_seconds=BIN_SECONDS))
    alone = [scored(rule, Recording.from_trials([trial], bin_seconds=BIN_SECONDS))[0] for trial in trials]
    assert_same(together, np.stack(alone))


@SCORES
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


@SCORES
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


@SCORES
def test_a_rule_reads_only_what_it_says_and_tuning_makes_it_no_worse_in_training(rule, recording_for, monkeypatch):
    recording, features = recording_for(rule), features_of(rule)
    for unread in {"none", "phase", "position"} - set(rule.reads):
        with pytest.raises(InputError, match=f"features are '{unread}'"):
            rule.score(recording, features=unread)
    for name, few in (("WINDOWS", WINDOWS[1:4]), ("RIDGE_FACTORS", (0.1, 1.0)), ("LAGS", (1, 2))):
        monkeypatch.setattr(pairs, name, few)
    recording, truth = recording.select(trials=[0, 1]), np.broadcast_to(TRUTH, (2, 6, 6))
    tuned = learned(rule, [recording], [truth], features)

    def found(scores):
        return auroc(prediction=scores, target=truth, observed=known_pairs(truth))

    best = found(tuned.score(recording))
    assert best >= max(found(rule.score(recording, features=features, is_directed=False)), 0.5)
    if "window" in rule.options:
        assert tuned.chosen["window"] in (rule.options["window"], VALUES, *WINDOWS)
        for window in WINDOWS[1:4]:
            options = {name: tuned.chosen[name] for name in rule.options} | {"window": window}
            scores = rule.score(recording, features=features, is_directed=False, **options)
            assert best >= max(map(found, (scores, -scores, np.abs(scores))))


def test_blocks_of_trials_make_no_difference(recording_for, monkeypatch):
    recording = recording_for(RIVALS["together"])
    expected = [scored(RIVALS[name], recording) for name in ("together", "granger", "straight-centre-3")]
    monkeypatch.setattr("motet.rivals.pairs.BLOCK_SIZE", 1)
    monkeypatch.setattr("motet.rivals.straight_centres.BLOCK_SIZE", 1)
    for name, scores in zip(("together", "granger", "straight-centre-3"), expected, strict=True):
        assert_same(scored(RIVALS[name], recording), scores)


# ---------------------------------------------------------------------- what each rule looks at


@pytest.mark.parametrize(
    "name",
    ["antiparallel-swing", "antiparallel-acceleration", "third-law", "straight-centre-2", "correlation"],
)
def test_rules_of_opposites_find_pairs_that_circle_each_other(name, rng):
    recording = Recording.from_trials(circling(rng, n_trials=40), bin_seconds=BIN_SECONDS)
    truth = np.broadcast_to(TRUTH, (40, 6, 6))
    scores = RIVALS[name].score(recording)
    assert auroc(prediction=scores, target=truth, observed=known_pairs(truth)) > 0.97


def test_antipodal_rules_are_the_distance_to_the_mirrored_other(rng):
    values = rng.normal(size=(3, 4, 7, 2))
    values[:, 0, 0] = np.nan  # the first frame in which both are there is the second
    recording = Recording.from_trials(values)
    squared = ((values[:, :, None] + values[:, None]) ** 2).sum(-1)
    first = np.where(np.isnan(squared[..., 0]), squared[..., 1], squared[..., 0])
    off_diagonal = ~np.eye(4, dtype=bool)
    frame, window = (RIVALS[f"antipodal-{kind}"].score(recording) for kind in ("frame", "window"))
    assert_same(frame[:, off_diagonal], -first[:, off_diagonal])
    assert_same(window[:, off_diagonal], -np.nanmean(squared, axis=-1)[:, off_diagonal])


def test_together_is_the_largest_distance(rng):
    values = rng.normal(size=(3, 4, 7, 2))
    scores = RIVALS["together"].score(Recording.from_trials(values))
    assert scores[1, 0, 2] == pytest.approx(-np.linalg.norm(values[1, 0] - values[1, 2], axis=-1).max(), rel=1e-5)


@pytest.mark.parametrize("name", ["antiparallel-velocity", "antiparallel-acceleration"])
def test_antiparallel_is_minus_the_cosine_over_the_window(name, rng):
    recording = Recording.from_trials(circling(rng), bin_seconds=BIN_SECONDS)
    half_width, degree = RIVALS[name].options["window"]
    motion = Motion.of(recording, MotionSettings(half_width=half_width, degree=degree))
    one, other = getattr(motion, name.removeprefix("antiparallel-"))[2, [1, 4]]
    expected = -(one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    assert RIVALS[name].score(recording)[2, 1, 4] == pytest.approx(expected)


def test_the_third_law_takes_the_best_ratio_of_masses_that_is_allowed(rng):
    recording = Recording.from_trials(circling(rng, noise=0.1), bin_seconds=BIN_SECONDS)
    half_width, degree = RIVALS["third-law"].options["window"]
    acceleration = Motion.of(recording, MotionSettings(half_width=half_width, degree=degree)).acceleration
    ratio = np.exp(np.linspace(-math.log(2), math.log(2), 2001))
    scores = RIVALS["third-law"].score(recording)
    for one, other in [(0, 1), (0, 2), (3, 5)]:
        a, b = acceleration[1, one].ravel(), acceleration[1, other].ravel()
        left = ((a + ratio[:, None] * b) ** 2).sum(axis=1) / (1 + ratio**2)
        assert scores[1, one, other] == pytest.approx(-np.log(left.min()), abs=1e-4)


def test_totals_of_groups_are_least_where_the_pairwise_sum_is_largest(rng):
    recording = Recording.from_trials(circling(rng), bin_seconds=BIN_SECONDS)
    scores = np.nan_to_num(RIVALS["total-position"].score(recording)[0])
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
    scores = RIVALS["partial-correlation"].score(recording)[3]
    assert_same(scores[~np.eye(6, dtype=bool)], expected[~np.eye(6, dtype=bool)])
    correlation = RIVALS["correlation"].score(recording)[3]
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

    one_way, other_way = (math.log(left(one, one) / left(one, one, other)) for one, other in ((1, 4), (4, 1)))
    assert RIVALS["granger"].score(recording)[3, 1, 4] == pytest.approx(one_way, rel=1e-4)
    expected = (one_way + other_way) / 2
    assert RIVALS["granger"].score(recording, is_directed=False)[3, 1, 4] == pytest.approx(expected, rel=1e-4)


def test_granger_given_all_is_what_leaving_one_out_of_a_joint_regression_costs(rng):
    recording = Recording.from_trials(circling(rng, n_bins=40, noise=0.1), bin_seconds=BIN_SECONDS)
    options = {"window": VALUES, "lags": 1, "ridge": 1e-6}
    values = recording.values[3].astype(np.float64)

    def left(inputs):
        past = np.concatenate([values[i, :-1] for i in inputs], axis=1)
        past, now = past - past.mean(0), values[1, 1:] - values[1, 1:].mean(0)
        return ((now - past @ np.linalg.lstsq(past, now)[0]) ** 2).sum()

    expected = math.log(left([0, 1, 2, 3, 5]) / left(range(6)))
    score = RIVALS["granger-given-all"].score(recording, **options)[3, 1, 4]
    assert score == pytest.approx(expected, rel=0.01)


# ---------------------------------------------------------------------- directed truth


def directed_graphs(rng, n_trials, n=5, share=0.3):
    """(trial, individual, individual) whether the first is acted on by the second; -1 on the diagonal."""
    return np.where(np.eye(n, dtype=bool), -1, rng.random((n_trials, n, n)) < share)


def directed_oscillators(rng, n_trials=30, n_bins=30):
    """Phases that are pulled one way."""
    truth = directed_graphs(rng, n_trials)
    own, phase = rng.uniform(1, 6, truth.shape[:2]), rng.uniform(0, 2 * np.pi, truth.shape[:2])
    waves = []
    for _ in range(n_bins):
        waves.append(np.stack([np.cos(phase), np.sin(phase)], axis=-1))
        for _ in range(20):
            pull = ((truth > 0) * np.sin(phase[:, None] - phase[:, :, None])).sum(axis=2)
            phase = phase + 0.005 * (own + 1.5 * pull)
    return Recording.from_trials(np.stack(waves, axis=2), bin_seconds=0.1), truth


def lagged_network(rng, n_trials=30, n_bins=80):
    """Signals of which each follows some others, one bin later."""
    truth = directed_graphs(rng, n_trials)
    x, signals = rng.normal(size=truth.shape[:2]), []
    for _ in range(n_bins):
        x = 0.3 * x + 0.4 * np.einsum("bij,bj->bi", truth > 0, x) + rng.normal(size=x.shape)
        signals.append(x)
    return Recording.from_trials(np.stack(signals, axis=2)[..., None], bin_seconds=0.1), truth


def found(rule, recording, truth, features, *, is_directed=True):
    if isinstance(rule, FittedPairs):
        scores = rule.score(recording)
    else:
        scores = rule.score(recording, features=features, is_directed=is_directed)
    return auroc(prediction=scores, target=truth, observed=known_pairs(truth, are_directed=True))


def test_a_directed_rule_is_as_strong_as_the_fit_that_it_rests_on(rng):
    recording, truth = directed_oscillators(rng)
    fit = fit_forces(recording, FORCES["kuramoto"], features="phase")
    of_fit = auroc(prediction=fit, target=truth, observed=known_pairs(truth, are_directed=True))
    rule = RIVALS["force-fit-kuramoto"]
    assert found(rule, recording, truth, "phase") > of_fit - 0.01
    assert found(rule, recording, truth, "phase", is_directed=False) < of_fit - 0.05
    tuned = learned(rule, [recording], [truth], "phase")
    assert found(tuned, recording, truth, "phase") >= of_fit - 0.01


@pytest.mark.parametrize("name", ["granger", "granger-given-all"])
def test_granger_finds_who_follows_whom_in_signals_without_geometry(name, rng):
    recording, truth = lagged_network(rng)
    tuned = learned(name, [recording], [truth], "none")
    test, truth_of_test = lagged_network(rng)
    symmetric = found(dataclasses.replace(tuned, is_directed=False), test, truth_of_test, "none")
    directed = found(tuned, test, truth_of_test, "none")
    assert directed > 0.9
    assert directed > symmetric + 0.05


def test_velocities_are_not_forced_on_signals_that_act_with_a_lag(rng):
    recording, truth = lagged_network(rng)
    rule = RIVALS["granger-given-all"]
    tuned = learned(rule, [recording], [truth])
    assert tuned.chosen["window"] == VALUES
    assert found(tuned, recording, truth, "position") > found(rule, recording, truth, "position") + 0.05


def test_a_symmetric_rule_scores_both_orders_of_directed_truth_alike(rng):
    recording, truth = lagged_network(rng)
    tuned = learned("partial-correlation", [recording], [truth], "none")
    scores = tuned.score(recording)
    assert np.array_equal(scores, scores.swapaxes(1, 2), equal_nan=True)
    assert found(tuned, recording, truth, "none") > 0.6


def test_who_acts_and_what_speaks_for_it_is_learned_from_training_truth(rng):
    recording, truth = lagged_network(rng)
    rule = RIVALS["granger-given-all"]
    target = truth.swapaxes(1, 2)  # the first of a pair acts on the second
    tuned = learned(rule, [recording], [target], "none")
    assert tuned.chosen["is_reversed"]
    assert found(tuned, recording, target, "none") > 0.9
    absent = np.where(truth < 0, -1, 1 - truth)
    tuned = learned(rule, [recording], [absent], "none")
    assert tuned.chosen["evidence"] == "low"
    assert found(tuned, recording, absent, "none") > 0.9


@pytest.mark.parametrize("name", ["force-fit-gravity", "acceleration-fit-gravity"])
def test_laws_of_force_do_not_depend_on_the_units_of_a_recording(name):
    recording = simulate("gravity", groups=("3x2",), n_trials=30, noise=0.01)[0]
    truth = recording.targets["interacts"]
    scores = []
    for length, seconds in ((1, 1), (1000, 60)):
        other = dataclasses.replace(
            recording, values=recording.values * np.float32(length), bin_seconds=recording.bin_seconds * seconds
        )
        tuned = learned(name, [other], [truth])
        scores.append(auroc(prediction=tuned.score(other), target=truth, observed=known_pairs(truth)))
    assert scores[1] > scores[0] - 0.01


def test_trials_that_are_too_short_for_some_options_are_read_with_others(rng):
    recording = Recording.from_trials(circling(rng, n_bins=5), bin_seconds=BIN_SECONDS)
    truth = np.broadcast_to(TRUTH, (6, 6, 6))
    assert learned("granger", [recording], [truth]).chosen["lags"] == 1
    with pytest.raises(InputError, match="at 2 lags needs 6"):
        learned("granger", [recording.select(bins=slice(0, 3))], [truth])


def test_options_are_chosen_on_recordings_of_all_sizes(rng):
    small, large = (simulate("gravity", groups=(g,), n_trials=20, noise=0.01)[0] for g in ("2x2", "3x2"))
    seen = []
    rule = dataclasses.replace(
        RIVALS["together"],
        compute=lambda cut, _: (
            seen.append(cut.n_individuals) or np.zeros((len(cut.values),) + (cut.n_individuals,) * 2)
        ),
    )
    learned(rule, [small, large], [r.targets["interacts"] for r in (small, large)])
    assert set(seen) == {4, 6}


def test_short_trials_are_an_input_error(rng):
    recording = Recording.from_trials(circling(rng, n_bins=5), bin_seconds=BIN_SECONDS)
    with pytest.raises(InputError, match="Granger causality at 2 lags needs 6"):
        RIVALS["granger"].score(recording)
    with pytest.raises(InputError, match="three are needed"):
        RIVALS["antiparallel-swing"].score(recording.select(bins=slice(0, 2)))


# ---------------------------------------------------------------------- probabilities


def test_scores_become_log_odds_whose_threshold_parts_the_training_pairs():
    score = np.array([-3.0, -2.0, 0.5, 1.0, 4.0, 9.0])
    log_odds = LogOdds.fit(score, np.array([0, 0, 0, 1, 1, 1]))
    found = log_odds(np.array([-100.0, 0.4, 1.1, 100.0, np.nan, -np.inf, np.inf]))
    assert (found[:2] < 0).all()
    assert (found[2:4] > 0).all()
    assert found[4] == pytest.approx(0)  # not known: as often as in training
    assert np.isfinite(found).all()
    assert (np.diff(log_odds(np.sort(score))) > 0).all()  # the order of pairs is kept


def test_rivals_that_score_infinities_still_give_probabilities():
    score = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan])
    log_odds = LogOdds.fit(score, np.array([0, 0, 1, 0, 1, 1]))
    assert np.isfinite(log_odds(score)).all()
    with pytest.raises(InputError, match="scores no pair"):
        LogOdds.fit(np.full(3, np.nan), np.array([0, 1, 1]))


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_directed_truth_is_scored_as_directed(is_reversed, rng):
    (train, graph), (test, truth) = (lagged_network(rng) for _ in range(2))
    if is_reversed:
        graph, truth = graph.swapaxes(1, 2), truth.swapaxes(1, 2)
    fitted = learned("granger-given-all", [train], [graph], "none")
    assert fitted.is_directed
    log_p = fitted.predict(PopulationDataset(test))["log_probability"]
    known = known_pairs(truth, are_directed=True)
    assert auroc(prediction=log_p[..., 1] - log_p[..., 0], target=truth, observed=known) > 0.9


def of_sizes(n_sizes):
    sizes = [simulate("gravity", groups=(f"{k}x2",), n_trials=12, n_bins=8)[0] for k in (2, 3, 4)[:n_sizes]]
    return sizes, learned("third-law", sizes, [r.targets["interacts"] for r in sizes])


def test_two_sizes_tell_rivals_no_trend_of_the_prior_and_three_do():
    assert of_sizes(2)[1].calibration.prior_by_size == (0.0, 0.0)
    assert of_sizes(3)[1].calibration.prior_by_size[1] != 0


def test_probabilities_of_recordings_of_several_sizes_are_one_array():
    (small, large), fitted = of_sizes(2)
    log_p = fitted.predict(PopulationDataset([small, large]))["log_probability"]
    assert log_p.shape == (24, 6, 6, 2)
    assert np.isnan(log_p[:12, 4:]).all()
    assert np.array_equal(
        log_p[:12, :4, :4], fitted.predict(PopulationDataset(small))["log_probability"], equal_nan=True
    )
    is_pair = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(np.exp(log_p[12:, is_pair]).sum(axis=-1), 1)


def test_the_base_rate_is_how_often_training_pairs_interact():
    recording = simulate("gravity", groups=("2x2",), n_trials=12, n_bins=8)[0]
    fitted = learned("base rate", [recording], [recording.targets["interacts"]])
    assert fitted.n_parameters == 1
    log_p = fitted.predict(PopulationDataset(recording))["log_probability"]
    np.testing.assert_allclose(np.exp(log_p[:, 0, 1:, 1]), 1 / 3, rtol=1e-3)


def test_training_pairs_that_are_all_alike_teach_nothing(rng):
    recording = Recording.from_trials(circling(rng), bin_seconds=BIN_SECONDS)
    truth = np.where(np.eye(6, dtype=bool), -1, np.ones((6, 6, 6), dtype=int))
    with pytest.raises(InputError, match="with an edge and pairs without"):
        learned("together", [recording], [truth])

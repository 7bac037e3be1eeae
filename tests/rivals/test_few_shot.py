"""Decoders of a new population from a few trials: what they learn from, what they never see, and their algebra."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.metrics import r2
from motet.rivals import few_shot_classes
from motet.rivals.empirical_bayes import EmpiricalBayes, Prior, Tuning, prior_of
from motet.rivals.few_shot_classes import Classes, ClassRival, NearestMean, balanced, episodes, linear_discriminant
from motet.rivals.few_shot_courses import _ridge
from motet.rivals.method import Draw, TargetQuestion, TransferQuestion
from motet.rivals.registry import RIVALS, rivals_of

DIRECTION = TargetQuestion("direction", "class", "trial")
VELOCITY = TargetQuestion("velocity", "quantity", "bin", class_target="direction")
CLASS_RIVALS = rivals_of(TransferQuestion(DIRECTION, ()))
VELOCITY_RIVALS = rivals_of(TransferQuestion(VELOCITY, ()))
EVERY = [(rival, goal) for goal in (DIRECTION, VELOCITY) for rival in rivals_of(TransferQuestion(goal, ()))]
READS_NO_CLASS = "few-shot-ridge"
LEARNERS = ("harmonics-em", "empirical-bayes-em", "few-shot-template-em", "few-shot-template-em-kernel-ridge")


of_every = pytest.mark.parametrize(("rival", "goal"), EVERY, ids=[rival.name for rival, _ in EVERY])


def reaches(seed: int, *, n_trials: int = 96, n_classes: int = 8, n_neurons: int = 30, n_bins: int = 4) -> Recording:
    """Neurons with cosine tuning and a gain that changes from trial to trial; the hand moves in the direction."""
    rng = np.random.default_rng(seed)
    direction = np.arange(n_trials) % n_classes
    angle, preferred = 2 * np.pi * direction / n_classes, rng.uniform(0, 2 * np.pi, n_neurons)
    depth, base = rng.gamma(2.0, 0.35, n_neurons), rng.normal(0, 0.7, n_neurons)
    course = np.sin(np.pi * (np.arange(n_bins) + 0.5) / n_bins)
    drive = depth * np.cos(angle[:, None] - preferred)
    log_rate = (base + drive)[..., None] + 0.3 * course + rng.normal(0, 0.15, (n_trials, 1, 1))
    velocity = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None] * course[:, None]
    return Recording.from_trials(
        rng.poisson(np.exp(log_rate)),
        targets={"direction": direction, "velocity": velocity},
        target_levels={"velocity": "bin"},
        name=f"subject-{seed}",
        bin_seconds=0.1,
    )


TRAIN = PopulationDataset([reaches(1), reaches(2, n_neurons=40)])


def asked(recording: Recording, goal=DIRECTION, *, shots=1, n_draws=3, pool=False, together=False, period=8.0):
    draws = []
    for seed in range(n_draws):
        labels = recording.target("direction")
        order = np.random.default_rng(seed).permutation(len(labels))
        chosen = np.concatenate([order[labels[order] == one][:shots] for one in np.unique(labels)])
        rest = np.setdiff1d(order, chosen)
        more, rest = (rest[::2], rest[1::2]) if pool else (None, rest)
        unlabelled = None if more is None else recording.select(trials=more)
        draws.append(Draw(recording.select(trials=chosen), unlabelled, rest))
    return TransferQuestion(goal, tuple(draws), tests_together=together, period=period)


def answered(rival, question, recording, train=TRAIN):
    return rival.fit(train, question).predict(PopulationDataset(recording))["prediction"]


def accuracies(found, question, recording):
    return np.asarray(
        [
            np.mean(one == recording.target("direction")[draw.tested])
            for one, draw in zip(found, question.draws, strict=True)
        ]
    )


# ------------------------------------------------------------------ how well, and from what


@pytest.mark.parametrize("rival", CLASS_RIVALS, ids=lambda rival: rival.name)
def test_two_trials_of_each_direction_tell_the_others(rival):
    recording = reaches(3)
    question = asked(recording, shots=2)
    found = answered(rival, question, recording)
    assert found.shape == (3, recording.n_trials - 16)
    assert accuracies(found, question, recording).min() > 0.6


@pytest.mark.parametrize("rival", VELOCITY_RIVALS, ids=lambda rival: rival.name)
def test_velocity_is_decoded_from_two_trials_of_each_direction(rival):
    recording = reaches(3)
    question = asked(recording, VELOCITY, shots=2)
    truth = recording.target("velocity")
    for one, draw in zip(answered(rival, question, recording), question.draws, strict=True):
        assert r2(prediction=one, target=truth[draw.tested]) > (0.35 if "template" not in rival.name else 0.7)


@pytest.mark.parametrize("name", ["harmonics-em", "empirical-bayes-em"])
def test_unlabelled_trials_help_and_no_draw_collapses(name):
    recording = reaches(4, n_neurons=20)
    alone = asked(recording, n_draws=10)
    before = accuracies(answered(RIVALS[name], alone, recording), alone, recording)
    for question in (asked(recording, n_draws=10, pool=True), asked(recording, n_draws=10, together=True)):
        after = accuracies(answered(RIVALS[name], question, recording), question, recording)
        assert after.mean() > before.mean() + 0.03
        assert after.min() > before.min()


def test_without_unlabelled_trials_em_is_the_same_without_em():
    recording = reaches(3)
    question = asked(recording)
    without = NearestMean("harmonics", ridges=RIVALS["harmonics-em"].ridges)
    np.testing.assert_array_equal(
        answered(RIVALS["harmonics-em"], question, recording), answered(without, question, recording)
    )


def test_other_populations_help_where_trials_are_few():
    recording, twins = reaches(5, n_neurons=20), asked(reaches(5, n_neurons=20), n_draws=10)
    with_prior = accuracies(answered(RIVALS["empirical-bayes"], twins, recording), twins, recording).mean()
    without = accuracies(answered(RIVALS["centroid"], twins, recording), twins, recording).mean()
    assert with_prior > without + 0.05


# ------------------------------------------------------------------ what is never read


@of_every
def test_a_tested_trial_is_answered_alike_whatever_else_is_tested(rival, goal):
    recording = reaches(3)
    for pool in (False, True):
        question = asked(recording, goal, shots=2, n_draws=1, pool=pool)
        whole = answered(rival, question, recording)[0]
        part = (dataclasses.replace(question.draws[0], tested=question.draws[0].tested[[7, 2]]),)
        found = answered(rival, dataclasses.replace(question, draws=part), recording)[0]
        np.testing.assert_allclose(found, whole[[7, 2]], rtol=1e-6, atol=1e-9)


@of_every
def test_targets_of_tested_and_unlabelled_trials_are_never_read(rival, goal):
    def garbled(one: Recording) -> Recording:
        return dataclasses.replace(one, targets={name: np.roll(of, 1, axis=0) for name, of in one.targets.items()})

    recording = reaches(3)
    for question in (asked(recording, goal, n_draws=1, pool=True), asked(recording, goal, n_draws=1, together=True)):
        (draw,) = question.draws
        if draw.unlabelled is not None:
            draw = dataclasses.replace(draw, unlabelled=garbled(draw.unlabelled))
        wanted = answered(rival, question, recording)
        found = answered(rival, dataclasses.replace(question, draws=(draw,)), garbled(recording))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("rival", [rival for rival, _ in EVERY], ids=lambda rival: rival.name)
def test_only_those_that_say_so_read_unlabelled_trials(rival):
    recording = reaches(3, n_neurons=15)
    goal = VELOCITY if rival in VELOCITY_RIVALS else DIRECTION
    question = asked(recording, goal, n_draws=1, pool=True)
    (draw,) = question.draws
    others = dataclasses.replace(draw.unlabelled, values=draw.unlabelled.values[:, ::-1])
    found = answered(
        rival, dataclasses.replace(question, draws=(dataclasses.replace(draw, unlabelled=others),)), recording
    )
    assert np.array_equal(found, answered(rival, question, recording)) == (rival.name not in LEARNERS)


@pytest.mark.parametrize("rival", VELOCITY_RIVALS, ids=lambda rival: rival.name)
def test_a_quantity_is_decoded_from_bins_up_to_now(rival):
    recording = reaches(3)
    question = asked(recording, VELOCITY, shots=2, n_draws=1)
    later = dataclasses.replace(recording, values=np.where(np.arange(4)[:, None] > 1, 9, recording.values))
    found, wanted = (answered(rival, question, one) for one in (later, recording))
    np.testing.assert_allclose(found[:, :, :2], wanted[:, :, :2])
    assert not np.allclose(found[:, :, 2:], wanted[:, :, 2:])


# ------------------------------------------------------------------ any classes, any trials


@of_every
def test_there_may_be_fewer_or_more_classes_than_in_other_populations(rival, goal):
    for n_classes in (2, 12):
        recording = reaches(3, n_trials=48, n_classes=n_classes)
        question = asked(recording, goal, shots=2, n_draws=1, pool=True, period=12.0)
        found = answered(rival, question, recording)
        assert found.shape[:2] == (1, len(question.draws[0].tested))
        assert np.isfinite(found).all()
        if goal is DIRECTION:
            assert np.isin(found, recording.target("direction")).all()


@of_every
def test_classes_may_be_names_on_no_circle(rival, goal):
    def named(one: Recording) -> Recording:
        names = np.asarray(["left", "right", "up"])[one.target("direction") % 3]
        return dataclasses.replace(one, targets={**one.targets, "direction": names})

    train = PopulationDataset([named(one) for one in TRAIN.recordings])
    recording = named(reaches(3, n_classes=3))
    question = asked(recording, goal, shots=2, n_draws=1, pool=True, period=None)
    found = answered(rival, question, recording, train)
    if goal is DIRECTION:
        assert accuracies(found, question, recording).min() > 0.6
    if rival.name != READS_NO_CLASS:
        with pytest.raises(InputError, match="have no angle"):
            answered(rival, dataclasses.replace(question, period=3.0), recording, train)


@pytest.mark.parametrize(
    ("rival", "goal"), [one for one in EVERY if one[0].name != READS_NO_CLASS], ids=lambda one: getattr(one, "name", "")
)
def test_one_labelled_class_is_refused(rival, goal):
    recording = reaches(3)
    question = asked(recording, goal, n_draws=1)
    (draw,) = question.draws
    labelled = draw.labelled.select(trials=draw.labelled.target("direction") == 2)
    with pytest.raises(InputError, match=r"of 1 class\(es\); give some of two"):
        answered(rival, dataclasses.replace(question, draws=(dataclasses.replace(draw, labelled=labelled),)), recording)


@of_every
def test_individuals_may_be_silent_or_missing_and_trials_of_a_quantity_of_any_length(rival, goal):
    recording = reaches(3, n_bins=6)
    observed, values = recording.observed.copy(), recording.values.copy()
    values[:, :5] = 0
    observed[::3, 6] = observed[1::3, 7:9, 2:4] = observed[:, 9] = False
    if goal is VELOCITY:
        observed[::2, :, 5:] = observed[::5, :, 3:] = False
    recording = dataclasses.replace(recording, values=values, observed=observed)
    for pool in (False, True):
        question = asked(recording, goal, shots=2, n_draws=1, pool=pool)
        found = answered(rival, question, recording)
        if goal is VELOCITY:
            bins = recording.bin_is_observed[question.draws[0].tested]
            np.testing.assert_array_equal(np.isfinite(found[0]).all(axis=-1), bins)
        else:
            assert accuracies(found, question, recording).min() > 0.45


class First(ClassRival):
    """Whoever stands first: a class rival is one method."""

    def fitted(self, before, roots, shares, classes):
        return lambda tested: np.tile(-np.arange(len(classes.names)), (len(tested), 1))


def test_a_rival_of_classes_is_one_method_and_a_line(monkeypatch):
    monkeypatch.setitem(RIVALS, "first", First("first"))
    recording = reaches(3)
    question = asked(recording)
    assert RIVALS["first"] in rivals_of(question)
    assert (answered(RIVALS["first"], question, recording) == 0).all()


@of_every
def test_other_populations_need_no_target_unless_they_teach(rival, goal):
    recording, train = reaches(3), TRAIN.map(lambda one: dataclasses.replace(one, targets={}, target_levels={}))
    question = asked(recording, goal, n_draws=1)
    if rival.name.startswith(("centroid", "harmonics", "few-shot-lda", READS_NO_CLASS)):
        np.testing.assert_array_equal(answered(rival, question, recording, train), answered(rival, question, recording))
    else:
        with pytest.raises(InputError, match="no other recording has target"):
            answered(rival, question, recording, train)
    some = PopulationDataset([*train.recordings[:1], *TRAIN.recordings[1:]])
    assert len(answered(rival, question, recording, some)) == 1


def test_what_is_not_known_or_does_not_fit_is_refused():
    recording = reaches(3)
    question = asked(recording, n_draws=1)
    rival = RIVALS["harmonics"]
    (draw,) = question.draws
    unknown = np.full(8, np.iinfo(np.int64).min)
    labelled = dataclasses.replace(draw.labelled, targets={"direction": unknown}, target_levels={})
    with pytest.raises(InputError, match="unknown in every trial"):
        answered(rival, dataclasses.replace(question, draws=(dataclasses.replace(draw, labelled=labelled),)), recording)
    with pytest.raises(InputError, match="windows of 4 observed bins"):
        answered(rival, question, recording.select(bins=slice(0, 3)))
    with pytest.raises(InputError, match="knows each by its id"):
        answered(rival, question, recording.select(individuals=slice(3, None)))
    without = TransferQuestion(dataclasses.replace(VELOCITY, class_target=None), question.draws, period=8.0)
    with pytest.raises(InputError, match="give class_target"):
        answered(RIVALS["few-shot-template"], without, recording)
    few = PopulationDataset([one.select(trials=slice(0, 8)) for one in TRAIN.recordings])
    with pytest.raises(InputError, match="two trials of a class"):
        answered(RIVALS["empirical-bayes"], question, recording, few)
    strangers = PopulationDataset(
        [dataclasses.replace(one, targets={"direction": one.target("direction") + 20}) for one in TRAIN.recordings]
    )
    with pytest.raises(InputError, match="two of the classes to be decoded"):
        answered(RIVALS["aligned-cca"], question, recording, strangers)


# ------------------------------------------------------------------ their algebra


def test_a_posterior_of_tuning_is_that_of_a_gaussian_process():
    rng = np.random.default_rng(0)
    classes = Classes.of(np.arange(8), 8.0)
    labels = np.asarray([0, 0, 1, 3, 4, 6, 7])
    channels = rng.normal(1, 0.5, (7, 2, 3))
    prior = Prior(np.asarray([-1.0, 1.0]), rng.uniform(0.01, 0.1, (3, 2, 2)), rng.uniform(0.1, 0.3, (2, 2)), np.eye(3))
    tuning = Tuning.of(prior, channels, classes.shares(labels), classes)
    basis, _, orders = classes.basis(3)
    depths, noises = prior.at(np.log(channels[:, 0].mean(axis=0) + 0.05), 2)
    for channel in range(2):
        for one in range(3):
            spread = np.where(orders > 0, depths[np.maximum(orders, 1) - 1, channel, one], 50.0)
            covariance = (basis * spread) @ basis.T
            noise = noises[channel, one]
            gain = covariance[:, labels] @ np.linalg.inv(covariance[np.ix_(labels, labels)] + noise * np.eye(7))
            np.testing.assert_allclose(tuning.means[:, channel, one], gain @ channels[:, channel, one])
            variance = np.diag(covariance - gain @ covariance[labels])
            np.testing.assert_allclose(tuning.variances[:, channel, one], variance + noise + 0.1, rtol=1e-6)


def test_the_log_probability_of_tuning_is_that_of_a_normal_with_changes_of_all():
    rng = np.random.default_rng(1)
    tuning = Tuning(rng.normal(size=(4, 2, 3)), rng.uniform(0.2, 1, (4, 2, 3)), rng.normal(size=(4, 2, 3)))
    factor = rng.normal(size=(3, 3))
    channels = rng.normal(size=(5, 2, 3))
    found = tuning.classify(factor @ factor.T)(channels)
    directions = tuning.directions.reshape(3, 4, -1)
    wanted = np.stack(
        [
            multivariate_normal(
                tuning.means[code].ravel(),
                np.diag(tuning.variances[code].ravel())
                + directions[:, code].T @ factor @ factor.T @ directions[:, code],
            ).logpdf(channels.reshape(5, -1))
            for code in range(4)
        ],
        axis=1,
    )
    np.testing.assert_allclose(np.diff(found), np.diff(wanted), rtol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)


def test_a_prior_finds_the_depths_noises_and_changes_that_populations_were_made_with():
    rng = np.random.default_rng(2)
    classes, labels = Classes.of(np.arange(8), 8.0), np.arange(400) % 8
    basis, _, orders = classes.basis(3)
    populations = []
    for _ in range(2):
        weights = rng.normal(size=(7, 300)) * np.sqrt(np.asarray([0.0, 0.2, 0.05, 0.01])[orders])[:, None]
        means = basis @ weights + 2
        gains, offsets = rng.normal(0, 0.1, (400, 1)), rng.normal(0, 0.2, (400, 1))
        noise = rng.normal(0, 0.5, (400, 300))
        populations.append(((means[labels] * (1 + gains) + offsets + noise)[:, None], labels))
    prior = prior_of(populations, 8.0)
    np.testing.assert_allclose(prior.depths[:, 0].mean(axis=-1), [0.2, 0.05, 0.01], rtol=0.15)
    # Changes of all are part of the noise of each.
    np.testing.assert_allclose(prior.noises.mean(), 0.25 + 0.01 * 4.3 + 0.04, rtol=0.1)
    total = np.diag(prior.changes) * [4, 0, 1]
    np.testing.assert_allclose(total.sum() + 2 * 2 * prior.changes[0, 2], 0.04 + 0.04, rtol=0.15)
    assert prior.n_parameters == 6 + 18 + 6 + 9


def test_a_linear_discriminant_is_that_of_a_shrunk_covariance():
    rng = np.random.default_rng(3)
    labels = np.arange(30) % 3
    shares = np.eye(3)[labels]
    inputs = rng.normal(size=(30, 50)) @ rng.normal(size=(50, 50)) + 2 * rng.normal(size=(3, 50))[labels]
    means = np.stack([inputs[labels == code].mean(axis=0) for code in range(3)])
    rest = inputs - means[labels]
    shrinkage = few_shot_classes.ledoit_wolf_shrinkage(rest, assume_centered=True)
    covariance = (1 - shrinkage) * rest.T @ rest / 30 + shrinkage * np.eye(50) * (rest**2).mean()
    wanted = np.stack([multivariate_normal(mean, covariance).logpdf(inputs) for mean in means], axis=1)
    np.testing.assert_allclose(np.diff(linear_discriminant(inputs, shares)(inputs)), np.diff(wanted), rtol=1e-6)


def test_with_one_trial_per_class_a_linear_discriminant_is_the_nearest_mean():
    recording = reaches(3)
    question = asked(recording)
    found, wanted = (answered(RIVALS[name], question, recording) for name in ("few-shot-lda", "centroid"))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["aligned-cca", "aligned-procrustes"])
def test_a_population_in_another_order_is_aligned(name):
    recording = reaches(1)
    order = np.random.default_rng(0).permutation(recording.n_individuals)
    shuffled = dataclasses.replace(recording.select(individuals=order), name="other")
    question = asked(shuffled, shots=8)
    found = answered(RIVALS[name], question, shuffled, PopulationDataset([recording]))
    assert accuracies(found, question, shuffled).min() > 0.85


def test_what_aligns_best_is_tuned_on_other_populations_and_told():
    recording = reaches(3)
    fitted = RIVALS["aligned-cca"].fit(TRAIN, asked(recording))
    assert set(fitted.about["chosen"]) == {"dimensions"}
    assert RIVALS["empirical-bayes"].fit(TRAIN, asked(recording)).n_parameters > 0


def test_balanced_shares_are_the_same_for_every_class_and_sum_to_one():
    rng = np.random.default_rng(4)
    shares = balanced(rng.dirichlet([5.0, 1.0, 1.0], 300))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(balanced(np.eye(3)[[0, 0, 0]]), np.eye(3)[[0, 0, 0]])
    assert balanced(np.asarray([[0.9, 0.1]])).argmax() == 0


def test_episodes_take_so_many_of_each_class_and_leave_some():
    labels = np.asarray([0, 0, 0, 0, 1, 1, 2])
    for chosen in episodes(labels, 2, 4):
        assert np.bincount(labels[chosen], minlength=3).tolist() == [2, 1, 1]


def test_the_basis_of_a_circle_has_a_slope_and_no_more_orders_than_classes_can_tell():
    classes = Classes.of(np.arange(4), 4.0)
    basis, slopes, orders = classes.basis(3)
    assert orders.tolist() == [0, 1, 2, 1, 2]
    step = 1e-6
    moved = dataclasses.replace(classes, angles=classes.angles + step).basis(3)[0]
    np.testing.assert_allclose((moved - basis) / step, slopes, atol=1e-5)


def test_the_strength_of_ridge_is_the_one_that_predicts_trials_left_out_best():
    rng = np.random.default_rng(5)
    inputs, trials = rng.normal(size=(40, 60)), np.repeat(np.arange(8), 5)
    answers = inputs[:, :2] + rng.normal(0, 0.5, (40, 2))
    predict = _ridge(inputs, answers, trials)
    centred, offset = inputs - inputs.mean(axis=0), answers.mean(axis=0)
    scale = (centred**2).sum() / 40

    def fitted(rows, ridge):
        weights = np.linalg.solve(
            centred[rows] @ centred[rows].T + ridge * scale * np.eye(rows.sum()), answers[rows] - offset
        )
        return centred @ centred[rows].T @ weights + offset

    def loss(ridge):
        return sum(((fitted(trials != one, ridge) - answers)[trials == one] ** 2).sum() for one in range(8))

    best = min((10.0**power for power in np.arange(-3, 2.1, 0.5)), key=loss)
    np.testing.assert_allclose(predict(inputs), fitted(np.ones(40, dtype=bool), best))


def test_an_empirical_bayes_of_any_number_of_channels_and_bins():
    for n_bins in (1, 3, 12):
        recording = reaches(3, n_bins=n_bins)
        question = asked(recording, shots=2)
        found = answered(EmpiricalBayes("toy"), question, recording)
        assert accuracies(found, question, recording).min() > 0.3

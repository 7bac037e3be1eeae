"""The classical rivals: what each may read, and what it computes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import poisson
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.svm import SVC

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.decoders import DECODERS, Decoder
from motet.rivals.estimators import Estimated
from motet.rivals.kalman import KALMAN
from motet.rivals.method import Rival, TargetQuestion
from motet.rivals.places import PLACES
from motet.rivals.registry import RIVALS
from motet.rivals.templates import TEMPLATES
from motet.rivals.tuning import inner_folds

LENGTHS = np.tile([6, 9, 7, 5], 12)
CLASSES = [decoder for decoder in DECODERS if decoder.decodes == "class"]
QUANTITIES = [decoder for decoder in DECODERS if decoder.decodes == "quantity"] + [KALMAN, PLACES, *TEMPLATES]
EVERY = list(DECODERS)
TREES = ("gradient-boosting-regression", "ridge")
OF_BINS = [decoder for decoder in CLASSES if "bin" in decoder.levels]
CLASSIFIERS = pytest.mark.parametrize("rival", CLASSES, ids=lambda rival: rival.name)
REGRESSORS = pytest.mark.parametrize("rival", QUANTITIES, ids=lambda rival: rival.name)
EVERY_BIN_DECODER = pytest.mark.parametrize(
    ("rival", "target"),
    [(rival, "state") for rival in OF_BINS] + [(rival, "velocity") for rival in QUANTITIES],
    ids=lambda value: getattr(value, "name", value),
)


def asked(recording: Recording, target: str) -> TargetQuestion:
    goal = recording.target(target)
    kind = "quantity" if goal.dtype.kind == "f" else "class"
    has_side = "side" in recording.targets
    return TargetQuestion(target, kind, recording.target_levels[target], "side" if has_side else None)


@dataclasses.dataclass
class Fitted:
    """A fitted rival that takes one recording."""

    of: Any

    def predict(self, test: Recording) -> np.ndarray:
        return self.of.predict(PopulationDataset(test))["prediction"]

    def predict_proba(self, test: Recording) -> np.ndarray:
        """(row, class)."""
        return self.of.model.predict_proba(self.of.reading.inputs(test)[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


def fit(rival: Rival | str, train: Recording, target: str) -> Fitted:
    rival = RIVALS[rival] if isinstance(rival, str) else rival
    return Fitted(rival.fit(PopulationDataset(train), asked(train, target)))


@pytest.fixture(scope="module")
def recording() -> Recording:
    """48 ragged trials of 8 neurons tuned to one of three sides, to a velocity and to its sign."""
    rng = np.random.default_rng(0)
    side = np.arange(48) % 3
    velocity = [np.cumsum(rng.normal(size=(n, 2)), axis=0) for n in LENGTHS]
    tuning, gain = rng.normal(size=(3, 8)), rng.normal(size=(2, 8))
    counts = [
        rng.poisson(np.exp(0.5 + 0.7 * tuning[s] + 0.3 * v @ gain).clip(0, 40)).T
        for s, v in zip(side, velocity, strict=True)
    ]
    return Recording.from_trials(
        counts,
        targets={
            "side": side,
            "velocity": velocity,
            "state": [np.where(v[:, 0] > 0, "fast", "slow") for v in velocity],
        },
        target_levels={"side": "trial"},
    )


@pytest.fixture(scope="module")
def train(recording) -> Recording:
    return recording.select(trials=np.arange(36))


@pytest.fixture(scope="module")
def test(recording) -> Recording:
    return recording.select(trials=np.arange(36, 48))


def changed(recording: Recording, **fields) -> Recording:
    return dataclasses.replace(recording, **fields)


def equal_windows(recording: Recording) -> Recording:
    return recording.select(bins=slice(0, 5))


@EVERY_BIN_DECODER
def test_a_target_per_bin_is_predicted_where_a_trial_is_observed_and_nowhere_else(rival, target, train, test):
    fitted = fit(rival, train, target)
    prediction, truth = fitted.predict(test), test.target(target)
    assert prediction.shape == truth.shape
    if target == "velocity":
        assert np.array_equal(np.isnan(prediction).any(-1), ~test.bin_is_observed)
        return
    assert prediction.dtype == truth.dtype
    assert np.array_equal(prediction == "", ~test.bin_is_observed)
    if hasattr(fitted.model, "predict_proba"):
        probability = fitted.predict_proba(test)
        assert np.array_equal(fitted.model.classes_[probability.argmax(-1)], prediction[test.bin_is_observed])


@CLASSIFIERS
def test_a_target_per_trial_is_predicted_once_per_window(rival, train, test):
    fitted = fit(rival, equal_windows(train), "side")
    if not hasattr(fitted.model, "predict_proba"):
        assert set(fitted.predict(equal_windows(test))) <= {0, 1, 2}
        return
    probability = fitted.predict_proba(equal_windows(test))
    assert np.array_equal(fitted.predict(equal_windows(test)), fitted.model.classes_[probability.argmax(1)])


@EVERY_BIN_DECODER
def test_padding_never_changes_a_prediction(rival, target, train, test):
    def padded(recording: Recording) -> Recording:
        extra = ((0, 0), (0, 4))
        targets = {
            "side": recording.target("side"),
            "velocity": np.pad(recording.target("velocity"), (*extra, (0, 0)), constant_values=np.nan),
            "state": np.pad(recording.target("state"), extra, constant_values=""),
        }
        return changed(
            recording,
            values=np.pad(recording.values, ((0, 0), *extra, (0, 0))),
            observed=np.pad(recording.observed, ((0, 0), *extra)),
            targets=targets,
        )

    expected = fit(rival, train, target).predict(test)
    from_padded = fit(rival, padded(train), target).predict(test)
    of_padded = fit(rival, train, target).predict(padded(test))[:, : test.n_bins]
    for found in (from_padded, of_padded):
        if target == "velocity":
            assert np.allclose(found, expected, equal_nan=True, atol=1e-6)
        else:
            assert np.array_equal(found, expected)


@REGRESSORS
def test_quantities_are_decoded_from_bins_up_to_now(rival, train, test):
    fitted = fit(rival, train, "velocity")
    values = test.values.copy()
    values[:, :, 4:] += 5
    before, after = fitted.predict(test), fitted.predict(changed(test, values=values))
    assert np.array_equal(before[:, :4], after[:, :4])
    assert (rival.name == "mean") == np.allclose(before[:, 4:], after[:, 4:], equal_nan=True)


@REGRESSORS
def test_an_individual_that_is_silent_or_absent_in_training_is_not_read(rival, train, test):
    expected = fit(rival, train, "velocity").predict(test)
    rng = np.random.default_rng(2)

    def with_two_more(recording: Recording, counts: float, present: bool) -> Recording:
        values = np.concatenate([recording.values, np.full_like(recording.values[:, :2], counts)], axis=1)
        observed = np.concatenate([recording.observed, recording.observed[:, :2]], axis=1)
        observed[:, -1] &= present
        return changed(
            recording,
            values=values * observed[..., None],
            observed=observed,
            individual_ids=(*recording.individual_ids, "silent", "absent"),
        )

    fitted = fit(rival, with_two_more(train, 0, present=False), "velocity")
    loud = with_two_more(test, float(rng.integers(5, 9)), present=True)
    assert np.allclose(fitted.predict(loud), expected, equal_nan=True)


@EVERY_BIN_DECODER
def test_an_unobserved_individual_reads_as_its_training_mean(rival, target, train, test):
    """√counts are averaged, so the stand-in is the square of their mean."""
    seen = train.observed[:, 3]
    stand_in = np.sqrt(train.values[:, 3, :, 0].astype(float))[seen].mean() ** 2
    values, observed, hidden = test.values.copy(), test.observed.copy(), test.values.copy()
    values[:, 3] = stand_in * observed[:, 3, :, None]
    observed[:, 3], hidden[:, 3] = False, 0
    fitted = fit(rival, train, target)
    given, expected = (
        fitted.predict(changed(test, values=hidden, observed=observed)),
        fitted.predict(changed(test, values=values)),
    )
    assert (
        np.array_equal(given, expected)
        if target == "state"
        else np.allclose(given, expected, equal_nan=True, atol=1e-5)
    )


def test_unobserved_training_bins_count_in_no_statistic(train, test):
    """Means and deviations of √counts are those of the observed bins, however much padding there is."""
    fitted = fit("ridge", train, "velocity")
    expected = [np.sqrt(train.values[:, i, :, 0].astype(float))[train.observed[:, i]].mean() for i in range(8)]
    assert np.allclose(fitted.reading.mean, expected)


@REGRESSORS
def test_bins_whose_target_is_unknown_are_left_out_of_training(rival, train, test):
    velocity = train.target("velocity").copy()
    velocity[30:, :, 1] = np.nan
    partly = fit(rival, changed(train, targets={**train.targets, "velocity": velocity}), "velocity")
    assert np.isfinite(partly.predict(test)[test.bin_is_observed]).all()
    if rival.name == "mean":
        known = train.target("velocity")[:30][train.bin_is_observed[:30]]
        assert np.allclose(partly.predict(test)[0, 0], known.mean(0))


def lagged(recording: Recording) -> np.ndarray:
    """√counts of the bins t … t − 4, zeros before the trial."""
    rows = []
    for trial, n_bins in enumerate(recording.trial_lengths):
        roots = np.sqrt(recording.values[trial, :, :n_bins, 0].T.astype(float))
        for t in range(n_bins):
            rows.append(np.concatenate([roots[t - lag] if t >= lag else np.zeros(8) for lag in range(5)]))
    return np.array(rows)


def by_folds(train: Recording, x: np.ndarray) -> PredefinedSplit:
    """The inner folds of rows per bin: those of their trials."""
    folds = inner_folds(train, train.target("side"))[train.bin_is_observed]
    assert len(folds) == len(x)
    return PredefinedSplit(folds)


def test_ridge_reads_five_bins_with_zeros_before_the_trial(train, test):
    """And its penalty is that of a search over refits to the other folds."""
    answers, x, x_test = train.target("velocity")[train.bin_is_observed], lagged(train), lagged(test)
    scale = np.sqrt(x.var(axis=0).mean())
    plain = GridSearchCV(
        Ridge(),
        {"alpha": np.logspace(0, 5, 11)},
        cv=by_folds(train, x),
        scoring=lambda model, x, y: -((model.predict(x) - y) ** 2).sum(),
    ).fit(x / scale, answers)
    fitted = fit("ridge", train, "velocity")
    assert fitted.about["chosen"]["ridge"] == pytest.approx(plain.best_params_["alpha"])
    assert np.allclose(fitted.predict(test)[test.bin_is_observed], plain.predict(x_test / scale))
    assert fitted.n_parameters == 2 * (5 * 8 + 1)


def test_where_rows_are_fewer_than_inputs_ridge_is_the_same(train, test):
    few, windows = equal_windows(train.select(trials=np.arange(24))), equal_windows(test)
    speed = np.nanmean(few.target("velocity"), axis=1)
    fitted = fit("ridge", changed(few, targets={"speed": speed}, target_levels={"speed": "trial"}), "speed")
    x, x_test = (np.sqrt(r.values[..., 0].swapaxes(1, 2).astype(float)).reshape(r.n_trials, -1) for r in (few, windows))
    scale = np.sqrt(x.var(axis=0).mean())
    plain = Ridge(fitted.about["chosen"]["ridge"]).fit(x / scale, speed)
    assert np.allclose(fitted.predict(windows), plain.predict(x_test / scale))


@pytest.mark.parametrize("reads_time", [False, True], ids=["kernel-ridge", "kernel-ridge-time"])
def test_kernel_ridge_solves_its_closed_form(reads_time, train, test):
    """K = exp(-a |√c - √c'|²/v - b (t - t')²/u); variances v of all √counts and u of time."""
    x, x_test = lagged(train), lagged(test)
    (time, bins), (time_test, test_bins) = (
        (np.nonzero(recording.bin_is_observed)[1], recording.bin_is_observed) for recording in (train, test)
    )
    fitted = fit("kernel-ridge-time" if reads_time else "kernel-ridge", train, "velocity")
    chosen = fitted.about["chosen"]
    scales, penalty = chosen["scales"], chosen["ridge"]
    a, b = (*scales, 0.0)[:2]
    v, u = x.var(axis=0).sum(), time.var()

    def kernel(rows, t):
        square = ((rows[:, None] - x[None]) ** 2).sum(-1) / v
        return np.exp(-a * square - b * (t[:, None] - time[None]) ** 2 / u)

    answers = train.target("velocity")[bins]
    weights = np.linalg.solve(kernel(x, time) + penalty * np.eye(len(x)), answers - answers.mean(0))
    expected = kernel(x_test, time_test) @ weights + answers.mean(0)
    assert np.allclose(fitted.predict(test)[test_bins], expected, atol=1e-6)


def test_kernel_ridge_follows_a_shift_of_the_target(train, test):
    fitted = fit("kernel-ridge", train, "velocity")
    shifted = changed(train, targets={"velocity": train.target("velocity") + 100})
    moved = fit("kernel-ridge", shifted, "velocity").predict(test)
    assert np.allclose(moved, fitted.predict(test) + 100, equal_nan=True, atol=1e-6)


def test_lda_reads_all_bins_of_a_window_as_one_vector(train, test):
    def flat(recording: Recording) -> np.ndarray:
        return np.sqrt(equal_windows(recording).values[..., 0].astype(float)).reshape(recording.n_trials, -1)

    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(flat(train), train.target("side"))
    fitted = fit("lda", equal_windows(train), "side")  # of scikit-learn's numbers
    assert np.allclose(fitted.predict_proba(equal_windows(test)), plain.predict_proba(flat(test)))
    assert np.mean(fitted.predict(equal_windows(test)) == test.target("side")) > 0.6
    assert fitted.n_parameters == 3 * (5 * 8 + 1)


def test_lda_mean_is_the_mean_of_the_log_probabilities_of_both(train, test):
    train, test = equal_windows(train), equal_windows(test)
    both = [fit(name, train, "side").predict_proba(test) for name in ("lda", "lda-total-counts")]
    mean = np.sqrt(both[0] * both[1])
    expected = mean / mean.sum(axis=1, keepdims=True)
    assert np.allclose(fit("lda-mean", train, "side").predict_proba(test), expected)


def test_poisson_naive_bayes_is_the_product_of_poisson_likelihoods(train, test):
    train, test = equal_windows(train), equal_windows(test)
    fitted, side = fit("poisson-naive-bayes", train, "side"), train.target("side")
    x, x_test = (r.values[..., 0].astype(int) for r in (train, test))
    extra = fitted.about["chosen"]["smoothing"]
    logs = []
    for one in range(3):
        rates = (x[side == one].sum(0) + extra * x.mean(0)) / ((side == one).sum() + extra)
        logs.append(poisson.logpmf(x_test, rates).sum((1, 2)) + np.log(np.mean(side == one)))
    assert np.allclose(fitted.predict_proba(test), softmax(np.stack(logs, axis=1), axis=1))


def test_logistic_regression_scales_all_inputs_by_one_number(train, test):
    """Each scaled alone, nearly silent neurons would count as much as the others: a rival made weaker than it is."""
    train, test = equal_windows(train), equal_windows(test)
    x, x_test = (np.sqrt(r.values[..., 0].astype(float)).reshape(r.n_trials, -1) for r in (train, test))
    scale = np.sqrt(x.var(axis=0).mean())
    fitted = fit("logistic-regression", train, "side")
    plain = LogisticRegression(C=fitted.about["chosen"]["C"], max_iter=2000).fit(x / scale, train.target("side"))
    assert np.allclose(fitted.predict_proba(test), plain.predict_proba(x_test / scale), atol=0.01)


def test_a_kernel_svm_reads_total_counts(train, test):
    train, test = equal_windows(train), equal_windows(test)
    x, x_test = (np.sqrt(r.values[..., 0].sum(axis=2, dtype=float)) for r in (train, test))
    scale = np.sqrt(x.var(axis=0).mean())
    fitted = fit("kernel-svm-total-counts", train, "side")
    chosen = fitted.about["chosen"]
    plain = SVC(C=chosen["C"], gamma=chosen["gamma"] / 8).fit(x / scale, train.target("side"))
    assert np.array_equal(fitted.predict(test), plain.predict(x_test / scale))


@pytest.mark.parametrize("name", ["logistic-regression", "poisson-naive-bayes", "kernel-svm"])
def test_options_are_those_that_predict_inner_folds_best(name, train):
    """Windows that are all copied under the id of their trial: what has seen a copy of a trial would be sure of it."""
    train = equal_windows(train)
    noise = changed(train, targets={"side": np.random.default_rng(0).permutation(train.target("side"))})
    copied = noise.select(trials=np.repeat(np.arange(noise.n_trials), 3))
    chosen = fit(name, copied, "side").about["chosen"]
    strictest = {
        "logistic-regression": {"C": 0.001},
        "poisson-naive-bayes": {"smoothing": 100.0},
        "kernel-svm": {"sharpness": 0.25},
    }
    assert strictest[name].items() <= chosen.items()


def test_what_does_not_converge_is_an_input_error(train, monkeypatch):
    slow = functools.partial(LogisticRegression, max_iter=1)
    rival = dataclasses.replace(RIVALS["logistic-regression"], learned=Estimated(lambda _: slow()))
    with pytest.raises(InputError, match="does not converge"):
        fit(rival, equal_windows(train), "side")


def test_a_numerical_failure_is_an_input_error(train):
    def failing(rows):
        raise np.linalg.LinAlgError("singular matrix")

    rival = dataclasses.replace(RIVALS["ridge"], learned=failing)
    with pytest.raises(InputError, match="ridge cannot learn .*singular matrix"):
        fit(rival, train, "velocity")


def test_a_wiener_filter_finds_how_far_back_counts_tell(train, test):
    """The quantity is the count of one neuron ten bins ago."""
    counts = np.random.default_rng(3).poisson(4.0, (20, 3, 60)).astype(float)
    past = np.pad(np.sqrt(counts[:, 0]), ((0, 0), (10, 0)))[:, :60]
    recording = Recording.from_trials(counts, targets={"past": past}, target_levels={"past": "bin"})
    train, test = recording.select(trials=np.arange(15)), recording.select(trials=np.arange(15, 20))
    fitted = fit("wiener", train, "past")
    assert fitted.about["chosen"]["lags"] == 12
    assert np.mean((fitted.predict(test) - test.target("past")) ** 2) < 0.01
    assert np.mean((fit("ridge", train, "past").predict(test) - test.target("past")) ** 2) > 0.5


def test_boosted_trees_find_what_no_linear_decoder_can(train):
    rng = np.random.default_rng(3)
    counts = rng.poisson(2.0, (200, 4, 8)).astype(float)
    product = (counts[:, 0] > 1.5) ^ (counts[:, 1] > 1.5)
    recording = Recording.from_trials(counts, targets={"speed": product.astype(float), "is_fast": product})
    train, test = recording.select(trials=np.arange(150)), recording.select(trials=np.arange(150, 200))
    error = {name: np.mean((fit(name, train, "speed").predict(test) - test.target("speed")) ** 2) for name in TREES}
    assert error["gradient-boosting-regression"] < 0.05 < 0.2 < error["ridge"]
    right = np.mean(fit("gradient-boosting", train, "is_fast").predict(test) == test.target("is_fast"))
    assert right > 0.95


@pytest.mark.parametrize("rival", [rival for rival in EVERY if not rival.counts_only], ids=lambda rival: rival.name)
def test_values_that_are_no_counts_are_read_as_they_are(rival, train, test):
    """Units and offsets of an individual change nothing, as long as some values are negative."""
    target = "velocity" if rival.decodes == "quantity" else "side"

    def centred(recording: Recording, by: float = 1.0) -> Recording:
        values = np.where(recording.observed[..., None], recording.values - 3.0, 0) * by
        return equal_windows(changed(recording, values=values))

    found = fit(rival, centred(train), target).predict(centred(test))
    again = fit(rival, centred(train, by=100.0), target).predict(centred(test, by=100.0))
    assert np.array_equal(found, again) if target == "side" else np.allclose(found, again, atol=1e-4, equal_nan=True)
    with pytest.raises(InputError, match="negative"):
        fit(rival, equal_windows(train), target).predict(centred(test))


def test_majority_and_mean_know_the_training_target_only(train, test):
    several = train.select(trials=np.r_[0:36:3, 1])
    majority = fit("majority", equal_windows(several), "side")
    assert set(majority.predict(equal_windows(test))) == {0}
    assert np.allclose(majority.predict_proba(equal_windows(test)), [12 / 13, 1 / 13])
    mean = fit("mean", train, "velocity").predict(test)
    assert np.allclose(mean[test.bin_is_observed], train.target("velocity")[train.bin_is_observed].mean(0))


@pytest.mark.parametrize("delay", [-3, 0, 3])
def test_a_class_per_bin_is_read_from_earlier_and_later_bins_of_its_window(delay):
    """The first neuron tells the state of another bin; beyond the window it reads as silent."""
    counts = np.random.default_rng(3).poisson(2.0, (60, 4, 8))
    is_active = np.random.default_rng(4).random((60, 8)) < 0.5
    counts[:, 0] = 9 * is_active
    state = np.pad(is_active, ((0, 0), (3, 3)))[:, 3 + delay : 11 + delay]
    recording = Recording.from_trials(counts, targets={"state": state})
    train, test = recording.select(trials=np.arange(40)), recording.select(trials=np.arange(40, 60))
    right = {rival.name: np.mean(fit(rival, train, "state").predict(test) == test.target("state")) for rival in OF_BINS}
    assert right["lda"] == 1.0
    assert right["logistic-regression"] > right["majority"]


def test_a_recipe_is_not_changed_by_fitting(train, test):
    ridge = RIVALS["ridge"]
    first = fit(ridge, train, "velocity")
    expected = first.predict(test)
    fit(ridge, test, "velocity")
    assert np.array_equal(first.predict(test), expected, equal_nan=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ridge.lags = (0,)  # type: ignore[misc]


asked_as_class = TargetQuestion("velocity", "class", "bin")
LDA, SVM, RIDGE, TIMED = "lda", "kernel-svm-total-counts", "ridge", "kernel-ridge-time"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: fit(LDA, r, "sid"), "did you mean 'side'"),
        (lambda r: fit(LDA, r, "velocity"), "lda does not answer"),
        (lambda r: fit(RIDGE, r, "state"), "ridge does not answer"),
        (lambda r: RIVALS[LDA].fit(PopulationDataset(r), asked_as_class), "one class per bin was asked for"),
        (
            lambda r: RIVALS[LDA].fit(PopulationDataset([r, changed(r, name="other")]), asked(r, "state")),
            "reads one recording",
        ),
        (lambda r: fit(LDA, r, "side"), r"windows of 9 observed bins.*recording\.windows"),
        (lambda r: fit("poisson-naive-bayes", changed(r, values=r.values - 1), "state"), "negative"),
        (lambda r: fit(LDA, changed(r, values=0 * r.values), "state"), "no individual .* varies"),
        (lambda r: fit(LDA, equal_windows(r.select(trials=[0, 3])), "side"), "one class only"),
        (
            lambda r: fit(LDA, equal_windows(r.select(trials=[0, 1, 2])), "side"),
            "lda cannot learn .* more trials",
        ),
        (lambda r: fit(TIMED, changed(r, targets={"x": np.zeros(48)}), "x"), "does not answer"),
        (lambda r: fit(RIDGE, changed(r, targets={"x": np.zeros((48, 8))}), "x"), "does not answer"),
        (lambda r: fit(LDA, changed(r, targets={"x": np.zeros((48, 9, 2), int)}), "x"), "one class per bin"),
        (lambda r: fit(RIDGE, r, "velocity").predict(r.select(individuals=[1, 0, 2])), "3 individuals"),
        (lambda r: fit(RIDGE, r, "velocity").predict(r.select(individuals=range(7, -1, -1))), "in their order"),
        (lambda r: fit(SVM, r, "state"), "does not answer"),
        (
            lambda r: fit(LDA, equal_windows(r), "side").predict(r.select(bins=slice(0, 4))),
            "windows of 5 observed bins",
        ),
    ],
)
def test_what_a_decoder_cannot_read_is_an_input_error(ask, message, recording):
    with pytest.raises(InputError, match=message):
        ask(recording)


def test_a_recipe_of_ones_own_needs_only_an_estimator(train, test):
    own = Decoder("own", "quantity", Estimated(lambda rows: Ridge()), lags=(0,))
    assert fit(own, train, "velocity").n_parameters == 2 * (8 + 1)


@CLASSIFIERS
def test_trials_of_unknown_class_are_left_out(rival: Decoder) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (40, 5, 4))
    side = np.where(np.arange(40) % 2, "left", "right").astype(object)
    side[[3, 17]] = None
    partly = Recording.from_trials(counts, targets={"side": side})
    known = np.setdiff1d(np.arange(40), [3, 17])
    fitted, expected = fit(rival, partly, "side"), fit(rival, partly.select(trials=known), "side")
    assert set(fitted.predict(partly)) <= {"left", "right"}
    np.testing.assert_array_equal(fitted.predict(partly), expected.predict(partly))

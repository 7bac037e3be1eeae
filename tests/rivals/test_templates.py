"""The template rivals: what they compute, what they never see, and that what is tuned is tuned on other trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals import templates
from motet.rivals.method import TargetQuestion
from motet.rivals.templates import TEMPERATURES, FittedTemplate, TemplateRival

PLAIN = TemplateRival("template", temperatures=(1.0,))
TUNED = TemplateRival("template")
CORRECTED = TemplateRival("template-kernel-ridge", "kernel-ridge")
LINEAR = TemplateRival("template-ridge", "ridge")
HARD = TemplateRival("template-hard", temperatures=(templates.HARD,))
EVERY = pytest.mark.parametrize(
    "rival", [PLAIN, TUNED, HARD, LINEAR, CORRECTED], ids=["plain", "tuned", "hard", "linear", "corrected"]
)


def fit(rival: TemplateRival, train: Recording, target: str = "speed", of: str | None = "side") -> FittedTemplate:
    return rival.fit(PopulationDataset(train), TargetQuestion(target, "quantity", "bin", of))


def predict(fitted: FittedTemplate, test: Recording) -> np.ndarray:
    return fitted.predict(PopulationDataset(test))["prediction"]


def reaches(n_trials: int = 48, *, gain: float = 0.5, lengths: tuple[int, ...] = (6, 9, 7), seed: int = 0) -> Recording:
    """Ragged trials to one of three sides: counts tell the side by `gain`, and speed depends on side and time."""
    rng = np.random.default_rng(seed)
    side, n_bins = np.arange(n_trials) % 3, np.resize(np.repeat(lengths, 3), n_trials)
    tuning = np.random.default_rng(99).normal(size=(3, 10))
    way = np.array([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])
    by_trial = list(zip(side, n_bins, strict=True))
    speed = [np.sin(0.4 * np.arange(n))[:, None] * way[s] + 0.1 * rng.normal(size=(n, 2)) for s, n in by_trial]
    counts = [rng.poisson(2 * np.exp(gain * tuning[s])[:, None], (10, n)) for s, n in by_trial]
    targets = {"side": np.array(["left", "right", "up"])[side], "speed": speed}
    return Recording.from_trials(counts, targets=targets, target_levels={"side": "trial", "speed": "bin"})


@pytest.fixture(scope="module")
def train() -> Recording:
    return reaches()


@pytest.fixture(scope="module")
def test() -> Recording:
    return reaches(30, lengths=(8, 6, 12), seed=1)


def changed(recording: Recording, **targets: np.ndarray) -> Recording:
    return dataclasses.replace(recording, targets={**recording.targets, **targets})


def squared_error(rival: TemplateRival, train: Recording, test: Recording) -> float:
    left = predict(fit(rival, train), test) - test.target("speed")
    return float(np.nanmean(left**2))


# ------------------------------------------------------------------ what is computed


def test_a_template_is_lda_on_the_counts_so_far_times_the_mean_courses(train, test):
    """The plain reading, bin by bin; half of the training trials have 7 bins, the longest 9."""
    given = predict(fit(PLAIN, train), test)
    side, speed = train.target("side"), train.target("speed")
    for t in range(12):
        read = min(t, 6)
        taught = train.trial_lengths > read
        x, x_test = (np.sqrt(r.values[:, :, : read + 1, 0].sum(axis=2, dtype=float)) for r in (train, test))
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[taught], side[taught])
        means = [np.nanmean(speed[side == c, min(t, 8)], axis=0) for c in lda.classes_]
        here = test.trial_lengths > t
        assert np.allclose(given[here, t], (lda.predict_proba(x_test) @ means)[here])
        assert np.isnan(given[~here, t]).all()


def test_the_hard_template_is_the_course_of_the_most_probable_class(train, test):
    fitted = fit(HARD, train)
    logs = fitted.template.log_probabilities(fitted.reading.so_far(fitted.reading.roots(test)))
    given, courses = predict(fitted, test), fitted.template.courses
    for t in range(9):
        here = test.trial_lengths > t
        assert np.allclose(given[here, t], courses[logs[here, t].argmax(axis=1), t])


def test_a_bin_without_a_known_quantity_has_the_last_mean_of_its_class_or_else_that_of_all(train):
    speed, side = train.target("speed").copy(), train.target("side")
    speed[side == "left", 4:] = np.nan
    speed[side == "up", 0] = np.nan
    speed[:, 2] = np.nan
    courses = fit(PLAIN, changed(train, speed=speed)).template.courses
    assert np.allclose(courses[0, 4:], np.nanmean(speed[side == "left", 3], axis=0))
    assert np.allclose(courses[2, 0], np.nanmean(speed[side != "up", 0], axis=0))
    assert np.allclose(courses[:, 2], courses[:, 1])


def test_courses_help_and_so_does_kernel_ridge_where_speed_varies_within_a_side(train, test):
    plain, tuned, corrected = (squared_error(rival, train, test) for rival in (PLAIN, TUNED, CORRECTED))
    assert max(plain, tuned, corrected) < 0.25 * np.nanvar(test.target("speed"))

    def drifting(recording: Recording) -> Recording:
        """Speed follows the last count of one neuron too."""
        return changed(recording, speed=recording.target("speed") + 0.3 * recording.values[:, 0])

    left = squared_error(TUNED, drifting(train), drifting(test))
    assert squared_error(CORRECTED, drifting(train), drifting(test)) < 0.6 * left
    assert squared_error(LINEAR, drifting(train), drifting(test)) < 0.6 * left


def test_long_trials_have_a_bounded_number_of_decoders(monkeypatch):
    monkeypatch.setattr(templates, "MOST_STEPS", 4)
    decoders = fit(PLAIN, reaches(12, lengths=(31,))).template.decoders
    assert [step for step, _ in decoders] == [0, 10, 20, 30]


# ------------------------------------------------------------------ what is never seen


@EVERY
def test_classes_and_quantities_of_test_trials_change_nothing(rival, train, test):
    fitted = fit(rival, train)
    expected = predict(fitted, test)
    other = changed(test, side=test.target("side")[::-1], speed=-test.target("speed"))
    without = dataclasses.replace(test, targets={}, target_levels={})
    assert np.array_equal(predict(fitted, other), expected, equal_nan=True)
    assert np.array_equal(predict(fitted, without), expected, equal_nan=True)


@EVERY
@pytest.mark.parametrize("t", [1, 5])
def test_later_bins_change_no_bin_before(rival, train, test, t):
    values = test.values.copy()
    values[:, :, t:] = np.where(test.observed[:, :, t:, None], 7, 0)
    fitted = fit(rival, train)
    before, after = predict(fitted, test), predict(fitted, dataclasses.replace(test, values=values))
    assert np.array_equal(before[:, :t], after[:, :t], equal_nan=True)
    assert not np.allclose(before, after, equal_nan=True)


@pytest.mark.parametrize("n_copies", [1, 3], ids=["trials", "windows of trials"])
def test_what_is_tuned_is_tuned_on_trials_that_were_not_fitted(n_copies):
    """Counts that tell nothing: a decoder that knows its trials is certain of them, one that does not is even."""
    noise = reaches(33, gain=0.0, lengths=(6,))
    copies = noise.select(trials=np.tile(np.arange(33), n_copies))
    assert fit(TUNED, copies).chosen["temperature"] == min(TEMPERATURES)
    other = reaches(30, gain=0.0, lengths=(6,), seed=5)
    flat = np.mean((noise.target("speed").mean(axis=0) - other.target("speed")) ** 2)
    assert squared_error(CORRECTED, copies, other) < 1.1 * flat
    assert squared_error(LINEAR, copies, other) < 1.1 * flat


# ------------------------------------------------------------------ classes that are unknown or rare


@pytest.mark.parametrize(
    "labels",
    [
        lambda side: np.where(np.arange(48) < 20, "", side),
        lambda side: np.where(np.arange(48) < 20, np.iinfo(np.int64).min, np.unique(side, return_inverse=True)[1]),
        lambda side: np.where(np.arange(48) < 20, np.char.add("rare", (np.arange(48) // 2).astype(str)), side),
    ],
    ids=["no name", "no number", "two trials each"],
)
def test_trials_of_unknown_or_rare_class_teach_no_template(labels, train, test):
    partly = changed(train, side=labels(train.target("side")))
    given, expected = (fit(PLAIN, r) for r in (partly, train.select(trials=np.arange(20, 48))))
    assert np.allclose(given.template.courses, expected.template.courses)
    assert np.allclose(predict(given, test)[:, :6], predict(expected, test)[:, :6])
    assert np.isfinite(predict(fit(CORRECTED, partly), test)[test.bin_is_observed]).all()


def test_classes_may_be_numbers_or_truths_and_the_quantity_of_any_shape(train, test):
    def fitted(recording: Recording, **targets: np.ndarray) -> np.ndarray:
        return predict(fit(CORRECTED, changed(recording, **targets)), test)

    is_left = train.target("side") == "left"
    assert np.allclose(fitted(train, side=is_left), fitted(train, side=is_left.astype(np.int64)), equal_nan=True)
    speed = train.target("speed")
    assert fitted(train, speed=speed[..., 0]).shape == test.bin_is_observed.shape
    assert fitted(train, speed=speed[..., None] * np.ones(3)).shape == (*test.bin_is_observed.shape, 2, 3)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: fit(PLAIN, r, of=None), "reads a class per trial .* give class_target"),
        (lambda r: fit(PLAIN, r, of="sied"), "did you mean 'side'"),
        (lambda r: fit(PLAIN, r, of="speed"), "'speed' .* one class per trial was asked"),
        (lambda r: fit(PLAIN, r, "side"), "'side' .* one quantity per bin was asked"),
        (lambda r: fit(PLAIN, r.select(trials=np.arange(0, 48, 3))), "fewer than two classes of 3 trials"),
        (lambda r: fit(PLAIN, r.select(trials=np.arange(6))), "fewer than two classes of 3 trials"),
        (lambda r: fit(PLAIN, changed(r, speed=np.nan * r.target("speed"))), "unknown in every bin"),
        (lambda r: predict(fit(PLAIN, r), r.select(individuals=[1, 0])), "2 individuals"),
    ],
)
def test_what_a_template_cannot_read_is_an_input_error(ask, message, train):
    with pytest.raises(InputError, match=message):
        ask(train)

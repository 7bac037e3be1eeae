"""Trials of a new population that do not fit: each is one clear refusal, or is handled as is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.encoder import EITEncoder
from motet.systems import simulate
from motet.training.settings import TrainingSettings

SHORT = TrainingSettings(max_steps=2, batch_trials=64)


@pytest.fixture(scope="module")
def subjects() -> list[Recording]:
    return simulate("population", n_subjects=3, n_trials=48, n_neurons=(20, 24), n_bins=6, seed=1)


@pytest.fixture(scope="module")
def circle(subjects: list[Recording]) -> EITEncoder:
    return EITEncoder("direction", period=8.0, training=SHORT).fit(subjects[:2])


@pytest.fixture(scope="module")
def categories(subjects: list[Recording]) -> EITEncoder:
    return EITEncoder("direction", period=0.0, training=SHORT).fit(subjects[:2])


@pytest.fixture
def few(subjects: list[Recording]) -> Recording:
    """Two trials of each class."""
    direction = subjects[2].targets["direction"]
    return subjects[2].select(trials=np.concatenate([np.flatnonzero(direction == c)[:2] for c in range(8)]))


@pytest.fixture
def rest(subjects: list[Recording]) -> Recording:
    return subjects[2].select(trials=range(16, 48))


def called(recording: Recording, labels: Any) -> Recording:
    return dataclasses.replace(recording, targets={"direction": np.asarray(labels)}, target_levels={})


def valued(recording: Recording, values: Any) -> Recording:
    return dataclasses.replace(recording, values=np.asarray(values, dtype=np.float32))


def unseen(recording: Recording) -> Recording:
    return dataclasses.replace(recording, observed=np.zeros_like(recording.observed))


def directions(recording: Recording) -> Any:
    return recording.targets["direction"]


Use = Callable[[EITEncoder, Recording, Recording], Any]
REFUSED: dict[str, tuple[Use, str]] = {
    "features": (lambda e, a, b: e.adapt(valued(a, np.repeat(a.values, 2, 3))), "2 features"),
    "features later": (lambda e, a, b: e.adapt(a).predict(valued(b, np.repeat(b.values, 2, 3))), "2 features"),
    "bin width later": (lambda e, a, b: e.adapt(a).predict(dataclasses.replace(b, bin_seconds=0.05)), "bin them alike"),
    "bin width": (lambda e, a, b: e.adapt(a, dataclasses.replace(b, bin_seconds=0.05)), "bin them alike"),
    "more bins": (lambda e, a, b: e.adapt(a.select(bins=slice(3))).predict(b), "equally many"),
    "individuals": (lambda e, a, b: e.adapt(a).predict(b.select(individuals=range(5))), "same individuals"),
    "no target": (lambda e, a, b: e.adapt(dataclasses.replace(a, targets={}, target_levels={})), "direction"),
    "per bin": (lambda e, a, b: e.adapt(called(a, np.repeat(directions(a)[:, None], 6, 1))), "one per trial"),
    "labels unknown": (lambda e, a, b: e.adapt(called(a, np.full(16, np.nan))), "no labelled trial has a known"),
    "names on a circle": (lambda e, a, b: e.adapt(called(a, directions(a).astype(str))), "numbers on a circle"),
    "nobody fires": (lambda e, a, b: e.adapt(valued(a, 0 * a.values)), "nobody fires"),
    "nobody fires, unlabelled": (lambda e, a, b: e.adapt(a, valued(b, 0 * b.values)), "same task"),
    "nothing observed": (lambda e, a, b: e.adapt(unseen(a)), "nobody fires"),
    "another task": (lambda e, a, b: e.adapt(a, valued(b, b.values[:, ::-1] ** 2)), "same task"),
    "negative": (lambda e, a, b: e.adapt(valued(a, a.values - 5)), "negative values"),
    "negative later": (lambda e, a, b: e.adapt(a).predict(valued(b, b.values - 5)), "negative values"),
    "an array": (lambda e, a, b: e.adapt(a.values), "give a Recording"),
    "a dataset": (lambda e, a, b: e.adapt(PopulationDataset(a)), "give a Recording"),
    "nothing kept": (lambda e, a, b: e.adapt(a).update(b, keep=0), "at least 1"),
    "nothing to score": (lambda e, a, b: e.adapt(a).score(called(b, np.full(32, np.nan))), "nothing to score"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_trials_that_do_not_fit_are_refused(name: str, circle: EITEncoder, few: Recording, rest: Recording) -> None:
    use, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        use(circle, few, rest)


HANDLED: dict[str, Use] = {
    "bin width of pretraining": lambda e, a, b: e.adapt(
        dataclasses.replace(a, bin_seconds=0.05), dataclasses.replace(b, bin_seconds=0.05)
    ).predict(dataclasses.replace(b, bin_seconds=0.05)),
    "some labels unknown": lambda e, a, b: e.adapt(
        called(a, np.where(np.arange(16) < 4, np.nan, directions(a)))
    ).predict(b),
    "real labels": lambda e, a, b: e.adapt(called(a, directions(a).astype(float))).predict(b),
    "small labels": lambda e, a, b: e.adapt(called(a, directions(a).astype(np.uint8))).predict(b),
    "one class": lambda e, a, b: e.adapt(a.select(trials=np.flatnonzero(directions(a) == 3)), b).predict(b),
    "one trial": lambda e, a, b: e.adapt(a.select(trials=[0])).predict(b),
    "silent in calibration": lambda e, a, b: e.adapt(
        valued(a, np.where(np.arange(a.n_individuals)[:, None, None] < 5, 0, a.values)), b
    ).predict(b),
    "absent in calibration": lambda e, a, b: e.adapt(
        dataclasses.replace(a, observed=a.observed & (np.arange(a.n_individuals) > 4)[:, None])
    ).predict(b),
    "one individual": lambda e, a, b: e.adapt(a.select(individuals=[0])).predict(b.select(individuals=[0])),
    "one bin": lambda e, a, b: e.adapt(a.select(bins=slice(1)), b.select(bins=slice(1))).predict(
        b.select(bins=slice(1))
    ),
    "fewer bins later": lambda e, a, b: e.adapt(a).predict(b.select(bins=slice(3))),
    "huge counts": lambda e, a, b: e.adapt(valued(a, a.values * 1e30), valued(b, b.values * 1e30)).predict(b),
    "huge counts later": lambda e, a, b: e.adapt(a).predict(valued(b, b.values * 1e30)),
    "rates": lambda e, a, b: e.adapt(valued(a, a.values + 0.3), valued(b, b.values + 0.3)).predict(b),
}


@pytest.mark.parametrize("name", HANDLED)
def test_trials_that_are_unusual_are_decoded(name: str, circle: EITEncoder, few: Recording, rest: Recording) -> None:
    predicted = HANDLED[name](circle, few, rest)
    assert predicted.shape == (32,)
    assert np.isin(predicted, range(8)).all()


def test_an_individual_that_is_silent_in_calibration_and_fires_later_says_little(
    circle: EITEncoder, few: Recording, rest: Recording
) -> None:
    silenced = valued(few, np.where(np.arange(few.n_individuals)[:, None, None] < 1, 0, few.values))
    without = valued(rest, np.where(np.arange(few.n_individuals)[:, None, None] < 1, 0, rest.values))
    decoder = circle.adapt(silenced)
    assert np.mean(decoder.predict(rest) == decoder.predict(without)) > 0.7


@pytest.mark.parametrize("kind", [str, bool, float, object])
def test_labels_of_another_kind_than_in_pretraining_are_classes_of_their_own(
    kind: Any, categories: EITEncoder, few: Recording, rest: Recording
) -> None:
    labels = (directions(few) > 3) if kind is bool else directions(few).astype(kind)
    decoder = categories.adapt(called(few, labels))
    assert set(decoder.predict(rest)) <= set(decoder.classes_)
    assert len(decoder.classes_) == (2 if kind is bool else 8)


def test_a_class_that_is_never_calibrated_is_answered_on_a_circle_alone(
    circle: EITEncoder, categories: EITEncoder, few: Recording
) -> None:
    some = few.select(trials=directions(few) != 2)
    assert 2 in circle.adapt(some).classes_
    assert 2 not in categories.adapt(some).classes_
    with pytest.raises(InputError, match="of class 3 of 'direction'; give trials of two classes"):
        categories.adapt(few.select(trials=directions(few) == 3))


def test_recordings_that_share_ids_by_accident_are_told_apart(subjects: list[Recording]) -> None:
    """Individuals are of their recording: the same ids in others, and in the new one, change nothing."""

    def named(recording: Recording, prefix: str) -> Recording:
        return dataclasses.replace(
            recording, individual_ids=tuple(f"{prefix}{place}" for place in range(recording.n_individuals))
        )

    few, rest = subjects[2].select(trials=range(16)), subjects[2].select(trials=range(16, 48))
    answers = []
    for prefixes in (("a", "b", "c"), ("n", "n", "n")):
        known = [named(recording, prefix) for recording, prefix in zip(subjects[:2], prefixes, strict=False)]
        encoder = EITEncoder("direction", period=8.0, training=SHORT).fit(known)
        decoder = encoder.adapt(named(few, prefixes[2]), named(rest, prefixes[2]))
        answers.append(decoder.predict_proba(named(rest, prefixes[2])))
    np.testing.assert_array_equal(*answers)

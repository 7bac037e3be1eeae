"""Settings of all estimators: set by name, cloned, and checked before anything is computed."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest
from sklearn.base import clone

import motet
from motet.data.motion import MotionSettings
from motet.errors import InputError
from motet.estimators.base import Estimator
from motet.models.eit import EITSettings
from motet.training.settings import TrainingSettings

DECODERS = [motet.EITClassifier, motet.EITRegressor]
OF_PAIRS = [motet.EITInteractions, motet.EITForecaster]
ESTIMATORS = [*DECODERS, motet.EITEncoder, *OF_PAIRS]

# Another value of every kind of setting: no estimator is fitted with it.
OTHER = {bool: lambda old: not old, int: lambda old: 2 * old or 1, float: lambda old: old / 2 + 0.01}


def other(old, hint):
    if isinstance(old, str):
        return next((choice for choice in typing.get_args(hint) if choice != old), f"not {old}")
    if isinstance(old, tuple):
        hints = typing.get_args(hint)
        hints = hints[:1] * len(old) if hints[1:] == (...,) else hints
        return tuple(other(*part) for part in zip(old, hints, strict=True))
    if old is None and "tuple" in str(hint):
        return 0.1, 0.2
    if old is None and "dict" not in str(hint):  # a number that is found
        return 7
    if old is None:  # a dictionary, or what is found
        keys, _ = typing.get_args(next(one for one in typing.get_args(hint) if typing.get_origin(one) is dict))
        return dict.fromkeys(typing.get_args(keys), 1.0)
    return OTHER[type(old)](old)


def nested(estimator):
    """Every setting inside a part: name → old value, another one."""
    hints = {part: typing.get_type_hints(kind) for part, kind in estimator._part_settings().items()}
    params = {tuple(name.split("__")): old for name, old in estimator.get_params().items() if "__" in name}
    return {f"{part}__{field}": (old, other(old, hints[part][field])) for (part, field), old in params.items()}


def test_every_public_estimator_is_here():
    public = [getattr(motet, name) for name in motet.__all__]
    assert {one for one in public if isinstance(one, type) and issubclass(one, Estimator)} == set(ESTIMATORS)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_every_setting_of_every_part_is_set_and_got_by_name(kind):
    assert {name.split("__")[0] for name in nested(kind())} == set(kind._part_settings())
    for name, (old, new) in nested(kind()).items():
        part, field = name.split("__")
        assert new != old
        estimator = kind().set_params(**{name: new})
        assert getattr(getattr(estimator, part), field) == new, name
        assert estimator.get_params()[name] == new
        untouched = {key: value for key, value in estimator.get_params().items() if key not in (name, part)}
        assert untouched == {key: value for key, value in kind().get_params().items() if key not in (name, part)}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_clone_has_the_settings_and_nothing_else(kind):
    estimator = kind("speed", seed=np.int64(5), training=TrainingSettings(max_steps=9)).set_params(model__dropout=0.3)
    estimator.learner_ = object()
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    assert not hasattr(twin, "learner_")
    twin.set_params(model__dropout=0.1)
    assert estimator.model.dropout == 0.3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model__wdth": 8}, "unknown setting 'model__wdth'; did you mean 'model__width'"),
        ({"sed": 8}, "unknown setting 'sed'; did you mean 'seed'"),
        ({"trainings__max_steps": 8}, "unknown setting 'trainings__max_steps'; did you mean 'training__max_steps'"),
        ({"seed__x": 8}, "unknown setting 'seed__x'"),
        ({"model__": 8}, "unknown setting 'model__'"),
        ({"model__width": 7}, "width 7 does not divide"),
        ({"training__averaging": 3.0}, "averaging is 3.0"),
        ({"model": "big", "model__width": 8}, "model is 'big'; give EITSettings"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(wrong, words):
    for kind in ESTIMATORS:
        estimator = kind()
        before = estimator.get_params()
        with pytest.raises(InputError, match=words):
            estimator.set_params(**{"batch_trials": 3, "training__max_steps": 7, **wrong})
        assert estimator.get_params() == before


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_parts_and_what_is_inside_them_are_set_together(kind):
    estimator = kind().set_params(model__n_heads=3, model__width=12)
    assert (estimator.model.width, estimator.model.n_heads) == (12, 3)
    small = dataclasses.replace(kind().model, width=4)
    estimator.set_params(model__n_heads=2, model=small)
    assert estimator.model == dataclasses.replace(small, n_heads=2)


EVERYWHERE = [
    ("seed", 1.5),
    ("seed", True),
    ("seed", -1),
    ("seed", 2**32),
    ("seed", None),
    ("seed", "0"),
    ("batch_trials", 0),
    ("batch_trials", 2.0),
    ("batch_trials", None),
    ("target", 3),
    ("target", ["direction"]),
    ("model", {"width": 8}),
    ("model", MotionSettings()),
    ("training", "quick"),
    ("training", None),
    ("objective", TrainingSettings()),
]
OF_DECODERS = [
    ("auxiliary", "velocity"),
    ("auxiliary", ["velocity"]),
    ("auxiliary", {"velocity": "0.5"}),
    ("auxiliary", {1: 0.5}),
    ("preprocess", EITSettings()),
]
OF_ESTIMATORS_OF_PAIRS = [
    ("target", None),
    ("pairs", EITSettings(identity="none")),
    ("motion", "position"),
    ("model", EITSettings(identity="learned")),
    ("model", EITSettings(identity="context")),
]
CASES = [
    *((ESTIMATORS, *case) for case in EVERYWHERE),
    *((DECODERS, *case) for case in OF_DECODERS),
    *((OF_PAIRS, *case) for case in OF_ESTIMATORS_OF_PAIRS),
    *(([motet.EITInteractions], "states", states) for states in ("mass", ["mass", 1], None, 3)),
]


@pytest.mark.parametrize(("kinds", "name", "value"), CASES)
def test_every_setting_is_checked_before_anything_is_computed(kinds, name, value):
    """Not even the data are looked at, which are none."""
    for kind in kinds:
        with pytest.raises(InputError, match=name):
            kind().set_params(**{name: value}).fit(object())


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_data_that_are_none_are_refused(kind):
    for X in (object(), None, 3, [3], np.zeros(3), {}):
        with pytest.raises(InputError):
            kind().fit(X)


def test_a_setting_that_was_spoilt_after_the_fit_is_noticed(small_recording):
    decoder = motet.EITClassifier("direction", members=1, training=TrainingSettings(max_steps=1)).fit(small_recording)
    decoder.batch_trials = 0
    with pytest.raises(InputError, match="batch_trials is 0"):
        decoder.predict(small_recording)


def test_an_estimator_whose_second_fit_failed_is_not_fitted(small_recording):
    from sklearn.exceptions import NotFittedError

    decoder = motet.EITClassifier("direction", members=1, training=TrainingSettings(max_steps=1)).fit(small_recording)
    with pytest.raises(InputError, match="unknown target"):
        decoder.set_params(target="directoin").fit(small_recording)
    with pytest.raises(NotFittedError):
        decoder.predict(small_recording)

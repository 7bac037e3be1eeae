"""Files of estimators: whatever is changed in their description is one refusal, or changes nothing that is needed."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import motet
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.training.objectives import ForecastSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

SMALL = EITSettings(width=4, token_bins=1, identity="none")
ONE_STEP = TrainingSettings(max_steps=1, validation=0.3)
WRONG = [None, True, -1, 0, 10**9, 10**400, 0.5, np.nan, np.inf, "x", [], ["x"], [1, "x"], {}, {"x": 1}]
MISSING = object()
# What a prediction does not read, or follows to a billion bins.
NOT_READ = {"training", "history", "objective"}


class Edited(Run):
    """A run whose weights are described by something else."""

    def __init__(self, run, about):
        super().__init__(run.folder)
        self.about = about

    def read_tensors(self, name):
        return super().read_tensors(name)[0], self.about


def counts():
    side = np.arange(12) % 2
    values = np.random.default_rng(0).poisson(2.0 + 3 * side[:, None, None], (12, 3, 4))
    return Recording.from_trials(values, targets={"side": side, "drive": values.sum((1, 2)) * 0.1})


def orbits():
    return motet.simulate("gravity", groups=("2x2",), n_trials=6, n_bins=10, engine="numpy")[0]


def made(kind):
    """A tiny estimator, and what it reads."""
    pairs = {"model": SMALL, "pairs": PairSettings(width=4, depth=1, laws=1), "training": ONE_STEP}
    match kind:
        case "EITClassifier":
            return motet.EITClassifier("side", auxiliary={"drive": 0.5}, training=ONE_STEP), counts()
        case "EITRegressor":
            model = EITSettings(width=4)
            return motet.EITRegressor("drive", auxiliary={"side": 0.5}, model=model, training=ONE_STEP), counts()
        case "EITInteractions":
            return motet.EITInteractions(states=("mass",), **pairs), orbits()
        case "EITForecaster":
            short = ForecastSettings(context_bins=6, horizon_bins=3, interactions_weight=0.5)
            return motet.EITForecaster(objective=short, **pairs), orbits()


KINDS = ["EITClassifier", "EITRegressor", "EITInteractions", "EITForecaster"]


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    estimator, recording = made(request.param)
    estimator.fit(recording, on_epoch=lambda row: None)
    return estimator, recording, estimator.save(tmp_path_factory.mktemp("runs") / request.param)


def places(value, above=()):
    """Every place in something made of dicts and lists; the first two of a list."""
    yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in inside:
        yield from places(part, (*above, key))


def edited(about, place, new):
    """The description with something else at a place."""
    if not place:
        return None if new is MISSING else new
    about = copy.deepcopy(about)
    around = about
    for key in place[:-1]:
        around = around[key]
    if new is MISSING:
        del around[place[-1]]
    elif new is not None or not isinstance(around, list):
        around[place[-1]] = new
    else:
        around.append(around[place[-1]])
    return about


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_any_edit_of_the_description_is_one_refusal_or_a_model_that_works(saved, every):
    estimator, recording, run = saved
    about = run.read_tensors("weights")[1]
    edits = [(place, new) for place in places(about) for new in (MISSING, *WRONG)][::every]
    n_refused = 0
    for place, new in edits:
        try:
            loaded = type(estimator).load(Edited(run, edited(about, place, new)))
            if not NOT_READ & {*place}:
                loaded.predict(recording)
        except InputError:
            n_refused += 1
        except Exception as error:
            raise AssertionError(f"{new!r} at {place}") from error
    assert len(edits) / 2 < n_refused < len(edits)


@pytest.mark.parametrize(("kind", "other"), [(one, other) for one in KINDS for other in KINDS if one != other])
def test_the_file_of_another_estimator_is_refused(kind, other, tmp_path):
    run = Run(tmp_path)
    run.write_tensors("weights", {}, {"estimator": kind})
    with pytest.raises(InputError, match=f"load it with {kind}.load"):
        getattr(motet, other).load(run)

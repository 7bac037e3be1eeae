"""Estimators on arrays: what y is, who the individuals are, and what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import motet
from motet.data.preprocess import PreprocessSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.arrays import read_population
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings, Target, known_predictions, known_rows
from motet.training.settings import TrainingSettings

QUICK = {"model": EITSettings(width=4), "training": TrainingSettings(max_steps=3), "members": 1}
WITH_RULE = {"members": 2, "rule": "lda"}
N_TRIALS, N_BINS = 12, 5
X = np.random.default_rng(0).poisson(3.0, (N_TRIALS, 4, N_BINS)).astype(float)
SIDE = np.arange(N_TRIALS) % 2


def fitted(kind, values, y, **settings):
    return kind(**QUICK | settings).fit(values, y, on_epoch=lambda row: None)


@pytest.fixture(scope="module")
def nameless():
    """A decoder, with a rule inside, of arrays whose individuals have no names."""
    return fitted(motet.EITClassifier, X, SIDE, **WITH_RULE)


@pytest.fixture(scope="module")
def named():
    """A decoder, with a rule inside, of arrays whose individuals have names."""
    decoder = motet.EITClassifier(**QUICK | WITH_RULE)
    return decoder.fit(X, SIDE, individual_ids=NAMES, on_epoch=lambda row: None)


# ------------------------------------------------------------------ levels


def per_bin(values):
    """A value for every bin, of trials that differ in length."""
    return [np.full(2 + trial % 4, value) for trial, value in enumerate(values)]


@pytest.mark.parametrize(
    ("kind", "y", "level", "shape"),
    [
        ("class", SIDE, "trial", (12,)),
        ("class", SIDE.astype(bool).tolist(), "trial", (12,)),
        ("class", np.tile(SIDE[:, None], 5), "bin", (12, 5)),
        ("class", [["a", "b", "a", "b", "a"]] * 12, "bin", (12, 5)),
        ("class", per_bin(np.array(["left", "right"])[SIDE]), "bin", (12, 5)),
        ("quantity", SIDE, "trial", (12,)),
        ("quantity", np.ones((12, 2)), "trial", (12, 2)),
        ("quantity", np.ones((12, 6), dtype=">f4"), "trial", (12, 6)),
        ("quantity", np.ones((12, 5)), "bin", (12, 5)),
        ("quantity", np.ones((12, 5, 2), dtype=int), "bin", (12, 5, 2)),
        ("quantity", per_bin(np.arange(12.0)), "bin", (12, 5)),
        ("quantity", pd.Series(np.arange(12.0), index=range(100, 112)), "trial", (12,)),
        ("quantity", xr.DataArray(np.ones((2, 5, 12)), dims=("xy", "time", "trial")), "bin", (12, 5, 2)),
    ],
)
def test_the_level_of_an_array_is_read_off_its_shape(kind, y, level, shape):
    recording = read_population(X, y, target="y", kind=kind).recordings[0]
    assert recording.target_levels == {"y": level}
    assert recording.targets["y"].shape == shape
    assert (recording.targets["y"].dtype == np.float64) == (kind == "quantity")


@pytest.mark.parametrize(
    ("kind", "n_bins", "y", "words"),
    [
        ("quantity", 3, np.ones((12, 3)), "may be 3 bins or 3 dimensions of a trial; .* target_levels"),
        ("quantity", 2, np.ones((12, 2)), "may be 2 bins"),
        ("quantity", 5, np.ones((12, 4, 2)), r"\(12, dimension\) or \(12, 5, dimension\)"),
        ("class", 5, np.ones((12, 4), dtype=int), r"give \(12,\) per trial or \(12, 5\) per bin"),
        ("class", 5, np.ones((12, 5, 2), dtype=int), r"give \(12,\) per trial or \(12, 5\) per bin"),
        ("class", 5, SIDE[:-1], "12 trials and y has 11"),
        ("quantity", 5, 3.0, "give one"),
        ("class", 5, np.array("left"), "12 trials and y has 1"),
        ("class", 5, np.array([b"l", b"r"])[SIDE], "bytes"),
        ("class", 5, [b"l", b"r"] * 6, "bytes"),
        ("class", 5, np.array([b"l", None], dtype=object)[SIDE], "bytes"),
        ("quantity", 5, np.array(["1", "2"])[SIDE], "text"),
        ("class", 5, np.array(["2020", "2021"], "M8[D]")[SIDE], "datetime"),
        ("class", 5, SIDE + 1j, "complex"),
        ("quantity", 5, per_bin(np.arange(11.0)), "12 trials and y has 11"),
        ("quantity", 5, [np.ones((2, 3)), *([np.ones((2, 4))] * 11)], "different shapes"),
        ("quantity", 5, [np.ones(7), *([np.ones(3)] * 11)], "longer than their trials"),
    ],
)
def test_a_y_that_does_not_fit_or_may_mean_two_things_is_refused(kind, n_bins, y, words):
    with pytest.raises(InputError, match=words):
        read_population(X[:, :, :n_bins], y, target="y", kind=kind)


def test_one_bin_is_no_doubt():
    for kind in ("class", "quantity"):
        assert read_population(X[:, :, :1], SIDE[:, None], target="y", kind=kind).recordings[0].target_levels["y"]


def test_a_score_reads_y_as_the_fit_did():
    """Two dimensions per trial, from trials of two bins: what was in doubt for a fit is known now."""
    y = np.stack([SIDE, -SIDE], axis=1) + np.arange(N_TRIALS)[:, None] * 0.1
    regressor = fitted(motet.EITRegressor, X, y)
    assert regressor.targets_[0].level == "trial"
    assert np.isfinite(regressor.score(X[:, :, :2], y))
    of_bins = fitted(motet.EITRegressor, X, np.arange(60.0).reshape(12, 5))
    assert np.isfinite(of_bins.score(X[:, :, :3], np.arange(36.0).reshape(12, 3)))
    assert of_bins.predict(X[:, :, :3]).shape == (12, 3)


# ------------------------------------------------------------------ what is missing in y


def with_none(labels):
    """The labels, of which two are not known."""
    holed = np.array(labels, dtype=object)
    holed[[0, 5]] = None
    return holed


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (with_none(np.array(["left", "right"])[SIDE]), ["left", "right"]),
        (with_none(SIDE.tolist()), [0, 1]),
        (with_none(SIDE.astype(bool).tolist()), [0, 1]),
        (pd.array(with_none((SIDE + 7).tolist()), dtype="Int64"), [7, 8]),
        (pd.Series(with_none(np.array(["u", "v"])[SIDE]), dtype="category"), ["u", "v"]),
        (np.ma.masked_array(SIDE, np.isin(np.arange(12), [0, 5])), [0, 1]),
        (np.where(np.isin(np.arange(12), [0, 5]), np.nan, SIDE), [0.0, 1.0]),
    ],
)
def test_unknown_labels_are_no_class_and_are_not_learned(y, classes):
    decoder = fitted(motet.EITClassifier, X, y, **WITH_RULE)
    assert decoder.classes_.tolist() == classes
    known = np.setdiff1d(np.arange(N_TRIALS), [0, 5])
    rows = known_rows(read_population(X, y, target="y", kind="class").recordings[0], "y")
    np.testing.assert_array_equal(np.flatnonzero(rows), known)
    assert decoder.score(X, y) == decoder.score(X[known], np.asarray(y, dtype=object)[known].tolist())
    spoilt = X.copy()
    spoilt[[0, 5]] = np.nan
    assert decoder.score(spoilt, y) == decoder.score(X, y)


@pytest.mark.parametrize("kind", [motet.EITClassifier, motet.EITRegressor])
def test_bins_that_are_known_in_partly_known_trials_are_learned_from(kind):
    y = np.ma.masked_array(np.arange(60).reshape(12, 5) % 2, np.arange(60).reshape(12, 5) % 7 == 0)
    other = y.copy()
    other[:6] = 1 - other[:6]
    one, two = (fitted(kind, X, target) for target in (y, other))
    assert one.targets_[0].level == "bin"
    assert not np.array_equal(one.transform(X), two.transform(X))
    hidden = y.copy()
    hidden.data[hidden.mask] = 1 - hidden.data[hidden.mask]
    same = fitted(kind, X, hidden)
    assert all((a == b).all() for a, b in zip(one.learner_.parameters(), same.learner_.parameters(), strict=True))


# ------------------------------------------------------------------ what is missing in X


@pytest.mark.parametrize(
    ("labels", "unknown"),
    [
        (["left", "right"], ""),
        ([3, 4], np.iinfo(np.int64).min),
        ([0.5, 1.5], np.nan),
        ([False, True], np.iinfo(np.int64).min),
    ],
)
def test_a_trial_in_which_nothing_was_observed_is_not_predicted(labels, unknown):
    y = np.array(labels)[SIDE]
    decoder = fitted(motet.EITClassifier, X, y, **WITH_RULE)
    holes = X.copy()
    holes[[1, 4]] = np.nan
    predicted, is_hole = decoder.predict(holes), np.isin(np.arange(N_TRIALS), [1, 4])
    np.testing.assert_array_equal(predicted[is_hole], np.full(2, unknown))
    np.testing.assert_array_equal(predicted[~is_hole], decoder.predict(X)[~is_hole])
    assert decoder.predict(X).dtype == decoder.classes_.dtype
    for array in (decoder.predict_proba(holes), decoder.transform(holes)):
        np.testing.assert_array_equal(np.isnan(array).any(axis=1), is_hole)
        np.testing.assert_array_equal(np.isnan(array).all(axis=1), is_hole)
    assert decoder.score(holes, y) == decoder.score(X[~is_hole], y[~is_hole])
    weight = np.arange(N_TRIALS)
    assert decoder.score(holes, y, weight) == decoder.score(X[~is_hole], y[~is_hole], weight[~is_hole])


def test_bins_beyond_the_end_of_a_trial_are_not_predicted():
    ragged = [trial[:, : 2 + place % 4] for place, trial in enumerate(X)]
    y = per_bin(np.array(["left", "right"])[SIDE])
    predicted = fitted(motet.EITClassifier, ragged, y).predict(ragged)
    np.testing.assert_array_equal((predicted != "").sum(axis=1), [len(trial) for trial in y])


def test_where_nothing_can_be_scored_is_said(nameless):
    with pytest.raises(InputError, match="nothing to score"):
        nameless.score(X * np.nan, SIDE)
    with pytest.raises(InputError, match="nothing to score"):
        nameless.score(X, with_none([None] * 12))
    recording = Recording.from_trials(X * np.nan, targets={"y": SIDE})
    with pytest.raises(InputError, match="nothing to score"):
        known_predictions(motet.PopulationDataset(recording), "y", SIDE)


def test_r2_of_a_target_that_does_not_vary_is_not_defined():
    regressor = fitted(motet.EITRegressor, X, SIDE)
    assert np.isnan(regressor.score(X[::2], SIDE[::2]))


def test_r2_is_the_documented_formula_with_weights():
    y = X.sum(axis=(1, 2))[:, None] * [1.0, -2.0]
    regressor = fitted(motet.EITRegressor, X, y)
    weight = np.arange(12.0)
    mean = (weight[:, None] * y).sum(axis=0) / weight.sum()
    residual, spread = ((weight[:, None] * (y - other) ** 2).sum() for other in (regressor.predict(X), mean))
    assert regressor.score(X, y, sample_weight=weight) == pytest.approx(1 - residual / spread, abs=1e-12)


def test_probabilities_become_labels_or_unknown():
    probability = np.array([[0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]])
    text, boolean = (Target("y", "trial", classes=classes) for classes in (("a", "bc"), (False, True)))
    assert text.most_probable(probability).tolist() == ["bc", "", "a"]
    assert boolean.most_probable(probability[[0, 2]]).tolist() == [True, False]
    assert boolean.most_probable(probability)[[0, 2]].tolist() == [1, 0]
    for target, labels in ((text, ["a", "bc", "", "c"]), (boolean, [True, False])):
        codes = target.codes(np.array(labels))
        assert target.labels(codes[codes >= 0]).tolist() == [label for label in labels if label in target.classes]


# ------------------------------------------------------------------ auxiliary targets


def test_every_target_that_was_learned_is_predicted(small_recording):
    settings = {"target": "direction", "auxiliary": {"velocity": 0.5}, **WITH_RULE}
    decoder = fitted(motet.EITClassifier, small_recording, None, **settings)
    assert decoder.predict(small_recording, target="velocity").shape == (48, 7, 2)
    np.testing.assert_array_equal(
        decoder.predict(small_recording, target="direction"), decoder.predict(small_recording)
    )
    regressor = fitted(motet.EITRegressor, small_recording, None, target="velocity", auxiliary={"direction": 0.5})
    found = regressor.predict(small_recording, target="direction")
    assert set(found) <= set(small_recording.targets["direction"])
    with pytest.raises(InputError, match="unknown target 'velocty'; did you mean 'velocity'"):
        decoder.predict(small_recording, target="velocty")
    with pytest.raises(InputError, match="'velocity' is a quantity"):
        decoder.predict_proba(small_recording, target="velocity")


# ------------------------------------------------------------------ who is who


NAMES = ["n1", "n2", "n3", "n4"]
ANYONE = {
    "model": EITSettings(width=4, identity="none"),
    "objective": ObjectiveSettings(readout="pooled"),
    "preprocess": PreprocessSettings(centre="shared"),
}


@pytest.mark.parametrize("read", ["predict", "predict_proba", "score", "encode", "transform"])
@pytest.mark.parametrize(
    "change", [lambda x: x[:, :3], lambda x: x.transpose(0, 2, 1), lambda x: x[:, [0, 1, 2, 3, 3]]]
)
def test_arrays_of_another_number_of_individuals_are_refused(read, change, nameless, tmp_path):
    arguments = (SIDE,) if read == "score" else ()
    for one in (nameless, motet.EITClassifier.load(nameless.save(tmp_path))):
        getattr(one, read)(X[:, :, :3], *arguments)
        with pytest.raises(InputError, match="without names, and the model knows 4.*individual_ids=.*identity='none'"):
            getattr(one, read)(change(X), *arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": EITSettings(width=4, identity="learned")},
        {"objective": ObjectiveSettings(readout="individual")},
        {"preprocess": PreprocessSettings(centre="individual")},
        {"preprocess": PreprocessSettings(centre="none", scale="individual")},
    ],
)
def test_whatever_belongs_to_individuals_must_be_theirs(settings):
    decoder = fitted(motet.EITClassifier, X, SIDE, **ANYONE | settings)
    for ids in (None, ["a", "b", "c"], [*NAMES[:2], "n5"]):
        with pytest.raises(InputError, match=r"identity='none', objective.readout='pooled', and preprocess.centre"):
            decoder.predict(X[:, :3], individual_ids=ids)


def test_a_model_of_anyone_reads_any_number():
    decoder = fitted(motet.EITClassifier, X, SIDE, **ANYONE)
    assert decoder.predict(X[:, :3]).shape == (12,)
    assert decoder.predict(X.transpose(0, 2, 1), individual_ids=list("abcde")).shape == (12,)


def test_individuals_are_found_by_their_names_in_any_order_and_number(named):
    decoder = named
    whole, order = decoder.predict_proba(X, individual_ids=NAMES), [2, 0, 3, 1]
    moved = X[:, order], [NAMES[place] for place in order]
    np.testing.assert_allclose(decoder.predict_proba(moved[0], individual_ids=moved[1]), whole, atol=1e-5)
    absent = X.copy()
    absent[:, 1] = np.nan
    few = decoder.predict_proba(X[:, [3, 0, 2]], individual_ids=["n4", "n1", "n3"])
    np.testing.assert_allclose(few, decoder.predict_proba(absent, individual_ids=NAMES), atol=1e-5)
    assert decoder.score(*moved[:1], SIDE, individual_ids=moved[1]) == decoder.score(X, SIDE, individual_ids=NAMES)
    for read in (decoder.transform, decoder.predict):
        assert len(read(X[:, :2], individual_ids=NAMES[:2])) == N_TRIALS
    assert decoder.encode(X[:, :2], individual_ids=NAMES[:2])[0]["individual_ids"].tolist() == NAMES[:2]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["n1", "n2", "n3"], "4 individuals but 3"),
        (["n1", "n2", "n3", "n3"], "twice"),
        (["n1", "n2", "n3", "n9"], "never saw individual 'n9'"),
        ("n1n2", "give a list"),
        (None, "without names.*'n1'"),
    ],
)
def test_names_that_do_not_fit_are_refused(ids, words, named):
    with pytest.raises(InputError, match=words):
        named.predict(X, individual_ids=ids)


def test_recordings_bring_their_own_names_and_targets(small_recording):
    decoder = fitted(motet.EITClassifier, small_recording, None, target="direction")
    with pytest.raises(InputError, match="individual_ids was given beside recordings"):
        decoder.predict(small_recording, individual_ids=list("abcdefghij"))
    with pytest.raises(InputError, match="without names"):
        decoder.predict(small_recording.values[:, :6])


def test_coordinates_name_the_individuals():
    cube = xr.DataArray(X, dims=("trial", "individual", "time"), coords={"individual": NAMES})
    decoder = fitted(motet.EITClassifier, cube, SIDE, **WITH_RULE)
    np.testing.assert_array_equal(decoder.predict(cube.isel(individual=[3, 1, 0, 2])), decoder.predict(cube))
    assert decoder.predict(cube.isel(individual=[3, 1])).shape == (12,)


def test_silent_individuals_are_among_those_that_are_known():
    quiet = X.copy()
    quiet[:, 2] = 0
    decoder = fitted(motet.EITClassifier, quiet, SIDE, **WITH_RULE)
    assert decoder.preprocess_.silent_ids == ("array/2",)
    np.testing.assert_array_equal(decoder.predict(X), decoder.predict(quiet))

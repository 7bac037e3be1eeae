from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError


def a_recording(name="a", n_trials=20, n_individuals=4, n_bins=6, seed=0, **fields):
    rng = np.random.default_rng(seed)
    targets = {"side": np.arange(n_trials) % 2, "drive": rng.normal(size=(n_trials, n_bins))}
    counts = rng.poisson(2.0, (n_trials, n_individuals, n_bins))
    levels = {"drive": "bin"}
    return Recording.from_trials(counts, name=name, targets=targets, target_levels=levels, **fields)


def a_target(values, name="b", level="trial"):
    return Recording.from_trials(np.ones((20, 4, 6)), name=name, targets={"y": values}, target_levels={"y": level})


def a_bare_recording(n_trials=20):
    return Recording.from_trials(np.ones((n_trials, 3, 6)), name="bare")


def ids_tested(dataset, **options):
    return {r.name: r.trial_ids.tolist() for r in dataset.split(**options)[1].recordings}


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12))
@settings(max_examples=30)
def test_a_batch_holds_the_trials_asked_for_in_their_order(trials):
    first, second = a_recording(), a_recording("b", n_trials=10, n_individuals=7, n_bins=3, seed=1)
    batch = PopulationDataset([first, second]).batch(trials)
    for row, trial in enumerate(trials):
        recording, index = (first, trial) if trial < 20 else (second, trial - 20)
        n_individuals, n_bins = recording.values.shape[1:3]
        assert batch.recording_index[row] == (0 if trial < 20 else 1)
        np.testing.assert_array_equal(batch.values[row, :n_individuals, :n_bins], recording.values[index])
        assert batch.observed[row, :n_individuals, :n_bins].all()
        assert not batch.observed[row, n_individuals:].any()
        assert not batch.observed[row, :, n_bins:].any()
        assert batch.targets["side"][row] == recording.targets["side"][index]
        np.testing.assert_array_equal(
            batch.targets["drive"][row, :n_bins], recording.targets["drive"][index].astype(np.float32)
        )
        assert batch.targets["drive"][row, n_bins:].isnan().all()


def test_a_batch_is_as_long_as_its_longest_trial():
    recording = Recording.from_trials([np.ones((2, 3)), np.ones((2, 9)), np.ones((2, 4))])
    assert PopulationDataset(recording).batch([0, 2]).values.shape == (2, 2, 4, 1)


def test_a_target_that_a_recording_lacks_is_unknown_in_its_trials():
    batch = PopulationDataset([a_recording(), a_bare_recording()]).batch([0, 20])
    assert batch.targets["side"].tolist() == [0, -1]
    assert batch.targets["drive"][1].isnan().all()


def test_folds_are_those_of_scikit_learn():
    recording = a_recording(n_trials=40)
    folds = PopulationDataset(recording).folds(5, n_repeats=2, stratify="side", seed=3)
    expected = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=3).split(
        np.zeros(40), recording.targets["side"]
    )
    for (train, test), (train_rows, test_rows) in zip(folds, expected, strict=True):
        assert train.recordings[0].trial_ids.tolist() == train_rows.tolist()
        assert test.recordings[0].trial_ids.tolist() == test_rows.tolist()


def test_folds_and_parts_of_one_recording_without_strata_are_a_plain_shuffle():
    dataset = PopulationDataset(a_recording(n_trials=23))
    folds = dataset.folds(4, n_repeats=2, seed=3)
    expected = RepeatedKFold(n_splits=4, n_repeats=2, random_state=3).split(np.zeros(23))
    for (_, test), (_, test_rows) in zip(folds, expected, strict=True):
        assert test.recordings[0].trial_ids.tolist() == test_rows.tolist()
    for fraction, n_tested in ((0.01, 1), (0.2, 5), (0.5, 12), (0.65, 15)):
        chosen = np.random.default_rng(7).permutation(23)[:n_tested]
        assert ids_tested(dataset, test=fraction, seed=7) == {"a": sorted(chosen.tolist())}


@given(
    fraction=st.floats(0.05, 0.95),
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_a_stratified_split_keeps_the_fraction_in_all_and_in_every_class(fraction, counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    recording = Recording.from_trials(np.ones((len(labels), 2, 3)), targets={"side": labels})
    train, test = PopulationDataset(recording).split(test=fraction, stratify="side", seed=seed)
    assert len(train) + len(test) == len(labels)
    assert len(test) == min(max(1, round(fraction * len(labels))), len(labels) - 1)
    tested = np.bincount(test.recordings[0].targets["side"], minlength=len(counts))
    assert (np.abs(tested - fraction * np.asarray(counts)) <= 1 + len(counts) / 2).all()  # half a trial per class


@pytest.mark.parametrize("fraction", [0.4, 0.65, 0.8])
def test_a_stratified_split_tests_the_fraction_asked_for(fraction):
    _, test = PopulationDataset(a_recording(n_trials=40)).split(test=fraction, stratify="side")
    assert len(test) == 40 * fraction
    assert test.recordings[0].targets["side"].sum() == 20 * fraction


def test_a_stratified_split_depends_on_its_seed():
    dataset = PopulationDataset(a_recording())
    ids = [ids_tested(dataset, stratify="side", seed=seed)["a"] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("stratify", [None, "side"])
def test_no_recording_vanishes_from_a_split_or_a_fold_by_trial(stratify):
    sizes = {"a": 100, "b": 12, "c": 10}
    dataset = PopulationDataset([a_recording(name, n_trials=size) for name, size in sizes.items()])
    for seed in range(5):
        options = {"stratify": stratify, "seed": seed}
        for train, test in [dataset.split(test=0.1, **options), *dataset.folds(5, **options)]:
            assert [r.name for r in train.recordings] == [r.name for r in test.recordings] == list(sizes)
    assert {name: len(ids) for name, ids in ids_tested(dataset, test=0.1).items()} == {"a": 10, "b": 1, "c": 1}


def test_the_one_trial_of_a_recording_stays_in_training():
    dataset = PopulationDataset([a_recording(), a_bare_recording(n_trials=1)])
    for seed in range(5):
        train, test = dataset.split(test=0.5, seed=seed)
        assert [r.name for r in train.recordings] == ["a", "bare"]
        assert [r.name for r in test.recordings] == ["a"]
    with pytest.raises(InputError, match="5 folds of 1 trials in recording 'bare'; leave it out"):
        list(dataset.folds(5))


def test_trials_of_a_recording_without_the_target_are_a_stratum_of_their_own():
    dataset = PopulationDataset([a_recording(), a_bare_recording(n_trials=6)])
    assert dataset.count_rarest("side") == 10
    for train, test in [dataset.split(test=0.25, stratify="side"), *dataset.folds(3, stratify="side")]:
        assert {r.name for r in train.recordings} == {r.name for r in test.recordings} == {"a", "bare"}
        sides = np.bincount(test.recordings[0].targets["side"])
        assert abs(sides[0] - sides[1]) <= 1


@pytest.mark.parametrize("labels", [["l", "r", None], [3, 4, None], [True, False, None], [b"l", b"r", b""]])
def test_trials_of_unknown_class_are_folded_and_never_counted(labels):
    side = [labels[0]] * 20 + [labels[1]] * 15 + [labels[2]] * 2
    dataset = PopulationDataset(Recording.from_trials(np.ones((37, 2, 3)), targets={"side": side}))
    assert dataset.count_rarest("side") == 15
    tested = [test.recordings[0] for _, test in dataset.folds(5, stratify="side")]
    assert sum(part.n_trials for part in tested) == 37
    for part in tested:
        assert (part.targets["side"] == dataset.recordings[0].targets["side"][20]).sum() == 3


def test_an_unknown_class_is_minus_one_in_a_batch():
    dataset = PopulationDataset(Recording.from_trials(np.ones((3, 2, 3)), targets={"side": [5, None, 0]}))
    assert dataset.batch().targets["side"].tolist() == [5, -1, 0]


def test_splits_keep_the_windows_of_trials_with_names_together():
    names = [f"trial {number % 5}" for number in range(20)]
    mixed = PopulationDataset([a_recording("a", trial_ids=names), a_recording("b")])
    train, test = mixed.split(test=0.4, seed=1)
    for part in (train, test):
        assert part.recordings[0].trial_ids.dtype.kind == "U"
    assert not set(train.recordings[0].trial_ids) & set(test.recordings[0].trial_ids)
    assert len(set(test.recordings[0].trial_ids)) == 2


@pytest.mark.parametrize("stratify", [None, "side"])
def test_no_split_parts_the_windows_of_a_trial(stratify):
    windows = PopulationDataset([a_recording().windows(2), a_recording("b").windows(3)])
    pairs = [windows.split(test=0.3, stratify=stratify), *windows.folds(4, stratify=stratify)]
    for train, test in pairs:
        assert len(train) + len(test) == len(windows)
        for recording in test.recordings:
            in_train = {r.name: set(r.trial_ids.tolist()) for r in train.recordings}
            assert not in_train.get(recording.name, set()) & set(recording.trial_ids.tolist())


def test_the_rarest_class_is_counted_in_trials_not_in_windows():
    windows = PopulationDataset(a_recording(n_trials=20).windows(2))
    assert windows.count_rarest("side") == 10
    assert windows.count_rarest("drive") == 0
    with pytest.raises(InputError, match="10 trials, too few for 11"):
        list(windows.folds(11, stratify="side"))


@given(n_folds=st.integers(2, 6), length=st.integers(2, 9), gap_bins=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_folds_by_time_leave_a_gap_between_train_and_test(n_folds, length, gap_bins):
    continuous = Recording.from_trials(np.ones((1, 2, 200)), bin_seconds=4.0)
    windows = PopulationDataset(continuous.windows(length, stride=max(1, length // 2)))
    n_tested = 0
    for train, test in windows.folds(n_folds, by="time", gap_seconds=gap_bins * 4.0):
        n_tested += len(test)
        train_start, test_start = train.recordings[0].trial_start_seconds, test.recordings[0].trial_start_seconds
        distance = np.abs(train_start[:, None] - test_start[None]).min()
        assert distance >= (length + gap_bins) * 4.0 - 1e-6
    assert n_tested == len(windows)


def test_whole_recordings_and_subjects_are_held_out():
    dataset = PopulationDataset([a_recording(name, subject=name[0]) for name in ("a1", "a2", "b1")])
    train, test = dataset.split(by="subject", test=["b"])
    assert [r.name for r in train.recordings] == ["a1", "a2"]
    assert [r.name for r in test.recordings] == ["b1"]
    held_out = [test.recordings[0].name for _, test in dataset.folds(3, by="recording")]
    assert sorted(held_out) == ["a1", "a2", "b1"]


def test_a_split_depends_on_its_seed_alone():
    dataset = PopulationDataset(a_recording())
    ids = [dataset.split(seed=seed)[1].recordings[0].trial_ids.tolist() for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]


def test_classes_and_padding_of_any_dtype_become_tensors():
    recording = Recording.from_trials(
        np.ones((2, 2, 2)), targets={"flag": np.array([True, False]), "name": np.array(["x", "y"])}
    )
    batch = PopulationDataset(recording).batch()
    assert batch.targets["flag"].dtype == torch.int64
    assert "name" not in batch.targets


def unlike(first, second, level="trial"):
    return PopulationDataset([a_target(first, "a"), a_target(second, "b", level)])


def two_recordings():
    return PopulationDataset([a_recording(), a_target((np.arange(20) == 19).astype(int))])


def test_recordings_may_differ_in_rounding_and_in_the_width_of_their_integers():
    labels = np.arange(20) % 2
    assert len(unlike(labels, labels.astype(np.int8))) == len(unlike(labels, labels == 1)) == 40
    third = 1 / 3
    assert len(PopulationDataset([a_recording(bin_seconds=0.1 + 0.2), a_recording("b", bin_seconds=0.9 * third)])) == 40


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PopulationDataset([]), "at least one"),
        (lambda: PopulationDataset([a_recording(), a_recording()]), "share a name"),
        (lambda: PopulationDataset([a_recording(), Recording.from_trials(np.ones((2, 2, 2, 3)))]), "features"),
        (lambda: PopulationDataset(a_recording()).split(test=1.5), "fraction"),
        (lambda: PopulationDataset(a_recording()).split(by="subject"), "only one subject"),
        (lambda: PopulationDataset(a_recording()).split(by="animal"), "unknown by 'animal'"),
        (lambda: PopulationDataset(a_recording()).split(by="subject", test=["x"]), "unknown subject"),
        (lambda: PopulationDataset(a_recording()).split(stratify="sde"), "did you mean 'side'"),
        (lambda: PopulationDataset(a_recording()).split(stratify="drive"), "not one class per trial"),
        (lambda: list(PopulationDataset(a_recording()).folds(21)), "from 2 to 20"),
        (lambda: list(PopulationDataset(a_recording()).folds(11, stratify="side")), "too few for 11 folds"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, by="time", gap_seconds=1e9)), "leaves 0 trials"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, by="time", n_repeats=2)), "n_repeats=1"),
        (lambda: list(two_recordings().folds(2, by="recording", n_repeats=2)), "n_repeats=1"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, by="time", gap_seconds=-1.0)), "gap_seconds is -1"),
        (lambda: PopulationDataset(a_recording()).split(by="time", gap_seconds=np.nan), "gap_seconds is nan"),
        (lambda: list(PopulationDataset(a_recording()).folds(1, by="time")), "n_folds is 1"),
        (lambda: list(PopulationDataset(a_recording()).folds(0)), "n_folds is 0"),
        (lambda: list(PopulationDataset(a_recording()).folds(2.0)), "n_folds is 2.0"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, n_repeats=0)), "n_repeats is 0"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, seed=-1)), "seed is -1"),
        (lambda: PopulationDataset(a_recording()).split(seed=-1), "seed is -1"),
        (lambda: PopulationDataset(a_recording()).split(seed=0.5), "seed is 0.5"),
        (lambda: PopulationDataset(a_recording()).split(seed=None), "seed is None"),
        (lambda: two_recordings().split(by="recording", stratify="side", test=0.5), "only splits by trial"),
        (lambda: two_recordings().split(test=0.5, stratify="y"), "class 1 of 'y' in recording 'b' has 1 trials"),
        (lambda: PopulationDataset(a_bare_recording(1)).split(), "only one trial"),
        (lambda: PopulationDataset(a_recording()).select([True] * 19), "there are 20: .*a mask of that many"),
        (lambda: PopulationDataset(a_recording()).select([20]), "positions from 0 to 19"),
        (lambda: PopulationDataset(a_recording()).select([]), "nothing is selected of the trials; there are 20"),
        (lambda: PopulationDataset(a_recording()).select(np.zeros(20, dtype=bool)), "nothing is selected"),
        (lambda: unlike(np.zeros(20, dtype=int), np.zeros(20)), "integer per trial in recording 'a' and float per"),
        (lambda: unlike(np.zeros(20, dtype=int), np.full(20, "x")), "'a' and string per trial in 'b'"),
        (lambda: unlike(np.zeros((20, 2)), np.zeros((20, 3))), "of shape \\(2,\\) in recording 'a'"),
        (lambda: unlike(np.zeros((20, 6)), np.zeros((20, 6)), "bin"), "per trial of shape .* per bin in 'b'"),
        (
            lambda: PopulationDataset([a_recording(bin_seconds=0.1), a_recording("b", bin_seconds=0.2)]),
            "last 0.2 s",
        ),
    ],
)
def test_bad_input_is_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_batch_is_float32_of_values_of_either_width():
    values = 1e6 + np.arange(24).reshape(2, 3, 4) % 2  # float32 keeps these apart, if barely
    wide = dataclasses.replace(Recording.from_trials(values), values=values[..., None].astype(np.float64))
    batch = PopulationDataset(wide).batch()
    assert batch.values.dtype == torch.float32
    np.testing.assert_array_equal(batch.values[..., 0].numpy(), values)


def test_trials_of_unknown_class_are_no_class_when_folds_are_stratified(recwarn):
    labels = np.array(["left", "right"], dtype=object)[np.arange(24) % 2]
    labels[[3, 8]] = None
    dataset = PopulationDataset(Recording.from_trials(np.ones((24, 2, 3)), targets={"side": labels}))
    assert dataset.count_rarest("side") == 11
    for _, test in dataset.folds(5, stratify="side"):
        assert {"left", "right"} <= set(test.recordings[0].targets["side"].tolist())
    assert not recwarn.list
    unknown = Recording.from_trials(np.ones((4, 2, 3)), targets={"side": ["", "", "", ""]})
    with pytest.raises(InputError, match="not known in any trial"):
        PopulationDataset(unknown).split(stratify="side")

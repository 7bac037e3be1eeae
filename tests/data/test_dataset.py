from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import RepeatedStratifiedKFold

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError


def a_recording(name="a", n_trials=20, n_individuals=4, n_bins=6, seed=0, **fields):
    rng = np.random.default_rng(seed)
    targets = {"side": np.arange(n_trials) % 2, "drive": rng.normal(size=(n_trials, n_bins))}
    counts = rng.poisson(2.0, (n_trials, n_individuals, n_bins))
    return Recording.from_trials(counts, name=name, targets=targets, **fields)


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
    bare = Recording.from_trials(np.ones((2, 3, 6)), name="bare")
    batch = PopulationDataset([a_recording(), bare]).batch([0, 20])
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PopulationDataset([]), "at least one"),
        (lambda: PopulationDataset([a_recording(), a_recording()]), "share a name"),
        (lambda: PopulationDataset([a_recording(), Recording.from_trials(np.ones((2, 2, 2, 3)))]), "features"),
        (lambda: PopulationDataset(a_recording()).split(test=1.5), "fraction"),
        (lambda: PopulationDataset(a_recording()).split(by="subject"), "only one subject"),
        (lambda: PopulationDataset(a_recording()).split(by="animal"), "way to split"),
        (lambda: PopulationDataset(a_recording()).split(by="subject", test=["x"]), "unknown subject"),
        (lambda: PopulationDataset(a_recording()).split(stratify="sde"), "did you mean 'side'"),
        (lambda: PopulationDataset(a_recording()).split(stratify="drive"), "not one class per trial"),
        (lambda: list(PopulationDataset(a_recording()).folds(21)), "from 2 to 20"),
        (lambda: list(PopulationDataset(a_recording()).folds(11, stratify="side")), "too few for 11 folds"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, by="time", gap_seconds=1e9)), "leaves 0 trials"),
        (lambda: list(PopulationDataset(a_recording()).folds(2, by="time", n_repeats=2)), "n_repeats=1"),
    ],
)
def test_bad_input_is_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make()

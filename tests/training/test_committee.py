from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.data.recording import Recording
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.models.eit import EITSettings
from motet.training.committee import Committee, in_parts
from motet.training.objectives import PART
from motet.training.settings import TrainingSettings

SMALL = {
    "model": EITSettings(width=8),
    "training": TrainingSettings(max_steps=4, batch_trials=24),
    "rule": "none",
    "members": 3,
}


@pytest.fixture
def recording():
    rng = np.random.default_rng(0)
    side = np.arange(48) % 2
    counts = rng.poisson(2.0 + 2.0 * side[:, None, None], (48, 5, 6))
    return Recording.from_trials(counts, targets={"side": side, "drive": counts[:, 0] + 0.0})


def parts_of(decoder, recording):
    (cut,) = decoder._cut(decoder._to_read(recording)).recordings
    return cut.targets[PART]


def test_a_member_never_learns_from_its_part(recording):
    # One epoch, or the best one may differ; and gradients are clipped at every step, which members must not notice.
    one_epoch = SMALL | {"training": TrainingSettings(max_steps=2, batch_trials=24, gradient_clip=0.01)}
    first = EITClassifier("side", **one_epoch).fit(recording)
    part = parts_of(first, recording)
    side = recording.targets["side"].copy()
    mine = np.flatnonzero(part == 1)
    side[mine] = np.roll(side[mine], 1)
    second = EITClassifier("side", **one_epoch)
    second._cut = first._cut  # the same parts, whatever the labels
    second.fit(dataclasses.replace(recording, targets={**recording.targets, "side": side}))
    assert (parts_of(first, recording) == part).all()
    for number in range(3):
        one, other = (d.learner_._members[number].state_dict() for d in (first, second))
        is_same = all(torch.equal(one[name], other[name]) for name in one)
        assert is_same == (number == 1)


def test_trials_left_out_are_read_by_the_member_that_did_not_learn_from_them(recording):
    decoder = EITRegressor("drive", **SMALL).fit(recording)
    part, learner = parts_of(decoder, recording), decoder.learner_
    assert isinstance(learner, Committee)
    prepared = decoder._prepared(decoder._cut(decoder._to_read(recording)), trains=True)
    (said,) = [predictions["drive"] for predictions, _ in learner.left_out(prepared, 256)]
    for number, member in enumerate(learner._members):
        (own,) = [predictions["drive"] for predictions, _ in member.predict(prepared, 256)]
        torch.testing.assert_close(said[part == number], own[part == number], rtol=1e-5, atol=1e-5)


def test_the_committee_predicts_the_mean_of_its_members(recording):
    decoder = EITRegressor("drive", **SMALL).fit(recording)
    prepared = decoder._prepared(decoder._cut(decoder._to_read(recording)), trains=True)
    own = [next(iter(member.predict(prepared, 256)))[0]["drive"] for member in decoder.learner_._members]
    (whole,) = [predictions["drive"] for predictions, _ in decoder.learner_.predict(prepared, 256)]
    torch.testing.assert_close(whole, torch.stack(own).mean(dim=0))


def test_every_epoch_is_judged_by_trials_not_learned_from(recording):
    shuffled = np.random.default_rng(1).permutation(recording.targets["side"])
    noise = dataclasses.replace(recording, targets={"side": shuffled}, target_levels={"side": "trial"})
    settings = SMALL | {"training": TrainingSettings(max_steps=60, batch_trials=24)}
    history = EITClassifier("side", **settings).fit(noise).history_
    scores = [row.validation_score for row in history if np.isfinite(row.validation_score)]
    assert len(scores) >= 10
    assert max(scores) < 0.75


@pytest.mark.parametrize("n_epochs", [1, 9, 19, 25, 100])
def test_a_training_is_judged_ten_times_at_most(n_epochs):
    every = Committee([]).judged_every(n_epochs)
    assert min(n_epochs, 5) <= len({*range(every, n_epochs + 1, every), n_epochs}) <= 10


def test_parts_are_stretches_with_a_share_of_every_class():
    strata = np.arange(30) % 2
    part = in_parts(np.arange(30), strata, np.arange(30), 3)
    assert (np.diff(part) >= 0).all()
    assert all(np.bincount(strata[part == number]).tolist() == [5, 5] for number in range(3))


def test_windows_of_a_trial_are_in_one_part():
    groups = np.repeat(np.arange(10), 4)
    part = in_parts(groups, np.zeros(40, dtype=int), np.arange(40), 3)
    assert all(len(set(part[groups == group])) == 1 for group in range(10))


def test_a_recording_of_one_long_trial_is_left_out_in_stretches():
    rng = np.random.default_rng(0)
    drive = np.sin(np.arange(400) / 7)
    counts = rng.poisson(3 + 2 * drive, (1, 6, 400))
    recording = Recording.from_trials(counts, targets={"drive": drive[None]}, target_levels={"drive": "bin"})
    decoder = EITRegressor("drive", **SMALL).fit(recording)
    part = parts_of(decoder, recording)
    assert sorted(set(part)) == [0, 1, 2]
    assert (np.diff(part) >= 0).all()
    assert decoder.predict(recording).shape == (1, 400)

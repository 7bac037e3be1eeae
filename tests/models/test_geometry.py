from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.geometry import Geometry, pair_features
from motet.plain import as_plain, from_plain

SECONDS = 0.2


def curves(n_individuals=4, n_bins=16, *, d=2, n_trials=3, seed=0):
    """Smooth random curves, (trial, individual, time, dimension), and their velocities."""
    rng = np.random.default_rng([seed, d])
    wave, phase = rng.normal(size=(2, n_trials, n_individuals, 3, d))
    rate = np.array([0.5, 1.0, 1.7])[:, None]
    time = SECONDS * np.arange(n_bins)[:, None, None]
    wave, phase = wave[:, :, None], np.pi * phase[:, :, None]
    return (wave * np.sin(rate * time + phase)).sum(-2), (wave * rate * np.cos(rate * time + phase)).sum(-2)


def moving(features="position", *, missing=0.0, **shape):
    """A recording whose features mean what `MotionSettings.features` says."""
    position, velocity = curves(**({"d": 1} if features.startswith("phase") else {}) | shape)
    if features.startswith("phase"):
        phase = position + 2 * SECONDS * np.arange(position.shape[2])[:, None]
        parts = [np.cos(phase), np.sin(phase), velocity + 2, np.full_like(phase, 2)]
        values = np.concatenate(parts[: {"phase": 3, "phase-own": 4, "phase-only": 2}[features]], axis=-1)
    else:
        values = {"position": position, "none": position, "position-velocity": np.concatenate((position, velocity), -1)}
        values = values[features]
    rng = np.random.default_rng(1)
    values = np.where(rng.random(values.shape[:3])[..., None] < missing, np.nan, values)
    return Recording.from_trials(values, bin_seconds=SECONDS, name="moving")


def motion_of(features):
    return MotionSettings(features="phase" if features.startswith("phase") else features, half_width=2)


def seen_by(recording, geometry):
    """Features of pairs of a recording, and where both are observed."""
    batch = geometry.prepare(PopulationDataset(recording)).batch()
    both = batch.observed[:, :, None] & batch.observed[:, None]
    both &= ~torch.eye(recording.n_individuals, dtype=torch.bool)[..., None]
    return pair_features(batch.values, geometry), both


def learned(recording, features="position"):
    return Geometry.fit(PopulationDataset(recording), motion_of(features))


def test_units_are_those_of_a_circle():
    """Radius 3 at 2 radians per second: root mean squares of one coordinate, over whole turns."""
    turn = 2 * np.pi * np.arange(60) / 60 + np.arange(4)[:, None]
    circle = 3 * np.stack((np.cos(turn), np.sin(turn)), axis=-1)[None] + 100
    recording = Recording.from_trials(circle, bin_seconds=2 * np.pi / 60 / 2)
    geometry = learned(recording)
    expected = 3 / np.sqrt(2) * np.array([1, 2, 4])
    np.testing.assert_allclose([geometry.length, geometry.velocity, geometry.acceleration], expected, rtol=0.01)
    angle = Recording.from_trials(np.stack((np.cos(turn), np.sin(turn), 5 + np.sin(turn)), -1)[None], bin_seconds=0.1)
    assert learned(angle, "phase").velocity == pytest.approx(1 / np.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("features", ["position", "position-velocity", "phase", "phase-own", "phase-only", "none"])
def test_prepared_values_are_in_units_and_zero_where_not_observed(features):
    recording = moving(features, missing=0.2)
    geometry = learned(recording, features)
    prepared = geometry.prepare(PopulationDataset(recording)).recordings[0]
    assert prepared.values.shape[-1] == geometry.n_features
    assert not prepared.values[~recording.observed].any()
    assert seen_by(recording, geometry)[0].shape == (3, 4, 4, 16, geometry.n_pair_features)
    if geometry.space == "plane":
        seen = recording.observed[..., None]
        mean = (prepared.values[..., :2] * seen).sum((1, 2)) / seen.sum((1, 2))
        np.testing.assert_allclose(mean, 0, atol=1e-6)
        np.testing.assert_allclose(np.sqrt(np.square(prepared.values[..., 4:]).sum() / seen.sum() / 2), 1, rtol=1e-4)
    elif geometry.space == "phase":
        np.testing.assert_array_equal(prepared.values[..., :2], recording.values[..., :2])


def test_units_are_those_of_the_training_trials_whatever_is_prepared():
    recording = moving()
    geometry = learned(recording)
    larger = dataclasses.replace(recording, values=10 * recording.values)
    small, large = (geometry.prepare(PopulationDataset(r)).batch().values for r in (recording, larger))
    torch.testing.assert_close(large, 10 * small, rtol=1e-4, atol=1e-4)
    again = learned(larger).prepare(PopulationDataset(larger)).batch().values
    torch.testing.assert_close(again, small, rtol=1e-4, atol=1e-4)


def test_a_prepared_trial_does_not_depend_on_the_others():
    recording = moving(missing=0.2)
    geometry = learned(recording)
    alone = geometry.prepare(PopulationDataset(recording.select(trials=[1]))).recordings[0]
    together = geometry.prepare(PopulationDataset(recording)).recordings[0]
    np.testing.assert_array_equal(alone.values[0], together.values[1])


@pytest.mark.parametrize("d", [1, 2, 3])
@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_features_of_pairs_do_not_change_with_the_frame_of_reference(d, seed):
    """Rotation, reflection, shift and common velocity."""
    rng = np.random.default_rng(seed)
    recording = moving(d=d, missing=0.1)
    geometry = learned(recording)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    drift = rng.normal(size=d) + SECONDS * np.arange(16)[:, None] * rng.normal(size=d)
    elsewhere = np.where(recording.observed[..., None], recording.values @ turn + drift, 0).astype(np.float32)
    there, both = seen_by(dataclasses.replace(recording, values=elsewhere), geometry)
    torch.testing.assert_close(there[both], seen_by(recording, geometry)[0][both], rtol=1e-3, atol=2e-3)


def test_features_of_pairs_see_scale_and_time():
    """What the invariances must not lose: size, direction of time, and who is who."""
    recording = moving()
    geometry = learned(recording)
    here, both = seen_by(recording, geometry)
    for values in (2 * recording.values, recording.values[:, :, ::-1].copy()):
        there, _ = seen_by(dataclasses.replace(recording, values=values), geometry)
        assert (there - here)[both].abs().max() > 0.1
    assert (here - here.transpose(1, 2))[both].abs().max() > 0.1


@pytest.mark.parametrize("features", ["position", "position-velocity", "phase", "phase-own", "none"])
@given(order=st.permutations(range(4)))
@settings(max_examples=8, deadline=None)
def test_permuting_individuals_permutes_features_of_pairs(features, order):
    recording = moving(features, missing=0.2)
    geometry = learned(recording, features)
    plain, _ = seen_by(recording, geometry)
    permuted, _ = seen_by(recording.select(individuals=order), geometry)
    torch.testing.assert_close(permuted, plain[:, order][:, :, order], rtol=1e-4, atol=1e-4)


def plain_pair_features(own, other, d):
    """The same for one pair at one time, written with plain vectors."""
    (x, v, a), (y, w, b) = own.reshape(3, d), other.reshape(3, d)

    def length(vector):
        return np.sqrt(vector @ vector + 1e-6)

    line, u = (y - x) / length(y - x), w - v
    along, other_along, cosine = a @ line, b @ -line, a @ b / (length(a) * length(b))
    return [
        np.log(length(y - x)),
        np.arcsinh(2 * along),
        np.arcsinh(2 * other_along),
        np.log(length(a)),
        np.log(length(b)),
        cosine,
        along / length(a),
        other_along / length(b),
        cosine + (along / length(a)) * (other_along / length(b)),
        np.arcsinh(u @ line),
        np.arcsinh(u @ u),
        np.arcsinh(u @ a),
        np.arcsinh(u @ b),
    ]


@pytest.mark.parametrize("d", [1, 2, 3])
def test_features_of_pairs_agree_with_plain_vectors(d):
    recording = moving(d=d)
    geometry = learned(recording)
    values = geometry.prepare(PopulationDataset(recording)).batch().values.double()
    seen = pair_features(values.float(), geometry)
    for trial, i, j, time in ((0, 0, 1, 3), (1, 3, 2, 0), (2, 2, 0, 15)):
        expected = plain_pair_features(values[trial, i, time].numpy(), values[trial, j, time].numpy(), d)
        np.testing.assert_allclose(seen[trial, i, j, time], expected, rtol=1e-3, atol=1e-4)


def test_two_that_attract_accelerate_along_the_line_of_sight_and_against_each_other():
    still = np.zeros((1, 2, 1, 6), dtype=np.float32)
    still[0, :, 0, 0], still[0, :, 0, 4] = [-1, 1], [1, -1]
    geometry = Geometry(MotionSettings(), n_raw=2, n_features=6)
    for i, j in ((0, 1), (1, 0)):
        _, own, other, _, _, cosine, own_share, other_share, *_ = pair_features(torch.from_numpy(still), geometry)[
            0, i, j, 0
        ].tolist()
        assert own == pytest.approx(np.arcsinh(2), abs=1e-5)
        assert other == pytest.approx(own)
        assert (cosine, own_share, other_share) == pytest.approx((-1, 1, 1), abs=1e-5)


def test_phases_of_pairs_are_the_other_minus_the_own_whatever_the_zero():
    recording = moving("phase-own")
    geometry = learned(recording, "phase-own")
    seen, _ = seen_by(recording, geometry)
    phase = np.arctan2(recording.values[..., 1], recording.values[..., 0])
    difference = phase[:, None] - phase[:, :, None]
    np.testing.assert_allclose(seen[..., 0], np.sin(difference), atol=1e-5)
    np.testing.assert_allclose(seen[..., 1], np.cos(difference), atol=1e-5)
    rate = recording.values[..., 2] / geometry.velocity
    for feature, expected in ((2, rate[:, :, None]), (3, rate[:, None]), (5, np.full(1, 2 / geometry.velocity))):
        np.testing.assert_allclose(seen[..., feature], np.broadcast_to(expected, (3, 4, 4, 16)), rtol=1e-5)


def test_coincident_and_resting_individuals_have_finite_features_and_gradients():
    geometry = Geometry(MotionSettings(), n_raw=2, n_features=6)
    values = torch.zeros(1, 3, 4, 6, requires_grad=True)
    seen = pair_features(values, geometry)
    seen.sum().backward()
    assert seen.isfinite().all()
    assert values.grad.isfinite().all()


def test_what_is_written_is_read_back():
    for features in ("position", "phase", "none"):
        geometry = learned(moving(features), features)
        assert from_plain(Geometry, as_plain(geometry)) == geometry


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda r: moving("position-velocity"), "4 features .* trained on 2"),
        (lambda r: dataclasses.replace(r, bin_seconds=0.1), r"0.1 s, and those of the training trials 0.2 s: resample"),
    ],
)
@pytest.mark.parametrize("features", ["position", "none"])
def test_other_recordings_than_trained_on_are_refused(other, words, features):
    recording = moving()
    with pytest.raises(InputError, match=words):
        learned(recording, features).prepare(PopulationDataset(other(recording)))


def test_a_bin_width_that_differs_by_rounding_is_accepted():
    recording = moving()
    learned(recording).prepare(PopulationDataset(dataclasses.replace(recording, bin_seconds=SECONDS * (1 + 1e-6))))


@pytest.mark.parametrize("features", ["position", "phase"])
def test_training_trials_without_motion_are_refused(features):
    still = Recording.from_trials(np.ones((3, 2, 8, 3)))
    with pytest.raises(InputError, match="no individual moves"):
        learned(still, features)


@pytest.mark.parametrize("offset", [1e6, -1e9])
@pytest.mark.parametrize("smooth", [False, True])
def test_positions_far_from_the_origin_are_read_as_those_near_it(offset, smooth):
    position, _ = curves()
    near, far = (PopulationDataset(Recording.from_trials(position + by, bin_seconds=SECONDS)) for by in (0, offset))
    read = [Geometry.fit(part, MotionSettings(smooth=smooth)).prepare(part).recordings[0] for part in (near, far)]
    assert read[1].values.dtype == np.float32
    np.testing.assert_allclose(read[0].values, read[1].values, atol=2e-4)

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier
from motet.estimators.interactions import EITInteractions, recover_interactions
from motet.models.eit import EITSettings
from motet.models.pairs import PairSettings
from motet.systems import simulate
from motet.training.calibration import Calibration
from motet.training.objectives import InteractionSettings
from motet.training.settings import TrainingSettings

MODEL = EITSettings(width=8, n_heads=2, identity="none", token_bins=1)
PAIRS = PairSettings(width=8, depth=2)
SHORT = TrainingSettings(max_steps=6, batch_trials=16, checkpoint_seconds=0.0, validation=0.25)
LONGER = dataclasses.replace(SHORT, max_steps=8)


class StoppedError(Exception):
    pass


def silent(_):
    """Instead of a progress bar."""


def estimator(**settings):
    return EITInteractions(**{"model": MODEL, "pairs": PAIRS, "training": SHORT} | settings)


def orbits(groups="2x2", n_trials=40, **options):
    return simulate("gravity", groups=(groups,), n_trials=n_trials, noise=0.01, engine="numpy", **options)[0]


def with_targets(recording, **targets):
    """The recording with other targets per pair."""
    return dataclasses.replace(recording, targets=targets, target_levels=dict.fromkeys(targets, "pair"))


def with_absent(recording):
    """The second individual is missing in the first trial; in the second trial some bins of the first one are."""
    observed = recording.observed.copy()
    observed[0, 1] = observed[1, 0, 3:6] = False
    return dataclasses.replace(recording, observed=observed, values=np.where(observed[..., None], recording.values, 0))


def weights(fitted):
    return {name: tensor.clone() for name, tensor in fitted.learner_.state_dict().items()}


@pytest.fixture(scope="module")
def small():
    return orbits(n_trials=24, n_bins=10)


@pytest.fixture(scope="module")
def quick(small):
    """Hardly trained: for all that does not depend on how well."""
    return estimator(states=("mass",)).fit(small, on_epoch=silent)


@pytest.fixture(scope="module")
def trained():
    """Trained on four bodies."""
    training = TrainingSettings(max_steps=30, batch_trials=32, learning_rate=0.01, averaging=0.9, validation=0.2)
    return estimator(states=("mass",), training=training).fit(orbits(n_trials=400), on_epoch=silent)


# ------------------------------------------------------------------ what is recovered


def test_a_model_trained_on_four_bodies_recovers_six_it_never_saw(trained):
    large = orbits("3x2", n_trials=60, seed=7)
    assert trained.score(large) > 0.95
    groups = trained.predict_groups(large)
    assert np.mean([adjusted_rand_score(*pair) for pair in zip(large.target("system"), groups, strict=True)]) > 0.7
    probability = trained.predict_proba(large)
    off = ~np.eye(6, dtype=bool)
    edges = large.target("interacts")
    assert probability[edges == 1].mean() > probability[edges == 0].mean() + 0.4
    assert ((trained.predict(large) == edges)[:, off]).mean() > 0.85
    assert (trained.predict(large) == np.where(probability > 0.5, 1, np.where(off, 0, -1))).all()


def test_permuting_individuals_permutes_all_that_is_predicted(trained):
    recording, order = orbits("3x2", n_trials=20, seed=8), [3, 0, 5, 1, 4, 2]
    permuted = recording.select(individuals=order)
    plain, moved = (trained.predict_proba(r) for r in (recording, permuted))
    np.testing.assert_allclose(moved, plain[:, order][:, :, order], atol=2e-3)
    plain, moved = (trained.predict_states(r)["mass"] for r in (recording, permuted))
    np.testing.assert_allclose(moved, plain[:, order], atol=2e-3)
    plain, moved = (trained.predict_groups(r) for r in (recording, permuted))
    assert min(adjusted_rand_score(a[order], b) for a, b in zip(plain, moved, strict=True)) == 1


def test_where_a_system_is_and_how_it_is_seen_by_others_of_its_batch_changes_nothing(trained):
    recording = orbits(n_trials=10, seed=9)
    plain = trained.predict_proba(recording)
    moved = dataclasses.replace(recording, values=recording.values + np.float32([20, -5]))
    np.testing.assert_allclose(trained.predict_proba(moved), plain, atol=0.02)  # float32 of positions about 20
    np.testing.assert_allclose(trained.predict_proba(recording.select(trials=[4])), plain[4:5], atol=1e-3)


def test_what_is_not_there_is_not_a_number(trained):
    recording = orbits(n_trials=4, seed=9)
    partial = with_absent(recording)
    probability = trained.predict_proba(partial)
    assert np.isnan(probability.diagonal(axis1=1, axis2=2)).all()
    assert np.isnan(probability[0, 1]).all()
    assert np.isnan(probability[0, :, 1]).all()
    assert np.isnan(probability).sum() == 4 * 4 + 2 * 3
    np.testing.assert_array_equal(trained.predict(partial) == -1, np.isnan(probability))
    np.testing.assert_array_equal(trained.predict_groups(partial) == -1, ~partial.observed.any(axis=2))
    np.testing.assert_array_equal(np.isnan(trained.predict_states(partial)["mass"]), ~partial.observed.any(axis=2))
    without = trained.predict_proba(recording.select(trials=[0], individuals=[0, 2, 3]))
    np.testing.assert_allclose(probability[0][np.ix_([0, 2, 3], [0, 2, 3])], without[0], atol=1e-3)
    assert trained.score(partial) > 0.8


def test_probabilities_are_symmetric_and_add_up(trained):
    recording = orbits("3x2", n_trials=5, seed=3)
    log_p = trained.predict_log_proba(recording)
    np.testing.assert_allclose(log_p, log_p.swapaxes(1, 2), atol=1e-5)
    np.testing.assert_allclose(np.exp(log_p).sum(-1)[:, ~np.eye(6, dtype=bool)], 1)


def test_pairs_of_several_recordings_are_scored_as_one_list(trained):
    four, six = orbits(n_trials=8, seed=9), dataclasses.replace(orbits("3x2", n_trials=8, seed=9), name="six")
    both = trained.score([four, six])
    truth, found = [], []
    for recording in (four, six):
        off = ~np.eye(recording.n_individuals, dtype=bool)
        raw = trained._raw(recording)["interacts"][:, off]
        truth.append(recording.targets["interacts"][:, off].ravel())
        found.append((raw[..., 1] - raw[..., 0]).ravel())
    assert both == pytest.approx(roc_auc_score(np.concatenate(truth), np.concatenate(found)))


def test_embeddings_are_of_individuals_and_pairs(quick):
    recording = orbits("3x2", n_trials=3, n_bins=7)
    shapes = {name: embedding.shape for name, embedding in quick.encode(recording).items()}
    assert shapes == {"individual": (3, 6, 7, 8), "population": (3, 6, 7, 8), "pair": (3, 6, 6, 8)}


@pytest.mark.parametrize("batch_trials", [1, 7])
def test_trials_are_predicted_alike_however_many_at_a_time(quick, small, batch_trials):
    plain = quick.predict_proba(small)
    quick.batch_trials = batch_trials
    try:
        np.testing.assert_allclose(quick.predict_proba(small), plain, atol=1e-4)
    finally:
        quick.batch_trials = 128


# ------------------------------------------------------------------ kinds of data and models


def edge_types(n_types, seed=0):
    """Random walks and edges of several types, numbered 2, 4, …"""
    rng = np.random.default_rng(seed)
    edges = 2 * rng.integers(1, n_types + 1, (24, 4, 4))
    edges[rng.random(edges.shape) < 0.2] = -1
    return Recording.from_trials(
        rng.normal(size=(24, 4, 10, 2)).cumsum(axis=2), targets={"edge": edges}, target_levels={"edge": "pair"}
    )


def test_several_edge_types_keep_their_numbers():
    recording = edge_types(3)
    fitted = estimator(target="edge", objective=InteractionSettings(is_directed=True)).fit(recording, on_epoch=silent)
    assert fitted.types_.tolist() == [2, 4, 6]
    assert fitted.predict_proba(recording).shape == (24, 4, 4, 3)
    assert set(np.unique(fitted.predict(recording))) <= {-1, 2, 4, 6}
    assert 0 <= fitted.score(recording) <= 1
    difference = fitted.predict_proba(recording) - fitted.predict_proba(recording).swapaxes(1, 2)
    assert np.nanmax(np.abs(difference)) > 1e-3
    with pytest.raises(InputError, match="two edge types, and this model knows 3"):
        fitted.predict_groups(recording)


@pytest.mark.parametrize(
    ("system", "features", "settings"),
    [
        ("springs", "position-velocity", {}),
        ("charged", "position-velocity", {"states": ("charge",), "pairs": PairSettings(width=8, depth=1, messages=4)}),
        ("kuramoto", "phase", {"states": ("frequency",)}),
        ("kuramoto", "none", {"pairs": PairSettings(width=8, depth=1)}),
        ("springs", "position-velocity", {"pairs": PairSettings(width=8, depth=1, laws=0)}),
    ],
)
def test_every_kind_of_system_is_learned(system, features, settings):
    options = {} if system == "kuramoto" else {"engine": "numpy"}
    recordings = simulate(system, n_trials=16, n_bins=8, **options)
    few = recordings[0].select(individuals=slice(3), trials=slice(8))
    recordings = [*recordings, dataclasses.replace(few, name="few")]
    fitted = estimator(motion=MotionSettings(features=features, half_width=2), **settings)
    fitted.fit(recordings, on_epoch=silent)
    assert np.isfinite(fitted.history_[-1].validation_loss)
    for recording in recordings:
        n = recording.n_individuals
        assert np.isfinite(fitted.predict_proba(recording)[:, ~np.eye(n, dtype=bool)]).all()
        for predicted in fitted.predict_states(recording).values():
            assert np.isfinite(predicted).all()


def test_mixed_precision_training_learns_the_same(small):
    plain, mixed = (
        estimator(states=("mass",), training=dataclasses.replace(SHORT, precision=p)).fit(small, on_epoch=silent)
        for p in ("32-true", "bf16-mixed")
    )
    assert abs(plain.history_[-1].train_loss - mixed.history_[-1].train_loss) < 0.1
    assert all(parameter.dtype == torch.float32 for parameter in mixed.learner_.parameters())


def test_what_is_not_known_is_read_and_not_scored(quick, small):
    bare = dataclasses.replace(small, targets={}, target_levels={})
    np.testing.assert_array_equal(quick.predict_proba(bare), quick.predict_proba(small))
    assert np.isnan(quick.score(bare))


# ------------------------------------------------------------------ training


def test_nothing_is_learned_from_the_trials_that_are_held_out_or_predicted(small):
    train, held_out = PopulationDataset(small).split(test=0.25)
    flipped = held_out.map(
        lambda r: dataclasses.replace(r, targets={**r.targets, "interacts": 1 - r.targets["interacts"]})
    )
    one = dataclasses.replace(SHORT, max_steps=1)
    fits = [estimator(training=one).fit(train, validation=v, on_epoch=silent) for v in (held_out, flipped, small)]
    expected = weights(fits[0])
    fits[0].predict_proba(small)
    for fitted in fits:
        assert fitted.geometry_ == fits[0].geometry_
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(fitted).items())
    assert fits[0].calibration_ != fits[1].calibration_


def test_the_part_of_trials_that_validates_is_not_trained_on(small):
    dataset = PopulationDataset(small)
    train, held_out = dataset.split(by="trial", test=0.25, seed=0)
    part = dataclasses.replace(SHORT, max_steps=1, validation=0.25)
    by_itself = estimator(training=part).fit(small, on_epoch=silent)
    given = estimator(training=part).fit(train, validation=held_out, on_epoch=silent)
    assert by_itself.geometry_ == given.geometry_
    assert all(torch.equal(tensor, weights(given)[name]) for name, tensor in weights(by_itself).items())


def test_calibration_is_on_validation_trials_and_can_be_repeated(small):
    none = estimator(training=dataclasses.replace(SHORT, validation=0.0)).fit(small, on_epoch=silent)
    assert none.calibration_ == Calibration.none(2)
    raw = none.predict_log_proba(small)
    both = [orbits(groups, 30, seed=4, n_bins=10) for groups in ("2x2", "3x2")]
    none.calibrate(both)
    assert none.calibration_.prior_by_size[1] != 0

    def likelihood(log_p):
        return np.take_along_axis(log_p, np.maximum(small.target("interacts"), 0)[..., None], -1)[..., 0]

    off = ~np.eye(4, dtype=bool)
    assert likelihood(none.predict_log_proba(small))[:, off].mean() > likelihood(raw)[:, off].mean()
    np.testing.assert_allclose(none._raw(small)["interacts"][:, off], raw[:, off], atol=1e-5)
    with pytest.raises(InputError, match="no validation pair is known"):
        none.calibrate(dataclasses.replace(small, targets={}, target_levels={}))


def test_interrupted_training_ends_with_the_same_bits(small, tmp_path):
    def stop(epoch):
        if epoch.epoch == 2:
            raise StoppedError

    mixed, settings = [small, orbits("3x2", 8, n_bins=10)], {"states": ("mass",), "training": LONGER}
    whole = estimator(**settings).fit(mixed, on_epoch=silent)
    with pytest.raises(StoppedError):
        estimator(**settings).fit(mixed, run=tmp_path, on_epoch=stop)
    torch.manual_seed(123)  # what the interpreter did in between does not matter
    resumed = estimator(**settings).fit(mixed, run=tmp_path, on_epoch=silent)
    assert len(resumed.history_) == len(whole.history_) > 2
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    assert resumed.calibration_ == whole.calibration_
    for other in (
        {"objective": InteractionSettings(turn=False)},
        {"pairs": PairSettings(width=8, depth=2, messages=2)},
        {"motion": MotionSettings(half_width=3)},
        {"states": ()},
    ):
        with pytest.raises(InputError, match="other data or settings"):
            estimator(**settings | other).fit(mixed, run=tmp_path, on_epoch=silent)


def test_a_seed_decides_the_weights_and_global_generators_stay_as_they_were(small):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (weights(estimator(seed=seed).fit(small, on_epoch=silent)) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_loss_that_explodes_is_one_clear_error(small):
    wild = dataclasses.replace(SHORT, max_steps=40, learning_rate=1e30, averaging=0.0, gradient_clip=1e30)
    with pytest.raises(InputError, match="learning_rate"):
        estimator(training=wild).fit(small, on_epoch=silent)


# ------------------------------------------------------------------ saving


def test_what_is_saved_is_what_is_loaded(quick, small, tmp_path):
    run = quick.save(tmp_path / "run")
    loaded = EITInteractions.load(run.folder)
    assert loaded.calibration_ == quick.calibration_ != Calibration.none(2)
    np.testing.assert_array_equal(loaded.predict_proba(small), quick.predict_proba(small))
    np.testing.assert_array_equal(loaded.predict_groups(small), quick.predict_groups(small))
    np.testing.assert_array_equal(loaded.predict_states(small)["mass"], quick.predict_states(small)["mass"])
    assert loaded.score(small) == quick.score(small)
    assert repr(loaded.get_params()) == repr(quick.get_params())
    assert repr(loaded.history_) == repr(quick.history_)
    np.testing.assert_array_equal(recover_interactions(run, small), quick.predict_proba(small))
    large = orbits("3x2", 3, n_bins=10)
    one, other = recover_interactions(run.folder, [small, large])
    np.testing.assert_array_equal(one, quick.predict_proba(small))
    assert other.shape == (3, 6, 6)


def test_weights_that_are_foreign_or_damaged_are_refused(quick, small, tmp_path):
    run = quick.save(tmp_path / "run")
    with pytest.raises(InputError, match="EITInteractions.load"):
        EITClassifier.load(run.folder)
    tensors, about = run.read_tensors("weights")
    tensors.popitem()
    run.write_tensors("weights", tensors, about)
    with pytest.raises(InputError, match="whole model"):
        EITInteractions.load(run.folder)
    run.write_tensors("weights", tensors, {"estimator": "EITInteractions"})
    with pytest.raises(InputError, match="whole model"):
        EITInteractions.load(run.folder)
    with pytest.raises(InputError, match="no weights"):
        recover_interactions(tmp_path, small)


def test_it_is_cloned_and_set_like_any_estimator():
    twin = clone(estimator()).set_params(pairs=PairSettings(width=4), seed=3)
    assert (twin.pairs.width, twin.seed, estimator().pairs.width) == (4, 3, 8)
    with pytest.raises(NotFittedError):
        twin.predict_proba(orbits(n_trials=2))


# ------------------------------------------------------------------ what is refused


def lone(recording):
    return recording.select(individuals=[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: estimator().fit(r, np.zeros(24)), "carry their own targets"),
        (lambda r: estimator().fit(lone(r)), "has one individual, and an interaction takes two"),
        (lambda r: estimator().fit(r, validation=lone(r)), "one individual|no validation pair"),
        (lambda r: estimator().fit(with_targets(r, interacts=np.ones((24, 4, 4), dtype=int))), "1 class "),
        (lambda r: estimator(target="interact").fit(r), "unknown target 'interact'; did you mean 'interacts'"),
        (lambda r: estimator(target="mass").fit(r), "give one per pair"),
        (lambda r: estimator(states=("coupling",)).fit(r), "give one per individual"),
        (lambda r: estimator(states=("mas",)).fit(r), "did you mean 'mass'"),
        (lambda r: estimator(model=EITSettings()).fit(r), "identity"),
        (lambda r: estimator(motion=MotionSettings(features="phase-velocity")), "features"),
        (lambda r: estimator(motion=MotionSettings(features="position-velocity", degree=9)), "degree"),
    ],
)
def test_training_that_cannot_be_is_one_clear_error(make, words, small):
    with pytest.raises(InputError, match=words):
        make(small)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: dataclasses.replace(r, values=r.values[..., :1]), "1 features .* trained on 2"),
        (lambda r: dataclasses.replace(r, bin_seconds=0.1), "last 0.1 s, and those of the training trials"),
        (lone, "one individual"),
    ],
)
def test_recordings_of_another_kind_are_one_clear_error(change, words, quick, small):
    for use in (quick.predict_proba, quick.predict_groups, quick.predict_states, quick.score, quick.encode):
        with pytest.raises(InputError, match=words):
            use(change(small))

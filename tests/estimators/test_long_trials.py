"""Long trials and large populations: read in windows and in batches that fit in memory, or refused in one sentence."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

WINDOW = 24


def tuned(n_bins, n_trials=3, seed=0, name="a"):
    """Counts that follow a drive, which is the target per bin; the side, per trial, is its sign on average."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_trials) % 2
    drive = np.sin(np.arange(n_bins) / 5 + rng.uniform(0, 6, (n_trials, 1))) + side[:, None]
    counts = rng.poisson(np.exp(1 + drive[:, None] * np.array([0.8, -0.8, 0.5, 0.1])[:, None]))
    return Recording.from_trials(
        counts,
        targets={"drive": drive, "side": side},
        target_levels={"drive": "bin", "side": "trial"},
        individual_ids=list("abcd"),
        name=name,
    )


def decoder(target="drive", kind=EITRegressor, causal=False, window_bins=WINDOW, **settings):
    return kind(
        target,
        model=EITSettings(width=8, causal=causal),
        training=TrainingSettings(max_steps=20, batch_trials=8),
        objective=ObjectiveSettings(window_bins=window_bins),
        rule="none",
        members=1,
        **settings,
    )


@pytest.fixture(scope="module")
def fitted():
    return decoder(auxiliary={"side": 0.1}).fit(tuned(150))


def test_a_long_trial_is_learned_from_in_windows(fitted):
    assert fitted.score(tuned(200, seed=1)) > 0.5
    n_windows = len(range(0, 150 - WINDOW, WINDOW - 2 * (WINDOW // 8))) + 1
    assert len(fitted.history_) == TrainingSettings(max_steps=20, batch_trials=8).n_epochs(3 * n_windows)


def test_predictions_for_a_long_trial_are_those_of_its_windows(fitted):
    recording, margin = tuned(100, seed=1), WINDOW // 8
    whole = fitted.predict(recording)
    assert whole.shape == (3, 100)
    assert np.isfinite(whole).all()
    second = recording.select(bins=slice(WINDOW - 2 * margin, 2 * WINDOW - 2 * margin))
    inner = slice(WINDOW - margin, 2 * WINDOW - 3 * margin)
    np.testing.assert_allclose(whole[:, inner], fitted.predict(second)[:, margin:-margin], rtol=1e-4, atol=1e-5)


def test_every_output_of_a_long_trial_has_its_shape(fitted):
    recording = tuned(100, seed=1)
    assert fitted.predict(recording).shape == (3, 100)
    assert fitted.predict(recording, target="side").shape == (3,)
    [encoding] = fitted.encode(recording)
    assert encoding["individual"].shape == encoding["population"].shape == (3, 4, 100, 8)
    assert np.isfinite(encoding["population"]).all()
    assert fitted.transform(recording).shape == (3, 8)


def test_a_causal_decoder_of_long_trials_does_not_see_the_future():
    causal = decoder(causal=True).fit(tuned(150))
    recording = tuned(100, seed=1)
    for n_bins in (30, 63, 64, 65):
        early = causal.predict(recording.select(bins=slice(0, n_bins)))
        np.testing.assert_allclose(causal.predict(recording)[:, :n_bins], early, rtol=1e-4, atol=1e-5)


def test_a_target_per_trial_is_read_from_the_whole_trial():
    whole, cut = (decoder("side", EITClassifier, window_bins=n).fit(tuned(60, n_trials=12)) for n in (WINDOW, 1000))
    np.testing.assert_array_equal(whole.predict_proba(tuned(60, seed=1)), cut.predict_proba(tuned(60, seed=1)))


def test_short_and_long_trials_mix(fitted):
    short, long = tuned(10, seed=2, name="short"), tuned(90, seed=3, name="long")
    both = fitted.predict([short, long])
    assert both.shape == (6, 90)
    assert np.isnan(both[:3, 10:]).all()
    np.testing.assert_allclose(both[:3, :10], fitted.predict(short), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[3:], fitted.predict(long), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window_bins", [WINDOW, 1000])
def test_a_trial_is_predicted_alike_and_in_its_own_bins_whoever_else_is_there(fitted, monkeypatch, window_bins):
    monkeypatch.setattr(fitted, "objective", ObjectiveSettings(window_bins=window_bins))
    long = tuned(60)
    observed = long.observed & (np.arange(60) < np.array([10, 40, 50])[:, None, None])
    ragged = dataclasses.replace(long, observed=observed)
    together, [encoded] = fitted.predict(ragged), fitted.encode(ragged)
    assert together.shape == (3, 60)
    for trial in range(3):
        alone = ragged.select(trials=[trial])
        np.testing.assert_allclose(fitted.predict(alone), together[[trial]], rtol=1e-4, atol=1e-5)
        [alone_encoded] = fitted.encode(alone)
        np.testing.assert_allclose(alone_encoded["population"], encoded["population"][[trial]], rtol=1e-3, atol=1e-4)
    X = np.where(observed, ragged.values[..., 0], np.nan)[:1]
    assert fitted.predict(X, individual_ids=list("abcd")).shape == (1, 60)
    with_other = fitted.predict([ragged.select(trials=[0], bins=slice(0, 20)), tuned(30, seed=5, name="b")])
    np.testing.assert_allclose(with_other[0, :20], together[0, :20], rtol=1e-4, atol=1e-5)
    assert with_other.shape == (4, 30)


def test_how_many_trials_are_read_at_a_time_changes_no_prediction(fitted, monkeypatch):
    recordings = [tuned(20, n_trials=7, name="wide"), tuned(13, seed=1, name="short").select(individuals=[0, 2])]
    whole = fitted.predict(recordings)
    monkeypatch.setattr("motet.data.dataset.BATCH_BYTES", 3 * fitted.learner_.eval().model.n_bytes(4, 20))
    sizes = [len(batch) for _, batch in fitted.learner_.read(PopulationDataset(recordings), 256)]
    assert max(sizes) > 1
    assert len(sizes) > 3
    assert sum(sizes) == 10
    np.testing.assert_allclose(fitted.predict(recordings), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use", ["fit", "predict", "encode"])
def test_a_trial_that_does_not_fit_in_memory_is_refused(fitted, monkeypatch, use):
    monkeypatch.setattr("motet.memory.available_bytes", lambda: 50_000)
    estimator = decoder() if use == "fit" else fitted
    with pytest.raises(InputError, match=r"reading 4 individuals over 24 bins of recording 'a' at once would take .*"):
        getattr(estimator, use)(tuned(100))


@pytest.mark.slow
def test_memory_stays_bounded():
    """A mask for each pair of bins would take 1 GB, all trials at once 0.7 GB."""
    script = """
        import resource, numpy as np, motet, motet.data.dataset
        motet.data.dataset.BATCH_BYTES = 1 << 27
        def trials(n_trials, n_individuals, n_bins):
            values = np.random.default_rng(0).poisson(1.0, (n_trials, n_individuals, n_bins)).astype(np.float32)
            values[:, 1, ::7] = np.nan
            ids, side = [str(i) for i in range(n_individuals)], np.arange(n_trials) % 2
            return motet.Recording.from_trials(values, targets={"side": side}, individual_ids=ids)
        settings = {"model": motet.EITSettings(causal=True), "training": motet.TrainingSettings(max_steps=1)}
        decoder = motet.EITClassifier("side", **settings).fit(trials(4, 300, 20), on_epoch=lambda row: None)
        long, many = trials(1, 2, 10_000), trials(60, 300, 50)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        decoder.predict(long)
        decoder.predict(many)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * bytes_per_unit < 0.4e9


@pytest.mark.parametrize("n_bins", [-1, 0, 7])
def test_windows_of_hardly_any_bins_are_refused(n_bins):
    with pytest.raises(InputError, match=r"objective\.window_bins"):
        dataclasses.replace(ObjectiveSettings(), window_bins=n_bins)

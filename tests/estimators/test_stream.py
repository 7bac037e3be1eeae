"""A stream says of every bin what the decoder says offline of the trial so far."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import motet
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.exported import DecoderGraph, StepFile
from motet.estimators.stream import StepGraph
from motet.models.eit import EITSettings

CAUSAL = EITSettings(width=4, causal=True, individual_depth=2, n_heads=2)
ANYBODY = EITSettings(width=4, causal=True, identity="none", interaction_depth=2, time="relative", token_bins=3)
ONE_STEP = motet.TrainingSettings(max_steps=1)
IDS = list("abcdef")


def counts(n_trials, seed, *, n_bins=9, shift=0):
    """Counts of individuals that are missing at times; of trial 0 a bin and the first two are missing altogether."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_trials) % 3
    values = rng.poisson(1.0 + side[:, None, None], (n_trials, 6, n_bins)).astype(float) - shift
    values[:, 2] = 0
    values[rng.random(values.shape) < 0.15] = np.nan
    values[0, :, [0, 1, 4]] = np.nan
    values[1, 3] = np.nan
    levels = {"side": "trial", "late": "bin", "speed": "trial", "both": "bin"}
    speed = np.cumsum(np.nan_to_num(values).sum(1), axis=1) / 10
    targets = {
        "side": side,
        "late": np.broadcast_to(np.arange(n_bins) > 3, speed.shape),
        "speed": speed[:, -1],
        "both": np.stack([speed, -speed], -1),
    }
    return Recording.from_trials(values, targets=targets, target_levels=levels, individual_ids=IDS)


@functools.cache
def decoder(kind):
    train, more = counts(30, 1), {"training": ONE_STEP, "members": 2}
    pooled = {"objective": motet.ObjectiveSettings(readout="pooled", window_bins=8), "rule": "none"}
    shared = motet.PreprocessSettings(centre="shared")
    match kind:
        case "a class per trial":
            return motet.EITClassifier("side", model=CAUSAL, **more).fit(train)
        case "a class per trial, of values that are no counts":
            return motet.EITClassifier("side", model=CAUSAL, **more).fit(counts(30, 1, shift=2))
        case "a class per bin, in windows, of anybody":
            return motet.EITClassifier("late", model=ANYBODY, preprocess=shared, **pooled, **more).fit(train)
        case "a quantity per trial":
            return motet.EITRegressor("speed", model=CAUSAL, **more).fit(train)
        case "a quantity per bin":
            return motet.EITRegressor("both", model=CAUSAL, **more).fit(train)
        case "one EIT without layers":
            flat = EITSettings(width=4, causal=True, individual_depth=0, interaction_depth=0)
            one = motet.TrainingSettings(max_steps=1, validation=0.4)
            return motet.EITRegressor("both", model=flat, training=one, rule="ridge").fit(train)


def so_far(fitted, trial, n_bins, whom):
    """What is said offline of a trial that ended now."""
    cut = trial.select(bins=slice(0, n_bins))
    said = fitted.predict_proba(cut, whom=whom) if hasattr(fitted, "classes_") else fitted.predict(cut, whom=whom)
    return said[0, -1] if fitted.targets_[0].level == "bin" else said[0]


KINDS = (
    "a class per trial",
    "a class per trial, of values that are no counts",
    "a class per bin, in windows, of anybody",
    "a quantity per trial",
    "a quantity per bin",
    "one EIT without layers",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_says_what_the_decoder_says_of_the_trial_so_far(kind):
    fitted = decoder(kind)
    test = counts(3, 2, n_bins=22 if "windows" in kind else 9, shift=2 * ("no counts" in kind))
    whoms = ("both",) if not fitted.shares_.rule else ("both", "rule", "eit")
    for whom in whoms:
        stream = fitted.stream(whom=whom, individual_ids=IDS)
        for number in range(2):
            trial = test.select(trials=[number])
            stream.reset()
            for time in range(test.n_bins):
                seen = trial.observed[0, :, time]
                bin_values = np.where(seen[:, None], trial.values[0, :, time], np.nan)
                said = stream.step(bin_values[:, 0] if seen.any() else None)
                wanted = so_far(fitted, trial, time + 1, whom)
                assert said.dtype == wanted.dtype
                np.testing.assert_allclose(said, wanted, atol=1e-6)
            assert stream.n_bins == test.n_bins


def bins_of(recording, trial):
    """(time, individual, feature) values and (time, individual) who is observed."""
    return recording.values[trial].swapaxes(0, 1), recording.observed[trial].T


@pytest.mark.parametrize("kind", ["a class per trial", "a quantity per bin"])
def test_a_step_that_hands_on_what_it_remembers_says_what_the_stream_says(kind):
    fitted, (values, observed) = decoder(kind), bins_of(counts(2, 2), 0)
    for whom in ("both", "rule"):
        stream, file = fitted.stream(whom=whom, individual_ids=IDS), StepFile(StepGraph(fitted._inside(whom, IDS)))
        state = {name: torch.zeros_like(one) for name, one in file.remembered(0).items()}
        for x, seen in zip(values, observed, strict=True):
            with torch.no_grad():
                said, *state_now = file(
                    torch.from_numpy(np.where(seen[:, None], x, 1e6)), torch.from_numpy(seen), state
                )
            state = dict(zip(state, state_now, strict=True))
            wanted = stream.step(np.where(seen[:, None], x, np.nan))
            np.testing.assert_allclose(said.numpy(), wanted, atol=1e-6)


@functools.cache
def adapted():
    """Decoders of a new population from a few trials: of a class, of a quantity, and of a quantity per bin."""
    *known, new = motet.simulate("population", n_subjects=2, n_trials=24, n_neurons=7)
    pretrained = {"model": EITSettings(width=4, identity="none"), "training": ONE_STEP}
    encoder = motet.EITEncoder("direction", **pretrained).fit(known)
    few = new.select(trials=range(16))
    angle = few.targets["direction"] * np.pi / 4
    ends = np.stack([np.cos(angle), np.sin(angle)], -1)
    with_ends = Recording(
        few.values,
        few.observed,
        few.individual_ids,
        {"end": ends},
        target_levels={"end": "trial"},
        bin_seconds=few.bin_seconds,
    )
    decoders = {
        "a class": encoder.adapt(few, new.select(trials=range(16, 20))),
        "a quantity": encoder.adapt(with_ends, target="end"),
        "a quantity per bin": encoder.adapt(few, quantity="velocity"),
    }
    values = new.values[20:22].copy()
    values[0, 2], values[0, :, :2], values[0, 3, 5:] = np.nan, np.nan, np.nan
    values[1, 1, :3], values[1, :, 4] = np.nan, np.nan
    return decoders, Recording.from_trials(values, individual_ids=list(new.individual_ids), bin_seconds=new.bin_seconds)


@pytest.mark.parametrize("kind", ["a class", "a quantity", "a quantity per bin"])
def test_a_stream_of_an_adapted_decoder_says_what_it_says_of_the_trial_so_far(kind):
    decoders, test = adapted()
    fitted = decoders[kind]
    stream, file = fitted.stream(), StepFile(StepGraph(fitted._inside()))
    offline = fitted.predict_proba if kind == "a class" else fitted.predict
    for trial in range(2):
        stream.reset()
        state = {name: torch.zeros_like(one) for name, one in file.remembered(0).items()}
        for time, (x, seen) in enumerate(zip(*bins_of(test, trial), strict=True)):
            said = stream.step(np.where(seen[:, None], x, np.nan))
            wanted = offline(test.select(trials=[trial], bins=slice(0, time + 1)))[0]
            np.testing.assert_allclose(said, wanted[-1] if "per bin" in kind else wanted, atol=1e-6)
            with torch.no_grad():
                of_file, *now = file(torch.from_numpy(x), torch.from_numpy(seen), state)
            state = dict(zip(state, now, strict=True))
            np.testing.assert_allclose(of_file, said, atol=1e-6)


@pytest.mark.parametrize("kind", ["a class", "a quantity", "a quantity per bin"])
def test_the_graph_of_an_adapted_decoder_says_what_it_says_of_whole_trials(kind):
    decoders, test = adapted()
    fitted = decoders[kind]
    with torch.no_grad():
        said = DecoderGraph(fitted._inside())(torch.from_numpy(test.values), torch.from_numpy(test.observed)).numpy()
    wanted = (fitted.predict_proba if kind == "a class" else fitted.predict)(test).copy()
    if "per bin" not in kind:
        wanted[0] = np.nan  # somebody is never observed
    np.testing.assert_allclose(said, wanted, atol=1e-6)


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("a quantity per trial", "a quantity per bin")]


@pytest.mark.parametrize("kind", ["a class", *SLOW])
def test_a_step_is_an_onnx_file(kind, tmp_path):
    import onnxruntime

    decoders, test = adapted()
    if kind == "a quantity per trial":
        decoders, test = {kind: decoder(kind)}, counts(2, 2)
    fitted = decoders[kind]
    path = fitted.export(tmp_path / "step.onnx", step=True)
    session, stream = onnxruntime.InferenceSession(path), fitted.stream()
    kinds = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(bool)": "?", "tensor(int64)": "i8"}
    state = {
        one.name: np.zeros([0 if axis == "bin" else axis for axis in one.shape], kinds[one.type])
        for one in session.get_inputs()[2:]
    }
    outputs = [one.name for one in session.get_outputs()]
    assert outputs == ["probability" if kind == "a class" else "prediction", *(f"next_{name}" for name in state)]
    kept = [test.individual_ids.index(one) for one in stream.individual_ids]
    for time, (x, seen) in enumerate(zip(*bins_of(test, 1), strict=True)):
        said, *now = session.run(None, {"values": x[kept], "observed": seen[kept], **state})
        state = dict(zip(state, now, strict=True))
        wanted = stream.step(np.where(seen[:, None], x, np.nan)[kept])
        is_known = kind != "a class" or time > 2  # from when on everybody was observed
        np.testing.assert_allclose(said, wanted if is_known else np.full_like(wanted, np.nan), atol=1e-5)


@pytest.mark.slow
def test_adapted_courses_are_an_onnx_file(tmp_path):
    import onnxruntime

    decoders, test = adapted()
    session = onnxruntime.InferenceSession(decoders["a quantity per bin"].export(tmp_path / "velocity.onnx"))
    for n_bins in (1, test.n_bins):
        cut = test.select(bins=slice(0, n_bins))
        (said,) = session.run(None, {"values": cut.values, "observed": cut.observed})
        np.testing.assert_allclose(said, decoders["a quantity per bin"].predict(cut), atol=1e-5)


def test_nothing_of_a_trial_is_left_after_a_reset():
    fitted = decoder("a class per trial")
    stream = fitted.stream()
    assert stream.individual_ids == fitted.individual_ids_
    bins = np.random.default_rng(0).poisson(2.0, (5, len(stream.individual_ids)))
    first = [stream.step(one) for one in bins]
    stream.reset()
    np.testing.assert_array_equal([stream.step(one) for one in bins], first)


def test_a_long_trial_outgrows_the_room_that_there_was(monkeypatch):
    monkeypatch.setattr("motet.models.step.FIRST_BINS", 4)
    test_a_stream_says_what_the_decoder_says_of_the_trial_so_far("a quantity per bin")


def test_what_cannot_be_streamed_is_refused():
    waits = motet.EITClassifier("side", model=EITSettings(width=4), members=2, training=ONE_STEP).fit(counts(30, 1))
    with pytest.raises(InputError, match=r"model.causal is False.* fit a causal one: model=EITSettings\(causal=True\)"):
        waits.stream()
    with pytest.raises(InputError, match="model.causal is False"):
        waits.export("step.onnx", step=True)
    assert waits.stream(whom="rule").step([1, 2, 3, 4, 5]).shape == (3,)
    around = motet.EITClassifier("late", model=CAUSAL, members=2, training=ONE_STEP).fit(counts(30, 1))
    with pytest.raises(InputError, match="the rule 'lda-mean' reads bins to come.*rule='none'"):
        around.stream()
    stream = around.stream(whom="eit")
    for wrong, said in (
        ([1, 2], r"shape \(2,\); give 5 individuals with 1 features"),
        ([1, 2, 3, 4, -1], "not negative"),
        ([1, 2, 3, 4, np.inf], "finite"),
        (["x"] * 5, "values of a bin"),
    ):
        with pytest.raises(InputError, match=said):
            stream.step(wrong)
    assert stream.n_bins == 0
    new = adapted()[0]["a class"].stream()
    for _ in range(adapted()[1].n_bins):
        new.step(None)
    with pytest.raises(InputError, match=r"10 bins at most, .* reset\(\) begins a new one"):
        new.step(None)
    anybody = decoder("a class per bin, in windows, of anybody")
    with pytest.raises(InputError, match="say who is given"):
        anybody.stream()

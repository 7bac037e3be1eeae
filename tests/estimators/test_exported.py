"""A decoder as a file answers as the decoder does."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import motet
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.exported import KEY, DecoderGraph
from motet.models.eit import EITSettings
from motet.tasks.export import ExportSettings, export

SMALL = EITSettings(width=4)
CAUSAL = EITSettings(width=4, causal=True, individual_depth=2)
ONE_STEP = motet.TrainingSettings(max_steps=1)
ANYBODY = {
    "model": EITSettings(width=4, identity="none"),
    "objective": motet.ObjectiveSettings(readout="pooled"),
    "preprocess": motet.PreprocessSettings(centre="shared"),
    "rule": "none",
}
IDS = list("abcdef")


def counts(n_trials, seed, *, n_individuals=6, n_bins=5, ids=IDS):
    """Counts with missing bins, missing individuals and, in one trial, a bin without anybody; "c" is silent."""
    rng = np.random.default_rng(seed)
    side = np.arange(n_trials) % 2
    values = rng.poisson(1.0 + side[:, None, None], (n_trials, n_individuals, n_bins)).astype(np.float32)
    values[:, 2 % n_individuals] = 0
    values[rng.random(values.shape) < 0.15] = np.nan
    values[0, :, n_bins // 2] = np.nan
    speed = np.nan_to_num(values).sum(1)
    levels = {"side": "trial", "speed": "bin", "both": "bin"}
    targets = {"side": np.array(["left", "right"])[side], "speed": speed / 10, "both": np.stack([speed, -speed], -1)}
    about = {"targets": targets, "target_levels": levels, "bin_seconds": 0.05}
    return Recording.from_trials(values, individual_ids=ids[:n_individuals], **about)


def raw(recording, ids=None):
    """What a file reads, with NaN and with what is not observed in any other way."""
    place = [recording.individual_ids.index(one) for one in ids or recording.individual_ids]
    values, observed = recording.values[:, place].copy(), recording.observed[:, place]
    values[~observed] = 1e6
    values[:, :, :1][~observed[:, :, :1]] = np.nan
    return values, observed | np.isnan(values).any(-1)


@pytest.fixture(scope="module")
def classifier():
    one = motet.TrainingSettings(max_steps=1, validation=0.4)  # one EIT: a file of several takes long to write
    return motet.EITClassifier("side", model=SMALL, training=one).fit(counts(30, 1))


@pytest.fixture(scope="module")
def regressor():
    return motet.EITRegressor("both", model=CAUSAL, members=2, training=ONE_STEP, rule="ridge").fit(counts(24, 1))


def answers(decoder, recording, **options):
    return (
        decoder.predict_proba(recording, **options)
        if isinstance(decoder, motet.EITClassifier)
        else decoder.predict(recording, **options)
    )


SIZES = ((1, 1), (2, 5), (5, 3), (1, 12))


@pytest.mark.parametrize("whom", ["both", "rule", "eit"])
@pytest.mark.parametrize("which", ["classifier", "regressor"])
def test_the_graph_of_a_decoder_answers_as_the_decoder_does(which, whom, request):
    decoder = request.getfixturevalue(which)
    for ids in (None, IDS[::-1], [one for one in IDS if one != "b"]):
        graph = DecoderGraph(decoder._inside(whom, ids))
        for n_trials, n_bins in SIZES:
            test = counts(n_trials, n_bins, n_bins=n_bins)
            kept = [place for place, one in enumerate(test.individual_ids) if ids is None or one in ids]
            values, observed = map(torch.from_numpy, raw(test, ids or decoder.individual_ids_))
            wanted = answers(decoder, test.select(individuals=kept), whom=whom)
            np.testing.assert_allclose(graph(values, observed).numpy(), wanted, atol=2e-6)


def run_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return session, lambda values, observed: session.run(None, {"values": values, "observed": observed})[0]


def test_an_onnx_file_answers_as_the_decoder_does_for_trials_and_masks_of_any_size(classifier, tmp_path):
    folder = classifier.save(tmp_path / "run").folder
    path = export(ExportSettings(str(folder)))
    assert sorted(file.name for file in folder.iterdir()) == ["decoder.onnx", "weights.safetensors"]
    session, read = run_onnx(path)
    assert [axis.shape for axis in session.get_inputs()] == [["trial", 5, "time", 1], ["trial", 5, "time"]]
    for n_trials, n_bins in SIZES:
        test = counts(n_trials, n_bins, n_bins=n_bins)
        values, observed = raw(test, classifier.individual_ids_)
        np.testing.assert_allclose(read(values, observed), classifier.predict_proba(test), atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["left", "right"]
    assert json.loads(about["individuals"]) == ["a", "b", "d", "e", "f"]
    assert (about["bin_seconds"], about["motet_version"]) == ("0.05", motet.__version__)
    assert "the square root, less the training mean of its individual" in about["preprocessing"]
    assert b"site-packages" not in path.read_bytes()
    assert __file__.rpartition("/tests/")[0].encode() not in path.read_bytes()


@pytest.mark.slow
def test_a_file_of_torch_reads_any_individuals_where_none_was_learned(tmp_path):
    decoder = motet.EITClassifier("side", members=1, training=ONE_STEP, **ANYBODY).fit(counts(30, 1))
    path, files = decoder.export(tmp_path / "decoder.pt2"), {KEY: ""}
    read = torch.export.load(path, extra_files=files).module()
    about = json.loads(files[KEY])
    assert about["individuals"] == "any, in any number"
    for n_individuals in (1, 3, 6):
        test = counts(4, 3, n_individuals=n_individuals, ids=list("uvwxyz"))
        values, observed = map(torch.from_numpy, raw(test))
        np.testing.assert_allclose(read(values, observed).numpy(), decoder.predict_proba(test), atol=1e-5)
    assert __file__.rpartition("/tests/")[0].encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["regressor", "anybody"])
def test_other_decoders_as_onnx_files(which, regressor, tmp_path):
    decoder = regressor
    if which == "anybody":
        decoder = motet.EITClassifier("side", members=2, training=ONE_STEP, **ANYBODY).fit(counts(30, 1))
    _, read = run_onnx(decoder.export(tmp_path / "decoder.onnx"))
    ids = None if which == "anybody" else decoder.individual_ids_
    for n_trials, n_bins in SIZES:
        test = counts(n_trials, n_bins, n_bins=n_bins)
        np.testing.assert_allclose(read(*raw(test, ids)), answers(decoder, test), atol=1e-5)


@pytest.fixture(scope="module")
def adapted():
    *known, new = motet.simulate("population", n_subjects=2, n_trials=24, n_neurons=7)
    encoder = motet.EITEncoder("direction", model=ANYBODY["model"], training=ONE_STEP).fit(known)
    by_context = motet.EITEncoder("direction", model=EITSettings(width=4, identity="context"), training=ONE_STEP)
    by_context.fit(known)
    few = new.select(trials=range(16))
    return {
        "roots": encoder.adapt(few),
        "both": encoder.adapt(few, new.select(trials=range(16, 20)), reads="both"),
        "embeddings": by_context.adapt(few, reads="embeddings"),
    }, new.select(trials=range(16, 24))


@pytest.mark.parametrize("reads", ["roots", *(pytest.param(r, marks=pytest.mark.slow) for r in ("both", "embeddings"))])
def test_an_adapted_decoder_is_exported_too(adapted, reads, tmp_path):
    decoders, test = adapted
    decoder = decoders[reads]
    wanted = decoder.predict_proba(test)
    path = decoder.export(tmp_path / "adapted.pt2")
    read = torch.export.load(path).module()
    values, observed = map(torch.from_numpy, raw(test))
    np.testing.assert_allclose(read(values, observed).numpy(), wanted, atol=1e-5)
    observed[0, 3] = False
    assert read(values, observed).isnan().any(1).tolist() == [True, *[False] * 7]


@pytest.mark.slow
def test_an_adapted_quantity_as_an_onnx_file(tmp_path):
    *known, new = motet.simulate("population", n_subjects=2, n_trials=24, n_neurons=7)
    encoder = motet.EITEncoder("direction", model=ANYBODY["model"], training=ONE_STEP).fit(known)
    ends = np.stack([np.cos(new.targets["direction"]), np.sin(new.targets["direction"])], -1)
    few = Recording(
        new.values,
        new.observed,
        new.individual_ids,
        {"end": ends},
        target_levels={"end": "trial"},
        bin_seconds=new.bin_seconds,
    )
    decoder = encoder.adapt(few, target="end")
    session, read = run_onnx(decoder.export(tmp_path / "end.onnx"))
    np.testing.assert_allclose(read(*raw(few)), decoder.predict(few), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["shape"] == "[2]"


def test_what_cannot_be_written_is_refused(classifier, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="says no format that is known; give a name that ends in .onnx or .pt2"):
        classifier.export(tmp_path / "decoder.bin")
    with pytest.raises(InputError, match="format"):
        classifier.export(tmp_path / "decoder", format="pickle")
    with pytest.raises(InputError, match="never saw individual 'z'"):
        classifier.export(tmp_path / "decoder.pt2", individual_ids=["a", "z"])
    with pytest.raises(InputError, match="give the name of each individual once"):
        classifier.export(tmp_path / "decoder.pt2", individual_ids=["a", "a"])
    with pytest.raises(InputError, match="whom"):
        classifier.export(tmp_path / "decoder.pt2", whom="nobody")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'motet\[export\]'"):
        classifier.export(tmp_path / "decoder.onnx")
    assert not list(tmp_path.iterdir())

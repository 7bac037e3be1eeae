from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.estimators.decoders import EITClassifier
from motet.models.eit import EITSettings
from motet.training.history import read_history
from motet.training.loop import _backward
from motet.training.objectives import ObjectiveSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

SHORT = TrainingSettings(max_steps=18, batch_trials=16, checkpoint_seconds=0.0, validation=0.25)
SMALL = EITSettings(width=8, n_heads=2, dropout=0.1)


class StoppedError(Exception):
    pass


def weights(estimator):
    return {name: tensor.clone() for name, tensor in estimator.learner_.state_dict().items()}


def fit(recording, run=None, stop_after=None, training=SHORT, seed=0, **settings):
    def on_epoch(epoch):
        if epoch.epoch == stop_after:
            raise StoppedError

    usual = {"model": SMALL, "training": training, "seed": seed, "rule": "none"}
    estimator = EITClassifier("direction", **(usual | settings))
    return estimator.fit(recording, run=run, on_epoch=on_epoch)


def importing_from(folder):
    """The environment of a process that also imports modules from a folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.mark.parametrize("stop_after", [1, 3, 6])
def test_interrupted_training_ends_with_the_same_bits(small_recording, tmp_path, stop_after):
    whole = fit(small_recording)
    with pytest.raises(StoppedError):
        fit(small_recording, run=tmp_path, stop_after=stop_after)
    torch.manual_seed(123)  # what the interpreter did in between does not matter
    torch.rand(7)
    resumed = fit(small_recording, run=tmp_path)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    strip = [dataclasses.replace(row, seconds=0.0) for row in whole.history_]
    assert [dataclasses.replace(row, seconds=0.0) for row in resumed.history_] == strip


def test_killed_training_ends_with_the_same_bits(small_recording, tmp_path):
    """The process is killed while it writes a checkpoint: the one before it is whole."""
    from motet.data.readers import write_recording

    write_recording(small_recording, tmp_path / "small.npz")
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from motet.data.readers import read_recording
        from tests_of_loop import fit
        write, calls = Path.write_bytes, []
        def dying(path, content):
            calls.append(path)
            write(path, content if len(calls) < 3 else content[:100])
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        Path.write_bytes = dying
        fit(read_recording(sys.argv[1]), run=sys.argv[2])
    """)
    (tmp_path / "tests_of_loop.py").write_bytes(Path(__file__).read_bytes())
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "small.npz"), str(tmp_path / "run")],
        env=importing_from(tmp_path),
        check=False,
    )
    assert result.returncode == -signal.SIGKILL
    assert len(read_history(Run(tmp_path / "run").read_tensors("checkpoint")[1])) == 2
    resumed, whole = fit(small_recording, run=tmp_path / "run"), fit(small_recording)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_training_leaves_the_global_generators_as_they_were(small_recording):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (what must not change)
    fit(small_recording)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_fits_in_several_threads_end_with_the_bits_of_each_alone(small_recording):
    alone = [weights(fit(small_recording, seed=seed)) for seed in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = [weights(e) for e in pool.map(lambda seed: fit(small_recording, seed=seed), range(3))]
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_seed_decides_the_weights(small_recording):
    first, same, other = (weights(fit(small_recording, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_weights_kept_are_those_of_the_best_validation_loss(small_recording):
    long = dataclasses.replace(SHORT, max_steps=120, patience=5, learning_rate=0.05, averaging=0.0)
    estimator = fit(small_recording, training=long)
    losses = [row.validation_loss for row in estimator.history_]
    best = int(np.argmin(losses))
    assert len(losses) == min(40, best + 1 + 5)
    again = fit(small_recording, training=dataclasses.replace(long, max_steps=120, patience=40))
    reached = min(row.validation_loss for row in again.history_)
    assert reached <= losses[best]


def test_a_checkpoint_of_other_data_or_settings_is_refused_and_kept(small_recording, tmp_path):
    with pytest.raises(StoppedError):
        fit(small_recording, run=tmp_path, stop_after=3)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    changed = small_recording.select(trials=slice(0, 40))
    for other in (
        lambda: fit(changed, run=tmp_path),
        lambda: fit(small_recording, run=tmp_path, seed=1),
        lambda: fit(small_recording, run=tmp_path, training=dataclasses.replace(SHORT, learning_rate=1e-4)),
        lambda: fit(small_recording, run=tmp_path, objective=ObjectiveSettings(noise=0.5)),
        lambda: fit(small_recording, run=tmp_path, model=dataclasses.replace(SMALL, causal=True)),
    ):
        with pytest.raises(InputError, match="other data or settings"):
            other()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


@pytest.mark.parametrize("role", ["values", "observed", "target", "ids"])
def test_a_checkpoint_knows_its_recordings_to_the_last_number(small_recording, tmp_path, role):
    """Of the same shapes and sums: two trials are exchanged, or one number moves."""
    with pytest.raises(StoppedError):
        fit(small_recording, run=tmp_path, stop_after=1)
    trial, individual, time = np.argwhere(small_recording.observed)[-1]
    values, observed = small_recording.values.copy(), small_recording.observed.copy()
    direction = small_recording.targets["direction"].copy()
    values[trial, individual, time] += 1
    observed[trial, individual, time] = False
    direction[[0, 1]] = direction[[1, 0]]
    change = {
        "values": {"values": values},
        "observed": {"observed": observed},
        "target": {"targets": {**small_recording.targets, "direction": direction}},
        "ids": {"individual_ids": small_recording.individual_ids[1::-1] + small_recording.individual_ids[2:]},
    }[role]
    with pytest.raises(InputError, match="other data or settings"):
        fit(dataclasses.replace(small_recording, **change), run=tmp_path)


def checkpointed(recording, folder):
    with pytest.raises(StoppedError):
        fit(recording, run=folder, stop_after=2)
    return Run(folder).read_tensors("checkpoint")


FOREIGN = {
    "no weights": lambda t, a: ({n: v for n, v in t.items() if not n.startswith("weights/")}, a),
    "weights of another shape": lambda t, a: (
        {n: v[..., None] if n.startswith("mean/") else v for n, v in t.items()},
        a,
    ),
    "whole numbers": lambda t, a: ({n: v.long() if n.startswith("best/") else v for n, v in t.items()}, a),
    "a name of no kind": lambda t, a: ({**t, "noise": torch.zeros(1)}, a),
    "a slot of no parameter": lambda t, a: ({**t, "optimizer/mean/nothing": torch.zeros(1)}, a),
    "no history": lambda t, a: (t, {k: v for k, v in a.items() if k != "history"}),
    "an empty history": lambda t, a: (t, {**a, "history": []}),
    "a history of text": lambda t, a: (t, {**a, "history": [{**row, "train_loss": "low"} for row in a["history"]]}),
    "a history with a gap": lambda t, a: (t, {**a, "history": a["history"][1:]}),
    "a best epoch to come": lambda t, a: (t, {**a, "best_epoch": 99}),
    "a best epoch in words": lambda t, a: (t, {**a, "best_epoch": "first"}),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_a_checkpoint_whose_content_is_foreign_is_one_refusal(small_recording, tmp_path, change):
    """Its digest and its fingerprint are right."""
    Run(tmp_path).write_tensors("checkpoint", *FOREIGN[change](*checkpointed(small_recording, tmp_path)))
    with pytest.raises(InputError, match="checkpoint.safetensors holds no state of this training.*delete it"):
        fit(small_recording, run=tmp_path)


def test_a_damaged_checkpoint_is_one_clear_error(small_recording, tmp_path):
    checkpointed(small_recording, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged"):
        fit(small_recording, run=tmp_path)


@pytest.mark.parametrize("step", [1, 7])
def test_an_interrupted_fit_leaves_a_run_that_goes_on(small_recording, tmp_path, step, monkeypatch):
    """The key is pressed in the middle of a step, or of a write."""
    from motet.training import state

    average, calls = state.TrainingState.average, []

    def interrupted(self):
        average(self)
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state.TrainingState, "average", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(small_recording, run=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    whole, resumed = weights(fit(small_recording)), weights(fit(small_recording, run=tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_fits_in_one_folder_do_not_mix(small_recording, tmp_path):
    refused = []

    def second(epoch):
        with pytest.raises(InputError, match="another motet command") as error:
            fit(small_recording, run=tmp_path, seed=1)
        refused.append(error)

    estimator = EITClassifier("direction", model=SMALL, training=SHORT, rule="none").fit(
        small_recording, run=tmp_path, on_epoch=second
    )
    assert len(refused) == len(estimator.history_)


def test_a_fit_that_is_refused_leaves_no_folder(small_recording, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="accelerator"):
        fit(small_recording, run=tmp_path / "run", training=dataclasses.replace(SHORT, accelerator="gpu"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_is_one_clear_error(small_recording):
    with pytest.raises(InputError, match="learning_rate"):
        fit(small_recording, training=dataclasses.replace(SHORT, learning_rate=1e30, averaging=0.0, gradient_clip=1e30))


def test_tensorboard_events_are_written_on_request(small_recording, tmp_path):
    fit(small_recording, run=tmp_path, training=dataclasses.replace(SHORT, tensorboard=True))
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_an_accelerator_that_is_not_there_is_one_clear_error(small_recording):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="accelerator='gpu'"):
        fit(small_recording, training=dataclasses.replace(SHORT, accelerator="gpu"))


def test_mixed_precision_training_learns_the_same(small_recording):
    plain, mixed = (
        fit(small_recording, training=dataclasses.replace(SHORT, precision=p)) for p in ("32-true", "bf16-mixed")
    )
    assert abs(plain.history_[-1].train_loss - mixed.history_[-1].train_loss) < 0.05
    assert all(parameter.dtype == torch.float32 for parameter in mixed.learner_.parameters())


@pytest.mark.slow
def test_compiled_training_learns_the_same(small_recording, tmp_path):
    """In a process of its own, since the types checked in tests cannot be compiled."""
    from motet.data.readers import write_recording

    write_recording(small_recording, tmp_path / "small.npz")
    script = """
        import dataclasses, sys
        from motet.data.readers import read_recording
        from tests_of_loop import SHORT, fit
        training = dataclasses.replace(SHORT, compile=True)
        print(fit(read_recording(sys.argv[1]), training=training).history_[-1].train_loss)
    """
    (tmp_path / "tests_of_loop.py").write_bytes(Path(__file__).read_bytes())
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "small.npz")]
    environment = importing_from(tmp_path)
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert abs(float(output.split()[-1]) - fit(small_recording).history_[-1].train_loss) < 0.05


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(small_recording, tmp_path):
    from motet.data.readers import write_recording

    path = write_recording(small_recording, tmp_path / "small.npz")
    losses = []
    for devices in (1, 2):
        folder = tmp_path / f"run{devices}"
        command = [sys.executable, "-m", "motet", "decode", str(path), "--target", "direction", "--output", str(folder)]
        command += ["--folds", "0", "--training.max_steps", "8", "--training.devices", str(devices)]
        command += ["--objective.noise", "0", "--objective.hidden_individuals", "[0, 0]", "--model.dropout", "0"]
        subprocess.run(command, check=True, timeout=300)
        losses.append(read_history(Run(folder).read_tensors("weights")[1])[-1].train_loss)
    assert abs(losses[0] - losses[1]) < 0.05


def test_data_parallel_parts_cover_every_trial_once(small_recording):
    dataset = PopulationDataset(small_recording)
    parts = [np.arange(len(dataset))[rank::3] for rank in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(dataset)))


@pytest.mark.parametrize("n_parts", [1, 3])
def test_a_step_in_parts_has_the_loss_and_gradients_of_the_whole(small_recording, monkeypatch, n_parts):
    learner = fit(small_recording).learner_.eval()  # without dropout, whose numbers are drawn part by part
    batch = learner.objective.prepare(PopulationDataset(small_recording)).batch(np.arange(20))
    fabric = Fabric(accelerator="cpu", devices=1)

    def step():
        learner.zero_grad()
        loss = _backward(fabric, fabric.setup(learner), learner.parts(batch))
        return [loss, *(parameter.grad.clone() for parameter in learner.parameters())]

    whole = step()
    per_trial = learner.model.n_bytes(*batch.observed.shape[1:])
    monkeypatch.setattr("motet.training.learner.BATCH_BYTES", per_trial * -(-20 // n_parts))
    assert len(learner.parts(batch)) == n_parts
    assert sum(map(len, learner.parts(batch))) == 20
    for one, other in zip(whole, step(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)

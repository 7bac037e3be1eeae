"""The reach recordings: raw files binned rightly, pickles that never run code."""

import contextlib
import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from motet.data.readers import reach, read_recording
from motet.data.readers.reach import read_reach_mat
from motet.data.readers.safe_pickle import StoredObject, load_reach_pickle
from motet.data.recording import Recording
from motet.errors import InputError


def read_or_refused_by_name(path: Path) -> Recording | None:
    """The recording, or None if it is refused by an error that names the file; another error is one of ours."""
    try:
        return read_recording(path)
    except InputError as error:
        if path.name not in str(error):
            raise
        return None


# ---- raw MATLAB files

TABLE_COLUMNS = 13


def raw_reach(seed: int = 0) -> dict[str, Any]:
    """A small raw recording: four reaches of .5 to 1.25 s, one row of NaN, spikes on edges, an empty unit."""
    rng = np.random.default_rng(seed)
    table = np.full((6, TABLE_COLUMNS), -1.0)
    table[:, 1] = [0, 7, 3, 5, 1, 2]
    table[:, 9] = [1.0, 3.0, np.nan, 5.0, 7.0, 9.0]
    table[:, 12] = [1.5, 4.25, 5.0, 6.0, 7.6, 8.0]
    on_edges = np.arange(0, 12, 0.125)
    units = np.zeros(4, dtype=[("id", object), ("ts", object)])
    units["ts"] = [on_edges, np.array([]), np.sort(rng.uniform(0, 12, 200)), np.array([3.0])]
    units["id"] = [np.array([unit, 1]) for unit in range(4)]
    times = np.arange(0, 12, 0.01)
    velocity = np.stack([times, 10 * np.sin(times * 3), 4 * np.cos(times)], axis=1)
    force = np.stack([times, *rng.normal(size=(2, len(times)))], axis=1)
    recorded = {
        "units": units,
        "pos": np.zeros((0, 3)),
        "vel": velocity,
        "acc": velocity * [1, 0, 0],
        "force": force,
    }
    return {"trial_table": table, "out_struct": recorded}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw files are read here, which is faster; `test_isolated.py` has those that this would not survive."""
    monkeypatch.setattr(reach, "in_subprocess", lambda read, path: read(path))


@pytest.fixture
def raw_path(tmp_path: Path) -> Path:
    savemat(tmp_path / "full-mihi.mat", raw_reach())
    return tmp_path / "full-mihi.mat"


def test_a_raw_recording_is_cut_into_movements(raw_path: Path) -> None:
    recording = read_recording(raw_path, name="reach/mihi-2", subject="mihi", bin_seconds=0.25)
    assert recording.trial_ids is not None
    assert recording.trial_start_seconds is not None
    assert recording.trial_ids.tolist() == [0, 1, 3, 4]
    assert recording.target("direction").tolist() == [0, 7, 5, 1]
    assert recording.trial_lengths.tolist() == [2, 5, 4, 3]  # the last one reaches beyond its end, 7.6 s
    assert recording.trial_start_seconds.tolist() == [1.0, 3.0, 5.0, 7.0]
    assert recording.individual_ids[3] == "reach/mihi-2/003"
    assert set(recording.targets) == {"direction", "timestep", "velocity", "force"}
    assert recording.observed[:, 1, :2].all()
    assert not recording.values[:, 1].any()
    assert (recording.values[recording.observed[:, 0, :].nonzero()[0], 0].max(), recording.bin_seconds) == (
        2,
        0.25,
    )


def test_a_spike_on_an_edge_is_counted_once(raw_path: Path) -> None:
    recording = read_recording(raw_path, bin_seconds=0.25)
    per_bin = recording.values[:, 0, :, 0][recording.bin_is_observed]
    assert (per_bin == 2).all()  # a spike every .125 s, so two in every [start, start + .25)
    assert recording.values[1, 3, :, 0].tolist() == [1, 0, 0, 0, 0]


def test_raw_counts_and_kinematics_agree_with_a_plain_loop(raw_path: Path) -> None:
    raw, bin_seconds = raw_reach(), 0.1
    recording = read_recording(raw_path)
    spikes, velocity = raw["out_struct"]["units"]["ts"][2], raw["out_struct"]["vel"]
    for trial, row in enumerate([0, 1, 3, 4]):
        start, end = raw["trial_table"][row, [9, 12]]
        n_bins = int(np.ceil((end - start) / bin_seconds - 1e-6))
        assert recording.trial_lengths[trial] == n_bins
        for position in range(n_bins):
            left, right = start + position * bin_seconds, start + (position + 1) * bin_seconds
            inside = velocity[(velocity[:, 0] >= left) & (velocity[:, 0] < right), 1:]
            assert recording.values[trial, 2, position, 0] == np.sum((spikes >= left) & (spikes < right))
            assert np.allclose(recording.target("velocity")[trial, position], inside.mean(0), atol=1e-5)
        assert np.isnan(recording.target("velocity")[trial, n_bins:]).all()


def test_slow_bins_are_dropped_and_timestep_tells_where(raw_path: Path) -> None:
    whole, fast = (read_recording(raw_path, minimum_speed=speed) for speed in (None, 5.0))
    n_gaps = 0
    for trial in range(whole.n_trials):
        length, kept = whole.trial_lengths[trial], fast.trial_lengths[trial]
        is_fast = np.linalg.norm(whole.target("velocity")[trial, :length], axis=1) > 5.0
        steps = fast.target("timestep")[trial, :kept]
        assert steps.tolist() == np.flatnonzero(is_fast).tolist()
        assert np.array_equal(fast.values[trial, :, :kept], whole.values[trial][:, steps])
        n_gaps += int((np.diff(steps) > 1).any())
    assert n_gaps  # the example has a gap inside a trial
    with pytest.raises(InputError, match="minimum_speed"):
        read_recording(raw_path, minimum_speed=1e9)


def test_one_unit_and_one_trial_are_read(tmp_path: Path) -> None:
    raw = raw_reach()
    raw["out_struct"]["units"], raw["trial_table"] = raw["out_struct"]["units"][3:], raw["trial_table"][1:2]
    savemat(tmp_path / "one.mat", raw)
    recording = read_reach_mat(tmp_path / "one.mat")
    assert recording.values.shape == (1, 1, 13, 1)
    assert recording.values.sum() == 1


def raw_with_table(column: int, value: float) -> dict[str, Any]:
    raw = raw_reach()
    raw["trial_table"][:, column] = value
    return raw


def raw_with_track(track: np.ndarray) -> dict[str, Any]:
    raw = raw_reach()
    raw["out_struct"]["vel"] = track
    return raw


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": 1}, "trial_table"),
        ({"trial_table": np.ones((1, 13))}, "out_struct"),
        (raw_reach() | {"trial_table": np.ones((2, 10))}, "13 columns"),
        (raw_with_table(9, np.nan), "0 trials with a movement"),
        (raw_with_table(12, 1e18), "more than a million"),
        (raw_with_table(1, 9), "targets outside 0 to 7"),
        (raw_with_table(1, 1.5), "targets outside 0 to 7"),
        (raw_with_track(raw_reach()["out_struct"]["vel"][::-1]), "increasing times"),
        (raw_with_track(np.zeros((0, 3))), "no velocity"),
    ],
)
def test_a_raw_file_that_lacks_something_is_refused_by_name(
    in_this_process: None, tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    savemat(tmp_path / "bad.mat", content)
    with pytest.raises(InputError, match=rf"bad\.mat .*{reason}"):
        read_reach_mat(tmp_path / "bad.mat", minimum_speed=1.0)


def test_a_file_of_matlab_7_3_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(InputError, match=r"new\.mat .*-v7"):
        read_reach_mat(tmp_path / "new.mat")


def test_a_damaged_raw_file_never_raises_anything_but_an_input_error(in_this_process: None, raw_path: Path) -> None:
    content = raw_path.read_bytes()
    path = raw_path.with_name("damaged.mat")
    for position in range(0, len(content), len(content) // 200):
        for changed in (content[:position], content[:position] + b"\xff" + content[position + 1 :]):
            path.write_bytes(changed)
            with contextlib.suppress(InputError):
                read_reach_mat(path)


# ---- pickles


@pytest.fixture
def reach_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a pickle as torch_geometric would, by stand-ins of its classes."""
    for module_name, class_name in (("data", "Data"), ("storage", "GlobalStorage")):
        module = types.ModuleType(f"torch_geometric.data.{module_name}")
        setattr(module, class_name, type(class_name, (), {"__module__": module.__name__}))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    package = types.ModuleType("torch_geometric")
    monkeypatch.setitem(sys.modules, "torch_geometric", package)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", types.ModuleType("torch_geometric.data"))

    def write(*trials: dict[str, Any], name: str = "reach-bin0.10-.pkl") -> Path:
        stored = []
        for trial in trials:
            data = sys.modules["torch_geometric.data.data"].Data()
            data._store = sys.modules["torch_geometric.data.storage"].GlobalStorage()
            data._store.__dict__.update(_mapping=trial, _parent=data)
            stored.append(data)
        (tmp_path / name).write_bytes(pickle.dumps({"data": stored}))
        return tmp_path / name

    return write


def stored_trial(n_bins: int = 3, n_units: int = 2, direction: int = 4, rate_step: float = 10.0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(n_bins)
    return {
        "x": torch.randint(0, 5, (n_bins, n_units), generator=generator) * rate_step,
        "edge_index": torch.ones(n_bins, n_bins).nonzero().t(),
        "y": torch.full((n_bins,), direction),
        "pos": torch.zeros(n_bins, 2),
        "vel": torch.arange(2.0 * n_bins).view(n_bins, 2),
        "timestep": torch.arange(n_bins) + 1,
    }


def test_a_reach_pickle_gives_counts_and_the_targets_recorded(reach_pickle: Any) -> None:
    trials = [stored_trial(3), stored_trial(2, direction=0)]
    recording = read_recording(reach_pickle(*trials), name="reach/x", subject="x")
    assert repr(recording) == (
        "Recording('reach/x': 2 trials × 2 individuals × 3 bins of 0.1 s; "
        "targets: direction per trial, timestep per bin, velocity per bin)"
    )
    for number, trial in enumerate(trials):
        length = len(trial["y"])
        assert np.array_equal(recording.values[number, :, :length, 0].T * 10, trial["x"].numpy())
        assert np.array_equal(recording.target("velocity")[number, :length], trial["vel"].numpy())
        assert recording.target("timestep")[number, :length].tolist() == trial["timestep"].tolist()
    assert recording.target("direction").tolist() == [4, 0]
    assert recording.trial_lengths.tolist() == [3, 2]
    assert np.isnan(recording.target("velocity")[1, 2]).all()


def test_tensors_are_read_as_torch_reads_them(reach_pickle: Any) -> None:
    base = torch.arange(24.0).view(4, 6)
    tensors = {
        "t": base.t(),
        "slice": base[1:3, ::2],
        "long": torch.arange(5),
        "scalar": base[2, 2],
        "none": base[:0],
    }
    content = load_reach_pickle(reach_pickle(tensors))
    mapping = content["data"][0].state["_store"].state["_mapping"]
    for name, tensor in tensors.items():
        assert mapping[name].dtype == tensor.numpy().dtype
        assert np.array_equal(mapping[name], tensor.numpy())


def test_the_width_of_bins_is_told_by_the_name_or_the_option(reach_pickle: Any) -> None:
    narrow = reach_pickle(stored_trial(rate_step=20.0), name="full-x-bin0.05-vel.pkl")
    assert read_recording(narrow).bin_seconds == 0.05
    assert np.array_equal(read_recording(narrow).values, read_recording(narrow, bin_seconds=0.05).values)
    with pytest.raises(InputError, match="whole numbers of spikes"):
        read_recording(narrow, bin_seconds=0.03)


def test_reach_pickles_that_contradict_themselves_are_refused(reach_pickle: Any) -> None:
    changes: dict[str, Any] = {
        "y": torch.tensor([1, 2, 1]),
        "x": torch.full((3, 2), 7.0),
        "vel": torch.zeros(4, 2),
        "timestep": 5,
    }
    for key, value in changes.items():
        with pytest.raises(InputError, match=r"reach-bin0\.10-\.pkl"):
            read_recording(reach_pickle(stored_trial() | {key: value}))
    for trials in ([stored_trial(direction=8)], [stored_trial(), stored_trial(n_units=3)], [], [{"x": 1}]):
        with pytest.raises(InputError, match=r"reach-bin0\.10-\.pkl"):
            read_recording(reach_pickle(*trials))


class Attack:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["top", "data", "storage"])
def test_a_pickle_never_runs_code(tmp_path: Path, reach_pickle: Any, protocol: int, place: str) -> None:
    witness = tmp_path / "witness"
    attacks = (
        Attack(os.system, f"touch {witness}"),
        Attack(eval, f"open({str(witness)!r}, 'w')"),
        Attack(exec, f"open({str(witness)!r}, 'w')"),
        Attack(getattr, witness, "touch"),
        Attack(torch.load, str(witness)),
    )
    path = tmp_path / "attack.pkl"
    for attack in attacks:
        payload: Any = attack
        if place == "data":
            payload = {"data": [stored_trial(), attack]}
        if place == "storage":
            payload = Attack(torch.storage._load_from_bytes, pickle.dumps(attack, protocol=protocol))
        path.write_bytes(pickle.dumps(payload, protocol=protocol))
        with pytest.raises(InputError, match=r"attack\.pkl .*refuses to run code"):
            read_recording(path)
        assert not witness.exists()


def test_the_attacks_of_these_tests_do_run_in_an_open_unpickler(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {tmp_path / 'witness'}")))
    assert (tmp_path / "witness").exists()


def test_a_pickle_cannot_change_the_stand_in_for_later_files(tmp_path: Path) -> None:
    name = b"ctorch_geometric.data.data\nData\n"
    for state in (b"}X\x05\x00\x00\x00stateK\x01s", b"N}X\x05\x00\x00\x00stateK\x01s\x86"):
        (tmp_path / "poison.pkl").write_bytes(b"\x80\x02" + name + state + b"b.")
        with pytest.raises(InputError, match=r"poison\.pkl"):
            read_recording(tmp_path / "poison.pkl")
        assert StoredObject().state is None


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    storage = pickle.loads(pickle.dumps(torch.ones(4)._typed_storage()))
    rebuild = torch._utils._rebuild_tensor_v2
    for offset, shape, stride in (
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (3, (2,), (-4,)),
    ):
        content = pickle.dumps({"data": [Attack(rebuild, storage, offset, shape, stride, False, {})]})
        (tmp_path / "long.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"long\.pkl is damaged"):
            read_recording(tmp_path / "long.pkl")


def test_a_tensor_that_lost_numbers_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.ones(4)._typed_storage(), buffer, _use_new_zipfile_serialization=False)
    lost = Attack(torch.storage._load_from_bytes, buffer.getvalue()[:-4])
    (tmp_path / "lost.pkl").write_bytes(pickle.dumps({"data": [lost]}))
    with pytest.raises(InputError, match=r"lost\.pkl is damaged.* a tensor of 4 numbers has 3"):
        read_recording(tmp_path / "lost.pkl")


def test_a_damaged_pickle_never_raises_anything_but_an_input_error(reach_pickle: Any) -> None:
    path = reach_pickle(stored_trial(2))
    content = path.read_bytes()
    for position in range(0, len(content), 31):
        for changed in (content[:position], content[:position] + b"\xff" + content[position + 1 :]):
            path.write_bytes(changed)
            read_or_refused_by_name(path)

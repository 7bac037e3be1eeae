"""Laws of force: each simulator follows its own, and a recording carries it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.data.readers import read_recording, write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.settings import Count, Settings
from motet.systems import FORCES, SYSTEMS, System, simulate
from motet.systems.laws import Law

OPTIONS = {"springs": {"engine": "numpy"}, "charged": {"engine": "numpy"}, "gravity": {"engine": "numpy"}}


def moved(name: str, **options: int) -> Recording:
    return simulate(name, **OPTIONS.get(name, {}), n_trials=8, n_bins=12, **options)[0]


@pytest.mark.parametrize("name", FORCES)
def test_a_simulated_recording_carries_its_law_through_cuts_and_files(name, tmp_path):
    recording = moved(name)
    assert Law.of(recording) == FORCES[name]
    cut = dataclasses.replace(recording.select(trials=[1, 2]).windows(4), name="mine")
    assert Law.of(cut) == FORCES[name]
    assert Law.of(read_recording(write_recording(cut, tmp_path / "cut.npz"))) == FORCES[name]


@pytest.mark.parametrize("name", ["gravity", "springs", "charged"])
def test_the_true_couplings_and_the_law_give_the_change_of_velocity(name):
    recording = moved(name, bin_seconds=0.01) if name == "gravity" else moved(name)
    law = FORCES[name]
    couplings = np.nan_to_num(law.couplings(recording))
    x = recording.values[..., :2].astype(np.float64)
    pulls = law.pull(x[:, None] - x[:, :, None], softening=0.0)
    accelerations = np.einsum("tij,tijbd->tibd", couplings, pulls)[:, :, 1:-1]
    if name == "gravity":
        measured = np.diff(x, 2, axis=2) / recording.bin_seconds**2
    else:
        v = recording.values[..., 2:].astype(np.float64)
        measured = (v[:, :, 2:] - v[:, :, :-2]) / (2 * recording.bin_seconds)
    assert np.median(np.abs(measured - accelerations)) < 0.05 * np.median(np.abs(accelerations))


@pytest.mark.parametrize("name", FORCES)
def test_pulls_stay_finite_at_no_distance(name):
    assert FORCES[name].pull(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]
    assert np.isfinite(FORCES[name].pull(np.zeros((2, 2)), softening=0.0)).all()


def test_true_couplings_that_a_recording_does_not_hold_are_refused():
    recording = moved("gravity")
    without = dataclasses.replace(recording, targets={"coupling": recording.targets["coupling"]}, target_levels={})
    with pytest.raises(InputError, match="not known: it has no target 'mass'"):
        FORCES["gravity"].couplings(without)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("gravity", "give a mapping from the fields of a Law"),
        ({"name": "x", "exponents": 2}, "did you mean 'exponent'"),
        ({"name": "x", "sign": 2}, "law.sign is 2; give 1 or -1"),
        ({"name": "x", "walls": -1}, "law.walls is -1; give a number, above 0"),
    ],
)
def test_what_is_no_law_is_refused(law, message):
    recording = Recording.from_trials(np.ones((2, 2, 3)), metadata={"law": law})
    with pytest.raises(InputError, match=message):
        Law.of(recording)


def test_a_recording_without_a_law_has_none():
    assert Law.of(Recording.from_trials(np.ones((2, 2, 3)))) is None


@dataclasses.dataclass(frozen=True)
class ToySettings(Settings):
    """Two individuals that fall toward each other."""

    n_trials: Count = 2


def test_a_system_is_one_entry_of_the_registry(monkeypatch):
    law = Law("toy", exponent=0.0, typical_coupling=2.0)

    def fall(settings: ToySettings) -> list[Recording]:
        t = np.arange(8) * 0.1
        x = np.broadcast_to(np.stack([1 - t**2, t**2 - 1])[None], (settings.n_trials, 2, 8))
        coupling = np.full((settings.n_trials, 2, 2), 2.0)
        return [Recording.from_trials(x, targets={"coupling": coupling}, bin_seconds=0.1, metadata=law.metadata)]

    monkeypatch.setitem(SYSTEMS, "toy", System("two that fall", ToySettings, fall, law))
    (recording,) = simulate("toy", n_trials=3)
    assert recording.n_trials == 3
    with pytest.raises(InputError, match="n_trials is 0; give a whole number, at least 1"):
        simulate("toy", n_trials=0)
    found = Law.of(recording)
    assert found == law
    x = recording.values.astype(np.float64)
    pulls = np.einsum(
        "tij,tijbd->tibd", found.couplings(recording), found.pull(x[:, None] - x[:, :, None], softening=0)
    )
    assert np.allclose(np.diff(x, 2, axis=2) / 0.01, pulls[:, :, 1:-1], atol=1e-4)

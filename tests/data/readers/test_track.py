"""The reader of spikes and tracked positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.readers import read_recording
from motet.data.readers.track import read_track
from motet.errors import InputError

START, RATE_HZ = 4397.0, 60.0


def walk() -> dict[str, Any]:
    """10 s of rest, 5 s to the right at 40 pixels/s, 10 s of rest, 5 s back, 10 s of rest; unit 4 fires every 0.5 s.

    Unit 1, listed after it, fires once in the middle of each run.
    """
    seconds = START + np.arange(int(40 * RATE_HZ) + 1) / RATE_HZ
    since = seconds - START
    x = 100 + 40 * (np.clip(since - 10, 0, 5) - np.clip(since - 25, 0, 5))
    often = START + np.arange(80) / 2 + 0.01
    return {
        "spike_seconds": np.concatenate([often, [START + 27.5, START + 12.5]]),
        "spike_unit": np.array([4] * 80 + [1] * 2, dtype=np.int16),
        "position_seconds": seconds,
        "position_pixels": np.stack([np.rint(x), np.full(len(x), 50)], axis=1).astype(np.uint16),
    }


def saved(folder: Path, **changed: Any) -> Path:
    np.savez(folder / "walk.npz", **(walk() | changed))
    return folder / "walk.npz"


def test_runs_are_trials_with_counts_position_and_direction(tmp_path: Path) -> None:
    recording = read_track(saved(tmp_path), subject="rat")
    assert repr(recording).startswith("Recording('walk': 2 trials × 2 individuals")
    assert recording.individual_ids == ("walk/001", "walk/004")
    assert recording.target("direction").tolist() == ["right", "left"]
    assert recording.target_levels == {"position": "bin", "direction": "trial"}
    assert np.allclose(recording.trial_start_seconds - START, [10, 25], atol=0.6)  # on the recording's own clock
    assert np.allclose(recording.trial_lengths * recording.bin_seconds, 5, atol=1)
    for trial, length in enumerate(recording.trial_lengths):
        assert recording.values[trial, 0].sum() == 1
        fired = recording.trial_start_seconds[trial] + 0.25 * recording.values[trial, 0, :, 0].argmax()
        assert fired <= START + (12.5, 27.5)[trial] < fired + 0.25
        assert recording.values[trial, 1].sum() == pytest.approx(length / 2, abs=1)
    x = recording.target("position")[0, : recording.trial_lengths[0], 0]
    at = recording.trial_start_seconds[0] - START + 0.25 * np.arange(len(x))
    assert np.allclose(x, 100 + 40 * np.clip(at + 0.125 - 10, 0, 5), atol=2.1)  # bin means, nothing smoothed


def test_what_is_not_tracked_is_unknown_and_the_run_goes_on(tmp_path: Path) -> None:
    given = walk()
    is_lost = np.abs(given["position_seconds"] - START - 12.5) < 0.3
    given["position_pixels"][is_lost, 1] = 0
    recording = read_track(saved(tmp_path, **given))
    assert recording.n_trials == 2
    lost = np.isnan(recording.target("position")[0, : recording.trial_lengths[0]])
    assert lost.all(axis=1).sum() == lost.any(axis=1).sum() == 2
    assert recording.observed[0, :, : recording.trial_lengths[0]].all()
    given["position_pixels"][:] = 0
    with pytest.raises(InputError, match="no bin is faster"):
        read_track(saved(tmp_path, **given))


def test_a_step_back_of_the_clock_leaves_out_samples_until_it_is_later(tmp_path: Path) -> None:
    given, whole = walk(), read_track(saved(tmp_path))
    for name in ("position_seconds", "position_pixels"):
        given[name] = np.insert(given[name], 700, given[name][695], axis=0)
    stepped = read_track(saved(tmp_path, **given))
    for name in ("position", "direction"):
        assert np.array_equal(stepped.target(name), whole.target(name), equal_nan=name == "position")
    given["position_seconds"] = given["position_seconds"][::-1]
    with pytest.raises(InputError, match=r"walk\.npz.*position_seconds do not increase"):
        read_track(saved(tmp_path, **given))


def test_options_say_how_it_is_cut_and_read_recording_knows_the_form(tmp_path: Path) -> None:
    whole = read_recording(saved(tmp_path), minimum_pixels_per_second=None, bin_seconds=0.5, name="w")
    assert (whole.name, whole.n_trials, whole.n_bins, whole.bin_seconds) == ("w", 1, 80, 0.5)
    assert whole.values.sum() == 82
    assert whole.target("direction").tolist() == [""]
    with pytest.raises(InputError, match="fastest has 4"):
        read_recording(saved(tmp_path), minimum_pixels_per_second=50.0)
    with pytest.raises(InputError, match="did you mean 'smoothing_seconds'"):
        read_recording(saved(tmp_path), smoothing_second=1.0)
    for options in ({"bin_seconds": 0.0}, {"bin_seconds": 100.0}, {"bin_seconds": 1e-9}, {"smoothing_seconds": -1.0}):
        with pytest.raises(InputError, match=next(iter(options))):
            read_track(saved(tmp_path), **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spike_unit": np.zeros(3)}, "one unit per spike"),
        ({"spike_unit": np.full(82, 0.5)}, "not whole numbers"),
        ({"spike_seconds": np.full(82, np.nan)}, "NaN in places"),
        ({"position_pixels": np.ones((9, 2))}, "two pixels per position"),
        ({"position_pixels": np.full(9, "a")}, "text"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(tmp_path: Path, changed: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"walk\.npz.*{message}"):
        read_recording(saved(tmp_path, **changed))

"""The reader of the sleep recording."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from motet.data.readers.sleep import read_sleep
from motet.errors import InputError


def test_a_sleep_recording_is_one_trial_with_a_state_per_bin(tmp_path: Path) -> None:
    counts, states = np.arange(12).reshape(3, 4), np.array([0.0, 1.0, 2.0, 1.0])
    np.save(tmp_path / "counts.npy", counts)
    np.save(tmp_path / "states.npy", states)
    recording = read_sleep(tmp_path / "counts.npy", tmp_path / "states.npy", name="sleep/x", subject="x")
    assert np.array_equal(recording.values[0, :, :, 0], counts)
    assert recording.target("state").tolist() == [[0, 1, 2, 1]]
    assert recording.target("state").dtype == np.int64
    assert recording.target_levels["state"] == "bin"
    assert recording.bin_seconds == 4.0


def test_sleep_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", np.ones((3, 4)))
    for states in (np.zeros(5), np.full(4, 3), np.full(4, 0.5)):
        np.save(tmp_path / "states.npy", states)
        with pytest.raises(InputError, match=r"states\.npy"):
            read_sleep(tmp_path / "counts.npy", tmp_path / "states.npy")
    (tmp_path / "states.npy").write_bytes(io.BytesIO(b"\x93NUMPY").getvalue())
    with pytest.raises(InputError, match="damaged"):
        read_sleep(tmp_path / "counts.npy", tmp_path / "states.npy")

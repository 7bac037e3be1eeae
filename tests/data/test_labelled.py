"""A recording goes out as a table or a labelled dataset, and comes back as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.readers import read_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import UNKNOWN_INTEGER

pandas = pytest.importorskip("pandas")


def example(n_features: int = 1, **targets: Any) -> Recording:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 3, 5, n_features)).astype(np.float32)
    values[1, :, 3:] = np.nan
    values[2, 0] = np.nan
    return Recording.from_trials(
        values,
        targets={
            "side": np.array(["left", "right", "left", ""]),
            "go": np.array([3, UNKNOWN_INTEGER, 4, 4]),
            "hand": rng.normal(size=(4, 5, 2)),
            "phase": np.arange(20).reshape(4, 5),
            "area": np.array([["M1", "M1", "S1"]] * 4),
            **targets,
        },
        target_levels={"hand": "bin", "phase": "bin"},
        bin_seconds=0.25,
        trial_start_seconds=np.array([3.0, 9.0, 20.0, 31.0]),
        trial_ids=[7, 3, 5, 6],
        individual_ids=list("uvw"),
        name="m1",
        subject="rex",
    )


def assert_same(found: Recording, recording: Recording, fields: tuple[str, ...]) -> None:
    for field in (*fields, "individual_ids", "target_levels", "values", "observed", "trial_ids", "trial_start_seconds"):
        np.testing.assert_array_equal(getattr(found, field), getattr(recording, field))
    for name, target in recording.targets.items():
        assert found.target(name).dtype.kind == target.dtype.kind
        np.testing.assert_array_equal(found.target(name), target)


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_dataset_of_xarray_comes_back_as_it_was(tmp_path: Path, n_features: int, through_a_file: bool) -> None:
    pytest.importorskip("xarray")
    rng = np.random.default_rng(1)
    recording = example(n_features, linked=rng.integers(0, 2, (4, 3, 3)), pull=rng.normal(size=(4, 3, 3, 2)))
    dataset = recording.to_xarray()
    if through_a_file:
        pytest.importorskip("h5netcdf")
        dataset.to_netcdf(tmp_path / "m1.nc", engine="h5netcdf")
        assert_same(read_recording(tmp_path / "m1.nc"), recording, ("name",))
    else:
        assert_same(read_recording(dataset), recording, ("name", "subject", "bin_seconds"))
        assert set(read_recording(dataset, targets=["side"]).targets) == {"side"}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_table_of_a_recording_is_read_as_it_was(library: str) -> None:
    frames = pytest.importorskip(library)
    recording = example()
    table = recording.to_table()
    assert list(table) == [
        "trial", "individual", "time", "value", "side", "go", "hand_0", "hand_1", "phase", "area",
    ]  # fmt: skip
    found = read_recording(frames.DataFrame(table), targets=["side", "phase", "area", "hand_0", "hand_1", "go"])
    kept = ["side", "area", *(["go"] if library == "polars" else [])]  # pandas has no whole numbers with gaps
    assert {name: found.target_levels[name] for name in ("side", "go", "phase", "area", "hand_0")} == {
        "side": "trial", "go": "trial", "phase": "bin", "area": "individual", "hand_0": "bin",
    }  # fmt: skip
    of_both = [
        dataclasses.replace(
            one, targets={n: one.targets[n] for n in kept}, target_levels={n: one.target_levels[n] for n in kept}
        )
        for one in (found, recording)
    ]
    assert_same(*of_both, ())
    seen = recording.bin_is_observed
    assert np.array_equal(found.target("phase")[seen], recording.target("phase")[seen])
    assert np.array_equal(found.target("hand_1")[seen], recording.target("hand")[seen, 1])


def test_windows_have_a_column_of_their_own_and_pairs_none() -> None:
    windows = example(linked=np.ones((4, 3, 3), dtype=int)).windows(3)
    table = windows.to_table()
    assert "linked" not in table
    assert len(np.unique(table["window"])) == windows.n_trials


def test_names_that_would_be_given_twice_are_refused() -> None:
    with pytest.raises(InputError, match="a second column 'time'"):
        example(time=np.arange(4)).to_table()
    pytest.importorskip("xarray")
    with pytest.raises(InputError, match="a target is called 'time'"):
        example(time=np.arange(4)).to_xarray()

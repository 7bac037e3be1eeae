"""Columns are claimed: a label is never an input, and what nobody claims is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.readers import read_recording
from motet.data.readers.tables import claim
from motet.data.readers.trajectories import from_xarray
from motet.errors import InputError
from motet.given import is_known


def table(path: Path, header: str, cell: Any, *, n_trials: int = 4, individuals: str = "ab", n_bins: int = 3) -> Path:
    """A table of trial, individual, time, count and what `cell(trial, individual, bin)` gives."""
    rows = [f"trial,individual,time,count,{header}"]
    for trial in range(n_trials):
        for place, individual in enumerate(individuals):
            rows += [f"{trial},{individual},{t * 0.1:.1f},{t + place},{cell(trial, place, t)}" for t in range(n_bins)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    "names",
    [
        "x", "x y", "X Y Z", "x y z vx vy vz", "x ax", "cos sin", "cos sin rate", "feature_0", "feature_0 feature_12",
        "count", "Counts", "spikes", "value",
    ],
)  # fmt: skip
def test_coordinates_and_counts_are_features_by_their_names(names: str) -> None:
    assert claim(names.split(), features=None, targets=None, known_targets=(), source="a") == (names.split(), [])


@pytest.mark.parametrize(
    "names",
    [
        "choice", "count choice", "count x", "x y cos", "value spikes", "x label", "feature_0 x", "feature_a",
        "count outcome_value", "system_x", "xx", "reward",
    ],
)  # fmt: skip
def test_any_other_column_is_refused_by_name(names: str) -> None:
    with pytest.raises(InputError, match="may be inputs or labels") as refusal:
        claim(names.split(), features=None, targets=None, known_targets=(), source="a")
    assert all(repr(name) in str(refusal.value) for name in names.split())


def test_the_refusal_names_options_that_read_the_table(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "choice", lambda trial, place, t: trial % 2)
    with pytest.raises(InputError, match=r"features=\['count'\], targets=\['choice'\]"):
        read_recording(path)
    recording = read_recording(path, features=["count"], targets=["choice"])
    assert (recording.n_features, recording.target_levels) == (1, {"choice": "trial"})
    assert read_recording(path, targets=["choice"]).target("choice").tolist() == [0, 1, 0, 1]
    assert read_recording(path, features=["count"]).targets == {}


def test_targets_are_exactly_those_named(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "mass,choice", lambda trial, place, t: f"{place + 1},{trial % 2}")
    assert set(read_recording(path, features=["count"]).targets) == {"mass"}
    assert set(read_recording(path, features=["count"], targets=["choice"]).targets) == {"choice"}
    assert set(read_recording(path, targets=["choice", "mass"]).targets) == {"choice", "mass"}
    with pytest.raises(InputError, match=r"'count', 'mass' may be inputs or labels"):
        read_recording(path, targets=["choice"])
    assert read_recording(path, features=["count"], targets=[]).targets == {}


@pytest.mark.parametrize(
    ("cell", "level", "expected"),
    [
        (lambda trial, place, t: ["left", "right"][trial % 2], "trial", np.array(["left", "right"] * 2)),
        (lambda trial, place, t: trial * 10, "trial", np.array([0, 10, 20, 30])),
        (lambda trial, place, t: trial / 2, "trial", np.array([0.0, 0.5, 1.0, 1.5])),
        (lambda trial, place, t: f"0{trial}", "trial", np.array(["00", "01", "02", "03"])),
        (lambda trial, place, t: trial if trial == 2 or t == 1 else "", "trial", np.array([0, 1, 2, 3])),
        (lambda trial, place, t: "ex" if place else "in", "individual", np.array([["in", "ex"]] * 4)),
        (lambda trial, place, t: place + trial, "individual", np.arange(2) + np.arange(4)[:, None]),
        (lambda trial, place, t: t + trial, "bin", np.arange(3) + np.arange(4)[:, None]),
        (lambda trial, place, t: t / 4, "bin", np.array([[0.0, 0.25, 0.5]] * 4)),
        (lambda trial, place, t: "run" if t else "rest", "bin", np.array([["rest", "run", "run"]] * 4)),
    ],
)  # fmt: skip
def test_a_target_is_of_the_most_general_level_that_it_is_constant_in(
    tmp_path: Path, cell: Any, level: str, expected: Any
) -> None:
    recording = read_recording(table(tmp_path / "a.csv", "goal", cell), targets=["goal"])
    assert recording.target_levels == {"goal": level}
    assert recording.target("goal").dtype.kind == expected.dtype.kind
    assert recording.target("goal").tolist() == expected.tolist()


@pytest.mark.parametrize("cells", [["1", "NA"], ["left", ""], ["0.5", "nan"], ["-3", "null"]])
def test_unknown_cells_are_unknown_labels(tmp_path: Path, cells: list[str]) -> None:
    path = table(tmp_path / "a.csv", "goal", lambda trial, place, t: cells[trial % 2])
    found = read_recording(path, targets=["goal"]).target("goal")
    assert is_known(found).tolist() == [True, False] * 2
    assert str(found[0]) == cells[0]


def test_a_bin_without_rows_has_no_label(tmp_path: Path) -> None:
    lines = ["individual,time,x,phase", "a,0,1,7", "b,0.01,1,7", "a,1,1,8", "a,3,1,9", "b,4,1,9"]
    (tmp_path / "gaps.csv").write_text("\n".join(lines) + "\n")
    recording = read_recording(tmp_path / "gaps.csv", targets=["phase"], bin_seconds=1.0)
    assert is_known(recording.target("phase")).tolist() == [[True, True, False, True, True]]
    assert recording.target("phase")[0, [0, 1, 3, 4]].tolist() == [7, 8, 9, 9]


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (lambda trial, place, t: t * place, {}, r"line [0-9]+: target 'goal' differs between individuals at one time"),
        (lambda trial, place, t: "inf" if t else 1.5, {}, "line 3: column 'goal' is infinite"),
        (
            lambda trial, place, t: t,
            {"resample_seconds": 0.05, "longest_gap_seconds": 1.0},
            "differs within a trial, and cannot be resampled",
        ),
        (lambda trial, place, t: t, {"features": ["count", "goal"]}, "'goal' is in both features and targets"),
    ],
)
def test_a_target_of_no_level_is_refused(tmp_path: Path, cell: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recording(table(tmp_path / "a.csv", "goal", cell), targets=["goal"], **options)


def test_targets_per_pair_belong_in_a_table_of_pairs(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "coupling", lambda trial, place, t: 1)
    with pytest.raises(InputError, match=r"'coupling' is of pairs; .*<stem>\.pairs\.csv"):
        read_recording(path, targets=["coupling"])


def labelled() -> Any:
    xarray = pytest.importorskip("xarray")
    return xarray.Dataset(
        {
            "x": (("trial", "individual", "time"), np.arange(24.0).reshape(2, 3, 4)),
            "velocity": (("time", "trial", "space"), np.arange(16.0).reshape(4, 2, 2)),
            "state": ("time", ["run", "rest", "rest", "run"]),
            "area": ("individual", np.array(["M1", None, "PMd"], dtype=object)),
            "distance": (("individual", "individual_2"), np.ones((3, 3))),
            "place": (("individual", "space"), np.ones((3, 2))),
        },
        coords={"choice": ("trial", [b"left", b"right"]), "session": "s1", "time": np.arange(4) * 0.5},
    )


def test_variables_of_a_dataset_are_claimed_like_columns() -> None:
    data = labelled()
    with pytest.raises(InputError, match="'choice'.* may be inputs or labels"):
        from_xarray(data)
    goals = ["choice", "velocity", "state", "area", "distance", "place", "session"]
    recording = from_xarray(data, features=["x"], targets=goals)
    assert recording.target_levels == {
        "choice": "trial", "velocity": "bin", "state": "bin", "area": "individual", "distance": "pair",
        "place": "individual", "session": "trial",
    }  # fmt: skip
    assert recording.target("choice").tolist() == ["left", "right"]
    assert recording.target("area").tolist() == [["M1", "", "PMd"]] * 2
    assert recording.target("velocity")[1, 2].tolist() == data["velocity"].values[2, 1].tolist()
    assert recording.target("state").tolist() == [["run", "rest", "rest", "run"]] * 2
    assert from_xarray(data["x"].drop_vars("choice")).targets == {}


def test_targets_per_bin_keep_to_their_stamps() -> None:
    data = labelled()[["x", "state"]].drop_vars("choice").assign_coords(time=[0.0, 0.5, 1.5, 1.0])
    data = data.isel(time=[0, 1, 2])
    recording = from_xarray(data, targets=["state"], features=["x"])
    assert recording.target("state").tolist() == [["run", "rest", "", "rest"]] * 2
    with pytest.raises(InputError, match="'state' is per bin, and cannot be resampled"):
        from_xarray(data, targets=["state"], features=["x"], resample_seconds=0.1, longest_gap_seconds=1.0)

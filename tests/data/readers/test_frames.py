"""Tables of pandas and polars, long and wide, are read as their text is, and what nobody claims is no input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.readers import frames, read_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
MADE_BY_PANDAS = Path(__file__).parents[2] / "fixtures" / "pandas-3.1.1-pyarrow-26.0.1.parquet"


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files here, for speed."""
    monkeypatch.setattr(frames, "in_subprocess", lambda read, path: read(path))


def long_columns(n_trials: int = 6, individuals: str = "ab", n_bins: int = 4) -> dict[str, Any]:
    trial, individual, time = (axis.ravel() for axis in np.indices((n_trials, len(individuals), n_bins)))
    rng = np.random.default_rng(0)
    return {
        "trial": trial,
        "individual": np.array(list(individuals))[individual],
        "time": time * 0.1,
        "count": rng.poisson(3, trial.size),
        "choice": np.array(["left", "right"])[trial % 2],
        "contrast": trial / 4,
        "block": trial // 2,
        "mood": np.array(["dull", "gay"])[time % 2],
    }


def wide_columns(n_rows: int = 12) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "time": np.arange(n_rows) * 0.5,
        **{f"unit_{unit}": rng.poisson(2, n_rows) for unit in range(3)},
        "speed": rng.normal(size=n_rows),
        "state": np.array(["run", "rest"])[np.arange(n_rows) // 3 % 2],
    }


def assert_same(first: Recording, second: Recording) -> None:
    for field in ("individual_ids", "bin_seconds", "target_levels"):
        assert getattr(first, field) == getattr(second, field)
    for field in ("values", "observed", "trial_ids", "trial_start_seconds"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    for name, target in first.targets.items():
        assert target.dtype.kind == second.target(name).dtype.kind
        np.testing.assert_array_equal(target, second.target(name))


@pytest.mark.parametrize(
    ("columns", "targets"),
    [(long_columns(), ["choice", "contrast", "block", "mood"]), (wide_columns(), ["speed", "state"])],
    ids=["long", "wide"],
)
def test_a_table_is_the_same_recording_from_pandas_polars_text_and_parquet(
    in_this_process: None, tmp_path: Path, columns: dict[str, Any], targets: list[str]
) -> None:
    made = pandas.DataFrame(columns), polars.DataFrame(columns)
    made[0].to_csv(tmp_path / "a.csv", index=False)
    made[1].write_parquet(tmp_path / "a.parquet")
    made[1].write_ipc(tmp_path / "a.feather")
    text = read_recording(tmp_path / "a.csv", targets=targets)
    assert text.n_individuals == (2 if "individual" in columns else 3)
    indexed = made[0].set_index([name for name in ("trial", "individual", "time") if name in columns])
    for source in (*made, made[1].lazy(), indexed, tmp_path / "a.parquet", tmp_path / "a.feather"):
        assert_same(read_recording(source, targets=targets), text)


def test_a_parquet_file_of_pandas_keeps_its_index() -> None:
    recording = read_recording(MADE_BY_PANDAS, targets=["state"])
    assert (recording.individual_ids, recording.n_bins, recording.bin_seconds) == (("unit_0", "unit_1"), 5, 0.25)
    assert recording.values[0, 1, :, 0].tolist() == [0, 3, 0, 1, 2]
    assert recording.observed[0, 1].tolist() == [True, True, False, True, True]
    assert recording.target("state")[0].tolist() == ["a", "a", "", "b", "b"]


@pytest.mark.parametrize(
    ("cells", "kind", "known"),
    [
        (pandas.array([3, None, 4, 4], dtype="Int64"), "i", [True, False, True, True]),
        (pandas.array(["u", None, "v", "v"], dtype="string"), "U", [True, False, True, True]),
        (pandas.Categorical(["u", "u", None, "v"]), "U", [True, True, False, True]),
        (pandas.Categorical([3, 3, 4, 4]), "i", [True] * 4),
        ([0.5, np.nan, 2.0, 2.0], "f", [True, False, True, True]),
        ([True, False, True, True], "U", [True] * 4),
        (polars.Series([3, None, 4, 4]), "i", [True, False, True, True]),
        (polars.Series(["u", None, "v", "v"], dtype=polars.Categorical), "U", [True, False, True, True]),
    ],
)
def test_cells_of_every_kind_are_labels_of_their_kind(cells: Any, kind: str, known: list[bool]) -> None:
    columns = {"n_0": [1, 2, 3, 4], "n_1": [0, 0, 1, 1], "goal": cells}
    frame = polars.DataFrame(columns) if isinstance(cells, polars.Series) else pandas.DataFrame(columns)
    target = read_recording(frame, targets=["goal"], bin_seconds=1.0).target("goal")[0]
    assert target.dtype.kind == kind
    assert is_known(target).tolist() == known


@pytest.mark.parametrize(
    "time",
    [
        pandas.date_range("2026-01-01", periods=12, freq="500ms", tz="Europe/Paris"),
        pandas.timedelta_range("7s", periods=12, freq="500ms"),
        pandas.Index(np.arange(12) * 0.5),
        np.arange(12) * 0.5,
    ],
)
def test_dates_durations_and_an_index_of_stamps_are_the_time(time: Any) -> None:
    columns = {name: column for name, column in wide_columns().items() if name != "time"}
    frame = pandas.DataFrame(columns)
    frame = frame.set_index(time) if isinstance(time, pandas.Index) else frame.assign(time=time)
    recording = read_recording(frame, targets=["speed", "state"])
    assert (recording.bin_seconds, recording.n_bins, recording.n_trials) == (0.5, 12, 1)


def test_individuals_of_a_wide_table_are_named_by_pattern_and_others_are_not_read() -> None:
    frame = pandas.DataFrame(wide_columns())
    recording = read_recording(frame, individuals=["unit_2", "unit_[01]"], targets=["state"], name="m1")
    assert (recording.name, recording.individual_ids) == ("m1", ("unit_0", "unit_1", "unit_2"))
    assert set(recording.targets) == {"state"}
    assert np.array_equal(recording.values[0, 2, :, 0], frame["unit_2"])


def test_several_columns_are_one_target_by_its_name(tmp_path: Path) -> None:
    columns = {**wide_columns(), "vx": np.arange(12) / 4, "vy": np.zeros(12, dtype=int)}
    frame = pandas.DataFrame(columns)
    targets = {"velocity": ["vx", "vy"], "how": "state"}
    recording = read_recording(frame, individuals=["unit_*"], targets=targets)
    assert recording.target_levels == {"velocity": "bin", "how": "bin"}
    assert np.array_equal(recording.target("velocity")[0], frame[["vx", "vy"]])
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert_same(read_recording(tmp_path / "a.csv", individuals=["unit_*"], targets=targets), recording)
    for wrong, said in (
        ({"velocity": ["vx", "vz"]}, "unknown target"),
        ({"v": ["vx", "state"]}, "has text"),
    ):
        with pytest.raises(InputError, match=said):
            read_recording(frame, individuals=["unit_*"], targets=wrong)


def test_rows_without_a_time_follow_each_other_in_their_trials() -> None:
    columns = {"trial": ["b", "a", "b", "a", "a"], "n_0": [1, 10, 2, 20, 30], "n_1": [0] * 5, "goal": list("xyxyy")}
    recording = read_recording(pandas.DataFrame(columns), targets=["goal"], bin_seconds=0.2)
    assert recording.trial_ids.tolist() == ["b", "a"]
    assert recording.trial_lengths.tolist() == [2, 3]
    assert recording.values[1, 0, :, 0].tolist() == [10, 20, 30]
    assert recording.target_levels == {"goal": "trial"}


def test_a_column_that_nobody_claims_is_never_an_individual() -> None:
    for behaviour in ("speed", "x", "choice_1"):
        frame = pandas.DataFrame({"n_0": [1, 2], "n_1": [0, 1], behaviour: [0.5, 0.7]})
        with pytest.raises(InputError, match=rf"individuals=\['n_\*'\], targets=\[…\] \(which may be '{behaviour}'\)"):
            read_recording(frame, bin_seconds=1.0)


def test_time_is_converted_where_its_unit_is_said() -> None:
    frame = pandas.DataFrame(wide_columns())
    frame["time_ms"] = 1000 * frame.pop("time")
    options: dict[str, Any] = {"columns": {"time": "time_ms"}, "targets": ["speed", "state"]}
    with pytest.raises(InputError, match=r"is called 'time_ms', and motet counts seconds; say seconds_per_unit=0\.001"):
        read_recording(frame, **options)
    assert read_recording(frame, seconds_per_unit=0.001, **options).bin_seconds == 0.5


def wide(**others: Any) -> Any:
    return pandas.DataFrame({**wide_columns(), **others})


@pytest.mark.parametrize(
    ("frame", "options", "said"),
    [
        (wide(), {"targets": ["sped", "state"]}, "unknown target .* 'sped'; did you mean 'speed'"),
        (wide(), {"individuals": ["units_*"]}, r"unknown column of individuals 'units_\*'"),
        (wide(), {"individuals": "unit_*"}, "individuals is 'unit_.*give a list"),
        (wide(), {"individuals": ["unit_*", "speed"], "targets": ["speed"]}, "'speed' is an individual, and"),
        (wide(), {"individuals": ["unit_*"], "features": ["speed"]}, "both individuals and features"),
        (pandas.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]), {}, "two columns for 'a'"),
        (pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("a", 1), ("a", 2)])), {}, "2 levels"),
        (wide(time=[0, 1, 2, 3, 4.4] + [5] * 7), {"targets": ["speed", "state"]}, "two samples for one time"),
        (wide(time=np.arange(12) ** 1.5), {"targets": ["speed", "state"]}, "row [0-9]+: .*whole steps are expected"),
        (wide(time=np.nan), {"targets": ["speed", "state"]}, "row 0: column 'time' is empty"),
        (wide(unit_1=np.inf), {"targets": ["speed", "state"]}, "row 0: column 'unit_1' is infinite"),
        (wide(unit_1=["n/a"] * 12), {"targets": ["speed", "state"]}, "row 0: column 'unit_1' holds 'n/a'; give a n"),
        (wide(unit_1=[[1, 2]] * 12), {"targets": ["speed", "state"]}, "unit_1"),
        (wide(unit_1=1j), {"targets": ["speed", "state"]}, "unit_1"),
        (wide()[:0], {"targets": ["speed", "state"]}, "0 rows"),
        (pandas.DataFrame(), {}, "0 rows"),
        (polars.DataFrame(), {}, "0 rows"),
        (wide().drop(columns="time"), {"targets": ["speed", "state"]}, "no column 'time'.*bin_seconds=…"),
        (wide(), {"colums": {}}, "unknown option for a DataFrame 'colums'; did you mean 'columns'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_name(frame: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        read_recording(frame, **options)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + bytes(80) + b"PAR1", b"ARROW1\0\0" + bytes(40), b"", None])
@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_a_columnar_file_that_is_cut_short_is_refused_by_name(
    in_this_process: None, tmp_path: Path, content: bytes | None, ending: str
) -> None:
    path = tmp_path / f"cut{ending}"
    path.write_bytes(MADE_BY_PANDAS.read_bytes()[:-50] if content is None else content)
    with pytest.raises(InputError, match="cut"):
        read_recording(path)


def test_an_object_of_no_known_form_is_refused() -> None:
    for source in (np.ones((2, 3)), [1], object()):
        with pytest.raises(InputError, match="give the path of a file or folder, a DataFrame"):
            read_recording(source)


def test_xarray_objects_come_through_the_same_door() -> None:
    xarray = pytest.importorskip("xarray")
    data = xarray.Dataset(
        {"count": (("individual", "time", "trial"), np.arange(24.0).reshape(2, 3, 4)), "side": ("trial", list("lrlr"))},
        coords={"time": [0.0, 0.1, 0.2]},
    )
    recording = read_recording(data, targets=["side"], name="labelled")
    assert (recording.values.shape, recording.target_levels) == ((4, 2, 3, 1), {"side": "trial"})
    assert recording.target("side").tolist() == list("lrlr")

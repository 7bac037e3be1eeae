"""What users hand over, of every kind, becomes plain arrays or is refused."""

from __future__ import annotations

import datetime
import decimal
import fractions

import numpy as np
import pytest
import torch

from motet.errors import InputError
from motet.given import UNKNOWN_INTEGER, in_order, is_known, labels, names, numbers, on_axes, trial_names

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")

NAN = float("nan")
BIG = 2**53 + 1  # the first whole number that float64 does not hold
MASKED = np.ma.masked_equal


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *[(np.array([1, 0, 3], dtype), [1, 0, 3]) for dtype in ("i1", ">i2", "<u4", ">f4", "f2", "g", ">f8")],
        ([True, False], [1, 0]),
        ((1, None, 2.5), [1, NAN, 2.5]),
        ([decimal.Decimal("0.5"), fractions.Fraction(1, 4), np.float16(2), None], [0.5, 0.25, 2, NAN]),
        (MASKED(np.array([1, 2, 99], dtype="u1"), 99), [1, 2, NAN]),
        (MASKED([[1.0, 9.0]], 9.0), [[1, NAN]]),
        ([MASKED([1, 9], 9), MASKED([2, 3], 9)], [[1, NAN], [2, 3]]),
        (([MASKED([1, 9], 9)], [np.array([9, 3])]), [[[1, NAN]], [[9, 3]]]),
        (pandas.Series([1, None], dtype="Int8"), [1, NAN]),
        (pandas.Series([0.5, None], dtype="Float32", index=[7, 8]), [0.5, NAN]),
        (pandas.DataFrame({"a": [1, 2], "b": [0.5, None]}), [[1, 0.5], [2, NAN]]),
        (pandas.array([True, None], dtype="boolean"), [1, NAN]),
        (xarray.DataArray([1, 2]), [1, 2]),
        (torch.tensor([1, 2]), [1, 2]),
        (3, 3),
        (np.array([None, 2], dtype=object), [NAN, 2]),
        ([1, pandas.NA, 3], [1, NAN, 3]),
        ([], []),
    ],
)
def test_numbers_of_every_kind_are_float64_with_nan_for_what_is_missing(given, expected):
    found = numbers(given, what="values")
    assert found.dtype == np.float64
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("given", "expected", "known"),
    [
        ([True, False], np.array([True, False]), None),
        ([True, None], np.array([1, UNKNOWN_INTEGER]), [1, 0]),
        (np.array([3, 4], ">u2"), np.array([3, 4]), None),
        ([BIG, None, -1], np.array([BIG, UNKNOWN_INTEGER, -1]), [1, 0, 1]),
        (np.array([BIG, 5], np.uint64), np.array([BIG, 5]), None),
        (MASKED(np.array([BIG, 5], np.uint64), 5), np.array([BIG, UNKNOWN_INTEGER]), [1, 0]),
        (MASKED(np.array([2**64 - 1, 5], np.uint64), 2**64 - 1), np.array([UNKNOWN_INTEGER, 5]), [0, 1]),
        (pandas.Series([BIG, None], dtype="Int64"), np.array([BIG, UNKNOWN_INTEGER]), [1, 0]),
        (["left", None, NAN], np.array(["left", "", ""]), [1, 0, 0]),
        ([b"left", "right", pandas.NA], np.array(["left", "right", ""]), [1, 1, 0]),
        (np.array([b"a", "ä".encode()]), np.array(["a", "ä"]), None),
        (np.array(["a", "b"], dtype=">U3"), np.array(["a", "b"]), None),
        (np.array(["a", "b"], dtype=np.dtypes.StringDType()), np.array(["a", "b"]), None),
        (MASKED(["a", "b"], "b"), np.array(["a", ""]), [1, 0]),
        (pandas.Series(["a", None], dtype="category"), np.array(["a", ""]), [1, 0]),
        (pandas.Series(["a", None], dtype="string"), np.array(["a", ""]), [1, 0]),
        (pandas.Categorical([3, 1]), np.array([3, 1]), None),
        ([0.5, None], np.array([0.5, NAN]), [1, 0]),
        (np.array([0.5, 1.5], np.longdouble), np.array([0.5, 1.5]), None),
        ([None, None], np.array([NAN, NAN]), [0, 0]),
        ([["a", "b"], ["c", None]], np.array([["a", "b"], ["c", ""]]), [[1, 1], [1, 0]]),
    ],
)
def test_labels_of_every_kind_keep_what_they_are_and_mark_what_is_unknown(given, expected, known):
    found = labels(given, what="target")
    assert found.dtype.kind == expected.dtype.kind
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(is_known(found), np.ones(found.shape) if known is None else known)


@pytest.mark.parametrize("read", [numbers, labels])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.ones(2) + 1j, "complex128"),
        ([1, 2j], "complex"),
        (np.array([1j, None], dtype=object), "complex"),
        (np.array(["2020"], "M8[D]"), "datetime64"),
        (np.array([3], "m8[s]"), "timedelta64"),
        (pandas.Series(pandas.to_datetime(["2020-01-01"])), "datetime64"),
        (pandas.Series(pandas.to_datetime(["2020-01-01"], utc=True)), "Timestamp"),
        ([datetime.date(2020, 1, 1)], "a date"),
        (np.zeros(2, dtype=[("a", int)]), r"\[\('a'"),
        (np.zeros(2, dtype="V4"), "V4"),
        (np.array([2**63], np.uint64), "9223372036854775808"),
        ([2**63, -1], "more than 64 bits"),
        ([10**400], "bits|integer"),
        (["a", 1], "text"),
        ([1, "a"], "text"),
        ([[1, 2], [3]], "one of a single shape"),
        ([{}, None], "a dict"),
        (object(), "a object"),
        ([b"\xff"], "text"),
    ],
)
def test_what_has_no_place_on_a_line_is_refused(read, given, words):
    with pytest.raises(InputError, match=f"^what it is.*{words}"):
        read(given, what="what it is")


@pytest.mark.parametrize("given", [["1", "2"], np.array([b"1"]), "1", [None, "3"]])
def test_text_is_no_number(given):
    with pytest.raises(InputError, match="text such as .* where numbers are wanted"):
        numbers(given, what="values")


def test_what_was_given_is_never_changed():
    given = np.ma.masked_equal([1.0, 9.0], 9.0)
    assert np.isnan(numbers(given, what="values")[1])
    assert given.data.tolist() == [1.0, 9.0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([b"a", b"b"]), ("a", "b")),
        (["ä", b"\xc3\xa4"], ("ä", "ä")),
        ([7, 3.0, np.int8(2), np.float32(0.5), True], ("7", "3.0", "2", "0.5", "True")),
        (np.arange(2.0), ("0.0", "1.0")),
        (pandas.Index(["x", "y"]), ("x", "y")),
        (pandas.Series(["x", "y"], index=[4, 5]), ("x", "y")),
        (range(2), ("0", "1")),
        ((name for name in "ab"), ("a", "b")),
        ({"u": "x", "v": "y"}, ("x", "y")),
    ],
)
def test_names_are_text_as_they_are_written(given, expected):
    assert names(given, what="ids") == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("abc", "the one text 'abc'"),
        (["a", None], "missing"),
        (["a", NAN], "missing"),
        (np.ma.masked_equal(["a", "b"], "b"), "missing"),
        ([b"\xff"], "UTF-8"),
        ([("a",)], "a tuple"),
        (5, "a int"),
        (np.array(["2020"], "M8[D]"), "a date"),
    ],
)
def test_what_is_no_name_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        names(given, what="ids")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([3, 1], ">i2"), [3, 1]),
        (["3", "-1"], [3, -1]),
        ([b"3", 1], [3, 1]),
        (["3.0", "1"], ["3.0", "1"]),
        ([3.0, 1.0], ["3.0", "1.0"]),
        (["007", "1"], ["007", "1"]),
        (["-0", "1"], ["-0", "1"]),
        (["9" * 30, "1"], ["9" * 30, "1"]),
    ],
)
def test_names_of_trials_are_whole_numbers_only_where_nothing_is_lost(given, expected):
    assert trial_names(given, what="trial_ids").tolist() == expected


def test_containers_are_walked_first_to_last():
    expected = [[1], [2]]
    for container in (
        [[1], [2]],
        {9: [1], 3: [2]},
        ([n] for n in (1, 2)),
        pandas.Series([[1], [2]], index=[951, 953]),
        np.array([[1], [2]]),
        pandas.DataFrame([[1], [2]], index=[5, 4]),
    ):
        assert [list(member) for member in in_order(container, what="units")] == expected
    for wrong in ("text", b"text", 3, None, np.float64(2), np.array(3), xarray.Dataset({"a": ("x", [1])})):
        with pytest.raises(InputError, match="^units"):
            in_order(wrong, what="units")


def test_named_axes_are_put_in_order_and_strange_ones_refused():
    cube = np.arange(24).reshape(2, 3, 4)
    array = xarray.DataArray(cube, dims=("time", "trial", "individual"))
    axes = ("trial", "individual", "time")
    np.testing.assert_array_equal(on_axes(array, axes, what="values"), cube.transpose(1, 2, 0))
    nameless = xarray.DataArray(cube)
    np.testing.assert_array_equal(on_axes(nameless, axes, what="values"), cube)
    assert on_axes(cube, axes, what="values") is cube
    strange = xarray.DataArray(cube, dims=("unit", "trial", "individual"))
    with pytest.raises(InputError, match=r"values: .*'unit' is none of trial, individual, time; rename it"):
        on_axes(strange, axes, what="values")
    np.testing.assert_array_equal(on_axes(strange, axes, what="values", others=True), cube.transpose(1, 2, 0))
    frame = pandas.DataFrame(cube[0], index=pandas.Index(range(3), name="time"))
    np.testing.assert_array_equal(on_axes(frame, axes, what="values"), cube[0].T)

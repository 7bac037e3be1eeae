"""The one door: whatever a user hands over, as plain arrays.

Numbers become float64 with NaN where unknown; labels become bool, int64 or text (or float64, where they are floats)
with one value of each kind for unknown, which `is_known` knows; names become text. Masks, None, NaN and the NA of
pandas are what is unknown. Byte order, precision and container never matter; what has no place on a line is refused.
"""

from __future__ import annotations

import numbers as abstract
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError

UNKNOWN_INTEGER = int(np.iinfo(np.int64).min)  # in integer labels, as NaT is in dates
AXES = ("trial", "individual", "time", "feature")

_LARGEST = int(np.iinfo(np.int64).max)
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")


def numbers(given: Any, *, what: str) -> NDArray[np.float64]:
    """Numbers of any type and container as float64, NaN where they are masked or missing.

    Example:
        >>> numbers(np.ma.masked_greater([1, 2, 999], 100), what="values")
        array([ 1.,  2., nan])
    """
    array, is_missing = _plain(given, what)
    if array.dtype.kind == "U":
        raise InputError(f"{what}: text such as {array.ravel()[:1].tolist()} where numbers are wanted; give numbers.")
    with np.errstate(over="ignore"):
        floats = array.astype(np.float64, copy=False)
    return floats if is_missing is None else np.where(is_missing, np.nan, floats)


def labels(given: Any, *, what: str) -> NDArray[Any]:
    """Labels as bool, int64, text or float64, unknown where they are masked or missing (see `is_known`).

    Booleans of which some are missing become integers.

    Example:
        >>> labels([b"left", None, "right"], what="target")
        array(['left', '', 'right'], dtype='<U5')
        >>> is_known(labels([3, None], what="target"))
        array([ True, False])
    """
    array, is_missing = _plain(given, what)
    if is_missing is None or not is_missing.any():
        return array
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    return np.where(is_missing, np.asarray(unknown(array.dtype), dtype=array.dtype), array)


def unknown(dtype: np.dtype[Any]) -> Any:
    """What stands for unknown in labels of a type: NaN, the least integer, or no text. Booleans have none."""
    return {"f": np.nan, "i": UNKNOWN_INTEGER, "U": ""}[dtype.kind]


def is_known(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which labels, or numbers, are known."""
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    if labels.dtype.kind == "b":
        return np.ones(labels.shape, dtype=bool)
    return np.asarray(labels != unknown(labels.dtype))


def names(given: Any, *, what: str) -> tuple[str, ...]:
    """Names as text: bytes are decoded, numbers are as they are written.

    Example:
        >>> names(np.array([b"left", b"right"]), what="individual_ids")
        ('left', 'right')
        >>> names([7, 3.0], what="trial_ids")
        ('7', '3.0')
    """
    if isinstance(given, str | bytes):
        raise InputError(f"{what}: the one text {given!r} where a list of names is wanted; give a list.")
    members = np.asanyarray(given).tolist() if hasattr(given, "dtype") else in_order(given, what=what)
    return tuple(_name(member, what) for member in members)


def trial_names(given: Any, *, what: str) -> NDArray[Any]:
    """Names as int64 where all are plain whole numbers, written as numbers or as text, and else as text.

    Example:
        >>> trial_names(["0", "12"], what="trial_ids")
        array([ 0, 12])
        >>> trial_names(["3.0", "ctrl"], what="trial_ids")
        array(['3.0', 'ctrl'], dtype='<U4')
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu" and not np.ma.is_masked(given):
        return _plain(given, what)[0]
    as_text = names(given, what=what)
    if all(_WHOLE_NUMBER.fullmatch(name) for name in as_text):
        return np.array([int(name) for name in as_text], dtype=np.int64)
    return np.array(as_text, dtype=np.str_)


def in_order(container: Any, *, what: str) -> list[Any]:
    """The members of a container, first to last: of a list or generator, the values of a dict or Series, rows."""
    if isinstance(container, Mapping) and not hasattr(container, "dims"):
        return list(container.values())
    if hasattr(container, "iloc"):
        return list(container.to_numpy())
    if hasattr(container, "data_vars") or isinstance(container, str | bytes) or not isinstance(container, Iterable):
        raise InputError(f"{what}: a {type(container).__name__} where a list or an array is wanted; give one.")
    try:
        return list(container)
    except TypeError as error:  # an array of no axes
        raise InputError(f"{what}: one value where a list or an array is wanted; give one.") from error


def dimensions(given: Any) -> tuple[str, ...] | None:
    """The names of an array's axes, if it has names: those of xarray, or of the index and columns of a DataFrame.

    A DataFrame of which one axis is named "time" or "individual" has the other as its other axis.
    """
    if hasattr(given, "columns") and hasattr(given, "index"):
        named = [getattr(axis, "name", None) for axis in (given.index, given.columns)]
        pair = {"time": "individual", "individual": "time"}
        found = [name or pair.get(other) for name, other in zip(named, reversed(named), strict=True)]
    else:
        found = list(getattr(given, "dims", None) or [None])
    axes = tuple(name for name in found if isinstance(name, str))
    is_named = len(axes) == len(found) and axes != tuple(f"dim_{place}" for place in range(len(found)))
    return axes if is_named else None


def on_axes(given: Any, axes: Sequence[str], *, what: str, others: bool = False) -> Any:
    """An array with its named axes in the order of `axes`, some of which it may lack; as it is, if they have no names.

    Axes of other names may follow if `others`, and are refused if not.
    """
    if hasattr(given, "data_vars"):
        raise InputError(f"{what}: a Dataset where one array is wanted; give one of its variables.")
    found = dimensions(given)
    if found is None:
        return given
    strange = [name for name in found if name not in axes]
    if strange and not others:
        raise InputError(
            f"{what}: dimensions {', '.join(found)}, of which {strange[0]!r} is none of {', '.join(axes)}; rename it, "
            "select one place along it, or give a plain array."
        )
    order = [found.index(name) for name in (*axes, *strange) if name in found]
    return np.transpose(given.to_numpy(), order)


def _plain(given: Any, what: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """An array of bool, int64, float64 or text, and where it is masked or missing."""
    try:
        array = _stacked(given) if _holds_masks(given) else _array(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{what}: cannot be read as an array ({error}); give one of a single shape.") from error
    is_missing = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    array = np.asarray(np.ma.getdata(array))
    if array.dtype.kind in "OT":
        array, is_absent = _typed(array, is_missing, what)
        is_missing = is_absent if is_missing is None else is_missing | is_absent
    match array.dtype.kind:
        case "b":
            return array, is_missing
        case "i" | "u":
            if (
                array.dtype.kind == "u"
                and np.max(array, where=True if is_missing is None else ~is_missing, initial=0) > _LARGEST
            ):
                raise InputError(f"{what}: integers up to {array.max()}; give integers of at most 64 bits with a sign.")
            return array.astype(np.int64, copy=False), is_missing
        case "f":
            with np.errstate(over="ignore"):
                return array.astype(np.float64, copy=False), is_missing
        case "U":
            return array.astype(array.dtype.newbyteorder("="), copy=False), is_missing
        case "S":
            texts = [_name(one, what) for one in array.ravel().tolist()]
            return np.array(texts, dtype=np.str_).reshape(array.shape), is_missing
    raise InputError(
        f"{what}: of type {array.dtype}, which is neither numbers nor text; give numbers, booleans or text."
    )


def _array(given: Any) -> NDArray[Any]:
    """As numpy reads it, but what numpy would turn into another kind stays Python objects."""
    if hasattr(given, "isna"):  # of pandas, whose own types can be missing
        dtypes = getattr(given, "dtypes", given.dtype if hasattr(given, "dtype") else None)
        is_plain = all(isinstance(one, np.dtype) for one in (dtypes if isinstance(dtypes, Iterable) else [dtypes]))
        return np.asarray(given.to_numpy() if is_plain else given.to_numpy(dtype=object))
    array = np.asanyarray(given)
    if isinstance(given, list | tuple) and (
        array.dtype.kind in "US" or (array.dtype.kind == "f" and np.any(np.abs(array) >= _LARGEST))
    ):
        return np.array(given, dtype=object)
    return array


def _holds_masks(given: Any) -> bool:
    return isinstance(given, list | tuple) and any(isinstance(m, np.ma.MaskedArray) or _holds_masks(m) for m in given)


def _stacked(given: Any) -> Any:
    """Nested lists of masked arrays as one masked array."""
    return np.ma.stack([_stacked(one) for one in given]) if _holds_masks(given) else np.ma.asarray(given)


def _typed(
    objects: NDArray[Any], is_missing: NDArray[np.bool_] | None, what: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Python objects as one type, zeros or no text where they are missing, and where that is."""
    members = objects.ravel().tolist()
    is_absent = np.array([_is_missing(one) for one in members], dtype=bool)
    if is_missing is not None:
        is_absent |= is_missing.ravel()
    kinds = {_kind(one, what) for one, absent in zip(members, is_absent.tolist(), strict=True) if not absent}
    if len(kinds) > 1 and "text" in kinds:
        raise InputError(f"{what}: text beside {', '.join(sorted(kinds - {'text'}))}; give one or the other.")
    is_text = kinds == {"text"}
    fill: Any = "" if is_text else 0
    filled = [fill if absent else one for one, absent in zip(members, is_absent.tolist(), strict=True)]
    if is_text:
        array = np.array([_name(one, what) for one in filled], dtype=np.str_)
    elif kinds == {"boolean"}:
        array = np.array(filled, dtype=bool)
    elif kinds and "float" not in kinds:
        if any(not UNKNOWN_INTEGER <= one <= _LARGEST for one in filled):
            raise InputError(f"{what}: integers of more than 64 bits; give smaller ones.")
        array = np.array(filled, dtype=np.int64)
    else:
        try:
            array = np.array([float(one) for one in filled], dtype=np.float64)
        except OverflowError as error:
            raise InputError(f"{what}: integers beyond what a float holds; give smaller ones.") from error
    return array.reshape(objects.shape), is_absent.reshape(objects.shape)


def _is_missing(one: Any) -> bool:
    """Whether it is None, NaN, masked, or what pandas has for missing."""
    if isinstance(one, abstract.Number):
        return bool(one != one)
    return one is None or one is np.ma.masked or type(one).__name__ in ("NAType", "NaTType")


def _kind(one: Any, what: str) -> str:
    if isinstance(one, str | bytes):
        return "text"
    if isinstance(one, bool | np.bool_):
        return "boolean"
    if isinstance(one, abstract.Integral):
        return "integer"
    if isinstance(one, abstract.Real | Decimal):
        return "float"
    raise InputError(
        f"{what}: a {type(one).__name__}, which is neither number nor text; give numbers, booleans or text."
    )


def _name(one: Any, what: str) -> str:
    if _is_missing(one):
        raise InputError(f"{what}: a name is missing; give every one a name.")
    if isinstance(one, bytes):
        try:
            return one.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{what}: the bytes {one!r} are not UTF-8 text; give text.") from error
    _kind(one, what)
    return str(one)

"""Settings are of the kind that they say they are: choices, numbers, names, tuples."""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from motet.errors import InputError, did_you_mean


def check_choices(settings: Any) -> None:
    """Refuse a setting that its annotation does not admit; call it first in `__post_init__`.

    Looked at are Literal, int, float (NaN is none), bool, str, None, dataclasses, and tuples, sequences, mappings and
    unions of these; others pass. Ranges are left to the dataclass.

    Raises:
        InputError: naming the setting, what was given and what is allowed.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     width: int = 16
        >>> check_choices(Settings(width=2.5))
        Traceback (most recent call last):
        motet.errors.InputError: Settings.width is 2.5; give a whole number.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        _check(f"{type(settings).__name__}.{field.name}", getattr(settings, field.name), hints[field.name])


def check_arguments(function: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse an argument that the function's annotations do not admit, as `check_choices` does a setting.

    Raises:
        InputError: naming the argument, what was given and what is allowed.
    """
    hints = typing.get_type_hints(function)
    for name, value in arguments.items():
        _check(name, value, hints.get(name, Any))


def check_seed(seed: int) -> None:
    """Refuse what no generator of random numbers takes.

    Raises:
        InputError: if it is below 0, or 2³² or more.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; give a whole number from 0 to {2**32 - 1}.")


def _check(name: str, value: Any, hint: Any) -> None:
    if _fits(value, hint):
        return
    if isinstance(value, str) and Literal in {typing.get_origin(part) for part in (hint, *typing.get_args(hint))}:
        raise did_you_mean(value, _words(hint).split(" or "), what=name)
    raise InputError(f"{name} is {value!r}; give {_words(hint)}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(isinstance(value, type(choice)) and value == choice for choice in args)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in args)
    if origin is tuple:
        parts = args[:1] * len(value) if args[1:] == (...,) and isinstance(value, tuple | list) else args
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(_fits, value, parts))
    if origin is collections.abc.Sequence:
        is_sequence = isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes)
        return is_sequence and all(_fits(part, args[0]) for part in value)
    if origin in (collections.abc.Mapping, dict):
        key, item = args
        return isinstance(value, Mapping) and all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
    is_plain = hint in (bool, str, types.NoneType) or dataclasses.is_dataclass(hint)
    return not is_plain or isinstance(value, hint)


def _words(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        return f"({', '.join('…' if part is ... else _words(part) for part in args)})"
    if origin is collections.abc.Sequence:
        return f"a list, each {_words(args[0])}"
    if origin in (collections.abc.Mapping, dict):
        return f"a mapping from {_words(args[0])} to {_words(args[1])}"
    words = {
        int: "a whole number",
        float: "a number",
        str: "a string",
        bool: "True or False",
        types.NoneType: "None",
    }
    return words.get(hint, getattr(hint, "__name__", str(hint)))

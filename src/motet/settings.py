"""Settings: frozen dataclasses whose fields say beside their type what is allowed.

    @dataclasses.dataclass(frozen=True)
    class ExampleSettings(Settings, role="example"):
        width: Count = 16
        dropout: Fraction = 0.1

One such class serves Python, scikit-learn, YAML and the command line.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from motet.errors import InputError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, as metadata of `Annotated`; infinity is in none.

    Example:
        >>> 1 in Range(least=0, below=1), 0 in Range(least=0, below=1)
        (False, True)
        >>> str(Range(above=0, most=1))
        'above 0, at most 1'
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        words = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return ", ".join(f"{word} {bound:.12g}" for word, bound in words.items() if bound is not None)


Count = Annotated[int, Range(least=1)]
"""One or more."""
Whole = Annotated[int, Range(least=0)]
"""Zero or more."""
Seed = Annotated[int, Range(least=0, below=2**32)]
"""What every generator of random numbers takes."""
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Finite = Annotated[float, Range()]
Fraction = Annotated[float, Range(least=0, below=1)]
"""A part of a whole, never all of it."""
Share = Annotated[float, Range(above=0, most=1)]
"""A part of a whole, never nothing of it."""


@dataclasses.dataclass(frozen=True)  # as all bases must be, for jsonargparse
class Settings:
    """Base of settings: every field is checked against its annotation as the object is made.

    A subclass is a frozen dataclass. Its `role` is the name of the setting that holds it, by which messages call its
    fields (`model.width`). What fields must be to each other is checked by `check`.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class ExampleSettings(Settings, role="example"):
        ...     width: Count = 16
        >>> ExampleSettings(width=0)
        Traceback (most recent call last):
        motet.errors.InputError: example.width is 0; give a whole number, at least 1.
    """

    role: ClassVar[str] = ""

    def __init_subclass__(cls, *, role: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if role is not None:
            cls.role = role

    def __post_init__(self) -> None:
        role = f"{self.role}." if self.role else ""
        check_arguments(type(self), {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}, role)
        self.check()

    def check(self) -> None:
        """Refuse fields that do not fit each other; each alone is as its annotation says."""


def check_arguments(function: Any, arguments: Mapping[str, Any], role: str = "") -> None:
    """Refuse an argument that the annotations of a function, or of a class, do not admit.

    Looked at are Literal, int, float (NaN is none), bool, str, None, dataclasses, tuples, sequences, mappings and
    unions of these, and any of them with a `Range`; others pass.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    for name, value in arguments.items():
        check_value(role + name, value, hints.get(name, Any))


def check_value(name: str, value: Any, hint: Any) -> None:
    """Refuse a value that an annotation does not admit."""
    if _fits(value, hint):
        return
    if isinstance(value, str) and (choices := [choice for choice in _choices(hint) if isinstance(choice, str)]):
        raise did_you_mean(value, choices, what=name)
    raise InputError(f"{name} is {value!r}; give {_words(hint)}.")


def _choices(hint: Any) -> list[Any]:
    """What a Literal, or one in a union, allows."""
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [choice for part in typing.get_args(hint) for choice in _choices(part)] if is_union else []


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _fits(value, args[0]) and all(value in allowed for allowed in args[1:] if isinstance(allowed, Range))
    if origin is Literal:
        return any(isinstance(value, type(choice)) and value == choice for choice in args)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in args)
    if origin is tuple:
        parts = args[:1] * len(value) if args[1:] == (...,) and isinstance(value, tuple | list) else args
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(_fits, value, parts))
    if origin in (list, collections.abc.Sequence):
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
    if origin is Annotated:
        return ", ".join([_words(args[0]), *(str(allowed) for allowed in args[1:] if isinstance(allowed, Range))])
    if origin in (typing.Union, types.UnionType):
        return (", or " if any("," in _words(arg) for arg in args) else " or ").join(map(_words, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        return f"({'; '.join('…' if part is ... else _words(part) for part in args)})"
    if origin in (list, collections.abc.Sequence):
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

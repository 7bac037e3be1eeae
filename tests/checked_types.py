"""Every function of motet with its types and shapes checked, in tests alone: beartype, put on by an import hook.

What a test hands to a function may be wrong on purpose and is the function's own business, as are the options of
readers and what a dataclass that checks its fields is made of; what motet hands to itself, and what any function gives
back, is checked. Functions inside of functions are not.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO, get_args

import numpy as np
import torch
from beartype import BeartypeConf, FrozenDict, beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import jaxtyped
from numpy.typing import ArrayLike, NDArray

_TESTS = Path(__file__).parent
_OUTSIDE = (str(_TESTS), str(_TESTS.parent / "src/motet/data/readers/reading.py"))


class WrongType(BaseException):  # no `except Exception` hides it
    """An argument or a result is not of the type that its annotation says."""


# Numbers of numpy are numbers, and whole ones are floats too; of text in arrays, tuples as arrays, and files beartype
# knows too little.
_TAKEN = {
    bool: bool | np.bool_,
    int: int | np.integer | torch.SymInt,  # the last is a size in a graph that is exported
    float: float | int | np.floating | np.integer,
    complex: complex | float | int | np.number,
    NDArray[np.str_]: NDArray[Any],
    **{part: Sequence for part in get_args(ArrayLike) if "NestedSequence" in repr(part)},
    **dict.fromkeys((IO[bytes], IO[str], BinaryIO, TextIO), object),
}
_beartype = beartype(conf=BeartypeConf(hint_overrides=FrozenDict(_TAKEN)))


def check(function: types.FunctionType) -> Callable[..., Any]:
    """The function with its types checked from its first call on."""
    versions: list[Callable[..., Any]] = []
    has_axes = True

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal has_axes
        if not versions:
            hints = {name: hint for name, hint in function.__annotations__.items() if _is_known(hint, function)}
            result = {name: hint for name, hint in hints.items() if name == "return"}
            has_axes = any(_names_axes(hint, function) for hint in hints.values())
            versions[:] = _with_hints(function, hints), _with_hints(function, result)
        version = versions[_is_outside(sys._getframe(1).f_code.co_filename)]
        try:
            if not has_axes:
                return version(*args, **kwargs)
            with jaxtyped("context"):
                return version(*args, **kwargs)
        except BeartypeCallHintViolation as error:
            raise WrongType(str(error)) from error

    return checked


@functools.cache
def _is_outside(file: str) -> bool:
    return file.startswith(_OUTSIDE)


def _names_axes(hint: Any, function: types.FunctionType) -> bool:
    """Whether a hint has axes, whose lengths must agree within a call: a type of jaxtyping, or made of one."""
    if not isinstance(hint, str):
        return True
    names = {node.id for node in ast.walk(ast.parse(hint)) if isinstance(node, ast.Name)}
    return any(_is_of_jaxtyping(function.__globals__.get(name)) for name in names)


def _is_of_jaxtyping(hint: Any) -> bool:
    return getattr(hint, "__module__", None) == "jaxtyping" or any(map(_is_of_jaxtyping, get_args(hint)))


def _is_known(hint: Any, function: types.FunctionType) -> bool:
    """Not `Self`, for a method alone does not know its class; nor what is imported for mypy alone."""
    if not isinstance(hint, str):
        return True
    names = {node.id for node in ast.walk(ast.parse(hint)) if isinstance(node, ast.Name)}
    return "Self" not in names and names <= {*function.__globals__, *dir(builtins)}


def check_fields(kind: type) -> type:
    """The class; if it is a dataclass that does not check its fields, with these checked."""
    if dataclasses.is_dataclass(kind) and "__init__" in vars(kind) and not hasattr(kind, "__post_init__"):
        kind.__init__ = check(kind.__init__)  # type: ignore[misc, method-assign]
    return kind


def _with_hints(function: types.FunctionType, hints: dict[str, Any]) -> Callable[..., Any]:
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, hints
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return _beartype(copy)


class CheckedFinder(importlib.machinery.PathFinder):
    """Finds the modules of motet, to load them checked; not those whose functions numba reads itself."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "motet" or fullname == "motet.systems.compiled":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _CheckedLoader(fullname, spec.origin)
        return spec


class _CheckedLoader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        tree = ast.parse(self.get_data(self.path))
        _decorate(tree)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(_checked=check, _checked_fields=check_fields)
        super().exec_module(module)


def _decorate(parent: ast.AST) -> None:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list.append(ast.Name("_checked", ast.Load()))
        elif isinstance(node, ast.ClassDef):
            node.decorator_list.insert(0, ast.Name("_checked_fields", ast.Load()))
            _decorate(node)

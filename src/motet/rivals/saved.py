"""What a rival has learned, as plain values and arrays, and made again from these; nothing is pickled.

A fitted rival is dataclasses of this package and estimators of scikit-learn, which hold numbers, text and arrays. Each
is written by its name and what it holds. Only classes of `ADMITTED` are made again, and none of their code is run.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from motet.errors import InputError
from motet.rivals.classifiers import MeanOfDiscriminants
from motet.rivals.decoders import FittedDecoder
from motet.rivals.discriminant import ShrinkageLDA
from motet.rivals.estimators import SharedScaler
from motet.rivals.gaussians import GaussianSum
from motet.rivals.kernel_svm import KernelSVM
from motet.rivals.method import Rival
from motet.rivals.readings import Reading
from motet.rivals.registry import RIVALS
from motet.rivals.ridge import Linear
from motet.rivals.templates import FittedTemplate, Template

ADMITTED: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        FittedDecoder,
        FittedTemplate,
        GaussianSum,
        KernelSVM,
        Linear,
        LogisticRegression,
        MeanOfDiscriminants,
        Pipeline,
        Reading,
        SharedScaler,
        ShrinkageLDA,
        Template,
    )
}
"""What a fitted rival may be made of, by name."""

Arrays = dict[str, NDArray[Any]]
Nodes = list[dict[str, Any]]


def written(fitted: Any) -> tuple[Nodes, Arrays]:
    """Plain values, parts before what holds them, and the arrays that they name.

    Raises:
        InputError: if it holds what is not admitted.

    Example:
        >>> plain, arrays = written(Linear(np.ones((2, 1)), np.zeros(1)))
        >>> read(plain, arrays).predict(np.ones((1, 2)))
        array([[2.]])
    """
    nodes: Nodes = []
    arrays: Arrays = {}
    nodes.append({"value": _written(fitted, nodes, arrays)})
    return nodes, arrays


def read(plain: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `written` was given.

    Raises:
        LookupError, TypeError, ValueError: if it cannot be made.
    """
    made: list[Any] = []
    for node in plain:
        made.append(_made(node, made, arrays))
    return made[-1]


def _made(node: Any, made: list[Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    """A node, from those before it."""

    def value(one: Any) -> Any:
        match one:
            case None | bool() | int() | float() | str():
                return one
            case {"at": int(place)} if 0 <= place < len(made):
                return made[place]
            case {"array": str(name)}:
                return np.asarray(arrays[name])
            case {"text": list(words), "shape": list(shape)}:
                return np.asarray(words, dtype=str).reshape(shape)
            case {"rival": str(name)}:
                return RIVALS[name]
        raise ValueError(f"a rival cannot hold {one!r:.100}")

    match node:
        case {"value": one}:
            return value(one)
        case {"list": list(values)}:
            return [value(one) for one in values]
        case {"tuple": list(values)}:
            return tuple(value(one) for one in values)
        case {"pairs": list(pairs)}:
            return {value(key): value(one) for key, one in pairs}
        case {"is": str(name), "holds": dict(held)}:
            kind = ADMITTED[name]
            found: Any = object.__new__(kind)
            for key, one in held.items():
                object.__setattr__(found, key, value(one))
            return found
    raise ValueError(f"a rival is not made of {node!r:.100}")


def _written(value: Any, nodes: Nodes, arrays: Arrays) -> Any:
    """A plain value, or where among the nodes, arrays or rivals it is."""

    def inner(one: Any) -> Any:
        return _written(one, nodes, arrays)

    node: dict[str, Any]
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case np.ndarray():
            if value.dtype.kind == "U":
                return {"text": value.ravel().tolist(), "shape": list(value.shape)}
            if value.dtype.kind not in "biuf":
                raise InputError(f"an array of {value.dtype} cannot be saved.")
            name = str(len(arrays))
            arrays[name] = np.array(value, order="C")
            return {"array": name}
        case Rival():
            return {"rival": value.name}
        case list():
            node = {"list": [inner(one) for one in value]}
        case tuple():
            node = {"tuple": [inner(one) for one in value]}
        case dict() | types.MappingProxyType():
            node = {"pairs": [[inner(key), inner(one)] for key, one in value.items()]}
        case _:
            node = {"is": type(value).__name__, "holds": {key: inner(one) for key, one in _held(value).items()}}
    nodes.append(node)
    return {"at": len(nodes) - 1}


def _held(value: Any) -> Mapping[str, Any]:
    """What an object holds, by name."""
    name = type(value).__name__
    if ADMITTED.get(name) is not type(value):
        raise InputError(f"a {name} cannot be saved.")
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return vars(value)

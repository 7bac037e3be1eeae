"""Plain data as text: YAML and JSON that are small, shallow and hold nothing but names, values and lists."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import numbers
import re
import types
import typing
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Union

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError, did_you_mean
from motet.settings import check_value

MOST_YAML, MOST_JSON = 1_000_000, 32_000_000  # letters
MOST_DEPTH = 20


def read_yaml(text: str, *, what: str, advice: str = "correct it") -> Any:
    r"""What a YAML text holds: names, lists, text, numbers, true, false and null.

    As in YAML 1.2, `no` and dates are text.

    Raises:
        InputError: for more than a million letters, nesting more than 20 deep, anchors, aliases and tags.

    Example:
        >>> read_yaml("seed: 1\nrate: 1e-3\nnames: [no, 2020-01-01]", what="these options")
        {'seed': 1, 'rate': 0.001, 'names': ['no', '2020-01-01']}
    """
    import yaml

    try:
        if len(text) > MOST_YAML:
            raise ValueError(f"it has {len(text):,} letters, more than {MOST_YAML:,}")
        depth = 0
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ValueError("it has anchors or aliases; write out what they stand for")
            if tag := getattr(event, "tag", None):
                raise ValueError(f"it has a tag, {tag}; leave tags out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
        return yaml.load(text, Loader=_dialect()[0])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{what} cannot be read ({' '.join(str(error).split())}); {advice}.") from error


def read_options(path: Path | str) -> dict[str, Any]:
    """The names and values of a YAML file of options.

    Raises:
        InputError: if it cannot be read by `read_yaml`, or names a class to import.
    """
    advice = "give a YAML file, see --print_config"
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(MOST_YAML + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); {advice}.") from error
    options = read_yaml(text, what=str(path), advice=advice)
    if not isinstance(options, dict):
        raise InputError(f"{path} holds {type(options).__name__}, not options; give lines such as 'seed: 1'.")
    refuse_imports(options, path)
    return options


def refuse_imports(options: Any, what: Path | str) -> None:
    """Refuse options that name a class to import."""
    inner = options.values() if isinstance(options, dict) else options if isinstance(options, list) else ()
    if isinstance(options, dict) and {"class_path", "init_args"} & options.keys():
        raise InputError(f"{what} names a class to import (class_path); options are names and plain values only.")
    for part in inner:
        refuse_imports(part, what)


def to_yaml(value: Any) -> str:
    """A YAML text that `read_yaml` reads back as the same."""
    import yaml

    return yaml.dump(value, Dumper=_dialect()[1], sort_keys=False, allow_unicode=True)


def as_plain(value: Any) -> Any:
    """Settings and results as what YAML and JSON hold: mappings, lists, numbers, text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def from_plain(kind: Any, plain: Any, *, what: str = "") -> Any:
    """What `as_plain` was given: dataclasses and tuples are made again, as the type says.

    Raises:
        InputError: for a field that is unknown or missing, or a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Step:
        ...     size: float
        ...     names: tuple[str, ...] = ()
        >>> from_plain(Step, {"size": 1, "names": ["a"]})
        Step(size=1, names=('a',))
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return from_plain(args[0], plain, what=what)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _from_fields(kind, plain, what or kind.__name__)
    if origin in (Union, types.UnionType):
        if plain is None and types.NoneType in args:
            return None
        *others, last = (part for part in args if part is not types.NoneType)
        for part in others:
            with contextlib.suppress(InputError):
                return from_plain(part, plain, what=what)
        return from_plain(last, plain, what=what)
    if origin in (list, tuple, collections.abc.Sequence) and isinstance(plain, list):
        kinds = args if origin is tuple and args[1:] != (...,) else args[:1] * len(plain)
        if len(kinds) == len(plain):
            made = [from_plain(part, item, what=what) for part, item in zip(kinds, plain, strict=True)]
            return made if origin is list else tuple(made)
    if origin in (dict, collections.abc.Mapping) and isinstance(plain, Mapping):
        return {key: from_plain(args[1], item, what=f"{what}.{key}") for key, item in plain.items()}
    if type(plain) is not kind:  # so that NaN is a float
        check_value(what, plain, kind)
    return plain


def _from_fields(kind: type[Any], plain: Any, what: str) -> Any:
    if not isinstance(plain, Mapping):
        raise InputError(f"{what} is {plain!r:.80}; give names and values.")
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [name for name in plain if name not in fields]:
        raise did_you_mean(str(unknown[0]), fields, what=f"field of {what}")
    needed = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in plain]:
        raise InputError(f"{what} has no {missing[0]}; give it.")
    return kind(**{name: from_plain(hints[name], value, what=f"{what}.{name}") for name, value in plain.items()})


def read_json(text: str, *, what: str, advice: str = "correct it") -> Any:
    """What a JSON text of bounded size and depth holds.

    Raises:
        InputError: if it is no JSON, has over 32 million letters, or is nested more than 20 deep.
    """
    try:
        if len(text) > MOST_JSON:
            raise ValueError(f"it has {len(text):,} letters, more than {MOST_JSON:,}")
        value = json.loads(text)
        level, depth = [value], 0
        while level := [one for one in level if isinstance(one, dict | list)]:
            depth += 1
            if depth > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        return value
    except (RecursionError, ValueError) as error:
        raise InputError(f"{what} cannot be read ({error}); {advice}.") from error


def plain_values(given: Any, *, what: str, depth: int = MOST_DEPTH) -> Any:
    """A copy of lists, mappings, text, finite numbers, booleans and None that JSON gives back as the same.

    Example:
        >>> plain_values({"law": {"exponent": np.float64(-2), "axes": (0, 1)}}, what="metadata")
        {'law': {'exponent': -2.0, 'axes': [0, 1]}}
    """
    inner = functools.partial(plain_values, what=what, depth=depth - 1)
    match given:
        case Mapping() if depth and all(isinstance(key, str) for key in given):
            return {str(key): inner(value) for key, value in given.items()}
        case list() | tuple() if depth:
            return [inner(value) for value in given]
        case bool() | np.bool_():
            return bool(given)
        case str():
            return str(given)
        case numbers.Integral():
            return int(given)
        case numbers.Real() if math.isfinite(given):
            return float(given)
        case None:
            return None
    raise InputError(
        f"{what} holds {given!r:.80}; give text, finite numbers, booleans, lists and mappings from text, at most "
        f"{MOST_DEPTH} deep."
    )


def digest(about: Any, arrays: Mapping[str, NDArray[Any]], *, leave_out: Collection[str] = ()) -> str:
    """A text that changes with any number, name, type or shape in plain data and arrays (by name, in any order).

    Names in `leave_out` do not count, wherever in `about` they stand.
    """

    def counted(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): counted(item) for key, item in value.items() if key not in leave_out}
        return [counted(item) for item in value] if isinstance(value, list | tuple) else value

    found = hashlib.blake2b(json.dumps(counted(about), sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name].astype(str) if arrays[name].dtype.hasobject else arrays[name]
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@functools.cache
def _dialect() -> tuple[type[Any], type[Any]]:
    """The loader and the dumper of YAML 1.2's plain values; names given twice are refused."""
    import yaml

    values = {
        "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
        "float": (
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            list("-+.0123456789"),
        ),
    }

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [name for name, n in names.items() if n > 1]:
                raise ValueError(f"{twice[0]} is given twice")
            return super().construct_mapping(node, deep=deep)

    class Dumper(yaml.SafeDumper):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def integer(loader: Any, node: Any) -> int:
        return int(node.value, 10 if node.value.lstrip("-+").isdigit() else 0)

    for dialect in (Loader, Dumper):
        for name, (pattern, first) in values.items():
            dialect.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first)
    Loader.add_constructor("tag:yaml.org,2002:int", integer)
    Loader.add_constructor(
        "tag:yaml.org,2002:float", lambda loader, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower()))
    )
    return Loader, Dumper

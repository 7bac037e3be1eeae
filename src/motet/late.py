"""What hangs on an object and lives on a higher floor: figures of a recording are found when they are asked for."""

from __future__ import annotations

import importlib
from typing import Any


class Late:
    """An attribute whose class is imported when it is first read, and made of the object that it is read from.

    So `recording.plot` draws, and `motet.data` imports nothing that draws.

    Args:
        home: "<module>:<class>".

    Example:
        >>> class Word(str):
        ...     counted = Late("collections:Counter")
        >>> Word("aab").counted["a"]
        2
    """

    def __init__(self, home: str) -> None:
        self._home = home

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        module, _, name = self._home.partition(":")
        return getattr(importlib.import_module(module), name)(instance)

"""What a verb of the command line is. Nothing is imported before one is chosen."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Command:
    """What a verb does, once it is chosen.

    Attributes:
        settings: a dataclass; its fields are the options, and those of its `positionals` are given without a name.
        function: from settings to something that prints.
        summary: one line.
    """

    settings: type[Any]
    function: Callable[[Any], Any]
    summary: str

    @classmethod
    def of(cls, function: Callable[[Any], Any]) -> Command:
        """A function of one argument that is annotated with its settings; its docstring says what it does."""
        (settings, *_) = typing.get_type_hints(function).values()
        return cls(settings, function, (function.__doc__ or "").partition("\n")[0])

    @property
    def positionals(self) -> tuple[str, ...]:
        return tuple(getattr(self.settings, "positionals", ()))


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        name: one word, or that of a group and another.
        words: what follows it, such as "RECORDING …".
        summary: what it does, in a few words.
        example: a whole command, without the word motet.
        home: "<module>:<function>"; or the function, or, of a verb with several commands, a mapping from the word that
            chooses one to the function or `Command`.
        variations: options that the example may be tried with.
    """

    name: str
    words: str
    summary: str
    example: str
    home: str | Callable[[Any], Any] | Mapping[str, Any]
    variations: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """That of the help."""
        return f"  {f'motet {self.name} {self.words}'.rstrip():45s} {self.summary}"

    def commands(self) -> Mapping[str, Command]:
        """What the verb does; the key "" if it is one thing."""
        home: Any = self.home
        if isinstance(home, str):
            module, _, name = home.partition(":")
            home = getattr(importlib.import_module(module), name)
        several = home if isinstance(home, Mapping) else {"": home}
        return {word: one if isinstance(one, Command) else Command.of(one) for word, one in several.items()}


def command_line(verb: str, settings: Any, *, leave_out: Collection[str] = ()) -> str:
    """What a shell is given to do the same: the settings that are not as by default.

    Args:
        verb: its name.
        settings: a dataclass; its `positionals` come first.
        leave_out: names of settings that do not matter.
    """
    positionals = tuple(getattr(settings, "positionals", ()))
    words = ["motet", *verb.split()]
    for name in positionals:
        value = getattr(settings, name)
        words += map(shlex.quote, value if isinstance(value, list | tuple) else [str(value)])
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    words += _changed(settings, defaults, "--", {*positionals, *leave_out})
    return " ".join(words)


def _changed(settings: Any, defaults: Mapping[str, Any], prefix: str, leave_out: Collection[str]) -> Iterator[str]:
    """An option for every setting that is not as by default, those inside parts too."""
    for name, default in defaults.items():
        value = getattr(settings, name)
        if name in leave_out or value == default:
            continue
        if dataclasses.is_dataclass(value) and dataclasses.is_dataclass(default):
            inside = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
            yield from _changed(value, inside, f"{prefix}{name}.", ())
        else:
            yield f"{prefix}{name} {_word(value)}"


def _word(value: Any) -> str:
    """As a shell takes it."""
    from motet.plain import as_plain

    plain = as_plain(value)
    return shlex.quote(plain if isinstance(plain, str) else json.dumps(plain))

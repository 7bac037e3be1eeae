"""What every reader of files has in common: whatever is wrong with a file is one `InputError` that names it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from motet.errors import InputError
from motet.memory import GIB, available_bytes

P = ParamSpec("P")
R = TypeVar("R")
_MOST_CHARACTERS = 2000  # of a message


def file_reader(reader: Callable[P, R]) -> Callable[P, R]:
    """A reader that refuses what is no file, and raises nothing but `InputError`; its positional arguments are paths.

    Example:
        >>> @file_reader
        ... def first_number(path: Path) -> int:
        ...     return int(Path(path).read_bytes()[0])
        >>> first_number(Path("/dev/zero"))
        Traceback (most recent call last):
        motet.errors.InputError: /dev/zero is no file; give the path of one.
    """
    signature = inspect.signature(reader)

    @functools.wraps(reader)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        paths = [given[key] for key, one in signature.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
        for path in paths:
            refuse_no_file(path)
        try:
            return reader(*args, **kwargs)
        except Exception as error:
            refusal = refusal_of(error, [str(path) for path in paths])
            raise refusal from (None if refusal is error else error)

    return read


def refuse_no_file(path: Any) -> None:
    """Refuse what is not there, or is a folder, a pipe or a device: reading one may never end.

    Raises:
        InputError: saying which.
    """
    try:
        if Path(path).is_file():
            return
        Path(path).stat()
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read (no such file); give the path of one.") from error
    except (OSError, ValueError, TypeError) as error:  # a circle of links, a zero character, no path at all
        raise InputError(f"{path!s:.200} cannot be read ({_reason(error)}); give the path of a file.") from error
    raise InputError(f"{path} is {'a folder' if Path(path).is_dir() else 'no file'}; give the path of one.")


def refusal_of(error: Exception, paths: list[str]) -> InputError:
    """What a user is shown of an error below a reader: one line that names the file."""
    where, said = " or ".join(paths), str(error)
    if isinstance(error, InputError):
        if not any(path in said for path in paths):
            said = f"{where} cannot be read: {said}"
        plain = _printable(said if len(said) <= _MOST_CHARACTERS else f"{said[:_MOST_CHARACTERS]}…")
        return error if plain == str(error) else InputError(plain)
    if isinstance(error, MemoryError):
        return InputError(
            f"{where} needs more memory than there is ({available_bytes() / GIB:.2g} GiB); free some, or give a part."
        )
    return InputError(
        f"{where} cannot be read ({_reason(error)}); it is damaged, or not of the form that it seems to be: get it or "
        "save it again."
    )


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return _printable(next(iter(said.splitlines()), "")[:300])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)

"""Files are written so that a reader sees the old content or the new, and options are read within bounds."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from motet.errors import InputError

STALE_SECONDS = 24 * 3600
MOST_CHARACTERS, MOST_DEPTH = 2**20, 20  # of a file of options


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder, moved onto `path` when the block ends without an error.

    What a killed process left of an earlier write to `path` is removed once it is a day old.

    Raises:
        InputError: if the folder cannot be written or the disk is full; `path` is then as it was.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "note.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['note.txt']
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix, suffix = f".{path.stem[:100]}-", f".partial{path.suffix}"
        _remove_stale(path.parent, prefix, suffix)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); nothing saved before is lost: "
            "free some space, or choose a folder that can be written."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_options(path: Path | str) -> dict[str, Any]:
    r"""The names and values of a YAML file of options.

    Raises:
        InputError: if it cannot be read, is no YAML of names and values, is too long or too deep, repeats a part by an
            alias, or names a class to import.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "options.yaml"
        >>> _ = path.write_text("training:\n  max_steps: 3\n")
        >>> read_options(path)
        {'training': {'max_steps': 3}}
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            options = read_yaml(file.read(MOST_CHARACTERS + 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be read as options ({reason}); give a YAML file, see --print_config."
        ) from error
    if not isinstance(options, dict):
        raise InputError(f"{path} holds {type(options).__name__}, not options; give lines such as 'seed: 1'.")
    _refuse_imports(options, path)
    return options


def read_yaml(text: str) -> Any:
    """What a YAML text says: plain values, lists and dicts.

    Raises:
        InputError: if it is no YAML, longer than `MOST_CHARACTERS`, deeper than `MOST_DEPTH`, or has an alias.
    """
    import yaml  # slow to import

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"it is longer than {MOST_CHARACTERS:,} characters")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise InputError(f"it is nested more than {MOST_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"it repeats a part by the alias *{event.anchor}; write the part out")
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise error if isinstance(error, InputError) else InputError(f"it is not YAML: {error}") from error


def _refuse_imports(options: Any, path: Path | str) -> None:
    inner = options.values() if isinstance(options, dict) else options if isinstance(options, list) else ()
    if isinstance(options, dict) and {"class_path", "init_args"} & options.keys():
        raise InputError(f"{path} names a class to import (class_path); options are names and plain values only.")
    for part in inner:
        _refuse_imports(part, path)


def _remove_stale(folder: Path, prefix: str, suffix: str) -> None:
    """Remove temporary files of a target that nobody has written to for a day."""
    for old in folder.glob(f"{glob.escape(prefix)}????????{glob.escape(suffix)}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                old.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

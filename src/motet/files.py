"""Writing files so that a reader sees the old content or the new, and folders that one command writes at a time."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from motet.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows there are none of these locks
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\..*-[0-9a-f]{8}\.partial(\..*)?")


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder, moved onto `path` when the block ends without an error.

    A link is followed: the file that it leads to is replaced, with the permissions that it had. What a killed process
    left of an earlier write to `path` is removed.

    Raises:
        InputError: if `path` is there and no regular file, the folder cannot be written or the disk is full; `path` is
            then as it was.
    """
    path = Path(path)
    try:
        target = _followed(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        stem, suffix = path.stem[:100], path.suffix
        _remove_leftovers(target.parent.glob(f".{glob.escape(stem)}-????????.partial{glob.escape(suffix)}"))
        with _locked_temporary(target.parent, stem, suffix) as (temporary, descriptor):
            yield temporary
            os.fsync(descriptor)
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); nothing saved before is lost: "
            "free some space, or choose a folder that can be written."
        ) from error


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, made if absent, so that no other command writes there for as long as the block lasts.

    The lock is the kernel's, on a file `.lock`: after a kill the file stays and the lock does not. What killed
    processes left of writes is removed, and so are folders that were made and stayed empty. On a file system without
    locks a note is logged, and the block goes on.

    Raises:
        InputError: at once, if another command holds the folder, or it cannot be written.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        descriptor = _lock_file(folder)
    except OSError as error:
        raise InputError(
            f"cannot write in {folder} ({error.strerror or error}); choose a folder that can be written."
        ) from error
    try:
        _remove_leftovers(path for path in folder.rglob(".*.partial*") if _TEMPORARY.fullmatch(path.name))
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty
            for one in made:
                one.rmdir()


def _lock_file(folder: Path) -> int:
    """The open lock file of a folder, locked."""
    path, n_tries = folder / ".lock", 100  # whoever held the folder may remove it, or the file, at any moment
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except (FileExistsError, FileNotFoundError):
            n_tries -= 1
            if n_tries == 0:
                raise
            continue
        is_ours = _lock(descriptor)
        if is_ours is not False and _is_still(descriptor, path):
            break
        os.close(descriptor)
        if is_ours is False:
            raise InputError(
                f"another motet command is working in {folder}; wait until it has ended, or choose another folder."
            )
    if is_ours is None:
        logging.getLogger(__name__).warning(
            f"note: the file system of {folder} has no locks; let no other command write there meanwhile."
        )
    return descriptor


@contextlib.contextmanager
def _locked_temporary(folder: Path, stem: str, suffix: str) -> Iterator[tuple[Path, int]]:
    """A new file that is locked for as long as it is written, which tells it from what a killed process left."""
    while True:
        temporary = folder / f".{stem}-{secrets.token_hex(4)}.partial{suffix}"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(descriptor) is not False and _is_still(descriptor, temporary):
            break
        os.close(descriptor)  # taken for left by another process at once
    try:
        yield temporary, descriptor
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def _remove_leftovers(temporaries: Iterator[Path]) -> None:
    """Remove temporary files that no process is writing."""
    for path in temporaries:
        with contextlib.suppress(OSError):  # gone already, or another user's
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock on an open file was free, and is ours now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _followed(path: Path) -> Path:
    """The regular file that a path leads to, or would make."""
    target = Path(os.path.realpath(path))
    if target.is_symlink() or (target.exists() and not target.is_file()):
        kind = "a folder" if target.is_dir() else "no regular file"
        raise InputError(f"{path} is {kind}, and a file was to be written there; choose another name.")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{path} is write-protected; choose another name, or allow writing.")
    return target

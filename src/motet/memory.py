"""How much memory there is, and a refusal before more than that is taken."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from motet.errors import InputError

GIB = 1 << 30
SHARE = 0.75  # of what is available
TIMES_ON_DISK = 1000  # zeros shrink a thousandfold when compressed, recorded data do not
_ASSUMED = 8 * GIB  # where the system does not say


def available_bytes() -> int:
    """The memory that is free, within what the container of this process may use."""
    known = []
    with contextlib.suppress(OSError, TypeError):
        known.append(1024 * int(re.search(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text())[1]))  # type: ignore[index]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" where there is none
            known.append(int(Path(limit).read_text()))
    with contextlib.suppress(AttributeError, ValueError, OSError):  # no such function on Windows
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(known, default=_ASSUMED)


def most_bytes(file_bytes: int | None = None) -> int:
    """What one thing may take: most of the available memory and, read from a file, what such a file may hold.

    That is 1 GiB or a thousand times the size of the file, whichever is more: real data, even counts of rare spikes
    in narrow bins, stay below it, and a file that was compressed beyond it can be saved again uncompressed.
    """
    most = int(SHARE * available_bytes())
    return most if file_bytes is None else min(most, max(GIB, TIMES_ON_DISK * file_bytes))


def check_room(
    n_bytes: int, *, what: str, file_bytes: int | None = None, advice: str = "give less of it at a time"
) -> None:
    """Refuse what would take more than `most_bytes`, before it is taken.

    Args:
        n_bytes: what it would take, copies made on the way included.
        what: what takes it, as the message begins.
        file_bytes: the size of the file that it comes from, if it does.
        advice: what to do where there is too little memory.

    Example:
        >>> check_room(5 << 60, what="a table of 1e9 individuals")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        motet.errors.InputError: a table of 1e9 individuals would take 5.4e+09 GiB of memory, more than 75% of ...
    """
    if n_bytes <= most_bytes(file_bytes):
        return
    would = f"{what} would take {n_bytes / GIB:.2g} GiB of memory, more than"
    if n_bytes > (most := most_bytes()):
        raise InputError(f"{would} {SHARE:.0%} of what is available ({most / GIB:.2g} GiB); {advice}.")
    raise InputError(f"{would} a thousand times the size of its file; if it is yours, save it uncompressed.")

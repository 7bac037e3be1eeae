"""Reading a file in a process of its own: what crashes, hangs or devours memory there is one refusal here.

The libraries below some formats are of C and trust what a file says. Each such file is read by another Python, whose
memory and time are limited, and comes back as plain arrays, which are checked as those of a stranger. This holds off
accidents and simple malice; it is no prison, since that process may do whatever the user may.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.reading import array_names, load_arrays, refusal_of
from motet.errors import InputError
from motet.memory import GIB, most_bytes

ALLOWED_SECONDS = 60.0
BYTES_PER_SECOND = 1 << 20  # a large file has more time
_OWN_BYTES = 2 * GIB  # of address space, for Python and the libraries
_READ, _REFUSED, _OUT_OF_MEMORY = 0, 2, 3  # exit statuses
_OUT_OF_TIME = -24  # SIGXCPU
_ARRAYS, _REASON = "arrays.npz", "reason.txt"
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


def in_subprocess(
    read: Callable[..., Mapping[str, NDArray[Any]]], path: Path | str, *requests: Any, n_bytes: int | None = None
) -> dict[str, NDArray[Any]]:
    """What `read(path, *requests)` gives, called in a process with limits.

    Args:
        read: a function that can be imported by its name.
        path: of a file; or a text, such as an address.
        *requests: what else it is given, of kinds that JSON has.
        n_bytes: the size of what is read, where it is no file.

    Raises:
        InputError: if it raises one, ends, or takes longer or more memory than a file of that size may.
    """
    n_bytes = Path(path).stat().st_size if n_bytes is None else n_bytes
    most, seconds = most_bytes(n_bytes), ALLOWED_SECONDS + n_bytes / BYTES_PER_SECOND
    advice = "it is damaged, or made to do so: get it again, or save what it holds as .npz."
    with tempfile.TemporaryDirectory(prefix="motet-") as folder:
        given = json.dumps([path if isinstance(path, str) else None, *requests])
        where = "" if isinstance(path, str) else path.absolute()
        words = (read.__module__, read.__qualname__, where, folder, most, int(seconds), given)
        try:
            status = subprocess.run(
                [sys.executable, "-P", "-m", __name__, *map(str, words)],
                env={
                    **os.environ,
                    **_ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(one or os.getcwd() for one in sys.path),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            status = _OUT_OF_TIME
        arrays = Path(folder, _ARRAYS)
        if status == _READ and arrays.exists():
            return load_arrays(arrays, copied=array_names(arrays))
        if status == _REFUSED:
            raise InputError(Path(folder, _REASON).read_text(encoding="utf-8"))
        if status == _OUT_OF_MEMORY:
            raise InputError(f"{path} needs more than {most / GIB:.2g} GiB of memory to be read; {advice}")
        if status == _OUT_OF_TIME:
            raise InputError(f"{path} takes longer to read than {seconds:.0f} s; {advice}")
        raise InputError(f"{path} crashed the process that read it (status {status}); {advice}")


def _limit(most: int, seconds: int) -> None:
    """Bound what this process may take, where the system lets it."""
    try:
        import resource
    except ImportError:  # Windows, where the time is limited from without
        return
    for kind, bound in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, most + _OWN_BYTES),
        (resource.RLIMIT_FSIZE, most + _OWN_BYTES),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS does not limit the address space
            resource.setrlimit(kind, (allowed, hard))


def _main(module: str, function: str, path: str, folder: str, most: str, seconds: str, given: str) -> int:
    _limit(int(most), int(seconds))
    text, *requests = json.loads(given)
    try:
        read = getattr(importlib.import_module(module), function)
        np.savez(Path(folder, _ARRAYS), **read(Path(path) if text is None else text, *requests))
    except MemoryError:
        return _OUT_OF_MEMORY
    except Exception as error:
        Path(folder, _REASON).write_text(str(refusal_of(error, [path if text is None else text])), encoding="utf-8")
        return _REFUSED
    return _READ


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

"""Nothing takes more memory than there is, nor a file more than such a file may hold."""

from __future__ import annotations

import os
import sys

import pytest

from motet import memory
from motet.errors import InputError
from motet.memory import GIB, available_bytes, check_room


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_available_memory_is_some_and_no_more_than_the_machine_has() -> None:
    assert 0 < available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("n_bytes", "file_bytes", "said"),
    [
        (7 * GIB, None, None),
        (9 * GIB, None, "take 9 GiB of memory, more than 75% of what is available .8 GiB.; give less"),
        (GIB, 1000, None),
        (2 * GIB, 2 << 20, "take 2 GiB of memory, more than a thousand times .* save it uncompressed"),
        (2 * GIB, 3 << 20, None),
        (9 * GIB, 9 * GIB, "more than 75%"),
    ],
)
def test_more_than_there_is_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, file_bytes: int | None, said: str | None
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: int(8 * GIB / memory.SHARE) + 1)
    if said is None:
        check_room(n_bytes, what="it", file_bytes=file_bytes)
    else:
        with pytest.raises(InputError, match=f"^it .*{said}"):
            check_room(n_bytes, what="it", file_bytes=file_bytes)

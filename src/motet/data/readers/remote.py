"""Files that lie elsewhere, of which only the parts that are read are fetched: over HTTP, and from the DANDI archive.

`dandi:DANDISET/ASSET-ID` is the address of an asset of the DANDI archive; the identifiers are those of its pages.
"""

from __future__ import annotations

import http.client
import io
import re
import urllib.error
import urllib.request
from collections import OrderedDict
from typing import Any

from motet.errors import InputError

DANDI_API = "https://api.dandiarchive.org/api"
BLOCK_BYTES = 1 << 20
MOST_BLOCKS = 128  # that are kept
ALLOWED_SECONDS = 60  # for one part to come
_DANDI = re.compile(r"dandi:(?P<dandiset>\d{6})/(?P<asset>[0-9a-fA-F-]{36})")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def is_address(source: Any) -> bool:
    """Whether it is a text such as https://… or dandi:…, and no path."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://", "dandi:"))


def url_of(address: str) -> str:
    """Where an address leads.

    Example:
        >>> url_of("dandi:000006/8a82f7f5-4f2a-4b4e-9f5c-6b0b5d3e4a21")
        'https://api.dandiarchive.org/api/assets/8a82f7f5-4f2a-4b4e-9f5c-6b0b5d3e4a21/download/'
    """
    if not address.lower().startswith("dandi:"):
        return address
    found = _DANDI.fullmatch(address)
    if found is None:
        raise InputError(
            f"{address:.200} is no asset of DANDI; give dandi:DANDISET/ASSET-ID, as in "
            "dandi:000006/8a82f7f5-4f2a-4b4e-9f5c-6b0b5d3e4a21 (the page of a file names its asset id)."
        )
    return f"{DANDI_API}/assets/{found['asset']}/download/"


class RemoteFile(io.RawIOBase):
    """A file at an address, read in parts; for libraries that read from file objects.

    Args:
        address: of the file, as `is_address` knows it.

    Raises:
        InputError: if it cannot be had, or the server does not give parts.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address, self._url = address, url_of(address)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._place = 0
        self.n_bytes = self._fetch(0, 1)[1]

    def _fetch(self, begin: int, end: int) -> tuple[bytes, int]:
        """The bytes from `begin` up to `end`, and how many the file has."""
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={begin}-{end - 1}"})
        try:
            with urllib.request.urlopen(request, timeout=ALLOWED_SECONDS) as answer:
                found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if answer.status != http.client.PARTIAL_CONTENT or found is None:
                    raise InputError(f"{self.address:.300}: its server does not give parts of files; download it.")
                content = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:  # those of urllib are OSErrors
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.address:.300} cannot be read ({error}); look whether it is right and the network there, or "
                "download the file and give its path."
            ) from error
        first, last, n_bytes = map(int, found.groups())
        if first != begin or last != min(end, n_bytes) - 1 or len(content) != last + 1 - first:
            raise InputError(f"{self.address:.300}: its server gave other bytes than were asked for; try again.")
        if n_bytes != getattr(self, "n_bytes", n_bytes):
            raise InputError(f"{self.address:.300} has changed while it was read; try again.")
        return content, n_bytes

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            begin = number * BLOCK_BYTES
            self._blocks[number] = self._fetch(begin, min(begin + BLOCK_BYTES, self.n_bytes))[0]
            if len(self._blocks) > MOST_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._place + len(view), self.n_bytes)
        n_read = max(0, end - self._place)
        if n_read > 4 * BLOCK_BYTES:  # much at once comes in one piece, and is not kept
            view[:n_read] = self._fetch(self._place, end)[0]
        else:
            done = 0
            while done < n_read:
                number, offset = divmod(self._place + done, BLOCK_BYTES)
                part = self._block(number)[offset : offset + n_read - done]
                view[done : done + len(part)] = part
                done += len(part)
        self._place += n_read
        return n_read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.n_bytes}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

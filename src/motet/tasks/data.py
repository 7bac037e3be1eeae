"""The recordings that there are: listed, shown, fetched."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from motet.data.catalogue import CATALOGUE, Entry, found_files
from motet.data.catalogue import fetch as fetch_files
from motet.errors import InputError
from motet.settings import Settings
from motet.tasks.find import contents_of, describe, find_recording


@dataclasses.dataclass(frozen=True)
class ListSettings(Settings):
    """There is nothing to set."""


@dataclasses.dataclass(frozen=True)
class ShowSettings(Settings):
    """What to show.

    Attributes:
        recording: a file, or a name in the catalogue.
        reading: options for reading the file, by name, such as {columns: {individual: fish}, targets: [choice]}.
    """

    positionals: ClassVar = ("recording",)

    recording: str
    reading: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class FetchSettings(Settings):
    """What to fetch.

    Attributes:
        name: in the catalogue (motet data list).
    """

    positionals: ClassVar = ("name",)

    name: str


def list_data(settings: ListSettings) -> str:
    """Recordings that motet knows by name."""
    width = max(map(len, CATALOGUE))
    lines = []
    for entry in CATALOGUE.values():
        size = f"{sum(file.n_bytes for file in entry.files) / 1e6:.1f} MB"
        lines += [
            f"{entry.name:{width}}  {size:>8}  {_place(entry)}",
            f"  {entry.description} (subject {entry.subject})",
            f"  {entry.licence}; {entry.citation}",
        ]
    return "\n".join(lines)


def _place(entry: Entry) -> str:
    """Where the files of a recording lie, or how they can be had."""
    found = [path for path in found_files(entry.name) if path is not None]
    if len(found) == len(entry.files):
        return ", ".join(dict.fromkeys(str(path.parent) for path in found))
    return "to be downloaded" if all(file.made_from is None for file in entry.files) else "set MOTET_DATA"


def show(settings: ShowSettings) -> str:
    """What is in a recording, and, where a file holds more than one reading, what else could be read of it."""
    contents = contents_of(settings.recording)
    try:
        described = describe(find_recording(settings.recording, settings.reading))
    except InputError as error:
        if not contents or settings.reading is not None:
            raise
        described = f"by default it cannot be read: {error}"
    return f"{contents}\n\n{described}" if contents else described


def fetch(settings: FetchSettings) -> str:
    """Download a recording, and check its bytes."""
    return "\n".join(map(str, fetch_files(settings.name)))

"""The recordings that there are: listed, shown, fetched."""

from __future__ import annotations

import dataclasses
import io
from typing import Any, ClassVar

from motet.data.catalogue import CATALOGUE
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
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "subject", "what it is", "licence", "source"):
        table.add_column(heading, no_wrap=heading == "name", overflow="fold")
    for entry in CATALOGUE.values():
        table.add_row(entry.name, entry.subject, entry.description, entry.licence, entry.citation)
    text = io.StringIO()
    Console(file=text, soft_wrap=True, highlight=False, markup=False, emoji=False).print(table)
    return text.getvalue()


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

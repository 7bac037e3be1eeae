"""A table of text (`.csv`, `.tsv`, either gzipped) as columns of labels and of numbers: `read_table`."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import gzip
import io
import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError, did_you_mean

TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
UNKNOWN = frozenset({"", "NA", "N/A", "null"})  # and NaN in any case: cells that hold no number
_ROWS_AT_ONCE = 2000  # what fits a processor's cache is read three times as fast


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a table.

    Attributes:
        path: where it was read from.
        names: of the columns that have one, in the order of the file.
        n_rows: rows below the header; blank lines are none.
        labels: of every column of labels the distinct cells, in order of appearance, and each row's place among them.
        numbers: of every other column (row,), NaN where a cell is unknown or no number.
        first_text: of those that hold more than numbers, the row and the content of the first cell that is none.
    """

    path: Path
    names: tuple[str, ...]
    n_rows: int
    labels: Mapping[str, tuple[tuple[str, ...], NDArray[np.int64]]]
    numbers: Mapping[str, NDArray[np.float64]]
    first_text: Mapping[str, tuple[int, str]]

    def finite(self, name: str, *, all_known: bool = False) -> NDArray[np.float64]:
        """A column of numbers, NaN where unknown.

        Raises:
            InputError: naming the line of a cell that is text, infinite or, if all must be known, unknown.
        """
        if name in self.first_text:
            row, cell = self.first_text[name]
            raise self.refusal(row, f"column {name!r} holds {cell!r}; give a number, or an empty cell for unknown.")
        column = self.numbers[name]
        bad = np.isinf(column) | (np.isnan(column) & all_known)
        if bad.any():
            row = int(bad.argmax())
            what = "infinite" if np.isinf(column[row]) else "empty"
            raise self.refusal(
                row, f"column {name!r} is {what}; give a finite number{'' if all_known else ', or none'}."
            )
        return column

    def known_labels(self, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """A column of labels, none of which is empty.

        Raises:
            InputError: naming the line of an empty cell.
        """
        labels, places = self.labels[name]
        if "" in labels:
            raise self.refusal(int((places == labels.index("")).argmax()), f"column {name!r} is empty; give its label.")
        return labels, places

    def require(self, *names: str) -> None:
        """Refuse a table that lacks a column."""
        for name in names:
            if name not in self.names:
                raise absent(name, self.names, what="column", source=str(self.path))

    def refusal(self, row: int, problem: str) -> InputError:
        """An `InputError` that names the line of a row."""
        return InputError(f"{self.path}, line {_line_of(self.path, row)}: {problem}")


def read_table(
    path: Path, *, labels: Collection[str], columns: Mapping[str, str], optional: Collection[str] = ()
) -> Table:
    """Read a table with a header; a million rows of six columns take about three seconds.

    Args:
        path: its name ends in one of `TABLE_ENDINGS`: `.tsv` is separated by tabs, `.csv` by commas.
        labels: the columns of labels; every other one is read as numbers.
        columns: what the file calls a column, by the name that it has here.
        optional: columns that need not be there even if `columns` names them.

    Raises:
        InputError: if the file cannot be read, is empty or broken, or two columns share a name.
    """
    n_rows = 0
    try:
        with open_text(path) as file:
            lines = _filled(_reader(file, path))
            header = [cell.strip() for cell in next(lines, [])]
            if not header:
                raise InputError(f"{path} is empty; give a header that names the columns, and a row per observation.")
            names = own_names(header, columns, optional=optional, source=str(path))
            found = [_Labels() if name in labels else _Numbers() for name in names]
            while rows := list(itertools.islice(lines, _ROWS_AT_ONCE)):
                _check_widths(path, rows, len(header), first_row=n_rows)
                cells = list(itertools.chain.from_iterable(rows))
                for place, column in enumerate(found):
                    column.add(cells[place :: len(header)], first_row=n_rows)
                n_rows += len(rows)
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); give text, in UTF-8, with a header.") from error
    named = {name: column for name, column in zip(names, found, strict=True) if name}
    of_numbers = {name: column for name, column in named.items() if isinstance(column, _Numbers)}
    return Table(
        path=path,
        names=tuple(named),
        n_rows=n_rows,
        labels={name: column.finish() for name, column in named.items() if isinstance(column, _Labels)},
        numbers={name: column.finish() for name, column in of_numbers.items()},
        first_text={name: column.first_text for name, column in of_numbers.items() if column.first_text},
    )


def open_text(path: Path) -> TextIO:
    """A text file to read, unzipped if its name ends in .gz; a byte-order mark is passed over."""
    if path.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.GzipFile(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def separator_of(path: Path) -> str:
    """What parts the cells of a table: a tab if its name ends in .tsv or .tsv.gz, or else a comma."""
    return "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def ending_of(path: Path, allowed: Iterable[str]) -> str:
    """The longest of the allowed endings that the name of a file has, as it is written there.

    Raises:
        InputError: if it has none of them.

    Example:
        >>> ending_of(Path("fish.CSV"), TABLE_ENDINGS)
        '.CSV'
    """
    found = [ending for ending in allowed if path.name.lower().endswith(ending)]
    if not found:
        raise InputError(f"{path} has an unknown ending; give a file whose name ends in {', '.join(sorted(allowed))}.")
    return path.name[-len(max(found, key=len)) :]


def own_names(
    given: Iterable[str], columns: Mapping[str, str], *, source: str, optional: Collection[str] = ()
) -> list[str]:
    """The names given, with those that `columns` renames under the name that they have here.

    Raises:
        InputError: if one to be renamed is absent, or two would be called the same.

    Example:
        >>> own_names(["fish", "time"], {"individual": "fish"}, source="a.csv")
        ['individual', 'time']
    """
    given = list(given)
    for own, theirs in columns.items():
        if theirs not in given and own not in optional:
            raise did_you_mean(str(theirs), given, what=f"column (for {own!r}) of {source}")
    renamed = {theirs: own for own, theirs in columns.items()}
    names = [renamed.get(name, name) for name in given]
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"{source} has two columns for {name!r}: {', '.join(given)}; rename one of them.")
    return names


def absent(name: str, known: Iterable[str], *, what: str, source: str) -> InputError:
    """An `InputError` for a name that must be there and is not."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return InputError(
        f"{source} has no {what} {name!r}{hint} It has: {', '.join(known) or 'none'}. Rename the one that is meant, or "
        f"say columns={{{name!r}: {near[0] if near else '…'!r}}}."
    )


class _Labels:
    """A column of labels, as it is read."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._parts: list[NDArray[np.int64]] = []

    def add(self, cells: list[str], *, first_row: int) -> None:
        codes = self._codes
        self._parts.append(np.array([codes.setdefault(cell, len(codes)) for cell in cells], dtype=np.int64))

    def finish(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        stripped: dict[str, int] = {}
        place = [stripped.setdefault(cell.strip(), len(stripped)) for cell in self._codes]
        return tuple(stripped), np.array(place, dtype=np.int64)[_joined(self._parts, np.int64)]


class _Numbers:
    """A column of numbers, as it is read."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float64]] = []
        self.first_text: tuple[int, str] | None = None

    def add(self, cells: list[str], *, first_row: int) -> None:
        try:
            self._parts.append(np.array(list(map(float, cells))))
        except ValueError:
            self._parts.append(np.array([self._number(cell, first_row + row) for row, cell in enumerate(cells)]))

    def finish(self) -> NDArray[np.float64]:
        return _joined(self._parts, np.float64)

    def _number(self, cell: str, row: int) -> float:
        if cell.strip() in UNKNOWN:
            return np.nan
        try:
            return float(cell)
        except ValueError:
            self.first_text = self.first_text or (row, cell)
            return np.nan


def _joined(parts: list[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _reader(file: TextIO, path: Path) -> Any:
    return csv.reader(file, delimiter=separator_of(path), skipinitialspace=True, strict=True)


def _filled(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """The lines that are not blank."""
    return filter(None, lines)


def _check_widths(path: Path, rows: list[list[str]], width: int, *, first_row: int) -> None:
    if set(map(len, rows)) != {width}:
        row = next(row for row, cells in enumerate(rows) if len(cells) != width)
        raise InputError(
            f"{path}, line {_line_of(path, first_row + row)}: there are {len(rows[row])} cells under {width} columns; "
            "give a cell, or an empty one, per column."
        )


def _line_of(path: Path, row: int) -> int:
    """The line of the file that a row ends on, counted from 1."""
    with open_text(path) as file:
        reader = _reader(file, path)
        next(itertools.islice(_filled(reader), row + 1, None))  # the header is the first filled line
        return int(reader.line_num)

"""Tables of text (`.csv`, `.tsv`, either gzipped) as columns of labels and of numbers, and which of them are inputs."""

from __future__ import annotations

import collections
import csv
import dataclasses
import difflib
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError, did_you_mean
from motet.names import of_cell

TABLE_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
UNKNOWN = frozenset({"", "NA", "N/A", "null"})  # and NaN in any case: cells that hold no number, and no label
MOST_UNZIPPED = 1 << 24  # bytes of a zipped table; more only if they are at most so many times those of the file:
MOST_TIMES_ZIPPED = 50  # tables shrink five- to thirtyfold
_SEPARATORS = {",": "commas (',')", "\t": "tabs", ";": "semicolons (';')", "|": "bars ('|')"}
_ROWS_AT_ONCE = 2000  # what fits a processor's cache is read three times as fast
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
_PADDED_NUMBER = re.compile("[+-]?0[0-9]+")


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a table.

    Attributes:
        source: what messages call it.
        names: of the columns that have one, in the order of the file.
        n_rows: rows below the header; blank lines are none.
        labels: of every column of labels the distinct cells, and each row's place among them.
        numbers: of every other column (row,), NaN where a cell is unknown or no number.
        first_text: of those that hold more than numbers, the row and the content of the first cell that is none.
        place: what a message calls a row, such as "line 3".
    """

    source: str
    names: tuple[str, ...]
    n_rows: int
    labels: Mapping[str, tuple[tuple[str, ...], NDArray[np.int64]]]
    numbers: Mapping[str, NDArray[np.float64]]
    first_text: Mapping[str, tuple[int, str]]
    place: Callable[[int], str]

    def finite(self, name: str, *, all_known: bool = False) -> NDArray[np.float64]:
        """A column of numbers, NaN where unknown."""
        if name in self.first_text:
            row, cell = self.first_text[name]
            form = "a number with a decimal point" if re.fullmatch("[+-]?[0-9]*,[0-9]+", cell.strip()) else "a number"
            raise self.refusal(row, f"column {name!r} holds {cell[:80]!r}; give {form}, or an empty cell for unknown.")
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
        """A column of labels, none of which is empty."""
        labels, places = self.labels[name]
        if "" in labels:
            raise self.refusal(int((places == labels.index("")).argmax()), f"column {name!r} is empty; give its label.")
        return labels, places

    def typed_labels(self, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The distinct known labels of a column, and each row's place among them; -1 where unknown.

        They are int64 if all are whole numbers, float64 if all are numbers, and else text.
        """
        cells, places = self.labels[name]
        known = [cell for cell in cells if cell not in UNKNOWN and cell.lower() != "nan"]
        values = _typed(known)
        if values.dtype.kind == "f" and np.isinf(values).any():
            cell = known[int(np.isinf(values).argmax())]
            row = int((places == cells.index(cell)).argmax())
            raise self.refusal(row, f"column {name!r} is infinite; give a finite number, or an empty cell for unknown.")
        distinct, place = np.unique(values, return_inverse=True)
        of_cell = dict(zip(known, place.tolist(), strict=True))
        return distinct, np.array([of_cell.get(cell, -1) for cell in cells], dtype=np.int64)[places]

    def is_empty(self, name: str) -> bool:
        """Whether no cell of a column holds anything."""
        if name in self.labels:
            return all(cell in UNKNOWN for cell in self.labels[name][0])
        return name not in self.first_text and bool(np.isnan(self.numbers[name]).all())

    def require(self, *names: str) -> None:
        """Refuse a table that lacks a column."""
        for name in names:
            if name not in self.names:
                raise absent(name, self.names, what="column", source=self.source)

    def refusal(self, row: int, problem: str) -> InputError:
        """An `InputError` that names the place of a row."""
        return InputError(f"{self.source}, {self.place(row)}: {problem}")


def read_table(
    path: Path, *, labels: Collection[str], columns: Mapping[str, str], optional: Collection[str] = ()
) -> Table:
    """Read a table with a header; a million rows of six columns take about three seconds.

    Args:
        path: its name ends in one of `TABLE_ENDINGS`: `.tsv` is separated by tabs, `.csv` by commas.
        labels: the columns of labels; every other one is read as numbers.
        columns: what the file calls a column, by the name that it has here.
        optional: columns that need not be there even if `columns` names them.
    """
    n_rows = 0
    try:
        if path.name.lower().endswith(".gz"):
            _check_unzipped(path)
        with open_text(path) as file:
            lines = filter(None, _reader(file, path))  # blank ones are passed over
            header = [of_cell(cell.strip()) for cell in next(lines, [])]
            if not header:
                raise InputError(f"{path} is empty; give a header that names the columns, and a row per observation.")
            _check_separator(header, path)
            names = own_names(header, columns, optional=optional, source=str(path))
            found = [_Labels() if name in labels else _Numbers() for name in names]
            while rows := list(itertools.islice(lines, _ROWS_AT_ONCE)):
                if wrong := [row for row, cells in enumerate(rows) if len(cells) != len(header)]:
                    raise InputError(
                        f"{path}, line {line_of(path, n_rows + wrong[0])}: there are {len(rows[wrong[0]])} cells under "
                        f"{len(header)} columns; give a cell, or an empty one, per column."
                    )
                cells = list(itertools.chain.from_iterable(rows))
                for place, column in enumerate(found):
                    column.add(cells[place :: len(header)], first_row=n_rows)
                n_rows += len(rows)
    except (EOFError, UnicodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); give text, in UTF-8, with a header.") from error
    for place, (name, column) in enumerate(zip(names, found, strict=True), start=1):
        if not name and not (isinstance(column, _Numbers) and column.is_index()):
            raise InputError(f"{path}: column {place} has no name in the header; give it one.")
    named = {name: column for name, column in zip(names, found, strict=True) if name}
    of_numbers = {name: column for name, column in named.items() if isinstance(column, _Numbers)}
    return Table(
        source=str(path),
        names=tuple(named),
        n_rows=n_rows,
        labels={name: column.finish() for name, column in named.items() if isinstance(column, _Labels)},
        numbers={name: column.finish() for name, column in of_numbers.items()},
        first_text={name: column.first_text for name, column in of_numbers.items() if column.first_text},
        place=lambda row: f"line {line_of(path, row)}",
    )


def open_text(path: Path) -> TextIO:
    """A text file to read, unzipped if its name ends in .gz; a byte-order mark is passed over."""
    file = gzip.GzipFile(path) if path.name.lower().endswith(".gz") else path.open("rb")
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def separator_of(path: Path) -> str:
    """What parts the cells of a table: a tab if its name ends in .tsv or .tsv.gz, or else a comma."""
    return "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def ending_of(path: Path, allowed: Iterable[str]) -> str:
    """The longest of the allowed endings that the name of a file has, as it is written there."""
    found = [ending for ending in allowed if path.name.lower().endswith(ending)]
    if not found:
        raise InputError(f"{path} has an unknown ending; give a file whose name ends in {', '.join(sorted(allowed))}.")
    return path.name[-len(max(found, key=len)) :]


def own_names(
    given: Iterable[str], columns: Mapping[str, str], *, source: str, optional: Collection[str] = ()
) -> list[str]:
    """The names given, with those that `columns` renames under the name that they have here."""
    given = list(given)
    for own, theirs in columns.items():
        if theirs not in given and own not in optional:
            raise did_you_mean(str(theirs), given, what=f"column (for {own!r}) of {source}")
    renamed = {theirs: own for own, theirs in columns.items()}
    names = [renamed.get(name, name) for name in given]
    for name, n_alike in collections.Counter(names).items():
        if name and n_alike > 1:
            raise InputError(f"{source} has two columns for {name!r}: {enumerated(given)}; rename one of them.")
    return names


def absent(name: str, known: Iterable[str], *, what: str, source: str) -> InputError:
    """An `InputError` for a name that must be there and is not."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return InputError(
        f"{source} has no {what} {name!r}{hint} It has: {enumerated(known) or 'none'}. Rename the one that is meant, "
        f"or say columns={{{name!r}: {near[0] if near else '…'!r}}} (on the command line in --reading)."
    )


class _Labels:
    """A column of labels, as it is read."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._parts = [np.empty(0, np.int64)]

    def add(self, cells: list[str], *, first_row: int) -> None:
        codes = self._codes
        self._parts.append(np.array([codes.setdefault(cell, len(codes)) for cell in cells], dtype=np.int64))

    def finish(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        stripped: dict[str, int] = {}
        place = [stripped.setdefault(of_cell(cell.strip()), len(stripped)) for cell in self._codes]
        return tuple(stripped), np.array(place, dtype=np.int64)[np.concatenate(self._parts)]


class _Numbers:
    """A column of numbers, as it is read."""

    def __init__(self) -> None:
        self._parts = [np.empty(0)]
        self.first_text: tuple[int, str] | None = None

    def add(self, cells: list[str], *, first_row: int) -> None:
        try:
            self._parts.append(np.array(list(map(float, cells))))
        except ValueError:
            self._parts.append(np.array([self._number(cell, first_row + row) for row, cell in enumerate(cells)]))

    def finish(self) -> NDArray[np.float64]:
        return np.concatenate(self._parts)

    def is_index(self) -> bool:
        """Whether it numbers rows, each once, or is empty."""
        numbers = self.finish()
        if self.first_text or np.isnan(numbers).all():
            return not self.first_text
        return bool((numbers == np.rint(numbers)).all()) and len(np.unique(numbers)) == len(numbers)

    def _number(self, cell: str, row: int) -> float:
        if cell.strip() in UNKNOWN:
            return np.nan
        try:
            return float(cell)
        except ValueError:
            self.first_text = self.first_text or (row, cell)
            return np.nan


def _check_unzipped(path: Path) -> None:
    """Refuse a zipped file that holds far more than files of its size do, before it is read."""
    most = max(MOST_UNZIPPED, MOST_TIMES_ZIPPED * path.stat().st_size)
    with gzip.open(path) as file:
        n_bytes = 0
        while chunk := file.read(1 << 20):
            n_bytes += len(chunk)
            if n_bytes > most:
                raise InputError(
                    f"{path} unzips to more than {MOST_TIMES_ZIPPED} times its size; unzip it, if you trust it, and "
                    "give the unzipped table."
                )


def _typed(cells: list[str]) -> NDArray[Any]:
    """Cells as int64 if all are whole numbers, as float64 if all are numbers, and else as text."""
    if cells and all(_WHOLE_NUMBER.fullmatch(cell) for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    try:
        numbers = np.array([float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells, dtype=np.str_)
    return np.array(cells, dtype=np.str_) if any(map(_PADDED_NUMBER.fullmatch, cells)) else numbers


def _check_separator(header: list[str], path: Path) -> None:
    """Refuse a header whose cells hold names parted by something else."""
    for separator, called in _SEPARATORS.items():
        if separator != separator_of(path) and sum(cell.count(separator) for cell in header) >= len(header):
            raise InputError(
                f"{path} is separated by {called}; save it as .csv separated by commas, or as .tsv separated by tabs, "
                "with decimal points."
            )


def _reader(file: TextIO, path: Path) -> Any:
    return csv.reader(_of_text(file, path), delimiter=separator_of(path), skipinitialspace=True, strict=True)


def _of_text(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file, none of which holds a zero character."""
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise InputError(f"{path}, line {number}: there is a zero character, which text does not hold; remove it.")
        yield line


def line_of(path: Path, row: int) -> int:
    """The line of the file that a row ends on, counted from 1."""
    with open_text(path) as file:
        reader = _reader(file, path)
        next(itertools.islice(filter(None, reader), row + 1, None))  # the header is the first filled line
        return int(reader.line_num)


# Columns of these names are features where nobody says otherwise: of one line only, and if no other column is left.
CONVENTIONS = (
    re.compile("[va]?[xyz]", re.IGNORECASE),
    re.compile("cos|sin|rate", re.IGNORECASE),
    re.compile("feature_[0-9]+"),
)
LONE_CONVENTION = re.compile("counts?|spikes?|values?", re.IGNORECASE)
MOST_NAMES = 12  # that a message lists


def claim(
    names: Sequence[str],
    *,
    features: Sequence[str] | None,
    targets: Sequence[str] | None,
    known_targets: Collection[str],
    source: str,
    what: str = "column",
    targets_are_optional: bool = False,
) -> tuple[list[str], list[str]]:
    """The names of the features and of the targets.

    `features` and `targets` say exactly which. Without `targets` they are the known ones. Without `features` they are
    the others, if those have the names of coordinates or counts; anything else might be a label, which is no input.
    """
    as_inputs = None if features is None else listed(features, what="features")
    as_targets = None if targets is None else listed(targets, what="targets")
    if as_targets is not None and targets_are_optional:
        as_targets = [name for name in as_targets if name in names]
    for kind, given in (("feature", as_inputs), ("target", as_targets)):
        for name in given or ():
            if name not in names:
                raise did_you_mean(name, names, what=f"{kind} of {source}")
    inputs = set(as_inputs or ())
    if as_targets is None:
        as_targets = [name for name in names if name in known_targets and name not in inputs]
    if both := inputs & set(as_targets):
        raise InputError(f"{source}: {min(both)!r} is in both features and targets; leave it out of one of them.")
    if as_inputs is None:
        as_inputs = [name for name in names if name not in as_targets]
        if as_inputs and not _are_conventional(as_inputs):
            raise InputError(
                f"{source}: {what}s {enumerated(as_inputs)} may be inputs or labels, and nobody says which; "
                f"say {_suggestion(as_inputs, as_targets)} "
                "(on the command line --reading '{features: […], targets: […]}')."
            )
    if not as_inputs:
        raise InputError(f"{source} has no {what} left to be a feature; give one, or say features=[…].")
    return as_inputs, as_targets


def listed(given: Any, *, what: str) -> list[str]:
    """A list of names, each once."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InputError(f"{what} is {given!r}; give a list of names.")
    names = list(given)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"{what} is {names}; give a list of names, each once.")
    return names


def check_keys(columns: Any, allowed: Collection[str]) -> dict[str, str]:
    """What a source calls its columns, by motet's names."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping) or not all(isinstance(text, str) for text in (*columns, *columns.values())):
        raise InputError(f"columns is {columns!r}; give the source's names by motet's, as {{'individual': 'fish'}}.")
    for key in columns:
        if key not in allowed and not _are_conventional([key]):
            raise did_you_mean(key, allowed, what="key of columns")
    return dict(columns)


def enumerated(names: Iterable[str]) -> str:
    """Names for a message, of many the first ones."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:MOST_NAMES])
    return f"{shown}, … ({len(names)} in all)" if len(names) > MOST_NAMES else shown


def _are_conventional(names: Sequence[str]) -> bool:
    conventions = (*CONVENTIONS, LONE_CONVENTION) if len(names) == 1 else CONVENTIONS
    return any(all(convention.fullmatch(name) for name in names) for convention in conventions)


def _suggestion(left: Sequence[str], targets: Sequence[str]) -> str:
    """The options that would read these columns: inputs by their names, and the others as targets."""
    inputs = next(
        (found for c in (*CONVENTIONS, LONE_CONVENTION) if (found := [name for name in left if c.fullmatch(name)])), []
    )
    labels = [*targets, *(name for name in left if name not in inputs)]
    if len(left) > MOST_NAMES or not inputs:
        return "features=[…] and targets=[…]"
    return f"for instance features={inputs}, targets={labels}"

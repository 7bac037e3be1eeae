"""Names that users gave, in places where some letters mean something: terminals, figures, Markdown, tables, paths."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from typing import Any

MOST_SHOWN = 80  # letters of a line
MOST_IN_PATH = 80


def visible(text: str) -> str:
    r"""The text with an escape in place of whatever does not print.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """The text, its middle left out if it is longer.

    >>> shortened("abcdefgh", 5)
    'ab…gh'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"


def in_markdown(name: str, *, most: int = MOST_SHOWN) -> str:
    r"""A name as it reads in Markdown, whatever it is.

    >>> in_markdown("a|b <i> *c*")
    'a\\|b \\<i> \\*c\\*'
    """
    return re.sub(r"([\\`*_\[<|~$])", r"\\\1", shortened(visible(name), most))


def in_path(name: str) -> str:
    """A name as a part of a path: letters, digits and hyphens; with a digest if other letters had to go.

    >>> in_path("reach/chewie-1"), in_path("../x")
    ('reach-chewie-1', 'x-998b33')
    """
    plain = re.sub("[/_]", "-", name)
    kept = re.sub(r"[^A-Za-z0-9.-]+", "-", plain).strip("-.").replace("..", "-")
    if kept == plain and len(kept) <= MOST_IN_PATH:
        return kept
    end = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=3).hexdigest()
    return f"{kept[: MOST_IN_PATH - 7]}-{end}".lstrip("-")


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    r"""A table for people: no cell of text is a formula to a spreadsheet, which an apostrophe before it prevents.

    >>> csv_text(["trial", "p"], [["=1+1", -0.5], ["-3.0", 1]])
    "trial,p\n'=1+1,-0.5\n-3.0,1\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([no_formula(cell) for cell in header])
    writer.writerows([no_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


def no_formula(cell: Any) -> Any:
    """What stands for the content of a cell where text would be a formula: that with an apostrophe before it."""
    if not isinstance(cell, str) or not re.match(r"'*[=+@\t\r-]", cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def of_cell(cell: str) -> str:
    """The text that `no_formula` had.

    >>> of_cell(no_formula("=1+1")), of_cell(no_formula("'-x")), of_cell("'s")
    ('=1+1', "'-x", "'s")
    """
    return cell[1:] if re.match(r"'+[=+@\t\r-]", cell) else cell

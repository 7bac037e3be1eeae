"""Tables with a row per time and a column per individual: which columns are individuals, and what stands in them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.tables import CONVENTIONS, absent, enumerated, listed
from motet.errors import InputError, did_you_mean

AXES = ("trial", "time")
_NUMBERED = re.compile("(.*?)[0-9]+")


def individual_columns(names: Sequence[str], individuals: Sequence[str] | None, targets: Sequence[str]) -> list[str]:
    """The columns that are individuals, in the order of the table; none where the table is of another form.

    `individuals` names them, or says how they are called ("unit_*"). Without it, they are the columns that `targets`
    does not name, if there are two or more and all are one text and a number, as unit_1 and unit_2.
    """
    left = [name for name in names if name not in (*AXES, *targets)]
    if individuals is None:
        stems = {found[1] if (found := _NUMBERED.fullmatch(name)) else name for name in left}
        is_family = len(left) > 1 and len(stems) == 1 and "individual" not in names
        return left if is_family and not any(one.fullmatch(left[0]) for one in CONVENTIONS) else []
    chosen: set[str] = set()
    for pattern in listed(individuals, what="individuals"):
        alike = {name for name in names if name == pattern} or set(fnmatch.filter(left, pattern))
        if not alike:
            raise did_you_mean(pattern, left, what="column of individuals")
        chosen |= alike
    if both := chosen & {*AXES, *targets}:
        raise InputError(f"column {min(both)!r} is an individual, and the time, the trial or a target; say it once.")
    return [name for name in names if name in chosen]


def no_individuals(names: Sequence[str], source: str) -> InputError:
    """An `InputError` for a table in which nothing says who is an individual."""
    left = [name for name in names if name not in AXES]
    stems = [found[1] for name in left if (found := _NUMBERED.fullmatch(name))]
    stem = max(stems, key=stems.count, default="")
    if stems.count(stem) < 2:
        wide = "Or say individuals=[…], targets=[…] where each individual has a column of its own."
        return InputError(f"{absent('individual', names, what='column', source=source)} {wide}")
    others = [name for name in left if not re.fullmatch(f"{re.escape(stem)}[0-9]+", name)]
    time = "" if "time" in names else ", and columns={'time': …} or bin_seconds=…"
    return InputError(
        f"{source} has no column 'individual'. If each individual has a column of its own, say individuals="
        f"['{stem or '[0-9]'}*'], targets=[…] (which may be {enumerated(others) or 'none'}){time}; if not, "
        "columns={'individual': …} (on the command line in --reading)."
    )


def seconds_of_rows(trial: NDArray[np.int64], bin_seconds: float) -> NDArray[np.float64]:
    """The time of each row in its trial, where rows follow each other at equal steps."""
    order = np.argsort(trial, kind="stable")
    is_first = np.diff(trial[order], prepend=-1) != 0
    firsts = np.maximum.accumulate(np.where(is_first, np.arange(len(trial)), 0))
    seconds = np.empty(len(trial))
    seconds[order] = (np.arange(len(trial)) - firsts) * bin_seconds
    return seconds


def as_individuals(values: NDArray[Any]) -> NDArray[Any]:
    """Values (trial, 1, time, column) as (trial, individual, time, 1)."""
    return np.ascontiguousarray(np.moveaxis(values, (1, 3), (3, 1)))

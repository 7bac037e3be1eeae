"""The one error a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_NAMES = 12  # that an error lists


class InputError(ValueError):
    """Something given to motet cannot be used.

    The message says what was given, what is allowed and what to do. The command line prints it in
    one line and exits with status 2.

    Example:
        >>> import motet
        >>> try:
        ...     motet.EITSettings(width=0)
        ... except motet.InputError as error:
        ...     print(error)
        model.width is 0; give a whole number, at least 1.
    """


def did_you_mean(given: str, known: Iterable[str], *, what: str) -> InputError:
    """An `InputError` for a name that is not known, with the nearest known names.

    >>> str(did_you_mean("velocty", ["velocity", "direction"], what="target"))
    "unknown target 'velocty'; did you mean 'velocity'? Allowed: direction, velocity."
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = names
    if len(names) > MOST_NAMES:
        listed = [
            *difflib.get_close_matches(given, names, n=MOST_NAMES, cutoff=0),
            f"and {len(names) - MOST_NAMES} more",
        ]
    return InputError(f"unknown {what} {given!r}{hint} Allowed: {', '.join(listed) or 'none'}.")


def lacking_extra(extra: str, why: str) -> InputError:
    """An `InputError` for a package that only some need, and that is not installed.

    >>> str(lacking_extra("report", "a report draws its figures with plotly"))
    "a report draws its figures with plotly, which is not installed; pip install 'motet[report]'."
    """
    return InputError(f"{why}, which is not installed; pip install 'motet[{extra}]'.")

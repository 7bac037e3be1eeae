"""The one error a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something given to motet cannot be used.

    The message says what was given, what is allowed and what to do. The command line prints it in
    one line and exits with status 2.
    """


def did_you_mean(given: str, known: Iterable[str], *, what: str) -> InputError:
    """An `InputError` for a name that is not known, with the nearest known names.

    >>> str(did_you_mean("velocty", ["velocity", "direction"], what="target"))
    "unknown target 'velocty'; did you mean 'velocity'? Allowed: direction, velocity."
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return InputError(f"unknown {what} {given!r}{hint} Allowed: {', '.join(names) or 'none'}.")

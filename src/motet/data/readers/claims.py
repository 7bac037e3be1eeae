"""Which columns of a table, or variables of xarray, are features and which are targets: `claim`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from motet.errors import InputError, did_you_mean

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

    Raises:
        InputError: if a name is not there, is claimed twice, or nobody says what it is.

    Example:
        >>> claim(["x", "y", "mass"], features=None, targets=None, known_targets=["mass"], source="a.csv")
        (['x', 'y'], ['mass'])
    """
    as_inputs = None if features is None else listed(features, what="features")
    as_targets = None if targets is None else listed(targets, what="targets")
    if as_targets is not None and targets_are_optional:
        as_targets = [name for name in as_targets if name in names]
    for kind, given in (("feature", as_inputs), ("target", as_targets)):
        for name in given or ():
            if name not in names:
                raise did_you_mean(name, names, what=f"{kind} of {source}")
    if as_targets is None:
        as_targets = [name for name in names if name in known_targets and name not in (as_inputs or ())]
    if both := [name for name in as_inputs or () if name in as_targets]:
        raise InputError(f"{source}: {both[0]!r} is in both features and targets; leave it out of one of them.")
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
    """A list of names, each once.

    Raises:
        InputError: if it is anything else, such as one name alone.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InputError(f"{what} is {given!r}; give a list of names.")
    names = list(given)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"{what} is {names}; give a list of names, each once.")
    return names


def check_keys(columns: Any, allowed: Collection[str]) -> dict[str, str]:
    """What a source calls its columns, by motet's names.

    Raises:
        InputError: if it is no mapping of text to text, or a key is none of the allowed, naming the nearest.
    """
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
    if len(names) == 1 and LONE_CONVENTION.fullmatch(names[0]):
        return True
    return any(all(convention.fullmatch(name) for name in names) for convention in CONVENTIONS)


def _suggestion(left: Sequence[str], targets: Sequence[str]) -> str:
    """The options that would read these columns: inputs by their names, and the others as targets."""
    inputs = next(
        (found for c in (*CONVENTIONS, LONE_CONVENTION) if (found := [name for name in left if c.fullmatch(name)])), []
    )
    labels = [*targets, *(name for name in left if name not in inputs)]
    if len(left) > MOST_NAMES or not inputs:
        return "features=[…] and targets=[…]"
    return f"for instance features={inputs}, targets={labels}"

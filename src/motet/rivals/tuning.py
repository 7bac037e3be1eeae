"""How the options of a rival are chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from motet.errors import InputError

Options = Mapping[str, Any]


def tune(
    options: Mapping[str, Sequence[Any]], loss: Callable[[Options], float], *, start: Options | None = None
) -> dict[str, Any]:
    """The options of least loss: one is changed after the other, the others as they are, until none gains.

    Args:
        options: by name, the values to try.
        loss: of one value per option. An `InputError` refuses these values.
        start: the values to begin with; by default the first of each.

    Raises:
        InputError: the first refusal, if all are refused.

    Example:
        >>> tune({"x": (0, 1, 2), "y": (0, 1)}, lambda at: (at["x"] - 1) ** 2 - at["y"])
        {'x': 1, 'y': 1}
    """
    refused: list[InputError] = []

    def tried(candidate: Options) -> tuple[bool, float]:
        try:
            return False, loss(candidate)
        except InputError as error:
            refused.append(error)
            return True, math.inf

    best = dict(start or {name: values[0] for name, values in options.items()})
    seen, least, gains = [best], tried(best), True
    while gains:
        gains = False
        for name, value in [(name, value) for name, values in options.items() for value in values]:
            if (candidate := best | {name: value}) not in seen:
                seen.append(candidate)
                if (found := tried(candidate)) < least:
                    least, best, gains = found, candidate, True
    if least[0]:
        raise refused[0]
    return best

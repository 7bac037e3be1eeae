"""The history of a training: what every epoch came to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from motet.plain import from_plain


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch came to; a row of the history. Validation figures are NaN without a validation part."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_score: float
    learning_rate: float
    seconds: float

    def __str__(self) -> str:
        validation = ""
        if math.isfinite(self.validation_loss):
            validation = f", validation {self.validation_loss:.3f}, score {self.validation_score:.3f}"
        return f"epoch {self.epoch}: loss {self.train_loss:.3f}{validation}"


def as_columns(history: Sequence[Epoch]) -> dict[str, list[float]]:
    """One list per column of a history."""
    return {field.name: [getattr(row, field.name) for row in history] for field in dataclasses.fields(Epoch)}


def read_history(about: Mapping[str, Any]) -> list[Epoch]:
    """The history in the description of weights, a checkpoint or predictions.

    Raises:
        KeyError, TypeError, ValueError: if there is none.
    """
    history: list[Epoch] = from_plain(list[Epoch], about["history"], what="the history")
    if [row.epoch for row in history] != list(range(1, len(history) + 1)) or not history:
        raise ValueError("the history has no epoch, or lacks some")
    return history

"""What a verb leaves, as a terminal shows it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.files import write_text
from motet.names import csv_text
from motet.tasks.find import digest
from motet.training.run import Run
from motet.training.settings import TrainingSettings

Columns = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run, or an evaluation in the folder of a run, with its table.

    Attributes:
        run: the folder.
        table: markdown.
        results: what results.json holds.

    Where training runs in several processes, all but the first have neither table nor results.
    """

    run: Run
    table: str
    results: Mapping[str, Any]

    @classmethod
    def read(cls, run: Run) -> Outcome:
        """What a finished run holds."""
        return cls(run, run.read_table(), run.read_results())

    def __str__(self) -> str:
        return f"{self.table}\n\nrun and figures: {self.run.folder}" if self.table else ""


@dataclasses.dataclass(frozen=True)
class Written:
    """Files for users to take away.

    Attributes:
        files: that were written.
        notes: what a reader should know of them.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*map(str, self.files), *self.notes])


def csv_of(columns: Columns) -> str:
    """Columns of equal length as a CSV table."""
    return csv_text(columns, zip(*(column.tolist() for column in columns.values()), strict=True))


def write_columns(path: Path, columns: Columns) -> Path:
    """Write columns of equal length as a CSV table."""
    write_text(path, csv_of(columns))
    return path


def begin(run: Run, settings: Any, inputs: Mapping[str, Sequence[Recording]], *, model: Run | None = None) -> None:
    """Keep what was asked for, and what the recordings held; refuse to go on in a run of others.

    Args:
        run: claimed.
        settings: a dataclass.
        inputs: recordings by their role, which is the name of the setting that says where they are.
        model: the run whose weights are used, if any.

    Raises:
        InputError: if the run was begun with other settings, recordings or weights.
    """
    asked = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    asked.pop("output", None)
    digests = {role: [digest(recording) for recording in recordings] for role, recordings in inputs.items()}
    if model is not None:
        digests["run"] = [model.digest("weights")]
    run.write_settings(asked, digests, paths={*digests, "name"})


def is_first_process(training: TrainingSettings) -> bool:
    """Whether this process writes and prints: of several that train together, the one that started the others."""
    if training.devices * training.n_nodes == 1:
        return True
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return not any(int(os.environ.get(rank, 0)) for rank in ranks)

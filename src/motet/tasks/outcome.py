"""What a verb leaves, as a terminal shows it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motet.training.run import Run
from motet.training.settings import TrainingSettings


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
        return cls(run, (run.folder / "table.md").read_text(encoding="utf-8").rstrip("\n"), run.read_results())

    @staticmethod
    def is_in(run: Run) -> bool:
        """Whether a run is finished."""
        return run.has_results and (run.folder / "table.md").exists()

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
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.files), *self.notes])


def is_first_process(training: TrainingSettings) -> bool:
    """Whether this process writes and prints: of several that train together, the one that started the others."""
    if training.devices * training.n_nodes == 1:
        return True
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return not any(int(os.environ.get(rank, 0)) for rank in ranks)

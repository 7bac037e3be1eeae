"""The presets of `motet benchmark`, as data: which recordings, which target, and the protocol.

A preset says nothing of a model or its training: those are everybody's defaults. (`quick` does: it only shows that all
works, and leaves out rivals that take long.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from motet.systems.population import PopulationSettings
from motet.training.settings import TrainingSettings

PROTOCOL = frozenset({"bins", "window", "stride", "folds", "tested_folds", "by", "gap_seconds", "metric", "causal"})
"""What a preset may say: fields of `DecodeSettings`, and whether a bin is decoded from the bins up to it alone."""


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One recording and target under one protocol: a table of methods.

    Attributes:
        name: of its folder, and above its table.
        recording: a file, or a name in the catalogue; the name of a subject, if it is simulated.
        target: what is decoded.
        options: of `DecodeSettings`, and `causal`.
        simulated: how the recording is made, if it is.
    """

    name: str
    recording: str
    target: str
    options: Mapping[str, Any]
    simulated: PopulationSettings | None = None


def _reach(recording: str, n_bins: int) -> tuple[Cell, ...]:
    """Of a reach recording whose shortest trial, or at most 8 bins of it, has so many."""
    name = recording.rpartition("/")[2]
    return (
        Cell(f"window-2/{name}", recording, "direction", {"bins": max(2, n_bins - 1), "window": 2}),
        Cell(f"trial/{name}", recording, "direction", {"bins": n_bins}),
        Cell(f"velocity/{name}", recording, "velocity", {"causal": True}),
    )


def _population(settings: PopulationSettings) -> tuple[Cell, ...]:
    return tuple(
        Cell(f"{target}/{subject}", subject, target, {"causal": True} if target == "velocity" else {}, settings)
        for subject in (f"subject-{number + 1}" for number in range(settings.n_subjects))
        for target in ("direction", "velocity")
    )


_SLEEP = Cell(
    "state/mouse-ca1",
    "sleep/mouse-ca1",
    "state",
    {"window": 8, "stride": 8, "by": "time", "gap_seconds": 32.0, "metric": "macro_f1"},  # bins last 4 s
)
_TRACK = Cell("position/linear-track", "hippocampus/linear-track", "position", {"by": "time"})

PRESETS: Mapping[str, tuple[Cell, ...]] = {
    "reach": (*_reach("reach/chewie-1", 8), *_reach("reach/chewie-2", 3), *_reach("reach/mihi-1", 4)),
    "reach-paper": (
        Cell(
            "paper/chewie-1",
            "reach/chewie-1",
            "direction",
            {"bins": 7, "window": 2, "by": "time", "tested_folds": 1, "gap_seconds": 0.0},
        ),
    ),
    "sleep": (_SLEEP,),
    "population": _population(PopulationSettings(seed=1)),
    "unseen": (_TRACK, _SLEEP),
    "quick": (
        Cell(
            "direction/subject-1",
            "subject-1",
            "direction",
            {"folds": 2, "rivals": True, "training": TrainingSettings(max_steps=20)},
            PopulationSettings(n_subjects=1, n_trials=64, n_neurons=20, n_directions=4, n_bins=6, seed=1),
        ),
    ),
}

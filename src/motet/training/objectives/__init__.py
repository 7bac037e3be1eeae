"""Objectives, what is asked of a model: one file each, and a registry.

A new objective of a target is a class in a file of its own, and a line of `OBJECTIVES`; `ObjectiveSettings(name=…)`
then chooses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motet.errors import did_you_mean
from motet.training.objectives.classify import Classify
from motet.training.objectives.context import Context
from motet.training.objectives.episodes import EpisodeSettings, InTurn, Use
from motet.training.objectives.forecast import DIVERGED, FEWEST_BINS, FUTURE, Forecast, ForecastSettings
from motet.training.objectives.interactions import InteractionSettings, RecoverInteractions, pair_target
from motet.training.objectives.masked import Masked, told_apart
from motet.training.objectives.objective import (
    PART,
    TRIAL_WEIGHT,
    Joint,
    Objective,
    ObjectiveSettings,
    Supervised,
    hidden,
)
from motet.training.objectives.regress import Regress
from motet.training.objectives.states import HiddenState, state_target
from motet.training.objectives.target import Target, TargetKind, known_predictions, known_rows
from motet.training.objectives.views import Views

__all__ = [
    "DIVERGED",
    "FEWEST_BINS",
    "FUTURE",
    "OBJECTIVES",
    "PART",
    "TRIAL_WEIGHT",
    "Classify",
    "Context",
    "EpisodeSettings",
    "Forecast",
    "ForecastSettings",
    "HiddenState",
    "InTurn",
    "InteractionSettings",
    "Joint",
    "Masked",
    "Objective",
    "ObjectiveSettings",
    "RecoverInteractions",
    "Regress",
    "Supervised",
    "Target",
    "TargetKind",
    "Use",
    "Views",
    "hidden",
    "known_predictions",
    "known_rows",
    "make_objective",
    "pair_target",
    "state_target",
    "told_apart",
]

OBJECTIVES: dict[str, type[Objective]] = {
    "classify": Classify,
    "regress": Regress,
    "interactions": RecoverInteractions,
    "state": HiddenState,
    "forecast": Forecast,
    "context": Context,
    "masked": Masked,
    "views": Views,
}
"""Objectives by name. Of a kind of target, the first is what "auto" means."""


def make_objective(
    targets: Sequence[Target], *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings
) -> Joint:
    """The objective of some targets per trial or per bin, the one of interest first.

    Args:
        targets: see `Target`.
        width: of an embedding.
        ids: individuals, for a readout by individual.
        settings: see `ObjectiveSettings`; its name chooses the objective of the first target.

    Raises:
        InputError: if there is no objective of that name for such a target.
    """
    shared: dict[str, Any] = {"width": width, "ids": ids, "settings": settings}
    names = [settings.name] + ["auto"] * (len(targets) - 1)
    return Joint([_kind(target, name)(target, **shared) for target, name in zip(targets, names, strict=True)])


def _kind(target: Target, name: str) -> type[Any]:
    fitting = {known: kind for known, kind in OBJECTIVES.items() if kind.reads == target.kind}
    if name != "auto" and name not in fitting:
        raise did_you_mean(name, ["auto", *fitting], what=f"objective.name of a {target.kind}")
    return fitting[name] if name != "auto" else next(iter(fitting.values()))

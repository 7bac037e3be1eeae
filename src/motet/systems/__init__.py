"""Simulated systems whose truth is known, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from motet.data.recording import Recording
from motet.errors import did_you_mean
from motet.systems import gravity, kuramoto
from motet.systems.gravity import GravitySettings, simulate_gravity
from motet.systems.kuramoto import KuramotoSettings, simulate_kuramoto
from motet.systems.laws import Law
from motet.systems.particles import (
    CHARGES,
    SPRINGS,
    ChargedSettings,
    SpringsSettings,
    simulate_charged,
    simulate_springs,
)
from motet.systems.population import PopulationSettings, simulate_population


class System(NamedTuple):
    """A kind of system: recordings, which carry the law of force (if there is one) as metadata, from its settings."""

    description: str
    settings: type[Any]
    simulate: Callable[[Any], list[Recording]]
    law: Law | None = None


SYSTEMS: dict[str, System] = {
    "gravity": System("bodies that attract each other", GravitySettings, simulate_gravity, gravity.LAW),
    "springs": System("particles joined by springs", SpringsSettings, simulate_springs, SPRINGS),
    "charged": System("particles that attract or repel", ChargedSettings, simulate_charged, CHARGES),
    "kuramoto": System("oscillators that pull each other", KuramotoSettings, simulate_kuramoto, kuramoto.LAW),
    "population": System("neurons of subjects who reach to targets", PopulationSettings, simulate_population),
}
FORCES: dict[str, Law] = {name: system.law for name, system in SYSTEMS.items() if system.law is not None}


def simulate(name: str, **options: Any) -> list[Recording]:
    """Simulate a system by name; one recording per subject or group size.

    Args:
        name: a key of `SYSTEMS`.
        **options: fields of that system's settings; the others keep their defaults.

    Raises:
        InputError: if the name or an option is not known, or an option's value is out of range.

    Example:
        >>> [recording.name for recording in simulate("population", n_subjects=2, n_trials=16, seed=1)]
        ['population/subject-1', 'population/subject-2']
    """
    if name not in SYSTEMS:
        raise did_you_mean(name, SYSTEMS, what="system")
    system = SYSTEMS[name]
    known = [field.name for field in dataclasses.fields(system.settings)]
    for option in options:
        if option not in known:
            raise did_you_mean(option, known, what=f"option of system {name!r}")
    return system.simulate(system.settings(**options))

"""Simulated systems whose truth is known, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from motet.data.recording import Recording
from motet.errors import did_you_mean
from motet.systems.gravity import GravitySettings, simulate_gravity
from motet.systems.kuramoto import KuramotoSettings, simulate_kuramoto
from motet.systems.particles import ChargedSettings, SpringsSettings, simulate_charged, simulate_springs
from motet.systems.population import PopulationSettings, simulate_population


class System(NamedTuple):
    """A kind of system: a frozen dataclass of settings, and the function that simulates from them."""

    settings: type[Any]
    simulate: Callable[[Any], list[Recording]]


SYSTEMS: Mapping[str, System] = {
    "gravity": System(GravitySettings, simulate_gravity),
    "springs": System(SpringsSettings, simulate_springs),
    "charged": System(ChargedSettings, simulate_charged),
    "kuramoto": System(KuramotoSettings, simulate_kuramoto),
    "population": System(PopulationSettings, simulate_population),
}


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

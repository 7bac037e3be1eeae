"""What simulations of interacting individuals share: their settings, targets, graphs and engines."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.progress import progress_bar
from motet.settings import Count, NonNegative, Range, Seed, Settings
from motet.systems.laws import Law

Array = NDArray[np.float64]
Engine = Literal["auto", "numpy", "numba"]
GroupSize = Annotated[int, Range(least=2)]

TARGET_LEVELS: Mapping[str, Level] = {
    "interacts": "pair",
    "coupling": "pair",
    "system": "individual",
    "mass": "individual",
    "charge": "individual",
    "frequency": "individual",
    "energy": "bin",
}
"""What is known of a simulation, where it applies.

interacts: int64, 1 for an edge (or its type), 0 for none, -1 on the diagonal. coupling: how strongly, NaN on
the diagonal. system: int64, individuals that interact share a number. energy: of all individuals together.
"""


@dataclasses.dataclass(frozen=True)
class SimulationSettings(Settings):
    """What simulations of interacting individuals share."""

    n_trials: Count = 1000
    noise: NonNegative = 0.0
    seed: Seed = 0


def check_each_once(name: str, sizes: Sequence[Any]) -> None:
    """Refuse a setting that lists nothing, or something twice."""
    if not sizes or len(set(sizes)) < len(sizes):
        raise InputError(f"{name} is {sizes!r}; give one or more, each once.")


def system_recording(
    name: str, values: NDArray[Any], targets: Mapping[str, NDArray[Any]], *, bin_seconds: float, law: Law
) -> Recording:
    """A recording of simulated individuals, all observed; pairs lose their diagonal, quantities become float32."""
    n = values.shape[1]
    known: dict[str, NDArray[Any]] = {}
    for target, array in targets.items():
        is_float = array.dtype.kind == "f"
        known[target] = array.astype(np.float32 if is_float else np.int64)
        if TARGET_LEVELS[target] == "pair":
            known[target][:, range(n), range(n)] = np.nan if is_float else -1
    return Recording(
        values=values.astype(np.float32, copy=False),
        observed=np.broadcast_to(np.True_, values.shape[:3]).copy(),
        individual_ids=tuple(f"{name}/{individual}" for individual in range(n)),
        targets={target: np.broadcast_to(array, (len(values), *array.shape[1:])) for target, array in known.items()},
        bin_seconds=bin_seconds,
        subject=name,
        name=name,
        target_levels={target: TARGET_LEVELS[target] for target in targets},
        metadata=law.metadata,
    )


def random_graphs(n_trials: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(trial, individual, individual) symmetric, 0 or 1 at equal odds, 0 on the diagonal."""
    upper = np.triu(rng.integers(2, size=(n_trials, n, n)), k=1)
    return upper + upper.transpose(0, 2, 1)


def in_parts(
    function: Callable[..., tuple[NDArray[Any], ...]], *arrays: NDArray[Any], size: int, what: str
) -> tuple[NDArray[Any], ...]:
    """What a function gives for arrays (trial, …), some trials at a time, with a progress bar."""
    n = len(arrays[0])
    if n <= size:
        return function(*arrays)
    parts = []
    with progress_bar(what, n) as advance:
        for first in range(0, n, size):
            part = [array[first : first + size] for array in arrays]
            parts.append(function(*part))
            advance(len(part[0]), "")
    return tuple(np.concatenate(pieces) for pieces in zip(*parts, strict=True))


def is_compiled(engine: Engine) -> bool:
    """Whether an engine is numba; auto is, where numba is installed."""
    is_installed = importlib.util.find_spec("numba") is not None
    if engine == "numba" and not is_installed:
        raise InputError("engine 'numba' is not installed; pip install 'motet[fast]', or choose engine 'numpy'.")
    return engine != "numpy" and is_installed

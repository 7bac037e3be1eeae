"""Simulate a system whose truth is known, and save its recordings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from motet.data.readers import write_recording
from motet.systems import SYSTEMS
from motet.tasks.outcome import Written
from motet.tasks.verbs import Command

OUTPUT = "        output: folder to write recordings to."


class Simulations(Mapping[str, Command]):
    """For each system that there is, the command that simulates it: its settings, and the folder to write to."""

    def __getitem__(self, system: str) -> Command:
        settings = SYSTEMS[system].settings
        summary, _, rest = (settings.__doc__ or "").partition("Attributes:\n")
        with_output = dataclasses.make_dataclass(
            settings.__name__,
            [("output", str, dataclasses.field(default="data"))],
            bases=(settings,),
            frozen=True,
            namespace={"__doc__": f"{summary}Attributes:\n{OUTPUT}\n{rest}", "__module__": settings.__module__},
        )
        return Command(with_output, lambda asked: simulate_to_folder(system, asked), summary.partition("\n")[0])

    def __iter__(self) -> Iterator[str]:
        return iter(SYSTEMS)

    def __len__(self) -> int:
        return len(SYSTEMS)


SIMULATIONS = Simulations()


def simulate_to_folder(system: str, settings: Any) -> Written:
    """Simulate, and write one `.npz` recording per subject or size, with a picture of those that interact.

    Args:
        system: a key of `SYSTEMS`.
        settings: that system's settings, and `output`, a folder; made if absent.

    Raises:
        InputError: if the folder cannot be written.
    """
    from motet.report.style import save_figure
    from motet.report.trajectories import draw_simulation

    written, kind = [], SYSTEMS[system].settings
    bare = kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})
    for recording in SYSTEMS[system].simulate(bare):
        name = recording.name.removeprefix("population/").replace("/", "-")
        written.append(write_recording(recording, Path(settings.output) / f"{name}.npz"))
        if "interacts" in recording.targets:
            written += save_figure(draw_simulation(recording), settings.output, name)
    return Written(tuple(written))

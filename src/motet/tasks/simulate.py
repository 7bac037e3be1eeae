"""Simulate a system whose truth is known, and save its recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motet.data.readers import write_recording
from motet.systems import SYSTEMS


def simulate_to_folder(system: str, settings: Any, output: Path | str) -> list[Path]:
    """Simulate, and write one `.npz` recording per subject or size, with a picture of those that interact.

    Args:
        system: a key of `SYSTEMS`.
        settings: that system's settings.
        output: a folder; made if absent.

    Returns:
        The files written.

    Raises:
        InputError: if the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from motet.systems.population import PopulationSettings
        >>> [p.name for p in simulate_to_folder("population", PopulationSettings(n_subjects=1), tempfile.mkdtemp())]
        ['subject-1.npz']
    """
    written = []
    for recording in SYSTEMS[system].simulate(settings):
        name = recording.name.removeprefix("population/").replace("/", "-")
        written.append(write_recording(recording, Path(output) / f"{name}.npz"))
        if "interacts" in recording.targets:
            from motet.report.style import save_figure
            from motet.report.trajectories import draw_simulation

            written += save_figure(draw_simulation(recording), output, name)
    return written

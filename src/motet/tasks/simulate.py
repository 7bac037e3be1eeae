"""Simulate a system whose truth is known, and save its recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motet.data.readers import write_recording
from motet.systems import SYSTEMS


def simulate_to_folder(system: str, settings: Any, output: Path | str) -> list[Path]:
    """Simulate, and write one `.npz` recording per subject.

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
    recordings = SYSTEMS[system].simulate(settings)
    return [write_recording(r, Path(output) / f"{r.name.rpartition('/')[2]}.npz") for r in recordings]

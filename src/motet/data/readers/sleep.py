"""Reader of the sleep recording: hippocampus of a mouse over 12 h of free behaviour.

Source: Ma et al., Neuron 104, 655–664 (2019); repository nerdslab/myow-neuro.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from motet.data.readers.reading import file_reader, load_array
from motet.data.recording import Recording
from motet.errors import InputError

STATES = ("wake", "nREM", "REM")


@file_reader
def read_sleep(
    counts_path: Path | str, states_path: Path | str, *, name: str = "sleep", subject: str = "unknown"
) -> Recording:
    """Read the counts (neuron, bin) and the states (bin,) of one continuous recording, in bins of 4 s.

    The recording has one trial. The target `state`, per bin, is a position in `STATES`. (The files do not
    name their codes, but the bouts do: code 2 lasts about 2 min and always follows 1, never 0, as REM does.)
    Neighbouring bins are alike: split it in time with a gap, never at random.

    Raises:
        InputError: if a file is missing or damaged, or the two do not go together.
    """
    counts, states = (load_array(Path(path)) for path in (counts_path, states_path))
    if counts.ndim != 2 or states.shape != counts.shape[1:] or not np.isin(states, range(len(STATES))).all():
        raise InputError(
            f"{counts_path} {counts.shape} and {states_path} {states.shape} do not go together; give counts "
            f"(neuron, bin) and states (bin,) from 0 to {len(STATES) - 1}."
        )
    return Recording.from_trials(
        counts[None],
        targets={"state": states[None].astype(np.int64)},
        target_levels={"state": "bin"},
        individual_ids=[f"{name}/{neuron:03d}" for neuron in range(len(counts))],
        bin_seconds=4.0,
        subject=subject,
        name=name,
    )

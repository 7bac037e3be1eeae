"""Figures of a recording: `recording.plot.psths("direction")` and others."""

from __future__ import annotations

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from motet.data.recording import Recording
from motet.errors import InputError
from motet.report.neurons import psths
from motet.report.trajectories import draw_simulation


class RecordingPlots:
    """What a recording holds, drawn: each method gives a matplotlib figure, and opens no window.

    Args:
        recording: of which.

    Example:
        >>> from motet.systems import simulate
        >>> (animal,) = simulate("population", n_subjects=1, n_trials=16, n_neurons=4)
        >>> len(animal.plot.psths("direction", [0, 2]).axes)
        2
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def psths(self, target: str | None = None, individuals: ArrayLike | None = None) -> Figure:
        """Each neuron's firing rate over the trial, by class: see `motet.report.neurons.psths`.

        Args:
            target: a class per trial; by default the first there is.
            individuals: positions, or a mask; by default the 12 most informative.

        Raises:
            InputError: if there is no class per trial, or values are no counts.
        """
        r = self._recording
        name = target or r.class_target("")
        if name is None:
            raise InputError(f"recording {r.name!r} has the targets {list(r.targets)}, none a class per trial.")
        return psths(r, name, individuals, title=r.name)

    def trajectories(self) -> Figure:
        """The first trials of individuals that move, each path in a colour: see `draw_simulation`.

        Raises:
            InputError: if the recording has fewer than two features, which are places.
        """
        r = self._recording
        if r.n_features < 2 or not {"interacts", "system", "charge", "frequency"} & r.targets.keys():
            raise InputError(
                f"recording {r.name!r} has {r.n_features} feature(s) and the targets {list(r.targets)}; trajectories "
                "are drawn of simulated systems, as motet.simulate gives them."
            )
        return draw_simulation(r)

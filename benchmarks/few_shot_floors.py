"""What rivals reach in a new population with k labelled trials per target, the other recordings being known before.

    MOTET_DATA=… python benchmarks/few_shot_floors.py

Directions (accuracy) and velocities (R² per bin, causal) of three reach recordings. *labelled*: tested on all other
trials, each alone; *pool*: half of the other trials come without labels, tested on the other half; *all*: tested on the
unlabelled trials themselves. The mean over draws, and in brackets the worst draw.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from motet import metrics
from motet.data.catalogue import load
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.method import Draw, Rival, TargetQuestion, TransferQuestion
from motet.rivals.registry import rivals_of

RECORDINGS = ("reach/chewie-1", "reach/chewie-2", "reach/mihi-1")
SHOTS = (1, 2, 3, 5, 8)
SETTINGS = ("labelled", "pool", "all")
GOALS = {
    "direction": TargetQuestion("direction", "class", "trial"),
    "velocity": TargetQuestion("velocity", "quantity", "bin", class_target="direction"),
}
PERIOD, MOST_BINS = 8, 8


def read(name: str, target: str) -> Recording:
    """A recording; for directions the first bins of each trial, as many as all have."""
    recording = load(name)
    if target == "velocity":
        return recording
    return recording.select(bins=slice(0, min(MOST_BINS, int(recording.trial_lengths.min()))))


def draws(recording: Recording, *, shots: int, n_draws: int, setting: str, seed: int = 0) -> tuple[Draw, ...]:
    """Draws of calibration trials: so many of each direction."""
    found = []
    directions = recording.target("direction")
    for number in range(n_draws):
        rng = np.random.default_rng([seed, number, shots])
        chosen = np.concatenate(
            [rng.permutation(np.flatnonzero(directions == one))[:shots] for one in np.unique(directions)]
        )
        rest = np.setdiff1d(np.arange(recording.n_trials), chosen)
        unlabelled = None
        if setting == "pool":
            halves = np.array_split(rng.permutation(rest), 2)
            unlabelled, rest = recording.select(trials=np.sort(halves[0])), np.sort(halves[1])
        found.append(Draw(recording.select(trials=chosen), unlabelled, rest))
    return tuple(found)


def scores(rival: Rival, name: str, target: str, *, shots: int, n_draws: int, setting: str) -> NDArray[np.float64]:
    """(draw,) accuracy or R² of a rival on one recording."""
    recording = read(name, target)
    train = PopulationDataset([read(other, target) for other in RECORDINGS if other != name])
    calibrations = draws(recording, shots=shots, n_draws=n_draws, setting=setting)
    question = TransferQuestion(GOALS[target], calibrations, tests_together=setting == "all", period=PERIOD)
    predictions = rival.fit(train, question).predict(PopulationDataset(recording))["prediction"]
    truth = recording.target(target)
    if target == "direction":
        return np.asarray(
            [np.mean(found == truth[draw.tested]) for found, draw in zip(predictions, calibrations, strict=True)]
        )
    observed = recording.bin_is_observed
    return np.asarray(
        [
            metrics.r2(prediction=found, target=truth[draw.tested], observed=observed[draw.tested])
            for found, draw in zip(predictions, calibrations, strict=True)
        ]
    )


def print_table(
    target: str, *, shots: Sequence[int], settings: Sequence[str], n_draws: int, only: Sequence[str] | None
) -> None:
    """Markdown, as it comes: a row per setting, k and rival, a column per recording."""
    names = [name.rpartition("/")[2] for name in RECORDINGS]
    print(f"| {target} | k | rival | {' | '.join(names)} | s per draw |\n|{'---|' * (len(names) + 4)}")
    for setting in settings:
        for k in shots:
            for rival in rivals_of(TransferQuestion(GOALS[target], (), period=PERIOD)):
                if only and rival.name not in only:
                    continue
                start, cells = time.perf_counter(), []
                for name in RECORDINGS:
                    try:
                        found = scores(rival, name, target, shots=k, n_draws=n_draws, setting=setting)
                        cells.append(f"{found.mean():.3f} ({found.min():.2f})")
                    except InputError as error:
                        cells.append(f"left out: {error}")
                seconds = (time.perf_counter() - start) / n_draws / len(RECORDINGS)
                print(f"| {setting} | {k} | {rival.name} | {' | '.join(cells)} | {seconds:.3f} |", flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=tuple(GOALS), choices=tuple(GOALS))
    parser.add_argument("--shots", nargs="+", type=int, default=SHOTS)
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rivals", nargs="+", help="by default all")
    given = parser.parse_args()
    for target in given.targets:
        print_table(target, shots=given.shots, settings=given.settings, n_draws=given.draws, only=given.rivals)


if __name__ == "__main__":
    main()

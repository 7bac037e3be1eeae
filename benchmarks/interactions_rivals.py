"""The rivals of benchmarks/interactions.py, on the same trials: closed-form rules, a mass rule, the released EIT.

    python benchmarks/interactions_rivals.py              # after, or beside, benchmarks/interactions.py

Of K, two rules. Rules learn nothing but the window of their derivatives, a ridge and a threshold, all from training trials. Every score is a
file under --runs: run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interactions import TASKS, TEST_SEED, TRAIN_SEED, score_graph
from numpy.typing import NDArray

from motet.data.motion import Features, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.files import write_text
from motet.models.force_fit import FORCES, fit_forces
from motet.models.pair_rules import PAIR_RULES, PairRule, fit_threshold
from motet.models.reference_bodies import train_reference_bodies

# Epochs of the released EIT, about two minutes of one core each; an epoch is one order of every training trial.
REFERENCE_EPOCHS = {"A": 230, "B": 15}
REFERENCE_RATES = (1e-4, 2e-3)  # as published, and retuned
# Trials that a rule's window, ridge and threshold are chosen on.
N_TUNING = 500
# Of the size curve, whose tests are many and large, those that are drawn.
RULES = {"K": ("force-fit-gravity", "antiparallel-swing")}
# The centre of every subset of three: too many subsets beyond.
MOST_INDIVIDUALS = {"straight-centre-3": 20}


def score_rules(name: str, label: str, runs: Path) -> dict[str, Any]:
    """Every rule that reads the recordings of a task, on one of its tests."""
    task = TASKS[name]
    features: Features = task.settings.get("motion", MotionSettings()).features
    test = task.tests[label].load(runs / "data", TEST_SEED)
    scores = {}
    for rule, threshold in tuned_rules(name, task.tests[label].n_bins, runs):
        if test.n_individuals > MOST_INDIVIDUALS.get(rule.name, test.n_individuals):
            continue
        started = time.perf_counter()
        told = rule.score(test, features=features)
        seconds = time.perf_counter() - started
        scores[rule.name] = score_graph(told - min(threshold, 1e9), recording=test) | {"seconds": seconds}
        print(label, rule.name, {key: round(value, 4) for key, value in scores[rule.name].items()}, flush=True)
    return scores


@functools.cache
def tuned_rules(name: str, n_bins: int | None, runs: Path) -> list[tuple[PairRule, float]]:
    """The rules that read such recordings, with what they learn from training trials, and their thresholds."""
    task = TASKS[name]
    features: Features = task.settings.get("motion", MotionSettings()).features
    train = [data.load(runs / "data", TRAIN_SEED) for data in task.train]
    train = [recording.select(trials=slice(0, N_TUNING), bins=slice(0, n_bins)) for recording in train]
    truth = _flat([recording.targets["interacts"] for recording in train])
    found = []
    for rule in (PAIR_RULES[rule] for rule in RULES.get(name, tuple(PAIR_RULES))):
        try:
            # On the largest of the training systems, which is nearest to what is tested.
            tuned = rule.tuned(train[-1], train[-1].targets["interacts"], features=features)
            told = _flat([tuned.score(recording, features=features) for recording in train])
        except InputError:  # a rule for other features, or longer trials
            continue
        found.append((tuned, fit_threshold(told, truth)))
    return found


def _flat(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Pairs of systems of several sizes as trials of one pair."""
    once = [part[:, *np.triu_indices(part.shape[1], 1)].ravel() for part in parts]
    flat = np.full((sum(map(len, once)), 2, 2), -1, dtype=once[0].dtype)
    flat[:, 0, 1] = flat[:, 1, 0] = np.concatenate(once)
    return flat


def score_masses(label: str, name: str, runs: Path) -> dict[str, float]:
    """Masses by force fit: what a body does to the one that it seems to be bound to, corrected by a line fitted to training."""
    train = TASKS[name].train[0].load(runs / "data", TRAIN_SEED).select(trials=slice(0, N_TUNING))
    test = TASKS[name].tests[label].load(runs / "data", TEST_SEED)

    def told(recording: Recording) -> NDArray[np.float64]:
        coupling = np.nan_to_num(fit_forces(recording, FORCES["gravity"]), nan=-1.0)
        partner = (coupling + coupling.swapaxes(1, 2)).argmax(axis=1)
        return np.clip(np.take_along_axis(coupling, partner[:, None], axis=1)[:, 0], 0, 3)

    line = np.polyfit(told(train).ravel(), train.targets["mass"].ravel(), 1)
    guess, truth = np.polyval(line, told(test)), test.targets["mass"]
    return {
        "mass_r2": float(1 - ((guess - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()),
        "mass_error": float(np.median(np.abs(guess - truth))),
    }


def score_reference(name: str, seed: int, runs: Path, *, learning_rate: float, n_epochs: int) -> dict[str, Any]:
    """The released EIT with its class-label head, permutations drawn in the batch."""
    train = TASKS[name].train[0].load(runs / "data", TRAIN_SEED + seed)
    test = TASKS[name].tests[name].load(runs / "data", TEST_SEED)
    trained = train_reference_bodies(train, test, n_epochs=n_epochs, learning_rate=learning_rate, seed=seed)
    last = trained.points[-1]
    return {
        "partition": last.accuracy,
        "seconds": last.seconds,
        "n_epochs": last.n_epochs,
        "n_parameters": trained.n_parameters,
        "curve": [[point.seconds, point.accuracy] for point in trained.points],
    }


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--runs", type=Path, default=Path("runs/interactions"))
    options = parser.parse_args()
    torch.set_num_threads(1)

    def keep(path: Path, compute: Callable[..., dict[str, Any]], *given: Any, **named: Any) -> None:
        if not path.exists():
            write_text(path, json.dumps(compute(*given, **named), indent=2) + "\n")
            print(path.stem, flush=True)

    for name in (task for task in options.tasks if task != "W"):  # rules tell graphs, and W is about states
        folder = options.runs / name
        for label in TASKS[name].tests:
            stem = label.replace(", ", "-").replace(" ", "-")
            keep(folder / f"rules-{stem}.json", score_rules, name, label, options.runs)
            if label in ("C 2x2", "J 2x2, no noise"):
                keep(folder / f"masses-{stem}.json", score_masses, label, name, options.runs)
    for name in set(REFERENCE_EPOCHS) & set(options.tasks):
        for rate in REFERENCE_RATES:
            keep(
                options.runs / name / f"reference-{rate:g}.json",
                score_reference,
                name,
                0,
                options.runs,
                learning_rate=rate,
                n_epochs=REFERENCE_EPOCHS[name],
            )


if __name__ == "__main__":
    main()

"""The rivals of benchmarks/interactions.py, on the same trials: closed-form rules, a mass rule, the released EIT.

    python benchmarks/interactions_rivals.py              # after, or beside, benchmarks/interactions.py

Of K, two rules. Rules are fitted as `motet interactions evaluate` fits them, to training trials of every size: window of derivatives,
ridge, lags, units, which scores speak for an edge, and what makes probabilities of them. Every score is a file under --runs: run it
again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interactions import N_TEST, TASKS, TEST_SEED, TRAIN_SEED, score_graph
from numpy.typing import NDArray
from reference_bodies import train_reference_bodies

from motet.data.dataset import PopulationDataset
from motet.data.motion import Features, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.files import write_text
from motet.rivals.force_fit import fit_forces
from motet.rivals.method import Fitted, PairQuestion
from motet.rivals.registry import rivals_of
from motet.systems import FORCES

# Epochs of the released EIT, about two minutes of one core each; an epoch is one order of every training trial.
REFERENCE_EPOCHS = {"A": 230, "B": 15}
REFERENCE_RATES = (1e-4, 2e-3)  # as published, and retuned
N_TRAIN = 500  # trials of each size that a rule learns from
# Of the size curve, whose tests are many and large, those that are drawn.
RULES = {"K": ("force-fit-gravity", "antiparallel-swing")}
# The centre of every subset of three: too many subsets beyond.
MOST_INDIVIDUALS = {"straight-centre-3": 20}


def score_rules(name: str, label: str, runs: Path, *, n_train: int, n_test: int) -> dict[str, Any]:
    """Every rule that reads the recordings of a task, on one of its tests."""
    test = TASKS[name].tests[label].load(runs / "data", TEST_SEED).select(trials=slice(0, n_test))
    scores: dict[str, Any] = {}
    for rule, rival in fitted_rivals(name, TASKS[name].tests[label].n_bins, runs, n_train).items():
        if test.n_individuals > MOST_INDIVIDUALS.get(rule, test.n_individuals):
            continue
        started = time.perf_counter()
        log_p = rival.predict(PopulationDataset(test))["log_probability"]
        seconds = time.perf_counter() - started
        scores[rule] = score_graph(log_p[..., 1] - log_p[..., 0], recording=test) | {"seconds": seconds}
        print(label, rule, {key: round(value, 4) for key, value in scores[rule].items()}, flush=True)
    return scores


@functools.cache
def fitted_rivals(name: str, n_bins: int | None, runs: Path, n_trials: int) -> dict[str, Fitted]:
    """The rules that read such recordings, fitted to training trials as long as the test's."""
    task = TASKS[name]
    features: Features = task.settings.get("motion", MotionSettings()).features
    cut = [dataclasses.replace(data, n_trials=n_trials, n_bins=n_bins) for data in task.train]
    train = [data.load(runs / "data", TRAIN_SEED) for data in cut]
    question = PairQuestion("interacts", (0, 1), is_directed=False, features=features)
    found = {}
    for rival in rivals_of(question):
        if rival.name not in RULES.get(name, (rival.name,)) or rival.name == "base rate":
            continue
        started = time.perf_counter()
        try:
            found[rival.name] = rival.fit(PopulationDataset(train), question)
        except InputError as error:  # a rule for longer trials
            print(name, error, flush=True)
            continue
        print(name, rival.name, f"{time.perf_counter() - started:.1f} s", flush=True)
    return found


def score_masses(label: str, name: str, runs: Path) -> dict[str, float]:
    """Masses by force fit: what a body does to the one that it seems to be bound to, corrected by a line fitted to training."""
    train = TASKS[name].train[0].load(runs / "data", TRAIN_SEED).select(trials=slice(0, N_TRAIN))
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
    parser.add_argument("--train-trials", type=int, default=N_TRAIN, help="of each size, that rules learn from")
    parser.add_argument("--test-trials", type=int, default=N_TEST, help="at most, that rules are scored on")
    options = parser.parse_args()
    of_rules = {"n_train": options.train_trials, "n_test": options.test_trials}
    torch.set_num_threads(1)

    def keep(path: Path, compute: Callable[..., dict[str, Any]], *given: Any, **named: Any) -> None:
        if not path.exists():
            write_text(path, json.dumps(compute(*given, **named), indent=2) + "\n")
            print(path.stem, flush=True)

    for name in (task for task in options.tasks if task != "W"):  # rules tell graphs, and W is about states
        folder = options.runs / name
        for label in TASKS[name].tests:
            stem = label.replace(", ", "-").replace(" ", "-")
            keep(folder / f"rules-{stem}.json", score_rules, name, label, options.runs, **of_rules)
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

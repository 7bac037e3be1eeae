"""What the interaction model is made of: each of its parts left out, on the tasks of benchmarks/interactions.py.

    python benchmarks/interactions_ablation.py                  # rows A to K, one seed: half an hour of one core
    python benchmarks/interactions_ablation.py --tasks A C --variants "EIT alone"

A pair is read with three things: the embeddings of the EIT, a closed-form fit of forces, and the pair's geometry over time.
Steps, training and test trials are fewer than those of benchmarks/interactions.py and the same for every variant. Every
score is a file under --runs: run it again to go on after an interruption. benchmarks/interactions_page.py makes the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from interactions import TASKS, TEST_SEED, TRAIN_SEED, VALIDATION_SEED, Data, Task, score

from motet.data.recording import Recording
from motet.estimators.interactions import EITInteractions
from motet.estimators.systems import PAIR_MODEL
from motet.files import write_text
from motet.models.pairs import PairSettings
from motet.training.learner import Learner

NO_TRANSFORMER = {"individual_depth": 0, "interaction_depth": 0}
# Changes of the EIT's settings, and of how pairs are read.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole": ({}, {}),
    "no transformer": (NO_TRANSFORMER, {"embeddings": False}),
    "no fit": ({}, {"laws": 0}),
    "no geometry": ({}, {"geometry": False}),
    "EIT alone": ({}, {"laws": 0, "geometry": False}),
    "fit and readout": (NO_TRANSFORMER, {"embeddings": False, "geometry": False}),
    "whole, other first laws": ({}, {}),
}
OTHER_EXPONENTS = (-0.5, 0.0)  # the whole model starts from -2 and 1: the laws of gravity and charges, and of springs
OTHER_HARMONICS = ((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))  # on the circle from a sine, the law of the oscillators


@dataclasses.dataclass(frozen=True)
class Cut:
    """How much of a task is computed."""

    n_steps: int
    n_train: int
    n_test: int
    batch_trials: int = 32


CUTS = {
    "C": Cut(400, 2000, 200),
    "A": Cut(300, 400, 500),
    "J": Cut(200, 2000, 200),
    "F": Cut(200, 2000, 200, 16),
    **{f"{letter}5": Cut(80, 2000, 100, 16) for letter in "GHI"},
    "K": Cut(100, 2000, 10, 16),
    "B": Cut(60, 400, 100, 16),
    **{f"{letter}10": Cut(40, 400, 100, 8) for letter in "GHI"},
}


class OtherFirstLaws(EITInteractions):
    """The model with laws of force that are none of the simulators' when training begins."""

    def _make_learner(self) -> Learner:
        learner = super()._make_learner()
        fit: Any = learner.model.fit
        with torch.no_grad():
            if fit.geometry.space == "phase":
                fit.harmonics.copy_(torch.tensor(OTHER_HARMONICS))
            else:
                fit.exponent.copy_(torch.tensor(OTHER_EXPONENTS))
        return learner


def model_of(task: Task, variant: str, cut: Cut, seed: int) -> EITInteractions:
    """The estimator of a task, with what the variant leaves out left out."""
    of_eit, of_pairs = VARIANTS[variant]
    kind = OtherFirstLaws if variant == "whole, other first laws" else EITInteractions
    training = dataclasses.replace(task.settings["training"], max_steps=cut.n_steps, batch_trials=cut.batch_trials)
    return kind(
        seed=seed,
        **{
            **task.settings,
            "model": dataclasses.replace(PAIR_MODEL, **of_eit),
            "pairs": dataclasses.replace(task.settings.get("pairs", PairSettings()), **of_pairs),
            "training": training,
        },
    )


def score_file(runs: Path, name: str, variant: str, seed: int) -> Path:
    """Where the scores of one variant on one task lie."""
    return runs / "ablation" / f"{name}-{variant.replace(', ', '-').replace(' ', '-')}-{seed}.json"


def compute(name: str, variant: str, seed: int, runs: Path) -> None:
    """Train and score one variant on one task; nothing if that is there."""
    path = score_file(runs, name, variant, seed)
    if path.exists():
        return
    task, cut = TASKS[name], CUTS[name]

    def tested(data: Data, data_seed: int) -> Recording:
        return data.load(runs / "data", data_seed).select(trials=slice(0, cut.n_test))

    model = model_of(task, variant, cut, seed)
    train = [dataclasses.replace(data, n_trials=min(cut.n_train, data.n_trials)) for data in task.train]
    recordings = [data.load(runs / "data", TRAIN_SEED + seed) for data in train]
    started = time.process_time()
    model.fit(recordings, on_epoch=lambda _: None)
    seconds = time.process_time() - started
    model.calibrate([tested(data, VALIDATION_SEED) for data in task.validation])
    tests = {label: score(model, tested(data, TEST_SEED)) for label, data in task.tests.items()}
    found = {**dataclasses.asdict(cut), "cpu_seconds": seconds, "n_parameters": model.n_parameters_, "tests": tests}
    write_text(path, json.dumps(found, indent=2) + "\n")
    print(name, variant, f"{seconds:.0f} s", {label: round(one["ap"], 4) for label, one in tests.items()}, flush=True)


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/interactions"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.tasks:
            for variant in options.variants:
                compute(name, variant, seed, options.runs)


if __name__ == "__main__":
    main()

"""Who interacts with whom: EITInteractions on simulated systems, beside closed-form rivals on the same trials.

    python benchmarks/interactions.py                     # all tasks, three seeds: some hours on two cores
    python benchmarks/interactions.py --tasks A C --seeds 0

Every training is a run under --runs and every score a file there: run it again to go on after an interruption, or
with --tables to make the tables of what is there. Training, validation and test trials are simulated from seeds of their
own; settings were chosen on validation trials (see `TASKS`), and the test trials are scored once per model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from motet import metrics
from motet.data.motion import Features, MotionSettings
from motet.data.pairs import are_pairs, n_observed
from motet.data.readers import read_recording, write_recording
from motet.data.recording import Recording
from motet.estimators.interactions import EITInteractions
from motet.estimators.systems import PAIR_TRAINING
from motet.files import write_text
from motet.models.pairs import PairSettings
from motet.models.partition import assign_groups, assign_groups_of_sizes
from motet.systems import simulate
from motet.training.objectives import InteractionSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

TEST_SEED, VALIDATION_SEED, TRAIN_SEED = 9100, 5000, 1000
N_TEST = 2000


@dataclasses.dataclass(frozen=True)
class Data:
    """What is simulated: a system, its options, and how many trials; of which the first bins may be all that is read."""

    system: str
    options: dict[str, Any]
    n_trials: int
    n_bins: int | None = None

    def load(self, folder: Path, seed: int) -> Recording:
        """Simulated once, then read."""
        return read_recording(self.file(folder, seed)).select(bins=slice(0, self.n_bins))

    def file(self, folder: Path, seed: int) -> Path:
        """Where it lies whole, once it is simulated."""
        words = "-".join(f"{key}-{value}" for key, value in sorted(self.options.items()))
        path = folder / f"{self.system}-{words}-{self.n_trials}-{seed}.npz"
        if not path.exists():
            options = {
                k: (v,) if k in ("groups", "n_particles", "n_oscillators") else v for k, v in self.options.items()
            }
            write_recording(simulate(self.system, n_trials=self.n_trials, seed=seed, **options)[0], path)
        return path


def bodies(
    groups: str,
    *,
    noise: float = 0.01,
    n_trials: int = N_TEST,
    protocol: str = "randomised",
    n_bins: int | None = None,
) -> Data:
    """Bodies that attract each other, in systems of one size."""
    return Data("gravity", {"groups": groups, "noise": noise, "protocol": protocol}, n_trials, n_bins)


def particles(system: str, n: int, n_trials: int = N_TEST) -> Data:
    """Particles in a box, or oscillators."""
    return Data(system, {"n_oscillators" if system == "kuramoto" else "n_particles": n}, n_trials)


def unclocked(n: int, n_trials: int = N_TEST) -> Data:
    """Oscillators whose own frequencies are not among the features."""
    return Data("kuramoto", {"n_oscillators": n, "with_frequency": False}, n_trials)


@dataclasses.dataclass(frozen=True)
class Task:
    """One training, and the tests of it.

    Attributes:
        train: simulated with another seed for each seed of the model.
        validation: to calibrate on; sizes that were trained on.
        tests: by the letter of the table.
        settings: of the estimator.
    """

    train: tuple[Data, ...]
    validation: tuple[Data, ...]
    tests: dict[str, Data]
    settings: dict[str, Any]


def steps(n: int, **more: Any) -> TrainingSettings:
    """Training as usual, of another length."""
    return dataclasses.replace(PAIR_TRAINING, max_steps=n, **more)


def in_box(system: str, letter: str, n: int, training: TrainingSettings) -> Task:
    """A task of springs, charged particles or oscillators."""
    features: Features = "phase" if system == "kuramoto" else "position-velocity"
    tests = {f"{letter} {n}": particles(system, n)}
    if n == 5:
        tests[f"{letter} 10, zero-shot"] = particles(system, 10)
    return Task(
        train=(particles(system, n, 50_000),),
        validation=(particles(system, n, 1000),),
        tests=tests,
        settings={
            "motion": MotionSettings(features=features, half_width=2, degree=2),
            "pairs": PairSettings(messages=8 if system == "charged" else 0),
            "objective": InteractionSettings(repair=False, shortest=1.0),
            "training": training,
        },
    )


MIXED = (bodies("2x2", n_trials=4000), bodies("2x3", n_trials=4000))
MIXED_VALIDATION = (bodies("2x2", n_trials=500), bodies("2x3", n_trials=500))
SIZES = {f"{k}x{m}": k * m for m, ks in ((2, (2, 3, 5, 10, 15, 20)), (3, (2, 4, 6, 10, 13))) for k in ks}
TASKS: dict[str, Task] = {
    "A": Task(
        (bodies("2x2", noise=0.0, n_trials=400, protocol="published"),),
        (bodies("2x2", noise=0.0, n_trials=500, protocol="published"),),
        {"A": bodies("2x2", noise=0.0, protocol="published")},
        {"training": steps(1500)},
    ),
    "B": Task(
        (bodies("2x3", noise=0.0, n_trials=400, protocol="published"),),
        (bodies("2x3", noise=0.0, n_trials=500, protocol="published"),),
        {"B": bodies("2x3", noise=0.0, protocol="published")},
        {"training": steps(800)},
    ),
    "C": Task(
        MIXED,
        MIXED_VALIDATION,
        {
            "C 2x2": bodies("2x2"),
            "C 2x3": bodies("2x3"),
            "D 3x3": bodies("3x3"),
            "E 10x2": bodies("10x2"),
            "C 2x3, 10 bins": bodies("2x3", n_bins=10),
            "D 3x3, 10 bins": bodies("3x3", n_bins=10),
            "E 10x2, 10 bins": bodies("10x2", n_bins=10),
        },
        {"states": ("mass",), "training": steps(1500)},
    ),
    "F": Task(
        (bodies("2x2", n_trials=4000), bodies("3x2", n_trials=4000)),
        (bodies("2x2", n_trials=500), bodies("3x2", n_trials=500)),
        {"F 2x3": bodies("2x3"), "F 2x3, no noise": bodies("2x3", noise=0.0)},
        {"training": steps(1000)},
    ),
    "J": Task(
        (bodies("2x2", noise=0.0, n_trials=8000),),
        (bodies("2x2", noise=0.0, n_trials=500),),
        {"J 2x2, no noise": bodies("2x2", noise=0.0)},
        {"states": ("mass",), "training": steps(1500)},
    ),
    "K": Task(
        (bodies("2x2", n_trials=4000), bodies("3x2", n_trials=4000), bodies("2x3", n_trials=4000)),
        (bodies("2x2", n_trials=500), bodies("3x2", n_trials=500), bodies("2x3", n_trials=500)),
        {f"K {groups}": bodies(groups, n_trials=N_TEST if n <= 20 else 500) for groups, n in SIZES.items()},
        {"training": steps(1500)},
    ),
    "G5": in_box("springs", "G", 5, steps(600)),
    "G10": in_box("springs", "G", 10, steps(600, batch_trials=32)),
    "H5": in_box("charged", "H", 5, steps(1500)),
    "H10": in_box("charged", "H", 10, steps(1000, batch_trials=32)),
    "I5": in_box("kuramoto", "I", 5, steps(600)),
    "I10": in_box("kuramoto", "I", 10, steps(400, batch_trials=32)),
    "W": Task(
        (unclocked(5, 20_000),),
        (unclocked(5, 1000),),
        {"W 5": unclocked(5), "W 10, zero-shot": unclocked(10)},
        {
            "states": ("frequency",),
            "motion": MotionSettings(features="phase", half_width=2, degree=2),
            "objective": InteractionSettings(repair=False, shortest=1.0),
            "training": steps(600),
        },
    ),
}


def fit(name: str, seed: int, runs: Path) -> EITInteractions:
    """The trained model of a task, from its run if it is there."""
    task, run = TASKS[name], Run(runs / name / f"seed-{seed}")
    if run.has_tensors("weights"):
        return EITInteractions.load(run)
    train = [data.load(runs / "data", TRAIN_SEED + seed) for data in task.train]
    started, started_cpu = time.perf_counter(), time.process_time()
    model = EITInteractions(seed=seed, **task.settings).fit(train, run=run, on_epoch=lambda row: print(name, seed, row))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    model.calibrate([data.load(runs / "data", VALIDATION_SEED) for data in task.validation])
    model.save(run)
    run.write_results({"fit_seconds": seconds, "cpu_seconds": cpu_seconds, "n_parameters": model.n_parameters_})
    run.delete_tensors("checkpoint")
    return model


def counted(recording: Recording) -> NDArray[np.bool_]:
    """(trial, individual, individual) the known pairs, each once, unless their two orders may differ."""
    truth = recording.targets["interacts"]
    return are_pairs(recording.observed) & metrics.known_pairs(truth, are_directed=metrics.differs_by_order(truth))


def score_graph(log_odds: NDArray[np.float64], recording: Recording) -> dict[str, float]:
    """How well log-odds (or any score whose zero is the threshold) tell the graph."""
    truth = recording.targets["interacts"]
    once = counted(recording)
    told, known = log_odds[once], truth[once]
    scores = {
        "auroc": metrics.auroc(prediction=told, target=known),
        "ap": metrics.average_precision(prediction=told, target=known),
        "edge_accuracy": float(((told > 0) == known).mean()),
        "majority": float(max(known.mean(), 1 - known.mean())),
    }
    if "system" in recording.targets:
        groups = recording.targets["system"]
        sizes = np.unique(groups[0], return_counts=True)[1].tolist()
        scores |= {
            "partition": metrics.partition_accuracy(
                prediction=assign_groups_of_sizes(np.nan_to_num(log_odds), sizes), target=groups
            ),
            "partition_free": metrics.partition_accuracy(
                prediction=assign_groups(np.nan_to_num(log_odds)), target=groups
            ),
            "ari": metrics.adjusted_rand(prediction=assign_groups(np.nan_to_num(log_odds)), target=groups),
        }
    return scores


def score(model: EITInteractions, recording: Recording) -> dict[str, float]:
    """All scores of a model on a test recording."""
    told = model._raw(recording)
    raw = told[model.target]
    log_p = model.calibration_(raw, n_observed(recording.observed))
    log_odds = log_p[..., 1] - log_p[..., 0]
    scores = score_graph(log_odds, recording)
    truth = recording.targets["interacts"]
    once = counted(recording)
    uncalibrated = (raw[..., 1] - raw[..., 0])[once]
    scores["edge_accuracy_uncalibrated"] = float(((uncalibrated > 0) == truth[once]).mean())
    scores["log_loss"] = float(-np.take_along_axis(log_p[once], truth[once][:, None], 1).mean())
    scores["ece"] = metrics.expected_calibration_error(prediction=np.exp(log_p[once][:, 1]), target=truth[once])
    for name in model.states:
        guess, state = told[name], recording.targets[name]
        scores[f"{name}_r2"] = float(1 - ((guess - state) ** 2).sum() / ((state - state.mean()) ** 2).sum())
        scores[f"{name}_error"] = float(np.median(np.abs(guess - state)))
    return scores


def compute(name: str, seed: int, runs: Path) -> None:
    """Train and score one task with one seed; nothing that is there already."""
    run = Run(runs / name / f"seed-{seed}")
    for label, data in TASKS[name].tests.items():
        path = run.folder / f"score-{label.replace(', ', '-').replace(' ', '-')}.json"
        if not path.exists():
            scores = score(fit(name, seed, runs), data.load(runs / "data", TEST_SEED))
            write_text(path, json.dumps(scores, indent=2) + "\n")
            print(label, {key: round(value, 4) for key, value in scores.items()}, flush=True)


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/interactions"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in options.seeds:
        for name in options.tasks:
            compute(name, seed, options.runs)


if __name__ == "__main__":
    main()

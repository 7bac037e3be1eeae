"""Where individuals go next: EITForecaster on simulated systems, beside closed-form rivals on the same windows.

    python benchmarks/forecast.py                         # three seeds: some hours on two cores
    python benchmarks/forecast.py --tasks gravity --seeds 0
    python benchmarks/forecast.py --page docs/results     # the page, of what is there
    python benchmarks/forecast.py --rules "linear autoregression"      # closed-form rules alone: minutes

Each seed has its own training trials, weights and augmentation; all are scored once on the same test trials, simulated from
another seed. Every training is a run under --runs and every score a file there: run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interactions import Data, bodies, particles

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.estimators.forecaster import EITForecaster
from motet.estimators.systems import PAIR_TRAINING
from motet.files import write_text
from motet.models.geometry import Geometry
from motet.plain import as_plain
from motet.rivals.method import MotionQuestion
from motet.rivals.motion import MOTION_RIVALS
from motet.tasks.forecast import EvaluateForecastSettings, TrainForecastSettings, evaluate_forecast, train_forecast
from motet.tasks.forecast_scores import Errors, MotionTruth, marked_bins
from motet.training.objectives import DIVERGED, ForecastSettings
from motet.training.settings import TrainingSettings

TEST_SEED, TRAIN_SEED = 9100, 1000
N_TEST = 200


@dataclasses.dataclass(frozen=True)
class Task:
    """One training, and the tests of it.

    Attributes:
        train: simulated with another seed for each seed of the model.
        tests: by name: what is given, and the same trials without noise.
        motion: what the features are.
        training: how long.
    """

    train: tuple[Data, ...]
    tests: dict[str, tuple[Data, Data]]
    motion: MotionSettings = MotionSettings()
    training: TrainingSettings = PAIR_TRAINING


def attracted(groups: str, *, noise: float, n_trials: int, n_bins: int) -> Data:
    """Randomised bodies, in longer trials than those of benchmarks/interactions.py."""
    data = bodies(groups, noise=noise, n_trials=n_trials)
    return dataclasses.replace(data, options={**data.options, "n_bins": n_bins})


def gravity(noise: float) -> Task:
    """Trained on systems of two and three bodies."""
    tests = {
        groups: tuple(attracted(groups, noise=n, n_trials=N_TEST, n_bins=40) for n in (noise, 0.0))
        for groups in ("2x2", "2x3", "3x3", "5x2")
    }
    train = tuple(attracted(groups, noise=noise, n_trials=2000, n_bins=60) for groups in ("2x2", "2x3"))
    return Task(train, {f"{groups}, σ {noise:g}": (given, true) for groups, (given, true) in tests.items()})


def in_box(system: str) -> Task:
    """Trained on five particles or oscillators, whose velocities (rates and own frequencies) are measured."""
    tests = {n: particles(system, n, N_TEST) for n in (5, 10)}
    return Task(
        (particles(system, 5, 5000),),
        {f"{system} {n}": (data, data) for n, data in tests.items()},
        motion=MotionSettings(
            features="phase" if system == "kuramoto" else "position-velocity", half_width=2, degree=2
        ),
    )


TASKS = {
    "gravity": gravity(0.01),
    "gravity-exact": gravity(0.0),
    **{system: in_box(system) for system in ("springs", "charged", "kuramoto")},
}


def compute(name: str, seed: int, runs: Path) -> None:
    """Train and score one task with one seed; nothing that is there already. Rivals are scored with the first seed."""
    task, run = TASKS[name], runs / name / f"seed-{seed}"
    files = [str(data.file(runs / "data", TRAIN_SEED + seed)) for data in task.train]
    started = time.process_time()
    train_forecast(
        TrainForecastSettings(tuple(files), output=str(run), seed=seed, motion=task.motion, training=task.training)
    )
    cost = run / "cost.json"
    if not cost.exists():
        write_text(cost, json.dumps({"cpu_seconds": time.process_time() - started}) + "\n")
    given, true = zip(*task.tests.values(), strict=True)
    evaluated = evaluate_forecast(
        EvaluateForecastSettings(
            str(run),
            tuple(str(data.file(runs / "data", TEST_SEED)) for data in given),
            truth=() if true == given else tuple(str(data.file(runs / "data", TEST_SEED)) for data in true),
            name="test",
            windows=N_TEST,
            rivals=seed == 0,
            rival_windows=50,
        )
    )
    print(name, seed, evaluated.table, flush=True)


def score_rules(name: str, rules: list[str], runs: Path) -> None:
    """Some closed-form rules on the tests of one task, with the options that do best on 50 training windows of each size."""
    task, o = TASKS[name], ForecastSettings()
    train = [data.load(runs / "data", TRAIN_SEED).windows(o.window_bins, stride=o.window_bins) for data in task.train]
    train = [windows.select(trials=slice(0, 50)) for windows in train]
    geometry = Geometry.fit(PopulationDataset(train), task.motion)
    question = MotionQuestion(geometry, o.context_bins, o.horizon_bins, n_substeps=o.n_substeps[1])
    tuned = {r.name: r.learn(PopulationDataset(train), question) for r in MOTION_RIVALS if r.name in rules}
    beyond = DIVERGED * (1 if geometry.space == "phase" else geometry.length)
    for test, data in task.tests.items():
        given, true = (one.load(runs / "data", TEST_SEED).select(bins=slice(0, o.window_bins)) for one in data)
        truth = MotionTruth.of(true, n_context=o.context_bins, geometry=geometry, diverged_beyond=beyond)
        context = given.select(bins=slice(0, o.context_bins))
        scores = {}
        for rule, one in tuned.items():
            errors = Errors.of(one.predict(PopulationDataset(context)), truth)
            found = {"scores": errors.scores(np.asarray(given.trial_ids)), "more": errors.curves()}
            scores[rule] = as_plain(found)
        seconds = given.bin_seconds * np.arange(1, o.horizon_bins + 1)
        print(test, {rule: dict(one.chosen) for rule, one in tuned.items()}, flush=True)
        print(table([{"horizon_seconds": seconds.tolist(), "methods": scores}]), flush=True)


def found_of(name: str, test: str, runs: Path) -> list[dict[str, Any]]:
    """What every seed that is there found on a test; the first holds rivals too."""
    paths = [runs / name / f"seed-{seed}" / "evaluations" / "test" / "results.json" for seed in range(3)]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    place = list(TASKS[name].tests).index(test)
    return [{**list(one["sections"].values())[place], "horizon_seconds": one["horizon_seconds"]} for one in found]


def table(found: list[dict[str, Any]]) -> str:
    """Errors by horizon; of the EIT the mean over seeds, with the range at the end of the horizon."""
    seconds = found[0]["horizon_seconds"]
    marks = marked_bins(len(seconds))
    methods = found[0]["methods"]
    model = EITForecaster().method
    has_energy = any("energy_error" in method["scores"] for method in methods.values())
    head = [
        "method",
        *(f"{seconds[n - 1]:.3g} s" for n in marks),
        "left the truth",
        *["energy error"] * has_energy,
        "AUROC",
    ]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for method in methods:
        seeds = [one["methods"][method] for one in found if method in one["methods"]]
        median = np.asarray([one["more"]["median"] for one in seeds], dtype=np.float64)
        row = [
            f"**{model.replace('eit', 'EIT')}** ({len(seeds)} seed{'s' * (len(seeds) > 1)})"
            if method == model
            else method
        ]
        row += [f"{median[:, n - 1].mean():.2g}" for n in marks]
        if len(seeds) > 1:
            row[-1] += f" ({median[:, -1].min():.2g} to {median[:, -1].max():.2g})"
        row.append(f"{100 * np.mean([one['scores']['left']['value'] for one in seeds]):.0f} %")
        if has_energy:
            energies = [one["scores"]["energy_error"]["value"] for one in seeds if "energy_error" in one["scores"]]
            row.append(f"{np.mean(energies):.2g}" if energies else "")
        aurocs = [one["scores"]["auroc"]["value"] for one in seeds if "auroc" in one["scores"]]
        row.append(f"{np.mean(aurocs):.4f}" if aurocs else "")
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_page(runs: Path, folder: Path) -> None:
    """docs/results/forecast.md, and the figures of the first test."""
    sections, costs = [], ["| training | seeds | processor seconds |", "|---|--:|--:|"]
    for name, task in TASKS.items():
        for test in task.tests:
            if found := found_of(name, test, runs):
                options = {m: r["chosen"] for m, r in found[0]["methods"].items() if r.get("chosen")}
                chosen = [f"{m}: {', '.join(map(str, values.values()))}" for m, values in options.items()]
                notes = ["", f"Chosen on training trials: {'; '.join(chosen)}."] if chosen else []
                sections += [f"## {test}", "", table(found), *notes, ""]
        seconds = [
            json.loads(path.read_text())["cpu_seconds"] for path in sorted((runs / name).glob("seed-*/cost.json"))
        ]
        if seconds:
            costs.append(f"| {name} | {len(seconds)} | {min(seconds):.0f} to {max(seconds):.0f} |")
    figures = runs / "gravity" / "seed-0" / "evaluations" / "test" / "figures"
    for kind in ("error", "paths"):
        for path in figures.glob(f"{kind}_gravity-2x3.*"):
            shutil.copyfile(path, folder / f"forecast-{kind}{path.suffix}")
    introduction = (Path(__file__).parent / "forecast_page.md").read_text(encoding="utf-8")
    page = introduction.format(sections="\n".join(sections).rstrip(), costs="\n".join(costs))
    write_text(folder / "forecast.md", page)


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/forecast"))
    parser.add_argument("--page", type=Path, help="write the page to this folder, and compute nothing")
    parser.add_argument(
        "--rules",
        nargs="+",
        choices=[rival.name for rival in MOTION_RIVALS],
        help="score these rules, and nothing else",
    )
    options = parser.parse_args()
    if options.rules:
        for name in options.tasks:
            score_rules(name, options.rules, options.runs)
        return
    if options.page:
        write_page(options.runs, options.page)
        return
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.tasks:
            compute(name, seed, options.runs)


if __name__ == "__main__":
    main()

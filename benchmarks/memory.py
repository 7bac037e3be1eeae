"""What decoding takes, in memory and in time, against individuals, bins and trials.

    python benchmarks/memory.py --output docs/results/memory.md

Needs Linux. Each cell runs in a process of its own: a decoder is fitted to a few short trials and the cell's recording is
made; then it is noted how far the resident set grows in one step of training, or in the prediction of all trials.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from speed import peak_mib, shown

from motet.data.batch import BATCH_BYTES
from motet.data.recording import Recording
from motet.estimators.decoders import EITClassifier, EITRegressor
from motet.models.eit import EITSettings
from motet.training.objectives import ObjectiveSettings
from motet.training.settings import TrainingSettings

USES = ("training step", "prediction")
SWEEPS = {  # individuals, bins and trials, one of which grows
    "individuals": [(n, 50, 20) for n in (20, 200, 2000)],
    "bins": [(10, n, 2) for n in (1000, 3000, 12_000)],
    "trials": [(100, 50, n) for n in (20, 100, 500)],
}
LARGE = (2000, 50, 200)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement to make."""

    use: str
    target: str
    n_individuals: int
    n_bins: int
    n_trials: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """What it came to."""

    mib: float
    seconds: float


def recording(n_individuals: int, n_bins: int, n_trials: int) -> Recording:
    """Counts with gaps, a quantity per bin and a class per trial."""
    values = np.random.default_rng(0).poisson(1.0, (n_trials, n_individuals, n_bins)).astype(np.float32)
    values[:, 1, ::7] = np.nan
    return Recording.from_trials(
        values,
        targets={"bin": values[:, 0], "trial": np.arange(n_trials) % 2},
        target_levels={"bin": "bin", "trial": "trial"},
        individual_ids=[str(number) for number in range(n_individuals)],
    )


def measure(cell: Cell) -> Measured:
    """Run a cell; call it in a process of its own, for the peak of a process never falls."""
    torch.set_num_threads(1)
    kind = EITRegressor if cell.target == "bin" else EITClassifier
    decoder = kind(
        cell.target,
        model=EITSettings(causal=cell.target == "trial"),
        training=TrainingSettings(max_steps=1, epoch_steps=1),
    ).fit(recording(cell.n_individuals, 10, 2), on_epoch=lambda row: None)
    given = recording(cell.n_individuals, cell.n_bins, cell.n_trials)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before, start = peak_mib(), time.process_time()
    if cell.use == "training step":
        decoder.fit(given, on_epoch=lambda row: None)
    else:
        decoder.predict(given)
    return Measured(peak_mib() - before, time.process_time() - start)


def measure_apart(cell: Cell) -> Measured:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "motet.estimators.decoders"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(measure, cell).result()


def as_markdown(results: dict[Cell, Measured]) -> str:
    """The tables: one per thing that grows, with exponents, and the large case."""
    window = ObjectiveSettings().window_bins
    lines = [
        "# What decoding takes",
        "",
        f"Default settings, float32, one thread of {os.cpu_count()} on {platform.machine()}, torch {torch.__version__}; "
        "a seventh of one individual's bins is not observed. Memory is what the highest resident set grows by, the "
        "recording itself, which is there before, not counted. A target per bin is read in windows of "
        f"{window:,} bins. A target per trial is read from whole trials, by a causal model. A batch is meant to "
        f"take {BATCH_BYTES >> 20:,} MiB at most; a training step is one of up to 32 trials (or windows), and includes "
        "what precedes it. Seconds are of the processor. Load average at the end: "
        f"{os.getloadavg()[0]:.1f}; above the number of cores, times are too long.",
        "",
        "Exponents are the slope of the logarithm of memory, and of seconds, between the last two sizes.",
    ]
    for grows, sizes in SWEEPS.items():
        lines += ["", f"## Against {grows}", ""]
        lines += table([(size, results) for size in sizes], exponent_axis=list(SWEEPS).index(grows))
    lines += ["", "## Many trials of many individuals", "", *table([(LARGE, results)])]
    return "\n".join(lines) + "\n"


def table(rows: list[tuple[tuple[int, int, int], dict[Cell, Measured]]], exponent_axis: int | None = None) -> list[str]:
    """MiB and seconds of every use and target."""
    columns = list(itertools.product(("bin", "trial"), USES))
    names = [f"per {target}: {use}" for target, use in columns]
    lines = ["| individuals | bins | trials | " + " | ".join(names) + " |", "|--:|--:|--:|" + "--:|" * len(columns)]
    for size, results in rows:
        found = [results[Cell(use, target, *size)] for target, use in columns]
        counts = " | ".join(f"{number:,}" for number in size)
        lines.append(f"| {counts} | " + " | ".join(f"{shown(m.mib)} MiB, {shown(m.seconds)} s" for m in found) + " |")
    if exponent_axis is not None:
        (before, results), (last, _) = rows[-2:]
        growth = np.log(last[exponent_axis] / before[exponent_axis])
        slopes = []
        for target, use in columns:
            first, second = (results[Cell(use, target, *size)] for size in (before, last))
            memory, seconds = np.log(second.mib / first.mib) / growth, np.log(second.seconds / first.seconds) / growth
            slopes.append(f"{memory:.2f}, {seconds:.2f}")
        lines.append("| exponent | | | " + " | ".join(slopes) + " |")
    return lines


def main() -> None:
    """Measure all cells, print the tables and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    given = parser.parse_args()
    sizes = dict.fromkeys([*itertools.chain.from_iterable(SWEEPS.values()), LARGE])
    cells = [Cell(use, target, *size) for size in sizes for target in ("bin", "trial") for use in USES]
    results = {cell: measure_apart(cell) for cell in track(cells, "Measuring", console=Console(stderr=True))}
    tables = as_markdown(results)
    if given.output:
        given.output.write_text(tables)
    sys.stdout.write(tables)


if __name__ == "__main__":
    main()

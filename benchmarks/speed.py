"""Speed and memory of the EIT against the released one, on the same windows in the same run.

    python benchmarks/speed.py --output speed.md

For each number of individuals: windows of 2 bins per second, and peak memory, of a forward pass
(evaluation mode, no gradients) and of a training step (forward, both cross-entropies, backward, Adam).
A step is repeated for about `--seconds`, at least once, and the fastest counts: other work on the machine
can only slow it down. Every cell runs in a process of its own; its memory is the highest resident set minus
the highest before the first step, when libraries, model and data are already there. A model that does not
fit in `--memory-gib` says so in the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from motet.data.batch import Batch
from motet.models.eit import EIT, EITSettings
from motet.models.readouts import Readout
from motet.models.reference import EITReference
from motet.training.objectives import ObjectiveSettings

N_CLASSES = 8
N_BINS = 2
INDIVIDUALS_PER_STEP = 3000  # 16 windows of 163 individuals, as in the release
REFERENCE = "reference"
EQUAL = EITSettings(width=16, individual_depth=2, interaction_depth=2)
MODELS: dict[str, Callable[[int], nn.Module]] = {
    REFERENCE: lambda n: EITReference(n, N_CLASSES),
    "EIT, equal width and depth": lambda n: Decoder(EQUAL, n),
    "EIT, default settings": lambda n: Decoder(EITSettings(), n),
    "reference, heads of the EIT": lambda n: EITReference(
        n, N_CLASSES, n_heads=EQUAL.n_heads, head_width=EQUAL.width // EQUAL.n_heads
    ),
}
PASSES = ("forward pass", "training step")


class Decoder(nn.Module):
    """The EIT with its readout by individual, before and after individuals meet.

    Takes values (trial, time, individual) and returns logits (trial, time, class), as the reference does.
    """

    def __init__(self, settings: EITSettings, n_individuals: int) -> None:
        super().__init__()
        self.individual_ids = tuple(map(str, range(n_individuals)))
        self.eit = EIT(settings, n_features=1, individual_ids=self.individual_ids)
        self.individual, self.population = (
            Readout(
                "individual",
                width=settings.width,
                n_outputs=N_CLASSES,
                latent_width=ObjectiveSettings().latent_width,
                individual_ids=self.individual_ids,
            )
            for _ in range(2)
        )

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        values = values.mT[..., None]
        batch = Batch(
            values=values,
            observed=torch.ones(values.shape[:3], dtype=torch.bool),
            individual_ids=(self.individual_ids,),
            positions=torch.arange(len(self.individual_ids))[None],
            recording_index=torch.zeros(len(values), dtype=torch.int64),
        )
        encoding = self.eit(batch)
        return (
            self.individual(encoding.individual, encoding.observed, batch),
            self.population(encoding.population, encoding.observed, batch),
        )


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement to make."""

    model: str
    what: str
    n_individuals: int
    budget_seconds: float
    limit_gib: float
    n_threads: int

    @property
    def n_windows(self) -> int:
        """Windows per step: a power of two that keeps a step's individuals about equal, at most 128."""
        return 1 << int(np.clip(np.log2(INDIVIDUALS_PER_STEP / self.n_individuals), 0, 7))


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a cell costs; NaN, with the reason, if it could not be measured."""

    seconds_per_window: float = float("nan")
    peak_mib: float = float("nan")
    n_parameters: int = 0
    reason: str = ""


def prepared_step(cell: Cell, *, n_individuals: int, n_windows: int) -> tuple[nn.Module, Callable[[], None]]:
    """The model of a cell, and a function that does the step to be timed."""
    generator = torch.Generator().manual_seed(0)
    values = 10 * torch.randn(n_windows, N_BINS, n_individuals, generator=generator)
    labels = torch.randint(N_CLASSES, (n_windows,), generator=generator).repeat_interleave(N_BINS)
    model = MODELS[cell.model](n_individuals)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def forward() -> None:
        with torch.no_grad():
            model(values)

    def train() -> None:
        optimizer.zero_grad()
        individual, population = (logits.flatten(0, 1) for logits in model(values))
        loss = cross_entropy(population, labels) + 0.5 * cross_entropy(individual, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    is_training = cell.what == "training step"
    model.train(is_training)
    return model, train if is_training else forward


def peak_mib() -> float:
    """The highest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB elsewhere


def measure(cell: Cell) -> Measured:
    """Run a cell; call it in a process of its own, for the peak of a process never falls."""
    torch.set_num_threads(cell.n_threads)
    limit = int(cell.limit_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _, warm_up = prepared_step(cell, n_individuals=4, n_windows=1)
    warm_up()
    model, step = prepared_step(cell, n_individuals=cell.n_individuals, n_windows=cell.n_windows)
    before = peak_mib()
    seconds: list[float] = []
    while sum(seconds) < cell.budget_seconds:
        start = time.perf_counter()
        try:
            step()
        except (RuntimeError, MemoryError) as error:
            if "memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            return Measured(reason=f"needs more than {cell.limit_gib:g} GiB")
        seconds.append(time.perf_counter() - start)
    return Measured(
        seconds_per_window=min(seconds) / cell.n_windows,
        peak_mib=peak_mib() - before,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def measure_apart(cell: Cell) -> Measured:
    """`measure` in a fresh process, forked from a server that has only imported the libraries."""
    context = multiprocessing.get_context("forkserver")
    # The first optimizer of a process imports torch._dynamo, which takes seconds.
    context.set_forkserver_preload(["torch._dynamo", "motet.models.eit", "motet.models.reference"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        try:
            return executor.submit(measure, cell).result()
        except BrokenProcessPool:
            return Measured(reason="ended by the system, as it does when memory runs out")


def as_markdown(results: dict[Cell, Measured], n_threads: int) -> str:
    """The tables: one per pass, and the exponents of time against the number of individuals."""
    lines = [
        "# Speed and memory against the released EIT",
        "",
        f"Windows of {N_BINS} bins; {n_threads} thread(s) of {os.cpu_count()} on {platform.machine()}, "
        f"torch {torch.__version__}, float32. Ratios are to the reference (16 wide, 2 + 2 layers, 6 heads of "
        f"64) on the same windows in the same run. The EIT has {EQUAL.n_heads} heads that share its width; the "
        "last model is the reference with such heads, to tell what narrow heads give from what the EIT gives. "
        f"Load average at the end: {os.getloadavg()[0]:.1f}; above the number of cores, times are too long.",
    ]
    sizes = sorted({cell.n_individuals for cell in results})
    found = {(cell.model, cell.what, cell.n_individuals): (cell, result) for cell, result in results.items()}
    for what in PASSES:
        lines += [
            "",
            f"## {what.capitalize()}",
            "",
            "| individuals | model | parameters | windows / step | windows / s | speed | peak MiB | memory |",
            "|--:|---|--:|--:|--:|--:|--:|--:|",
        ]
        for n_individuals in sizes:
            _, reference = found[REFERENCE, what, n_individuals]
            lines += [row(*found[name, what, n_individuals], reference) for name in MODELS]
    lines += [
        "",
        "## Seconds per window ∝ individuals^exponent",
        "",
        f"Least squares on logarithms over {', '.join(map(str, sizes))} individuals.",
        "",
        "| model | " + " | ".join(PASSES) + " |",
        "|---|--:|--:|",
    ]
    for name in MODELS:
        fits = [exponent([found[name, what, n] for n in sizes]) for what in PASSES]
        lines.append(f"| {name} | " + " | ".join(fits) + " |")
    return "\n".join(lines) + "\n"


def row(cell: Cell, result: Measured, reference: Measured) -> str:
    """A row of the table of a pass."""
    start = f"| {cell.n_individuals:,} | {cell.model} |"
    if result.reason:
        return f"{start} — | {cell.n_windows} | skipped: {result.reason} | — | — | — |"
    speed = reference.seconds_per_window / result.seconds_per_window
    memory = result.peak_mib / reference.peak_mib
    return (
        f"{start} {result.n_parameters:,} | {cell.n_windows} | {shown(1 / result.seconds_per_window)} | "
        f"{shown(speed, '×')} | {shown(result.peak_mib)} | {shown(memory, '×')} |"
    )


def shown(number: float, unit: str = "") -> str:
    """A number with about three digits; a dash for NaN."""
    if np.isnan(number):
        return "—"
    return (f"{number:,.0f}" if number >= 100 else f"{number:.3g}") + unit


def exponent(measured: list[tuple[Cell, Measured]]) -> str:
    """The slope of log seconds per window against log individuals, over what could be measured."""
    points = [(c.n_individuals, m.seconds_per_window) for c, m in measured if not m.reason]
    if len(points) < 2:
        return "—"
    individuals, seconds = np.log(points).T
    return f"{np.polyfit(individuals, seconds, 1)[0]:.2f}"


def main() -> None:
    """Measure all cells, print the tables and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    parser.add_argument("--individuals", type=int, nargs="+", default=[20, 163, 1000, 5000])
    parser.add_argument("--seconds", type=float, default=1.0, help="repeat a step for about so long (default 1)")
    parser.add_argument("--memory-gib", type=float, default=10.0, help="give up on a model beyond it (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    given = parser.parse_args()
    # The models of one size and pass follow one another, so that their ratio is taken close in time.
    cells = [
        Cell(model, what, n_individuals, given.seconds, given.memory_gib, given.threads)
        for n_individuals in sorted(set(given.individuals))
        for what in PASSES
        for model in MODELS
    ]
    console = Console(stderr=True)
    results = {cell: measure_apart(cell) for cell in track(cells, "Measuring", console=console)}
    tables = as_markdown(results, given.threads)
    if given.output:
        given.output.write_text(tables)
    sys.stdout.write(tables)


if __name__ == "__main__":
    main()

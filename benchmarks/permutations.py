"""Memory of the order of bodies: drawn in the batch, or every order of every trial stored.

    python benchmarks/permutations.py --output permutations.md

500 published trials of six bodies (50 bins, two coordinates) have 720 orders each. Storing them all, as the released
EIT does, is set against what motet does: a `PopulationDataset`, one epoch of batches of 64, each trial in an order drawn in its
batch, and its class looked up. Every measurement is made in a process of its own, over what it holds after its imports: the resident set
by the system, what NumPy and Python allocate by tracemalloc. All orders are stored only where there is memory for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import multiprocessing
import platform
import resource
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from reference_bodies import Partitions, permuted_bodies

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.files import write_text
from motet.memory import available_bytes
from motet.systems import simulate

GROUP, N_SYSTEMS, N_OF_SYSTEM, N_BINS, N_AXES = "2x3", 2, 3, 50, 2
BATCH_TRIALS, TRAIN_FRACTION = 64, 0.8
MB = 1e6


@dataclasses.dataclass(frozen=True)
class Measured:
    """What it takes at most, and what it keeps, in bytes over the baseline.

    Attributes:
        resident: highest resident set.
        kept: resident set at the end, while what was made is still there; freed parts that the allocator keeps are in it.
        traced: highest of what Python and NumPy allocated; tensors are not in it.
        n_shown: trials in one order that were made.
    """

    resident: int
    kept: int
    traced: int
    n_shown: int


def drawn_in_the_batch(recording: Recording) -> tuple[object, int]:
    """One epoch of motet: dataset, batches in orders that are drawn, classes. Returns what is kept, and trials shown."""
    dataset = PopulationDataset(recording)
    ways = Partitions(recording.target("system")[0].tolist())
    generator = torch.Generator().manual_seed(0)
    n_shown = 0
    for trials in torch.split(torch.randperm(len(dataset), generator=generator), BATCH_TRIALS):
        batch = dataset.batch(trials.numpy())
        _, system = permuted_bodies(batch.values.swapaxes(1, 2), batch.targets["system"], generator)
        n_shown += len(ways.classes(system))
    return dataset, n_shown


def all_stored(recording: Recording) -> tuple[object, int]:
    """As the release stores them, training and test part: a tensor and labels per order, put together at the end."""
    ways = Partitions(recording.target("system")[0].tolist())
    system = torch.from_numpy(np.ascontiguousarray(recording.target("system")))
    orders = list(itertools.permutations(range(recording.n_individuals)))
    split = round(TRAIN_FRACTION * recording.n_trials)
    kept = []
    for part in (slice(0, split), slice(split, None)):
        values = [torch.from_numpy(recording.values[part][:, order]) for order in orders]
        labels = [ways.classes(system[part][:, order])[:, None].float().repeat(1, recording.n_bins) for order in orders]
        kept.append((torch.cat(values), torch.cat(labels).long()))
    return kept, sum(len(values) for values, _ in kept)


def measure(work: Callable[[Recording], tuple[object, int]], recording: Recording, traces: bool) -> Measured:
    """Do it; call this in a process of its own. Tracing allocates too, so resident set and trace are taken apart."""
    torch.set_num_threads(1)
    if traces:
        tracemalloc.start()
    before = forget_peak()
    kept, n_shown = work(recording)
    resident = resident_bytes()
    traced = tracemalloc.get_traced_memory()[1] if traces else 0
    del kept
    return Measured(resident["VmHWM"] - before, resident["VmRSS"] - before, traced, n_shown)


def forget_peak() -> int:
    """The resident set, of which the highest is counted from here on where the system can do so."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes()["VmRSS"]


def resident_bytes() -> dict[str, int]:
    """The resident set now (VmRSS) and at its highest (VmHWM); the highest for both where there is no /proc."""
    if sys.platform == "linux":
        rows = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if row[0] in ("VmRSS:", "VmHWM:")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return dict.fromkeys(("VmRSS", "VmHWM"), peak)


def measure_apart(work: Callable[[Recording], tuple[object, int]], recording: Recording) -> Measured:
    """`measure` twice, in processes that have only imported the libraries and received the recording."""
    found = []
    for traces in (False, True):
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as executor:
            found.append(executor.submit(measure, work, recording, traces).result())
    return dataclasses.replace(found[0], traced=found[1].traced)


def bytes_of_all(recording: Recording) -> dict[str, int]:
    """What all orders of all trials take: positions, float32, and a class per bin, int64."""
    n_orders = math.factorial(recording.n_individuals) * recording.n_trials
    return {"positions": n_orders * recording.values[0].nbytes, "classes": n_orders * recording.n_bins * 8}


def report(recording: Recording, ours: Measured, stored: Measured | None, reason: str) -> str:
    """The page."""
    computed = bytes_of_all(recording)
    peak = 2 * computed["positions"]  # the list of tensors, and the tensor they are put together in
    lines = [
        "# Memory of 720 orders of six bodies",
        "",
        f"Made by `python benchmarks/permutations.py`: {platform.machine()}, torch {torch.__version__}, {platform.system()}. "
        f"{recording.n_trials} published trials of {recording.n_individuals} bodies, {recording.n_bins} bins, {recording.n_features} "
        f"coordinates, float32: {mb(recording.values.nbytes)} MB. Peaks are over the process after its imports and with the recording.",
        "",
        "| orders | trials in an order | peak resident, MB | resident at the end, MB | peak of tracemalloc (NumPy and Python), MB |",
        "|---|--:|--:|--:|--:|",
        f"| drawn in the batch ({BATCH_TRIALS} trials), one epoch | {row(ours)} |",
    ]
    name = "all stored, as in the release"
    if stored is None:
        lines += [f"| {name} | not measured: {reason} | — | — | — |"]
    else:
        lines += [f"| {name} | {row(stored)} |", f"| ratio | | {stored.resident / max(ours.resident, 1):,.0f}× | | |"]
    lines += [
        "",
        f"Computed: all orders take {mb(computed['positions'])} MB of positions and {mb(computed['classes'])} MB of classes (one per bin, "
        f"int64). While lists of tensors are put together the positions are there twice, {mb(peak)} MB, if it is done in one part.",
    ]
    return "\n".join(lines) + "\n"


def row(measured: Measured) -> str:
    """The cells of a measurement."""
    numbers = (mb(measured.resident), mb(measured.kept), mb(measured.traced))
    return " | ".join((f"{measured.n_shown:,}", *numbers))


def mb(n_bytes: int) -> str:
    """In 10⁶ bytes."""
    return f"{n_bytes / MB:,.1f}" if n_bytes < 100 * MB else f"{n_bytes / MB:,.0f}"


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the page to this file")
    parser.add_argument("--trials", type=int, default=500, help="how many (default 500, as published)")
    parser.add_argument("--memory-gib", type=float, default=4.0, help="store all orders only within it (default 4)")
    given = parser.parse_args()
    recording = simulate("gravity", protocol="published", groups=(GROUP,), n_trials=given.trials)[0]
    ours = measure_apart(drawn_in_the_batch, recording)
    stored, reason = None, ""
    needed, allowed = 2.2 * sum(bytes_of_all(recording).values()), min(given.memory_gib * 2**30, available_bytes())
    if needed <= allowed:
        stored = measure_apart(all_stored, recording)
    else:
        reason = f"about {mb(int(needed))} MB are needed, {mb(int(allowed))} MB allowed or free"
    page = report(recording, ours, stored, reason)
    if given.output:
        write_text(given.output, page)
    sys.stdout.write(page)


if __name__ == "__main__":
    main()

"""How long a stream takes for a bin, by individuals, members and what is asked: the table of docs/results/stream.md.

    nice -n -5 taskset -c 0 python benchmarks/stream.py --output docs/results/stream.md

Decoders of default widths are fitted to counts for a few steps (weights do not change how long a step takes), and read
trials of `--bins` bins. A bin takes its time from values in to answer out; p50 and p99 are over the bins of a repeat,
without those of the first trial, and the repeat with the lowest counts: other work on the machine can only slow it down.
"wall" is the clock's, "CPU" what the thread itself took of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import motet
from motet.data.recording import Recording
from motet.estimators.rule import Said
from motet.estimators.stream import Stream
from motet.files import write_text

CAUSAL = motet.EITSettings(causal=True)
FEW = motet.TrainingSettings(max_steps=2)
ONE = motet.TrainingSettings(max_steps=2, validation=0.3)


def counts(n_individuals: int, n_bins: int, *, n_trials: int = 32, seed: int = 0) -> Recording:
    """Trials of four classes, and a velocity."""
    rng = np.random.default_rng(seed)
    direction = np.arange(n_trials) % 4
    tuning = np.random.default_rng(1).normal(size=(4, n_individuals))
    values = rng.poisson(np.exp(0.3 * tuning[direction])[:, :, None], (n_trials, n_individuals, n_bins))
    course = np.sin(np.pi * np.arange(n_bins) / n_bins) * np.cos(direction * np.pi / 2)[:, None]
    return Recording.from_trials(
        values,
        targets={"direction": direction, "velocity": course},
        target_levels={"direction": "trial", "velocity": "bin"},
        bin_seconds=0.02,
    )


def seconds_of(
    stream: Stream, bins: NDArray[np.float32], repeats: int, trials: int
) -> tuple[float, float, float, float]:
    """p50 and p99 by the clock, and of the thread, of the best repeat."""
    found = []
    for _ in range(repeats):
        wall, own = [], []
        for trial in range(trials + 1):
            stream.reset()
            for one in bins:
                first, begun = time.perf_counter(), time.thread_time()
                stream.step(one)
                wall.append(time.perf_counter() - first)
                own.append(time.thread_time() - begun)
            if trial == 0:
                wall.clear()
                own.clear()
        found.append([*np.quantile(wall, (0.5, 0.99)), *np.quantile(own, (0.5, 0.99))])
    best = np.min(found, axis=0)
    return float(best[0]), float(best[1]), float(best[2]), float(best[3])


def rows(individuals: Sequence[int], n_bins: int, repeats: int, trials: int) -> list[str]:
    """One row of the table for each stream."""
    found = []
    for n in individuals:
        recording = counts(n, n_bins)
        for members in (1, 3):
            training = ONE if members == 1 else FEW
            classes = motet.EITClassifier("direction", model=CAUSAL, training=training).fit(recording)
            velocity = motet.EITRegressor("velocity", model=CAUSAL, training=training).fit(recording)
            asked: tuple[tuple[str, motet.EITClassifier | motet.EITRegressor, Said], ...] = (
                ("class per trial", classes, "eit"),
                ("class per trial", classes, "both"),
                ("velocity per bin", velocity, "eit"),
                ("velocity per bin", velocity, "both"),
            )
            for what, decoder, whom in asked:
                stream = decoder.stream(whom=whom)
                bins = recording.values[0].swapaxes(0, 1)
                bins = bins[:, [recording.individual_ids.index(one) for one in stream.individual_ids]]
                numbers = " | ".join(f"{1000 * one:.2f}" for one in seconds_of(stream, bins, repeats, trials))
                found.append(f"| {n} | {members} | {what} | {whom} | {numbers} |")
                print(found[-1], flush=True)
    return found


PAGE = """# How long a stream takes for a bin

Made by `{command}`: {machine}, one thread, torch {torch}; trials of {bins} bins, {trials} of them in each of {repeats} repeats. Milliseconds from the values of a bin to the answer. Of every figure the lowest over the repeats stands here, since other work on the machine can only
slow it down: load average {before:.1f} before and {after:.1f} after, on {cores} cores. "wall" is what the clock says, "CPU" what the thread itself took; where the machine is busy the first is longer than the stream is slow. Answers equal those of the decoder offline to 1e-6
(`tests/estimators/test_stream.py`).

| individuals | members | target | asked | wall p50 | wall p99 | CPU p50 | CPU p99 |
|--:|--:|---|---|--:|--:|--:|--:|
{rows}

Default widths, causal. "eit" is the EITs alone, "both" with the rule: shrinkage LDA on bins and on totals for classes, the template with kernel ridge, kernel ridge and ridge (those of which the share is not 0) for velocity. A bin costs one token per individual, attention over its past (which grows with the
trial), and attention among individuals (which grows with the square of their number); of kernel ridge one product with all rows that it keeps.
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--individuals", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--bins", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=10, help="of a repeat")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    found = rows(arguments.individuals, arguments.bins, arguments.repeats, arguments.trials)
    page = PAGE.format(
        command="python benchmarks/stream.py",
        machine=platform.machine(),
        torch=torch.__version__,
        bins=arguments.bins,
        trials=arguments.trials,
        repeats=arguments.repeats,
        before=before,
        after=os.getloadavg()[0],
        cores=os.cpu_count(),
        rows="\n".join(found),
    )
    if arguments.output is None:
        print(page)
    else:
        write_text(arguments.output, page)


if __name__ == "__main__":
    main()

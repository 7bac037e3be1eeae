"""How long a stream takes for a bin, by individuals, what is asked and who runs it: the table of docs/results/stream.md.

    nice -n -5 taskset -c 0 python benchmarks/stream.py --output docs/results/stream.md

Decoders with their defaults (three members, the rule inside, causal) are fitted to counts for a few steps (weights do
not change how long a step takes), and read `--trials` trials of `--bins` bins. A bin takes its time from values in to
answer out; p50 and p99 are over all bins but those of the first trial. "wall" is the clock's, "CPU" what the thread
itself took: where other programs run, the first is longer than a step is slow, and the second too, by caches that are
shared.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import motet
from motet.data.recording import Recording
from motet.estimators.rule import Said
from motet.files import write_text

CAUSAL = motet.EITSettings(causal=True)
FEW = motet.TrainingSettings(max_steps=2)
Bins = NDArray[np.float32]
KINDS = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(bool)": "?", "tensor(int64)": "i8"}


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


def by_stream(decoder: Any, whom: Said, bins: Bins) -> Iterator[Callable[[int], object]]:
    """Of every trial what reads its bins, by torch."""
    stream = decoder.stream(whom=whom)
    while True:
        stream.reset()
        yield lambda time: stream.step(bins[time])


def by_onnx(decoder: Any, whom: Said, bins: Bins) -> Iterator[Callable[[int], object]]:
    """The same by onnxruntime, with one thread; what is remembered stays where it is, and is not copied."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.export(Path(folder) / "step.onnx", whom=whom, step=True)
        session = onnxruntime.InferenceSession(path, options)
    value, outputs = onnxruntime.OrtValue.ortvalue_from_numpy, [one.name for one in session.get_outputs()]
    observed = value(np.ones(bins.shape[1], dtype=bool))
    states = session.get_inputs()[2:]
    while True:
        remembered = [value(np.zeros([0 if n == "bin" else n for n in s.shape], KINDS[s.type])) for s in states]
        state = dict(zip((one.name for one in states), remembered, strict=True))

        def read(time: int, state: dict[str, Any] = state) -> object:
            inputs = {"values": value(bins[time]), "observed": observed, **state}
            answer, *now = session.run_with_ort_values(outputs, inputs)
            state.update(zip(state, now, strict=True))
            return answer.numpy()

        yield read


def milliseconds(trials: Iterator[Callable[[int], object]], n_bins: int, n_trials: int) -> str:
    """p50 and p99 by the clock, and of the thread, as cells of a table."""
    wall, own = [], []
    for number, read in zip(range(n_trials + 1), trials, strict=False):
        for bin_ in range(n_bins):
            first, begun = time.perf_counter(), time.thread_time()
            read(bin_)
            own.append(time.thread_time() - begun)
            wall.append(time.perf_counter() - first)
        if number == 0:
            wall.clear()
            own.clear()
    return " | ".join(f"{1000 * one:.2f}" for one in (*np.quantile(wall, (0.5, 0.99)), *np.quantile(own, (0.5, 0.99))))


def rows(individuals: Sequence[int], n_bins: int, n_trials: int) -> list[str]:
    """One row of the table for each decoder, who is asked, and who runs it."""
    found = []
    for n in individuals:
        recording = counts(n, n_bins)
        classes = motet.EITClassifier("direction", model=CAUSAL, training=FEW).fit(recording)
        velocity = motet.EITRegressor("velocity", model=CAUSAL, training=FEW).fit(recording)
        whoms: tuple[Said, ...] = ("both", "eit")
        for what, decoder in (("class per trial", classes), ("velocity per bin", velocity)):
            kept = [recording.individual_ids.index(one) for one in decoder.individual_ids_]
            bins = np.ascontiguousarray(recording.values[0].swapaxes(0, 1)[:, kept], dtype=np.float32)
            for whom in whoms:
                for runs, way in (("stream", by_stream), ("ONNX", by_onnx)):
                    numbers = milliseconds(way(decoder, whom, bins), n_bins, n_trials)
                    found.append(f"| {n} | {what} | {whom} | {runs} | {numbers} |")
                    print(found[-1], flush=True)
    return found


PAGE = """# How long a stream takes for a bin

Made by `{command}`: {machine}, one thread, torch {torch}; {trials} trials of {bins} bins. Milliseconds from the values of a bin to the answer, p50 and p99 over all bins. "wall" is what the clock says, "CPU" what the thread itself took. Load average {before:.1f} before and {after:.1f} after, on {cores} cores: on a
machine that is busy both are longer than the step is slow. Answers equal those of the decoder offline to 1e-6 (`tests/estimators/test_stream.py`).

| individuals | target | asked | run by | wall p50 | wall p99 | CPU p50 | CPU p99 |
|--:|---|---|---|--:|--:|--:|--:|
{rows}

The default decoder, causal: three members. "both" is with the rule: shrinkage LDA on bins and on totals for classes, the template with kernel ridge, kernel ridge and ridge (those of which the share is not 0) for velocity; "eit" is the EITs alone. "stream" is `decoder.stream()`, "ONNX" the file of `decoder.export(…, step=True)` in onnxruntime. A
bin costs one token per individual, attention over its past (which grows with the trial), and attention among individuals (which grows with the square of their number); of kernel rules that learned from the same rows one product with all of these.
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--individuals", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--bins", type=int, default=30)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    found = rows(arguments.individuals, arguments.bins, arguments.trials)
    page = PAGE.format(
        command="python benchmarks/stream.py",
        machine=platform.machine(),
        torch=torch.__version__,
        bins=arguments.bins,
        trials=arguments.trials,
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

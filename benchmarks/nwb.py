"""Reading NWB: spikes beside pynwb's objects, and 500 units of one hour in bins of 10 ms, in time and memory.

    python benchmarks/nwb.py --output docs/results/nwb.md

Needs Linux, pynwb and about 4 GiB. pynwb writes the file. Every row is measured three times in processes of its own, one
after the other in one run, and the quickest is told, since what the system asks for memory varies; seconds are of the
processor, children included, since other processes may be at work.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import multiprocessing
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

SECONDS, BIN_SECONDS = 3600, 0.01
N_UNITS, RATE_HZ = 500, 10.0
MANY_UNITS, RARELY_HZ = 5000, 0.05
TIMES = 3


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a row came to: seconds of the processor and of the clock, and MiB that the resident set grew by."""

    processor: float
    wall: float
    mib: float
    result: float


def write(path: Path, n_units: int, rate_hz: float) -> None:
    """Units at random, and a position, as pynwb writes them."""
    import pynwb

    rng = np.random.default_rng(0)
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    file = pynwb.NWBFile(session_description="benchmark", identifier="benchmark", session_start_time=start)
    for _ in range(n_units):
        file.add_unit(spike_times=np.sort(rng.uniform(0, SECONDS, rng.poisson(rate_hz * SECONDS))))
    seconds = np.arange(0, SECONDS, 0.02)
    place = np.stack([np.sin(seconds), np.cos(seconds)], axis=1)
    series = pynwb.behavior.SpatialSeries(name="place", data=place, timestamps=seconds, reference_frame="arena")
    file.create_processing_module("behavior", "b").add(pynwb.behavior.Position(spatial_series=series))
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def spikes_by_pynwb(path: Path) -> float:
    """Spike times of every unit through pynwb's objects: one read for each; all are held, as motet's are."""
    import pynwb

    with pynwb.NWBHDF5IO(path, "r") as io:
        units = io.read().units
        held = [units.get_unit_spike_times(number) for number in range(len(units))]
    return float(sum(map(len, held)))


def spikes_by_h5py(path: Path) -> float:
    """The same by motet: two arrays."""
    from motet.data.readers.nwb_file import NwbFile

    file = NwbFile(path)
    assert file.units is not None
    spikes, ends = file.ragged(file.units, "spike_times")
    return float(sum(len(one) for one in np.split(spikes, ends[:-1])))


def binned_by_pynwb(path: Path) -> float:
    """Spike times by pynwb, counted by np.histogram into an array of the same size and type."""
    import pynwb

    edges = np.arange(round(SECONDS / BIN_SECONDS) + 1) * BIN_SECONDS
    with pynwb.NWBHDF5IO(path, "r") as io:
        units = io.read().units
        counts = np.empty((len(units), len(edges) - 1), np.float32)
        for number in range(len(units)):
            counts[number] = np.histogram(units.get_unit_spike_times(number), edges)[0]
    return float(counts.sum())


def binned_by_motet(path: Path) -> float:
    """The whole: a process of its own, choices, spikes, bins, a recording with the position as its target."""
    from motet.data.readers import read_recording

    return float(read_recording(path, bin_seconds=BIN_SECONDS).values.sum())


def filled(path: Path) -> float:
    """The array alone, of ones: what the system asks for its memory."""
    return float(np.ones((N_UNITS, round(SECONDS / BIN_SECONDS)), np.float32)[0, 0])


def measure(row: Callable[[Path], float], path: Path) -> Measured:
    """Run a row; call it in a process of its own, whose peak never falls."""
    import h5py  # noqa: F401  # imports are not what is measured
    import pynwb  # noqa: F401

    import motet.data.readers.nwb_arrays  # noqa: F401

    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before, wall, used = peak_mib(), time.perf_counter(), processor()
    result = row(path)
    return Measured(processor() - used, time.perf_counter() - wall, peak_mib() - before, result)


def processor() -> float:
    """Seconds of this process and its children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_mib() -> float:
    """The highest resident set of this process."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


def apart(row: Callable[[Path], float], path: Path) -> Measured:
    """`measure` in a fresh process; of three such, the one of fewest seconds of the processor."""
    found = []
    for _ in range(TIMES):
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as executor:
            found.append(executor.submit(measure, row, path).result())
    return min(found, key=lambda one: one.processor)


def page(rows: dict[str, Measured]) -> str:
    """The table, and what it says."""
    array = N_UNITS * SECONDS / BIN_SECONDS * 4 / 2**20
    spikes, rare = (
        rows[f"spikes{of}, pynwb"].processor / rows[f"spikes{of}, motet"].processor for of in ("", " of many units")
    )
    whole, beside = rows["in bins, motet"], rows["in bins, pynwb and np.histogram"]
    floor = rows["the array alone, filled"]
    lines = [
        "# Reading NWB",
        "",
        f"`python benchmarks/nwb.py`: {N_UNITS} units of one hour, {RATE_HZ:g} spikes a second each, and a position; in bins "
        f"of {BIN_SECONDS * 1000:g} ms an array of {array:,.0f} MiB. Many units are {MANY_UNITS:,}, of {RARELY_HZ * SECONDS:.0f} spikes each. {os.cpu_count()} cores of {platform.machine()}, load "
        f"average {os.getloadavg()[0]:.1f} at the end; the quickest of {TIMES} processes of each row, imports not counted.",
        "",
        "| | processor s | wall s | memory, MiB | times the array |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name} | {one.processor:.2f} | {one.wall:.2f} | {one.mib:,.0f} | {one.mib / array:.2f} |"
        for name, one in rows.items()
    ]
    lines += [
        "",
        f"Held in memory, spikes come {spikes:.1f} times as fast as through pynwb's objects where units are few and large, and "
        f"{rare:.0f} times where they are many and small: what pynwb adds is the same for each unit, and the bytes are the "
        "same for both. Reading, choosing, counting and building the "
        f"recording takes {whole.processor:.1f} s of the processor ({beside.processor:.1f} s for pynwb and np.histogram, "
        f"which keep no mask and no target) and {whole.mib / array:.2f} times the memory of the array. Filling the array alone "
        f"takes {floor.processor:.1f} s here: most of it is what the system asks for memory that was not used lately.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file, measure all rows, print the page and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the page to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "benchmark.nwb")
        write(path, N_UNITS, RATE_HZ)
        many = Path(folder, "many.nwb")
        write(many, MANY_UNITS, RARELY_HZ)
        rows = {
            name: apart(row, source)
            for name, row, source in (
                ("spikes, pynwb", spikes_by_pynwb, path),
                ("spikes, motet", spikes_by_h5py, path),
                ("spikes of many units, pynwb", spikes_by_pynwb, many),
                ("spikes of many units, motet", spikes_by_h5py, many),
                ("the array alone, filled", filled, path),
                ("in bins, pynwb and np.histogram", binned_by_pynwb, path),
                ("in bins, motet", binned_by_motet, path),
            )
        }
    assert rows["spikes, pynwb"].result == rows["spikes, motet"].result
    text = page(rows)
    if given.output:
        given.output.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()

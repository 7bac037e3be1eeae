"""Decode a trial while it happens, bin by bin: from a generator, or as it comes over ZeroMQ or the Lab Streaming Layer.

    python examples/stream_a_trial.py                              # a simulated animal, no other program needed
    python examples/stream_a_trial.py --from zmq --address tcp://127.0.0.1:5555    # pip install pyzmq
    python examples/stream_a_trial.py --from lsl --address counts                  # pip install pylsl

Over ZeroMQ a bin is one message of little-endian float32, a number per individual, and a trial begins with an empty
one. Over LSL a bin is one sample of a stream of that name with a channel per individual, and a trial begins with a
sample of NaN throughout. Neither package comes with motet; where one is missing, this says so and stops.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import motet

Bin = NDArray[np.float32] | None
"""(individual,) counts of a bin; None where a trial begins."""


def simulated(recording: motet.Recording, ids: tuple[str, ...]) -> Iterator[Bin]:
    """The bins of trials, one after the other."""
    place = [recording.individual_ids.index(one) for one in ids]
    for trial in range(recording.n_trials):
        yield None
        yield from recording.values[trial, place, :, 0].T


def over_zmq(address: str, n_individuals: int) -> Iterator[Bin]:
    """Messages of a publisher."""
    zmq = package("zmq", "pyzmq")
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.connect(address)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    while True:
        message = socket.recv()
        yield np.frombuffer(message, "<f4", n_individuals) if message else None


def over_lsl(name: str, n_individuals: int) -> Iterator[Bin]:
    """Samples of a stream of that name."""
    pylsl = package("pylsl", "pylsl")
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, timeout=10)[0])
    while True:
        sample = np.asarray(inlet.pull_sample()[0], dtype=np.float32)[:n_individuals]
        yield None if np.isnan(sample).all() else sample


def package(name: str, install: str) -> Any:
    """A package that motet does not bring."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SystemExit(f"{name} is not installed: pip install {install}, or leave --from out.") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", choices=("simulation", "zmq", "lsl"), default="simulation")
    parser.add_argument("--address", default="tcp://127.0.0.1:5555")
    arguments = parser.parse_args()

    # A decoder that reads no bin to come; yours would be loaded: motet.EITClassifier.load("runs/mine")
    subject = motet.simulate("population", n_subjects=1, n_trials=100, n_neurons=30, seed=1)[0]
    train, test = subject.select(trials=slice(0, 96)), subject.select(trials=slice(96, 100))
    causal, few = motet.EITSettings(causal=True), motet.TrainingSettings(max_steps=60)
    stream = motet.EITClassifier("direction", model=causal, training=few).fit(train).stream()

    n_individuals = len(stream.individual_ids)
    match arguments.source:
        case "zmq":
            bins = over_zmq(arguments.address, n_individuals)
        case "lsl":
            bins = over_lsl(arguments.address, n_individuals)
        case _:
            bins = simulated(test, stream.individual_ids)
            print("the directions are", test.target("direction").tolist())
    for counts in bins:
        if counts is None:
            stream.reset()
            print("a trial begins")
            continue
        begun = time.perf_counter()
        probability = stream.step(counts)
        likely = int(probability.argmax())
        took = 1000 * (time.perf_counter() - begun)
        print(f"bin {stream.n_bins:3d}: direction {stream.classes[likely]}, p {probability[likely]:.2f}, {took:.1f} ms")


if __name__ == "__main__":
    main()

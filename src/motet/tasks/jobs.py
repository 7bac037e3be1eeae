"""Decodings that are done one after the other, or several at a time in processes of their own.

A process is given its settings as a line of JSON, and ends when whoever started it has ended, however that was. One
that decodes answers with lines of JSON that say how far it is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO, TypeVar

from matplotlib.figure import Figure

from motet.errors import InputError
from motet.plain import as_plain, from_plain
from motet.progress import Advance, Bar, within_bar, within_step
from motet.rivals.method import Kind
from motet.tasks.decode import Decode, DecodeSettings
from motet.tasks.evaluate import FAILURES, Evaluation, evaluate

T = TypeVar("T")
LEAST_SECONDS = 0.5  # between two lines of a process


class Compared(Decode):
    """A decoding that only compares: a model that fails is left out as a rival is, and nothing is drawn."""

    must_answer: Collection[Kind] = ()

    def kept(self, ranked: Sequence[str]) -> Sequence[str]:
        return ()

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        yield from ()

    def figures(self, evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
        yield from ()


def complete(settings: DecodeSettings, bar: Bar) -> str | None:
    """Do a decoding, or what is left of it; why it failed, if it did."""
    try:
        evaluate(Compared(settings), bar)
    except FAILURES as error:
        return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return None


def complete_all(jobs: Sequence[DecodeSettings], n_processes: int, advance: Advance) -> list[str | None]:
    """Do all of these, so many at a time; for each, why it failed, if it did.

    Args:
        jobs: the decodings.
        n_processes: at a time; with 1 they are done in this process.
        advance: of a bar with a step for each.
    """
    if n_processes == 1:
        return [complete(job, within_bar(_with_news(advance, job))) for job in jobs]
    lock, running = threading.Lock(), set[subprocess.Popen[str]]()

    def locked(steps: float, news: str) -> None:
        with lock:
            advance(steps, news)

    def complete_apart(job: DecodeSettings) -> str | None:
        with within_step(_with_news(locked, job)) as advance_job:
            return _complete_apart(job, n_processes, advance_job, running)

    with concurrent.futures.ThreadPoolExecutor(n_processes) as pool:
        try:
            return list(pool.map(complete_apart, jobs))
        finally:  # nothing is left to stop, but after an interruption
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()


def _with_news(advance: Advance, job: DecodeSettings) -> Advance:
    """News that say of what they are."""
    name = "/".join(job.folder.parts[-2:])
    return lambda steps, news: advance(steps, f"{name}: {news}" if news else "")


def _complete_apart(
    job: DecodeSettings, n_processes: int, advance: Advance, running: set[subprocess.Popen[str]]
) -> str | None:
    """Do a decoding in a process of its own."""
    said: dict[str, Any] = {}
    with started("motet.tasks.jobs", job, n_processes, stdout=subprocess.PIPE) as process:
        running.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "steps" in said:
                advance(said["steps"], said["news"])
    running.discard(process)
    if process.returncode:
        how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        return f"its process ended with {how}; was there too little memory?"
    why: str | None = said["failed"]
    return why


def started(module: str, settings: Any, n_processes: int, *, stdout: int) -> subprocess.Popen[str]:
    """A process that runs a module, is given these settings, and has its share of the cores."""
    n_threads = str(max(1, _n_cores() // n_processes))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", n_threads)}
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=stdout, text=True)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended; its status says how
        process.stdin.write(json.dumps(as_plain(settings)) + "\n")
        process.stdin.flush()
    return process


def _n_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------ inside the process


def run_as_process(kind: type[T], work: Callable[[T], None]) -> None:
    """Work as the settings say that this process is given, until it is done or the one that started it has ended."""
    settings = from_plain(kind, json.loads(sys.stdin.readline()), what="a job")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(settings)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """The parent holds the other end of standard input for as long as it lives."""
    sys.stdin.read()
    os._exit(1)


def _decode(settings: DecodeSettings) -> None:
    said = _Said(sys.stdout)
    with contextlib.redirect_stdout(sys.stderr):  # what anything else prints is no message
        failed = complete(settings, within_bar(said.advance))
    said.write({"failed": failed})


@dataclasses.dataclass
class _Said:
    """Progress in lines, not too many of them."""

    out: TextIO
    steps: float = 0.0
    last: float = 0.0

    def advance(self, steps: float, news: str) -> None:
        self.steps += steps
        if time.monotonic() - self.last >= LEAST_SECONDS:
            self.write({"steps": self.steps, "news": news})
            self.steps, self.last = 0.0, time.monotonic()

    def write(self, message: Mapping[str, Any]) -> None:
        self.out.write(json.dumps(message) + "\n")
        self.out.flush()


if __name__ == "__main__":
    run_as_process(DecodeSettings, _decode)

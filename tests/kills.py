"""Runs commands of motet in children that are killed at one of their renames or removals: a server for test_runs.

Each line of standard input is `{"words": […], "kill": n}`; the answer is the exit status and how many places there were
to kill at: before and after each rename, link and removal of a file. Children are forked, so that nothing is imported
twice.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

import motet.cli
import motet.tasks.decode
import motet.tasks.forecast
import motet.tasks.forecast_predict
import motet.tasks.interactions
import motet.tasks.predict
import motet.tasks.recover

CHANGES = ("replace", "rename", "link", "unlink", "remove")


def run(words: list[str], kill: int, report: int) -> None:
    """One command, in this process, which does not outlive it."""
    places = itertools.count()

    def place() -> None:
        if next(places) == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(change):
        def changed(path, *args, **kwargs):
            if not os.path.lexists(path):  # nothing to be changed
                change(path, *args, **kwargs)
            else:
                place()
                change(path, *args, **kwargs)
                place()

        return changed

    for name in CHANGES:
        setattr(os, name, killing(getattr(os, name)))
    time.monotonic = lambda: 0.0  # so that seconds are the same in all
    Figure.savefig = lambda self, path, **_: Path(path).write_bytes(b"a figure")
    Figure.draw_without_rendering = lambda self: None
    status = motet.cli.main(words)
    os.write(report, json.dumps([status, next(places)]).encode())
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        end, report = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what commands print is no answer
            run(asked["words"], asked["kill"], report)
        os.close(report)
        os.waitpid(child, 0)
        answer = os.read(end, 100).decode() or "[null, null]"
        os.close(end)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

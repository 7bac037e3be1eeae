"""Progress of anything that takes more than a few seconds: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator

Advance = Callable[[float, str], None]
Bar = Callable[[str, float], contextlib.AbstractContextManager[Advance]]
"""From a description and a number of steps to what `progress_bar` gives."""

FIRST_LINE_SECONDS, LINE_SECONDS = 5.0, 30.0  # where there is no terminal


@contextlib.contextmanager
def progress_bar(description: str, n_steps: float) -> Iterator[Advance]:
    """A bar on standard error, with the time left; where that is no terminal, plain lines.

    The function that this yields is called with how far it went on since, of `n_steps`, and the latest news.
    """
    from rich import progress as bars  # slow to import
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(description, n_steps)
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[news]}", markup=False),
    )
    with bars.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=n_steps, news="")
        yield lambda steps, news: progress.update(task, advance=steps, news=news)


@contextlib.contextmanager
def within_step(advance: Advance) -> Iterator[Advance]:
    """One step of a bar, in fractions: it never goes beyond the step, and ends with all of it."""
    done = 0.0

    def advance_part(fraction: float, news: str) -> None:
        nonlocal done
        fraction = min(fraction, 1 - done)
        done += fraction
        advance(fraction, news)

    yield advance_part
    advance(1 - done, "")


def within_bar(advance: Advance) -> Bar:
    """Bars that are one step of another, for what would show one of its own."""

    @contextlib.contextmanager
    def bar(description: str, n_steps: float) -> Iterator[Advance]:
        with within_step(advance) as advance_part:
            yield lambda steps, news: advance_part(steps / n_steps, news)

    return bar


def _lines(description: str, n_steps: float) -> Advance:
    started = time.monotonic()
    done, next_line, latest = 0.0, started + FIRST_LINE_SECONDS, ""

    def advance(steps: float, news: str) -> None:
        nonlocal done, next_line, latest
        done, latest = done + steps, news or latest
        now = time.monotonic()
        if now >= next_line:
            next_line = now + LINE_SECONDS
            took, share = now - started, min(1.0, done / max(n_steps, 1e-9))
            left = f", {_clock(took * (1 - share) / share)} left" if 0 < share < 1 else ""
            sys.stderr.write(f"{description}: {100 * share:.0f} % after {_clock(took)}{left}, {latest}\n")
            sys.stderr.flush()

    return advance


def _clock(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(seconds))

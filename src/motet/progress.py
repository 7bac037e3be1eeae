"""Progress of anything that takes more than a few seconds: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[float, str], None]


@contextlib.contextmanager
def progress_bar(description: str, n_steps: float) -> Iterator[Advance]:
    """A bar on standard error, with the time left.

    Args:
        description: what is going on.
        n_steps: how far the bar goes. The function that this yields is called with how far it went on since, and the
            latest news.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(description, total=n_steps, news="")
        yield lambda steps, news: progress.update(task, advance=steps, news=news)

"""Progress of anything that takes more than a few seconds: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[str], None]


@contextlib.contextmanager
def progress_bar(description: str, n_steps: int) -> Iterator[Advance]:
    """A bar on standard error, with the time left.

    Args:
        description: what is going on.
        n_steps: how often the function that this yields will be called, at most. Its argument is the latest news.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(description, total=n_steps, news="")
        yield lambda news: progress.update(task, advance=1, news=news)

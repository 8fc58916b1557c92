"""What goes on, on a terminal: a line with the time it has taken, and a bar where there is a measure of it."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Display:
    """A transient line on standard error; nothing where that is not a terminal, or quiet is wanted."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[where]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("starting", total=None, where="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, description: str) -> None:
        """Something begins of which it is not known how long it takes."""
        task = self._bar.tasks[0]
        task.total, task.completed = None, 0  # `update` cannot take a total away
        self._bar.update(self._task, description=description, where="")

    def advance(self, description: str, done: float, where: str) -> None:
        """What goes on, the share of it that is done, in [0, 1], and where that is."""
        self._bar.update(self._task, description=description, total=1.0, completed=done, where=where)

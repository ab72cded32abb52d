"""How a job stands, drawn on a terminal: a bar on stderr, so that stdout has the result alone.

The rule: what a device says of its job is text of one line, whatever stands in it: no markup and no
escape sequence. The trap: a bar hides the cursor, and a pipe that FORCE_COLOR is set for is no
place to draw on.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from ..._serving.process.log_lines import escape
from ..._serving.waiting import beside
from ..._values.job_states import JobState
from ...client import JobUpdate
from .._output.printing import is_terminal, make_console

TICK = 0.5  # seconds between two drawings of the time that has passed
_MESSAGE_MAX = 500  # characters of what a device says of a job; a line has fewer


class _Said(ProgressColumn):
    """A field of the task as text, never as markup."""

    def __init__(self, field: str, column: Column, style: str = "") -> None:
        super().__init__(column)
        self._field = field
        self._style = style

    def render(self, task: Task) -> Text:
        return Text(str(task.fields[self._field]), self._style)


def state_text(update: JobUpdate) -> str:
    """The state, and how far it is, in few words."""
    if update.state is JobState.ACCEPTED and update.position is not None:
        return f"waits, number {update.position}"
    if update.progress is None or update.ended:
        return str(update.state)
    return f"{update.state} {update.progress:.0%}"


def message_of(update: JobUpdate) -> str:
    """What the device says of it, in one line."""
    return escape((update.message or "")[:_MESSAGE_MAX])


class JobProgress:
    """One job on a terminal; nothing is drawn where stderr is none, or a program reads.

    Args:
        name: of the job.
        wanted: whether a person is to see it.
    """

    def __init__(self, name: str, *, wanted: bool = True) -> None:
        self._console = make_console(stderr=True)
        self._bar: Progress | None = None
        if wanted and is_terminal(sys.stderr):
            self._bar = _make_bar(self._console)
            self._task = self._bar.add_task("", total=None, name=escape(name), state="", says="")

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Draw it within the block, and leave the terminal as it was."""
        if self._bar is None:
            yield
            return
        with self._bar:
            async with beside(self._tick, "petalkit: progress"):
                yield

    async def _tick(self) -> None:
        """Let the time go on that is shown. Ends with the block."""
        while self._bar is not None:
            await trio.sleep(TICK)
            self._bar.refresh()

    def show(self, update: JobUpdate) -> None:
        """It stands so now."""
        if self._bar is None:
            return
        done = 1.0 if update.state is JobState.SUCCEEDED else update.progress
        self._bar.update(
            self._task,
            total=None if done is None else 1.0,
            completed=done or 0.0,
            state=state_text(update),
            says=message_of(update),
            refresh=True,
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(Text(f"petalkit: {escape(text)}"))


def _make_bar(console: Console) -> Progress:
    fixed = Column(no_wrap=True)
    return Progress(
        _Said("name", fixed, "bold"),
        BarColumn(bar_width=24),
        _Said("state", Column(no_wrap=True)),
        TimeElapsedColumn(),
        _Said("says", Column(no_wrap=True, overflow="ellipsis", ratio=1), "dim"),
        console=console,
        auto_refresh=False,  # by a thread; here it is a task
        redirect_stdout=False,
        expand=True,
    )

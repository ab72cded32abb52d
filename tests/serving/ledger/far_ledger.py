"""A ledger of a third kind: what is put down goes to a store far away, and is safe after a while.

It stands for one that several processes share, over a network. That it can be written here, and a
runtime serves with it, shows that nobody above asks which ledger it is.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

import trio

from petalkit._authoring.registry import CommandSpec
from petalkit._serving.ledger.contract import AnswerMessages, E, Ending, Ledger, Left
from petalkit._serving.ledger.duplicate_window import DuplicateWindow, Finished
from petalkit._serving.ledger.owed_messages import OwedMessages
from petalkit._values.messages import Message
from petalkit._values.request import Reply
from petalkit.transports import Delivery


class FarLedger(Ledger[E]):
    """See the module.

    Attributes:
        log: what the store was told, in order: a word, and the number of the command.
        away: whether the store is not reached now: nothing becomes safe.
    """

    may_wait = True

    def __init__(self, window: DuplicateWindow[E]) -> None:
        super().__init__(window, OwedMessages())
        self.log: list[tuple[str, int]] = []
        self.away = False
        self._last = 0
        self._line: deque[Callable[[], object]] = deque()
        self._idle = trio.Event()
        self._idle.set()

    @property
    def has_room(self) -> bool:
        return True

    @property
    def failing(self) -> bool:
        return False

    def takes(self, spec: CommandSpec) -> bool:
        return True

    def find(self, message_id: str, now: float) -> E | Finished | Left | None:
        return self.window.live(message_id) or self.window.finished(message_id, now)

    # -- the store

    def _put(self, word: str, entry: E, then: Callable[[], object]) -> None:
        self.log.append((word, entry.number))
        self._later(then)

    def _later(self, then: Callable[[], object]) -> None:
        self._line.append(then)
        if self._idle.is_set():
            self._idle = trio.Event()
        if not self.away:
            trio.lowlevel.current_trio_token().run_sync_soon(self._answer)

    def _answer(self) -> None:
        """One answer of the store comes; what it makes somebody put down comes after the others."""
        if self._line and not self.away:
            self._line.popleft()()
        if not self._line:
            self._idle.set()

    def come_back(self) -> None:
        """The store is reached again."""
        self.away = False
        for _ in range(len(self._line)):
            trio.lowlevel.current_trio_token().run_sync_soon(self._answer)

    # -- a command's life

    def accept(self, entry: E, then: Callable[[E], object]) -> None:
        self._last = entry.number = self._last + 1
        entry.recorded = True
        if entry.command.message_id is not None:
            self.window.begin(entry.command.message_id, entry)
        self._put("accepted", entry, functools.partial(self._accepted, entry, then))

    def _accepted(self, entry: E, then: Callable[[E], object]) -> None:
        entry.on_disk = True
        then(entry)

    def start(self, entry: E, then: Callable[[E], object] | None) -> None:
        self._put("started", entry, (lambda: None) if then is None else lambda: then(entry))

    def want(self, entry: E, replies: tuple[Reply, ...]) -> None:
        self._put("wanted", entry, lambda: None)

    def finish(
        self,
        entry: E,
        ending: Ending,
        answers: Callable[[E, bytes], AnswerMessages],
        then: Callable[[E, Ending, float], object],
    ) -> None:
        self._put("finished", entry, functools.partial(self._finished, entry, ending, then))

    def _finished(
        self, entry: E, ending: Ending, then: Callable[[E, Ending, float], object]
    ) -> None:
        now = trio.current_time()
        self._remember(entry, ending, now)
        then(entry, ending, now)

    def withdraw(self, entry: E) -> None:
        self.give_back(entry)
        self._put("withdrawn", entry, lambda: None)

    def post_of(self, entry: E, message: Message, reply: Reply | None) -> int | None:
        return None

    def acknowledge(self, delivery: Delivery) -> None:
        self._later(delivery.ack)

    # -- life

    @contextlib.asynccontextmanager
    async def open(self, give_up: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
        yield None

    async def wait_written(self) -> None:
        while self._line:
            await self._idle.wait()
        await trio.lowlevel.checkpoint()

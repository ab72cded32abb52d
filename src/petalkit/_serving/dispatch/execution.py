"""One accepted command on its way to one final state, and the lines in which it waits."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import trio

from ..._authoring.context import CommandContext, NotServed, bind_accept
from ..._authoring.registry import CommandSpec
from ..._values.codec import Limits, decode_command
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity
from ..._values.request import Reply, Wishes, wants_usual
from ..._values.types.invalid import Problem
from ...transports import Delivery
from ..failures import shortened
from ..fair_queue import FairQueue
from ..loggers import CommandLines

logger = logging.getLogger("petalkit.commands")
_numbers = itertools.count()
DECODED_BYTES = 256 * 1024  # payload bytes that wait decoded; of other commands only the bytes
PUT_AWAY_MIN = 512  # bytes of a payload that is worth being decoded twice
_READ_BEFORE = Limits(payload_max=1 << 28, depth_max=200, message_id_max=4096)  # by any settings


Accept: TypeAlias = "Callable[[Execution, Mapping[str, Any]], Awaitable[None]]"


class PetalState:
    """What the dispatcher knows of a petal: its slots, whether it is ready, whether it failed."""

    __slots__ = (
        "awaited", "failed", "limit", "line", "lost", "name", "ready", "running", "starting",
        "turn", "waiting", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, name: str, limit: int, callers: int) -> None:
        self.name = name
        self.limit = limit
        self.waiting = 0  # accepted, and not started
        self.waiting_bytes = 0
        self.running = 0
        # Of those, they that wait until a start is on disk or an acknowledgement has left: in
        # order, and whether it is.
        self.starting: dict[Execution, bool] = {}
        self.ready = True  # else its commands wait in its lines, and take no slots
        self.failed = False
        self.lost = False  # it has failed because no slot of it comes back: see `overdue`
        self.awaited = False  # it failed and is started again: what is in the journal waits
        self.turn = 0  # when one of its commands was last taken, where others waited too
        self.line = Line(self, None, callers)


class Line:
    """Commands that start in order: a petal's, or those of one command. See `FairQueue`."""

    __slots__ = ("group", "limit", "petal", "running", "waiting")

    def __init__(
        self, petal: PetalState, limit: int | None, callers: int, group: str | None = None
    ) -> None:
        self.petal = petal
        self.limit = limit
        self.group = group  # they wait until it is free, rather than be answered `BUSY`
        self.running = 0
        self.waiting: FairQueue[Execution] = FairQueue(callers)


NO_LINE = Line.__new__(Line)  # of a command that is in none


class Execution(msgspec.Struct, eq=False):
    """An accepted command, until it is finished. See the attributes' comments for who sets what.

    A struct of msgspec, because one is made for every command.
    """

    command: Command
    payload: bytes
    spec: CommandSpec
    identity: Identity
    response_topic: str
    arrived: float  # Trio's clock
    clock: trio.abc.Clock  # Trio's; asked from threads too, where trio.current_time() cannot be
    # A duplicate may want the answer that the first copy did not ask for.
    wait_response: bool
    logged: bool  # whether it has its lines at INFO
    wishes: Wishes | None = None
    replies: tuple[Reply, ...] = ()  # where else; each has its place in the outbox
    number: int = msgspec.field(default_factory=_numbers.__next__)  # the order of arrival
    arrival: int = 0  # of what brought it: see `RecentRefusals.arrival`
    deliveries: Sequence[Delivery] = ()  # acknowledged when it is finished
    recorded: bool = False  # the ledger keeps it beyond the process, or is about to
    on_disk: bool = False  # that is done
    restarted: bool = False  # it was running when an earlier run died, or may have been
    again: Delivery | None = None  # what brought it, if that may have been delivered before
    starting: bool = False  # it has its slots, and is called when that is safe
    owed: Mapping[Reply | None, int] | None = None  # numbers there of its responses, once finished
    line: Line = NO_LINE  # by the dispatcher, when accepted
    entered: bool = False  # the handler was called, or is about to be
    finished: bool = False  # it has its one final state
    not_served: NotServed | None = None  # nobody serves it after all
    silent: bool = False  # another program may answer it, so we do not
    in_thread: bool = False  # the slot is freed by the thread
    scope: trio.CancelScope | None = None  # of the handler, while it runs
    deadline: float = math.inf
    cancelled_as: tuple[ErrorCode, str] | None = None
    reason: str | None = None  # why it was not done, for the log: never values of its sender's
    goes_on: bool = False  # it has its first answer, and another follows: see `second_phase`
    note: int | None = None  # in the ledger, of that
    second_replies: tuple[Reply, ...] = ()  # where else that is to be said
    accept: Accept | None = None  # gives it its first answer
    ignored: tuple[Problem, ...] = ()  # keys of its data that nobody declared, by its binder
    put_away: bool = False  # of the command there are only the bytes; see `take_out`

    def set_wishes(self, wishes: Wishes) -> None:
        """Its sender has some; before it is accepted."""
        self.wishes = wishes
        if wishes.reply is not None:
            self.replies = (wishes.reply,)
            self.wait_response = wants_usual(self.command, wishes)

    def put_it_away(self) -> None:
        """It will wait: keep its bytes alone, if there are many of them.

        JSON takes up to 25 times its bytes when it is decoded: a list of empty objects does.
        """
        if len(self.payload) >= PUT_AWAY_MIN:
            self.command = without_data(self.command)
            self.put_away = True

    def take_out(self) -> None:
        """It is about to be called: decode it again."""
        command = decode_command(self.payload, self.command.topic, _READ_BEFORE)
        self.command = msgspec.structs.replace(self.command, data=command.data, extra=command.extra)
        self.put_away = False

    def cancel(self, code: ErrorCode, text: str) -> None:
        """Cancel the handler, or never call it; the command is answered so once it has ended."""
        if self.cancelled_as is None and (self.goes_on or not self.finished):
            now = self.clock.current_time()
            if now <= self.deadline or self.goes_on:  # else its time was over before
                self.cancelled_as = (code, text)
            self.deadline = min(self.deadline, now)
            if self.scope is not None:
                self.scope.cancel()

    def context(self) -> CommandContext:
        """What a handler gets that asks for its context."""
        context = CommandContext(self.command, self.identity, self.spec.petal, self.deadline)
        accept = self.accept
        if accept is not None:
            bind_accept(context, lambda fields: accept(self, fields))
        return context

    def log_fields(self) -> dict[str, Any]:
        """What log records say of this command; `elapsed` is seconds since it was accepted."""
        return {
            "petal": self.spec.petal,
            "command": self.spec.name,
            "message_id": self.command.message_id,
            "elapsed": round(self.clock.current_time() - self.arrived, 6),
        }

    def log_received(self) -> None:
        """One line at INFO."""
        self._log("received", None)

    def log_answer(self, code: str | None) -> None:
        """One line at INFO."""
        text = "answered" if self.wait_response or self.replies else "done, no answer wanted"
        if code is not None and self.reason is not None:
            text = f"{text}: {shortened(self.reason)}"
        self._log(text, code)

    def _log(self, text: str, code: str | None) -> None:
        spec, elapsed = self.spec, self.clock.current_time() - self.arrived
        _lines.info(text, spec.petal, spec.name, self.command.message_id, elapsed, code)


_lines = CommandLines(logger, Execution._log.__code__)


def without_data(command: Command) -> Command:
    """A command with nothing of what can be large but its ID and its properties."""
    return msgspec.structs.replace(command, data={}, extra={})

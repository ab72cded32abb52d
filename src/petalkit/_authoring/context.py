"""What a handler may ask for, and the protocol through which a petal reaches its runtime.

Authoring knows no runtime: a petal sees `PetalHost`, so that it can be built, and its handlers
called directly, without one.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import trio

from .._values.errors import CommandError, ErrorCode
from .._values.messages import Command, Identity
from .._values.settings.settings import Settings


@attrs.frozen
class CommandContext:
    """What a handler gets that asks for a parameter annotated `CommandContext`.

    Attributes:
        command: the command as it came.
        identity: the identity under which it came, and under which it is answered.
        petal: name of the petal.
        deadline: when the handler is cancelled, on Trio's clock; `math.inf` for never.
    """

    command: Command
    identity: Identity
    petal: str
    deadline: float
    _accept: Callable[[Mapping[str, Any]], Awaitable[None]] | None = attrs.field(
        default=None, init=False, repr=False, eq=False
    )

    async def accept(self, **fields: Any) -> None:
        """Answer the command now, with these fields; what the handler comes to is said later.

        The answer has `pending: true` beside them. What the handler returns or raises goes to web
        clients then, on `command/web`, under the same `messageId`, and to the caller's Response
        Topic if it named one. Returns when the answer is as safe as it gets. The handler keeps its
        slot and its time limit.

        Raises:
            PayloadError: JSON cannot say the fields, they are too large, or `pending` is one.
            RuntimeError: the command has its first answer already, or no runtime serves it.
        """
        accept = self._accept
        if accept is None:
            raise RuntimeError("accept() is for commands that a runtime serves")
        await accept(fields)

    @property
    def message_id(self) -> str | None:
        """The caller's `messageId`; None when it sent none."""
        return self.command.message_id

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """The caller's own pairs (MQTT 5), in order, a name perhaps twice; empty with 3.1.1."""
        return self.command.properties.user_properties

    @property
    def content_type(self) -> str | None:
        """What the caller says of the payload (MQTT 5), unchecked: it is read as JSON anyway."""
        return self.command.properties.content_type

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - trio.current_time()


def bind_accept(
    context: CommandContext, accept: Callable[[Mapping[str, Any]], Awaitable[None]]
) -> None:
    """For the runtime: how this command gets its first answer."""
    object.__setattr__(context, "_accept", accept)


@attrs.frozen
class OwnWords:
    """A result that is sent as it is, beside `messageId` and `timestamp`: a petal's own response.

    For petals that were written to say `success` or `status` themselves. See `Dialect.own_words`.

    Attributes:
        fields: of the response.
        error_code: what it is counted as; None for a success.
    """

    fields: Mapping[str, Any]
    error_code: str | None = None


class NotServed(CommandError):
    """Raised by a handler that was given a name it could only guess at: nobody serves it.

    The command counts as never started, so that a copy of it is judged anew.

    Args:
        message: for people.
        answered: whether it is ours to say so; else another program may answer.
        details: more fields of the response.

    Attributes:
        may_have_run: somebody may have served it without a word: so no copy of it is run.
    """

    def __init__(
        self, message: str, *, answered: bool, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(ErrorCode.UNKNOWN_COMMAND, message, details=details)
        self.answered = answered
        self.may_have_run = False


class PetalHost(Protocol):
    """What a runtime offers to one of its petals."""

    @property
    def settings(self) -> Settings:
        """How the runtime behaves."""
        ...

    @property
    def failed(self) -> bool:
        """Whether the petal is out of service."""
        ...

    @property
    def connected(self) -> bool:
        """Whether a link is up and subscribed."""
        ...

    @property
    def sends_receipts(self) -> bool:
        """Whether the runtime itself answers `waitAck`, as its dialect has it."""
        ...

    @property
    def identity(self) -> Identity | None:
        """The identity now; None while it is not known."""
        ...

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the petal's background tasks; raises RuntimeError when it is not open."""
        ...

    async def wait_identity(self) -> Identity:
        """Wait until the identity is known."""
        ...

    async def wait_other_identity(self, known: Identity | None) -> Identity:
        """Wait until the identity is known, and another than `known`."""
        ...

    async def wait_connected(self) -> None:
        """Wait until commands have been subscribed to once."""

    async def publish_event(
        self,
        payload: Mapping[str, Any],
        *,
        topic: str,
        qos: int,
        expiry: float | None = None,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Put an event into the outbox; waits while it is full."""

    def publish_event_nowait(self, payload: Mapping[str, Any], *, topic: str, qos: int) -> None:
        """The same; raises trio.WouldBlock while it is full."""

    def acknowledge(self, identity: Identity, message_id: str, service: str, kind: str) -> bool:
        """Tell on `ack` that a command has arrived; False when there is no room for it."""
        ...

    def not_served(self, name: str) -> NotServed:
        """What to raise for a command that nobody serves after all."""
        ...

    def open_line(self, name: str) -> None:
        """Let the commands of a petal or a resolver start that have waited until it is ready."""

    def add_command(self, name: str, handler: Any, options: Any) -> None:
        """Serve one more command from now on."""

    def remove_command(self, name: str) -> None:
        """Serve a command no longer."""


class Service(Protocol):
    """What petals have in common and a runtime runs beside their commands: an HTTP server."""

    @property
    def name(self) -> str:
        """For the log, and for its task."""
        ...

    async def run(self, settings: Settings) -> None:
        """Serve until `close()`, and return when what is under way then has ended."""

    def close(self) -> None:
        """The runtime stops: take nothing new."""

    async def wait_quiet(self) -> None:
        """Wait until nothing is under way; a stop's grace bounds it."""

    def cancel(self) -> None:
        """The grace is over: end what is under way, and answer for it."""
        ...


class Beneath(Protocol):
    """What several petals stand on; the runtime opens it before their lives."""

    async def run(
        self, settings: Settings, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold it open until cancelled; `started` when petals can be entered."""
        ...


class LogScope(Protocol):
    """The command on whose behalf the code runs."""

    def log_fields(self) -> dict[str, Any]:
        """What log records say of it: `petal`, `command`, `message_id`, `elapsed`."""
        ...


log_scope: contextvars.ContextVar[LogScope | None] = contextvars.ContextVar(
    "petalkit_log_scope", default=None
)


class CommandLogFilter(logging.Filter):
    """Adds `petal`, `command`, `message_id` and `elapsed` (seconds) to every record.

    Put it on a handler (not on a logger, whose filters do not see its children's records), and
    what a petal's own logger writes inside a command carries them too, also from the tasks and
    threads which that command started. A record that names a petal, command or message ID of its
    own is left as it is. Lets all pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; always True."""
        scope = log_scope.get()
        # A record that names a command may be about another one than this code runs for.
        if scope is not None:
            found = record.__dict__
            if not ("petal" in found or "command" in found or "message_id" in found):
                found.update(scope.log_fields())
        return True

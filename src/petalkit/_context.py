"""What a handler may ask for, and the protocol through which a petal reaches its runtime.

Authoring knows no runtime: a petal sees `PetalHost`, so that it can be built, and its handlers
called directly, without one.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import trio

from ._messages import Command, Identity


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


class PetalHost(Protocol):
    """What a runtime offers to one of its petals."""

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

    async def publish_event(
        self, payload: Mapping[str, Any], *, topic: str, qos: int, expiry: float | None
    ) -> None:
        """Put an event into the outbox; waits while it is full."""

    def add_command(self, name: str, handler: Any, options: Any) -> None:
        """Serve one more command from now on."""

    def remove_command(self, name: str) -> None:
        """Serve a command no longer."""


class LogScope(Protocol):
    """The command on whose behalf the code runs."""

    def log_fields(self) -> dict[str, Any]:
        """What log records say of it: `petal`, `command`, `message_id`, `elapsed`."""
        ...


log_scope: contextvars.ContextVar[LogScope | None] = contextvars.ContextVar(
    "petalkit_log_scope", default=None
)


_NAMES = frozenset({"petal", "command", "message_id"})


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
        if scope is not None and not _NAMES & record.__dict__.keys():
            record.__dict__.update(scope.log_fields())
        return True

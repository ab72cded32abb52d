"""Which connections are idle, for how long that may be, and who makes room for another."""

from __future__ import annotations

import math
from typing import Any, Protocol

import trio

IDLE_MAX = 75.0  # seconds; above what clients keep idle connections for, so that they close first
SILENT_MAX = 1.0  # seconds that a new connection may say nothing while others wait
IDLE_MIN = 0.1  # seconds after an answer in which the next request may be on its way


class Connection(Protocol):
    """What is watched; `context.terminated` is set when all is over."""

    context: Any

    async def close_idle(self) -> None: ...


class IdleWatch:
    """Closes a connection that is idle, or has not sent a whole head, for `IDLE_MAX`.

    Hypercorn's task for that is called `restart` when a connection becomes idle, and `stop` when
    there is a request.

    Args:
        connection: which.
        idle: the watches of all that are idle, the longest first; kept here.
    """

    def __init__(self, connection: Connection, idle: dict[IdleWatch, None]) -> None:
        self._connection = connection
        self._idle = idle
        self.requests = 0
        self._since = 0.0
        self._scope = trio.CancelScope()
        self._deadline = math.inf
        self._started = False
        self._over = False

    async def restart(self, task_group: Any, _action: object) -> None:
        if not self._over:
            self._idle[self] = None
            self._since = trio.current_time()
            self._set_deadline(self._since + IDLE_MAX)
            if not self._started:
                self._started = True
                task_group.spawn(self._run)

    async def stop(self) -> None:
        """There is a request.

        Raises:
            trio.ClosedResourceError: the connection is being closed. Whoever reads it ends then.
        """
        if self._over:
            raise trio.ClosedResourceError
        self.requests += 1
        self._idle.pop(self, None)
        self._set_deadline(math.inf)

    def close_now(self) -> None:
        """It is idle, and has to make room."""
        self._idle.pop(self, None)
        self._set_deadline(-math.inf)

    @property
    def is_silent(self) -> bool:
        """Whether nothing has been asked on it, in a time in which any client would have."""
        return not self.requests and self.is_idle_for(SILENT_MAX)

    @property
    def may_go(self) -> bool:
        """Whether something was asked on it, and nothing seems to come."""
        return self.requests > 0 and self.is_idle_for(IDLE_MIN)

    def is_idle_for(self, seconds: float) -> bool:
        """Whether it has been idle for so long."""
        return trio.current_time() >= self._since + seconds

    def end(self) -> None:
        """Nothing more comes on the connection."""
        self._over = True
        self._idle.pop(self, None)
        self._scope.cancel()

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = self._scope.deadline = deadline

    async def _run(self) -> None:
        terminated = self._connection.context.terminated
        while not self._over:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await terminated.wait()
                if self not in self._idle:
                    return  # it is answering, and closes after that
                self.close_now()
            # A request may have come in the very step in which the time was over.
            if self._deadline <= trio.current_time():
                self._over = True
                self._idle.pop(self, None)
                with trio.CancelScope(shield=True):  # it does not wait
                    await self._connection.close_idle()

"""Noticing that the sidecar died, at once, although it may be back before the next probe.

A connection on which nothing is asked any more ends with the process at its other end: that is what
this waits for. The trap: servers also close connections that were idle for long (Node.js after 5 s
by itself). That happens at the same age each time, so an end at the age of the last one says
nothing; what such a coincidence hides is found by the rule that quiet topics are subscribed again.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ._answers import ANSWER_MAX
from ._publishing.connection import OpenStream

SAME_AGE = 0.25  # seconds between two ages that count as one
AGAIN = 0.1  # seconds until the next connection
_READ_SIZE = 4096


class Canary:
    """See the module; `run` is its one task.

    Args:
        open_stream: makes a stream to the sidecar; `OSError` says that there is no way.
        request: a whole GET, of what costs little.
        interval: seconds between connections to a sidecar that does not keep them.
        on_end: called when it may have died.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        request: bytes,
        interval: float,
        on_end: Callable[[], object],
    ) -> None:
        self._open_stream = open_stream
        self._request = request
        self._interval = interval
        self._on_end = on_end
        self._usual_age: float | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            age = await self._one()
            if age is not None and not self._is_usual(age):
                self._usual_age = age
                self._on_end()
            keeps = age is not None and age > self._interval / 4
            await trio.sleep(AGAIN if keeps else self._interval)

    def _is_usual(self, age: float) -> bool:
        return self._usual_age is not None and abs(age - self._usual_age) <= SAME_AGE

    async def _one(self) -> float | None:
        """How long a connection was idle before it ended; None when it was never good."""
        try:
            stream = await self._open_stream()
        except (OSError, trio.BrokenResourceError):
            return None  # the probes find that out, and say it
        read = 0
        quiet_since: float | None = None
        try:
            await stream.send_all(self._request)
            # No limit: that it waits is what it is for.
            while data := await stream.receive_some(_READ_SIZE):
                read += len(data)
                quiet_since = trio.current_time()
                if read > ANSWER_MAX:
                    return None
        except trio.BrokenResourceError:
            pass
        finally:
            with trio.CancelScope(shield=True):  # it does not wait
                await trio.aclose_forcefully(stream)
        return None if quiet_since is None else trio.current_time() - quiet_since

"""Following what goes on at a device after its answer: what jobs and streams have in common.

The rule: who follows is told what is so, whatever was lost on the way. So it asks again, and is
subscribed again, when the link is another, when the device is born anew, when it has heard nothing
for a while, and before a device forgets readers that nobody renews. The trap: a device that is away
for long is no end of a job; it is asked again until its reader gives up.
"""

from __future__ import annotations

import abc
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol

import attrs
import trio

from ..._authoring.jobs.options import SUBSCRIBE, beside
from ..._values.errors import PetalkitError, TransportError
from ..._values.messages import Response
from .._errors import CommandRefused, DeviceBusy, DeviceUnavailable
from .._reading.told import Readers
from .._reading.web import Told
from .._wire.routes import Route

logger = logging.getLogger("petalkit.client")

SILENCE = 30.0  # seconds without a word, after which a device is asked
RENEW = 300.0  # seconds after which a reader says that it still reads
AGAIN_MIN = 1.0  # seconds until a question is asked again that nobody answered; it doubles
FAREWELL = 2.0  # seconds for the last word of a reader to its device
RATE = 10.0  # Hz

Envelope = Literal["web", "plain"]
Spawn = Callable[[Callable[[], Awaitable[object]], str], None]


class Caller(Protocol):
    """Sends a command and gives the answer of a success."""

    async def __call__(self, command: str, data: Mapping[str, Any]) -> Response:
        """See `Client.call`."""
        ...


@attrs.frozen(kw_only=True)
class How:
    """How something is followed.

    Attributes:
        stream_id: how its reader calls itself.
        rate: messages per second, at most.
        envelope: how it is told.
        timeout: seconds for the subscription at the broker.
        buffer: what waits to be read, at most.
        spawn: starts a task of the client's, of that name.
        on_drop: called for what makes room.
    """

    stream_id: str
    rate: float
    envelope: Envelope
    timeout: float
    buffer: int
    spawn: Spawn
    on_drop: Callable[[], object]


class Following(abc.ABC):
    """One reader of a job or a stream. Its task is the client's, so that any task may read it.

    Args:
        name: of the job or stream, in full.
        route: at which device.
        readers: where it is told.
        call: asks the device.
        how: see there.

    Attributes:
        name: of the job or stream, in full.
        stream_id: how it calls itself.
    """

    def __init__(self, name: str, route: Route, readers: Readers, call: Caller, how: How) -> None:
        self.name = name
        self.stream_id = how.stream_id
        self._route = route
        self._readers = readers
        self._call = call
        self._how = how
        self._scope = trio.CancelScope()
        self._wake = trio.Event()
        self._heard_at = self._renewed_at = -math.inf
        self._must_look = False

    def tell(self, told: Told) -> None:
        """It is told something."""
        self._heard_at = trio.current_time()
        self._take(told)

    def look(self) -> None:
        """The link or the device is another than before: see whether it still reads."""
        self._must_look = True
        self._wake.set()

    @abc.abstractmethod
    def _take(self, told: Told) -> None:
        """It is told something; must not raise."""

    @abc.abstractmethod
    async def _ask(self) -> None:
        """Ask the device how it stands.

        Raises:
            CommandRefused: it is not there any more.
        """

    @abc.abstractmethod
    def fail(self, error: Exception) -> None:
        """Nothing follows: it is not there any more."""

    @property
    @abc.abstractmethod
    def _is_over(self) -> bool:
        """Whether nothing follows."""

    async def _subscribe(self, job_id: str | None = None) -> Response:
        data: dict[str, Any] = {
            "subscribed_stream_id": self.stream_id,
            "data_rate_hz": self._how.rate,
        }
        if job_id is not None:
            data["job_id"] = job_id
        if self._how.envelope != "web":  # which devices of all ages know
            data["envelope"] = self._how.envelope
        response = await self._call(beside(self.name, SUBSCRIBE), data)
        self._renewed_at = trio.current_time()
        return response

    async def follow(self) -> None:
        """Ask when it is time; ends with what is followed. Its owner is the client."""
        with self._scope:
            tries = 0
            while not self._is_over:
                self._wake = trio.Event()
                now = trio.current_time()
                due = min(max(self._heard_at, self._renewed_at) + SILENCE, self._renewed_at + RENEW)
                if not self._must_look and due > now:
                    with trio.move_on_at(due):
                        await self._wake.wait()
                    continue
                self._must_look = False
                try:
                    await self._ask()
                    tries = 0
                except (DeviceBusy, DeviceUnavailable, TransportError, trio.TooSlowError) as error:
                    logger.info("%s cannot be asked for now: %s", self.name, error)
                    tries += 1
                    self._renewed_at = now = trio.current_time()
                    with trio.move_on_after(min(SILENCE, AGAIN_MIN * 2.0 ** min(tries, 8))):
                        await self._wake.wait()
                    self._must_look = True
                except (CommandRefused, PetalkitError, trio.ClosedResourceError) as error:
                    self.fail(error)

    def leave(self) -> None:
        """It reads no more; what is told from now on goes nowhere."""
        self._scope.cancel()
        self._readers.remove(self._route, self)

    async def say_farewell(self, *commands: tuple[str, Mapping[str, Any]]) -> None:
        """Tell the device, as far as that can be done in a moment. Shielded and bounded."""
        with trio.move_on_after(FAREWELL, shield=True):
            for command, data in commands:
                try:
                    await self._call(command, data)
                except (PetalkitError, trio.ClosedResourceError) as error:
                    logger.debug("%s was not told that nobody reads it: %s", self.name, error)

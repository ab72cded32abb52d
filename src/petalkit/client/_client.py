"""`Client`: commands, jobs, streams and events of devices, over one connection.

Everything here is said in the words of its users; what it takes to keep it is in the other modules.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from .._values.messages import Identity
from .._values.settings.settings import Settings
from ..transports import Delivery
from ._commands import DEFAULT_CALL_TIMEOUT, Commands
from ._long.following import RATE, Envelope, How
from ._long.jobs import ClientJob, Start
from ._long.streams import ClientEvents, ClientStatuses, ClientStream, StreamReader
from ._reading.buffer import Buffer
from ._reading.devices import Device, Devices
from ._reading.info import INFO, DeviceInfo, read_info
from ._reading.told import Readers
from ._wire.calling import Calling
from ._wire.statistics import ClientStatistics

_NOTHING: Mapping[str, Any] = {}


class Client(Commands):
    """Calls devices of one organization; made by `open_client`. Any number of tasks may use it.

    Where a method takes a `device`, that is a device ID, or an `Identity`; None is the device for
    which the client was opened.

    Attributes:
        identity: the device for which it was opened.
    """

    def __init__(self, calling: Calling, settings: Settings, nursery: trio.Nursery) -> None:
        self._devices = Devices(settings, calling)
        self._readers = Readers(settings, calling, self._devices)
        super().__init__(calling, settings, self._readers)
        self._nursery = nursery

    # -- what goes on

    def job(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        device: str | Identity | None = None,
        rate: float = RATE,
        timeout: float = DEFAULT_CALL_TIMEOUT,
        envelope: Envelope = "web",
        cancel_on_leave: bool = False,
        job_id: str | None = None,
    ) -> ClientJob:
        """A job for the length of an `async with` block, which starts it on entering.

        Leaving the block ends the watching, not the job. Entering blocks as `call` does, leaving
        for a farewell of 2 s at most.

        Args:
            command: that which starts it.
            data: the arguments.
            device: which one.
            rate: reports per second, at most.
            timeout: seconds for the start, and for each question after it.
            envelope: how the device is asked to word its reports; `"plain"` is shorter, and not
                known to all devices.
            cancel_on_leave: whether the job is cancelled when the block is left before its end.
            job_id: of one that was started before: it is followed, and nothing is started.

        Raises:
            NotAJob: the command has answered, and not as the start of a job does.
            CallTimeout, CommandRefused: as `call`. After a time limit nobody knows whether it was
                started; `jobs()` tells.
        """
        how = self._how(rate, envelope, timeout)
        start = Start(_NOTHING if data is None else data, cancel_on_leave, job_id)
        call = functools.partial(self.call, device=device, timeout=timeout)
        return ClientJob(command, self._calling.route(device), self._readers, call, how, start)

    def stream(
        self,
        name: str,
        *,
        device: str | Identity | None = None,
        rate: float = RATE,
        timeout: float = DEFAULT_CALL_TIMEOUT,
        envelope: Envelope = "web",
    ) -> ClientStream:
        """The values of a stream: `async for value in client.stream("telemetry/pose")`.

        In an `async with` it is subscribed to on entering, and ended on leaving; else with the
        first value, and when nobody has the iterator any more. It is subscribed to again when the
        link or the device was away. Who reads slowly misses the oldest values (`call_buffer`).

        Args:
            name: in full.
            device: which one.
            rate: values per second, at most.
            timeout: seconds for each subscription.
            envelope: see `job`.

        Raises:
            StreamFailed: while iterating: it has ended with an error.
            CallTimeout, CommandRefused: as `call`, when it is subscribed to.
        """
        how = self._how(rate, envelope, timeout)
        call = functools.partial(self.call, device=device, timeout=timeout)
        reader = StreamReader(name, self._calling.route(device), self._readers, call, how)
        return ClientStream(reader, self._spawn)

    def events(
        self,
        command: str | None = None,
        *,
        device: str | Identity | None = None,
        everything: bool = False,
        timeout: float = DEFAULT_CALL_TIMEOUT,
    ) -> ClientEvents:
        """What a device says on `command/web`: `async for event in client.events()`.

        In an `async with` it is subscribed to on entering. Events that come while there is no link
        are not seen. Who reads slowly misses the oldest (`call_buffer`).

        Args:
            command: only those of this name, such as `"camera/progress"`.
            device: which one.
            everything: also what readers of jobs and streams are told.
            timeout: seconds for the subscription.

        Raises:
            trio.TooSlowError: when it begins: the broker did not answer in time.
            RejectedByBroker: when it begins: the broker refuses the subscription.
            trio.ClosedResourceError: while iterating: the client's context has been left.
        """
        buffer = Buffer[Any](self._settings.call_buffer, self._drop)
        route = self._calling.route(device)
        return ClientEvents(
            self._readers, route, buffer, timeout, command=command, everything=everything
        )

    def statuses(
        self, *, device: str | Identity | None = None, timeout: float = DEFAULT_CALL_TIMEOUT
    ) -> ClientStatuses:
        """The births and farewells of a device: `async for said in client.statuses()`.

        The first one is what is retained, where there is something. Who reads slowly misses the
        oldest (`call_buffer`).

        Args:
            device: which one.
            timeout: seconds for the subscription.

        Raises:
            trio.TooSlowError, RejectedByBroker, trio.ClosedResourceError: as `events`.
        """
        buffer = Buffer[Device](self._settings.call_buffer, self._drop)
        return ClientStatuses(self._readers, self._calling.route(device), buffer, timeout)

    # -- devices

    async def devices(self, *, settle: float = 0.5, timeout: float = 10.0) -> list[Device]:
        """The devices of the organization that have said `online` or `offline`.

        By their retained `status`, at the broker; `call_devices` at most. Nobody says when all of
        them have come, so it waits until nothing more does.

        Args:
            settle: seconds without another one, after which these are all.
            timeout: seconds for the subscription, and for those that come.

        Raises:
            trio.TooSlowError: the broker did not answer in time.
            RejectedByBroker: it refuses the subscription.
            TopicError: there is no filter for all devices of the settings' `base_topic`.
        """
        return await self._devices.all(settle, timeout)

    async def info(
        self,
        device: str | Identity | None = None,
        *,
        petal: str | None = None,
        timeout: float = DEFAULT_CALL_TIMEOUT,
    ) -> DeviceInfo:
        """What a device serves: its petals with their commands, jobs and streams.

        Args:
            device: which one.
            petal: only what this one serves.
            timeout: seconds for each part of the answer.

        Raises:
            CallTimeout, CommandRefused: as `call`.
        """

        async def ask(data: dict[str, Any]) -> Mapping[str, Any]:
            response = await self.call(INFO, data, device=device, timeout=timeout)
            return response.fields

        return await read_info(ask, petal)

    # -- inside

    def statistics(self) -> ClientStatistics:
        """What has happened since it was opened, and how it stands."""
        calling = self._calling
        return ClientStatistics(
            **attrs.asdict(calling.counters),
            waiting=len(calling.waiting),
            readers=len(self._readers),
            connected=calling.connection.is_up,
        )

    def _how(self, rate: float, envelope: Envelope, timeout: float) -> How:
        return How(
            stream_id=self._calling.new_id(),
            rate=rate,
            envelope=envelope,
            timeout=timeout,
            buffer=self._settings.call_buffer,
            spawn=self._spawn,
            on_drop=self._drop,
        )

    def _drop(self) -> None:
        self._calling.counters.dropped += 1

    def _spawn(self, run: Callable[[], Awaitable[object]], name: str) -> None:
        with contextlib.suppress(RuntimeError):  # the client has been left meanwhile
            self._nursery.start_soon(run, name=name)

    def _take(self, delivery: Delivery) -> None:
        """What comes; must not raise."""
        take = self._calling.on_topic.get(delivery.topic)
        if take is not None:
            take(delivery)
        else:
            self._devices.take(delivery)

    def _on_link(self) -> None:
        """There is another link."""
        self._calling.begin_anew()
        self._readers.look()
        self._spawn(self._calling.doubt, "client: what a lost link may have swallowed")

    def _end(self, error: Exception) -> None:
        """There will be no link any more."""
        self._calling.waiting.close(error)
        self._calling.connection.interests.close(error)
        self._readers.end(error)

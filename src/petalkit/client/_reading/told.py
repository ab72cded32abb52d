"""Who reads what devices say on `command/web`, and whom their birth wakes.

The rule: the filter is subscribed to while somebody reads, and a message goes to the one whose
`published_stream_id` it names, if it comes from that one's device. The trap: all readers of a
device share one topic, so most of what comes there is somebody else's, and is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from ..._values.codec import Limits
from ..._values.error_codes import backwards
from ..._values.errors import PayloadError
from ..._values.messages import Response
from ..._values.settings.settings import Settings
from ...transports import Delivery
from .._wire.calling import Calling
from .._wire.routes import Route
from .buffer import Buffer
from .devices import Device, Devices, read_status
from .web import Event, Told, read_web


class Reader(Protocol):
    """Who has subscribed to a job or a stream."""

    stream_id: str

    def tell(self, told: Told) -> None:
        """It is told something."""
        ...

    def look(self) -> None:
        """The link or the device is another than before: see whether it still reads."""
        ...

    def fail(self, error: Exception) -> None:
        """Nothing follows."""
        ...


@attrs.define
class _Web:
    """What is read of one device."""

    route: Route
    uses: int = 0
    readers: dict[str, Reader] = attrs.field(factory=dict)
    events: dict[Buffer[Event], bool] = attrs.field(factory=dict)
    statuses: set[Buffer[Device]] = attrs.field(factory=set)
    status: Device | None = None


class Readers:
    """See the module.

    Args:
        settings: bounds of a message.
        calling: has the link, and the counters of what is dropped.
        devices: are told what a status says too.

    Attributes:
        codes: what other words for error codes mean.
    """

    def __init__(self, settings: Settings, calling: Calling, devices: Devices) -> None:
        self._calling = calling
        self._devices = devices
        self._limits = Limits(
            settings.payload_max, max(settings.depth_max, 2), settings.message_id_max
        )
        self.codes = backwards(settings.error_codes)
        self._of: dict[Route, _Web] = {}

    def __len__(self) -> int:
        return sum(
            len(web.readers) + len(web.events) + len(web.statuses) for web in self._of.values()
        )

    def __iter__(self) -> Iterator[Reader]:
        for web in list(self._of.values()):
            yield from list(web.readers.values())

    # -- who reads

    def add(self, route: Route, reader: Reader) -> None:
        """It reads from now on; the filter is there when `wait` returns."""
        self._use(route).readers[reader.stream_id] = reader

    def remove(self, route: Route, reader: Reader) -> None:
        """It reads no more."""
        web = self._of.get(route)
        if web is not None and web.readers.pop(reader.stream_id, None) is not None:
            self._leave(web)

    def add_events(self, route: Route, buffer: Buffer[Event], *, everything: bool) -> None:
        """The same of events; `everything` for what readers of jobs and streams are told too."""
        self._use(route).events[buffer] = everything

    def remove_events(self, route: Route, buffer: Buffer[Event]) -> None:
        """It reads no more."""
        web = self._of.get(route)
        if web is not None and web.events.pop(buffer, None) is not None:
            self._leave(web)

    def add_statuses(self, route: Route, buffer: Buffer[Device]) -> None:
        """The same of births and farewells, the last one that is known first."""
        web = self._use(route)
        web.statuses.add(buffer)
        if web.status is not None:
            buffer.put(web.status)

    def remove_statuses(self, route: Route, buffer: Buffer[Device]) -> None:
        """It reads no more."""
        web = self._of.get(route)
        if web is not None and buffer in web.statuses:
            web.statuses.remove(buffer)
            self._leave(web)

    def hold(self, route: Route) -> Callable[[], None]:
        """Read for the sake of a second phase; returns what ends that."""
        web = self._use(route)
        return lambda: self._leave(web)

    async def wait(self, route: Route) -> None:
        """Wait until what a device says is subscribed to. The caller bounds it.

        Raises:
            RejectedByBroker: the broker refuses that.
        """
        await self._calling.connection.interests.wait(route.web)

    def _use(self, route: Route) -> _Web:
        web = self._of.get(route)
        if web is None:
            web = self._of[route] = _Web(route)
            topics = self._calling.on_topic
            topics[str(route.web)] = lambda delivery: self._take(web, delivery)
            topics[str(route.status)] = lambda delivery: self._take_status(web, delivery)
            self._calling.connection.interests.want(route.web, route.status)
        web.uses += 1
        route.uses += 1
        return web

    def _leave(self, web: _Web) -> None:
        web.uses -= 1
        web.route.uses -= 1
        if not web.uses:
            del self._of[web.route]
            for one in (web.route.web, web.route.status):
                self._calling.on_topic.pop(str(one), None)
                self._calling.connection.interests.drop(one)

    # -- what comes

    def _take(self, web: _Web, delivery: Delivery) -> None:
        counters = self._calling.counters
        if delivery.fault is not None:
            counters.unreadable += 1
            return
        route = web.route
        try:
            found = read_web(delivery.payload, route.identity.device_id, self._limits)
        except PayloadError:
            counters.unreadable += 1
            return
        if isinstance(found, Told):
            reader = web.readers.get(found.stream_id)
            if reader is not None:
                reader.tell(found)
            for buffer, everything in web.events.items():
                if everything:
                    buffer.put(_as_event(found, route))
            return
        if found.message_id is not None and found.data is not found.fields:
            second = Response({**found.data, "messageId": found.message_id}, self.codes)
            self._calling.waiting.take_second(found.message_id, second, route)
        for buffer in web.events:
            buffer.put(found)

    def _take_status(self, web: _Web, delivery: Delivery) -> None:
        self._devices.take(delivery)
        if delivery.fault is not None:
            return
        said = read_status(delivery.payload, web.route.identity.device_id, self._limits)
        if said is not None and (said != web.status or not delivery.retain):
            web.status = said
            for buffer in web.statuses:
                buffer.put(said)
        if delivery.retain:
            return  # as it was before anybody read
        if said is not None and said.online:
            self._calling.doubt_route(web.route)
            for reader in list(web.readers.values()):
                reader.look()

    def look(self) -> None:
        """There is another link: what was said meanwhile is lost."""
        for reader in self:
            reader.look()

    def end(self, error: Exception) -> None:
        """Nothing is read any more."""
        for web in self._of.values():
            for events in web.events:
                events.end(error)
            for statuses in web.statuses:
                statuses.end(error)
        for reader in self:
            reader.fail(error)


def _as_event(told: Told, route: Route) -> Event:
    command, timestamp = told.fields.get("command"), told.fields.get("timestamp")
    message_id = told.fields.get("messageId")
    return Event(
        command if isinstance(command, str) else "",
        {"published_stream_id": told.stream_id, "stream_payload": told.value},
        message_id if isinstance(message_id, str) else None,
        timestamp if isinstance(timestamp, str) else None,
        route.identity.device_id,
        told.fields,
    )

"""One device, as one page sees it: what it serves, its jobs, its events, the streams it watches.

The rule: what is looked at is read, and nothing else; with the page or its choice of a device all
of it ends. The device is asked as anybody would ask it, so a page costs it what a caller does. The
trap: reports of a job come to readers like values of a stream, under the same commands; so who
reads every job of a kind, whoever has started it, reads a stream of that name.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from ..._values.errors import PetalkitError
from ...client import Client, Device, StreamFailed
from . import said
from .asked import Watch
from .outgoing import Outgoing

logger = logging.getLogger("petalkit.console")

ASK_TIMEOUT = 10.0  # seconds for each question of ours
AGAIN = 5.0  # seconds until a question is asked again that nobody answered
STATISTICS_INTERVAL = 1.0  # seconds
JOBS_INTERVAL = 5.0  # seconds between two lists of what runs, should a report have got lost
JOB_RATE = 5.0  # reports of a job per second
KINDS_MAX = 50  # kinds of jobs that are read at once; of others the list is shown
STREAMS_MAX = 100  # that one page watches at once
STATISTICS = "petalkit/statistics"
JOBS = "petalkit/jobs"

_FAILURES = (PetalkitError, trio.TooSlowError, trio.ClosedResourceError, ValueError)
_NOT_YET = object()
Find = Callable[[str], Device | None]


class DeviceView:
    """See the module. Runs in the nursery that it is given, and ends with its scope.

    Args:
        client: asks the device.
        device: its ID.
        find: what the directory knows of it; None where it knows nothing.
        outgoing: where it is told.

    Attributes:
        device: its ID.
        ready: set when streams can be watched.
    """

    def __init__(self, client: Client, device: str, find: Find, outgoing: Outgoing) -> None:
        self.device = device
        self.ready = trio.Event()
        self._client = client
        self._find = find
        self._outgoing = outgoing
        self._changed = trio.Event()
        self._served: object = _NOT_YET
        self._jobs: dict[str, trio.CancelScope] = {}
        self._streams: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Look at it until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.ready.set()
            nursery.start_soon(self._read_info, name=f"console: info of {self.device}")
            nursery.start_soon(self._read_events, name=f"console: events of {self.device}")
            nursery.start_soon(
                self._ask_again, STATISTICS, STATISTICS_INTERVAL, self._take_statistics
            )
            nursery.start_soon(self._ask_again, JOBS, JOBS_INTERVAL, self._take_jobs)

    def look(self) -> None:
        """The directory says something else of the device."""
        self._changed.set()

    # -- what it serves

    async def _read_info(self) -> None:
        while True:
            self._changed = trio.Event()
            known = self._find(self.device)
            if known is not None and not known.online:
                self._served = _NOT_YET  # when it is back it may be another
                await self._changed.wait()
                continue
            served = None if known is None else (known.schema_hash, known.timestamp)
            if served == self._served:
                await self._changed.wait()
                continue
            try:
                found = await self._client.info(self.device, timeout=ASK_TIMEOUT)
            except _FAILURES as error:
                self._say_state("silent", error=str(error))
                with trio.move_on_after(AGAIN):
                    await self._changed.wait()
                continue
            self._served = served
            self._outgoing.state(("info",), said.info(self.device, found))
            self._read_jobs(found.jobs)

    def _read_jobs(self, names: Any) -> None:
        for name in set(self._jobs) - set(names):
            self._jobs.pop(name).cancel()
        for name in names[:KINDS_MAX]:
            if name not in self._jobs:
                self._jobs[name] = scope = trio.CancelScope()
                self._spawn(self._read_one, scope, self._jobs, name, JOB_RATE, self._take_job)

    def _spawn(self, run: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(run, *arguments)

    # -- jobs and streams

    async def _read_one(
        self,
        scope: trio.CancelScope,
        scopes: dict[str, trio.CancelScope],
        name: str,
        rate: float,
        take: Callable[[str, Any], None],
    ) -> None:
        """Read one until it ends, or is not wanted any more."""
        with scope:
            error: str | None = None
            try:
                stream = self._client.stream(name, device=self.device, rate=rate)
                async with stream as values:
                    self._say_stream(name, scopes, "live", rate=stream.rate)
                    async for value in values:
                        take(name, value)
            except StreamFailed as failed:
                error = str(failed)
            except _FAILURES as failed:
                error = str(failed)
                logger.info("%s cannot be read: %s", name, failed)
            self._say_stream(name, scopes, "ended", error=error)
        if scopes.get(name) is scope:
            del scopes[name]

    def _say_stream(
        self, name: str, scopes: dict[str, trio.CancelScope], state: str, **more: Any
    ) -> None:
        if scopes is self._streams:
            item = said.encode("stream", device=self.device, name=name, state=state, **more)
            self._outgoing.state(("stream", name), item)

    def _take_job(self, name: str, value: Any) -> None:
        if isinstance(value, dict) and isinstance(value.get("job_id"), str):
            job = said.job(self.device, name, value)
            self._outgoing.state(("job", value["job_id"]), job)

    def _take_value(self, name: str, value: Any) -> None:
        # The time is that at which it came: devices need not say one.
        self._outgoing.news(
            said.encode("value", device=self.device, name=name, at=time.time(), value=value)
        )

    def watch(self, asked: Watch) -> None:
        """Read a stream, or at another rate."""
        self.unwatch(asked.stream)
        if len(self._streams) >= STREAMS_MAX:
            text = f"{STREAMS_MAX} streams are watched already"
            self._say_stream(asked.stream, self._streams, "ended", error=text)
            return
        self._streams[asked.stream] = scope = trio.CancelScope()
        self._spawn(
            self._read_one, scope, self._streams, asked.stream, asked.rate, self._take_value
        )

    def unwatch(self, stream: str) -> None:
        """Read it no more."""
        scope = self._streams.pop(stream, None)
        if scope is not None:
            scope.cancel()

    # -- events

    async def _read_events(self) -> None:
        while True:
            try:
                async with self._client.events(device=self.device, timeout=ASK_TIMEOUT) as events:
                    async for event in events:
                        self._outgoing.news(said.event(self.device, event, time.time()))
            except _FAILURES as error:
                self._say_state("events", error=str(error))
            await trio.sleep(AGAIN)

    # -- what is asked now and then

    async def _ask_again(
        self, command: str, interval: float, take: Callable[[Mapping[str, Any]], None]
    ) -> None:
        due = -math.inf
        while True:
            await trio.sleep_until(due)
            due = max(due, trio.current_time()) + interval
            known = self._find(self.device)
            if known is not None and not known.online:
                continue
            try:
                response = await self._client.call(
                    command, device=self.device, timeout=ASK_TIMEOUT, retries=0
                )
            except _FAILURES as error:
                self._say_state("silent", error=str(error))
                due = trio.current_time() + AGAIN
            else:
                take(response.fields)

    def _take_statistics(self, fields: Mapping[str, Any]) -> None:
        self._say_state("statistics", at=time.time(), statistics=fields.get("statistics"))

    def _take_jobs(self, fields: Mapping[str, Any]) -> None:
        self._say_state("jobs", jobs=fields.get("jobs"), left_out=fields.get("jobs_left_out", 0))

    def _say_state(self, say: str, **fields: Any) -> None:
        self._outgoing.state((say,), said.encode(say, device=self.device, **fields))

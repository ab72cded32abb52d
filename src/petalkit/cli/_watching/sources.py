"""Where lines come from: each source is a task, and all of them end with the watch.

The rule: one source that fails is told and leaves the others; only what nobody can watch without
ends the watch. The trap: which jobs and streams there are, only a device that answers says; one
that is away is asked again, and what it says meanwhile is not waited with. One that comes back may
serve other things: those are watched then.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs
import trio

from ..._values.errors import PetalkitError
from ...client import Device, DeviceInfo
from .._caller.session import Session
from .._errors import report
from .lines import Kind, Line

ASK_AGAIN = 10.0  # seconds until a device is asked again what it serves
COUNTED = ("started", "published")  # of whose figures it is told how much they are per second
STATISTICS = "petalkit/statistics"


@attrs.frozen(kw_only=True)
class Wish:
    """What is watched.

    Attributes:
        kinds: which kinds of things.
        names: patterns of names; empty for all.
        rate: messages per second of each job and stream, at most.
        every: seconds between two looks at the figures.
    """

    kinds: Collection[Kind]
    names: Collection[str] = ()
    rate: float = 10.0
    every: float = 5.0

    def matches(self, name: str) -> bool:
        """Whether something of that name is watched."""
        return not self.names or any(fnmatchcase(name, one) for one in self.names)


class Sources:
    """See the module.

    Args:
        session: with whom.
        wish: what is watched.
        take: is given each line, and waits while nobody reads it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        session: Session,
        wish: Wish,
        take: Callable[[Line], Awaitable[object]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._wish = wish
        self._take = take
        self._clock = clock
        self._born = trio.Event()
        self._hash: str | None = None  # of what it serves, as its birth says it
        self._followed: set[tuple[Kind, str]] = set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            PetalkitError, trio.TooSlowError: nothing can be watched.
        """
        kinds = self._wish.kinds
        runs: list[Callable[[], Awaitable[None]]] = []
        if "event" in kinds:
            runs.append(self._events)
        if "status" in kinds or {"job", "stream"} & set(kinds):
            runs.append(self._statuses)
        if {"job", "stream"} & set(kinds):
            runs.append(self._long_work)
        if "live" in kinds:
            runs.append(self._live)
        failed: list[Exception] = []

        async def guard(run: Callable[[], Awaitable[None]]) -> None:
            try:
                await run()
            except (PetalkitError, trio.TooSlowError) as error:
                failed.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(guard, run, name=f"petalkit watch: {run.__name__}")
        if failed:
            raise failed[0]

    async def _say(self, kind: Kind, name: str, data: Any, **more: Any) -> None:
        known = {key: value for key, value in more.items() if value is not None}
        await self._take(Line(kind, name, data, self._clock(), known))

    async def _events(self) -> None:
        async with self._session.client.events(**self._session.how) as events:
            async for event in events:
                name = event.command.strip("/")
                if self._wish.matches(name):
                    said = {"timestamp": event.timestamp, "message_id": event.message_id}
                    await self._say("event", name, event.data, **said)

    async def _statuses(self) -> None:
        async with self._session.client.statuses(**self._session.how) as statuses:
            async for said in statuses:
                if said.online:
                    self._hash = said.schema_hash
                    self._born.set()
                if "status" in self._wish.kinds:
                    await self._say("status", "", _status(said), timestamp=said.timestamp)

    # -- jobs and streams

    async def _long_work(self) -> None:
        """Find which there are, and follow each that is meant; again when the device has others."""
        async with trio.open_nursery() as nursery:
            is_first = True
            while True:
                found = await self._served()
                wanted = self._wanted(found)
                for kind, name in wanted - self._followed:
                    self._followed.add((kind, name))
                    nursery.start_soon(self._follow, kind, name, name=f"petalkit watch: {name}")
                if is_first:
                    self._name_misspelt([*found.jobs, *found.streams])
                    is_first = False
                while True:  # no limit: it may never be born anew
                    await self._born.wait()
                    if self._hash != found.schema_hash or wanted - self._followed:
                        break
                    self._born = trio.Event()

    async def _served(self) -> DeviceInfo:
        """What the device serves. No limit: it may be away."""
        told = False
        while True:
            self._born = trio.Event()
            try:
                return await self._session.client.info(
                    self._session.device, timeout=self._session.ask.timeout
                )
            except (PetalkitError, trio.TooSlowError) as error:
                if not told:
                    report(f"jobs and streams are not watched yet: {error}", kind="warning")
                    told = True
                with trio.move_on_after(ASK_AGAIN):
                    await self._born.wait()

    def _wanted(self, found: DeviceInfo) -> set[tuple[Kind, str]]:
        kinds: tuple[tuple[Kind, Sequence[str]], ...] = (
            ("job", found.jobs),
            ("stream", found.streams),
        )
        return {
            (kind, name)
            for kind, names in kinds
            if kind in self._wish.kinds
            for name in names
            if self._wish.matches(name)
        }

    def _name_misspelt(self, known: Collection[str]) -> None:
        for one in self._wish.names:
            if not any(fnmatchcase(name, one) for name in known):
                text = f"no job or stream of the device is called {one!r}"
                if "event" in self._wish.kinds:
                    text += "; events of that name are watched"
                report(text, kind="warning")

    async def _follow(self, kind: Kind, name: str) -> None:
        """Follow one; a job's name stands for all jobs of it, those to come too."""
        say = functools.partial(self._say, kind, name)
        stream = self._session.client.stream(name, rate=self._wish.rate, **self._session.how)
        try:
            async with stream as values:
                async for value in values:
                    await say(value)
            await say(None, ended=True)
        except (PetalkitError, trio.TooSlowError) as error:
            report(f"{name} is not watched any more: {error}", kind="warning")
        self._followed.discard((kind, name))

    # -- figures

    async def _live(self) -> None:
        """Ask how the device stands, now and then; no answer is a line too."""
        before: tuple[float, Mapping[str, Any]] | None = None
        while True:
            try:
                said = await self._session.client.call(STATISTICS, **self._session.how)
            except (PetalkitError, trio.TooSlowError) as error:
                before = None
                await self._say("live", "", {"error": str(error)})
            else:
                found = said.fields.get("statistics")
                figures: Mapping[str, Any] = found if isinstance(found, dict) else {}
                now = trio.current_time()
                data = {key: one for key, one in figures.items() if key != "per_second"}
                if before is not None:
                    data["per_second"] = _per_second(before[1], figures, now - before[0])
                before = now, figures
                await self._say("live", "", data)
            await trio.sleep(self._wish.every)


def _status(said: Device) -> dict[str, Any]:
    petals = [{"name": name, "version": version} for name, version in said.petals.items()]
    return {"status": said.status, "petals": petals, "schema_hash": said.schema_hash}


def _per_second(
    before: Mapping[str, Any], now: Mapping[str, Any], seconds: float
) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in COUNTED:
        one, other = before.get(name), now.get(name)
        if type(one) is int and type(other) is int and other >= one and seconds > 0:
            found[name] = round((other - one) / seconds, 2)
    return found

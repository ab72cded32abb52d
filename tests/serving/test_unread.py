"""A device that reads without a pause and cannot keep up says so: the broker drops then."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from petalkit._serving.links.unread_watch import BEHIND, UnreadWatch
from petalkit._values.statistics import Counters
from petalkit.transports._line.receive_queue import unread

pytestmark = pytest.mark.trio


class Flood:
    """So many bytes are unread at a time of the mocked clock; 1000 messages are read a second."""

    def __init__(self, unread: Callable[[float], int], *, paused: bool = False) -> None:
        self._unread = unread
        self._began = trio.current_time()
        self.intake = SimpleNamespace(paused=paused)
        self.counters = Counters()

    def unread(self) -> int:
        now = trio.current_time() - self._began
        self.counters.received = round(1000 * now)
        return self._unread(now)

    async def watched(self, seconds: float, *, wanted: bool = True) -> None:
        watch = UnreadWatch(cast("Any", self.intake), self.counters, wanted=wanted)
        with trio.move_on_after(seconds):
            await watch.watch(cast("Any", self))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    return [line.partition(";")[0] for line in lines]


def behind(begins: float, ends: float) -> Callable[[float], int]:
    return lambda now: BEHIND if begins <= now < ends else 0


async def test_a_flood_that_is_read_too_slowly_is_told_with_its_count(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    await Flood(behind(1.0, 2.55)).watched(10)
    assert told(caplog) == [
        "more came than could be read for 1.6 s, in which 1600 messages were read"
    ]


async def test_one_that_goes_on_is_told_once_in_a_minute(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    await Flood(behind(1.0, 1e9)).watched(100)
    assert len(told(caplog)) == 2
    assert "for 5.1 s, in which 5100 messages" in told(caplog)[0]


@pytest.mark.parametrize("why", ["once", "paused", "turned off", "a little"])
async def test_what_is_not_told(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    flood = Flood(behind(1.0, 1.05 if why == "once" else 50.0), paused=why == "paused")
    if why == "a little":
        flood = Flood(lambda _: BEHIND - 1)
    await flood.watched(100, wanted=why != "turned off")
    assert told(caplog) == []


async def test_what_a_socket_has_and_nobody_has_read_is_asked_of_the_kernel() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(bytes(1000))
        layer = SimpleNamespace(
            transport_stream=trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        )
        assert unread(layer) == 1000
        ours.recv(400)
        assert unread(layer) == 600
    assert unread(SimpleNamespace(transport_stream=None)) == 0

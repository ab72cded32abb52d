"""A slow line between a native link and a scripted peer, in memory and on the mock clock."""

from __future__ import annotations

import trio
import trio.testing

from petalkit.transports._line.send_queue import Outflow

from .scripted_peer import Network

TICK = 0.25  # seconds: how often the line passes something on
DOWN = 8000  # bytes a second
UP = 1200


class SlowLine(trio.abc.Stream):
    """The device's end: so many bytes a second each way, and a kernel that takes all at once.

    Args:
        inner: what leads to the peer.
        nursery: for the line's own task.
        down: bytes a second towards the device.
        up: the same to the peer; 0 when nothing leaves.
        asked: whether the kernel says what it holds. If not, it takes no more than leaves.
    """

    def __init__(
        self,
        inner: trio.abc.Stream,
        nursery: trio.Nursery,
        *,
        down: float = DOWN,
        up: float = UP,
        asked: bool = True,
    ) -> None:
        self.up = up
        self._inner = inner
        self._down = down
        self._asked = asked
        self._came = b""
        self._queue = bytearray()
        self._written = 0
        self._more = trio.Event()
        nursery.start_soon(self._pass_on)

    def outflow(self) -> Outflow | None:
        return Outflow(self._written, len(self._queue)) if self._asked else None

    async def _pass_on(self) -> None:
        try:
            while True:
                await self._more.wait()
                await trio.sleep(TICK)
                size = int(self.up * TICK)
                sent = bytes(self._queue[:size])
                del self._queue[:size]
                if sent:
                    await self._inner.send_all(sent)
                if not self._queue:
                    self._more = trio.Event()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self._written += len(data)
        self._queue += data
        self._more.set()
        while self._queue and not self._asked:
            await trio.sleep(TICK)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._came:
            self._came = bytes(await self._inner.receive_some())
        size = max(1, int(self._down * TICK))
        if len(self._came) > 100:  # the rest of a packet or two comes with what is before it
            await trio.sleep(min(len(self._came), size) / self._down)
        data, self._came = self._came[:size], self._came[size:]
        return data

    async def aclose(self) -> None:
        await self._inner.aclose()


class SlowNetwork(Network):
    """Every connection leads over a slow line. See `Network` and `SlowLine`."""

    def __init__(
        self, nursery: trio.Nursery, *, down: float = DOWN, up: float = UP, asked: bool = True
    ) -> None:
        super().__init__(nursery)
        self.lines: list[SlowLine] = []

        def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            ours, theirs = trio.testing.memory_stream_pair()
            self.lines.append(SlowLine(ours, nursery, down=down, up=up, asked=asked))
            return self.lines[-1], theirs

        self.pair = pair

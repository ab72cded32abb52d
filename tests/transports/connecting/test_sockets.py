"""`PlainStream` over a pair of real sockets: Trio's promises, but for the checkpoints."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from petalkit._values.errors import ConnectFailed
from petalkit.transports._connecting.sockets import PlainStream, open_plain_socket
from petalkit.transports._connecting.tls import Address

pytestmark = pytest.mark.trio

LIMIT = 5.0  # seconds; only a test that fails gets near it
LARGE = bytes(range(256)) * 16_384  # 4 MiB: more than any socket buffer here takes


@pytest.fixture
def pair() -> Iterator[tuple[PlainStream, socket.socket]]:
    """A stream, and the other end as a plain socket that never waits."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    yield PlainStream(ours), theirs
    for sock in (ours, theirs):
        sock.close()


async def read_all(sock: socket.socket) -> bytes:
    found = bytearray()
    with trio.fail_after(LIMIT):
        while True:
            await trio.lowlevel.wait_readable(sock)
            data = sock.recv(1 << 20)
            if not data:
                return bytes(found)
            found += data


async def test_a_small_write_is_no_checkpoint_and_a_read_always_is(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, peer = pair
    with assert_no_checkpoints():
        await stream.send_all(b"out")
    assert peer.recv(10) == b"out"
    peer.send(b"in, and more")
    with assert_checkpoints():
        assert await stream.receive_some(2) == b"in"
    assert await stream.receive_some() == b", and more"


async def test_a_large_write_waits_and_arrives_whole(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, peer = pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            await stream.send_all(memoryview(LARGE))
            await stream.wait_send_all_might_not_block()
            await stream.send_eof()

        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await stream.send_all(b"in between")
        assert await read_all(peer) == LARGE
    peer.send(b"answer")  # only one direction is closed
    assert await stream.receive_some() == b"answer"
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"after the end")


async def test_a_cancelled_write_leaves_the_stream_usable(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, peer = pair
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, LARGE)
            await wait_all_tasks_blocked()
            scope.cancel()
    sent = bytearray()
    with pytest.raises(BlockingIOError):
        while True:
            sent += peer.recv(1 << 20)
    assert 0 < len(sent) < len(LARGE)
    await stream.send_all(b"again")
    assert peer.recv(10) == b"again"


async def test_a_cancelled_read_loses_nothing(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    with trio.CancelScope() as scope:
        peer.send(b"1")
        scope.cancel()
        await stream.receive_some()
    assert scope.cancelled_caught
    assert await stream.receive_some() == b"1"
    peer.close()
    assert await stream.receive_some() == b""


async def test_a_reset_is_a_broken_stream() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        address = Address("127.0.0.1", listener.getsockname()[1], tls=False)
        sock = await open_plain_socket(address)
        peer, _ = listener.accept()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # S12
    stream = PlainStream(sock)
    await stream.send_all(b"unread")
    await trio.lowlevel.wait_readable(peer)
    peer.close()  # with something unread, which makes it a reset
    with trio.fail_after(LIMIT):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ECONNRESET
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"more")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_eof()
    await stream.aclose()


async def test_closing_wakes_whoever_waits(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, _ = pair
    woken = 0
    async with trio.open_nursery() as nursery:

        async def wait_in(call: str) -> None:
            nonlocal woken
            with pytest.raises(trio.ClosedResourceError):
                await (stream.receive_some() if call == "read" else stream.send_all(LARGE))
            woken += 1

        nursery.start_soon(wait_in, "read")
        nursery.start_soon(wait_in, "write")
        await wait_all_tasks_blocked()
        await stream.aclose()
    assert woken == 2


async def test_closed_in_the_wake_up_that_brings_something() -> None:
    """The reader is awake already, and so is whoever closes; Trio throws dice for the first."""
    for _ in range(30):
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        stream = PlainStream(ours)
        with peer:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def read(stream: PlainStream = stream) -> None:
                    with contextlib.suppress(trio.ClosedResourceError):
                        assert await stream.receive_some() == b"1"

                await wait_all_tasks_blocked()
                peer.send(b"1")
                await trio.lowlevel.checkpoint()
                await stream.aclose()


async def test_after_closing_nothing_works_and_closing_again_does(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, peer = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()  # closes, cancelled or not
    assert peer.recv(1) == b""
    await stream.aclose()
    for call in (
        stream.receive_some,
        stream.send_eof,
        stream.wait_send_all_might_not_block,
        lambda: stream.send_all(b""),
    ):
        with pytest.raises(trio.ClosedResourceError):
            await call()


async def test_each_address_that_was_tried_is_one_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectFailed, match=rf"no connection to localhost:{port}: .*refused") as e:
        await open_plain_socket(Address("localhost", port, tls=False))
    assert "sub-exception" not in str(e.value)


@pytest.mark.parametrize("host", ["a..b", ".example.org", "x" * 64 + ".org"])
async def test_a_name_that_dns_cannot_have_is_a_failed_connect(host: str) -> None:
    with pytest.raises(ConnectFailed, match=r"no connection to .*label"):
        await open_plain_socket(Address(host, 1883, tls=False))

"""A WebSocket as a stream: frames in and out, pings, and all the ways in which it ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from petalkit.transports._connecting.websocket import (
    ANSWER_PATIENCE,
    CLOSE_PATIENCE,
    WebSocketStream,
)

from ..websocket_peer import below, hold_sending, open_pair

pytestmark = pytest.mark.trio


# -- Trio's own checks of a stream


async def _pair() -> tuple[WebSocketStream, WebSocketStream]:
    """Both ends of petalkit's own: the class takes the server's connection as well."""
    client, server = await open_pair()
    return client, WebSocketStream(server.stream, server.connection)


async def _clogged_pair() -> tuple[WebSocketStream, WebSocketStream]:
    client, server = await open_pair(streams=trio.testing.lockstep_stream_pair())
    return client, WebSocketStream(server.stream, server.connection)


async def test_it_keeps_the_contract_of_a_two_way_stream() -> None:
    await trio.testing.check_two_way_stream(_pair, None)


async def test_it_keeps_that_contract_on_a_line_that_is_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await trio.testing.check_two_way_stream(_clogged_pair, _clogged_pair)


# -- frames


async def test_what_is_sent_at_once_leaves_as_one_frame_and_one_write() -> None:
    ours, server = await open_pair()
    await ours.send_all(b"x" * 5000)
    events = await server.read()
    assert [type(each) for each in events] == [BytesMessage]
    assert server.received == b"x" * 5000
    assert events[0].message_finished  # type: ignore[attr-defined]


async def test_a_frame_may_hold_part_of_a_packet_or_several_of_them() -> None:
    ours, server = await open_pair()
    await server.send(
        BytesMessage(data=b"ab", message_finished=False),
        BytesMessage(data=b"", message_finished=False),
        BytesMessage(data=b"cd"),
        BytesMessage(data=b"ef"),
    )
    assert await ours.receive_some() == b"abcdef"


async def test_part_of_a_frame_is_given_out_before_its_end() -> None:
    ours, server = await open_pair()
    data = server.connection.send(BytesMessage(data=b"x" * 1000))
    await server.stream.send_all(data[:500])
    first = await ours.receive_some()
    assert 0 < len(first) < 500
    await server.stream.send_all(data[500:])
    assert first + await ours.receive_some() == b"x" * 1000


async def test_what_comes_with_the_answer_to_the_handshake_is_not_lost() -> None:
    ours, _ = await open_pair(BytesMessage(data=b"early"))
    assert await ours.receive_some() == b"early"


async def test_no_more_is_given_out_than_was_asked_for() -> None:
    ours, server = await open_pair()
    await server.send(BytesMessage(data=b"abcdef"))
    assert [await ours.receive_some(4), await ours.receive_some(4)] == [b"abcd", b"ef"]


async def test_a_text_frame_ends_the_connection() -> None:
    ours, server = await open_pair()
    await server.send(BytesMessage(data=b"before"), TextMessage(data="MQTT"))
    assert await ours.receive_some() == b"before"
    with pytest.raises(trio.BrokenResourceError, match="text frame"):
        await ours.receive_some()
    await server.read()
    assert server.closes == [(1003, "a text frame, where MQTT has none")]
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")


async def test_a_frame_that_cannot_be_read_ends_the_connection() -> None:
    ours, server = await open_pair()
    await server.stream.send_all(b"\xf2\x01x")  # reserved bits
    with pytest.raises(trio.BrokenResourceError, match="broke the WebSocket protocol"):
        await ours.receive_some()
    await server.read()
    assert [code for code, _ in server.closes] == [1002]


# -- pings


async def test_a_ping_is_answered_while_reading() -> None:
    ours, server = await open_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.receive_some)
        await server.send(Ping(payload=b"12"))
        events: list[Event] = await server.read()
        assert events == [Pong(payload=b"12")]
        nursery.cancel_scope.cancel()


async def test_of_many_pings_the_newest_is_answered() -> None:
    ours, server = await open_pair()
    await server.send(*(Ping(payload=b"%d" % number) for number in range(500)))
    await server.send(BytesMessage(data=b"x"))
    assert await ours.receive_some() == b"x"
    await ours.send_all(b"y")
    assert await server.read() == [Pong(payload=b"499"), BytesMessage(data=b"y")]


async def test_a_ping_is_answered_behind_what_is_being_sent() -> None:
    ours, server = await open_pair()
    await server.send(Ping(payload=b"1"), BytesMessage(data=b"x"))
    gate = hold_sending(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, b"long")
        await trio.testing.wait_all_tasks_blocked()
        assert await ours.receive_some() == b"x"  # reading does not wait for the line
        gate.set()
    await ours.send_all(b"next")
    await server.expect_bytes(8)
    assert Pong(payload=b"1") in server.events


async def test_reading_goes_on_where_the_line_takes_no_pong(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, server = await open_pair()
    below(ours).wait_send_all_might_not_block_hook = trio.sleep_forever
    await server.send(Ping(payload=b"1"))
    started = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def feed() -> None:
            await trio.sleep(ANSWER_PATIENCE)
            await server.send(BytesMessage(data=b"x"))

        nursery.start_soon(feed)
        assert await ours.receive_some() == b"x"
    assert trio.current_time() - started <= 2 * ANSWER_PATIENCE
    await ours.send_all(b"y")  # and nothing of it was torn
    assert await server.read() == [Pong(payload=b"1"), BytesMessage(data=b"y")]


async def test_cancelled_reading_loses_nothing() -> None:
    ours, server = await open_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.receive_some()
    await server.send(BytesMessage(data=b"x"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.receive_some()
    assert await ours.receive_some() == b"x"


async def test_after_a_cancelled_send_nothing_is_sent() -> None:
    ours, _ = await open_pair()
    gate = hold_sending(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, b"x")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    gate.set()
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"y")
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_eof()


# -- the end


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (1001, None, "1001 (going away)"),
        (1008, "quota", "1008 (policy violation): 'quota'"),
        (1000, "bye\n", "1000 (normal closure): 'bye\\\\n'"),
        (4321, None, "4321 (a code of its own)"),
    ],
)
async def test_the_servers_code_and_reason_are_in_the_error(
    code: int, reason: str | None, text: str
) -> None:
    ours, server = await open_pair()
    await server.send(BytesMessage(data=b"last"), CloseConnection(code=code, reason=reason))
    assert await ours.receive_some() == b"last"
    with pytest.raises(trio.BrokenResourceError) as caught:
        await ours.receive_some()
    assert str(caught.value) == f"the broker closed the WebSocket: {text}".replace("\\\\", "\\")
    await server.read()
    assert server.closes == [(code, reason or "")]  # answered as it came


@pytest.mark.parametrize("code", [1000, 1005])
async def test_a_plain_close_is_the_end_of_the_stream(code: int) -> None:
    ours, server = await open_pair()
    await server.send(CloseConnection(code=code))
    assert await ours.receive_some() == b""
    assert await ours.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")


async def test_a_close_that_comes_during_a_write_is_answered_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, server = await open_pair()
    gate = hold_sending(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_to_one_who_closes, ours, b"DISCONNECT")
        await trio.testing.wait_all_tasks_blocked()
        await server.send(CloseConnection(code=1000))
        nursery.start_soon(_expect_the_end, ours)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        while not server.gone:
            await server.read()
    assert server.received == b"DISCONNECT"
    assert server.closes == [(1000, "")]


async def _send_to_one_who_closes(stream: WebSocketStream, data: bytes) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(data)


async def _expect_the_end(stream: WebSocketStream) -> None:
    assert await stream.receive_some() == b""
    await stream.aclose()


async def test_an_end_without_a_close_frame_is_the_end_of_the_stream() -> None:
    ours, server = await open_pair()
    await server.stream.aclose()
    assert await ours.receive_some() == b""


async def test_half_a_close_is_a_close_frame_and_reading_goes_on_to_the_servers() -> None:
    ours, server = await open_pair()
    await ours.send_all(b"DISCONNECT")
    await ours.send_eof()
    await server.read()
    assert server.received == b"DISCONNECT"
    assert server.closes == [(1000, "")]
    await server.stream.send_all(b"\x82\x04late\x88\x02\x03\xe8")
    assert await ours.receive_some() == b"late"
    assert await ours.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await ours.aclose()
        await ours.send_all(b"x")


async def test_closing_says_so_and_does_not_wait_for_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, server = await open_pair()
    await ours.aclose()
    await server.read()
    assert server.closes == [(1000, "")]
    other, _ = await open_pair()
    hold_sending(other)
    started = trio.current_time()
    await other.aclose()
    assert trio.current_time() - started == CLOSE_PATIENCE

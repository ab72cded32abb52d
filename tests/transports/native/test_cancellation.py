"""The native link over streams in memory, cancelled at each of its waits."""

from __future__ import annotations

import mqtt5
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from petalkit._values.messages import Message
from petalkit._values.settings.settings import Settings
from petalkit._values.topics import TopicFilter
from petalkit.transports.native import NativeTransport
from petalkit.transports.native._events import Event
from petalkit.transports.native._link import NativeLink

from ..links import OPTIONS, cancel_soon
from ..scripted_peer import (
    ACCEPTED,
    GRANTED,
    LIMIT,
    RESUMED,
    Network,
    collect,
    numbers,
    publish,
)

pytestmark = pytest.mark.trio

T = TopicFilter("t")


async def test_cancelled_while_the_stream_is_opened(autojump_clock: MockClock) -> None:
    async def cancels() -> trio.abc.Stream:
        scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    transport = NativeTransport(Settings(transport="native"), open_stream=cancels)
    with trio.CancelScope() as scope:
        async with transport.connect(OPTIONS):
            raise AssertionError("there was no stream")
    assert scope.cancelled_caught


async def test_cancelled_while_waiting_for_connack(
    network: Network, autojump_clock: MockClock
) -> None:
    network.greet()
    with trio.move_on_after(1) as scope:
        async with network.transport.connect(OPTIONS):
            raise AssertionError("there was no CONNACK")
    assert scope.cancelled_caught
    assert trio.current_time() == 1
    await network.peer.gone.wait()
    assert network.peer.names() == ["CONNECT"]


@pytest.mark.parametrize("more", [[], [mqtt5.PubRelPacket(5)]])
async def test_cancelled_in_the_wake_up_that_brings_the_connack(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    more: list[mqtt5.PubRelPacket],
    autojump_clock: MockClock,
) -> None:
    """Take out `checkpoint_if_cancelled` in `run`: its tasks are shielded, and nobody ends them.

    The PUBREL has an answer, so the writer is awake and does not feel the cancellation.
    """
    take = NativeLink._take

    def cancelling(link: NativeLink, events: list[Event], size: int) -> bytes:
        last_words = take(link, events, size)
        scope.cancel()
        return last_words

    monkeypatch.setattr(NativeLink, "_take", cancelling)
    network.greet(RESUMED, *more)
    with trio.CancelScope() as scope:
        async with network.transport.connect(OPTIONS):
            raise AssertionError("it was cancelled before")
    assert scope.cancelled_caught
    assert trio.current_time() == 0
    await network.peer.gone.wait()
    assert network.peer.names()[0] == "CONNECT"


async def test_a_cancelled_receive_loses_nothing(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        with trio.move_on_after(1) as scope:
            await link.receive()
        assert scope.cancelled_caught
        await network.peer.send(publish(1))
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive()
        assert scope.cancelled_caught
        assert numbers(await collect(link, 1)) == [1]


async def test_a_cancelled_subscribe_leaves_a_link_that_lives(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        with trio.move_on_after(1) as scope:
            await link.subscribe([T])
        assert scope.cancelled_caught
        assert isinstance(link, NativeLink)
        assert link._questions == {}
        late = await network.peer.expect(mqtt5.SubscribePacket)
        await network.peer.send(mqtt5.SubAckPacket(late.packet_id, [GRANTED]))
        await wait_all_tasks_blocked()
        network.peer.polite = True
        await link.subscribe([T])
        await link.unsubscribe([T])


async def test_a_cancelled_publish_may_have_been_sent(
    network: Network, autojump_clock: MockClock
) -> None:
    async with network.transport.connect(OPTIONS) as link:
        with trio.move_on_after(1) as scope:
            await link.publish(Message("out", b"1"))
        assert scope.cancelled_caught
        sent = await network.peer.expect(mqtt5.PublishPacket)
        await network.peer.send(mqtt5.PubAckPacket(sent.packet_id or 0))
        await wait_all_tasks_blocked()
        network.peer.polite = True
        await link.publish(Message("out", b"2"))


async def test_cancelling_does_not_cut_the_goodbye_short_and_it_is_bounded(
    network: Network, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(1) as scope:
        async with network.transport.connect(OPTIONS):
            network.peer.closes = False
    assert not scope.cancelled_caught  # nothing was left to be cancelled
    assert trio.current_time() == OPTIONS.disconnect_timeout
    assert network.peer.names() == ["CONNECT", "DISCONNECT"]


async def test_cancelled_at_every_wait_in_turn(network: Network, autojump_clock: MockClock) -> None:
    """The cancellation travels, and whoever heard a CONNECT hears the end."""
    network.polite = True
    network.greet(ACCEPTED, *[publish(n) for n in range(1, 4)])
    for steps in range(80):
        with trio.fail_after(LIMIT), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                cancel_soon(nursery, scope, steps)
                async with network.transport.connect(OPTIONS) as link:
                    await link.subscribe([T])
                    while True:
                        await link.publish(Message("t", b""))
                        await network.peer.send(publish(9))
                        for delivery in await link.receive():
                            delivery.ack()
        assert scope.cancelled_caught
    for peer in network.peers:
        await peer.gone.wait()
        assert peer.names()[:1] in ([], ["CONNECT"])
    assert network.peer.names()[-1] == "DISCONNECT"

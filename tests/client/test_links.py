"""Calls outlive links: what is sent again, what is not, and who is told when there is none."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import (
    ConnectFailed,
    ConnectionLost,
    PayloadError,
    Petal,
    Properties,
    RejectedByBroker,
    Settings,
    command,
)
from petalkit._values.messages import Message
from petalkit.client import CallTimeout, _opening, open_client
from petalkit.client._wire.interests import FILTERS_MAX
from petalkit.testing import MemoryBroker, MemoryTransport, open_harness
from petalkit.transports import ConnectOptions, Link

from .devices import IDENTITY, SETTINGS, V5, connect, echo, open_device, respond, silence
from .long_work import client_session, device_and_client

pytestmark = pytest.mark.trio


class Counting(Petal):
    name = "counting"

    def __init__(self) -> None:
        self.runs = 0

    @command("slow")
    async def slow(self) -> dict[str, int]:
        self.runs += 1
        await trio.sleep(5)
        return {"runs": self.runs}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("away", [0.0, 20.0], ids=["at once", "when it has been answered"])
async def test_a_call_whose_link_is_lost_gets_its_answer_over_the_next(
    protocol: str, away: float, autojump_clock: object
) -> None:
    petal = Counting()
    answers: list[int] = []
    async with device_and_client(petal, protocol=protocol) as (harness, client):
        await client.call("petalkit/ping")

        async def call() -> None:
            answers.append((await client.call("counting/slow", timeout=60))["runs"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.sleep(1)
            if away:
                harness.broker.refuse_connections()
            harness.broker.drop_links(client_session(harness))
            await trio.sleep(away or 0.6)  # the wait before a reconnect is half a second at most
            harness.broker.accept_connections()
            if not away:
                assert client.statistics().sent_again == 1
        statistics = client.statistics()
    assert answers == [1]
    assert petal.runs == 1
    assert (statistics.links, statistics.links_lost) == (2, 1)
    assert statistics.sent_again >= 1


async def test_a_call_that_begins_without_a_link_waits_for_one(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client), trio.open_nursery() as nursery:
        harness.broker.refuse_connections()
        harness.broker.drop_links(client_session(harness))
        await trio.sleep(1)

        @nursery.start_soon
        async def back() -> None:
            await trio.sleep(3)
            harness.broker.accept_connections()

        assert not client.statistics().connected
        assert (await client.call("long/hello"))["message"] == "Hello, World!"
        assert client.statistics().connected
        assert client.statistics().sent_again == 0


async def test_a_call_that_finds_no_link_in_time_says_why(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        harness.broker.refuse_connections()
        harness.broker.drop_links(client_session(harness))
        await trio.sleep(1)
        with pytest.raises(CallTimeout, match=r"no link to the broker .*; it was not sent"):
            await client.call("long/hello", timeout=5)
        harness.broker.accept_connections()


async def test_what_was_given_up_while_the_link_was_away_is_not_sent_later(
    autojump_clock: object,
) -> None:
    async with device_and_client() as (harness, client):
        harness.broker.refuse_connections()
        harness.broker.drop_links(client_session(harness))
        await trio.sleep(1)
        for _ in range(3):
            with pytest.raises(CallTimeout):
                await client.call("long/hello", timeout=1)
        with harness.broker.observe("+/+/+/+/command") as seen:
            harness.broker.accept_connections()
            assert (await client.call("long/hello", timeout=60)).success
        assert len(seen) == 1


async def test_what_came_before_the_device_was_back_is_sent_again(autojump_clock: object) -> None:
    """A broker that is restarted forgets the device's session, and acknowledges for nobody."""
    broker = MemoryBroker()
    async with connect(broker) as client, trio.open_nursery() as nursery:
        broker.stop()
        broker.start()

        @nursery.start_soon
        async def serve() -> None:
            await trio.sleep(5)
            async with open_harness(Counting(), broker=broker):
                await trio.sleep(60)

        await trio.sleep(1)
        assert client.statistics().links == 2
        assert (await client.call("petalkit/ping", timeout=30)).success
        assert trio.current_time() < 20
        nursery.cancel_scope.cancel()


async def test_send_is_sent_again_too(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        harness.broker.refuse_connections()
        harness.broker.drop_links(client_session(harness))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, "long/hello")
            await trio.sleep(2)
            harness.broker.accept_connections()
        assert harness.statistics().accepted == 1


async def test_the_first_link_is_the_openers_business(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    broker.refuse_connections()
    with pytest.raises(ConnectFailed):
        async with connect(broker):
            raise AssertionError
    broker.accept_connections()
    broker.reject_subscribe(IDENTITY.topic("response"))
    with pytest.raises(RejectedByBroker):
        async with connect(broker):
            raise AssertionError


async def test_a_link_that_is_lost_while_it_is_opened_is_the_openers_too(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    broker.swallow("SUBACK")
    with pytest.raises(ConnectionLost, match="SUBACK"):
        async with connect(broker):
            raise AssertionError


async def test_without_reconnect_a_link_that_is_lost_fails_who_waits_for_a_subscription(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    async with connect(broker, reconnect=False) as client, trio.open_nursery() as nursery:
        broker.swallow("SUBACK")

        async def call() -> None:
            with pytest.raises(ConnectionLost):
                await client.call("p/x", device="other")

        nursery.start_soon(call)
        await trio.sleep(1)
        (name,) = broker.sessions
        broker.drop_links(name)


async def test_settings_may_be_given_by_their_names(broker: MemoryBroker) -> None:
    transport = MemoryTransport(broker)
    names: dict[str, Any] = {"organization_id": "acme", "device_id": "Instance-1"}
    async with (
        open_device(broker, echo),
        open_client(transport=transport, **names) as one,
        open_client(Settings(device_id="x", organization_id="acme"), transport=transport) as other,
    ):
        assert one.identity == IDENTITY
        assert (await other.call("p/x", device="Instance-1")).success
    with pytest.raises(TypeError, match="nonsense"):
        async with open_client(SETTINGS, nonsense=1):
            raise AssertionError


# -- more than one device


async def test_several_devices_are_called_over_one_connection(autojump_clock: object) -> None:
    broker = MemoryBroker()
    ids = [f"d-{n}" for n in range(2 * FILTERS_MAX)]
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def serve(device_id: str, task_status: Any) -> None:
            settings = Settings(device_id=device_id)
            async with open_harness(Counting(), settings=settings, broker=broker):
                task_status.started()
                await stop.wait()

        for one in ids:
            await nursery.start(serve, one)
        async with connect(broker, V5) as client:
            found: dict[str, str] = {}

            async def ask(device_id: str) -> None:
                response = await client.call("petalkit/info", device=device_id)
                found[device_id] = response["petals"][0]["name"]

            async with trio.open_nursery() as calls:
                for one in ids:
                    calls.start_soon(ask, one)
            assert found == dict.fromkeys(ids, "counting")
            assert [one.device_id for one in await client.devices()] == sorted(ids)
        stop.set()


async def test_devices_that_are_not_called_any_more_are_not_listened_to(
    broker: MemoryBroker, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petalkit.client._wire.calling.ROUTES_IDLE_MAX", 3)
    async with connect(broker) as client:
        for n in range(10):
            with pytest.raises(CallTimeout):
                await client.call("p/x", device=f"d-{n}", timeout=1)
        await trio.sleep(1)
        assert len(client._calling._routes) == 3
        assert len(client._calling.on_topic) <= 3


# -- a topic of its own


async def test_with_mqtt_5_a_client_is_answered_on_a_topic_of_its_own(
    autojump_clock: object,
) -> None:
    async with device_and_client(protocol="5") as (harness, client):
        with (
            harness.broker.observe("+/+/+/+/response") as shared,
            harness.broker.observe("+/+/+/+/response/+") as own,
        ):
            for _ in range(3):
                await client.call("long/hello")
        # Once it has shown that it answers there, it is not asked to answer to all any more.
        assert (len(shared), len(own)) == (1, 3)
        assert own[0].topic.endswith(client_session(harness))
        assert client.statistics().late == 0


async def test_with_mqtt_3_1_1_it_is_answered_on_response(autojump_clock: object) -> None:
    async with device_and_client() as (harness, client):
        with harness.broker.observe("+/+/+/+/response/#") as seen:
            await client.call("long/hello")
        assert [one.topic for one in seen] == ["org/acme/device/Instance-1/response"]


async def test_an_answer_on_both_topics_is_one_answer(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    """Whichever comes first, the second is no late one."""
    with broker.observe("+/+/+/+/command") as seen:

        async def both(link: Link, command: dict[str, Any]) -> None:
            await echo(link, command)
            asked = seen[-1].properties
            assert asked is not None
            if command["waitResponse"]:
                await trio.sleep(1)
            payload = json.dumps({"messageId": command["messageId"], "success": True}).encode()
            assert asked.response_topic is not None
            await link.publish(Message(asked.response_topic, payload))

        async with open_device(broker, both), connect(broker, V5) as client:
            assert (await client.call("p/x")).success
            await trio.sleep(5)
            assert client.statistics().late == 0
            assert (await client.call("p/x")).success
            assert [json.loads(one.payload)["waitResponse"] for one in seen] == [True, False]


async def test_a_device_of_mqtt_3_1_1_answers_a_client_of_mqtt_5(autojump_clock: object) -> None:
    broker = MemoryBroker()
    async with open_harness(Counting(), broker=broker), connect(broker, V5) as client:
        for _ in range(3):
            assert (await client.call("petalkit/ping")).success
        assert client.statistics().late == 0


async def test_a_device_that_allows_no_response_topic_answers_all_the_same(
    autojump_clock: object,
) -> None:
    settings = Settings(protocol="5", reply_topics=())
    broker = MemoryBroker()
    async with (
        open_harness(Counting(), settings=settings, broker=broker),
        connect(broker, V5) as client,
    ):
        for _ in range(3):
            assert (await client.call("petalkit/ping")).success


async def test_a_device_that_came_back_with_mqtt_3_1_1_is_found_again(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    async with connect(broker, V5) as client:
        async with open_harness(Counting(), settings=Settings(protocol="5"), broker=broker):
            assert (await client.call("petalkit/ping")).success
        async with open_harness(Counting(), broker=broker):
            with pytest.raises(CallTimeout):
                await client.call("petalkit/ping", timeout=2)
            assert (await client.call("petalkit/ping", timeout=2)).success


async def test_a_call_under_way_is_answered_by_a_device_that_came_back_with_mqtt_3_1_1(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    async with connect(broker, V5) as client, trio.open_nursery() as nursery:
        async with open_harness(Counting(), settings=Settings(protocol="5"), broker=broker):
            assert (await client.call("petalkit/ping")).success

        @nursery.start_soon
        async def call() -> None:
            assert (await client.call("counting/slow", timeout=60))["runs"] == 1

        await trio.sleep(1)
        broker.stop(keep_sessions=False)
        broker.start()
        async with open_harness(Counting(), broker=broker):
            await trio.sleep(40)
        assert client.statistics().waiting == 0


@pytest.mark.parametrize("refused", ["response", "own"])
async def test_a_broker_may_refuse_one_of_the_two_topics(
    refused: str, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ConnectOptions(client_id="me", clean_start=True, session_expiry=0)
    monkeypatch.setattr(_opening, "connect_options", lambda _: options)
    topic = IDENTITY.topic("response")
    async with open_harness(Counting(), settings=Settings(protocol="5")) as harness:
        harness.broker.reject_subscribe(topic if refused == "response" else f"{topic}/me")
        async with connect(harness.broker, V5) as client:
            for _ in range(2):
                assert (await client.call("petalkit/ping")).success


# -- what is not its answer


async def test_a_late_answer_is_dropped_and_counted(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    async def late(link: Link, command: dict[str, Any]) -> None:
        await trio.sleep(5)
        await echo(link, command)

    async with open_device(broker, late), connect(broker) as client:
        with pytest.raises(CallTimeout):
            await client.call("p/x", timeout=1)
        await trio.sleep(10)
        assert client.statistics().late == 1
        assert client.statistics().timeouts == 1
        assert client.statistics().waiting == 0


async def test_one_device_cannot_answer_for_another(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    async def answer_elsewhere(link: Link, command: dict[str, Any]) -> None:
        fields = {"messageId": command["messageId"], "success": True, "forged": True}
        topic = "org/acme/device/other/response"
        await link.publish(Message(topic, json.dumps(fields).encode()))
        await trio.sleep(1)
        await respond(link, {"messageId": command["messageId"], "success": True})

    async with open_device(broker, answer_elsewhere), connect(broker) as client:
        with pytest.raises(CallTimeout):
            await client.call("p/x", device="other", timeout=1)
        assert "forged" not in await client.call("p/x")
        assert client.statistics().misdirected == 1


async def test_an_answer_that_cannot_be_read_fails_its_call_where_it_is_known_whose_it_is(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    async with connect(broker, V5) as client, trio.open_nursery() as nursery:
        with broker.observe("+/+/+/+/command") as seen:

            @nursery.start_soon
            async def call() -> None:
                with pytest.raises(PayloadError):
                    await client.call("p/x")
                assert trio.current_time() < 1

            await trio.testing.wait_all_tasks_blocked()
            asked = seen[0].properties
        assert asked is not None
        assert asked.response_topic is not None
        data = Properties(correlation_data=asked.correlation_data)
        broker.publish_nowait(asked.response_topic, b"\xff{", properties=data)


async def test_the_number_of_calls_under_way_is_bounded(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    settings = attrs.evolve(SETTINGS, call_concurrency=5)
    async with (
        open_device(broker, silence),
        connect(broker, settings) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(20):
            nursery.start_soon(client.call, "p/x")
        await trio.testing.wait_all_tasks_blocked()
        assert client.statistics().waiting == 5
        with pytest.raises(CallTimeout, match="it was not sent"):
            await client.call("p/x", timeout=3)
        nursery.cancel_scope.cancel()

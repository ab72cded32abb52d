"""`MQTTProxy`, and the other proxies by name."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import PetalkitError, Settings
from petalkit.compat import MethodRemoved, MQTTProxy, Petal, ProxyNotAvailable, adapt
from petalkit.testing import open_harness

from .petals import GuidePetal, HandlerPetal, Message

pytestmark = pytest.mark.trio

Do = Callable[[HandlerPetal, Message], Any]


async def in_a_handler(do: Do, settings: Settings | None = None, **envelope: Any) -> Any:
    """Call a function in a handler, and return what it returned, or raise what it raised."""
    found: list[Any] = []

    async def handle(petal: HandlerPetal, message: Message) -> None:
        try:
            result = do(petal, message)
            found.append(await result if asyncio.iscoroutine(result) else result)
        except Exception as error:
            found.append(error)
        await petal.answer(message, success=True)

    async with open_harness(*adapt(HandlerPetal(handle)), settings=settings) as harness:
        await harness.call("petal/x", **envelope)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


# -- what it tells


async def test_who_the_device_is(autojump_clock: Any) -> None:
    def ask(petal: HandlerPetal, message: Message) -> Any:
        proxy = petal.proxy
        return (
            proxy.organization_id,
            proxy.device_id,
            proxy._get_machine_id(),
            proxy._get_organization_id(),
            proxy._get_base_topic(),
            proxy.robot_instance_id,
        )

    base = "org/acme/device/Instance-1"
    assert await in_a_handler(ask) == ("acme", "Instance-1", "1", "acme", base, "1")


async def test_whether_it_is_connected(autojump_clock: Any) -> None:
    petal = GuidePetal()
    async with open_harness(*adapt(petal)) as harness:
        await harness.call("example-petal/hello")
        proxy: MQTTProxy = petal._mqtt_proxy
        assert proxy.is_connected is True
        assert proxy.subscribed_topics == {
            "org/acme/device/Instance-1/command",
            "org/acme/device/Instance-1/command/edge",
        }
        harness.drop_link()
        await trio.testing.wait_all_tasks_blocked()
        assert proxy.is_connected is False
        assert proxy.subscribed_topics == set()
        await harness.wait_connected()
        assert proxy.is_connected is True
    assert proxy.is_connected is False  # nobody serves the petal
    assert proxy.organization_id is None


async def test_its_health(autojump_clock: Any) -> None:
    async def ask(petal: HandlerPetal, message: Message) -> Any:
        return await petal.proxy.health_check()

    health = await in_a_handler(ask)
    assert health["status"] == "healthy"
    assert health["connection"] == {"connected": True}
    assert health["subscriptions"]["handlers"] == {"command": 1}
    assert health["device_info"]["organization_id"] == "acme"


async def test_waiting_until_it_is_ready(autojump_clock: Any) -> None:
    ready: list[bool] = []

    class Waiting(GuidePetal):
        def startup(self) -> None:
            super().startup()
            self.task = asyncio.create_task(self._wait())

        async def _wait(self) -> None:
            ready.append(await self._mqtt_proxy.wait_until_ready(timeout=0.5))
            ready.append(await self._mqtt_proxy.wait_until_ready(timeout=60))

    async with open_harness(*adapt(Waiting()), organization_id=None) as harness:
        await trio.sleep(10)
        assert ready == [False]
        await harness.set_organization("acme")
        await harness.wait_connected()
        await trio.sleep(1)
    assert ready == [False, True]


# -- events


async def test_events_to_web_clients(autojump_clock: Any) -> None:
    class Telling(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            assert await self._mqtt_proxy.publish_message({"command": "/e/one", "n": 1}) is True
            assert await self._mqtt_proxy.publish_message({"command": "/e/two"}, qos=0) is True
            assert await self._mqtt_proxy.publish_message({"command": "/e/three"}, qos=2) is True
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Telling())) as harness:
        with harness.events() as events:
            await harness.call("example-petal/hello")
            await events.wait(3)
            assert list(events) == [
                {"command": "/e/one", "n": 1, "deviceId": "Instance-1"},
                {"command": "/e/two", "deviceId": "Instance-1"},
                {"command": "/e/three", "deviceId": "Instance-1"},
            ]


async def test_events_in_the_hosts_dialect_say_who_sent_them(autojump_clock: Any) -> None:
    class Telling(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            payload = {"command": "/e/one"}
            await self._mqtt_proxy.publish_message(payload)
            assert payload == {"command": "/e/one"}  # the petal's own is left alone
            await super()._hello_handler(topic, message)

    settings = Settings(dialect="host-0.2")
    async with open_harness(*adapt(Telling()), settings=settings) as harness:
        with harness.events() as events:
            await harness.call("example-petal/hello")
            assert await events.wait(1) == [{"command": "/e/one", "deviceId": "Instance-1"}]


async def test_events_wait_while_the_outbox_is_full_and_none_is_lost(autojump_clock: Any) -> None:
    sent: list[bool] = []

    class Flooding(GuidePetal):
        async def async_startup(self) -> None:
            self.task = asyncio.create_task(self._flood())

        async def _flood(self) -> None:
            await asyncio.sleep(10)
            for n in range(20):
                sent.append(await self._mqtt_proxy.publish_message({"n": n}))

    settings = Settings(event_capacity=5)
    async with open_harness(*adapt(Flooding()), settings=settings) as harness:
        with harness.events() as events:
            await trio.sleep(5)
            harness.broker.stop()
            await trio.sleep(60)
            assert sent == [True] * 5
            harness.broker.start()
            await events.wait(20)
            assert [one["n"] for one in events] == list(range(20))
    assert sent == [True] * 20


async def test_an_event_before_the_organization_is_known_is_kept(autojump_clock: Any) -> None:
    """The host publishes to None/command/web."""

    class Early(GuidePetal):
        async def async_startup(self) -> None:
            assert await self._mqtt_proxy.publish_message({"command": "/early"})

    async with open_harness(*adapt(Early()), organization_id=None) as harness:
        await trio.sleep(10)
        with harness.broker.observe("#") as seen:
            await harness.set_organization("acme")
            await harness.wait_connected()
            await trio.sleep(1)
            topics = [one.topic for one in seen if b"/early" in one.payload]
    assert topics == ["org/acme/device/Instance-1/command/web"]


async def test_an_event_that_cannot_be_sent_is_false_and_logged(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def publish(petal: HandlerPetal, message: Message) -> Any:
        return [
            await petal.proxy.publish_message({"value": object()}),
            await petal.proxy.publish_message({"value": "x" * 200_000}),
        ]

    assert await in_a_handler(publish) == [False, False]
    assert caplog.text.count("an event was not sent") == 2


async def test_events_may_come_from_any_thread() -> None:
    """In real time, and bounded."""

    class Threaded(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            def in_a_thread() -> None:
                assert asyncio.run(self._mqtt_proxy.publish_message({"from": "a thread"})) is True

            thread = threading.Thread(target=in_a_thread)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.01)
            await super()._hello_handler(topic, message)

    async with open_harness(*adapt(Threaded())) as harness:
        with trio.fail_after(30), harness.events() as events:
            assert (await harness.call("example-petal/hello", timeout=20)).success
            assert (await events.wait(1))[0]["from"] == "a thread"


async def test_a_proxy_outlives_its_runtime_harmlessly(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gone = GuidePetal()
    async with open_harness(*adapt(gone)) as harness:
        await harness.call("example-petal/hello")

    async def use(petal: HandlerPetal, message: Message) -> Any:
        proxy: MQTTProxy = gone._mqtt_proxy
        return [
            await proxy.publish_message({"x": 1}),
            await proxy.send_command_response("a", {"success": True}),
            await proxy.send_command_ack("a", "petal"),
        ]

    assert await in_a_handler(use) == [False, False, False]
    assert caplog.text.count("nothing is sent: the petal is not served") == 3


# -- receipts


@pytest.mark.parametrize("own", [False, True])
async def test_a_receipt_in_the_hosts_dialect_comes_once(autojump_clock: Any, own: bool) -> None:
    class Keyed(GuidePetal):
        async def _hello_handler(self, topic: str, message: Message) -> None:
            if own:  # as petals of the host do it
                assert await self._mqtt_proxy.send_command_ack(message["messageId"], self.name)
            await super()._hello_handler(topic, message)

    settings = Settings(dialect="host-0.2")
    async with open_harness(*adapt(Keyed()), settings=settings) as harness:
        await harness.call("example-petal/hello")
        with harness.broker.observe("+/+/+/+/ack") as seen:
            await harness.call("example-petal/hello", message_id="a", waitAck=True)
            (receipt,) = [one.payload for one in seen]
    assert b'"messageId":"a","phase":"ack","ackType":"service-received"' in receipt
    assert b'"service":"example-petal"' in receipt


async def test_a_receipt_is_the_petals_own_where_nobody_knows_who_serves_it(
    autojump_clock: Any,
) -> None:
    async def handle(petal: HandlerPetal, message: Message) -> None:
        assert await petal.proxy.send_command_ack(message["messageId"], "by hand")
        await petal.answer(message, success=True)

    settings = Settings(dialect="host-0.2")
    async with open_harness(*adapt(HandlerPetal(handle)), settings=settings) as harness:
        with harness.broker.observe("+/+/+/+/ack") as seen:
            await harness.call("petal/x", waitAck=True)
            await harness.call("petal/y", waitAck=True)
            assert [b'"service":"by hand"' in one.payload for one in seen] == [True, True]


async def test_another_kind_of_receipt_is_sent_as_well(autojump_clock: Any) -> None:
    async def acknowledge(petal: HandlerPetal, message: Message) -> Any:
        return await petal.proxy.send_command_ack(message["messageId"], "petal", "work-begun")

    assert await in_a_handler(acknowledge) is True


# -- what the guide removed


@pytest.mark.parametrize(
    ("method", "instead"),
    [
        ("subscribe_to_topic", "register_handler"),
        ("unsubscribe_from_topic", "unregister_handler"),
        ("subscribe_pattern", "register_handler"),
    ],
)
async def test_removed_methods_name_their_replacement(
    autojump_clock: Any, method: str, instead: str
) -> None:
    def call(petal: HandlerPetal, message: Message) -> Any:
        getattr(petal.proxy, method)("my-topic", print)

    with pytest.raises(MethodRemoved, match=instead) as caught:
        await in_a_handler(call)
    assert isinstance(caught.value, PetalkitError)
    assert caught.value.method == method


async def test_what_cannot_be_a_handler_is_refused_where_it_is_registered(
    autojump_clock: Any,
) -> None:
    def register(petal: HandlerPetal, message: Message) -> Any:
        petal.proxy.register_handler("not a function")  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="called with topic and message"):
        await in_a_handler(register)


# -- other proxies


class Wanting(Petal):
    name = "wanting"
    version = "1"

    def __init__(self, want: Callable[[Any], Any]) -> None:
        super().__init__()
        self._want = want
        self.got: Any = "nothing"

    def startup(self) -> None:
        self.got = self._want(self._proxies)


async def got(want: Callable[[Any], Any], petal: Petal | None = None, **options: Any) -> Any:
    """What a petal got at its startup."""
    asking = petal or Wanting(want)
    async with open_harness(*adapt(asking, GuidePetal(), **options)) as harness:
        await harness.call("example-petal/hello")
        return asking.got  # type: ignore[attr-defined]


async def test_a_proxy_of_the_users(autojump_clock: Any) -> None:
    redis = object()
    assert await got(lambda proxies: proxies["redis"], proxies={"redis": redis}) is redis
    assert await got(lambda proxies: proxies.get("redis"), proxies={"redis": redis}) is redis
    assert await got(sorted, proxies={"redis": redis}) == ["mqtt", "redis"]


async def test_a_proxy_that_is_not_there_is_an_error_where_the_petal_insists(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def want(proxies: Any) -> Any:
        return proxies["redis"]

    async with open_harness(*adapt(Wanting(want), GuidePetal())) as harness:
        assert harness.statistics().unavailable_petals == ("wanting",)
        assert (await harness.call("example-petal/hello")).success
    (record,) = [one for one in caplog.records if one.levelno == logging.CRITICAL]
    assert record.exc_info is not None
    assert "petal 'wanting' asks for the proxy 'redis', which is not there" in caplog.text
    assert "--host-proxy redis=module:name" in record.getMessage()


async def test_a_command_that_asks_for_a_proxy_which_no_host_has_gets_none_and_one_warning(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A published petal asks so, and never uses what it gets."""

    async def handler(petal: HandlerPetal, message: Message) -> None:
        bucket = petal._proxies.get("s3_bucket")
        await petal.answer(message, success=True, bucket=bucket)

    async with open_harness(*adapt(HandlerPetal(handler))) as harness:
        for _ in range(3):
            response = await harness.call("petal/sync")
            assert response.success
            assert response["bucket"] is None
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    text = record.getMessage()
    assert "petal 'petal' asks for the proxy 's3_bucket' in petal/sync" in text
    assert "--host-proxy s3_bucket=module:name" in text
    assert vars(record)["command"] == "petal/sync"


async def test_a_proxy_that_startup_asks_for_in_vain_is_told_too(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert await got(lambda proxies: proxies.get("redis")) is None
    assert "petal 'wanting' asks for the proxy 'redis' outside of a command" in caplog.text


async def test_a_petal_that_asks_with_a_default_gets_it(autojump_clock: Any) -> None:
    assert await got(lambda proxies: proxies.get("redis", None)) is None
    assert await got(lambda proxies: "redis" in proxies) is False


async def test_a_proxy_that_the_user_has_said_is_not_there(autojump_clock: Any) -> None:
    without = {"redis": None}
    assert await got(lambda proxies: proxies.get("redis"), proxies=without) is None
    assert await got(lambda proxies: "redis" in proxies, proxies=without) is False


async def test_a_proxy_that_the_petal_can_do_without(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Optional(Wanting):
        def get_optional_proxies(self) -> list[str]:
            return ["redis"]

    def want(proxies: Any) -> Any:
        return proxies.get("redis")

    assert await got(want, Optional(want)) is None
    assert "asks for the proxy" not in caplog.text


async def test_a_proxy_that_the_petal_says_it_needs(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Needing(Wanting):
        def get_required_proxies(self) -> list[str]:
            return ["mqtt", "ext_mavlink"]

    async with open_harness(*adapt(Needing(len), GuidePetal())) as harness:
        assert harness.statistics().unavailable_petals == ("wanting",)
    assert "asks for the proxy 'ext_mavlink'" in caplog.text
    assert await got(len, Needing(len), proxies={"ext_mavlink": None}) == 1


async def test_the_error_is_a_key_error_too(autojump_clock: Any) -> None:
    error = ProxyNotAvailable(("redis",), "p", ("mqtt",))
    assert isinstance(error, KeyError)
    assert str(error).startswith("petal 'p' asks for the proxy 'redis'")

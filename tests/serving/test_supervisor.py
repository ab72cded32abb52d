"""The supervisor: one link at a time, for months, over bad networks and bad neighbours."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trio

from petalkit import ConfigError, ConnectionLost, Settings, open_runtime, serve
from petalkit.testing import MemoryBroker, MemoryTransport, open_harness
from petalkit.transports import ConnectOptions, Link

from .recorder import CLIENT_ID, Recorder, settle, until

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"
FIXED: dict[str, Any] = {"organization_id": "acme", "device_id": "Instance-1"}


class Watched(MemoryTransport):
    """Notes when it is asked for a link, and with what."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.asked: list[float] = []
        self.options: list[ConnectOptions] = []

    def connect(self, options: ConnectOptions) -> Any:
        self.asked.append(trio.current_time())
        self.options.append(options)
        return super().connect(options)

    @property
    def waits(self) -> list[float]:
        return [
            round(later - earlier, 3)
            for earlier, later in zip(self.asked, self.asked[1:], strict=False)
        ]


@contextlib.asynccontextmanager
async def watched(
    broker: MemoryBroker, jitter: float = 1.0, **settings: Any
) -> AsyncGenerator[tuple[Watched, Any]]:
    transport = Watched(broker)
    async with open_runtime(
        [Recorder()], Settings(**FIXED, **settings), transport=transport, jitter=lambda: jitter
    ) as runtime:
        yield transport, runtime


# -- reconnecting


async def test_waits_double_up_to_their_bound(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.refuse_connections()
    async with watched(broker) as (transport, _):
        await until(lambda: len(transport.asked) == 10)
        assert transport.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_waits_are_anything_down_to_nothing_so_that_a_fleet_spreads(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections()
    async with watched(broker, jitter=0.25) as (transport, _):
        await until(lambda: len(transport.asked) == 4)
        assert transport.waits == [0.125, 0.25, 0.5]


async def test_years_of_failures_do_not_overflow_the_wait(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.refuse_connections()
    async with watched(broker) as (transport, runtime):
        runtime._supervisor.attempts.failures = 1_000_000
        await until(lambda: len(transport.asked) == 3)
        assert transport.waits[-1] == 30.0


async def test_a_stable_link_resets_the_waits(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(5)
    async with watched(broker) as (transport, runtime):
        await runtime.wait_connected()
        await trio.sleep(10)
        broker.drop_links()
        broker.refuse_connections(1)
        await until(lambda: len(transport.asked) == 8)
        assert transport.waits[-1] == 0.5


async def test_a_refused_connection_is_an_error_in_the_log_and_tried_again(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(2, reason_code=5)
    async with watched(broker) as (_, runtime):
        await runtime.wait_connected()
        assert runtime.statistics().connects_failed == 2
    assert [r.levelname for r in caplog.records if "not connected" in r.message] == ["ERROR"] * 2


@pytest.mark.parametrize("packet", ["CONNACK", "SUBACK", "PUBACK"])
async def test_an_answer_that_does_not_come_costs_a_limit_and_another_try(
    packet: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    broker.swallow(packet)
    async with watched(broker) as (transport, runtime):
        await runtime.wait_connected()
        assert transport.waits == [10.0 + 0.5]
        assert runtime.statistics().connects_failed == 1


async def test_a_refused_subscription_is_not_taken_for_a_link(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.reject_subscribe(f"{BASE}/command")
    async with watched(broker) as (_, runtime):
        await trio.sleep(100)
        statistics = runtime.statistics()
        assert (statistics.links, statistics.connected) == (0, False)
        broker.reject_subscribe(f"{BASE}/command", None)
        with trio.fail_after(31):
            await runtime.wait_connected()


async def test_a_link_that_swallows_publishes_is_given_up(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(publish_timeout=20.0)) as harness:
        with harness.responses() as responses:
            harness.broker.swallow("PUBACK", 1)
            await harness.call("rec/note", {"n": 1})
            await trio.sleep(19)
            assert harness.statistics().links == 1
            await until(lambda: harness.statistics().links == 2, within=10)
            await settle()
            assert [response["n"] for response in responses] == [1, 1]
            assert harness.statistics().outbox == 0


async def test_a_slow_broker_is_not_given_up(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(publish_timeout=20.0)) as harness:
        harness.broker.delay = 9.0
        for n in range(20):
            assert (await harness.call("rec/note", {"n": n})).success
        assert harness.statistics().links == 1


async def test_a_pause_is_not_taken_for_a_dead_link(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(
        publish_timeout=20.0, petal_concurrency=1, channel_capacity=1, channel_reserve=1
    )
    async with open_harness(petal, settings=settings) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
        await trio.sleep(1000)
        assert harness.statistics().links == 1
        petal.open()
        await until(lambda: len(petal.ended) == 10)


async def test_commands_outlive_their_link(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            await settle()
            harness.broker.stop()
            await trio.sleep(100)
            assert petal.running == 1
            harness.broker.start()
            await harness.wait_connected()
            petal.open()
            await responses.wait(1)
        assert harness.statistics().links_lost == 1


async def test_what_was_sent_meanwhile_to_a_kept_session_is_answered_after(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.broker.refuse_connections()
        harness.drop_link()
        await trio.sleep(10)
        with harness.responses() as responses:
            for n in range(100):
                harness.send("rec/note", {"n": n})
            harness.broker.accept_connections()
            await responses.wait(100)
        assert petal.started == list(range(100))


# -- neighbours with the same client ID


async def _steal(broker: MemoryBroker, every: float, protocol: Any = "3.1.1") -> None:
    """Another client with our ID, which reconnects as soon as it is thrown out."""
    transport = MemoryTransport(broker, protocol)
    while True:
        with contextlib.suppress(ConnectionLost):
            async with transport.connect(ConnectOptions(client_id=CLIENT_ID)) as link:
                await _until_lost(link)
        await trio.sleep(every)


async def _until_lost(link: Link) -> None:
    while True:
        await link.receive()


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_session_taken_over_again_and_again_backs_off_to_minutes_and_says_so(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    transport = Watched(broker)
    transport.protocol = protocol
    async with open_runtime(
        [Recorder()],
        Settings(**FIXED, protocol=protocol),
        transport=transport,
        jitter=lambda: 1.0,
    ) as runtime:
        await runtime.wait_connected()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_steal, broker, 0.1, protocol)
            await trio.sleep(3600)
            nursery.cancel_scope.cancel()
        assert transport.waits[-1] == pytest.approx(300.0, abs=1.0)
        assert len(transport.asked) < 30
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert any("another client may use the client ID" in text for text in errors)
        assert any(CLIENT_ID in text for text in errors)
        await trio.sleep(400)
        assert runtime.statistics().connected


async def test_after_a_takeover_is_over_ordinary_losses_are_ordinary_again(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    transport = Watched(broker)
    transport.protocol = "5"
    async with open_runtime(
        [Recorder()], Settings(**FIXED, protocol="5"), transport=transport, jitter=lambda: 1.0
    ) as runtime:
        await runtime.wait_connected()
        await trio.sleep(10)
        thief = MemoryTransport(broker, "5")
        async with thief.connect(ConnectOptions(client_id=CLIENT_ID)):
            pass
        await until(lambda: runtime.statistics().connected)
        await trio.sleep(3600)
        caplog.clear()
        for _ in range(3):  # three short lives, for reasons of the network
            broker.drop_links()
            links = runtime.statistics().links
            await until(lambda links=links: runtime.statistics().links > links)  # type: ignore[misc]
        assert "another client may use" not in caplog.text


# -- a bad line is no neighbour


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("seed", range(5))
async def test_a_line_cut_every_2_s_is_blamed_on_nobody_and_the_device_is_back_within_30_s(
    seed: int, protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, protocol)
    settings = Settings(**FIXED, protocol=protocol)
    jitter = random.Random(seed).random
    async with open_runtime(
        [Recorder()], settings, transport=transport, jitter=jitter, advice="ask the doctor"
    ) as runtime:
        for _ in range(60):
            await trio.sleep(2)
            broker.drop_links()
        with trio.fail_after(Settings().reconnect_delay_max):
            await until(lambda: runtime.statistics().connected, within=60)
    assert runtime.statistics().links_lost > 5
    assert "another client" not in caplog.text
    [advice] = [r for r in caplog.records if "the line may be bad" in r.getMessage()]
    assert advice.levelname == "WARNING"
    assert "ask the doctor" in advice.getMessage()


async def test_a_bad_line_after_one_takeover_is_blamed_on_nobody(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    transport = Watched(broker)
    transport.protocol = "5"
    async with open_runtime(
        [Recorder()], Settings(**FIXED, protocol="5"), transport=transport, jitter=lambda: 1.0
    ) as runtime:
        await runtime.wait_connected()
        async with MemoryTransport(broker, "5").connect(ConnectOptions(client_id=CLIENT_ID)):
            pass
        for _ in range(10):
            await until(lambda: runtime.statistics().connected, within=60)
            await trio.sleep(2)
            broker.drop_links()
    assert "another client may" not in caplog.text
    assert max(transport.waits) <= 2 + 30.0


async def test_a_broker_that_closes_each_link_before_its_suback_is_told_so(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    broker = MemoryBroker()
    broker.swallow("SUBACK", 100)

    async def close() -> None:
        while True:
            await trio.sleep(0.1)
            broker.drop_links()

    async with watched(broker) as (transport, _):
        nursery.start_soon(close)
        await until(lambda: len(transport.asked) == 8, within=600)
        nursery.cancel_scope.cancel()
    assert "closed 6 links in a row right after it accepted them" in caplog.text


# -- birth and will


async def test_birth_says_who_is_online_and_follows_the_subscription(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker(history=10)
    one, two = Recorder("one"), Recorder("two")
    two.version = "1.2.3"
    broker.swallow("SUBACK")
    async with open_harness(one, two, broker=broker, connected=False) as harness:
        await trio.sleep(5)
        assert harness.status() is None
        await harness.wait_connected()
        status = harness.status()
        assert status is not None
        assert dict(status) == {
            "status": "online",
            "timestamp": status.timestamp,
            "petals": [{"name": "one", "version": "0"}, {"name": "two", "version": "1.2.3"}],
            "schema_hash": status["schema_hash"],
        }


async def test_the_will_says_offline_without_a_time_and_each_connect_gives_birth(
    autojump_clock: object,
) -> None:
    async with open_harness(Recorder()) as harness:
        with harness.broker.observe(f"{BASE}/status") as seen:
            harness.drop_link()
            await harness.wait_connected()
            will, birth = [msgspec.json.decode(message.payload) for message in seen]
            assert all(message.retain and message.qos == 1 for message in seen)
        assert will == {"status": "offline", "petals": [{"name": "rec", "version": "0"}]}
        assert birth["status"] == "online"
        assert "timestamp" in birth


async def test_what_connect_says_comes_from_the_settings(autojump_clock: object) -> None:
    broker = MemoryBroker()
    async with watched(broker, client_id="mine", keep_alive=33, session_expiry=7) as (
        transport,
        runtime,
    ):
        await runtime.wait_connected()
        options = transport.options[0]
        assert (options.client_id, options.keep_alive, options.session_expiry) == ("mine", 33, 7)
        assert not options.clean_start


# -- serve()


async def test_serve_says_started_once_subscribed(autojump_clock: object) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(3)
    async with trio.open_nursery() as nursery:
        runtime = await nursery.start(
            lambda *, task_status: serve(
                [Recorder()],
                Settings(**FIXED),
                transport=MemoryTransport(broker),
                task_status=task_status,
            )
        )
        assert runtime.statistics().connected
        runtime.stop()
    assert broker.clients == ()


async def test_serve_that_is_cancelled_leaves_politely(autojump_clock: object) -> None:
    broker = MemoryBroker()
    with trio.move_on_after(5):
        await serve([Recorder()], Settings(**FIXED), transport=MemoryTransport(broker))
    assert broker.clients == ()
    assert b"offline" in broker.retained[f"{BASE}/status"].payload


async def test_a_certificate_that_cannot_be_read_for_a_while_ends_nothing(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Renewing(MemoryTransport):
        unreadable = False

        def connect(self, options: Any) -> Any:
            if self.unreadable:
                raise ConfigError("cert_file", "cannot be read")
            return super().connect(options)

    broker = MemoryBroker()
    transport = Renewing(broker)
    async with open_runtime([Recorder()], Settings(**FIXED), transport=transport) as runtime:
        await runtime.wait_connected()
        transport.unreadable = True
        broker.drop_links()
        await trio.sleep(100)
        transport.unreadable = False
        await until(lambda: runtime.statistics().links == 2)
    assert "cert_file: cannot be read" in caplog.text


# -- what the broker grants, and how it fails


def warnings_of(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if text in r.getMessage()]


async def test_a_filter_that_is_granted_qos_0_is_a_warning_at_each_connect(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.limit_qos(f"{BASE}/command/edge")
    async with open_harness(Recorder(), broker=broker) as harness:
        [said] = warnings_of(caplog, "QoS 0")
        assert f"QoS 0 only to {BASE}/command/edge: " in said
        assert "is not sent again" in said
        broker.limit_qos(f"{BASE}/command/edge", None)
        harness.drop_link()
        await harness.wait_connected()
        assert len(warnings_of(caplog, "QoS 0")) == 1


async def test_after_the_second_failed_attempt_the_doctor_is_named_once(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(1)
    advice = "`petalkit doctor --broker mqtt://b` looks for the cause"
    async with open_runtime(
        [Recorder()], Settings(**FIXED), transport=MemoryTransport(broker), advice=advice
    ) as runtime:
        await runtime.wait_connected()
        assert warnings_of(caplog, "doctor") == []  # one attempt may fail
        for failures in (1, 2, 7):
            caplog.clear()
            await trio.sleep(60)
            links = runtime.statistics().links
            broker.refuse_connections(failures, reason_code=5)
            broker.drop_links()
            await until(lambda links=links: runtime.statistics().links > links)
            told = ["2 attempts have failed: " + advice] if failures > 1 else []
            assert warnings_of(caplog, "doctor") == told


async def test_a_program_names_the_doctor_too(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(3)
    async with watched(broker) as (_, runtime):
        await runtime.wait_connected()
    assert warnings_of(caplog, "`petalkit doctor` looks")


# -- a status that is not retained, a will that waits


async def test_a_status_without_retain(autojump_clock: object) -> None:
    settings = Settings(**FIXED, status_retain=False)
    async with open_harness(Recorder(), settings=settings) as harness:
        with harness.broker.observe(f"{BASE}/status") as seen:
            harness.drop_link()
            await harness.wait_connected()
            assert [message.retain for message in seen] == [False, False]
        assert not harness.broker.retained


async def test_a_short_loss_does_not_flicker(autojump_clock: object) -> None:
    broker = MemoryBroker()
    settings = Settings(**FIXED, protocol="5", will_delay=30)
    async with open_runtime(
        [Recorder()], settings, transport=MemoryTransport(broker, "5"), jitter=lambda: 1.0
    ) as runtime:
        await runtime.wait_connected()
        with broker.observe(f"{BASE}/status") as seen:
            broker.refuse_connections(3)
            broker.drop_links()
            await until(lambda: runtime.statistics().links == 2)
            await trio.sleep(100)
            assert [msgspec.json.decode(message.payload)["status"] for message in seen] == [
                "online"
            ]
            broker.refuse_connections()
            broker.drop_links()
            await trio.sleep(31)
            assert msgspec.json.decode(seen[-1].payload)["status"] == "offline"
            broker.accept_connections()
            await until(lambda: runtime.statistics().links == 3)
        with broker.observe(f"{BASE}/status") as seen:
            runtime.stop()
            await runtime.wait_stopped()
            # At a stop it is said at once.
            assert [msgspec.json.decode(message.payload)["status"] for message in seen] == [
                "offline"
            ]

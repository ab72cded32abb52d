"""What the broker does not grant: no session, a shorter one, a lost one, no QoS 1, no retain."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trio

from petalkit import Settings
from petalkit.testing import MemoryBroker, open_harness
from petalkit.transports.memory import MemoryLink

from .recorder import Recorder, settle, until

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"
V5: dict[str, Any] = {"protocol": "5"}


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if part in r.getMessage()]


# -- the status


@pytest.mark.parametrize("code", [0x97, 0x80, 0x83, 0x87])
async def test_a_refused_online_is_said_until_it_is_taken(
    code: int, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.reject_publish(f"{BASE}/status", code)
    async with open_harness(Recorder(), broker=broker, settings=Settings(**V5)) as harness:
        assert harness.status() is None
        assert (await harness.call("rec/note")).success  # served meanwhile
        await trio.sleep(300)
        broker.reject_publish(f"{BASE}/status", None)
        await trio.sleep(61)
        status = harness.status()
        assert status is not None
        assert status["status"] == "online"
        assert harness.statistics().links == 1
    assert len(lines(caplog, "refused the status message")) == 1
    assert broker.retained[f"{BASE}/status"].payload.startswith(b'{"status":"offline"')


async def test_nothing_says_online_behind_offline(autojump_clock: object) -> None:
    broker = MemoryBroker(history=100)
    broker.reject_publish(f"{BASE}/status", 0x97)
    async with open_harness(Recorder(), broker=broker, settings=Settings(**V5)) as harness:
        await trio.sleep(0.2)
        broker.reject_publish(f"{BASE}/status", None)
        broker.delay = 1.0  # an `online` may be under way when it stops
        harness.runtime.stop()
        await harness.runtime.wait_stopped()
    said = [msgspec.json.decode(m.payload)["status"] for m in broker.published]
    assert said == ["offline"]


@pytest.mark.parametrize("code", [0x97, 0x80, 0x83])
async def test_a_refused_offline_is_said_again_before_the_link_is_left(
    code: int, autojump_clock: object, nursery: trio.Nursery
) -> None:
    broker = MemoryBroker()

    async def relent() -> None:
        await trio.sleep(1)
        broker.reject_publish(f"{BASE}/status", None)

    async with open_harness(Recorder(), broker=broker, settings=Settings(**V5)):
        broker.reject_publish(f"{BASE}/status", code)
        nursery.start_soon(relent)
    assert broker.retained[f"{BASE}/status"].payload.startswith(b'{"status":"offline"')
    assert trio.current_time() < Settings().disconnect_timeout


@pytest.mark.parametrize(("code", "least"), [(0x97, 1.0), (0x87, 0.0)])
async def test_a_stop_with_an_offline_that_is_always_refused_is_bounded(
    code: int, least: float, autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=Settings(**V5)) as harness:
        harness.broker.reject_publish(f"{BASE}/status", code)
    assert least <= trio.current_time() <= (Settings().disconnect_timeout if least else 0.0)


async def test_one_refused_for_its_will_names_what_to_do(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(1, reason_code=0x9A)
    async with open_harness(Recorder(), broker=broker, settings=Settings(**V5)):
        assert len(lines(caplog, "status_retain = false")) == 1


async def test_a_will_whose_qos_is_refused_has_qos_0_the_next_time(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    broker.refuse_connections(1, reason_code=0x9B)
    with broker.observe(f"{BASE}/status") as seen:
        async with open_harness(Recorder(), broker=broker, settings=Settings(**V5)) as harness:
            assert len(lines(caplog, "the next attempt has one with QoS 0")) == 1
            harness.drop_link()
            await settle()
            assert [(m.qos, m.retain) for m in seen][:2] == [(1, True), (0, True)]


# -- limits


async def test_each_limit_is_told_once_and_not_at_each_connect(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"maximum_qos": 0, "retain_available": 0}
    monkeypatch.setattr(MemoryLink, "broker_limits", property(lambda _: limits))
    async with open_harness(Recorder(), settings=Settings(**V5)) as harness:
        for _ in range(3):
            harness.drop_link()
            await harness.wait_connected()
    assert len(lines(caplog, "Maximum QoS 0")) == len(lines(caplog, "Retain Available 0")) == 1


async def test_a_shorter_session_is_told_with_both_numbers(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"session_expiry_interval": 300}
    monkeypatch.setattr(MemoryLink, "broker_limits", property(lambda _: limits))
    async with open_harness(Recorder(), settings=Settings(**V5)) as harness:
        harness.drop_link()
        await harness.wait_connected()
        (line,) = lines(caplog, "session_expiry")
        assert "300 s" in line
        assert "3600 s" in line
        limits["session_expiry_interval"] = 60
        harness.drop_link()
        await harness.wait_connected()
    assert len(lines(caplog, "session_expiry")) == 2


# -- the session


@contextlib.asynccontextmanager
async def outcomes_of_a_stop(
    granted: int | None, asked: int, **settings: Any
) -> AsyncGenerator[tuple[Recorder, MemoryBroker, list[Any]]]:
    """Two commands wait when a stop begins, and one comes in it; then what became of them."""
    broker = MemoryBroker()
    if granted is not None:
        broker.session_expiry_max = granted
    petal = Recorder()
    kept = Settings(
        **V5,
        session_expiry=asked,
        acknowledge="handled",
        petal_concurrency=1,
        grace=5.0,
        **settings,
    )
    answers: list[Any] = []
    async with open_harness(petal, broker=broker, settings=kept) as harness:
        with harness.responses() as responses:
            for n in range(3):
                harness.send("rec/hold", {"n": n})
            await settle()
            harness.runtime.stop()
            await settle()
            harness.send("rec/hold", {"n": 3})
            await trio.sleep(1)
            petal.open()
            await harness.runtime.wait_stopped()
            answers += [response.get("error_code", response.get("n")) for response in responses]
    yield petal, broker, answers


async def test_at_a_stop_without_a_session_everything_is_answered(autojump_clock: object) -> None:
    """The broker grants 0: as with `session_expiry=0`, which is what it comes to."""
    async with outcomes_of_a_stop(0, 3600) as (_, _, granted):
        pass
    async with outcomes_of_a_stop(None, 0) as (_, _, asked):
        pass
    assert sorted(map(str, granted)) == sorted(map(str, asked))
    assert sorted(map(str, granted)) == ["0", *["SHUTTING_DOWN"] * 3]


async def test_with_a_session_the_broker_has_them_again(autojump_clock: object) -> None:
    async with outcomes_of_a_stop(300, 3600) as (_, broker, answers):
        assert answers == [0]
        (session,) = broker.sessions.values()
        assert session.queued + session.unacknowledged == 3


async def test_what_was_held_when_a_link_without_a_session_died_is_run(
    autojump_clock: object,
) -> None:
    broker = MemoryBroker(session_expiry_max=0)
    petal = Recorder()
    settings = Settings(**V5, channel_capacity=1, channel_reserve=4, petal_concurrency=1)
    async with open_harness(petal, broker=broker, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(5):
                harness.send("rec/hold", {"n": n})
            await settle()
            assert harness.statistics().held == 3
            harness.drop_link()
            await harness.wait_connected()
            petal.open()
            with trio.fail_after(60):
                await responses.wait(5)
        assert harness.statistics().given_back == 0
        assert petal.started == list(range(5))


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_session_that_the_broker_has_lost_is_told_each_time(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Recorder(), settings=Settings(protocol=protocol)) as harness:
        for count in (1, 2):
            harness.broker.stop(keep_sessions=False)
            await trio.sleep(10)
            harness.broker.start()
            await harness.wait_connected()
            assert harness.statistics().sessions_lost == count
        harness.drop_link()
        await harness.wait_connected()
        assert harness.statistics().sessions_lost == 2
    assert len(lines(caplog, "has lost the session of client")) == 2


async def test_one_that_has_expired_as_it_should_is_not_lost(autojump_clock: object) -> None:
    settings = Settings(**V5, session_expiry=60)
    async with open_harness(Recorder(), settings=settings) as harness:
        harness.broker.stop()
        await trio.sleep(100)
        harness.broker.start()
        await harness.wait_connected()
        assert harness.statistics().sessions_lost == 0


@pytest.mark.parametrize("settings", [{"clean_start": True}, {"session_expiry": 0}])
async def test_one_that_nobody_wanted_kept_is_not_lost(
    settings: dict[str, Any], autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=Settings(**V5, **settings)) as harness:
        harness.drop_link()
        await harness.wait_connected()
        assert harness.statistics().sessions_lost == 0


async def test_one_that_was_ended_with_its_identity_is_not_lost(autojump_clock: object) -> None:
    settings = Settings(**V5, client_id="one-for-all")
    async with open_harness(Recorder(), settings=settings) as harness:
        await harness.set_organization("other")
        await until(
            lambda: (
                harness.runtime.serving is not None
                and harness.runtime.serving.organization_id == "other"
            )
        )
        assert harness.statistics().sessions_lost == 0


async def test_what_waits_when_its_session_is_lost_is_answered_at_a_stop(
    autojump_clock: object,
) -> None:
    """It came on a link whose session is gone, so nobody delivers it again."""
    petal = Recorder()
    settings = Settings(**V5, acknowledge="handled", petal_concurrency=1, grace=1.0)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n})
        await settle()
        harness.broker.stop(keep_sessions=False)
        harness.broker.start()
        await harness.wait_connected()
        with harness.responses() as responses:
            harness.runtime.stop()
            await harness.runtime.wait_stopped()
            codes = sorted(response["error_code"] for response in responses)
    assert codes == ["CANCELLED", "SHUTTING_DOWN", "SHUTTING_DOWN"]

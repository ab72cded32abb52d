"""The client ID: one for each identity, and what waits under the one of earlier versions."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from petalkit import ConfigError, Identity, Settings, TopicFilter, open_runtime
from petalkit._serving.identity.client_id import client_id_of, former_client_id_of
from petalkit.testing import MemoryBroker, MemoryTransport
from petalkit.transports import ConnectOptions

from .recorder import Recorder, settle, until

BOTH = pytest.mark.parametrize("protocol", ["3.1.1", "5"])


def client_id(organization: str, device: str) -> str:
    return client_id_of(Settings(), Identity(organization, device))


def test_no_two_identities_have_one_client_id() -> None:
    texts = ["".join(one) for n in (1, 2, 3, 4) for one in itertools.product("a-1", repeat=n)]
    found = {client_id(*pair) for pair in itertools.product(texts, texts)}
    assert len(found) == len(texts) ** 2


def test_what_was_clear_before_is_as_it_was() -> None:
    assert client_id("acme", "x-y") == "petalkit-acme-x-y"
    assert client_id("acme-x", "y") == "petalkit--6-acme-x-y"
    assert client_id_of(Settings(client_id="mine"), Identity("acme-x", "y")) == "mine"


def test_the_longest_is_as_long_as_the_docs_say() -> None:
    assert len(client_id("o" * 127 + "-", "d" * 128)) == 271


@pytest.mark.parametrize(
    ("organization", "settings", "former"),
    [
        ("acme", {}, None),
        ("acme-x", {}, "petalkit-acme-x-y"),
        ("acme-x", {"client_id": "mine"}, None),
    ],
)
def test_only_a_client_id_that_has_changed_has_a_former_one(
    organization: str, settings: Any, former: str | None
) -> None:
    assert former_client_id_of(Settings(**settings), Identity(organization, "y")) == former


# -- what waits under the former one

FORMER = "petalkit-acme-x-y"
NEW = "petalkit--6-acme-x-y"
OURS = "org/acme-x/device/y"
THEIRS = "org/acme/device/x-y"


async def leave_session(
    broker: MemoryBroker, protocol: Any, *bases: str, client_id: str = FORMER
) -> None:
    """What an earlier version has left at the broker."""
    transport = MemoryTransport(broker, protocol)
    async with transport.connect(ConnectOptions(client_id=client_id)) as link:
        names = ("command", "command/edge")
        await link.subscribe([TopicFilter(f"{base}/{name}") for base in bases for name in names])


def send(broker: MemoryBroker, base: str, message_id: str) -> None:
    command = {"command": "rec/note", "messageId": message_id, "waitResponse": True}
    broker.publish_nowait(f"{base}/command", json.dumps(command).encode(), qos=1)


@contextlib.asynccontextmanager
async def served(
    broker: MemoryBroker, protocol: Any, **settings: Any
) -> AsyncGenerator[tuple[Recorder, Any]]:
    petal = Recorder()
    given: dict[str, Any] = {"organization_id": "acme-x", "device_id": "y"}
    if "client_id" not in settings:
        given["former_client_id"] = True
    given.update(settings)
    transport = MemoryTransport(broker, protocol)
    async with open_runtime(
        [petal], Settings(protocol=protocol, **given), transport=transport, jitter=lambda: 1.0
    ) as runtime:
        yield petal, runtime


def answered(seen: Any) -> list[str]:
    return [json.loads(message.payload)["messageId"] for message in seen]


@pytest.mark.trio
@BOTH
async def test_what_waits_under_the_former_client_id_is_run_and_answered_once(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    await leave_session(broker, protocol, OURS)
    for n in range(60):
        send(broker, OURS, f"m{n}")
    with broker.observe(f"{OURS}/response") as seen:
        async with served(broker, protocol) as (_, runtime):
            await runtime.wait_connected()
            await until(lambda: len(seen) >= 60)
            assert broker.clients == (NEW,)
            send(broker, OURS, "live")
            await until(lambda: len(seen) >= 61)
            assert answered(seen) == [*(f"m{n}" for n in range(60)), "live"]
            assert broker.sessions[FORMER].subscriptions == ()
            assert broker.sessions[FORMER].unacknowledged == 0
            assert broker.sessions[FORMER].queued == 0


@pytest.mark.trio
@BOTH
async def test_what_is_sent_while_the_session_moves_is_run(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    await leave_session(broker, protocol, OURS)
    broker.delay = 0.05
    sent: list[str] = []

    async def go_on(nursery: trio.Nursery) -> None:
        for n in range(100):
            send(broker, OURS, f"m{n}")
            sent.append(f"m{n}")
            await trio.sleep(0.02)
        await until(lambda: len(set(answered(seen))) == len(sent), within=30)
        nursery.cancel_scope.cancel()

    with broker.observe(f"{OURS}/response") as seen:
        async with served(broker, protocol) as (petal, _), trio.open_nursery() as nursery:
            nursery.start_soon(go_on, nursery)
        assert sorted(set(answered(seen))) == sorted(sent)
        assert len(petal.started) == 100  # those that came over both sessions were joined


@pytest.mark.trio
@BOTH
async def test_what_is_another_organizations_in_a_shared_session_stays_there(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    await leave_session(broker, protocol, OURS, THEIRS)
    for n in range(8):
        send(broker, OURS, f"ours{n}")
        send(broker, THEIRS, f"theirs{n}")
    with broker.observe("org/+/device/+/response") as seen:
        async with served(broker, protocol) as (petal, runtime):
            await until(lambda: len(seen) >= 8)
            await trio.sleep(5)
            assert len(petal.started) == 8
            assert runtime.statistics().connected
            assert len(broker.sessions[FORMER].subscriptions) == 2
        assert answered(seen) == [f"ours{n}" for n in range(8)]
        assert "8 of its messages were left" in caplog.text
        theirs = {"organization_id": "acme", "device_id": "x-y"}
        async with served(broker, protocol, **theirs) as (_, runtime):
            await runtime.wait_connected()
            assert broker.clients == (FORMER,)
            await until(lambda: len(seen) >= 16)
        assert answered(seen)[8:] == [f"theirs{n}" for n in range(8)]


@pytest.mark.trio
@BOTH
async def test_where_there_is_no_former_session_none_is_left_behind(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    async with served(broker, protocol) as (_, runtime):
        await runtime.wait_connected()
        assert runtime.statistics().links == 1
    assert set(broker.sessions) == {NEW}


@pytest.mark.trio
@BOTH
async def test_the_former_session_is_looked_at_once_in_a_run(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    transport = MemoryTransport(broker, protocol)
    async with served(broker, protocol) as (_, runtime):
        await runtime.wait_connected()
        assert "unset former_client_id" in caplog.text
        async with transport.connect(ConnectOptions(client_id=FORMER)) as link:
            for links in (2, 3):  # whoever lives there now is left in peace
                broker.drop_links(NEW)
                await until(lambda links=links: runtime.statistics().links == links)  # type: ignore[misc]
            assert not link.ended.is_set()


@pytest.mark.trio
@BOTH
async def test_a_former_session_that_cannot_be_reached_holds_up_nobody(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(MemoryTransport):
        asked = 0

        def connect(self, options: ConnectOptions) -> Any:
            if options.client_id == FORMER:
                self.asked += 1
                broker.refuse_connections(1, reason_code=0x87)
            return super().connect(options)

    broker = MemoryBroker()
    transport = Refusing(broker, protocol)
    settings = Settings(
        organization_id="acme-x", device_id="y", protocol=protocol, former_client_id=True
    )
    async with open_runtime([Recorder()], settings, transport=transport) as runtime:
        with trio.fail_after(5):
            await runtime.wait_connected()
        for links in (2, 3):
            broker.drop_links()
            await until(lambda links=links: runtime.statistics().links == links)  # type: ignore[misc]
    assert transport.asked == 1
    assert f"the session of client '{FORMER}', which an earlier version has used" in caplog.text


@pytest.mark.trio
@BOTH
async def test_a_former_session_whose_link_is_lost_is_tried_again(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    await leave_session(broker, protocol, OURS)
    send(broker, OURS, "m")
    broker.swallow("UNSUBACK")
    with broker.observe(f"{OURS}/response") as seen:
        async with served(broker, protocol):
            await until(lambda: "m" in answered(seen), within=60)
            await until(lambda: broker.sessions[FORMER].subscriptions == (), within=60)
            await until(lambda: broker.clients == (NEW,), within=60)


@pytest.mark.trio
@BOTH
async def test_a_live_session_of_another_organization_is_not_taken_over_unless_asked_for(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    theirs = {"organization_id": "acme", "device_id": "x-y", "former_client_id": False}
    async with served(broker, protocol, **theirs) as (_, victim):
        await victim.wait_connected()
        async with served(broker, protocol, former_client_id=False) as (_, runtime):
            await runtime.wait_connected()
            send(broker, OURS, "m")
            await trio.sleep(30)
            assert sorted(broker.clients) == sorted([FORMER, NEW])
            assert runtime.statistics().links == 1
            assert runtime.statistics().succeeded == 1
        assert victim.statistics().links == 1
        assert victim.statistics().links_lost == 0


@pytest.mark.trio
@BOTH
async def test_what_waits_under_the_former_client_id_stays_until_asked_for(
    protocol: Any, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    await leave_session(broker, protocol, OURS)
    send(broker, OURS, "m")
    async with served(broker, protocol, former_client_id=False) as (petal, runtime):
        await runtime.wait_connected()
        await trio.sleep(30)
        assert petal.started == []
    assert broker.sessions[FORMER].queued == 1
    with broker.observe(f"{OURS}/response") as seen:
        async with served(broker, protocol):
            await until(lambda: answered(seen) == ["m"])


def test_asking_for_the_former_session_beside_a_fixed_client_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="does nothing with client_id"):
        Settings(client_id="mine", former_client_id=True)


@pytest.mark.trio
async def test_without_sessions_there_is_nothing_to_take_over(autojump_clock: object) -> None:
    broker = MemoryBroker()
    await leave_session(broker, "5", OURS)
    send(broker, OURS, "m")
    async with served(broker, "5", session_expiry=0) as (petal, runtime):
        await runtime.wait_connected()
        await settle()
        assert petal.started == []


# -- a client ID that is set, and another organization after a restart


@pytest.mark.trio
@BOTH
async def test_a_fixed_client_id_leaves_the_topics_of_the_organization_before(
    protocol: Any, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    old = "org/acme/device/Instance-1"
    fixed = {"client_id": "thing", "device_id": "Instance-1"}
    async with served(broker, protocol, organization_id="acme", **fixed) as (_, runtime):
        await runtime.wait_connected()
    send(broker, old, "sent to acme")
    async with served(broker, protocol, organization_id="other", **fixed) as (petal, runtime):
        await runtime.wait_connected()
        await until(lambda: len(broker.sessions["thing"].subscriptions) == 3)
        send(broker, old, "also sent to acme")
        await settle()
        assert petal.started == []
        assert runtime.statistics().unexpected_topic == 1
        broker.publish_nowait(f"{old}/command/edge", b"{}", qos=1)
        await until(lambda: len(broker.sessions["thing"].subscriptions) == 2)
        assert runtime.statistics().links == 1
    warnings = [r for r in caplog.records if "of an organization that the device has left" in r.msg]
    assert len(warnings) == 2

"""A caller's link: its session, its loss, and its end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from petalkit import (
    ConfigError,
    ConnectionLost,
    Settings,
)
from petalkit.client import Client
from petalkit.transports.memory import MemoryBroker

from .devices import (
    connect,
    echo,
    open_device,
    silence,
)

pytestmark = pytest.mark.trio


async def test_a_lost_link_fails_the_waiting_calls_and_the_next(broker: MemoryBroker) -> None:
    lost: list[str] = []

    async def call(client: Client) -> None:
        with pytest.raises(ConnectionLost):
            await client.call("p/x")
        lost.append("waiting")

    async with open_device(broker, silence), connect(broker, reconnect=False) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, client)
            await trio.testing.wait_all_tasks_blocked()
            (name,) = (name for name in broker.sessions if name.startswith("petalkit-call-"))
            broker.drop_links(name)
        with pytest.raises(ConnectionLost):
            await client.call("p/x")
        with pytest.raises(ConnectionLost):
            await client.send("p/x")
    assert lost == ["waiting"] * 3


async def test_leaving_fails_the_calls_that_still_wait(broker: MemoryBroker) -> None:
    closed = trio.Event()

    async def call(client: Client) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.call("p/x")
        closed.set()

    async with open_device(broker, silence), trio.open_nursery() as nursery:
        async with connect(broker) as client:
            nursery.start_soon(call, client)
            await trio.testing.wait_all_tasks_blocked()
        await closed.wait()
        with pytest.raises(trio.ClosedResourceError):
            await client.send("p/x")


async def test_an_error_in_the_block_comes_out_as_it_is(broker: MemoryBroker) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with connect(broker):
            raise KeyError("mine")


async def test_the_devices_session_is_never_taken_over(broker: MemoryBroker) -> None:
    """Two clients and a device under one identity: three sessions, two of which leave nothing."""
    settings = Settings(organization_id="acme", device_id="Instance-1", client_id="device")
    async with open_device(broker, echo):
        async with connect(broker, settings) as one, connect(broker, settings) as two:
            assert (await one.call("p/x")).success
            assert (await two.call("p/x")).success
            assert all(len(name) <= 23 for name in broker.sessions)
            assert len(broker.sessions) == 3
        assert list(broker.sessions) == ["device"]


async def test_without_an_organization_it_says_what_to_set(
    broker: MemoryBroker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(device_id="d", organization_file=tmp_path / "none.json")
    with pytest.raises(ConfigError, match=r"organization_id: is not known.*none\.json"):
        async with connect(broker, settings):
            raise AssertionError

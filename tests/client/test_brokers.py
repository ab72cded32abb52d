"""The client on a real broker, over each transport and both MQTT versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import ConnectFailed, Settings, open_runtime
from petalkit.client import JobCancelled, UnknownCommand, open_client, sync

from ..brokers import Certificates, Mosquitto
from .long_work import LongPetal

pytestmark = [pytest.mark.trio, pytest.mark.broker]

LIMIT = 60.0  # seconds, on a busy machine
WIRES = [("asyncio-mqtt", "3.1.1"), ("asyncio-mqtt", "5"), ("native", "5")]


def settings_of(mosquitto: Mosquitto, wire: tuple[str, Any], **more: Any) -> Settings:
    transport, protocol = wire
    if transport == "native":
        pytest.importorskip("mqtt5")
    return Settings(
        broker=mosquitto.url,
        organization_id="acme",
        device_id="Instance-1",
        transport=transport,
        protocol=protocol,
        reconnect_delay_min=0.05,
        **more,
    )


@pytest.mark.parametrize("caller", WIRES, ids="/".join)
@pytest.mark.parametrize("device", [WIRES[0], WIRES[2]], ids="/".join)
async def test_commands_jobs_streams_and_devices(
    caller: tuple[str, Any], device: tuple[str, Any], mosquitto: Mosquitto
) -> None:
    with trio.fail_after(LIMIT):
        async with open_runtime([LongPetal()], settings_of(mosquitto, device)) as runtime:
            await runtime.wait_connected()
            async with open_client(settings_of(mosquitto, caller)) as client:
                for name in ("Ada", "Grace"):
                    response = await client.call("long/hello", {"name": name})
                    assert response["message"] == f"Hello, {name}!"
                with pytest.raises(UnknownCommand):
                    await client.call("long/none")
                async with client.job("long/copy", {"count": 1}) as job:
                    states = [one.state async for one in job.updates()]
                    assert await job.result() == {"copied": 1}
                    assert states[-1].final
                async with client.job("long/copy", {"count": 99}) as job:
                    await job.cancel()
                    with pytest.raises(JobCancelled):
                        await job.result()
                async with client.stream("long/position", rate=20) as values:
                    assert (await anext(values))["n"] >= 0
                async with client.events("long/greeted") as events:
                    await client.call("long/hello")
                    assert (await anext(events)).data == {"name": "World"}
                assert "Instance-1" in [one.device_id for one in await client.devices()]
                assert "long/position" in (await client.info()).streams
                statistics = client.statistics()
                assert (statistics.unreadable, statistics.links) == (0, 1)


@pytest.mark.parametrize("wire", WIRES, ids="/".join)
async def test_calls_outlive_a_restart_of_the_broker(
    wire: tuple[str, Any], mosquitto: Mosquitto
) -> None:
    with trio.fail_after(LIMIT):
        async with (
            open_runtime([LongPetal()], settings_of(mosquitto, wire)) as runtime,
        ):
            await runtime.wait_connected()
            async with open_client(settings_of(mosquitto, wire)) as client:
                async with client.stream("long/position", rate=20) as values:
                    await anext(values)
                    async with client.job("long/copy", {"count": 2}) as job:
                        mosquitto.kill()
                        mosquitto.start()
                        assert (await client.call("long/hello", timeout=LIMIT)).success
                        assert await job.result(LIMIT) == {"copied": 2}
                    newest = (await anext(values))["n"]
                    while (await anext(values))["n"] < newest + 10:
                        pass
                assert client.statistics().links >= 2


@pytest.mark.parametrize("wire", WIRES, ids="/".join)
async def test_thousands_of_calls_at_once_each_get_their_answer(
    wire: tuple[str, Any], mosquitto: Mosquitto
) -> None:
    found: dict[int, str] = {}
    with trio.fail_after(LIMIT):
        async with open_runtime([LongPetal()], settings_of(mosquitto, wire)) as runtime:
            await runtime.wait_connected()
            async with open_client(settings_of(mosquitto, wire)) as client:

                async def call(n: int) -> None:
                    response = await client.call("long/hello", {"name": str(n)}, timeout=LIMIT)
                    found[n] = response["message"]

                async with trio.open_nursery() as nursery:
                    for n in range(2000):
                        nursery.start_soon(call, n)
                assert client.statistics().late == 0
    assert found == {n: f"Hello, {n}!" for n in range(2000)}


async def test_tls_is_verified(
    start_mosquitto: Callable[..., Mosquitto], certificates: Certificates
) -> None:
    """Not by a setting: a broker of an authority that nobody knows is not talked to."""
    server = start_mosquitto(certificates=certificates)
    settings = Settings(broker=server.url, organization_id="acme", device_id="d")
    with pytest.raises(ConnectFailed):
        async with open_client(settings):
            raise AssertionError
    async with open_client(settings, ca_file=certificates.ca) as client:
        assert client.statistics().connected


@pytest.mark.parametrize("wire", [WIRES[0], WIRES[2]], ids="/".join)
async def test_threads_call_over_a_real_broker(wire: tuple[str, Any], mosquitto: Mosquitto) -> None:
    def program(settings: Settings) -> str:
        with sync.open_client(settings) as client:
            with client.job("long/copy", {"count": 1}) as job:
                assert job.result(LIMIT) == {"copied": 1}
            message: str = client.call("long/hello")["message"]
            return message

    with trio.fail_after(LIMIT):
        async with open_runtime([LongPetal()], settings_of(mosquitto, wire)) as runtime:
            await runtime.wait_connected()
            caller = settings_of(mosquitto, wire)
            assert await trio.to_thread.run_sync(program, caller) == "Hello, World!"

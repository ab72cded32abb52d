"""Clients that others have written talk to our broker."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import paho.mqtt.client as paho
import pytest
import trio
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from .conftest import LIMIT, Served

pytestmark = pytest.mark.trio
Serve = Callable[..., AbstractAsyncContextManager[Served]]


async def run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(LIMIT):
        return await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )


def mosquitto_tool(name: str, broker: Served, *words: str) -> list[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return [name, "-h", "127.0.0.1", "-p", str(broker.port), *words]


@pytest.mark.broker
@pytest.mark.parametrize("version", ["311", "5"])
async def test_mosquitto_pub_and_sub(version: str, serve: Serve) -> None:
    async with serve() as broker:
        retained = mosquitto_tool(
            "mosquitto_pub", broker, "-V", version, "-q", "2", "-t", "a/b", "-m", "hello", "-r"
        )
        assert (await run(retained)).returncode == 0
        done = await run(
            mosquitto_tool(
                "mosquitto_sub", broker, "-V", version, "-q", "2", "-t", "a/#", "-C", "1", "-v"
            )
        )
        assert done.stdout == b"a/b hello\n", done.stderr


@pytest.mark.broker
async def test_mosquitto_rr_gets_its_answer(serve: Serve) -> None:
    async with serve() as broker, trio.open_nursery() as nursery:
        answered = trio.Event()

        async def ask() -> None:
            done = await run(
                mosquitto_tool(
                    "mosquitto_rr", broker, "-V", "5", "-t", "ask", "-e", "answer", "-m", "?"
                )
            )
            assert (done.returncode, done.stdout) == (0, b"yes\n")
            answered.set()

        nursery.start_soon(ask)
        with trio.fail_after(LIMIT):
            while not answered.is_set():
                done = await run(
                    mosquitto_tool("mosquitto_pub", broker, "-t", "answer", "-m", "yes")
                )
                assert done.returncode == 0
                await trio.sleep(0.05)


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
async def test_paho(version: MQTTProtocolVersion, transport: str, serve: Serve) -> None:
    def talk(port: int) -> list[tuple[bytes, int]]:
        got: list[tuple[bytes, int]] = []
        client = paho.Client(
            CallbackAPIVersion.VERSION2, "paho", protocol=version, transport=transport
        )
        client.on_connect = lambda *_: client.subscribe("t", 2)
        v5 = version == MQTTProtocolVersion.MQTTv5

        def on_subscribe(*_: object) -> None:
            for qos in range(3):
                said = Properties(PacketTypes.PUBLISH) if v5 else None
                if said is not None:
                    said.ResponseTopic = "r"
                client.publish("t", b"%d" % qos, qos, properties=said)

        def on_message(_: object, __: object, message: paho.MQTTMessage) -> None:
            if v5:
                assert message.properties is not None
                assert message.properties.ResponseTopic == "r"
            got.append((message.payload, message.qos))
            if len(got) == 3:
                client.disconnect()

        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.connect("127.0.0.1", port)
        client.loop_forever()
        return sorted(got)

    async with serve() as broker:
        with trio.fail_after(LIMIT):
            got = await trio.to_thread.run_sync(talk, broker.port, abandon_on_cancel=True)
    assert got == [(b"0", 0), (b"1", 1), (b"2", 2)]

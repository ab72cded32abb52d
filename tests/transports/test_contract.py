"""Every transport keeps the contract: the same checks against every broker that it can reach."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from petalkit._values.settings.settings import Protocol, Settings
from petalkit.cli._embedded_broker import open_embedded_broker
from petalkit.transports import create_transport
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..brokers import free_port
from ..websocket_bridge import open_bridge
from .contract import CHECKS, MQTT_5_CHECKS, Check, Rig

pytestmark = pytest.mark.trio

LIMIT = 20.0  # seconds of real time for one check, against a hang

# What a broker itself cannot do, and why; everything else must pass.
LACKS: dict[str, dict[str, str]] = {
    "memory 5": {
        "a_message_that_expired_in_the_session_is_not_delivered": (
            "tested beside the broker itself, on a mock clock"
        ),
    },
}


class Proxy:
    """TCP on loopback to a broker, which can be cut: every byte not yet passed on is lost."""

    def __init__(self, nursery: trio.Nursery, port: int) -> None:
        self._nursery = nursery
        self._target = port
        self._streams: set[trio.SocketStream] = set()
        self.port = 0

    async def start(self) -> None:
        serve = functools.partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await self._nursery.start(serve)
        self.port = listeners[0].socket.getsockname()[1]

    async def _serve(self, client: trio.SocketStream) -> None:
        broker = await trio.open_tcp_stream("127.0.0.1", self._target)
        pair = {client, broker}
        self._streams |= pair
        try:
            async with client, broker, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, client, broker, nursery.cancel_scope)
                nursery.start_soon(self._pass_on, broker, client, nursery.cancel_scope)
        finally:
            self._streams -= pair

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def cut(self) -> None:
        for stream in self._streams:
            stream.socket.close()


def _transport(port: int, protocol: Protocol, kind: str, scheme: str) -> Any:
    settings = Settings(broker=f"{scheme}://127.0.0.1:{port}", transport=kind, protocol=protocol)
    return create_transport(settings)


@pytest.fixture
def mosquitto_port(request: pytest.FixtureRequest) -> int | None:
    """The port of a mosquitto, for the rigs that want one."""
    name: str = request.node.callspec.params["rig"]
    # Here, since the reason of a skip is lost in an asynchronous fixture.
    checked: str = request.node.callspec.params["checked"].__name__
    reason = LACKS.get(name, {}).get(checked)
    if checked in MQTT_5_CHECKS and name.endswith("3.1.1"):
        reason = "MQTT 3.1.1 has no properties"
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    return request.getfixturevalue("mosquitto").port if name.startswith("mosquitto") else None


@pytest.fixture(
    params=[
        "memory 3.1.1",
        "memory 5",
        pytest.param("mosquitto 3.1.1", marks=pytest.mark.broker),
        pytest.param("mosquitto 5", marks=pytest.mark.broker),
        pytest.param("mosquitto native 5", marks=pytest.mark.broker),
        pytest.param("mosquitto native websocket 5", marks=pytest.mark.broker),
        "ours 3.1.1",
        "ours native 5",
        "ours native websocket 5",
    ],
    ids=lambda name: name.replace(" ", "-"),
)
async def rig(
    request: pytest.FixtureRequest, mosquitto_port: int | None, nursery: trio.Nursery
) -> AsyncGenerator[Rig]:
    """One broker and the ways to it."""
    name: str = request.param
    protocol: Protocol = "5" if name.endswith(" 5") else "3.1.1"
    if name.startswith("memory"):
        broker, closed = MemoryBroker(), MemoryBroker()
        closed.stop()
        transport = MemoryTransport(broker, protocol)
        yield Rig(
            transport=transport,
            other=transport,
            unreachable=MemoryTransport(closed, protocol),
            cut=lambda: broker.drop_links("device"),
            protocol=protocol,
            says_taken_over=protocol == "5",  # mosquitto 2.0.11 just closes, also with MQTT 5
        )
        return
    kind = "native" if "native" in name else "asyncio-mqtt"
    websocket = "websocket" in name
    scheme = "ws" if websocket else "mqtt"
    ours = name.startswith("ours")
    async with _ports(mosquitto_port, websocket=websocket and not ours) as port:
        proxy = Proxy(nursery, port)
        await proxy.start()
        yield Rig(
            transport=_transport(proxy.port, protocol, kind, scheme),
            other=_transport(port, protocol, kind, scheme),
            unreachable=_transport(free_port(), protocol, kind, scheme),
            cut=proxy.cut,
            protocol=protocol,
            says_taken_over=ours and protocol == "5",
        )


@asynccontextmanager
async def _ports(mosquitto_port: int | None, *, websocket: bool) -> AsyncGenerator[int]:
    if mosquitto_port is not None and websocket:
        with open_bridge(mosquitto_port) as bridge:
            yield bridge.port
    elif mosquitto_port is not None:
        yield mosquitto_port
    else:
        async with open_embedded_broker() as broker:
            yield broker.port


@pytest.mark.parametrize("checked", CHECKS, ids=lambda checked: checked.__name__)
async def test_contract(checked: Check, rig: Rig) -> None:
    with trio.fail_after(LIMIT):
        await checked(rig)

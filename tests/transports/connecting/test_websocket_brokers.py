"""WebSockets and proxies with real programs: mosquitto behind a server of WebSockets, tinyproxy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from petalkit import ConnectFailed, ConnectionLost, Identity, Petal, Settings, command, open_runtime
from petalkit.client import open_client
from petalkit.transports import ConnectOptions, create_transport

from ...brokers import STARTUP_LIMIT, Certificates, Mosquitto, free_port
from ...websocket_bridge import open_bridge

pytestmark = pytest.mark.trio

LIMIT = 20.0  # seconds of real time
OPTIONS = ConnectOptions(client_id="c")


class Echo(Petal):
    name = "echo"
    version = "1"

    @command("size")
    async def size(self, text: str) -> int:
        return len(text)


def _settings(broker: str, **more: object) -> Settings:
    return Settings(
        broker=broker,
        organization_id="acme",
        device_id="d",
        transport="native",
        **more,  # type: ignore[arg-type]
    )


async def _serve_and_call(settings: Settings) -> None:
    """A device and a caller, both on this way: small commands, and some that take many frames."""
    with trio.fail_after(LIMIT):
        async with open_runtime([Echo()], settings) as runtime:
            await runtime.wait_connected()
            async with open_client(settings, identity=Identity("acme", "d")) as client:
                for size in (1, 200, 100_000):
                    response = await client.request("echo/size", {"text": "x" * size})
                    assert response["result"] == size


async def test_a_device_behind_tls_and_a_websocket(
    mosquitto: Mosquitto, certificates: Certificates
) -> None:
    with open_bridge(mosquitto.port, context=certificates.server_context()) as bridge:
        broker = f"wss://localhost:{bridge.port}/mqtt"
        await _serve_and_call(_settings(broker, ca_file=certificates.ca))
    assert set(bridge.closes) == {1000}
    with trio.fail_after(LIMIT):
        # Both, and no will was published. The broker may write of it after the link has ended.
        while mosquitto.log.count("Received DISCONNECT") < 2:
            await trio.sleep(0.02)


async def test_a_path_that_is_not_served_is_named(mosquitto: Mosquitto) -> None:
    with open_bridge(mosquitto.port, path="/ws") as bridge, trio.fail_after(LIMIT):
        broker = f"ws://127.0.0.1:{bridge.port}"
        with pytest.raises(ConnectFailed, match=r"/mqtt: the server answered 404; .* /ws"):
            async with create_transport(_settings(broker)).connect(OPTIONS):
                pass
        async with create_transport(_settings(f"{broker}/ws")).connect(OPTIONS) as link:
            assert not link.session_present


async def test_a_broker_that_goes_ends_the_link(
    start_mosquitto: Callable[..., Mosquitto],
) -> None:
    mosquitto = start_mosquitto()
    with open_bridge(mosquitto.port) as bridge, trio.fail_after(LIMIT):
        transport = create_transport(_settings(f"ws://127.0.0.1:{bridge.port}"))
        with pytest.raises(ConnectionLost):
            async with transport.connect(OPTIONS) as link:
                mosquitto.kill()
                await link.receive()


# -- tinyproxy


@contextmanager
def _tinyproxy(folder: Path, *, user: str = "", allow_port: int) -> Generator[int]:
    binary = shutil.which("tinyproxy")
    if binary is None:
        pytest.skip("NO TINYPROXY: install it (Debian: apt-get install tinyproxy) to run this")
    port = free_port()
    config = folder / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", f"ConnectPort {allow_port}"]
    config.write_text("\n".join([*lines, f"BasicAuth {user}" if user else ""]) + "\n")
    process = subprocess.Popen(
        [binary, "-d", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        limit = time.monotonic() + STARTUP_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < limit
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(STARTUP_LIMIT)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])
async def test_a_device_behind_a_real_proxy(
    kind: str,
    start_mosquitto: Callable[..., Mosquitto],
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    mosquitto = start_mosquitto(certificates=certificates)
    with _tinyproxy(tmp_path, user="me hunter2", allow_port=mosquitto.port) as port:
        settings = Settings(
            broker=mosquitto.url,
            transport=kind,
            organization_id="acme",
            device_id="d",
            ca_file=certificates.ca,
            proxy=f"http://127.0.0.1:{port}",
            proxy_credentials="me:hunter2",
        )
        await _serve_and_call(settings)


@pytest.mark.process
async def test_a_websocket_behind_tls_and_a_real_proxy(
    mosquitto: Mosquitto, certificates: Certificates, tmp_path: Path
) -> None:
    context = certificates.server_context()
    with (
        open_bridge(mosquitto.port, context=context) as bridge,
        _tinyproxy(tmp_path, allow_port=bridge.port) as port,
    ):
        broker = f"wss://localhost:{bridge.port}"
        proxy = f"http://127.0.0.1:{port}"
        await _serve_and_call(_settings(broker, ca_file=certificates.ca, proxy=proxy))


@pytest.mark.process
@pytest.mark.parametrize(
    ("user", "allowed", "words"),
    [("me hunter2", True, "407"), ("", False, "403 .*it does not allow this host or port")],
)
async def test_what_a_real_proxy_refuses_is_told(
    user: str, allowed: bool, words: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    allow = mosquitto.port if allowed else 1
    with _tinyproxy(tmp_path, user=user, allow_port=allow) as port, trio.fail_after(LIMIT):
        settings = _settings(mosquitto.url, proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectFailed, match=words):
            async with create_transport(settings).connect(OPTIONS):
                pass

"""The doctor on the ways to a broker that are longer: WebSockets, and an HTTP proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit._values.messages import Identity
from petalkit.cli._checks.broker import broker as _broker
from petalkit.cli._checks.broker import device as _device
from petalkit.cli._checks.broker import mqtt as _mqtt
from petalkit.cli._checks.broker import rights as _rights
from petalkit.cli._checks.case import Case
from petalkit.cli._checks.plan import examine
from petalkit.cli._checks.values import Check, Verdict

from ...brokers import Certificates, Mosquitto, free_port
from ...transports.scripted_proxy import ScriptedProxy, open_proxy
from ...websocket_bridge import open_bridge

pytestmark = pytest.mark.trio

LIMIT = 20.0  # seconds of real time


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over loopback an answer is there at once, or does not come."""
    for module, name in (
        (_broker, "RETAINED_WAIT"),
        (_device, "RETAINED_WAIT"),
        (_rights, "ECHO_WAIT"),
        (_mqtt, "PROBE_TIMEOUT"),
    ):
        monkeypatch.setattr(module, name, 0.2)


async def examined(**settings: Any) -> dict[str, Check]:
    """The checks of one examination, by their names."""
    found: dict[str, Check] = {}

    def show(check: Check) -> None:
        found[check.id] = check

    case = Case(
        settings=Settings(transport="native", connect_timeout=2.0, **settings),
        identity=Identity("acme", "Instance-1"),
        timeout=0.2,
    )
    with trio.fail_after(LIMIT):
        await examine(case, show, certificates_failed=False)
    return found


async def test_a_websocket_over_tls_through_a_proxy_is_good(
    mosquitto: Mosquitto, certificates: Certificates
) -> None:
    with open_bridge(mosquitto.port, context=certificates.server_context()) as bridge:
        async with open_proxy(bridge.port) as proxy:
            found = await examined(
                broker=f"wss://localhost:{bridge.port}", ca_file=certificates.ca, proxy=proxy.url
            )
    for name in ("network", "tls", "connect", "subscribe", "publish"):
        assert found[name].verdict is Verdict.OK, found[name]
    assert f"through the proxy {proxy.url}" in found["network"].found


async def test_a_plain_websocket_has_no_tls(mosquitto: Mosquitto) -> None:
    with open_bridge(mosquitto.port) as bridge:
        found = await examined(broker=f"ws://127.0.0.1:{bridge.port}")
    assert found["tls"].found == "ws:// has none"
    assert found["connect"].verdict is Verdict.OK


async def test_a_path_that_is_not_there(mosquitto: Mosquitto) -> None:
    with open_bridge(mosquitto.port, path="/ws") as bridge:
        check = (await examined(broker=f"ws://127.0.0.1:{bridge.port}"))["connect"]
    assert check.verdict is Verdict.FAILED
    assert "404" in check.found
    assert check.todo == ("Compare the path in broker: /mqtt mostly, /ws with RabbitMQ.",)


async def test_a_port_of_mqtt_is_no_port_of_websockets(mosquitto: Mosquitto) -> None:
    check = (await examined(broker=f"ws://127.0.0.1:{mosquitto.port}"))["connect"]
    assert check.verdict is Verdict.FAILED
    assert check.todo == ("Set broker to the port on which the broker takes WebSockets.",)


async def test_tls_where_ws_is_written_and_the_other_way_round(
    start_mosquitto: Callable[..., Mosquitto], certificates: Certificates
) -> None:
    mosquitto = start_mosquitto()
    with open_bridge(mosquitto.port, context=certificates.server_context()) as bridge:
        check = (await examined(broker=f"ws://127.0.0.1:{bridge.port}/mqtt"))["connect"]
        assert check.todo == (f"Write broker as wss://127.0.0.1:{bridge.port}/mqtt.",)
    with open_bridge(mosquitto.port) as bridge:
        check = (await examined(broker=f"wss://127.0.0.1:{bridge.port}"))["tls"]
        assert check.verdict is Verdict.FAILED
        assert check.todo[0] == "Is this the broker's TLS port? 443 mostly."


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (407, "Set PETALKIT_PROXY_CREDENTIALS to name:password."),
        (403, "Let the proxy allow CONNECT to that host and port; many allow port 443 only."),
        (502, "Compare host and port of broker with what the proxy can reach."),
    ],
)
async def test_a_proxy_that_says_no(status: int, todo: str) -> None:
    proxy: ScriptedProxy
    async with open_proxy(answer=b"HTTP/1.1 %d No\r\n\r\n" % status) as proxy:
        check = (await examined(broker="mqtts://nobody.invalid", proxy=proxy.url))["network"]
    assert check.verdict is Verdict.FAILED
    assert str(status) in check.found
    assert check.todo == (todo,)


async def test_a_proxy_that_is_not_there() -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    check = (await examined(broker="mqtts://nobody.invalid", proxy=proxy))["network"]
    assert f"no connection to the proxy {proxy}: Connection refused" in check.found
    assert "HTTPS_PROXY" in check.todo[0]

"""An HTTP proxy on the way: its address, what the environment says, and the tunnel through it."""

from __future__ import annotations

import base64
import socket
from pathlib import Path

import pytest
import trio

from petalkit import ConfigError, ConnectFailed, Settings
from petalkit._values.settings.proxies import Proxy, is_exempt, proxy_from_environment, read_proxy
from petalkit.transports import ConnectOptions, create_transport
from petalkit.transports._connecting.proxy_tunnel import (
    HEAD_MAX,
    TunnelRefused,
    TunnelRequest,
    open_tunnel,
)
from petalkit.transports._connecting.tls import broker_address

from ...brokers import Certificates, free_port
from ..fake_broker import Peer, connack, open_fake_broker
from ..scripted_proxy import YES, open_proxy

LIMIT = 10.0  # seconds of real time
PROXY = Proxy("proxy.example", 3128)


# -- addresses


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", PROXY),
        ("http://proxy.example:3128/", PROXY),
        ("HTTP://proxy.example", Proxy("proxy.example", 80)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
    ],
)
def test_addresses_of_proxies(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("proxy.example:3128", "is not http://host:port"),
        ("socks5://proxy.example:1080", "is not http://host:port"),
        ("https://proxy.example:3129", "over TLS .* is not supported"),
        ("http://", "is not http://host:port"),
        ("http://proxy.example:0", "port 0"),
        ("http://proxy.example:x", "cannot be read"),
        ("http://proxy.example/x", "more than a host"),
        ("http://me:hunter2@proxy.example", "use proxy_credentials"),
        ("", "is not http://host:port"),
    ],
)
def test_other_addresses_are_refused_when_the_settings_are_made(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        Settings(proxy=text)
    assert caught.value.setting == "proxy"
    assert "hunter2" not in str(caught.value)


def test_credentials_are_a_name_and_a_password_beside_a_proxy() -> None:
    for bad in ("hunter2", "me:hunter2\n", "me:\ud800hunter2"):
        with pytest.raises(ConfigError) as caught:
            Settings(proxy="http://proxy.example", proxy_credentials=bad)
        assert "hunter2" not in str(caught.value)
    settings = Settings(
        broker="mqtts://b.example", proxy="http://proxy.example", proxy_credentials="me:hunter2"
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(broker_address(settings))


def test_a_proxy_leads_to_no_unix_socket_and_off_is_none() -> None:
    with pytest.raises(ConfigError, match="leads to no Unix socket"):
        broker_address(Settings(broker="unix:///run/x", proxy="http://proxy.example"))
    assert broker_address(Settings(broker="unix:///run/x", proxy="off")).proxy is None


@pytest.mark.parametrize(
    ("no_proxy", "expected"),
    [("", PROXY), ("other", PROXY), ("example", None), ("b.example:8883", None), ("*", None)],
)
def test_a_broker_that_no_proxy_names_is_reached_without(
    no_proxy: str, expected: Proxy | None
) -> None:
    settings = Settings(broker="mqtts://b.example", proxy=str(PROXY), no_proxy=no_proxy)
    assert broker_address(settings).proxy == expected


def test_localhost_behind_a_proxy_elsewhere_is_not_this_machine() -> None:
    with pytest.raises(ConfigError, match="in the clear"):
        broker_address(Settings(proxy="http://proxy.example"))
    assert broker_address(Settings(proxy="http://127.0.0.1:3128")).proxy is not None
    assert broker_address(Settings(proxy="http://proxy.example", allow_insecure=True)).proxy


# -- the environment


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, PROXY),
        ({"https_proxy": "proxy.example:3128"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": "http://proxy.example:3128"}, None),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, Proxy("a", 1)),
        (
            {"HTTPS_PROXY": "http://me%40home:p%3Aw@proxy.example:3128"},
            Proxy("proxy.example", 3128, "me@home:p:w"),
        ),
        ({"HTTPS_PROXY": "http://me@proxy.example:3128"}, Proxy("proxy.example", 3128, "me:")),
        ({"HTTP_PROXY": "http://proxy.example:3128", "ALL_PROXY": "http://x"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "example.com", "no_proxy": ""}, Proxy("a", 1)),
    ],
)
def test_the_proxy_of_the_environment(environment: dict[str, str], proxy: Proxy | None) -> None:
    assert proxy_from_environment(environment, "b.example.com", 8883) == proxy


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_never_behind_the_proxy_of_the_environment(host: str) -> None:
    assert proxy_from_environment({"HTTPS_PROXY": "http://a:1"}, host, 8883) is None


@pytest.mark.parametrize(
    "text",
    [
        "socks5://a:hunter2@b:1",
        "https://a:hunter2@b:1",
        "http://hunter2%0a:x@b",
        "http://a:hunter2@",
    ],
)
def test_a_variable_that_names_no_http_proxy_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="from HTTPS_PROXY") as caught:
        proxy_from_environment({"HTTPS_PROXY": text}, "b.example.com", 8883)
    assert caught.value.setting == "proxy"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("", "b.example.com", False),
        ("*", "b.example.com", True),
        ("example.com", "b.example.com", True),
        (".example.com", "b.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "b.example.com", True),
        ("Example.COM.", "b.eXample.com.", True),
        ("ample.com", "b.example.com", False),
        ("b.example.com.evil", "b.example.com", False),
        ("a, b.example.com", "b.example.com", True),
        ("a b.example.com", "b.example.com", True),
        ("b.example.com:8883", "b.example.com", True),
        ("b.example.com:443", "b.example.com", False),
        ("example.com:8883", "b.example.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8883", "10.1.2.3", True),
        ("10.1.2.3:1", "10.1.2.3", False),
        ("10", "10.1.2.3", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("[2001:db8::1]:8883", "2001:db8::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8:0::1", True),
        (",, . : :8883 [ ] /8 *.", "b.example.com", False),
    ],
)
def test_what_no_proxy_names(no_proxy: str, host: str, exempt: bool) -> None:
    assert is_exempt(host, 8883, no_proxy) is exempt


# -- the exchange


def test_the_request_is_for_the_host_and_its_port_with_basic_credentials() -> None:
    proxy = Proxy("proxy.example", 3128, "me:pässword:x")
    lines = TunnelRequest("[::1]:8883", proxy).request.split(b"\r\n")
    assert lines[0] == b"CONNECT [::1]:8883 HTTP/1.1"
    assert b"Host: [::1]:8883" in lines
    token = base64.b64encode("me:pässword:x".encode())
    assert b"Proxy-Authorization: Basic " + token in lines


@pytest.mark.parametrize(
    "head",
    [
        YES,
        b"HTTP/1.0 200\r\nA: b\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + YES,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_follows_the_head_is_left_however_it_comes(head: bytes) -> None:
    for split in range(len(head) + 1):
        asked = TunnelRequest("b:1", PROXY)
        if split < len(head):
            assert asked.receive(head[:split])[0] is False if split else True
            assert asked.receive(head[split:] + b"\x20\x02") == (True, len(head) - split)
        else:
            assert asked.receive(head + b"\x20\x02") == (True, len(head))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (407, "it wants other credentials: proxy_credentials"),
        (403, "it does not allow this host or port"),
        (502, "it cannot reach that host"),
        (504, "in time"),
        (302, "302 Because"),
    ],
)
def test_a_refusal_is_told_in_plain_words(status: int, words: str) -> None:
    proxy = Proxy("proxy.example", 3128, "me:hunter2")
    with pytest.raises(TunnelRefused, match=words) as caught:
        TunnelRequest("b:1", proxy).receive(b"HTTP/1.1 %d Because\r\n\r\nbody" % status)
    assert caught.value.status == status
    assert "http://proxy.example:3128 opens no way to b:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x20\x02\x00\x00", "not HTTP"),
        (b"", "closed before it answered"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_MAX, "too much"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "too much"),
    ],
    ids=["mqtt", "nothing", "long", "many"],
)
def test_what_is_no_answer_is_told(answer: bytes, words: str) -> None:
    with pytest.raises(ConnectFailed, match=words):
        TunnelRequest("b:1", PROXY).receive(answer)


@pytest.mark.trio
async def test_the_socket_keeps_what_belongs_to_the_tunnel() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.fail_after(LIMIT):
        ours.setblocking(False)
        theirs.send(YES + b"\x20\x02\x00\x00")
        await open_tunnel(ours, "b:1", PROXY)
        assert ours.recv(100) == b"\x20\x02\x00\x00"


# -- links


@pytest.mark.trio
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])
async def test_a_link_through_a_proxy(kind: str, tls: bool, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        await peer.serve(v5=True)

    with trio.fail_after(LIMIT):
        async with (
            open_fake_broker(script, certificates if tls else None) as broker,
            open_proxy(broker.port) as proxy,
        ):
            scheme = "mqtts" if tls else "mqtt"
            settings = Settings(
                broker=f"{scheme}://localhost:{broker.port}",
                transport=kind,
                protocol="5",
                ca_file=certificates.ca if tls else None,
                proxy=proxy.url,
                proxy_credentials="me:hunter2",
            )
            transport = create_transport(settings)
            async with transport.connect(ConnectOptions(client_id="c")) as link:
                assert not link.ended.is_set()
    assert proxy.heads[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % broker.port)
    assert base64.b64encode(b"me:hunter2") in proxy.heads[0]


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])
async def test_each_connect_shows_the_proxy_what_is_good_now(kind: str, tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(connack=connack(properties=b""))
        await peer.serve(v5=True)

    file = tmp_path / "proxy"
    with trio.fail_after(LIMIT):
        async with open_fake_broker(script) as broker, open_proxy(broker.port) as proxy:
            settings = Settings(
                broker=f"mqtt://localhost:{broker.port}",
                transport=kind,
                protocol="5",
                proxy=proxy.url,
                proxy_credentials_file=file,
            )
            transport = create_transport(settings)
            for text in ("me:first", "me:second"):
                file.write_text(text)
                async with transport.connect(ConnectOptions(client_id="c")):
                    assert base64.b64encode(text.encode()) in proxy.heads[-1]
    assert len(proxy.heads) == 2


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])
async def test_only_the_proxy_resolves_the_brokers_name(kind: str) -> None:
    refusal = b"HTTP/1.1 407 No\r\n\r\n"
    with trio.fail_after(LIMIT):
        async with open_proxy(answer=refusal) as proxy:
            settings = Settings(broker="mqtts://nobody.invalid", transport=kind, proxy=proxy.url)
            with pytest.raises(ConnectFailed, match="it wants other credentials"):
                async with create_transport(settings).connect(ConnectOptions(client_id="c")):
                    pass
    assert proxy.heads[0].startswith(b"CONNECT nobody.invalid:8883 ")


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["native", "asyncio-mqtt"])
async def test_a_proxy_that_is_not_there_or_says_nothing(kind: str) -> None:
    options = ConnectOptions(client_id="c", connect_timeout=5.0)
    with trio.fail_after(LIMIT):
        settings = Settings(
            broker="mqtts://b.example", transport=kind, proxy=f"http://127.0.0.1:{free_port()}"
        )
        with pytest.raises(ConnectFailed, match="no connection to the proxy http://127"):
            async with create_transport(settings).connect(options):
                pass
        async with (
            open_proxy(target=free_port(), answer=b"") as proxy,
            open_proxy(target=proxy.port, answer=b"") as silent,
        ):
            options = ConnectOptions(client_id="c", connect_timeout=0.2)
            settings = Settings(broker="mqtts://b.example", transport=kind, proxy=silent.url)
            with pytest.raises(ConnectFailed, match=r"no connection to b\.example:8883 in time"):
                async with create_transport(settings).connect(options):
                    pass

"""What needs no I/O of the sidecar transport: addresses, and what answers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from petalkit import ConfigError, RejectedByBroker, Settings
from petalkit.transports import create_transport
from petalkit.transports.sidecar._addresses import callback_url, sidecar_addresses
from petalkit.transports.sidecar._answers import NotTaken, check_answer, describe_answer
from petalkit.transports.sidecar._publishing.connection import read_plain_answer


def made(**settings: Any) -> Settings:
    return Settings(transport="sidecar", **settings)


def test_the_defaults_are_the_ports_of_the_guide_on_this_machine() -> None:
    found = sidecar_addresses(made())
    assert (found.host, found.port, found.tls, found.prefix) == ("127.0.0.1", 3004, False, "")
    assert (found.listen_host, found.listen_port) == ("127.0.0.1", 3005)
    assert callback_url(made(), 3005) == "http://127.0.0.1:3005/mqtt-callback/callback"


def test_addresses_with_everything() -> None:
    found = sidecar_addresses(made(sidecar_url="https://[::1]:8443/mqtt/"))
    assert (found.url, found.prefix) == ("https://[::1]:8443/mqtt", "/mqtt")
    assert (found.authority, found.tls) == ("[::1]:8443", True)
    assert sidecar_addresses(made(callback_listen="[::1]:1")).listen_host == "::1"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"callback_listen": "localhost:9"}, "http://localhost:7/mqtt-callback/callback"),
        ({"callback_listen": "[::1]:9"}, "http://[::1]:7/mqtt-callback/callback"),
        ({"callback_listen": "0.0.0.0:9"}, "http://127.0.0.1:7/mqtt-callback/callback"),
        ({"callback_url": "http://a:1"}, "http://a:1/mqtt-callback/callback"),
        ({"callback_url": "http://a:1/"}, "http://a:1/mqtt-callback/callback"),
        ({"callback_url": "http://a:1/b"}, "http://a:1/b"),
        ({"sidecar_token": "a b&c"}, "http://127.0.0.1:7/mqtt-callback/callback?token=a%20b%26c"),
    ],
)
def test_what_the_sidecar_is_told(settings: dict[str, Any], url: str) -> None:
    assert callback_url(made(**settings), 7) == url


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("sidecar_url", "127.0.0.1:3004"), ("sidecar_url", "mqtt://127.0.0.1"),
        ("sidecar_url", "http://"), ("sidecar_url", "http://127.0.0.1:0"),
        ("sidecar_url", "http://127.0.0.1:99999"), ("sidecar_url", "http://127.0.0.1/?a=b"),
        ("sidecar_url", "http://user:hunter2@127.0.0.1"), ("sidecar_url", "http://127.0.0.1/a b"),
        ("sidecar_url", "user:hunter2@127.0.0.1"), ("sidecar_url", "http://u:hunter2/x@127.0.0.1"),
        ("sidecar_token", "hunter2\r\nx: y"), ("sidecar_token", "hunter2\xe9"),
        ("sidecar_token", ""), ("sidecar_token", "hunter2 x"),
        ("callback_listen", "3005"), ("callback_listen", ":3005"),
        ("callback_listen", "127.0.0.1"), ("callback_listen", "127.0.0.1:99999"),
        ("callback_listen", "a/b:1"), ("callback_listen", "[[::1]:1"), ("sidecar_url", "http://ä"),
        ("callback_listen", "127.0.0.1:x"), ("callback_url", "127.0.0.1:3005"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_read_is_refused_by_name(setting: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_transport(made(**{setting: value}, allow_insecure=True))
    assert caught.value.setting == setting
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("sidecar_url", "http://192.0.2.1:3004"), ("sidecar_url", "http://sidecar.local:3004"),
        ("callback_listen", "0.0.0.0:3005"), ("callback_listen", "192.0.2.1:3005"),
        ("callback_url", "http://192.0.2.1:3005/"),
    ],
)  # fmt: skip
def test_plain_http_stays_on_this_machine_unless_asked(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match="in the clear") as caught:
        create_transport(made(**{setting: value}))
    assert caught.value.setting == setting
    create_transport(made(**{setting: value}, allow_insecure=True))


def test_mqtt_5_has_no_words_there() -> None:
    with pytest.raises(ConfigError) as caught:
        create_transport(made(protocol="5"))
    assert caught.value.setting == "protocol"


def test_the_token_is_not_shown() -> None:
    settings = made(sidecar_token="hunter2")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(create_transport(settings))


@pytest.mark.parametrize(
    "body",
    [b'{"success":true}', b'{"status":"ok"}', b"{}", b'{"success":true,"error":null}'],
    ids=["0.2", "0.1", "0.1, empty", "0.2, with a null"],
)
def test_answers_that_say_yes(body: bytes) -> None:
    check_answer(200, body)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (200, b'{"success":false}', "does not say success"),
        (200, b'{"success":"true"}', "does not say success"),
        (200, b'{"success":1}', "does not say success"),
        (200, b'{"error":"no broker"}', "no broker"),
        (200, b'{"success":true,"error":"but no"}', "but no"),
        (200, b'{"success":false,"message":"soon"}', "soon"),
        (200, b"", "not JSON"), (200, b"OK", "not JSON"), (200, b"\xff", "not JSON"),
        (200, b"[" * 100_000, "not JSON"), (200, b"[]", "not a JSON object"),
        (201, b'{"success":true}', "HTTP 201"),
        (500, b"<html>", "HTTP 500"), (503, b'{"error":"later"}', "HTTP 503: later"),
        (401, b"", "HTTP 401"), (404, b"", "HTTP 404"), (429, b"", "HTTP 429"),
    ],
)  # fmt: skip
def test_answers_that_say_not_now(status: int, body: bytes, text: str) -> None:
    with pytest.raises(NotTaken, match=text):
        check_answer(status, body)


@pytest.mark.parametrize(("status", "code"), [(400, 0x80), (413, 0x95), (422, 0x80)])
def test_answers_that_say_never(status: int, code: int) -> None:
    with pytest.raises(RejectedByBroker) as caught:
        check_answer(status, b'{"error":"bad"}')
    assert caught.value.reason_code == code


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", (200, b"{}")),
        (OK + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\ncontent-length:0\r\n\r\n",
         (200, b"")),
        (b"HTTP/1.1 503\r\nX: y\r\nContent-Length: 1\r\n\r\nx", (503, b"x")),
        (b"", None),
        (OK, None),
        (OK + b"\r\n", None),
        (OK + b"Content-Length: 3\r\n\r\n{}", None),
        (OK + b"Content-Length: 1\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", None),
        (OK + b"X-Content-Length: 2\r\n\r\n{}", None),
        (OK + b"Content-Length: +2\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\r\n folded\r\n\r\n{}", None),
        (OK + b"Content-Length : 2\r\n\r\n{}", None),
        (OK + b"Content-Length: 2\n\n{}", None),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", None),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 204 None\r\nX: y\r\n\r\n", None),
    ],
)  # fmt: skip
def test_only_the_plainest_answer_is_read_without_a_parser(
    data: bytes, answer: tuple[int, bytes] | None
) -> None:
    assert read_plain_answer(data) == answer


def test_what_an_answer_says_is_cut() -> None:
    assert len(describe_answer(500, b'{"error":"%s"}' % (b"x" * 10_000))) < 300


@pytest.mark.parametrize(
    "said",
    [
        "cannot use http://127.0.0.1:3005/mqtt-callback/callback?token=hunter2&x=1",
        "callbackUrl http%3A%2F%2Fx%3Ftoken%3Dhunter2 is bad",
        "unexpected header Authorization: Bearer hunter2",
    ],
)
def test_what_a_sidecar_says_back_of_the_token_is_not_shown(said: str) -> None:
    body = json.dumps({"success": False, "error": said}).encode()
    assert "hunter2" not in describe_answer(400, body)
    with pytest.raises(NotTaken) as caught:
        check_answer(200, body)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("proxy", "http://127.0.0.1:3128"),
        ("proxy_credentials", "user:hunter2"),
        ("server_references", ("b.example",)),
        ("websocket_headers_file", Path("headers")),
    ],
)
def test_what_only_a_way_of_our_own_to_the_broker_has_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="the sidecar's business") as caught:
        sidecar_addresses(made(**{setting: value}))
    assert caught.value.setting == setting
    assert "hunter2" not in str(caught.value)
    sidecar_addresses(made(proxy="off"))

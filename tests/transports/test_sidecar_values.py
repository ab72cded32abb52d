"""What needs no I/O of the sidecar transport: addresses, and what answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit import ConfigError, RejectedByBroker, Settings
from petalkit.transports import create_transport
from petalkit.transports._sidecar_addresses import callback_url, sidecar_addresses
from petalkit.transports._sidecar_answers import NotTaken, check_answer, describe_answer


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
        ("sidecar_url", "http://user:hunter2@127.0.0.1"),
        ("callback_listen", "3005"), ("callback_listen", ":3005"),
        ("callback_listen", "127.0.0.1"), ("callback_listen", "127.0.0.1:99999"),
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


def test_what_an_answer_says_is_cut() -> None:
    assert len(describe_answer(500, b'{"error":"%s"}' % (b"x" * 10_000))) < 300

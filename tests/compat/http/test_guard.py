"""Who may ask: by which name, from which web page, and with which token."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from petalkit import ConfigError, Settings
from petalkit.compat._http.answers import Refusal
from petalkit.compat._http.guard import Guard

TOKEN = "s3cr3t-token"


def scope(method: str = "GET", **headers: str) -> dict[str, Any]:
    named = {"host": "127.0.0.1:9000", **headers}
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": method, "headers": [pair for pair in pairs if pair[1]]}


def verdict(guard: Guard, asked: dict[str, Any]) -> int:
    try:
        guard.check(asked)
    except Refusal as error:
        return error.status
    return 200


def guard(**settings: Any) -> Guard:
    return Guard(Settings(**settings), settings.get("compat_http") or "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9000", 200),
        ("localhost", 200),
        ("LOCALHOST.:9000", 200),
        ("[::1]:9000", 200),
        ("192.0.2.7", 200),  # an address is nobody's name
        ("drone.local", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost:9000@evil.example", 421),
        ("", 421),
    ],
)
def test_a_name_that_is_not_ours_is_refused(host: str, status: int) -> None:
    """A page can give its own name our address (DNS rebinding)."""
    assert verdict(guard(compat_http_hosts=("drone.local",)), scope(host=host)) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:9000"}, 200),  # a page that a petal serves itself
        ({"origin": "http://127.0.0.1:8000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://panel.local:8080"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),  # an image
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"}, 403),  # another port
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),  # a link
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 200),
        ({"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, 200),  # typed in
    ],
)
def test_a_page_of_another_origin_is_refused(headers: dict[str, str], status: int) -> None:
    settings = {"compat_http_origins": ("http://panel.local:8080",)}
    assert verdict(guard(**settings), scope(**headers)) == status


def test_a_form_of_another_site_is_refused_although_it_navigates() -> None:
    headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert verdict(guard(), scope("POST", **headers)) == 403


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer \xe4", 401),
        (f"Basic {base64.b64encode(f'any:{TOKEN}'.encode()).decode()}", 200),
        (f"Basic {base64.b64encode(b'any:wrong').decode()}", 401),
        ("Basic %%%", 401),
        (f"Digest {TOKEN}", 401),
    ],
)
def test_the_token_is_asked_for_wherever_it_is_set(given: str, status: int) -> None:
    assert verdict(guard(compat_http_token=TOKEN), scope(authorization=given)) == status


def test_a_browser_asks_for_leave_without_a_token() -> None:
    asks = {"access_control_request_method": "POST"}
    one = guard(compat_http_token=TOKEN, compat_http_origins=("http://panel.local",))
    assert verdict(one, scope("OPTIONS", origin="http://panel.local", **asks)) == 200
    assert verdict(one, scope("OPTIONS", **asks)) == 401
    assert verdict(one, scope("POST", origin="http://panel.local", **asks)) == 401


def test_two_ends_of_a_body_are_refused() -> None:
    headers = {"content_length": "3", "transfer_encoding": "chunked"}
    assert verdict(guard(), scope("POST", **headers)) == 400


def test_a_refusal_says_nothing_of_the_token() -> None:
    with pytest.raises(Refusal) as caught:
        guard(compat_http_token=TOKEN).check(scope(authorization="Bearer almost"))
    assert "almost" not in str(caught.value)
    assert TOKEN not in str(caught.value) + str(caught.value.headers)


# -- the settings


@pytest.mark.parametrize("listen", ["0.0.0.0:9000", "[::]:9000", "192.0.2.7:80", "drone.local:80"])
def test_an_address_that_others_reach_needs_a_token(listen: str) -> None:
    with pytest.raises(ConfigError, match="compat_http_token"):
        Settings(compat_http=listen)
    Settings(compat_http=listen, compat_http_token=TOKEN)
    Settings(compat_http=listen, compat_http_token_source=lambda: TOKEN)


@pytest.mark.parametrize("listen", [None, "off", "127.0.0.1:0", "[::1]:9000", "localhost:9000"])
def test_this_machine_alone_needs_none(listen: str | None) -> None:
    Settings(compat_http=listen)


@pytest.mark.parametrize(
    "listen", ["9000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "[::g]:1"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match="an address and a port"):
        Settings(compat_http=listen)


@pytest.mark.parametrize("origin", ["panel.local", "http://panel.local/", "*", "HTTP://panel", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="compat_http_origins"):
        Settings(compat_http_origins=(origin,))


def test_the_token_is_in_no_text() -> None:
    assert TOKEN not in repr(Settings(compat_http_token=TOKEN))
    with pytest.raises(ConfigError) as caught:
        Settings(compat_http_token=f"{TOKEN} with a space")
    assert TOKEN not in str(caught.value)

"""The endpoints that a petal marks, seen without serving them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petalkit import Settings
from petalkit.compat import Petal, http_action, websocket_action
from petalkit.compat._http.endpoints import described, endpoints_of, find_folder, why_not_served

from .petals import MissionPetal, PagePetal, write_pages


class Bare(Petal):
    name = "bare"
    version = "1"

    @property
    def raises(self) -> Any:
        raise AssertionError("a property is not asked")

    @http_action("GET", "/b", response_model=None, summary="B")
    async def b(self) -> None: ...

    @websocket_action("/a", name="a")
    async def a(self) -> None: ...

    def other(self) -> None: ...


def test_they_are_found_with_their_options_in_the_order_of_the_attributes() -> None:
    a, b = endpoints_of(Bare())
    assert (a.protocol, a.method, a.path, a.options) == ("websocket", "WS", "/a", {"name": "a"})
    assert (b.protocol, b.method, b.path) == ("http", "GET", "/b")
    assert b.options == {"response_model": None, "summary": "B"}


def test_what_is_attached_to_the_instance_is_found_too() -> None:
    petal = MissionPetal()
    assert "GET /petals/mission-petal/later" not in described(petal.name, petal)
    petal.startup()
    assert "GET /petals/mission-petal/later" in described(petal.name, petal)


def test_files_are_told_with_the_endpoints() -> None:
    assert described("page-petal", PagePetal()) == [
        "GET /petals/page-petal/page",
        "GET /static/page-petal/...",
    ]


def test_a_mark_of_another_kind_is_no_endpoint() -> None:
    petal = Bare()
    for mark in ("a text", {"protocol": "mqtt"}, {}, None):
        petal.other = lambda: None  # type: ignore[method-assign]
        petal.other.__petal_action__ = mark  # type: ignore[attr-defined]
        assert len(endpoints_of(petal)) == 2


def test_files_are_looked_for_where_the_user_says(tmp_path: Path) -> None:
    write_pages(tmp_path)
    assert find_folder("page-petal", PagePetal(), "static", tmp_path) == (
        tmp_path / "static" / "page-petal"
    )
    assert find_folder("other", PagePetal(), "static", tmp_path) is None
    assert find_folder("page-petal", PagePetal(), "templates", None) is None


def test_files_are_looked_for_beside_the_petal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "templates").mkdir()
    module = tmp_path / "a_page_petal.py"
    module.write_text(
        "class Page:\n    name = 'page'\n    static_dir = 'assets'\n    template_dir = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import a_page_petal  # type: ignore[import-not-found]

    page = a_page_petal.Page()
    assert find_folder("page", page, "static", None) == tmp_path / "assets"
    assert find_folder("page", page, "templates", None) == tmp_path / "templates"


def test_it_is_known_why_they_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not_served(Settings()) is None
    assert why_not_served(Settings(compat_http="off")) == 'compat_http = "off"'
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = why_not_served(Settings()) or ""
    assert "fastapi is not installed" in why
    assert "petalkit[host-http]" in why

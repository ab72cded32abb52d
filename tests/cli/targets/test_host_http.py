"""HTTP endpoints of petals of the host on the command line: which are served, and which are not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from ..conftest import RunCli
from .conftest import Write

pytestmark = pytest.mark.usefixtures("host_names")

DOORS = """
from petal_app_manager.plugins.base import Petal
from petal_app_manager.plugins.decorators import http_action, websocket_action

class Doors(Petal):
    name = "doors"
    version = "1.0.0"

    @http_action("POST", "/abort")
    async def abort(self): ...

    @websocket_action("/ws")
    async def ws(self, websocket): ...
"""
OFF = '[petalkit]\ncompat_http = "off"\n'


@pytest.fixture(autouse=True)
def files(write: Write) -> None:
    write("doors.py", DOORS)
    write("off.toml", OFF)


def test_list_names_them_and_where_they_are_served(run_cli: RunCli) -> None:
    result = run_cli("list", "--host-compat", "doors.py")
    assert result.code == 0
    assert "  2 HTTP endpoints, served on 127.0.0.1:9000:" in result.out
    assert "POST /petals/doors/abort" in result.out
    assert "WS /petals/doors/ws" in result.out


def test_list_says_where_they_are_not_served(run_cli: RunCli) -> None:
    result = run_cli("list", "--host-compat", "doors.py", "--config", "off.toml")
    assert '  2 HTTP endpoints, not served (compat_http = "off"):' in result.out


def test_list_says_it_to_programs(run_cli: RunCli) -> None:
    result = run_cli("list", "--json", "--host-compat", "doors.py", "--config", "off.toml")
    [petal] = json.loads(result.out)["petals"]
    assert petal["http"] == {
        "endpoints": ["POST /petals/doors/abort", "WS /petals/doors/ws"],
        "served": False,
    }


def test_doctor_says_where_they_are_served(run_cli: RunCli) -> None:
    result = run_cli("doctor", "--host-compat", "doors.py")
    assert "doors, 2 HTTP endpoints on 127.0.0.1:9000" in result.out


def test_doctor_warns_where_what_serves_them_is_missing(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "petalkit.compat._http.endpoints.importlib.util.find_spec",
        lambda name: None if name == "hypercorn" else found(name),
    )
    result = run_cli("doctor", "--host-compat", "doors.py")
    [line] = [one for one in result.out.splitlines() if "HTTP endpoints" in one]
    assert line.startswith("warning")
    assert "not served: POST /petals/doors/abort, WS /petals/doors/ws" in line
    assert "pip install 'petalkit[host-http]'" in line


def test_doctor_names_those_that_are_left_off(run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli("doctor", "--host-compat", "doors.py", "--config", "off.toml")
    [line] = [one for one in result.out.splitlines() if "HTTP endpoints" in one]
    assert line.startswith("ok")
    assert "not served: POST /petals/doors/abort" in line

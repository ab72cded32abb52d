"""The real program with endpoints: without a broker, and without what serves them."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ...cli.programs import LIMIT, WHO, Program

pytestmark = pytest.mark.process

DOORS = """
from petal_app_manager.plugins.base import Petal
from petal_app_manager.plugins.decorators import http_action

class Doors(Petal):
    name = "doors"
    version = "1.0.0"

    @http_action("POST", "/abort")
    async def abort(self):
        return {"status": "aborted"}

    @http_action("GET", "/page")
    def page(self):
        return "a page"
"""


@pytest.fixture
def doors(tmp_path: Path) -> str:
    file = tmp_path / "doors.py"
    file.write_text(DOORS)
    return str(file)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


Run = Callable[..., Program]


@pytest.fixture
def run(doors: str) -> Iterator[Run]:
    """Serve them; ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> Program:
            broker = f"mqtt://127.0.0.1:{free_port()}"  # nobody is there
            given = (*WHO, "--broker", broker, "--journal", "off", *options)
            program = Program("run", "--host-compat", doors, *given)
            stack.callback(program.close)
            return program

        yield start


def test_a_mission_can_be_aborted_although_the_broker_is_away(run: Run) -> None:
    program = run("--compat-http", "127.0.0.1:0")
    line = program.wait_line("2 HTTP endpoints of petals on http://127.0.0.1:")
    with httpx.Client(base_url=line.split()[-1], timeout=LIMIT) as client:
        assert client.post("/petals/doors/abort").json() == {"status": "aborted"}
        assert client.get("/petals/doors/page").json() == "a page"
        health = client.get("/health/detailed").json()
    assert health["status"] == "unhealthy"
    assert health["proxies"]["mqtt"]["connection"]["connected"] is False
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0
    assert "Traceback" not in "".join(program.lines)


def test_off_is_said_with_what_is_not_served(run: Run) -> None:
    line = run("--compat-http", "off").wait_line("not served")
    assert "petal 'doors': 2 HTTP endpoints are not served (compat_http = \"off\")" in line
    assert "POST /petals/doors/abort, GET /petals/doors/page" in line


def test_an_address_that_others_reach_needs_a_token(run: Run) -> None:
    program = run("--compat-http", "0.0.0.0:0")
    assert program.wait() == 2
    assert "compat_http_token" in "".join(program.lines)


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "fastapi", "starlette", "hypercorn", "wsproto", "jinja2", "pydantic", "httpx",
        }:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import petalkit
from petalkit.compat import Petal, adapt, http_action

class Doors(Petal):
    name = "doors"
    version = "1"

    @http_action("POST", "/abort")
    async def abort(self): ...

import logging, trio
logging.basicConfig(level="WARNING")
from petalkit.transports.memory import MemoryBroker, MemoryTransport

async def main():
    settings = petalkit.Settings(organization_id="acme", device_id="d")
    transport = MemoryTransport(MemoryBroker(), settings.protocol)
    async with petalkit.open_runtime(adapt(Doors()), settings, transport=transport) as runtime:
        await runtime.wait_connected()

trio.run(main)
print("served without")
"""


def test_without_the_extra_all_else_works_and_it_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.stdout == "served without\n", done.stderr
    assert "petal 'doors': 1 HTTP endpoint is not served" in done.stderr
    assert "pip install 'petalkit[host-http]'): POST /petals/doors/abort" in done.stderr


TAKEN = """
import sys, types, asyncio
early = types.ModuleType("early")
exec("from asyncio import current_task, get_running_loop", early.__dict__)
sys.modules["early"] = early
import trio
from petalkit.compat._loop.loop import open_petal_loop

async def ask():
    assert early.current_task() is asyncio.current_task()
    return early.get_running_loop() is asyncio.get_running_loop()

async def main():
    async with open_petal_loop("p", 1.0) as loop:
        print(await loop.run("ask", ask))

trio.run(main)
"""


def test_a_library_that_was_imported_before_finds_the_petals_loop() -> None:
    """As AnyIO does it, on which FastAPI calls plain functions."""
    done = subprocess.run(
        [sys.executable, "-c", TAKEN], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.stdout == "True\n", done.stderr

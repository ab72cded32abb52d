"""The TypeScript module: it compiles strictly, works over MQTT.js, and holds callers to it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import Petal, Settings, command, open_runtime
from petalkit.cli._schema.command import Wanted, make_files
from petalkit.cli._schema.contract import Contract
from petalkit.cli._schema.typescript import runtime
from petalkit.client._errors import FAMILIES

from ...brokers import Mosquitto, free_port
from .conftest import LIMIT, NPM, PROGRAMS, Node, contract_of, files_of
from .programs.camera import CameraPetal

pytestmark = pytest.mark.npm

WHAT_IT_TELLS: dict[str, Any] = {
    "current": True,
    "exposed": [5, "manual", 1, None],
    "count": 1,
    "refused": ["PetalRefused", "TOO_LONG", "ten seconds are the most"],
    "invalid": ["INVALID_DATA", [{"path": "data.milliseconds", "message": "must be at least 1"}]],
    "unknown": True,
    "late": True,
    "aborted": "Error: never mind",
    "job": [True, "succeeded", 20],
    "cancelling": "cancelling",
    "cancelled": True,
    "rising": True,
    "failed": ["DARK", "there is no light", True],
    "many": 200,
    "outlived": 1000,
    "once": 1,
    "streamed": 6,
    "lasted": 60,
    "silent": True,
    "left": "Closed: the job camera/scan is not watched any more",
    "stillRuns": "running",
    "closed": "Closed: the connection was closed",
}


def settings_of(mosquitto: Mosquitto, protocol: Any = "5") -> Settings:
    return Settings(
        broker=mosquitto.url, organization_id="acme", device_id="Instance-1", protocol=protocol
    )


async def told_by(run: Callable[[], subprocess.CompletedProcess[str]]) -> Any:
    done = await trio.to_thread.run_sync(run)
    return json.loads(done.stdout)


@pytest.mark.trio
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize(("device", "caller"), [("5", "5"), ("3.1.1", "5"), ("5", "4")])
async def test_commands_jobs_and_streams_from_node(
    compiled: Path, node: Node, mosquitto: Mosquitto, device: str, caller: str
) -> None:
    with trio.fail_after(LIMIT):
        async with open_runtime([CameraPetal()], settings_of(mosquitto, device)) as runtime:
            await runtime.wait_connected()
            arguments = ["out/in_node.js", mosquitto.url, caller]
            assert await told_by(lambda: node.run(arguments, compiled)) == WHAT_IT_TELLS


@pytest.mark.process
def test_what_is_sent_again_and_what_is_not(compiled: Path, node: Node) -> None:
    """On a broker of the test's own, which refuses, is slow, and loses links."""
    shutil.copy(PROGRAMS / "broker.mjs", compiled)
    assert json.loads(node.run(["broker.mjs"], compiled).stdout) == {
        "window": [50, True],
        "quota": [2, 1],
        "forbidden": [True, 1],
        "noTopicOfItsOwn": [None, True],
        "nowhere": True,
        "ownTopic": [True, [True, False]],
        "otherTopics": [True, True],
        "sameId": [2, 1],
        "newId": [2, 2],
        "noRetries": [True, 1],
        "notSafe": [True, "new_id", 1],
        "repeatable": [2, 2],
        "ownId": [True, 1],
        "lostLink": [True, 1, 2],
        "expiry": [True, 6, None, None],
        "dialect": ["CallTimeout", 7, 2],
        "dialectNo": ["PetalRefused", "NO_CARD", "no card"],
        "noJson": [["TypeError", "TypeError"], 1],
        "asCalled": {"exposures": 1},
        "longest": [None, 2**32 - 1, True],
        "noOwner": ["PetalkitError", 1],
        "answeredFirst": None,
        "silent": ["closed", "Closed"],
        "endedBefore": [5, ["succeeded"], 1],
        "twoReaders": [1, 2],
    }


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over HTTP on loopback; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


PAGE = """<!doctype html>
<script type="importmap">{"imports": {"mqtt": "./mqtt.esm.js"}}</script>
<script type="module">
  import { exercise } from "./exercise.js";
  window.told = await exercise("URL", 5).catch((error) => ({ error: `${error.stack}` }));
</script>
"""


@pytest.mark.trio
@pytest.mark.broker
@pytest.mark.process
async def test_the_same_from_a_browser_over_websocket(
    compiled: Path, node: Node, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("NO CHROMIUM: install it (Debian: apt-get install chromium) to run this")
    port = free_port()
    mosquitto = start_mosquitto(options={"listener": f"{port} 127.0.0.1", "protocol": "websockets"})
    site = tmp_path / "site"
    shutil.copytree(compiled / "out", site)
    shutil.copy(NPM / "node_modules" / "mqtt" / "dist" / "mqtt.esm.js", site)
    (site / "index.html").write_text(PAGE.replace("URL", f"ws://127.0.0.1:{port}"))
    # Beside the packages, or node would not find them.
    shutil.copy(PROGRAMS / "in_browser.mjs", compiled)
    with trio.fail_after(LIMIT), served(site) as address:
        async with open_runtime([CameraPetal()], settings_of(mosquitto)) as runtime:
            await runtime.wait_connected()
            arguments = ["in_browser.mjs", chromium, address, str(tmp_path / "profile")]
            assert await told_by(lambda: node.run(arguments, compiled)) == WHAT_IT_TELLS


class Before(Petal):
    name = "gimbal"

    @command("turn")
    async def turn(self, angle: float, speed: float = 1.0) -> dict[str, float]:
        return {}


class Renamed(Petal):
    name = "gimbal"

    @command("turn")
    async def turn(self, degrees: float, speed: float = 1.0) -> dict[str, float]:
        return {}


class Narrowed(Petal):
    name = "gimbal"

    @command("turn")
    async def turn(self, angle: float, speed: int | None = 1) -> dict[str, int | None]:
        return {}


class Gone(Petal):
    name = "gimbal"

    @command("rotate")
    async def rotate(self, angle: float, speed: float = 1.0) -> dict[str, float]:
        return {}


USE = """
import { Device, connect } from "./client.js";
const connection = await connect("mqtt://127.0.0.1", { organizationId: "acme" });
const device = new Device(connection, "Instance-1");
const turned = await device.gimbal.turn({ angle: 30 });
const yaw: number = turned["yaw"] ?? 0;
console.log(yaw);
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("petal", "wanted"),
    [
        (Before, None),
        (Renamed, r"'angle' does not exist in type 'GimbalTurnData'"),
        (Narrowed, None),
        (Gone, r"Property 'turn' does not exist on type 'Gimbal'"),
    ],
    ids=["same", "renamed", "compatible", "gone"],
)
def test_code_for_an_older_petal_does_not_compile_against_the_new_client(
    petal: type[Petal], wanted: str | None, node: Node, tmp_path: Path
) -> None:
    files = {**files_of(contract_of(petal()), "typescript"), "use.ts": USE}
    done = node.compile(node.project(tmp_path / "project", files), "--noEmit", check=False)
    if wanted is None:
        assert (done.returncode, done.stdout) == (0, "")
    else:
        assert done.returncode != 0
        assert re.search(wanted, done.stdout), done.stdout


@pytest.mark.process
def test_a_narrowed_type_does_not_compile(node: Node, tmp_path: Path) -> None:
    class Whole(Petal):
        name = "gimbal"

        @command("turn")
        async def turn(self, angle: str, speed: float = 1.0) -> dict[str, float | None]:
            return {}

    files = {**files_of(contract_of(Whole()), "typescript"), "use.ts": USE}
    done = node.compile(node.project(tmp_path / "project", files), "--noEmit", check=False)
    assert "Type 'number' is not assignable to type 'string'" in done.stdout


@pytest.mark.process
def test_one_file_compiles_as_two_do(node: Node, camera: Contract, tmp_path: Path) -> None:
    (text,) = make_files(camera, Wanted("typescript"), in_folder=False).values()
    project = node.project(tmp_path / "project", {"camera.ts": text})
    node.compile(project, "--noEmit")


def test_the_classes_of_errors_are_those_of_the_python_client() -> None:
    found = dict(re.findall(r'^  \["(\w+)", (\w+)\],$', runtime(), re.MULTILINE))
    assert found == {str(code): kind.__name__ for code, kind in FAMILIES.items()}


def test_lines_can_be_read() -> None:
    assert max(map(len, runtime().splitlines())) <= 120

"""The programs of the page about typed clients, and the flight log's job, as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from petalkit import Settings, open_runtime
from petalkit.cli._embedded_broker import open_embedded_broker

from ...brokers import Mosquitto
from ...examples.conftest import EXAMPLES, ROOT
from ..conftest import RunCli
from ..programs import WHO, Start
from .conftest import LIMIT, PROGRAMS, Mypy, Node

PAGES = ("typed-clients.md", "typed-clients-code.md")
PAGE = "".join((ROOT / "docs" / page).read_text("utf-8") for page in PAGES)


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


TOLD = ["exposed 20", "TOO_LONG a second is the most"]


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.npm
def test_the_typescript_of_the_page(
    node: Node, start: Start, mosquitto: Mosquitto, run_cli: RunCli, tmp_path: Path
) -> None:
    petal = tmp_path / "my_petal.py"
    petal.write_text(block("python"))
    project = node.project(tmp_path / "project", {})
    where = str(project / "petals")
    outcome = run_cli("schema", str(petal), "--format", "typescript", "--output", where + "/")
    assert outcome.code == 0, outcome.err
    (project / "app.ts").write_text(block("typescript").replace("mqtt://localhost", mosquitto.url))
    node.compile(project)
    device = start("run", str(petal), "--broker", mosquitto.url, "--journal", "off", *WHO)
    device.wait_line("subscribed|online|ready|connected")
    lines = node.run(["out/app.js"], project).stdout.splitlines()
    assert lines[:2] == TOLD
    assert lines[2].startswith(("running", "accepted"))
    assert lines[-4:] == ["succeeded 1", "frames 4", "cancelled true", "sharpness 0.5"]


@pytest.mark.broker
@pytest.mark.process
def test_the_python_of_the_page(
    start: Start, mosquitto: Mosquitto, mypy: Mypy, run_cli: RunCli, tmp_path: Path
) -> None:
    petal = tmp_path / "my_petal.py"
    petal.write_text(block("python"))
    device = start("run", str(petal), "--broker", mosquitto.url, "--journal", "off", *WHO)
    device.wait_line("subscribed|online|ready|connected")
    folder = tmp_path / "program"
    folder.mkdir()
    where = ["--broker", mosquitto.url, "--organization-id", "acme"]
    written = ["--format", "python", "--output", str(folder / "device_client.py")]
    outcome = run_cli("schema", "--device", "Instance-1", *where, *written)
    assert outcome.code == 0, outcome.err
    (folder / "app.py").write_text(block("py").replace("mqtt://localhost", mosquitto.url))
    checked = mypy.run(folder, "app.py")
    assert checked.returncode == 0, checked.stdout
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == TOLD
    assert lines[-3:] == ["succeeded 1.0", "frames 4", "sharpness 0.5"]


def example(name: str) -> Any:
    import importlib

    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


@asynccontextmanager
async def open_vehicle(url: str, folder: Path, protocol: Any) -> AsyncGenerator[None]:
    """The two petals of the examples, on records of its own."""
    card, collected = folder / "card", folder / "collected"
    for each in (card, collected):
        each.mkdir()
    for name in ("a.ulg", "b.ulg"):
        (card / name).write_bytes(bytes(300_000))
    petals = [
        example("flight_log").FlightLogPetal(card, collected),
        example("flight_sync").FlightSyncPetal(card, []),
    ]
    settings = Settings(
        broker=url, organization_id="acme", device_id="Instance-1", protocol=protocol
    )
    async with open_runtime(petals, settings) as runtime:
        await runtime.wait_connected()
        yield


@pytest.fixture(scope="module")
def flights(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    folder = tmp_path_factory.mktemp("flights")
    (folder / "petalkit.toml").write_text(
        '[petals.flight-log-petal]\nfolder = "."\ndestination = "."\n'
        '[petals.flight-sync]\nfolder = "."\ntargets = []\n'
    )
    text = (PROGRAMS / "flights" / "flights.ts").read_text("utf-8")
    project = node.project(folder / "project", {"flights.ts": text})
    targets = [str(EXAMPLES / f"{name}.py") for name in ("flight_log", "flight_sync")]
    config = ["--config", str(folder / "petalkit.toml"), "--format", "typescript"]
    subprocess.run(
        [sys.executable, "-m", "petalkit", "schema", *targets, *config, "--output", str(project)],
        check=True,
        timeout=LIMIT,
    )
    node.compile(project)
    return project


async def runs(node: Node, flights: Path, url: str, protocol: str) -> None:
    arguments = ["out/flights.js", url, protocol]
    done = await trio.to_thread.run_sync(lambda: node.run(arguments, flights))
    assert json.loads(done.stdout) == {
        "records": 2,
        "copied": "a.ulg",
        "last": 1,
        "phases": [True, 2],
        "failed": "RECORD_NOT_FOUND",
    }


@pytest.mark.trio
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.npm
async def test_the_flight_logs_job_from_node_through_mosquitto(
    node: Node, flights: Path, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT):
        async with open_vehicle(mosquitto.url, tmp_path, "5"):
            await runs(node, flights, mosquitto.url, "5")


@pytest.mark.trio
@pytest.mark.process
@pytest.mark.npm
async def test_the_flight_logs_job_from_node_through_the_demos_broker(
    node: Node, flights: Path, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT):
        async with (
            open_embedded_broker() as broker,
            open_vehicle(broker.url, tmp_path, "3.1.1"),
        ):
            await runs(node, flights, broker.url, "4")

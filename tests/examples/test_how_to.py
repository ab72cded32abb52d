"""The how-to pages whose code is no Python: what they write down works as it is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from petalkit import Identity, Settings
from petalkit._values.settings.settings import environment_name

from ..brokers import find_mosquitto, free_port
from .conftest import EXAMPLES, ROOT
from .following import LIMIT, Reader
from .test_docs import blocks

PAGES = ROOT / "docs" / "how-to"
BROWSER = Path(__file__).parent / "browser"  # a package-lock of what that page installs
GREETING = (EXAMPLES / "greeting.py").read_text()
needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")


def test_every_page_begins_with_code() -> None:
    for page in PAGES.glob("*.md"):
        if page.name == "index.md":
            continue
        lines = page.read_text().split("\n")
        first = next(number for number, line in enumerate(lines) if line.startswith("```"))
        assert first <= 8, page.name


@pytest.mark.broker
@pytest.mark.process
@needs_mosquitto
def test_tls_from_nothing(tmp_path: Path) -> None:
    """Every command of the page; then a device that is not the one of its certificate."""
    port = free_port()
    page = (PAGES / "tls.md").read_text().replace("8883", str(port))
    if os.geteuid() == 0:  # as the page says: else the user mosquitto has to read the key
        page = page.replace("require_certificate true", "require_certificate true\nuser root")
    with Reader(tmp_path / "tls", free_port()) as reader:
        folder = reader.folder
        (folder / "my_petal.py").write_text(GREETING)
        doctor, rest = page.split("$ petalkit doctor", 1)
        reader.follow(doctor + "```\n")
        done = subprocess.run(
            [sys.executable, "-m", "petalkit.cli", "doctor", *rest.split("\n")[0].split()],
            cwd=folder,
            env={**reader.environment, "PETALKIT_BROKER": ""},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^ok +publish", done.stdout, re.MULTILINE), done.stdout
        reader.environment["PETALKIT_BROKER"] = ""
        reader.follow("```console\n".join(["\n\n", rest.split("\n", 1)[1]]))
        [printed] = [text for line, text in reader.printed.items() if "petalkit call" in line]
        assert json.loads(printed[0]) == {"message": "Hello, World!"}
        other = subprocess.run(
            [
                *(sys.executable, "-m", "petalkit.cli", "doctor", "my_petal.py"),
                *("--config", "device.toml", "--device-id", "drone-2"),
            ],
            cwd=folder,
            env=reader.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert re.search(r"^warning +publish", other.stdout, re.MULTILINE), other.stdout


@pytest.mark.broker
@pytest.mark.process
@needs_mosquitto
@pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="node and npm are needed"
)
def test_a_browser_as_the_caller(tmp_path: Path) -> None:
    """Its module in Node, which has the browser's WebSocket, with the broker of the page."""
    page = PAGES / "browser.md"
    module, use = blocks(page, "js")
    [version] = re.findall(r"npm install mqtt@(\S+)", module)
    assert json.loads((BROWSER / "package.json").read_text())["dependencies"]["mqtt"] == version
    folder, sockets = tmp_path / "page", str(free_port())
    shutil.copytree(BROWSER, folder)
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install what the page needs: {installed.stderr[-200:]}")
    with Reader(tmp_path / "device", free_port(), replace={"9001": sockets}) as reader:
        (folder / "petals.mjs").write_text(module)
        (folder / "use.mjs").write_text(use.replace("9001", sockets))
        (reader.folder / "my_petal.py").write_text(GREETING)
        [config] = [text for text in blocks(page, "text") if "websockets" in text]
        config = config.replace("9001", sockets).replace("1883", reader.replace["1883"])
        (reader.folder / "mosquitto.conf").write_text(config)
        for block in blocks(page, "console"):
            reader.follow(f"\n\n```console\n{block}```\n")
        done = subprocess.run(
            ["node", "use.mjs"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.stdout == "Hello, Browser!\n", done.stderr


def test_the_image_has_settings_that_are_there() -> None:
    [image] = blocks(PAGES / "containers.md", "dockerfile")
    text = (PAGES / "containers.md").read_text()
    known = {environment_name(field.name) for field in Settings.__attrs_attrs__}
    used = set(re.findall(r"PETALKIT_[A-Z_]+", text)) - {"PETALKIT_LOG_FORMAT"}
    assert used <= known
    assert 'ENTRYPOINT ["petalkit", "run"' in image


def unshare() -> bool:
    """Whether this user may make a process number 1."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=LIMIT, check=False).returncode == 0


@pytest.mark.process
@pytest.mark.skipif(not unshare(), reason="a process number 1 needs rights")
def test_as_process_1_without_a_home_it_stops_in_order(tmp_path: Path) -> None:
    (tmp_path / "my_petal.py").write_text(GREETING)
    journal = tmp_path / "state" / "device.journal"
    environment = {
        "PATH": os.environ["PATH"],
        "PETALKIT_JOURNAL": str(journal),
        "PETALKIT_ORGANIZATION_ID": "acme",
        "PETALKIT_DEVICE_ID": "drone-1",
        "PETALKIT_BROKER": f"mqtt://localhost:{free_port()}",  # where nobody is
    }
    code = (
        "import os, sys; assert os.getpid() == 1; from petalkit.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [
            *("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code),
            *("run", str(tmp_path / "my_petal.py")),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        limit = time.monotonic() + LIMIT
        assert process.stdout is not None
        while "not connected" not in (line := process.stdout.readline()):
            assert line, "it has ended"
            assert time.monotonic() < limit
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert process.wait(LIMIT) == 0
        assert journal.exists()
    finally:
        process.kill()
        process.wait(LIMIT)
        process.stdout.close()


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "petalkit.service"
    text = (EXAMPLES / "petalkit.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "petalkit.service" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_policy_of_aws_allows_what_petalkit_does() -> None:
    [policy] = blocks(PAGES / "aws-iot-core.md", "json")
    allowed: dict[str, set[str]] = {}
    for statement in json.loads(policy)["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            name = resource.removeprefix("arn:aws:iot:REGION:ACCOUNT:").partition("/")[2]
            allowed.setdefault(statement["Action"], set()).add(name)
    settings = Settings()
    thing = "${iot:Connection.Thing.ThingName}"
    base = "org/ORG/device/" + thing
    assert Identity("ORG", "D").topic("x") == "org/ORG/device/D/x"
    commands = {f"{base}/{topic}" for topic in settings.command_topics}
    assert allowed["iot:Connect"] == {thing}
    assert allowed["iot:Subscribe"] == allowed["iot:Receive"] == commands
    sent = (settings.response_topic, settings.web_topic, settings.debug_topic)
    assert allowed["iot:Publish"] == {
        f"{base}/{topic}" for topic in (*sent, settings.ack_topic, settings.status_topic)
    }
    assert allowed["iot:RetainPublish"] == {f"{base}/{settings.status_topic}"}


def test_the_settings_of_aws_are_those_of_the_example() -> None:
    [shown] = blocks(PAGES / "aws-iot-core.md", "toml")
    ours = tomllib.loads(shown)["petalkit"]
    example = tomllib.loads((EXAMPLES / "aws-iot-core.toml").read_text())["petalkit"]
    same = ours.keys() - {"device_id", "organization_id"}
    assert {name: ours[name] for name in same} == {name: example[name] for name in same}

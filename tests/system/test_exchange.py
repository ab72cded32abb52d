"""The guide's exchange, letter by letter, as a web client sees it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from petalkit import Settings, open_client
from petalkit.cli._embedded_broker import open_embedded_broker

from ..brokers import Mosquitto, free_port
from .conftest import GUIDE, Start
from .kit import BASE, LIMIT, WHO, WIRES, Wire, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.process]

COMMAND = {
    "command": "example-petal/hello",
    "messageId": "test-123",
    "waitResponse": True,
    "deviceId": "Instance-1",
    "data": {"name": "Developer"},
    "timestamp": "2024-01-01T00:00:00Z",
}


@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="needs mosquitto-clients")
@pytest.mark.parametrize("topic", ["command", "command/edge"])
async def test_the_guides_json_through_mosquittos_own_clients(
    start: Start, mosquitto: Mosquitto, topic: str
) -> None:
    program = start("run", "example.py:ExamplePetal", "--broker", mosquitto.url, *WHO)
    await program.connected()
    to = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", "1"]
    with subprocess.Popen(
        ["mosquitto_sub", *to, "-i", "web", "-t", f"{BASE}/response", "-C", "1", "-W", "30"],
        stdout=subprocess.PIPE,
        text=True,
    ) as sub:
        await until(lambda: "SUBACK to web" in mosquitto.log, lambda: mosquitto.log, LIMIT)
        subprocess.run(
            ["mosquitto_pub", *to, "-t", f"{BASE}/{topic}", "-m", json.dumps(COMMAND)],
            check=True,
            timeout=LIMIT,
        )
        assert sub.stdout is not None
        payload = await trio.to_thread.run_sync(sub.stdout.read)  # ends by -C or by -W
    response = json.loads(payload)
    assert list(response) == ["messageId", "timestamp", "success", "message"]
    assert response.pop("timestamp").endswith("Z")
    assert response == {"messageId": "test-123", "success": True, "message": "Hello, Developer!"}


@pytest.mark.parametrize("petals", [1, 3])
@WIRES
async def test_one_answer_and_no_other(
    start: Start, mosquitto: Mosquitto, folder: Path, petals: int, wire: Wire
) -> None:
    """Three petals made of the guide's example used to give two more answers, both wrong."""
    targets = ["example.py"]
    for number in range(2, petals + 1):
        targets.append(f"example{number}.py")
        (folder / targets[-1]).write_text(GUIDE.replace("example-petal", f"example{number}"))
    program = start("run", *targets, "--broker", mosquitto.url, *WHO, *wire)
    async with observe(mosquitto.url) as observer:
        await program.connected()
        await observer.send("x/y", "unknown")
        hello = await observer.call("example-petal/hello", "known", name="Developer")
        await observer.send("example-petal/hello", "edge", "command/edge")
        await observer.answer("edge")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0, program.text
        # Behind everything that the device has published.
        await observer.wait(lambda: observer.statuses() == ["online", "offline"])
        answers = observer.answers()

    assert {name: len(found) for name, found in answers.items()} == {
        "unknown": 1,
        "known": 1,
        "edge": 1,
    }
    assert list(hello) == ["messageId", "timestamp", "success", "message"]
    assert hello["message"] == "Hello, Developer!"
    assert answers["edge"][0]["message"] == "Hello, World!"
    (unknown,) = answers["unknown"]
    assert list(unknown)[:4] == ["messageId", "timestamp", "success", "error"]
    assert unknown["success"] is False
    assert unknown["error"] == "Unknown command: x/y"
    assert unknown["error_code"] == "UNKNOWN_COMMAND"


async def test_over_our_own_broker_through_a_reconnect(start: Start) -> None:
    port = free_port()
    settings = Settings(
        broker=f"mqtt://127.0.0.1:{port}", organization_id="acme", device_id="Instance-1"
    )
    program = start("run", "example.py", "--broker", settings.broker, *WHO)
    for times in (1, 2):
        async with open_embedded_broker(port=port):
            await program.connected(times)
            async with open_client(settings) as client:
                with trio.fail_after(LIMIT):
                    response = await client.call("example-petal/hello", {"name": str(times)})
            assert response["message"] == f"Hello, {times}!"
    program.process.send_signal(signal.SIGTERM)
    assert await program.ended() == 0, program.text
    assert "Traceback" not in program.text

"""A published petal of the host, unchanged, in its simulation mode, as a user runs it.

Skipped where it is not installed: `scripts/test-published` makes an environment that has it.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from ..brokers import Mosquitto
from ..system.kit import LIMIT, PETALKIT, WHO, Program, observe, until

if importlib.util.find_spec("petal_user_journey_coordinator") is None:
    pytest.skip("needs scripts/test-published", allow_module_level=True)

pytestmark = [pytest.mark.trio, pytest.mark.process]

NAME = "petal-user-journey-coordinator"
TARGET = "petal_user_journey_coordinator"  # its entry point in the group petal.plugins


@pytest.mark.parametrize("dialect", ["guide", "host-0.2"])
async def test_it_serves_its_commands_and_ends_cleanly(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    monkeypatch.setenv("PETAL_SIMULATION_MODE", "true")
    program = Program(
        tmp_path, "run", "--host-compat", TARGET, "--broker", mosquitto.url, *WHO,
        "--dialect", dialect, "--compat-http", "127.0.0.1:0",
    )  # fmt: skip
    try:
        await program.connected()
        async with observe(mosquitto.url) as observer:
            geometry = await observer.call(f"{NAME}/geometry", "m1", rotor_count=4)
            assert geometry["message"] == "CA_ROTOR_COUNT set to 4"
            assert geometry["status"] == "success"
            wrong = await observer.call(f"{NAME}/geometry", "m2", rotor_count="four")
            assert wrong["error_code"] == "VALIDATION_ERROR"
            stream = {"subscribed_stream_id": "px4_rc_raw", "data_rate_hz": 20.0}
            started = await observer.call(f"{NAME}/subscribe_rc_value_stream", "m3", **stream)
            assert started["status"] == "success"
            await observer.wait(lambda: len(observer.on("command/web")) >= 10)
            event = observer.on("command/web")[0].json
            assert event["command"] == f"/{NAME}/publish_rc_value_stream"
            assert event["payload"]["published_stream_id"] == "px4_rc_raw"
            stop = {"unsubscribed_stream_id": "px4_rc_raw"}
            stopped = await observer.call(f"{NAME}/unsubscribe_rc_value_stream", "m4", **stop)
            assert stopped["status"] == "success"
            await observer.call(f"{NAME}/geometry", "m5", rotor_count=6)
            count = len(observer.on("command/web"))
            await observer.call(f"{NAME}/geometry", "m6", rotor_count=8)
            assert len(observer.on("command/web")) == count
            unknown = await observer.call(f"{NAME}/nothing", "m7")
            assert unknown["error_code"] == "UNKNOWN_COMMAND"
            assert f"{NAME}/geometry" in unknown["available_commands"]
            program.process.send_signal(signal.SIGTERM)
            assert await program.ended() == 0, program.text
            await observer.wait(lambda: observer.statuses() == ["online", "offline"])
            assert all(len(found) == 1 for found in observer.answers().values())
        await until(lambda: "stopped" in program.text, lambda: program.text, LIMIT)
        assert "Traceback" not in program.text
        assert "does not end" not in program.text
    finally:
        program.close()


async def test_its_pages_and_endpoints_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETAL_SIMULATION_MODE", "true")
    program = Program(
        tmp_path, "run", "--host-compat", TARGET, *WHO, "--compat-http", "127.0.0.1:0"
    )
    try:
        await program.said("HTTP endpoints? of petals on http://")
        found = re.search(r"of petals on (http://\S+)", program.text)
        assert found is not None
        async with httpx.AsyncClient(base_url=found[1], timeout=LIMIT) as client:
            page = await client.get(f"/petals/{NAME}/sim/ui")
            assert page.headers["content-type"].startswith("text/html")
            assert isinstance((await client.get(f"/petals/{NAME}/sim/state")).json(), dict)
            health = (await client.get(f"/petals/{NAME}/health")).json()
            assert health["petal_name"] == NAME
            assert (await client.post(f"/petals/{NAME}/test/geometry")).status_code != 404
            described = (await client.get("/openapi.json")).json()["paths"]
            assert len([path for path in described if path.startswith("/petals/")]) == 26
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0, program.text
    finally:
        program.close()


async def test_its_commands_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [PETALKIT, "list", "--host-compat", TARGET],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert NAME in done.stdout

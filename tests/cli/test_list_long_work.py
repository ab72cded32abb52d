"""`petalkit list` and the doctor show jobs and streams."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit.cli._checks.broker.device import compare
from petalkit.testing import open_harness

from .conftest import RunCli

FLIGHT = '''
from collections.abc import AsyncGenerator
from typing import Annotated
import msgspec
from petalkit import Job, Petal, command, job, stream

class Flight(Petal):
    name = "flight"

    @command("land")
    async def land(self): ...

    @job("fetch", queue=2, lease=3, end_on_link_loss=True)
    async def fetch(self, job: Job, count: Annotated[int, msgspec.Meta(ge=1)]) -> int:
        """Fetch some."""
        return count

    @stream("position", max_rate=50, keep=True)
    async def position(self) -> AsyncGenerator[float]:
        yield 1.0
'''


@pytest.fixture
def flight(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "flight_here.py"
    path.write_text(FLIGHT)
    yield path
    sys.modules.pop("flight_here", None)


def test_list_shows_jobs_and_streams_and_what_belongs_to_them(
    run_cli: RunCli, flight: Path
) -> None:
    outcome = run_cli("list", str(flight))
    assert outcome.code == 0
    assert outcome.out.split("\n", 2)[2] == (
        "  flight/fetch  [job, 2 wait for their turn, lease 3 s, ends when the link is lost, "
        "no timeout]\n"
        "      Fetch some.\n"
        "      count: int (required), at least 1\n"
        "      -> int, as `result`\n"
        "      with flight/subscribe_fetch, flight/unsubscribe_fetch, flight/cancel_fetch, "
        "flight/status_fetch, flight/result_fetch\n"
        "\n"
        "  flight/land  [timeout 60 s]\n"
        "\n"
        "  flight/position  [stream, at most 50 Hz, goes on unread]\n"
        "      -> float, as `result`\n"
        "      with flight/subscribe_position, flight/unsubscribe_position\n"
        "\n"
    )


@pytest.mark.trio
async def test_list_has_the_schemas_and_the_hash_that_the_device_says(
    run_cli: RunCli, flight: Path, autojump_clock: object
) -> None:
    listed = json.loads(run_cli("list", str(flight), "--json").out)
    sys.path.insert(0, str(flight.parent))
    try:
        import flight_here  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    async with open_harness(flight_here.Flight()) as harness:
        told = await harness.call("petalkit/info")
    assert listed["schema_hash"] == told["schema_hash"]
    (here,), (there,) = listed["petals"], told["petals"]
    assert here["jobs"] == there["jobs"] != []
    assert here["streams"] == there["streams"] != []
    assert here["commands"] == [one for one in there["commands"] if "part_of" not in one]


def test_a_job_that_cannot_be_served_is_no_petal_to_list(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "broken_here.py"
    path.write_text(FLIGHT.replace("queue=2", "queue=-1"))
    outcome = run_cli("list", str(path))
    assert outcome.code == 2
    assert "queue must be a whole number" in outcome.err


def test_the_doctor_counts_jobs_and_streams_however_they_are_told() -> None:
    full = {
        "petals": [{"name": "f", "version": "1", "jobs": [{"name": "f/a"}], "streams": []}],
        "commands": ["f/a"],
    }
    assert "1 job: f/a" in compare(full, None).found
    names = {"petals": [{"name": "f", "version": "1"}], "commands": ["f/a"], "streams": ["f/b"]}
    assert "1 stream: f/b" in compare(names, None).found


def test_the_doctor_finds_a_job_that_cannot_be_served(run_cli: RunCli, tmp_path: Path) -> None:
    taken = FLIGHT.replace('@command("land")', '@command("cancel_fetch")')
    for number, (text, found) in enumerate(
        [
            (FLIGHT.replace("queue=2", "queue=-1"), "queue must be a whole number"),
            (taken, "'flight/cancel_fetch' is a command, and also belongs to a job"),
        ]
    ):
        path = tmp_path / f"broken_{number}.py"
        path.write_text(text)
        assert found in run_cli("doctor", str(path), "--timeout", "0.1").out

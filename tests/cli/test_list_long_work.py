"""`petalkit list` and the doctor show jobs and streams, with what belongs to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petalkit._serving.jobs.commands.declared import declared_table
from petalkit.cli._checks.broker.device import compare
from petalkit.cli._checks.petals import check_petals
from petalkit.cli._options import HostOptions
from petalkit.cli._settings.loading import load
from petalkit.cli._targets.targets import load_targets
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

WORKS = '''
from petalkit import Job, Petal, job, stream

class Works(Petal):
    """Works."""
    name = "works"

    @job("sync", queue=2, exclusive="card", resume=True, timeout=60)
    async def sync(self, job: Job, n: int = 3) -> dict[str, int]:
        """Copy things."""
        return {"n": n}

    @job("spin", lease=3, end_on_link_loss=True)
    async def spin(self) -> None: ...

    @stream("pose", max_rate=20, keep=True)
    async def pose(self):
        """Where it is."""
        yield {"x": 1}
'''


def test_jobs_and_streams_are_listed_with_what_belongs_to_them(
    run_cli: RunCli, tmp_path: Path
) -> None:
    path = tmp_path / "works.py"
    path.write_text(WORKS)
    outcome = run_cli("list", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "works 0\n"
        "  Works.\n"
        "\n"
        "  works/spin  [job, lease 3 s, ends with the link, no timeout]\n"
        "      with works/subscribe_spin, works/unsubscribe_spin, works/cancel_spin, "
        "works/status_spin, works/result_spin\n"
        "\n"
        "  works/sync  [job, exclusive 'card', 2 wait, resumed after a restart, timeout 60 s]\n"
        "      Copy things.\n"
        "      n: int = 3\n"
        "      -> dict[str, int]\n"
        "      with works/subscribe_sync, works/unsubscribe_sync, works/cancel_sync, "
        "works/status_sync, works/result_sync\n"
        "\n"
        "  works/pose  [stream, at most 20 Hz, kept without readers]\n"
        "      Where it is.\n"
        "      with works/subscribe_pose, works/unsubscribe_pose\n"
        "\n"
    )


def test_the_same_as_json(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "works.py"
    path.write_text(WORKS)
    (works,) = json.loads(run_cli("list", str(path), "--json").out)["petals"]
    assert works["commands"] == []
    spin = next(one for one in works["jobs"] if one["name"] == "works/spin")
    assert (spin["options"]["lease"], spin["options"]["timeout"]) == (3, None)
    sync = next(one for one in works["jobs"] if one["name"] == "works/sync")
    assert sync["data"]["properties"] == {"n": {"type": "integer", "default": 3}}
    assert sync["result"]["additionalProperties"] == {"type": "integer"}
    (pose,) = works["streams"]
    assert pose["options"] == {"max_rate": 20, "keep": True}


def test_the_doctor_counts_what_a_device_serves(tmp_path: Path) -> None:
    path = tmp_path / "works.py"
    path.write_text(WORKS)
    served, _ = check_petals([str(path)], load(), HostOptions())
    assert served is not None
    names = declared_table(load_targets([str(path)], {})).commands.public_names()
    assert list(served.commands) == names
    assert len(names) == 2 * 6 + 2 + 1


@pytest.fixture
def flight(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "flight_here.py"
    path.write_text(FLIGHT)
    yield path
    sys.modules.pop("flight_here", None)


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
            (taken, "'flight/cancel_fetch' is already served by petal 'flight', Flight.land()"),
        ]
    ):
        path = tmp_path / f"broken_{number}.py"
        path.write_text(text)
        assert found in run_cli("doctor", str(path), "--timeout", "0.1").out

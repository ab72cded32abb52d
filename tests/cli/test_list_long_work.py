"""`petalkit list` of jobs and streams: their options, and the commands that belong to them."""

from __future__ import annotations

import json
from pathlib import Path

from petalkit._serving.jobs.commands.declared import declared_table
from petalkit.cli._checks.petals import check_petals
from petalkit.cli._options import HostOptions
from petalkit.cli._settings.loading import load
from petalkit.cli._targets.targets import load_targets

from .conftest import RunCli

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

"""`petalkit jobs`, `cancel`, `devices` and `info`: for people, and as one document."""

from __future__ import annotations

import functools
import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from petalkit import command
from petalkit.cli._caller.devices import show_devices
from petalkit.cli._caller.finding import matching, short_ids
from petalkit.cli._caller.info import show_info
from petalkit.cli._caller.jobs import cancel_one, show_jobs
from petalkit.transports import ConnectOptions
from petalkit.transports.memory import MemoryTransport

from ...client.long_work import LongPetal
from ..conftest import RunCli
from .kit import HOSTILE, Caller, a_caller, status_message

Capsys = pytest.CaptureFixture[str]


def job_in(caller: Caller) -> str:
    job_id: str = caller.document["jobs"][0]["job_id"]
    return job_id


@pytest.mark.trio
async def test_jobs_are_shown_and_cancelled(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(show_jobs) == 0
        assert caller.out == "no job runs on Instance-1\n"
        await caller.harness.call("long/copy", {"count": 50})
        await trio.sleep(10)
        assert await caller.run(show_jobs) == 0
        head, line = caller.out.splitlines()
        assert head.split() == ["job", "command", "state", "says"]
        assert line.split() == ["made-1", "long/copy", "running", "20%", "file", "10"]
        assert await caller.run(show_jobs, as_json=True) == 0
        assert caller.document["device_id"] == "Instance-1"
        assert job_in(caller) == "made-1"
        assert await caller.run(functools.partial(cancel_one, "mad")) == 0  # as git has it
        assert caller.out == "long/copy made-1: cancelling\n"
        await trio.sleep(1)
        assert await caller.run(show_jobs, as_json=True) == 0
        assert caller.document["jobs"] == []


@pytest.mark.trio
async def test_several_jobs_of_one_beginning_are_refused(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        for _ in range(2):
            await caller.harness.call("long/copy", {"count": 50})
        assert await caller.run(functools.partial(cancel_one, "made"), as_json=True) == 2
        said = caller.document
        assert said["error_code"] == "USAGE"
        assert said["error"] == "2 jobs begin with made: made-1, made-2"
        assert said["hint"] == "type more of the ID"


@pytest.mark.trio
async def test_a_command_is_cancelled_by_its_message_id(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys, SleepingPetal()) as caller, trio.open_nursery() as nursery:

        async def call() -> None:
            response = await caller.harness.call("long/sleep", message_id="m-1")
            assert response.error_code == "CANCELLED"

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        assert await caller.run(functools.partial(cancel_one, "m-1"), as_json=True) == 0
        assert caller.document["command"] == "long/sleep"
        assert await caller.run(functools.partial(cancel_one, "none")) == 1
        first, second = caller.err.splitlines()
        assert "UNKNOWN_MESSAGE_ID" in first
        assert second == ("petalkit: next: `petalkit jobs` shows the jobs that have not ended")


class SleepingPetal(LongPetal):
    @command("sleep")
    async def sleep(self) -> None:
        await trio.sleep(1000)


# -- devices


@pytest.mark.trio
async def test_devices_are_shown_with_the_least_that_names_each(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        await publish_statuses(caller, "Instance-abcd1111", "Instance-abce2222", "drone7")
        assert await caller.run(show_devices, needs_device=False, as_json=True) == 0
        found = {one["device_id"]: one["short"] for one in caller.document["devices"]}
        assert found == {
            "Instance-1": "1",
            "Instance-abcd1111": "abcd",
            "Instance-abce2222": "abce",
            "drone7": "dron",
        }
        assert caller.document["organization_id"] == "acme"
        assert await caller.run(show_devices, needs_device=False) == 0
        assert caller.out.splitlines()[0].split() == [
            *("device", "device", "ID", "status", "since", "petals")
        ]
        assert "\x1b" not in caller.out


async def publish_statuses(caller: Caller, *device_ids: str) -> None:
    transport = MemoryTransport(caller.harness.broker)
    async with transport.connect(ConnectOptions(client_id="others")) as link:
        for one in device_ids:
            petals = [{"name": HOSTILE, "version": HOSTILE}]
            await link.publish(status_message(one, petals=petals, timestamp=HOSTILE))


@pytest.mark.trio
async def test_a_device_is_called_by_the_start_of_its_id(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        await publish_statuses(caller, "Instance-abcd1111", "Instance-abce2222")
        assert await caller.run(functools.partial(show_info, None), device="1", as_json=True) == 0
        assert caller.document["device_id"] == "Instance-1"
        assert caller.document["jobs"] == ["long/copy"]
        assert await caller.run(show_jobs, device="abc") == 2
        assert caller.err.splitlines() == [
            "petalkit: error: --device abc: 2 devices begin so: Instance-abcd1111, "
            "Instance-abce2222",
            "petalkit: next: type more of the ID of the one that you mean",
        ]
        assert await caller.run(show_jobs, device="zzz", as_json=True) == 2
        assert "no device of 'acme' that the broker knows begins so" in caller.document["error"]
        assert "petalkit devices" in caller.document["hint"]


@pytest.mark.trio
async def test_devices_need_no_rights_on_the_answers_of_one(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        caller.harness.broker.reject_subscribe("org/acme/device/Instance-1/response")
        assert await caller.run(show_devices, needs_device=False) == 0
        caller.harness.broker.reject_subscribe("org/acme/device/+/status")
        assert await caller.run(show_devices, needs_device=False, as_json=True) == 2
        assert caller.document["error_code"] == "NO_CONNECTION"


def test_an_id_in_full_goes_before_the_beginning_of_another() -> None:
    ids = ["Instance-a", "Instance-ab", "a", "ab-Instance-a"]
    assert matching("Instance-a", ids) == ["Instance-a"]
    assert matching("a", ids) == ["a"]
    assert matching("Instance-ab", ids) == ["Instance-ab"]
    assert matching("x", ids) == []
    for one in ids:
        assert matching(short_ids(ids)[one], ids) == [one]


def test_many_devices_are_told_apart_at_once() -> None:
    """Each is told from its neighbours alone, and not from all."""

    class Counting(str):
        compared = 0

        def startswith(self, *what: object) -> bool:
            Counting.compared += 1
            return super().startswith(*what)  # type: ignore[arg-type]

    ids: list[str] = [Counting(f"Instance-{number:064x}") for number in range(300)]
    short = short_ids(ids)
    assert Counting.compared == 0
    assert short[ids[0x12B]] == f"{0x12B:064x}"
    assert len(set(short.values())) == 300


def test_device_and_device_id_are_not_given_together(run_cli: RunCli) -> None:
    outcome = run_cli("jobs", "--device", "a", "--device-id", "Instance-1", "--json")
    assert outcome.code == 2
    assert json.loads(outcome.out)["error_code"] == "USAGE"
    assert outcome.err == ""
    assert run_cli("jobs", "--device", "").code == 2


# -- info


@pytest.mark.trio
async def test_info_on_what_is_not_served_leads_to_what_is(
    capsys: Capsys, autojump_clock: object
) -> None:
    async with a_caller(capsys) as caller:
        for name in ("nope", "long/nope"):
            assert await caller.run(functools.partial(show_info, name)) == 1
            last = caller.err.splitlines()[-1]
            assert last == "petalkit: next: `petalkit info` shows what the device serves"


@pytest.mark.trio
async def test_info_shows_what_a_device_serves(capsys: Capsys, autojump_clock: object) -> None:
    async with a_caller(capsys) as caller:
        assert await caller.run(functools.partial(show_info, None)) == 0
        lines = caller.out.splitlines()
        assert lines[0].startswith("Instance-1 with petalkit ")
        assert "  long/copy  [job]" in lines
        assert "      count: integer = 3" in lines
        assert "  long/position  [stream, at most 50 Hz]" in lines
        assert '      name: string = "World"' in lines
        assert not any("cancel_copy" in line for line in lines)
        assert await caller.run(functools.partial(show_info, "long/copy")) == 0
        assert caller.out.splitlines()[:2] == ["  long/copy  [job]", "      count: integer = 3"]
        assert await caller.run(functools.partial(show_info, "long/hello"), as_json=True) == 0
        assert caller.document["command"]["name"] == "long/hello"
        assert await caller.run(functools.partial(show_info, "none")) == 1
        assert caller.err.startswith("petalkit: error: the device answered ")


@pytest.mark.trio
async def test_a_schema_may_say_anything(capsys: Capsys, autojump_clock: object) -> None:
    from petalkit.cli._listing.schema_words import field_lines

    loop: dict[str, object] = {"$ref": "#/$defs/A"}
    hostile = {
        "properties": {
            HOSTILE: {"type": HOSTILE, "default": HOSTILE, "minimum": HOSTILE},
            "a": loop,
            "b": {"anyOf": [3, {"type": "null"}, {"items": loop, "type": "array"}]},
            "c": 7,
            "d": {"enum": [HOSTILE, {"x": 1}]},
            "e": {"$ref": "#/$defs/none"},
            "f": {"type": ["string", 3]},
        },
        "required": HOSTILE,
        "$defs": {"A": {"properties": {"again": loop, "more": {"type": "integer"}}}},
    }
    text = "\n".join(line.plain for line in field_lines(hostile, ""))
    assert "\x1b" not in text
    assert "again: A" in text
    assert len(text.splitlines()) < 50
    for other in (None, 3, [], {}, {"properties": []}, {"properties": {"x": None}}):
        assert list(field_lines(other, "")) == []

"""Every answer that petalkit words says the codes that its clients read."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import (
    CommandContext,
    CommandError,
    Identity,
    Job,
    Petal,
    Settings,
    command,
    job,
    open_client,
    stream,
)
from petalkit.testing import open_harness
from petalkit.transports.memory import MemoryTransport

from .on_disk import after_crash, settings
from .recorder import settle

pytestmark = pytest.mark.trio

THEIRS = {
    "INVALID_DATA": "INVALID_PARAMETERS",
    "BUSY": "OPERATION_ACTIVE",
    "UNKNOWN_COMMAND": "NO_SUCH_COMMAND",
    "UNKNOWN_JOB": "NO_SUCH_JOB",
    "UNKNOWN_MESSAGE_ID": "NO_SUCH_MESSAGE",
    "HANDLER_ERROR": "INTERNAL",
    "TIMEOUT": "TOO_SLOW",
    "CANCELLED": "ABORTED",
    "INTERRUPTED": "POWER_LOST",
    "INVALID_JSON": "GARBLED",
}
BOTH = pytest.mark.parametrize("dialect", ["guide", "host-0.2"])


class Petals(Petal):
    name = "p"

    @command("add")
    async def add(self, a: int) -> None: ...

    @command("fail")
    async def fail(self) -> None:
        raise RuntimeError("broken")

    @command("own")
    async def own(self) -> None:
        raise CommandError("BUSY", "in its own words, the code of petalkit")

    @command("long", exclusive="g")
    async def long(self) -> None:
        await trio.sleep(100)

    @command("slow", timeout=1)
    async def slow(self) -> None:
        await trio.sleep(100)

    @command("two", timeout=5)
    async def two(self, context: CommandContext) -> None:
        await context.accept()
        await trio.sleep(100)

    @job("work", timeout=5)
    async def work(self, job: Job) -> None:
        await trio.sleep(100)

    @stream("values")
    async def values(self) -> AsyncGenerator[int]:
        yield 1
        await trio.sleep(1)
        raise RuntimeError("broken")


@BOTH
async def test_answers_of_commands(
    autojump_clock: object, dialect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    given = Settings(dialect=dialect, error_codes=THEIRS)
    async with open_harness(Petals(), settings=given) as harness:
        harness.send("p/long", wait_response=False)
        await settle()
        for name, data, code, said in (
            ("p/add", {"a": "x"}, "INVALID_DATA", "INVALID_PARAMETERS"),
            ("p/long", {}, "BUSY", "OPERATION_ACTIVE"),
            ("p/own", {}, "BUSY", "OPERATION_ACTIVE"),
            ("p/fail", {}, "HANDLER_ERROR", "INTERNAL"),
            ("p/slow", {}, "TIMEOUT", "TOO_SLOW"),
            ("p/nothing", {}, "UNKNOWN_COMMAND", "NO_SUCH_COMMAND"),
            ("p/status_work", {"job_id": "x"}, "UNKNOWN_JOB", "NO_SUCH_JOB"),
            ("petalkit/cancel", {"messageId": "x"}, "UNKNOWN_MESSAGE_ID", "NO_SUCH_MESSAGE"),
        ):
            response = await harness.call(name, data)
            # The harness reads it back, as a client with these settings does.
            assert (response["error_code"], response.error_code) == (said, code)
        # The log and the counters are ours.
        assert "TOO_SLOW" not in caplog.text
        assert harness.statistics().failed["TIMEOUT"] == 1
        with harness.debug() as reports:
            harness.send_raw(b"{")
            await settle()
        assert reports[0]["error_code"] == "GARBLED"


@BOTH
async def test_ends_of_jobs_streams_and_second_phases(autojump_clock: object, dialect: Any) -> None:
    given = Settings(dialect=dialect, error_codes=THEIRS)
    reader = {"subscribed_stream_id": "s"}
    arguments = {"guide": "data", "host-0.2": "payload"}[dialect]
    async with open_harness(Petals(), settings=given) as harness:
        with harness.events() as events:
            await harness.call("p/subscribe_work", reader)
            await harness.call("p/work")
            busy = await harness.call("p/work")
            assert busy["error_code"] == "OPERATION_ACTIVE"
            await trio.sleep(10)
            await harness.call("p/subscribe_values", reader)
            await harness.call("p/two", message_id="m")
            await trio.sleep(10)
        found = [one[arguments] for one in events]
        ends = [one["stream_payload"] for one in found if "stream_payload" in one]
        assert [one["job_error_code"] for one in ends if "job_error_code" in one] == ["TOO_SLOW"]
        assert [one["error_code"] for one in ends if "ended" in one] == ["INTERNAL"]
        assert [one["error_code"] for one in found if "stream_payload" not in one] == ["TOO_SLOW"]
        result = await harness.call("p/result_work")
        assert result["job_error_code"] == "TOO_SLOW"


async def test_what_a_crash_has_interrupted(autojump_clock: object, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    given = attrs.evolve(settings(path), error_codes=THEIRS)
    async with open_harness(Petals(), settings=given) as harness:
        harness.send("p/long", message_id="m")
        await harness.call("p/work")
        await settle()
        crashed = after_crash(path)
        harness.runtime.hurry()
    given = attrs.evolve(settings(crashed), error_codes=THEIRS)
    async with open_harness(Petals(), settings=given) as harness:
        await settle()
        answer = await harness.call("p/long", message_id="m")
        assert (answer["error_code"], answer.error_code) == ("POWER_LOST", "INTERRUPTED")
        result = await harness.call("p/result_work")
        assert (result["state"], result["job_error_code"]) == ("interrupted", "POWER_LOST")


async def test_a_client_reads_them_back(autojump_clock: object) -> None:
    given = Settings(error_codes=THEIRS, organization_id="acme", device_id="Instance-1")
    async with open_harness(Petals(), settings=given) as harness:
        for own, code in ((given, "INVALID_DATA"), (Settings(), "INVALID_PARAMETERS")):
            async with open_client(
                own,
                identity=Identity("acme", "Instance-1"),
                transport=MemoryTransport(harness.broker),
            ) as client:
                response = await client.request("p/add", {"a": "x"})
                assert response.error_code == code
                assert json.loads(json.dumps(dict(response)))["error_code"] == "INVALID_PARAMETERS"

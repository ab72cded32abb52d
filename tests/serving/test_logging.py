"""The log: who, what and how long; never what a payload held."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import trio

from petalkit import CommandLogFilter, Petal, Settings, command
from petalkit._serving.process.log_lines import TextFormatter
from petalkit.testing import open_harness

from .recorder import Recorder, settle

pytestmark = pytest.mark.trio

own = logging.getLogger("tests.own_petal")


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.addFilter(CommandLogFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self, logger: str, level: int = 0) -> list[logging.LogRecord]:
        return [
            record
            for record in self.records
            if record.name.startswith(logger) and record.levelno >= level
        ]


@pytest.fixture
def log() -> Iterator[Keeper]:
    keeper = Keeper()
    root = logging.getLogger()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    yield keeper
    root.removeHandler(keeper)
    root.setLevel(level)


class Talker(Petal):
    name = "talker"

    @command("say")
    async def say(self, text: str) -> None:
        own.info("in the handler")
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._child)

    async def _child(self) -> None:
        own.info("in its child")

    @command("think", thread=True)
    def think(self) -> None:
        own.info("in its thread")

    @command("bug")
    async def bug(self, text: str) -> None:
        raise ValueError("a bug")


async def test_received_and_answered_are_logged_with_their_fields(
    log: Keeper, autojump_clock: object
) -> None:
    async with open_harness(Talker()) as harness:
        await harness.call("talker/say", {"text": "x"}, message_id="m")
    received, answered = log.lines("petalkit.commands", logging.INFO)
    for record in (received, answered):
        fields = record.__dict__
        assert (fields["petal"], fields["command"], fields["message_id"]) == (
            "talker",
            "talker/say",
            "m",
        )
    assert (received.getMessage(), answered.getMessage()) == ("received", "answered")
    assert (received.__dict__["elapsed"], answered.__dict__["elapsed"]) == (0.0, 2.0)


async def test_elapsed_of_a_command_that_was_held_counts_from_its_acceptance(
    log: Keeper, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, channel_capacity=1)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(3):
            harness.send("rec/hold", {"n": n}, message_id=f"m{n}")
            await settle()
        assert harness.statistics().held == 1
        await trio.sleep(100)
        petal.open()
        await settle()
    lines = [
        (record.getMessage(), record.__dict__["elapsed"])
        for record in log.lines("petalkit.commands", logging.INFO)
        if record.__dict__["message_id"] == "m2"
    ]
    assert lines == [("received", 0.0), ("answered", 0.0)]


async def test_what_a_petal_logs_carries_its_command(log: Keeper, autojump_clock: object) -> None:
    async with open_harness(Talker()) as harness:
        await harness.call("talker/say", {"text": "x"}, message_id="m")
    lines = log.lines("tests.own_petal")
    assert [record.getMessage() for record in lines] == ["in the handler", "in its child"]
    assert {record.__dict__["message_id"] for record in lines} == {"m"}


async def test_so_does_what_a_thread_logs(log: Keeper, mock_clock: trio.testing.MockClock) -> None:
    async with open_harness(Talker()) as harness:
        await harness.call("talker/think", message_id="m")
    (line,) = log.lines("tests.own_petal")
    assert line.__dict__["message_id"] == "m"


async def test_no_payload_is_logged_at_info_or_above(log: Keeper, autojump_clock: object) -> None:
    secret = "hunter2-secret"
    async with open_harness(Talker()) as harness:
        await harness.call("talker/say", {"text": secret})
        await harness.call("talker/bug", {"text": secret})
        await harness.call("talker/say", {"text": [secret]})
        await harness.call("talker/say", {"text": secret}, message_id="m")
        await harness.call("talker/say", {"text": secret + "2"}, message_id="m")
        harness.send_raw(secret.encode())
        harness.send_raw(b'{"password": "' + secret.encode() + b'"}')
        await settle()
    formatter = logging.Formatter()
    for record in log.lines("petalkit", logging.INFO):
        text = formatter.format(record) + repr(record.__dict__)
        assert secret not in text


async def test_a_duplicates_answer_is_logged_with_its_first_time(
    log: Keeper, autojump_clock: object
) -> None:
    async with open_harness(Recorder()) as harness:
        await harness.call("rec/note", message_id="m")
        await trio.sleep(42)
        await harness.call("rec/note", message_id="m")
    (line,) = [record for record in log.lines("petalkit") if "not run again" in record.getMessage()]
    assert line.levelno == logging.INFO
    assert "42.0 s ago" in line.getMessage()


async def test_what_happens_to_one_command_is_never_logged_as_anothers(
    log: Keeper, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(petal_concurrency=1, concurrency=1, channel_capacity=1, channel_reserve=2)
    async with open_harness(petal, settings=settings) as harness:
        harness.send("rec/hold", message_id="running")
        await settle()
        harness.send("rec/hold", message_id="waiting")
        harness.send("rec/note", message_id="late", expiresAt="2026-01-01T00:00:05Z")
        await trio.sleep(10)
        petal.open()
        await settle()
    (line,) = [record for record in log.records if record.__dict__.get("error_code") == "EXPIRED"]
    assert line.__dict__["message_id"] == "late"
    assert line.__dict__["command"] == "rec/note"


async def test_a_refusal_says_why_and_its_code_once(log: Keeper, autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.send("rec/note", waitResponse="yes", timestamp=5)
        harness.send("rec/nothing")
        harness.send("rec/alone")
        await settle()
        harness.send("rec/alone")
        harness.send("rec/note", expiresAt="2020-01-01T00:00:00Z")
        harness.send("rec/note", {"n": "three"})
        await harness.call("rec/brief")
    said = {
        record.__dict__["error_code"]: TextFormatter().format(record)
        for record in log.records
        if "error_code" in record.__dict__
    }
    for code, words in {
        "INVALID_COMMAND": "refused: not a command: waitResponse expected",
        "UNKNOWN_COMMAND": "refused: Unknown command: rec/nothing",
        "BUSY": "answered: rec/alone is running; motor takes one at a time",
        "EXPIRED": "expired",
        "INVALID_DATA": "answered: data.n expected",
        "TIMEOUT": "answered: rec/brief did not finish within 5 s",
    }.items():
        assert words in said[code]
        assert said[code].count(code) == 1


async def test_the_wires_text_is_escaped(log: Keeper, autojump_clock: object) -> None:
    async with open_harness(Recorder()) as harness:
        await harness.call("rec/x\nFAKE LINE", message_id="a\nb")
        harness.send_raw(b'{"command": "a\\nFAKE LINE", "messageId": 5}')
        await settle()
    for record in log.lines("petalkit"):
        assert "FAKE LINE" not in record.getMessage().replace("\\nFAKE LINE", "")

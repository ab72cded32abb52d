"""The two lines of a command: little work, and all that `logging` promises."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import logging.handlers
import os
import pickle
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from petalkit._serving.dispatch.execution import Execution
from petalkit._serving.loggers import keep_on, watch_handler
from petalkit._serving.process import log_stream, passes
from petalkit._serving.process.log_stream import PASS_LINES, LineWriter
from petalkit._serving.process.logs import _OurHandler, configure_logging
from petalkit._serving.process.passes import gathered_by_pass

LOGGER = "petalkit.commands"
HOSTILE = "a\nb\r\x1b[2J\u2028\u202eevil\x9b\ud800"
Log = Callable[[], str]  # what was written since it was last asked


@pytest.fixture
def root_alone() -> Iterator[None]:
    """Without the handlers of pytest, and all put back."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.handlers[:], root.level
    found = root.manager.loggerDict.values()
    on = [one for one in found if isinstance(one, logging.Logger) and not one.disabled]
    root.handlers[:] = []
    yield
    for one in on:  # dictConfig turns off all that it is not told of
        one.disabled = False
    watch_handler(None)
    for handler in root.handlers:
        if isinstance(handler, _OurHandler):
            handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.handlers[:], ours.filters[:], ours.propagate = [], [], True
    ours.setLevel(logging.NOTSET)
    logging.getLogger("petalkit").setLevel(logging.NOTSET)
    logging.setLogRecordFactory(logging.LogRecord)


def open_log(form: Any = "text") -> tuple[int, Any]:
    reader, writer = os.pipe()
    stream = open(writer, "w", encoding="utf-8")  # noqa: SIM115 - closed by the fixture
    configure_logging("info", form, stream)
    keep_on()
    os.set_blocking(reader, False)
    return reader, stream


def unread(reader: int) -> str:
    with contextlib.suppress(BlockingIOError):
        return os.read(reader, 1 << 20).decode()
    return ""


@pytest.fixture(params=["text", "json"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(root_alone: None) -> Iterator[Log]:
    reader, stream = open_log()
    yield lambda: unread(reader)
    configure_logging("info", stream=io.StringIO())
    stream.close()
    os.close(reader)


def execution(message_id: str | None = "m-1", reason: str | None = None) -> Execution:
    """Of a command that came at 2 and is at 2.5 now."""
    found = SimpleNamespace(
        spec=SimpleNamespace(petal="rec", name="rec/note"),
        command=SimpleNamespace(message_id=message_id),
        clock=SimpleNamespace(current_time=lambda: 2.5),
        arrived=2.0,
        wait_response=True,
        replies=(),
        reason=reason,
    )
    found._log = lambda text, code: Execution._log(cast(Any, found), text, code)
    return cast(Execution, found)


def say_both(message_id: str | None = "m-1") -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:  # pytest puts its own there when a test begins
        if type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
    Execution.log_received(execution(message_id))
    Execution.log_answer(execution(message_id, "x expected"), "INVALID_DATA")


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def no_records(*args: Any, **more: Any) -> logging.LogRecord:
    raise AssertionError("a record is made")


def test_no_record_is_made_where_our_handler_alone_would_see_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_both()  # the first tells what is the same in all
    log()
    monkeypatch.setattr(logging.Logger, "handle", no_records)
    say_both()
    received, answered = log().splitlines()
    assert received.endswith(
        "INFO    petalkit.commands received petal=rec command=rec/note messageId=m-1 elapsed=0.5000"
    )
    assert answered.endswith(
        "INFO    petalkit.commands answered: x expected petal=rec command=rec/note messageId=m-1 "
        "elapsed=0.5000 error_code=INVALID_DATA"
    )


@pytest.mark.parametrize("message_id", ["m-1", None, HOSTILE, "x elapsed=9", 'a"b\\', "x" * 5000])
def test_a_line_is_the_same_with_a_record_and_without(
    root_alone: None, form: str, message_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.25)
    reader, stream = open_log(form)
    say_both()
    unread(reader)
    say_both(message_id)
    without = unread(reader)
    logging.getLogger(LOGGER).addFilter(lambda record: True)
    say_both(message_id)
    with_records = unread(reader)
    stream.close()
    os.close(reader)

    def untimed(text: str) -> list[str]:
        return [line.replace(line[: line.index("Z")], "") for line in text.splitlines()]

    if form == "text":
        assert untimed(without) == untimed(with_records)
    else:
        pairs = [[json.loads(one) for one in text.splitlines()] for text in (without, with_records)]
        for line in (*pairs[0], *pairs[1]):
            del line["time"]
        assert pairs[0] == pairs[1]
    assert len(without.splitlines()) == 2


@pytest.mark.parametrize("whose", [LOGGER, "petalkit", ""])
def test_another_handler_gets_whole_records(log: Log, whose: str) -> None:
    say_both()
    log()
    keeper = Keeper()
    logger = logging.getLogger(whose)
    logger.addHandler(keeper)
    try:
        say_both()
    finally:
        logger.removeHandler(keeper)
    assert len(log().splitlines()) == 2
    received, answered = keeper.records
    assert (received.getMessage(), answered.getMessage()) == ("received", "answered: x expected")
    made = logging.getLogger(LOGGER).makeRecord(LOGGER, logging.INFO, "f", 1, "x", (), None, "f")
    extra = {"petal", "command", "message_id", "elapsed"}
    assert received.__dict__.keys() == made.__dict__.keys() | extra
    assert answered.__dict__.keys() == made.__dict__.keys() | extra | {"error_code"}
    for name in ("process", "processName", "thread", "threadName", "levelno", "exc_info", "args"):
        assert getattr(received, name) == getattr(made, name), name
    assert abs(made.created - received.created) < 60
    assert abs(made.relativeCreated - received.relativeCreated) < 60_000
    assert received.msecs == int(received.created % 1 * 1000)
    assert os.path.basename(received.pathname) == "execution.py"
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s %(elapsed)s").format(received)
    assert text.endswith("INFO received 0.5")


def test_records_can_be_copied_pickled_and_queued(log: Log) -> None:
    say_both()
    lines: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = logging.handlers.QueueHandler(lines)
    logging.getLogger().addHandler(handler)
    say_both()
    logging.getLogger().removeHandler(handler)
    for record in (lines.get_nowait(), lines.get_nowait()):
        same = pickle.loads(pickle.dumps(copy.copy(record)))
        assert same.__dict__ == record.__dict__


def test_a_filter_of_the_logger_sees_and_drops(log: Log) -> None:
    say_both()
    log()
    seen: list[logging.LogRecord] = []
    logging.getLogger(LOGGER).addFilter(lambda one: bool(seen.append(one)) or len(seen) == 2)
    say_both()
    assert [record.getMessage() for record in seen] == ["received", "answered: x expected"]
    assert "answered" in log()


def test_a_filter_of_our_handler_sees_and_drops(log: Log) -> None:
    say_both()
    log()
    (handler,) = logging.getLogger().handlers
    handler.addFilter(lambda record: cast(Any, record).message_id != "m-1")
    say_both()
    assert log() == ""
    say_both("m-2")
    assert log().count("m-2") == 2


def test_another_formatter_is_used(log: Log) -> None:
    say_both()
    log()
    (handler,) = logging.getLogger().handlers
    handler.setFormatter(logging.Formatter("%(levelname)s %(command)s %(message)s"))
    say_both()
    assert log() == "INFO rec/note received\nINFO rec/note answered: x expected\n"


def test_a_factory_of_the_programs_makes_the_records(log: Log) -> None:
    say_both()
    keeper = Keeper()

    class Own(logging.LogRecord):
        made = 0

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            Own.made += 1

    logging.setLogRecordFactory(Own)
    say_both()
    assert Own.made == 2
    logging.getLogger(LOGGER).addHandler(keeper)
    say_both()
    assert {type(record) for record in keeper.records} == {Own}


def test_a_class_of_loggers_of_the_programs_own_handles_the_records(log: Log) -> None:
    say_both()
    logger: Any = logging.getLogger(LOGGER)
    ours = type(logger)
    handled: list[str] = []

    class Own(ours):  # type: ignore[misc, valid-type]
        def handle(self, record: logging.LogRecord) -> None:
            handled.append(record.getMessage())

    logger.__class__ = Own
    try:
        say_both()
    finally:
        logger.__class__ = ours
    assert handled == ["received", "answered: x expected"]


def test_what_was_done_to_the_log_is_told_with_the_next_line(log: Log) -> None:
    say_both()
    log()
    (handler,) = logging.getLogger().handlers
    exec("import logging.config; logging.config.dictConfig({'version': 1})", {})
    say_both()
    handler.flush()  # it was closed, so a thread writes
    assert "has turned off petalkit's loggers" in log()


def test_levels_hold(log: Log) -> None:
    say_both()
    log()
    logging.getLogger(LOGGER).setLevel(logging.WARNING)
    say_both()
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    (handler,) = logging.getLogger().handlers
    handler.setLevel(logging.WARNING)
    say_both()
    assert log() == ""


def test_a_logger_that_keeps_its_lines_to_itself_does(log: Log) -> None:
    say_both()
    log()
    for name in (LOGGER, "petalkit"):
        logging.getLogger(name).propagate = False
        say_both()
        logging.getLogger(name).propagate = True
    assert log() == ""


def test_a_record_of_another_thread_names_it(log: Log) -> None:
    say_both()
    keeper = Keeper()
    logging.getLogger(LOGGER).addHandler(keeper)
    thread = threading.Thread(target=say_both, name="another")
    thread.start()
    thread.join()
    assert {record.threadName for record in keeper.records} == {"another"}


# -- once in each pass of the event loop


@pytest.fixture
def in_pass() -> Iterator[Callable[[], None]]:
    """As within a pass, whose end is called."""
    passes.current.thread = threading.get_ident()
    yield passes._end_pass
    passes.current.thread = None
    passes._end_pass()


def test_the_lines_of_a_pass_are_one_write(
    log: Log, in_pass: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say_both()
    in_pass()
    log()
    writes: list[bytes] = []
    real = log_stream.LineWriter._write_at_once

    def write(self: LineWriter, data: bytes) -> int:
        writes.append(data)
        return real(self, data)

    monkeypatch.setattr(LineWriter, "_write_at_once", write)
    say_both("m-1")
    say_both("m-2")
    assert (writes, log()) == ([], "")
    in_pass()
    assert len(writes) == 1
    assert [line.partition("messageId=")[2][:3] for line in log().splitlines()] == [
        *("m-1", "m-1", "m-2", "m-2")
    ]


def test_trio_ends_the_pass_before_it_waits(log: Log) -> None:
    async def serve() -> tuple[str, str]:
        with gathered_by_pass():
            say_both()
            await trio.lowlevel.checkpoint()
            log()
            say_both()
            within = log()
            await trio.lowlevel.checkpoint()
            after = log()
            say_both()
        return within, after

    within, after = trio.run(serve)
    assert (within, after.count("\n")) == ("", 2)
    assert log().count("\n") == 2  # at the end of the block
    say_both()
    assert log().count("\n") == 2  # and after it


def test_what_else_is_logged_or_printed_comes_after_what_was_gathered(
    log: Log, in_pass: Callable[[], None]
) -> None:
    say_both()
    in_pass()
    log()
    say_both()
    logging.getLogger("my_petal").info("working")
    assert [line.split()[2:4] for line in log().splitlines()] == [
        [LOGGER, "received"],
        [LOGGER, "answered:"],
        ["my_petal", "working"],
    ]
    say_both()
    (handler,) = logging.getLogger().handlers
    thread = threading.Thread(target=lambda: cast(_OurHandler, handler)._writer.write("other\n"))  # type: ignore[union-attr]
    thread.start()
    thread.join()
    assert log().splitlines()[-1] == "other"
    say_both()
    handler.flush()
    assert log().count("\n") == 2


class Watched(deque[Any]):
    """Runs something whenever it has been looked at."""

    then: Callable[[], object] = staticmethod(lambda: None)

    def __len__(self) -> int:
        found = super().__len__()
        self.then()
        return found


def test_a_line_is_not_left_behind_by_another_thread_that_gathers_one(
    log: Log, in_pass: Callable[[], None]
) -> None:
    say_both()
    in_pass()
    log()
    (handler,) = logging.getLogger().handlers
    writer: Any = cast(_OurHandler, handler)._writer
    line = (0.0, "INFO", LOGGER, "x", "p", "p/x", "m", 0.0, None)
    begun, go_on = threading.Event(), threading.Event()
    writes = writer.write_bytes

    def write_later(data: bytes) -> None:
        begun.set()
        assert go_on.wait(10)
        writes(data)

    def finish() -> None:
        gathered.then = lambda: None
        writer.write_bytes = writes
        go_on.set()
        thread.join()

    gathered = writer._gathered = Watched()
    writer.write_bytes = write_later
    thread = threading.Thread(target=lambda: writer.gather(line))
    thread.start()
    assert begun.wait(10)
    gathered.then = finish
    writer.gather(line)  # meanwhile
    in_pass()
    assert log().count("\n") == 2


def test_a_long_pass_gathers_no_more_than_so_many(log: Log, in_pass: Callable[[], None]) -> None:
    say_both()
    in_pass()
    log()
    for _ in range(PASS_LINES // 2):
        say_both()
    assert log().count("\n") == PASS_LINES


def test_each_line_of_a_pass_that_finds_no_room_is_counted(in_pass: Callable[[], None]) -> None:
    reader, descriptor = os.pipe()
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"." * 4096)
    writer = LineWriter(descriptor, kept_max=100)
    line = (0.0, "INFO", LOGGER, "x" * 29, "p", "p/x", "m", 0.0, None)
    for _ in range(10):
        writer.gather(line)
    in_pass()
    assert (writer.dropped, writer._size) == (7, 90)
    writer.close()
    os.close(reader)
    os.close(descriptor)


@pytest.mark.process
def test_a_forked_child_does_not_write_what_its_parent_gathered(
    log: Log, in_pass: Callable[[], None]
) -> None:
    say_both()
    in_pass()
    log()
    say_both("parent")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            say_both("child")
        os._exit(0)
    os.waitpid(child, 0)
    in_pass()
    text = log()
    assert (text.count("parent"), text.count("child")) == (2, 2)

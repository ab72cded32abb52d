"""Lines to a reader that is slow, stopped, or gone."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petalkit._serving.loggers import dropped_lines
from petalkit._serving.process.log_stream import KEPT_MAX, LineWriter, descriptor_of
from petalkit._serving.process.logs import _OurHandler, configure_logging
from petalkit._serving.process.standard_streams import last_words

LINE = "x" * 99 + "\n"
PATIENCE = 30.0  # seconds for a thread to write what is read at once


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def fill(descriptor: int) -> int:
    """Write until nothing more fits; how many bytes that were."""
    os.set_blocking(descriptor, False)
    filled = 0
    try:
        while True:
            filled += os.write(descriptor, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(descriptor, True)
        return filled


def read_exactly(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


def test_a_line_is_written_at_once_where_it_can_be(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    writer.write(LINE)
    assert not writer._draining
    assert os.read(reader, 1000) == LINE.encode()
    writer.close()


def test_a_reader_that_hangs_holds_up_nobody_and_gets_all_lines_later(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = LineWriter(descriptor)
    for number in range(200):
        writer.write(f"{number}\n")
    writer.flush(0.0)
    read_exactly(reader, filled)
    expected = "".join(f"{number}\n" for number in range(200)).encode()
    assert read_exactly(reader, len(expected)) == expected
    writer.flush(PATIENCE)
    writer.write("again\n")
    assert os.read(reader, 1000) == b"again\n"
    writer.close()


def test_what_is_beyond_the_bound_is_dropped_and_told(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = LineWriter(descriptor, kept_max=10 * len(LINE))
    for _ in range(25):
        writer.write(LINE)
    assert writer.dropped == 15
    read_exactly(reader, filled)
    expected = LINE * 10 + "petalkit: 15 records dropped: whoever reads the log was"
    assert read_exactly(reader, len(expected)) == expected.encode()
    writer.flush(PATIENCE)
    assert (writer.dropped, writer._size) == (0, 0)
    writer.close()


def test_a_line_that_is_longer_than_a_pipe_takes_at_once_is_written_by_the_thread(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    long = "y" * 200_000 + "\n"
    writer.write(long)
    writer.write(LINE)
    assert read_exactly(reader, len(long) + len(LINE)) == (long + LINE).encode()
    writer.flush(PATIENCE)
    writer.close()


def test_a_reader_that_is_gone_costs_nothing(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    os.close(reader)
    for _ in range(3):
        writer.write(LINE)
    writer.flush(PATIENCE)
    assert writer._size == 0
    writer.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)  # for the fixture


def test_characters_that_no_encoding_has_are_written_all_the_same(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    writer.write("\ud800\n")
    assert os.read(reader, 100) == b"\\ud800\n"
    writer.close()


def test_a_stream_in_memory_has_no_descriptor() -> None:
    assert descriptor_of(io.StringIO()) is None


def test_the_log_of_a_process_does_not_wait_for_its_reader(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    with open(os.dup(descriptor), "w", encoding="utf-8") as stream:
        configure_logging("info", stream=stream)
        logger = logging.getLogger("petalkit.test")
        for _ in range(100):
            logger.info("a line")
        read_exactly(reader, filled)
        configure_logging("info", stream=sys.stderr)  # flushes the other, and closes it
    text = b""
    while text.count(b"\n") < 100:
        text += os.read(reader, KEPT_MAX)
    assert text.count(b"a line") == 100


class Watched(LineWriter):
    """Tells when its thread has written, and looks for more."""

    def _next(self) -> bytes | None:
        with self._turn:
            self._turn.notify_all()
        return super()._next()

    def _begin(self) -> None:
        self._turn = threading.Condition()
        super()._begin()

    def wait_size(self, most: int) -> bool:
        """Whether the thread writes until so many bytes are left."""
        with self._turn:
            return self._turn.wait_for(lambda: self._size <= most, PATIENCE)


def in_thread(call: Callable[[], object]) -> bool:
    """Whether a call returns at all."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE / 10)
    return not thread.is_alive()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, terminal = pty.openpty()
    yield master, terminal
    os.close(master)  # ends whoever waits
    os.close(terminal)


def test_a_terminal_that_is_not_read_holds_up_nobody(terminal: tuple[int, int]) -> None:
    master, descriptor = terminal
    writer = LineWriter(descriptor)

    def write() -> None:
        for _ in range(3000):
            writer.write(LINE)

    assert in_thread(write)
    size = 3000 * (len(LINE) + 1)  # a terminal ends lines with two characters
    assert read_exactly(master, size) == 3000 * LINE.replace("\n", "\r\n").encode()
    writer.flush(PATIENCE)
    writer.close()


def test_last_words_do_not_wait_for_a_terminal_that_has_room_for_some_of_them(
    terminal: tuple[int, int],
) -> None:
    _, descriptor = terminal
    fill(descriptor)
    stderr = os.dup(2)

    def say() -> None:
        for _ in range(3):
            last_words("x" * 99)

    os.dup2(descriptor, 2)
    try:
        assert in_thread(say)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def test_lines_to_a_pipe_that_somebody_made_non_blocking_are_not_lost(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    os.set_blocking(descriptor, False)
    writer = LineWriter(descriptor)
    for number in range(200):
        writer.write(f"{number}\n")
    writer.flush(0.05)
    read_exactly(reader, filled)
    writer.flush(PATIENCE)
    expected = "".join(f"{number}\n" for number in range(200)).encode()
    assert os.read(reader, 10_000) == expected
    writer.close()


def test_a_line_of_a_finalizer_starts_no_second_thread(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = LineWriter(descriptor)
    made: list[threading.Thread] = []

    def thread(**arguments: Any) -> threading.Thread:
        if not made:
            made.append(threading.main_thread())
            writer.write("of a finalizer\n")
        made.append(real(**arguments))
        return made[-1]

    real = threading.Thread
    monkeypatch.setattr(threading, "Thread", thread)
    writer.write("a line\n")
    assert len(made) == 2
    read_exactly(reader, filled)
    assert read_exactly(reader, 22) == b"a line\nof a finalizer\n"
    writer.flush(PATIENCE)
    writer.close()


def test_where_no_thread_can_be_started_the_next_line_tries_again(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = LineWriter(descriptor)

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        writer.write("first\n")
    read_exactly(reader, filled)
    writer.write("second\n")
    writer.flush(PATIENCE)
    assert os.read(reader, 100) == b"first\nsecond\n"
    writer.close()


def test_a_pipe_that_another_fills_first_holds_up_nobody(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, descriptor = pipe
    writer = LineWriter(descriptor)
    writer.write("x" * 5000 + "\n")  # there is a thread
    writer.flush(PATIENCE)
    fill(descriptor)

    class Ready:
        """There was room when it was asked."""

        def register(self, *what: int) -> None:
            pass

        def poll(self, *timeout: float) -> list[tuple[int, int]]:
            return [(descriptor, select.POLLOUT)]

    monkeypatch.setattr(writer, "_poll", Ready(), raising=False)
    assert in_thread(lambda: writer.write(LINE))
    writer.close()


class Disk:
    """A disk that does not answer, until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: int) -> None:
        self._answers = threading.Event()
        self._write, self._file = os.write, file
        monkeypatch.setattr(os, "write", self._blocking_write)

    def answer(self) -> None:
        self._answers.set()

    def _blocking_write(self, descriptor: int, data: bytes) -> int:
        if descriptor == self._file:
            self._answers.wait(PATIENCE)
        return self._write(descriptor, data)


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        disk = Disk(monkeypatch, file.fileno())
        writer = LineWriter(file.fileno(), kept_max=10 * len(LINE))

        def write() -> None:
            for _ in range(25):
                writer.write(LINE)

        assert in_thread(write)
        assert writer.dropped == 15
        disk.answer()
        writer.flush(PATIENCE)
        writer.close()
    assert path.read_text() == LINE * 10 + (
        "petalkit: 15 records dropped: whoever reads the log was too slow\n"
    )


def test_what_was_dropped_stands_where_it_is_missing(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = LineWriter(descriptor, kept_max=10 * len(LINE))
    for _ in range(25):
        writer.write(LINE)
    read_exactly(reader, filled)
    writer.flush(PATIENCE)
    writer.write("after\n")
    told = "petalkit: 15 records dropped: whoever reads the log was too slow\n"
    expected = f"{LINE * 10}{told}after\n".encode()
    assert read_exactly(reader, len(expected)) == expected
    writer.close()


def test_half_of_the_room_has_to_be_free_before_lines_are_kept_again(
    pipe: tuple[int, int],
) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    writer = Watched(descriptor, kept_max=4 * filled)
    kept = 4 * filled // len(LINE)
    for _ in range(kept + 100):
        writer.write(LINE)
    read_exactly(reader, filled)
    assert writer.wait_size(4 * filled - 1)
    writer.write("too soon\n")  # there is room for it, and soon there would be none
    text = read_exactly(reader, 2 * filled)
    assert writer.wait_size(2 * filled)
    writer.write("after\n")
    told = "petalkit: 101 records dropped: whoever reads the log was too slow\n"
    expected = f"{LINE * kept}{told}after\n".encode()
    assert text + read_exactly(reader, len(expected) - len(text)) == expected
    writer.close()


def test_all_that_were_dropped_are_counted_for_the_statistics(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    before = dropped_lines.total
    filled = fill(descriptor)
    writer = LineWriter(descriptor, kept_max=10 * len(LINE))
    for _ in range(25):
        writer.write(LINE)
    read_exactly(reader, filled)
    writer.flush(PATIENCE)
    writer.close()
    assert dropped_lines.total == before + 15


def test_what_was_dropped_is_told_in_the_form_of_the_log(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    with open(os.dup(descriptor), "w", encoding="utf-8") as stream:
        configure_logging("info", "json", stream)
        (handler,) = [one for one in logging.root.handlers if isinstance(one, _OurHandler)]
        assert handler._writer is not None
        handler._writer._kept_max = 1000
        for number in range(100):
            logging.getLogger("petalkit.test").info("%d", number)
        read_exactly(reader, filled)
        handler.flush()
        configure_logging("info", stream=sys.stderr)
    *kept, told = [json.loads(line) for line in os.read(reader, KEPT_MAX).splitlines()]
    assert [one["message"] for one in kept] == [str(number) for number in range(len(kept))]
    assert told["level"] == "WARNING"
    assert told["message"].startswith(f"{100 - len(kept)} records dropped")


def test_a_line_says_what_was_true_when_it_was_logged(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    filled = fill(descriptor)
    with open(os.dup(descriptor), "w", encoding="utf-8") as stream:
        configure_logging("info", stream=stream)
        state = {"waypoint": 1}
        logging.getLogger("petalkit.test").info("at %s", state)
        state["waypoint"] = 2
        read_exactly(reader, filled)
        configure_logging("info", stream=sys.stderr)
    assert b"at {'waypoint': 1}" in os.read(reader, 1000)


def test_a_socket_that_nobody_reads_holds_up_nobody() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = LineWriter(ours.fileno())
        assert in_thread(lambda: writer.write(5000 * LINE))
        assert os.get_blocking(ours.fileno())
        assert len(read_exactly(theirs.fileno(), 5000 * len(LINE))) == 5000 * len(LINE)
        writer.flush(PATIENCE)
        writer.close()


@pytest.mark.process
def test_a_forked_child_does_not_keep_the_pipe_from_its_end(pipe: tuple[int, int]) -> None:
    reader, descriptor = pipe
    end, begin = os.pipe()
    writer = LineWriter(descriptor)
    child = os.fork()
    if child == 0:
        os.close(descriptor)
        os.write(begin, b".")
        time.sleep(PATIENCE)
        os._exit(0)
    try:
        os.read(end, 1)
        writer.close()
        os.dup2(end, descriptor)  # the last that writes here is gone, and the fixture closes it
        assert select.select([reader], [], [], PATIENCE / 10)[0] == [reader]
        assert os.read(reader, 1) == b""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(end)
        os.close(begin)


@pytest.mark.process
def test_the_child_of_a_child_begins_anew(pipe: tuple[int, int]) -> None:
    _, descriptor = pipe
    fill(descriptor)
    writer = LineWriter(descriptor)

    def in_child_of_child() -> int:
        writer.write("of the child\n")
        child = os.fork()
        if child == 0:
            os._exit(10 + len(writer._kept))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = in_child_of_child()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10
    writer.close()

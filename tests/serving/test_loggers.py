"""petalkit's log goes on, whoever configures logging, and wherever in a petal that is done."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import logging.config
from collections.abc import AsyncGenerator, Callable, Iterator

import pytest
import trio

from petalkit import Petal, command
from petalkit._serving.loggers import keep_on, watch_handler
from petalkit._serving.process.logs import configure_logging
from petalkit.testing import open_harness

from .recorder import Recorder

FILE = """
[loggers]
keys=root
[handlers]
keys=
[formatters]
keys=
[logger_root]
level=ERROR
handlers=
"""


def by_dict() -> None:
    logging.config.dictConfig({"version": 1})


def by_file() -> None:
    logging.config.fileConfig(io.StringIO(FILE))


def by_dict_of_root() -> None:
    logging.config.dictConfig({"version": 1, "root": {"level": "ERROR"}})


def by_force() -> None:
    logging.basicConfig(force=True, stream=io.StringIO(), level="ERROR")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What `petalkit run` writes; all that was done to logging is undone."""
    root = logging.getLogger()
    loggers = [
        (one, one.disabled, one.level)
        for one in root.manager.loggerDict.values()
        if isinstance(one, logging.Logger)
    ]
    handlers, level = root.handlers[:], root.level
    for handler in handlers:  # pytest's own, which is there beside
        root.removeHandler(handler)
    stream = io.StringIO()
    configure_logging("info", "text", stream)
    yield stream
    watch_handler(None)
    root.handlers[:] = handlers
    root.setLevel(level)
    for one, disabled, own in loggers:
        one.disabled = disabled
        one.setLevel(own)
    logging.getLogger("petalkit").setLevel(logging.NOTSET)


class Configures(Petal):
    name = "configures"

    def __init__(self, configure: Callable[[], None], where: str) -> None:
        self._configure = configure
        self._where = where
        self._asked = trio.Event()
        self._done = trio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.nursery.start_soon(self._later)
        yield

    async def _later(self) -> None:
        await self._asked.wait()
        self._configure()
        self._done.set()

    @command("now")
    async def now(self) -> None:
        if self._where == "handler":
            self._configure()
        elif self._where == "thread":
            await trio.to_thread.run_sync(self._configure)
        else:
            self._asked.set()
            await self._done.wait()


@pytest.mark.trio
@pytest.mark.parametrize("where", ["handler", "task", "thread"])
@pytest.mark.parametrize("configure", [by_dict, by_file, by_dict_of_root])
async def test_the_log_goes_on_whenever_logging_is_configured(
    configure: Callable[[], None], where: str, log: io.StringIO
) -> None:
    async with open_harness(Configures(configure, where), Recorder()) as harness:
        assert (await harness.call("configures/now")).success
        before = len(log.getvalue())
        assert (await harness.call("rec/note")).success
    assert "petalkit.commands answered petal=rec" in log.getvalue()[before:]
    (told,) = [line for line in log.getvalue().splitlines() if "turned off" in line]
    assert f"the code at {__file__}:" in told
    assert "disable_existing_loggers=False" in told
    put_back = [line for line in log.getvalue().splitlines() if "is put back" in line]
    assert len(put_back) == (0 if configure is by_dict else 1)


@pytest.mark.trio
@pytest.mark.parametrize("where", ["handler", "task", "thread"])
async def test_a_log_that_goes_elsewhere_ends_with_a_line_that_says_so(
    where: str, log: io.StringIO
) -> None:
    async with open_harness(Configures(by_force, where), Recorder()) as harness:
        assert (await harness.call("configures/now")).success
        assert (await harness.call("rec/note")).success
        (other,) = logging.getLogger().handlers
    assert isinstance(other, logging.StreamHandler)
    assert "INFO:petalkit.commands:answered" in other.stream.getvalue()
    assert "were replaced" in log.getvalue().splitlines()[-1]
    assert log.getvalue().count("were replaced") == 1


def test_a_program_may_turn_off_a_logger_by_its_name(log: io.StringIO) -> None:
    logger = logging.getLogger("petalkit.commands")
    keep_on()
    logger.disabled = True
    logger.warning("not wanted")
    logging.getLogger("petalkit.petals").warning("wanted")
    assert [line.rpartition(" ")[2] for line in log.getvalue().splitlines()] == ["wanted"]


def test_a_logger_of_a_programs_own_class_is_kept_too(log: io.StringIO) -> None:
    class Own(logging.Logger):
        pass

    logging.setLoggerClass(Own)
    try:
        logger = logging.getLogger("petalkit.of-own-class")
    finally:
        logging.setLoggerClass(logging.Logger)
    keep_on()
    by_dict()
    assert isinstance(logger, Own)
    assert not logger.disabled
    logger.warning("still here")
    assert "still here" in log.getvalue()


@pytest.mark.trio
@pytest.mark.parametrize("where", ["handler", "task", "thread"])
async def test_the_log_goes_on_when_everything_is_silenced(where: str, log: io.StringIO) -> None:
    silence = functools.partial(logging.disable, logging.CRITICAL)
    try:
        async with open_harness(Configures(silence, where), Recorder()) as harness:
            assert (await harness.call("configures/now")).success
            before = len(log.getvalue())
            assert (await harness.call("rec/note")).success
        assert "petalkit.commands answered petal=rec" in log.getvalue()[before:]
        (told,) = [line for line in log.getvalue().splitlines() if "logging.disable()" in line]
        assert "has silenced all loggers but petalkit's" in told
        length = len(log.getvalue())
        logging.getLogger("somebody").critical("not heard")
        assert len(log.getvalue()) == length
    finally:
        logging.disable(logging.NOTSET)


def test_a_program_may_silence_everything_before_it_runs(log: io.StringIO) -> None:
    watch_handler(None)
    logging.disable(logging.CRITICAL)
    try:
        configure_logging("info", "text", log)
        logging.getLogger("petalkit.commands").error("not wanted")
    finally:
        logging.disable(logging.NOTSET)
    assert log.getvalue() == ""

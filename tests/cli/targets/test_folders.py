"""A folder of petals: each author is told what is wrong with theirs, and the rest is served."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from petalkit import ErrorCode, Petal, Settings
from petalkit.cli import _given
from petalkit.cli._checks.petals import check_petals
from petalkit.cli._errors import UsageError
from petalkit.cli._options import HostOptions
from petalkit.cli._running import serving as running
from petalkit.cli._settings.loading import load
from petalkit.cli._targets.targets import find_petals, load_targets
from petalkit.testing import open_harness

from ...brokers import Mosquitto
from ..conftest import RunCli
from ..programs import WHO, Start

GOOD = """
from petalkit import Petal, command

class {cls}(Petal):
    name = "{name}"

    @command("go")
    async def go(self) -> None: ...
"""

HEAD = """
from __future__ import annotations
import contextlib
import logging.config
from typing import Annotated
import attrs
import msgspec
from petalkit import Petal, command
"""


def serving(
    arguments: str = "",
    *,
    before: str = "",
    option: str = "",
    attribute: str = "",
    body: str = "...",
) -> str:
    """A petal whose one command is as given; its name is put in by the fixture."""
    return (
        f'{HEAD}\n{before}\nclass P(Petal):\n    name = "NAME"\n    {attribute}\n'
        f'    @command("go"{option})\n    async def go(self, {arguments}):\n        {body}\n'
    )


# Each with one mistake, and the words in which its author is told.
MISTAKES = {
    "syntax": ("def go(:", "SyntaxError"),
    "import_": ("import no_such_module_anywhere", "No module named"),
    "raises": ('raise OSError("no camera")', "OSError: no camera"),
    "ends": ("raise SystemExit(3)", "importing it ended the program"),
    "foreign": ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    "no_text": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "its text cannot be read",
    ),
    "no_name": ("from petalkit import Petal\nclass P(Petal):\n    pass", "has no name"),
    "constructor": (
        'from petalkit import Petal\nclass P(Petal):\n    name = "needs"\n'
        "    def __init__(self, port): ...",
        "port",
    ),
    "plain": (
        GOOD.format(cls="P", name="plain").replace("async def", "def"),
        "is not async: write async def",
    ),
    "no_self": (
        GOOD.format(cls="P", name="no-self").replace("(self)", "(data)"),
        "has no self: write async def go(self, data, ...)",
    ),
    "hidden": (
        GOOD.format(cls="P", name="hidden").replace("    @command", "    @property\n    @command"),
        "is a property",
    ),
    "taken": (
        GOOD.format(cls="P", name="taken") + "    nursery = None\n",
        "'nursery' is petalkit's own",
    ),
    "zz_twice": (GOOD.format(cls="P", name="lamp"), "two petals have this name"),
    "zz_clash": (
        GOOD.format(cls="P", name="other").replace('"go"', '"lamp/go"'),
        "the command 'lamp/go' is already served by petal 'lamp'",
    ),
    # -- types that cannot be made from JSON, or enforced
    "unknown": (serving("home: Nowhere"), "'Nowhere' cannot be resolved"),
    "model": (
        serving("m: M", before="@attrs.frozen\nclass M:\n    a: Nowhere | None = None\n"),
        "at M.a: the annotation 'Nowhere | None' cannot be resolved",
    ),
    "callable": (
        serving("f: Callable[[], int]", before="from collections.abc import Callable"),
        "cannot be made from JSON",
    ),
    "sockets": (serving("s: socket.socket | None = None", before="import socket"), "type socket"),
    "key": (serving("a: dict[tuple[int, int], int]"), "cannot be the key of an object"),
    "range": (serving("a: Annotated[str, msgspec.Meta(ge=3)]"), "str and int are not compared"),
    "constraint": (
        serving(
            "a: Annotated[int, Odd()]",
            before="import annotated_types\nclass Odd(annotated_types.BaseMetadata): ...",
        ),
        "looks like a constraint, and cannot be enforced",
    ),
    "union": (
        serving(
            "a: A | B",
            before="@attrs.frozen\nclass A:\n    a: int\n@attrs.frozen\nclass B:\n    a: int\n",
        ),
        "cannot be told apart",
    ),
    "positional": (serving("a: int, /"), "is positional-only"),
    "star": (serving("*args: int"), "cannot be bound"),
    # -- handlers, lifespans, names, options
    "override": (
        GOOD.format(cls="B", name="base")
        + 'class P(B):\n    name = "override"\n    def go(self): ...\nB = None\n',
        "is not async",
    ),
    "twice": (
        serving() + '    @command("go")\n    async def also(self): ...\n',
        "is already served by petal 'twice', P.go()",
    ),
    "generator": (serving(body="yield 1"), "is a generator"),
    "bad_name": (GOOD.format(cls="P", name="bad name/#"), "the name may have letters"),
    "number": (GOOD.format(cls="P", name="x").replace('"x"', "5"), "has no name"),
    "wildcard": (serving().replace('"go"', '"a/+/b"'), "'a/+/b' cannot be used"),
    "timeout": (serving(option=", timeout=-1"), "timeout must be seconds above 0"),
    "concurrency": (serving(option=", concurrency=0"), "concurrency must be a whole number above"),
    "option": (serving(option=", exclusiv=True"), "unexpected keyword argument 'exclusiv'"),
    "restart": (serving(attribute='restart_policy = "always"'), "'never' or 'on-failure'"),
    # -- jobs and streams
    "job_lease": (
        serving()
        + "    from petalkit import job\n"
        + '    @job("spin", lease=0)\n    async def spin(self): ...\n',
        "lease must be seconds above 0",
    ),
    "job_twice": (
        serving()
        + "    from petalkit import job\n"
        + '    @job("one")\n    async def one(self): ...\n'
        + '    @command("result_one")\n    async def two(self): ...\n',
        "the command 'job-twice/result_one' is already served",
    ),
    "stream_rate": (
        serving()
        + "    from petalkit import stream\n"
        + '    @stream("pose", max_rate=1000)\n    def pose(self): ...\n',
        "max_rate must be above 0 and at most 100 Hz",
    ),
    "lifespan": (serving() + "    async def lifespan(self): ...\n", "asynccontextmanager over it"),
}

# Served, until the mistake happens: the code of the answer, and the words of the log.
BUGS: dict[str, tuple[str, ErrorCode | None, str]] = {
    "bug_handler": (serving(body="{}['x']"), ErrorCode.HANDLER_ERROR, "KeyError: 'x'"),
    "bug_asyncio": (
        serving(body="await __import__('asyncio').sleep(1)"),
        ErrorCode.HANDLER_ERROR,
        "Native petals run on Trio",
    ),
    "bug_cancelled": (
        serving(body="raise __import__('asyncio').CancelledError"),
        ErrorCode.HANDLER_ERROR,
        "CancelledError",
    ),
    "bug_exit": (serving(body="raise SystemExit(3)"), ErrorCode.HANDLER_ERROR, "SystemExit: 3"),
    "bug_error": (
        serving(
            before="from petalkit import CommandError\nclass Mine(CommandError):\n"
            "    def __init__(self): pass\n",
            body="raise Mine()",
        ),
        ErrorCode.HANDLER_ERROR,
        "Mine",
    ),
    "bug_text": (
        serving(
            before="class E(Exception):\n    def __str__(self): raise ValueError\n", body="raise E"
        ),
        ErrorCode.HANDLER_ERROR,
        "E",
    ),
    "bug_result": (serving(body="return object()"), ErrorCode.HANDLER_ERROR, "object"),
    "bug_enters": (
        serving() + "    @contextlib.asynccontextmanager\n    async def lifespan(self):\n"
        '        raise OSError("no gimbal")\n        yield\n',
        ErrorCode.UNAVAILABLE,
        "petal 'bug-enters' is out of service: it did not start: OSError: no gimbal",
    ),
    "bug_background": (
        serving(before="async def loop():\n    raise OSError('gone')\n")
        + "    @contextlib.asynccontextmanager\n    async def lifespan(self):\n"
        "        self.nursery.start_soon(loop)\n        yield\n",
        ErrorCode.UNAVAILABLE,
        "a background task raised: OSError: gone",
    ),
    "bug_logging": (
        serving() + "    @contextlib.asynccontextmanager\n    async def lifespan(self):\n"
        '        logging.config.dictConfig({"version": 1})\n        yield\n',
        None,
        "petal 'bug-logging' has turned off petalkit's loggers",
    ),
}


def write(folder: Path, stem: str, text: str) -> None:
    (folder / f"{stem}.py").write_text(text.replace("NAME", stem.replace("_", "-")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "petals"
    folder.mkdir()
    for name, (text, _) in MISTAKES.items():
        write(folder, name, text)
    (folder / "lamp.py").write_text(GOOD.format(cls="Lamp", name="lamp") + "\nAlias = Lamp\n")
    (folder / "camera.py").write_text(
        GOOD.format(cls="Left", name="left") + GOOD.format(cls="Right", name="right")
    )
    (folder / "helpers.py").write_text("x = 1")
    (folder / "_private.py").write_text('raise OSError("is not imported")')
    (folder / "notes.txt").write_text("no petal")
    return folder


def test_each_author_is_told_and_the_rest_is_served(folder: Path) -> None:
    found = find_petals(["petals"])
    assert sorted(petal.name for petal in found.petals) == ["lamp", "left", "right"]
    told = {Path(one.target).stem: one.message for one in found.wrong}
    assert told.keys() == MISTAKES.keys()
    for name, (_, words) in MISTAKES.items():
        assert words in told[name]


def test_the_authors_own_traceback_is_kept(folder: Path) -> None:
    (one,) = [one for one in find_petals(["petals"]).wrong if "raises.py" in one.target]
    assert "raises.py" in one.details
    assert "petalkit/cli" not in one.details


def test_strict_stops_at_the_first(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"bad_name\.py"):
        find_petals(["petals"], strict=True)
    with pytest.raises(UsageError, match=r"bad_name\.py"):
        load_targets(["petals"])


def test_a_target_that_is_named_has_to_be_served(folder: Path) -> None:
    with pytest.raises(UsageError, match="no camera"):
        find_petals(["petals", "petals/raises.py"])


def test_a_folder_without_anything_to_serve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file in it defines a petal"):
        find_petals([str(tmp_path)])
    (tmp_path / "a_broken.py").write_text("raise OSError('x')")
    with pytest.raises(UsageError, match=r"no petal is left to serve: .*a_broken.py.*OSError: x"):
        find_petals([str(tmp_path)])


def test_a_base_without_a_name_is_no_petal_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "with_base.py").write_text(
        "from petalkit import Petal\nclass Base(Petal): ...\n"
        'class One(Base):\n    name = "one"\nclass Two(Base):\n    name = "two"\n'
    )
    found = find_petals([str(tmp_path)])
    assert [petal.name for petal in found.petals] == ["one", "two"]
    assert found.wrong == ()


def test_an_alias_of_a_class_is_one_petal(tmp_path: Path) -> None:
    path = tmp_path / "aliased.py"
    path.write_text(GOOD.format(cls="Lamp", name="lamp") + "\nAlias = Lamp\n")
    (petal,) = load_targets([str(path)])
    assert petal.name == "lamp"


def test_run_serves_the_rest_and_logs_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, run_cli: RunCli
) -> None:
    served: list[str] = []

    def run_as_process(petals: Sequence[Petal], settings: Settings, advice: str) -> int:
        served.extend(sorted(petal.name for petal in petals))
        return 0

    monkeypatch.setattr(running, "run_as_process", run_as_process)
    monkeypatch.setattr(_given, "configure_logging", lambda *args: None)
    caplog.set_level(logging.INFO)
    outcome = run_cli("run", "petals", "--journal", "off")
    assert outcome.code == 0
    assert served == ["lamp", "left", "right"]
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == len(MISTAKES)
    assert "petals served: 3; not served: 38" in caplog.text
    assert "there is no journal: what is accepted" in caplog.text
    served.clear()
    outcome = run_cli("run", "petals", "--strict", "--journal", "off")
    assert (outcome.code, served) == (2, [])
    assert "bad_name.py" in outcome.err


def test_list_and_doctor_say_the_same(folder: Path, run_cli: RunCli) -> None:
    outcome = run_cli("list", "petals")
    assert outcome.code == 2
    assert "lamp/go" in outcome.out
    served, checks = check_petals(["petals"], load(), HostOptions())
    failures = [check for check in checks if check.verdict == "failed"]
    assert served is None
    assert len(failures) == len(MISTAKES)
    for _, words in MISTAKES.values():
        assert words in outcome.err
    for stem in MISTAKES:
        assert any(f"{stem}.py" in check.found for check in failures)


@pytest.fixture
def with_bugs(folder: Path) -> Path:
    """Forty petals and more with a mistake each, and three without."""
    for name, (text, _, _) in BUGS.items():
        write(folder, name, text)
    assert len(MISTAKES) + len(BUGS) >= 40
    return folder


FORMATTER = logging.Formatter()
HEALTHY = ("lamp/go", "left/go", "right/go")


@pytest.mark.trio
async def test_what_goes_wrong_while_it_is_served_hurts_nobody_else(
    with_bugs: Path, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    found = find_petals(["petals"])
    assert {Path(one.target).stem for one in found.wrong} == MISTAKES.keys()
    loggers = [
        one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)
    ]
    on = [logger for logger in loggers if not logger.disabled]
    try:
        async with open_harness(*found.petals) as harness:
            for stem, (_, code, words) in BUGS.items():
                response = await harness.call(f"{stem.replace('_', '-')}/go")
                assert response.error_code == code, stem
                told = "\n".join(map(FORMATTER.format, caplog.records))
                assert words in told, stem
                for name in HEALTHY:
                    assert (await harness.call(name)).error_code is None
    finally:
        for logger in on:  # those of other tests too
            logger.disabled = False


@pytest.mark.process
@pytest.mark.broker
def test_the_program_serves_the_rest(
    with_bugs: Path, start: Start, mosquitto: Mosquitto, run_cli: RunCli
) -> None:
    """A process of its own; its callers are the same `petalkit call`, in this one."""
    program = start(
        "run",
        "petals",
        "--broker",
        mosquitto.url,
        *WHO,
        "--journal",
        "off",
        "--petal-restart",
        "never",
    )
    program.wait_line("connected")
    to = ("--broker", mosquitto.url, *WHO)
    for name in HEALTHY:
        assert run_cli("call", name, *to).code == 0
    for stem, (_, code, _) in BUGS.items():
        called = run_cli("call", f"{stem.replace('_', '-')}/go", *to)
        assert (called.code == 0) == (code is None), stem
        assert code is None or code in called.err + called.out, stem
    for name in HEALTHY:
        assert run_cli("call", name, *to).code == 0
    program.process.terminate()
    assert program.wait() == 0
    log = "".join(program.lines)
    for stem, (_, words) in MISTAKES.items():
        assert re.search(rf"ERROR .*{stem}\.py is not served: .*{re.escape(words)}", log), stem
    for stem, (_, _, words) in BUGS.items():
        assert words in log, stem

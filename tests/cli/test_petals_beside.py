"""What a petal does when it is loaded harms no petal beside it, nor the report of it."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petalkit.cli._checks.petals import check_petals
from petalkit.cli._errors import UsageError
from petalkit.cli._options import HostOptions
from petalkit.cli._settings.loading import load
from petalkit.cli._targets.targets import find_petals, load_targets

from .conftest import RunCli

Put = Callable[[str, str], Path]

PETAL = """
from petalkit import Petal, command

class P(Petal):
    name = "{name}"
{body}
    @command("c")
    async def c(self):
        return 1
"""


def petal(name: str, body: str = "") -> str:
    return PETAL.format(name=name, body=body)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    umask = os.umask(0o022)
    os.umask(umask)
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGPIPE)}
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


# name -> what a petal does at its import, and the words of the warning
CHANGES = {
    "folder": ("import os; os.chdir('/')", "has changed the current folder to '/', which is put"),
    "umask": ("import os; os.umask(0)", "has set the umask to 000, which is put back"),
    "filters": ("import warnings; warnings.simplefilter('error')", "makes errors of warnings"),
    "sigterm": (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
        "has taken SIGTERM, which is put back",
    ),
    "sigpipe": (
        "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
        "has taken SIGPIPE, which is put back",
    ),
    "logging": (
        "import logging; logging.disable(logging.CRITICAL)",
        "has silenced all loggers by logging.disable(), which is put back",
    ),
    "stdout": ("import io, sys; sys.stdout = io.StringIO()", "has replaced sys.stdout, which is"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_petal_changes_of_the_process_is_put_back(
    change: str, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    code, words = CHANGES[change]
    put("petals/a_first.py", f"{code}\n")
    probe = (
        "import logging, os, signal, sys, warnings\n"
        "mask = os.umask(0)\nos.umask(mask)\n"
        "seen = (os.getcwd(), mask, [one for one in warnings.filters if one[0] == 'error'], "
        "signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGPIPE), sys.stdout, "
        "logging.root.manager.disable)\n"
    )
    put("probe.py", f"{probe}{petal('probe')}")
    load_targets(["probe.py"])
    before = sys.modules["probe"].seen
    put("petals/z_last.py", f"{probe}{petal('last')}")
    (last,) = load_targets(["petals"])
    assert last.name == "last"
    assert sys.modules["z_last"].seen == before
    (warning,) = [one.getMessage() for one in caplog.records if words in one.getMessage()]
    assert warning.startswith(os.path.join("petals", "a_first.py"))


def test_a_constructor_is_watched_too(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    put(
        "moves.py", petal("moves", "    def __init__(self):\n        __import__('os').chdir('/')\n")
    )
    put("stays.py", petal("stays"))
    load_targets(["moves.py", "./stays.py"])
    assert "moves.py has changed the current folder to '/'" in caplog.text


def test_what_targets_mean_is_settled_before_anything_is_imported(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder cannot be put back, or a thread changes it."""
    monkeypatch.setattr("petalkit.cli._targets.guarding.ProcessState.put_back", lambda *_: None)
    put("petals/a.py", "import os; os.chdir('/')\n" + petal("a"))
    put("petals/b.py", petal("b"))
    put("c.py", petal("c"))
    names = [one.name for one in load_targets(["petals", "c.py:P"])]
    assert names == ["a", "b", "c"]


def test_a_stream_over_the_same_buffer_takes_nothing_with_it(put: Put) -> None:
    """Such a wrapper closes its buffer when it goes."""
    file = open(put("out.txt", ""), "w")  # noqa: SIM115
    code = "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8')\n"
    put("wraps.py", code + petal("wraps"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        load_targets(["wraps.py"])
        assert sys.stdout is file
        print("heard", flush=True)  # noqa: T201
    file.close()
    assert Path(file.name).read_text() == "heard\n"


def test_what_a_petal_prints_is_no_part_of_the_json(put: Put, run_cli: RunCli) -> None:
    put("talks.py", "print('hello')\n" + petal("talks"))
    outcome = run_cli("list", "talks.py", "--json")
    assert outcome.out.startswith("{")
    assert "hello" in outcome.err


def test_the_doctor_tells_of_it(put: Put) -> None:
    put("petals/a.py", "import os; os.chdir('/')\n" + petal("a"))
    put("petals/camera/petal.py", petal("camera"))
    served, checks = check_petals(["petals"], load(), HostOptions())
    assert served is not None
    told = " ".join(one.found for one in checks if one.verdict == "warning")
    assert "has changed the current folder" in told
    assert "sub-folders are not looked into" in told


# -- what is looked up may raise

HOSTILE = "    def __getattr__(self, name):\n        raise KeyError(name)\n"


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_an_attribute_that_cannot_be_looked_up_ends_nothing(
    command: str, put: Put, run_cli: RunCli
) -> None:
    put("petals/n_getattr.py", petal("n-getattr", HOSTILE))
    put("petals/z_ok.py", petal("ok"))
    where = ("--broker", "mqtt://127.0.0.1:9", "--device-id", "d", "--timeout", "0.1")
    outcome = run_cli(command, "petals", *(where if command == "doctor" else ()))
    assert "n-getattr" in outcome.out
    assert "ok/c" in outcome.out
    assert "Traceback" not in outcome.err


def test_what_stands_in_a_module_may_be_anything(put: Put) -> None:
    odd = """
class Odd:
    def __getattr__(self, name):
        raise RuntimeError("asked too early")
    @property
    def __class__(self):
        raise RuntimeError("asked too early")
class Meta(type):
    def __eq__(self, other):
        raise RuntimeError("cannot be compared")
    def __getattr__(cls, name):
        raise RuntimeError("asked too early")
class Strange(metaclass=Meta): ...
odd = Odd()
"""
    put("odd.py", odd + petal("odd", "    thing = odd\n"))
    (found,) = load_targets(["odd.py"])
    assert found.name == "odd"
    with pytest.raises(UsageError, match=r"'odd\.py:odd' is neither a petal nor makes one"):
        load_targets(["odd.py:odd"])
    with pytest.raises(UsageError, match=r"'odd\.py:odd\.x' could not be loaded: RuntimeError"):
        load_targets(["odd.py:odd.x"])


def test_a_default_that_cannot_be_shown(put: Put, run_cli: RunCli) -> None:
    bad = "class Bad(str):\n    def __repr__(self):\n        raise RuntimeError('no')\n"
    text = petal("bad").replace("def c(self)", "def c(self, a: str = Bad('x'))")
    put("bad.py", bad + text)
    assert "a: str = <Bad>" in run_cli("list", "bad.py").out


# -- folders


def test_sub_folders_are_named_and_not_served(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    put("sf/top.py", petal("top"))
    put("sf/camera/petal.py", petal("camera"))
    put("sf/lamp/__init__.py", petal("lamp"))
    put("sf/helpers/text.py", "class Text(str): ...\n")
    put("sf/_old/petal.py", petal("old"))
    (Path("sf") / "loop").symlink_to(Path("sf").absolute())
    assert [one.name for one in load_targets(["sf"])] == ["top"]
    (told,) = caplog.messages
    targets = [os.path.join("sf", "camera"), os.path.join("sf", "lamp", "__init__.py")]
    assert told == (
        "'sf': sub-folders are not looked into; to serve their petals too, add "
        f"{targets[0]} {targets[1]}"
    )
    names = [one.name for one in load_targets(["sf", *targets])]
    assert names == ["top", "camera", "lamp"]


def test_a_folder_without_petals_says_what_to_write(put: Put, tmp_path: Path) -> None:
    put("sf/camera/petal.py", petal("camera"))
    with pytest.raises(UsageError) as caught:
        find_petals(["sf"])
    assert "no file in it defines a petal: write a class with a base petalkit.Petal" in (
        caught.value.message
    )
    assert f"TARGETs of their own: {os.path.join('sf', 'camera')}" in caught.value.message


def test_a_file_with_the_name_of_a_library_is_the_one_to_rename(put: Put) -> None:
    put("petals/a.py", "import trio\n" + petal("a"))
    own = put("petals/trio.py", "X = 1\n")
    with pytest.raises(UsageError, match="no petal is left to serve") as caught:
        find_petals(["petals"])
    assert f"rename {str(own)!r}: it has the name of a library" in caught.value.message


def test_a_base_and_one_petal_are_one_petal_in_a_file_too(put: Put) -> None:
    base = petal("x").replace("class P", "class Base").replace('    name = "x"\n', "")
    put("based.py", base + "\nclass Real(Base):\n    name = 'real'\n")
    assert [one.name for one in load_targets(["based.py"])] == ["real"]
    assert [one.name for one in load_targets(["based"])] == ["real"]


def test_what_to_type_is_quoted_for_a_shell(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    put("my petals/top.py", petal("top") + petal("other").replace("class P", "class Q"))
    put("my petals/a camera/petal.py", petal("camera"))
    load_targets(["my petals"])
    assert caplog.messages[0].endswith(f"add '{os.path.join('my petals', 'a camera')}'")
    with pytest.raises(UsageError, match=r"choose one of './my petals/top.py:P', './my petals/top"):
        load_targets(["./my petals/top.py"])


# -- tables

NAMELESS = """
from petalkit import Petal
class Late(Petal):
    def __init__(self, port: int{default}) -> None:
        self.name = "late"
"""


def test_a_name_that_is_set_too_late_for_its_table(put: Put) -> None:
    put("late.py", NAMELESS.format(default=""))
    with pytest.raises(UsageError) as caught:
        load_targets(["late.py"], {"late": {"port": 1}}, origin="f.toml")
    assert "None" not in caught.value.message
    assert "Late needs port" in caught.value.message
    assert 'write name = "my-petal" in the class' in caught.value.message
    put("later.py", NAMELESS.format(default=" = 3"))
    assert [one.name for one in load_targets(["later.py"])] == ["late"]
    with pytest.raises(UsageError, match=r"\[petals.late\] in f.toml: 'later.py' sets its name"):
        load_targets(["later.py"], {"late": {"port": 1}}, origin="f.toml")


def test_all_that_is_wrong_in_a_table_is_told(put: Put) -> None:
    put("wants.py", petal("wants", "    def __init__(self, port: int, rate: float): ...\n"))
    with pytest.raises(UsageError) as caught:
        load_targets(["wants.py"], {"wants": {"port": "x", "rat": 1}}, origin="f.toml")
    message = caught.value.message
    assert message.startswith("[petals.wants] in f.toml: port ")
    assert "unknown key 'rat' (known: port, rate); did you mean 'rate'?" in message
    assert message.endswith("; 'rate' must be set there")

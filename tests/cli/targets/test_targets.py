"""TARGET to petal, and the configuration file's tables to constructors."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from typing import Any

import pytest

from petalkit import Petal, RegistrationError
from petalkit.cli._errors import UsageError
from petalkit.cli._targets.places import ENTRY_POINT_GROUP
from petalkit.cli._targets.targets import load_targets

from .conftest import Write

TUNED = """
import dataclasses
import datetime
from typing import Any
import attrs
from petalkit import Petal

@attrs.frozen
class Gains:
    p: float
    i: float = 0.0

@dataclasses.dataclass
class Window:
    start: datetime.time

class Tuned(Petal):
    name = "tuned"
    def __init__(self, rate: float = 1.0, *, gains: Gains | None = None,
                 axes: dict[str, Gains] | None = None, window: Window | None = None,
                 topics: list[str] | None = None, anything: Any = None, plain=None) -> None:
        self.given = {k: v for k, v in locals().items() if k != "self" and v is not None}

def factory(rate: float = 3.0) -> Tuned:
    return Tuned(rate)

def unannotated(rate=3.0):
    return Tuned(rate)

instance = Tuned(9.0)
"""


def one(target: str, table: dict[str, Any] | None = None) -> Any:
    tables = {} if table is None else {"tuned": table}
    (petal,) = load_targets([target], tables, origin="f.toml")
    return petal


@pytest.mark.parametrize(
    "target", ["tuned:Tuned", "tuned.py:Tuned", "./tuned.py", "tuned", "tuned:factory"]
)
def test_a_target_leads_to_a_petal(target: str, write: Write) -> None:
    write("tuned.py", TUNED)
    petal = one(target)
    assert isinstance(petal, Petal)
    assert petal.name == "tuned"


def test_an_instance_is_taken_as_it_is(write: Write) -> None:
    write("tuned.py", TUNED)
    assert one("tuned:instance").given == {"rate": 9.0}


def test_a_file_imports_its_neighbours(write: Write) -> None:
    write("far/neighbour.py", "NAME = 'far-petal'\n")
    write(
        "far/petal.py",
        "from petalkit import Petal\nimport neighbour\n"
        "class Far(Petal):\n    name = neighbour.NAME\n",
    )
    assert one("far/petal.py").name == "far-petal"


def test_two_files_of_one_name_are_two_modules(write: Write) -> None:
    for number in "12":
        write(
            f"{number}/petal.py",
            f"from petalkit import Petal\nclass P(Petal):\n    name = 'petal-{number}'\n",
        )
    petals = load_targets(["1/petal.py", "2/petal.py:P"])
    assert [petal.name for petal in petals] == ["petal-1", "petal-2"]


def test_a_file_named_like_a_library_does_not_take_its_place(write: Write) -> None:
    write("json.py", "from petalkit import Petal\nclass P(Petal):\n    name = 'p'\n")
    json = sys.modules["json"]
    assert one("json.py").name == "p"
    assert sys.modules["json"] is json


def test_an_entry_point_is_found(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("tuned.py", TUNED)
    monkeypatch.syspath_prepend(".")
    entry = importlib.metadata.EntryPoint("my-tuned", "tuned:Tuned", ENTRY_POINT_GROUP)

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        assert group == "petalkit.petals"
        return [entry]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert one("my-tuned").name == "tuned"
    with pytest.raises(UsageError, match="did you mean 'my-tuned'"):
        one("my_tuned")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nope", "there is no module 'nope'"),
        ("nope.py", "'nope.py': there is no file "),
        ("tuned:Tunde", "tuned has no 'Tunde'; did you mean 'Tuned'?"),
        ("tuned:", "nothing stands after the colon"),
        ("tuned:Gains", "is neither a petal nor makes one"),
        ("tuned:dataclasses", "is neither a petal nor makes one"),
        ("a b", "is neither module:Petal"),
        ("two", "has several petals; choose one of two:A, two:B"),
        ("wrong:make_int", "returned int, and not a petal"),
        ("wrong:make_async", "is an async function"),
        ("wrong", "no petal is defined in wrong"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_wrong_target_is_one_line(target: str, text: str, write: Write) -> None:
    write("tuned.py", TUNED)
    write("two.py", "from petalkit import Petal\nclass A(Petal): ...\nclass B(Petal): ...\n")
    write("wrong.py", "def make_int(): return 3\nasync def make_async(): ...\n")
    with pytest.raises(UsageError) as caught:
        one(target)
    assert text in caught.value.message
    assert "\n" not in caught.value.message
    assert not caught.value.details


@pytest.mark.parametrize("target", ["broken.py", "broken:Petal"])
def test_an_error_in_the_users_file_shows_the_users_own_lines(target: str, write: Write) -> None:
    write("broken.py", "def divide():\n    return 1 / 0\n\ndivide()\n")
    with pytest.raises(UsageError) as caught:
        one(target)
    assert "ZeroDivisionError" in caught.value.message
    assert "in divide" in caught.value.details
    assert "targets.py" not in caught.value.details
    assert "importlib" not in caught.value.details


@pytest.mark.parametrize("target", ["broken.py", "broken"])
def test_a_missing_import_of_the_file_is_not_a_missing_target(target: str, write: Write) -> None:
    write("broken.py", "import no_such_thing\n")
    with pytest.raises(UsageError, match="No module named 'no_such_thing'") as caught:
        one(target)
    assert "import no_such_thing" in caught.value.details


def test_a_syntax_error_shows_its_line(write: Write) -> None:
    write("broken.py", "def f(:\n")
    with pytest.raises(UsageError, match="SyntaxError") as caught:
        one("broken.py")
    assert "def f(:" in caught.value.details


def test_a_file_that_exits_on_import_does_not_end_us(write: Write) -> None:
    write("broken.py", "raise SystemExit(3)\n")
    with pytest.raises(UsageError, match="ended the program"):
        one("broken.py")


@pytest.mark.parametrize(
    ("target", "words"), [("ends.py:P", "making P()"), ("ends.py:make", "calling it")]
)
def test_a_petal_that_exits_while_it_is_made_is_said_to(
    target: str, words: str, write: Write
) -> None:
    """It was said that importing it had ended the program."""
    write(
        "ends.py",
        "import sys\nfrom petalkit import Petal\nclass P(Petal):\n    name = 'p'\n"
        "    def __init__(self):\n        sys.exit('no camera')\n"
        "def make():\n    return P()\n",
    )
    with pytest.raises(UsageError, match=re.escape(f"{words} ended the program (no camera)")):
        one(target)


def test_a_registration_error_stays_what_it_is(write: Write) -> None:
    write(
        "broken.py",
        "from petalkit import Petal, RegistrationError\nclass P(Petal):\n    name = 'p'\n"
        "    def __init__(self):\n        raise RegistrationError('no', petal='p')\n",
    )
    with pytest.raises(RegistrationError):
        one("broken.py")


def test_a_table_reaches_the_constructor_with_its_types(write: Write) -> None:
    write("tuned.py", TUNED)
    petal = one(
        "tuned",
        {
            "rate": 5,
            "gains": {"p": 1},
            "axes": {"x": {"p": 2.5, "i": 1}},
            "window": {"start": __import__("datetime").time(7, 30)},
            "topics": ["a", "b"],
            "anything": {"free": [1]},
            "plain": "text",
        },
    )
    module = sys.modules["tuned"]
    assert petal.given == {
        "rate": 5.0,
        "gains": module.Gains(1.0),
        "axes": {"x": module.Gains(2.5, 1.0)},
        "window": module.Window(__import__("datetime").time(7, 30)),
        "topics": ["a", "b"],
        "anything": {"free": [1]},
        "plain": "text",
    }
    assert type(petal.given["rate"]) is float


def test_a_table_reaches_an_annotated_factory(write: Write) -> None:
    write("tuned.py", TUNED)
    assert one("tuned:factory", {"rate": 7}).given == {"rate": 7.0}


@pytest.mark.parametrize(
    ("target", "table", "text"),
    [
        ("tuned", {"rat": 1}, "[petals.tuned] in f.toml: unknown key 'rat'"),
        ("tuned", {"rat": 1}, "did you mean 'rate'?"),
        ("tuned", {"rate": "fast"}, "rate expected a number, got a string"),
        ("tuned", {"rate": True}, "rate expected a number, got a boolean"),
        ("tuned", {"gains": {"p": 1, "d": 2}}, "gains.d is not a known field"),
        ("tuned", {"axes": {"x": {"p": 1, "d": 2}}}, "axes['x'].d is not a known field"),
        ("tuned", {"gains": {}}, "gains.p is required"),
        ("tuned:instance", {"rate": 1}, "is an instance already"),
        ("tuned:unannotated", {"rate": 1}, "annotate what"),
    ],
)
def test_a_wrong_table_says_what_and_where(
    target: str, table: dict[str, Any], text: str, write: Write
) -> None:
    write("tuned.py", TUNED)
    with pytest.raises(UsageError) as caught:
        one(target, table)
    assert text in caught.value.message


def test_a_table_that_no_petal_reads_is_an_error(write: Write) -> None:
    write("tuned.py", TUNED)
    with pytest.raises(UsageError, match=r"\[petals.tune\].*did you mean 'tuned'"):
        load_targets(["tuned"], {"tune": {}}, origin="f.toml")


def test_a_required_argument_without_a_value_is_named(write: Write) -> None:
    write(
        "strict.py",
        "from petalkit import Petal\nclass P(Petal):\n    name = 'p'\n"
        "    def __init__(self, port: int): ...\n",
    )
    with pytest.raises(UsageError, match=r"\[petals.p\].*'port' must be set there"):
        load_targets(["strict"])


WITH_HELPERS = """
from petalkit import Petal, command
{imports}

class {name}(Petal):
    name = "{name}"

    @command("who")
    async def who(self):
        return {{"who": helpers.NAME}}
"""


@pytest.mark.parametrize(
    "imports", ["import helpers", "from between import helpers", "from helpers import NAME"]
)
def test_the_neighbours_of_one_target_are_not_those_of_another(write: Write, imports: str) -> None:
    """The second lamp would have taken its pictures with the camera's helpers."""
    for name in ("camera", "lamp"):
        write(f"{name}/petal_of_{name}.py", WITH_HELPERS.format(name=name, imports=imports))
        write(f"{name}/helpers.py", f"NAME = {name!r}")
        write(f"{name}/between.py", "import helpers")
    first = write("camera/petal_of_camera.py", WITH_HELPERS.format(name="camera", imports=imports))
    second = write("lamp/petal_of_lamp.py", WITH_HELPERS.format(name="lamp", imports=imports))
    with pytest.raises(UsageError) as refused:
        load_targets([str(first), str(second)], {})
    for path in (first.with_name("helpers.py"), second.with_name("helpers.py")):
        assert str(path) in refused.value.message or "between" in refused.value.message


def test_neighbours_of_other_names_are_each_ones_own(write: Write) -> None:
    paths: list[str] = []
    for name in ("camera", "lamp"):
        imports = f"import helpers_of_{name} as helpers"
        text = WITH_HELPERS.format(name=name, imports=imports)
        paths.append(str(write(f"{name}/petal_of_{name}.py", text)))
        write(f"{name}/helpers_of_{name}.py", f"NAME = {name!r}")
        write(f"{name}/unused.py", "")
    assert [petal.name for petal in load_targets(paths, {})] == ["camera", "lamp"]


def test_a_file_that_no_process_could_import_is_told(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    text = WITH_HELPERS.format(name="odd", imports="")
    load_targets([str(write("my-petal.py", text))], {})
    assert "rename the file" in caplog.text


PARTLY = """
from __future__ import annotations
import typing
from typing import Generic, TypeVar
import attrs
from petalkit import Petal
if typing.TYPE_CHECKING:
    from somewhere import Client

class Partly(Petal):
    name = "tuned"
    def __init__(self, armed: bool = False, client: Client | None = None) -> None:
        self.armed = armed
"""


def test_an_annotation_that_only_type_checkers_know_turns_off_no_other_check(write: Write) -> None:
    write("partly.py", PARTLY)
    assert one("partly", {"armed": True}).armed is True
    with pytest.raises(UsageError, match="armed expected true or false, got a string"):
        one("partly", {"armed": "false"})
    with pytest.raises(
        UsageError, match="client cannot be set in a file: the annotation"
    ) as caught:
        one("partly", {"client": 1})
    assert "Client" in caught.value.message

"""`--host-compat` and `--host-proxy`: petals of the guide's host on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from petalkit import Petal, compat
from petalkit.cli._errors import UsageError
from petalkit.cli._options import HostOptions
from petalkit.cli._settings.loading import load
from petalkit.cli._targets.host_petals import HostPetals, ProxyTarget, open_host
from petalkit.cli._targets.targets import load_targets

from ..conftest import RunCli
from .conftest import Write

pytestmark = pytest.mark.usefixtures("host_names")

PLUGIN = '''
from petal_app_manager.plugins.base import Petal
from petal_app_manager.plugins.decorators import mqtt_action
from petal_app_manager.proxies import MQTTProxy
from . import logger

class ExamplePetal(Petal):
    """Says hello."""
    name = "example-petal"
    version = "1.2.0"
    use_mqtt_proxy = True

    def __init__(self, rate: float = 1.0):
        super().__init__()
        self.rate = rate

    def _setup_command_handlers(self):
        return {"example-petal/hello": self._hello_handler}

    async def _hello_handler(self, topic, message):
        """Greet somebody."""

    @mqtt_action("crunch", cpu_heavy=True)
    async def crunch(self, topic, message):
        """Reckon."""

def make() -> ExamplePetal:
    return ExamplePetal(2.0)
'''

DUCK = """
class Duck:
    name = "duck"
    version = "1"
    def inject_proxies(self, proxies): ...
    def startup(self): ...
    async def async_startup(self): ...
"""

NATIVE = "from petalkit import Petal\nclass Native(Petal):\n    name = 'native'\n"

PROXIES = """
class Redis:
    pass

def make_db():
    return {}

bucket = object()

import abc
class Abstract(abc.ABC):
    @abc.abstractmethod
    def start(self): ...
"""


@pytest.fixture(autouse=True)
def files(write: Write) -> None:
    write("guide_petal/__init__.py", "import logging\nlogger = logging.getLogger(__name__)\n")
    write("guide_petal/plugin.py", PLUGIN)
    write("duck.py", DUCK)
    write("native.py", NATIVE)
    write("my_proxies.py", PROXIES)


def guide(target: str, tables: dict[str, Any] | None = None) -> Any:
    """The petal of the host that a target leads to."""
    (petal,) = load_targets([target], tables, origin="f.toml", host=open_host({}))
    assert isinstance(petal, compat.GuidePetal)
    return petal.guide_petal


# -- targets


@pytest.mark.parametrize(
    "target",
    [
        "guide_petal.plugin:ExamplePetal",
        "guide_petal.plugin",
        "guide_petal/plugin.py:ExamplePetal",
        "guide_petal/plugin.py",
        "guide_petal.plugin:make",
    ],
)
def test_a_target_leads_to_a_petal_of_the_host(target: str) -> None:
    assert guide(target).name == "example-petal"


def test_a_petal_that_derives_from_nothing_is_known_by_its_hooks() -> None:
    assert guide("duck").name == "duck"


def test_they_keep_their_order_beside_native_ones_and_share_the_routing() -> None:
    targets = ["guide_petal.plugin", "native", "duck"]
    petals = load_targets(targets, host=open_host({}))
    assert [petal.name for petal in petals] == ["example-petal", "native", "duck"]
    assert type(petals[1]).__name__ == "Native"
    assert petals[0].__petalkit_resolver__ is not None
    assert petals[0].__petalkit_resolver__ is petals[2].__petalkit_resolver__


def test_a_table_reaches_the_constructor() -> None:
    assert guide("guide_petal.plugin", {"example-petal": {"rate": 5}}).rate == 5.0
    with pytest.raises(UsageError, match="unknown key 'rat'"):
        guide("guide_petal.plugin", {"example-petal": {"rat": 5}})
    with pytest.raises(UsageError, match="did you mean 'example-petal'"):
        guide("guide_petal.plugin", {"example-petl": {}})


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("guide_petal.plugin", "is a petal of the host: try --host-compat"),
        ("guide_petal/plugin.py:ExamplePetal", "is a petal of the host: try --host-compat"),
        ("duck", "'duck': Duck is a petal of the host: try --host-compat"),
        ("duck:Duck", "'duck:Duck' is a petal of the host: try --host-compat"),
        ("factory:make", "'factory:make' returned a petal of the host: try --host-compat"),
    ],
)
def test_without_the_option_the_error_names_it(target: str, text: str, write: Write) -> None:
    write("factory.py", "import duck\ndef make():\n    return duck.Duck()\n")
    with pytest.raises(UsageError) as caught:
        load_targets([target])
    assert text in caught.value.message


def test_what_the_host_brought_along_is_named(write: Write) -> None:
    write("web.py", "import petal_app_manager\nimport fastapi_of_nobody\n")
    with pytest.raises(UsageError) as caught:
        guide("web")
    assert "host-compat]" not in caught.value.message
    write("web2.py", "import petal_app_manager\nimport pymavlink\n")
    sys.modules["pymavlink"] = None  # type: ignore[assignment]
    try:
        with pytest.raises(UsageError, match=r"pip install 'petalkit\[host-compat\]'"):
            guide("web2")
    finally:
        del sys.modules["pymavlink"]


# -- entry points


@pytest.fixture
def distribution(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A folder of installed packages, with one of the host's petals in it."""
    info = "site/guide_petal-1.2.0.dist-info"
    write(f"{info}/METADATA", "Metadata-Version: 2.1\nName: guide-petal\nVersion: 1.2.0\n")
    points = "[petal.plugins]\nflight_records = guide_petal.plugin:ExamplePetal\n"
    write(f"{info}/entry_points.txt", points)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return write


@pytest.mark.usefixtures("distribution")
def test_entry_points_of_the_host_are_found() -> None:
    assert guide("flight_records").name == "example-petal"
    with pytest.raises(UsageError, match="did you mean 'flight_records'"):
        guide("flight_record")


@pytest.mark.usefixtures("distribution")
def test_entry_points_of_the_host_need_the_option() -> None:
    with pytest.raises(UsageError, match="a petal of the host of that name: try --host-compat"):
        load_targets(["flight_records"])


def test_a_name_in_both_groups_is_refused(distribution: Write) -> None:
    distribution("site/n-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: n\nVersion: 1\n")
    points = "[petalkit.petals]\nflight_records = native:Native\n"
    distribution("site/n-1.dist-info/entry_points.txt", points)
    with pytest.raises(UsageError, match="is an entry point of several"):
        guide("flight_records")
    (petal,) = load_targets(["flight_records"])
    assert petal.name == "native"


# -- files of packages


def test_a_file_of_a_package_is_imported_as_its_part(write: Write) -> None:
    write("deep/outer/__init__.py", "")
    write("deep/outer/inner/__init__.py", "NAME = 'inside'\n")
    text = "from petalkit import Petal\nfrom . import NAME\nfrom .. import inner\n"
    write("deep/outer/inner/petal.py", text + "class P(Petal):\n    name = NAME\n")
    (petal,) = load_targets(["deep/outer/inner/petal.py:P"])
    assert petal.name == "inside"
    assert type(petal).__module__ == "outer.inner.petal"


def test_a_file_of_a_package_still_imports_its_neighbours(write: Write) -> None:
    write("loose/__init__.py", "")
    write("loose/neighbour_of_loose.py", "NAME = 'near'\n")
    text = "from petalkit import Petal\nimport neighbour_of_loose as n\n"
    write("loose/petal.py", text + "class P(Petal):\n    name = n.NAME\n")
    (petal,) = load_targets(["loose/petal.py"])
    assert petal.name == "near"


def test_a_package_named_like_a_library_does_not_take_its_place(write: Write) -> None:
    write("json/__init__.py", "")
    write("json/petal.py", NATIVE)
    json = sys.modules["json"]
    (petal,) = load_targets(["json/petal.py"])
    assert petal.name == "native"
    assert sys.modules["json"] is json


def test_a_package_that_is_shadowed_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("first", "second"):
        write(f"{folder}/same/__init__.py", "")
        write(f"{folder}/same/petal.py", NATIVE)
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / folder)])
    with pytest.raises(UsageError, match=r"same.petal is imported from '.*first.*' instead"):
        load_targets(["second/same/petal.py"])


# -- proxies


def opened(*proxies: str, config: Path | None = None, host_compat: bool = True) -> HostPetals:
    options = HostOptions(host_compat=host_compat, host_proxy=proxies)
    host = options.open(load(config=config))
    assert host is not None
    return host


def test_classes_and_functions_are_factories_and_other_things_are_proxies() -> None:
    host = opened(
        "redis=my_proxies:Redis", "db=my_proxies:make_db", "bucket=my_proxies:bucket", "cloud=none"
    )
    module = sys.modules["my_proxies"]
    assert host.factories == {"redis": module.Redis, "db": module.make_db}
    assert host.proxies == {"bucket": module.bucket, "cloud": None}


def test_a_bound_method_and_a_partial_are_factories(write: Write) -> None:
    write("made.py", "import functools\npart = functools.partial(dict, a=1)\nbound = {}.copy\n")
    assert set(opened("a=made:part", "b=made:bound").factories) == {"a", "b"}


def test_proxies_come_from_the_file_and_the_command_line_goes_first(write: Write) -> None:
    config = write(
        "etc/petalkit.toml",
        '[proxies]\nredis = "near.py:proxy"\ndb = "my_proxies:make_db"\ncloud = "none"\n',
    )
    write("etc/near.py", "proxy = 'beside the file'\n")
    host = opened("db=none", config=config)
    assert host.proxies == {"redis": "beside the file", "db": None, "cloud": None}
    assert not host.factories


def test_proxies_reach_the_petals(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def adapt(*petals: Any, **options: Any) -> list[Petal]:
        given.update(options)
        return []

    monkeypatch.setattr(compat, "adapt", adapt)
    host = open_host({"redis": ProxyTarget("my_proxies:Redis", "here")})
    host.adapt([object()])
    factories = {"redis": sys.modules["my_proxies"].Redis}
    assert given == {"proxies": {}, "proxy_factories": factories}


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("redis", "--host-proxy redis: write NAME=module:name"),
        ("=my_proxies:Redis", "write NAME=module:name"),
        ("redis=", "write NAME=module:name"),
        ("redis=my_proxies", "--host-proxy redis: write module:name, or none, not 'my_proxies'"),
        ("redis=my_proxies:", "--host-proxy redis: 'my_proxies:': nothing stands after the colon"),
        (
            "redis=my_proxies:Redi",
            "redis: 'my_proxies:Redi': my_proxies has no 'Redi'",
        ),
        ("redis=nope:x", "--host-proxy redis: 'nope:x': there is no module 'nope'"),
        ("redis=nope.py:x", "--host-proxy redis: 'nope.py:x': there is no file 'nope.py'"),
        (
            "redis=a b:x",
            "redis: 'a b:x' is neither module:name nor path/to/file.py:name",
        ),
        ("redis=my_proxies:Abstract", "--host-proxy redis: 'my_proxies:Abstract' is abstract"),
        ("redis=petal_app_manager.proxies:RedisProxy", "RedisProxy' is abstract"),
        ("mqtt=my_proxies:Redis", "--host-proxy mqtt: this proxy is petalkit's own"),
    ],
)
def test_a_wrong_proxy_is_one_line_that_names_it(proxy: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(proxy)
    assert text in caught.value.message
    assert "\n" not in caught.value.message


def test_a_proxy_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--host-proxy redis is given twice"):
        opened("redis=none", "redis=none")


def test_an_error_in_the_users_proxies_shows_the_users_own_lines(write: Write) -> None:
    write("broken.py", "1 / 0\n")
    with pytest.raises(UsageError, match=r"--host-proxy redis: .*ZeroDivisionError") as caught:
        opened("redis=broken:x")
    assert "1 / 0" in caught.value.details


def test_proxies_go_with_host_compat(write: Write) -> None:
    with pytest.raises(UsageError, match="--host-proxy redis is for petals of the host: add"):
        opened("redis=none", host_compat=False)


def test_proxies_in_the_file_are_nobodys_without_petals_of_the_host(
    write: Write, run_cli: RunCli
) -> None:
    write("petalkit.toml", '[proxies]\nredis = "no.such:thing"\n')
    outcome = run_cli("list", "native", "--config", "petalkit.toml")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_proxy_in_the_file_is_a_text(write: Write, run_cli: RunCli) -> None:
    write("petalkit.toml", "[proxies]\nredis = 3\n")
    outcome = run_cli("list", "duck", "--host-compat", "--config", "petalkit.toml")
    assert outcome.code == 2
    assert "'redis' under [proxies] in 'petalkit.toml' must be a text" in outcome.err


# -- petalkit list


def test_list_shows_what_is_known_without_running(run_cli: RunCli) -> None:
    outcome = run_cli("list", "guide_petal.plugin", "native", "--host-compat")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[:2] == ["example-petal 1.2.0", "  Says hello."]
    assert "  example-petal/crunch  [in a thread]" in lines
    assert "      Reckon." in lines
    assert "  example-petal/hello" in lines
    assert "      Greet somebody." in lines
    assert "  (more commands may be known when it runs)" in lines  # decorators are never all
    assert "native 0" in lines


def test_list_says_what_only_running_can_tell(run_cli: RunCli, write: Write) -> None:
    text = "from petal_app_manager.plugins.base import Petal\nfrom typing import *\n"
    text += "from petal_app_manager.plugins.decorators import mqtt_action\n"
    late = "    name = 'late'\n    version = '1'\n    use_mqtt_proxy = True\n"
    write("late.py", text + "class Late(Petal):\n" + late)
    raising = "    def _setup_command_handlers(self):\n        return {self._loop.time(): 1}\n"
    marked = "    @mqtt_action('known')\n    async def known(self, topic, message): ...\n"
    write("early.py", text + "class Early(Petal):\n" + late + raising + marked)
    outcome = run_cli("list", "late", "--host-compat")
    assert "  (its commands are known when it runs)" in outcome.out.splitlines()
    outcome = run_cli("list", "early", "--host-compat")
    assert "  late/known" in outcome.out.splitlines()
    assert "  (more commands may be known when it runs)" in outcome.out.splitlines()
    assert run_cli("list", "duck", "--host-compat").out.splitlines()[1] == "  (no commands)"


def test_list_names_the_option(run_cli: RunCli) -> None:
    outcome = run_cli("list", "guide_petal.plugin")
    assert outcome.code == 2
    assert "try --host-compat" in outcome.err.splitlines()[0]


def test_the_real_host_is_a_mistake_to_mend(
    run_cli: RunCli, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site/petal_app_manager/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    outcome = run_cli("list", "duck", "--host-compat")
    assert outcome.code == 2
    assert "the real petal_app_manager is installed here" in outcome.err


@pytest.mark.parametrize("command", ["run", "list"])
def test_the_options_are_in_the_help(command: str, run_cli: RunCli) -> None:
    text = " ".join(run_cli(command, "--help").out.split())
    assert "--host-compat" in text
    assert "--host-proxy" in text
    assert "NAME=TARGET" in text

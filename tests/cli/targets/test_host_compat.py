"""`--host-compat` and `--host-proxy`: petals of the guide's host on the command line."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
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
    assert given == {
        "proxies": {},
        "proxy_factories": factories,
        "proxy_factories_per_petal": {},
    }


def test_a_factory_may_be_for_each_petal() -> None:
    host = opened("redis=my_proxies:Redis,per-petal", "db=my_proxies:make_db")
    module = sys.modules["my_proxies"]
    assert host.per_petal == {"redis": module.Redis}
    assert host.factories == {"db": module.make_db}


@pytest.fixture
def host_code(tmp_path: Path) -> Path:
    """A folder as `pip install --target` leaves it, with a proxy in the host's form."""
    proxies = tmp_path / "host code" / "petal_app_manager" / "proxies"
    proxies.mkdir(parents=True)
    (proxies.parent / "__init__.py").write_text("raise ImportError('not this one')\n")
    (proxies / "external.py").write_text("")
    (proxies / "localdb.py").write_text(
        "from .base import BaseProxy\n"
        "from .. import Config\n"
        "from ..organization_manager import get_organization_manager\n\n"
        "class LocalDBProxy(BaseProxy):\n"
        "    def __init__(self, **given):\n"
        "        self.given = given\n"
        "    async def start(self): ...\n"
        "    async def stop(self): ...\n"
    )
    return tmp_path / "host code"


def test_the_hosts_own_proxies_come_from_a_folder_and_no_import_of_theirs_changes(
    host_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETAL_LOCAL_DB_PORT", "4711")
    host = HostOptions(host_compat=True, host_proxy=("db=host",), host_code=host_code).open(load())
    assert host is not None
    made = host.factories["db"]()
    assert type(made).__module__ == "petal_app_manager.proxies.localdb"
    assert isinstance(made, compat.BaseProxy)
    assert (made.given["host"], made.given["port"]) == ("localhost", 4711)
    petals = importlib.import_module("petal_app_manager.proxies")
    assert petals.LocalDBProxy is type(made)
    assert petals.MQTTProxy is compat.MQTTProxy


def test_the_hosts_variables_are_read_from_its_file_on_request(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("host.env", "PETAL_REDIS_PORT=1234\nPETAL_REDIS_HOST=far\nPETALKIT_BROKER=x\n")
    monkeypatch.setenv("PETAL_REDIS_HOST", "near")
    monkeypatch.setenv("PETAL_REDIS_PORT", "")
    monkeypatch.delenv("PETAL_REDIS_PORT")
    HostOptions(host_compat=True, host_env=file).open(load())
    config = importlib.import_module("petal_app_manager").Config
    assert (config.REDIS_HOST, config.REDIS_PORT) == ("near", 1234)
    assert "PETALKIT_BROKER" not in os.environ


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host_proxy": ("db=host",)}, "say where the host's code is: pip install --no-deps"),
        ({"host_code": Path("nowhere")}, "nowhere has no code of the host's proxies"),
        ({"host_proxy": ("radio=host",), "host_code": Path("host code")}, "has no proxy 'radio'"),
        ({"host_proxy": ("b=my_proxies:bucket,per-petal",)}, "is for what is called"),
    ],
)
def test_what_is_wrong_about_the_hosts_code_is_one_line(
    options: dict[str, Any], text: str, host_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(host_code.parent)
    with pytest.raises(UsageError, match=re.escape(text)):
        HostOptions(host_compat=True, **options).open(load())


def test_options_of_the_host_need_host_compat(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--host-code is for petals of the host"):
        HostOptions(host_code=tmp_path).open(load())


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("redis", "--host-proxy redis: write NAME=module:name"),
        ("=my_proxies:Redis", "write NAME=module:name"),
        ("redis=", "write NAME=module:name"),
        (
            "redis=my_proxies",
            "--host-proxy redis: write module:name, host or none, not 'my_proxies'",
        ),
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
    text = " ".join(run_cli(command, "--help-all").out.split())
    assert "--host-compat" in text
    assert "--host-proxy" in text
    assert "NAME=TARGET" in text


# -- what stands in a petal's code


def test_the_name_of_a_distribution_is_answered_with_its_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    info = tmp_path / "site" / "petal_flight_log-0.2.7.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: petal-flight-log\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[petal.plugins]\nflight_records = plugin:Petal\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    write("petal_flight_log.py", "")
    host = open_host({})
    for target in ("petal-flight-log", "petal_flight_log"):
        text = "has the entry points flight_records: write one of them"
        with pytest.raises(UsageError, match=text):
            load_targets([target], host=host)


CODE = """
from petal_app_manager.plugins.base import Petal

class Reading(Petal):
    name = "reading"
    version = "1"

    def get_required_proxies(self):
        return ["needed"]

    def get_optional_proxies(self):
        return ["optional"]

    async def async_startup(self):
        await self._proxies["mqtt"].subscribe_to_topic("a/b", self._on)

    async def _on(self, topic, message):
        if "there" in self._proxies:
            self._proxies["insisted"].use()
        for name in [self._proxies.get("asked"), self._proxies.get("optional")]:
            print(name, lambda: self._proxies["nested"])
"""


def test_doctor_reads_what_a_petal_asks_for_and_what_is_gone(write: Write, run_cli: RunCli) -> None:
    write("reading.py", CODE)
    result = run_cli("doctor", "--host-compat", "reading.py", "--host-proxy", "needed=none")
    lines = result.out
    assert "reading insists somewhere on insisted, nested, and nobody supplies that" in lines
    assert "reading asks somewhere for asked, and nobody supplies that" in lines
    assert "reading calls subscribe_to_topic() in async_startup" in lines
    assert "in the dialect guide, since none uses @mqtt_action" in lines
    supplied = [f"--host-proxy={name}=none" for name in ("insisted", "nested", "asked", "needed")]
    assert "nobody supplies" not in run_cli("doctor", "--host-compat", "reading.py", *supplied).out

"""The host's import names, served by petalkit."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petalkit import compat
from petalkit.compat import HostInstalled, _install, install

IMPORTS = """
from petal_app_manager import Config
from petal_app_manager import Config, __version__
from petal_app_manager.models import MQTTMessage
from petal_app_manager.models.health import HealthMessage, HealthStatus, ServiceHealthInfo
from petal_app_manager.models.mavlink import FormatStorageResponse, FormatStorageStatusCode
from petal_app_manager.models.mavlink import RebootAutopilotResponse, RebootStatusCode
from petal_app_manager.models.mqtt import MQTTMessage
from petal_app_manager.organization_manager import OrganizationManager, get_organization_manager
from petal_app_manager.organization_manager import OrganizationInfo, set_organization_manager
from petal_app_manager.plugins.base import Petal
from petal_app_manager.plugins.decorators import http_action, websocket_action, mqtt_action
from petal_app_manager.proxies import CloudDBProxy, LocalDBProxy, MavLinkFTPProxy, S3BucketProxy
from petal_app_manager.proxies import MQTTProxy, MavLinkExternalProxy, RedisProxy
from petal_app_manager.proxies import *
from petal_app_manager.proxies.base import BaseProxy
from petal_app_manager.proxies.bucket import S3BucketProxy
from petal_app_manager.proxies.cloud import CloudDBProxy
from petal_app_manager.proxies.external import DownloadCancelledException, FTPDeleteError
from petal_app_manager.proxies.external import MavLinkExternalProxy, MavLinkFTPProxy, ProgressCB
from petal_app_manager.proxies.localdb import LocalDBProxy
from petal_app_manager.proxies.mqtt import MQTTProxy
from petal_app_manager.proxies.redis import RedisProxy
import petal_app_manager.plugins.base
from petal_app_manager import proxies, plugins
""".strip().splitlines()

PROXIES = {
    "RedisProxy": "redis",
    "LocalDBProxy": "db",
    "CloudDBProxy": "cloud",
    "S3BucketProxy": "bucket",
    "MavLinkExternalProxy": "ext_mavlink",
    "MavLinkFTPProxy": "ftp_mavlink",
}


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Whatever a test installs is gone after it."""
    yield
    _install._uninstall()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are there, and no variable of this machine gets in."""
    for name in list(os.environ):
        if name.startswith("PETAL_"):
            monkeypatch.delenv(name)
    install()


def load(name: str) -> Any:
    return importlib.import_module(name)


# -- install()


def test_without_install_there_is_no_host() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'petal_app_manager'$"):
        load("petal_app_manager")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("line", IMPORTS)
def test_what_petals_import_is_there(line: str) -> None:
    names: dict[str, Any] = {}
    exec(line, names)
    assert len(names) > 1


@pytest.mark.usefixtures("installed")
def test_the_names_are_those_of_compat() -> None:
    assert load("petal_app_manager.plugins.base").Petal is compat.Petal
    assert load("petal_app_manager.proxies").MQTTProxy is compat.MQTTProxy
    assert load("petal_app_manager.proxies.base").BaseProxy is compat.BaseProxy
    assert load("petal_app_manager.models").MQTTMessage is compat.MQTTMessage
    for name in ("http_action", "mqtt_action", "websocket_action"):
        assert getattr(load("petal_app_manager.plugins.decorators"), name) is getattr(compat, name)
    manager = load("petal_app_manager.organization_manager")
    assert manager.get_organization_manager is compat.get_organization_manager


async def _call_master(message: dict[str, Any]) -> Any:
    """What the decorators' base class does with a command, by a proxy of the user's own test."""
    calls: list[Any] = []

    class Proxy:
        async def send_command_response(self, **fields: Any) -> None:
            calls.append(fields)

    class SamplePetal(compat.Petal):
        name = "test-petal"

        @compat.mqtt_action("light")
        async def light(self, topic: str, message: dict[str, Any]) -> None: ...

    petal = SamplePetal()
    petal._proxies = {"mqtt": Proxy()}
    petal._mqtt_command_handlers, _ = petal._collect_mqtt_actions()
    await petal._mqtt_master_command_handler("t", message)
    return calls


def test_the_base_class_answers_by_keyword_as_tests_of_the_hosts_petals_expect() -> None:
    message = {"command": "test-petal/dark", "waitResponse": True, "messageId": "7"}
    (call,) = asyncio.run(_call_master(message))
    assert call["message_id"] == "7"
    assert call["response_data"]["error_code"] == "UNKNOWN_COMMAND"


def test_twice_is_once() -> None:
    install()
    load("petal_app_manager")
    install()
    assert sys.meta_path.count(_install._FINDER) == 1


def make_real_host(folder: Path) -> Path:
    package = folder / "petal_app_manager"
    package.mkdir()
    (package / "__init__.py").write_text("REAL = True\n")
    return package / "__init__.py"


def test_the_real_host_is_not_shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = make_real_host(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HostInstalled, match="pip uninstall petal-app-manager") as caught:
        install()
    assert caught.value.where == str(real)
    assert isinstance(caught.value, ImportError)
    assert _install._FINDER not in sys.meta_path


def test_a_real_host_that_is_imported_already_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "petal_app_manager", types.ModuleType("petal_app_manager"))
    with pytest.raises(HostInstalled, match="already imported"):
        install()


def test_a_real_host_that_comes_later_is_seen_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    make_real_host(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HostInstalled):
        install()


# -- what is not there


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("from petal_app_manager import Confi", "petal_app_manager has no 'Confi'"),
        ("from petal_app_manager.proxies import X", "petal_app_manager.proxies has no 'X'"),
        ("from petal_app_manager.proxies.redis import X", "proxies.redis has no 'X'"),
        ("import petal_app_manager.api", "'petal_app_manager.api': petalkit stands in"),
        ("from petal_app_manager.plugins.loader import X", "'petal_app_manager.plugins.loader'"),
    ],
)
def test_a_missing_name_is_an_import_error_that_names_petalkit(line: str, text: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(line, {})
    assert text in str(caught.value)
    assert "petalkit" in str(caught.value)


@pytest.mark.usefixtures("installed")
def test_who_only_asks_for_a_part_of_the_host_is_told_none() -> None:
    assert importlib.util.find_spec("petal_app_manager.api") is None
    assert importlib.util.find_spec("petal_app_manager.proxies.nothing") is None
    assert importlib.util.find_spec("petal_app_manager.proxies.redis") is not None


@pytest.mark.usefixtures("installed")
def test_a_missing_attribute_is_an_attribute_error() -> None:
    proxies = load("petal_app_manager.proxies")
    assert not hasattr(proxies, "KafkaProxy")
    assert getattr(proxies, "KafkaProxy", None) is None
    with pytest.raises(AttributeError, match=r"stand-in for petal_app_manager\.proxies"):
        _ = proxies.KafkaProxy


# -- proxies


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("cls", "name"), PROXIES.items())
def test_a_proxy_that_petalkit_does_not_have_says_how_to_supply_one(cls: str, name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"--host-proxy {name}=module:name") as caught:
        getattr(load("petal_app_manager.proxies"), cls)()
    assert f"no {cls} of its own" in str(caught.value)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("cls", PROXIES)
def test_a_users_own_proxy_may_derive_from_the_name(cls: str) -> None:
    base = getattr(load("petal_app_manager.proxies"), cls)

    class Mine(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("localhost", port=1)

        async def start(self) -> None: ...

        async def stop(self) -> None: ...

    assert isinstance(Mine(), base)
    assert isinstance(Mine(), compat.BaseProxy)


@pytest.mark.usefixtures("installed")
def test_a_failed_delete_keeps_its_parts() -> None:
    error = load("petal_app_manager.proxies.external").FTPDeleteError("/log", 2, "no such file")
    assert (error.path, error.ftp_code, str(error)) == ("/log", 2, "no such file")


# -- Config


@pytest.mark.usefixtures("installed")
def test_config_has_the_hosts_defaults() -> None:
    config = load("petal_app_manager").Config
    assert config.PETAL_LOG_LEVEL == config.LoggingConfig.LEVEL == "INFO"
    assert config.PETAL_LOG_TO_FILE is config.LoggingConfig.TO_FILE is True
    assert config.LOCAL_DB_PORT == 3000
    assert config.RedisConfig.PASSWORD is config.REDIS_PASSWORD is None
    assert config.MQTTConfig.CALLBACK_PORT == config.CALLBACK_PORT == 9000
    assert config.MQTTConfig.HEALTH_PROBE_TIMEOUT_S == config.MQTT_HEALTH_PROBE_TIMEOUT_S == 2.0
    assert config.MavLinkConfig.ROOT_SD_PATH == config.ROOT_SD_PATH == "fs/microsd/log"
    assert config.RebootConfig.HEARTBEAT_DROP_GAP_S == config.REBOOT_HEARTBEAT_DROP_GAP_S == 1.5
    assert config.ProxyConfig.MQTT_RETRY_INTERVAL == config.MQTT_RETRY_INTERVAL == 10.0
    assert config.PetalUserJourneyCoordinatorConfig.DEBUG_SQUARE_TEST is False
    assert not hasattr(config, "DEBUG_SQUARE_TEST")
    assert config.get_log_level_outputs() is None


@pytest.mark.usefixtures("installed")
def test_config_is_read_from_the_hosts_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PETAL_LOG_LEVEL": "debug",
        "PETAL_LOG_TO_FILE": "no",
        "PETAL_REDIS_PORT": "7000",
        "PETAL_REDIS_PASSWORD": "secret",
        "PETAL_REBOOT_SITL_MODE": "Yes",
        "PETAL_REBOOT_HB_DROP_WINDOW": "2",
        "PETAL_MQTT_HEALTH_PROBE_TIMEOUT": "0.5",
        "PETAL_DEBUG_SQUARE_TEST": "1",
        "PETAL_ROOT_SD_PATH": "/sd",
    }.items():
        monkeypatch.setenv(name, value)
    config = load("petal_app_manager").Config
    assert config.LoggingConfig.LEVEL == "DEBUG"
    assert config.PETAL_LOG_TO_FILE is False
    assert config.RedisConfig.PORT == config.REDIS_PORT == 7000
    assert config.REDIS_PASSWORD == "secret"
    assert config.RebootConfig.SITL_MODE is True
    assert config.REBOOT_HEARTBEAT_DROP_WINDOW_S == 2.0
    assert config.MQTTConfig.HEALTH_PROBE_TIMEOUT_S == 0.5
    assert config.PetalUserJourneyCoordinatorConfig.DEBUG_SQUARE_TEST is True
    assert config.MavLinkConfig.ROOT_SD_PATH == "/sd"


@pytest.mark.usefixtures("installed")
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAL_REDIS_PORT", "many")
    with pytest.raises(ValueError, match="PETAL_REDIS_PORT must be a whole number, not 'many'"):
        load("petal_app_manager")


# -- models

MESSAGE = {
    "messageId": "test-123",
    "deviceId": "Instance-1",
    "command": "example-petal/hello",
    "timestamp": "2025-11-05T12:00:00Z",
    "payload": {"name": "Developer"},
    "waitResponse": True,
}


@pytest.mark.usefixtures("installed")
def test_a_message_is_validated_as_by_the_host() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = load("petal_app_manager.models").MQTTMessage
    message = model(**MESSAGE, extra="ignored")
    assert message.model_dump() == {**MESSAGE, "waitAck": False}
    for name in MESSAGE:
        with pytest.raises(pydantic.ValidationError, match=name):
            model(**{key: value for key, value in MESSAGE.items() if key != name})
    with pytest.raises(pydantic.ValidationError, match="payload"):
        model(**{**MESSAGE, "payload": []})


@pytest.mark.usefixtures("installed")
def test_answers_of_the_autopilot() -> None:
    pydantic = pytest.importorskip("pydantic")
    mavlink = load("petal_app_manager.models.mavlink")
    code = mavlink.RebootStatusCode.OK_HB_CONFIRMED_NO_ACK
    answer = mavlink.RebootAutopilotResponse(success=True, status_code=code, reason="seen")
    assert answer.ack_result is None
    assert answer.model_dump(mode="json")["status_code"] == "OK_HB_CONFIRMED_NO_ACK" == code.value
    assert str(code) == "RebootStatusCode.OK_HB_CONFIRMED_NO_ACK"
    with pytest.raises(pydantic.ValidationError, match="status_code"):
        mavlink.FormatStorageResponse(success=True, status_code=code, reason="of the other")


@pytest.mark.usefixtures("installed")
def test_health_messages() -> None:
    pydantic = pytest.importorskip("pydantic")
    health = load("petal_app_manager.models.health")
    service = {
        "title": "T", "component_name": "c", "status": health.HealthStatus.HEALTHY,
        "message": "m", "timestamp": "2025-11-05T12:00:00Z",
    }  # fmt: skip
    whole = {**service, "version": "1", "services": [service]}
    assert health.HealthMessage(**whole).petals == []
    for wrong in ({"services": []}, {"status": "fine"}, {"timestamp": "noon"}):
        with pytest.raises(pydantic.ValidationError):
            health.HealthMessage(**{**whole, **wrong})


@pytest.mark.usefixtures("installed")
def test_only_models_need_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pydantic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "petalkit.compat.models", raising=False)
    monkeypatch.delattr(compat, "models", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic", None)  # as if it were not installed
    load("petal_app_manager.proxies")
    load("petal_app_manager.plugins.base")
    with pytest.raises(ImportError, match=r"pip install 'petalkit\[compat\]'"):
        load("petal_app_manager.models.mavlink")
    with pytest.raises(ImportError, match=r"pip install 'petalkit\[compat\]'"):
        _ = compat.MQTTMessage

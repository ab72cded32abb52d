"""Which transport a name makes, and what is said when it cannot be made."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

from petalkit._values.errors import ConfigError
from petalkit._values.settings.settings import Settings
from petalkit.transports import create_transport
from petalkit.transports.asyncio_mqtt import AsyncioMqttTransport
from petalkit.transports.native import NativeTransport
from petalkit.transports.sidecar import SidecarTransport


def test_the_setting_names_the_transport() -> None:
    assert isinstance(create_transport(Settings()), AsyncioMqttTransport)
    assert isinstance(create_transport(Settings(transport="native")), NativeTransport)
    assert isinstance(create_transport(Settings(transport="sidecar")), SidecarTransport)


def test_a_name_that_is_none() -> None:
    with pytest.raises(ConfigError, match="asyncio-mqtt, native, sidecar"):
        create_transport(Settings(transport="pigeon"))


def test_the_protocol_is_that_of_the_transport_unless_it_is_set() -> None:
    assert Settings().protocol == "3.1.1"
    assert Settings(transport="native").protocol == "5"
    assert Settings(protocol="5").protocol == "5"


def test_native_has_no_3_1_1() -> None:
    for settings in (
        Settings(transport="native", protocol="3.1.1"),
        attrs.evolve(Settings(), transport="native"),  # with what the other one speaks
    ):
        with pytest.raises(ConfigError) as caught:
            create_transport(settings)
        assert caught.value.setting == "protocol"


@pytest.mark.process
@pytest.mark.parametrize("module", ["petalkit", "petalkit.cli", "petalkit.testing"])
def test_a_plain_installation_needs_nothing_of_the_extras(module: str) -> None:
    """In a process of its own: here all of it is loaded already."""
    extras = ["mqtt5", "wsproto", "httpx", "hypercorn", "starlette", "pydantic"]
    program = f"import sys\nsys.modules.update(dict.fromkeys({extras}))\nimport {module}\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_native_without_its_codec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("petalkit.transports.native"):
            monkeypatch.delitem(sys.modules, name)
        if name.startswith("petalkit.transports._mqtt5"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mqtt5", None)
    with pytest.raises(ConfigError, match=r"pip install 'petalkit\[native\]'"):
        create_transport(Settings(transport="native"))


@pytest.mark.parametrize("missing", ["httpx", "hypercorn", "starlette", "h11"])
def test_sidecar_without_its_packages_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("petalkit.transports.sidecar"):
            monkeypatch.delitem(sys.modules, name)
        if name.split(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'petalkit\[http\]'"):
        create_transport(Settings(transport="sidecar"))

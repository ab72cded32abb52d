"""The configuration for AWS IoT Core loads as the command line loads it, in both variants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from petalkit import Settings
from petalkit.cli._settings.loading import load
from petalkit.transports._connecting.tls import broker_address

from .conftest import EXAMPLES

FILE = EXAMPLES / "aws-iot-core.toml"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PETALKIT_"):
            monkeypatch.delenv(name)


def test_port_443_with_alpn() -> None:
    assert load(config=FILE).settings == Settings(
        broker="mqtts://ENDPOINT-ats.iot.REGION.amazonaws.com:443",
        alpn=("x-amzn-mqtt-ca",),
        client_id="THING-NAME",
        cert_file=EXAMPLES / "certs/device.pem.crt",
        key_file=EXAMPLES / "certs/private.pem.key",
        ca_file=EXAMPLES / "certs/AmazonRootCA1.pem",
        device_id="Instance-0123456789abcdef",
        organization_file=Path("/etc/petalkit/organization.json"),
        protocol="3.1.1",
        session_expiry=3600,
        payload_max=128 * 1024,
        receive_maximum=100,
        publish_maximum=100,
        keep_alive=30,
    )


def test_port_8883_without_alpn(tmp_path: Path) -> None:
    """The commented lines, in place of the two above them, as the comment says."""
    lines = FILE.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("broker = ", "alpn = "))]
    changed = [
        line.removeprefix("# ") if line.startswith(("# broker = ", "# alpn = ")) else line
        for line in kept
    ]
    assert changed != kept
    file = tmp_path / "aws-iot-core.toml"
    file.write_text("\n".join(changed))
    settings = load(config=file).settings
    assert settings.broker == "mqtts://ENDPOINT-ats.iot.REGION.amazonaws.com:8883"
    assert settings.alpn == ()
    assert settings.ca_file == tmp_path / "certs/AmazonRootCA1.pem"


def test_it_is_an_address_with_tls() -> None:
    address = broker_address(load(config=FILE).settings)
    assert address.tls
    assert address.port == 443

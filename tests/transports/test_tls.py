"""Where the broker is, and which settings are refused before anything is connected."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from petalkit._errors import ConfigError
from petalkit._settings import Settings
from petalkit.transports._tls import Address, broker_address, tls_context
from petalkit.transports.asyncio_mqtt import create

from ..brokers import Certificates


@pytest.mark.parametrize(
    ("broker", "address"),
    [
        ("mqtt://localhost", Address("localhost", 1883, tls=False)),
        ("mqtt://127.0.0.1:2000", Address("127.0.0.1", 2000, tls=False)),
        ("mqtt://127.8.9.1", Address("127.8.9.1", 1883, tls=False)),
        ("mqtt://[::1]:2000/", Address("::1", 2000, tls=False)),
        ("mqtts://broker.example.org", Address("broker.example.org", 8883, tls=True)),
        ("mqtts://10.0.0.1:443", Address("10.0.0.1", 443, tls=True)),
        ("unix:///run/b.sock", Address("localhost", 1883, tls=False, path="/run/b.sock")),
    ],
)
def test_addresses(broker: str, address: Address) -> None:
    assert broker_address(Settings(broker=broker)) == address


@pytest.mark.parametrize(
    "host", ["broker.example.org", "10.0.0.1", "0.0.0.0", "[::2]", "localhost.example.org", "127.1"]
)
def test_plain_tcp_stays_on_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_insecure"):
        broker_address(Settings(broker=f"mqtt://{host}"))
    assert not broker_address(Settings(broker=f"mqtt://{host}", allow_insecure=True)).tls


@pytest.mark.parametrize(
    "broker",
    [
        "http://localhost",
        "wsx://localhost",
        "ws://localhost/mqtt?token=hunter2",
        "ws://localhost/mqtt#x",
        "ws://localhost/m\u00fcnchen",
        "ws://localhost:0/mqtt",
        "unix://run/x",
        "unix:///",
        "unix:///run/x?y",
        "mqtt:///x",
        "mqtt://localhost/x",
        "mqtt://localhost?x=1",
        "mqtt://localhost:0",
        "mqtt://local host",
        "unix:://x",
    ],
)
def test_other_addresses_are_refused(broker: str) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_address(Settings(broker=broker))
    assert caught.value.setting == "broker"


def test_tls_settings_beside_a_plain_address_are_a_mistake(certificates: Certificates) -> None:
    with pytest.raises(ConfigError) as caught:
        broker_address(Settings(ca_file=certificates.ca))
    assert caught.value.setting == "ca_file"


def test_certificates_and_names_are_always_checked(certificates: Certificates) -> None:
    context = tls_context(
        Settings(
            broker="mqtts://localhost",
            ca_file=certificates.ca,
            cert_file=certificates.client_cert,
            key_file=certificates.client_key,
            alpn=("x-amzn-mqtt-ca",),
        )
    )
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] == 1  # and not the system's besides


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("bad", ["missing", "rubbish", "folder", "null\0character"])
def test_files_that_cannot_be_used_are_named_before_connecting(
    certificates: Certificates, tmp_path: Path, name: str, bad: str
) -> None:
    (tmp_path / "rubbish").write_text("this is not PEM")
    (tmp_path / "folder").mkdir()
    files: dict[str, Any] = {
        "ca_file": certificates.ca,
        "cert_file": certificates.client_cert,
        "key_file": certificates.client_key,
        name: tmp_path / bad,
    }
    with pytest.raises(ConfigError) as caught:
        create(Settings(broker="mqtts://localhost", **files))
    named = {"key_file": "cert_file"}.get(name, name) if bad == "rubbish" else name
    assert caught.value.setting == named  # OpenSSL cannot say which of the pair it was


def test_an_encrypted_key_is_refused_and_not_asked_for(
    certificates: Certificates, tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key(certificates.client_key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="encrypted") as caught:
        create(
            Settings(
                broker="mqtts://localhost",
                cert_file=certificates.client_cert,
                key_file=encrypted,
            )
        )
    assert caught.value.setting == "key_file"

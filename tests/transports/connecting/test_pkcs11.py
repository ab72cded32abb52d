"""A client key that never leaves its token: SoftHSM, and pkcs11-provider of OpenSSL 3.

Needs softhsm2-util and that provider (Debian 13, or 12 with backports: softhsm2, pkcs11-provider);
`PETALKIT_PKCS11_PROVIDER` may name its module elsewhere. OpenSSL reads its configuration once, at
its start, so the client is a process of its own.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives import serialization

from ...brokers import Certificates, Mosquitto

pytestmark = pytest.mark.process

LIMIT = 30.0  # seconds, for a process on a busy machine
PIN = "4711"
URI = "pkcs11:token=device;object=mqtt;type=private"
CLIENT = """
import sys, trio
from pathlib import Path
from petalkit import Settings
from petalkit.transports import ConnectOptions, create_transport

url, way, ca, cert, key = sys.argv[1:]
settings = Settings(
    broker=url, transport=way, ca_file=Path(ca), cert_file=Path(cert), key_file=Path(key)
)

async def main():
    transport = create_transport(settings)
    for _ in range(3):
        async with transport.connect(ConnectOptions(client_id="device")):
            print("connected", flush=True)

trio.run(main)
"""


def find_provider() -> Path | None:
    """The module of pkcs11-provider."""
    named = os.environ.get("PETALKIT_PKCS11_PROVIDER")
    places = [Path(named)] if named else Path("/usr").glob("lib*/**/ossl-modules/pkcs11.so")
    return next((place for place in places if place.exists()), None)


def find_softhsm() -> Path | None:
    return next(Path("/usr").glob("lib*/**/libsofthsm2.so"), None)


@attrs.frozen
class Token:
    """A key in a token, and what a process needs to use it."""

    key_file: Path
    environment: dict[str, str]


@pytest.fixture
def token(certificates: Certificates, tmp_path: Path) -> Token:
    provider, module, tool = find_provider(), find_softhsm(), shutil.which("softhsm2-util")
    if provider is None or module is None or tool is None:
        pytest.skip("NO PKCS#11: install softhsm2 and pkcs11-provider to run this")
    folder = tmp_path / "token"
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    (folder / "pin").write_text(PIN)
    (folder / "openssl.cnf").write_text(
        f"""openssl_conf = init
[init]
providers = providers
[providers]
default = default_sect
pkcs11 = pkcs11_sect
[default_sect]
activate = 1
[pkcs11_sect]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-token-pin = file:{folder}/pin
pkcs11-module-quirks = no-deinit
activate = 1
"""
    )
    environment = dict(os.environ, SOFTHSM2_CONF=str(folder / "softhsm2.conf"))

    def softhsm(*arguments: str) -> None:
        subprocess.run([tool, *arguments], env=environment, check=True, timeout=LIMIT)

    key = serialization.load_pem_private_key(certificates.client_key.read_bytes(), None)
    plain = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "plain.pem").write_bytes(plain)
    softhsm("--init-token", "--free", "--label", "device", "--pin", PIN, "--so-pin", PIN)
    softhsm(
        *("--import", str(folder / "plain.pem"), "--token", "device", "--pin", PIN),
        *("--label", "mqtt", "--id", "01"),
    )
    (folder / "plain.pem").unlink()
    (folder / "key.pem").write_bytes(uri_as_pem(URI))
    environment["OPENSSL_CONF"] = str(folder / "openssl.cnf")
    return Token(folder / "key.pem", environment)


def uri_as_pem(uri: str) -> bytes:
    """The file that stands for a key: a SEQUENCE of two strings, as pkcs11-provider defines it."""

    def tagged(tag: int, content: bytes) -> bytes:
        assert len(content) < 128  # one byte says it
        return bytes([tag, len(content)]) + content

    title = tagged(0x1A, b"PKCS#11 Provider URI v1.0")
    body = base64.encodebytes(tagged(0x30, title + tagged(0x0C, uri.encode())))
    name = b"PKCS#11 PROVIDER URI-----\n"
    return b"-----BEGIN " + name + body + b"-----END " + name


@pytest.mark.parametrize("way", ["asyncio-mqtt", "native"])
def test_a_key_in_a_token_opens_each_link(
    token: Token,
    start_mosquitto: Callable[..., Mosquitto],
    certificates: Certificates,
    way: str,
) -> None:
    broker = start_mosquitto(
        certificates=certificates,
        require_client_certificate=True,
        options={"use_identity_as_username": "true"},
    )
    assert b"PRIVATE KEY" not in token.key_file.read_bytes()
    arguments = (broker.url, way, certificates.ca, certificates.client_cert, token.key_file)
    outcome = subprocess.run(
        [sys.executable, "-c", CLIENT, *map(str, arguments)],
        env=token.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert outcome.stdout == "connected\n" * 3, outcome.stderr
    assert outcome.returncode == 0, "a token that is closed at the end may take the process with it"
    assert "u'device'" in broker.log

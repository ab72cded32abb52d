"""Security: credentials, TLS, and the way through a proxy.

A secret is fixed, or read from a file at each connect, or asked for; it never has a `repr`.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from ..checks import alpn_names, host_name, mqtt_size, mqtt_text
from ..fields import SecretSource, file_setting, setting
from ..proxies import PROXY_OFF, check_credentials, check_no_proxy, check_proxy
from ..server_references import check_patterns


@attrs.frozen(kw_only=True, slots=False)
class SecuritySettings:
    """Security: credentials, TLS, and the way through a proxy."""

    username: str | None = setting(None, "User name for the broker.", check=mqtt_text)
    username_file: Path | None = file_setting(
        None, "A file that holds the user name and nothing else; read at each connect."
    )
    username_source: SecretSource | None = setting(
        None, "A callable that gives the user name, asked at each connect."
    )
    password: str | None = setting(None, "Password for the broker.", check=mqtt_size, secret=True)
    password_file: Path | None = file_setting(
        None,
        "A file that holds the password for the broker and nothing else; read at each connect.",
    )
    password_source: SecretSource | None = setting(
        None, "A callable that gives the password, asked at each connect."
    )
    ca_file: Path | None = file_setting(
        None, "CA certificates (PEM) to trust in place of the system's."
    )
    cert_file: Path | None = file_setting(None, "Client certificate (PEM).")
    key_file: Path | None = file_setting(None, "Private key (PEM) of the client certificate.")
    key_password: str | None = setting(
        None, "Password of an encrypted key_file.", check=mqtt_size, secret=True
    )
    key_password_file: Path | None = file_setting(
        None,
        "A file that holds the password of an encrypted key_file and nothing else; read at each "
        "connect.",
    )
    key_password_source: SecretSource | None = setting(
        None, "A callable that gives the password of an encrypted key_file, asked at each connect."
    )
    tls_server_name: str | None = setting(
        None,
        "The name that the broker's certificate has to carry (and SNI says), where that is not the "
        "host in broker: for a broker reached by IP address or through a tunnel.",
        check=host_name,
    )
    alpn: tuple[str, ...] = setting(
        (),
        "ALPN protocol names, such as x-amzn-mqtt-ca for AWS IoT Core on port 443.",
        check=alpn_names,
    )
    allow_insecure: bool = setting(False, "Allow plain TCP to an address that is not loopback.")
    proxy: str | None = attrs.field(
        default=None,
        validator=check_proxy,
        metadata={
            "help": "HTTP proxy to reach the broker through (CONNECT): http://host:port; off for "
            "none.",
            "unit": "",
            "secret": False,
            "off": PROXY_OFF,
            "default": "none; on the command line HTTPS_PROXY, for mqtts:// and wss://",
        },
    )
    no_proxy: str = setting(
        "",
        "Hosts that are reached without the proxy, as NO_PROXY names them; also where the broker "
        "sends us there.",
        check=check_no_proxy,
    )
    proxy_credentials: str | None = setting(
        None, "name:password for the proxy (Basic).", check=check_credentials, secret=True
    )
    proxy_credentials_file: Path | None = file_setting(
        None,
        "A file that holds name:password for the proxy and nothing else; read at each connect.",
    )
    proxy_credentials_source: SecretSource | None = setting(
        None, "A callable that gives name:password for the proxy, asked at each connect."
    )
    websocket_headers_file: Path | None = file_setting(
        None,
        "A file of further HTTP headers to open a WebSocket with, such as Authorization, one per "
        "line; read at each connect.",
    )
    server_references: tuple[str, ...] = setting(
        (),
        "Other servers that the broker may send us to (MQTT 5): host, host:port or *.example.com.",
        check=check_patterns,
    )

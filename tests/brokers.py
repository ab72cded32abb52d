"""Real brokers for tests: Debian's mosquitto as a child process, and certificates for it.

Each broker listens on loopback only, on a port that was free, with a configuration of its own in
a temporary folder; it is stopped by its own process handle and by nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import trustme

STARTUP_LIMIT = 10.0  # seconds, for a process on a busy machine
ASK_AGAIN = 1.0  # second after which one that goes on is asked to end once more


def find_mosquitto() -> str | None:
    """The mosquitto binary; Debian puts it where an ordinary user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@attrs.frozen
class Certificates:
    """A private CA with a certificate for this machine and one for a client, as PEM files."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificates:
        """Write them into `folder`; the server's is for `names`, or 127.0.0.1 and localhost."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        made = cls(*(folder / f"{name}.pem" for name in ("ca", "server", "skey", "client", "ckey")))
        authority.cert_pem.write_to_path(made.ca)
        server = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        client = authority.issue_cert("device@example.org", common_name="device")
        for certificate, chain, key in (
            (server, made.server_cert, made.server_key),
            (client, made.client_cert, made.client_key),
        ):
            chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
            certificate.private_key_pem.write_to_path(key)
        return made

    def server_context(self) -> ssl.SSLContext:
        """For a server of our own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_cert, self.server_key)
        return context


class Mosquitto:
    """A mosquitto process that can be stopped, killed, and started again on the same port.

    Args:
        folder: for its configuration and log; must be private to it.
        users: names and passwords; without them everybody may connect.
        certificates: listen with TLS.
        require_client_certificate: mutual TLS.
        persistence: keep sessions and messages over `stop` and `start`.
        max_queued_messages: per client, mosquitto's own default being 1000 (FACTS S14).
        options: further lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
        require_client_certificate: bool = False,
        persistence: bool = False,
        max_queued_messages: int = 1000,
        options: Mapping[str, object] | None = None,
    ) -> None:
        binary = find_mosquitto()
        if binary is None:
            raise FileNotFoundError("mosquitto is not installed")
        self.port = free_port()
        self.certificates = certificates
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "set_tcp_nodelay true",
            f"max_queued_messages {max_queued_messages}",
            f"allow_anonymous {'false' if users else 'true'}",
            f"persistence {'true' if persistence else 'false'}",
            f"persistence_location {folder}/",
            "log_type all",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # or it gives up its rights, and cannot read the folder
        if users:
            lines.append(f"password_file {self._write_passwords(users)}")
        if certificates is not None:
            lines += [
                f"cafile {certificates.ca}",
                f"certfile {certificates.server_cert}",
                f"keyfile {certificates.server_key}",
                f"require_certificate {'true' if require_client_certificate else 'false'}",
            ]
        lines += [f"{name} {value}" for name, value in (options or {}).items()]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")

    def set_users(self, users: Mapping[str, str]) -> None:
        """Users in place of those that it was made with; counts from its next start on."""
        self._write_passwords(users)

    def _write_passwords(self, users: Mapping[str, str]) -> Path:
        path = self._folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        path.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-U", path], check=True)
        return path

    @property
    def url(self) -> str:
        """For `Settings.broker`."""
        return f"mqtt{'s' if self.certificates else ''}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        assert self._process is None, "it is running already"
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", self._config], stdout=log, stderr=log
            )
        limit = time.monotonic() + STARTUP_LIMIT
        while time.monotonic() < limit and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        self.kill()
        raise RuntimeError(f"mosquitto does not start:\n{self.log}")

    def stop(self) -> None:
        """Let it end in order; it writes its database, if it has one."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(subprocess.Popen.kill)

    def freeze(self) -> None:
        """Let it stand still, with all its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # mosquitto listens before it begins its loop, which forgets a SIGTERM that came before.
        limit = time.monotonic() + STARTUP_LIMIT
        while time.monotonic() < limit:
            how(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ASK_AGAIN)
                return
        process.kill()
        process.wait(STARTUP_LIMIT)
        raise RuntimeError(f"mosquitto did not end within {STARTUP_LIMIT:g} s:\n{self.log}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

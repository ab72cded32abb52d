"""A blocking upload in a worker thread, which a timeout or a stop ends early.

    petalkit run examples/upload.py --config petalkit.toml

with, in petalkit.toml,

    [petals.upload-petal]
    url = "https://logs.example.com/incoming"
    folder = "/var/log/flights"

A thread cannot be stopped from outside. It has to ask, and asks here before each piece that it
sends. Until it has ended it keeps the group "upload", so a second upload is answered BUSY.
"""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import trio

from petalkit import CommandError, Petal, command

PIECE = 64 * 1024  # bytes between two looks at whether to go on
SOCKET_TIMEOUT = 30.0  # seconds; what blocks in the network cannot ask, so it needs its own limit


class UploadPetal(Petal):
    """Sends files to a server."""

    name = "upload-petal"
    version = "1.0.0"
    prefix = "upload"

    def __init__(self, url: str, folder: Path):
        self._url = urlsplit(url)
        self._folder = folder

    @command("send", thread=True, exclusive="upload", timeout=900.0)
    def send(self, file: str):
        """Upload one file of the folder."""
        path = self._folder / file
        if Path(file).name != file or not path.is_file():
            raise CommandError("NO_SUCH_FILE", f"there is no file {file!r}")
        size = path.stat().st_size
        try:
            self.put(file, size, pieces(path))
        except (OSError, http.client.HTTPException) as error:
            raise CommandError("UPLOAD_FAILED", str(error), retryable=True) from error
        return {"file": file, "size": size}

    def put(self, name: str, size: int, body: Iterator[bytes]) -> None:
        """One HTTP PUT, with the blocking client of the standard library."""
        secure = self._url.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self._url.netloc, timeout=SOCKET_TIMEOUT)
        try:
            target = f"{self._url.path.rstrip('/')}/{quote(name)}"
            connection.request("PUT", target, body, {"Content-Length": str(size)})
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise CommandError("UPLOAD_FAILED", f"the server answered {status}", retryable=True)


def pieces(path: Path) -> Iterator[bytes]:
    """The file in pieces; raises `trio.Cancelled` when the command was cancelled meanwhile."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            trio.from_thread.check_cancelled()
            yield piece

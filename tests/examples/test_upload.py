"""The upload in a thread: real clock and real threads, met by events and never by sleeping."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit import Settings
from petalkit.testing import open_harness

from .conftest import Load

pytestmark = pytest.mark.trio
LIMIT = 10.0  # seconds; a failing test ends


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flight 1.ulg").write_bytes(bytes(200 * 1024))
    return tmp_path


@attrs.define
class Server:
    """An HTTP server on loopback that keeps what is put to it."""

    url: str = ""
    status: int = 201
    received: dict[str, bytes] = attrs.field(factory=dict)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            state.received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(state.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/incoming/"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join(LIMIT)


async def test_a_file_arrives_whole(load_example: Load, folder: Path, server: Server) -> None:
    async with open_harness(load_example("upload").UploadPetal(server.url, folder)) as harness:
        response = await harness.call("upload/send", {"file": "flight 1.ulg"}, timeout=LIMIT)
    assert dict(response)["size"] == 200 * 1024
    assert server.received == {"/incoming/flight%201.ulg": bytes(200 * 1024)}


async def test_a_server_that_says_no(load_example: Load, folder: Path, server: Server) -> None:
    server.status = 507
    async with open_harness(load_example("upload").UploadPetal(server.url, folder)) as harness:
        response = await harness.call("upload/send", {"file": "flight 1.ulg"}, timeout=LIMIT)
    assert (response.error_code, response.retryable) == ("UPLOAD_FAILED", True)
    assert response.error == "the server answered 507"


@pytest.mark.parametrize("file", ["none.ulg", "../secret", "."])
async def test_only_files_of_the_folder(load_example: Load, folder: Path, file: str) -> None:
    petal = load_example("upload").UploadPetal("http://127.0.0.1:9/", folder)
    async with open_harness(petal) as harness:
        response = await harness.call("upload/send", {"file": file}, timeout=LIMIT)
    assert response.error_code == "NO_SUCH_FILE"


class Slow:
    """A server that takes one piece, and then waits until the test lets it go on."""

    def __init__(self, upload: Any, folder: Path) -> None:
        self.go_on = threading.Event()
        self.started = trio.Event()
        self.cancelled = threading.Event()
        slow = self

        class SlowPetal(upload.UploadPetal):  # type: ignore[misc, name-defined]
            def put(self, name: str, size: int, body: Iterator[bytes]) -> None:
                next(body)
                trio.from_thread.run_sync(slow.started.set)
                assert slow.go_on.wait(LIMIT)
                try:
                    for _ in body:
                        pass
                except trio.Cancelled:
                    slow.cancelled.set()
                    raise

        self.petal = SlowPetal("http://127.0.0.1:9/", folder)


async def test_the_second_upload_is_told_who_is_busy(load_example: Load, folder: Path) -> None:
    slow = Slow(load_example("upload"), folder)
    async with open_harness(slow.petal) as harness:
        with trio.fail_after(LIMIT), harness.responses() as responses:
            first = harness.send("upload/send", {"file": "flight 1.ulg"})
            await slow.started.wait()
            second = await harness.call("upload/send", {"file": "flight 1.ulg"})
            assert second.error_code == "BUSY"
            assert second.retryable
            assert second["running"] == {"command": "upload/send", "messageId": first}
            slow.go_on.set()
            await responses.wait(2)
            assert responses[1]["messageId"] == first
            assert responses[1]["success"] is True
            third = await harness.call("upload/send", {"file": "flight 1.ulg"})
            assert third.success


async def test_a_stop_answers_at_once_and_the_thread_ends_early(
    load_example: Load, folder: Path
) -> None:
    slow = Slow(load_example("upload"), folder)
    with trio.fail_after(LIMIT):
        async with open_harness(slow.petal, settings=Settings(grace=0)) as harness:
            with harness.responses() as responses:
                harness.send("upload/send", {"file": "flight 1.ulg"})
                await slow.started.wait()
                harness.runtime.stop()
                (response,) = await responses.wait(1)
        assert response["error_code"] == "CANCELLED"
        assert not slow.cancelled.is_set()  # it was answered, and the thread had not asked yet
        slow.go_on.set()
        assert await trio.to_thread.run_sync(slow.cancelled.wait, LIMIT)

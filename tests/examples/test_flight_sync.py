"""Long work by declaration and by hand: the same tests for the ten commands of both.

Their work is in threads, so the clock is the real one; nothing sleeps.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from petalkit.testing import Harness, open_harness

from .conftest import EXAMPLES, Load

pytestmark = pytest.mark.trio

LIMIT = 10.0  # seconds; a failing test ends
SIZE = 300 * 1024


@attrs.define
class Server:
    """An HTTP server on loopback that keeps what is put to it."""

    urls: list[str] = attrs.field(factory=list)
    status: int = 201
    received: dict[str, bytes] = attrs.field(factory=dict)
    # Where set, an upload waits until all have begun: so they are side by side.
    together: threading.Barrier | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if state.together is not None:
                state.together.wait(LIMIT)
            state.received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(state.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        at = f"http://127.0.0.1:{listening.server_port}"
        state.urls = [f"{at}/first", f"{at}/second"]
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join(LIMIT)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "card"
    folder.mkdir()
    for name in ("a.ulg", "b.ulg", "c.ulg"):
        (folder / name).write_bytes(name.encode() * (SIZE // 5))
    return folder


@pytest.fixture(params=["flight_sync", "flight_sync_by_hand"])
def example(
    request: pytest.FixtureRequest, load_example: Load, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The one with @job, and the one without."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return load_example(request.param)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@attrs.define
class Gate:
    """Holds what is read of a card, piece by piece, until the test lets it go on."""

    entered: trio.Event = attrs.field(factory=trio.Event)
    open: threading.Event = attrs.field(factory=threading.Event)


def gated(petal: Any) -> Gate:
    gate = Gate()
    read = petal.card.read

    async def wait_and_read(name: str, to: Path, report: Callable[[float], None]) -> None:
        gate.entered.set()

        def report_and_wait(fraction: float) -> None:
            report(fraction)
            while not gate.open.wait(0.005):
                trio.from_thread.check_cancelled()

        await read(name, to, report_and_wait)

    petal.card.read = wait_and_read
    return gate


async def end_of(harness: Harness, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """What a reader of one job is told last."""
    with harness.events() as events, trio.fail_after(LIMIT):
        reader = {"subscribed_stream_id": "s", "data_rate_hz": 100}
        assert (await harness.call(f"flight-sync/subscribe_{name}", reader)).success
        started = await harness.call(f"flight-sync/{name}", data)
        assert started.success, dict(started)
        assert started["state"] == "running"
        return await last(events, started["job_id"])


async def last(events: Any, job_id: str) -> dict[str, Any]:
    seen = 0
    while True:
        await events.wait(seen + 1)
        payload: dict[str, Any] = events[seen]["data"]["stream_payload"]
        seen += 1
        if payload["state"] not in ("running", "cancelling"):
            assert payload["job_id"] == job_id
            return payload


async def under_way(events: Any) -> None:
    """A reader has been told of a part of the download."""
    seen = 0
    while True:
        await events.wait(seen + 1)
        if 0 < (events[seen]["data"]["stream_payload"]["progress"] or 0) < 0.9:
            return
        seen += 1


async def test_fetch_lists_the_records(example: Any, card: Path, server: Server) -> None:
    async with open_harness(example.FlightSyncPetal(card, server.urls)) as harness:
        end = await end_of(harness, "fetch_records", {})
        assert (end["state"], end["progress"]) == ("succeeded", 1.0)
        assert end["result"] == {"records": dict.fromkeys(("a.ulg", "b.ulg", "c.ulg"), SIZE)}


async def test_sync_uploads_to_all_targets_at_once(
    example: Any, card: Path, server: Server
) -> None:
    server.together = threading.Barrier(2)
    async with open_harness(example.FlightSyncPetal(card, server.urls)) as harness:
        end = await end_of(harness, "sync_record", {"record_id": "b.ulg"})
    assert (end["state"], end["progress"]) == ("succeeded", 1.0)
    whole = (card / "b.ulg").read_bytes()
    assert server.received == {"/first/b.ulg": whole, "/second/b.ulg": whole}


async def test_a_target_that_says_no_is_the_failure(
    example: Any, card: Path, server: Server
) -> None:
    server.status = 507
    async with open_harness(example.FlightSyncPetal(card, server.urls)) as harness:
        end = await end_of(harness, "sync_record", {"record_id": "b.ulg"})
    assert end["state"] == "failed"
    assert "answered 507" in end["job_error"]


@pytest.mark.parametrize("record_id", ["none.ulg", "../card/a.ulg"])
async def test_what_is_no_record_is_not_touched(
    example: Any, card: Path, server: Server, record_id: str
) -> None:
    async with open_harness(example.FlightSyncPetal(card, server.urls)) as harness:
        end = await end_of(harness, "sync_record", {"record_id": record_id})
    assert (end["state"], end["job_error"]) == ("failed", f"there is no record {record_id!r}")
    assert len(names(card)) == 3


async def test_a_sync_is_watched_busy_and_cancelled(
    example: Any, card: Path, server: Server
) -> None:
    petal = example.FlightSyncPetal(card, server.urls)
    gate = gated(petal)
    async with open_harness(petal) as harness:
        with harness.events() as events, trio.fail_after(LIMIT):
            reader = {"subscribed_stream_id": "s", "data_rate_hz": 100}
            await harness.call("flight-sync/subscribe_sync_record", reader)
            started = await harness.call("flight-sync/sync_record", {"record_id": "a.ulg"})
            await gate.entered.wait()
            detect = await harness.call("flight-sync/detect_card")
            assert (detect.error_code, detect.retryable) == ("BUSY", True)
            await under_way(events)
            cancelled = await harness.call("flight-sync/cancel_sync_record")
            assert cancelled["state"] == "cancelling"
            end = await last(events, started["job_id"])
            assert end["state"] == "cancelled"
            gone = await harness.call(
                "flight-sync/unsubscribe_sync_record", {"subscribed_stream_id": "s"}
            )
            assert gone["unsubscribed"] is True
        again = await harness.call("flight-sync/cancel_sync_record")
        assert again.error_code == "UNKNOWN_JOB"
    assert server.received == {}


@pytest.mark.parametrize(
    ("name", "fields"), [("detect_card", {"records": 3}), ("clear_card", {"deleted": 3})]
)
async def test_two_phases_have_one_message_id(
    example: Any, card: Path, server: Server, name: str, fields: dict[str, int]
) -> None:
    async with open_harness(example.FlightSyncPetal(card, server.urls)) as harness:
        with harness.events() as events, trio.fail_after(LIMIT):
            first = await harness.call(f"flight-sync/{name}", message_id="m-1")
            assert first["pending"] is True
            (second,) = await events.wait(1)
    assert (second["command"], second["messageId"]) == (f"/flight-sync/{name}", "m-1")
    assert second["data"] == {"success": True, **fields}


async def test_a_card_that_is_missing_is_said_in_the_second_phase(
    example: Any, tmp_path: Path, server: Server
) -> None:
    petal = example.FlightSyncPetal(tmp_path / "none", server.urls)
    async with open_harness(petal) as harness:
        with harness.events() as events, trio.fail_after(LIMIT):
            assert (await harness.call("flight-sync/detect_card"))["pending"] is True
            (second,) = await events.wait(1)
    assert (second["data"]["success"], second["data"]["error"]) == (False, "there is no card")


# -- only by declaration


async def test_many_are_deleted_and_what_is_missing_is_named(
    load_example: Load, card: Path, server: Server
) -> None:
    petal = load_example("flight_sync").FlightSyncPetal(card, server.urls)
    async with open_harness(petal) as harness:
        end = await end_of(harness, "delete_records", {"record_ids": ["a.ulg", "x.ulg", "c.ulg"]})
        assert end["result"] == {"deleted": 2, "missing": ["x.ulg"]}
        late = await harness.call("flight-sync/result_delete_records")
        assert late["result"] == end["result"]
    assert names(card) == ["b.ulg"]


async def test_a_second_sync_waits_for_its_turn(
    load_example: Load, card: Path, server: Server
) -> None:
    petal = load_example("flight_sync").FlightSyncPetal(card, server.urls)
    gate = gated(petal)
    async with open_harness(petal) as harness:
        with trio.fail_after(LIMIT):
            async with harness.start_job("flight-sync/sync_record", {"record_id": "a.ulg"}) as one:
                await gate.entered.wait()
                two = await harness.call("flight-sync/sync_record", {"record_id": "b.ulg"})
                assert (two["state"], two["position"]) == ("accepted", 1)
                gate.open.set()
                assert (await one.wait())["state"] == "succeeded"
                while len(server.received) < 4:
                    await trio.lowlevel.checkpoint()

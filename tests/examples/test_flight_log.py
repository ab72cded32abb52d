"""The flight log. Its handlers use threads, so the clock is the real one; nothing sleeps."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from petalkit.testing import Harness, open_harness

from .conftest import Load

pytestmark = pytest.mark.trio


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    folder = tmp_path / "collected"
    folder.mkdir()
    return folder


@pytest.fixture
async def harness(tmp_path: Path, destination: Path, load_example: Load) -> AsyncIterator[Harness]:
    folder = tmp_path / "flights"
    folder.mkdir()
    for number, name in enumerate(("first.ulg", "second.ulg")):
        path = folder / name
        path.write_bytes(b"x" * (number + 1))
        os.utime(path, (1_700_000_000 + number,) * 2)
    (folder / "notes.txt").write_text("not a record")
    petal = load_example("flight_log").FlightLogPetal(folder, destination)
    async with open_harness(petal) as harness:
        yield harness


async def test_the_newest_record_comes_first(harness: Harness) -> None:
    response = await harness.call("flight-log/fetch_records")
    assert response["records"] == [
        {"record_id": "second.ulg", "size": 2, "modified": "2023-11-14T22:13:21Z"},
        {"record_id": "first.ulg", "size": 1, "modified": "2023-11-14T22:13:20Z"},
    ]
    response = await harness.call("flight-log/fetch_records", {"limit": 1})
    assert [record["record_id"] for record in response["records"]] == ["second.ulg"]


async def test_a_limit_that_makes_no_sense(harness: Harness) -> None:
    response = await harness.call("flight-log/fetch_records", {"limit": 0})
    assert response.error_code == "BAD_LIMIT"
    response = await harness.call("flight-log/fetch_records", {"limit": "2"})
    assert response.error_code == "INVALID_DATA"


async def test_an_upload_copies_the_record_and_tells_web_clients(
    harness: Harness, destination: Path
) -> None:
    with harness.events() as events:
        response = await harness.call("flight-log/upload_record", {"record_id": "second.ulg"})
        (event,) = await events.wait(1)
    assert response["size"] == 2
    assert event["data"] == {"record_id": "second.ulg", "size": 2}
    assert contents(destination) == {"second.ulg": b"xx"}


@pytest.mark.parametrize("record_id", ["third.ulg", "../flights/first.ulg", "notes.txt"])
async def test_what_is_no_record_is_not_copied(
    harness: Harness, destination: Path, record_id: str
) -> None:
    response = await harness.call("flight-log/upload_record", {"record_id": record_id})
    assert response.error_code == "RECORD_NOT_FOUND"
    assert contents(destination) == {}

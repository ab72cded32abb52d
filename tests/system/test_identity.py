"""An organization ID that comes late, and one that changes while commands come in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from ..brokers import Mosquitto
from .conftest import Start
from .kit import WIRES, Observer, Program, Wire, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.process]

OLD = "org/acme/device/Instance-1"
NEW = "org/beta/device/Instance-1"


def write_organization(file: Path, organization: str) -> None:
    """As the guide's file, and in one step, as a careful writer does."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"thing": {"lastReported": {"organizationId": organization}}}))
    draft.rename(file)


def run_with_file(start: Start, mosquitto: Mosquitto, file: Path, *options: str) -> Program:
    return start(
        "run", "work.py", "--broker", mosquitto.url, "--device-id", "Instance-1",
        "--organization-file", str(file), "--organization-poll-interval", "0.1", *options,
    )  # fmt: skip


def sent_before(log: str, sender: str, topic: str, mark: str) -> int:
    """How many messages the broker had taken from `sender` when `mark` came, by its log."""
    before, found, _ = log.partition(mark)
    assert found, f"no {mark!r} in\n{log[-2000:]}"
    return len(re.findall(rf"Received PUBLISH from {sender} .*'{topic}'", before))


@WIRES
async def test_the_file_comes_late_and_then_changes(
    start: Start,
    mosquitto: Mosquitto,
    tmp_path: Path,
    runs: Callable[[], list[int]],
    wire: Wire,
) -> None:
    file = tmp_path / "thing-parameters.json"
    program = run_with_file(start, mosquitto, file, *wire)
    async with observe(mosquitto.url, "#", base=OLD) as observer:
        await program.said(f"waiting for the organization ID.*{re.escape(file.name)}")
        file.write_text('{"thing": {"lastRep')  # half written
        await program.said("waiting for the organization ID", 2)
        assert not observer.seen, "nothing is published before the ID is known"
        assert "petalkit-" not in mosquitto.log, "nor connected"

        write_organization(file, "acme")
        await observer.wait(lambda: observer.statuses() == ["online"])
        await observer.flood("work/tick", [f"first{n}" for n in range(100)])
        await observer.wait(lambda: len(observer.answers()) == 100)

        # Commands to the old topic without a pause, while the ID changes under them.
        moved = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_until, observer, moved)
            await observer.wait(lambda: len(observer.answers()) > 120)
            write_organization(file, "beta")
            await observer.wait(lambda: observer.statuses(NEW) == ["online"])
            moved.set()
        owed = sent_before(
            mosquitto.log, "observer", f"{OLD}/command", "Received UNSUBSCRIBE from petalkit-acme"
        )
        assert owed > 120

        # On the new topics from the moment of the birth.
        observer.base = NEW
        await observer.flood("work/tick", [f"new{n}" for n in range(100)])
        await observer.wait(lambda: len(observer.answers(NEW)) == 100)
        await observer.wait(lambda: len(observer.answers(OLD)) >= owed)
        assert observer.statuses(OLD) == ["online", "offline"]

    old, new = observer.answers(OLD), observer.answers(NEW)
    assert len(old) == owed, "all that the old subscription took, and no more"
    assert {name: found for name, found in {**old, **new}.items() if len(found) != 1} == {}
    assert not any(name.startswith("new") for name in old)
    assert all(name.startswith("new") for name in new)
    assert len(runs()) == owed + 100

    async with observe(mosquitto.url, "org/+/device/+/status", name="later", base=OLD) as later:
        await later.wait(lambda: later.statuses(OLD) and later.statuses(NEW))
        assert all(each.retain for each in later.seen)
        assert (later.statuses(OLD), later.statuses(NEW)) == (["offline"], ["online"])


async def send_until(observer: Observer, moved: trio.Event) -> None:
    n = 0
    while not moved.is_set():
        await observer.send("work/tick", f"moving{n}", n=1000 + n)
        n += 1


async def test_a_file_that_is_deleted_or_spoiled_changes_nothing(
    start: Start, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    file = tmp_path / "thing-parameters.json"
    write_organization(file, "acme")
    program = run_with_file(start, mosquitto, file)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        for number, spoil in enumerate((lambda: file.write_text("{"), file.unlink), start=1):
            spoil()
            await until(
                lambda: program.count("going on as organization 'acme'") >= number,  # noqa: B023
                lambda: program.text,
                10,
            )
            assert (await observer.call("work/echo", f"m{number}", n=1))["success"]
    assert program.count("connected as client") == 1

"""One command that kills whatever calls it: really killed processes, and the next good command.

Each device is started again at once, as a service manager would, but by `fork`, which spares the
imports. What the broker brings again may be run once more and no further.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from petalkit._values.messages import Message

from ..brokers import Mosquitto
from .kit import LIMIT, Observer, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.broker, pytest.mark.process]

AGAIN = 1.0  # seconds after which a sender that has no answer sends again
STARTS = 6  # of a device; one that then still dies does so for ever

DEVICES = '''
"""Serves devices in child processes, and starts each again when it was killed."""
import json, os, signal, sys
import petalkit
from petalkit import Petal, Settings, command
import petalkit.transports.asyncio_mqtt, petalkit.transports.native

DEATHS = os.open("deaths", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


class Kill(Petal):
    name = "kill"

    def die(self):
        os.write(DEATHS, f"{self.device}\\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    @command("plain")
    async def plain(self): self.die()

    @command("thread", thread=True)
    def thread(self): self.die()

    @command("urgent", urgent=True)
    async def urgent(self): self.die()

    @command("unrecorded", journal=False)
    async def unrecorded(self): self.die()

    @command("both", urgent=True, journal=False)
    async def both(self): self.die()

    @command("idempotent", idempotent=True)
    async def idempotent(self): self.die()

    @command("good")
    async def good(self): return {"process": os.getpid()}


def start(device, settings):
    process = os.fork()
    if process:
        return process
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        petal = Kill()
        petal.device = device
        log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        petalkit.run(petal, settings=Settings(organization_id="acme", device_id=device, **settings))
    finally:
        os._exit(1)


devices = json.loads(sys.argv[1])
left = {device: int(sys.argv[2]) for device in devices}
running = {}


def end(*_):
    for process in running:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(0)


signal.signal(signal.SIGTERM, end)
for device, settings in devices.items():
    running[start(device, settings)] = device
while running:
    process, status = os.wait()
    device = running.pop(process)
    left[device] -= 1
    if left[device] and os.WIFSIGNALED(status):
        running[start(device, devices[device])] = device
'''


@attrs.frozen
class Case:
    """One device, and the command that kills it."""

    kind: str
    transport: str
    journal: bool
    acknowledge: str = "accepted"
    named: bool = True  # by a messageId

    @property
    def device(self) -> str:
        parts = (
            self.kind,
            self.transport.partition("-")[0],
            "journal" if self.journal else "off",
            self.acknowledge,
            "" if self.named else "anonymous",
        )
        return "-".join(filter(None, parts))

    @property
    def deaths(self) -> int:
        """So many at most."""
        # It may be run again as often as three starts are on disk, and the first need not be.
        return 4 if self.kind == "idempotent" and self.journal else 2

    @property
    def is_recorded(self) -> bool:
        return self.journal and self.named and self.kind not in ("unrecorded", "both")


KINDS = ("plain", "thread", "urgent", "unrecorded", "both", "idempotent")
WAYS = [(name, journal) for name in ("native", "asyncio-mqtt") for journal in (True, False)]
CASES = [
    *(Case(kind, *way) for kind in KINDS for way in WAYS),
    *(Case(kind, *way, acknowledge="handled") for kind in ("plain", "urgent") for way in WAYS),
    *(Case("plain", *way, named=False) for way in WAYS),
    *(Case("plain", name, True, "handled", False) for name in ("native", "asyncio-mqtt")),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


async def test_a_command_that_kills_the_process_does_so_twice_at_most(
    broker: Mosquitto, tmp_path: Path
) -> None:
    devices = {
        case.device: {
            "broker": broker.url,
            "transport": case.transport,
            "acknowledge": case.acknowledge,
            "journal": str(tmp_path / f"{case.device}.journal") if case.journal else None,
        }
        for case in CASES
    }
    (tmp_path / "devices.py").write_text(DEVICES)

    def deaths() -> Counter[str]:
        file = tmp_path / "deaths"
        return Counter(file.read_text().split() if file.exists() else ())

    arguments = [sys.executable, "devices.py", json.dumps(devices), str(STARTS)]
    async with observe(broker.url, "org/acme/device/+/#", base="org/acme/device") as seen:
        process = subprocess.Popen(arguments, cwd=tmp_path)
        try:
            async with trio.open_nursery() as nursery:
                for case in CASES:
                    nursery.start_soon(play, case, seen, deaths)
        finally:
            process.terminate()
            process.wait(LIMIT)
    too_many = {
        case.device: deaths()[case.device]
        for case in CASES
        if not 1 <= deaths()[case.device] <= case.deaths
    }
    unreached = [
        case.device
        for case in CASES
        if "good-3" not in seen.answers(f"org/acme/device/{case.device}")
    ]
    assert (too_many, unreached) == ({}, []), (tmp_path / "log").read_text()[-5000:]
    for case in filter(lambda one: one.is_recorded, CASES):
        answers = seen.answers(f"org/acme/device/{case.device}")["bad"]  # of its copy too
        assert {each["error_code"] for each in answers} == {"INTERRUPTED"}, case


async def play(case: Case, seen: Observer, deaths: object) -> None:
    """Send the bad one, and when it has killed, a good one."""
    assert callable(deaths)
    base = f"org/acme/device/{case.device}"
    await seen.wait(lambda: "online" in seen.statuses(base))
    await publish(seen, base, case.kind, "bad" if case.named else None)
    await until(lambda: deaths()[case.device], lambda: f"{case} did not die", LIMIT)
    # It may be in the process when that dies, and without a journal it is lost then. One that has
    # answered twice is past the bad one, which comes first.
    processes = [0, 1]
    with trio.fail_after(LIMIT):
        while processes[-1] != processes[-2] and deaths()[case.device] < STARTS:
            name = f"good-{len(processes)}"  # from 2 on
            await publish(seen, base, "good", name)
            with trio.move_on_after(AGAIN):
                await seen.wait(functools.partial(is_answered, seen, base, name))
                # Or it was interrupted, and that is its answer.
                processes.append(seen.answers(base)[name][0].get("process", len(processes)))
        if case.is_recorded:
            await seen.wait(functools.partial(is_answered, seen, base, "bad"))


def is_answered(seen: Observer, base: str, name: str) -> bool:
    return name in seen.answers(base)


async def publish(seen: Observer, base: str, name: str, message_id: str | None) -> None:
    envelope = {"command": f"kill/{name}", "waitResponse": True, "data": {}}
    if message_id is not None:
        envelope["messageId"] = message_id
    await seen.link.publish(Message(f"{base}/command", json.dumps(envelope).encode()), limit=LIMIT)

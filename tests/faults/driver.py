"""One whole run: a broker, the proxy, a device that is killed at will, and thousands of commands.

Everything random comes from the seed. What is not answered within `sender.PATIENCE` is given up,
so that a run always ends; the checker then says what is missing.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import trio

from ..brokers import Mosquitto
from .cases import NOT_FINAL
from .checker import check
from .device import STOP_LIMIT, Device
from .history import (
    Acknowledged,
    CountersRead,
    Delivered,
    Effect,
    History,
    Invoked,
    ProcessEnded,
    ProcessStarted,
    Response,
    SessionLost,
    read_effects,
    read_jobs,
)
from .load import Load
from .long_work import LongWork
from .packets import Direction, Kind, Packet
from .petals import POLL
from .plan import Outcome, Plan
from .proxy import FaultProxy
from .sender import PATIENCE_SLOW, Client, open_client

START_LIMIT = 20.0  # seconds for a process to be subscribed, on a busy machine
SETTLE = 3  # times that all is healed and waited for


async def drive(plan: Plan, folder: Path) -> Outcome:
    """Run it, in a folder of its own, and judge what happened."""
    outcome = Outcome(History())
    began = time.monotonic()
    # A queue without bound: mosquitto throws away what is beyond it, for an absent device.
    with Mosquitto(folder / "mosquitto", max_queued_messages=0) as mosquitto:
        proxy = FaultProxy(mosquitto.port, seed=plan.seed, line=plan.line)
        async with (
            trio.open_nursery() as nursery,
            open_client(mosquitto.url, outcome.history) as client,
        ):
            await nursery.start(proxy.run)
            run = _Run(plan, folder, proxy, client, outcome)
            try:
                await run.tell(nursery)
            finally:
                await run.device.close()
            nursery.cancel_scope.cancel()
    outcome.history.extend(read_effects(run.device.effects))
    outcome.history.extend(read_jobs(run.device.effects.with_name("effects-jobs")))
    outcome.violations = check(outcome.history, plan.rules)
    outcome.latencies = sorted(client.latencies)
    outcome.faults = proxy.played
    outcome.counts["ran although refused"] = _ran_although_refused(outcome.history)
    outcome.counts["connections"] = proxy.connections
    outcome.counts["refused connections"] = proxy.refused
    outcome.counts["responses"] = client.responses
    outcome.seconds = time.monotonic() - began
    outcome.log = run.device.log
    return outcome


def _ran_although_refused(history: History) -> int:
    """Commands that the sender was told were refused, and that ran when the broker sent them again.

    No promise speaks of them; but who is told BUSY may have sent another command instead.
    """
    refused: set[str] = set()
    ran: set[str] = set()
    copied: set[str] = set()
    sent: set[str] = set()
    for event in history:
        if isinstance(event, Invoked):
            (copied if event.message_id in sent else sent).add(event.message_id)
        elif isinstance(event, Effect):
            ran.add(event.message_id)
        elif isinstance(event, Response) and event.code in NOT_FINAL:
            refused.add(event.message_id)
    return len(refused & ran - copied)


class _Run:
    """The tasks of one run, and what they share."""

    def __init__(
        self, plan: Plan, folder: Path, proxy: FaultProxy, client: Client, outcome: Outcome
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._proxy = proxy
        self._client = client
        self._outcome = outcome
        self._history = outcome.history
        self._count = outcome.counts
        journal = str(folder / "journal.db") if plan.journal else "off"
        slow = plan.line is not None
        options = ["--journal", journal, *plan.options]
        self.device = Device(folder, proxy.url, options, slow=slow, jobs=plan.jobs > 0)
        if slow:
            client.patience = PATIENCE_SLOW
        self._names: dict[tuple[int, int], str] = {}  # of deliveries, by link and packet ID
        self._levels: dict[int, int] = {}
        self._losses: list[float] = []  # of the session, since the device subscribed last
        self._ask_again = trio.Event()
        self._subscribed = trio.Event()
        self._asked_to_stop = 0.0
        self._over = False  # nothing is started again
        self._ended = trio.Event()
        self._load = Load(
            client,
            seed=plan.seed,
            window=plan.window,
            copies=plan.copies,
            bulky=slow,
            gone=self._ended.is_set,
            counts=outcome.counts,
        )
        self._long_work = LongWork(self._load)
        proxy.on_packet = self._see
        proxy.on_session_lost = lambda: self._losses.append(time.monotonic())

    async def tell(self, nursery: trio.Nursery) -> None:
        plan, proxy = self._plan, self._proxy
        nursery.start_soon(self._keep_alive)
        await self._wait_subscribed()
        nursery.start_soon(self._send_again_when_told)
        nursery.start_soon(self._watch_memory)
        proxy.play(plan.faults)
        async with trio.open_nursery() as chaos:
            if plan.flap is not None:
                chaos.start_soon(proxy.flap, plan.flap)
            if plan.end_every is not None:
                chaos.start_soon(self._kill_every, plan.end_every)
            async with trio.open_nursery() as sending:
                sending.start_soon(self._end_processes)
                others = plan.commands // 4
                effects = self.device.effects if plan.hinder else None
                work = functools.partial(self._load.send_work, effects=effects)
                sending.start_soon(work, plan.commands - others)
                sending.start_soon(self._load.send_other, others)
                if plan.jobs:
                    sending.start_soon(self._long_work.send, plan.jobs)
            chaos.cancel_scope.cancel()
        for _ in range(SETTLE):
            proxy.heal()
            await self._wait_subscribed()
            if await self._client.wait(lambda: not self._client.open):
                break
        if plan.jobs:
            await self._long_work.ask_results()
        await self._read_counters()
        await self._stop()

    # -- what passes by

    def _see(self, link: int, direction: Direction, packet: Packet) -> None:
        kind, now = packet.kind, time.monotonic()
        if kind is Kind.CONNECT:
            self._levels[link] = packet.level
        elif kind is Kind.SUBACK:
            for lost in self._losses:
                self._history.add(SessionLost(at=lost, until=now))
                self._count["session losses"] += 1
                self._ask_again.set()
            self._losses.clear()
            self._subscribed.set()
        elif kind is Kind.PUBLISH and direction is Direction.DOWN and packet.packet_id is not None:
            payload = msgspec.json.decode(packet.payload(self._levels[link]))
            message_id = self._names[link, packet.packet_id] = payload["messageId"]
            self._count["redeliveries"] += packet.dup
            self._history.add(Delivered(at=now, message_id=message_id, link=link, dup=packet.dup))
        elif kind is Kind.PUBACK and direction is Direction.UP and packet.packet_id is not None:
            name = self._names.get((link, packet.packet_id))
            if name is not None:
                self._history.add(Acknowledged(at=now, message_id=name, link=link))

    # -- the device

    async def _wait_subscribed(self) -> None:
        """Wait until it is, or cannot be any more."""
        with trio.move_on_after(START_LIMIT):
            while not self._subscribed.is_set() and not self._ended.is_set():
                await trio.sleep(POLL)

    async def _keep_alive(self) -> None:
        """Start the process, and again when it has ended, until all is over."""
        crashes: Iterator[str | None] = iter(self._plan.crashes)
        while not self._over:
            self._subscribed = trio.Event()
            started = time.monotonic()
            await self.device.start(next(crashes, None))
            self._history.add(ProcessStarted(at=started, incarnation=self.device.incarnation))
            code = await self.device.wait()
            gone = time.monotonic()
            # Nothing that it sent may count as later than its end.
            await self._proxy.wait_drained()
            await self._client.round_trip()
            how: Literal["killed", "stopped", "crashed"] = (
                "stopped" if self._asked_to_stop else "killed" if code == -9 else "crashed"
            )
            self._history.add(
                ProcessEnded(
                    at=time.monotonic(), incarnation=self.device.incarnation, how=how, code=code,
                    took=gone - self._asked_to_stop if self._asked_to_stop else 0.0,
                    limit=STOP_LIMIT,
                )
            )  # fmt: skip
            self._count[how] += 1
            self._asked_to_stop = 0.0
            if how == "crashed":
                break
            if self._plan.ask_again and not self._over:
                self._ask_again.set()
        self._over = True
        self._ended.set()

    async def _kill_every(self, seconds: float) -> None:
        """Kill it again and again, until cancelled."""
        chance = random.Random(f"kills {self._plan.seed}")
        while True:
            await trio.sleep(seconds * chance.uniform(0.5, 1.5))
            await self._wait_subscribed()
            self.device.kill()

    async def _end_processes(self) -> None:
        """Kill and stop it as planned, by the number of answers."""
        plan, chance = self._plan, random.Random(f"ends {self._plan.seed}")
        for number, end in enumerate(plan.ends, 1):
            due = number * plan.commands // (len(plan.ends) + 1)
            await self._client.wait(lambda: self._client.responses >= due)  # noqa: B023
            await self._wait_subscribed()
            await trio.sleep(chance.uniform(0, 0.05))
            if end == "kill":
                self.device.kill()
            else:
                self._ask_to_stop()
            self._subscribed = trio.Event()

    def _ask_to_stop(self) -> None:
        self._asked_to_stop = time.monotonic()
        self.device.ask_to_stop()

    async def _stop(self) -> None:
        self._over = True
        if self._ended.is_set():
            return
        self._ask_to_stop()
        with trio.move_on_after(STOP_LIMIT + 5):
            await self._ended.wait()
            return
        self.device.kill()  # the history has how long it took
        await self._ended.wait()

    async def _watch_memory(self) -> None:
        while True:
            self._outcome.memory = max(self._outcome.memory, self.device.memory())
            await trio.sleep(0.2)  # a sample now and then; nobody waits for it

    async def _read_counters(self) -> None:
        if self._ended.is_set():
            return
        found = await self._client.call("petalkit/statistics", f"counters-{self._plan.seed}")
        if found is not None and found.get("success"):
            self._outcome.counters = found["statistics"]
            self._history.add(
                CountersRead(
                    at=time.monotonic(), incarnation=self.device.incarnation,
                    values=found["statistics"],
                )
            )  # fmt: skip

    # -- sending again

    async def _send_again_when_told(self) -> None:
        while True:
            await self._ask_again.wait()
            await self._wait_subscribed()
            self._ask_again = trio.Event()
            self._count["sent again"] += await self._client.send_all_open_again()

"""The loads, one story each: what is sent, and what has to hold beside what holds for all."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import attrs
import trio

from ..faults import Line
from .row import MIB, percentile
from .stage import COMMAND, EDGE, Stage, command
from .wire import open_wire, response_topic

KIB = 1024
LARGE = 120_000  # bytes of a payload
PAYLOAD_MAX = 128 * KIB
FLOOR = 0.020  # seconds: what a quiet p99 is taken for where it is less, for such is noise
CPU_FACTOR = 3.0  # of a wrong command to a good one of its size
SLOW_FACTOR, LOUD_FACTOR = 2.0, 3.0  # of the victim's p99 to its quiet one
FLOOD_MEMORY = 40 * MIB  # over idle
SWALLOWED_TOLD = 10.0  # seconds after which a slot that is lost is told


@attrs.frozen
class Story:
    """See the module.

    Attributes:
        name: as on the command line.
        text: for the table.
        load: what happens.
        options: of the device.
        queued: see `open_stage`.
        line: the same.
        proxied: the same.
        log: the same.
        victim: whose round trips are measured.
        topic: on which that comes.
    """

    name: str
    text: str
    load: Callable[[Stage], Awaitable[None]]
    options: Sequence[str] = ()
    queued: int = 1000
    line: Line | None = None
    proxied: bool = False
    log: Literal["file", "pipe"] = "file"
    victim: str = "fast/echo"
    topic: str = COMMAND


def _victim_within(stage: Stage, factor: float, seconds: tuple[float, float]) -> None:
    """Judge the victim's p99 while there was a load against the quiet one."""
    quiet = max(FLOOR, percentile(stage.victims.round_trips(stage.seen, *stage._quiet), 0.99))
    busy = percentile(stage.victims.round_trips(stage.seen, *seconds), 0.99)
    if not busy <= factor * quiet:
        stage.row.broken.append(
            f"the victim's p99 is {1000 * busy:.0f} ms; {factor:g} x {1000 * quiet:.0f} are allowed"
        )


async def junk_over_slow_link(stage: Stage) -> None:
    """More answers than the outbox holds, and a line that takes them one by one."""
    stage.all_answered = False
    stage.busy()
    await stage.wire.flood(stage.commands("no-such/command", 3000), 1)
    await trio.sleep(10.0 if stage.short else 30.0)


async def malformed(stage: Stage, count: int = 20_000) -> None:
    """What can be answered and is no command."""
    stage.or_counted = True
    stage.busy()

    def messages() -> Any:
        for _ in range(count):
            text = f'{{"messageId":"{stage.noted()}","waitResponse":true,"command":17}}'
            yield COMMAND, text.encode()

    await stage.wire.flood(messages(), 1)
    await stage.settle()


async def unknown(stage: Stage, count: int = 5000) -> None:
    """Commands that nobody serves, each of another name."""
    stage.busy()

    def messages() -> Any:
        for number in range(count):
            yield COMMAND, command(f"fast/ecko-{number}", stage.noted())

    await stage.wire.flood(messages(), 1)
    await stage.settle()


async def large(stage: Stage, count: int) -> None:
    """So many commands of 120 kB, of a handler that takes no time."""
    stage.or_counted = True  # answers may find no place for 5 s behind a gigabyte that is read
    stage.busy()
    await stage.wire.flood(stage.commands("fast/echo", count, {"take": "x" * LARGE}), 1)
    await stage.settle(120.0)


async def large_slow(stage: Stage, count: int) -> None:
    """The same, of a handler that takes 20 ms."""
    stage.busy()
    data = {"take": "x" * LARGE, "seconds": 0.02}
    await stage.wire.flood(stage.commands("slow/wait", count, data), 1)
    await stage.settle(120.0)


async def wrong_elements(stage: Stage, count: int = 5) -> None:
    """Lists as long as a payload may be, good ones first, and then such that are wrong."""
    room = PAYLOAD_MAX - 300
    stage.busy()
    for name, good, wrong in (
        ("fast/numbers", [1] * (room // 2), [""] * (room // 3)),
        ("fast/points", [{"x": 1}] * (room // 8), [{}] * (room // 3)),
    ):
        await _calls_cpu(stage, name, good, 2)
        took = await _calls_cpu(stage, name, good, count)
        took_wrong = await _calls_cpu(stage, name, wrong, count)
        stage.row.notes.append(f"{name}: {1000 * took:.0f} ms, wrong {1000 * took_wrong:.0f} ms")
        factor = took_wrong / max(took, 0.01)
        if factor > CPU_FACTOR:
            stage.row.broken.append(f"{name}: a wrong command takes {factor:.1f} times a good one")


async def _calls_cpu(stage: Stage, name: str, values: list[Any], count: int) -> float:
    """Seconds of processor for one such command."""
    await trio.sleep(0.3)
    began = stage.device.cpu()
    for _ in range(count):
        await stage.wire.flood(stage.commands(name, 1, {"values": values}), 1)
        await stage.settle(30.0)
    return (stage.device.cpu() - began) / count


async def large_answers(stage: Stage, count: int = 1000) -> None:
    """Answers of 120 kB, which a line of 200 kB/s takes one by one."""
    stage.all_answered = False
    stage.busy()
    data = {"seconds": 0.05, "size": LARGE}
    await stage.wire.flood(stage.commands("slow/give", count, data), 1)
    await trio.sleep(15.0 if stage.short else 60.0)


async def slow_petal(stage: Stage) -> None:
    """More commands of one petal than the channel holds, and another petal's beside them."""
    stage.all_answered = False
    await stage.quiet(4.0)
    stage.busy()
    data = {"seconds": 0.5}
    await stage.wire.flood(stage.commands("slow/wait", 1500, data), 1, rate=3000.0)
    since = trio.current_time()
    await trio.sleep(8.0 if stage.short else 20.0)
    until = trio.current_time()
    await trio.sleep(2.0)
    _victim_within(stage, SLOW_FACTOR, (since, until))


async def loud_caller(stage: Stage, rate: float, *, judged: bool = True) -> None:
    """One caller sends much more than can be done; another, who can be told apart, a little.

    By topic, and on MQTT 5 by Response Topic and user property too.

    Args:
        stage: as for all.
        rate: commands a second.
        judged: whether what the other waits is judged. Where more comes than a processor can read,
            the broker drops, whosever it is.
    """
    stage.all_answered = False
    await stage.quiet(4.0)
    stage.busy()
    since = trio.current_time()
    seconds = 8.0 if stage.short else 30.0
    async with open_wire(stage.broker.port, "loud", v5=stage.v5) as loud:
        properties = response_topic("reply/loud", ("caller", "loud")) if stage.v5 else b""
        messages = stage.commands("fast/echo", int(rate * seconds))
        with trio.move_on_after(seconds + 5.0):
            await loud.flood(messages, 1, properties=properties, rate=rate)
    until = trio.current_time()
    await trio.sleep(2.0)
    if judged:
        _victim_within(stage, LOUD_FACTOR, (since, until))


async def replay(stage: Stage, count: int = 12_000) -> None:
    """A command, very many cheap ones, and the same bytes once more."""
    stage.busy()
    again = command("fast/once", "once-1")
    await stage.wire.send(stage.wire.publish(COMMAND, again))
    await stage.wire.flood(stage.commands("fast/echo", count), 1, window=200)
    await stage.settle()
    await stage.wire.send(stage.wire.publish(COMMAND, again))
    await trio.sleep(2.0)


async def flapping(stage: Stage) -> None:
    """The link is cut every two seconds."""
    assert stage.proxy is not None
    stage.all_answered = False
    stage.busy()
    with trio.move_on_after(20.0 if stage.short else 120.0):
        await stage.proxy.flap(2.0)
    healed = trio.current_time()
    had = len(stage.seen.answers)
    with trio.move_on_after(90.0):
        while len(stage.seen.answers) == had:
            await trio.sleep(0.05)
    back = trio.current_time() - healed
    stage.row.notes.append(f"back after {back:.1f} s")
    if back > 30.0:
        stage.row.broken.append(f"back only after {back:.0f} s")
    if "another client" in stage.device.log:
        stage.row.broken.append("the log blames another client")
    await trio.sleep(2.0)


async def log_not_read(stage: Stage, count: int = 8000) -> None:
    """Nobody reads what the device logs."""
    stage.busy()
    await stage.wire.flood(stage.commands("fast/echo", count), 1, window=100)
    await stage.settle()


async def flood(stage: Stage, count: int, qos: int) -> None:
    """Everything at once."""
    stage.busy()
    await stage.wire.flood(stage.commands("fast/echo", count, {"take": "x" * 900}), qos)
    await stage.settle()


async def burst(stage: Stage, count: int = 10_000) -> None:
    """Everything at once for one of several petals, which moves: 2 ms for each, 16 at once."""
    stage.busy()
    await stage.wire.flood(stage.commands("slow/wait", count, {"seconds": 0.002}), 1)
    await stage.settle()
    if busy := stage.seen_codes().get("BUSY", 0):
        stage.row.broken.append(f"{busy} commands of a petal that moves were refused BUSY")


async def stubborn(stage: Stage) -> None:
    """Handlers that swallow their cancellation, and threads that do not return."""
    stage.busy()
    data = {"seconds": SWALLOWED_TOLD + 5.0}
    await stage.wire.flood(stage.commands("slow/stubborn", 8, data), 1)
    await stage.wire.flood(stage.commands("slow/thread", 8, data), 1)
    await trio.sleep(SWALLOWED_TOLD + 2.0)
    if " WARNING " not in stage.device.log:
        stage.row.broken.append("slots that are lost have no WARNING")
    await trio.sleep(5.0)
    await stage.settle()


def check_once(stage: Stage) -> None:
    """After `replay`: that it ran once."""
    if stage.row.story == "replay" and len(stage.once) != 1:
        stage.row.broken.append(f"what was sent twice ran {len(stage.once)} times")


def check_flood(stage: Stage) -> None:
    """After a flood: its memory."""
    if stage.row.story.startswith("flood") and stage.row.over_idle > FLOOD_MEMORY:
        stage.row.broken.append(
            f"{stage.row.over_idle / MIB:.0f} MiB over idle, {FLOOD_MEMORY / MIB:.0f} are allowed"
        )


_p = functools.partial
MANY = 10_000  # what a broker is to queue where its own bound is not what is looked at
STORIES = (
    Story(
        "slow-link", "3000 answers behind a line of 1.2 kB/s", junk_over_slow_link,
        line=Line(1e8, 1200.0), queued=MANY,
    ),
    Story("malformed", "20 000 malformed commands", malformed, queued=30_000),
    Story("unknown", "5000 unknown commands", unknown, queued=MANY),
    Story("large-6000", "6000 commands of 120 kB", _p(large, count=6000), queued=MANY),
    Story("large-9000", "9000 commands of 120 kB", _p(large, count=9000), queued=MANY),
    Story("large-slow", "1500 of 120 kB, 20 ms each", _p(large_slow, count=1500), queued=MANY),
    Story(
        "large-answers", "1000 answers of 120 kB, 200 kB/s", large_answers,
        line=Line(1e8, 200_000.0), queued=MANY,
    ),
    Story("wrong-elements", "128 KiB of wrong elements", wrong_elements),
    Story("slow-petal", "1500 of a slow petal, on disk", slow_petal, queued=MANY),
    Story(
        "slow-petal-memory", "the same in memory", slow_petal,
        options=("--journal", "off"), queued=MANY,
    ),
    Story(
        "loud-caller", "2000 a second of another caller",
        _p(loud_caller, rate=2000.0), topic=EDGE,
    ),
    Story(
        "loud-caller-9000", "9000 a second of another caller",
        _p(loud_caller, rate=9000.0, judged=False), topic=EDGE,
    ),
    Story("replay", "a copy after 12 000 commands", replay, queued=MANY),
    Story("flapping", "link cut every 2 s", flapping, proxied=True),
    Story("log-not-read", "a log that nobody reads", log_not_read, log="pipe", queued=MANY),
    Story("flood-0-10000", "10 000 at once, QoS 0", _p(flood, count=10_000, qos=0)),
    Story("flood-0-30000", "30 000 at once, QoS 0", _p(flood, count=30_000, qos=0)),
    Story("flood-1-10000", "10 000 at once, QoS 1", _p(flood, count=10_000, qos=1)),
    Story("flood-1-30000", "30 000 at once, QoS 1", _p(flood, count=30_000, qos=1)),
    Story(
        "burst-memory", "10 000 at once of one of three petals, in memory", burst,
        options=("--journal", "off"), queued=3 * MANY,
    ),
    Story("stubborn", "handlers that swallow cancellation", stubborn),
)  # fmt: skip
BY_NAME = {story.name: story for story in STORIES}

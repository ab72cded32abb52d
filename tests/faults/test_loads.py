"""The judge of loads can find what is wrong, and what it measures with works."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from ..brokers import find_mosquitto
from .loads import probes
from .loads.main import play
from .loads.report import summary, table
from .loads.row import LOAD_MEMORY, MIB, Row, read_probes
from .loads.stage import Stage
from .loads.stories import STORIES, Story
from .loads.wire import Wire, packet


def row(**fields: object) -> Row:
    good = {
        "stops": 2, "stop_started": [0.001, 0.002], "sent": 10, "answered": 10, "bound": 80 * MIB,
    }  # fmt: skip
    return Row(story="s", transport="native", seed=1, **{**good, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"stops_not_run": 1}, "1 urgent stops were read and did not run"),
        ({"stop_started": []}, "no urgent stop ran at all"),
        ({"stop_started": [0.001, 0.051]}, "started 51 ms after"),
        ({"bound": 8 * MIB, "over_idle": 11 * MIB}, "11 MiB over idle, 1.25 x 8 MiB"),
        ({"bound": 800 * MIB, "over_idle": LOAD_MEMORY + 1}, "160 MiB over idle"),
        ({"answered": 7}, "3 commands without an answer (0 counted)"),
        ({"answered": 7, "counters": {"unanswered": 3}, "told": True}, "(3 counted)"),
        ({"answered": 7, "counters": {"unanswered": 3}}, "no WARNING"),
    ],
)
def test_a_bound_that_does_not_hold_is_found(fields: dict[str, object], text: str) -> None:
    judged = row(**fields)
    judged.judge(all_answered=True)
    assert text in "; ".join(judged.broken)
    assert text in table([judged])
    assert text in summary(judged)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"counters": {"unanswered": 3}, "told": True}, ""),
        ({"counters": {"unanswered": 2}, "told": True}, "3 commands without an answer (2 counted)"),
        ({"counters": {"unanswered": 3}}, "no WARNING"),
    ],
)
def test_junk_without_an_answer_is_counted_and_told(fields: dict[str, object], text: str) -> None:
    judged = row(answered=7, **fields)
    judged.judge(all_answered=True, or_counted=True)
    assert text in "; ".join(judged.broken)
    assert bool(judged.broken) is bool(text)


def test_what_the_broker_has_dropped_is_not_the_devices_loss() -> None:
    judged = row(answered=7, dropped=3)
    judged.judge(all_answered=True)
    assert not judged.broken


def test_time_without_a_processor_is_not_the_devices(tmp_path: Path) -> None:
    file = tmp_path / "probes"
    file.write_text(
        "read stop-1 10.000 1.000\nread stop-2 10.000 1.000\nstarted stop-1 10.080 1.070\n"
        "once once-1 11.0 1.0\n"
    )
    started, not_started, once = read_probes(file)
    assert started["stop-1"].took == pytest.approx(0.010)
    assert (not_started, once) == (["stop-2"], ["once-1"])


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_stop_is_seen_however_its_bytes_are_cut(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(probes, "note", lambda _what, message_id: seen.append(message_id))
    watch = probes._Watch()
    stream = b'x{"command":"guard/stop","messageId":"stop-1-23","data":{}}yyyy'
    for piece in (b"", stream[:cut], stream[cut:], b"zzzz" * 100, stream):
        watch.look(piece)
    assert seen == ["stop-1-23"] * 2


@pytest.mark.trio
async def test_a_flood_keeps_to_its_window_and_messages_are_read_however_they_come() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(ours)
    got: list[tuple[str, bytes]] = []
    wire.on_message = lambda topic, payload: got.append((topic, payload))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.read)
        messages = [("t", b"%d" % n) for n in range(25)]

        @nursery.start_soon
        async def flood() -> None:
            await wire.flood(messages, 1, window=10)
            nursery.cancel_scope.cancel()

        await trio.testing.wait_all_tasks_blocked()
        assert wire.sent == 10
        message = packet(0x32, b"\x00\x02ab\x00\x07" + b"x" * 300)
        for at in range(0, len(message), 7):
            await theirs.send_all(message[at : at + 7])
        for _ in range(25):
            await theirs.send_all(b"\x40\x02\x00\x01")
            await trio.testing.wait_all_tasks_blocked()
    assert wire.sent == 25
    assert got == [("ab", b"x" * 300)]


async def _few(stage: Stage) -> None:
    stage.busy()
    await stage.wire.flood(stage.commands("fast/echo", 200), 1)
    await trio.sleep(1.0)
    await stage.settle()


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.trio
@pytest.mark.skipif(find_mosquitto() is None, reason="NO MOSQUITTO")
@pytest.mark.parametrize("transport", ["native", "asyncio-mqtt"])
async def test_a_story_measures_all_that_it_judges(transport: str, tmp_path: Path) -> None:
    found = Row(story="few", transport=transport, seed=1)
    await play(Story("few", "a few", _few), found, tmp_path, short=True)
    assert (found.sent, found.answered, found.dropped) == (200, 200, 0)
    assert found.stops > 1
    assert len(found.stop_started) == len(found.stop_round_trips) == found.stops
    assert 0 < found.over_idle < LOAD_MEMORY < found.bound
    assert found.victim
    assert found.rate > 0


def test_every_story_has_a_name_of_its_own() -> None:
    assert len({story.name for story in STORIES}) == len(STORIES)

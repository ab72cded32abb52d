"""The outbox: each response and event until its PUBACK, across links, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from petalkit import PayloadError, Petal, Settings, command
from petalkit._serving.sending.state.places import ALLOWANCE
from petalkit.testing import MemoryBroker, open_harness

from ..recorder import Recorder, settle, until

pytestmark = pytest.mark.trio

BASE = "org/acme/device/Instance-1"


class Sender(Petal):
    """Publishes for the test, outside of any command."""

    name = "sender"

    async def send(self, *numbers: int, qos: int = 1) -> None:
        for n in numbers:
            await self.publish_message({"n": n}, qos=qos)

    @command("send")
    async def command_send(self, numbers: list[int]) -> None:
        await self.send(*numbers)


def numbers(sink: Any) -> list[int]:
    return [message["n"] for message in sink]


async def test_what_is_sent_while_away_goes_out_in_order_when_back(
    autojump_clock: object,
) -> None:
    petal, recorder = Sender(), Recorder()
    async with open_harness(petal, recorder) as harness:
        with harness.events() as events, harness.responses() as responses:
            for n in range(5):
                harness.send("rec/hold", {"n": n})
            await settle()
            harness.broker.stop()
            recorder.open()
            await petal.send(*range(200))
            await trio.sleep(30)
            assert (len(events), len(responses)) == (0, 0)
            harness.broker.start()
            await responses.wait(5)
            await events.wait(200)
            await settle()
            assert numbers(events) == list(range(200))
            assert sorted(numbers(responses)) == list(range(5))
            assert harness.statistics().outbox == 0


async def test_nothing_is_sent_twice_on_a_live_link(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        harness.broker.delay = 5.0
        with harness.events() as events:
            await petal.send(*range(500))
            await until(lambda: harness.statistics().outbox == 0)
            await trio.sleep(300)
            assert numbers(events) == list(range(500))


async def test_what_had_no_puback_is_sent_again_on_the_next_link_in_its_order(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        with harness.events() as events:
            harness.broker.swallow("PUBACK", 3)
            await petal.send(0, 1, 2, 3, 4)
            await settle()
            assert numbers(events) == [0, 1, 2, 3, 4]
            harness.drop_link()
            await harness.wait_connected()
            await settle()
            assert numbers(events)[5:] == [0, 1, 2]
            assert harness.statistics().published == 5


async def test_what_is_sent_again_goes_before_what_was_not_sent_yet(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(publish_maximum=3)) as harness:
        with harness.events() as events:
            harness.broker.swallow("PUBACK", 2)
            await petal.send(0, 1, 2, 3, 4)
            await settle()
            assert numbers(events) == [0, 1]  # one place is kept for the status
            harness.drop_link()
            await harness.wait_connected()
            await settle()
            assert numbers(events)[2:] == [0, 1, 2, 3, 4]


async def test_a_refusal_of_the_broker_is_final_and_counted(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(protocol="5")) as harness:
        harness.broker.reject_publish(f"{BASE}/command/web")
        await petal.send(1, 2)
        await until(lambda: harness.statistics().outbox == 0)
        statistics = harness.statistics()
        assert (statistics.publish_rejected, statistics.published) == (2, 0)
        harness.broker.reject_publish(f"{BASE}/command/web", None)
        with harness.events() as events:
            harness.drop_link()
            await harness.wait_connected()
            await petal.send(3)
            await settle()
            assert numbers(events) == [3]


async def test_the_message_that_kills_links_is_set_aside_and_only_that_one(
    autojump_clock: object,
) -> None:
    petal = Sender()
    broker = MemoryBroker()
    async with open_harness(petal, broker=broker) as harness:
        with harness.events() as events:
            # The broker cuts the link whenever it sees the culprit, before any PUBACK is out.
            broker.delay = 1.0
            seen = 0

            async def cut() -> None:
                nonlocal seen
                while True:
                    await events.wait(seen + 1)
                    batch = numbers(events)[seen:]
                    seen = len(events)
                    if 2 in batch:
                        broker.drop_links()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                await petal.send(0, 1, 2, 3, 4)
                await until(lambda: harness.statistics().outbox == 0)
                nursery.cancel_scope.cancel()
        statistics = harness.statistics()
        assert statistics.publish_set_aside == 1
        assert statistics.published == 4
        assert numbers(events).count(2) == 5  # the last three alone


async def test_messages_that_are_too_old_are_dropped_and_counted(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(response_expiry=60.0)) as harness:
        with harness.events() as events:
            harness.broker.stop()
            await petal.send(1)
            await trio.sleep(50)
            await petal.send(2)
            await trio.sleep(20)
            harness.broker.start()
            await harness.wait_connected()
            await settle()
            assert numbers(events) == [2]
            assert harness.statistics().publish_expired == 1


async def test_qos_0_events_are_published_too(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        with harness.broker.observe(f"{BASE}/command/web") as seen:
            await petal.send(1, qos=0)
            await settle()
            assert [message.qos for message in seen] == [0]
            assert harness.statistics().outbox == 0


async def test_events_sent_before_the_identity_is_known_go_out_under_it(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal, organization_id=None) as harness:
        with harness.broker.observe("#") as seen:
            await petal.send(1, 2)
            await trio.sleep(100)
            assert len(seen) == 0
            await harness.set_organization("acme")
            await harness.wait_connected()
            await settle()
            topics = [message.topic for message in seen]
        assert topics == [f"{BASE}/status", f"{BASE}/command/web", f"{BASE}/command/web"]


async def test_debug_messages_go_to_their_own_topic(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        with harness.debug() as debug, harness.events() as events:
            await petal.publish_debug({"n": 1})
            await settle()
            assert (numbers(debug), len(events)) == ([1], 0)


# -- bounds


async def _publish(petal: Sender, *payloads: int) -> None:
    await petal.send(*payloads)


async def test_publishers_wait_while_it_is_full_and_lose_nothing(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(event_capacity=10)) as harness:
        harness.broker.stop()
        await harness.advance(1)
        with harness.events() as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_publish, petal, *range(50))
                await settle()
                assert harness.statistics().outbox == 10
                harness.broker.start()
                await events.wait(50)
            assert numbers(events) == list(range(50))


async def test_publishers_take_turns(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(event_capacity=2)) as harness:
        harness.broker.delay = 0.1
        with harness.events() as events:
            async with trio.open_nursery() as nursery:
                for publisher in range(4):
                    nursery.start_soon(_publish, petal, *([publisher] * 50))
                await events.wait(200)
            sent = numbers(events)
        for publisher in range(4):
            # Nobody is through while another is not yet half through.
            last = len(sent) - 1 - sent[::-1].index(publisher)
            assert all(sent[:last].count(other) >= 25 for other in range(4))


async def test_a_publisher_that_comes_late_does_not_pass_those_who_wait(
    autojump_clock: object,
) -> None:
    petal = Sender()
    settings = Settings(event_capacity=1, response_expiry=60.0)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.stop()
        await harness.advance(1)
        with harness.events() as events:
            await petal.send(0)
            async with trio.open_nursery() as nursery:
                for n in (1, 2):
                    nursery.start_soon(_publish, petal, n)
                    await settle()
                await trio.sleep(61)  # the first is too old: there is room, for who waits
                nursery.start_soon(_publish, petal, 3)
                await settle()
                harness.broker.start()
                await events.wait(3)
            assert numbers(events) == [1, 2, 3]


async def test_a_cancelled_publisher_leaves_no_trace_and_wakes_the_next(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(event_capacity=1)) as harness:
        harness.broker.stop()
        await harness.advance(1)
        with harness.events() as events:
            await petal.send(0)
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(5):
                    await petal.send(1)
                nursery.start_soon(_publish, petal, 2)
                await settle()
                harness.broker.start()
                await events.wait(2)
            assert numbers(events) == [0, 2]


async def test_bytes_are_bounded_too(autojump_clock: object) -> None:
    petal = Sender()
    settings = Settings(outbox_bytes=10_000)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.stop()
        await harness.advance(1)

        async def send_large() -> None:
            for _ in range(10):
                await petal.publish_message({"n": 1, "text": "x" * 4000})

        with harness.events() as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_large)
                await settle()
                assert harness.statistics().outbox_bytes <= 10_000
                harness.broker.start()
                await events.wait(10)


async def test_a_message_larger_than_the_whole_outbox_still_goes_out(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(outbox_bytes=1000)) as harness:
        with harness.events() as events:
            with trio.fail_after(10):
                await petal.publish_message({"n": 1, "text": "x" * 4000})
            await settle()
            assert len(events) == 1


async def test_events_do_not_take_the_places_of_responses(autojump_clock: object) -> None:
    petal, recorder = Sender(), Recorder()
    settings = Settings(event_capacity=3, response_capacity=3)
    async with open_harness(petal, recorder, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 3)
        await petal.send(1, 2, 3)
        await settle()
        for _ in range(20):
            assert (await harness.call("rec/note")).success


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 200_000}])
async def test_an_event_that_cannot_be_sent_is_the_publishers_error(
    payload: Any, autojump_clock: object
) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        with pytest.raises(PayloadError):
            await petal.publish_message(payload)
        with pytest.raises(ValueError, match="qos"):
            await petal.publish_message({}, qos=2)
        assert harness.statistics().outbox == 0


async def test_a_paused_reader_goes_on_once_a_publisher_waits(autojump_clock: object) -> None:
    petal, recorder = Sender(), Recorder()
    settings = Settings(
        event_capacity=1, channel_capacity=1, channel_reserve=1, petal_concurrency=1
    )
    async with open_harness(petal, recorder, settings=settings) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
            await settle()
        received = harness.statistics().received
        assert received < 10
        harness.broker.swallow("PUBACK", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish, petal, 1, 2)
            await settle()
            # The PUBACK that makes room comes behind them, in the same stream.
            assert harness.statistics().received == 10
            nursery.cancel_scope.cancel()
        recorder.open()


async def test_reading_goes_on_for_publishers_that_wait(autojump_clock: object) -> None:
    petal, recorder = Sender(), Recorder()
    settings = Settings(
        event_capacity=2, channel_capacity=1, channel_reserve=1, petal_concurrency=1
    )
    async with open_harness(petal, recorder, settings=settings) as harness:
        for n in range(10):
            harness.send("rec/hold", {"n": n})
        await settle()
        harness.broker.delay = 1.0
        with trio.fail_after(60):
            await petal.send(*range(20))
        recorder.open()


async def test_answers_to_urgent_commands_are_bounded_too(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(response_capacity=10, refusal_capacity=256, flush_timeout=1.0)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 10_000)
        for _ in range(40):
            for _ in range(20):
                harness.send("rec/stop")
            await settle()
        statistics = harness.statistics()
        assert (statistics.succeeded, statistics.refused) == (800, {})  # each has run
        assert statistics.outbox == 10 + ALLOWANCE + 256
        assert statistics.unanswered == 800 - statistics.outbox


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        ("rec/nothing", {"data": {}}),
        ("rec/note", {"data": {}, "expiresAt": "never"}),
    ],
)
async def test_junk_takes_no_place_that_commands_need(
    topic: str, data: dict[str, Any], autojump_clock: object
) -> None:
    """5000 unknown or malformed commands, on a link that does not acknowledge their answers."""
    petal = Recorder()
    settings = Settings(overflow="reject", flush_timeout=1.0, refusal_capacity=256)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 100_000)
        for n in range(5000):
            body = {"command": topic, "messageId": f"j{n}", "waitResponse": True, **data}
            harness.send_raw(json.dumps(body).encode())
            if n % 50 == 0:
                await settle()
        await settle()
        assert harness.statistics().outbox == 256
        harness.send("rec/note", {"n": 1})
        harness.send("rec/stop")
        await settle()
        statistics = harness.statistics()
        assert statistics.succeeded == 2
        assert statistics.outbox == 258


async def test_an_urgent_command_runs_with_2256_answers_waiting(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(flush_timeout=1.0)) as harness:
        harness.broker.swallow("PUBACK", 100_000)
        for n in range(2256):
            harness.send("rec/stop" if n >= 2000 else "rec/note")
            if n % 50 == 0:
                await settle()
        await settle()
        assert harness.statistics().outbox == 2256
        ran = harness.statistics().succeeded
        harness.send("rec/stop")
        await settle()
        assert harness.statistics().succeeded == ran + 1
        assert harness.statistics().outbox == 2257


async def test_an_urgent_command_runs_with_all_bytes_of_the_outbox_taken(
    autojump_clock: object,
) -> None:
    class Wordy(Petal):
        name = "wordy"

        @command("say")
        async def say(self) -> dict[str, Any]:
            return {"text": "x" * 3000}

        @command("stop", urgent=True)
        async def stop(self) -> dict[str, Any]:
            return {"text": "y" * 3000}

    settings = Settings(outbox_bytes=10_000, overflow="reject", flush_timeout=1.0)
    async with open_harness(Wordy(), settings=settings) as harness:
        harness.broker.swallow("PUBACK", 100_000)
        for _ in range(20):
            harness.send("wordy/say")
            await settle()
        assert harness.statistics().outbox_bytes > 10_000
        before = harness.statistics()
        for _ in range(200):
            harness.send("wordy/stop")
            await settle()
        statistics = harness.statistics()
        assert statistics.succeeded == before.succeeded + 200
        # Those in flight stay; of the others the newest, within as many bytes again.
        assert statistics.outbox_bytes <= before.outbox_bytes + 10_000 + 99 * 3100


async def test_the_answer_to_an_urgent_command_takes_the_place_of_a_refusal(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Recorder()
    settings = Settings(
        response_capacity=1, refusal_capacity=200, overflow="reject", flush_timeout=1.0
    )
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 100_000)
        for _ in range(300):
            harness.send("rec/nothing")
            await settle()
        assert harness.statistics().outbox == 200
        for _ in range(ALLOWANCE + 50):
            harness.send("rec/stop")
            await settle()
        statistics = harness.statistics()
        assert statistics.succeeded == ALLOWANCE + 50
        assert statistics.outbox == 1 + ALLOWANCE + 200
        places = harness.runtime._outbox.places
        assert (places.taken, places.refusals) == (ALLOWANCE + 50, 151)
        assert statistics.unanswered == 100 + 49
    lines = [line for line in caplog.messages if "answers that are not sent" in line]
    assert 1 <= len(lines) <= 3  # at once, now and then, and at the end


async def test_places_that_only_wait_do_not_keep_reading_on(autojump_clock: object) -> None:
    """No PUBACK can make room for what has not been sent, so reading has to pause."""
    petal = Recorder()
    settings = Settings(response_capacity=10, channel_capacity=50, petal_concurrency=1)
    async with open_harness(petal, settings=settings) as harness:
        for _ in range(200):
            harness.send("rec/hold", qos=0)
            await settle()
        statistics = harness.statistics()
        assert (statistics.waiting, statistics.running, statistics.held) == (9, 1, 32)
        with harness.responses() as responses:
            petal.open()
            await responses.wait(200)
        assert all(response["success"] for response in responses)

"""The outbox, where the broker says "not now", says nothing at all, or ends the link."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import trio

from petalkit import Petal, Settings, command
from petalkit._serving.sending.state.deferred import DEFER_MAX, DEFER_MIN, Deferred, wait_after
from petalkit._serving.sending.state.outgoing import Entry
from petalkit._serving.sending.state.suspects import SOON, TRIAL_AFTER
from petalkit._values.errors import RejectedByBroker
from petalkit._values.messages import Message
from petalkit._values.statistics import Counters
from petalkit.testing import Harness, MemoryBroker, open_harness
from petalkit.transports.memory import MemoryLink

from ..recorder import Recorder, settle, until
from .test_outbox import BASE, Sender, numbers

pytestmark = pytest.mark.trio

V5: dict[str, Any] = {"protocol": "5"}
WEB = f"{BASE}/command/web"
RESPONSE = f"{BASE}/response"


@pytest.fixture(params=[False, True], ids=["memory", "journal"])
def journal(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> dict[str, Any]:
    """Settings: with a journal, and without."""
    if not request.param:
        return {}
    return {"journal": tmp_path / "journal.db", "journal_thread": False}


# -- not now


@pytest.mark.parametrize("code", [0x80, 0x83, 0x91, 0x97, 0xFE])
async def test_an_answer_that_is_refused_for_a_second_arrives(
    code: int, journal: dict[str, Any], autojump_clock: object
) -> None:
    async with open_harness(Recorder(), settings=Settings(**V5, **journal)) as harness:
        harness.broker.reject_publish(RESPONSE, code)
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 1})
            await trio.sleep(1.0)
            assert len(responses) == 0
            harness.broker.reject_publish(RESPONSE, None)
            with trio.fail_after(10):
                await responses.wait(1)
            await settle()
        statistics = harness.statistics()
        assert statistics.publish_deferred >= 1
        assert (statistics.publish_rejected, statistics.outbox) == (0, 0)


@pytest.mark.parametrize("code", [0x87, 0x90, 0x95, 0x99])
async def test_what_will_never_be_taken_is_given_up_at_once(
    code: int, journal: dict[str, Any], autojump_clock: object
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5, **journal)) as harness:
        harness.broker.reject_publish(WEB, code)
        await petal.send(1)
        await settle()
        statistics = harness.statistics()
        assert (statistics.publish_rejected, statistics.publish_deferred) == (1, 0)
        assert statistics.outbox == 0


async def test_others_pass_what_is_refused_for_now(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, Recorder(), settings=Settings(**V5)) as harness:
        harness.broker.reject_publish(WEB, 0x83)
        await petal.send(1, 2)
        for n in range(20):
            assert (await harness.call("rec/note", {"n": n})).success
        statistics = harness.statistics()
        assert (statistics.outbox, statistics.publish_deferred) == (2, 2)


async def test_those_refused_together_come_back_in_their_order(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5)) as harness:
        harness.broker.reject_publish(WEB, 0x97)
        with harness.events() as events:
            await petal.send(*range(300))
            await trio.sleep(5)
            harness.broker.reject_publish(WEB, None)
            with trio.fail_after(30):
                await events.wait(300)
            assert numbers(events) == list(range(300))


async def test_a_quota_makes_the_whole_outbox_wait_a_little(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, Recorder(), settings=Settings(**V5)) as harness:
        harness.broker.reject_publish(WEB, 0x97)
        await petal.send(1)
        await settle()
        with harness.responses() as responses:
            harness.send("rec/note")
            await settle()
            assert len(responses) == 0
            with trio.fail_after(1):
                await responses.wait(1)


async def test_an_outage_of_a_thousand_messages_is_a_line_or_two(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5)) as harness:
        harness.broker.reject_publish(WEB, 0x80)
        await petal.send(*range(1000))
        await trio.sleep(60)
        harness.broker.reject_publish(WEB, None)
        await until(lambda: harness.statistics().outbox == 0)
        lines = [r for r in caplog.records if "does not take a message" in r.getMessage()]
        assert 1 <= len(lines) <= 2
        assert {line.levelname for line in lines} == {"WARNING"}
        assert harness.statistics().publish_deferred >= 1000


async def test_what_is_refused_until_it_is_too_old_is_counted_as_that(
    journal: dict[str, Any], autojump_clock: object
) -> None:
    petal = Sender()
    settings = Settings(**V5, **journal, response_expiry=30.0)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.reject_publish(WEB, 0x97)
        await petal.send(1)
        await trio.sleep(29)
        assert harness.statistics().outbox == 1
        await trio.sleep(2)
        statistics = harness.statistics()
        assert (statistics.outbox, statistics.publish_expired) == (0, 1)


async def test_what_is_refused_for_now_counts_in_the_bounds(autojump_clock: object) -> None:
    petal = Sender()
    settings = Settings(**V5, event_capacity=10)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.reject_publish(WEB, 0x83)
        with trio.move_on_after(100):
            await petal.send(*range(50))
        assert harness.statistics().outbox == 10


async def test_events_that_expire_while_they_are_deferred_make_room(autojump_clock: object) -> None:
    petal = Sender()
    settings = Settings(**V5, event_capacity=3)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.reject_publish(WEB, 0x83)
        for n in range(3):
            await petal.publish_message({"n": n}, expiry=5.0)
        await settle()
        harness.broker.stop()  # else they would be given up when it is time for them
        await trio.sleep(6)
        with trio.fail_after(0.1):
            await petal.send(3, 4, 5)
        assert harness.statistics().publish_expired == 3


async def test_it_outlives_its_link(journal: dict[str, Any], autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5, **journal)) as harness:
        harness.broker.reject_publish(WEB, 0x83)
        await petal.send(1, 2)
        await settle()
        harness.drop_link()
        harness.broker.reject_publish(WEB, None)
        await harness.wait_connected()
        with harness.events() as events, trio.fail_after(2 * DEFER_MIN):
            await events.wait(2)
        assert numbers(events) == [1, 2]


async def test_at_a_stop_it_gets_one_more_try(autojump_clock: object) -> None:
    petal = Sender()
    broker = MemoryBroker()
    with broker.observe(WEB) as seen:
        async with open_harness(petal, broker=broker, settings=Settings(**V5)) as harness:
            broker.reject_publish(WEB, 0x83)
            await petal.send(1)
            await trio.sleep(100)  # the next try is far away
            broker.reject_publish(WEB, None)
            began = trio.current_time()
        assert trio.current_time() - began < 1
        assert len(seen) == 1
        assert harness.statistics().publish_unsent == 0


async def test_what_is_refused_at_a_stop_too_is_counted_and_the_stop_is_bounded(
    autojump_clock: object,
) -> None:
    petal = Sender()
    settings = Settings(**V5, flush_timeout=5.0)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.reject_publish(WEB, 0x97)
        await petal.send(1)
        await settle()
        began = trio.current_time()
    assert trio.current_time() - began <= 5.0
    assert harness.statistics().publish_unsent == 1


async def test_what_is_refused_at_a_stop_is_sent_by_the_next_run(
    tmp_path: pathlib.Path, autojump_clock: object
) -> None:
    broker = MemoryBroker()
    settings = Settings(**V5, journal=tmp_path / "journal.db", journal_thread=False)
    petal = Sender()
    async with open_harness(petal, broker=broker, settings=settings):
        broker.reject_publish(WEB, 0x97)
        await petal.publish_message({"n": 1}, durable=True)
        await settle()
    broker.reject_publish(WEB, None)
    with broker.observe(WEB) as seen:
        async with open_harness(Sender(), broker=broker, settings=settings):
            with trio.fail_after(10):
                await seen.wait(1)


async def test_waits_double_up_to_their_bound() -> None:
    waits = [wait_after(tries, lambda: 1.0) for tries in (1, 2, 3, 6, 7, 1000)]
    assert waits == [DEFER_MIN, 2 * DEFER_MIN, 4 * DEFER_MIN, 32 * DEFER_MIN, DEFER_MAX, DEFER_MAX]
    assert wait_after(3, lambda: 0.0) == 2 * DEFER_MIN  # half of it at least


async def test_the_pause_of_a_quota_doubles_until_something_is_taken() -> None:
    counters = Counters()
    deferred = Deferred(counters, lambda: 1.0)
    error = RejectedByBroker(0x97, "quota exceeded")

    def pause(now: float) -> float:
        entry = Entry(Message("t", b""), expires_at=1e9, place=int(now * 10))
        deferred.add(entry, error, now, pause=True)
        return deferred.paused_until - now

    assert [pause(0.0), pause(0.1)] == [0.5, pytest.approx(0.4)]  # one that was under way
    assert [pause(10.0), pause(20.0), pause(30.0)] == [1.0, 2.0, 4.0]
    counters.published += 1
    assert pause(60.0) == 0.5


class Long(Petal):
    name = "long"
    version = "1.0.0"

    @command("text")
    async def text(self) -> dict[str, str]:
        return {"text": "x" * 600}


async def test_what_is_too_large_for_the_broker_leaves_its_place_when_that_is_said(
    autojump_clock: object,
) -> None:
    async with open_harness(Long(), settings=Settings(protocol="5")) as harness:
        harness.broker.reject_publish("org/acme/device/Instance-1/response", 0x95)
        harness.send("long/text", message_id="m")
        await settle()
        outbox = harness.runtime._outbox
        assert (harness.statistics().publish_rejected, len(outbox)) == (2, 0)
        assert (outbox.places.taken, outbox.size) == (0, 0)


async def test_the_word_for_what_is_too_large_is_not_replaced_when_it_is_too_large_too(
    autojump_clock: object,
) -> None:
    """With 256 characters of four bytes each, an ID is longer than most words for it."""
    async with open_harness(Long(), settings=Settings(protocol="5")) as harness:
        harness.broker.reject_publish("org/acme/device/Instance-1/response", 0x95)
        harness.send("long/text", message_id="\N{SNAKE}" * 256)
        await settle()
        await trio.sleep(1)
        assert (harness.statistics().publish_rejected, harness.statistics().outbox) == (2, 0)
        harness.send("long/nothing", message_id="\N{SNAKE}" * 256)  # refused, and as long
        await settle()
        await trio.sleep(1)
        assert 3 <= harness.statistics().publish_rejected <= 4
        assert harness.statistics().outbox == 0
        assert harness.runtime._outbox.places.taken == 0


# -- links that end


class Silent(MemoryBroker):
    """Takes events, passes them on, and does not confirm them."""

    silent = True

    def _receive_publish(self, message: Message, protocol: str) -> tuple[int, bool]:
        code, answered = super()._receive_publish(message, protocol)
        return code, answered and not (self.silent and message.topic == WEB)


async def assert_kept(
    end: Callable[[MemoryBroker], object], after: float, *, links: int, **settings: Any
) -> None:
    """End seven links in a row, each so long after it was up, with an event that none confirms.

    Args:
        end: ends a link.
        after: seconds.
        links: on so many of them the event has to be in flight, at least.
        settings: of the device.
    """
    petal, broker = Sender(), Silent()
    async with open_harness(petal, broker=broker, settings=Settings(**settings)) as harness:
        with harness.events() as events:
            await petal.send(1)
            for _ in range(7):
                await trio.sleep(after)
                count = harness.statistics().links
                end(broker)
                await until(lambda count=count: harness.statistics().links > count)  # type: ignore[misc]
            assert len(events) >= links
            broker.silent = False
            broker.drop_links()
            await until(lambda: harness.statistics().outbox == 0)
        statistics = harness.statistics()
        assert (statistics.publish_set_aside, statistics.published) == (0, 1)


@pytest.mark.parametrize("code", [0x8B, 0x8E, 0x89, 0x8D, 0x97, 0x98, 0x9C, 0x9D, 0x9F, 0xA0])
@pytest.mark.parametrize("after", [0.5, 40.0])
async def test_links_that_end_for_another_reason_do_not_give_an_answer_up(
    code: int, after: float, journal: dict[str, Any], autojump_clock: object
) -> None:
    await assert_kept(
        lambda broker: broker.drop_links(reason_code=code), after, links=7, **V5, **journal
    )


@pytest.mark.parametrize("after", [0.5, TRIAL_AFTER - 0.5, SOON + 0.5, 10.5, 20.5, 40.0])
async def test_restarts_and_takeovers_of_a_broker_of_3_1_1_do_not_either(
    after: float, journal: dict[str, Any], autojump_clock: object
) -> None:
    """It closes without a word, soon after the link was up or long after the answer had left."""
    await assert_kept(lambda broker: broker.drop_links(), after, links=3, **journal)


async def test_quorum_losses_do_not_either(autojump_clock: object) -> None:
    """Nothing is confirmed for `publish_timeout`, and we end each link ourselves."""
    petal, broker = Sender(), Silent()
    settings = Settings(publish_timeout=20.0)
    async with open_harness(petal, broker=broker, settings=settings) as harness:
        await petal.send(1)
        await until(lambda: harness.statistics().links_lost == 7)
        broker.silent = False
        await until(lambda: harness.statistics().outbox == 0)
        statistics = harness.statistics()
        assert (statistics.publish_set_aside, statistics.published) == (0, 1)


class Culprit:
    """A broker that cuts the link whenever it sees the event 666, before any PUBACK is out."""

    def __init__(self, harness: Harness, code: int | None) -> None:
        self.harness = harness
        self.code = code
        self.sent: list[int] = []

    async def run(self) -> None:
        self.harness.broker.delay = 0.1
        with self.harness.events() as events:
            while True:
                await events.wait(len(self.sent) + 1)
                new = numbers(events)[len(self.sent) :]
                self.sent += new
                if 666 in new:
                    self.harness.broker.drop_links(reason_code=self.code)


@pytest.mark.parametrize("code", [None, 0x95, 0x82, 0x80])
async def test_a_message_that_kills_links_is_set_aside_and_holds_up_nobody(
    code: int | None, journal: dict[str, Any], autojump_clock: object, nursery: trio.Nursery
) -> None:
    petal = Sender()
    settings = Settings(**V5, **journal)
    async with open_harness(petal, Recorder(), settings=settings) as harness:
        culprit = Culprit(harness, code)
        nursery.start_soon(culprit.run)
        await settle()
        await petal.send(1, 666, 2)
        await until(lambda: culprit.sent.count(666) == 2)
        await until(lambda: harness.statistics().connected)
        # From here on it waits for its trial, and others leave at once.
        began = trio.current_time()
        await petal.send(3)
        assert (await harness.call("rec/note")).success
        assert trio.current_time() - began < 1
        await until(lambda: harness.statistics().outbox == 0)
        statistics = harness.statistics()
        assert (statistics.publish_set_aside, culprit.sent.count(666)) == (1, 5)
        assert {1, 2, 3} <= set(culprit.sent)
        nursery.cancel_scope.cancel()


async def test_a_killer_does_not_hold_up_others_that_come_all_the_time(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5)) as harness:
        culprit = Culprit(harness, None)
        nursery.start_soon(culprit.run)
        await settle()
        await petal.send(666)
        for n in range(4000):
            await petal.send(1000 + n)
            await trio.sleep(0.03)  # more often than a PUBACK takes: never idle
        assert harness.statistics().publish_set_aside == 1  # it had its trials meanwhile
        await until(lambda: harness.statistics().outbox == 0)
        assert set(range(1000, 5000)) <= set(culprit.sent)
        nursery.cancel_scope.cancel()


async def make_suspect(harness: Harness, petal: Sender) -> None:
    """Have two links die with an event in flight, which the broker has nothing against."""
    harness.broker.delay = 1.0  # no PUBACK before that
    await petal.send(1)
    for _ in range(2):
        await settle()
        harness.drop_link()
        await harness.wait_connected()
    harness.broker.delay = 0.0
    await settle()
    assert harness.statistics().outbox == 1


async def test_a_suspect_that_is_no_killer_arrives_in_its_trial(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        await make_suspect(harness, petal)
        await trio.sleep(TRIAL_AFTER + 0.1)
        assert harness.statistics().outbox == 0


async def test_a_suspect_is_sent_at_a_stop(autojump_clock: object) -> None:
    petal = Sender()
    async with open_harness(petal) as harness:
        await make_suspect(harness, petal)
        began = trio.current_time()
    assert trio.current_time() - began < 1
    assert harness.statistics().publish_unsent == 0


async def test_a_suspect_that_the_broker_refuses_for_now_is_none_any_more(
    autojump_clock: object,
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5)) as harness:
        await make_suspect(harness, petal)
        harness.broker.reject_publish(WEB, 0x83)
        await trio.sleep(TRIAL_AFTER + 0.1)
        assert harness.statistics().publish_deferred == 1
        harness.broker.reject_publish(WEB, None)
        harness.broker.delay = 3.0
        with harness.events() as events:
            await events.wait(1)
            await petal.send(2)
            await settle()
            assert numbers(events) == [1, 2]  # it is sent again like any other


async def test_a_suspect_whose_trial_could_not_begin_waits_for_another(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    petal = Sender()
    async with open_harness(petal, settings=Settings(**V5)) as harness:
        await make_suspect(harness, petal)

        def full(self: object, message: Message, on_done: object) -> None:
            raise trio.WouldBlock

        async def wait(self: object) -> None:
            await trio.sleep_forever()

        with monkeypatch.context() as patch:
            patch.setattr(MemoryLink, "publish_nowait", full)
            patch.setattr(MemoryLink, "wait_publishable", wait)
            await trio.sleep(TRIAL_AFTER + 0.1)
        with harness.events() as events:
            harness.broker.drop_links(reason_code=0x8B)  # which says nothing of any message
            await harness.wait_connected()
            await petal.send(2)
            await trio.sleep(TRIAL_AFTER - 0.1)
            assert numbers(events) == [2]
            await trio.sleep(0.2)
            assert numbers(events) == [2, 1]


# -- a PUBACK that does not come


async def test_a_puback_that_others_have_overtaken_is_no_dead_link(
    journal: dict[str, Any], autojump_clock: object
) -> None:
    petal = Sender()
    settings = Settings(publish_timeout=20.0, **journal)
    async with open_harness(petal, settings=settings) as harness:
        with harness.events() as events:
            harness.broker.swallow("PUBACK", 1)
            await petal.send(1, 2)
            await trio.sleep(1000)
            statistics = harness.statistics()
            assert (statistics.links, statistics.outbox, statistics.published) == (1, 1, 1)
            harness.drop_link()  # on the next link it is sent again
            await harness.wait_connected()
            await settle()
            assert numbers(events) == [1, 2, 1]
            assert harness.statistics().outbox == 0


async def test_half_a_window_of_them_ends_the_link(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Sender()
    settings = Settings(publish_timeout=20.0, publish_maximum=4)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(2):
            harness.broker.swallow("PUBACK", 1)
            await petal.send(n, 100 + n)
            await settle()
        assert harness.statistics().links == 1
        with harness.events() as events:
            await until(lambda: harness.statistics().outbox == 0, within=40)
            assert numbers(events) == [0, 1]
        assert harness.statistics().links_lost == 1
        assert "has acknowledged later messages" in caplog.text


async def test_one_that_is_too_old_is_given_up_without_its_place(autojump_clock: object) -> None:
    petal = Sender()
    settings = Settings(publish_timeout=20.0, publish_maximum=4, response_expiry=60.0)
    async with open_harness(petal, settings=settings) as harness:
        harness.broker.swallow("PUBACK", 1)
        await petal.send(1, 2)
        await trio.sleep(80)
        statistics = harness.statistics()
        assert (statistics.outbox, statistics.publish_expired, statistics.links) == (0, 1, 1)
        harness.broker.delay = 1.0
        with harness.events() as events:
            await petal.send(5, 6, 7)
            await settle()
            assert numbers(events) == [5, 6]  # two places are left, beside that of the status
            await events.wait(3)

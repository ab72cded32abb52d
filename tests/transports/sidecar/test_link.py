"""The link over the sidecar, against a sidecar in memory, on a mock clock."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import ConnectFailed, ConnectionLost, RejectedByBroker
from petalkit._values.messages import Message

from ..fake_sidecar import (
    COMMANDS,
    NO,
    OPTIONS,
    YES,
    Answer,
    Clock,
    FakeSidecar,
    connected,
    message,
)

pytestmark = pytest.mark.trio


async def slowly(_: object) -> Answer:
    await trio.sleep(1)
    return YES


# -- connecting


async def test_no_sidecar_is_a_failed_connect(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    sidecar.away = True
    with pytest.raises(ConnectFailed, match="nobody there"):
        async with connected(sidecar):
            pass


@pytest.mark.parametrize(("health", "text"), [(503, "HTTP 503"), (None, "no answer within 2 s")])
async def test_bad_health_is_a_failed_connect(
    autojump_clock: Clock, sidecar: FakeSidecar, health: int | None, text: str
) -> None:
    sidecar.health = health
    with pytest.raises(ConnectFailed, match=text):
        async with connected(sidecar):
            pass
    assert trio.current_time() <= 2


async def test_what_the_block_raises_comes_out_as_it_is(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    with pytest.raises(KeyError):
        async with connected(sidecar):
            raise KeyError


async def test_leaving_sends_what_waits_and_unsubscribes(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = slowly
    done: list[object] = []
    with trio.CancelScope() as scope:
        async with connected(sidecar) as link:
            await link.subscribe(COMMANDS)
            link.publish_nowait(message(1), done.append)
            scope.cancel()
            await link.receive()
    assert scope.cancelled_caught
    assert (sidecar.published(), done) == ([1], [None])
    assert sidecar.topics("/unsubscribe") == ["a/command", "a/command/edge"]


async def test_leaving_is_bounded(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    async def never(_: object) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    sidecar.answers["/publish"] = never
    done: list[object] = []
    async with connected(sidecar) as link:
        link.publish_nowait(message(1), done.append)
    assert trio.current_time() == pytest.approx(OPTIONS.disconnect_timeout)
    assert isinstance(done[0], ConnectionLost)


# -- publishing


async def test_a_message_is_spliced_into_the_request(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar) as link:
        await link.publish(message(7))
    [body] = sidecar.bodies
    assert body.pop("callbackUrl").endswith("/mqtt-callback/callback")
    assert body == {"topic": "a/response", "payload": {"n": 7}, "qos": 1}


async def test_one_topic_is_in_order_and_others_are_beside_it(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = slowly
    done: list[tuple[str, int]] = []
    async with connected(sidecar, sidecar_publish_concurrency=3) as link:
        for n in range(5):
            for topic in ("a", "b", "c", "d"):
                link.publish_nowait(
                    message(n, topic), lambda _, topic=topic, n=n: done.append((topic, n))
                )
        await trio.sleep(100)
        assert sidecar.most_at_once == 3
        assert not sidecar.overlapped
        for topic in "abcd":
            assert [n for one, n in done if one == topic] == [0, 1, 2, 3, 4]
        began = [at for at, path, _ in sidecar.asked if path == "/publish"]
        assert 6 <= max(began) <= 8  # 20 messages, 3 at a time, a second each


async def test_there_is_a_bound_on_what_waits(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    sidecar.answers["/publish"] = slowly
    done: list[object] = []
    async with connected(sidecar, attrs.evolve(OPTIONS, publish_maximum=2)) as link:
        link.publish_nowait(message(1), done.append)
        link.publish_nowait(message(2), done.append)
        with pytest.raises(trio.WouldBlock):
            link.publish_nowait(message(3), done.append)
        await link.wait_publishable()
        assert trio.current_time() == 1
        link.publish_nowait(message(3), done.append)


@pytest.mark.parametrize(
    "answer",
    [NO, (200, b'{"error":"x"}'), (500, b""), (503, b""), (404, b""), (200, b"what?")],
    ids=lambda answer: repr(answer),
)
async def test_a_message_that_is_not_taken_is_sent_again_and_keeps_its_place(
    autojump_clock: Clock, sidecar: FakeSidecar, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar.answers["/publish"] = answer
    done: list[object] = []
    async with connected(sidecar) as link:
        for n in range(3):
            link.publish_nowait(message(n), done.append)
        await trio.sleep(30)
        assert not done
        sidecar.answers["/publish"] = YES
        await trio.sleep(6)
        assert (sidecar.published(), done) == ([0, 1, 2], [None, None, None])
        assert not link.ended.is_set()
    assert len([one for one in caplog.records if "has not taken" in one.message]) == 1
    tries = [at for at, path, _ in sidecar.asked if path == "/publish"]
    assert len(tries) < 20, "it is asked without a pause"


@pytest.mark.parametrize(("status", "code"), [(400, 0x80), (413, 0x95)])
async def test_a_message_that_never_will_be_taken_is_refused(
    autojump_clock: Clock, sidecar: FakeSidecar, status: int, code: int
) -> None:
    async def by_number(fields: dict[str, Any]) -> Answer:
        return (status, b"") if fields["payload"]["n"] == 1 else YES

    sidecar.answers["/publish"] = by_number
    async with connected(sidecar) as link:
        with pytest.raises(RejectedByBroker) as caught:
            await link.publish(message(1))
        assert caught.value.reason_code == code
        await link.publish(message(2))


async def test_what_is_too_large_or_no_object_is_not_even_sent(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar, attrs.evolve(OPTIONS, payload_max=100)) as link:
        for payload in (b'{"a":"%s"}' % (b"x" * 100), b"[]", b"", b"hello"):
            with pytest.raises(RejectedByBroker):
                await link.publish(Message("a", payload))
    assert not sidecar.topics("/publish")


async def test_a_connection_that_was_closed_while_idle_costs_a_message_nothing(
    autojump_clock: Clock, sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(sidecar) as link:
        await link.publish(message(1))
        sidecar.cut()
        await trio.testing.wait_all_tasks_blocked()
        await link.publish(message(2))
        assert trio.current_time() == 0
    assert [one.message for one in caplog.records if "sidecar_token" not in one.message] == []


async def test_a_connection_that_breaks_under_a_message_is_made_again(
    autojump_clock: Clock,
    sidecar: FakeSidecar,
) -> None:
    sidecar.answers["/publish"] = slowly
    async with connected(sidecar) as link:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.publish, message(1))
            await trio.sleep(0.5)
            sidecar.cut()
        assert sidecar.published()[-1] == 1
        assert not link.ended.is_set()


async def test_no_answer_in_time_counts_as_none(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def once(_: object) -> Answer:
        sidecar.answers["/publish"] = YES
        await trio.sleep_forever()
        raise AssertionError

    sidecar.answers["/publish"] = once
    async with connected(sidecar, sidecar_request_timeout=3.0) as link:
        await link.publish(message(1))
        assert trio.current_time() == pytest.approx(3.1)


async def test_an_answer_without_an_end_is_not_read_for_ever(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = (200, b'{"success":true,"x":"%s"}' % (b"x" * 100_000))
    done: list[object] = []
    async with connected(sidecar) as link:
        link.publish_nowait(message(1), done.append)
        await trio.sleep(5)
    assert isinstance(done[0], ConnectionLost)


async def test_a_lost_link_tells_every_publisher_once(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/publish"] = slowly
    done: list[object] = []
    async with connected(sidecar) as link:
        for n in range(4):
            link.publish_nowait(message(n), done.append)
        sidecar.away = True
        await link.ended.wait()
        with pytest.raises(ConnectionLost):
            link.publish_nowait(message(5), done.append)
        with pytest.raises(ConnectionLost):
            await link.wait_publishable()
        await trio.sleep(5)
    assert len(done) == 4
    assert isinstance(done[-1], ConnectionLost)
    assert link.retries_by_itself


async def test_a_link_lost_in_the_step_of_an_answer_tells_once(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    done: list[object] = []
    async with connected(sidecar) as link:
        requests = link._publisher._requests  # type: ignore[attr-defined]
        send = requests.send

        async def send_and_lose(*arguments: object) -> None:
            await send(*arguments)
            link.close()  # type: ignore[attr-defined]

        requests.send = send_and_lose
        link.publish_nowait(message(1), done.append)
        link.publish_nowait(message(2), done.append)
        await link.ended.wait()
    assert [type(one) for one in done] == [ConnectionLost, ConnectionLost]


async def test_connections_are_kept_and_no_more_than_needed(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar) as link:
        for n in range(20):
            await link.publish(message(n, f"a/{n}"))
        assert sidecar.opened == 2  # one of them is the canary's


YES_TEXT = b'{"success":true}'
OK = b"HTTP/1.1 200 OK\r\n"
WAYS = {
    "chunked": OK + b"transfer-encoding: chunked\r\n\r\n10\r\n" + YES_TEXT + b"\r\n0\r\n\r\n",
    "close": OK + b"connection: close\r\ncontent-length: 16\r\n\r\n" + YES_TEXT,
    "1.0": b"HTTP/1.0 200 OK\r\n\r\n" + YES_TEXT,
    "100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 16\r\n\r\n" + YES_TEXT,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_every_way_in_which_http_answers_is_understood(
    autojump_clock: Clock, sidecar: FakeSidecar, nursery: trio.Nursery, way: str, piece: int
) -> None:
    answer = WAYS[way]
    requests: list[bytes] = []

    async def answer_all(stream: Any) -> None:
        while True:
            request = await stream.receive_some()
            while request and not request.endswith(b"}"):
                request += await stream.receive_some()
            if not request:
                return
            requests.append(request)
            for start in range(0, len(answer), piece):
                await stream.send_all(answer[start : start + piece])
                await trio.sleep(0.001)
            if way in ("close", "1.0"):
                await stream.aclose()
                return

    opened = 0

    async def open_stream() -> trio.abc.Stream:
        nonlocal opened
        await trio.lowlevel.checkpoint()
        opened += 1
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(answer_all, theirs)
        return ours

    sidecar.open_stream = open_stream  # type: ignore[method-assign]
    async with connected(sidecar, sidecar_token="secret") as link:
        opened -= 1  # the canary's, whose request has no body to wait for
        for n in range(3):
            await link.publish(message(n))
    assert len(requests) == 3
    assert all(b"authorization: Bearer secret\r\n" in one for one in requests)
    nursery.cancel_scope.cancel()


# -- health


async def test_nobody_there_ends_the_link_at_the_next_probe(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar) as link:
        sidecar.away = True
        with pytest.raises(ConnectionLost, match="nobody there"):
            await link.receive()
        assert trio.current_time() == pytest.approx(5)


@pytest.mark.parametrize(("health", "lasts"), [(500, 6.0), (None, 10.0)])
async def test_bad_health_ends_it_when_it_is_bad_twice(
    autojump_clock: Clock, sidecar: FakeSidecar, health: int | None, lasts: float
) -> None:
    async with connected(sidecar) as link:
        sidecar.health = health
        with pytest.raises(ConnectionLost, match="not well"):
            await link.receive()
        assert trio.current_time() == pytest.approx(lasts)  # 5, and 1 later; with its own limits


async def test_bad_health_once_does_not(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    async with connected(sidecar) as link:
        sidecar.health = 500
        await trio.sleep(5.5)
        sidecar.health = 200
        await trio.sleep(60)
        assert not link.ended.is_set()


async def test_its_death_is_noticed_at_once(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    async with connected(sidecar) as link:
        await trio.sleep(1)
        sidecar.away = True
        sidecar.cut()
        with pytest.raises(ConnectionLost):
            await link.receive()
        assert trio.current_time() < 2


# -- subscribing


async def test_it_insists_on_a_subscription(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    sidecar.answers["/subscribe"] = NO
    async with connected(sidecar) as link, trio.open_nursery() as nursery:
        nursery.start_soon(link.subscribe, COMMANDS)
        await trio.sleep(4)
        sidecar.answers["/subscribe"] = YES
    assert sidecar.topics("/subscribe")[-2:] == ["a/command", "a/command/edge"]
    assert len(sidecar.topics("/subscribe")) < 12


async def test_a_subscription_that_is_not_accepted_in_time_loses_the_link(
    autojump_clock: Clock,
    sidecar: FakeSidecar,
) -> None:
    sidecar.answers["/subscribe"] = NO
    async with connected(sidecar) as link:
        with pytest.raises(ConnectionLost, match="'a/command' in time: no broker"):
            await link.subscribe(COMMANDS)
        assert trio.current_time() == pytest.approx(OPTIONS.subscribe_timeout)
        assert link.ended.is_set()


def times(sidecar: FakeSidecar, topic: str = "a/command") -> list[float]:
    return [at for at, path, one in sidecar.asked if (path, one) == ("/subscribe", topic)]


async def test_a_quiet_topic_is_subscribed_again_and_ever_more_seldom(
    autojump_clock: Clock,
    sidecar: FakeSidecar,
) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=40.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(130)
    gaps = [b - a for a, b in zip(times(sidecar), times(sidecar)[1:], strict=False)]
    assert gaps == pytest.approx([5, 10, 20, 40, 40])


async def test_what_comes_confirms_a_subscription(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=40.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(4)
        link.offer("a/command", b"{}")  # type: ignore[attr-defined]
        await trio.sleep(4)
        assert len(times(sidecar)) == 1
        assert len(times(sidecar, "a/command/edge")) == 2


async def test_a_topic_that_was_busy_and_falls_quiet_is_soon_asked_for_again(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=300.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(200)
        for _ in range(100):
            await trio.sleep(1)
            link.offer("a/command", b"{}").delivery.ack()  # type: ignore[attr-defined]
        await trio.sleep(80)
    quiet = [at - 300 for at in times(sidecar) if at > 200]
    assert quiet == pytest.approx([5, 15, 35, 75], abs=5)  # at the next probe


async def test_what_every_subscription_brings_brings_no_more_of_them(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def retained(fields: dict[str, Any]) -> Answer:
        link.offer(fields["topic"], b"{}").delivery.ack()  # type: ignore[attr-defined]
        return YES

    async with connected(sidecar, sidecar_subscribe_interval=300.0) as link:
        sidecar.answers["/subscribe"] = retained
        await link.subscribe(COMMANDS)
        await trio.sleep(600)
    assert len(times(sidecar)) <= 8


async def test_never_means_never(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=0.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(1000)
    assert len(times(sidecar)) == 1


async def test_a_restart_between_two_probes_is_noticed_and_all_is_subscribed_again(
    autojump_clock: Clock,
    sidecar: FakeSidecar,
) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=0.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(1)
        sidecar.cut()  # and it is there again
        await trio.sleep(1)
        assert len(times(sidecar)) == 2
        assert len(times(sidecar, "a/command/edge")) == 2
        assert not link.ended.is_set()


async def test_a_server_that_closes_idle_connections_is_not_taken_for_dead(
    autojump_clock: Clock, sidecar: FakeSidecar, nursery: trio.Nursery
) -> None:
    async def close_idle() -> None:
        while True:
            await trio.sleep(0.01)
            if sidecar.streams:
                await trio.sleep(5)
                sidecar.cut()

    nursery.start_soon(close_idle)
    async with connected(sidecar, sidecar_subscribe_interval=0.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(100)
        assert len(times(sidecar)) == 2  # once, before it is known to do that
        assert sidecar.opened < 25
    nursery.cancel_scope.cancel()


async def test_a_subscription_that_fails_again_is_tried_at_the_next_probe(
    autojump_clock: Clock,
    sidecar: FakeSidecar,
) -> None:
    async with connected(sidecar, sidecar_subscribe_interval=0.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(1)
        sidecar.answers["/subscribe"] = NO
        sidecar.cut()
        await trio.sleep(11)
        sidecar.answers["/subscribe"] = YES
        await trio.sleep(6)
        assert 4 <= len(times(sidecar)) <= 6
        asked = len(sidecar.topics("/subscribe"))
        await trio.sleep(60)
        assert len(sidecar.topics("/subscribe")) == asked


async def test_a_topic_that_is_refused_holds_up_no_other(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    async def not_the_first(fields: dict[str, Any]) -> Answer:
        return NO if fields["topic"] == "a/command" else YES

    async with connected(sidecar, sidecar_subscribe_interval=0.0) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(1)
        sidecar.answers["/subscribe"] = not_the_first
        sidecar.cut()
        await trio.sleep(30)
        assert len(times(sidecar)) > 5
        assert len(times(sidecar, "a/command/edge")) == 2


async def test_a_topic_is_unsubscribed_behind_a_subscription_that_is_under_way(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    done: list[str] = []

    async def subscribe(_: object) -> Answer:
        await trio.sleep(3)
        done.append("subscribed")
        return YES

    async def unsubscribe(_: object) -> Answer:
        done.append("unsubscribed")
        return YES

    async with connected(sidecar) as link:
        await link.subscribe(COMMANDS[:1])
        sidecar.answers.update({"/subscribe": subscribe, "/unsubscribe": unsubscribe})
        await trio.sleep(1)
        sidecar.cut()
        await trio.sleep(1)
        await link.unsubscribe(COMMANDS[:1])
        await trio.sleep(60)
    assert done == ["subscribed", "unsubscribed"]


async def test_nothing_is_subscribed_again_while_the_link_is_left(
    autojump_clock: Clock, sidecar: FakeSidecar
) -> None:
    sidecar.answers["/unsubscribe"] = slowly
    async with connected(sidecar, attrs.evolve(OPTIONS, disconnect_timeout=20.0)) as link:
        await link.subscribe(COMMANDS)
        await trio.sleep(1)
        sidecar.cut()  # it restarts just before the stop
    assert len(sidecar.topics("/subscribe")) == 2
    assert sidecar.topics("/unsubscribe") == ["a/command", "a/command/edge"]


async def test_unsubscribing(autojump_clock: Clock, sidecar: FakeSidecar) -> None:
    async with connected(sidecar) as link:
        await link.subscribe(COMMANDS)
        await link.unsubscribe(COMMANDS)
        assert sidecar.topics("/unsubscribe") == ["a/command", "a/command/edge"]
        await trio.sleep(1000)
        assert len(times(sidecar)) == 1
    assert len(sidecar.topics("/unsubscribe")) == 2


async def test_a_failure_of_ours_loses_the_link_and_says_so(
    autojump_clock: Clock, sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(sidecar) as link:
        link._health._client = None  # type: ignore[attr-defined]
        with pytest.raises(ConnectionLost, match="the link failed"):
            await link.receive()
    told = [one for one in caplog.records if "sidecar_token" not in one.message]
    assert [one.levelno for one in told] == [logging.ERROR]

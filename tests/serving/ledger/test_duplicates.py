"""Duplicates: one messageId, one run, whatever the broker and its callers send again."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Settings
from petalkit.testing import open_harness

from ..recorder import Recorder, settle, unacknowledged, until

pytestmark = pytest.mark.trio


async def test_a_copy_of_a_queued_command_joins_it(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            harness.send("rec/hold", {"n": 2}, message_id="m")
            harness.send("rec/hold", {"n": 2}, message_id="m")
            petal.open()
            await settle()
            assert [response["n"] for response in responses] == [1, 2]
        assert petal.started == [1, 2]
        assert harness.statistics().duplicates_joined == 1


async def test_a_copy_of_a_running_command_shares_its_one_response(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            for _ in range(5):
                harness.send("rec/hold", message_id="m")
                await settle()
            petal.open()
            await settle()
            assert len(responses) == 1
        assert petal.started == [0]


async def test_a_copy_that_wants_an_answer_gets_one_though_the_first_did_not(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", message_id="m", waitResponse=False)
            await settle()
            harness.send("rec/hold", message_id="m")
            await settle()
            petal.open()
            await settle()
            assert len(responses) == 1
        assert petal.started == [0]
        # The places for responses are where they were.
        assert harness.runtime._outbox.places.taken == 0


async def test_a_copy_of_a_finished_command_gets_the_recorded_response(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        first = await harness.call("rec/note", {"n": 1}, message_id="m")
        await trio.sleep(100)
        again = await harness.call("rec/note", {"n": 1}, message_id="m")
        assert dict(again) == dict(first)
        assert petal.started == [1]
        assert harness.statistics().duplicates_answered == 1
        assert unacknowledged(harness) == 0


async def test_a_copy_of_a_failed_command_is_not_run_again(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        first = await harness.call("rec/brief", message_id="m")
        assert first.error_code == "TIMEOUT"
        assert dict(await harness.call("rec/brief", message_id="m")) == dict(first)
        assert petal.started == [0]


async def test_another_time_stamp_and_spacing_are_still_the_same_request(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            one = b'{"command":"rec/note","messageId":"m","waitResponse":true,"data":{"n":1}}'
            two = (
                b'{ "timestamp": "later", "payload": {"n": 1}, "waitResponse": true, '
                b'"messageId": "m", "command": "rec/note" }'
            )
            harness.send_raw(one)
            await settle()
            harness.send_raw(two)
            await settle()
            assert [response["n"] for response in responses] == [1, 1]
        assert petal.started == [1]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rec/note", {"n": 2}),
        ("rec/hold", {"n": 1}),
        ("rec/note", {"n": True}),
        ("rec/note", {"n": 1.0}),
        ("rec/note", {}),
        ("rec/unknown", {"n": 1}),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
async def test_an_id_used_for_something_else_is_refused(
    name: str, data: dict[str, Any], finished: bool, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        if not finished:
            harness.send("rec/hold")
        harness.send("rec/note", {"n": 1}, message_id="m")
        await settle()
        with harness.responses() as responses:
            harness.send(name, data, message_id="m")
            await settle()
            assert [response["error_code"] for response in responses] == ["MESSAGE_ID_REUSED"]
        petal.open()
        await settle()
        assert petal.started.count(1) == 1


# -- the window


async def test_the_window_forgets_the_oldest_by_number(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(
        petal, settings=Settings(duplicate_window=3, replay_window=0)
    ) as harness:
        for n in range(4):
            await harness.call("rec/note", {"n": n}, message_id=f"m{n}")
        assert harness.statistics().remembered == 3
        await harness.call("rec/note", {"n": 1}, message_id="m1")
        assert petal.started == [0, 1, 2, 3]
        await harness.call("rec/note", {"n": 0}, message_id="m0")
        assert petal.started == [0, 1, 2, 3, 0]


async def test_the_window_forgets_by_age(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(
        petal, settings=Settings(duplicate_age=60.0, replay_window=0)
    ) as harness:
        await harness.call("rec/note", {"n": 1}, message_id="m")
        await trio.sleep(59)
        await harness.call("rec/note", {"n": 1}, message_id="m")
        assert petal.started == [1]
        await trio.sleep(2)
        await harness.call("rec/note", {"n": 1}, message_id="m")
        assert petal.started == [1, 1]


async def test_the_window_forgets_by_bytes(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(duplicate_bytes=5000)) as harness:
        for n in range(10):
            data = {"n": n, "padding": "x" * 1000}
            await harness.call("rec/note", data, message_id=f"m{n}")
        assert 1 <= harness.statistics().remembered <= 4
        await harness.call("rec/note", {"n": 9, "padding": "x" * 1000}, message_id="m9")
        assert petal.started == list(range(10))


async def test_running_commands_are_never_forgotten(autojump_clock: object) -> None:
    petal = Recorder()
    settings = Settings(duplicate_window=0, duplicate_age=0.0, duplicate_bytes=0)
    async with open_harness(petal, settings=settings) as harness:
        harness.send("rec/hold", {"n": 1}, message_id="m")
        for n in range(20):
            await harness.call("rec/note", {"n": n + 100})
        await trio.sleep(10_000)
        harness.send("rec/hold", {"n": 1}, message_id="m")
        await settle()
        assert petal.started.count(1) == 1
        petal.open()


async def test_a_refusal_before_the_start_is_not_recorded(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.send("rec/alone", {"n": 1})
        await settle()
        assert (await harness.call("rec/alone", {"n": 2}, message_id="m")).error_code == "BUSY"
        petal.open()
        await settle()
        assert (await harness.call("rec/alone", {"n": 2}, message_id="m")).success
        assert petal.started == [1, 2]


# -- redelivery


@pytest.mark.parametrize("times", [2])
async def test_the_broker_may_deliver_twice_without_saying_so(
    times: int, autojump_clock: object
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.broker.duplicate_next(10)
        with harness.responses() as responses:
            for n in range(10):
                harness.send("rec/note", {"n": n})
            await settle()
            assert {response["n"] for response in responses} == set(range(10))
        assert petal.started == list(range(10))
        assert unacknowledged(harness) == 0


async def test_a_redelivery_after_link_loss_takes_over_the_debt(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(acknowledge="handled")) as harness:
        with harness.responses() as responses:
            harness.send("rec/hold", {"n": 1})
            await settle()
            assert unacknowledged(harness) == 1
            harness.drop_link()
            await harness.wait_connected()
            await settle()
            assert petal.started == [1]
            assert unacknowledged(harness) == 1
            petal.open()
            await settle()
            assert unacknowledged(harness) == 0
            assert len(responses) == 1


async def test_a_command_whose_acknowledgement_is_lost_is_not_run_again(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        harness.broker.swallow("client PUBACK")
        with harness.responses() as responses:
            harness.send("rec/note", {"n": 1})
            await settle()
            assert unacknowledged(harness) == 1
            harness.drop_link()
            await harness.wait_connected()
            await settle()
            assert unacknowledged(harness) == 0
            # Answered the same again: nobody can know whether the first response arrived.
            assert [response["n"] for response in responses] == [1, 1]
        assert petal.started == [1]


@pytest.mark.parametrize("acknowledge", ["accepted", "handled"])
async def test_a_full_channel_and_many_lost_links_run_everything_once(
    acknowledge: Any, autojump_clock: object
) -> None:
    petal = Recorder()
    settings = Settings(
        acknowledge=acknowledge, channel_capacity=5, channel_reserve=3, petal_concurrency=2
    )
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(100):
                harness.send("rec/hold", {"key": str(n // 20), "n": n}, message_id=f"m{n}")
            for part in range(5):
                await settle()
                harness.drop_link()
                petal.open(str(part))
                await settle()
                await harness.wait_connected()
            await until(lambda: len(petal.ended) == 100)
            await settle()
            assert {response["messageId"] for response in responses} == {
                f"m{n}" for n in range(100)
            }
        assert petal.started == list(range(100))


async def test_a_copy_that_finds_its_response_on_the_way_is_not_answered_twice(
    autojump_clock: object,
) -> None:
    """Take out `owes_answer` in the intake: the caller is answered twice."""
    petal = Recorder()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.broker.swallow("PUBACK")
            harness.send("rec/note", message_id="m")
            await settle()
            assert harness.statistics().outbox == 1, "the broker has not acknowledged it"
            harness.send("rec/note", message_id="m")
            await settle()
            assert harness.statistics().duplicates_answered == 1
            assert [response["messageId"] for response in responses] == ["m"]


async def test_a_copy_at_qos_1_of_what_is_parked_at_qos_0_keeps_its_acknowledgement(
    autojump_clock: object,
) -> None:
    """Acknowledged at once, it would be lost with the process, and nobody would bring it again."""
    petal = Recorder()
    settings = Settings(channel_capacity=1, petal_concurrency=1, channel_reserve=50)
    async with open_harness(petal, settings=settings) as harness:
        with harness.responses() as responses:
            for n in range(2):  # one runs, one fills the channel
                harness.send("rec/hold", {"n": n})
            harness.send("rec/hold", {"n": 2}, message_id="m", qos=0)
            await settle()
            assert unacknowledged(harness) == 0
            harness.send("rec/hold", {"n": 2}, message_id="m", qos=1)
            await settle()
            assert harness.statistics().held == 1
            assert unacknowledged(harness) == 1
            petal.open()
            await until(lambda: len(petal.ended) == 3)
            await settle()
            assert unacknowledged(harness) == 0
        assert [response["n"] for response in responses] == [0, 1, 2]
    assert petal.started == [0, 1, 2]

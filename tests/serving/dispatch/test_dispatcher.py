"""Starting: order, limits, groups, time limits, results, and what a handler may do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from petalkit import CommandError, Petal, Settings, command
from petalkit.testing import open_harness

from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio


def by_id(responses: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    found = {response["messageId"]: response for response in responses}
    assert len(found) == len(responses), "a command was answered twice"
    return found


# -- order


class Order(Petal):
    """Notes the start of each command, and ends it after a number of checkpoints of its own."""

    name = "order"

    def __init__(self) -> None:
        self.started: list[int] = []

    @command("go")
    async def go(self, n: int, checkpoints: int) -> None:
        self.started.append(n)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("pattern", [(0,), (1,), (0, 3, 1), (7, 0, 0, 2, 1)])
async def test_a_burst_starts_in_the_order_in_which_it_came(
    pattern: tuple[int, ...], autojump_clock: object
) -> None:
    petal = Order()
    async with open_harness(petal) as harness:
        for burst in range(10):
            petal.started.clear()
            with harness.responses() as responses:
                for n in range(200):
                    data = {"n": n, "checkpoints": pattern[n % len(pattern)]}
                    harness.send("order/go", data, message_id=f"{burst}-{n}")
                await responses.wait(200)
            assert petal.started == list(range(200))


async def test_order_is_kept_when_commands_wait_for_a_slot(autojump_clock: object) -> None:
    petal = Order()
    async with open_harness(petal, settings=Settings(petal_concurrency=3)) as harness:
        with harness.responses() as responses:
            for n in range(200):
                harness.send("order/go", {"n": n, "checkpoints": n * 7 % 5})
            await responses.wait(200)
    assert petal.started == list(range(200))


# -- limits


async def test_a_petal_at_its_limit_holds_up_only_itself(autojump_clock: object) -> None:
    slow, other = Recorder("slow"), Recorder("other")
    async with open_harness(slow, other) as harness:
        for n in range(40):
            harness.send("slow/hold", {"n": n})
        await settle()
        assert slow.started == list(range(16))
        assert (await harness.call("other/note", {"n": 1}))["n"] == 1
        with harness.responses() as responses:
            slow.open()
            await responses.wait(40)
    assert slow.started == list(range(40))
    assert slow.most_running == 16


async def test_each_petal_has_a_slot_of_its_own_while_all_64_are_taken(
    autojump_clock: object,
) -> None:
    busy = [Recorder(f"busy-{n}") for n in range(4)]
    late = [Recorder(f"late-{n}") for n in range(3)]
    async with open_harness(*busy, *late) as harness:
        for petal in busy:
            for n in range(20):
                harness.send(f"{petal.name}/hold", {"n": n})
        await settle()
        assert harness.statistics().running == 64
        for petal in late:
            harness.send(f"{petal.name}/hold", {"n": 1})
            harness.send(f"{petal.name}/hold", {"n": 2})
        await settle()
        assert [petal.started for petal in late] == [[1], [1], [1]]
        for petal in [*busy, *late]:
            petal.open()
        await settle()
        assert [petal.ended for petal in late] == [[1, 2]] * 3


async def test_a_command_over_its_own_limit_does_not_hold_up_the_petals_others(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal) as harness:
        for n in range(5):
            harness.send("rec/two", {"n": n})
        await harness.call("rec/note", {"n": 99})
        assert petal.started == [0, 1, 99]
        petal.open()
        await settle()
        assert petal.started == [0, 1, 99, 2, 3, 4]
        assert petal.most_running == 2


async def test_commands_of_one_name_with_a_limit_start_in_order(autojump_clock: object) -> None:
    petal = Recorder()
    petal.open()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            for n in range(100):
                harness.send("rec/two", {"n": n})
            await responses.wait(100)
    assert petal.started == list(range(100))


async def test_what_waits_in_several_lines_of_a_petal_starts_by_its_arrival(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        harness.send("rec/hold", {"n": 0})
        for n, name in enumerate(["two", "hold", "alone", "two", "hold"], 1):
            harness.send(f"rec/{name}", {"n": n})
        await settle()
        petal.open()
        await settle()
        assert petal.started == [0, 1, 2, 3, 4, 5]


async def test_the_second_of_a_group_is_told_what_is_running(autojump_clock: object) -> None:
    one, two = Recorder("one"), Recorder("two")
    async with open_harness(one, two) as harness:
        harness.send("one/alone", message_id="first")
        await settle()
        refused = await harness.call("two/alone")
        assert refused.error_code == "BUSY"
        assert refused.retryable
        assert refused["running"] == {"command": "one/alone", "messageId": "first"}
        one.open()
        two.open()
        await settle()
        assert (await harness.call("two/alone")).success


# -- urgent


async def test_urgent_commands_are_served_while_channel_slots_and_reserve_are_full(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    settings = Settings(channel_capacity=4, channel_reserve=4, concurrency=2, petal_concurrency=2)
    async with open_harness(petal, settings=settings) as harness:
        for n in range(2 + 4 + 3):  # running, in the channel, and held: one less than the reserve
            harness.send("rec/hold", {"n": n})
        await settle()
        statistics = harness.statistics()
        assert (statistics.running, statistics.waiting, statistics.held) == (2, 4, 3)
        assert (await harness.call("rec/stop")).success
        assert (await harness.call("petalkit/ping")).success
        assert petal.started == [0, 1, "stop"]


async def test_more_urgent_commands_than_their_own_limit_are_refused(
    autojump_clock: object,
) -> None:
    class Urgent(Petal):
        name = "urgent"

        @command("hold", urgent=True)
        async def hold(self) -> None:
            await trio.sleep(30)

    async with open_harness(Urgent(), settings=Settings(urgent_concurrency=2)) as harness:
        harness.send("urgent/hold")
        harness.send("urgent/hold")
        assert (await harness.call("urgent/hold")).error_code == "BUSY"
        await trio.sleep(31)
        assert (await harness.call("urgent/hold")).success


# -- time limits


async def test_a_handler_over_its_time_is_answered_and_frees_its_slot(
    autojump_clock: object,
) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        started = trio.current_time()
        response = await harness.call("rec/brief")
        assert response.error_code == "TIMEOUT"
        assert response.retryable
        assert trio.current_time() - started == 5.0
        assert (await harness.call("rec/note")).success


async def test_a_timeout_is_the_handlers_own_and_not_the_next_ones(autojump_clock: object) -> None:
    petal = Recorder()
    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        petal.gates["quick"].set()
        await harness.call("rec/brief", {"key": "quick"})  # leaves a deadline 5 s from now behind
        harness.send("rec/hold", {"n": 1})
        await trio.sleep(6)
        assert petal.running == 1
        petal.open()


class Stubborn(Petal):
    """Reacts to cancellation in every wrong way."""

    name = "stubborn"

    @command("swallows", timeout=1.0)
    async def swallows(self) -> None:
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                scope.cancel()

    @command("ignores", timeout=1.0)
    async def ignores(self) -> dict[str, Any]:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()
        return {"ignored": True}

    @command("raises", timeout=1.0)
    async def raises(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in reaction to cancellation")

    @command("no", timeout=1.0)
    async def no(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise CommandError("HALF_DONE", "the gripper is half closed")

    @command("nursery", timeout=1.0)
    async def in_nursery(self) -> None:
        async def raise_late() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in reaction to cancellation")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_late)
            nursery.start_soon(trio.sleep_forever)

    @command("group", timeout=1.0)
    async def group(self) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("mixed", [ValueError("one"), cancelled]) from None

    @command("group-no", timeout=1.0)
    async def group_no(self) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("mixed", [CommandError("NO", "no"), cancelled]) from None

    @command("fine")
    async def fine(self) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("swallows", {"TIMEOUT", None}),
        ("ignores", {"TIMEOUT", None}),
        ("raises", {"TIMEOUT"}),
        ("no", {"HALF_DONE"}),
        ("nursery", {"TIMEOUT"}),
        ("group", {"TIMEOUT"}),
        ("group-no", {"TIMEOUT", "NO"}),
    ],
)
async def test_however_a_handler_takes_its_cancellation_it_is_answered_once_and_others_go_on(
    name: str, codes: set[str | None], autojump_clock: object
) -> None:
    async with open_harness(Stubborn(), settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            response = await harness.call(f"stubborn/{name}")
            assert response.error_code in codes
            assert (await harness.call("stubborn/fine")).success
            await settle()
            assert len(responses) == 2
        assert harness.statistics().running == 0


# -- threads: real time, and events in place of sleeps


class Threads(Petal):
    name = "threads"

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    @command("work", thread=True, timeout=5.0, exclusive="disk")
    def work(self) -> dict[str, Any]:
        self.begun.set()
        assert self.go.wait(30), "the test did not let go"
        return {"done": True}

    @command("raise-stop", thread=True)
    def raise_stop(self) -> None:
        raise StopIteration

    @command("disk", exclusive="disk")
    async def disk(self) -> None:
        pass


async def _wait_thread(event: threading.Event) -> None:
    assert await trio.to_thread.run_sync(event.wait, 30)


async def test_a_thread_that_is_timed_out_is_answered_and_keeps_slot_and_group(
    mock_clock: trio.testing.MockClock,
) -> None:
    petal = Threads()
    async with open_harness(petal) as harness:
        with harness.responses() as responses:
            harness.send("threads/work", message_id="work")
            await _wait_thread(petal.begun)
            await harness.advance(6.0)
            assert (await responses.wait(1))[0]["error_code"] == "TIMEOUT"
            assert harness.statistics().running == 1
            busy = await harness.call("threads/disk")
            assert busy.error_code == "BUSY"
            assert busy["running"]["messageId"] == "work"
            petal.go.set()
            while harness.statistics().running:
                await trio.lowlevel.checkpoint()
            assert (await harness.call("threads/disk")).success
            assert [response["messageId"] for response in responses].count("work") == 1


async def test_a_thread_that_ends_in_time_gives_its_result(
    mock_clock: trio.testing.MockClock,
) -> None:
    petal = Threads()
    petal.go.set()
    async with open_harness(petal) as harness:
        assert (await harness.call("threads/work"))["done"] is True
        assert (await harness.call("threads/disk")).success


async def test_stop_iteration_from_a_thread_is_a_handler_error(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_harness(Threads()) as harness:
        assert (await harness.call("threads/raise-stop")).error_code == "HANDLER_ERROR"


async def test_a_thread_that_could_not_be_started_frees_its_slot(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_thread(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    async with open_harness(Threads()) as harness:
        with monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", no_thread)
            assert (await harness.call("threads/work")).error_code == "HANDLER_ERROR"
        assert harness.statistics().running == 0
        assert (await harness.call("threads/disk")).success


# -- errors


class Errors(Petal):
    name = "errors"

    @command("no")
    async def no(self) -> None:
        raise CommandError("NO_MAP", "there is no map", retryable=True, details={"maps": 0})

    @command("nursery")
    async def in_nursery(self) -> None:
        async def child() -> None:
            raise CommandError("NO_MAP", "there is no map")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    @command("bug")
    async def bug(self) -> None:
        raise KeyError("secret")

    @command("exit")
    async def exit(self) -> None:
        raise SystemExit(3)

    @command("exception-as-text")
    async def exception_as_text(self) -> None:
        try:
            raise OSError("disk full")
        except OSError as error:
            raise CommandError("DISK", error) from error  # type: ignore[arg-type]

    @command("surrogate")
    async def surrogate(self) -> None:
        raise CommandError("NO_FILE", "no file caf\udce9.jpg")  # as os.fsdecode gives it

    @command("surrogate-code")
    async def surrogate_code(self) -> None:
        raise CommandError("caf\udce9", "bad code")

    @command("bad-details")
    async def bad_details(self) -> None:
        raise CommandError("NO", "no", details={"what": object()})

    @command("overwriting-details")
    async def overwriting_details(self) -> None:
        raise CommandError("NO", "no", details={"messageId": "x", "success": True})

    @command("double-details")
    async def double_details(self) -> None:
        raise CommandError("NO", "no", details={"counts": {1: "a", "1": "b"}})

    @command("number-as-code")
    async def number_as_code(self) -> None:
        raise CommandError(404, 404, retryable="yes")  # type: ignore[arg-type]

    @command("huge")
    async def huge(self) -> None:
        raise CommandError("NO", "x" * 300_000)

    @command("fine")
    async def fine(self) -> None:
        pass


async def test_command_error_is_the_petals_own_answer(autojump_clock: object) -> None:
    async with open_harness(Errors()) as harness:
        response = await harness.call("errors/no", message_id="m")
        assert dict(response) == {
            "messageId": "m",
            "timestamp": response.timestamp,
            "success": False,
            "error": "there is no map",
            "error_code": "NO_MAP",
            "retryable": True,
            "retry": "new_id",
            "maps": 0,
        }


async def test_command_error_out_of_a_handlers_nursery_is_the_same_answer(
    autojump_clock: object,
) -> None:
    async with open_harness(Errors()) as harness:
        assert (await harness.call("errors/nursery")).error_code == "NO_MAP"


@pytest.mark.parametrize("name", ["bug", "exit"])
async def test_any_other_error_is_neutral_outside_and_named_by_an_id(
    name: str, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Errors()) as harness:
        response = await harness.call(f"errors/{name}")
        assert response.error_code == "HANDLER_ERROR"
        assert "secret" not in str(dict(response))
        assert response["error_id"] in caplog.text
        assert "Traceback" in caplog.text
        assert (await harness.call("errors/fine")).success


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("exception-as-text", "DISK"),
        ("surrogate", "NO_FILE"),
        ("surrogate-code", None),
        ("bad-details", "NO"),
        ("overwriting-details", "NO"),
        ("number-as-code", "404"),
        ("huge", "NO"),
    ],
)
async def test_a_command_error_that_cannot_be_sent_as_it_is_does_not_hurt_anybody(
    name: str, code: str | None, autojump_clock: object
) -> None:
    async with open_harness(Errors()) as harness:
        response = await harness.call(f"errors/{name}", message_id="m")
        assert response.message_id == "m"
        assert not response.success
        assert code is None or response.error_code == code
        assert (await harness.call("errors/fine")).success


async def test_details_that_petalkit_writes_itself_are_named_in_the_log(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Errors()) as harness:
        await harness.call("errors/overwriting-details")
        assert (
            "details of NO that petalkit writes itself are not sent: messageId, success"
            in caplog.text
        )


async def test_details_with_two_keys_that_are_one_in_json_are_left_out_and_logged(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(Errors()) as harness:
        response = await harness.call("errors/double-details")
        assert response.error_code == "NO"
        assert "counts" not in response
        assert (
            "details of a NO error left out: ValueError: the keys 1 and '1' of a mapping"
            in caplog.text
        )


# -- results


@attrs.frozen
class Position:
    lat: float
    lon: float


class Results(Petal):
    name = "results"

    def __init__(self, result: Any) -> None:
        self.result = result

    @command("get")
    async def get(self) -> Any:
        return self.result


class OwnMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return {"a": 1}[key]

    def __iter__(self) -> Any:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ({"success": True, "a": 1}, {"a": 1}),
        (OwnMapping(), {"a": 1}),
        (Position(1.5, 2.5), {"lat": 1.5, "lon": 2.5}),
        ([1, 2], {"result": [1, 2]}),
        ("text", {"result": "text"}),
        (0, {"result": 0}),
        (False, {"result": False}),
        ({"nested": Position(1.0, 2.0)}, {"nested": {"lat": 1.0, "lon": 2.0}}),
        ({"null": None}, {"null": None}),
    ],
)
async def test_a_result_becomes_fields_of_the_response(
    result: Any, fields: dict[str, Any], autojump_clock: object
) -> None:
    async with open_harness(Results(result)) as harness:
        response = dict(await harness.call("results/get", message_id="m"))
        assert response.pop("timestamp")
        assert response == {"messageId": "m", "success": True, **fields}


_loop: list[Any] = []
_loop.append(_loop)


@pytest.mark.parametrize(
    "result",
    [
        {"messageId": "other"},
        {"timestamp": "now"},
        {"success": False},
        {"value": math.nan},
        {"values": [1.0, {"deep": -math.inf}]},
        math.inf,
        Position(math.nan, 0.0),
        {"value": object()},
        {"value": "\udce9"},
        {("a", "b"): 1},
        _loop,
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(value)),  # the same in each process
)
async def test_a_result_that_cannot_be_sent_is_a_handler_error(
    result: Any, autojump_clock: object
) -> None:
    async with open_harness(Results(result)) as harness:
        assert (await harness.call("results/get")).error_code == "HANDLER_ERROR"
        assert harness.statistics().unencodable == 1


async def test_a_response_over_the_size_bound_is_replaced(autojump_clock: object) -> None:
    petal = Results("x" * 5000)
    async with open_harness(petal, settings=Settings(payload_max=4096)) as harness:
        response = await harness.call("results/get")
        assert response.error_code == "TOO_LARGE"
        assert not response.retryable


# -- what handlers leave behind


mode: contextvars.ContextVar[Any] = contextvars.ContextVar("mode", default="none")


class Nasty:
    """Like a numpy array: comparing two of them gives no truth."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Vars(Petal):
    name = "vars"

    @command("set")
    async def set(self) -> None:
        mode.set("leaked")

    @command("set-and-wait")
    async def set_and_wait(self) -> None:
        mode.set("leaked")
        await trio.lowlevel.checkpoint()

    @command("set-nasty")
    async def set_nasty(self) -> None:
        mode.set(Nasty())

    @command("get")
    async def get(self) -> str:
        return str(mode.get())


@pytest.mark.parametrize("name", ["set", "set-and-wait"])
async def test_context_variables_of_one_handler_are_not_seen_by_the_next(
    name: str, autojump_clock: object
) -> None:
    async with open_harness(Vars(), settings=Settings(petal_concurrency=1)) as harness:
        with harness.responses() as responses:
            for _ in range(20):
                harness.send(f"vars/{name}")
                harness.send("vars/get")
            await responses.wait(40)
            assert {r["result"] for r in responses if "result" in r} == {"none"}


async def test_context_values_that_refuse_to_be_compared_hurt_nobody(
    autojump_clock: object,
) -> None:
    token = mode.set(Nasty())
    try:
        async with open_harness(Vars()) as harness:
            for _ in range(3):
                assert (await harness.call("vars/set-nasty")).success
    finally:
        mode.reset(token)


async def test_a_handler_that_leaves_a_cancel_scope_open_hurts_only_itself(
    autojump_clock: object,
) -> None:
    class Leaky(Petal):
        name = "leaky"

        @command("leak")
        async def leak(self) -> None:
            trio.CancelScope(deadline=trio.current_time() + 1).__enter__()

    other = Recorder()
    async with open_harness(Leaky(), other) as harness:
        await harness.call("leaky/leak")
        harness.send("rec/hold", {"n": 1})
        await trio.sleep(2)
        other.open()
        assert (await harness.call("rec/note")).success


@pytest.mark.parametrize("checkpoints", range(8))
async def test_a_worker_that_slept_past_an_old_deadline_gives_the_next_command_its_whole_time(
    checkpoints: int, autojump_clock: trio.testing.MockClock
) -> None:
    """The deadline passes at every stage of a command's way to the worker that sleeps under it."""

    class Napper(Petal):
        name = "nap"

        @command("take", timeout=5.0)
        async def take(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with open_harness(Napper()) as harness:
        await harness.call("nap/take", {"seconds": 0})
        await trio.sleep(4)
        with harness.responses() as responses:
            harness.send("nap/take", {"seconds": 3})
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            autojump_clock.jump(1.5)
            (response,) = await responses.wait(1)
        assert response["success"]


# -- at run time


async def test_a_removed_command_is_still_run_if_it_was_accepted_before(
    autojump_clock: object,
) -> None:
    petal = Recorder()

    async def extra(n: int) -> dict[str, int]:
        petal.started.append(n)
        return {"n": n}

    async with open_harness(petal, settings=Settings(petal_concurrency=1)) as harness:
        petal.add_command("extra", extra, concurrency=1)
        assert (await harness.call("rec/extra", {"n": 1}))["n"] == 1
        with harness.responses() as responses:
            harness.send("rec/hold")
            harness.send("rec/extra", {"n": 2})
            await settle()
            petal.remove_command("extra")
            assert (await harness.call("rec/extra", {"n": 3})).error_code == "UNKNOWN_COMMAND"
            petal.open()
            await responses.wait(3)
        assert petal.started == [1, 0, 2]


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError, GeneratorExit, SystemExit, BaseException], ids=repr
)
@pytest.mark.parametrize("urgent", [False, True])
async def test_whatever_a_handler_raises_stays_with_it(
    error: type[BaseException], urgent: bool, autojump_clock: object
) -> None:
    petal = Recorder()

    async def bad() -> None:
        raise error

    async def bad_child() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad)

    petal.add_command("bad", bad, urgent=urgent)
    petal.add_command("bad-child", bad_child, urgent=urgent)
    async with open_harness(petal) as harness:
        for name in ("rec/bad", "rec/bad-child"):
            assert (await harness.call(name)).error_code == "HANDLER_ERROR"
        assert (await harness.call("rec/note")).success
        assert harness.statistics().running == 0

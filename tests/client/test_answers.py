"""What a "no" is to its caller, and which are asked again by themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio

from petalkit import ErrorCode, JobState, PetalkitError, Response
from petalkit.client import (
    CallTimeout,
    CommandRefused,
    CommandUnfinished,
    DeviceBusy,
    DeviceUnavailable,
    HandlerFailed,
    InvalidRequest,
    JobFailed,
    PetalRefused,
    UnknownCommand,
)
from petalkit.client._errors import FAMILIES, refusal
from petalkit.transports import Link
from petalkit.transports.memory import MemoryBroker

from .devices import HOST, SETTINGS, connect, open_device, respond
from .long_work import LongPetal, device_and_client

pytestmark = pytest.mark.trio

Answer = Callable[[Link, dict[str, Any]], Awaitable[None]]


class Saying:
    """A device that says one thing after another, and then yes.

    Attributes:
        ids: the messageId of each command that came.
    """

    def __init__(self, *said: dict[str, Any]) -> None:
        self._said = list(said)
        self.ids: list[str] = []

    async def __call__(self, link: Link, command: dict[str, Any]) -> None:
        self.ids.append(command["messageId"])
        fields = self._said.pop(0) if self._said else {"success": True}
        await respond(link, {"messageId": command["messageId"], **fields})


def no(code: str, retry: str | None = None, **more: Any) -> dict[str, Any]:
    fields = {"success": False, "error": "a text", "error_code": code, "retryable": bool(retry)}
    return {**fields, **({"retry": retry} if retry else {}), **more}


# -- typed errors


async def test_every_code_of_the_wire_has_its_family() -> None:
    assert set(map(str, ErrorCode)) <= set(map(str, FAMILIES))


@pytest.mark.parametrize(("code", "family"), [*FAMILIES.items(), ("NO_FILM", PetalRefused)])
@pytest.mark.parametrize("settings", [SETTINGS, HOST], ids=["guide", "host-0.2"])
async def test_a_no_is_an_error_of_its_family(
    code: str, family: type[CommandRefused], settings: Any, broker: MemoryBroker
) -> None:
    said = no(code, more=1)
    if settings is HOST:
        said = {"status": "error", "message": "a text", "error_code": code, "more": 1}
    async with open_device(broker, Saying(said)), connect(broker, settings) as client:
        with pytest.raises(family) as refused:
            await client.call("p/x", message_id="m")
    error = refused.value
    assert type(error) is family
    assert isinstance(error, PetalkitError)
    assert (error.code, error.text, error.fields["more"]) == (code, "a text", 1)
    assert (error.command, error.message_id, error.retry) == ("p/x", "m", None)
    assert str(error) == f"the device refused 'p/x': {code}: a text"


async def test_errors_have_what_belongs_to_their_kind() -> None:
    wrong = refusal("c", Response(no("INVALID_DATA", errors=[{"path": "data.x"}, 7])))
    assert isinstance(wrong, InvalidRequest)
    assert wrong.errors == [{"path": "data.x"}]
    unknown = refusal("c", Response(no("UNKNOWN_COMMAND", available_commands=["a/b", 7])))
    assert isinstance(unknown, UnknownCommand)
    assert unknown.available_commands == ["a/b"]
    failed = refusal("c", Response(no("HANDLER_ERROR", error_id="4711")))
    assert isinstance(failed, HandlerFailed)
    assert failed.error_id == "4711"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"success": False},
        {"success": False, "error": ["a"], "error_code": {"b": 1}, "errors": 7},
        {"success": False, "error": "x" * 100_000, "error_code": "\x1b[31m"},
        {"status": "error", "message": 7, "available_commands": "abc", "error_id": 1},
    ],
)
async def test_whatever_a_device_says_an_error_can_be_shown(fields: dict[str, Any]) -> None:
    for family in set(FAMILIES.values()):
        error = family("c", Response(fields))
        assert len(str(error)) < 2000
        assert str(error).isprintable()
        for name in ("code", "text", "errors", "available_commands", "error_id", "retry"):
            getattr(error, name, None)
    shown = str(JobFailed("j", JobState.FAILED, {"job_error_code": 7, "job_error": "\x1b"}))
    assert shown.isprintable()


async def test_the_words_of_the_device_are_understood_as_codes(autojump_clock: object) -> None:
    words = {"UNKNOWN_COMMAND": "WHAT", "TIMEOUT": "SLOW"}
    async with device_and_client(LongPetal(), error_codes=words) as (_, client):
        with pytest.raises(UnknownCommand):
            await client.call("long/none")


# -- trying again


async def test_what_was_not_started_is_sent_again_under_the_same_id(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(no("SHUTTING_DOWN", "same_id"), no("DROPPED", "same_id"))
    async with open_device(broker, device), connect(broker) as client:
        assert (await client.call("p/x")).success
        assert client.statistics().retried == 2
    assert len(device.ids) == 3
    assert len(set(device.ids)) == 1


async def test_a_recorded_busy_is_sent_again_under_another_id(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(no("BUSY", "new_id"))
    async with open_device(broker, device), connect(broker) as client:
        assert (await client.call("p/x")).success
    assert len(set(device.ids)) == 2


async def test_what_may_have_done_its_work_is_not_sent_again(broker: MemoryBroker) -> None:
    device = Saying(no("TIMEOUT", "new_id"))
    async with open_device(broker, device), connect(broker) as client:
        with pytest.raises(CommandUnfinished) as refused:
            await client.call("p/x")
    assert refused.value.retry == "new_id"
    assert len(device.ids) == 1


async def test_it_is_for_who_says_that_it_may_be_repeated(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(no("TIMEOUT", "new_id"), no("OWN", "new_id"))
    async with open_device(broker, device), connect(broker) as client:
        assert (await client.call("p/x", repeatable=True)).success
    assert len(set(device.ids)) == 3


async def test_an_id_of_the_callers_own_is_the_only_one(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(no("BUSY", "same_id"), no("BUSY", "new_id"))
    async with open_device(broker, device), connect(broker) as client:
        with pytest.raises(DeviceBusy):
            await client.call("p/x", message_id="m", repeatable=True)
    assert device.ids == ["m", "m"]


@pytest.mark.parametrize(("setting", "retries", "tries"), [(3, None, 4), (0, None, 1), (3, 1, 2)])
async def test_the_number_of_tries_is_bounded(
    setting: int, retries: int | None, tries: int, broker: MemoryBroker, autojump_clock: object
) -> None:
    settings = attrs.evolve(SETTINGS, call_retries=setting)
    device = Saying(*[no("UNAVAILABLE", "same_id")] * 9)
    async with open_device(broker, device), connect(broker, settings) as client:
        with pytest.raises(DeviceUnavailable):
            await client.call("p/x", retries=retries, timeout=600)
    assert len(device.ids) == tries


async def test_all_tries_are_within_the_time_of_the_call(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(*[no("BUSY", "same_id")] * 99)
    async with open_device(broker, device), connect(broker) as client:
        with pytest.raises(DeviceBusy):
            await client.call("p/x", retries=99, timeout=10)
        assert trio.current_time() < 10
        with trio.move_on_after(1) as scope:
            with pytest.raises(DeviceBusy):
                await client.call("p/x", retries=99)
        assert not scope.cancelled_caught


async def test_a_try_that_is_not_answered_is_a_timeout_of_the_whole(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    said = [no("BUSY", "same_id")]

    async def once(link: Link, command: dict[str, Any]) -> None:
        if said:
            await respond(link, {"messageId": command["messageId"], **said.pop()})

    async with open_device(broker, once), connect(broker) as client:
        with pytest.raises(CallTimeout):
            await client.call("p/x", timeout=10)
        assert trio.current_time() == pytest.approx(10, abs=0.01)


async def test_what_is_tried_again_is_not_wanted_longer(
    broker: MemoryBroker, autojump_clock: object
) -> None:
    device = Saying(*[no("BUSY", "same_id")] * 99)
    async with open_device(broker, device), connect(broker) as client:
        with pytest.raises(DeviceBusy):
            await client.call("p/x", retries=99, expires_in=3)
        assert trio.current_time() < 4

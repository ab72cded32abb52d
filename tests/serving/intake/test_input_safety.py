"""Whatever bytes come in, the runtime goes on, and whoever can be answered is answered once."""

from __future__ import annotations

from typing import Any

import msgspec
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petalkit import Command, Petal, Settings, command
from petalkit.testing import open_harness

from ..recorder import CLIENT_ID, settle

EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)
names = (
    st.sampled_from(["any/echo", "any/typed", "any/no", "petalkit/ping", "", "x" * 300]) | values
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "command": names,
        "messageId": st.sampled_from(["a", "b", "", "x" * 300]) | st.text(max_size=8) | values,
        "waitResponse": st.booleans() | values,
        "data": st.fixed_dictionaries({}, optional={"n": values, "data": values}) | values,
        "payload": values,
        "timestamp": st.sampled_from(["2026-01-01T00:00:00Z", 1_767_225_600, 1_767_225_600_000])
        | values,
        "expiresAt": st.sampled_from(["2026-01-01T00:00:00Z", "2030-01-01T00:00:00+00:00", ""])
        | values,
        "extra": values,
    },
)


class Anything(Petal):
    name = "any"

    @command("echo")
    async def echo(self, command: Command) -> Any:
        return {"data": command.data, "extra": command.extra}

    @command("typed")
    async def typed(self, n: list[dict[str, int | None]] | float | None = None) -> Any:
        return n


def served(payloads: list[bytes], **options: Any) -> tuple[list[Any], dict[str, Any]]:
    """Send all, and return the responses and what the runtime counted."""

    async def main() -> tuple[list[Any], dict[str, Any]]:
        async with open_harness(Anything(), settings=Settings(**options)) as harness:
            with harness.responses() as responses:
                for payload in payloads:
                    harness.send_raw(payload)
                    await settle()
                found = list(responses)
            assert harness.broker.unacknowledged(CLIENT_ID) == ()
            assert (await harness.call("petalkit/ping", message_id="the last one")).success
            statistics = harness.statistics()
            assert statistics.running == statistics.waiting == statistics.held == 0
            assert statistics.outbox == 0
            assert harness.runtime._outbox.places.taken == 0
            return found, {"received": statistics.received, "refused": dict(statistics.refused)}

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def wants_answer(payload: bytes) -> str | None:
    """The ID under which this must be answered, by a reading of our own; None for not at all."""
    try:
        envelope = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(envelope, dict):
        return None
    wanted = envelope.get("waitResponse")
    if wanted is None or wanted is False:
        return None
    message_id = envelope.get("messageId")
    if message_id is None:
        return "unknown" if envelope["waitResponse"] is True else None
    if type(message_id) is int and abs(message_id) < 10**18:
        return str(message_id)
    if not isinstance(message_id, str) or not 0 < len(message_id) <= 256:
        return None
    return message_id


@EXAMPLES
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_do_no_harm(payloads: list[bytes]) -> None:
    responses, counted = served(payloads)
    assert counted["received"] == len(payloads) + 1
    assert len(responses) == sum(wants_answer(payload) is not None for payload in payloads)


@EXAMPLES
@given(st.lists(values, min_size=1, max_size=4))
def test_arbitrary_json_does_no_harm(documents: list[Any]) -> None:
    payloads = [msgspec.json.encode(document) for document in documents]
    responses, _ = served(payloads)
    assert len(responses) == sum(wants_answer(payload) is not None for payload in payloads)


@EXAMPLES
@given(
    st.lists(envelopes, min_size=1, max_size=6),
    st.sampled_from(["accepted", "handled"]),
    st.sampled_from([0, 60]),
)
def test_everything_that_looks_like_a_command_is_answered_once_if_it_can_be(
    documents: list[Any], acknowledge: str, age: float
) -> None:
    payloads = [msgspec.json.encode(document) for document in documents]
    responses, _ = served(payloads, acknowledge=acknowledge, command_age_max=age)
    expected = [found for payload in payloads if (found := wants_answer(payload)) is not None]
    assert [response["messageId"] for response in responses] == expected
    for response in responses:
        assert isinstance(response["timestamp"], str)
        assert isinstance(response["success"], bool)
        assert response["success"] or (response["error"] and response["error_code"])


@EXAMPLES
@given(envelopes.map(msgspec.json.encode), st.data())
def test_a_damaged_command_does_no_harm(payload: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, max(0, len(payload) - 1)))
    damaged = payload[:position] + data.draw(st.binary(max_size=3)) + payload[position + 1 :]
    responses, _ = served([damaged])
    assert len(responses) == (wants_answer(damaged) is not None)


def test_numbers_beyond_every_machine_word_do_no_harm() -> None:
    payloads = [
        b'{"command":"any/echo","messageId":"%d","waitResponse":true,"data":{"n":%s}}' % (n, number)
        for n, number in enumerate(
            [
                b"9" * 100,
                b"-" + b"9" * 5000,
                b"9" * 20_000,
                b"1e400",
                b"1e-400",
                b"0." + b"1" * 9000,
            ]
        )
    ]
    responses, counted = served(payloads)
    answered = {response["messageId"] for response in responses}
    assert len(answered) == len(responses)
    assert len(responses) + sum(counted["refused"].values()) >= len(payloads)

"""The harness as authors use it: sending, seeing, and changing the world around a petal."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from petalkit import AllPetalsFailed, Identity, Petal, Settings, command
from petalkit._values.messages import Properties
from petalkit.testing import Harness, open_harness

pytestmark = pytest.mark.trio


class Greeter(Petal):
    name = "greeter"

    @command("hello")
    async def hello(self, name: str) -> dict[str, Any]:
        await self.publish_message({"seen": name})
        return {"message": f"Hello, {name}!"}

    @command("later")
    async def later(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_a_call_gets_its_own_response_among_others(autojump_clock: Any) -> None:
    async with open_harness(Greeter()) as harness, trio.open_nursery() as nursery:
        nursery.start_soon(harness.call, "greeter/later", {"seconds": 5})
        response = await harness.call("greeter/hello", {"name": "you"})
    assert (response.success, response["message"]) == (True, "Hello, you!")


async def test_a_call_that_nobody_answers_is_too_slow(autojump_clock: Any) -> None:
    async with open_harness(Greeter()) as harness:
        with pytest.raises(trio.TooSlowError):
            await harness.call("greeter/later", {"seconds": 60}, timeout=1.0)
        assert trio.current_time() == pytest.approx(1.0)


async def test_what_comes_out_is_seen_in_its_block(autojump_clock: Any) -> None:
    async with open_harness(Greeter()) as harness:
        with harness.events() as events, harness.responses() as responses:
            first = harness.send("greeter/hello", {"name": "one"})
            harness.send("greeter/hello", {"name": "two"}, message_id="mine")
            assert await events.wait(2) == [{"seen": "one"}, {"seen": "two"}]
            assert [one["messageId"] for one in await responses.wait(2)] == [first, "mine"]
        harness.send("greeter/hello", {"name": "three"})
        await harness.advance(1.0)
        assert len(events) == 2
        assert events[0] == {"seen": "one"}
        assert events[:1] == [{"seen": "one"}]


async def test_time_passes_as_far_as_it_is_told(mock_clock: trio.testing.MockClock) -> None:
    async with open_harness(Greeter()) as harness:
        start = harness.now()
        with harness.responses() as responses:
            harness.send("greeter/later", {"seconds": 30})
            await harness.advance(29.0)
            assert len(responses) == 0
            await harness.advance(1.0)
            assert len(responses) == 1
        assert (harness.now() - start).total_seconds() == 30


async def test_a_lost_link_comes_back(autojump_clock: Any) -> None:
    async with open_harness(Greeter()) as harness:
        assert harness.is_connected
        harness.drop_link()
        assert not harness.is_connected
        await harness.wait_connected()
        assert (await harness.call("greeter/hello", {"name": "you"})).success


async def test_who_the_device_is_may_come_late_and_change(autojump_clock: Any) -> None:
    async with open_harness(Greeter(), organization_id=None) as harness:
        with pytest.raises(RuntimeError, match="organization ID is not known"):
            harness.send("greeter/hello", {"name": "you"})
        for organization_id in ("acme", "other"):
            await harness.set_organization(organization_id)
            await harness.wait_connected()
            assert harness.runtime.identity == Identity(organization_id, "Instance-1")
            assert (await harness.call("greeter/hello", {"name": "you"})).success


async def test_properties_need_the_protocol_that_has_them(autojump_clock: Any) -> None:
    async def send(harness: Harness) -> None:
        await harness.call("greeter/hello", {"name": "you"}, properties=Properties())

    async with open_harness(Greeter()) as harness:
        with pytest.raises(ValueError, match='protocol="5"'):
            await send(harness)
    async with open_harness(Greeter(), settings=Settings(protocol="5")) as harness:
        await send(harness)


class Broken(Petal):
    name = "broken"

    def lifespan(self) -> Any:
        raise ValueError("as it happens")


async def test_a_petal_that_fails_is_not_started_again_unasked(autojump_clock: Any) -> None:
    with pytest.raises(AllPetalsFailed, match="broken"):
        async with open_harness(Broken()):
            raise AssertionError

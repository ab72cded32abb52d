"""What a handler's task is made of, whichever task has read its command."""

from __future__ import annotations

import pytest
import trio
import trio_asyncio

from petalkit import Petal, Settings, command, open_client, open_runtime

from ..brokers import Mosquitto

pytestmark = [pytest.mark.trio, pytest.mark.broker]

LIMIT = 20.0  # seconds of real time, against a hang


class Looking(Petal):
    name = "looking"

    @command("loop")
    async def loop(self) -> dict[str, bool]:
        return {"asyncio": trio_asyncio.current_loop.get(None) is not None}

    @command("urgent", urgent=True)
    async def urgent(self) -> dict[str, bool]:
        return await self.loop()


async def test_no_handler_is_inside_the_event_loop_of_its_link(mosquitto: Mosquitto) -> None:
    """The link's reading task accepts commands, and may be what starts a worker."""
    settings = Settings(broker=mosquitto.url, organization_id="acme", device_id="d")
    with trio.fail_after(LIMIT):
        async with open_runtime([Looking()], settings) as runtime:
            await runtime.wait_connected()
            async with open_client(settings) as client:
                for name in ("loop", "urgent"):
                    await client.call(f"looking/{name}")  # in the task that subscribed
                    response = await client.call(f"looking/{name}")
                    assert response["asyncio"] is False

"""A broker that takes less than `payload_max`: the caller is told, and nothing else suffers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from petalkit import Petal, Settings, command, open_client, open_runtime

from ..brokers import Mosquitto

pytestmark = [pytest.mark.trio, pytest.mark.broker]

LIMIT = 20.0  # seconds of real time, against a hang


class Wordy(Petal):
    name = "wordy"

    @command("words")
    async def words(self, number: int) -> dict[str, str]:
        return {"words": "x" * number}


@pytest.mark.parametrize("transport", ["asyncio-mqtt", "native"])
async def test_a_response_over_the_brokers_bound_is_answered_as_too_large(
    start_mosquitto: Callable[..., Mosquitto], transport: str
) -> None:
    broker = start_mosquitto(options={"max_packet_size": 3000})
    settings = Settings(
        broker=broker.url,
        organization_id="acme",
        device_id="d",
        transport=transport,
        protocol="5",
    )
    with trio.fail_after(LIMIT):
        async with open_runtime([Wordy()], settings) as runtime:
            await runtime.wait_connected()
            async with open_client(settings) as client:
                # Until it knows better, a client asks on two topics.
                assert (await client.call("wordy/words", {"number": 100})).success
                response = await client.request("wordy/words", {"number": 5000})
                assert (response.success, response.error_code) == (False, "TOO_LARGE")
                assert (await client.call("wordy/words", {"number": 100})).success
            assert runtime.statistics().publish_rejected == 1
            assert runtime.statistics().links == 1

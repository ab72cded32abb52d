"""MQTT 5 for users, through mosquitto and its own request/response client."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import trio
import trio.testing

from petalkit import CommandContext, Message, Petal, Properties, Settings, command, open_runtime
from petalkit._values.topics import TopicFilter
from petalkit.client import open_client
from petalkit.transports import ConnectOptions, create_transport

from ..brokers import Mosquitto
from .conftest import Start
from .kit import BASE, LIMIT, WHO

pytestmark = [pytest.mark.trio, pytest.mark.broker]


class Tracing(Petal):
    name = "tracing"

    @command("pairs")
    async def pairs(self, context: CommandContext) -> dict[str, object]:
        return {"pairs": context.user_properties, "type": context.content_type}

    @command("slow", concurrency=1)
    async def slow(self) -> None:
        await trio.sleep(2.5)


@pytest.fixture(params=["asyncio-mqtt", "native"])
def settings(request: pytest.FixtureRequest, mosquitto: Mosquitto) -> Settings:
    if request.param == "native":
        pytest.importorskip("mqtt5")
    return Settings(
        broker=mosquitto.url,
        transport=request.param,
        protocol="5",
        organization_id="acme",
        device_id="Instance-1",
    )


@pytest.mark.process
@pytest.mark.skipif(shutil.which("mosquitto_rr") is None, reason="needs mosquitto-clients")
async def test_mosquittos_request_response_client_gets_its_answer(
    start: Start, mosquitto: Mosquitto, settings: Settings
) -> None:
    how = ("--transport", settings.transport, "--protocol", "5")
    program = start("run", "example.py", "--broker", mosquitto.url, *WHO, *how)
    await program.connected()
    said = await trio.run_process(
        [
            *("mosquitto_rr", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", "1", "-W", "20"),
            *("-V", "5", "-t", f"{BASE}/command", "-e", "answers/rr", "-F", "%C|%D|%t|%p"),
            *("-D", "publish", "correlation-data", "seven"),
            *("-m", '{"command": "example-petal/hello", "data": {"name": "rr"}}'),
        ],
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    content_type, correlation, topic, payload = said.stdout.decode().strip().split("|", 3)
    assert (content_type, correlation, topic) == ("application/json", "seven", "answers/rr")
    answer = json.loads(payload)
    assert (answer["success"], answer["message"]) == (True, "Hello, rr!")


async def test_user_properties_reach_the_handler_and_an_answer_says_how_long_it_is_good(
    settings: Settings,
) -> None:
    pairs = [("trace", "1"), ("trace", "é")]
    with trio.fail_after(LIMIT):
        async with open_runtime([Tracing()], settings) as runtime:
            await runtime.wait_connected()
            options = ConnectOptions(client_id="caller", session_expiry=0)
            async with (
                open_client(settings) as client,
                create_transport(settings).connect(options) as link,
            ):
                response = await client.call("tracing/pairs", user_properties=pairs)
                assert response["pairs"] == [list(pair) for pair in pairs]
                await link.subscribe([TopicFilter("answers/me"), TopicFilter(f"{BASE}/response")])
                wanted = Properties(response_topic="answers/me", correlation_data=b"\x00\x01")
                sent = Message(f"{BASE}/command", b'{"command": "tracing/pairs"', properties=wanted)
                await link.publish(sent)  # not JSON: answered all the same
                [delivery] = await link.receive()
    assert json.loads(delivery.payload)["error_code"] == "INVALID_JSON"
    assert delivery.properties is not None
    assert delivery.properties.correlation_data == b"\x00\x01"
    assert delivery.properties.message_expiry in (3599, 3600)


async def test_a_command_whose_caller_has_given_up_is_not_run(settings: Settings) -> None:
    with trio.fail_after(LIMIT):
        async with open_runtime([Tracing()], settings) as runtime:
            await runtime.wait_connected()
            async with open_client(settings) as client, trio.open_nursery() as nursery:
                nursery.start_soon(client.call, "tracing/slow")
                await trio.testing.wait_all_tasks_blocked(0.2)
                with pytest.raises(trio.TooSlowError):
                    await client.call("tracing/slow", timeout=0.5)
            assert runtime.statistics().started == 1
            assert runtime.statistics().failed == {"EXPIRED": 1}

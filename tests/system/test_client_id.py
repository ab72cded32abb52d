"""The session of the client ID of earlier versions, at a real broker."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Petal, Settings, TopicFilter, command, open_runtime
from petalkit.transports import ConnectOptions, create_transport

from ..brokers import Mosquitto
from .kit import observe

pytestmark = [pytest.mark.trio, pytest.mark.broker]

OURS = "org/acme-x/device/y"
THEIRS = "org/acme/device/x-y"


class Work(Petal):
    name = "work"

    @command("tick")
    async def tick(self, n: int) -> dict[str, int]:
        return {"n": n}


@pytest.mark.parametrize(
    "wire", [{}, {"protocol": "5"}, {"transport": "native"}], ids=["3.1.1", "5", "native"]
)
async def test_what_waits_under_the_earlier_client_id_is_answered_and_a_tenants_left(
    mosquitto: Mosquitto, wire: dict[str, Any]
) -> None:
    transport = create_transport(Settings(broker=mosquitto.url, **wire))
    async with transport.connect(ConnectOptions(client_id="petalkit-acme-x-y")) as link:
        await link.subscribe([TopicFilter(f"{base}/command") for base in (OURS, THEIRS)])
    async with observe(mosquitto.url, "org/+/device/+/response", base=OURS) as observer:
        await observer.flood("work/tick", [f"ours{n}" for n in range(60)])
        observer.base = THEIRS
        await observer.flood("work/tick", [f"theirs{n}" for n in range(5)])
        for base, organization, device in ((OURS, "acme-x", "y"), (THEIRS, "acme", "x-y")):
            who: dict[str, Any] = {"organization_id": organization, "device_id": device}
            asked_for = base == OURS  # the other one has that ID by right
            settings = Settings(broker=mosquitto.url, former_client_id=asked_for, **who, **wire)
            async with open_runtime([Work()], settings) as runtime:
                with trio.fail_after(10):
                    await runtime.wait_connected()
                wanted = 60 if base == OURS else 5
                await observer.wait(lambda: len(observer.answers(base)) == wanted)  # noqa: B023
                assert runtime.statistics().links == 1
        assert len(observer.answers(OURS)) == 60

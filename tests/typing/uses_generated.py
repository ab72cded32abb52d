# pyright: strict
"""What type checkers know of code that uses a generated client; it is not run."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from petalkit.client import Client, JobUpdate, sync

from .generated import CameraExposeResult, Device, Scanned, Sharpness
from .generated_sync import Device as SyncDevice


async def in_trio(client: Client) -> None:
    device = Device(client, "Instance-1")
    exposed = await device.camera.expose({"milliseconds": 20, "mode": "manual"}, timeout=5)
    assert_type(exposed, CameraExposeResult)
    assert_type(exposed["mode"], Literal["auto", "manual"])
    assert_type((await device.camera.count_exposures())["result"], int)
    async with device.camera.scan({"frames": 3}, rate=5, cancel_on_leave=True) as job:
        async for update in job.updates():
            assert_type(update, JobUpdate)
        result = await job.result(timeout=60)
        assert_type(result, Scanned)
        assert_type(result["frames"], int)
        assert_type(await job.cancel(), JobUpdate)
    async for value in device.camera.focus(rate=5):
        assert_type(value, Sharpness)
    async with device.camera.focus() as values:
        assert_type(await anext(values), Sharpness)
    nothing = await device.camera.import__333911ea()
    assert_type(nothing, dict[str, Any])
    assert_type(await device.is_current(), bool)


def in_a_plain_program(client: sync.Client) -> None:
    device = SyncDevice(client)
    assert_type(device.camera.expose({"milliseconds": 20})["milliseconds"], int)
    with device.camera.scan({"frames": 3}) as job:
        for update in job.updates():
            assert_type(update, JobUpdate)
        assert_type(job.result()["frames"], int)
    for value in device.camera.focus():
        assert_type(value["sharpness"], float)

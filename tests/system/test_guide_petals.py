"""Petals of the guide and of its host, unchanged, beside a native one, as real processes."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from ..brokers import Mosquitto
from .conftest import Start
from .kit import BASE, LIMIT, WHO, Program, Proxy, observe, until

pytestmark = [pytest.mark.trio, pytest.mark.process]

WIRES = pytest.mark.parametrize(
    "wire", [("--protocol", "3.1.1"), ("--transport", "native")], ids=["3.1.1", "native"]
)
DIALECTS = pytest.mark.parametrize("dialect", ["guide", "host-0.2"])

PACKAGE = '"""A petal as a package."""\nimport logging\n\nlogger = logging.getLogger(__name__)\n'

PLUGIN = '''
"""In the guide's complete form."""
from petal_app_manager.plugins.base import Petal
from petal_app_manager.proxies import MQTTProxy

from . import logger


class ShutterPetal(Petal):
    name = "shutter-petal"
    version = "1.0.0"
    use_mqtt_proxy = True

    def __init__(self):
        super().__init__()
        self._mqtt_proxy = None
        self._loop = None
        self._command_handlers = None
        self.mqtt_subscription_id = None

    def startup(self):
        super().startup()
        self._mqtt_proxy: MQTTProxy = self._proxies.get("mqtt")

    async def async_startup(self):
        logger.info("%s async_startup", self.name)

    async def _setup_mqtt_topics(self):
        self._command_handlers = self._setup_command_handlers()
        self.mqtt_subscription_id = self._mqtt_proxy.register_handler(self._master)
        logger.info("%s set up for %s", self.name, self._mqtt_proxy.organization_id)

    def _setup_command_handlers(self):
        return {"shutter/open": self._open, "shutter/crash": self._crash}

    async def _master(self, topic, message):
        handler = self._command_handlers.get(message.get("command", ""))
        if handler:
            await handler(topic, message)
        elif message.get("waitResponse", False):
            answer = {"success": False, "error": f"Unknown command: {message['command']}"}
            await self._mqtt_proxy.send_command_response(message["messageId"], answer)

    async def _open(self, topic, message):
        answer = {"success": True, "opened": message.get("data", {}).get("mm", 0)}
        await self._mqtt_proxy.send_command_response(message["messageId"], answer)

    async def _crash(self, topic, message):
        self._loop.stop()
'''

HOST_STYLE = '''
"""As petals of the host's newer versions are: decorators, pydantic, handlers made at run time."""
import asyncio
import time

from petal_app_manager.models import MQTTMessage
from petal_app_manager.plugins.base import Petal
from petal_app_manager.plugins.decorators import http_action, mqtt_action
from pydantic import BaseModel, ValidationError


class Rotors(BaseModel):
    rotor_count: int


class RotorPetal(Petal):
    name = "rotor-petal"
    version = "2.0.0"

    def startup(self):
        super().startup()
        self._mqtt_proxy = self._proxies["mqtt"]
        for key in ("arm", "disarm"):
            handler = self._make(key)
            handler.__mqtt_action__ = {"command": key, "cpu_heavy": False}
            setattr(self, f"_{key}_handler", handler)

    def _make(self, key):
        async def handler(topic, message):
            await self._answer(MQTTMessage(**message), status="success", message=key)

        return handler

    async def _answer(self, to, **fields):
        await self._mqtt_proxy.send_command_response(to.messageId, fields)

    @http_action(method="POST", path="/test/geometry")
    @mqtt_action("geometry")
    async def geometry(self, topic, message):
        mqtt_message = MQTTMessage(**message)
        try:
            wanted = Rotors(**mqtt_message.payload)
        except ValidationError:
            await self._answer(
                mqtt_message, status="error", message="no rotors", error_code="VALIDATION_ERROR"
            )
        else:
            await self._answer(mqtt_message, status="success", rotor_count=wanted.rotor_count)

    @mqtt_action("compute", cpu_heavy=True)
    async def compute(self, topic, message):
        time.sleep(0.2)
        await self._answer(MQTTMessage(**message), status="success", message="computed")

    @mqtt_action("slow")
    async def slow(self, topic, message):
        print("slow began", flush=True)
        await asyncio.sleep(message["payload"]["seconds"])
        await self._answer(MQTTMessage(**message), status="success", message="slept")

    @mqtt_action("stubborn")
    async def stubborn(self, topic, message):
        print("stubborn began", flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    @mqtt_action("block")
    async def block(self, topic, message):
        time.sleep(3)
        await self._answer(MQTTMessage(**message), status="success", message="blocked")
'''

BACKGROUND = '''
"""Starts tasks in the plain startup()."""
import asyncio

from petal_app_manager.plugins.base import Petal


class BeatPetal(Petal):
    name = "beat-petal"
    version = "3.0.0"
    use_mqtt_proxy = True

    def startup(self):
        self._mqtt_proxy = self._proxies["mqtt"]
        self.beats = 0
        self.task = asyncio.create_task(self._beat())

    async def _beat(self):
        while True:
            self.beats += 1
            await asyncio.sleep(0.01)

    async def _setup_mqtt_topics(self):
        self._mqtt_proxy.register_handler(self._handle)

    async def _handle(self, topic, message):
        if message["command"] == "beat-petal/count":
            answer = {"success": True, "beating": self.beats > 0}
            await self._mqtt_proxy.send_command_response(message["messageId"], answer)
        elif message.get("waitResponse"):
            answer = {"success": False, "error": "Unknown command"}
            await self._mqtt_proxy.send_command_response(message["messageId"], answer)

    async def async_shutdown(self):
        self.task.cancel()
        print("beat-petal async_shutdown", flush=True)
'''

TARGETS = ("shutter/plugin.py", "rotor.py:RotorPetal", "beat.py", "example.py")


@pytest.fixture
def petals(folder: Path) -> Path:
    """Three petals of the guide and its host beside the native one, as files."""
    package = folder / "shutter"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "plugin.py").write_text(PLUGIN)
    (folder / "rotor.py").write_text(HOST_STYLE)
    (folder / "beat.py").write_text(BACKGROUND)
    return folder


@pytest.fixture
def serve(start: Start, petals: Path, mosquitto: Mosquitto) -> Callable[..., Program]:
    """Start them all in one process."""

    def serve_petals(*options: str, who: tuple[str, ...] = WHO, broker: str = "") -> Program:
        url = broker or mosquitto.url
        return start("run", "--host-compat", *TARGETS, "--broker", url, *who, *options)

    return serve_petals


def succeeded(response: dict[str, Any]) -> bool:
    return response.get("success", response.get("status") == "success") is True


@WIRES
@DIALECTS
async def test_every_command_gets_one_right_answer(
    serve: Callable[..., Program], mosquitto: Mosquitto, dialect: str, wire: tuple[str, str]
) -> None:
    program = serve("--dialect", dialect, *wire)
    await program.connected()
    async with observe(mosquitto.url) as observer:
        rotors = {"rotor_count": 4}
        opened = await observer.call("shutter/open", "m1", mm=3)
        geometry = await observer.call("rotor-petal/geometry", "m2", **rotors)
        wrong = await observer.call("rotor-petal/geometry", "m3", rotor_count="four")
        armed = await observer.call("rotor-petal/arm", "m4")
        computed = await observer.call("rotor-petal/compute", "m5")
        count = await observer.call("beat-petal/count", "m6")
        hello = await observer.call("example-petal/hello", "m7", name="Developer")
        unknown = await observer.call("rotor-petal/nothing", "m8")
        await observer.send("somebody-else/x", "m9")
        await observer.call("example-petal/hello", "m10")
        assert "m9" not in observer.answers()
        assert all(len(found) == 1 for found in observer.answers().values())
    assert opened["opened"] == 3
    assert geometry["rotor_count"] == 4
    assert computed["message"] == "computed"
    assert armed["message"] == "arm"
    assert count["beating"] is True
    assert hello["message"] == "Hello, Developer!"
    assert all(map(succeeded, (opened, geometry, armed, computed, count, hello)))
    assert wrong["error_code"] == "VALIDATION_ERROR"
    assert unknown["error_code"] == "UNKNOWN_COMMAND"
    assert not succeeded(wrong)
    for response in (opened, geometry, wrong, hello, unknown):
        host_like = {"phase", "deviceId", "status"} <= response.keys()
        assert host_like is (dialect == "host-0.2"), response
        if dialect == "guide":
            assert type(response["success"]) is bool
    program.process.send_signal(signal.SIGTERM)
    assert await program.ended() == 0, program.text
    assert "beat-petal async_shutdown" in program.text


@WIRES
async def test_a_flood_over_all_petals_is_answered_once_each(
    serve: Callable[..., Program], mosquitto: Mosquitto, wire: tuple[str, str]
) -> None:
    program = serve(*wire)
    await program.connected()
    names = ("shutter/open", "rotor-petal/arm", "beat-petal/count", "example-petal/hello")
    async with observe(mosquitto.url) as observer:
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                ids = [f"{number}-{n}" for n in range(250)]
                nursery.start_soon(observer.flood, name, ids)
        await observer.wait(lambda: len(observer.answers()) == 1000)
        assert all(len(found) == 1 for found in observer.answers().values())
        assert all(succeeded(found[0]) for found in observer.answers().values())


async def test_a_late_and_a_changed_organization(
    serve: Callable[..., Program], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    file = tmp_path / "thing-parameters.json"
    program = serve(
        "--organization-poll-interval", "0.1",
        who=("--device-id", "Instance-1", "--organization-file", str(file)),
    )  # fmt: skip
    await program.said("waiting for the organization ID")
    await program.said("shutter-petal async_startup")  # after five seconds without it
    assert "shutter-petal set up" not in program.text
    async with observe(mosquitto.url, "#") as observer:
        write_organization(file, "acme")
        await program.connected()
        assert (await observer.call("shutter/open", "m1", mm=1))["opened"] == 1
        assert program.count("shutter-petal set up for acme") == 1
        write_organization(file, "beta")
        await observer.wait(lambda: observer.statuses("org/beta/device/Instance-1") == ["online"])
        await observer.send("shutter/open", "old", mm=2)
        observer.base = "org/beta/device/Instance-1"
        assert (await observer.call("shutter/open", "m2", mm=2))["opened"] == 2
        assert "old" not in {**observer.answers(BASE), **observer.answers()}
        assert not any("None" in each.topic for each in observer.seen)


def write_organization(file: Path, organization: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps({"thing": {"lastReported": {"organizationId": organization}}}))
    draft.rename(file)


async def test_commands_outlive_a_lost_link(
    serve: Callable[..., Program], mosquitto: Mosquitto
) -> None:
    async with trio.open_nursery() as nursery:
        proxy = Proxy(mosquitto.port)
        await nursery.start(proxy.run)
        program = serve(broker=proxy.url)
        await program.connected()
        async with observe(mosquitto.url) as observer:
            await observer.send("rotor-petal/slow", "slow", seconds=1)
            await program.said("slow began")
            proxy.go_away()
            await observer.send("shutter/open", "meanwhile", mm=1)
            await until(lambda: proxy.refused > 0, lambda: program.text, LIMIT)
            await trio.sleep(1)  # the handler ends while the link is away
            proxy.come_back()
            assert succeeded(await observer.answer("slow"))
            assert succeeded(await observer.answer("meanwhile"))
        nursery.cancel_scope.cancel()


async def test_a_crash_in_one_petal_leaves_the_others_alone(
    serve: Callable[..., Program], mosquitto: Mosquitto
) -> None:
    program = serve()
    await program.connected()
    async with observe(mosquitto.url) as observer:
        crashed = await observer.call("shutter/crash", "m1")
        assert crashed["error_code"] == "UNAVAILABLE"
        assert (await observer.call("shutter/open", "m2"))["error_code"] == "UNAVAILABLE"
        assert succeeded(await observer.call("rotor-petal/arm", "m3"))
        assert succeeded(await observer.call("beat-petal/count", "m4"))
        assert succeeded(await observer.call("example-petal/hello", "m5"))
    await program.said("petal 'shutter-petal' is out of service")
    assert re.search("CRITICAL .*petal 'shutter-petal' is out of service", program.text)
    program.process.send_signal(signal.SIGTERM)
    assert await program.ended() == 0, program.text


async def test_a_stop_with_handlers_in_flight(
    serve: Callable[..., Program], mosquitto: Mosquitto
) -> None:
    program = serve("--grace", "2", "--cleanup-timeout", "2")
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.send("rotor-petal/slow", "may finish", seconds=1)
        await observer.send("rotor-petal/slow", "may not", seconds=60)
        await observer.send("rotor-petal/stubborn", "stubborn")
        await program.said("slow began", 2)
        await program.said("stubborn began")
        began = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0, program.text
        # The grace, and thrice the time for cleaning up.
        assert time.monotonic() - began < 2 + 3 * 2 + 2
        assert succeeded(await observer.answer("may finish"))
        assert (await observer.answer("may not"))["error_code"] == "CANCELLED"
        assert (await observer.answer("stubborn"))["error_code"] == "CANCELLED"
        assert observer.statuses() == ["online", "offline"]
    assert "rotor-petal/stubborn does not end although it is cancelled" in program.text


async def test_a_handler_that_blocks_everything_is_named(
    serve: Callable[..., Program], mosquitto: Mosquitto
) -> None:
    program = serve("--watchdog", "0.5")
    await program.connected()
    async with observe(mosquitto.url) as observer:
        assert succeeded(await observer.call("rotor-petal/block", "m1"))
    assert re.search("event loop has been blocked .* by rotor-petal/block", program.text)
    assert "time.sleep(3)" in program.text


async def test_payloads_and_secrets_are_not_logged(
    serve: Callable[..., Program], mosquitto: Mosquitto
) -> None:
    program = serve("--log-level", "debug")
    await program.connected()
    async with observe(mosquitto.url) as observer:
        await observer.call("shutter/open", "m1", password="hunter2")
        await observer.call("rotor-petal/geometry", "m2", rotor_count="hunter2")
    assert "hunter2" not in program.text


async def test_without_the_flag_the_error_says_so(start: Start, petals: Path) -> None:
    program = start("run", "rotor.py", *WHO)
    assert await program.ended() == 2
    assert "--host-compat" in program.text

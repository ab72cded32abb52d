"""Petals as users of the guide and of its host have them, in our words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import petalkit
from petalkit import Settings
from petalkit.compat import MQTTProxy, Petal, mqtt_action

logger = logging.getLogger("a_petal")

# What keeps a test short where the story is not about limits.
QUICK = Settings(compat_answer_timeout=1.0)

Message = dict[str, Any]


class GuidePetal(Petal):
    """The guide's complete form: hooks, a table of handlers, a master handler that routes."""

    name = "example-petal"
    version = "1.0.0"
    use_mqtt_proxy = True

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        if name is not None:
            self.name = name
        self._mqtt_proxy: Any = None
        self._loop = None
        self._command_handlers: dict[str, Callable[..., Any]] | None = None
        self.mqtt_subscription_id: str | None = None
        self.hooks: list[str] = []
        self.seen: list[str] = []

    def startup(self) -> None:
        super().startup()
        self.hooks.append("startup")
        self._mqtt_proxy = self._proxies.get("mqtt")

    async def async_startup(self) -> None:
        self.hooks.append("async_startup")

    async def _setup_mqtt_topics(self) -> None:
        assert self._loop is asyncio.get_running_loop()
        self.hooks.append("_setup_mqtt_topics")
        self._command_handlers = self._setup_command_handlers()
        self.mqtt_subscription_id = self._mqtt_proxy.register_handler(self._master_command_handler)
        assert self.mqtt_subscription_id is not None

    async def async_shutdown(self) -> None:
        self.hooks.append("async_shutdown")

    def shutdown(self) -> None:
        self.hooks.append("shutdown")

    def _setup_command_handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            f"{self.name}/hello": self._hello_handler,
            f"{self.name}/process": self._process_handler,
            f"{self.name}/fail": self._fail_handler,
        }

    async def _master_command_handler(self, topic: str, message: Message) -> None:
        command = message.get("command", "")
        message_id = message.get("messageId", "unknown")
        self.seen.append(command)
        if self._command_handlers is None:
            logger.warning("not set up yet")
            return
        handler = self._command_handlers.get(command)
        if handler is not None:
            await handler(topic, message)
        elif message.get("waitResponse", False):
            await self._mqtt_proxy.send_command_response(
                message_id, {"success": False, "error": f"Unknown command: {command}"}
            )

    async def _hello_handler(self, topic: str, message: Message) -> None:
        name = message.get("data", {}).get("name", "World")
        if message.get("waitResponse", False):
            await self._mqtt_proxy.send_command_response(
                message.get("messageId", "unknown"),
                {"success": True, "message": f"Hello, {name}!"},
            )

    async def _process_handler(self, topic: str, message: Message) -> None:
        data = message.get("data", {})
        if message.get("waitResponse", False):
            await self._mqtt_proxy.send_command_response(
                message.get("messageId", "unknown"),
                {"success": True, "result": {"processed": True, "data": data}},
            )

    async def _fail_handler(self, topic: str, message: Message) -> None:
        try:
            raise LookupError("no such record")
        except LookupError as error:
            await self._mqtt_proxy.send_command_response(
                message.get("messageId", "unknown"), {"success": False, "error": str(error)}
            )


class ActionPetal(Petal):
    """The host's newer form: decorators, and handlers that are attached at run time."""

    name = "action-petal"
    version = "2.0.0"

    def startup(self) -> None:
        self.proxy: MQTTProxy = self._proxies["mqtt"]
        for name in ("first", "second"):
            handler = self._make_handler(name)
            handler.__mqtt_action__ = {"command": name, "cpu_heavy": False}  # type: ignore[attr-defined]
            setattr(self, f"_{name}_handler", handler)

    def _make_handler(self, name: str) -> Callable[..., Any]:
        async def handler(topic: str, message: Message) -> None:
            await self._succeed(message, f"{name} done")

        return handler

    async def _succeed(self, message: Message, text: str) -> None:
        await self.proxy.send_command_response(
            message_id=message["messageId"], response_data={"status": "success", "message": text}
        )

    @mqtt_action("geometry")
    async def geometry(self, topic: str, message: Message) -> None:
        count = message["payload"].get("rotor_count")
        if type(count) is not int:
            answer = {
                "status": "error",
                "message": "rotor_count: not a whole number",
                "error_code": "VALIDATION_ERROR",
            }
            await self.proxy.send_command_response(message["messageId"], answer)
            return
        await self._succeed(message, f"CA_ROTOR_COUNT set to {count}")


class BackgroundPetal(Petal):
    """Starts its background tasks in the plain `startup()`, and answers from one of them."""

    name = "background-petal"
    version = "3.0.0"
    use_mqtt_proxy = True

    def __init__(self) -> None:
        super().__init__()
        self.beats = 0
        self.ended: list[str] = []

    def startup(self) -> None:
        self.proxy: MQTTProxy = self._proxies["mqtt"]
        self.requests: asyncio.Queue[Message] = asyncio.Queue()
        self.tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._work())]

    async def _beat(self) -> None:
        try:
            while True:
                self.beats += 1
                await asyncio.sleep(0.02)
        finally:
            self.ended.append("beat")

    async def _work(self) -> None:
        try:
            while True:
                message = await self.requests.get()
                answer = {"success": True, "beats": self.beats}
                await self.proxy.send_command_response(message["messageId"], answer)
        finally:
            self.ended.append("work")

    async def _setup_mqtt_topics(self) -> None:
        self.proxy.register_handler(self._handle)

    async def _handle(self, topic: str, message: Message) -> None:
        if message["command"] == "background-petal/beats":
            await self.requests.put(message)


class HandlerPetal(Petal):
    """One handler of the test's own, for every command under the petal's name."""

    use_mqtt_proxy = True
    version = "1"

    def __init__(
        self, handler: Callable[..., Any], name: str = "petal", *, cpu_heavy: bool = False
    ) -> None:
        super().__init__()
        self.name = name
        self._handler = handler
        self._cpu_heavy = cpu_heavy

    @property
    def proxy(self) -> MQTTProxy:
        found: MQTTProxy = self._proxies["mqtt"]
        return found

    async def _setup_mqtt_topics(self) -> None:
        self.proxy.register_handler(self._bound(), cpu_heavy=self._cpu_heavy)

    def _bound(self) -> Callable[..., Any]:
        if asyncio.iscoroutinefunction(self._handler):

            async def handle(topic: str, message: Message) -> None:
                await self._handler(self, message)

            return handle

        def handle_plainly(topic: str, message: Message) -> None:
            self._handler(self, message)

        return handle_plainly

    async def answer(self, message: Message, **fields: Any) -> bool:
        return await self.proxy.send_command_response(message["messageId"], fields)


class NativePetal(petalkit.Petal):
    """One of petalkit's own, beside them."""

    name = "native-petal"
    version = "4.0.0"

    @petalkit.command("hello")
    async def hello(self, name: str = "World") -> dict[str, str]:
        return {"message": f"Hello, {name}!"}


async def swallow() -> None:
    """Never end, whoever cancels it."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100_000)


async def serve_legacy(petal: HandlerPetal, message: Message) -> None:
    """A handler of commands under `legacy/`, and of no others."""
    if message["command"].startswith("legacy/"):
        await petal.answer(message, success=True)

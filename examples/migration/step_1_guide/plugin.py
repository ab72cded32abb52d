"""The petal: its hooks, its table of commands, its master handler and its specific handlers."""

from collections.abc import Callable
from typing import Any

from petal_app_manager.plugins.base import Petal
from petal_app_manager.proxies import MQTTProxy

from . import logger


class ExamplePetal(Petal):
    """Greets, and writes a text in capitals or small letters."""

    name = "example-petal"
    version = "1.0.0"
    use_mqtt_proxy = True

    def __init__(self) -> None:
        super().__init__()
        self._mqtt_proxy: MQTTProxy | None = None
        self._loop = None
        self._command_handlers: dict[str, Callable[..., Any]] | None = None
        self.mqtt_subscription_id: str | None = None

    # -- hooks

    def startup(self) -> None:
        super().startup()
        self._mqtt_proxy = self._proxies.get("mqtt")

    async def _setup_mqtt_topics(self) -> None:
        self._command_handlers = self._setup_command_handlers()
        self.mqtt_subscription_id = self._mqtt_proxy.register_handler(self._master_command_handler)
        if self.mqtt_subscription_id is None:
            logger.error("%s takes no commands", self.name)

    async def async_startup(self) -> None:
        logger.info("%s is there, organization %s", self.name, self._mqtt_proxy.organization_id)

    async def async_shutdown(self) -> None:
        if self.mqtt_subscription_id is not None:
            self._mqtt_proxy.unregister_handler(self.mqtt_subscription_id)

    def shutdown(self) -> None:
        logger.info("%s is gone", self.name)
        super().shutdown()

    # -- routing

    def _setup_command_handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "example-petal/hello": self._hello_handler,
            "example-petal/process": self._process_handler,
        }

    async def _master_command_handler(self, topic: str, message: dict[str, Any]) -> None:
        if self._command_handlers is None or self._mqtt_proxy.organization_id is None:
            logger.warning("not ready for %s", topic)
            return
        command = message.get("command", "")
        handler = self._command_handlers.get(command)
        if handler is not None:
            await handler(topic, message)
        elif message.get("waitResponse", False):
            await self._mqtt_proxy.send_command_response(
                message.get("messageId", "unknown"),
                {"success": False, "error": f"Unknown command: {command}"},
            )

    # -- specific handlers

    async def _hello_handler(self, topic: str, message: dict[str, Any]) -> None:
        message_id = message.get("messageId", "unknown")
        wait_response = message.get("waitResponse", False)
        try:
            name = message.get("data", {}).get("name", "World")
            if wait_response:
                await self._mqtt_proxy.send_command_response(
                    message_id, {"success": True, "message": f"Hello, {name}!"}
                )
        except Exception as error:
            logger.error("hello failed: %s", error)
            if wait_response:
                await self._mqtt_proxy.send_command_response(
                    message_id, {"success": False, "error": str(error)}
                )

    async def _process_handler(self, topic: str, message: dict[str, Any]) -> None:
        message_id = message.get("messageId", "unknown")
        wait_response = message.get("waitResponse", False)
        try:
            data = message.get("data", {})
            change = {"upper": str.upper, "lower": str.lower}[data.get("mode", "upper")]
            result = change(data["text"])
            if wait_response:
                await self._mqtt_proxy.send_command_response(
                    message_id, {"success": True, "result": result}
                )
        except Exception as error:
            logger.error("process failed: %s", error)
            if wait_response:
                await self._mqtt_proxy.send_command_response(
                    message_id, {"success": False, "error": str(error)}
                )

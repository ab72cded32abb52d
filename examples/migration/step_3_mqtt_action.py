"""Step 3: a decorator in place of the table, the master handler and the set-up.

Run it: `petalkit run --host-compat step_3_mqtt_action.py`.
"""

import logging
from typing import Any

from petalkit.compat import Petal, mqtt_action

logger = logging.getLogger(__name__)


class ExamplePetal(Petal):
    """Greets, and writes a text in capitals or small letters."""

    name = "example-petal"
    version = "1.0.0"

    async def async_startup(self) -> None:
        logger.info("%s is there", self.name)

    def shutdown(self) -> None:
        logger.info("%s is gone", self.name)
        super().shutdown()

    @mqtt_action("hello")
    async def hello(self, topic: str, message: dict[str, Any]) -> None:
        try:
            name = message["data"].get("name", "World")
            await self._answer(message, {"success": True, "message": f"Hello, {name}!"})
        except Exception as error:
            logger.error("hello failed: %s", error)
            await self._answer(message, {"success": False, "error": str(error)})

    @mqtt_action("process")
    async def process(self, topic: str, message: dict[str, Any]) -> None:
        try:
            data = message["data"]
            change = {"upper": str.upper, "lower": str.lower}[data.get("mode", "upper")]
            await self._answer(message, {"success": True, "result": change(data["text"])})
        except Exception as error:
            logger.error("process failed: %s", error)
            await self._answer(message, {"success": False, "error": str(error)})

    async def _answer(self, message: dict[str, Any], fields: dict[str, Any]) -> None:
        if message["waitResponse"]:
            await self._proxies["mqtt"].send_command_response(message["messageId"], fields)

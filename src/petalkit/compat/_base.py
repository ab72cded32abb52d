"""`Petal` and `BaseProxy`: the classes that petals of the guide and of its host derive from.

Nothing here knows how a petal is served. The names, the underscored ones too, are the host's: its
petals override them, call them, and look into them.
"""

from __future__ import annotations

import abc
import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ._decorators import MQTT_MARK
from ._loop.threads import call_handler

logger = logging.getLogger("petalkit.compat")

READY_INTERVAL = 0.1  # seconds between two looks of `wait_until_ready`

CommandHandlers = dict[str, Callable[..., Any]]


class Petal:
    """The base of a petal written for the guide, or for its host application.

    Attributes:
        name: on the wire and in logs; the commands of `@mqtt_action` stand under it.
        version: reported in the birth message.
        use_mqtt_proxy: True for a petal that takes commands by `_setup_mqtt_topics`. One with an
            `@mqtt_action` takes them anyway.
    """

    name: str
    version: str
    use_mqtt_proxy: bool = False

    # On the class, so that a petal may forget super().__init__().
    _proxies: Mapping[str, Any] = {}
    _loop: asyncio.AbstractEventLoop | None = None
    _mqtt_command_handlers: CommandHandlers | None = None
    _mqtt_cpu_heavy_commands: dict[str, bool] | None = None

    def __init__(self) -> None:
        self._proxies = {}
        self._mqtt_command_handlers = None
        self._mqtt_cpu_heavy_commands = None

    # -- hooks, in the order in which they are called

    def inject_proxies(self, proxies: Mapping[str, Any]) -> None:
        """Take the proxies, by name; called once, before `startup`."""
        self._proxies = proxies

    def inject_templates(self, templates: Mapping[str, Any]) -> None:
        """Take templates; called after `startup` of a petal with a `template_dir`."""
        self.templates = templates

    def startup(self) -> None:
        """Begin. Called in the petal's running asyncio loop, so that tasks can be created."""

    async def async_startup(self) -> None:
        """Begin, what has to await. Called after `_setup_mqtt_topics` when the ID is known."""

    async def async_shutdown(self) -> None:
        """End, what has to await; the petal's tasks still run."""

    def shutdown(self) -> None:
        """End. Called in the loop, after `async_shutdown`."""

    # -- commands by decorator

    def _collect_mqtt_actions(self) -> tuple[CommandHandlers, dict[str, bool]]:
        """The handlers marked by `@mqtt_action`, on the class or attached to the instance.

        Returns:
            Handlers by full command name, and for each whether it is `cpu_heavy`.
        """
        handlers: CommandHandlers = {}
        heavy: dict[str, bool] = {}
        for attribute in dir(self):
            # Looked at without calling properties, which may need what is not there yet.
            found = inspect.getattr_static(self, attribute, None)
            if isinstance(found, property):
                continue
            handler = getattr(self, attribute, None)
            mark = getattr(handler, MQTT_MARK, None)
            if isinstance(mark, Mapping) and callable(handler):
                name = f"{self.name}/{mark['command']}"
                handlers[name] = handler
                heavy[name] = bool(mark.get("cpu_heavy", False))
        return handlers, heavy

    def has_mqtt_actions(self) -> bool:
        """Whether any handler is marked by `@mqtt_action`."""
        return bool(self._collect_mqtt_actions()[0])

    async def _setup_mqtt_actions(self) -> str | None:
        """Register what is marked by `@mqtt_action`; the subscription ID, None without any."""
        handlers, heavy = self._collect_mqtt_actions()
        if not handlers:
            return None
        self._mqtt_command_handlers = handlers
        self._mqtt_cpu_heavy_commands = heavy
        subscription_id: str = self._proxies["mqtt"].register_handler(
            self._mqtt_master_command_handler
        )
        return subscription_id

    async def _mqtt_master_command_handler(self, topic: str, message: dict[str, Any]) -> None:
        """Give a command to its `@mqtt_action`; answer one under our name that has none.

        What a handler raises goes on to whoever called: there it is logged and answered once.
        """
        command = message.get("command", "")
        message_id = message.get("messageId", "unknown")
        proxy = self._proxies["mqtt"]
        handlers = self._mqtt_command_handlers or {}
        handler = handlers.get(command)
        if handler is None:
            if command.startswith(f"{self.name}/") and message.get("waitResponse", False):
                # By keyword, as the host does: tests of its users look for these names.
                await proxy.send_command_response(
                    message_id=message_id,
                    response_data={
                        "status": "error",
                        "message": f"Unknown command: {command}",
                        "error_code": "UNKNOWN_COMMAND",
                        "available_commands": sorted(handlers),
                    },
                )
            return
        heavy = (self._mqtt_cpu_heavy_commands or {}).get(command, False)
        await call_handler(handler, topic, message, cpu_heavy=heavy)


def declares(petal: object, attribute: str) -> bool:
    """Whether a petal itself, or a class of its own, says something of an attribute of `Petal`."""
    if attribute in getattr(petal, "__dict__", ()):
        return True
    return any(attribute in vars(one) for one in type(petal).__mro__ if one is not Petal)


class BaseProxy(abc.ABC):
    """The base of the host's proxies, for those that a user supplies."""

    _loop: asyncio.AbstractEventLoop | None = None

    @abc.abstractmethod
    async def start(self) -> None:
        """Begin; in the loop of the petal that it is made for."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """End."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be used."""
        return self._loop is not None

    async def wait_until_ready(self, timeout: float = 30.0) -> bool:
        """Wait until it can be used; False when it cannot within `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not self.is_ready:
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(READY_INTERVAL)
        return True

"""`MQTTProxy`: the guide's way to the runtime, one for each petal.

A facade. The host has one for all its petals, and knows of no handler whose it is; here each petal
has its own, and so a command finds the petal that serves it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NoReturn

from ..._values.settings.settings import Settings
from .._base import BaseProxy
from .._errors import MethodRemoved
from .desk import Desk, Handler

INSTANCE = "Instance-"  # what the host puts before the machine ID


class MQTTProxy(BaseProxy):
    """What `self._proxies["mqtt"]` is. Its methods may be called from any loop and thread.

    Attributes:
        log: the logger that petals use through it.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.log = logging.getLogger("petalkit.compat.mqtt")

    async def start(self) -> None:
        """Does nothing: the runtime connects, and keeps connected."""

    async def stop(self) -> None:
        """Does nothing: the runtime stops."""

    # -- the guide's four methods

    def register_handler(self, handler: Handler, cpu_heavy: bool = False) -> str:
        """Let a handler take the petal's commands.

        Args:
            handler: called with topic and message; `async def`, or a plain `def`, which is called
                in a worker thread.
            cpu_heavy: run an `async def` in a worker thread with a loop of its own.

        Returns:
            The subscription ID, for `unregister_handler`. Unlike the guide's never None: it
            needs no subscription, and commands that came before it have waited.
        """
        return self._desk.register(handler, cpu_heavy=cpu_heavy)

    def unregister_handler(self, subscription_id: str) -> bool:
        """Let a handler take no more commands; False when there is none of that ID."""
        return self._desk.unregister(subscription_id)

    async def publish_message(self, payload: Mapping[str, Any], qos: int = 1) -> bool:
        """Send an event to web clients, on `command/web`.

        Waits while the outbox is full, and is kept there, in memory, while the broker is away.

        Args:
            payload: what JSON can say.
            qos: 1, or 0; 2 is taken for 1.

        Returns:
            True once it is in the outbox; False when it can never be sent, which is logged.
        """
        return await self._desk.cross(self._desk.publish, payload, min(qos, 1))

    async def send_command_response(
        self, message_id: str, response_data: Mapping[str, Any]
    ) -> bool:
        """Answer a command. `messageId` and `timestamp` are the envelope's, whatever is in it.

        Args:
            message_id: of the command.
            response_data: the other fields of the response; what it holds now is sent.

        Returns:
            False when it is not sent, which is logged: the command has its answer already.
        """
        return await self._desk.cross(self._desk.respond, message_id, response_data)

    # -- what petals use besides

    async def send_command_ack(
        self, message_id: str, service: str, ack_type: str = "service-received"
    ) -> bool:
        """Tell on `ack` that a command has arrived.

        With the dialect `host-0.2` the runtime does that for every `waitAck`, once.

        Args:
            message_id: of the command.
            service: who has received it.
            ack_type: how far it has come.
        """
        return await self._desk.cross(self._desk.acknowledge, message_id, service, ack_type)

    @property
    def organization_id(self) -> str | None:
        """The organization ID now; None while it is not known."""
        host = self._desk.host
        identity = None if host is None else host.identity
        return None if identity is None else identity.organization_id

    @property
    def device_id(self) -> str | None:
        """The device ID; known from the start."""
        return self._desk.device_id

    @property
    def robot_instance_id(self) -> str | None:
        """The machine ID in it."""
        return self._get_machine_id()

    @property
    def is_connected(self) -> bool:
        """Whether commands are subscribed to, now. Messages are kept while they are not."""
        host = self._desk.host
        return host is not None and host.connected

    @property
    def is_ready(self) -> bool:
        """The same: see `wait_until_ready`."""
        return self.is_connected

    @property
    def subscribed_topics(self) -> set[str]:
        """The topics that commands come in on."""
        base, settings = self._get_base_topic(), self._settings
        if base is None or settings is None or not self.is_connected:
            return set()
        return {f"{base}/{name}" for name in settings.command_topics}

    @property
    def command_web_topic(self) -> str:
        """Where events go, under the base topic."""
        return (self._settings or Settings()).web_topic

    @property
    def response_topic(self) -> str:
        """Where responses go, under the base topic."""
        return (self._settings or Settings()).response_topic

    @property
    def command_edge_topic(self) -> str:
        """Where commands come in, under the base topic; the last where there are several."""
        return (self._settings or Settings()).command_topics[-1]

    def _get_organization_id(self) -> str | None:
        return self.organization_id

    def _get_machine_id(self) -> str | None:
        """The device ID without the host's `Instance-` before it."""
        device_id = self.device_id
        return None if device_id is None else device_id.removeprefix(INSTANCE)

    def _get_base_topic(self) -> str | None:
        host = self._desk.host
        identity = None if host is None else host.identity
        return None if identity is None else identity.base_topic

    @property
    def _settings(self) -> Settings | None:
        return None if self._desk.host is None else self._desk.host.settings

    @property
    def _loop(self) -> Any:  # type: ignore[override]
        return self._desk.loop

    async def health_check(self) -> dict[str, Any]:
        """How it stands, in the form of the host's."""
        settings = self._settings
        return {
            "status": "healthy" if self.is_connected else "unhealthy",
            "connection": {"connected": self.is_connected},
            "configuration": {} if settings is None else {"transport": settings.transport},
            "subscriptions": {
                "topics": sorted(self.subscribed_topics),
                "handlers": {"command": len(self._desk.registrations)},
            },
            "device_info": {
                "organization_id": self.organization_id,
                "device_id": self.device_id,
                "robot_instance_id": self.robot_instance_id,
            },
        }

    # -- what the guide has removed

    def subscribe_to_topic(self, *_: Any, **__: Any) -> NoReturn:
        """Removed by the guide.

        Raises:
            MethodRemoved: always.
        """
        raise MethodRemoved("subscribe_to_topic", _ROUTED)

    def unsubscribe_from_topic(self, *_: Any, **__: Any) -> NoReturn:
        """Removed by the guide.

        Raises:
            MethodRemoved: always.
        """
        raise MethodRemoved("unsubscribe_from_topic", "use unregister_handler(subscription_id)")

    def subscribe_pattern(self, *_: Any, **__: Any) -> NoReturn:
        """Removed by the guide.

        Raises:
            MethodRemoved: always.
        """
        raise MethodRemoved("subscribe_pattern", _ROUTED)


_ROUTED = (
    "use register_handler(handler), and route by the command in the message; other topics than "
    "those of commands are not subscribed to"
)

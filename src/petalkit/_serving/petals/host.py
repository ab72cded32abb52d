"""What a petal sees of the runtime that serves it.

The rule: it is there as long as the petal is served, across its lives; only `nursery` belongs to
one life, and there is none between two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from ..._authoring.context import NotServed
from ..._authoring.declared import CommandOptions, full_name
from ..._authoring.petal import DEBUG, Petal
from ..._authoring.registry import make_spec, results_for
from ..._values.codec import encode_json
from ..._values.errors import ErrorCode, PayloadError
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from .added_commands import AddedCommands
from .background import Background

if TYPE_CHECKING:
    from ..dispatch.catalog import Catalog
    from ..dispatch.dispatcher import Dispatcher
    from ..links.supervisor import Supervisor
    from ..sending.responses import Responses


class ServedPetal:
    """A petal's host while it is served: see `PetalHost`.

    Args:
        petal: whose host it is.
        settings: limits and topics.
        catalog: changed by commands added at run time.
        dispatcher: told of added commands.
        supervisor: knows whether there is a link, and who the device is.
        responses: sends receipts; has the outbox, where events go.

    Attributes:
        failed: the petal is out of service now: its commands are answered `UNAVAILABLE`.
        added: what the petal has added and removed while it is served.
        background: its tasks in this life; None before the first one.
    """

    def __init__(
        self,
        petal: Petal,
        settings: Settings,
        catalog: Catalog,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        responses: Responses,
    ) -> None:
        self._petal = petal
        self._settings = settings
        self._results = results_for(petal)
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._links = supervisor.service
        self._waiter = supervisor.waiter
        self._responses = responses
        self._outbox = responses.outbox
        self.failed = False
        self.added = AddedCommands(petal, catalog.table, dispatcher.backlog)
        self.background: Background | None = None

    @property
    def settings(self) -> Settings:
        """How the runtime behaves."""
        return self._settings

    @property
    def connected(self) -> bool:
        """Whether a link is up and subscribed."""
        return self._links.serving is not None

    @property
    def sends_receipts(self) -> bool:
        """Whether the runtime itself answers `waitAck`."""
        return self._responses.dialect.honours_wait_ack

    @property
    def identity(self) -> Identity | None:
        """The identity now."""
        return self._waiter.current

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the petal's background tasks."""
        nursery = None if self.background is None else self.background.nursery
        if nursery is None:
            raise RuntimeError(f"petal {self._petal.name!r} is not running")
        return nursery

    async def wait_identity(self) -> Identity:
        """Wait until the identity is known."""
        return await self._waiter.wait()

    async def wait_other_identity(self, known: Identity | None) -> Identity:
        """Wait until the identity is known, and another than `known`."""
        return await (self._waiter.wait() if known is None else self._waiter.wait_other(known))

    async def wait_connected(self) -> None:
        """Wait until commands have been subscribed to once. No limit."""
        await self._links.up.wait()

    async def publish_event(
        self,
        payload: Mapping[str, Any],
        *,
        topic: str,
        qos: int,
        expiry: float | None = None,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Put an event into the outbox."""
        if durable and qos == 0:
            raise ValueError("durable=True needs qos=1: at QoS 0 nobody says that it has arrived")
        if latest is not None and not (isinstance(latest, str) and latest):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"latest must be a key, a text that is not empty, not {latest!r}")
        if expiry is not None and not expiry > 0:
            raise ValueError(f"expiry must be above 0, not {expiry!r}")
        await self._outbox.events.put(
            self._encode_event(payload, qos),
            qos=qos,
            identity=self._waiter.current,
            name=self._topic_name(topic),
            expiry=math.inf if expiry is None else expiry,
            durable=durable,
            latest=latest,
        )

    def publish_event_nowait(self, payload: Mapping[str, Any], *, topic: str, qos: int) -> None:
        """Put an event into the outbox, or raise trio.WouldBlock."""
        if not self._outbox.events.put_nowait(
            self._encode_event(payload, qos),
            qos=qos,
            identity=self._waiter.current,
            name=self._topic_name(topic),
        ):
            raise trio.WouldBlock

    def _encode_event(self, payload: Mapping[str, Any], qos: int) -> bytes:
        if qos not in (0, 1):
            raise ValueError(f"qos must be 0 or 1, not {qos!r}")
        # As results are made, so that one value is the same JSON in both.
        plain = self._results(payload)
        encoded = encode_json(self._responses.dialect.event(plain))
        if len(encoded) > self._settings.payload_max:
            raise PayloadError(
                ErrorCode.TOO_LARGE,
                f"the event has {len(encoded)} bytes; {self._settings.payload_max} are allowed",
            )
        return encoded

    def _topic_name(self, topic: str) -> str:
        return self._settings.debug_topic if topic == DEBUG else self._settings.web_topic

    def acknowledge(self, identity: Identity, message_id: str, service: str, kind: str) -> bool:
        """Tell on `ack` that a command has arrived; False when there is no room for it."""
        return self._responses.acknowledge(identity, message_id, service, kind)

    def not_served(self, name: str) -> NotServed:
        """What to raise for a command that nobody serves after all."""
        return self._catalog.not_served(name)

    def open_line(self, name: str) -> None:
        """Let the commands of a petal or a resolver start that have waited until it is ready."""
        self._dispatcher.open_petal(name)

    def add_command(self, name: str, handler: Any, options: CommandOptions) -> None:
        """Serve one more command from now on."""
        rule = self._settings.unknown_keys
        self.added.add(make_spec(self._petal, options, handler, unknown_keys=rule))

    def remove_command(self, name: str) -> None:
        """Serve a command no longer."""
        self.added.remove(full_name(self._petal, name))

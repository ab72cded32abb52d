"""Events on their way into the outbox: only their publishers wait for room, in turn.

The rule: while one waits, the link is read (`Outbox.must_read`): the PUBACKs that make room come in
on the very stream that back-pressure would stop reading.
"""

from __future__ import annotations

import math

import trio

from ..._values.messages import MAX_EXPIRY, Identity, Message, Properties
from ..._values.settings.settings import Settings
from .contents import Contents
from .sender import Sender
from .state.latest import key_of
from .state.outgoing import Entry, LatestKey


class Events:
    """See the module.

    Args:
        settings: for how long messages are kept, and MQTT's version.
        contents: of the outbox.
        sender: told of what is put.
    """

    def __init__(self, settings: Settings, contents: Contents, sender: Sender) -> None:
        self._settings = settings
        self._expiry = settings.response_expiry
        self._contents = contents
        self._places = contents.places
        self._latest = contents.latest
        self._room = contents.room
        self._sender = sender

    def _has_room(self, size: int) -> bool:
        if self._places.has_room(size):
            return True
        return self._contents.drop_expired() and self._has_room(size)

    def _may_replace(self, key: LatestKey | None, size: int) -> bool:
        """Whether it needs no room of its own."""
        older = self._latest.find_unsent(key)
        return older is not None and self._places.may_grow(size - older.size)

    async def put(
        self,
        payload: bytes,
        *,
        qos: int,
        identity: Identity | None,
        name: str,
        expiry: float = math.inf,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Put an event, waiting for room without a limit: the caller knows how long it can wait.

        It expires in `expiry` seconds, those of waiting among them, if that is not later than
        every message does.

        Cancellation: it is in or it is not.

        Args:
            payload: its bytes.
            qos: 0 or 1.
            identity: under which it is published; None for that which is known when it leaves.
            name: its topic under the base topic.
            expiry: see above.
            durable: with a journal, it outlives the process; of QoS 1 only.
            latest: a key: it takes the place of an unsent event of that topic and key, and waits
                for no room unless it is larger and that is too much.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        expires_at = trio.current_time() + expiry
        asked = self._latest.ask()
        key = key_of(identity, name, latest)
        # Behind those who wait already, or a fast publisher would starve them.
        waited = False
        with self._latest.waiting(key):
            while not self._may_replace(key, len(payload)) and (
                not self._has_room(len(payload)) or (self._room and not waited)
            ):
                waited = True
                self._tell_pressure_soon()
                self._contents.room_wanted = True
                await self._room.park()
            late = self._latest.is_late(key, asked)
        if late:
            self._contents.counters.events_replaced += 1
        else:
            self.put_nowait(
                payload,
                qos=qos,
                identity=identity,
                name=name,
                expires_at=expires_at,
                durable=durable,
                latest=latest,
                force=True,
                asked=asked,
            )
        if self._room and self._has_room(0):
            self._room.unpark()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _tell_pressure_soon(self) -> None:
        """Tell the intake that somebody waits from now on, once the waiter is parked."""
        token = trio.lowlevel.current_trio_token()
        token.run_sync_soon(self._contents.hooks.on_pressure, idempotent=True)

    def put_nowait(
        self,
        payload: bytes,
        *,
        qos: int,
        identity: Identity | None,
        name: str,
        expires_at: float = math.inf,
        durable: bool = False,
        latest: str | None = None,
        force: bool = False,
        asked: int | None = None,
    ) -> bool:
        """Put an event if there is room for it, and nobody waits for that room already.

        See `put`. `asked`: when, among the calls, if that was earlier.
        """
        key = key_of(identity, name, latest)
        force = force or self._may_replace(key, len(payload))
        if not force and (self._room or not self._has_room(len(payload))):
            return False
        contents = self._contents
        topic = "" if identity is None else identity.topic(name)
        now = trio.current_time()
        properties = None
        if expires_at < math.inf and self._settings.speaks_mqtt_5:
            # Rounded up, and never more than the wire can say: it is counted down when it leaves.
            properties = Properties(message_expiry=MAX_EXPIRY)
        message = Message(topic, payload, qos, False, properties)
        expires_at = min(expires_at, now + self._expiry)
        contents.next_expiry = min(contents.next_expiry, expires_at)
        entry = Entry(message, expires_at, name=None if topic else name, event=True, latest=key)
        older = None
        if key is not None:
            older = self._latest.find_unsent(key)
            self._latest.put(key, asked)
        if durable and qos:
            entry.number = contents.owed.post(message, expires_at - now, name=entry.name)
        if older is not None:
            contents.replace(older, entry)
            return True
        if key is not None:
            self._latest.newest[key] = entry
        self._sender.put(entry, now)
        return True

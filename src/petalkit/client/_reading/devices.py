"""Which devices there are: what each says in its retained `status`, of birth and of death.

The rule: a status is what the device or its will has said last, and no proof that it answers. The
bound: so many devices are kept, and of each a few words, however much it says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import attrs
import trio

from ..._values.codec import Limits, decode_json
from ..._values.errors import PayloadError
from ..._values.settings.settings import Settings
from ..._values.topics import TopicFilter
from ...transports import Delivery
from .._wire.calling import Calling

PETALS_MAX = 100  # of one device
WORD_MAX = 256  # characters of a name or a version
_ANY = "\0"  # stands in a topic for the device ID


@attrs.frozen
class Device:
    """One device, as its status says it.

    Attributes:
        device_id: its ID.
        status: `online`, `offline`, or a word of its own.
        petals: name and version of each, of 100 at most.
        schema_hash: of what it serves; None where it does not say.
        timestamp: of its birth or its farewell, as it says it; None of a will.
    """

    device_id: str
    status: str
    petals: Mapping[str, str] = attrs.field(factory=dict)
    schema_hash: str | None = None
    timestamp: str | None = None

    @property
    def online(self) -> bool:
        """Whether it says so."""
        return self.status == "online"


def read_status(payload: bytes, device_id: str, limits: Limits) -> Device | None:
    """What a status says; None where it says nothing that can be understood."""
    try:
        fields = decode_json(payload, limits)
    except PayloadError:
        return None
    status = fields.get("status") if type(fields) is dict else None
    if type(status) is not str or len(status) > WORD_MAX:
        return None
    petals: dict[str, str] = {}
    said = fields.get("petals")
    for one in said[:PETALS_MAX] if type(said) is list else ():
        name = _word(one.get("name")) if type(one) is dict else None
        if name is not None:
            petals[name] = _word(one.get("version")) or ""
    return Device(
        device_id,
        status,
        petals,
        _word(fields.get("schema_hash")),
        _word(fields.get("timestamp")),
    )


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= WORD_MAX else None


class Devices:
    """See the module.

    Args:
        settings: topics and bounds.
        calling: has the link, and the counters.
    """

    def __init__(self, settings: Settings, calling: Calling) -> None:
        self._calling = calling
        self._most = settings.call_devices
        self._limits = Limits(settings.payload_max, settings.depth_max, settings.message_id_max)
        organization_id = calling.identity.organization_id
        base = settings.base_topic.format(organization_id=organization_id, device_id=_ANY)
        levels = f"{base}/{settings.status_topic}".split("/")
        self.filter = TopicFilter("/".join("+" if _ANY in one else one for one in levels))
        pattern = re.escape("/".join(levels)).replace(re.escape(_ANY), "(?P<id>[^/]+)", 1)
        self._pattern = re.compile(pattern.replace(re.escape(_ANY), "(?P=id)"))
        self._known: dict[str, Device] = {}
        self._begun = False
        self._heard_at = -math.inf

    async def all(self, settle: float, timeout: float) -> list[Device]:
        """See `Client.devices`."""
        interests = self._calling.connection.interests
        with trio.fail_after(timeout):
            if not self._begun:
                self._begun = True
                interests.want(self.filter)
                self._heard_at = math.inf
            await interests.wait(self.filter)
        if self._heard_at == math.inf:
            self._heard_at = trio.current_time()
        deadline = trio.current_time() + timeout
        # Nobody says when all that is retained has come: so until nothing more comes.
        while (until := min(deadline, self._heard_at + settle)) > trio.current_time():  # noqa: ASYNC110
            await trio.sleep_until(until)
        await trio.lowlevel.checkpoint()
        return sorted(self._known.values(), key=lambda one: one.device_id)

    def take(self, delivery: Delivery) -> bool:
        """A message on a topic that nobody else reads; whether it is a status."""
        found = self._pattern.fullmatch(delivery.topic) if self._begun else None
        if found is None:
            return False
        device_id = found["id"]
        if delivery.retain:
            self._heard_at = trio.current_time()
        if delivery.fault is None and not delivery.payload:
            self._known.pop(device_id, None)  # its retained status was cleared
            return True
        said = None
        if delivery.fault is None:
            said = read_status(delivery.payload, device_id, self._limits)
        if said is None:
            self._calling.counters.unreadable += 1
        elif device_id in self._known or len(self._known) < self._most:
            self._known[device_id] = said
        else:
            self._calling.counters.devices_dropped += 1
        return True

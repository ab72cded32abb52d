"""What comes out of a device under test."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from .._serving.runtime import Runtime
from .._values.codec import Limits, decode_response
from .._values.error_codes import backwards
from .._values.messages import Identity, Message, Response
from .._values.settings.settings import Settings
from .._values.statistics import Statistics
from ..transports.memory import MemoryBroker, Observer
from ._sink import Sink

_LIMITS = Limits(payload_max=16 * 1024 * 1024, depth_max=200, message_id_max=4096)


class Outputs:
    """See the module; `Harness` is one.

    Args:
        broker: where it comes out.
        runtime: of the device.
        settings: its topics.
    """

    def __init__(self, broker: MemoryBroker, runtime: Runtime, settings: Settings) -> None:
        self.broker = broker
        self.runtime = runtime
        self.settings = settings

    @contextlib.contextmanager
    def responses(self) -> Generator[Sink]:
        """What is published on `response` inside the block."""
        with self._observe(self.settings.response_topic) as sink:
            yield sink

    @contextlib.contextmanager
    def events(self) -> Generator[Sink]:
        """What petals publish to web clients inside the block."""
        with self._observe(self.settings.web_topic) as sink:
            yield sink

    @contextlib.contextmanager
    def debug(self) -> Generator[Sink]:
        """What is published on `debug` inside the block."""
        with self._observe(self.settings.debug_topic) as sink:
            yield sink

    @contextlib.contextmanager
    def _observe(self, name: str) -> Generator[Sink]:
        with self.broker.observe(self._identity().topic(name)) as observer:
            yield Sink(observer)

    def status(self) -> Response | None:
        """The retained status message of the device; None when there is none."""
        topic = self._identity().topic(self.settings.status_topic)
        message = self.broker.retained.get(topic)
        return None if message is None else self._response(message)

    def statistics(self) -> Statistics:
        """The runtime's counters."""
        return self.runtime.statistics()

    def _observe_web(self) -> contextlib.AbstractContextManager[Observer]:
        return self.broker.observe(self._identity().topic(self.settings.web_topic))

    def _identity(self) -> Identity:
        identity = self.runtime.identity
        if identity is None:
            raise RuntimeError("the organization ID is not known: await set_organization(...)")
        return identity

    def _response(self, message: Message) -> Response:
        return decode_response(message.payload, _LIMITS, backwards(self.settings.error_codes))

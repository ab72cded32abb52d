"""`Harness`: sending commands to petals, seeing what comes out, and changing the world around them.

The petals run in the real runtime, on an in-process broker, in Trio's time; `open_harness` puts
them together.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
import trio
import trio.testing

from .._serving.runtime import Runtime
from .._values.codec import Limits, encode_command
from .._values.messages import Properties, Response
from .._values.settings.settings import Settings
from ..transports.memory import MemoryBroker
from ._long_work import StartedJob, StreamValues, read_stream, started_job
from ._outputs import Outputs

EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)  # the wall clock when Trio's clock says 0
CALL_TIMEOUT = 120.0  # seconds on Trio's clock; longer than a command's default timeout
POLL_INTERVAL = 0.01  # seconds on Trio's clock
CONNECT_TIMEOUT = 60.0  # seconds on Trio's clock

_LIMITS = Limits(payload_max=16 * 1024 * 1024, depth_max=200, message_id_max=4096)


def new_id(kind: str, earlier: int, number: int) -> str:
    """An ID that no earlier run on the same journal has used, and each run of a test again.

    Args:
        kind: what it begins with.
        earlier: the number of the last command that those have left; 0 for none.
        number: counted in this run.
    """
    return f"{kind}-{earlier}-{number}" if earlier else f"{kind}-{number}"


class OrganizationSource:
    """An organization ID that the test decides."""

    def __init__(self, organization_id: str | None) -> None:
        self.organization_id = organization_id

    def __call__(self) -> str | None:
        return self.organization_id


class Harness(Outputs):
    """Petals being served on an in-process broker; made by `open_harness`.

    Attributes:
        broker: the in-process broker, with its own faults on demand.
        runtime: the real runtime.
        settings: what it runs with.
    """

    def __init__(
        self, broker: MemoryBroker, runtime: Runtime, settings: Settings, source: OrganizationSource
    ) -> None:
        super().__init__(broker, runtime, settings)
        self._source = source
        self._numbers = itertools.count(1)

    # -- commands

    async def call(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        message_id: str | None = None,
        timeout: float = CALL_TIMEOUT,
        properties: Properties | None = None,
        **envelope: Any,
    ) -> Response:
        """Send a command as a client would, over the broker, and wait for its response.

        Args:
            command: the full name, such as `"example-petal/hello"`.
            data: the arguments.
            message_id: `"test-1"`, `"test-2"`, ... when there is none; others in a later run on the
                same journal.
            timeout: seconds on Trio's clock.
            properties: see `send_raw`.
            envelope: more fields of the envelope, or other values for its own.

        Raises:
            trio.TooSlowError: no response came in time.
            RuntimeError: the organization ID is not known, so there is no topic.
        """
        message_id = message_id or self._new_id()
        with (
            trio.fail_after(timeout),
            self.broker.observe(self._identity().topic(self.settings.response_topic)) as seen,
        ):
            self.send(command, data, message_id=message_id, properties=properties, **envelope)
            while True:
                response = self._response(await seen.receive())
                if response.message_id == message_id:
                    return response

    def send(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        message_id: str | None = None,
        qos: int = 1,
        retain: bool = False,
        topic: str | None = None,
        properties: Properties | None = None,
        **envelope: Any,
    ) -> str:
        """Send a command and do not wait; returns its message ID.

        Args:
            command: the full name.
            data: the arguments.
            message_id: see `call`.
            qos: of the message.
            retain: whether the broker keeps it.
            topic: under the base topic; `"command"` when there is none.
            properties: see `send_raw`.
            envelope: more fields of the envelope, or other values for its own.
        """
        message_id = message_id or self._new_id()
        payload = encode_command(
            command,
            data or {},
            message_id=message_id,
            timestamp=self.now().isoformat(),
            wait_response=True,
        )
        if envelope:
            payload = msgspec.json.encode({**msgspec.json.decode(payload), **envelope})
        self.send_raw(payload, qos=qos, retain=retain, topic=topic, properties=properties)
        return message_id

    def send_raw(
        self,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        topic: str | None = None,
        properties: Properties | None = None,
    ) -> None:
        """Send any bytes where commands come in.

        Args:
            payload: the bytes.
            qos: of the message.
            retain: whether the broker keeps it.
            topic: see `send`.
            properties: of MQTT 5. An answer on a Response Topic is seen by `broker.observe`.

        Raises:
            ValueError: there are properties, and the settings' protocol is 3.1.1.
        """
        if properties is not None and not self.settings.speaks_mqtt_5:
            raise ValueError('properties need Settings(protocol="5")')
        full = self._identity().topic(topic or self.settings.command_topics[0])
        self.broker.publish_nowait(full, payload, qos=qos, retain=retain, properties=properties)

    # -- long work

    @contextlib.asynccontextmanager
    async def start_job(
        self, name: str, data: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[StartedJob]:
        """Start a job and watch it for the length of the block; it may go on afterwards.

        Args:
            name: in full, such as `"flight/fetch"`.
            data: the arguments.

        Raises:
            AssertionError: the start was refused; the text has the response.
        """
        stream_id = self._new_id()
        async with started_job(name, data or {}, self.call, self._observe_web, stream_id) as job:
            yield job

    @contextlib.asynccontextmanager
    async def stream(self, name: str, rate: float = 10.0) -> AsyncGenerator[StreamValues]:
        """Read a stream for the length of the block.

        Args:
            name: in full, such as `"telemetry/pose"`.
            rate: values per second, at most.

        Raises:
            AssertionError: the subscription was refused; the text has the response.
        """
        async with read_stream(name, rate, self.call, self._observe_web, self._new_id()) as values:
            yield values

    async def expire_lease(self, job: StartedJob) -> None:
        """Let the lease of a job run out, as when its operator is gone, and the job clean up.

        Under a mock clock; returns at the moment when it has run out.

        Raises:
            ValueError: it has no lease, or has ended.
        """
        left = self.runtime.jobs.lease_left(job.id)
        if left is None:
            raise ValueError(f"the job {job.id} runs under no lease")
        await self.advance(left)

    # -- the world

    @property
    def is_connected(self) -> bool:
        """Whether a link of the present identity is up and subscribed."""
        serving = self.runtime.serving
        # A link that the broker has just dropped is not noticed before the next tick.
        return (
            serving is not None and serving == self.runtime.identity and bool(self.broker.clients)
        )

    def now(self) -> dt.datetime:
        """The wall clock of who sends commands, and of the device, unless it has one of its own."""
        return EPOCH + dt.timedelta(seconds=trio.current_time())

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due by then.

        Under a mock clock it is jumped over, without autojump too; under a real one it is waited.
        """
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, trio.testing.MockClock):
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(seconds)
            await trio.testing.wait_all_tasks_blocked()
        else:
            await trio.sleep(seconds)

    async def wait_connected(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Wait until a link of the present identity is up and subscribed, now.

        Reconnecting takes time, so under a mock clock this needs autojump, or another task that
        calls `advance`.

        Raises:
            trio.TooSlowError: it was not within `timeout` seconds on Trio's clock.
        """
        with trio.fail_after(timeout):
            while not self.is_connected:  # noqa: ASYNC110 - two parties have to agree
                await trio.sleep(POLL_INTERVAL)

    def drop_link(self) -> None:
        """Lose the link as by a network failure. The runtime connects again by itself."""
        self.broker.drop_links()

    async def set_organization(self, organization_id: str | None) -> None:
        """What the source of the organization ID says from now on; None for "not known".

        Returns when the runtime has asked it. A link under the new identity follows; see
        `wait_connected`.
        """
        self._source.organization_id = organization_id
        await self.runtime.ask_identity()

    # -- inside

    def _new_id(self) -> str:
        return new_id("test", self.runtime.parts.ledger.earlier_to, next(self._numbers))

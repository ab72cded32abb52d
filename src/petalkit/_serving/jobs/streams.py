"""The values of a stream, while somebody reads it.

A generator is started by its first reader and ended with its last; what it yields last is what each
reader gets at its next turn. A plain function is called at each turn. What either raises ends the
stream for its readers, who are told; whoever subscribes again starts it anew.

The rule: of a generator there is one at a time. While the last one cleans up, which may take as
long as its hardware, a new reader waits; so does the next life of its petal.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from ..._authoring.context import log_scope
from ..._authoring.jobs.stream import StreamOptions, is_sampled
from ..._authoring.registry import CommandSpec
from ..._authoring.signature.returning import NOT_DECLARED
from ..._values.errors import ErrorCode, PayloadError
from ..._values.messages import Command, Identity
from ..._values.settings.settings import Settings
from ..dispatch.calling import call_handler
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..dispatch.left_open import close_nurseries, tell_left_open
from ..failures import is_interrupt, showable
from ..long_steps import LongSteps
from ..sending.responses import Responses
from .messages import Readers, stream_ends
from .method import Outcome
from .reading.subscriptions import Subscription
from .record import make_execution
from .tasks import Tasks

logger = logging.getLogger("petalkit.streams")

STEP = 64  # values that a generator may yield without a checkpoint


@attrs.frozen(kw_only=True, eq=False)
class StreamSpec:
    """A stream as it was declared.

    Attributes:
        options: what `@stream` was told.
        method: its method, as that of a command.
    """

    options: StreamOptions
    method: CommandSpec

    @property
    def name(self) -> str:
        """In full, as on the wire; readers subscribe to it."""
        return self.method.name


class Stream:
    """One stream of a runtime: what its readers are told of.

    Attributes:
        spec: as declared.
        execution: of its method, while somebody reads it.
        running: of its generator, until that has ended: it cleans up when nobody reads any more.
    """

    def __init__(self, spec: StreamSpec, streams: Streams) -> None:
        self.spec = spec
        self._streams = streams
        self.sampled = is_sampled(spec.method.handler)
        self.execution: Execution | None = None
        self.running: Execution | None = None
        self.fields: Mapping[str, Any] | None = None  # the last value; None before the first
        self.says_last = False

    def tell(self, subscription: Subscription) -> bool:
        """See `Source`."""
        return self._streams.tell(self, subscription)


class Streams:
    """All streams of a runtime.

    Args:
        specs: the streams that petals have.
        settings: bounds.
        dispatcher: ends them with their petals.
        responses: has the dialect and the counters.
        readers: whoever subscribes.
        tasks: where generators run.
    """

    def __init__(
        self,
        specs: Iterable[StreamSpec],
        settings: Settings,
        dispatcher: Dispatcher,
        responses: Responses,
        readers: Readers,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._responses = responses
        self._counters = responses.counters
        self._long_steps = LongSteps(responses.counters)
        self.readers = readers
        self._tasks = tasks
        self.streams = {spec.name: Stream(spec, self) for spec in specs}
        readers.subscriptions.on_unread = self._unread
        dispatcher.slots.beside.append(self)

    @property
    def running(self) -> int:
        """How many run."""
        return sum(one.execution is not None for one in self.streams.values())

    # -- running

    def read(self, stream: Stream, command: Command, identity: Identity) -> None:
        """Somebody reads it from now on: start it, unless it runs."""
        if stream.execution is None:
            stream.execution = make_execution(stream.spec.method, command, identity, logged=False)
            if not stream.sampled and stream.running is None:
                self._start(stream, stream.execution)
        stream.execution.identity = identity  # the newest reader's
        if stream.sampled or stream.fields is not None:
            self.readers.subscriptions.changed(stream.spec.name, stream)

    def _start(self, stream: Stream, execution: Execution) -> None:
        stream.running = execution
        self._tasks.spawn(self._run, stream, execution, name=f"stream {stream.spec.name}")

    def _unread(self, topic: str) -> None:
        """Its last reader is gone."""
        stream = self.streams.get(topic)
        if stream is not None and not stream.spec.options.keep:
            self._end(stream, ErrorCode.CANCELLED, "nobody reads it")

    def _end(self, stream: Stream, code: ErrorCode, text: str) -> None:
        execution, stream.execution, stream.fields = stream.execution, None, None
        if execution is not None:
            execution.cancel(code, text)

    async def _run(self, stream: Stream, execution: Execution) -> None:
        outcome = Outcome(self._responses, self._settings.payload_max)
        execution.spec = attrs.evolve(
            stream.spec.method,
            handler=functools.partial(self._follow, stream, execution),
            bind=lambda *_: {},
            returning=NOT_DECLARED,  # what is declared is each value, and not its end
        )
        try:
            await self._call(execution, outcome)
        finally:
            execution.finished = True
            stream.running = None
            if stream.execution is execution:  # it has ended by itself
                stream.execution = stream.fields = None
                self._dismiss(stream, outcome)
            elif stream.execution is not None and self._tasks.open:  # it was waited for
                self._start(stream, stream.execution)
            self._dispatcher.slots.work_ended()

    async def _call(self, execution: Execution, outcome: Outcome) -> None:
        counters, limiter = self._counters, self._dispatcher.thread_limiter
        try:
            with trio.CancelScope() as scope:
                execution.scope = scope
                log_scope.set(execution)
                if execution.cancelled_as is None:
                    await call_handler(
                        execution, outcome, counters, limiter, lambda _: None, self._long_steps
                    )
        except Exception as error:
            tell_left_open(execution, showable(error))
            text = f"{execution.spec.name} left a cancel scope open"
            outcome.failure(None, ErrorCode.HANDLER_ERROR, text)
        finally:
            task = trio.lowlevel.current_task()
            if task.child_nurseries:
                await close_nurseries(task)

    async def _follow(self, stream: Stream, execution: Execution) -> None:
        method = stream.spec.method
        values = method.handler()
        count = 0
        try:
            async for value in values:
                count += 1
                if count % STEP == 0:  # `yield` is none, though it looks like one
                    await trio.lowlevel.checkpoint()
                if stream.execution is not execution:
                    return
                stream.fields = method.result_fields(value)
                self.readers.subscriptions.changed(stream.spec.name, stream)
        finally:
            with trio.move_on_after(self._settings.cleanup_timeout, shield=True):
                await values.aclose()

    def _dismiss(self, stream: Stream, outcome: Outcome) -> None:
        """Tell its readers that nothing comes any more, and forget them."""
        method = stream.spec.method
        code = outcome.code and outcome.dialect.codes.get(outcome.code, outcome.code)

        def tell(subscription: Subscription) -> bool:
            for ended in stream_ends(code, outcome.error, outcome.fields):
                plain = {"stream": stream.spec.name, **ended}
                with contextlib.suppress(PayloadError):  # it is too large
                    return self.readers.tell(subscription, method, ended, plain=plain, last=True)
            return True

        self.readers.subscriptions.dismiss(stream.spec.name, tell)

    def _fail(self, stream: Stream, error: BaseException) -> None:
        """It has no value that can be told: it ends for its readers."""
        name = stream.spec.name
        with contextlib.suppress(Exception):  # a log's handler of the program's own
            logger.error(
                "stream %s failed, and ends for its readers", name, exc_info=showable(error)
            )
        outcome = Outcome(self._responses, self._settings.payload_max)
        text = f"{name} failed; the device's log has the reason"
        outcome.failure(None, ErrorCode.HANDLER_ERROR, text)
        self._end(stream, ErrorCode.HANDLER_ERROR, text)
        self._dismiss(stream, outcome)

    # -- telling

    def tell(self, stream: Stream, subscription: Subscription) -> bool:
        """Publish its latest value to one reader."""
        method = stream.spec.method
        try:
            if stream.sampled:
                stream.fields = method.result_fields(method.handler())
            if stream.fields is None:
                return True  # it has ended meanwhile
            plain = {"stream": stream.spec.name, "value": stream.fields}
            told = self.readers.tell(subscription, method, stream.fields, plain=plain)
        except BaseException as error:  # SystemExit and asyncio's CancelledError too
            if is_interrupt(error):
                raise
            self._fail(stream, error)
            return True
        if stream.sampled and told:
            self.readers.subscriptions.changed(stream.spec.name, stream)
        return told

    # -- beside commands

    def is_quiet(self, petal: str | None) -> bool:
        """See `Beside`. Nobody waits for a stream to end by itself, but for one that is ended."""
        return not any(
            _cleans_up(stream) and petal in (None, stream.spec.method.petal)
            for stream in self.streams.values()
        )

    def cancel_running(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`."""
        for stream in self.streams.values():
            if stream.execution is not None and which(stream.execution):
                self._end(stream, code, text)
                self.readers.subscriptions.remove(stream.spec.name)

    def refuse_waiting(
        self, code: ErrorCode, text: str, which: Callable[[Execution], bool]
    ) -> None:
        """See `Beside`: none waits."""

    def end_identity(self, identity: Identity) -> None:
        """See `Beside`: readers are those of jobs too."""

    def stuck(self) -> list[str]:
        """See `Beside`."""
        return [one.spec.name for one in self.streams.values() if _cleans_up(one)]

    def stop_begins(self) -> None:
        """See `Beside`: they are read until the end."""

    def may_begin(self) -> None:
        """See `Beside`: none waits."""

    def link_is_up(self) -> None:
        """See `Beside`: they wait for none."""

    def link_is_gone(self) -> None:
        """See `Beside`: they go on, and the newest value is sent when there is one again."""


def _cleans_up(stream: Stream) -> bool:
    return stream.running is not None and stream.running is not stream.execution

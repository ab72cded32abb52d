"""The commands that belong to a stream, and the one that ends all of a petal's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
import trio

from ...._authoring.context import CommandContext
from ...._authoring.declared import CommandOptions
from ...._authoring.jobs.options import SUBSCRIBE, UNSUBSCRIBE
from ...._authoring.jobs.stream import check_stream
from ...._authoring.petal import Petal
from ...._authoring.registry import CommandSpec, make_spec
from ...._authoring.spec import PartOf
from ..reading.subscriptions import Subscription
from ..streams import Stream, Streams, StreamSpec
from .common import RATE, Envelope, StreamId, add_reader, check_new, make_command, refuser

AnyRate = Annotated[float, msgspec.Meta(gt=0)]
UNSUBSCRIBE_ALL = "unsubscribe_all"


def stream_specs(petals: Sequence[Petal]) -> Iterator[StreamSpec]:
    """The streams of these petals.

    Raises:
        RegistrationError: one cannot be served.
    """
    known: dict[str, CommandSpec] = {}
    for petal in petals:
        for options, method in petal.__petalkit_streams__():
            spec = make_spec(petal, CommandOptions(name=options.name), method, is_stream=True)
            check_stream(options, method, refuser(spec))
            check_new(spec, known, "stream")
            yield StreamSpec(options=options, method=spec)


def stream_commands(
    petal: Petal, sources: Iterable[Stream], streams: Streams
) -> Iterator[CommandSpec]:
    """The commands of a petal's streams.

    Args:
        petal: whose.
        sources: the streams of all petals.
        streams: what they start and end.
    """
    own = [one for one in sources if one.spec.method.petal == petal.name]
    for stream in own:
        handlers = _StreamCommands(stream, streams)
        options, of = stream.spec.options, f"stream {stream.spec.method.method}"
        for verb, handler in (
            (SUBSCRIBE, handlers.subscribe),
            (UNSUBSCRIBE, handlers.unsubscribe),
        ):
            part_of = PartOf("stream", stream.spec.name, verb)
            yield make_command(petal, options.beside(verb), handler, part_of, of)
    if own:
        of = f"stream {own[0].spec.method.method}"
        part_of = PartOf("stream", None, UNSUBSCRIBE_ALL)
        yield make_command(petal, UNSUBSCRIBE_ALL, _unsubscriber(own, streams), part_of, of)


def _unsubscriber(own: Sequence[Stream], streams: Streams) -> Any:
    async def unsubscribe_all(subscribed_stream_id: StreamId | None = None) -> dict[str, Any]:
        subscriptions = streams.readers.subscriptions
        gone = sum(subscriptions.remove(one.spec.name, subscribed_stream_id) for one in own)
        return {"unsubscribed": gone}

    return unsubscribe_all


class _StreamCommands:
    """The handlers of a stream."""

    def __init__(self, stream: Stream, streams: Streams) -> None:
        self._stream = stream
        self._streams = streams
        self._name = stream.spec.name

    async def subscribe(
        self,
        context: CommandContext,
        subscribed_stream_id: StreamId,
        data_rate_hz: AnyRate = RATE,
        envelope: Envelope = "web",
    ) -> dict[str, Any]:
        """Get its values, at most so many a second; again to renew, or for another rate."""
        rate = min(data_rate_hz, self._stream.spec.options.max_rate)
        add_reader(
            self._streams.readers.subscriptions,
            Subscription(
                self._name,
                subscribed_stream_id,
                rate,
                context.identity,
                trio.current_time(),
                plain=envelope == "plain",
            ),
        )
        self._streams.read(self._stream, context.command, context.identity)
        return {"published_stream_id": subscribed_stream_id, "data_rate_hz": rate}

    async def unsubscribe(self, subscribed_stream_id: StreamId) -> dict[str, Any]:
        """Get them no more."""
        gone = self._streams.readers.subscriptions.remove(self._name, subscribed_stream_id)
        return {"published_stream_id": subscribed_stream_id, "unsubscribed": bool(gone)}

"""How jobs are worded for those who read them: as fields of an answer, and as messages on the web.

A message of a subscription is what the web clients of this field read: an envelope like that of a
command, around `published_stream_id` and `stream_payload`. The arguments stand under the name that
the dialect's own callers use.

A reader that wants plain events gets one object without that envelope. What a petal gives stands in
it under a key of its own: beside the others it could overwrite them.

The trap is the size: what a job has reported, said and come to are each within bounds, and together
they may be more than one message. What is left out then is named in `left_out`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..._authoring.registry import CommandSpec
from ..._values.codec import encode_json
from ..._values.envelopes.for_web import for_web, plain_event
from ..._values.errors import CommandError, ErrorCode, PayloadError
from ..._values.job_states import JobState
from ..._values.settings.settings import Settings
from ..dispatch.execution import Execution
from ..sending.responses import Responses
from .kind import JobKind
from .reading.subscriptions import Subscription, Subscriptions
from .record import JobRecord

logger = logging.getLogger("petalkit.jobs")

SHOWN = 5  # jobs that a busy answer names
LEFT_OUT = "left_out"
_AROUND = 1024  # bytes of a message beside what a petal says in it
_HEAVY = ("fields", "message", "details", "result")  # what is left out, in this order


def room_for(payload_max: int) -> int:
    """Bytes that a petal may say in one message."""
    return max(payload_max - _AROUND, payload_max // 2)


def lighter(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is said of one job: all, and then less and less of it."""
    yield fields
    left_out: list[str] = []
    for key in _HEAVY:
        if key in fields:
            left_out = [*left_out, key]
            kept = {one: value for one, value in fields.items() if one not in left_out}
            yield {**kept, LEFT_OUT: left_out}


def within(fields: dict[str, Any], most: int) -> dict[str, Any]:
    """As much of what is said of one job as so many bytes hold; never nothing."""
    light = fields
    for light in lighter(fields):
        if _size(light) <= most:
            break
    return light


def several(jobs: Iterable[dict[str, Any]], most: int) -> dict[str, Any]:
    """What is said of many jobs, as `jobs`; of those that have no place, how many there are.

    Args:
        jobs: what is said of each.
        most: bytes for all.
    """
    told = list(jobs)
    if not told or _size(told) <= most:
        return {"jobs": told}
    share, room = most // len(told), most
    found: list[dict[str, Any]] = []
    for fields in told:
        light = within(fields, share)
        room -= _size(light) + 1
        if room < 0:
            return {"jobs": found, "jobs_left_out": len(told) - len(found)}
        found.append(light)
    return {"jobs": found}


def _size(value: object) -> int:
    return len(encode_json(value))


def job_fields(record: JobRecord) -> dict[str, Any]:
    """What is said of a job in an answer, without its result."""
    fields: dict[str, Any] = {"job_id": record.id, "state": str(record.shown)}
    job = record.job
    if record.position is not None:
        fields["position"] = record.position
    if record.shown is JobState.SUCCEEDED:  # of an earlier run too, of which there is no `Job`
        fields["progress"] = 1.0
    elif job is not None:
        fields["progress"] = job.fraction
    if job is not None:
        if record.said is not None:
            fields["message"] = record.said
        if record.reported:
            fields["fields"] = record.reported
    return fields


def ended_fields(record: JobRecord, codes: Mapping[str, str]) -> dict[str, Any]:
    """The same of one that has ended, with its result, or why it has none.

    Args:
        record: it.
        codes: see `Dialect`.
    """
    fields = job_fields(record)
    if record.code is not None:
        fields["job_error_code"] = codes.get(record.code, record.code)
        fields["job_error"] = record.error
        if record.fields:
            fields["details"] = record.fields
    else:
        fields["result"] = record.fields
    return fields


def stream_ends(
    code: str | None, error: str | None, details: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What the readers of a stream are told last, and the same in less and less words.

    Args:
        code: of its failure, in the words of the dialect; None where it has come to its end.
        error: the same for people.
        details: beside.
    """
    short: dict[str, Any] = {"ended": True}
    if code is not None:
        short["error_code"] = code
        yield {**short, "error": error, **details}
        yield {**short, "error": error}
    yield short


def busy(kind: JobKind, holder: Execution | None, most: int, room: int) -> CommandError:
    """The answer to a start for which there is neither a slot nor a place to wait.

    Args:
        kind: of the job.
        holder: what runs in its exclusive group.
        most: how many jobs of all kinds may run.
        room: bytes of what it says of them.
    """
    if holder is not None and kind.has_slot:
        other = {"command": holder.spec.name, "messageId": holder.command.message_id}
        text = f"{holder.spec.name} is running; {kind.options.exclusive} takes one at a time"
        return CommandError(ErrorCode.BUSY, text, retryable=True, details={"running": other})
    text = f"{kind.spec.name} is running"
    if not kind.running:
        text = f"{most} jobs are running, and that is all"
    if kind.options.queue:
        text += f", and {kind.options.queue} wait for their turn"
    return CommandError(
        ErrorCode.BUSY, text, retryable=True, details={"running": some_of(kind, room)}
    )


def some_of(kind: JobKind, room: int) -> list[dict[str, Any]]:
    """The first of those that have not ended, for an answer that says no."""
    first = [job_fields(one) for one in list(kind)[:SHOWN]]
    some: list[dict[str, Any]] = several(first, room)["jobs"]
    return some


class Readers:
    """Those who subscribe, and the messages that they get.

    Args:
        settings: topics and bounds.
        responses: has the dialect, the clock, and the outbox.
        make_id: a new `messageId`.
    """

    def __init__(
        self, settings: Settings, responses: Responses, make_id: Callable[[], str]
    ) -> None:
        self._topic = settings.web_topic
        self._payload_max = settings.payload_max
        self._dialect = responses.dialect
        self._timestamps = responses.timestamps
        self._outbox = responses.outbox
        self.make_id = make_id
        self.subscriptions = Subscriptions(settings.subscriptions, settings.subscription_age)

    @property
    def room(self) -> int:
        """Bytes of what one answer may say of jobs."""
        return room_for(self._payload_max)

    def shown(self, record: JobRecord) -> dict[str, Any]:
        """How a job stands, as far as an answer has room for it; without its result."""
        return within(job_fields(record), self.room)

    def result_of(self, record: JobRecord) -> dict[str, Any]:
        """The same of one that has ended, with what it has come to."""
        return within(ended_fields(record, self._dialect.codes), self.room)

    def tell_job(self, record: JobRecord, subscription: Subscription) -> bool:
        """Publish how a job stands to one reader, if it reads under the identity of the job."""
        if record.execution.identity != subscription.identity:
            return True
        method, last = record.spec.method, record.is_settled
        found = ended_fields(record, self._dialect.codes) if last else job_fields(record)
        for fields in lighter(found):
            plain = {"command": record.spec.name, **fields}
            with contextlib.suppress(PayloadError):
                return self.tell(subscription, method, fields, plain=plain, of=record.id, last=last)
        logger.error("payload_max has no room for how job %s stands", record.id)
        return True

    def tell(
        self,
        subscription: Subscription,
        spec: CommandSpec,
        payload: Mapping[str, Any],
        *,
        plain: Mapping[str, Any],
        of: str = "",
        last: bool = False,
    ) -> bool:
        """Publish a value to one reader; False when there is no room for it now.

        It takes the place of one that has not left yet.

        Args:
            subscription: the reader.
            spec: of its source: readers tell by `/{petal}/publish_{name}` what it is.
            payload: the value.
            plain: what a plain event has beside whose it is, and when.
            of: which source of the topic it is of, where there are several.
            last: whether nothing follows: it is sent until it has arrived.

        Raises:
            PayloadError: JSON cannot say it, or it is too large.
        """
        timestamp, device_id = self._timestamps(), self._dialect.device_id
        if subscription.plain:
            message = plain_event(subscription.stream_id, timestamp, device_id, plain)
        else:
            fields = {"published_stream_id": subscription.stream_id, "stream_payload": payload}
            arguments = self._dialect.arguments, fields
            message = for_web(
                publish_command(spec), self.make_id(), timestamp, device_id, arguments
            )
        encoded = encode_json(message)
        if len(encoded) > self._payload_max:
            text = f"the message has {len(encoded)} bytes; {self._payload_max} are allowed"
            raise PayloadError(ErrorCode.TOO_LARGE, text)
        return self._outbox.events.put_nowait(
            encoded,
            qos=1 if last else 0,
            identity=subscription.identity,
            name=self._topic,
            durable=last,
            latest=f"{subscription.topic} {subscription.stream_id} {of}",
        )


def publish_command(spec: CommandSpec) -> str:
    """The `command` of messages about it: `/{petal}/publish_{name}`."""
    return f"/{spec.petal}/publish_{spec.name.rpartition('/')[2]}"

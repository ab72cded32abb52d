"""How jobs are worded for those who read them: as fields of an answer, and as messages on the web.

A message of a subscription is what the web clients of this field read: an envelope like that of a
command, around `published_stream_id` and `stream_payload`. The arguments stand under the name that
the dialect's own callers use.

A reader that wants plain events gets one object without that envelope. What a petal gives stands in
it under a key of its own: beside the others it could overwrite them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

SHOWN = 5  # jobs that a busy answer names


def job_fields(record: JobRecord) -> dict[str, Any]:
    """What is said of a job in an answer, without its result."""
    fields: dict[str, Any] = {"job_id": record.id, "state": str(record.shown)}
    job = record.job
    if record.position is not None:
        fields["position"] = record.position
    if job is not None:
        fields["progress"] = 1.0 if record.shown is JobState.SUCCEEDED else job.fraction
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


def busy(kind: JobKind, holder: Execution | None, most: int) -> CommandError:
    """The answer to a start for which there is neither a slot nor a place to wait.

    Args:
        kind: of the job.
        holder: what runs in its exclusive group.
        most: how many jobs of all kinds may run.
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
    running = [job_fields(one) for one in list(kind)[:SHOWN]]
    return CommandError(ErrorCode.BUSY, text, retryable=True, details={"running": running})


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

    def tell_job(self, record: JobRecord, subscription: Subscription) -> bool:
        """Publish how a job stands to one reader, if it reads under the identity of the job."""
        if record.execution.identity != subscription.identity:
            return True
        method, last = record.spec.method, record.is_settled
        fields = self.ended_fields(record) if last else job_fields(record)
        plain = {"command": record.spec.name, **fields}
        return self.tell(subscription, method, fields, plain=plain, of=record.id, last=last)

    def ended_fields(self, record: JobRecord) -> dict[str, Any]:
        """See `ended_fields`, in the codes of the dialect."""
        return ended_fields(record, self._dialect.codes)

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
        if len(encoded) > self._payload_max and not last:
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

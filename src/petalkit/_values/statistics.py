"""Counters: what happened, counted where it happens, read as one frozen value.

P5 says that nothing is dropped without a code and a counter; the counters are here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from .errors import ErrorCode

CODES_MAX = 200  # error codes of petals that are counted by themselves
CODE_LENGTH_MAX = 100  # characters of such a code
OTHER = "OTHER"  # what the rest is counted under
_OWN_CODES = frozenset([*map(str, ErrorCode), OTHER])


@attrs.define
class Counters:
    """The running totals of one runtime. Only ever counted up."""

    received: int = 0
    accepted: int = 0
    started: int = 0
    succeeded: int = 0
    failed: Counter[str] = attrs.field(factory=Counter)
    refused: Counter[str] = attrs.field(factory=Counter)
    duplicates_joined: int = 0
    duplicates_answered: int = 0
    unexpected_topic: int = 0
    malformed: int = 0
    given_back: int = 0
    unanswered: int = 0
    expiry_unjudged: int = 0
    response_topics_refused: int = 0
    acks_unsent: int = 0
    unencodable: int = 0
    long_steps: int = 0
    links: int = 0
    links_lost: int = 0
    links_stalled: int = 0
    sessions_lost: int = 0
    connects_failed: int = 0
    published: int = 0
    publish_rejected: int = 0
    publish_deferred: int = 0
    publish_set_aside: int = 0
    publish_expired: int = 0
    pubacks_lost: int = 0
    events_replaced: int = 0
    publish_unsent: int = 0
    journal_batches: int = 0
    journal_operations: int = 0
    journal_failures: int = 0
    restored: int = 0
    interrupted: int = 0
    jobs_started: int = 0
    jobs_restored: int = 0
    jobs_ended: Counter[str] = attrs.field(factory=Counter)
    second_phases: int = 0
    petals_restarted: int = 0
    slots_lost: int = 0

    def totals(self) -> dict[str, Any]:
        """All of them as they are now, by name; `Statistics` has a field of each name."""
        return attrs.asdict(self, value_serializer=lambda _one, _field, value: _as_dict(value))

    def count_failed(self, code: str) -> None:
        """Count one more in `failed`; a petal can invent codes without end."""
        if code not in _OWN_CODES and code not in self.failed:
            full = len(self.failed.keys() - _OWN_CODES) >= CODES_MAX
            if full or len(code) > CODE_LENGTH_MAX:
                code = OTHER
        self.failed[code] += 1


def _as_dict(value: Any) -> Any:
    return dict(value) if isinstance(value, Counter) else value


@attrs.frozen(kw_only=True)
class Statistics:
    """What `runtime.statistics()` returns: totals since the start, and how it stands now."""

    received: int
    """Deliveries handed over by the link, of every kind."""
    accepted: int
    """Commands taken into the channel, or to wait on disk when they are safe there, or started at
    once because they are urgent."""
    started: int
    """Commands whose handler was called."""
    succeeded: int
    """Commands whose handler returned a result that could be sent."""
    failed: Mapping[str, int]
    """Accepted commands that ended otherwise, by `error_code`. Of codes that petals invent, 200
    have a key of their own; the others, and those of more than 100 characters, count as `OTHER`."""
    refused: Mapping[str, int]
    """Deliveries that were never accepted, by `error_code`."""
    duplicates_joined: int
    """Copies of a command that was queued or running; it answers for them."""
    duplicates_answered: int
    """Copies of a finished command, answered from the record and not run; and what may be the
    broker's second delivery of one that was refused: it gets the same refusal again."""
    unexpected_topic: int
    """Deliveries on a topic that this identity does not serve: acknowledged, not run. All of them,
    on a broker that takes a dot in an ID for a slash."""
    malformed: int
    """Deliveries that break MQTT, as properties that are not UTF-8 do: acknowledged, not run. The
    first such message ends its link and is not counted here."""
    given_back: int
    """Deliveries that were held, or came while stopping, and are left to the broker, which has them
    unacknowledged and delivers them again."""
    unanswered: int
    """Refusals that could not be answered: no readable messageId, rate of debug, no place
    (`refusal_capacity`), or no link any more at a stop; and answers to urgent commands that had to
    make room for newer ones."""
    expiry_unjudged: int
    """Commands whose `expiresAt` or age nobody could judge when they came, because the device's
    clock was not set: see `clock_unset`."""
    response_topics_refused: int
    """Response Topics (MQTT 5) on which nothing is published: a device's, the broker's, or not
    among `reply_topics`."""
    acks_unsent: int
    """Receipts (`waitAck`) for which there was no place in the outbox, or which were too large."""
    unencodable: int
    """Results of handlers that could not be sent: envelope overwritten, or no JSON for them."""
    long_steps: int
    """Times that decoding a payload, making arguments of it, or encoding a result kept the event
    loop for more than 20 ms. Of what has 2 KiB or more."""
    links: int
    """Links that were subscribed and ready."""
    links_lost: int
    """Links that were lost, not left."""
    links_stalled: int
    """Of the links that were lost, those on which nothing was delivered any more: see
    `probe_interval`."""
    sessions_lost: int
    """Sessions that the broker should have kept, and had not at the next link: what was sent
    meanwhile is lost."""
    connects_failed: int
    """Attempts to connect or subscribe that failed."""
    published: int
    """Responses and events acknowledged by the broker (QoS 0: handed over)."""
    publish_rejected: int
    """Responses and events that the broker refused for good."""
    publish_deferred: int
    """Times that the broker refused a response or an event for now. It is sent again later."""
    publish_set_aside: int
    """Responses and events given up because five links died soon after they were sent, the last
    three with nothing else in flight."""
    publish_expired: int
    """Responses and events that were too old to send."""
    pubacks_lost: int
    """Links that were ended because a PUBACK had not come, though the broker answered what was sent
    later: see `puback_margin`. The message is sent again."""
    events_replaced: int
    """Unsent events that a newer one of the same `latest` key has replaced."""
    publish_unsent: int
    """Responses and events still unsent when the runtime stopped."""
    journal_batches: int
    """Batches that the journal has written, each with one wait for the disk."""
    journal_operations: int
    """What was in them: beginnings and endings of commands and messages."""
    journal_failures: int
    """Attempts to write the journal that failed. What they held is tried again."""
    restored: int
    """Commands of an earlier run that were taken up again, to be started."""
    interrupted: int
    """Commands of an earlier run that were running when it died: answered `INTERRUPTED`."""
    jobs_started: int
    """Jobs that were begun, or let wait for their turn. A renewed lease starts none."""
    jobs_restored: int
    """Jobs of an earlier run that had not ended, taken up again: to start, to go on, or as
    `interrupted`."""
    jobs_ended: Mapping[str, int]
    """Jobs that have ended, by their final state. Not those that a stop leaves to the next run."""
    second_phases: int
    """Commands that were answered before they ended, and have told what they came to."""
    petals_restarted: int
    """Times that a petal which had failed was started again, well or not."""
    paused_seconds: float
    """Seconds in which nothing was read on a link that was up, because there was no room. What came
    meanwhile the broker keeps, or drops: a QoS 0 command soon, one of QoS 1 above its bound."""
    slots_lost: int
    """Commands whose handler, or its thread, had not ended 10 s after its time was over or it was
    cancelled: it keeps a slot of its petal. Each is named in the log, at WARNING."""
    log_dropped: int
    """Lines of this process's log, and of what petals print, that nobody read in time."""
    connected: bool
    """Whether a link is up and subscribed."""
    clock_set: bool
    """Whether the device's clock can be right; not while it says a day before 2025."""
    identity_known: bool
    """Whether the organization ID is known."""
    waiting: int
    """Commands accepted and not started."""
    waiting_bytes: int
    """Their payload bytes."""
    held: int
    """Commands read but neither accepted nor acknowledged, because the channel is full."""
    waiting_on_disk: int
    """Accepted commands in the journal only, because the channel is full."""
    journal_failing: bool
    """Whether the journal cannot be written now, so that commands are answered `UNAVAILABLE`."""
    journal_sync: str
    """How the journal waits for the disk: `pwritev` (one call for each batch), `fdatasync` (two,
    where the kernel or the file system has no such call), `sqlite` (where there is no room for its
    log); empty without a journal."""
    running: int
    """Commands whose handler runs now, urgent ones and abandoned threads included."""
    jobs_waiting: int
    """Jobs that wait for their turn."""
    jobs_running: int
    """Jobs that run, or clean up."""
    subscriptions: int
    """Readers of jobs and streams."""
    streams_running: int
    """Streams whose values somebody reads, or that are kept running."""
    outbox: int
    """Responses and events not yet acknowledged by the broker."""
    outbox_bytes: int
    """Their payload bytes."""
    remembered: int
    """Finished commands in the duplicate window; with a journal, commands in its memory."""
    memory_bound: int
    """Bytes that all buffers of the runtime hold together at most, by its settings: the sum of
    `memory_bounds`."""
    unavailable_petals: tuple[str, ...]
    """Petals that have failed, and are not in service again; their commands are answered
    `UNAVAILABLE`."""

"""What all buffers of a runtime hold together, at most: the sum of their bounds.

The rule: each buffer that grows with what others send is in this sum, by what bounds it: settings,
or a constant beside the buffer. `tests/serving/test_memory.py` finds the buffers in the code, and
fails at one that is not in the sum. The trap: a bound by number is none where each may be as long
as a payload; so here everything is bytes.

Not in it: Python, the petals, and what a handler makes of its arguments. JSON may take 25 times its
bytes when it is decoded (a list of empty objects), and that is done for commands that are about to
start: at most `concurrency` and `urgent_concurrency` of them, of `payload_max` each. The same is so
of jobs; and those of one `@job` are in it, for how many of these there are is no setting.
"""

from __future__ import annotations

import attrs

from .._values.settings.settings import HTTP_OFF, Settings
from ..transports._base_link import OUTGOING_BYTES, READ_SIZE
from ..transports._receiving.bounded_inbox import (
    BUFFER_BYTES,
    BUFFER_MESSAGES,
    ENVELOPE_MAX,
    PUBLISH_OVERHEAD,
    TOPIC_ALIAS_MAXIMUM,
    WAITING_FACTOR,
    packet_limit,
)
from .dispatch.execution import DECODED_BYTES, PUT_AWAY_MIN
from .intake.backlog.lanes import READ_AT_ONCE
from .intake.parked import PACKET_IDS
from .ledger.journal.folding.statements import SIZES, STATEMENT_BYTES
from .ledger.journal.log.segments import LOG_SIZE
from .ledger.journal.write_ahead import OPERATIONS_MAX
from .ledger.recent_refusals import ANSWER_MAX, REMEMBERED
from .ledger.remembered.replay_window import ID_BYTES, URGENT_BYTES, URGENT_MAX
from .sending.state.places import ALLOWANCE

ENTRY = 1024  # bytes of the objects of one command or message beside its own bytes, about
TOPIC_MAX = 64 * 1024  # bytes, by MQTT
PARKED_ENTRY = 640  # the same of one that is parked, measured
DELIVERY = 256  # the same of one whose acknowledgement waits for its turn
NAME = 160  # the same of a messageId that is remembered, in a dictionary
FINISHED = 160  # the same of the number of a command that has finished, in the order of forgetting
DECODED_FACTOR = 25  # times its bytes that JSON takes when it is decoded
LOG_BYTES = 2 * 1024 * 1024  # lines that wait for readers: of standard output, and of the log
LOG_FACTOR = 8  # times its bytes that what is in the journal's log takes, with small commands
SQLITE_CACHE = 2 * 1024 * 1024  # bytes of pages of one connection: SQLite's own default
SQLITE_CONNECTIONS = 2
REQUEST = 384 * 1024  # of one connection, besides: what was read and waits, and its head
TURN = 256  # the same of what is to be told of one job or stream to one reader
_BLOBS = 4  # statements with rows that can be long: of commands, results, messages and jobs


@attrs.frozen
class MemoryBound:
    """What one kind of buffer holds, at most.

    Attributes:
        buffer: what it is.
        size: bytes.
        settings: names of those that it follows; none for one that is fixed.
    """

    buffer: str
    size: int
    settings: tuple[str, ...] = ()


def memory_bounds(settings: Settings) -> tuple[MemoryBound, ...]:
    """What each kind of buffer holds at most, under these settings.

    `sum(bound.size for bound in memory_bounds(settings))` is what a runtime takes beyond what it
    takes when it is idle, whatever is sent to it: `memory_bound` of its statistics. A text counts
    one byte for each character, as those of IDs take it that are ASCII.

    Args:
        settings: of the runtime.
    """
    bounds = [*_link(settings), *_commands(settings), *_answers(settings), *_jobs(settings)]
    if settings.journal is not None:
        bounds += _journal(settings)
    if settings.compat_http not in (None, HTTP_OFF):  # by default, only petals of the guide know
        bounds.append(_requests(settings))
    return tuple(bounds)


def memory_bound(settings: Settings) -> int:
    """The sum of `memory_bounds`, in bytes."""
    return sum(bound.size for bound in memory_bounds(settings))


def _link(settings: Settings) -> list[MemoryBound]:
    if settings.transport == "sidecar":
        body = settings.payload_max + ENVELOPE_MAX
        size = 2 * settings.callback_connections * body  # as bytes, and decoded to a payload
        names = ("callback_connections", "payload_max")
        outgoing = 2 * settings.sidecar_publish_concurrency * body
        return [
            MemoryBound("messages of the sidecar", size, names),
            MemoryBound(
                "publishes to the sidecar", outgoing, ("sidecar_publish_concurrency", "payload_max")
            ),
        ]
    packet = packet_limit(settings.payload_max)
    inbox = WAITING_FACTOR * (BUFFER_BYTES + BUFFER_MESSAGES * ENTRY) + READ_SIZE + packet
    # One that is not whole yet, and a copy of it while it is read; and topics with an alias.
    partial = 2 * packet + 2 * READ_SIZE + TOPIC_ALIAS_MAXIMUM * TOPIC_MAX
    # Copied once for the socket; and the packet that is too much.
    outgoing = 3 * OUTGOING_BYTES + settings.payload_max + PUBLISH_OVERHEAD
    return [
        MemoryBound("read, and not judged", inbox, ("payload_max",)),
        MemoryBound("a packet that is not whole", partial, ("payload_max",)),
        MemoryBound("deliveries whose acknowledgement waits", PACKET_IDS * DELIVERY),
        MemoryBound("written, and not sent", outgoing, ("payload_max",)),
    ]


def _commands(settings: Settings) -> list[MemoryBound]:
    waiting = settings.channel_capacity + settings.channel_reserve
    entry = ENTRY + settings.properties_max
    # What is not recorded has a reserve of bytes, as large again.
    channel = 2 * settings.channel_bytes + settings.payload_max + waiting * entry
    small = min(waiting * PUT_AWAY_MIN, settings.channel_bytes)
    decoded = DECODED_FACTOR * (DECODED_BYTES + settings.payload_max + small)
    parked = settings.channel_bytes + BUFFER_BYTES
    running = settings.concurrency + settings.urgent_concurrency
    window = settings.duplicate_bytes + settings.duplicate_window * (
        ENTRY + settings.message_id_max
    )
    replays = URGENT_MAX * URGENT_BYTES
    replays += settings.replay_count * ID_BYTES if settings.replay_window else 0
    refusals = REMEMBERED * (ANSWER_MAX + ENTRY + settings.message_id_max)
    return [
        MemoryBound(
            "waiting to start", channel,
            ("channel_bytes", "channel_capacity", "channel_reserve", "payload_max",
             "properties_max"),
        ),
        MemoryBound(
            "of these, decoded", decoded,
            ("channel_capacity", "channel_reserve", "payload_max"),
        ),
        MemoryBound(
            "read, and held unacknowledged", parked + PACKET_IDS * PARKED_ENTRY,
            ("channel_bytes",),
        ),
        MemoryBound(
            "running", running * (settings.payload_max + entry),
            ("concurrency", "urgent_concurrency", "payload_max", "properties_max"),
        ),
        MemoryBound(
            "finished, and remembered", window,
            ("duplicate_bytes", "duplicate_window", "message_id_max"),
        ),
        MemoryBound("IDs within the replay window", replays, ("replay_count",)),
        MemoryBound("refused, and remembered", refusals, ("message_id_max",)),
    ]  # fmt: skip


def _answers(settings: Settings) -> list[MemoryBound]:
    # Beyond it only urgent commands are answered, up to the double; and what ran when it was
    # reached.
    running = settings.concurrency + settings.urgent_concurrency
    messages = settings.response_capacity + ALLOWANCE + settings.event_capacity
    outbox = 2 * settings.outbox_bytes + running * settings.payload_max + messages * ENTRY
    # What is held has the bytes of refusals once more, with what it takes beside its answer.
    refusals = 2 * settings.refusal_bytes + settings.refusal_capacity * ENTRY
    return [
        MemoryBound(
            "the outbox", outbox,
            ("outbox_bytes", "response_capacity", "event_capacity", "concurrency",
             "urgent_concurrency", "payload_max"),
        ),
        MemoryBound(
            "answers to what was refused", refusals, ("refusal_bytes", "refusal_capacity")
        ),
        MemoryBound("lines of the log", LOG_BYTES),
    ]  # fmt: skip


def _jobs(settings: Settings) -> list[MemoryBound]:
    known = settings.job_concurrency + settings.job_results
    reader = ENTRY + settings.job_concurrency * TURN
    return [
        MemoryBound(
            "jobs", known * (settings.payload_max + ENTRY),
            ("job_concurrency", "job_results", "payload_max"),
        ),
        MemoryBound(
            "readers of jobs and streams", settings.subscriptions * reader,
            ("subscriptions", "job_concurrency"),
        ),
    ]  # fmt: skip


def _requests(settings: Settings) -> MemoryBound:
    # A body as it came in, and as one; and of a WebSocket a message, and those behind it.
    size = settings.compat_http_connections * (2 * settings.compat_http_body_max + REQUEST)
    names = ("compat_http_connections", "compat_http_body_max")
    return MemoryBound("requests to petals of the guide", size, names)


def _journal(settings: Settings) -> list[MemoryBound]:
    # Those that wait in it only have their own bytes until they are written, and a copy is bound.
    accepted = 2 * (settings.channel_bytes + settings.payload_max)
    answers = settings.outbox_bytes + settings.concurrency * settings.payload_max  # the copies
    writing = accepted + answers + OPERATIONS_MAX * ENTRY
    statements = _BLOBS * (len(SIZES) * STATEMENT_BYTES + settings.payload_max)
    # What may be a copy soon is not forgotten, whatever the number.
    finished = settings.journal_count + settings.replay_count
    names = finished + settings.journal_backlog + settings.channel_capacity
    numbers = names * (NAME + settings.message_id_max) + finished * FINISHED
    return [
        MemoryBound(
            "to be written to the journal", writing,
            ("channel_bytes", "outbox_bytes", "concurrency", "payload_max"),
        ),
        MemoryBound("in the journal's log, and not in its database", LOG_FACTOR * LOG_SIZE),
        MemoryBound(
            "SQLite", SQLITE_CONNECTIONS * SQLITE_CACHE + statements, ("payload_max",)
        ),
        MemoryBound(
            "IDs of commands in the journal", numbers,
            ("journal_count", "replay_count", "journal_backlog", "channel_capacity",
             "message_id_max"),
        ),
        MemoryBound(
            "read from the journal, to be taken up",
            READ_AT_ONCE * (settings.payload_max + ENTRY) + settings.journal_backlog * NAME,
            ("payload_max", "journal_backlog"),
        ),
    ]  # fmt: skip

"""The settings as one frozen value: every limit has a name, a unit, a default and a check.

Loading them from files and the environment is the business of `petalkit.cli`. The docs' settings
reference is made from the metadata here, so a field without a `help` is a failing test.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

import attrs

from ..errors import ConfigError
from ..messages import DEFAULT_BASE_TOPIC
from .checks import (
    alpn_names,
    as_text,
    at_least,
    base_topic,
    count,
    host_name,
    mqtt_size,
    mqtt_text,
    one_of,
    positive_seconds,
    relative_topic,
    relative_topics,
    seconds,
    segment,
    some_bytes,
    topic_filters,
)
from .proxies import PROXY_OFF, check_credentials, check_proxy
from .reach import refuse_without_effect
from .server_references import check_patterns

Overflow = Literal["wait", "reject", "drop-oldest"]
Acknowledge = Literal["accepted", "handled"]
AnswerUnknown = Literal["all", "own", "none"]
Protocol = Literal["3.1.1", "5"]
DialectName = Literal["guide", "host-0.2"]
WhenFull = Literal["refuse", "hold"]
ClockUnset = Literal["accept", "refuse"]
RestartPolicy = Literal["never", "on-failure"]
RESTART_POLICIES: tuple[RestartPolicy, ...] = ("never", "on-failure")
UnknownKeysRule = Literal["ignore", "refuse"]
OrganizationSource = Callable[[], "str | Awaitable[str | None] | None"]
SecretSource = Callable[[], "str | Awaitable[str | None] | None"]

KIB = 1024
MIB = 1024 * KIB
DEFAULT_ORGANIZATION_FILE = Path("/opt/droneleaf/certs/perm/thing-parameters.json")

# What may be renewed while the device runs: each is fixed, or `..._file`, or `..._source`, and one
# of these alone, so that nobody has to know which takes precedence.
RENEWABLE = ("username", "password", "key_password", "sidecar_token")

T = TypeVar("T")


JOURNAL_OFF = "off"
_OFF_WORDS = frozenset({JOURNAL_OFF, "false", "no", "none", "0"})
_ON_WORDS = frozenset({"on", "true", "yes", "1"})


def is_off(value: object) -> bool:
    """Whether a word says that there is no journal; a path is never a word."""
    return not isinstance(value, os.PathLike) and str(value).lower() in _OFF_WORDS


def is_default_place(value: object) -> bool:
    """Whether a word says that there is a journal, and not where; a path is never a word."""
    return not isinstance(value, os.PathLike) and str(value).lower() in _ON_WORDS


def _absolute(value: str | os.PathLike[str]) -> Path:
    """The path as it is meant now: a petal may change the current folder between two uses."""
    return Path(value).absolute()


def _journal_path(value: Any) -> Path | None:
    if value is None or is_off(value):
        return None
    if is_default_place(value):
        raise ConfigError("journal", f"must be a file; only `petalkit run` takes {value!r}")
    return _absolute(value)


def _setting(
    default: T, text: str, *, unit: str = "", check: Any = None, secret: bool = False
) -> T:
    metadata = {"help": text, "unit": unit, "secret": secret}
    field: T = attrs.field(default=default, validator=check, repr=not secret, metadata=metadata)
    return field


def _file_setting(default: None, text: str) -> Path | None:
    metadata = {"help": text, "unit": "", "secret": False}
    field: Path | None = attrs.field(
        default=default, converter=attrs.converters.optional(_absolute), metadata=metadata
    )
    return field


@attrs.frozen(kw_only=True)
class Settings:
    """How a runtime behaves. Frozen; change one with `attrs.evolve`.

    Times are seconds, sizes are bytes. The same names serve the configuration file, the
    environment (`PETALKIT_` and the name in capitals) and the command line.

    Raises:
        ConfigError: a value cannot be used; it names the setting.
    """

    # -- where to, and as whom
    broker: str = _setting(
        "mqtt://localhost:1883",
        "Address of the broker: mqtt:// or mqtts://, host and port; ws:// or wss:// and a path "
        "too; or unix:// and a path.",
    )
    transport: str = _setting(
        "asyncio-mqtt",
        "Which transport carries the messages: asyncio-mqtt, native (MQTT 5, less CPU), or sidecar "
        "(an external MQTT client, over HTTP).",
    )
    protocol: Protocol = attrs.field(
        # Of the transport: native has MQTT 5 only.
        default=attrs.Factory(
            lambda self: "5" if self.transport == "native" else "3.1.1", takes_self=True
        ),
        converter=as_text,  # what a file has without quotes
        validator=one_of("3.1.1", "5"),
        metadata={
            "help": "MQTT version; there is no silent fallback. The native transport has 5 only.",
            "unit": "",
            "secret": False,
            "default": "3.1.1, with native 5",
        },
    )
    organization_id: str | None = _setting(
        None, "A fixed organization ID. Goes before the file.", check=segment
    )
    organization_file: Path = attrs.field(
        default=DEFAULT_ORGANIZATION_FILE,
        converter=_absolute,
        metadata={
            "help": "The file that the organization ID is read from.",
            "unit": "",
            "secret": False,
        },
    )
    organization_source: OrganizationSource | None = _setting(
        None, "A callable that gives the organization ID, or None while it is not known."
    )
    organization_poll_interval: float = _setting(
        5.0, "How often the file or the callable is asked.", unit="s", check=positive_seconds
    )
    device_id: str | None = _setting(
        None, "The device ID; without one, Instance- and the hashed machine ID.", check=segment
    )
    client_id: str | None = _setting(
        None,
        "The MQTT client ID; without one it is made of organization and device ID.",
        check=mqtt_text,
    )

    # -- security
    username: str | None = _setting(None, "User name for the broker.", check=mqtt_text)
    username_file: Path | None = _file_setting(
        None, "A file that holds the user name and nothing else; read at each connect."
    )
    username_source: SecretSource | None = _setting(
        None, "A callable that gives the user name, asked at each connect."
    )
    password: str | None = _setting(None, "Password for the broker.", check=mqtt_size, secret=True)
    password_file: Path | None = _file_setting(
        None,
        "A file that holds the password for the broker and nothing else; read at each connect.",
    )
    password_source: SecretSource | None = _setting(
        None, "A callable that gives the password, asked at each connect."
    )
    ca_file: Path | None = _file_setting(
        None, "CA certificates (PEM) to trust in place of the system's."
    )
    cert_file: Path | None = _file_setting(None, "Client certificate (PEM).")
    key_file: Path | None = _file_setting(None, "Private key (PEM) of the client certificate.")
    key_password: str | None = _setting(
        None, "Password of an encrypted key_file.", check=mqtt_size, secret=True
    )
    key_password_file: Path | None = _file_setting(
        None,
        "A file that holds the password of an encrypted key_file and nothing else; read at each "
        "connect.",
    )
    key_password_source: SecretSource | None = _setting(
        None, "A callable that gives the password of an encrypted key_file, asked at each connect."
    )
    tls_server_name: str | None = _setting(
        None,
        "The name that the broker's certificate has to carry (and SNI says), where that is not the "
        "host in broker: for a broker reached by IP address or through a tunnel.",
        check=host_name,
    )
    alpn: tuple[str, ...] = _setting(
        (),
        "ALPN protocol names, such as x-amzn-mqtt-ca for AWS IoT Core on port 443.",
        check=alpn_names,
    )
    allow_insecure: bool = _setting(False, "Allow plain TCP to an address that is not loopback.")
    proxy: str | None = attrs.field(
        default=None,
        validator=check_proxy,
        metadata={
            "help": "HTTP proxy to reach the broker through (CONNECT): http://host:port; off for "
            "none.",
            "unit": "",
            "secret": False,
            "off": PROXY_OFF,
            "default": "none; on the command line HTTPS_PROXY, for mqtts:// and wss://",
        },
    )
    proxy_credentials: str | None = _setting(
        None, "name:password for the proxy (Basic).", check=check_credentials, secret=True
    )
    websocket_headers_file: Path | None = _file_setting(
        None,
        "HTTP headers more to open a WebSocket with, such as Authorization: one a line; read at "
        "each connect.",
    )
    server_references: tuple[str, ...] = _setting(
        (),
        "Other servers that the broker may send us to (MQTT 5): host, host:port or *.example.com.",
        check=check_patterns,
    )

    # -- topics
    base_topic: str = _setting(
        DEFAULT_BASE_TOPIC, "What every other topic stands under.", check=base_topic
    )
    command_topics: tuple[str, ...] = _setting(
        ("command", "command/edge"), "Where commands come in.", check=relative_topics
    )
    web_topic: str = _setting("command/web", "Events to web clients.", check=relative_topic)
    response_topic: str = _setting("response", "Responses.", check=relative_topic)
    debug_topic: str = _setting(
        "debug", "Debug messages, and refusals that nobody can be answered.", check=relative_topic
    )
    ack_topic: str = _setting(
        "ack", "Receipts of commands with waitAck (dialect host-0.2).", check=relative_topic
    )
    status_topic: str = _setting("status", "Birth and will.", check=relative_topic)
    status_retain: bool = _setting(
        True, "Retain them; without, for brokers that refuse what is retained."
    )
    dialect: DialectName = _setting(
        "guide",
        "How responses and events are worded: as the integration guide has it, or as the host "
        "application does since its 0.2.",
        check=one_of("guide", "host-0.2"),
    )

    # -- the link
    keep_alive: int = _setting(20, "MQTT keep alive.", unit="s", check=at_least(1, at_most=65_535))
    clean_start: bool = _setting(False, "Start without the session that the broker kept.")
    session_expiry: int = _setting(
        3600,
        "How long the broker keeps the session of an absent device (MQTT 5; a 3.1.1 broker "
        "keeps it as it pleases, unless this is 0).",
        unit="s",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    will_delay: int = _setting(
        0,
        "How long the broker waits with the will, which a device that is back in time takes away "
        "(MQTT 5).",
        unit="s",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    receive_maximum: int = _setting(
        100,
        "How many unacknowledged messages the broker may send (MQTT 5).",
        check=at_least(1, at_most=65_535),
    )
    packet_maximum: int = _setting(
        0,
        "Longest packet that the broker may send, as it is told (MQTT 5); 0 to tell it none.",
        unit="bytes",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    publish_maximum: int = _setting(
        100,
        "How many of our messages may wait for their PUBACK at once; the broker may say fewer.",
        check=at_least(1, at_most=65_535),
    )
    connect_timeout: float = _setting(
        10.0,
        "Longest silence on the way to a connection and its CONNACK, and a sixth of the longest "
        "attempt.",
        unit="s",
        check=positive_seconds,
    )
    subscribe_timeout: float = _setting(
        10.0,
        "Longest silence while a SUBACK, an UNSUBACK or the PUBACK of online is awaited.",
        unit="s",
        check=positive_seconds,
    )
    publish_timeout: float = _setting(
        60.0,
        "Longest silence while a PUBACK is awaited and the link is read; then it counts as dead.",
        unit="s",
        check=positive_seconds,
    )
    disconnect_timeout: float = _setting(
        2.0, "Longest time for leaving the broker politely.", unit="s", check=seconds
    )
    reconnect_delay_min: float = _setting(
        0.5,
        "Upper bound of the first random wait before a reconnect.",
        unit="s",
        check=positive_seconds,
    )
    reconnect_delay_max: float = _setting(
        30.0,
        "Upper bound of every random wait before a reconnect.",
        unit="s",
        check=positive_seconds,
    )
    takeover_delay_max: float = _setting(
        300.0,
        "The same while another client seems to take over the session again and again.",
        unit="s",
        check=positive_seconds,
    )
    stable_after: float = _setting(
        3.0, "A link that lived so long resets the waits.", unit="s", check=positive_seconds
    )

    # -- the sidecar
    sidecar_url: str = _setting(
        "http://127.0.0.1:3004",
        "Where the external MQTT client of the transport sidecar answers: http:// or https://.",
    )
    callback_listen: str = _setting(
        "127.0.0.1:3005", "Address and port on which we wait for that client's messages."
    )
    callback_url: str | None = _setting(
        None, "What that client is told of it; without one it is made of callback_listen."
    )
    sidecar_token: str | None = _setting(
        None, "A secret shared with that client: without it no message is taken.", secret=True
    )
    sidecar_token_file: Path | None = _file_setting(
        None, "A file that holds that secret and nothing else; read for each link."
    )
    sidecar_token_source: SecretSource | None = _setting(
        None, "A callable that gives that secret, asked for each link."
    )
    sidecar_probe_interval: float = _setting(
        5.0, "How often that client is asked for its health.", unit="s", check=positive_seconds
    )
    sidecar_probe_timeout: float = _setting(
        2.0, "Longest wait for the answer.", unit="s", check=positive_seconds
    )
    sidecar_subscribe_interval: float = _setting(
        300.0,
        "A topic on which nothing has come for so long is subscribed again; 0 for never.",
        unit="s",
        check=seconds,
    )
    sidecar_request_timeout: float = _setting(
        10.0,
        "Longest wait for that client's answer to one publish or subscribe.",
        unit="s",
        check=positive_seconds,
    )
    sidecar_publish_concurrency: int = _setting(
        8, "Publishes under way to that client at once, each of another topic.", check=count
    )
    callback_connections: int = _setting(
        64, "Connections of that client, and messages of it that wait, at most.", check=count
    )
    callback_timeout: float = _setting(
        10.0,
        "How long a message of that client waits for room before it is answered 503.",
        unit="s",
        check=seconds,
    )
    callback_when_full: WhenFull = _setting(
        "refuse",
        "What to do then: refuse it with 503, for that client to send it again, or hold it.",
        check=one_of("refuse", "hold"),
    )

    # -- intake
    channel_capacity: int = _setting(
        1000, "Accepted commands that have not started, at most.", check=count
    )
    channel_bytes: int = _setting(
        16 * MIB, "Payload bytes of the same, at most.", unit="bytes", check=some_bytes
    )
    channel_reserve: int = _setting(
        32,
        "Commands still read when that is full, so that urgent ones among them start.",
        check=at_least(0),
    )
    overflow: Overflow = _setting(
        "wait", "What to do with more than that.", check=one_of("wait", "reject", "drop-oldest")
    )
    acknowledge: Acknowledge = _setting(
        "accepted",
        "When a command is acknowledged to the broker.",
        check=one_of("accepted", "handled"),
    )
    payload_max: int = _setting(
        128 * KIB,
        "Largest payload, in and out.",
        unit="bytes",
        check=at_least(128, at_most=128 * MIB),  # half of what a packet of MQTT can hold
    )
    properties_max: int = _setting(
        4 * KIB,
        "Largest properties of a command: texts and correlation data together (MQTT 5).",
        unit="bytes",
        check=at_least(0),
    )
    reply_topics: tuple[str, ...] = _setting(
        ("#",),
        "Which Response Topics of commands are answered, as topic filters (MQTT 5).",
        check=topic_filters,
    )
    depth_max: int = _setting(
        32, "Deepest nesting of a command's JSON.", check=at_least(2, at_most=200)
    )
    message_id_max: int = _setting(
        256, "Longest messageId.", unit="characters", check=at_least(16, at_most=4096)
    )
    answer_unknown: AnswerUnknown | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(one_of("all", "own", "none")),
        metadata={
            "help": "Which unknown commands are answered: all, those under an own prefix, or none.",
            "unit": "",
            "secret": False,
            # Where such petals are served, their old host may run beside.
            "default": "all, with petals of the guide own",
        },
    )
    unknown_keys: UnknownKeysRule = _setting(
        "ignore",
        "What to do with keys of a command's data that its handler does not know: ignore them, and "
        "name each in the log once, or refuse it. A petal and a command may say otherwise.",
        check=one_of("ignore", "refuse"),
    )
    debug_rate: float = _setting(
        1.0,
        "Reports of unreadable commands on the debug topic, at most.",
        unit="1/s",
        check=seconds,
    )

    # -- commands that are too old
    command_age_max: float = _setting(
        0.0,
        "How old a command may be by its timestamp, which it must have then; 0 for any age.",
        unit="s",
        check=seconds,
    )
    clock_skew_max: float = _setting(
        30.0,
        "How far the clocks of sender and device may differ, where command_age_max is judged.",
        unit="s",
        check=seconds,
    )
    clock_unset: ClockUnset = _setting(
        "accept",
        "What to do with commands that need the device's clock to be judged while it is surely not "
        "set: accept them unjudged, or refuse them.",
        check=one_of("accept", "refuse"),
    )

    # -- duplicates
    duplicate_window: int = _setting(
        1000, "Finished commands that are remembered.", check=at_least(0)
    )
    duplicate_age: float = _setting(
        3600.0, "How long they are remembered.", unit="s", check=seconds
    )
    duplicate_bytes: int = _setting(
        16 * MIB,
        "Bytes of commands and responses remembered, at most.",
        unit="bytes",
        check=at_least(0),
    )

    # -- journal
    journal: Path | None = attrs.field(
        default=None,
        converter=_journal_path,
        metadata={
            "help": "The file that accepted commands and unsent answers are recorded in, so that "
            "they outlive the process; off for none.",
            "unit": "",
            "secret": False,
            "off": JOURNAL_OFF,
            "default": "off; with petalkit run, a file of the device in the user's state folder",
        },
    )
    journal_thread: bool = _setting(
        True, "Write it in a thread. Off, in the event loop: for tests on a mock clock."
    )
    journal_count: int = _setting(
        10_000, "Finished commands that it remembers, at most.", check=at_least(0)
    )
    journal_age: float = _setting(
        7 * 86_400.0, "How long it remembers them.", unit="s", check=seconds
    )
    journal_size: int = _setting(
        128 * MIB,
        "Size of the file at which it forgets the oldest earlier, and then takes no more commands.",
        unit="bytes",
        check=at_least(MIB),
    )
    journal_backlog: int = _setting(
        50_000,
        "Accepted commands that wait on disk only, because the channel is full, at most.",
        check=at_least(0),
    )
    journal_commit_delay: float = _setting(
        0.002,
        "How long a batch waits for more under load, so that there are fewer of them.",
        unit="s",
        check=seconds,
    )
    journal_retry: float = _setting(
        1.0,
        "First wait before what could not be written is tried again; it doubles, up to 30 s.",
        unit="s",
        check=positive_seconds,
    )
    journal_timeout: float = _setting(
        5.0,
        "Longest wait for the disk: then it counts as failing, and a stop goes on without it.",
        unit="s",
        check=positive_seconds,
    )

    # -- dispatch
    concurrency: int = _setting(64, "Commands running at once.", check=count)
    petal_concurrency: int = _setting(16, "Commands of one petal running at once.", check=count)
    urgent_concurrency: int = _setting(
        64, "Urgent and built-in commands running at once, beside all others.", check=count
    )
    urgent_redelivery_wait: float = _setting(
        1.0,
        "Longest wait of an urgent command that the broker may have delivered before, until its "
        "record or its acknowledgement is safe: it may have killed the process. One that comes for "
        "the first time waits for nothing.",
        unit="s",
        check=seconds,
    )

    # -- outbox
    response_capacity: int = _setting(
        2000, "Responses and receipts owed or not yet acknowledged, at most.", check=count
    )
    event_capacity: int = _setting(
        1000, "Events and debug messages not yet acknowledged, at most.", check=count
    )
    outbox_bytes: int = _setting(
        16 * MIB,
        "Payload bytes in the outbox above which commands and events wait.",
        unit="bytes",
        check=some_bytes,
    )
    response_expiry: float = _setting(
        3600.0, "How long a message is kept for sending.", unit="s", check=positive_seconds
    )

    # -- life
    grace: float = _setting(
        10.0,
        "What running commands get at a stop before they are cancelled.",
        unit="s",
        check=seconds,
    )
    startup_timeout: float = _setting(
        30.0, "Longest time for entering a petal's lifespan.", unit="s", check=positive_seconds
    )
    cleanup_timeout: float = _setting(
        5.0,
        "Longest time for the clean-up of cancelled commands, and for leaving a lifespan.",
        unit="s",
        check=seconds,
    )
    petal_restart: RestartPolicy = _setting(
        "on-failure",
        "Whether a petal that has failed is started again; a petal's own restart_policy takes "
        "precedence.",
        check=one_of(*RESTART_POLICIES),
    )
    petal_restart_delay_min: float = _setting(
        1.0, "Wait before a petal is first started again.", unit="s", check=positive_seconds
    )
    petal_restart_delay_max: float = _setting(
        60.0,
        "Longest wait; it doubles with each failure in a row.",
        unit="s",
        check=positive_seconds,
    )
    petal_restart_max: int = _setting(
        20, "How often in a row a petal is started again; then it is out of service.", check=count
    )
    petal_restart_window: float = _setting(
        600.0,
        "Time in service after which a failure is the first of its row again.",
        unit="s",
        check=positive_seconds,
    )
    compat_timeout: float = _setting(
        600.0,
        "Longest time for a handler of a petal written for the guide to answer.",
        unit="s",
        check=positive_seconds,
    )
    compat_answer_timeout: float = _setting(
        10.0,
        "How long such a handler that has returned without an answer may still give one.",
        unit="s",
        check=seconds,
    )
    compat_hook_timeout: float = _setting(
        30.0,
        "Longest time for a hook of such a petal at its start, and for it to register a handler.",
        unit="s",
        check=positive_seconds,
    )
    watchdog: float = _setting(
        1.0,
        "Report a handler that blocks the event loop for so long; 0 for never.",
        unit="s",
        check=seconds,
    )
    flush_timeout: float = _setting(
        5.0, "Longest time for sending what is in the outbox at a stop.", unit="s", check=seconds
    )

    def __attrs_post_init__(self) -> None:
        self.broker_url()  # refuses what it cannot read
        if self.reconnect_delay_max < self.reconnect_delay_min:
            raise ConfigError("reconnect_delay_max", "must be at least reconnect_delay_min")
        if self.petal_restart_delay_max < self.petal_restart_delay_min:
            raise ConfigError("petal_restart_delay_max", "must be at least petal_restart_delay_min")
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigError("cert_file", "must be given together with key_file, or not at all")
        for name in RENEWABLE:
            self._check_one_origin(name)
        password = self.origin_of("password")
        if password is not None and self.origin_of("username") is None:
            raise ConfigError(password, "needs a username beside it")  # MQTT 3.1.1, 3.1.2.9
        key_password = self.origin_of("key_password")
        if key_password is not None and self.key_file is None:
            raise ConfigError(key_password, "needs a key_file beside it")
        if self.client_id is not None and not self.client_id:
            raise ConfigError("client_id", "must not be empty: the session is found by it")
        refuse_without_effect(self)
        if self.server_references and self.transport != "sidecar" and not self.speaks_mqtt_5:
            text = 'needs MQTT 5, in which brokers name other servers: protocol = "5"'
            raise ConfigError("server_references", text)
        if self.packet_maximum and not self.speaks_mqtt_5:
            raise ConfigError("packet_maximum", 'needs MQTT 5, which has it: protocol = "5"')
        if self.will_delay:
            self._check_will_delay()

    def _check_will_delay(self) -> None:
        if not self.speaks_mqtt_5:
            raise ConfigError("will_delay", 'needs protocol "5": MQTT 3.1.1 has no such delay')
        # MQTT 5.0, section 3.1.3.2.2: the will comes when the session ends, if that is earlier.
        if self.clean_start:
            raise ConfigError(
                "will_delay", "needs the session to be kept, and clean_start ends it at a reconnect"
            )
        if self.will_delay > self.session_expiry:
            raise ConfigError(
                "will_delay",
                f"must be at most session_expiry ({self.session_expiry} s): the will is published "
                "when the session ends",
            )

    def _check_one_origin(self, name: str) -> None:
        given = [one for one in origins(name) if getattr(self, one) is not None]
        if len(given) > 1:
            raise ConfigError(given[1], f"cannot be given together with {given[0]}")

    def origin_of(self, name: str) -> str | None:
        """Which setting gives one of `RENEWABLE`: a fixed value, a file or a callable; or None."""
        return next((one for one in origins(name) if getattr(self, one) is not None), None)

    @property
    def keeps_session(self) -> bool:
        """Whether what is sent while the link is away, or not acknowledged, comes again."""
        if self.transport == "sidecar":
            return self.callback_when_full == "refuse"  # what we refuse is the client's to repeat
        return not self.clean_start and self.session_expiry > 0

    @property
    def peer(self) -> str:
        """The address that links lead to."""
        return self.sidecar_url if self.transport == "sidecar" else self.broker

    @property
    def peer_has_tls(self) -> bool:
        """Whether that is by TLS."""
        return self.peer.startswith(("mqtts://", "wss://", "https://"))

    @property
    def speaks_mqtt_5(self) -> bool:
        """Whether messages have properties."""
        return self.protocol == "5"

    def broker_url(self) -> SplitResult:
        """The broker's address in its parts.

        Raises:
            ConfigError: it has no host, or credentials in it, or its port is no port.
        """
        if "@" in self.broker and not self.broker.startswith("unix:///"):
            # Never echoed, wherever in it they stand: what is said of an address ends up in logs.
            raise ConfigError("broker", "must not hold credentials: use username and password")
        try:
            url = urlsplit(self.broker)
            url.port  # noqa: B018 - asking is the check
        except ValueError as error:
            raise ConfigError("broker", f"cannot be read as an address: {error}") from None
        if not url.scheme or "://" not in self.broker:
            raise ConfigError("broker", f"{self.broker!r} has no scheme such as mqtt://")
        if not url.hostname and not url.path:
            raise ConfigError("broker", f"{self.broker!r} names no host")
        return url


def origins(name: str) -> tuple[str, str, str]:
    """The settings that one of `RENEWABLE` can come from: fixed, read, or asked for."""
    return name, f"{name}_file", f"{name}_source"


def environment_name(setting: str) -> str:
    """The environment variable of a setting: `"broker"` gives `"PETALKIT_BROKER"`."""
    return f"PETALKIT_{setting.upper()}"


def organization_id_from_environment() -> str | None:
    """The organization ID in the environment, which a fixed one goes before; empty is none."""
    return os.environ.get(environment_name("organization_id")) or None

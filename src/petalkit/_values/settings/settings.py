"""`Settings`: the groups of fields as one frozen value, and what two settings say together.

Where a field is declared is on the chart of `groups/`. A group that stands alone is checked there,
field by field; here is what takes two. Loading settings from files and the environment is the
business of `petalkit.cli`.
"""

from __future__ import annotations

import os
from urllib.parse import SplitResult, urlsplit

import attrs

from ..errors import ConfigError
from .calling import CallingSettings
from .groups.broker import BrokerSettings
from .groups.broker import OrganizationSource as OrganizationSource
from .groups.broker import Protocol as Protocol
from .groups.compat.http import HTTP_DEFAULT as HTTP_DEFAULT
from .groups.compat.http import HTTP_OFF as HTTP_OFF
from .groups.compat.http import CompatHttpSettings, check_http_reach
from .groups.compat.http import split_listen as split_listen
from .groups.dispatch import DispatchSettings
from .groups.duplicates import DuplicateSettings
from .groups.intake import AnswerUnknown as AnswerUnknown
from .groups.intake import IntakeSettings
from .groups.intake import UnknownKeysRule as UnknownKeysRule
from .groups.jobs import JobSettings
from .groups.journal import JOURNAL_OFF as JOURNAL_OFF
from .groups.journal import JournalSettings
from .groups.journal import is_default_place as is_default_place
from .groups.journal import is_off as is_off
from .groups.life import RESTART_POLICIES as RESTART_POLICIES
from .groups.life import LifeSettings
from .groups.life import RestartPolicy as RestartPolicy
from .groups.link import LinkSettings
from .groups.outbox import OutboxSettings
from .groups.security import SecuritySettings
from .groups.sidecar import SidecarSettings
from .groups.topics import DialectName as DialectName
from .groups.topics import TopicSettings
from .reach import refuse_without_effect

# What may be renewed while the device runs: each is fixed, or `..._file`, or `..._source`, and one
# of these alone, so that nobody has to know which takes precedence.
RENEWABLE = (
    "username",
    "password",
    "key_password",
    "proxy_credentials",
    "sidecar_token",
    "compat_http_token",
)


@attrs.frozen(kw_only=True)
class Settings(
    # From the last to the first: attrs takes the fields of the last base first.
    CallingSettings,
    CompatHttpSettings,
    LifeSettings,
    OutboxSettings,
    JobSettings,
    DispatchSettings,
    JournalSettings,
    DuplicateSettings,
    IntakeSettings,
    SidecarSettings,
    LinkSettings,
    TopicSettings,
    SecuritySettings,
    BrokerSettings,
):
    """How a runtime behaves. Frozen; change one with `attrs.evolve`.

    Times are seconds, sizes are bytes. The same names serve the configuration file, the
    environment (`PETALKIT_` and the name in capitals) and the command line.

    Raises:
        ConfigError: a value cannot be used; it names the setting.
    """

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
        if self.former_client_id and self.client_id is not None:
            raise ConfigError(
                "former_client_id", "does nothing with client_id, which never changed"
            )
        check_http_reach(self)
        refuse_without_effect(self)
        if self.server_references and self.transport != "sidecar" and not self.speaks_mqtt_5:
            text = 'needs MQTT 5, in which brokers name other servers: protocol = "5"'
            raise ConfigError("server_references", text)
        if self.packet_maximum and not self.speaks_mqtt_5:
            raise ConfigError("packet_maximum", 'needs MQTT 5, which has it: protocol = "5"')
        self._check_probe_topic()
        if self.will_delay:
            self._check_will_delay()

    def _check_probe_topic(self) -> None:
        others = (self.web_topic, self.response_topic, self.debug_topic, self.ack_topic)
        if self.probe_topic in (*self.command_topics, *others, self.status_topic):
            # Others listen there, and would take it for what it is not.
            raise ConfigError("probe_topic", "must be a topic of its own: nothing else goes there")

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

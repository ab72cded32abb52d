"""The sidecar: an external MQTT client, over HTTP.

Their names begin with `sidecar_` or `callback_`, by which `reach` knows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from ..checks import count, host_names, one_of, positive_seconds, seconds
from ..fields import SecretSource, file_setting, setting

WhenFull = Literal["refuse", "hold"]


@attrs.frozen(kw_only=True, slots=False)
class SidecarSettings:
    """The sidecar: an external MQTT client, over HTTP."""

    sidecar_url: str = setting(
        "http://127.0.0.1:3004",
        "Where the external MQTT client of the transport sidecar answers: http:// or https://.",
    )
    callback_listen: str = setting(
        "127.0.0.1:3005", "Address and port on which we wait for that client's messages."
    )
    callback_url: str | None = setting(
        None,
        "Where the external client sends its messages; without one it is made of callback_listen.",
    )
    callback_hosts: tuple[str, ...] = setting(
        (),
        "Host names under which the external client reaches us, beside localhost and those in "
        "callback_listen and callback_url; IP addresses always do.",
        check=host_names,
    )
    sidecar_token: str | None = setting(
        None,
        "A secret shared with the external client: without it no message is taken.",
        secret=True,
    )
    sidecar_token_file: Path | None = file_setting(
        None, "A file that holds the sidecar_token and nothing else; read for each link."
    )
    sidecar_token_source: SecretSource | None = setting(
        None, "A callable that gives the sidecar_token, asked for each link."
    )
    sidecar_probe_interval: float = setting(
        5.0,
        "How often the external client is asked for its health.",
        unit="s",
        check=positive_seconds,
    )
    sidecar_probe_timeout: float = setting(
        2.0,
        "Longest wait for the external client to say its health.",
        unit="s",
        check=positive_seconds,
    )
    sidecar_subscribe_interval: float = setting(
        300.0,
        "A topic on which nothing has come for so long is subscribed again; 0 for never.",
        unit="s",
        check=seconds,
    )
    sidecar_request_timeout: float = setting(
        10.0,
        "Longest wait for the external client's answer to one publish or subscribe.",
        unit="s",
        check=positive_seconds,
    )
    sidecar_publish_concurrency: int = setting(
        8, "Publishes under way to the external client at once, each of another topic.", check=count
    )
    callback_connections: int = setting(
        64, "Connections of the external client, and its messages that wait, at most.", check=count
    )
    callback_timeout: float = setting(
        10.0,
        "How long a message of the external client waits for room before it is answered 503.",
        unit="s",
        check=seconds,
    )
    callback_when_full: WhenFull = setting(
        "refuse",
        "What to do with such a message: refuse it with 503, for the external client to send it "
        "again, or hold it.",
        check=one_of("refuse", "hold"),
    )

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
        None, "What that client is told of it; without one it is made of callback_listen."
    )
    callback_hosts: tuple[str, ...] = setting(
        (),
        "Host names under which that client reaches us, beside localhost and those in "
        "callback_listen and callback_url; IP addresses always do.",
        check=host_names,
    )
    sidecar_token: str | None = setting(
        None, "A secret shared with that client: without it no message is taken.", secret=True
    )
    sidecar_token_file: Path | None = file_setting(
        None, "A file that holds that secret and nothing else; read for each link."
    )
    sidecar_token_source: SecretSource | None = setting(
        None, "A callable that gives that secret, asked for each link."
    )
    sidecar_probe_interval: float = setting(
        5.0, "How often that client is asked for its health.", unit="s", check=positive_seconds
    )
    sidecar_probe_timeout: float = setting(
        2.0, "Longest wait for the answer.", unit="s", check=positive_seconds
    )
    sidecar_subscribe_interval: float = setting(
        300.0,
        "A topic on which nothing has come for so long is subscribed again; 0 for never.",
        unit="s",
        check=seconds,
    )
    sidecar_request_timeout: float = setting(
        10.0,
        "Longest wait for that client's answer to one publish or subscribe.",
        unit="s",
        check=positive_seconds,
    )
    sidecar_publish_concurrency: int = setting(
        8, "Publishes under way to that client at once, each of another topic.", check=count
    )
    callback_connections: int = setting(
        64, "Connections of that client, and messages of it that wait, at most.", check=count
    )
    callback_timeout: float = setting(
        10.0,
        "How long a message of that client waits for room before it is answered 503.",
        unit="s",
        check=seconds,
    )
    callback_when_full: WhenFull = setting(
        "refuse",
        "What to do then: refuse it with 503, for that client to send it again, or hold it.",
        check=one_of("refuse", "hold"),
    )

"""The targets: what is fuzzed, by name. Each takes bytes, and raises when something is wrong.

A new one: a function that lets out nothing but assertions of its own, a line in `TARGETS`, and
`corpus/NAME.txt` with a few inputs that it takes well. Then `scripts/fuzz` runs it, and the test
suite runs its corpus.

A corpus is a text: one input a line, as Python writes bytes, with comments where there is a story
to tell. What was found by fuzzing gets a line there, and a test of its own beside what was mended.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from . import (
    broker,
    client,
    command,
    command_line,
    console,
    endpoints,
    journal,
    mqtt5_bytes,
    paho,
    publish,
    schema,
    settings,
    sidecar,
    topics,
    ways,
)

Target = Callable[[bytes], None]

CORPUS = Path(__file__).with_name("corpus")

TARGETS: dict[str, Target] = {
    "command": command.command,
    "response": command.response,
    "arguments": command.arguments,
    "console_asked": console.asked,
    "topics": topics.topics,
    "endpoint_head": endpoints.head,
    "settings": settings.settings,
    "addresses": settings.addresses,
    "organization_file": settings.organization_file,
    "journal": journal.journal,
    "journal_log": journal.journal_log,
    "broker_bytes": broker.raw,
    "broker_packets": broker.packets,
    "mqtt5_framing": mqtt5_bytes.framing,
    "mqtt5_session": mqtt5_bytes.session,
    "mqtt5_pieces": mqtt5_bytes.session_in_pieces,
    "mqtt5_properties": mqtt5_bytes.properties,
    "web": client.web,
    "status": client.status,
    "contract": schema.contract,
    "shown": command_line.shown,
    "typed": command_line.typed,
    "paho": paho.paho,
    "publish": publish.publish,
    "sidecar_callback": sidecar.callback,
    "sidecar_head": sidecar.head,
    "sidecar_answer": sidecar.answer,
    "proxy_environment": ways.proxy_environment,
    "tunnel_answer": ways.tunnel_answer,
    "server_reference": ways.server_reference,
    "websocket_headers": ways.websocket_headers,
    "websocket_answer": ways.websocket_answer,
    "websocket_frames": ways.websocket_frames,
}


def inputs(name: str) -> list[bytes]:
    """The corpus of a target."""
    lines = CORPUS.joinpath(f"{name}.txt").read_text(encoding="ascii").splitlines()
    found = [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]
    assert all(isinstance(each, bytes) for each in found)
    return found

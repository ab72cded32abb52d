"""The targets: what is fuzzed, by name. Each takes bytes, and raises when something is wrong.

A new one: a function here, a folder of its name under `corpus` with a few small inputs that it
takes well, and it is in `scripts/fuzz` and in the test suite. It lets out no exception but an
assertion of its own; whatever else comes out is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import command, journal, mqtt5_bytes, settings, sidecar, topics

Target = Callable[[bytes], None]

CORPUS = Path(__file__).with_name("corpus")

TARGETS: dict[str, Target] = {
    "command": command.command,
    "response": command.response,
    "arguments": command.arguments,
    "topics": topics.topics,
    "settings": settings.settings,
    "addresses": settings.addresses,
    "organization_file": settings.organization_file,
    "journal": journal.journal,
    "mqtt5_framing": mqtt5_bytes.framing,
    "mqtt5_session": mqtt5_bytes.session,
    "mqtt5_pieces": mqtt5_bytes.session_in_pieces,
    "mqtt5_properties": mqtt5_bytes.properties,
    "sidecar_callback": sidecar.callback,
    "sidecar_head": sidecar.head,
    "sidecar_answer": sidecar.answer,
}


def inputs(name: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())

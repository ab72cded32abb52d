"""Draw what `petalkit demo --once` shows, as the picture of the README.

    python docs/picture.py     writes docs/demo.svg

It is the demo's own output, colours included, from a real run; two scenes of it, so that it can be
taken in at a glance. The moments are always the same, so that a new picture shows what has changed.
The fonts are the reader's own: an image in a page may load nothing.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().parent / "demo.svg"
COMMAND = "scripts/demo --once"
WIDTH = 76  # characters
LIMIT = 60.0  # seconds for the demo
_FIRST = "A command and its response:"
_NEXT = "A command that no petal serves:"
_ANSI = r"(?:\x1b\[[0-9;]*m)*"


def run_demo() -> str:
    """The output of the demo in a terminal with colours."""
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    return subprocess.run(
        [sys.executable, "-m", "petalkit.cli", "demo", "--once"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    ).stdout


def scenes(output: str) -> Text:
    """What is shown of it: the command that is answered, and the one that is refused."""
    shown = re.search(
        f"{_ANSI}{re.escape(_FIRST)}.*?(?=\\s*{_ANSI}{re.escape(_NEXT)})", output, re.S
    )
    if shown is None:
        raise SystemExit("the demo shows other scenes than docs/picture.py looks for")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "2026-11-24T00:18:38.947Z", shown[0])
    return Text.from_ansi(text)


def draw(text: Text) -> str:
    """The picture as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ {COMMAND}[/bold]\n")
    console.print(text)
    svg = console.export_svg(title="petalkit", unique_id="demo")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip() + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(scenes(run_demo())), "utf-8")
    print(f"{PICTURE.name} written")

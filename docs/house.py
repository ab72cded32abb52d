"""The picture of the house, and its charts, drawn from the charts in the code.

The rooms, their order and what each is come from the docstrings that people read and that
`tests/test_layers.py` holds. Only where a room stands in the picture, and the way between the
rooms, is said here. A room that has gone is an error of the build; one that is new stands in the
line of those beside the way until somebody gives it a place.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import petalkit

PACKAGE = Path(petalkit.__file__).parent

# Where a room stands: x, y, width, height.
_FLOORS = {  # of the package, from the roof down
    "client": (10, 10, 180, 48),
    "testing": (200, 10, 180, 48),
    "compat": (390, 10, 180, 48),
    "cli": (580, 10, 180, 48),
    "_serving": (10, 72, 750, 362),
    "transports": (10, 480, 510, 48),
    "_authoring": (540, 480, 220, 48),
    "_values": (10, 542, 750, 48),
}
_ROOMS = {  # of `_serving`
    "runtime": (26, 118, 137, 84),
    "links": (171, 118, 137, 84),
    "petals": (316, 118, 137, 84),
    "jobs": (461, 118, 137, 84),
    "process": (606, 118, 138, 84),
    "ledger": (26, 236, 718, 46),
    "intake": (26, 332, 190, 84),
    "sending": (280, 332, 190, 84),
    "dispatch": (554, 332, 190, 84),
}
_BESIDE = (26, 222)
# The way of a command: from, to, what goes there, where the words stand.
_WAY = (
    ((86, 480), (86, 416), "deliveries", (94, 462)),
    ((86, 332), (86, 282), "accept", (94, 312)),
    ((662, 282), (662, 332), "safe to start", (670, 312)),
    ((684, 480), (684, 416), "handlers", (692, 462)),
    ((594, 332), (594, 282), "finish", (602, 312)),
    ((554, 374), (470, 374), "response", (490, 367)),
    ((320, 416), (320, 480), "PUBLISH", (328, 462)),
)
_BACK = (  # what is said of it, dashed
    ((166, 416), (166, 480), "PUBACK", (174, 462)),
    ((420, 480), (420, 416), "PUBACK", (428, 462)),
    ((375, 332), (375, 282), "settled", (383, 312)),
)

# An image takes no colours from its page, so it follows the reader's own choice of dark or light.
_STYLE = """
svg { font: 12px sans-serif; --back: #fff; --floor: #f4f5f7; --line: #888; --text: #111;
  --small: #555; --way: #0a4bff; }
@media (prefers-color-scheme: dark) {
  svg { --back: #0d1117; --floor: #161b22; --line: #6e7681; --text: #e6edf3; --small: #9198a1;
    --way: #6ea8fe; }
}
rect { fill: var(--floor); stroke: var(--line); }
rect.room { fill: var(--back); }
rect.way { stroke: var(--way); stroke-width: 2; }
text { fill: var(--text); }
text.name { font: bold 13px monospace; }
text.small { fill: var(--small); font-size: 11px; }
path { stroke: var(--way); stroke-width: 2; fill: none; }
path.back { stroke-dasharray: 4 3; }
marker path { fill: var(--way); stroke: none; }
"""
_WORDS = 6.3  # pixels of a character of a description


class NoSuchRoom(Exception):
    """The picture has a place for a room that is not on its chart any more."""


def chart(folder: str) -> dict[str, str]:
    """The chart of a folder of the package: what each entry is, by its name, in import order."""
    source = (PACKAGE / folder / "__init__.py").read_text("utf-8")
    text = ast.get_docstring(ast.parse(source), clean=False) or ""
    return {
        name + slash: what.strip()
        for name, slash, what in re.findall(r"^ {4}(\w+)(/?) {2,}(\S.*)$", text, re.MULTILINE)
    }


def chart_block(folder: str) -> Iterator[str]:
    """The chart as a block of text for a page."""
    rows = chart(folder)
    width = max(map(len, rows)) + 3
    yield "```text"
    yield from (f"{name:{width}}{what}" for name, what in rows.items())
    yield "```"


def picture() -> Iterator[str]:
    """The house as lines of an SVG."""
    title = "The folders of petalkit, and the way of a command through them"
    yield (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 770 600" width="770" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
    )
    yield "<style>"
    yield from _STYLE.strip().splitlines()
    yield "</style>"
    yield (
        '<defs><marker id="house-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
        'markerHeight="5" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    )
    yield from _boxes(chart(""), _FLOORS, "floor")
    rooms = chart("_serving")
    beside = [name for name in rooms if name.rstrip("/") not in _ROOMS]
    yield from _boxes(rooms, _ROOMS, "room")
    others = escape("beside the way: " + ", ".join(beside))
    yield f'<text class="small" x="{_BESIDE[0]}" y="{_BESIDE[1]}">{others}</text>'
    for ways, kind in ((_WAY, "way"), (_BACK, "back")):
        for (x, y), (to_x, to_y), words, (at_x, at_y) in ways:
            line = f"M{x},{y} L{to_x},{to_y}"
            yield f'<path class="{kind}" d="{line}" marker-end="url(#house-tip)"/>'
            yield f'<text class="small" x="{at_x}" y="{at_y}">{escape(words)}</text>'
    yield "</svg>"


def _boxes(
    rows: Mapping[str, str], places: Mapping[str, tuple[int, int, int, int]], kind: str
) -> Iterator[str]:
    entries = {name.rstrip("/"): (name, what) for name, what in rows.items()}
    if missing := places.keys() - entries:
        raise NoSuchRoom(f"docs/house.py has a place for what is on no chart: {sorted(missing)}")
    for key, (x, y, width, height) in places.items():
        name, what = entries[key]
        way = " way" if key in ("intake", "ledger", "dispatch", "sending") else ""
        yield (
            f'<rect class="{kind}{way}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
        )
        yield f'<text class="name" x="{x + 8}" y="{y + 18}">{escape(name)}</text>'
        for number, line in enumerate(
            textwrap.wrap(what.replace("`", ""), int((width - 16) / _WORDS))
        ):
            yield f'<text x="{x + 8}" y="{y + 34 + 14 * number}">{escape(line)}</text>'

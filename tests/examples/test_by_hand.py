"""How much there is to write for ten commands of long work, by declaration and by hand."""

from __future__ import annotations

import ast

from .conftest import EXAMPLES, ROOT

MOST_LINES = 60


def lines_of(name: str, *, only: str | None = None) -> int:
    """Lines of a file, or of one class of it, without blank ones."""
    source = (EXAMPLES / f"{name}.py").read_text()
    if only is not None:
        (found,) = [
            one
            for one in ast.parse(source).body
            if isinstance(one, ast.ClassDef) and one.name == only
        ]
        source = ast.get_source_segment(source, found) or ""
    return sum(1 for line in source.splitlines() if line.strip())


def test_the_ten_commands_are_short() -> None:
    assert lines_of("flight_sync", only="FlightSyncPetal") <= MOST_LINES


def test_the_page_says_how_many_lines_there_are() -> None:
    page = (ROOT / "docs" / "by-hand.md").read_text()
    declared = lines_of("flight_sync", only="FlightSyncPetal")
    by_hand = lines_of("flight_sync_by_hand", only="FlightSyncPetal")
    machinery = lines_of("flight_sync_by_hand", only="Work")
    assert f"| lines of the petal's class | {by_hand} | {declared} |" in page
    assert f"| lines of machinery beside it | {machinery} | 0 |" in page

"""A number with its noun, for the log and for people.

The trap: `1 events` looks like a mistake in the figures, too.
"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 command`, `2 commands`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

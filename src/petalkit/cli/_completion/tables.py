"""What the scripts have in common: words in lists, and their places in a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .words import Option, Words, all_options


def quoted(text: str) -> str:
    """For any of these shells: nothing in it means anything."""
    return "'" + text.replace("\\", "").replace("'", "") + "'"


def with_value(words: Sequence[Words]) -> str:
    """Options that take a value, as alternatives of a `case`."""
    return "|".join(name for one in all_options(words) if one.takes_value for name in one.names)


def names_of(options: Sequence[Option]) -> Iterator[str]:
    """All names of options."""
    for one in options:
        yield from one.names


def top(words: Sequence[Words]) -> list[str]:
    """Commands that belong to no group."""
    return [one.name for one in words if " " not in one.name]


def groups(words: Sequence[Words]) -> str:
    """Commands that have commands of their own."""
    return "|".join(dict.fromkeys(one.name.split()[0] for one in words if " " in one.name))


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its parts, which stand there as `@NAME@`."""
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template

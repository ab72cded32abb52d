"""Completion scripts: the words as tables, and the little that a shell does with them.

The rule: what is known beforehand stands in the script, so most presses of Tab start nothing. For
the names that only a broker knows, the script asks the `petalkit` that is being typed, which says
them within a second or is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .cases import bash, zsh
from .fish import fish
from .words import Words

SHELLS = ("bash", "zsh", "fish")
_MAKERS: Mapping[str, Callable[[Sequence[Words]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def make_script(shell: str, words: Sequence[Words]) -> str:
    """The script for one of `SHELLS`."""
    return _MAKERS[shell](words)

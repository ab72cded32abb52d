"""`petalkit completion`: a script for a shell; and what such a script asks for."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from cyclopts import App, Parameter

from .._errors import EXIT_OK
from .names import find_names
from .scripts import make_script
from .words import Kind, read_words

Shell: TypeAlias = Literal["bash", "zsh", "fish"]


def make_command(whole: Callable[[], App]) -> Callable[..., int]:
    """The command.

    Args:
        whole: makes the command line that is to be completed.
    """

    def completion(shell: Annotated[Shell, Parameter(name="SHELL")], /) -> int:
        """Print a script that completes petalkit with Tab: for bash, zsh or fish.

        Commands, options and values stand in the script; commands of a device, device IDs and jobs
        are asked of the broker of the same command line, within a second, and kept for a while.

        Write it to a file and source that, or put it where the shell looks for completions. Make it
        anew after an upgrade.

        Exit codes: 0, 2 usage.

        Args:
            shell: For which one.
        """
        print(make_script(shell, read_words(whole())), end="")  # noqa: T201
        return EXIT_OK

    return completion


def print_names(kind: str, line: str, /) -> int:
    """Print the names of a kind, a line each, for a command line as far as it is typed."""
    if kind in typing.get_args(Kind):
        for one in find_names(typing.cast("Kind", kind), line):
            print(one)  # noqa: T201
    return EXIT_OK

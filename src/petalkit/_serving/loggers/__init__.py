"""Our own loggers: kept on, and the lines of every command, for little.

    kept           whoever configures logging, and whenever
    command_lines  received and answered

Begin with `kept`.
"""

from __future__ import annotations

from .command_lines import CommandLine as CommandLine
from .command_lines import CommandLines as CommandLines
from .command_lines import LineHandler as LineHandler
from .kept import allow_again as allow_again
from .kept import dropped_lines as dropped_lines
from .kept import enable_again as enable_again
from .kept import keep_on as keep_on
from .kept import watch_handler as watch_handler

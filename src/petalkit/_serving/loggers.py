"""Our own loggers, kept on.

The trap: `logging.config` turns off every logger that exists and that it does not name, so that a
petal that configures its own logging would silence all that petalkit has to tell.
"""

from __future__ import annotations

import logging


def enable_again(who: str) -> None:
    """Let petalkit be heard again where code of a petal has turned its loggers off.

    `logging.config.dictConfig` and `fileConfig` turn off what they do not name, unless told not to.

    Args:
        who: has done it, most likely; for the one line that tells of it.
    """
    found = False
    for name, logger in list(logging.root.manager.loggerDict.items()):
        ours = name == "petalkit" or name.startswith("petalkit.")
        if ours and isinstance(logger, logging.Logger) and logger.disabled:
            logger.disabled = False
            found = True
    if found:
        logging.getLogger("petalkit.petals").warning(
            "%s has turned off petalkit's loggers, which are on again: configure logging with "
            "disable_existing_loggers=False",
            who,
        )

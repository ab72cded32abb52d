"""Petals served until a signal comes, as the options of `petalkit run` say."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..._serving.process.run import run_as_process
from .._errors import UsageError
from .._given import General, Host, SettingsOptions, advice
from .._journal.path import with_journal
from .._targets.targets import find_petals

logger = logging.getLogger("petalkit.petals")


def serve(
    targets: Sequence[str],
    general: General,
    host: Host,
    settings: SettingsOptions,
    *,
    strict: bool,
) -> int:
    """Serve, and return the exit code. See `_run.run`."""
    if not targets:
        raise UsageError("run: which petal? Write petalkit run module:Petal or path/to/file.py")
    loaded = general.load(settings)
    general.configure_logging("info")
    opened = host.open(loaded)
    found = find_petals(targets, loaded.petals, origin=loaded.origin, host=opened, strict=strict)
    for one in found.wrong:
        details = f"\n{one.details}" if one.details else ""
        logger.error("%s is not served: %s%s", one.target, one.message, details)
    if found.wrong:
        served, wrong = len(found.petals), len(found.wrong)
        logger.warning("petals served: %d; not served: %d, see above", served, wrong)
    hint = advice(general, settings, targets, host)
    made = with_journal(loaded)
    if made.journal is None:
        logging.getLogger("petalkit.journal").info(
            "there is no journal: what is accepted and not answered is lost if the process dies"
        )
    return run_as_process(found.petals, made, hint)

"""`petalkit doctor`: find out why nothing happens.

What is checked is in `_checks`; here are the options, what is shown of a check, and the exit code.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.text import Text

from .._serving.process.log_lines import escape
from ._caller.data import read_data
from ._checks.case import Call, Case
from ._checks.machine.files import check_certificates, load_settings
from ._checks.machine.identity import check_device, check_organization, make_identity
from ._checks.machine.journal import check_journal
from ._checks.petals import check_petals
from ._checks.plan import BROKER, DEVICE, examine
from ._checks.values import CALL, Check, Verdict, not_made, worst
from ._errors import EXIT_ERROR, EXIT_OK, UsageError
from ._options import GENERAL, GeneralOptions, HostOptions, RunSettings
from ._output.printing import make_console

DEFAULT_TIMEOUT = 5.0  # seconds; a device answers a ping at once, or not at all

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
}
_WIDTH = max(map(len, _STYLES)) + 2
_ID_WIDTH = len("certificates") + 2


def doctor(  # noqa: D417 - what is left out has its words elsewhere
    *targets: Annotated[str, Parameter(name="TARGET", negative=())],
    call: Annotated[str | None, Parameter(name="--call", group=GENERAL)] = None,
    data: Annotated[str | None, Parameter(name="--data", group=GENERAL)] = None,
    timeout: Annotated[float, Parameter(group=GENERAL)] = DEFAULT_TIMEOUT,
    as_device: Annotated[bool, Parameter(negative=(), group=GENERAL)] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), group=GENERAL)] = False,
    general: GeneralOptions | None = None,
    host: HostOptions | None = None,
    settings: Annotated[RunSettings | None, Parameter(name="*")] = None,
) -> int:
    """Check everything that a device needs, and say what to do about what is missing.

    Give it the TARGETs and options of petalkit run, as the user that it runs as: settings and
    files, identity, petals, the way to the broker, TLS, credentials, topics, and whether a
    runtime answers. Nothing is changed, on the device or at the broker; one small message is
    published on the topic debug. With the transport sidecar nothing is subscribed or published,
    and no broker is asked: it looks at the external client, and at the callback address.

    Exit codes: 0 nothing failed, 1 something failed, 2 usage.

    Args:
        call: A command to be called as well, such as example-petal/hello; it has failed where it
            could not be called.
        data: Its arguments, as a JSON object; @FILE reads them from a file.
        timeout: How long to wait for an answer of the device. [s]
        as_device: Connect under the device's own client ID, for brokers that allow no other. Only
            while nothing else runs as this device: it would be thrown out.
        as_json: Print one JSON document, at the end.
    """
    if not 0 < timeout < math.inf:
        raise UsageError(f"--timeout must be seconds above 0, not {timeout}")
    if data is not None and call is None:
        raise UsageError("--data needs the command that it is for: --call COMMAND")
    general = general or GeneralOptions()
    general.configure_logging("error")
    report = _Report(as_text=not as_json)
    loaded, check = load_settings(general, settings or RunSettings())
    report.show(check)
    if loaded is None:
        rest = ["certificates", "organization", "device", "journal", "petals", *BROKER, *DEVICE]
        for check_id in [*rest, *([CALL] if call is not None else [])]:
            report.show(not_made(check_id, "there are no settings to check it with"))
        return report.end()
    wanted = None
    if call is not None:
        wanted = Call(command=call, data=read_data(data or "{}", loaded.settings.payload_max))
    certificates = check_certificates(loaded.settings, time.time())
    report.show(certificates)
    organization_id, check = check_organization(loaded.settings)
    report.show(check)
    device_id, check = check_device(loaded.settings, organization_id)
    report.show(check)
    report.show(check_journal(loaded))
    served, checks = check_petals(targets, loaded, host or HostOptions())
    for check in checks:
        report.show(check)
    case = Case(
        settings=loaded.settings,
        identity=make_identity(loaded.settings, organization_id, device_id),
        as_device=as_device,
        timeout=timeout,
        call=wanted,
        served=served,
    )
    failed = certificates.verdict is Verdict.FAILED
    trio.run(functools.partial(examine, case, report.show, certificates_failed=failed))
    return report.end()


class _Report:
    """Shows checks as they are done, or all of them as one document at the end."""

    def __init__(self, *, as_text: bool) -> None:
        self._as_text = as_text
        self._checks: list[Check] = []
        self._console = make_console()

    def show(self, check: Check) -> None:
        self._checks.append(check)
        if self._as_text:
            for line in as_lines(check):
                self._console.print(line)

    def end(self) -> int:
        """Show what is left to be shown; the exit code."""
        verdict = worst(self._checks)
        if self._as_text:
            self._console.print(_summary(self._checks))
        else:
            checks = [check.as_json() for check in self._checks]
            print(json.dumps({"verdict": str(verdict), "checks": checks}))  # noqa: T201
        return EXIT_ERROR if verdict is Verdict.FAILED else EXIT_OK


def as_lines(check: Check) -> list[Text]:
    """A check for people; what a file or a broker says cannot steer the terminal."""
    mark = (f"{check.verdict:<{_WIDTH}}", _STYLES[check.verdict])
    found = f"{check.id:<{_ID_WIDTH}}{escape(check.found)}"
    dimmed = "dim" if check.verdict is Verdict.SKIPPED else ""
    indent = " " * (_WIDTH + _ID_WIDTH)
    todo = [Text(f"{indent}-> {escape(one)}") for one in check.todo]
    return [Text.assemble(mark, (found, dimmed)), *todo]


def _summary(checks: Sequence[Check]) -> Text:
    counts = Counter(check.verdict for check in checks)
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    return Text(", ".join(parts), style="bold")

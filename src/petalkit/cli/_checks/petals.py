"""The petals of the TARGETs: does each load, what does it serve, and do they go together?

Loading runs the user's code, as `petalkit run` would: what it does and how long it takes is its own
affair. What it prints goes to stderr, since stdout is the report's. All are loaded at once, so that
each is made once; only when that fails is each asked for by itself, to say which it was.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import attrs

from ..._authoring.inspection.foreign import attribute_of
from ..._authoring.petal import Petal
from ..._serving.jobs.commands.declared import declared_table
from ..._serving.wiring import dialect_of
from ..._values.errors import PetalkitError
from ..._values.settings.settings import HTTP_DEFAULT, HTTP_OFF, Settings
from .._errors import UsageError
from .._options import HOST_PROXY, HostOptions
from .._settings.loading import Loaded
from .._targets.host_petals import (
    WITHOUT,
    HostPetals,
    known_commands,
    known_endpoints,
    optional_proxies,
    required_proxies,
)
from .._targets.targets import find_petals, load_targets
from .notices import notices
from .values import (
    Check,
    Findings,
    counted,
    failed,
    listed,
    ok,
    shortened,
    skipped,
    warning,
)

_HOST_TODO = "Fix that, or leave --host-compat out for petals that are not of the host."
_NOTICE_TODO = "Change that in the petal's file, or in the TARGETs."
_PROXY_TODO = f"Add --host-compat, or leave {HOST_PROXY} out."
_HTTP_TODO = 'Install it, or set compat_http = "off" if nobody asks for them.'
_TODO = "`petalkit list TARGET` shows the same, with the traceback where the petal's code raised."


@attrs.frozen
class Served:
    """What `petalkit run` would serve.

    Attributes:
        petals: (name, version) of each.
        commands: their names.
    """

    petals: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]


def check_petals(
    targets: Sequence[str], loaded: Loaded, options: HostOptions
) -> tuple[Served | None, list[Check]]:
    """Load the TARGETs and build their table; None where that cannot be done."""
    with contextlib.redirect_stdout(sys.stderr), notices() as told:
        found, checks = _load(targets, loaded, options)
    return found, [*(warning("petal", one, _NOTICE_TODO) for one in dict.fromkeys(told)), *checks]


def _load(
    targets: Sequence[str], loaded: Loaded, options: HostOptions
) -> tuple[Served | None, list[Check]]:
    try:
        host = options.open(loaded)
    except UsageError as error:
        todo = _HOST_TODO if options.host_compat else _PROXY_TODO
        return None, [failed("petals", _line(error.message), todo)]
    if not targets:
        return None, [skipped("petals", "no TARGET was given")]
    try:
        found = find_petals(targets, loaded.petals, origin=loaded.origin, host=host)
    except (UsageError, PetalkitError) as error:
        return None, _tell_which(targets, loaded, host, error)
    petals = found.petals
    checks = [_describe(petal) for petal in petals]
    checks += [
        failed("petal", f"{one.target!r}: {_line(one.message)}", _TODO) for one in found.wrong
    ]
    if any(check.verdict == "failed" for check in checks):
        return None, [*checks, skipped("petals", "not every petal can start")]
    try:
        table = declared_table(petals).commands
    except PetalkitError as error:
        todo = "Two things have one name: rename one, or leave one TARGET out."
        return None, [*checks, failed("petals", _line(str(error)), todo)]
    checks += [check for petal in petals for check in _check_proxies(petal, host)]
    if any(check.verdict == "failed" for check in checks):
        return None, [*checks, skipped("petals", "not every petal can start")]
    checks += [check for petal in petals for check in _check_endpoints(petal, loaded.settings)]
    names = tuple(table.public_names())
    served = Served(tuple((petal.name, petal.version) for petal in petals), names)
    return served, [*checks, _together(petals, loaded.settings)]


def _together(petals: Sequence[Petal], settings: Settings) -> Check:
    """Whether they get in each other's way, which petals of the host may."""
    findings = Findings("petals")
    findings.ok(f"{counted(len(petals), 'petal')} can be served together{_words(petals, settings)}")
    served: dict[str, str] = {}
    for petal in petals:
        guide_petal: Any = attribute_of(petal, "guide_petal")
        known = [] if guide_petal is None else known_commands(guide_petal)[0]
        for name in [command.name for command in known]:
            first = served.setdefault(name, petal.name)
            if first != petal.name:
                text = f"{name} of {petal.name} is never asked for: {first} was given first"
                findings.warn(text, "Rename one of the two commands, or leave one petal out.")
    return findings.check(nothing="")


def _words(petals: Sequence[Petal], settings: Settings) -> str:
    """In which dialect, where petals of the host are among them: their clients read one of two."""
    theirs = [petal for petal in petals if petal.__petalkit_dialect__ is not None]
    if not any(attribute_of(petal, "guide_petal") is not None for petal in petals):
        return ""
    if settings.dialect is not None:
        why = "which is set"
        if theirs and settings.dialect != theirs[0].__petalkit_dialect__:
            why += f", though {theirs[0].name} was written for {theirs[0].__petalkit_dialect__}"
    elif theirs:
        why = f"which {theirs[0].name} was written for"
    else:
        why = "since none uses @mqtt_action"
    return f", in the dialect {dialect_of(settings, petals) or 'guide'}, {why}"


def _describe(petal: Petal) -> Check:
    guide_petal: Any = attribute_of(petal, "guide_petal")
    if guide_petal is not None:  # of the host: what it serves is its own affair, until it runs
        known, complete = known_commands(guide_petal)
        text = _told(petal, [command.name for command in known])
        return ok("petal", text if complete else f"{text}; more may be known when it runs")
    try:
        table = declared_table([petal])
    except PetalkitError as error:
        return failed("petal", _line(str(error)), _TODO)
    text = _told(petal, sorted(table.own))
    for noun, specs in (("job", table.jobs), ("stream", table.streams)):
        if specs:
            text += f", {counted(len(specs), noun)}: {listed(one.name for one in specs)}"
    return ok("petal", text)


def _check_proxies(petal: Petal, host: HostPetals | None) -> list[Check]:
    """What a petal of the host needs, or names in its code, and nobody supplies; what is gone."""
    guide_petal: Any = attribute_of(petal, "guide_petal")
    if guide_petal is None or host is None:
        return []
    from ...compat._reading import named_proxies, removed_calls

    named = named_proxies(guide_petal)
    required = [one for one in required_proxies(guide_petal) if one not in host.names]
    insisted = sorted(named.insisted - host.names - set(required))
    # Where it only asks, it gets None; whether it can do without is its own affair.
    asked = sorted(named.asked - host.names - set(optional_proxies(guide_petal)))
    found: list[Check] = []
    for names, text, verdict in (
        (required, "needs", failed),
        (insisted, "insists somewhere on", warning),
        (asked, "asks somewhere for", warning),
    ):
        if names:
            name = shlex.quote(names[0])
            todo = (
                f"{HOST_PROXY} {name}=module:name, or {HOST_PROXY} {name}={WITHOUT} to do without."
            )
            text = f"{petal.name} {text} {listed(names)}, and nobody supplies that"
            found.append(verdict("petal", text, todo))
    for method, callers in removed_calls(guide_petal).items():
        text = f"{petal.name} calls {method}() in {listed(callers)}: the guide has removed it"
        todo = "Register a handler, and route by the command: see docs/migration.md."
        found.append(warning("petal", text, todo))
    return found


def _check_endpoints(petal: Petal, settings: Settings) -> list[Check]:
    """The HTTP endpoints of a petal of the host: served, and if not, which are not."""
    guide_petal: Any = attribute_of(petal, "guide_petal")
    endpoints, why_not = (
        ([], None) if guide_petal is None else known_endpoints(guide_petal, settings)
    )
    if not endpoints:
        return []
    text = f"{petal.name}, {counted(len(endpoints), 'HTTP endpoint')}"
    if why_not is None:
        return [ok("petal", f"{text} on {settings.compat_http or HTTP_DEFAULT}")]
    text = f"{text} not served: {', '.join(endpoints)}"
    if settings.compat_http == HTTP_OFF:
        return [ok("petal", f"{text} ({why_not})")]
    return [warning("petal", f"{text} ({why_not})", _HTTP_TODO)]


def _told(petal: Petal, names: Sequence[str]) -> str:
    commands = f"{counted(len(names), 'command')}{': ' if names else ''}{listed(names)}"
    return f"{petal.name} {petal.version}, {commands}"


def _tell_which(
    targets: Sequence[str], loaded: Loaded, host: HostPetals | None, error: Exception
) -> list[Check]:
    """Each target by itself; when all of them load, it is what they have in common."""
    checks: list[Check] = []
    for target in targets:
        try:
            petals = load_targets([target], loaded.petals, origin=loaded.origin, host=host)
        except UsageError as one:
            # The other targets' tables are nobody's here, which is found when all is loaded.
            if "no petal of that name" in one.message and len(targets) > 1:
                checks.append(ok("petal", f"{target!r} can be loaded"))
            else:
                checks.append(failed("petal", _line(one.message), _TODO))
        except PetalkitError as one:
            checks.append(failed("petal", f"{target!r}: {_line(str(one))}", _TODO))
        else:
            checks += [_describe(petal) for petal in petals]
    if any(check.verdict == "failed" for check in checks):
        return [*checks, skipped("petals", "not every TARGET can be loaded")]
    text = error.message if isinstance(error, UsageError) else str(error)
    return [*checks, failed("petals", _line(text), _TODO)]


def _line(text: str) -> str:
    return shortened(" ".join(text.split()))

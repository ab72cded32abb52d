"""Round trips to the device through the broker: does a runtime answer, and what does it serve?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import trio

from ...._values.errors import ConfigError, ErrorCode, PayloadError, TransportError
from ...._values.messages import Identity, Response
from ...._values.topics import TopicFilter
from ....client import Client, open_client
from ....transports import create_transport
from ..._caller.responses import ignored_keys
from ..case import RETAINED_WAIT, Call, Case
from ..petals import Served
from ..values import (
    CALL,
    Check,
    Findings,
    counted,
    failed,
    listed,
    not_made,
    ok,
    shortened,
    warning,
)

CLOCKS_APART = 5.0  # seconds from which on two clocks are said to differ

_ERRORS = (TransportError, ConfigError, trio.TooSlowError)


async def answers(case: Case, identity: Identity) -> bool:
    """Whether anything answers as this device; False also where it could not be asked. Bounded."""
    try:
        async with open_client(case.settings, identity=identity, reconnect=False) as client:
            await client.request("petalkit/ping", timeout=case.timeout)
    except _ERRORS:
        return False
    return True


async def check_device(case: Case, identity: Identity, show: Callable[[Check], None]) -> None:
    """`ping`, `info`, and `call` where one is wanted; each is bounded by the case's timeout."""
    left = ["info"] if case.call is None else ["info", CALL]
    try:
        async with open_client(case.settings, identity=identity, reconnect=False) as client:
            answered, check = await _ping(client, case)
            show(check)
            if answered:
                show(await _info(client, case))
                if case.call is not None:
                    show(await _call(client, case.call, case.timeout))
                left = []
    except (TransportError, ConfigError) as error:
        text = f"nobody could listen for an answer: {shortened(str(error))}"
        todo = (
            "Let callers subscribe to the response topic, or ask from elsewhere: `petalkit call`."
        )
        show(warning("ping", text, todo))
    for check_id in left:
        show(not_made(check_id, "no runtime has answered"))


# -- ping


async def _ping(client: Client, case: Case) -> tuple[bool, Check]:
    base = shortened(client.identity.base_topic)
    started = trio.current_time()
    try:
        response = await client.request("petalkit/ping", timeout=case.timeout)
    except trio.TooSlowError:
        text = f"nothing answers as {base} within {case.timeout:g} s"
        retained = case.settings.status_retain
        status = await _retained_status(case, client.identity) if retained else None
        return False, _no_answer(text, status, retained=retained)
    except TransportError as error:
        text = f"the link ended at a command to {base}: {shortened(str(error))}"
        return False, warning("ping", text, "Let callers publish on the command topics.")
    elapsed = trio.current_time() - started
    if response.error_code == ErrorCode.UNKNOWN_COMMAND:
        text = f"another host answers as {base}, and not petalkit: it knows no petalkit/ping"
        return False, warning("ping", text, "Stop the other host, or set answer_unknown to own.")
    if not response.success:
        text = f"{base} answered {_code(response)}"
        return False, warning("ping", text, "Look into the log of the runtime.")
    return True, judge_clocks(response.timestamp, time.time(), elapsed, base)


def judge_clocks(stamp: object, now: float, elapsed: float, base: str) -> Check:
    """The ping was answered; how far is the clock of who answered from ours?

    Args:
        stamp: of the response.
        now: wall clock, when it came.
        elapsed: seconds of the round trip.
        base: the base topic, for the text.
    """
    text = f"{base} answered in {elapsed * 1000:.0f} ms"
    try:
        apart = datetime.fromisoformat(str(stamp)).timestamp() - now
    except ValueError:
        return ok("ping", text)
    if abs(apart) <= CLOCKS_APART + elapsed:
        return ok("ping", text)
    which = "ahead of" if apart > 0 else "behind"
    text += f"; its clock is {abs(apart):.0f} s {which} this one"
    return warning(
        "ping",
        text,
        "Set the clocks: expiresAt and the age of commands are judged by the device's.",
    )


def _no_answer(text: str, status: str | None, *, retained: bool) -> Check:
    match status:
        case "online":
            return warning(
                "ping",
                f"{text}, though its retained status says online",
                "A runtime is connected and does not answer: look into its log for a blocked event "
                "loop, and at who may publish on the command topics and listen on response.",
            )
        case "offline":
            text += "; its retained status says offline"
            return warning("ping", text, "Start `petalkit run` on the device.")
        case _:
            if retained:
                text += "; it has no retained status"
            return warning(
                "ping",
                text,
                "Start `petalkit run` on the device; if it runs, compare organization and device "
                "ID with the line `connected as client` in its log.",
            )


async def _retained_status(case: Case, identity: Identity) -> str | None:
    """`online`, `offline`, or None for none that is known. Bounded."""
    topic = identity.topic(case.settings.status_topic)
    try:
        async with create_transport(case.settings).connect(case.observer_options()) as link:
            await link.subscribe([TopicFilter(topic)])
            with trio.move_on_after(RETAINED_WAIT):
                return read_status((await link.receive())[0].payload)
    except (TransportError, ConfigError):
        pass
    return None


def read_status(payload: bytes) -> str | None:
    """The word in a status message; None where there is none of ours."""
    try:
        document = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    status = document.get("status") if isinstance(document, Mapping) else None
    return status if status in ("online", "offline") else None


# -- info


async def _info(client: Client, case: Case) -> Check:
    try:
        response = await client.request("petalkit/info", timeout=case.timeout)
    except trio.TooSlowError:
        return warning("info", f"no answer within {case.timeout:g} s", "Ask again; try --timeout.")
    except TransportError as error:
        return warning("info", f"the link ended: {shortened(str(error))}", "Ask again.")
    if not response.success:
        return warning("info", f"answered {_code(response)}", "Look into the log of the runtime.")
    return compare(response.fields, case.served, await _unavailable(client, case))


async def _unavailable(client: Client, case: Case) -> list[str]:
    """The petals that are out of service, as far as the device says so."""
    with contextlib.suppress(trio.TooSlowError, TransportError):
        response = await client.request("petalkit/statistics", timeout=case.timeout)
        statistics = response.fields.get("statistics")
        if isinstance(statistics, Mapping):
            names = _sequence(statistics.get("unavailable_petals"))
            return [shortened(name, 40) for name in names if isinstance(name, str)]
    return []


def compare(
    fields: Mapping[str, Any], served: Served | None, unavailable: Sequence[str] = ()
) -> Check:
    """What the running device says of itself, beside what the TARGETs would serve."""
    petals = _petals(fields.get("petals"))
    commands = [name for name in _sequence(fields.get("commands")) if isinstance(name, str)]
    findings = Findings("info")
    told = listed(f"{name} {version}" for name, version in petals.items()) or "no petal"
    version = shortened(str(fields.get("petalkit", "?")), 40)
    findings.ok(
        f"petalkit {version} serves {told}, {counted(len(commands), 'command')}"
        f"{': ' if commands else ''}{listed(commands)}"
        f"{_long_work(fields, 'job')}{_long_work(fields, 'stream')}"
    )
    if unavailable:
        findings.warn(
            f"out of service: {listed(unavailable)}",
            "Its log says why: a petal that failed, or handlers that do not end (slots_lost).",
        )
    restart = "Restart `petalkit run` on the device with these TARGETs."
    if served is not None:
        expected = dict(served.petals)
        missing = [name for name in expected if name not in petals]
        if missing:
            findings.warn(f"the running device does not serve {listed(missing)}", restart)
        for name, ours in expected.items():
            if petals.get(name, ours) != ours:
                theirs = shortened(petals[name], 40)
                findings.warn(f"{name} runs as {theirs}, and is {ours} here", restart)
        lacking = [name for name in served.commands if name not in commands]
        if lacking and not missing and "next" not in fields:  # all its names are known
            findings.warn(f"the running device lacks {listed(lacking)}", restart)
    return findings.check(nothing="")


def _long_work(fields: Mapping[str, Any], noun: str) -> str:
    """The jobs or streams in an answer; `petalkit/info` names them with their petals, or alone."""
    found = [one for one in _sequence(fields.get(f"{noun}s")) if isinstance(one, str)]
    for petal in _sequence(fields.get("petals")):
        theirs = petal.get(f"{noun}s") if isinstance(petal, Mapping) else None
        found += [str(one.get("name")) for one in _sequence(theirs) if isinstance(one, Mapping)]
    return f", {counted(len(found), noun)}: {listed(found)}" if found else ""


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _petals(value: Any) -> dict[str, str]:
    return {
        str(one.get("name")): str(one.get("version", ""))
        for one in _sequence(value)
        if isinstance(one, Mapping)
    }


# -- a command of a petal


async def _call(client: Client, call: Call, timeout: float) -> Check:
    started = trio.current_time()
    try:
        response = await client.request(call.command, call.data, timeout=timeout)
    except trio.TooSlowError:
        return failed(
            CALL,
            f"{call.command}: no answer within {timeout:g} s",
            "It may take longer: try --timeout. Else look for `received` and `answered` in the log "
            "of the runtime.",
        )
    except (TransportError, PayloadError) as error:
        return failed(CALL, f"{call.command}: {shortened(str(error))}")
    elapsed = trio.current_time() - started
    if response.success:
        text = f"{call.command} answered with success in {elapsed * 1000:.0f} ms"
        ignored = ignored_keys(response)
        if ignored:
            text += f"; it has no use for {', '.join(path for path, _ in ignored)}"
        return ok(CALL, text)
    code = _code(response)
    todo = "`petalkit call` shows the whole answer."
    if response.error_code == ErrorCode.UNKNOWN_COMMAND:
        todo = "Compare the name with `petalkit list TARGET`; mind the prefix."
    return failed(CALL, f"{call.command} answered {code} in {elapsed * 1000:.0f} ms", todo)


def _code(response: Response) -> str:
    return shortened(str(response.error_code or "an error without a code"), 100)

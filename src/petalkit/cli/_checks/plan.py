"""All checks that need the broker, in order; what needs another that has failed is skipped.

With the transport `sidecar` none of them is made. Its own take their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs

from ...transports._connecting.tls import Address
from .broker.broker import Visit, check_connect, check_limits, check_queue, end_session
from .broker.device import answers, check_device
from .broker.network import check_network
from .broker.rights import check_publish, check_subscribe
from .broker.tls import check_clock, check_tls
from .case import Case
from .certificate import Validity
from .values import CALL, Check, Verdict, not_made, ok, skipped, warning

Show = Callable[[Check], None]

# Their order, for those who say that all of them are skipped.
BROKER = ("network", "tls", "clock", "connect", "limits", "queue", "subscribe", "publish")
DEVICE = ("ping", "info")

_ITS_OWN = "the link to the broker is the external client's"
_NOT_TRIED = "not tried: it would take the topics from the device that runs"
_FROM_OUTSIDE = "needs a connection to the broker itself: ask from a machine that has one"
_WITH_A_SIDECAR = {
    **dict.fromkeys(("network", "tls", "connect", "limits", "queue"), _ITS_OWN),
    "subscribe": _NOT_TRIED,
    "publish": "not tried: what is published through the client reaches others",
    **dict.fromkeys((*DEVICE, CALL), _FROM_OUTSIDE),
}


async def examine(case: Case, show: Show, *, certificates_failed: bool) -> None:
    """Run them; every wait is bounded.

    Args:
        case: what is examined.
        show: takes each check when it is done.
        certificates_failed: so that no TLS is tried with them.
    """
    asked = DEVICE if case.call is None else (*DEVICE, CALL)
    if case.settings.transport == "sidecar":
        await _examine_sidecar(case, asked, show, certificates_failed=certificates_failed)
        return

    def skip_from(first: str, reason: str) -> None:
        for check_id in (*BROKER[BROKER.index(first) :], *asked):
            show(not_made(check_id, reason))

    address, check = await check_network(case.settings)
    show(check)
    obstacle = "" if address is not None else "the broker cannot be reached"
    dates: Validity | None = None
    if address is None:
        show(skipped("tls", obstacle))
    elif not address.tls:
        show(skipped("tls", f"{case.settings.broker_url().scheme}:// has none"))
    elif certificates_failed:
        show(skipped("tls", "the certificates cannot be used"))
        obstacle = "there is no TLS"
    else:
        dates, check = await check_tls(case.settings, address, time.time())
        show(check)
        obstacle = "there is no TLS" if check.verdict is Verdict.FAILED else ""
    show(check_clock(time.time(), dates))
    if address is None or obstacle:
        skip_from("connect", obstacle)
        return
    if case.as_device:
        case, check = await _choose_client(case)
        show(check)
    visit = Visit()
    try:
        goes_on = await _visit(case, address, visit, show, skip_from)
    finally:
        made = visit.accepted is not None and not visit.accepted.session_present
        if case.as_device and made:
            await end_session(case, case.options())
    if goes_on and case.identity is not None:
        await check_device(case, case.identity, show)


async def _examine_sidecar(
    case: Case, asked: Sequence[str], show: Show, *, certificates_failed: bool
) -> None:
    """What can be known beside a device that runs: two addresses, and the clock."""
    # Here, because it needs the extra `http`, which is there: the settings were good.
    from .broker.sidecar import check_callback, check_sidecar

    addresses, check = await check_sidecar(case.settings, certificates_failed=certificates_failed)
    show(check)
    if addresses is None:
        show(skipped("callback", "see what sidecar says above"))
    else:
        show(await check_callback(case.settings, addresses))
    if case.as_device:
        show(skipped("client", "the external client has a client ID, and we have none"))
    for check_id in (*BROKER, *asked):
        if check_id == "clock":
            show(check_clock(time.time(), None))
        else:
            show(not_made(check_id, _WITH_A_SIDECAR[check_id]))


async def _visit(
    case: Case, address: Address, visit: Visit, show: Show, skip_from: Callable[[str, str], None]
) -> bool:
    """What is done under the client ID that is examined; whether a device may be asked then."""
    show(await check_connect(case, address, visit))
    if visit.accepted is None:
        skip_from("limits", "the broker does not accept us")
        return False
    show(check_limits(visit.accepted.limits, case.settings))
    show(await check_queue(case))
    if case.identity is None:
        skip_from("subscribe", "organization ID or device ID is not known")
        return False
    show(await check_subscribe(case, case.identity))
    show(await check_publish(case, case.identity))
    return True


async def _choose_client(case: Case) -> tuple[Case, Check]:
    """The device's own client ID, unless something lives under it, which would be thrown out."""
    own = attrs.evolve(case, as_device=False)
    client_id = case.device_client_id()
    if client_id is None or case.identity is None:
        text = "the device's client ID is not known, so one of our own is used"
        return own, warning("client", text, "See what organization and device say above.")
    if await answers(case, case.identity):
        text = f"a runtime answers as this device, so {client_id!r} is left to it"
        return own, warning("client", text, "Stop it first, to check under its client ID.")
    text = f"checked as {client_id!r}, the device's own"
    if case.settings.speaks_mqtt_5:
        text += f"; the session there is asked for {case.options().session_expiry} s from now on"
    return case, ok("client", text)

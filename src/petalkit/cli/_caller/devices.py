"""`petalkit devices`: which devices of an organization there are, as they have said themselves."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from ..._serving.process.log_lines import escape
from ...client import Device
from .._errors import EXIT_OK
from .._options import GENERAL, CallSettings, GeneralOptions
from .._output.printing import make_table_console, print_json
from .finding import short_ids
from .options import CallerOptions, make_ask
from .session import Session, run_session

_STYLES = {"online": "green", "offline": "yellow"}


def devices(  # noqa: D417 - what is left out has its words in its class
    *,
    online: Annotated[bool, Parameter(negative=(), group=GENERAL)] = False,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Show the devices of the organization: whether each is online, and its petals.

    It is what a device or its will has said last, which the broker keeps. The first column is the
    least that --device takes for it. With --json one document: `organization_id`, and under
    `devices` each with `device_id`, `short`, `status`, `petals`, `schema_hash` and `timestamp`.

    Exit codes: 0, 2 no connection, the broker does not let us, or a usage error, 130 Ctrl-C.

    Args:
        online: Only those that say that they are online.
    """
    ask = make_ask(general, caller, settings)

    async def work(session: Session) -> int:
        return await show_devices(session, online=online)

    return run_session(attrs.evolve(ask, device=None), work, needs_device=False)


async def show_devices(session: Session, *, online: bool = False) -> int:
    """Ask the broker, and print."""
    found = await session.client.devices(timeout=session.ask.timeout)
    short = short_ids([one.device_id for one in found])
    shown = [one for one in found if one.online or not online]
    organization_id = session.client.identity.organization_id
    if session.ask.as_json:
        listed = [_as_json(one, short[one.device_id]) for one in shown]
        print_json({"organization_id": organization_id, "devices": listed})
        return EXIT_OK
    console = make_table_console()
    if not shown:
        text = f"no device of {escape(organization_id)} has said that it is there"
        console.print(Text(text, "dim"))
        return EXIT_OK
    table = Table(box=None, pad_edge=False)
    for name in ("device", "device ID", "status", "since", "petals"):
        table.add_column(name, overflow="fold", no_wrap=name in ("device", "status"))
    for one in shown:
        petals = ", ".join(f"{name} {version}".strip() for name, version in one.petals.items())
        table.add_row(
            Text(escape(short[one.device_id]), "bold"),
            Text(escape(one.device_id)),
            Text(escape(one.status), _STYLES.get(one.status, "")),
            Text(escape(one.timestamp or "")),
            Text(escape(petals)),
        )
    console.print(table)
    return EXIT_OK


def _as_json(device: Device, short: str) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "short": short,
        "status": device.status,
        "petals": [{"name": name, "version": said} for name, said in device.petals.items()],
        "schema_hash": device.schema_hash,
        "timestamp": device.timestamp,
    }

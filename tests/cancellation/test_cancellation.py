"""Every public coroutine, cancelled at each of its moments: see `sweep` for what has to hold.

And every public coroutine is in the table, or says here why it is not.
"""

from __future__ import annotations

import asyncio
import importlib
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from ..brokers import Mosquitto
from .cases_sockets import on_broker
from .public import key, waiting_functions, waits
from .sweep import Case, sweep
from .table import CASES

pytestmark = pytest.mark.exhaustive

for _name in ("client", "compat", "journal", "links", "lives", "served", "sockets"):
    importlib.import_module(f"{__package__}.cases_{_name}")

_HOOK = "an asyncio hook for petals to override, which waits for nothing"
_NEVER = "asyncio-flavored, and waits for nothing"
_INSIDE = "awaited in a handler's own task, and cancelled there by tests of serving"
_FRONT = "asyncio-flavored: cancelled in the tests of the fronts"
# Public function -> why it is not swept.
EXEMPT = {
    "compat._base.Petal.async_startup": _HOOK,
    "compat._base.Petal.async_shutdown": _HOOK,
    "compat._base.BaseProxy.start": "abstract: what it does is the user's",
    "compat._base.BaseProxy.stop": "abstract: what it does is the user's",
    "client.aio.Client.statistics": _FRONT,
    "client.aio.Job.cancel": _FRONT,
    "client.aio.Job.result": _FRONT,
    "client.aio.Job.status": _FRONT,
    "client.aio.Job.updates": _FRONT,
    "client.aio.open_client": _FRONT,
    "compat._organization.OrganizationManager.start": _NEVER,
    "compat._organization.OrganizationManager.stop": _NEVER,
    "compat._petal.proxy.MQTTProxy.start": _NEVER,
    "compat._petal.proxy.MQTTProxy.stop": _NEVER,
    "compat._petal.proxy.MQTTProxy.health_check": _NEVER,
    "_authoring.context.CommandContext.accept": _INSIDE,
    "_authoring.jobs.handle.Job.checkpoint": _INSIDE,
    "_authoring.jobs.handle.Job.progress": "no checkpoint: it waits for nothing",
    "_authoring.jobs.progress.Step.progress": "no checkpoint: it waits for nothing",
    "_authoring.petal.Petal.on_interrupted": "a hook for petals to override",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cancelled_at_every_moment(case: Case) -> None:
    report = sweep(case)
    assert report.came_out > 0, "there was nothing to cancel"


@pytest.mark.parametrize(
    ("kind", "protocol"), [("asyncio-mqtt", "3.1.1"), ("asyncio-mqtt", "5"), ("native", "5")]
)
def test_cancelled_at_every_moment_against_a_real_broker(
    kind: str, protocol: str, mosquitto: Mosquitto
) -> None:
    report = sweep(on_broker(f"mqtt://127.0.0.1:{mosquitto.port}", kind, protocol))
    assert report.came_out > 0


def test_every_public_coroutine_is_swept_or_exempt() -> None:
    """A new one needs an entry in the table: see `table`."""
    public = waiting_functions().keys()
    swept = {key(function) for each in CASES for function in each.covers}
    assert public - swept - EXEMPT.keys() == set(), "they are in no table"
    assert EXEMPT.keys() - public == set(), "exempt, and not there any more"
    assert EXEMPT.keys() & swept == set(), "exempt, and swept all the same"


# -- what counts as one that waits


async def _coroutine() -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def _context() -> Any:
    yield


def _gives_a_context() -> AbstractAsyncContextManager[None]:
    return _context()


def _plain() -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [(_coroutine, True), (_context, True), (_gives_a_context, True), (_plain, False)],
)
def test_what_waits(function: Any, expected: bool) -> None:
    assert waits(function) is expected

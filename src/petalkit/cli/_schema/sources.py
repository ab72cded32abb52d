"""From where a contract is read: from petals that do not run, or from a device that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._authoring.inspection.foreign import attribute_of
from ..._authoring.petal import Petal
from ..._serving.jobs.commands.declared import declared_table
from ..._serving.petals.descriptions import describe, describe_petal, schema_hash
from ..._values.settings.settings import Settings
from ...client import Client, CommandRefused
from .._targets.host_petals import known_commands
from .contract import Contract, read_contract

INFO = "petalkit/info"
ASKED_MAX = 5_000  # questions to one device


def contract_of_petals(petals: Sequence[Petal], settings: Settings) -> Contract:
    """What petals declare; nothing of them is run.

    Raises:
        RegistrationError: they cannot be served together.
    """
    table = declared_table(petals, unknown_keys=settings.unknown_keys)
    described: list[dict[str, Any]] = []
    for petal in petals:
        host: Any = attribute_of(petal, "guide_petal")
        found = describe_petal(petal)
        if host is not None:  # what arguments its commands take, only it knows
            commands, _ = known_commands(host)
            found["commands"] = [{"name": one.name, "doc": one.doc} for one in commands]
        else:
            own = [one for one in table.commands if one.petal == petal.name]
            found["commands"] = [describe(one) for one in own if one.name in table.own]
            found["jobs"] = [describe(one) for one in table.jobs if one.method.petal == petal.name]
            found["streams"] = [
                describe(one) for one in table.streams if one.method.petal == petal.name
            ]
        described.append(found)
    served = schema_hash([*table.commands, *table.jobs, *table.streams])
    return read_contract(described, served)


async def contract_of_device(client: Client, timeout: float) -> tuple[Contract, list[str]]:
    """What a device says of itself, and the names of those whose schemas are too large for it.

    Args:
        client: opened for that device.
        timeout: seconds for each question.

    Raises:
        CallTimeout, CommandRefused: it does not say it.
        BadContract: it says what cannot be understood.
    """
    info = await client.info(timeout=timeout)
    if info.complete:
        return read_contract(info.petals, info.schema_hash, info.commands), []
    names = sorted({*info.commands, *info.jobs, *info.streams})
    versions = {one.get("name"): one.get("version") for one in info.petals}
    petals, left_out = await _Asking(client, timeout).each(names, versions)
    return read_contract(petals, info.schema_hash, info.commands), left_out


class _Asking:
    """Asks for one after the other, where all are too many for one answer."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def each(
        self, names: Sequence[str], versions: Mapping[Any, Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """As petals: one for each prefix, since the answer to one name does not say whose it is."""
        petals: dict[str, dict[str, Any]] = {}
        left_out: list[str] = []
        for name in names[:ASKED_MAX]:
            try:
                found = (await self._ask({"command": name})).fields
            except CommandRefused:  # of a petal of the guide there is the name
                continue
            if found.get("complete") is not True:
                left_out.append(name)
            prefix = name.strip("/").partition("/")[0]
            version = versions.get(prefix)
            petal = petals.setdefault(prefix, {"name": prefix, "version": version})
            for kind in ("command", "job", "stream"):
                one = found.get(kind)
                if isinstance(one, Mapping):
                    petal.setdefault(f"{kind}s", []).append(one)
        return list(petals.values()), [*left_out, *names[ASKED_MAX:]]

    async def _ask(self, data: Mapping[str, Any]) -> Any:
        return await self._client.call(INFO, data, timeout=self._timeout)

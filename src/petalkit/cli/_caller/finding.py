"""A device by what a person can type of its ID, as git finds a commit.

The rule: what is typed means one device or is refused, and an ID in full means itself. The default
ID has 64 hexadecimal digits and is part of every topic, so it stays as it is; only here may it be
short. The trap: the list of devices is what the broker has retained. One that was never online, or
another caller may not see, has to be named in full.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ...client import Device
from .._errors import UsageError

SHORT_MIN = 4  # characters that are shown of an ID, at least
_NAMED_MAX = 5  # devices that an error names


def matching(typed: str, device_ids: Iterable[str]) -> list[str]:
    """The IDs that begin so, or whose part after the first hyphen does; one in full goes first."""
    found = [one for one in device_ids if one.startswith(typed) or _tail(one).startswith(typed)]
    return [typed] if typed in found else sorted(found)


def _tail(device_id: str) -> str:
    return device_id.partition("-")[2]


def short_ids(device_ids: Collection[str]) -> dict[str, str]:
    """For each the least that names this one of all; the whole where nothing less does.

    What stands next to it in order is what it is told from, so thousands are no matter.
    """
    owned = {(one, one) for one in device_ids} | {(_tail(one), one) for one in device_ids}
    order = sorted(key for key in owned if key[0])
    at = {key: index for index, key in enumerate(order)}
    return {one: _shortest(one, order, at) for one in device_ids}


def _shortest(
    device_id: str, order: Sequence[tuple[str, str]], at: Mapping[tuple[str, str], int]
) -> str:
    whole = _tail(device_id) or device_id
    same = 0  # characters at the start that another has too
    for step in (-1, 1):
        index = at[whole, device_id] + step
        while 0 <= index < len(order) and order[index][1] == device_id:  # its other name, no more
            index += step
        if 0 <= index < len(order):
            same = max(same, _common(whole, order[index][0]))
    return whole[: max(same + 1, SHORT_MIN)] if same < len(whole) else device_id


def _common(one: str, other: str) -> int:
    """How many characters they begin with alike."""
    pairs = zip(one, other, strict=False)
    differ = (at for at, (a, b) in enumerate(pairs) if a != b)
    return next(differ, min(len(one), len(other)))


def find_device(typed: str, devices: Iterable[Device], organization_id: str) -> str:
    """The ID of the one device that is meant.

    Raises:
        UsageError: none is, or more than one.
    """
    found = matching(typed, [one.device_id for one in devices])
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"--device {typed}: no device of {organization_id!r} that the broker knows begins so",
            hint="`petalkit devices` shows which there are; --device-id takes the whole ID, also "
            "of one that was never online",
        )
    named = ", ".join(found[:_NAMED_MAX])
    more = f" and {len(found) - _NAMED_MAX} more" if len(found) > _NAMED_MAX else ""
    raise UsageError(
        f"--device {typed}: {len(found)} devices begin so: {named}{more}",
        hint="type more of the ID of the one that you mean",
    )

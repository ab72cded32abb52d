"""What the tests of `petalkit doctor` have in common: its report, read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

QUICK = {"--timeout": "0.3", "--connect-timeout": "2"}  # most of the stories have no device


@attrs.frozen
class Report:
    """What one run of the doctor said."""

    code: int
    verdict: str
    checks: list[dict[str, Any]]

    def __getitem__(self, check_id: str) -> dict[str, Any]:
        (found,) = (check for check in self.checks if check["id"] == check_id)
        return found

    def verdicts(self) -> dict[str, str]:
        return {check["id"]: check["verdict"] for check in self.checks}

    def of(self, verdict: str) -> set[str]:
        return {name for name, value in self.verdicts().items() if value == verdict}


Doctor = Callable[..., Report]


def quick(*arguments: str) -> list[str]:
    """The arguments, with short limits where they set none."""
    limits = [part for one in QUICK.items() if one[0] not in arguments for part in one]
    return [*limits, *arguments]

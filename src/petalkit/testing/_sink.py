"""`Sink`: what comes out on one topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..transports.memory import Observer


class Sink(Sequence[Mapping[str, Any]]):
    """Messages of one topic, decoded, in order; grows while its block lasts."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __len__(self) -> int:
        return len(self._observer)

    def __getitem__(self, index: Any) -> Any:
        found = self._observer[index]
        if isinstance(found, list):
            return [msgspec.json.decode(message.payload) for message in found]
        return msgspec.json.decode(found.payload)

    async def wait(self, count: int) -> list[Any]:
        """Wait until so many have come in all, and return all. The caller bounds it."""
        return [msgspec.json.decode(one.payload) for one in await self._observer.wait(count)]

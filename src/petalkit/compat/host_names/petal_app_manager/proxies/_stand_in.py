"""The base of the proxies that petalkit has the names of, for annotations and `isinstance`."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from petalkit.compat import BaseProxy


class StandIn(BaseProxy):
    """A proxy of the host that petalkit does not have. A user's own may derive from it."""

    # As petals know it: self._proxies["redis"].
    _petalkit_name: ClassVar[str] = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here, before Python complains that the class is abstract.
        if "_petalkit_name" in vars(cls):
            name = cls._petalkit_name
            raise NotImplementedError(
                f"petalkit has no {cls.__name__} of its own, only the name. Supply one, which may "
                f"derive from it: --host-proxy {name}=module:name, or adapt(..., "
                f"proxies={{{name!r}: ...}}). --host-proxy {name}=none says that petals have to "
                "do without it"
            )
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the host's takes, so that a class that derives from it can hand it on."""
        super().__init__()

"""What compat raises of its own."""

from __future__ import annotations

from .._errors import PetalkitError


class ProxyNotAvailable(PetalkitError, KeyError):
    """A petal asked for a proxy that nobody supplied.

    Args:
        name: of the proxy.
        petal: that asked.
        available: those that are there.
    """

    def __init__(self, name: str, petal: str, available: tuple[str, ...]) -> None:
        super().__init__(name, petal, available)
        self.name = name
        self.petal = petal
        self.available = available

    def __str__(self) -> str:
        return (
            f"petal {self.petal!r} asks for the proxy {self.name!r}, which is not there (there "
            f"are: {', '.join(self.available)}). Supply it: --proxy {self.name}=module:name, or "
            f"adapt(..., proxies={{{self.name!r}: ...}}). --proxy {self.name}=none says that the "
            "petal has to do without it"
        )


class MethodRemoved(PetalkitError, NotImplementedError):
    """A petal called what the guide has removed.

    Args:
        method: the name.
        instead: what to write.
    """

    def __init__(self, method: str, instead: str) -> None:
        super().__init__(method, instead)
        self.method = method
        self.instead = instead

    def __str__(self) -> str:
        return f"MQTTProxy.{self.method}() was removed by the integration guide: {self.instead}"


class HookFailed(PetalkitError):
    """A hook of a petal raised, or took too long.

    Args:
        hook: the name of the method.
        reason: what happened.
    """

    def __init__(self, hook: str, reason: str) -> None:
        super().__init__(hook, reason)
        self.hook = hook
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.hook}() {self.reason}"


class HostInstalled(PetalkitError, ImportError):
    """`install()` found the real host application.

    Args:
        where: its place.
    """

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where

    def __str__(self) -> str:
        return (
            f"the real petal_app_manager is installed here ({self.where}); petals would import "
            "that. Uninstall it (pip uninstall petal-app-manager), or use another environment"
        )

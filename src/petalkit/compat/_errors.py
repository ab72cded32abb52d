"""What compat raises of its own."""

from __future__ import annotations

from .._values.errors import PetalkitError


class ProxyNotAvailable(PetalkitError, KeyError):
    """A petal asked for a proxy that nobody supplied.

    Args:
        names: of the proxies, at least one.
        petal: that asked.
        available: those that are there.
        refused: the user has said that petals have to do without.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        petal: str,
        available: tuple[str, ...],
        *,
        refused: bool = False,
    ) -> None:
        super().__init__(names, petal, available)
        self.names = names
        self.petal = petal
        self.available = available
        self.refused = refused

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.names))
        text = f"petal {self.petal!r} asks for the proxy {names}, which is not there (there are: "
        text += f"{', '.join(self.available)}). "
        if self.refused:
            return f"{text}Petals have to do without it, as was said, and this one cannot"
        return text + how_to_supply(self.names[0])


def how_to_supply(name: str) -> str:
    """What a user does about a proxy that is not there."""
    return (
        f"Supply it: --host-proxy {name}=module:name, or adapt(..., "
        f"proxies={{{name!r}: ...}}). --host-proxy {name}=none says that petals have to do "
        "without it"
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
        call = "()" if self.hook.replace(".", "_").isidentifier() else ""
        return f"{self.hook}{call} {self.reason}"


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


class HostCodeMissing(PetalkitError, ImportError):
    """The host's own proxies were asked for, and their code is not where it was said to be.

    Args:
        reason: what is missing, and what to do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason

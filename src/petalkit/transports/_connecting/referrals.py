"""Which server the next link goes to, where the broker may send us to another (MQTT 5.0, 4.11).

The rules: "use another server" is for one attempt, after which the address of the settings is
asked again; "server moved" is for the life of the process, unless the new one cannot be reached
several times in a row. Where we were sent, the same is demanded as before: scheme, TLS with the
new name in its certificate, and `allow_insecure` for plain TCP. The trap: two servers that send
us to each other, for ever; so only so many references in a row are followed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import TypeAlias

import attrs
import trio

from ..._values.errors import ConnectFailed, RejectedByBroker
from ..._values.settings.server_references import (
    REFERENCES_MAX,
    SERVER_MOVED,
    Referral,
    is_allowed,
    read_references,
)
from ..._values.settings.settings import Settings
from .._contract import ConnectOptions, Link
from .credentials import CredentialsFailed
from .sockets import CONNECT_FACTOR
from .tls import Address, certificate_name, is_safe, proxy_to

logger = logging.getLogger("petalkit.transport")

HOPS_MAX = 4  # references in a row that are followed
HOPS_FORGOTTEN = 60.0  # seconds: a link that lived so long was no hop on the way to another
MOVED_FAILURES_MAX = 3  # in a row, at the server that the broker moved to

OpenLink: TypeAlias = Callable[[Address, ConnectOptions, float], AbstractAsyncContextManager[Link]]


@attrs.define
class Attempt:
    """One attempt to connect, and the life of its link.

    Attributes:
        up: when the broker accepted, on Trio's clock; None when it did not.
        referral: by which the broker ended it.
    """

    up: float | None = None
    referral: Referral | None = None


class Referrals:
    """See the module. One for each transport.

    Args:
        settings: whom they allow.
        configured: the address that they name.
        follow: False where the way to the broker is not ours to choose.
    """

    def __init__(self, settings: Settings, configured: Address, *, follow: bool = True) -> None:
        self._settings = settings
        self._configured = configured
        self._allowed = settings.server_references if follow and configured.path is None else ()
        self._once: Address | None = None
        self._moved: Address | None = None
        self._moved_failures = 0
        self._hops = 0

    @asynccontextmanager
    async def connect(self, options: ConnectOptions, open_link: OpenLink) -> AsyncGenerator[Link]:
        """Connect to where we are sent, until somebody takes us; see `Transport.connect`.

        Args:
            options: of the link.
            open_link: connects to one address, within `attempt`; gets the deadline of the whole.

        Raises:
            ConnectFailed, RejectedByBroker, ConfigError: of the last attempt.
        """
        deadline = trio.current_time() + CONNECT_FACTOR * options.connect_timeout
        async with AsyncExitStack() as stack:
            yield await self._enter(stack, lambda address: open_link(address, options, deadline))

    async def _enter(
        self,
        stack: AsyncExitStack,
        open_link: Callable[[Address], AbstractAsyncContextManager[Link]],
    ) -> Link:
        while True:
            address = self.take_address()
            if address.proxy is not None:
                logger.info("connecting to %s through the proxy %s", address, address.proxy)
            try:
                return await stack.enter_async_context(open_link(address))
            except RejectedByBroker:
                if self._once is None and self._moved in (None, address):
                    raise  # not sent elsewhere
            await trio.lowlevel.checkpoint()

    def take_address(self) -> Address:
        """Where to connect now."""
        once, self._once = self._once, None
        return once or self._moved or self._configured

    @contextmanager
    def attempt(self, address: Address) -> Generator[Attempt]:
        """Around one attempt at an address and the life of its link: learns how it ended."""
        attempt = Attempt()
        try:
            yield attempt
        except CredentialsFailed:
            raise  # nobody was asked: that says nothing of the server
        except (ConnectFailed, RejectedByBroker):
            if attempt.referral is None:
                self._failed(address)
            raise
        finally:
            if attempt.referral is not None:
                self._sent_away(address, attempt)
            elif attempt.up is not None:
                self._hops = 0
            if attempt.up is not None and address == self._moved:
                self._moved_failures = 0

    def _failed(self, address: Address) -> None:
        self._hops = 0
        if address != self._moved:
            return
        self._moved_failures += 1
        if self._moved_failures >= MOVED_FAILURES_MAX:
            logger.warning(
                "%s, to which the broker moved, cannot be reached or refuses us: going back to %s",
                address,
                self._configured,
            )
            self._moved = None

    def _sent_away(self, address: Address, attempt: Attempt) -> None:
        referral = attempt.referral
        assert referral is not None
        if not self._allowed:
            return  # the error's text names the server
        target = self._target(address, referral)
        if target is None:
            logger.warning(
                "the broker %s names another server, %.200r, which server_references does not "
                "allow, or which is the same",
                address,
                referral.text,
            )
            return
        if attempt.up is not None and trio.current_time() - attempt.up >= HOPS_FORGOTTEN:
            self._hops = 0
        self._hops += 1
        if self._hops > HOPS_MAX:
            logger.warning(
                "the broker named another server %d times in a row: going back to %s",
                self._hops,
                self._configured,
            )
            self._hops = 0
            self._once = self._moved = None
            return
        for_good = referral.code == SERVER_MOVED
        if for_good:
            self._moved = target
            self._moved_failures = 0
        else:
            self._once = target
        how = "moved to" if for_good else "sends us for now to"
        logger.info("the broker %s %s %s: going there", address, how, target)

    def _target(self, address: Address, referral: Referral) -> Address | None:
        """The first server of a referral that may be followed."""
        for number, reference in enumerate(read_references(referral.text)):
            if number == REFERENCES_MAX:
                break
            port = reference.port or self._configured.port
            target = attrs.evolve(
                self._configured,
                host=reference.host,
                port=port,
                server_name=certificate_name(reference.host),  # never that of the first server
                proxy=proxy_to(self._settings, reference.host, port),
            )
            allowed = is_allowed(attrs.evolve(reference, port=port), self._allowed)
            if allowed and target != address and is_safe(target, self._settings):
                return target
        return None

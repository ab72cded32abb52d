"""`Petal` and `@command`: what a user types.

A petal is a plain class. It can be made, and its handlers called, without a runtime; only what
needs one (`nursery`, `identity`, publishing) asks its host, and says so when there is none.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import cattrs
import trio

from ._binding import Handler
from ._context import PetalHost
from ._messages import Identity
from ._registry import DEFAULT_TIMEOUT, CommandOptions, CommandResolver, full_name
from ._unknown_keys import UnknownKeysRule

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__petalkit_commands__"

WEB = "web"
DEBUG = "debug"


def command(
    name: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    concurrency: int | None = None,
    exclusive: str | None = None,
    urgent: bool = False,
    idempotent: bool = False,
    thread: bool = False,
    journal: bool = True,
    unknown_keys: UnknownKeysRule | None = None,
) -> Callable[[F], F]:
    """Make a method of a `Petal` the handler of a command. Returns the function unchanged.

    Args:
        name: without a slash it gets the petal's prefix in front; with one it is taken as it is.
        timeout: seconds until the handler is cancelled and the caller answered `TIMEOUT`;
            `math.inf` for a handler that bounds itself.
        concurrency: how many of this command run at once; more wait, without holding up the
            petal's other commands. None: only the petal's own limit.
        exclusive: name of a group, shared by all petals, of which one command runs at a time.
            The next is answered `BUSY` with what is running.
        urgent: passes every limit and every order, as an emergency stop must.
        idempotent: running it twice does no harm. With a journal, one that was running when the
            process died is run again (three times at most) and not answered `INTERRUPTED`; and its
            start is not waited for, so it is answered sooner.
        thread: the handler is a plain `def` that blocks; it runs in a worker thread. Timed out or
            cancelled, it is answered for at once, but nobody can stop a thread: it keeps its slot
            and group until it returns. `trio.from_thread.check_cancelled()` lets it end early.
        journal: with a journal, whether it is recorded there. Not worth it for what comes many
            times a second and is worthless a moment later, such as a dead-man's renewal: that is
            held in memory, as all is without a journal.
        unknown_keys: what to do with keys of `data` that the handler does not know: `"ignore"`
            them, and name each in the log once, or `"refuse"` the command with `INVALID_DATA`.
            None: as the petal says, or else the settings.

    Raises:
        TypeError: it was used without parentheses.
        RegistrationError: when the table is built, not here.
    """
    if not isinstance(name, str):
        raise TypeError(
            f'@command needs the name of the command: write @command("name") over {name!r}'
        )
    options = CommandOptions(
        name=name,
        timeout=timeout,
        concurrency=concurrency,
        exclusive=exclusive,
        urgent=urgent,
        idempotent=idempotent,
        thread=thread,
        journal=journal,
        unknown_keys=unknown_keys,
    )

    def decorate(function: F) -> F:
        # A list: one handler may serve several names. Not shared with what it was copied from.
        marks: list[CommandOptions] = [*getattr(function, _MARK, ()), options]
        function.__dict__[_MARK] = marks
        return function

    return decorate


class Petal:
    """A class of commands. Subclass it, give it a `name`, decorate methods with `@command`.

    Attributes:
        name: what the petal is called on the wire and in logs. Letters, digits, `_`, `-`, `.`.
        version: reported in the birth message.
        prefix: what stands in front of the commands' names; None for `name`.
        converter: a `cattrs.Converter` of the petal's own, from `petalkit.make_converter()`;
            None for petalkit's strict one.
        unknown_keys: `"ignore"` or `"refuse"`, for those of its commands that say nothing of it;
            see `@command`. None for what the settings say.
    """

    name: str
    version: str = "0"
    prefix: str | None = None
    converter: cattrs.Converter | None = None
    unknown_keys: UnknownKeysRule | None = None
    # Not for petals of users: for those whose commands are not known before they run.
    resolver: CommandResolver | None = None
    # Whether its commands start at once; else they wait until it opens its line (`PetalHost`).
    ready_at_once: ClassVar[bool] = True
    # Whether other programs may serve other commands of the same device, and answer for them.
    beside_others: ClassVar[bool] = False
    builtin: ClassVar[bool] = False

    # On the class, so that a subclass may forget super().__init__().
    _host: PetalHost | None = None
    _added: tuple[tuple[CommandOptions, Handler], ...] = ()

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Brackets serving; override it, with `@contextlib.asynccontextmanager` over it.

        Entered once, before the identity is known and before the first subscription, and left
        after the last command. Code before `yield` is bounded by `startup_timeout`; when it
        raises, this petal's commands are answered `UNAVAILABLE` and other petals go on. Code
        after `yield` runs shielded from cancellation, bounded by `cleanup_timeout`.
        """
        yield

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the petal's background tasks; open from before `lifespan()` until after stop.

        Its tasks are cancelled, and awaited, before the lifespan is left. A task that raises
        ends this petal (`UNAVAILABLE`), and no other.

        Raises:
            RuntimeError: no runtime serves this petal.
        """
        return self._served().nursery

    @property
    def identity(self) -> Identity | None:
        """Organization and device ID now; None while they are not known, or outside a runtime."""
        return None if self._host is None else self._host.identity

    async def wait_identity(self) -> Identity:
        """Wait until the identity is known, and return it. No limit: it may come in a month.

        Raises:
            RuntimeError: no runtime serves this petal.
        """
        return await self._served().wait_identity()

    async def publish_message(
        self, payload: Mapping[str, Any], qos: int = 1, *, expiry: float | None = None
    ) -> None:
        """Send an event to web clients, on `command/web`.

        Returns once it is in the outbox, which keeps it while the broker is away; waits while
        the outbox is full. Cancellation: it is in the outbox or it is not; never half.

        Args:
            payload: what JSON can say.
            qos: 1, kept until acknowledged; 0, sent once.
            expiry: seconds after which nobody wants it any more, at most `response_expiry` of
                the settings: it is not sent then, and with MQTT 5 the broker does not keep it
                longer for clients that are away. None: the broker keeps it as it pleases.

        Raises:
            PayloadError: it cannot be said in JSON, or is larger than `payload_max`.
            RuntimeError: no runtime serves this petal.
            ValueError: `expiry` is not above 0.
        """
        await self._served().publish_event(payload, topic=WEB, qos=qos, expiry=expiry)

    async def publish_debug(
        self, payload: Mapping[str, Any], qos: int = 1, *, expiry: float | None = None
    ) -> None:
        """Send a message to `debug`; like `publish_message` in everything else."""
        await self._served().publish_event(payload, topic=DEBUG, qos=qos, expiry=expiry)

    def add_command(
        self,
        name: str,
        handler: Handler,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        concurrency: int | None = None,
        exclusive: str | None = None,
        urgent: bool = False,
        idempotent: bool = False,
        thread: bool = False,
        journal: bool = True,
        unknown_keys: UnknownKeysRule | None = None,
    ) -> None:
        """Serve one more command, from now on. The arguments are those of `@command`.

        Raises:
            RegistrationError: as for a decorated method; before serving, when the table is built.
        """
        options = CommandOptions(
            name=name,
            timeout=timeout,
            concurrency=concurrency,
            exclusive=exclusive,
            urgent=urgent,
            idempotent=idempotent,
            thread=thread,
            journal=journal,
            unknown_keys=unknown_keys,
        )
        if self._host is not None:
            self._host.add_command(name, handler, options)
        self._added = (*self._added, (options, handler))

    def remove_command(self, name: str) -> None:
        """Serve an added command no longer. What was accepted before is still run.

        Raises:
            KeyError: this petal serves no command of that name.
        """
        full = full_name(self, name)
        kept = tuple(pair for pair in self._added if full_name(self, pair[0].name) != full)
        if self._host is not None:
            self._host.remove_command(name)
        elif len(kept) == len(self._added):
            raise KeyError(name)
        self._added = kept

    def declared_commands(self) -> Iterator[tuple[CommandOptions, Handler]]:
        """Every command of this petal with its bound handler, in the order of definition."""
        seen: set[str] = set()
        for cls in reversed(type(self).__mro__):
            for attribute in vars(cls):
                if attribute in seen:
                    continue
                seen.add(attribute)
                # Without calling properties; an override without a mark is no command.
                found = inspect.getattr_static(type(self), attribute)
                # Over @staticmethod or @classmethod the mark is on the descriptor, under it inside.
                function = getattr(found, "__func__", None)
                for options in (*getattr(found, _MARK, ()), *getattr(function, _MARK, ())):
                    yield options, getattr(self, attribute)
        yield from self._added

    async def _wait_work_done(self) -> None:
        """Wait until nothing goes on of commands that have their answer; a stop's grace bounds it.

        For petals whose handlers may answer before they end; those of users cannot.
        """

    def _served(self) -> PetalHost:
        if self._host is None:
            raise RuntimeError(
                f"petal {getattr(self, 'name', type(self).__qualname__)!r} is not served by a "
                "runtime; in a test use petalkit.testing.open_harness()"
            )
        return self._host

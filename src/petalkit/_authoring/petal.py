"""`Petal`: the class that users write.

A petal is a plain class. It can be made, and its handlers called, without a runtime; only what
needs one (`nursery`, `identity`, publishing) asks its host, and says so when there is none.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import cattrs
import trio

from .._values.errors import RegistrationError
from .._values.messages import Identity
from .._values.settings.settings import DialectName, RestartPolicy
from .collecting import collect
from .context import Beneath, PetalHost, Service
from .declared import DEFAULT_TIMEOUT, CommandOptions, WhenBusy, full_name
from .inspection.foreign import attribute_of
from .inspection.handlers import Handler
from .jobs.handle import InterruptedJob
from .jobs.options import JobOptions
from .jobs.stream import StreamOptions
from .registry import CommandResolver
from .unknown_keys import UnknownKeysRule

WEB = "web"
DEBUG = "debug"


class Petal:
    """A class of commands. Subclass it, give it a `name`, decorate methods with `@command`.

    Attributes:
        name: what the petal is called on the wire and in logs. Letters, digits, `_`, `-`, `.`.
        version: reported in the birth message.
        prefix: what stands in front of the commands' names; None for `name`.
        restart_policy: whether it is started again when it has failed: `"on-failure"` or
            `"never"`; None for the setting `petal_restart`.
        converter: a `cattrs.Converter` of the petal's own, from `petalkit.make_converter()`;
            None for petalkit's strict one.
        unknown_keys: `"ignore"` or `"refuse"`, for those of its commands that say nothing of it;
            see `@command`. None for what the settings say.
    """

    name: str
    version: str = "0"
    prefix: str | None = None
    restart_policy: RestartPolicy | None = None
    converter: cattrs.Converter | None = None
    unknown_keys: UnknownKeysRule | None = None
    # Not for petals of users: for those whose commands are not known before they run.
    __petalkit_resolver__: CommandResolver | None = None
    # What it shares with others, and the runtime runs beside them; one for all that have it.
    __petalkit_service__: Service | None = None
    # Whether its commands start at once; else they wait until it opens its line (`PetalHost`).
    __petalkit_ready_at_once__: ClassVar[bool] = True
    # Whether other programs may serve other commands of the same device, and answer for them.
    __petalkit_beside_others__: ClassVar[bool] = False
    # The dialect that its callers read, where it was written for one; None: it does not matter.
    __petalkit_dialect__: DialectName | None = None
    # What is opened before the lives of several petals, and ended after the last of them.
    __petalkit_beneath__: Beneath | None = None
    __petalkit_builtin__: ClassVar[bool] = False

    # On the class, so that a subclass may forget super().__init__(). Under names that no petal
    # uses by chance, and set past a `__setattr__` that refuses: frozen petals are served too.
    __petalkit_host__: PetalHost | None = None
    __petalkit_added__: tuple[tuple[CommandOptions, Handler], ...] = ()

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Brackets serving; override it, with `@contextlib.asynccontextmanager` over it.

        Entered before the identity is known and before the first subscription, and left after the
        last command. Code before `yield` is bounded by `startup_timeout`; when it raises, this
        petal's commands are answered `UNAVAILABLE` and other petals go on. Code after `yield` runs
        shielded from cancellation, bounded by `cleanup_timeout`.

        A petal that fails is started again (`restart_policy`): the same instance enters its
        lifespan anew, once the old one is left. What belongs to one life is made here, and not in
        `__init__`. Commands that were added meanwhile are forgotten then, and when serving ends.
        """
        yield

    async def on_interrupted(self, job: InterruptedJob) -> None:
        """Put right what a job of this petal may have left behind; override it.

        With a journal, called at the start for each job that ran when the device's program ended
        and is not resumed: after `lifespan()` is entered, and before anything of this petal is
        served. So it is where a motor is stopped that nobody has stopped. Bounded by
        `startup_timeout`; what it raises is logged.
        """

    @property
    def nursery(self) -> trio.Nursery:
        """Owns the petal's background tasks; open from before `lifespan()` until after stop.

        Its tasks are cancelled, and awaited, before the lifespan is left. A task that raises
        ends this life of the petal (`UNAVAILABLE` until it is started again), and no other petal.

        Raises:
            RuntimeError: no runtime serves this petal.
        """
        return self.__petalkit_served__().nursery

    @property
    def identity(self) -> Identity | None:
        """Organization and device ID now; None while they are not known, or outside a runtime."""
        return None if self.__petalkit_host__ is None else self.__petalkit_host__.identity

    if not TYPE_CHECKING:  # checkers know that these are read-only, and say it before it runs
        nursery = nursery.setter(lambda self, _: _refuse_to_set(self, "nursery"))
        identity = identity.setter(lambda self, _: _refuse_to_set(self, "identity"))

    async def wait_identity(self) -> Identity:
        """Wait until the identity is known, and return it. No limit: it may come in a month.

        Raises:
            RuntimeError: no runtime serves this petal.
        """
        return await self.__petalkit_served__().wait_identity()

    async def publish_message(
        self,
        payload: Mapping[str, Any],
        qos: int = 1,
        *,
        expiry: float | None = None,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Send an event to web clients, on `command/web`.

        Returns once it is in the outbox, which keeps it in memory while the broker is away; waits
        while the outbox is full. Cancellation: it is in the outbox or it is not; never half.

        Args:
            payload: what JSON can say.
            qos: 1, kept until acknowledged; 0, sent once.
            durable: write it into the journal too, where there is one, so that it is sent even
                when this process ends before. For what is rare and must arrive, such as an alarm,
                not for telemetry: each is written to the disk. QoS 1 only.
            latest: a key, such as `"pose"`: of the unsent events of this topic with that key only
                the newest is kept, in the place of the older one. For states of which nobody wants
                the old ones: after an outage one is sent, not all.
            expiry: seconds after which nobody wants it any more, at most `response_expiry` of
                the settings: it is not sent then, and with MQTT 5 the broker does not keep it
                longer for clients that are away. None: the broker keeps it as it pleases.

        Raises:
            PayloadError: it cannot be encoded as JSON, or is larger than `payload_max`.
            RuntimeError: no runtime serves this petal.
            ValueError: `expiry` is not above 0, `durable` is asked for at QoS 0, or `latest` is no
                text or empty.
        """
        await self.__petalkit_served__().publish_event(
            payload, topic=WEB, qos=qos, expiry=expiry, durable=durable, latest=latest
        )

    async def publish_debug(
        self,
        payload: Mapping[str, Any],
        qos: int = 1,
        *,
        expiry: float | None = None,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Send a message to `debug`; like `publish_message` in everything else."""
        await self.__petalkit_served__().publish_event(
            payload, topic=DEBUG, qos=qos, expiry=expiry, durable=durable, latest=latest
        )

    def add_command(
        self,
        name: str,
        handler: Handler,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        concurrency: int | None = None,
        exclusive: str | None = None,
        when_busy: WhenBusy = "refuse",
        urgent: bool = False,
        idempotent: bool = False,
        thread: bool = False,
        journal: bool = True,
        unknown_keys: UnknownKeysRule | None = None,
        check_result: bool = True,
    ) -> None:
        """Serve one more command, from now on. The arguments are those of `@command`.

        Jobs and streams cannot be added so: they are declared in the class.

        What is added while the petal is served, in its lifespan too, is served until that ends or
        the petal is started again; what is added before, in every lifespan.

        Raises:
            RegistrationError: as for a decorated method; before serving, when the table is built.
        """
        options = CommandOptions(
            name=name,
            timeout=timeout,
            concurrency=concurrency,
            exclusive=exclusive,
            when_busy=when_busy,
            urgent=urgent,
            idempotent=idempotent,
            thread=thread,
            journal=journal,
            unknown_keys=unknown_keys,
            check_result=check_result,
        )
        if self.__petalkit_host__ is not None:
            self.__petalkit_host__.add_command(name, handler, options)
        _set(self, added=(*self.__petalkit_added__, (options, handler)))

    def remove_command(self, name: str) -> None:
        """Serve a command no longer, as long as this life lasts. What was accepted is still run.

        Raises:
            KeyError: this petal serves no command of that name.
        """
        full = full_name(self, name)
        kept = tuple(
            pair for pair in self.__petalkit_added__ if full_name(self, pair[0].name) != full
        )
        if self.__petalkit_host__ is not None:
            self.__petalkit_host__.remove_command(name)
        elif len(kept) == len(self.__petalkit_added__):
            raise KeyError(name)
        _set(self, added=kept)

    def __petalkit_declared__(self) -> Iterator[tuple[CommandOptions, Handler]]:
        """Every command of this petal with its bound handler, in the order of definition."""
        for options, handler in collect(self, Petal):
            if isinstance(options, CommandOptions):
                yield options, handler
        yield from self.__petalkit_added__

    def __petalkit_jobs__(self) -> Iterator[tuple[JobOptions, Handler]]:
        """Every job of this petal with its bound method, in the order of definition."""
        for options, handler in collect(self, Petal):
            if isinstance(options, JobOptions):
                yield options, handler

    def __petalkit_streams__(self) -> Iterator[tuple[StreamOptions, Handler]]:
        """Every stream of this petal with its bound method, in the order of definition."""
        for options, handler in collect(self, Petal):
            if isinstance(options, StreamOptions):
                yield options, handler

    async def __petalkit_wait_work_done__(self) -> None:
        """Wait until nothing goes on of commands that have their answer; a stop's grace bounds it.

        For petals whose handlers may answer before they end; those of users cannot.
        """

    def __petalkit_served__(self) -> PetalHost:
        if self.__petalkit_host__ is None:
            raise RuntimeError(
                f"petal {attribute_of(self, 'name', type(self).__qualname__)!r} is not served by a "
                "runtime; in a test use petalkit.testing.open_harness()"
            )
        return self.__petalkit_host__


def _refuse_to_set(petal: Petal, attribute: str) -> NoReturn:
    """An attribute of a petal's own, as its `__init__` sets it, has a name of ours."""
    raise RegistrationError(
        f"self.{attribute} is petalkit's own, so it cannot be set; give the attribute another name",
        petal=str(attribute_of(petal, "name", type(petal).__qualname__)),
        method=f"{type(petal).__qualname__}.__init__",
    )


def _set(petal: Petal, *, added: tuple[tuple[CommandOptions, Handler], ...]) -> None:
    object.__setattr__(petal, "__petalkit_added__", added)


def set_host(petal: Petal, host: PetalHost | None) -> None:
    """A petal is served from now on, or no longer.

    Raises:
        RuntimeError: it is served already.
    """
    if host is not None and petal.__petalkit_host__ is not None:
        raise RuntimeError(f"petal {petal.name!r} is served by a runtime already")
    object.__setattr__(petal, "__petalkit_host__", host)


def keep_added(petal: Petal, added: tuple[tuple[CommandOptions, Handler], ...]) -> None:
    """Forget what was added and removed since these were all that was added."""
    _set(petal, added=added)

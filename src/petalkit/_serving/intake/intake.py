"""The intake: reads one link at a time, and knows when to stop reading.

The rule: everything that is delivered is accepted, refused, joined to its first copy, or parked,
and all but the parked is acknowledged (or will be, with its command or its answer). When the
channel is full and `overflow` is `wait`, a few more are read and parked, so that urgent commands
among them start; then reading pauses, unless something that makes room needs it (see
`Outbox.must_read`). What was read is judged, always.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Generator, Sequence

import trio

from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ...transports import Delivery, Link
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..dispatch.execution import logger as commands_logger
from ..ledger.contract import Ledger
from ..pauses import Pauses
from ..waiting import wait_any
from .admission import Admission
from .backlog.contract import Backlog
from .judging import Judging
from .redelivery import Redelivery
from .refusals import Refusals
from .unexpected_topics import UnexpectedTopics

logger = logging.getLogger("petalkit.intake")


class Intake:
    """Lives as long as the runtime.

    Args:
        settings: topics, limits and rules.
        dispatcher: takes what is accepted.
        ledger: knows what is a copy, and what is still to be acknowledged.
        backlog: takes what waits in the ledger only.
        refusals: says no; has the catalog, the responses, and what was refused lately.

    Attributes:
        paused: whether nothing is read, because there is no room.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        ledger: Ledger[Execution],
        backlog: Backlog,
        refusals: Refusals,
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._recent = refusals.recent
        self._held = refusals.held
        self._outbox = refusals.responses.outbox
        self._counters = refusals.responses.counters
        self._lines = refusals.responses.lines
        self._acknowledgements = dispatcher.acknowledgements
        self._clock = trio.lowlevel.current_clock()
        self._resume = trio.Event()
        self._replayed = False  # what comes now may have been delivered to an earlier process
        self._may_be_replayed = True  # until a link of this process has got past that
        self.paused = False
        self._pauses = Pauses(settings.pause_warning)
        admission = self.admission = Admission(settings, dispatcher, ledger, backlog, refusals)
        redelivery = Redelivery(
            ledger, dispatcher.acknowledgements, backlog, admission.parked, refusals
        )
        self._judging = Judging(settings, admission, redelivery, refusals)
        self._outbox.hooks.on_pressure = admission.on_change = self._wake

    @property
    def unexpected(self) -> UnexpectedTopics:
        """What is done with messages on topics that are not ours."""
        return self._judging.unexpected

    @property
    def paused_seconds(self) -> float:
        """How long nothing was read on links that were up, all in all."""
        return self._pauses.total(self._clock.current_time())

    @property
    def held(self) -> int:
        """Commands read but neither accepted nor acknowledged, and refusals likewise."""
        return len(self.admission.parked) + len(self._held)

    @property
    def may_fill_window(self) -> bool:
        """Whether the broker may have to wait with the next message for an acknowledgement."""
        return self.held > 0 or self._recent.owed > 0

    def restore(self, count: int) -> None:
        """Take up so many commands that an earlier run has left."""
        if count:
            self._backlog.restore(count)
            self.admission.take_up_waiting()

    # -- reading

    async def read(self, link: Link, identity: Identity) -> None:
        """Read a link until it is lost or this is cancelled.

        Raises:
            ConnectionLost: the link is gone.
        """
        self._judging.expect(identity)
        kept = self._settings.keeps_session and link.session_expiry > 0
        self._acknowledgements.session_begins(kept=kept)
        self._replayed = link.session_present and self._may_be_replayed
        self._recent.new_link(session_present=link.session_present)
        try:
            while True:
                while self._must_pause() and not link.ended.is_set():
                    await self._pause(link)
                await link.deliver(functools.partial(self._take_batch, identity))
        finally:
            self.admission.link_gone()
            self._counters.given_back += self._held.link_gone()

    def _take_batch(self, identity: Identity, batch: Sequence[Delivery]) -> bool:
        """Judge what has come; False when reading is to pause."""
        self.admission.now = self._clock.current_time()
        self.admission.logged = commands_logger.isEnabledFor(logging.INFO)
        self.admission.room.expect(len(batch) + len(self.admission.parked))
        self._recent.came(batch[-1])
        self._counters.received += len(batch)
        if self._replayed:
            for delivery in batch:  # not every broker sets DUP
                delivery.replayed = delivery.qos > 0
        take = self._judging.take
        for delivery in batch:
            try:
                take(delivery, identity)
            except Exception:  # our bug; the next command is not to pay for it
                self._counters.unanswered += 1
                if self._lines.allows(logger, logging.ERROR, "messages that could not be judged"):
                    logger.exception("could not judge a message on %r", delivery.topic)
                self._acknowledgements.refused(delivery)
        return not self._must_pause()

    async def watch_held(self) -> None:
        """Give up what is held when it cannot be answered for too long. Until cancelled."""
        await self._held.watch()

    def announced(self) -> None:
        """The link is subscribed, and so what an earlier process was given has come again."""
        self._replayed = self._may_be_replayed = False

    @contextlib.contextmanager
    def reading_on(self) -> Generator[None]:
        """Do not pause inside this block: an answer of the broker comes in the same stream."""
        self.admission.reading_on += 1
        self._wake()
        try:
            yield
        finally:
            self.admission.reading_on -= 1

    async def _pause(self, link: Link) -> None:
        """Read nothing until there may be room, or a reason to read all the same."""
        self.paused = True
        self._resume = trio.Event()
        self._pauses.begin(self._clock.current_time())
        try:
            while not (self._resume.is_set() or link.ended.is_set()):
                with trio.move_on_at(self._pauses.next_word):
                    await wait_any(self._resume.wait, link.ended.wait)
                self._pauses.tell(self._clock.current_time())
        finally:
            self._pauses.end(self._clock.current_time())
            self.paused = False

    def _must_pause(self) -> bool:
        return (
            len(self.admission.parked) >= max(1, self._settings.channel_reserve)
            and not self.admission.reading_on
            and not self._outbox.must_read
            and not self.admission.closed
        )

    def _wake(self) -> None:
        self._resume.set()

    # -- ends

    def close(self) -> None:
        """Accept only urgent commands from now on. The rest is left to the session, or refused."""
        self._counters.given_back += self._held.close()
        self.admission.close()

    def close_to_urgent(self) -> None:
        """Accept nothing from now on, also no urgent command."""
        self.admission.deaf = True

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: refuse what is still parked."""
        self.admission.end_identity(identity, code, text)

    def session_ends(self) -> None:
        """What this link has delivered will not come again: keep it when the link is left."""
        self._acknowledgements.session_ends()
        self._acknowledgements.come_no_more((), self._held.deliveries)
        self.admission.admit_parked()  # to the ledger, where that is possible
        self.admission.session_ends()

    def session_lost(self) -> None:
        """What links before this have delivered will not come again: it is ours alone."""
        self.admission.session_ends()

    @property
    def session_kept(self) -> bool:
        """Whether what is left unacknowledged comes again, as far as is known."""
        return self._acknowledgements.session_kept

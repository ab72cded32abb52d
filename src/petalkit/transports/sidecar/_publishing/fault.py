"""Whether a message that is answered no again and again is at fault itself. No I/O.

The rule: it is, when others are accepted meanwhile. That takes two moments, far enough apart, at
which another message was accepted and this one was not directly after: else it may be an outage.
The trap: nothing else may be on its way, so after a while without anything accepted it needs a
comparison (`needs_comparison`): one that waits behind it is tried past it.
"""

from __future__ import annotations

import attrs
import trio

TRIES = 3  # at least, before a message is at fault itself


@attrs.define(eq=False)
class Tries:
    """What is known of one message's tries; times are Trio's."""

    refused_at: float | None = None  # when it was first answered no
    seen: int = 0  # how many others had been accepted at its last no
    compared_at: float = 0.0  # when it was first not taken directly after another was
    compared_until: float = 0.0  # when that was so last
    count: int = 0  # that were answered no since `compared_at`; 0: it was never so


class FaultRule:
    """See the module.

    Args:
        give_up_after: seconds in which the supervisor ends a link that gets nothing accepted. What
            is done here has to be before that: a message has half of them from the first of those
            moments on, a quarter lies between the two, and after a quarter without anything
            accepted another is tried past.
    """

    def __init__(self, give_up_after: float) -> None:
        self.span = give_up_after / 2
        self._apart = give_up_after / 4

    def is_at_fault(self, tries: Tries, began: float, before: int, accepted: int) -> bool:
        """Note that a try was answered no; whether it is the last that a message gets.

        Args:
            tries: of the message.
            began: when the try did.
            before: how many messages had been accepted then.
            accepted: how many have been now.
        """
        compared = tries.refused_at is not None and before > tries.seen
        if tries.refused_at is None:
            tries.refused_at = trio.current_time()
        tries.seen = accepted
        if compared:
            tries.compared_until = began
            if not tries.count:
                tries.compared_at = began
        if compared or tries.count:
            tries.count += 1
        return (
            tries.count >= TRIES
            and tries.compared_until - tries.compared_at >= self._apart
            and began - tries.compared_at >= self.span
        )

    def needs_comparison(self, tries: Tries, accepted_at: float) -> bool:
        """Whether nothing has been accepted for a while, since it was first answered no.

        Args:
            tries: of the message.
            accepted_at: when a message was accepted last.
        """
        if tries.refused_at is None:
            return False
        since = max(tries.refused_at, accepted_at)
        return trio.current_time() - since >= self._apart

"""What the journal is told of messages: that they are to be sent, and that they need not be."""

from __future__ import annotations

from ..._values.messages import Message
from ..._values.request import Reply
from .forms import message_extras
from .journal.operations import Finished, Posted, Settled
from .journal.write_ahead import Journal

EXPIRED = "expired"
REJECTED = "rejected"
SET_ASIDE = "set aside"
REPLACED = "replaced"
DISPLACED = "displaced"


class OwedMessages:
    """See the module; this one keeps nothing, and no message has a number."""

    def post(self, message: Message, left: float, *, name: str | None = None) -> int | None:
        """An event is to be sent. Its number; None when it is not kept.

        Args:
            message: the event.
            left: seconds until it is given up.
            name: its topic under the base topic, where the identity is not known.
        """
        return None

    def post_again(self, message: Message, command: int, reply: Reply | None) -> int | None:
        """A finished command is answered again. The number of that; None when it is not kept.

        Args:
            message: the response.
            command: the number of its command.
            reply: which Response Topic it goes to; None for the usual topic.
        """
        return None

    def settle(self, number: int, outcome: str | None = None) -> None:
        """A message need not be sent any more.

        Args:
            number: of it.
            outcome: why it was given up; None when it was acknowledged.
        """


class RecordedMessages(OwedMessages):
    """The same, in a journal.

    Args:
        journal: where it is put down.
        expiry: seconds after which any message is given up.
    """

    def __init__(self, journal: Journal, expiry: float) -> None:
        self._journal = journal
        self._expiry = expiry

    def post(self, message: Message, left: float, *, name: str | None = None) -> int | None:
        """See `OwedMessages`; None when it cannot be recorded now."""
        if not self._journal.takes_more:
            return None
        return self._post(message, message.payload, left, None, name, None)

    def post_response(self, message: Message, command: int, reply: Reply | None) -> int:
        """A response is to be sent; its payload stands in the record of its command.

        Args:
            message: the response.
            command: the number of its command.
            reply: which Response Topic it goes to; None for the usual topic.
        """
        return self._post(message, None, self._expiry, command, None, reply)

    def post_with(self, finished: Finished, message: Message, reply: Reply | None) -> int:
        """Put a response into the end of its command, before that is put down: one for both.

        Args:
            finished: that.
            message: the response, at QoS 1 as all are.
            reply: see `post_response`.
        """
        number = finished.post = self._journal.next_number()
        finished.topic = message.topic
        finished.extras = message_extras(message, reply)
        finished.expires_at = finished.at + self._expiry
        return number

    def post_again(self, message: Message, command: int, reply: Reply | None) -> int | None:
        """See `OwedMessages`; None when it cannot be recorded now."""
        if self._journal.failing:  # what copies ask for in such a time has no bound
            return None
        return self.post_response(message, command, reply)

    def _post(
        self,
        message: Message,
        payload: bytes | None,
        left: float,
        command: int | None,
        name: str | None,
        reply: Reply | None,
    ) -> int:
        journal = self._journal
        number = journal.next_number()
        extras = message_extras(message, reply)
        topic = None if name is not None else message.topic
        until = journal.wall() + left
        journal.add(Posted(number, command, topic, name, payload, message.qos, extras, until))
        return number

    def settle(self, number: int, outcome: str | None = None) -> None:
        """See `OwedMessages`."""
        self._journal.add_lazily(Settled(number, outcome))

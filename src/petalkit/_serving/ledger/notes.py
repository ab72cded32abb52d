"""What others keep beside the commands, in words of their own: jobs, their readers, second phases.

The rule: what is noted without a checkpoint in between, or put down of commands, is safe together.
A change of what is noted is put down whatever the disk does; only new notes are bounded here.
"""

from __future__ import annotations

from collections.abc import Callable

from .journal.operations import Noted
from .journal.write_ahead import Journal


class LedgerNotes:
    """See the module; this one keeps nothing."""

    @property
    def takes_notes(self) -> bool:
        """Whether what is noted now is kept, as far as anything is."""
        return True

    def note(
        self, value: bytes, then: Callable[[], object] | None = None, *, must: bool = False
    ) -> int | None:
        """Keep something beside the commands, until `unnote`: `Found.notes` of the next process.

        Args:
            value: in words of the caller's.
            then: called when it is safe.
            must: also while `takes_notes` is false. The caller has the bound.

        Returns:
            Its number; None where nothing outlives the process, or nothing can be put down now.
            `then` is called at once in that case.
        """
        if then is not None:
            then()
        return None

    def note_again(
        self, number: int | None, value: bytes, then: Callable[[], object] | None = None
    ) -> None:
        """Let it take the place of what is kept under that number; of None, nothing is."""
        if then is not None:
            then()

    def unnote(self, number: int | None, then: Callable[[], object] | None = None) -> None:
        """Keep nothing under that number any more; `then` is called when that is safe."""
        if then is not None:
            then()


class RecordedNotes(LedgerNotes):
    """The same, in a journal."""

    _journal: Journal

    @property
    def takes_notes(self) -> bool:
        """See `LedgerNotes`."""
        return self._journal.takes_more

    def note(
        self, value: bytes, then: Callable[[], object] | None = None, *, must: bool = False
    ) -> int | None:
        """See `LedgerNotes`."""
        if not (must or self.takes_notes):
            return super().note(value, then)
        self._journal.add(Noted(number := self._journal.next_number(), value), then)
        return number

    def note_again(
        self, number: int | None, value: bytes, then: Callable[[], object] | None = None
    ) -> None:
        """See `LedgerNotes`."""
        if number is not None:
            self._journal.add(Noted(number, value), then)
        elif then is not None:
            then()

    def unnote(self, number: int | None, then: Callable[[], object] | None = None) -> None:
        """See `LedgerNotes`."""
        if number is None:
            super().unnote(number, then)
        elif then is None:
            self._journal.add_lazily(Noted(number, None))
        else:
            self._journal.add(Noted(number, None), then)

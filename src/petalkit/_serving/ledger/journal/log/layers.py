"""Where the next record of a log goes, and what is known of those that are not in the database yet.

A layer is what stands in one use of a segment. The last one grows; the one before is being folded.
Where there is no segment for another, or a record is too large for one, what is put down goes to
the database at once, after all that is in the log: that takes longer, and is as safe.

The rule: everything here is called where the event loop is; what has to wait for the disk is in the
values that are given back.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..folding.batch import Batch
from ..forgetting.owed import Owed, OwedLater
from ..operations import Operation
from .records import HEAD, encode, head_of, seed_of
from .segments import SEGMENT_SIZE, SEGMENTS, begin_of


@attrs.define(eq=False)
class Layer:
    """One use of a segment.

    Attributes:
        segment: its number.
        generation: which use of the log it is.
        batch: all that is in it.
        end: bytes of it.
        last: the sequence number of its last record.
        frozen: nothing more comes into it.
        folded: it is in the database.
    """

    segment: int
    generation: int
    batch: Batch
    end: int = 0
    last: int = 0
    frozen: bool = False
    folded: bool = False


@attrs.frozen
class Staged:
    """Operations on their way to the disk.

    Attributes:
        operations: they.
        sequence: of their record.
        layer: where it goes; None for the database itself.
        parts: of the record.
        length: bytes of all.
        offset: in the log.
        direct: of those that go to the database itself: their batch, and what is owed then.
    """

    operations: Sequence[Operation]
    sequence: int
    layer: Layer | None
    parts: list[bytes]
    length: int
    offset: int
    direct: tuple[Batch, OwedLater] | None = None


@attrs.frozen
class LogUse:
    """A log.

    Attributes:
        name: of it; None where there is none.
        generation: the highest that was used.
    """

    name: bytes | None
    generation: int


class Layers:
    """See the module.

    Args:
        use: the log.
        last: the sequence number of the last record that the database has.
        ended: how many commands have finished.
        owed: the messages that are not settled.

    Attributes:
        all: those whose batch may not be in the database, the oldest first.
    """

    def __init__(self, use: LogUse, last: int, ended: int, owed: Owed) -> None:
        self.all: list[Layer] = []
        self._seed = None if use.name is None else seed_of(use.name)
        self._generation = use.generation
        self._last = last
        self._ended = ended
        self._owed = owed
        self._staged: Staged | None = None
        self._freezes = False  # when what is staged is taken

    @property
    def pending(self) -> int:
        """About how many bytes they add to the database."""
        return sum(one.batch.size for one in self.all)

    @property
    def finished(self) -> int:
        """How many commands have finished in them."""
        return sum(len(one.batch.finished) for one in self.all)

    @property
    def has_time(self) -> bool:
        """Whether there is much room yet beside what is folded. For any thread."""
        layers = tuple(self.all)
        return len(layers) < SEGMENTS or layers[-1].end < SEGMENT_SIZE // 2

    def stage(self, operations: Sequence[Operation]) -> Staged:
        """Say where operations go next. What was staged before was taken, or is given up."""
        self.drop_folded()
        self._staged = self._stage(operations)
        return self._staged

    def _stage(self, operations: Sequence[Operation]) -> Staged:
        sequence = self._last + 1
        operations, body = encode(operations)
        length = HEAD + len(body)
        layer = self._layer_for(length)
        if layer is None or self._seed is None:
            # They follow all layers, in the database.
            later = OwedLater(self._owed)
            batch = Batch(self._ended, later)
            batch.add(operations)
            return Staged(operations, sequence, None, [], 0, 0, (batch, later))
        head = head_of(body, self._seed, layer.generation, sequence)
        offset = begin_of(layer.segment) + layer.end
        return Staged(operations, sequence, layer, [head, body], length, offset)

    def took(self, staged: Staged) -> None:
        """What was staged is on disk."""
        self._staged = None
        self._last = staged.sequence
        if staged.layer is not None:
            self._add(staged.layer, staged)
        elif staged.direct is not None:
            batch, later = staged.direct
            later.apply()
            self._ended = batch.ended
            self.drop_folded()  # all that was before it
        if self._freezes:
            self.freeze()

    def _add(self, layer: Layer, staged: Staged) -> None:
        if not self.all or self.all[-1] is not layer:
            self.all.append(layer)
        layer.end += staged.length
        layer.last = staged.sequence
        layer.batch.add(staged.operations)
        self._ended = layer.batch.ended

    def freeze(self) -> None:
        """Let no more come into the last, at the latest when what is staged is on disk."""
        self.drop_folded()
        self._freezes = self._staged is not None
        if self.all and not self._freezes:
            self.all[-1].frozen = True

    def drop_folded(self) -> None:
        """Forget those that are in the database."""
        while self.all and self.all[0].folded:
            del self.all[0]

    def _layer_for(self, length: int) -> Layer | None:
        """The one that a record of that length goes into; a new one where it has to be."""
        last = self.all[-1] if self.all else None
        if last is not None and not last.frozen and last.end + length <= SEGMENT_SIZE:
            return last
        used = {one.segment for one in self.all}
        free = [one for one in range(SEGMENTS) if one not in used]
        if length > SEGMENT_SIZE // 2 or not free:
            return None
        # Each attempt has one of its own, and nothing goes back to an older one after it: what a
        # failed one has left must not be taken for what was written in its place.
        if last is not None:
            last.frozen = True
        self._generation += 1
        return Layer(free[0], self._generation, Batch(self._ended, self._owed))

"""How far a job is: one fraction, by its own word or made of its weighted steps.

The rule: a report never waits. It puts down a number and tells one listener, who looks when it
pleases: so the latest value wins, and a thousand reports a second cost no more than the few that
somebody sees. The fraction is added up when it is looked at, from the steps as they stand then, so
steps may report side by side, from threads too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

NO_FIELDS: Final[Mapping[str, Any]] = {}
_SLACK = 1e-6  # of sums of weights such as 0.9 + 0.05 + 0.05


class Part:
    """What has a fraction, and may be divided into steps."""

    __slots__ = ("_own", "_steps")

    def __init__(self) -> None:
        self._own: float | None = None
        self._steps: tuple[Step, ...] = ()

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None when nobody has said. With steps, what they add up to."""
        if not self._steps:
            return self._own
        total = math.fsum(step.weight * (step.fraction or 0.0) for step in self._steps)
        return 1.0 if total > 1 - _SLACK else total

    def _report(self, fraction: object) -> None:
        if fraction is None:
            return
        if self._steps:
            raise ValueError("its steps say how far it is; report to one of them")
        self._own = _checked_fraction(fraction)

    def _add(self, step: Step) -> None:
        taken = math.fsum(one.weight for one in (*self._steps, step))
        if taken > 1 + _SLACK:
            raise ValueError(f"with the step {step.name!r} they have {taken:g} of the whole, not 1")
        self._steps = (*self._steps, step)


class Progress(Part):
    """The whole of a job.

    Args:
        changed: called at each report, from threads too; must be quick.

    Attributes:
        message: of the last report that had one; a step's name when it begins.
        fields: of the last report that had some.
    """

    __slots__ = ("changed", "fields", "message")

    def __init__(self, changed: Callable[[], object]) -> None:
        super().__init__()
        self.changed = changed
        self.message: str | None = None
        self.fields: Mapping[str, Any] = NO_FIELDS

    def report(
        self,
        fraction: float | None = None,
        message: str | None = None,
        fields: Mapping[str, Any] = NO_FIELDS,
    ) -> None:
        """Note how far it is. What is not given stays as it was.

        Raises:
            ValueError: the fraction is not from 0 to 1, or steps say it.
            TypeError: it is no number, or the message is no text.
        """
        if fraction is not None:
            self._report(fraction)
        if message is not None:
            self.say(message)
        if fields:
            self.fields = fields
        self.changed()

    def say(self, message: object) -> None:
        """Note what goes on, without telling anybody.

        Raises:
            TypeError: it is no text.
        """
        if not isinstance(message, str):
            raise TypeError(f"the message must be text, not {message!r}")
        self.message = message


class Step(Part):
    """A share of a job, with a progress of its own: an `async with` or `with` block.

    Made by `Job.step`. Leaving the block without an error completes it. Steps may be open side by
    side, in tasks or threads of the job, and have steps of their own.

    Attributes:
        name: for people.
        weight: its share of what it is a part of.
    """

    __slots__ = ("_whole", "name", "weight")

    def __init__(self, part: Part, whole: Progress, name: str, weight: float) -> None:
        super().__init__()
        number = isinstance(weight, int | float) and not isinstance(weight, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not (number and 0 < weight <= 1):
            raise ValueError(
                f"weight must be a share of the whole, above 0 and at most 1: {weight!r}"
            )
        self.name = name
        self.weight = weight
        self._whole = whole
        part._add(self)

    def report(self, fraction: float | None = None, message: str | None = None) -> None:
        """Note how far this step is. Never waits; from threads too.

        Raises:
            ValueError: the fraction is not from 0 to 1, or steps of this one say it.
            TypeError: it is no number, or the message is no text.
        """
        self._report(fraction)
        if message is not None:
            self._whole.say(message)
        self._whole.changed()

    async def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """`report`, for `await`. Not a checkpoint."""
        self.report(fraction, message)

    def step(self, name: str, weight: float) -> Step:
        """A share of this step; see `Job.step`."""
        return Step(self, self._whole, name, weight)

    def __enter__(self) -> Self:
        self._whole.report(message=self.name)
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            self._steps = ()
            self.report(1.0)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        cls: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(cls, error, traceback)


def _checked_fraction(fraction: object) -> float:
    if isinstance(fraction, bool) or not isinstance(fraction, int | float):
        raise TypeError(f"the fraction must be a number from 0 to 1, not {fraction!r}")
    if not -_SLACK <= fraction <= 1 + _SLACK:  # NaN too
        raise ValueError(f"the fraction must be from 0 to 1, and is {fraction!r}; 50 % is 0.5")
    return min(1.0, max(0.0, float(fraction)))

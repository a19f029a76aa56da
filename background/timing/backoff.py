"""Own growing, jittered delays: between the attempts of a run and between the restarts of a service."""

from __future__ import annotations

import math
import random as random_numbers
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from background.timing.wording import _, say


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds: `initial`, then `factor` times as long each time, never over `maximum`.

    `jitter` is the part by which a delay may be shorter or longer (0.1: 10 % either way), so that what failed together does
    not come back together. Raises ValueError for values that make no sense. Never blocks.
    """

    initial: float = 5
    maximum: float = 3600
    factor: float = 2
    jitter: float = 0.1

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(say(_("Backoff: %(name)s=%(value)s is no number."), name=one.name, value=repr(value)))
        if self.initial < 0 or self.maximum < self.initial:
            raise ValueError(say(_("Backoff: 0 <= initial <= maximum is expected; %(this)s"), this=self))
        if self.factor < 1:
            raise ValueError(say(_("Backoff: factor is 1 or more; %(this)s"), this=self))
        if not 0 <= self.jitter <= 1:
            raise ValueError(say(_("Backoff: jitter is a part, from 0 to 1; %(this)s"), this=self))

    def delay(self, attempt: int, random: Callable[[], float] = random_numbers.random) -> float:
        """Return the seconds to wait after that many failed attempts (from 1); ValueError below 1.

        `random` returns a number from 0 to 1.
        """
        if attempt < 1:
            raise ValueError(say(_("Backoff: attempts are counted from 1, not %(attempt)s."), attempt=attempt))
        try:
            grown = self.initial * float(self.factor) ** (attempt - 1)
        except OverflowError:
            grown = self.maximum
        delay = min(grown, self.maximum) * (1 + self.jitter * (2 * random() - 1))
        return float(min(delay, self.maximum))

    def as_dict(self) -> dict[str, float]:
        """Return the four numbers as JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `as_dict` wrote; ValueError for other data."""
        unknown = sorted(set(data) - {one.name for one in fields(cls)})
        if unknown:
            raise ValueError(say(_("Backoff: unknown %(names)s."), names=", ".join(unknown)))
        return cls(**data)

"""Owns what the examples' seeds share: the steps with which a fresh site begins, each taken once."""

from collections.abc import Callable, Iterable

from django.conf import settings
from django.db import transaction

import background


class Seed(background.BackgroundService):
    """Take the steps, a moment apart, and end. Each commits together with the note that it was taken."""

    singleton = True
    pace = 2.0  # seconds between two steps

    def steps(self) -> Iterable[Callable[[], object]]:
        """Return what is to be done, always in the same order."""
        raise NotImplementedError

    def execute(self, stop: background.StopToken) -> None:
        if not settings.EXAMPLES_SEED:
            return
        taken = self.checkpoint.get("taken", 0)
        for number, step in list(enumerate(self.steps(), 1))[taken:]:
            with self.scope(), transaction.atomic():
                step()
                self.checkpoint.set(taken=number)
            if stop.wait(self.pace):
                return

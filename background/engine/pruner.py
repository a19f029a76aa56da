"""Own the throwing away of old history, on one host at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from background.dialects import dialect
from background.engine.base import EngineService
from background.engine.leases import acquire
from background.models import Run
from background.queue.prune import prune

if TYPE_CHECKING:
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

INTERVAL = 600.0
# Deleted at most per step, so that a stop is never far away.
MOST = 5000


class Pruner(EngineService):
    """Prunes every ten minutes if no other host does."""

    first = True

    def step(self, stop: StopToken) -> float:
        if self.first:  # not in the first second of a start
            self.first = False
            return 30.0
        if acquire("background.pruner", self.host.id) is None:
            return INTERVAL
        deleted = prune(most=MOST)
        dialect().renew_statistics(Run)
        if deleted:
            logger.info("%d old runs pruned", deleted)
        return 1.0 if deleted >= MOST else INTERVAL

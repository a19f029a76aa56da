"""Own the service that asks the checks, and the job that prunes their history. Found by its name."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from background.conf import get_part
from background.contrib.health.conf import HealthSettings, InvalidHealthSetting, addresses, is_quiet, quiet_hours
from background.contrib.health.configured import checks
from background.contrib.health.declaring import Check, health_changed
from background.contrib.health.models import Notice, Period
from background.contrib.health.running import Runner
from background.contrib.health.standing import Standing
from background.contrib.health.telling import WAYS, ping, ways
from background.dialects import dialect
from background.exceptions import StartFailed
from background.jobs.tasks import job
from background.registry import register
from background.scope import Scope, database_alias
from background.services.periodic import PeriodicService
from background.timing import every

logger = logging.getLogger("background.contrib.health")


@register
class Monitor(PeriodicService):
    """Ask the health checks, keep their history, and tell people of what has changed."""

    singleton = True
    run_at_start = True

    def on_start(self) -> None:
        try:
            self._checks = checks()
            quiet_hours()
            addresses()
        except InvalidHealthSetting as error:
            raise StartFailed(str(error)) from error
        self.schedule = every(seconds=min([one.interval for one in self._checks.values()], default=60))
        self._due = dict.fromkeys(self._checks, 0.0)
        self._standing = Standing()
        self._runner = Runner(self.scope)
        self._troubles: dict[str, str] = {}

    def tick_now(self) -> None:
        """Ask all checks at once, whenever they are due."""
        self._due = dict.fromkeys(self._checks, 0.0)
        super().tick_now()

    def tick(self, scope: Scope) -> None:
        """Ask the checks that are due, write down what they say, and tell what has changed."""
        try:
            self._standing.load(set(self._checks), ways())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the history of health checks is not read: %s", error)
        changes = self._ask(self._take_due())
        if self.stop is not None and self.stop.requested:
            return  # a check may have failed for that very reason
        self._standing.save()
        for notice in changes:
            facts = {"state": str(notice.kind), "detail": notice.detail, "since": notice.since, "at": notice.at}
            health_changed.send_robust(type(self), check=notice.check_name, **facts)
        self._tell()

    def _take_due(self) -> list[Check]:
        now = time.monotonic()
        due = [one for one in self._checks.values() if self._due[one.name] <= now]
        for one in due:
            self._due[one.name] = now + one.interval * 0.9  # a tick that is a little early counts
        return due

    def _ask(self, due: Iterable[Check]) -> list[Notice]:
        found = self._runner.run(due, self.stop)
        if self.stop is not None and self.stop.requested:
            return []
        now, open_ways = timezone.now(), ways()
        noted = (self._standing.note(self._checks[name], found[name], now, open_ways) for name in sorted(found))
        return [one for one in noted if one is not None]

    def _tell(self) -> None:
        """Tell people on each way what is still to be told there, and the outside monitor how things stand."""
        conf, now = get_part(HealthSettings), timezone.now()
        quiet = is_quiet(now)
        ripe = [one for one in self._standing.notices if one.urgent or not quiet]
        waiting = {way: [one for one in ripe if way in one.waits_for] for way in WAYS}
        asked = [Check(way, partial(WAYS[way], some), timeout=conf.timeout) for way, some in waiting.items() if some]
        if conf.ping:
            asked.append(Check("ping", partial(ping, self._standing.alarms), timeout=conf.timeout))
        told = False
        for way, outcome in self._runner.run(asked, self.stop).items():
            self._note_trouble(way, "" if outcome.ok else outcome.detail)
            if outcome.ok and way != "ping":
                self._standing.told(waiting[way], way, now)
                told = True
        if told:
            self._standing.save()

    def _note_trouble(self, way: str, trouble: str) -> None:
        """Log a way that does not work once, and once when it does again."""
        if trouble == self._troubles.get(way, ""):
            return
        self._troubles[way] = trouble
        if trouble:
            logger.error("health cannot be told by %s: %s", way, trouble)
        else:
            logger.info("health can be told by %s again", way)


@job("53 3 * * *", name="background_health.prune")
def prune(batch: int = 1000) -> int:
    """Delete the history that is old enough; return how many periods and notices. What lasts is kept."""
    before = dialect().now() - timedelta(days=get_part(HealthSettings).keep)
    periods = Period.objects.using(database_alias()).filter(current_name=None, last_at__lt=before)
    notices = Notice.objects.using(database_alias()).filter(at__lt=before)
    deleted = 0
    for rows in (periods, notices):
        while pks := list(rows.order_by().values_list("pk", flat=True)[:batch]):
            deleted += rows.filter(pk__in=pks).delete()[0]
    return deleted

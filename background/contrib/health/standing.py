"""Own how things stand: what the outcomes of checks make of periods, and of which changes people have to be told.

It is kept in memory and written behind: while the database is away, alarms are raised all the same.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import DatabaseError, InterfaceError, transaction

from background.contrib.health.declaring import Check
from background.contrib.health.models import Notice, Period
from background.contrib.health.running import Outcome
from background.scope import database_alias

logger = logging.getLogger("background.contrib.health")


class Standing:
    """The current period of each check, and the notices that are still to be told."""

    def __init__(self) -> None:
        self.current: dict[str, Period] = {}
        self.notices: list[Notice] = []
        self._loaded = False
        self._ended: list[Period] = []
        self._changed: dict[str, Period] = {}

    @property
    def alarms(self) -> list[Period]:
        return [one for _, one in sorted(self.current.items()) if one.is_alarm]

    def load(self, names: set[str], ways: list[str]) -> None:
        """Take up where the last monitor ended; what is no longer checked ends. Blocks, and does nothing the second time."""
        if self._loaded:
            return
        periods = Period.objects.using(database_alias()).filter(current_name__isnull=False)
        known = names - self.current.keys()  # what began while the database was away is current
        periods.exclude(check_name__in=known).update(current_name=None)
        self.current |= {one.check_name: one for one in periods.filter(check_name__in=known)}
        waiting = list(Notice.objects.using(database_alias()).filter(told_at=None).order_by("id"))
        for one in waiting:  # on a way that the settings have closed nobody is told any more
            one.waits_for = [way for way in one.waits_for if way in ways]
            one.told_at = None if one.waits_for else one.at
        self.notices = [*waiting, *self.notices]
        self._loaded = True

    def note(self, check: Check, outcome: Outcome, now: datetime, ways: list[str]) -> Notice | None:
        """Add an outcome; return the notice of the change that it makes, if it makes one."""
        state = Period.State.OK if outcome.ok else Period.State.FAILING
        before = self.current.get(check.name)
        period = before
        if period is None or period.state != state:
            if before is not None:
                self._ended.append(before)
            period = Period(check_name=check.name, current_name=check.name, state=state, began_at=now)
            self.current[check.name] = period
        period.last_at, period.detail, period.seconds = now, outcome.detail, outcome.seconds
        period.count += 1
        period.slowest = max(period.slowest, outcome.seconds)
        self._changed[check.name] = period
        if not outcome.ok and period.count >= check.failures and period.alarmed_at is None:
            period.alarmed_at = now
            return self._notice(check, Notice.Kind.ALARM, period.began_at, period, ways)
        if outcome.ok and before is not period and before is not None and before.alarmed_at:
            return self._notice(check, Notice.Kind.RECOVERY, before.began_at, period, ways)
        return None

    def _notice(self, check: Check, kind: Notice.Kind, since: datetime, period: Period, ways: list[str]) -> Notice:
        notice = Notice(
            check_name=check.name,
            kind=kind,
            at=period.last_at,
            since=since,
            detail=period.detail,
            urgent=check.urgent,
            waits_for=list(ways),
            told_at=None if ways else period.last_at,
        )
        self.notices.append(notice)
        if kind == Notice.Kind.ALARM:
            logger.error("health check %s is failing: %s", check.name, period.detail)
        else:
            logger.info("health check %s has recovered", check.name)
        return notice

    def told(self, notices: list[Notice], way: str, now: datetime) -> None:
        """Note that people were told of these on one way."""
        for one in notices:
            one.waits_for = [other for other in one.waits_for if other != way]
            one.told_at = None if one.waits_for else now

    def save(self) -> None:
        """Write what has changed; what cannot be written now is kept for the next time. Blocks for a transaction."""
        try:
            with transaction.atomic(using=database_alias()):
                for ended in self._ended:
                    ended.current_name = None
                    ended.save(using=database_alias())
                for row in [*self._changed.values(), *self.notices]:
                    row.save(using=database_alias())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the history of health checks is not written: %s", error)
            return
        self._ended, self._changed = [], {}
        self.notices = [one for one in self.notices if one.told_at is None]

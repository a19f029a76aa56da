"""Own how history is thrown away: in small batches, by the retention of the job or of the site."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from django.db.models import Q

from background.conf import get_settings
from background.dialects import dialect
from background.exceptions import InvalidPolicy
from background.jobs.policies import retention_text
from background.models import Artifact, Host, Job, Lease, Run, RunLog, Service, Skip, Statistic
from background.scope import database_alias

logger = logging.getLogger("background.queue")

BATCH = 500


def prune(now: datetime | None = None, most: int | None = None) -> int:
    """Delete finished runs whose time is over and return how many; at most `most`. Blocks, a short transaction per batch."""
    now = now or dialect().now()
    deleted = 0
    for rows in _expired(now):
        while (size := BATCH if most is None else min(BATCH, most - deleted)) > 0 and (count := _delete(rows, size)):
            deleted += count
    _prune_hosts(now)
    _prune_slots()
    _prune_statistics(now)
    Skip.objects.using(database_alias()).filter(last__lt=now - timedelta(days=90)).delete()
    return deleted


def _expired(now: datetime):  # type: ignore[no-untyped-def]
    alias = database_alias()
    retained = Job.objects.using(alias).exclude(retain="")
    for status, days in get_settings().retention.items():
        if days is not None:
            rows = Run.objects.using(alias).filter(status=status, finished_at__lt=now - timedelta(days=days))
            yield rows.filter(Q(job=None) | ~Q(job__in=retained.values("id")))
    for job in retained:
        try:
            number, _, unit = retention_text(job.retain, job.name).partition(" ")
        except InvalidPolicy as error:  # nothing is better than too much
            logger.error("history is kept: %s", error)
            continue
        mine = Run.objects.using(alias).finished().filter(job=job)
        if not unit:
            yield mine.filter(finished_at__lt=now - timedelta(days=float(number)))
        elif not (count := int(float(number))):
            yield mine
        else:
            # Keep the last N: find the N-th, and delete what is older.
            if oldest := mine.order_by("-id").values_list("id", flat=True)[count - 1 :].first():
                yield mine.filter(id__lt=oldest)


def _delete(rows, size: int):  # type: ignore[no-untyped-def]
    """Delete one batch; the newest run of each occurrence key stays safe by the cursor of its job."""
    return delete(list(rows.values_list("id", flat=True)[:size]))


def delete(ids: list[uuid.UUID]) -> int:
    """Delete runs with what hangs on them and return how many. Blocks for a few statements, and for each file."""
    alias = database_alias()
    if not ids:
        return 0
    for artifact in Artifact.objects.using(alias).filter(run__in=ids):
        artifact.file.delete(save=False)
        artifact.delete()
    RunLog.objects.using(alias).filter(run__in=ids).delete()
    Run.objects.using(alias).filter(rerun_of__in=ids).update(rerun_of=None)
    return Run.objects.using(alias).filter(id__in=ids)._raw_delete(alias)


def _prune_hosts(now: datetime) -> None:
    alias = database_alias()
    old = Host.objects.using(alias).exclude(state__in=Host.LIVE).filter(stopped_at__lt=now - timedelta(days=1))
    ids = list(old.values_list("id", flat=True)[:BATCH])
    if not ids:
        return
    ids = [id for id in ids if not Run.objects.using(alias).running().filter(host=id).exists()]
    Service.objects.using(alias).filter(host__in=ids).delete()
    Run.objects.using(alias).filter(host__in=ids).update(host=None)
    Host.objects.using(alias).filter(id__in=ids).delete()


def _prune_slots() -> None:
    """Forget the locks of concurrency keys without open runs; whoever needs one makes it anew (see `lock_key`)."""
    alias = database_alias()
    names = list(Lease.objects.using(alias).filter(name__startswith="slots:").values_list("name", flat=True))
    if not names:
        return
    keys = Run.objects.using(alias).open().keyed().values_list("concurrency_key", flat=True)
    used = {f"slots:{key}"[:200] for key in keys.distinct()}
    unused = [name for name in names if name not in used]
    for start in range(0, len(unused), BATCH):
        Lease.objects.using(alias).filter(name__in=unused[start : start + BATCH])._raw_delete(alias)


def _prune_statistics(now: datetime) -> None:
    rows = Statistic.objects.using(database_alias())
    rows.minutes().filter(start__lt=now - timedelta(hours=48)).delete()
    rows.hours().filter(start__lt=now - timedelta(days=366)).delete()

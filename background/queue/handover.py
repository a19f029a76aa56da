"""Own how a claimed run passes from the host that holds it to another one, which got its id and token."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db.models import Max

from background.dialects import dialect
from background.models import Job, Run, RunLog
from background.models.clock import DatabaseNow
from background.queue.claim import claims_of
from background.queue.holding import Claim, Holder, Key, key_of
from background.scope import database_alias


def take_over(run_id: uuid.UUID, tokens: tuple[uuid.UUID, uuid.UUID], holder: Holder) -> Claim | None:
    """Take the run over that bears the first token, under the second; None if it does not (any more). Blocks for a short transaction.

    It may be asked again with the same tokens where the answer was lost. A wish that the run shall end stays.
    """
    return dialect().in_transaction(lambda: _take_over(run_id, tokens, holder))


def _take_over(run_id: uuid.UUID, tokens: tuple[uuid.UUID, uuid.UUID], holder: Holder) -> Claim | None:
    alias = database_alias()
    facts = {"host_id": holder.id, "host_name": holder.name, "version": holder.version, "started_at": DatabaseNow()}
    held = Run.objects.using(alias).running().filter(id=run_id, token__in=tokens)
    if not held.update(token=tokens[1], **facts):
        return None
    (claim,) = claims_of(holder, [run_id])
    claim.last_line = RunLog.objects.using(alias).filter(run=run_id).aggregate(last=Max("sequence"))["last"] or 0
    claim.backoff = Job.objects.using(alias).filter(id=claim.job_id or 0).values_list("backoff", flat=True).first()
    return claim


def held_still(claims: Iterable[Claim]) -> set[Key]:
    """Return the keys of those claims that are still in force. Blocks for a query."""
    by_key = {one.key: one.id for one in claims}
    rows = Run.objects.using(database_alias()).running().filter(dialect().among("id", by_key.values()))
    return by_key.keys() & {key_of(id, token) for id, token in rows.values_list("id", "token") if token}

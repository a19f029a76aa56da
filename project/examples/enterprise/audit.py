"""Owns the audit log: entries are chained by keyed digests, so that whoever alters, removes or inserts one is found out."""

import hmac
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from project.examples.enterprise.models import AuditEntry, AuditHead

# What is named of a log that was altered in many places.
MANY = 50


class AuditTampered(Exception):
    """The audit log is not what was written."""


class Verified(NamedTuple):
    """How far the log is sound; its end is compared the next time."""

    entries: int
    number: int
    digest: str


@transaction.atomic
def append(entries: Iterable[tuple[str, str, Any]]) -> None:
    """Append (actor, action, detail) in their order, in the caller's transaction; `detail` is anything that JSON can say. Blocks."""
    AuditHead.objects.get_or_create(pk=1)
    head = AuditHead.objects.select_for_update().get(pk=1)
    rows = []
    for actor, action, detail in entries:
        text = json.dumps(detail, sort_keys=True, ensure_ascii=False)
        entry = AuditEntry(
            number=head.number + 1, at=timezone.now(), actor=actor[:100], action=action[:100], detail=text
        )
        entry.previous = head.digest
        head.number, head.digest = entry.number, digest_of(entry)
        entry.digest = head.digest
        rows.append(entry)
    AuditEntry.objects.bulk_create(rows, batch_size=500)
    head.save(update_fields=["number", "digest"])


def digest_of(entry: AuditEntry) -> str:
    """Return what the entry's digest should be."""
    at: datetime = entry.at.astimezone(UTC)
    said = json.dumps([entry.number, at.isoformat(), entry.actor, entry.action, entry.detail, entry.previous])
    key = getattr(settings, "ENTERPRISE_AUDIT_KEY", "") or settings.SECRET_KEY
    return hmac.digest(key.encode(), said.encode(), "sha256").hex()


def verify(known: Verified | None = None) -> Verified:
    """Read the whole log; AuditTampered names each entry that is wrong. Blocks.

    `known` is what an earlier call returned: a log whose end was cut off is sound in itself.
    """
    head = AuditHead.objects.filter(pk=1).first()  # before the entries: those that are added meanwhile do not disturb
    problems = []
    number, digest, count = 0, "", 0
    for entry in AuditEntry.objects.order_by("number").iterator(2000):
        missing = range(number + 1, entry.number)
        if missing:
            problems.append(f"{named(missing)} missing")
        elif entry.previous != digest:
            problems.append(f"entry {entry.number} does not follow entry {number}")
        if not hmac.compare_digest(entry.digest, digest_of(entry)):
            problems.append(f"entry {entry.number} was changed")
        if known and entry.number == known.number and entry.digest != known.digest:
            problems.append(f"entry {entry.number} is not the one that was verified before")
        number, digest, count = entry.number, entry.digest, count + 1
    end = max(head.number if head else 0, known.number if known else 0)
    if number < end:
        problems.append(f"{named(range(number + 1, end + 1))} missing at the end")
    if problems:
        more = f"; and {len(problems) - MANY} more" if len(problems) > MANY else ""
        raise AuditTampered(f"The audit log was tampered with: {'; '.join(problems[:MANY])}{more}.")
    return Verified(count, number, digest)


def named(numbers: range) -> str:
    return f"entry {numbers[0]} is" if len(numbers) == 1 else f"entries {numbers[0]} to {numbers[-1]} are"

"""Owns the audit log: entries are chained by keyed digests, so that whoever alters, removes or inserts one is found out."""

import hmac
import json
from collections.abc import Iterable
from datetime import UTC
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from project.examples.enterprise.models import AuditEntry, AuditHead


class AuditTampered(Exception):
    """The audit log is not what was written."""


class Verified(NamedTuple):
    """The end of a log that is sound."""

    number: int
    digest: str


@transaction.atomic
def append(entries: Iterable[tuple[str, str, Any]]) -> None:
    """Append (actor, action, detail) in their order, in the caller's transaction; `detail` is anything that JSON can say. Blocks."""
    head, _ = AuditHead.objects.select_for_update().get_or_create(pk=1)
    rows = []
    for actor, action, detail in entries:
        head.number += 1
        text = json.dumps(detail, sort_keys=True, ensure_ascii=False)
        entry = AuditEntry(number=head.number, at=timezone.now(), actor=actor[:100], action=action[:100], detail=text)
        head.digest = entry.digest = digest_of(entry, head.digest)
        rows.append(entry)
    AuditEntry.objects.bulk_create(rows, batch_size=500)
    head.save()


def digest_of(entry: AuditEntry, previous: str) -> str:
    """Return what the entry's digest should be, behind an entry with the previous one."""
    at = entry.at.astimezone(UTC).isoformat()
    said = json.dumps([entry.number, at, entry.actor, entry.action, entry.detail, previous])
    key = settings.ENTERPRISE_AUDIT_KEY or settings.SECRET_KEY
    return hmac.digest(key.encode(), said.encode(), "sha256").hex()


def verify(known: Verified | None = None) -> Verified:
    """Read the whole log; AuditTampered names the first entry that is wrong. Blocks.

    `known` is what an earlier call returned: a log whose end was cut off is sound in itself.
    """
    head = AuditHead.objects.filter(pk=1).first()  # before the entries: those that are added meanwhile do not disturb
    known = known or Verified(0, "")
    number, digest = 0, ""
    for entry in AuditEntry.objects.order_by("number").iterator(2000):
        if entry.number != number + 1:
            raise AuditTampered(f"Entry {number + 1} of the audit log is missing.")
        number, digest = entry.number, digest_of(entry, digest)
        if entry.digest != digest or (number == known.number and digest != known.digest):
            raise AuditTampered(f"Entry {number} of the audit log is not what was written, or not where.")
    if number < max(head.number if head else 0, known.number):
        raise AuditTampered(f"Entry {number + 1} of the audit log and all behind it are missing.")
    return Verified(number, digest)

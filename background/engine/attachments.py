"""Own how a run's file is kept: in Django's default storage, under a row of the run."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath
from typing import Any

from django.core.files.base import ContentFile, File
from django.db import transaction

from background.dialects import dialect
from background.exceptions import ClaimLost
from background.models import Artifact, Run
from background.queue.holding import Claim
from background.scope import database_alias


def attach(claim: Claim, name: str, content: Any, content_type: str | None = None) -> Artifact:
    """Store bytes, text or an open file under `name` for this run. Blocks; storage errors go up to the run.

    Raises ClaimLost where another host holds the run by now.
    """
    name = PurePath(str(name).replace("\\", "/")).name[:200] or "file"
    if isinstance(content, str):
        content = content.encode()
    file: File[Any] = (
        ContentFile(bytes(content)) if isinstance(content, (bytes, bytearray, memoryview)) else File(content)
    )
    kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    artifact = Artifact(run_id=claim.id, name=name, content_type=kind[:100], size=file.size)
    artifact.file.save(f"{claim.id}-{name}", file, save=False)
    # In an atomic run a lock would last until its end, and the host could not write its progress; its commit is guarded anyway.
    locks = not transaction.get_connection(database_alias()).in_atomic_block
    try:
        dialect().in_transaction(lambda: _insert(artifact, claim, locks))
    except ClaimLost:
        artifact.file.delete(save=False)
        raise
    return artifact


def _insert(artifact: Artifact, claim: Claim, locks: bool) -> None:
    """Write the row while the claim holds: a file of a run that others have taken over would be believed to be theirs."""
    rows = Run.objects.using(database_alias()).filter(id=claim.id, token=claim.token)
    if not (dialect().lock(rows, skip=False) if locks else rows).exists():
        raise ClaimLost()
    artifact.save(using=database_alias())

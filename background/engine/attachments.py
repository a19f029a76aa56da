"""Own how a run's file is kept: in Django's default storage, under a row of the run."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath
from typing import Any

from django.core.files.base import ContentFile, File

from background.models import Artifact
from background.queue.claim import Claim
from background.scope import database_alias


def attach(claim: Claim, name: str, content: Any, content_type: str | None = None) -> Artifact:
    """Store bytes, text or an open file under `name` for this run. Blocks; storage errors go up to the run."""
    name = PurePath(str(name).replace("\\", "/")).name[:200] or "file"
    if isinstance(content, str):
        content = content.encode()
    file: File[Any] = (
        ContentFile(bytes(content)) if isinstance(content, (bytes, bytearray, memoryview)) else File(content)
    )
    kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    artifact = Artifact(run_id=claim.id, name=name, content_type=kind[:100], size=file.size)
    artifact.file.save(f"{claim.id}-{name}", file, save=False)
    artifact.save(using=database_alias())
    return artifact

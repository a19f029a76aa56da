"""Own how a claim and its outcome cross a pipe: JSON, one message a line of speech between a host and its child process."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, fields
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from background.queue.holding import Claim
from background.queue.outcome import Kind, Line, Outcome

TIMES = ("started_at", "enqueued_at", "run_after")
LARGEST = 64 * 1024 * 1024  # bytes of one message: a run's arguments and result are far smaller


def send(pipe: Connection, **message: Any) -> None:
    """Send one message. Blocks while the pipe is full; OSError when the other side is gone."""
    pipe.send_bytes(json.dumps(message, default=_plain).encode())


def receive(pipe: Connection) -> dict[str, Any]:
    """Return the next message. Blocks until there is one; EOFError or OSError when the other side is gone."""
    return json.loads(pipe.recv_bytes(LARGEST))


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not cross the pipe")


def claim_to(claim: Claim) -> dict[str, Any]:
    return asdict(claim)


def claim_from(facts: dict[str, Any]) -> Claim:
    times = {name: _time(facts[name]) for name in TIMES}
    return Claim(**{**facts, **times, "id": uuid.UUID(facts["id"]), "token": uuid.UUID(facts["token"])})


def lines_to(lines: Any) -> list[tuple[Any, ...]]:
    return [(line.sequence, line.created_at, line.level, line.message) for line in lines]


def lines_from(rows: list[list[Any]]) -> list[Line]:
    return [Line(number, datetime.fromisoformat(at), level, message) for number, at, level, message in rows]


def outcome_to(outcome: Outcome) -> dict[str, Any]:
    names = [one.name for one in fields(outcome) if one.name not in ("claim", "lines")]
    return {**{name: getattr(outcome, name) for name in names}, "lines": lines_to(outcome.lines)}


def outcome_from(claim: Claim, facts: dict[str, Any]) -> Outcome:
    progress = tuple(facts["progress"]) if facts["progress"] else None
    changed = {"kind": Kind(facts["kind"]), "lines": tuple(lines_from(facts["lines"])), "progress": progress}
    return Outcome(claim, **{**facts, **changed})


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

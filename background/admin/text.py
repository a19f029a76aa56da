"""Own how facts become text on a page: visible escapes, states with an icon, durations, times."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

# Control and ANSI characters, those that turn the direction of writing (CVE-2021-42574), and invisible ones. Joiners are
# left alone: scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINES = "\n\t"

ICONS = {
    "scheduled": "◷", "ready": "◔", "blocked": "◫", "running": "▶", "succeeded": "✔", "failed": "✖", "cancelled": "⊘",
    "active": "✔", "paused": "‖", "orphaned": "⚠", "manual": "○", "off": "‖", "starting": "◌", "backoff": "↻", "standby": "◇",
    "stopping": "◌", "stopped": "■", "lost": "✖", "silent": "⚠", "unhealthy": "⚠", "missed": "▯", "overlap": "▯",
}  # fmt: skip


def visible(text: Any, lines: bool = False) -> str:
    """Return text in which every character can be seen; with `lines`, line breaks and tabs stay what they are."""
    return _UNSEEN.sub(lambda found: found[0] if lines and found[0] in _LINES else _escape(found[0]), str(text))


def _escape(letter: str) -> str:
    code = ord(letter)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def typeable(text: str) -> str:
    """Return JSON text in which every character can be seen, and which means the same."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def cut(text: Any, most: int, lines: bool = False) -> str:
    """Return visible text of at most `most` characters."""
    text = str(text)
    return visible(text if len(text) <= most else text[: most - 1] + "…", lines)


def whole(text: str, most: int = 2**31 - 1) -> int:
    """Return the number that an address holds, or 0."""
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def last_line(text: str) -> str:
    """Return the line of a traceback that names the error."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def as_text(value: Any) -> str:
    """Return JSON data as a person reads it: a string bare, everything else as JSON."""
    if isinstance(value, str):
        return visible(value, lines=True)
    return visible(json.dumps(value, ensure_ascii=False, indent=2, default=str), lines=True)


def state(word: str, label: Any = "") -> SafeString:
    """Return a state as icon and word: never by colour alone."""
    shown = visible(label or word)
    return format_html(
        '<span class="bg-state bg-{} bg-{}"><span class="bg-icon" aria-hidden="true">{}</span> {}</span>',
        word if word in ICONS else "unknown",
        "short" if len(shown) <= 16 else "long",
        ICONS.get(word, "•"),
        shown,
    )


def duration(seconds: float | None) -> str:
    """Return a span as people say it: 0.2 s, 41 s, 3 min 02 s, 2 h 05 min, 3 days 4 h."""
    if seconds is None:
        return "–"
    seconds = max(seconds, 0)
    if seconds < 9.95:
        return _("%(seconds)s s") % {"seconds": formats.number_format(round(seconds, 1), 1)}
    whole = round(seconds)
    if whole < 60:
        return _("%(seconds)s s") % {"seconds": whole}
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days and hours % 24:
        return ngettext("%(days)d day %(hours)d h", "%(days)d days %(hours)d h", days) % {
            "days": days,
            "hours": hours % 24,
        }
    if hours and not days and minutes % 60:
        return _("%(hours)d h %(minutes)02d min") % {"hours": hours, "minutes": minutes % 60}
    if not hours and whole % 60:
        return _("%(minutes)d min %(seconds)02d s") % {"minutes": minutes, "seconds": whole % 60}
    return rough(whole)  # 10 min, not 10 min 00 s


def rough(seconds: float) -> str:
    """Return a span by its largest unit."""
    if seconds < 60:
        return duration(seconds)
    if seconds < 3600:
        return _("%(minutes)d min") % {"minutes": seconds // 60}
    if seconds < 2 * 86400:
        return _("%(hours)d h") % {"hours": seconds // 3600}
    return _("%(days)d days") % {"days": seconds // 86400}


def between(start: datetime | None, stop: datetime | None) -> float | None:
    """Return the seconds from start to stop, if both are known."""
    return (stop - start).total_seconds() if start and stop else None


def relative(instant: datetime, now: datetime | None = None) -> str:
    """Return how long ago, or in how long."""
    seconds = (instant - (now or timezone.now())).total_seconds()
    span = rough(abs(seconds))
    return _("in %(span)s") % {"span": span} if seconds > 0 else _("%(span)s ago") % {"span": span}


def ahead(instant: datetime) -> str:
    """Return in how long; what should have been already is now."""
    return relative(instant) if instant > timezone.now() else _("now")


def absolute(instant: datetime, zone: Any = None) -> str:
    """Return date and time on the clock of the person's zone (or `zone`), which is named."""
    local = timezone.localtime(instant, zone)
    return f"{formats.date_format(local, 'Y-m-d H:i:s')} {local.tzname()}"


def when(instant: datetime | None) -> SafeString | str:
    """Return an instant for a list: relative, with the absolute time at hand."""
    if instant is None:
        return "–"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', instant.isoformat(), absolute(instant), relative(instant)
    )


def moment(instant: datetime | None) -> SafeString | str:
    """Return an instant for a detail page: absolute and relative."""
    if instant is None:
        return "–"
    return format_html(
        '<time datetime="{}">{}</time> <span class="bg-quiet">({})</span>',
        instant.isoformat(),
        absolute(instant),
        relative(instant),
    )


def block(text: str) -> SafeString | str:
    """Return text of several lines as it was written."""
    return format_html('<pre class="bg-pre">{}</pre>', visible(text, lines=True)) if text else "–"


# Of a long text so much is shown before it is unfolded.
FOLDED = 2048


def folded(text: str) -> SafeString | str:
    """Return text as it was written: the beginning, and the whole behind a click."""
    if len(text) <= FOLDED:
        return block(text)
    return format_html(
        '<pre class="bg-pre">{}</pre><details><summary>{}</summary><pre class="bg-pre">{}</pre></details>',
        cut(text, FOLDED, lines=True), _("Show all %(count)d characters") % {"count": len(text)}, visible(text, lines=True),
    )  # fmt: skip


class Shown:
    """A record as Django's own pages are given it: the same, but its name has no unseen characters."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    def __str__(self) -> str:
        return cut(self._record, 200)

"""Own the charts of the dashboard: what ended, and how long runs waited and took, over a window; from sums, never from runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from background.admin.text import duration
from background.models import Statistic
from background.models.statistics import Sums
from background.scope import database_alias
from background.templatetags.background_charts import Bars, Column, Series

ENDED = (
    Series(gettext_lazy("succeeded"), "succeeded"),
    Series(gettext_lazy("failed"), "failed"),
    Series(gettext_lazy("cancelled"), "cancelled"),
)
SPREAD = (Series(gettext_lazy("median"), "median"), Series(gettext_lazy("95 %"), "p95"))


@dataclass(frozen=True)
class Window:
    """How far back the charts go, and how long a bar is."""

    name: str
    label: Any
    title: Any
    length: timedelta
    step: timedelta

    @property
    def count(self) -> int:
        return self.length // self.step

    @property
    def by_hour(self) -> bool:
        return self.step >= timedelta(hours=1)


WINDOWS = {
    one.name: one
    for one in (
        Window("1h", gettext_lazy("1 h"), gettext_lazy("Finished per minute, last hour"), timedelta(hours=1), timedelta(minutes=1)),
        Window("6h", gettext_lazy("6 h"), gettext_lazy("Finished per 10 minutes, last 6 hours"), timedelta(hours=6), timedelta(minutes=10)),
        Window("24h", gettext_lazy("24 h"), gettext_lazy("Finished per hour, last 24 hours"), timedelta(hours=24), timedelta(hours=1)),
        Window("7d", gettext_lazy("7 d"), gettext_lazy("Finished per 3 hours, last 7 days"), timedelta(days=7), timedelta(hours=3)),
    )
}  # fmt: skip


def window_of(name: str) -> Window:
    """Return the window of that name; the last hour for any other word."""
    return WINDOWS.get(name, WINDOWS["1h"])


def charts(window: Window, now: datetime, address: Callable[[datetime, datetime], str]) -> list[Bars]:
    """Return the three charts; `address(start, stop)` is where the runs of a bar are listed. Blocks for one query."""
    starts = _starts(window, now)
    rows = Statistic.objects.using(database_alias()).overall()
    rows = (rows.hours() if window.by_hour else rows.minutes()).filter(start__gte=starts[0])
    found = rows.sums(lambda start, queue: (start - starts[0]) // window.step)
    sums = [found.get(number, Sums()) for number in range(len(starts))]
    bars = list(zip((label(start, window) for start in starts), sums, starts, strict=True))
    ended = [
        Column(name, (one.succeeded, one.failed, one.cancelled), (), address(start, start + window.step))
        for name, one, start in bars
    ]
    whole = Sums()
    for one in sums:
        whole.add(one)
    return [
        Bars("bg-chart-ended", window.title, _ended(whole), ENDED, ended),
        _spread("bg-chart-waited", _("Waiting time"), whole.wait, ((name, one.wait) for name, one, _start in bars)),
        _spread("bg-chart-took", _("Running time"), whole.took, ((name, one.took) for name, one, _start in bars)),
    ]


def failed_since(since: datetime) -> int:
    """Return how many runs have failed since the hour of this instant. Blocks for one query."""
    rows = Statistic.objects.using(database_alias()).overall().hours().filter(start__gte=since)
    return sum(rows.values_list("failed", flat=True))


def label(start: datetime, window: Window) -> str:
    local = timezone.localtime(start)
    day = f"{formats.date_format(local, 'D j')} " if window.length > timedelta(days=1) else ""
    return f"{day}{local:%H:%M}"


def _starts(window: Window, now: datetime) -> list[datetime]:
    """Return when the bars begin; the last one is not over yet."""
    unit = window.step.total_seconds()
    last = datetime.fromtimestamp(now.timestamp() // unit * unit, now.tzinfo)
    return [last - window.step * back for back in reversed(range(window.count))]


def _ended(sums: Sums) -> str:
    if not sums.total:
        return _("Nothing ended in this time.")
    text = ngettext(
        "%(count)s run ended, %(failed)s of them failed.",
        "%(count)s runs ended, %(failed)s of them failed.",
        sums.total,
    )
    return text % {"count": formats.number_format(sums.total), "failed": formats.number_format(sums.failed)}


def _spread(id: str, title: str, whole: Callable[[float], float | None], bars: Iterable[tuple[str, Any]]) -> Bars:
    columns = []
    for name, share in bars:
        values = (share(0.5), share(0.95))
        columns.append(Column(name, values, [duration(value) for value in values]))
    most = max((value or 0 for column in columns for value in column.values), default=0)
    facts = {"median": duration(whole(0.5)), "most": duration(whole(0.95))}
    said = _("Half of the runs: at most %(median)s; 95 %% of them: at most %(most)s.") % facts
    if whole(0.5) is None:
        said = _("Nothing ended in this time.")
    return Bars(id, title, said, SPREAD, columns, top=duration(most), nested=True)

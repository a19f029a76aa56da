"""Own the reading of crontab files: of users, and of the system with its column of users."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from django.utils.translation import gettext as _

from background.contrib.importers.carrying import Facts, Found, Unfit

_SETTING = re.compile(r"[\"']?([A-Za-z_]\w*)[\"']?\s*=\s*(.*)")
_OF_DJANGO = re.compile(r"(?:manage\.py|django-admin)\s+(.+)")
_END = re.compile(r"\s*(?:\d*>|[|;&<]).*", re.DOTALL)
LONGEST = 150


def read(lines: Iterable[str], timezone: str = "", system: bool = False) -> Iterator[Found]:
    """Yield what the lines schedule; a task's old name is its management command with arguments, or the whole command.

    `timezone` is the zone of the machine (empty: the site's) until a CRON_TZ says another.
    """
    zone, names = timezone, set[str]()
    for line in filter(None, map(str.strip, lines)):
        setting = _SETTING.fullmatch(line)
        if setting and setting[1] == "CRON_TZ":
            zone = setting[2].strip("\"' ") or timezone
        elif setting:
            yield Found(f"{setting[1]}=", "", partial(_refuse, _("A setting: give it to the host instead.")))
        elif line[0] != "#":
            found = _entry(line, zone, system)
            yield found if found.name not in names else Found(f"{found.name} ({line[:40]})", found.task, found.read)
            names.add(found.name)


def _entry(line: str, zone: str, system: bool) -> Found:
    fields = 1 if line[0] == "@" else 5
    words = line.split(None, fields + system)
    if len(words) <= fields + system:
        return Found(line[:LONGEST], "", partial(_refuse, _("It has too few words for a line of a crontab.")))
    command, _mark, text = re.sub(r"(?<!\\)%", "\0", words[-1], count=1).partition("\0")
    command = command.replace(r"\%", "%").strip()
    lost: tuple[str, ...] = (_("its user, %s") % words[fields],) if system else ()
    lost += (_("its input, after %"),) if text else ()
    name = command_of_django(command) or command
    facts = Facts(schedule=" ".join(words[:fields]), timezone=zone, lost=lost)
    return Found(name[:LONGEST], name, lambda: facts)


def command_of_django(command: str) -> str:
    """Return the management command that a shell command runs, with its arguments; empty if it runs none."""
    match = _OF_DJANGO.search(command)
    return _END.sub("", match[1], count=1).strip() if match else ""


def _refuse(reason: str) -> Facts:
    raise Unfit(reason)

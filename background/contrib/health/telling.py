"""Own the ways on which people, and an outside monitor, are told how things stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.request import Request

from django.conf import settings
from django.core.mail import send_mail
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.conf import get_part
from background.contrib.health.builtin import fetch
from background.contrib.health.conf import HealthSettings
from background.contrib.health.models import Notice, Period


def ways() -> list[str]:
    """Return the names of the ways that the settings open."""
    conf = get_part(HealthSettings)
    return [name for name, given in (("mail", conf.mail_to), ("webhook", conf.webhook)) if given]


def by_mail(notices: Sequence[Notice]) -> None:
    """Mail all of the notices in one message. Blocks while it is handed over."""
    conf = get_part(HealthSettings)
    subject = line(notices[0], short=True)
    if len(notices) > 1:
        text = ngettext("%(count)d change of health", "%(count)d changes of health", len(notices))
        subject = text % {"count": len(notices)}
    subject = f"{settings.EMAIL_SUBJECT_PREFIX}{subject}"
    send_mail(subject, "\n\n".join(line(one) for one in notices) + "\n", None, list(conf.mail_to))


def by_webhook(notices: Sequence[Notice]) -> None:
    """Post the notices as JSON: `text` for people (and for chats that show it), `changes` for programs. Blocks."""
    conf = get_part(HealthSettings)
    body = {"text": "\n".join(line(one) for one in notices), "changes": [one.facts() for one in notices]}
    _post(conf.webhook, json.dumps(body).encode(), "application/json")


WAYS: dict[str, Callable[[Sequence[Notice]], None]] = {"mail": by_mail, "webhook": by_webhook}


def ping(alarms: Sequence[Period]) -> None:
    """Tell the outside monitor that all is well; or, at `/fail`, what is not. Blocks."""
    conf = get_part(HealthSettings)
    if not alarms:
        fetch(Request(conf.ping), conf.timeout)
        return
    body = "\n".join(f"{one.check_name}: {one.detail}" for one in alarms)
    _post(f"{conf.ping.rstrip('/')}/fail", body.encode(), "text/plain; charset=utf-8")


def _post(address: str, body: bytes, content_type: str) -> None:
    fetch(Request(address, body, {"Content-Type": content_type}), get_part(HealthSettings).timeout)


def line(notice: Notice, short: bool = False) -> str:
    """Return what has happened in a sentence, with times unless it is to be short."""
    name = {"check": notice.check_name}
    failing = notice.kind == Notice.Kind.ALARM
    text = _("%(check)s is failing") % name if failing else _("%(check)s has recovered") % name
    if short:
        return text
    times = {"since": local(notice.since), "at": local(notice.at)}
    said = _("since %(since)s") % times if failing else _("failing from %(since)s to %(at)s") % times
    return f"{text} ({said}): {notice.detail}" if notice.detail else f"{text} ({said})"


def local(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"

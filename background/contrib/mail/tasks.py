"""Own the delivery of a stored message: once if it can be, again where the server asks for it, never where it refuses."""

from __future__ import annotations

import smtplib
from datetime import timedelta

from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import Min

from background import Backoff, Discard, RunContext, Snooze
from background.conf import get_part
from background.contrib.mail.conf import MailSettings
from background.contrib.mail.models import Message
from background.contrib.mail.storing import restore
from background.dialects import dialect
from background.jobs.tasks import job, own_queue
from background.queue.limits import lock_key
from background.scope import database_alias

MINUTE = timedelta(minutes=1)


@job(
    name="background_mail.send",
    queue=own_queue("mail"),
    takes_context=True,
    concurrency=1,  # so that a host that is killed repeats one message at most
    max_attempts=12,
    backoff=Backoff(30, 7200),
    timeout=300,
)
def send(context: RunContext, message: int) -> str:
    """Deliver one message of the queued mail."""
    row = Message.objects.using(database_alias()).filter(pk=message).first()
    if row is None:
        raise Discard("The message was deleted.")
    if row.sent_at:
        return "sent before"  # by an attempt whose host died before it could say so
    wait_for_turn(row)
    try:
        with connection(row.mailer) as opened:
            opened.send_messages([restore(row)])
            # Before the connection is closed: whoever is killed in between sends it again.
            Message.objects.using(database_alias()).filter(pk=row.pk).update(sent_at=dialect().now())
    except (smtplib.SMTPException, ValueError) as error:
        if is_permanent(error):
            raise Discard(f"{type(error).__name__}: {error}") from error
        raise
    context.logger.info("sent to %d recipients", len([*row.to, *row.cc, *row.bcc]))
    return row.headers.get("Message-ID", "")


def wait_for_turn(row: Message) -> None:
    """Take part in the rate of all hosts; Snooze where this minute is full."""
    rate = get_part(MailSettings).rate
    rows = Message.objects.using(database_alias())
    with transaction.atomic(using=database_alias()):
        if rate:
            lock_key("mail:rate")
        now = dialect().now()
        if rate and rows.filter(begun_at__gt=now - MINUTE).count() >= rate:
            first = rows.filter(begun_at__gt=now - MINUTE).aggregate(at=Min("begun_at"))["at"]
            raise Snooze(after=max((first + MINUTE - now).total_seconds(), 0.1))
        rows.filter(pk=row.pk).update(begun_at=now)


def connection(mailer: str) -> BaseEmailBackend:
    """Return the backend that delivers; Discard where that is this queue again."""
    if mailer:
        found = mail.mailers[mailer]
    else:
        found = mail.get_connection(get_part(MailSettings).backend)
    if type(found).__name__ == "QueuedEmailBackend":
        raise Discard(
            "The mailer that should deliver is the queue itself: BACKGROUND['MAIL']['BACKEND'], or the option `using`."
        )
    return found


def is_permanent(error: Exception) -> bool:
    """Whether another try cannot help: a reply of 500 and above, or a message that cannot be written down.

    A refused login is a matter of settings, which somebody will mend: it is tried again.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, (smtplib.SMTPAuthenticationError, smtplib.SMTPConnectError, smtplib.SMTPHeloError)):
        return False
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code >= 500
    return isinstance(error, (smtplib.SMTPNotSupportedError, ValueError))


@job("47 3 * * *", name="background_mail.prune")
def prune(batch: int = 1000) -> int:
    """Delete messages that were sent, or given up, long enough ago; return how many."""
    conf, now = get_part(MailSettings), dialect().now()
    rows = Message.objects.using(database_alias())
    old = rows.filter(sent_at__lt=now - timedelta(days=conf.keep_sent))
    dead = rows.failed().filter(created_at__lt=now - timedelta(days=conf.keep_failed))
    deleted = 0
    for chosen in (old, dead):
        while pks := list(chosen.order_by().values_list("pk", flat=True)[:batch]):
            rows.filter(pk__in=pks).delete()
            deleted += len(pks)
    return deleted

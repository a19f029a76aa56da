"""Own the e-mail backend that queues: each message is a run, written in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction

from background.contrib.mail.models import Message
from background.contrib.mail.storing import store
from background.contrib.mail.tasks import connection, send
from background.models import Run
from background.scope import database_alias


class QueuedEmailBackend(BaseEmailBackend):
    """Queues messages for a host to deliver: for `EMAIL_BACKEND`, or as a `BACKEND` in Django 6.1's `MAILERS`.

    There its option `using` names the mailer that delivers; elsewhere `BACKGROUND["MAIL"]["BACKEND"]` does. Does not fail
    where the mail server does: retries, and what could not be sent, are the business of the runs.
    """

    def __init__(self, fail_silently: bool = False, *, using: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._using = using

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Queue the messages that have recipients and return how many they were. Blocks for a few statements each."""
        messages = [one for one in email_messages if one.recipients()]
        with transaction.atomic(using=database_alias()):
            for one in messages:
                queue(store(one, self._using))
        return len(messages)

    def delivering(self) -> BaseEmailBackend:
        """Return the backend that delivers, for a look whether its server is there."""
        return connection(self._using)


def queue(row: Message) -> Run:
    """Enqueue the run that sends a stored message."""
    result = send.enqueue(row.pk)
    Message.objects.using(database_alias()).filter(pk=row.pk).update(run_id=result.id)
    return Run.objects.using(database_alias()).get(pk=result.id)

"""Own the way of a message of Django's into rows and back."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage as MimeMessage
from email.message import Message as AnyMime
from email.mime.base import MIMEBase
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives, make_msgid

from background.contrib.mail.models import Attachment, Message
from background.scope import database_alias

Kind = Attachment.Kind


class Part(MIMEBase):
    """A MIME part read back; Django asks for this class."""

    def __init__(self, policy: Any = None) -> None:
        AnyMime.__init__(self, **({"policy": policy} if policy else {}))


def store(message: EmailMessage, mailer: str) -> Message:
    """Write a message and its attachments. Blocks for two statements; joins the caller's transaction."""
    headers = {str(name): str(value) for name, value in message.extra_headers.items()}
    if not any(name.lower() == "message-id" for name in headers):
        headers["Message-ID"] = make_msgid()  # the same at each attempt, so that a double can be told
    row = Message.objects.using(database_alias()).create(
        mailer=mailer,
        subject=str(message.subject),
        from_email=str(message.from_email),
        to=[str(one) for one in message.to],
        cc=[str(one) for one in message.cc],
        bcc=[str(one) for one in message.bcc],
        reply_to=[str(one) for one in message.reply_to],
        headers=headers,
        body=str(message.body),
        content_subtype=message.content_subtype,
        encoding=str(message.encoding or ""),
        alternatives=[[str(content), str(kind)] for content, kind in getattr(message, "alternatives", ())],
    )
    parts = [_stored(row, one) for one in message.attachments]
    Attachment.objects.using(database_alias()).bulk_create(parts)
    return row


def _stored(row: Message, attachment: Any) -> Attachment:
    if isinstance(attachment, AnyMime):
        return Attachment(message=row, kind=Kind.MIME, content=attachment.as_bytes())
    name, content, content_type = attachment
    named = {"message": row, "name": name or "", "content_type": content_type or ""}
    if isinstance(content, EmailMessage):
        content = content.message()
    if isinstance(content, AnyMime):
        return Attachment(kind=Kind.MIME, content=content.as_bytes(), **named)
    if isinstance(content, str):
        return Attachment(kind=Kind.TEXT, content=content.encode(), **named)
    return Attachment(kind=Kind.BYTES, content=bytes(content), **named)


def restore(row: Message) -> EmailMessage:
    """Return the message as it was. Blocks for a query."""
    message = EmailMultiAlternatives(
        row.subject,
        row.body,
        row.from_email,
        row.to,
        bcc=row.bcc,
        cc=row.cc,
        reply_to=row.reply_to,
        headers=row.headers,
        alternatives=[tuple(one) for one in row.alternatives],
    )
    message.content_subtype = row.content_subtype
    message.encoding = row.encoding or None
    for one in row.attachments.using(database_alias()).all():
        content = bytes(one.content)
        if one.kind == Kind.MIME and one.content_type:  # a whole message, attached under a name
            message.attach(
                one.name, email.message_from_bytes(content, MimeMessage, policy=policy.default), one.content_type
            )
        elif one.kind == Kind.MIME:
            message.attach(email.message_from_bytes(content, Part))
        else:
            message.attach(
                one.name or None, content.decode() if one.kind == Kind.TEXT else content, one.content_type or None
            )
    return message

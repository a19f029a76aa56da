"""Own the records of messages and their attachments, kept until they are sent and for some days after."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from background.models import Run

UNSENT = models.Q(sent_at__isnull=True)
FAILED = UNSENT & (models.Q(run__isnull=True) | models.Q(run__status__in=(Run.Status.FAILED, Run.Status.CANCELLED)))


class MessageQuerySet(models.QuerySet["Message"]):
    def sent(self) -> MessageQuerySet:
        return self.filter(sent_at__isnull=False)

    def failed(self) -> MessageQuerySet:
        """Dead letters: nobody tries to send them any more."""
        return self.filter(FAILED)

    def waiting(self) -> MessageQuerySet:
        """Messages that will be sent, or tried again."""
        return self.filter(UNSENT).exclude(FAILED)


class Message(models.Model):
    """An e-mail that waits to be sent, was sent, or could not be."""

    created_at = models.DateTimeField(_("created at"), default=timezone.now, help_text=_("When it was queued."))
    mailer = models.CharField(_("mailer"), max_length=64, blank=True, help_text=_("Alias in MAILERS that delivers it."))
    subject = models.TextField(_("subject"), blank=True, help_text=_("As given by the site."))
    from_email = models.TextField(_("from"), help_text=_("The sender's address."))
    to = models.JSONField(_("to"), default=list, help_text=_("Addresses."))
    cc = models.JSONField(_("cc"), default=list, blank=True, help_text=_("Addresses."))
    bcc = models.JSONField(_("bcc"), default=list, blank=True, help_text=_("Addresses that nobody else sees."))
    reply_to = models.JSONField(_("reply to"), default=list, blank=True, help_text=_("Addresses."))
    headers = models.JSONField(_("headers"), default=dict, blank=True, help_text=_("Further headers."))
    body = models.TextField(_("body"), blank=True, help_text=_("The text."))
    content_subtype = models.CharField(_("subtype"), max_length=50, default="plain", help_text=_("Of the text."))
    encoding = models.CharField(_("encoding"), max_length=50, blank=True, help_text=_("Of the text, if it is special."))
    alternatives = models.JSONField(
        _("alternatives"), default=list, blank=True, help_text=_("Pairs of content and type, such as HTML.")
    )
    run = models.ForeignKey(
        Run,
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("run"),
        help_text=_("The run that sends it; where it is gone without success, so is the hope."),
    )
    begun_at = models.DateTimeField(
        _("begun at"), null=True, blank=True, db_index=True, help_text=_("When sending was last tried.")
    )
    sent_at = models.DateTimeField(
        _("sent at"), null=True, blank=True, db_index=True, help_text=_("When the server took it.")
    )

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["-id"]
        default_permissions = ("view", "delete")
        permissions = [("resend_message", _("Can send messages again"))]

    def __str__(self) -> str:
        return f"{self.subject[:80]} → {', '.join(self.to)[:80]}"

    @property
    def state(self) -> Any:
        """One word: sent, waiting or failed."""
        if self.sent_at:
            return _("sent")
        return _("waiting") if self.run is not None and self.run.is_open else _("failed")


class Attachment(models.Model):
    """A part of a message."""

    class Kind(models.TextChoices):
        # Content is a text in UTF-8.
        TEXT = "text", _("text")
        # Content is bytes.
        BYTES = "bytes", _("bytes")
        # Content is a whole message or MIME part, as on the wire.
        MIME = "mime", _("MIME part")

    message = models.ForeignKey(
        Message,
        models.CASCADE,
        related_name="attachments",
        verbose_name=_("message"),
        help_text=_("What it is part of."),
    )
    name = models.CharField(_("name"), max_length=255, blank=True, help_text=_("File name."))  # fmt: skip
    content_type = models.CharField(_("content type"), max_length=255, blank=True, help_text=_("MIME type."))
    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices, help_text=_("What the content is."))
    content = models.BinaryField(_("content"), help_text=_("The attachment itself."))

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        default_permissions = ()
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

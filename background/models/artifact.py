"""Own the files that runs leave behind."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Artifact(models.Model):
    """A file kept with a run, in Django's default storage."""

    run = models.ForeignKey(
        "background.Run",
        models.CASCADE,
        related_name="artifacts",
        verbose_name=_("run"),
        help_text=_("The run that attached it."),
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("The name given by the run."))
    file = models.FileField(
        _("file"), max_length=300, upload_to="background/%Y/%m/%d", help_text=_("Where the storage keeps it.")
    )
    content_type = models.CharField(_("content type"), max_length=100, help_text=_("MIME type, as told by the run."))
    size = models.BigIntegerField(_("size"), help_text=_("Bytes."))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True, help_text=_("When it was attached."))

    class Meta:
        verbose_name = _("artifact")
        verbose_name_plural = _("artifacts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name

"""Owns accounts and what they have used."""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import models


class AccountQuerySet(models.QuerySet["Account"]):
    def visible_to(self, user: Any) -> "AccountQuerySet":
        """The accounts whose data a person may take away: their own, and all with the permission."""
        return self if user.has_perm("saas.export_account") else self.filter(owner=user)


class Account(models.Model):
    """A customer: first on trial, then paying, or not."""

    class Plan(models.TextChoices):
        TRIAL = "trial"  # everything, for a while
        PAID = "paid"  # everything, for money
        EXPIRED = "expired"  # nothing more, but the data can be taken away

    name = models.CharField(max_length=100, unique=True, help_text="Name of the customer.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, help_text="Who pays, and gets the mail.")
    plan = models.CharField(max_length=10, choices=Plan, default=Plan.TRIAL, help_text="What may be used.")
    trial_ends_at = models.DateTimeField(null=True, blank=True, help_text="When the trial is over.")
    reminded_at = models.DateTimeField(null=True, blank=True, help_text="When the owner was told that it soon will be.")

    objects = AccountQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["plan", "trial_ends_at"], name="saas_trials")]
        permissions = [("export_account", "Can take away the data of any account")]

    def __str__(self) -> str:
        return self.name

    def tell(self, subject: str, body: str) -> None:
        """Write to the owner. The mail is queued: it goes out if and only if the caller's transaction commits."""
        send_mail(f"{self.name}: {subject}", body, None, [self.owner.email])


class Usage(models.Model):
    """How much an account has used of one thing on one day."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="usage", help_text="Who used it.")
    metric = models.CharField(max_length=50, help_text="What was used.")
    day = models.DateField(help_text="On the site's calendar.")
    amount = models.PositiveBigIntegerField(default=0, help_text="How much.")

    class Meta:
        verbose_name_plural = "usage"
        constraints = [models.UniqueConstraint(fields=["account", "metric", "day"], name="saas_one_per_day")]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.amount} {self.metric} on {self.day}"

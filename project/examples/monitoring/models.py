"""Owns what is kept: measurements, the alerts they led to, and a summary of each hour."""

from django.db import models
from django.utils import timezone


class Measurement(models.Model):
    """What one check found at one instant."""

    check_name = models.CharField("check", max_length=50)
    value = models.FloatField(null=True, help_text="Empty: nothing could be measured.")
    unit = models.CharField(max_length=20)
    taken_at = models.DateTimeField(default=timezone.now)
    ok = models.BooleanField("OK", null=True, help_text="Empty: there was nothing to judge.")
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["check_name", "-taken_at"], name="monitoring_by_check"),
            models.Index(fields=["taken_at"], name="monitoring_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.check_name} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


class Alert(models.Model):
    """A time during which something was wrong; open until it is cleared."""

    class Severity(models.TextChoices):
        # Look at it today.
        WARNING = "warning"
        # Visitors notice.
        CRITICAL = "critical"

    check_name = models.CharField("check", max_length=50)
    # At most one open alert for a check. Not a constraint with a condition, which MariaDB and MySQL do not have: the
    # name while the alert is open, and NULL, of which a unique column may hold many, once it is cleared.
    open_check = models.CharField(max_length=50, null=True, blank=True, unique=True, editable=False)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    message = models.CharField(max_length=250)
    raised_at = models.DateTimeField(default=timezone.now)
    cleared_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-raised_at"], name="monitoring_newest_alert")]

    def __str__(self) -> str:
        return f"{self.check_name}: {self.message}"

    @property
    def is_open(self) -> bool:
        return self.cleared_at is None


class HourSummary(models.Model):
    """The measurements of one check in one hour, in one row that outlives them."""

    check_name = models.CharField("check", max_length=50)
    hour = models.DateTimeField(help_text="Its first instant.")
    count = models.PositiveIntegerField()
    minimum = models.FloatField(null=True)
    maximum = models.FloatField(null=True)
    average = models.FloatField(null=True)
    failures = models.PositiveIntegerField()

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "hour summaries"
        constraints = [models.UniqueConstraint(fields=["check_name", "hour"], name="monitoring_one_per_hour")]

    def __str__(self) -> str:
        return f"{self.check_name} from {self.hour:%Y-%m-%d %H:%M}"

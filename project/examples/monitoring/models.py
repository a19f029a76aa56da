"""Owns what is kept: measurements, a summary of each hour, and the requests that the access log tells of."""

from django.db import models
from django.utils import timezone


class Measurement(models.Model):
    """What was measured at one instant."""

    name = models.CharField(max_length=50, help_text="What was measured, with its unit.")
    value = models.FloatField(help_text="In that unit.")
    taken_at = models.DateTimeField(default=timezone.now, db_index=True, help_text="When it was measured.")

    def __str__(self) -> str:
        return f"{self.name} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


class HourSummary(models.Model):
    """The measurements of one name in one hour, in one row that outlives them."""

    name = models.CharField(max_length=50, help_text="What was measured, with its unit.")
    hour = models.DateTimeField(help_text="Its first instant.")
    count = models.PositiveIntegerField(help_text="How many measurements there were.")
    minimum = models.FloatField(help_text="The least of them.")
    average = models.FloatField(help_text="Their mean.")
    maximum = models.FloatField(help_text="The greatest of them.")

    class Meta:
        verbose_name_plural = "hour summaries"
        constraints = [models.UniqueConstraint(fields=["name", "hour"], name="monitoring_one_per_hour")]

    def __str__(self) -> str:
        return f"{self.name} from {self.hour:%Y-%m-%d %H:%M}"


class Request(models.Model):
    """A line of the web server's access log."""

    at = models.DateTimeField(db_index=True, help_text="When it was answered.")
    line = models.TextField(help_text="Method and address.")
    status = models.PositiveSmallIntegerField(help_text="Status of the answer.")
    size = models.PositiveBigIntegerField(help_text="Bytes of the answer.")

    def __str__(self) -> str:
        return f"{self.status} {self.line[:80]}"

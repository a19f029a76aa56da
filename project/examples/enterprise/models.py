"""Owns the star schema (sales, products, stores), the files that were loaded into it, and the audit log."""

from datetime import date

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

REFERENCE = RegexValidator(r"^[A-Z0-9._/-]+\Z", "These are not letters, digits and ._/- alone.")


class Product(models.Model):
    """A dimension: what is sold."""

    sku = models.CharField("SKU", max_length=40, unique=True, help_text="Its number.")
    name = models.CharField(max_length=100, help_text="As customers know it.")
    category = models.CharField(max_length=50, help_text="For reports.")

    def __str__(self) -> str:
        return self.name


class Store(models.Model):
    """A dimension: where it is sold."""

    code = models.CharField(max_length=20, unique=True, help_text="As the files say it.")
    name = models.CharField(max_length=100, help_text="As people say it.")

    def __str__(self) -> str:
        return self.name


class Load(models.Model):
    """A file that was dealt with, known by its content: the same file again changes nothing."""

    name = models.CharField(max_length=100, help_text="Name of the file as it was dropped.")
    checksum = models.CharField(max_length=64, unique=True, help_text="SHA-256 of its content.")
    reason = models.CharField(max_length=200, blank=True, help_text="Why nothing of it could be used.")
    lines = models.PositiveIntegerField(default=0, help_text="Lines that became facts.")
    rejected = models.PositiveIntegerField(default=0, help_text="Lines that did not.")
    loaded_at = models.DateTimeField(auto_now_add=True, help_text="When.")

    def __str__(self) -> str:
        return self.name

    @property
    def file_name(self) -> str:
        """Its name where it was moved to; two files of one name do not meet."""
        return f"{self.checksum[:8]}-{self.name}"


class RejectedLine(models.Model):
    """A line that is no sale, and why."""

    load = models.ForeignKey(Load, models.CASCADE, verbose_name="file", help_text="Where it stands.")
    number = models.PositiveIntegerField("line", help_text="In the file, the head being line 1.")
    reason = models.CharField(max_length=200, help_text="What is wrong with it.")
    text = models.CharField(max_length=200, help_text="How it begins.")

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


class Sale(models.Model):
    """A fact. Its fields say what a source may say. Facts from files are never changed: a correction is a sale of its own."""

    reference = models.CharField(max_length=40, unique=True, validators=[REFERENCE], help_text="The source's number.")
    day = models.DateField(validators=[MinValueValidator(date(1900, 1, 1))], help_text="When it was sold.")
    store = models.ForeignKey(Store, models.PROTECT, help_text="Where.")
    product = models.ForeignKey(Product, models.PROTECT, help_text="What.")
    quantity = models.IntegerField(help_text="Pieces; below zero: taken back.")
    amount = models.DecimalField(max_digits=12, decimal_places=2, help_text="What was paid for all of it.")
    load = models.ForeignKey(
        Load, models.PROTECT, null=True, blank=True, verbose_name="file", help_text="Empty: it came over HTTP."
    )

    class Meta:
        indexes = [models.Index(fields=["day", "store"], name="enterprise_by_day")]

    def __str__(self) -> str:
        return self.reference


class AuditEntry(models.Model):
    """Who did what. Its digest covers all of it and the digest before, under a key that the database does not hold."""

    number = models.PositiveBigIntegerField(unique=True, help_text="1, 2, 3, … without a gap.")
    at = models.DateTimeField(help_text="When it was written down.")
    actor = models.CharField(max_length=100, help_text="Who.")
    action = models.CharField(max_length=100, help_text="Did what.")
    detail = models.TextField(help_text="JSON, as it was signed.")
    digest = models.CharField(max_length=64, help_text="HMAC-SHA-256 of all the above and of the digest before.")

    class Meta:
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.number}: {self.actor} {self.action}"


class AuditHead(models.Model):
    """The end of the audit log, one row: whoever appends holds its lock."""

    number = models.PositiveBigIntegerField(default=0, help_text="Number of the last entry.")
    digest = models.CharField(max_length=64, default="", help_text="Its digest.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.number)

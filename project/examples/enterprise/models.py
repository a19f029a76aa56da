"""Owns the star schema (sales, products, stores), the files that were loaded into it, and the audit log."""

from django.db import models


class Product(models.Model):
    """A dimension: what is sold."""

    sku = models.CharField("SKU", max_length=40, unique=True, help_text="Its number.")
    name = models.CharField("name", max_length=100, help_text="As customers know it.")
    category = models.CharField("category", max_length=50, help_text="For reports.")

    def __str__(self) -> str:
        return self.name


class Store(models.Model):
    """A dimension: where it is sold."""

    code = models.CharField("code", max_length=20, unique=True, help_text="As the files say it.")
    name = models.CharField("name", max_length=100, help_text="As people say it.")
    country = models.CharField("country", max_length=2, help_text="Two letters.")

    def __str__(self) -> str:
        return self.name


class Load(models.Model):
    """A file that was dealt with, known by its content: the same file again changes nothing."""

    class State(models.TextChoices):
        # Some of its lines may be facts already.
        LOADING = "loading"
        # Its good lines are facts; the others have rows of their own.
        LOADED = "loaded"
        # Nothing of it could be used.
        REJECTED = "rejected"

    name = models.CharField("name", max_length=200, help_text="Name of the file as it was dropped.")
    checksum = models.CharField("checksum", max_length=64, unique=True, help_text="SHA-256 of its content.")
    state = models.CharField(
        "state", max_length=10, choices=State.choices, default=State.LOADING, help_text="What became of it."
    )
    position = models.PositiveIntegerField("position", default=0, help_text="The last line that was dealt with.")
    reason = models.CharField("reason", max_length=250, blank=True, help_text="Why nothing of it could be used.")
    lines = models.PositiveIntegerField("lines", default=0, help_text="Lines that became facts.")
    rejected = models.PositiveIntegerField("rejected", default=0, help_text="Lines that did not.")
    amount = models.DecimalField(
        "amount", max_digits=18, decimal_places=2, default=0, help_text="Sum of the lines that became facts."
    )
    loaded_at = models.DateTimeField("loaded at", auto_now_add=True, help_text="When.")

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name

    @property
    def file_name(self) -> str:
        """Its name where it was moved to; two files of one name do not meet."""
        return f"{self.checksum[:8]}-{self.name[-50:]}"


class RejectedLine(models.Model):
    """A line that is no sale, and why."""

    load = models.ForeignKey(
        Load, models.CASCADE, related_name="rejected_lines", verbose_name="file", help_text="Where it stands."
    )
    number = models.PositiveIntegerField("line", help_text="In the file, the head being line 1.")
    reason = models.CharField("reason", max_length=250, help_text="What is wrong with it.")
    text = models.CharField("text", max_length=500, help_text="How it begins.")

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["load", "number"], name="enterprise_line_once")]

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


class Sale(models.Model):
    """A fact. Those from files are never changed: a correction is a sale of its own."""

    reference = models.CharField("reference", max_length=60, unique=True, help_text="The source's own number of it.")
    day = models.DateField("day", help_text="When it was sold.")
    store = models.ForeignKey(Store, models.PROTECT, verbose_name="store", help_text="Where.")
    product = models.ForeignKey(Product, models.PROTECT, verbose_name="product", help_text="What.")
    quantity = models.IntegerField("quantity", help_text="Pieces; below zero: taken back.")
    amount = models.DecimalField("amount", max_digits=12, decimal_places=2, help_text="What was paid for all of it.")
    load = models.ForeignKey(
        Load, models.PROTECT, null=True, blank=True, verbose_name="file", help_text="Empty: it came over HTTP."
    )

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["day", "store"], name="enterprise_by_day")]

    def __str__(self) -> str:
        return self.reference


class AuditEntry(models.Model):
    """Who did what. Its digest covers all of it and the digest before, under a key that the database does not hold."""

    number = models.PositiveBigIntegerField("number", unique=True, help_text="1, 2, 3, … without a gap.")
    at = models.DateTimeField("at", help_text="When it was written down.")
    actor = models.CharField("actor", max_length=100, help_text="Who.")
    action = models.CharField("action", max_length=100, help_text="Did what.")
    detail = models.TextField("detail", help_text="JSON, as it was signed.")
    previous = models.CharField("previous", max_length=64, help_text="Digest of the entry before.")
    digest = models.CharField("digest", max_length=64, help_text="HMAC-SHA-256 of all the above.")

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.number}: {self.actor} {self.action}"


class AuditHead(models.Model):
    """The end of the audit log, one row: whoever appends holds its lock."""

    number = models.PositiveBigIntegerField("number", default=0, help_text="Number of the last entry.")
    digest = models.CharField("digest", max_length=64, default="", help_text="Its digest.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.number)

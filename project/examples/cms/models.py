"""Owns what is kept: articles, their pictures, and the backups that were made."""

from django.db import models
from django.db.models import F, Q
from django.urls import reverse


class ArticleQuerySet(models.QuerySet["Article"]):
    def published(self) -> "ArticleQuerySet":
        return self.exclude(published_at=None)

    def stale(self) -> "ArticleQuerySet":
        """Those that the index does not know as they are."""
        return self.filter(Q(indexed_at=None) | Q(indexed_at__lt=F("changed_at")))


class Article(models.Model):
    """A text with pictures."""

    slug = models.SlugField("slug", max_length=80, unique=True, help_text="Its name in the address.")
    title = models.CharField("title", max_length=200, help_text="As readers see it.")
    body = models.TextField("body", help_text="Plain text; an empty line begins a paragraph.")
    published_at = models.DateTimeField("published at", null=True, blank=True, help_text="Empty: nobody sees it yet.")
    changed_at = models.DateTimeField("changed at", auto_now=True, help_text="Last change.")
    indexed_at = models.DateTimeField(
        "indexed at", null=True, editable=False, help_text="The change that the full-text index has seen."
    )

    objects = ArticleQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["-published_at"], name="cms_newest")]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("cms:article", args=[self.slug])


class Picture(models.Model):
    """A picture of an article. Files that are no pictures may be uploaded, too: `problem` says what is wrong with them."""

    article = models.ForeignKey(
        Article, models.CASCADE, related_name="pictures", verbose_name="article", help_text="Where it is shown."
    )
    # Not an ImageField: that needs Pillow to start the site, and opens each upload in the web server.
    file = models.FileField("file", upload_to="cms/pictures", help_text="As it was uploaded.")
    caption = models.CharField("caption", max_length=200, blank=True, help_text="Text below the picture.")
    thumbnail = models.FileField("thumbnail", upload_to="cms/thumbnails", editable=False, help_text="Made by a job.")
    width = models.PositiveIntegerField("width", null=True, editable=False, help_text="Pixels of the original.")
    height = models.PositiveIntegerField("height", null=True, editable=False, help_text="Pixels of the original.")
    problem = models.CharField("problem", max_length=200, editable=False, help_text="Why there is no thumbnail.")

    def __str__(self) -> str:
        return self.caption or str(self.file)


class Backup(models.Model):
    """A backup that was verified; one that was not does not get a row."""

    name = models.CharField("name", max_length=40, unique=True, help_text="Name of its folder.")
    made_at = models.DateTimeField("made at", auto_now_add=True, help_text="When it had been verified.")
    database = models.CharField("database", max_length=100, help_text="How the database was copied and restored.")
    rows = models.PositiveBigIntegerField("rows", help_text="Rows in all tables, as counted after restoring.")
    files = models.PositiveIntegerField("files", help_text="Uploaded files in it, each read again.")
    size = models.PositiveBigIntegerField("size", help_text="Bytes on the disk.")

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name

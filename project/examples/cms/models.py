"""Owns what is kept: articles and their pictures."""

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone


class ArticleQuerySet(models.QuerySet["Article"]):
    def published(self) -> "ArticleQuerySet":
        return self.filter(published_at__lte=timezone.now())

    def stale(self) -> "ArticleQuerySet":
        """Those that the index does not know as they are."""
        return self.filter(Q(indexed_at=None) | Q(indexed_at__lt=F("changed_at")))


class Article(models.Model):
    """A text with pictures."""

    slug = models.SlugField(max_length=80, unique=True, help_text="Its name in the address.")
    title = models.CharField(max_length=200, help_text="As readers see it.")
    body = models.TextField(help_text="Plain text; an empty line begins a paragraph.")
    published_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="Empty or later than now: nobody sees it yet."
    )
    changed_at = models.DateTimeField(auto_now=True, help_text="Last change.")
    indexed_at = models.DateTimeField(null=True, editable=False, help_text="The change that the index has seen.")

    objects = ArticleQuerySet.as_manager()

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("cms:article", args=[self.slug])


class Picture(models.Model):
    """A picture of an article, or a file that somebody took for one: then `problem` says what is wrong with it."""

    article = models.ForeignKey(Article, models.CASCADE, related_name="pictures", help_text="Where it is shown.")
    # Not an ImageField: that opens each upload in the web server.
    file = models.FileField(upload_to="cms/pictures", help_text="As it was uploaded.")
    caption = models.CharField(max_length=200, blank=True, help_text="Text below the picture.")
    thumbnail = models.FileField(upload_to="cms/thumbnails", editable=False, help_text="Made by a job.")
    width = models.PositiveIntegerField(null=True, editable=False, help_text="Pixels of the original.")
    height = models.PositiveIntegerField(null=True, editable=False, help_text="Pixels of the original.")
    problem = models.CharField(max_length=200, editable=False, help_text="Why there is no thumbnail.")

    def __str__(self) -> str:
        return self.caption or str(self.file)

"""A site of articles: thumbnails, a full-text index, and backups that have been restored before they are trusted."""

from django.apps import AppConfig


class CmsConfig(AppConfig):
    name = "project.examples.cms"
    verbose_name = "Articles"
    default_auto_field = "django.db.models.BigAutoField"

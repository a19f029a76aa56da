"""A site of articles: thumbnails, a full-text index, and backups that are restored before they are trusted."""

from django.apps import AppConfig


class CmsConfig(AppConfig):
    name = "project.examples.cms"
    verbose_name = "Articles"

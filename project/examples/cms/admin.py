"""Owns the pages on which articles are written, and those that show backups."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from project.examples.cms.background import follow_up
from project.examples.cms.models import Article, Backup, Picture
from project.examples.read_only import ReadOnlyAdmin


class PictureInline(admin.TabularInline):
    model = Picture
    extra = 1
    fields = ["file", "caption", "width", "height", "problem"]
    readonly_fields = ["width", "height", "problem"]


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):
    list_display = ["title", "published_at", "changed_at", "is_indexed"]
    prepopulated_fields = {"slug": ["title"]}
    inlines = [PictureInline]
    ordering = ["-changed_at"]

    @admin.display(boolean=True, description="indexed")
    def is_indexed(self, article: Article) -> bool:
        return article.indexed_at is not None and article.indexed_at >= article.changed_at

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        follow_up(form.instance)


@admin.register(Backup)
class BackupAdmin(ReadOnlyAdmin):
    """Written by the job; its files are deleted by it, too."""

    list_display = ["name", "made_at", "database", "rows", "files", "size"]
    ordering = ["-name"]

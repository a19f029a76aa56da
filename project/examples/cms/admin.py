"""Owns the pages on which articles are written."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from background.admin import BackgroundRuns
from project.examples.cms.background import follow_up
from project.examples.cms.models import Article, Picture


class PictureInline(admin.TabularInline):
    model = Picture
    extra = 1
    readonly_fields = ["width", "height", "problem"]


@admin.register(Article)
class ArticleAdmin(BackgroundRuns, admin.ModelAdmin):
    list_display = ["title", "published_at", "changed_at", "indexed_at"]
    prepopulated_fields = {"slug": ["title"]}
    inlines = [PictureInline]
    ordering = ["-changed_at"]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        follow_up(form.instance)

"""Owns what readers see: the newest articles, a search, and an article."""

from typing import Any

from django.db.models import QuerySet
from django.views.generic import DetailView, ListView

from project.examples.cms import search
from project.examples.cms.models import Article


class Articles(ListView):
    """The newest articles, or those with the words of `?q=`."""

    template_name = "cms/articles.html"
    context_object_name = "articles"

    def get_queryset(self) -> Any:
        words = self.request.GET.get("q", "")[:200]
        return search.find(words) if words.strip() else Article.objects.published().order_by("-published_at")[:20]


class OneArticle(DetailView):
    template_name = "cms/article.html"

    def get_queryset(self) -> QuerySet[Article]:
        return Article.objects.published().prefetch_related("pictures")

"""The addresses of the articles."""

from django.urls import path

from project.examples.cms.views import Articles, OneArticle

app_name = "cms"
urlpatterns = [
    path("", Articles.as_view(), name="articles"),
    path("<slug:slug>/", OneArticle.as_view(), name="article"),
]

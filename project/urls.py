"""The addresses of the site: a small home page, the admin, and the examples' own."""

from pathlib import Path

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("admin/", admin.site.urls),
    path("health/", include("background.web.urls")),
    path("cms/", include("project.examples.cms.urls")),
    path("saas/", include("project.examples.saas.urls")),
    # While developing. Only what the site itself has drawn: uploads may be anything, and runs' files have their permissions.
    *static(f"{settings.MEDIA_URL}cms/thumbnails/", document_root=Path(settings.MEDIA_ROOT) / "cms" / "thumbnails"),
]

"""Own the site's own answers about its background work, for the project's URLconf: one word, and figures for those who may."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from background.attention import Glance
from background.web.metrics import CONTENT_TYPE, is_asked_rightly
from background.web.metrics import metrics as figures

app_name = "background"


@login_not_required  # by probes
@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer that this process serves requests."""
    return HttpResponse("ok", content_type="text/plain")


@login_not_required  # by probes
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer "ok", or "degraded" with 503 where the database is away or no host is alive. Blocks for a query or two."""
    served = is_served()
    return HttpResponse("ok" if served else "degraded", content_type="text/plain", status=200 if served else 503)


def is_served() -> bool:
    """Tell whether some host has given a sign of life within HOST_TIMEOUT. Blocks for a query or two."""
    try:
        return bool(Glance().live)
    except Error:
        return False


@login_not_required  # it asks for a token or a permission itself
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with figures for Prometheus: to who bears METRICS_TOKEN, and to staff who may view runs. Blocks for some queries."""
    user = getattr(request, "user", None)
    asked_rightly = is_asked_rightly(request.headers.get("Authorization", ""))
    if not asked_rightly and not (user is not None and user.is_staff and user.has_perm("background.view_run")):
        return HttpResponse(
            "a token is needed", content_type="text/plain", status=401, headers={"WWW-Authenticate": "Bearer"}
        )
    try:
        return HttpResponse(figures(), content_type=CONTENT_TYPE)
    except Error:
        return HttpResponse("the database is away", content_type="text/plain", status=503)


urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

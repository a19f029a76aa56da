"""Own the site's own answers about its background work, for the project's URLconf: one word, nothing else."""

from __future__ import annotations

from datetime import timedelta

from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from background.conf import get_settings
from background.dialects import dialect
from background.models import Host
from background.scope import database_alias

app_name = "background"


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer that this process serves requests."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer "ok", or "degraded" with 503 where the database is away or no host is alive. Blocks for two queries."""
    served = is_served()
    return HttpResponse("ok" if served else "degraded", content_type="text/plain", status=200 if served else 503)


def is_served() -> bool:
    """Tell whether some host has given a sign of life within HOST_TIMEOUT. Blocks for two queries."""
    try:
        since = dialect().now() - timedelta(seconds=get_settings().host_timeout)
        return Host.objects.using(database_alias()).live().filter(heartbeat_at__gte=since).exists()
    except Error:
        return False


urlpatterns = [path("livez", livez, name="livez"), path("readyz", readyz, name="readyz")]

"""Own the live parts of pages on the server's side: fragments that the script asks for again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers, get_conditional_response
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.http import require_safe

from background.dialects import dialect
from background.exceptions import TookTooLong

# What the script sends, and what it asks for in an answer: anything else is discarded.
ASKS = "X-Background-Live"
ANSWERS = "X-Background-Fragment"
AT = "X-Background-At"  # the time of the figures, on the person's clock

FASTEST, SLOWEST = 2, 300
LONGEST_STATEMENT = 3.0  # seconds


def every(request: HttpRequest, seconds: int) -> int:
    """Return how often the page is refreshed: as `?live=` wishes where that is 2 to 300 seconds, else `seconds`."""
    wish = request.GET.get("live", "")
    if wish.isascii() and wish.isdigit() and len(wish) < 4 and FASTEST <= int(wish) <= SLOWEST:
        return int(wish)
    return seconds


def fragment(site: AdminSite, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return the view as a fragment of the admin: GET only, with an ETag, and never a redirect for the script."""
    inside = site.admin_view(xframe_options_deny(require_safe(partial(_answer, view))))

    @login_not_required  # this view says so itself, by a status that the script understands
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if ASKS in request.headers and not site.has_permission(request):
            return _plain("", status=403 if request.user.is_authenticated else 401)
        return inside(request, *args, **kwargs)

    return answer


def _answer(view: Callable[..., HttpResponse], request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    try:
        with dialect().time_limit(LONGEST_STATEMENT):
            response: Any = view(request, *args, **kwargs)
            if hasattr(response, "render"):
                response.render()  # here, where the limit holds: querysets are lazy
    except TookTooLong:
        return _plain(_("This took too long; choose a smaller window."), status=503)
    etag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    response = get_conditional_response(request, etag=etag, response=response)
    response.headers[ANSWERS], response.headers[AT] = "1", now()
    return response


def _plain(text: str, status: int) -> HttpResponse:
    response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8", headers={ANSWERS: "1"})
    add_never_cache_headers(response)
    return response


def now() -> str:
    """Return the time of day on the person's clock, with the zone's name."""
    local = timezone.localtime()
    return f"{local:%H:%M:%S} {local.tzname()}"

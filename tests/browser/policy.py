"""The strictest policy of what a page may load, as a middleware."""

from django.apps import apps
from django.http import HttpResponse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class StrictPolicy:
    """The policy, except where a theme needs scripts and styles inside the page."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        # A browser asks for it by itself; a site without one would fill the console.
        response = HttpResponse(status=204) if request.path == "/favicon.ico" else self.get_response(request)
        if not apps.is_installed("unfold"):
            response.headers["Content-Security-Policy"] = POLICY
        return response

"""A real Chromium before a real server, under the strictest policy; what the browser complains of fails the test."""

import os
from contextlib import contextmanager

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import Client, override_settings
from django.urls import reverse
from playwright.sync_api import sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.admin.conftest import *  # noqa: F403 - people and rows
from tests.admin.conftest import person
from tests.browser.chromium import CHROMIUM, QUIET


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/browser/" in str(item.path):
            item.add_marker(pytest.mark.django_db(transaction=True))
            if not CHROMIUM:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


# The browser. Scopes are those of this folder, not of the session: while Playwright is there, its event loop runs in the
# main thread, which the tests of other folders could not bear.


@pytest.fixture(scope="package")
def playwright():
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as found:
        yield found
        connections.close_all()  # those that were opened under the loop are others than the thread's
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="package")
def browser(playwright):
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def browser_context_args(site):
    return {"base_url": site.url, "locale": "en-US", "timezone_id": "UTC", "reduced_motion": "reduce"}


@pytest.fixture(scope="package")
def site(django_db_setup):
    """The server, with the policy in its answers."""
    with override_settings(MIDDLEWARE=["tests.browser.policy.StrictPolicy", *django_settings.MIDDLEWARE]):
        server = LiveServer("127.0.0.1")  # reads the middleware while it starts
    yield server
    server.stop()


@pytest.fixture
def complaints():
    """What the browser complained of; a test that provokes a complaint removes it."""
    found = []
    yield found
    assert not found


@pytest.fixture
def sign_in(new_context, site, complaints):
    """Return a page of a browser in which a person with these permissions is signed in (without any: a superuser)."""

    def signed_in(*permissions, name="ana", **options):
        user = person(name, permissions, is_superuser=not permissions)
        client = Client()
        client.force_login(user)
        context = new_context(**options)
        cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value}
        context.add_cookies([{**cookie, "url": site.url}])
        return watched(context.new_page(), complaints)

    return signed_in


def watched(page, complaints):
    """Note the errors of the console (violations of the policy are among them), of scripts, of the server, and dialogs."""
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None
    )
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    return page


@pytest.fixture
def at():
    """Return an address of the room: at("run_change", pk)."""
    return lambda name, *args: reverse(f"admin:background_{name}", args=args)


@contextmanager
def requests_of(page, part="/live/"):
    """Collect the addresses of the requests that a page makes in the block, those with `part` in them."""
    found = []

    def note(request):
        if part in request.url:
            found.append(request.url)

    page.on("request", note)
    yield found
    page.remove_listener("request", note)

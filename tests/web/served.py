"""The applications that the tests have real servers serve: the site, with a host inside."""

import json
import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

import background
from background.web.asgi import with_background

site = get_asgi_application()


options = {"services": [], **json.loads(os.environ.get("BACKGROUND_TEST_INSIDE", "{}"))}

if "unstartable" in options["services"]:

    @background.register
    class Unstartable(background.BackgroundService):
        """Keeps its host from starting."""

        name = "unstartable"

        def on_start(self):
            raise LookupError("no key")

        def execute(self, stop):
            raise AssertionError("never reached")


if "vital" in options["services"]:

    @background.register
    class Vital(background.BackgroundService):
        """Fails after a moment and takes the host with it."""

        name = "vital"
        restart = "stop-host"

        def execute(self, stop):
            stop.wait(0.5)
            raise LookupError("no more")


asgi = with_background(site, **options)
wsgi = get_wsgi_application()


async def with_lifespan(scope, receive, send):
    """An application with a lifespan of its own."""
    assert scope["type"] == "lifespan"
    for word in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{word}"
        print(f"inner {word}", flush=True)
        await send({"type": f"lifespan.{word}.complete"})


around = with_background(with_lifespan, services=[])

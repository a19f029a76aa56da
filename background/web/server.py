"""Own the site's web server as a service of the host: started after the others, and stopped, requests finished, before them."""

from __future__ import annotations

import logging
import socket
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

from background.exceptions import StartFailed
from background.services.base import BackgroundService
from background.stopping import StopToken

# Before the deadline of the stop, time to cut off the requests that are still being answered (seconds).
RESERVE = 0.5

logger = logging.getLogger("background.web")
logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the host says what there is to say


def web_server(host: str, port: int) -> type[BackgroundService]:
    """Return the service class that serves the site on this address; StartFailed without uvicorn."""
    if find_spec("uvicorn") is None:
        raise StartFailed("--serve needs uvicorn: pip install uvicorn.")

    class WebServer(BackgroundService):
        """The site's ASGI application, served by uvicorn inside this host."""

        name = "background.web"
        restart = "stop-host"
        stops_first = True

        def on_start(self) -> None:
            self.socket = bind(host, port)
            uvicorn = import_module("uvicorn")
            config = uvicorn.Config(application(), log_config=None, access_log=False, lifespan="off")
            self.server = uvicorn.Server(config)
            logger.info("site on http://%s:%d", *self.socket.getsockname()[:2])

        async def execute(self, stop: StopToken) -> None:
            def end() -> None:
                left = stop.remaining()
                self.server.config.timeout_graceful_shutdown = None if left is None else max(left - RESERVE, 0.1)
                self.server.should_exit = True

            stop.add_callback(end)
            await self.server.serve(sockets=[self.socket])

        def on_stop(self) -> None:
            self.socket.close()

    return WebServer


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; StartFailed where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)  # from now on nobody is refused, though the first answers wait for the server
    except OSError as error:
        found.close()
        raise StartFailed(
            f"The address {host}:{port} cannot be served: {error.strerror}. Is another server running there?"
        ) from error
    return found


def application() -> Any:
    """Return the site's ASGI application: ASGI_APPLICATION if set, else Django's own; static files included under DEBUG."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    found = import_string(path) if path else get_asgi_application()
    if settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        return ASGIStaticFilesHandler(found)
    return found

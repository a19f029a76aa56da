"""Own the answers to "are you alive, are you ready": one word each, nothing about data. And figures, if asked."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

from django.db import Error

from background.conf import get_settings
from background.engine.base import EngineService
from background.scope import close_connections
from background.stopping import StopToken
from background.web.metrics import CONTENT_TYPE, is_asked_rightly, metrics

logger = logging.getLogger("background.web")


class HostHealth(Protocol):
    def unready(self) -> list[str]: ...
    def stuck(self) -> list[str]: ...


class Answer(NamedTuple):
    status: int
    text: str
    content_type: str = "application/json"


def answer(path: str, authorization: str, host: HostHealth) -> Answer:
    """Return what the health server says on a path. Blocks for the figures only."""
    if path == "/livez":
        stuck = host.stuck()
        return say(503, status="stuck", engine=stuck) if stuck else say(200, status="ok")
    if path == "/readyz":
        reasons = host.unready()
        return say(503, status="not ready", because=reasons) if reasons else say(200, status="ok")
    if path == "/metrics":
        return figures(authorization)
    return say(404, status="not found", known=["/livez", "/readyz", "/metrics"])


def figures(authorization: str) -> Answer:
    """Return the figures: this address is the operator's own, so METRICS_TOKEN is asked for only where it is set."""
    if get_settings().metrics_token and not is_asked_rightly(authorization):
        return say(401, status="a token is needed")
    try:
        return Answer(200, metrics(), CONTENT_TYPE)
    except Error:
        return say(503, status="the database is away")
    finally:
        close_connections()  # of this request's thread


def say(code: int, **body: Any) -> Answer:
    return Answer(code, json.dumps(body))


class Health(EngineService):
    """Answers on an address of its own, for load balancers and orchestrators."""

    stops_late = True

    def __init__(self, host: Any, address: tuple[str, int]) -> None:
        super().__init__(host)
        self.address = address
        self.server: ThreadingHTTPServer | None = None

    def on_start(self) -> None:
        self.server = ThreadingHTTPServer(self.address, handler_for(self.host))  # type: ignore[arg-type]
        self.server.daemon_threads = True
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, name="background-health-http", daemon=True
        ).start()
        logger.info("health on http://%s:%d/readyz", *self.server.server_address[:2])

    def execute(self, stop: StopToken) -> None:
        stop.wait()

    def on_stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


def handler_for(host: HostHealth) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path.partition("?")[0], self.headers.get("Authorization", ""), host)
            content = found.text.encode()
            self.send_response(found.status)
            self.send_header("Content-Type", found.content_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug(format, *args)

    return Handler

"""Own the answers to "are you alive, are you ready": one word each, nothing about data."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from background.engine.base import EngineService
from background.stopping import StopToken

logger = logging.getLogger("background.web")


class HostHealth(Protocol):
    def unready(self) -> list[str]: ...
    def stuck(self) -> list[str]: ...


def answer(path: str, host: HostHealth) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the body for a path of the health server."""
    if path == "/livez":
        stuck = host.stuck()
        return (503, {"status": "stuck", "engine": stuck}) if stuck else (200, {"status": "ok"})
    if path == "/readyz":
        reasons = host.unready()
        return (503, {"status": "not ready", "because": reasons}) if reasons else (200, {"status": "ok"})
    return 404, {"status": "not found", "known": ["/livez", "/readyz"]}


class Health(EngineService):
    """Answers on an address of its own, for load balancers and orchestrators."""

    stops_late = True

    def __init__(self, host: Any, address: tuple[str, int]) -> None:
        super().__init__(host)
        self.address = address
        self.server: ThreadingHTTPServer | None = None

    def on_start(self) -> None:
        self.server = ThreadingHTTPServer(self.address, handler_for(lambda path: answer(path, self.host)))  # type: ignore[arg-type]
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


def handler_for(respond: Callable[[str], tuple[int, dict[str, Any]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = respond(self.path.partition("?")[0])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug(format, *args)

    return Handler

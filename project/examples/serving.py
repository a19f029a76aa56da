"""Owns a small web server inside a service: a system of others whom an example asks over HTTP, so that there is somebody."""

from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse

import background
from background.models import Checkpoint


class OutsideSystem(background.BackgroundService):
    """Answers requests on a port of this machine. The site's addresses and middleware have no part in it."""

    singleton = True

    def answer(self, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError

    @classmethod
    def address(cls) -> str:
        """Return where it answers. Raises Snooze while it was never started: the run comes back later."""
        served = Checkpoint.objects.filter(name=cls.get_name()).first()
        if served is None:
            raise background.Snooze(f"The service {cls.get_name()} has not been started yet.", after=5)
        return f"http://127.0.0.1:{served.data['port']}"

    def on_start(self) -> None:
        port = self.checkpoint.get("port", 0)
        try:
            self.server = make_server("127.0.0.1", port, self.application, handler_class=Quiet)
        except OSError:  # somebody else has it by now
            self.server = make_server("127.0.0.1", 0, self.application, handler_class=Quiet)
        self.server.timeout = 0.5
        self.checkpoint.set(port=self.server.server_port)

    def execute(self, stop: background.StopToken) -> None:
        while not stop.requested:
            self.server.handle_request()

    def on_stop(self) -> None:
        if hasattr(self, "server"):
            self.server.server_close()

    def application(self, environ, start_response):  # type: ignore[no-untyped-def]
        with self.scope():
            response = self.answer(WSGIRequest(environ))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]


class Quiet(WSGIRequestHandler):
    timeout = 5  # seconds that a silent client may take

    def log_message(self, *args: object) -> None:
        pass

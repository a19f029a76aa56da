"""The examples' outside systems, answering without a host."""

import threading
from contextlib import contextmanager
from wsgiref.simple_server import make_server

from django.db import connection

from project.examples.serving import Quiet


@contextmanager
def answering(service):
    """Let a service of the examples answer in a thread of its own; yields the address."""
    over = threading.Event()
    server = make_server("127.0.0.1", 0, service().application, handler_class=Quiet)
    server.timeout = 0.02

    def serve():
        while not over.is_set():
            server.handle_request()
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        thread.join()
        server.server_close()

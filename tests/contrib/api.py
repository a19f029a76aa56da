"""A real HTTP server for tests: a paged list of items, and whatever answer a test wants first."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Api:
    """The items of a warehouse by id, so many to a page; `first` are answers that are given before: (status, headers, body)."""

    def __init__(self, items, size=3):
        self.items, self.size = items, size
        self.etag = ""
        self.first = []
        self.asked = []  # (path with query, headers) of each request
        self.on_request = lambda path: None

    def answer(self, path, headers):
        self.asked.append((path, dict(headers)))
        self.on_request(path)
        if self.first:
            return self.first.pop(0)
        if self.etag and headers.get("If-None-Match") == self.etag:
            return 304, {}, ""
        start = int(parse_qs(urlsplit(path).query).get("after", ["0"])[0])
        items = [{"id": key, **values} for key, values in list(self.items.items())[start : start + self.size]]
        more = start + self.size < len(self.items)
        body = {
            "count": len(self.items),
            "results": items,
            "next": f"/stock?after={start + self.size}" if more else None,
        }
        return 200, {"ETag": self.etag} if self.etag else {}, body

    @property
    def paths(self):
        return [path for path, _ in self.asked]


@contextmanager
def serving(api):
    """Serve an `Api` on a free port; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = api.answer(self.path, self.headers)
            content = (
                body
                if isinstance(body, bytes)
                else body.encode()
                if isinstance(body, str)
                else json.dumps(body).encode()
            )
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
                if value is not None:
                    self.send_header(name, str(value))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:  # who asked has gone
                pass

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stock"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

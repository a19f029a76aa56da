"""A real web server for tests: it notes what it is asked, and answers what a test wants."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Listener:
    """`asked` are (method, path, body); `statuses` are used up one by one, then it is 200."""

    def __init__(self):
        self.asked, self.statuses, self.body = [], [], b"hello"


@contextmanager
def listening():
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            listener.asked.append((self.command, self.path, body))
            self.send_response(listener.statuses.pop(0) if listener.statuses else 200)
            self.end_headers()
            self.wfile.write(listener.body)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    listener.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

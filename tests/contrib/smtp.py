"""A real SMTP server for tests: it takes mail, or answers what a test wants."""

import email
import socket
from contextlib import contextmanager
from email import policy

import django
from aiosmtpd.controller import Controller


class Server:
    """`answers` are used up one by one; then it takes everything."""

    def __init__(self, port):
        self.port = port
        self.received, self.answers, self.asked = [], [], 0

    async def handle_DATA(self, server, session, envelope):
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer == "drop":
            server.transport.abort()
            return "421 gone"
        if answer.startswith("250"):
            self.received.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return answer

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "unknown" in address:
            return "550 no such mailbox"
        if "full" in address:
            return "452 mailbox is full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def messages(self):  # no property: aiosmtpd looks at all of them for each connection
        return [email.message_from_bytes(content, policy=policy.default) for _, _, content in self.received]


@contextmanager
def smtp_server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(port)
    controller = Controller(server, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def delivered_by(port):
    """The settings of a site that queues its mail and has this server deliver it."""
    queue, smtp = "background.contrib.mail.QueuedEmailBackend", {"host": "127.0.0.1", "port": port, "timeout": 10}
    if django.VERSION < (6, 1):
        return {"EMAIL_BACKEND": queue, **{f"EMAIL_{name.upper()}": value for name, value in smtp.items()}}
    return {
        "MAILERS": {
            "default": {"BACKEND": queue, "OPTIONS": {"using": "smtp"}},
            "smtp": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": smtp},
        }
    }

"""Mail that is queued in the caller's transaction and delivered to a real SMTP server, whatever that answers."""

import json
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from email.mime.application import MIMEApplication

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from background.contrib.mail import tasks
from background.contrib.mail.backend import QueuedEmailBackend
from background.contrib.mail.models import Message
from background.models import Run
from background.testing import drain
from tests.contrib.smtp import delivered_by, smtp_server
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def smtp(settings):
    with smtp_server() as server:
        for name, value in delivered_by(server.port).items():
            setattr(settings, name, value)
        yield server


def write(to="ana@example.org", **values):
    message = EmailMessage("Hello", "Dear Ana", "shop@example.org", [to], **values)
    assert message.send() == 1
    return Message.objects.get()


def later():
    return timezone.now() + timedelta(days=1)


def test_a_message_is_queued_and_delivered_by_a_run(smtp):
    row = write()
    assert smtp.received == [] and row.state == "waiting"

    (run,) = drain()

    assert (run.status, run.queue, run.pk) == ("succeeded", "mail", row.run_id)
    ((sender, recipients, _),) = smtp.received
    assert (sender, recipients) == ("shop@example.org", ["ana@example.org"])
    assert smtp.messages()[0]["Subject"] == "Hello" and smtp.messages()[0].get_content().strip() == "Dear Ana"
    assert Message.objects.get().state == "sent"


def test_everything_that_a_message_has_arrives(smtp):
    message = EmailMultiAlternatives(
        "Ünïcode", "text", "shop@example.org", ["ana@example.org"], bcc=["boss@example.org"], cc=["bob@example.org"],
        reply_to=["help@example.org"], headers={"X-Order": "5531"},
    )  # fmt: skip
    message.attach_alternative("<p>text</p>", "text/html")
    message.attach("data.bin", bytes(range(256)), "application/octet-stream")
    message.attach("note.txt", "grüße", "text/plain")
    message.attach(MIMEApplication(b"%PDF", "pdf"))
    message.attach(
        "forwarded.eml", EmailMessage("Inner", "inside", "a@example.org", ["b@example.org"]), "message/rfc822"
    )
    message.send()

    drain()

    ((_, recipients, _),) = smtp.received
    assert recipients == ["ana@example.org", "bob@example.org", "boss@example.org"]
    (got,) = smtp.messages()
    assert (got["Subject"], got["X-Order"], got["Reply-To"], got["Bcc"]) == (
        "Ünïcode",
        "5531",
        "help@example.org",
        None,
    )
    parts = {part.get_filename() or part.get_content_type(): part for part in got.walk()}
    assert parts["text/html"].get_content().strip() == "<p>text</p>"
    assert parts["data.bin"].get_content() == bytes(range(256))
    assert parts["note.txt"].get_content().strip() == "grüße"
    assert parts["application/pdf"].get_content() == b"%PDF"
    assert "Inner" in str(got)


def test_a_message_exists_only_if_its_transaction_commits(smtp):
    with pytest.raises(LookupError), transaction.atomic():
        write()
        raise LookupError
    assert not Message.objects.exists() and not Run.objects.exists()


@pytest.mark.parametrize("answer", ["451 try again later", "421 too busy", "drop"])
def test_what_may_pass_is_tried_again(smtp, answer):
    smtp.answers = [answer]
    write()

    (run,) = drain()
    assert (run.status, run.attempt) == ("scheduled", 1)
    (run,) = drain(now=later())

    assert (run.status, run.attempt, len(smtp.received)) == ("succeeded", 2, 1)


def test_a_mailbox_that_is_full_is_tried_again(smtp):
    write("full@example.org")
    assert [run.status for run in drain()] == ["scheduled"]


@pytest.mark.parametrize("to", ["unknown@example.org", "ana@example.org"])
def test_what_is_refused_for_good_is_a_dead_letter_after_one_attempt(smtp, to):
    smtp.answers = ["554 spam"]
    row = write(to)

    (run,) = drain()

    assert (run.status, run.attempt) == ("failed", 1)
    assert "550" in run.end_reason or "554" in run.end_reason
    assert list(Message.objects.failed()) == [row] and not Message.objects.waiting()


def test_each_attempt_bears_the_same_message_id(smtp):
    row = write()
    drain()
    Message.objects.update(sent_at=None)  # as if the host had died right after the server took it
    row.run.again()
    drain()
    assert len({message["Message-ID"] for message in smtp.messages()}) == 1 and len(smtp.messages()) == 2


def test_what_was_sent_is_not_sent_again(smtp):
    row = write()
    drain()
    row.refresh_from_db()
    row.run.again()
    (run,) = drain()
    assert (run.result, len(smtp.received)) == ("sent before", 1)


def test_the_rate_holds_back_what_is_too_much_for_a_minute_and_burns_no_attempt(smtp, settings):
    settings.BACKGROUND = {"MAIL": {"RATE": 2}}
    for number in range(3):
        EmailMessage(f"Hello {number}", "", "shop@example.org", ["ana@example.org"]).send()

    runs = drain()

    assert sorted(run.status for run in runs) == ["scheduled", "succeeded", "succeeded"]
    (held,) = [run for run in runs if run.status == "scheduled"]
    assert held.attempt == 0 and timezone.now() < held.run_after < timezone.now() + timedelta(seconds=61)
    Message.objects.update(begun_at=timezone.now() - timedelta(minutes=2))
    drain(now=later())
    assert len(smtp.received) == 3


def test_a_queue_that_would_deliver_to_itself_is_refused(settings, smtp):
    if hasattr(mail, "mailers"):
        settings.MAILERS = {
            **settings.MAILERS,
            "default": {**settings.MAILERS["default"], "OPTIONS": {"using": "default"}},
        }
    else:
        settings.BACKGROUND = {"MAIL": {"BACKEND": "background.contrib.mail.QueuedEmailBackend"}}
    write()
    (run,) = drain()
    assert run.status == "failed" and "the queue itself" in run.end_reason


def test_old_messages_are_pruned_and_those_that_wait_are_kept(smtp):
    for number in range(3):
        EmailMessage(f"Hello {number}", "", "shop@example.org", ["ana@example.org"]).send()
    long_ago = timezone.now() - timedelta(days=31)
    sent, dead, waiting = Message.objects.order_by("id")
    Message.objects.filter(pk=sent.pk).update(sent_at=long_ago, created_at=long_ago)
    Message.objects.filter(pk=dead.pk).update(run=None, created_at=long_ago)
    Message.objects.filter(pk=waiting.pk).update(created_at=long_ago)

    assert tasks.prune.func() == 2
    assert list(Message.objects.all()) == [waiting]


@pytest.mark.django_db(transaction=True)
def test_several_threads_keep_the_rate_together(smtp, settings):
    settings.BACKGROUND = {"MAIL": {"RATE": 3}}
    rows = [Message.objects.create(from_email="a@example.org", to=["b@example.org"]) for _ in range(8)]
    turns = []

    def take(row):
        try:
            tasks.wait_for_turn(row)
            turns.append(row)
        except tasks.Snooze:
            pass
        finally:
            tasks.transaction.get_connection().close()

    threads = [threading.Thread(target=take, args=[row]) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 3


@contextmanager
def signed_in(client, *permissions):
    user = User.objects.create_user("ana", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    yield client


def test_a_dead_letter_is_sent_again_from_the_admin(client, smtp):
    smtp.answers = ["554 spam"]
    row = write()
    drain()
    page = reverse("admin:background_mail_message_changelist")
    post = {"action": "send_again", "_selected_action": [row.pk]}
    with signed_in(client, "view_message", "resend_message"):
        assert "Hello" in client.get(page + "?state=failed").content.decode()
        assert client.get(reverse("admin:background_mail_message_change", args=[row.pk])).status_code == 200
        assert "1 message is queued again" in client.post(page, post, follow=True).content.decode()
    drain()
    assert len(smtp.received) == 1


def test_without_the_permission_nothing_is_sent_again(client, smtp):
    smtp.answers = ["554 spam"]
    row = write()
    drain()
    with signed_in(client, "view_message"):
        client.post(
            reverse("admin:background_mail_message_changelist"), {"action": "send_again", "_selected_action": [row.pk]}
        )
    assert Run.objects.count() == 1


def test_nothing_is_queued_for_nobody(smtp):
    assert QueuedEmailBackend().send_messages([EmailMessage("Hello", "", "a@example.org", [])]) == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_over_kills_no_message_is_missing_and_each_kill_repeats_one_at_most(smtp):
    count, kills = 400, 3
    QueuedEmailBackend(using="smtp" if hasattr(mail, "mailers") else "").send_messages(
        EmailMessage(f"Hello {number}", "Dear Ana", "shop@example.org", ["ana@example.org"]) for number in range(count)
    )

    def host():
        return Process(
            "runbackground", "--no-services", "--no-reload", "--no-scheduler", "--queues", "mail",
            DJANGO_SETTINGS_MODULE="tests.contrib.mailing", SMTP_PORT=str(smtp.port),
            BACKGROUND_TEST_SETTINGS=json.dumps({"HEARTBEAT_INTERVAL": 0.5, "HOST_TIMEOUT": 3, "MAX_LOST": kills + 2}),
        )  # fmt: skip

    for _ in range(kills):
        before = len(smtp.received)
        with host() as process:
            wait_until(lambda before=before: len(smtp.received) >= before + 20, timeout=60)
            time.sleep(random.uniform(0, 0.1))  # anywhere in the midst of its work
            process.send(signal.SIGKILL)
            process.wait()
    assert len(smtp.received) < count  # it was in the midst of the batch
    with host() as process:
        wait_until(lambda: not Message.objects.waiting().exists(), timeout=120)
        assert process.stop() == 0, process.output

    assert Message.objects.sent().count() == count
    copies = Counter(message["Subject"] for message in smtp.messages())
    assert set(copies) == {f"Hello {number}" for number in range(count)}
    assert sum(copies.values()) - count <= kills and max(copies.values()) <= 2
    assert len({message["Message-ID"] for message in smtp.messages()}) == count

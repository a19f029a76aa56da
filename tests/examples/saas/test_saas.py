"""What the service for subscribers meters, ends, reports and hands out, and to whom."""

import csv
import io
from datetime import date, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone

from background import Backoff
from background.contrib.mail.models import Message
from background.models import Artifact, Job, Run, Service
from background.testing import run_host
from project.examples.saas import background as saas
from project.examples.saas.models import Account, Usage

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def own_places(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)
    while len(saas.Meter.channel):
        saas.Meter.channel.get(timeout=0)


@pytest.fixture
def ana():
    return User.objects.create_user("ana", email="ana@example.org")


@pytest.fixture
def make(ana):
    def make_account(name="Acorn", owner=ana, **values):
        return Account.objects.create(name=name, owner=owner, **values)

    return make_account


def use(account, amount=1, metric="API calls", day=date(2027, 1, 15)):
    return Usage.objects.create(account=account, metric=metric, day=day, amount=amount)


def used():
    return {(one.account.name, one.metric): one.amount for one in Usage.objects.select_related("account")}


def subjects():
    return [message.subject for message in mail.outbox]


# Metering


@pytest.mark.django_db(transaction=True)
def test_what_is_used_is_added_up_per_account_metric_and_day(make):
    one, other = make("one"), make("other")
    gone = Account(pk=other.pk + 1000)
    for _ in range(2):  # a second host adds to what the first has written
        with run_host(saas.Meter):
            for number in range(10):
                saas.meter(one, "API calls", number)
                saas.meter(other, "pages")
                saas.meter(gone, "pages")
    assert used() == {("one", "API calls"): 90, ("other", "pages"): 20}
    assert Usage.objects.first().day == timezone.localdate()


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_tried_again_counts_nothing_twice(make):
    failures = []

    class Meter(saas.Meter):
        name = "meter"
        retry = Backoff(0.01, 0.01)

        def consume(self, items, scope):
            with saas.transaction.atomic():
                super().consume(items, scope)
                if not failures:
                    failures.append(len(items))
                    raise ValueError("once")

    account = make()
    with run_host(Meter):
        Meter.put(saas.Used(account.pk, "pages", date(2027, 1, 15), 7))
    assert failures == [1] and used() == {("Acorn", "pages"): 7}


# Trials


def test_owners_are_reminded_once_and_trials_that_are_over_end_with_a_mail(make, drain):
    now = timezone.now()
    for name, days in (("later", 10), ("soon", 2), ("over", -1)):
        make(name, trial_ends_at=now + days * DAY)
    make("paid", plan="paid", trial_ends_at=now - DAY)
    for _ in range(2):
        saas.end_trials.enqueue()
    first, second = drain()

    assert (first.result, second.result) == ({"reminded": 1, "ended": 1}, {"reminded": 0, "ended": 0})
    assert subjects() == ["soon: your trial ends soon", "over: your trial is over"]
    assert mail.outbox[0].to == ["ana@example.org"]
    assert dict(Account.objects.values_list("name", "plan")) == {
        "later": "trial", "soon": "trial", "over": "expired", "paid": "paid",
    }  # fmt: skip


def test_who_pays_at_the_last_moment_keeps_the_account(make):
    for name in ("first", "second"):
        make(name, trial_ends_at=timezone.now() - DAY)

    def end_and_let_the_others_pay(account):
        saas.end(account)
        Account.objects.exclude(pk=account.pk).update(plan="paid")

    trials = Account.objects.filter(plan="trial").order_by("name")
    assert saas.each(trials, end_and_let_the_others_pay) == 1
    assert dict(Account.objects.values_list("name", "plan")) == {"first": "expired", "second": "paid"}


def test_no_trial_ends_without_its_mail(make, drain):
    account = make("two\nlines", trial_ends_at=timezone.now() - DAY)  # no subject of a mail
    saas.end_trials.enqueue()
    (run,) = drain()
    account.refresh_from_db()
    assert (run.status, account.plan, mail.outbox) == ("failed", "trial", [])


def test_the_mail_is_queued_with_the_change_and_delivered_by_a_run(make, drain, settings):
    memory = "django.core.mail.backends.locmem.EmailBackend"
    if hasattr(mail, "mailers"):
        settings.MAILERS = {
            "default": {"BACKEND": "background.contrib.mail.QueuedEmailBackend", "OPTIONS": {"using": "memory"}},
            "memory": {"BACKEND": memory},
        }
    else:
        settings.EMAIL_BACKEND = "background.contrib.mail.QueuedEmailBackend"
        settings.BACKGROUND = {"MAIL": {"BACKEND": memory}}
    make(trial_ends_at=timezone.now() - DAY)
    saas.end_trials.call()
    assert Message.objects.get().state == "waiting" and mail.outbox == []
    drain()
    assert subjects() == ["Acorn: your trial is over"]


# Reports


def rows_of(run):
    with run.artifacts.get().file.open() as file:
        return list(csv.reader(io.StringIO(file.read().decode("utf-8-sig"))))


def test_the_monthly_report_sums_what_was_used_in_that_month(make, drain):
    acorn, birch = make("Acorn"), make("Birch", plan="paid")
    for account, amount, day in (
        (acorn, 1, date(2026, 12, 31)), (acorn, 2, date(2027, 1, 1)), (acorn, 3, date(2027, 1, 31)),
        (birch, 4, date(2027, 1, 15)), (birch, 5, date(2027, 2, 1)),
    ):  # fmt: skip
        use(account, amount, day=day)
    saas.monthly_usage.enqueue(month="2027-01")
    (run,) = drain()
    assert rows_of(run) == [
        ["account__name", "account__plan", "metric", "total"],
        ["Acorn", "trial", "API calls", "5"],
        ["Birch", "paid", "API calls", "4"],
    ]
    assert mail.outbox[0].to == ["billing@example.com"]


def test_by_default_the_report_is_about_the_last_month(make, drain):
    this_month = timezone.localdate().replace(day=1)
    use(make(), 1, day=this_month)
    use(Account.objects.get(), 2, day=this_month - DAY)
    saas.monthly_usage.enqueue()
    (run,) = drain()
    assert rows_of(run)[1:] == [["Acorn", "trial", "API calls", "2"]]


# Exports


def export(account, drain):
    saas.ask_for_export(account)
    (run,) = drain()
    assert run.status == "succeeded", run.errors
    return run


def test_an_export_holds_what_is_kept_of_one_account_and_shows_its_progress(make, drain):
    account = make(plan="paid")
    use(account, 3)
    use(account, 4, "pages")
    use(make("Birch"), 9)

    run = export(account, drain)

    assert (run.subject, run.progress_done, run.progress_total) == (f"saas.account:{account.pk}", 2, 2)
    head, *lines = rows_of(run)
    assert head[:2] == ["account__name", "account__plan"]
    assert lines == [
        ["Acorn", "paid", "", "ana@example.org", "2027-01-15", "API calls", "3"],
        ["Acorn", "paid", "", "ana@example.org", "2027-01-15", "pages", "4"],
    ]
    assert subjects() == ["Acorn: your data is ready"]


def test_while_an_export_is_open_no_second_one_is_made(make):
    account, other = make(), make("Birch")
    for one in (account, account, other):
        saas.ask_for_export(one)
    assert Run.objects.count() == 2


def test_an_account_that_is_gone_is_not_exported_and_not_tried_again(drain):
    saas.export_data.enqueue(4711)
    (run,) = drain()
    assert (run.status, run.attempt) == ("failed", 1) and "The account is gone." in run.end_reason


def test_owners_see_and_export_their_own_accounts_only(client, make, drain, ana):
    account, foreign = make(), make("Birch", owner=User.objects.create_user("bob"))
    use(account, 5, day=timezone.localdate())
    pages = reverse("saas:accounts")
    assert client.get(pages).status_code == 302  # to the login
    client.force_login(ana)

    assert client.get(reverse("saas:export", args=[account.pk])).status_code == 405
    assert client.post(reverse("saas:export", args=[foreign.pk])).status_code == 404
    client.post(reverse("saas:export", args=[account.pk]))
    drain()

    page = client.get(pages).content.decode()
    assert "Acorn: Trial" in page and "5 API calls" in page and "Birch" not in page
    assert reverse("saas:download", args=[account.pk, Artifact.objects.get().pk]) in page


def test_a_file_is_handed_out_to_its_owner_and_to_those_with_the_permission(client, make, drain, ana):
    account = make()
    run = export(account, drain)
    file = reverse("saas:download", args=[account.pk, run.artifacts.get().pk])
    bob = User.objects.create_user("bob")
    make("Birch", owner=bob)

    assert client.get(file).status_code == 302
    client.force_login(bob)
    assert client.get(file).status_code == 404
    client.force_login(ana)
    answer = client.get(file)
    assert answer["Content-Disposition"].startswith('attachment; filename="acorn-')
    assert b"account__name" in b"".join(answer.streaming_content)
    bob.user_permissions.add(Permission.objects.get(codename="export_account"))
    client.force_login(User.objects.get(pk=bob.pk))
    assert client.get(file).status_code == 200


def test_files_of_other_runs_are_not_handed_out(client, make, ana):
    account = make()
    run = Run.objects.get(pk=saas.monthly_usage.enqueue().id)
    file = Artifact.objects.create(run=run, name="x", file=ContentFile(b"x", "x"), content_type="text/csv", size=1)
    client.force_login(ana)
    assert client.get(reverse("saas:download", args=[account.pk, file.pk])).status_code == 404


def test_the_admin_shows_accounts_with_their_runs_and_usage_for_reading(admin_client, make):
    account = make()
    use(account)
    saas.ask_for_export(account)
    page = admin_client.get(reverse("admin:saas_account_change", args=[account.pk])).content.decode()
    assert Run.objects.get().short_id in page and "saas.export_data" in page
    assert b"API calls" in admin_client.get(reverse("admin:saas_usage_changelist")).content
    assert admin_client.get(reverse("admin:saas_usage_add")).status_code == 403


# The fresh site


@pytest.mark.django_db(transaction=True)
def test_a_fresh_site_is_used_reported_and_exported_once(settings):
    settings.EXAMPLES_SEED = True
    visitors = type("Visitors", (saas.Visitors,), {"name": "saas.Visitors", "pace": 0.01})
    asked = Run.objects.filter(job_name__in=["saas.export_data", "saas.monthly_usage"])
    for lives in (1, 2):
        with run_host(saas.Meter, visitors) as host:
            host.wait_for(
                lambda lives=lives: Service.objects.filter(name="saas.Visitors", state="stopped").count() == lives
            )
            host.wait_for(lambda: asked.filter(status="succeeded").count() == asked.count())
    assert asked.count() == 2
    assert Account.objects.count() == 5 and Usage.objects.exists()


def test_each_job_has_a_row_with_its_schedule():
    rows = dict(Job.objects.filter(name__startswith="saas.").values_list("name", "schedule"))
    assert rows == {"saas.end_trials": "every 30s", "saas.monthly_usage": "0 6 1 * *", "saas.export_data": ""}

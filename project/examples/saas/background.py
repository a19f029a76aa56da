"""Declares what runs in the background: the meter, the end of trials, the monthly report, exports, and sample visitors."""

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import F, Sum
from django.utils import timezone
from django.utils.text import slugify

import background
from background import every
from background.contrib.consumer import ConsumerService
from background.contrib.reports import report, write
from project.examples.saas import samples
from project.examples.saas.models import Account, Usage
from project.examples.seeding import Seed


class Used(NamedTuple):
    account: int
    metric: str
    day: date
    amount: int


@background.register
class Meter(ConsumerService[Used]):
    """Add up what is used, and write it down in batches: a thousand calls are a few statements."""

    batch_size = 1000
    batch_seconds = 2
    when_full = "drop-oldest"  # the site does not wait for its meter

    def consume(self, items: list[Used], scope: background.Scope) -> None:
        sums: Counter[tuple[int, str, date]] = Counter()
        for one in items:
            sums[one.account, one.metric, one.day] += one.amount
        with transaction.atomic():  # all or nothing: a batch that is tried again counts nothing twice
            known = set(Account.objects.filter(pk__in={key[0] for key in sums}).values_list("pk", flat=True))
            for (account, metric, day), amount in sorted(sums.items()):
                if account in known:
                    Usage.objects.update_or_create(
                        account_id=account, metric=metric, day=day,
                        defaults={"amount": F("amount") + amount}, create_defaults={"amount": amount},
                    )  # fmt: skip


def meter(account: Account, metric: str, amount: int = 1) -> None:
    """Note that something was used. Does not block, and is lost where no host works in this process."""
    Meter.put(Used(account.pk, metric, timezone.localdate(), amount))


@background.job(every(seconds=30), retain="100 runs")
def end_trials(days: int = 3) -> dict[str, int]:
    """Remind owners some days before their trial ends, and end the trials that are over; each once."""
    now = timezone.now()
    trials = Account.objects.filter(plan=Account.Plan.TRIAL)
    soon = trials.filter(trial_ends_at__range=(now, now + timedelta(days=days)), reminded_at=None)
    return {"reminded": each(soon, remind), "ended": each(trials.filter(trial_ends_at__lt=now), end)}


def each(accounts: Any, change: Any) -> int:
    """Change each account together with its mail, if it is still one of these when it is locked; return how many."""
    done = 0
    for pk in list(accounts.values_list("pk", flat=True)):
        with transaction.atomic():
            account = accounts.select_for_update().filter(pk=pk).first()
            if account is not None:
                change(account)
                account.save()
                done += 1
    return done


def remind(account: Account) -> None:
    account.reminded_at = timezone.now()
    account.tell("your trial ends soon", f"It ends on {timezone.localtime(account.trial_ends_at):%Y-%m-%d %H:%M %Z}.")


def end(account: Account) -> None:
    account.plan = Account.Plan.EXPIRED
    account.tell("your trial is over", "Your data is kept, and you can take it away at any time.")


@report("0 6 1 * *", mail_to=["billing@example.com"], retain="24 runs", permission="saas.view_usage")
def monthly_usage(month: str = "") -> Any:
    """What each account has used in a month, such as 2027-01; by default in the last one."""
    last = timezone.localdate().replace(day=1) - timedelta(days=1)
    first = date.fromisoformat(f"{month}-01") if month else last.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    rows = Usage.objects.filter(day__gte=first, day__lt=following)
    columns = rows.values_list("account__name", "account__plan", "metric")
    return columns.annotate(total=Sum("amount")).order_by("account__name", "metric")


@background.job(
    takes_context=True,
    unique="saas.export:{account}",
    permission="saas.export_account",
    timeout=3600,
    max_attempts=3,
    retain=7,
)
def export_data(context: background.RunContext, account: int) -> dict[str, Any]:
    """Write all that is kept of an account into a file, and tell its owner."""
    row = Account.objects.filter(pk=account).first()
    if row is None:
        raise background.Discard("The account is gone.")
    kept = row.usage.values_list(
        "account__name", "account__plan", "account__trial_ends_at", "account__owner__email", "day", "metric", "amount"
    )
    name = f"{slugify(row.name)}-{timezone.localdate()}.csv"
    written = write(context, kept.order_by("day", "metric"), name, "csv")
    row.tell("your data is ready", f"{name} can be downloaded for a week.")
    return written


def ask_for_export(account: Account) -> None:
    """Enqueue an export that can be found by its account; while one is open, no second one is made."""
    with background.about(account):
        export_data.enqueue(account.pk)


@background.register
class Visitors(Seed):
    """Open sample accounts on a fresh site and use them for a while, then ask for a report and an export, and end."""

    depends_on = ("saas.Meter",)

    def steps(self) -> list[Callable[[], object]]:
        return [samples.open_accounts, *[self.visit] * 10, self.ask]

    def visit(self) -> None:
        for _ in range(30):
            meter(*samples.usage())

    def ask(self) -> None:
        monthly_usage.enqueue(month=f"{timezone.localdate():%Y-%m}")
        ask_for_export(Account.objects.get(name="Acorn"))

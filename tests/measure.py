"""Measure the pages of runs over what `tests.seed` wrote: `python -m tests.measure` tells queries, CPU and SQL time of each."""

import os
import re
import time
from urllib.parse import urlencode

SEARCHES = [
    "", "state:failed", "state:succeeded", "state:ready", "state:running", "state:open", "queue:mail", "queue:default", "job:seed.job-03",
    "job:job-03 state:failed", "error:TimeoutError", "trigger:manual", "by:ana", "host:web-1", "took>60", "took>100000", "id:abcd1234",
    "arg.region:EU", "arg.region:nowhere", "state:failed by:nobody", "job:task_3",
]  # fmt: skip


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse
    from django.utils import timezone

    from background.models import Run

    client = Client(headers={"host": "localhost", "x-forwarded-proto": "https"})
    client.force_login(User.objects.get(username="seed"))
    listing, around = (
        reverse("admin:background_run_changelist"),
        f"{timezone.now().date() - timezone.timedelta(days=9)}",
    )
    pages = [f"{listing}?{urlencode({'q': words, 'window': '31d'})}" for words in SEARCHES]
    pages += [listing, f"{listing}?until={around}", f"{listing}?until={around}&trigger=manual"]
    told = Run.objects.filter(logs__isnull=False).first()
    others = [
        told,
        *(Run.objects.filter(status=state).order_by("-id").first() for state in ("failed", "ready", "running")),
    ]
    pages += [reverse("admin:background_run_change", args=[run.pk]) for run in others if run]
    for page in pages:
        report(client, page)
    walk(client, listing)


def walk(client, page: str) -> None:
    """Walk fifty pages back."""
    times, address = [], page
    for _ in range(50):
        start = time.perf_counter()
        answer = client.get(page, secure=True)
        times.append(time.perf_counter() - start)
        page = address + re.search(r'<a href="([^"]+)" rel="next">', answer.content.decode())[1].replace("&amp;", "&")
    print(f"50 × Older: median {sorted(times)[25] * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms")


def report(client, page: str) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(page, secure=True)  # warm
    taken = []
    for _ in range(3):
        start = time.process_time()
        answer = client.get(page, secure=True)
        taken.append(time.process_time() - start)
    with CaptureQueriesContext(connection) as queries:
        client.get(page, secure=True)
    sql = sum(float(one["time"]) for one in queries)
    print(
        f"{min(taken) * 1000:6.0f} ms CPU  {sql * 1000:5.0f} ms SQL  {len(queries):2} queries  {answer.status_code}  {page}"
    )


if __name__ == "__main__":
    main()

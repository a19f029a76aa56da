"""
Measure the admin over what `tests.seed` wrote: `python -m tests.measure` tells queries, CPU and SQL time of the pages of runs.

`python -m tests.measure --browser [WORD…]` loads every page, or those with a word in their address, in Chromium from uvicorn
without DEBUG. It tells the server's and the browser's time of each (the least of four visits) and its queries, of which none
may count without a bound or pass over rows. Measure on a machine at rest.
"""

import os
import re
import subprocess
import sys
import time
from urllib.parse import urlencode

SEARCHES = [
    "", "state:failed", "state:succeeded", "state:ready", "state:running", "state:open", "queue:mail", "queue:default", "job:seed.job-03",
    "job:job-03 state:failed", "error:TimeoutError", "trigger:manual", "by:ana", "host:web-1", "took>60", "took>100000", "id:abcd1234",
    "arg.region:EU", "arg.region:nowhere", "state:failed by:nobody", "job:task_3",
]  # fmt: skip
# What a page may take, in milliseconds.
SERVER, BROWSER = 150, 1000
UNBOUNDED = re.compile(r"OFFSET [1-9]|COUNT\((?!.*LIMIT ).*background_run\W(?!.*LIMIT )", re.IGNORECASE | re.DOTALL)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse
    from django.utils import timezone

    client = Client(headers={"host": "localhost", "x-forwarded-proto": "https"})
    client.force_login(User.objects.get(username="seed"))
    listing, around = (
        reverse("admin:background_run_changelist"),
        f"{timezone.now().date() - timezone.timedelta(days=9)}",
    )
    pages = [f"{listing}?{urlencode({'q': words, 'window': '31d'})}" for words in SEARCHES]
    pages += [listing, f"{listing}?until={around}", f"{listing}?until={around}&trigger=manual"]
    if "--browser" in sys.argv:
        words = sys.argv[sys.argv.index("--browser") + 1 :]
        chosen = [one for one in [*pages, *every_page()] if not words or any(word in one for word in words)]
        in_browser(client.cookies["sessionid"].value, chosen, listing)
        return
    for page in [*pages, *(one for one in every_page() if one.startswith(listing))]:
        report(client, page)
    walk(client, listing)


def every_page() -> list[str]:
    """Return the address of every page of the room, with rows of the seed in them."""
    from background.models import Host, Job, Queue, Run, Service
    from tests.browser.pictures import places

    told = Run.objects.filter(logs__isnull=False).first()
    latest = {
        state: Run.objects.filter(status=state).order_by("-id").first() for state in ("failed", "ready", "running")
    }
    rows = {"run": {"told": told, **{state: run for state, run in latest.items() if run}}}
    for model in (Host, Job, Queue, Service):
        rows[model._meta.model_name] = {
            "first": model.objects.filter(name__startswith="seed").first() or model.objects.first()
        }
    return [where for _name, where in places(rows)]


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


# In the browser: a server of our own says in a header of each answer how long it took.


class Clock:
    """Tell the time and the queries of a request by `Server-Timing`; print statements that grow with the history."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        from django.db import connection

        asked, begun, cpu = [], time.perf_counter(), time.thread_time()
        with connection.execute_wrapper(lambda execute, sql, *rest: (asked.append(sql), execute(sql, *rest))[1]):
            response = self.get_response(request)
        taken, cpu = (time.perf_counter() - begun) * 1000, (time.thread_time() - cpu) * 1000
        grows = [sql for sql in asked if UNBOUNDED.search(sql)]
        for sql in grows:
            print(f"without a bound: {request.get_full_path()}\n    {sql}", flush=True)
        response.headers["Server-Timing"] = (
            f"all;dur={taken:.1f}, cpu;dur={cpu:.1f}, queries;dur={len(asked)}, grow;dur={len(grows)}"
        )
        return response


def application():
    """The site for uvicorn, with the clock, and the files that a proxy would serve."""
    from django.conf import settings
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.asgi import get_asgi_application

    settings.MIDDLEWARE = ["tests.measure.Clock", *settings.MIDDLEWARE]
    return ASGIStaticFilesHandler(get_asgi_application())


def in_browser(session: str, pages: list[str], listing: str) -> None:
    """Load each page, and fifty pages of *Older*; exit with 1 if one takes too long or asks without a bound."""
    from playwright.sync_api import sync_playwright

    from tests.browser.chromium import CHROMIUM, QUIET
    from tests.chaos.servers import free_port

    here = f"http://127.0.0.1:{(port := free_port())}"
    serve = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "tests.measure:application",
        f"--port={port}",
        "--log-level=warning",
    ]
    server = subprocess.Popen(serve, env=os.environ | environment_of_server())
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            context = browser.new_context(base_url=here)
            context.add_cookies([{"name": "sessionid", "value": session, "url": here}])
            page = context.new_page()
            wait_for(page, listing)
            missed = [where for where in pages if not visit(page, where)]
            page.goto(listing)
            for _ in range(50):
                where = listing + page.locator("a[rel=next]").get_attribute("href")
                missed += [] if visit(page, where, times=2) else [where]
            browser.close()
    finally:
        server.terminate()
        server.wait()
    print(f"{len(pages)} pages and 50 × Older; missed: {missed or 'none'}")
    sys.exit(bool(missed))


def environment_of_server() -> dict[str, str]:
    from django.conf import settings

    return {
        "DEBUG": "False",
        "SECRET_KEY": settings.SECRET_KEY,
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECURE_SSL_REDIRECT": "False",
    }


def wait_for(page, where: str) -> None:
    from playwright.sync_api import Error

    for _ in range(100):
        try:
            page.goto(where)
        except Error:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the server did not answer")


TIMING = """() => { const one = performance.getEntriesByType("navigation")[0];
                    return [one.loadEventEnd, ...one.serverTiming.map(each => each.duration)]; }"""


def visit(page, where: str, times: int = 4) -> bool:
    """Load a page, print what it took, and tell whether that is within the limits."""
    taken = []
    for _ in range(times):
        answer = page.goto(where)
        taken.append(page.evaluate(TIMING))
    browser, server, cpu, queries, grow = map(min, zip(*taken, strict=True))
    print(
        f"{server:6.0f} ms server ({cpu:3.0f} CPU)  {browser:5.0f} ms browser  {queries:2} queries  {answer.status}  {where}",
        flush=True,
    )
    return answer.ok and browser < BROWSER and server <= SERVER and not grow


if __name__ == "__main__":
    main()

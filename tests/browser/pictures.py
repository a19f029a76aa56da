"""
Pictures of every page, light, dark and narrow, of a shop that does not exist: `python -m tests.browser.pictures FOLDER [WORD…]`.

With words only the pages whose name contains one of them, with `--unfold` in that theme. The database is a file of its own.
"""

import os
import sys
from pathlib import Path

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 1},
}


def main(folder: Path, *words: str) -> None:
    is_themed, words = "--unfold" in words, tuple(word for word in words if word != "--unfold")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.browser.unfold_settings" if is_themed else "tests.settings"
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    from django.utils import timezone
    from playwright.sync_api import sync_playwright
    from pytest_django.live_server_helper import LiveServer

    from background.models import Host
    from tests.browser import demo, tasks_for_browser  # noqa: F401 - declares the task of the jobs
    from tests.browser.chromium import CHROMIUM, QUIET

    call_command("migrate", verbosity=0)
    rows = demo.fill()
    client = Client()
    client.force_login(User.objects.create_superuser("ana"))
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value}
    folder.mkdir(parents=True, exist_ok=True)
    server = LiveServer("127.0.0.1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for look, options in LOOKS.items():
            context = browser.new_context(base_url=server.url, reduced_motion="reduce", **options)
            context.add_cookies([{**cookie, "url": server.url}])
            page = context.new_page()
            for name, where in places(rows):
                if not words or any(word in name for word in words):
                    Host.objects.exclude(pk=rows["host"]["host-silent"].pk).update(heartbeat_at=timezone.now())
                    page.goto(where)
                    page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
        browser.close()
    server.stop()


# What even a superuser may not: history is not rewritten, and machinery is neither made nor deleted by hand.
REFUSED = {("job", "delete"), *((model, "add") for model in ("run", "host", "service", "queue"))}
REFUSED |= {(model, "delete") for model in ("host", "service", "queue")}
# Answers that are files, or parts of a page, or lead to another.
NO_PAGES = {
    "artifact",
    "log_text",
    "error_text",
    "export",
    "status",
    "live",
    "live_list",
    "log",
    "preview",
    "preview_new",
    "outcome",
}


def places(rows):
    """(name, address) of every page of the room, with these rows: by model, name of the picture and row."""
    from django.contrib import admin
    from django.urls import reverse

    from background.admin import ROOMS

    yield "index", reverse("admin:app_list", args=["background"])
    for model in ROOMS:
        name = model._meta.model_name
        yield f"{name}-list", reverse(f"admin:background_{name}_changelist")
        for title, row in rows.get(name, {}).items():
            yield title, reverse(f"admin:background_{name}_change", args=[row.pk])
        for pattern in admin.site._registry[model].get_urls():
            page = (pattern.name or "").removeprefix("background_").removeprefix(f"{name}_")
            if page in {"", name, "changelist", "change", *NO_PAGES} or (name, page) in REFUSED:
                continue
            args = [next(iter(rows[name].values())).pk] if pattern.pattern.converters else []
            yield f"{name}-{page}", reverse(f"admin:{pattern.name}", args=args) + "?verb=cancel" * (page == "bulk")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

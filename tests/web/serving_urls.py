"""The addresses of the site that the tests of `--serve` serve: with a view that takes its time."""

import time
from pathlib import Path

from django.http import HttpResponse
from django.urls import include, path

from background.models import Run
from tests.app import background as tasks
from tests.app.models import Effect


def slow(request):
    """Answer once the gate (a file) is there, with what a run has made of it meanwhile."""
    print("slow begun", flush=True)
    gate, deadline = Path(request.GET["gate"]), time.monotonic() + 60
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    result = tasks.note.enqueue("asked by a request")
    run = Run.objects.get(pk=result.id).wait(30)
    Effect.objects.create(name="order", note="answered")
    return HttpResponse(run.status)


async def quick(request):
    return HttpResponse("quick")


urlpatterns = [
    path("slow", slow),
    path("quick", quick),
    path("", include("project.urls")),
]

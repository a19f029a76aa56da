"""Tasks that the browser's tests start, and hold up where they want to look."""

import threading
from typing import Any, Literal

import background

GO_ON = threading.Event()


@background.job(name="browser.report", takes_context=True)
def report(context, region: Literal["EU", "US"] = "EU", limit: int = 500, options: dict[str, Any] | None = None):
    """Write a report about a region."""
    context.progress(1, 4, "half way to the half")
    GO_ON.wait(30)
    return f"{limit} lines about {region}"


@background.job(name="browser.secretive")
def secretive(name: str, token: str = "", headers: dict[str, Any] | None = None):
    return {"nested": [{"password": "hunter2-result"}]}

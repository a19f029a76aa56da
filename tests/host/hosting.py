"""What the tests of the host's life share: a host that is not waited for, and services that tell what happens to them."""

import threading
from contextlib import contextmanager

from django.test import override_settings

import background
from background.conf import raw_settings
from background.host import Host, Options
from background.testing.hosting import QUICK, HostedInThread

HOOKS = ("on_starting", "on_start", "on_started", "on_stopping", "on_stop", "on_stopped")


@contextmanager
def starting_host(*services, options=None, **settings):
    """Like run_host, but does not wait until it is ready."""
    with override_settings(BACKGROUND={**raw_settings(), **QUICK, **settings}):
        hosted = HostedInThread(Host(services, options or Options(works=False, schedules=False)))
        try:
            yield hosted
        finally:
            hosted.stop()


class Story(list):
    """What happened, as (service, what); thread-safe as lists are."""

    def of(self, what):
        return [name for name, hook in self if hook == what]

    def has(self, *event):
        return event in self


def teller(name, story, *, of_kind="def", base=background.BackgroundService, **overrides):
    """Make a service class that tells the story; `overrides` are attributes, or functions called by hooks of that name."""

    def telling(what):
        act = overrides.pop(what, None)

        def hook(self):
            story.append((name, what))
            if act is not None:
                act()

        async def ahook(self):
            story.append((name, what))
            if act is not None and (result := act()) is not None:
                await result

        return hook if of_kind == "def" else ahook

    def execute(self, stop):
        story.append((name, "execute"))
        try:
            stop.wait()
        finally:
            story.append((name, "executed"))

    async def aexecute(self, stop):
        story.append((name, "execute"))
        try:
            await stop.sleep()
        finally:
            story.append((name, "executed"))

    body = {hook: telling(hook) for hook in HOOKS}
    body["execute"] = execute if of_kind == "def" else aexecute
    return type(name.capitalize(), (base,), {**body, "name": name, **overrides})


def service_threads():
    """The threads of hosts and their services that are alive."""
    return [one for one in threading.enumerate() if one.name.startswith("background-")]

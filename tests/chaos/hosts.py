"""Real hosts for the chaos tests: started, killed, frozen, replaced, and stopped in order."""

import json
import signal
from contextlib import ExitStack

from tests.processes import Process

# Waiting for a rescue shall not take long; what is lost again and again by our own doing is no poison.
QUICK = {"HOST_TIMEOUT": 3, "HEARTBEAT_INTERVAL": 0.5, "POLL_INTERVAL": 0.2, "MAX_LOST": 1000}
STARTED = "services running"


class ChaosHost(Process):
    """A `runbackground` process under the settings of the chaos tests."""

    def __init__(self, name, *flags, clock=0, **settings):
        self.name = name
        super().__init__(
            "runbackground",
            "--no-services",
            "--no-reload",
            "--no-scheduler",
            "--name",
            name,
            *flags,
            DJANGO_SETTINGS_MODULE="tests.chaos.settings",
            BACKGROUND_TEST_SETTINGS=json.dumps({**QUICK, **settings}),
            CHAOS_CLOCK=str(clock),
        )

    def kill(self):
        """End it at once, as the kernel's out-of-memory killer does."""
        self.send(signal.SIGKILL)
        self.popen.wait()


class Fleet:
    """Some hosts side by side; for use as a context manager, which waits until all have started."""

    def __init__(self, count, *flags, health=(), **settings):
        self._count, self._flags, self._settings = count, flags, settings
        self.health = health  # a port for each
        self._stack = ExitStack()
        self.hosts = []
        self.fallen = []

    def __enter__(self):
        try:
            self.hosts = [self._start(number, f"host-{number + 1}") for number in range(self._count)]
            for host in self.hosts:
                host.wait_for_line(STARTED, timeout=60)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _start(self, number, name):
        health = ("--health", f"127.0.0.1:{self.health[number]}") if self.health else ()
        return self._stack.enter_context(ChaosHost(name, *self._flags, *health, **self._settings))

    def __getitem__(self, number):
        return self.hosts[number]

    def kill(self, number):
        """Kill one and start another in its place at once; does not wait for its start."""
        self.hosts[number].kill()
        self.fallen.append(self.hosts[number])
        self.hosts[number] = self._start(number, f"host-{number + 1}.{len(self.fallen)}")

    @property
    def output(self):
        return "\n".join(f"--- {host.name}\n{host.output}" for host in (*self.fallen, *self.hosts))

    def stop(self, troubled=False):
        """Stop all that live and see that each ends in order; without a traceback, unless there was trouble."""
        for host in self.hosts:
            host.send()
        codes = {host.name: host.wait(60) for host in self.hosts}
        assert not any(codes.values()), f"exit codes {codes}:\n{self.output}"
        assert troubled or "Traceback" not in self.output, self.output

"""Own the host: start services in order, run until told, stop them in reverse, and end with an honest exit code."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from background import catalog, registry
from background.conf import build_version, get_settings
from background.dialects import dialect
from background.engine.base import AWAY, EngineService
from background.engine.heartbeat import Heartbeat, sign_off
from background.engine.listener import Listener
from background.engine.memory import DatabaseMemory
from background.engine.pauses import paused_services
from background.engine.pruner import Pruner
from background.engine.recorder import Recorder
from background.engine.rescuer import Rescuer
from background.engine.scheduler import Scheduler
from background.engine.statistics import Statistics
from background.engine.worker import Worker
from background.exceptions import StartFailed, StartTimedOut
from background.execution import capture
from background.host.asking import ask_patiently, software
from background.host.command import command_line
from background.host.lease import Lease
from background.host.shutdown import LEAST, LOOK, Shutdown
from background.host.signals import notify, watchdog_interval
from background.host.standing import State
from background.host.supervised import Supervised
from background.host.thread import apart
from background.models import Host as HostRow
from background.queue.holding import Filter, Holder
from background.scope import database_alias
from background.services.base import BackgroundService
from background.signals import host_started, host_stopping
from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.host")

CLEAN, NOT_STARTED, STOPPED_BY_SERVICE, UNCLEAN = 0, 1, 4, 5

# An engine service whose step takes so long is stuck (seconds).
STUCK = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a host is to do; the flags of `runbackground`."""

    name: str = ""
    queues: tuple[str, ...] | None = None
    excluded_queues: tuple[str, ...] = ()
    works: bool = True
    schedules: bool = True
    concurrency: int | None = None
    drain: bool = False
    max_runs: int | None = None
    parent: uuid.UUID | None = None
    extra: tuple[Callable[[Any], EngineService], ...] = field(default=())


class Host:
    """A process (or, in tests, a thread) that runs services and the engine beneath them."""

    def __init__(self, services: Sequence[type[BackgroundService]] = (), options: Options | None = None) -> None:
        self.options = options or Options()
        self.name = self.options.name or f"{socket.gethostname().partition('.')[0]}:{os.getpid()}"
        self.id = uuid.uuid4()
        self.filter = Filter(self.options.queues, self.options.excluded_queues)
        self.stop_token = StopToken()
        self.database_away = False
        self.state: str = HostRow.State.STARTING
        self.exit_code: int | None = None
        self.time_to_stop: float | None = None  # instead of SHUTDOWN_TIMEOUT: what a parent leaves to its child
        self.problems: list[str] = []
        self.ready = False
        self.was_started = False
        self._code: int | None = None
        self._written = False  # its row is
        self._notified_at = 0.0
        self._status = ""
        self.worker: Worker | None = None
        self.recorder = Recorder(self, self._active, self._asked)
        self.heartbeat = Heartbeat(
            self, lambda: self.services, self._leased, self._facts, self.start_afresh, lambda: self._parts, self._takes
        )
        self._parts = self._make_engine()
        self.engine = [self._supervise(one) for one in self._parts]
        self.users = [self._supervise(one()) for one in registry.in_order(list(services))]

    # What the engine and the web may ask

    @property
    def holder(self) -> Holder:
        return Holder(self.id, self.name, build_version())

    @property
    def trusted(self) -> bool:
        return self.heartbeat.trusted

    @property
    def services(self) -> list[Supervised]:
        return [*self.engine, *self.users]

    def service(self, name: str) -> Supervised:
        return next(one for one in self.services if one.name == name)

    def request_stop(self, reason: str, code: int | None = None) -> None:
        """Ask the host to stop; safe in signal handlers, before and during start, and twice. Does not block."""
        if self._code is None and code is not None:
            self._code = code
        self.stop_token.request(reason)

    def unready(self) -> list[str]:
        """Return why this host should get no traffic: not started, stopping, database away, unhealthy services."""
        found = [] if self.ready else ["not started"]
        if self.stop_token.requested:
            found.append("stopping")
        if self.database_away:
            found.append("database away")
        return found + [one.name for one in self.services if not one.standing.healthy]

    def stuck(self) -> list[str]:
        """Return the engine services whose present step has taken a minute already."""
        now = time.monotonic()
        return [one.get_name() for one in self._parts if now - (one.step_began or now) > STUCK]

    # The life of the host

    def run(self) -> int:
        """Start, run until told to stop, stop; returns the exit code. Blocks."""
        code = CLEAN
        try:
            self._register()
            self._start()
            self._wait()
        except StartFailed as error:
            logger.error("%s", error)
            self.request_stop(f"could not start: {error}")
            code = NOT_STARTED
        except BaseException as error:  # not foreseen: nothing may go on running behind it
            self.request_stop(f"failed: {error!r}", NOT_STARTED)
            self._stop(NOT_STARTED)
            raise
        return self._stop(code)

    def _register(self) -> None:
        """Write the host's row and bring the jobs up to the code."""
        if not self.stop_token.requested:
            ask_patiently(self._write_down, self.stop_token)

    def _write_down(self) -> None:
        self._write_row(self.id)
        self._written = True
        if self.options.parent is None:
            catalog.sync()
            catalog.name_queues()
        paused = paused_services() if self.users else ()
        for one in self.users:
            one.hold(one.name in paused)

    def _write_row(self, host_id: uuid.UUID) -> None:
        now = dialect().now()
        own = self.worker
        HostRow.objects.using(database_alias()).update_or_create(
            id=host_id,
            defaults={
                "name": self.name,
                "pid": os.getpid(),
                "parent_id": self.options.parent,
                "state": self.state,
                "started_at": now,
                "heartbeat_at": now,
                "version": build_version(),
                "software": software(),
                "command": command_line(),
                "concurrency": own.capacity() if own else {},
                "queues": list(self.options.queues) if self.options.queues is not None else None,
                "excluded_queues": list(self.options.excluded_queues),
                "works": self.options.works,
                "schedules": self.options.schedules,
                "tasks": sorted(registry.tasks()),
                "jobs": sorted(registry.jobs()),
            },
        )

    def _start(self) -> None:
        """Start all services in order; StartFailed with the first cause."""
        notify("STATUS=starting")
        capture.install()
        for one in self.services:
            one.thread.start()
        for one in self.services:
            self._await(one, "on_starting", partial(one.hook, "on_starting"))
        for one in self.services:
            self._await(one, "on_start", one.begin)
        for one in self.services:
            self._await(one, "on_started", one.all_started)
        if self.stop_token.requested:
            return
        self.ready = self.was_started = True
        self.state = HostRow.State.RUNNING
        self._changed()
        host_started.send_robust(sender=type(self), host=self)
        running = sum(one.state == "running" for one in self.users)
        logger.info("host %s started: %d of %d services running", self.name, running, len(self.users))
        self._tell_systemd("READY=1")

    def _await(self, one: Supervised, hook: str, call: Callable[[], Future[None]]) -> None:
        """Call a start hook and wait for it, but not longer than its timeout and not beyond a request to stop."""
        if self.stop_token.requested:
            return
        own = one.service.start_timeout
        seconds = get_settings().startup_timeout if own is None else own
        deadline = Deadline.after(seconds)
        future = call()
        future.add_done_callback(lambda _: self.stop_token.poke())
        while not future.done():
            if self.stop_token.requested:
                return
            if deadline.expired:
                one.standing.note_deaf(one.thread.stack())
                one.standing.enter(State.FAILED)
                one.thread.cancel_hooks()
                raise StartTimedOut(f"{hook} of service {one.name} took longer than its {seconds:g} s (start_timeout).")
            self.stop_token.wait(min(deadline.remaining() or 0, LOOK))
            self._look()
        if (error := future.exception()) is not None:
            if hook != "on_start":  # of which its own thread has taken note
                one.standing.note_failure(error)
                one.standing.enter(State.FAILED)
            raise StartFailed(f"{hook} of service {one.name} failed: {error!r}") from error

    def _wait(self) -> None:
        """Run until told to stop."""
        while not self.stop_token.wait(LOOK):
            self._look()
            self._tell_systemd()

    def _look(self) -> None:
        for one in self.users:
            one.check()

    def _tell_systemd(self, *lines: str) -> None:
        """Tell this, that the engine lives, and how the services are if that has changed."""
        now = time.monotonic()
        interval = watchdog_interval()
        if interval and now - self._notified_at >= interval / 2 and not self.stuck():
            self._notified_at = now
            lines = (*lines, "WATCHDOG=1")
        bad = [one.name for one in self.services if not one.standing.healthy]
        running = sum(one.state == State.RUNNING for one in self.users)
        status = f"unhealthy: {', '.join(bad)}" if bad else f"{running} services running"
        if lines or status != self._status:
            self._status = status
            notify(*lines, f"STATUS={status}")

    def _stop(self, code: int) -> int:
        """Stop all services and write down how it went; returns the exit code."""
        # A child gets no traffic, and its parent has waited already.
        delay = get_settings().drain_delay if self.ready and self.options.parent is None else 0
        self.ready = False
        self.state = HostRow.State.STOPPING
        self._changed()
        logger.info("stopping: %s", self.stop_token.reason)
        notify("STOPPING=1", f"STATUS=stopping: {self.stop_token.reason}")
        host_stopping.send_robust(sender=type(self), host=self)
        if delay and self._code is None:
            time.sleep(delay)  # a load balancer takes its time to hear "not ready"
        shutdown = Shutdown(self.services, self._look, self.time_to_stop)
        shutdown.run()
        self.problems += shutdown.problems
        if self.worker is not None:
            self.problems += self.worker.problems()
        for problem in self.problems:
            logger.error("%s", problem)
        self.exit_code = code or self._code or (UNCLEAN if self.problems else CLEAN)
        self._sign_off(shutdown.deadline)
        logger.info("host %s stopped (%s), exit code %d", self.name, self.stop_token.reason, self.exit_code)
        return self.exit_code

    def _sign_off(self, deadline: Deadline) -> None:
        """Write the end of the host, while there is time."""
        if not self._written:
            return
        end = partial(sign_off, self.id, self.exit_code or 0, self.stop_token.reason or "")
        attempt = apart(end, "background-database")
        with suppress(TimeoutError, *AWAY):
            attempt.result(max(deadline.remaining() or 0, LEAST))
            return
        logger.warning("the end of the host could not be written: the database is away")

    def start_afresh(self) -> None:
        """This host was declared lost: its runs belong to others; go on under a new id."""
        fresh = uuid.uuid4()
        self._write_row(fresh)
        self.id = fresh
        if self.worker is not None:
            self.worker.host_lost()
        for one in self.services:
            if one.lease is not None:
                one.lease.lease_lost()
            one.standing.touch()

    # What the parts need of each other

    def _make_engine(self) -> list[EngineService]:
        options, conf = self.options, get_settings()
        engine: list[EngineService] = [self.heartbeat, Statistics(self), self.recorder, Rescuer(self)]
        if options.parent is None:
            engine.append(Pruner(self))
        if options.schedules:
            engine.append(Scheduler(self))
        engine += [make(self) for make in options.extra]
        if options.works:
            self.worker = Worker(
                self,
                lambda: self.recorder,
                options.concurrency or conf.concurrency,
                conf.async_concurrency,
                drain=options.drain,
                max_runs=options.max_runs,
            )
            engine += [Listener(self), self.worker]
        return engine

    def _supervise(self, service: BackgroundService) -> Supervised:
        service.memory = DatabaseMemory()
        lease = Lease(service.get_name(), lambda: self.id) if service.singleton else None
        return Supervised(service, changed=self._changed, stop_host=self.request_stop, lease=lease)

    def _changed(self) -> None:
        if self.heartbeat.stop is not None:
            self.heartbeat.stop.poke()

    def _active(self) -> list[Any]:
        return self.worker.active() if self.worker else []

    def _asked(self, execution: Any, reason: str) -> None:
        if self.worker is not None:
            self.worker.asked(execution, reason)

    def _leased(self) -> list[Lease]:
        return [one.lease for one in self.users if one.lease is not None and one.lease.is_held]

    def _takes(self) -> Filter | None:
        return self.worker.filter if self.worker else None

    def _facts(self) -> dict[str, Any]:
        return {"state": self.state, "running": self.worker.in_use() if self.worker else {}}

"""Own the host: start services in order, run until told, stop them in reverse, and end with an honest exit code."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import django
from django.db import InterfaceError, OperationalError, connections

from background import catalog, registry
from background.conf import build_version, get_settings
from background.dialects import dialect
from background.engine import leases
from background.engine.base import EngineService, first_line
from background.engine.heartbeat import Heartbeat, sign_off
from background.engine.memory import DatabaseMemory
from background.engine.pruner import Pruner
from background.engine.recorder import Recorder
from background.engine.rescuer import Rescuer
from background.engine.scheduler import Scheduler
from background.engine.worker import Worker
from background.exceptions import StartFailed, StartTimedOut
from background.host.signals import notify, watchdog_interval
from background.host.supervised import Supervised
from background.models import Host as HostRow
from background.queue.claim import Filter, Holder
from background.scope import close_connections, database_alias
from background.services.base import BackgroundService
from background.signals import host_started, host_stopping
from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.host")

CLEAN, NOT_STARTED, STOPPED_BY_SERVICE, UNCLEAN = 0, 1, 4, 5

# The main thread looks at leases, watchdogs and the engine this often (seconds).
LOOK = 0.25
# Of SHUTDOWN_TIMEOUT, kept for the engine to write the end down (seconds).
FOR_ENGINE = 2.0
# An engine service that has not stepped for so long is stuck (seconds).
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
    async_concurrency: int | None = None
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
        self.problems: list[str] = []
        self.ready = False
        self._code: int | None = None
        self._deadline = Deadline()
        self._notified_at = 0.0
        self.worker: Worker | None = None
        self.recorder = Recorder(self, self._active, self._asked)
        self.heartbeat = Heartbeat(self, lambda: self.services, self._leased, self._facts, self.start_afresh)
        self.engine = [self._supervise(one) for one in self._make_engine()]
        self.users = [self._supervise(one()) for one in registry.in_order(list(services))]

    # What the engine and the web may ask

    @property
    def holder(self) -> Holder:
        return Holder(self.id, self.name, build_version())

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
        """Return the engine services that have not stepped for a minute."""
        now = time.monotonic()
        return [
            one.name
            for one in self.engine
            if one.state == "running" and one.service.stop and now - (one.service.stop.last_beat or now) > STUCK
        ]

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
            self.problems.append(str(error))
            self.request_stop(f"could not start: {error}")
            code = NOT_STARTED
        self._stop()
        self.exit_code = code or self._code or (UNCLEAN if self.problems else CLEAN)
        self._sign_off()
        for problem in self.problems if not code else ():
            logger.error("%s", problem)
        logger.info("host %s stopped (%s), exit code %d", self.name, self.stop_token.reason, self.exit_code)
        return self.exit_code

    def _register(self) -> None:
        """Write the host's row and bring the jobs up to the code; wait for a database that is away, saying so."""
        deadline = Deadline.after(get_settings().startup_timeout)
        said = False
        while not self.stop_token.requested:
            try:
                self._write_row()
                if self.options.parent is None:
                    catalog.sync()
                return
            except (OperationalError, InterfaceError) as error:
                close_connections()
                left = deadline.remaining() or 0
                if left <= 0:
                    raise StartFailed(
                        f"The database {database_alias()!r} did not answer within {get_settings().startup_timeout:g} s "
                        f"(STARTUP_TIMEOUT): {first_line(error)}."
                    ) from error
                if not said:
                    logger.warning("waiting up to %.0f s for the database: %s", left, first_line(error))
                    said = True
                self.stop_token.wait(min(0.5, left))

    def _write_row(self) -> None:
        now = dialect().now()
        own = self.worker
        HostRow.objects.using(database_alias()).update_or_create(
            id=self.id,
            defaults={
                "name": self.name,
                "pid": os.getpid(),
                "parent_id": self.options.parent,
                "state": self.state,
                "started_at": now,
                "heartbeat_at": now,
                "version": build_version(),
                "software": software(),
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
        for one in self.services:
            one.open()
        self._phase("on_starting", self.services)
        for one in self.services:
            if self.stop_token.requested:
                return
            one.begin()
            self._await(one, "on_start", one.started)
        self._phase("on_started", self.services)
        if self.stop_token.requested:
            return
        self.ready = True
        self.state = HostRow.State.RUNNING
        host_started.send_robust(sender=type(self), host=self)
        running = sum(one.state == "running" for one in self.users)
        logger.info("host %s started: %d of %d services running", self.name, running, len(self.users))
        notify("READY=1", f"STATUS={running} services running")

    def _phase(self, hook: str, services: Sequence[Supervised]) -> None:
        for one in services:
            if self.stop_token.requested:
                return
            self._await(one, hook, one.hook(hook))

    def _await(self, one: Supervised, hook: str, future: Future[None]) -> None:
        """Wait for a start hook, but not longer than its timeout and not beyond a request to stop."""
        seconds = one.service.start_timeout if one.service.start_timeout is not None else get_settings().startup_timeout
        deadline = Deadline.after(seconds)
        future.add_done_callback(lambda _: self.stop_token.poke())
        while not future.done():
            if self.stop_token.requested:
                return
            if deadline.expired:
                raise StartTimedOut(f"{hook} of service {one.name} took longer than its {seconds:g} s (start_timeout).")
            self.stop_token.wait(min(deadline.remaining() or 0.001, 1.0))
        if (error := future.exception()) is not None:
            raise StartFailed(f"{hook} of service {one.name} failed: {error!r}") from error

    def _wait(self) -> None:
        """Run until told to stop."""
        while not self.stop_token.wait(LOOK):
            for one in self.users:
                one.check()
            self._tell_systemd()

    def _tell_systemd(self) -> None:
        interval = watchdog_interval()
        now = time.monotonic()
        if interval and now - self._notified_at >= interval / 2 and not self.stuck():
            self._notified_at = now
            bad = [one.name for one in self.services if not one.standing.healthy]
            status = f"unhealthy: {', '.join(bad)}" if bad else f"{len(self.users)} services running"
            notify("WATCHDOG=1", f"STATUS={status}")

    def _stop(self) -> None:
        """Stop all services, the user's first, in reverse; each error is kept, none keeps another from its turn."""
        self.ready = False
        self.state = HostRow.State.STOPPING
        total = get_settings().shutdown_timeout
        logger.info("stopping: %s", self.stop_token.reason)
        notify("STOPPING=1", f"STATUS=stopping: {self.stop_token.reason}")
        host_stopping.send_robust(sender=type(self), host=self)
        if get_settings().drain_delay and self._is_up():
            time.sleep(get_settings().drain_delay)  # a load balancer takes its time to hear "not ready"
        self._deadline = Deadline.after(total)
        early = Deadline.after(max(total - min(FOR_ENGINE, total / 5), 0.05))
        opened = [one for one in self.services if one.is_open]
        began = [one for one in opened if one.was_started]
        for one in [*self.users, *(engine for engine in self.engine if not engine.stops_late)]:
            one.request_stop("shutdown", early)
        self._hooks("on_stopping", [one for one in reversed(began) if not one.engine], early)
        for one in reversed(opened):
            late = one.engine and one.stops_late
            deadline = self._deadline if late else early
            if late:
                one.request_stop("shutdown", deadline.earlier(None))
            one.let_stop()
            if one.begun:
                self._end(one, deadline)
        self._hooks("on_stopped", [one for one in reversed(began) if not one.engine], self._deadline)
        for one in opened:
            one.close()
        if self.worker is not None:
            self.problems += [
                f"run {one.claim.id} of {one.claim.task} was abandoned and handed back" for one in self.worker.abandoned
            ]

    def _is_up(self) -> bool:
        return self._code is None

    def _end(self, one: Supervised, deadline: Deadline) -> None:
        if not one.wait_ended(deadline):
            logger.error("service %s does not stop; its thread stands at:\n%s", one.name, one.stack())
            one.abandon()
            self.problems.append(f"service {one.name} did not stop in time and was abandoned")
        self.problems += one.hook_errors

    def _hooks(self, hook: str, services: Sequence[Supervised], deadline: Deadline) -> None:
        """Call a stop hook of all, each whatever became of the others."""
        for one in services:
            future = one.hook(hook)
            try:
                future.result(max(deadline.remaining() or 0, 0.1))
            except TimeoutError:
                self.problems.append(f"{hook} of {one.name} did not end in time")
            except Exception as error:  # around a service
                logger.error("%s of %s failed", hook, one.name, exc_info=error)
                self.problems.append(f"{hook} of {one.name}: {error!r}")

    def _sign_off(self) -> None:
        try:
            sign_off(self.id, self.exit_code or 0, self.stop_token.reason or "")
        except (OperationalError, InterfaceError) as error:
            logger.warning("the end of the host could not be written: %s", first_line(error))
        close_connections()

    def start_afresh(self) -> None:
        """This host was declared lost: its runs belong to others; go on under a new id."""
        self.id = uuid.uuid4()
        if self.worker is not None:
            self.worker.host_lost()
        for one in self.services:
            one.lease_lost()
            one.standing.dirty = True
        self._write_row()

    # What the parts need of each other

    def _make_engine(self) -> list[EngineService]:
        options, conf = self.options, get_settings()
        engine: list[EngineService] = [self.heartbeat, self.recorder, Rescuer(self)]
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
                options.async_concurrency or conf.async_concurrency,
                drain=options.drain,
                max_runs=options.max_runs,
            )
            engine.append(self.worker)
        return engine

    def _supervise(self, service: BackgroundService) -> Supervised:
        service.memory = DatabaseMemory()
        return Supervised(
            service,
            changed=self._changed,
            stop_host=self.request_stop,
            acquire=lambda name: leases.acquire(f"service:{name}", self.id),
            release=lambda name: leases.release(f"service:{name}", self.id),
        )

    def _changed(self) -> None:
        if self.heartbeat.stop is not None:
            self.heartbeat.stop.poke()

    def _active(self) -> list[Any]:
        return self.worker.active() if self.worker else []

    def _asked(self, execution: Any, reason: str) -> None:
        if self.worker is not None:
            self.worker.asked(execution, reason)

    def _leased(self) -> list[Any]:
        return [Lease(one) for one in self.users if one.holds_lease]

    def _facts(self) -> dict[str, Any]:
        return {"state": self.state, "running": self.worker.in_use() if self.worker else {}}


class Lease:
    """A singleton's lease, under the name by which it is stored."""

    def __init__(self, service: Supervised) -> None:
        self.name = f"service:{service.name}"
        self.believe = service.believe
        self.lease_lost = service.lease_lost


def software() -> dict[str, str]:
    """Return the versions that a person wants to know when something is odd."""
    connection = connections[database_alias()]
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "database": f"{connection.vendor} {'.'.join(str(part) for part in connection.get_database_version())}",
        "platform": sys.platform,
    }

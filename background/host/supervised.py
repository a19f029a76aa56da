"""Own one service's life: started, executed, stopped, and again as policy and people wish."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

from background.conf import get_settings
from background.exceptions import StopRequested
from background.host.lease import Lease
from background.host.restarts import HEALTHY, Restarts, Verdict
from background.host.standing import Reason, Standing, State
from background.host.thread import ServiceThread, settle
from background.scope import arefresh_connections, refresh_connections
from background.services.base import BackgroundService, Tick
from background.services.periodic import PeriodicService
from background.stopping import Deadline, StopToken

logger = logging.getLogger("background.host")

# A singleton that stands by asks for the lease this often (seconds).
STANDBY = 1.0
# A cancelled coroutine gets this long for its own end (seconds).
CANCEL_GRACE = 1.0


class NotStarted(Exception):
    """The first on_start failed; the host was told."""


class Supervised:
    """A service as its host sees it; its public methods may be called from any thread and do not block."""

    def __init__(
        self,
        service: BackgroundService,
        *,
        changed: Callable[[], None],
        stop_host: Callable[[str, int], None],
        lease: Lease | None = None,
    ) -> None:
        self.service = service
        self.name = service.get_name()
        self.engine = hasattr(service, "stops_late")
        self.stops_late = bool(getattr(service, "stops_late", False))
        self.stops_first = bool(getattr(service, "stops_first", False))
        self.lease = lease
        self.standing = Standing(service, self.engine, changed)
        self.thread = ServiceThread(f"background-{self.name}", None if self.engine else self.standing.tail)
        self.started: Future[None] = Future()  # on_start is over, or the service stands by
        self.executed = threading.Event()  # nothing of on_start and execute is going on
        self.ended = threading.Event()  # its life is over: on_stop has been called, too
        self.begun = False
        self.held = False  # a person has paused it, here and everywhere
        self.was_started = False
        self.hook_errors: list[str] = []
        self._stop_host = stop_host
        self._restarts = Restarts(service)
        self._lock = threading.Lock()
        self._token = StopToken()
        self._wish = ""
        self._stopping = False
        self._may_dispose = False
        self._all_started = False
        self._hurry = False
        self._deaf = False
        self._beat = self._running_since = time.monotonic()
        service.on_tick = self._ticked
        if lease is not None:
            lease.lost = self._lease_lost

    # For the host

    @property
    def state(self) -> str:
        return self.standing.state

    @property
    def token(self) -> StopToken:
        return self._token

    def hook(self, name: str) -> Future[None]:
        """Have a hook called, if the service has one."""
        if getattr(type(self.service), name) is getattr(BackgroundService, name):
            return done()
        return self.thread.hook(getattr(self.service, name))

    def begin(self) -> Future[None]:
        """Begin the service's life: on_start, execute, and so on; the future is for the first on_start."""
        self.begun = True
        self.ended.clear()
        self.executed.clear()
        self.thread.post(self._live)
        return self.started

    def all_started(self) -> Future[None]:
        """All services have started: have on_started called, or later when this one stands by."""
        with self._lock:
            self._all_started = True
            if self.was_started:
                return self.hook("on_started")
        return done()

    def request_stop(self, reason: str, deadline: Deadline) -> None:
        """Ask it to stop for good."""
        with self._lock:
            self._stopping = True
        self._ask(reason, deadline if (own := self.service.stop_timeout) is None else deadline.earlier(own))

    def let_dispose(self) -> None:
        """It is this service's turn for on_stop."""
        self._may_dispose = True
        self.thread.wake()

    def abandon(self) -> None:
        """Write it off: its thread cannot be killed."""
        self._say_deaf()
        self.standing.enter(State.FAILED, for_ever=True)

    def obey(self, verb: str, by: str) -> None:
        """Do what a person wishes: start, stop, restart or tick."""
        if self.engine:
            logger.warning("%s: %s refused, it is part of the host: stop the host instead", self.name, verb)
            return
        logger.info("%s: %s asked by %s", self.name, verb, by or "a person")
        if verb == "tick":
            self._tick_now()
        elif self.ended.is_set():
            if verb != "stop" and not self._stopping:
                self._restarts, self._wish = Restarts(self.service), ""
                self.begin()
        elif verb != "start":
            self._ask(f"{verb} asked by {by or 'a person'}", Deadline.after(self._time_to_stop()), wish=verb)
        elif self._wish == "stop":
            self._wish = "restart"  # it is still stopping
        else:
            self._hurry = True
            self.thread.wake()

    def hold(self, paused: bool) -> None:
        """Rest as long as a person's pause lasts, then begin again; what had ended by itself stays so."""
        if self.engine or paused == self.held:
            return
        self.held = paused
        if not self.begun:
            return
        logger.info("%s: %s by a person", self.name, "paused" if paused else "resumed")
        if not self.ended.is_set():
            if paused:
                self._ask("paused by a person", Deadline.after(self._time_to_stop()))
            else:
                self._wish = "restart"  # it is still stopping
        elif paused:
            self.standing.enter(State.PAUSED, of=(State.FAILED,))
        elif self.state == State.PAUSED and not self._stopping:
            self._restarts, self._wish = Restarts(self.service), ""
            self.begin()

    def check(self) -> None:
        """Look after what time decides: leases that are over, watchdogs that bark, deafness, recovery."""
        now = time.monotonic()
        if self.lease is not None:
            self.lease.check()
        if self.state == State.RUNNING:
            if self.service.watchdog:
                self.standing.judge(now - self._beat <= self.service.watchdog)
            if not isinstance(self.service, PeriodicService) and now - self._running_since >= HEALTHY:
                self.standing.note_health()
        elif self.state == State.STOPPING and not self._stopping and not self._deaf and self._is_overdue():
            self._say_deaf()

    def _is_overdue(self) -> bool:
        deadline = self._token.deadline
        late = deadline is not None and deadline.at is not None and time.monotonic() > deadline.at + CANCEL_GRACE
        return late and not self.executed.is_set()

    def _say_deaf(self) -> None:
        self._deaf = True
        stack = self.thread.stack()
        logger.error("service %s does not stop; its thread stands at:\n%s", self.name, stack)
        self.standing.note_deaf(stack)

    def _tick_now(self) -> None:
        if isinstance(self.service, PeriodicService) and self.state == State.RUNNING:
            self.service.tick_now()
        else:
            logger.warning("%s cannot tick now: it is %s", self.name, self.state)

    def _time_to_stop(self) -> float:
        own = self.service.stop_timeout
        return get_settings().shutdown_timeout if own is None else own

    def _lease_lost(self) -> None:
        logger.warning("%s stops: its lease is lost", self.name)
        self._ask("lease-lost", Deadline.after(0))

    def _ask(self, reason: str, deadline: Deadline, wish: str = "") -> None:
        with self._lock:  # of one life: the next begins with a new token, a state and a wish of its own
            self._wish = wish or self._wish
            self.standing.enter(State.STOPPING, of=(State.RUNNING, State.STARTING))
            token = self._token
        token.request(reason, deadline)
        self.thread.hurry()
        self.thread.wake()

    # In the service's thread

    def _live(self) -> None:
        try:
            while self._once():
                pass
        finally:
            self.standing.next_start_at = self.standing.next_tick_at = None
            self.executed.set()
            self.ended.set()
            settle(self.started, None)

    def _once(self) -> bool:
        """Live one life; returns whether another follows."""
        if not self._begin_life():
            return self._end_unlived()
        if self.lease is not None and not self._stand_by(self.lease):
            return self._end_unlived()
        self.standing.begin_life()
        try:
            error = self._start_and_execute()
        except NotStarted as fault:
            self.standing.end_life(Reason.FAILED, fault.__cause__)
            return False
        finally:
            if self.lease is not None:
                self.lease.give_back()
        self.standing.end_life(self._why_over(error), error)
        return self._decide(error)

    def _why_over(self, error: BaseException | None) -> Reason:
        if error is not None:
            return Reason.FAILED
        if self._stopping:
            return Reason.HOST
        if not self._token.requested:
            return Reason.FINISHED
        if self._token.reason == "lease-lost":
            return Reason.LEASE
        return Reason.PAUSED if self.held else Reason.RESTARTED if self._wish == "restart" else Reason.STOPPED

    def _begin_life(self) -> bool:
        with self._lock:
            if self._stopping or self.held or self._wish == "stop":
                return False
            self._wish, self._deaf = "", False
            self._token = StopToken(
                on_beat=None if self.engine else self._beaten,
                after_wait=refresh_connections,
                after_sleep=arefresh_connections,
            )
            self.service.stop = self._token
            return True

    def _end_unlived(self) -> bool:
        if self._wish == "restart" and not (self._stopping or self.held):
            return True
        self._rest()
        return False

    def _rest(self) -> None:
        self.standing.enter(State.PAUSED if self.held and not self._stopping else State.STOPPED)

    def _stand_by(self, lease: Lease) -> bool:
        """Wait until the lease is held; False when asked to stop first."""
        while not self._token.requested:
            if lease.take():
                return True
            if self.state != State.STANDBY:
                self.standing.enter(State.STANDBY)
            settle(self.started, None)
            self.executed.set()
            self.thread.serve(lambda: self._token.requested, STANDBY)
            refresh_connections()
        return False

    def _start_and_execute(self) -> BaseException | None:
        self.executed.clear()
        self.standing.enter(State.STARTING)
        if self._token.requested:
            return None
        try:
            self.thread.call(self.service.on_start, self._token)
        except BaseException as error:  # noqa: BLE001 - around a service
            return self._not_started(error)
        self._beat = self._running_since = time.monotonic()
        try:
            self._call_on_started()
            self.standing.enter(State.RUNNING, of=(State.STARTING,))
            settle(self.started, None)
            self._restarts.began()
            if not self._token.requested:
                self.thread.execute(self.service.execute, self._token, self.service.is_async)
        except BaseException as error:  # noqa: BLE001 - around a service: not even sys.exit() ends it unheard
            return None if self._is_obedience(error) else error
        finally:
            self._restarts.ended()
            self._dispose()
        return None

    def _not_started(self, error: BaseException) -> BaseException | None:
        if self._is_obedience(error):
            return None
        if self.started.done():
            return error  # as if execute had failed
        self.standing.note_failure(error)
        self.standing.enter(State.FAILED)
        settle(self.started, error)
        raise NotStarted from error

    def _is_obedience(self, error: BaseException) -> bool:
        return self._token.requested and isinstance(error, (StopRequested, asyncio.CancelledError))

    def _call_on_started(self) -> None:
        """Note the start; where the others have all started before, on_started was left out and comes now."""
        with self._lock:
            late = self._all_started and not self.was_started
            self.was_started = True
        if late:
            self.thread.call(self.service.on_started, self._token)

    def _dispose(self) -> None:
        """Call on_stop: at once, or in the host's order when the host is stopping."""
        self.executed.set()
        self.thread.serve(lambda: not self._stopping or self._may_dispose)
        try:
            self.thread.call(self.service.on_stop)
        except BaseException as error:  # noqa: BLE001 - around a service
            self.standing.note_failure(error, "on_stop of %s failed: %r")
            if self._stopping:
                self.hook_errors.append(f"on_stop of {self.name}: {error!r}")

    def _decide(self, error: BaseException | None) -> bool:
        """Decide, by policy and wishes, what follows the end of execute."""
        if error is not None:
            self.standing.note_failure(error)
        if self._stopping or self.held or self._wish == "stop":
            self._rest()
            return False
        if self._wish == "restart" or self._token.reason == "lease-lost":
            self.standing.restarts += self._wish == "restart"
            return True
        verdict = self._restarts.judge(error)
        if verdict is Verdict.AGAIN:
            return self._back_off(error)
        if verdict is Verdict.END:
            self.standing.enter(State.STOPPED)
            logger.info("%s has ended", self.name)
            return False
        self._give_up(verdict, error)
        return False

    def _give_up(self, verdict: Verdict, error: BaseException | None) -> None:
        self.standing.enter(State.FAILED)
        if verdict is Verdict.STOP_HOST:
            self._stop_host(f"service {self.name} failed: {error!r}", 4)
        elif self.engine:
            self._stop_host(f"engine service {self.name} keeps failing: {error!r}", 4)
        else:
            logger.error("%s is given up after %d restarts", self.name, self.standing.restarts)

    def _back_off(self, error: BaseException | None) -> bool:
        """Wait before the next start; False when asked to stop meanwhile."""
        delay = self._restarts.delay(error)
        self._hurry = False
        self.standing.next_start_at = datetime.now(UTC) + timedelta(seconds=delay)
        self.standing.enter(State.BACKOFF)
        logger.info("%s starts again in %.1f s", self.name, delay)
        self.thread.serve(lambda: self._token.requested or self._hurry, delay)
        self.standing.next_start_at = None
        if self._token.requested:
            return self._end_unlived()
        self.standing.restarts += 1
        return True

    def _ticked(self, tick: Tick) -> None:
        self._beat = time.monotonic()
        self.standing.note_tick(tick)

    def _beaten(self) -> None:
        self._beat = time.monotonic()
        self.standing.note_beat()


def done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future

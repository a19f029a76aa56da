"""Own the host's sign of life, and what comes with it: states out, wishes in, leases renewed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from background.conf import get_settings
from background.dialects import dialect
from background.engine.base import EngineService, HostView
from background.engine.leases import BELIEVED, renew
from background.engine.lookout import look
from background.engine.pauses import paused_services
from background.models import Host, Service, ServiceStart
from background.queue.rescue import forget_services
from background.scope import database_alias
from background.timing.elapsed import elapsed

if TYPE_CHECKING:
    from background.queue.holding import Filter
    from background.stopping import StopToken

logger = logging.getLogger("background.engine")

# Wishes of people and changed states are looked after at least this often (seconds).
EAR = 1.0


class Housed(Protocol):
    """A service of this host, as the heartbeat sees it."""

    name: str
    engine: bool
    standing: Any

    def obey(self, verb: str, by: str) -> None: ...
    def hold(self, paused: bool) -> None: ...


class Leased(Protocol):
    name: str

    def believe(self, until: float) -> None: ...
    def lease_lost(self) -> None: ...


class Heartbeat(EngineService):
    """Tell the others that this host lives; lost by their judgement, start afresh under a new id."""

    def __init__(
        self,
        host: HostView,
        services: Callable[[], Iterable[Housed]],
        leased: Callable[[], Iterable[Leased]],
        facts: Callable[[], dict[str, Any]],
        lost: Callable[[], None],
        parts: Callable[[], Iterable[EngineService]],
        takes: Callable[[], Filter | None],
    ) -> None:
        super().__init__(host)
        self._parts = parts
        self._takes = takes
        self._clock_offset = 0.0
        self._looked_at = 0.0
        self._has_held = True  # some service, because of a pause; or it is not known
        self._services = services
        self._leased = leased
        self._facts = facts
        self._lost = lost
        self._beat_at = 0.0
        self._trusted_until = 0.0

    @property
    def trusted(self) -> bool:
        """Whether others must still believe that this host lives: its last sign of life is not too long ago."""
        return elapsed() < self._trusted_until

    def step(self, stop: StopToken) -> float:
        """Beat if it is time, renew leases, write what changed, hear what people wish."""
        interval = get_settings().heartbeat_interval
        if time.monotonic() - self._beat_at >= interval - 0.05:
            self._beat_at = time.monotonic()
            self.beat()
            self.renew()
        self.write_services()
        pause = min(EAR, interval, get_settings().poll_interval)
        if (left := self._looked_at + pause - time.monotonic()) > 0.05:
            return left  # there was only something to write
        self._looked_at = time.monotonic()
        self.look()
        return pause

    def look(self) -> None:
        """Ask what there is to do on this host, and tell its parts."""
        facts = look(self.host.id, self._takes())
        if facts is None:
            return  # it has no row any more: the next beat makes one
        self._clock_offset = (datetime.now(UTC) - facts.now).total_seconds()
        if facts.wish or facts.paused or self._has_held or facts.stop_requested_at is not None:
            self.hear_people()
            self._has_held = facts.paused
        for one in self._parts():
            one.hear(facts)

    def last_step(self, stop: StopToken) -> None:
        self.write_services()

    def beat(self) -> None:
        """Write the sign of life; a host that was declared lost meanwhile begins anew."""
        until = elapsed() + get_settings().host_timeout * BELIEVED  # from before the question is sent
        facts = {**self._facts(), "clock_offset": self._clock_offset, "heartbeat_at": dialect().stamp()}
        rows = Host.objects.using(database_alias()).live().filter(id=self.host.id)
        if not rows.update(**facts):
            logger.error(
                "host %s was declared lost by another host: its runs are stopped, it starts afresh", self.host.name
            )
            self._lost()
        self._trusted_until = until

    def renew(self) -> None:
        leased = list(self._leased())
        until, held = renew([one.name for one in leased], self.host.id)
        for one in leased:
            if one.name in held:
                one.believe(until)
            else:
                one.lease_lost()

    def write_services(self) -> None:
        """Write the rows of the services whose state changed."""
        alias = database_alias()
        for one in self._services():
            facts = one.standing
            if facts.dirty:
                facts.dirty = False
                try:
                    Service.objects.using(alias).update_or_create(
                        host_id=self.host.id, name=one.name, defaults=facts.row()
                    )
                except BaseException:
                    facts.dirty = True
                    raise
            lives = facts.take_lives()
            try:
                while lives:
                    self._write_life(one.name, lives[0])
                    del lives[0]
            finally:
                facts.give_back(lives)

    def _write_life(self, name: str, life: Any) -> None:
        """Write a start of a service, or its end; the oldest of the name give way."""
        rows = ServiceStart.objects.using(database_alias())
        facts = {"name": name, "host_id": self.host.id, "host_name": self.host.name, **life.row()}
        if rows.filter(id=life.id).update(**facts):
            return
        rows.create(id=life.id, **facts)
        surplus = rows.filter(name=name).order_by("-started_at").values_list("id", flat=True)[ServiceStart.KEPT :]
        if old := list(surplus[: ServiceStart.KEPT]):
            rows.filter(id__in=old).delete()

    def hear_people(self) -> None:
        """Obey the wishes of people that are written in this host's rows, and those that are meant for all hosts."""
        alias = database_alias()
        wishes = Service.objects.using(alias).filter(host=self.host.id).exclude(request_verb="")
        by_name = {one.name: one for one in self._services()}
        self._hold([one for one in by_name.values() if not one.engine])
        for row in wishes:
            # By its verb, not by its time: SQLite keeps times as text, and the same instant may be written in two ways.
            taken = Service.objects.using(alias).filter(pk=row.pk, request_verb=row.request_verb)
            if taken.update(request_verb="") and row.name in by_name:
                by_name[row.name].obey(row.request_verb, row.requested_by)
        asked = Host.objects.using(alias).filter(id=self.host.id, stop_requested_at__isnull=False)
        if (
            not self.host.stop_token.requested
            and (by := asked.values_list("stop_requested_by", flat=True).first()) is not None
        ):
            self.host.request_stop(f"asked by {by}" if by else "asked by a person")

    def _hold(self, users: list[Housed]) -> None:
        paused = paused_services() if users else ()
        for one in users:
            one.hold(one.name in paused)


def sign_off(host_id: Any, code: int, reason: str) -> None:
    """Write the end of a host that stopped in order. Blocks."""
    now = dialect().now()
    host = Host.objects.using(database_alias()).filter(id=host_id).first()
    if host is not None and host.state in Host.LIVE:
        forget_services(host, "")
        Host.objects.using(database_alias()).filter(id=host_id).update(
            state=Host.State.STOPPED, stopped_at=now, exit_code=code, stop_reason=reason[:300], running={}
        )

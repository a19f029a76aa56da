"""The functions of the queue, driven in drawn orders for hosts that are rows only, keep what the model keeps."""

import random
from datetime import timedelta
from itertools import chain

import pytest
from django.db import transaction

from background.conf import get_settings
from background.dialects import dialect
from background.exceptions import ClaimLost
from background.models import Host, Run
from background.queue import rescue as rescuing
from background.queue.cancel import cancel
from background.queue.claim import claim, claims_of, held_rows, lengthen, promote_due
from background.queue.enqueue import enqueue
from background.queue.finish import finish, finish_within, release
from background.queue.outcome import Kind, Outcome
from background.queue.rescue import declare_lost, rescue, sweep_blocked
from background.queue.transitions import NEXT
from tests.app import background as tasks
from tests.app.models import Effect
from tests.queue.helpers import error, held_by, host, served

NAMES = ("A", "B", "C")
KINDS = (Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED, Kind.RETRY, Kind.SNOOZED, Kind.RELEASED)
# What may happen, and how often.
WEIGHTS = {
    "enqueue": 3,
    "claim": 5,
    "lengthen": 4,
    "finish": 5,
    "succeed_with_effect": 1,
    "become_a_zombie": 2,
    "ask_what_it_holds": 1,
    "cancel": 1,
    "beat": 1,
    "die_and_come_again": 0.5,
    "stop": 0.5,
    "give_up": 0.5,
    "rescue": 1,
    "read_what_is_to_be_rescued": 0.5,
    "rescue_by_what_was_read": 0.5,
    "promote": 1,
    "sweep": 1,
    "time_passes": 1,
}


class FakeHost:
    """A process, as far as the queue can tell: a row, and what it has in hand."""

    def __init__(self, name, clock):
        self.name = name
        self.begin(clock)

    def begin(self, clock):
        """Go on under a new row, or as a new process."""
        self.row = host(self.name)
        Host.objects.filter(id=self.row.id).update(heartbeat_at=clock)
        self.hands, self.doubt, self.up = {}, False, True

    @property
    def is_live(self):
        return self.up and Host.objects.live().filter(id=self.row.id).exists()

    def held(self):
        """What it holds by the database's word and does not know of."""
        holder = held_by(self.row)
        found = claims_of(holder, held_rows(holder).values_list("id", flat=True))
        return [one for one in found if one.key not in self.hands]


class Protocol:
    """Three hosts, in one transaction that is rolled back."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.trace = []  # what happened, for whoever reads a failure
        self.clock = dialect().now()
        self.hosts_by_name = {name: FakeHost(name, self.clock) for name in NAMES}
        self.stale = []  # runs as a rescuer read them, who then stood still
        self.before = {}
        self.failures, self.wished, self.finished, self.by_effect, self.given = {}, set(), {}, set(), set()

        for _ in range(5):
            self.enqueue()

    def go(self, steps):
        for _ in range(steps):
            name = self.random.choices(list(WEIGHTS), WEIGHTS.values())[0]
            self.trace.append(name)
            getattr(self, name)()
            self.all_promises_are_kept()
        self.trace.append("all hosts die")
        self.end_all()
        self.before = {}
        self.all_promises_are_kept()

    def draw(self, *values):
        self.trace[-1:] = [f"{(self.trace or [''])[-1]} {(value := self.random.choice(values))}"]
        return value

    def draw_host(self):
        return self.hosts_by_name[self.draw(*NAMES)]

    def draw_hands(self):
        """Return a host that has runs in hand, or None."""
        having = [one.name for one in self.hosts_by_name.values() if one.hands]
        return self.hosts_by_name[self.draw(*having)] if having else None

    def in_hand(self, one):
        """Draw one of the claims that the host has in hand, and whether it still holds it."""
        mine = list(one.hands.values())[self.draw(*range(len(one.hands)))]
        return mine, Run.objects.running().filter(id=mine.id, token=mine.token).exists()

    # What people and code do

    def enqueue(self):
        customer = self.draw("", "a", "b", "b")
        run = enqueue(served, [customer]) if customer else enqueue(tasks.note, ["x"], max_attempts=3)
        Run.objects.filter(id=run.id).update(max_attempts=3, **({"concurrency": 1} if customer == "b" else {}))
        self.failures[run.id] = 0

    def cancel(self):
        run = Run.objects.get(id=list(self.failures)[self.draw(*range(len(self.failures)))])
        was_open = not run.is_finished
        assert cancel(run, reason="enough") == was_open
        if was_open:
            self.wished.add(run.id)

    def time_passes(self):
        self.clock += timedelta(seconds=10)

    # What hosts do

    def claim(self, one=None):
        one = one or self.draw_host()
        if not one.up or one.doubt:
            return
        limit, depth = self.draw(1, 2, 3, 4), self.draw(0, 1, 2)
        claims = claim(held_by(one.row), limit, now=self.clock, depth=lambda task: depth)
        assert one.is_live or not claims, "a host that was given up claimed a run"
        assert not self.wished & {each.id for each in claims}, "a run was begun although its cancel had been accepted"
        self.take(one, claims)

    def take(self, one, claims):
        keys = {each.key for each in claims}
        assert not keys & self.given, "a run was given out twice under one token"
        self.given |= keys
        if self.draw(True, True, True, False):
            one.hands.update({each.key: each for each in claims})
        else:
            one.doubt = True

    def lengthen(self):
        """More runs behind one that this host executes, in its slot."""
        if (one := self.draw_hands()) is None:
            return
        mine, _ = self.in_hand(one)
        if mine.lane is None or not one.up or one.doubt:
            return
        goes_on = Run.objects.running().filter(token=mine.token).exists()
        more = lengthen(held_by(one.row), mine, self.draw(1, 2, 3))
        assert not more or (goes_on and one.is_live), "a lane was made longer that has ended"
        assert not self.wished & {each.id for each in more}, "a run was begun although its cancel had been accepted"
        self.take(one, more)

    def ask_what_it_holds(self):
        one = self.draw_host()
        if one.doubt:
            release(one.held())
            one.doubt = False

    def finish(self):
        """A group of outcomes: of claims that fit and of those that do not, two of one run, one of a lane before the next."""
        if (host := self.draw_hands()) is None:
            return
        hands, group, fit = host.hands, [], {}
        for _ in range(self.draw(1, 2, 3, 4)):
            (mine, fits), kind, delay = self.in_hand(host), self.draw(*KINDS), self.draw(0, 5)
            if any(one.claim is mine for one in group):
                continue
            ended = {one.claim.key for one in group} | {mine.key}
            last = not any(one.token == mine.token for key, one in hands.items() if key not in ended)
            failed = error(attempt=mine.attempt) if kind in (Kind.FAILED, Kind.RETRY) else None
            delay = delay if kind in (Kind.RETRY, Kind.SNOOZED) else 0
            group.append(Outcome(mine, kind, error=failed, delay=delay, frees=last))
            fit[mine.key] = fits
        before = {one.claim.id: self.row(one.claim.id) for one in group}
        refused = finish(group, now=self.clock)
        assert {one.claim.key for one in refused} == {key for key, fits in fit.items() if not fits}
        for one in group:
            written = any(fit[other.claim.key] for other in group if other.claim.id == one.claim.id)
            after = self.row(one.claim.id)
            if (before[one.claim.id]["status"], after["status"]) == ("blocked", "ready"):  # by the end of another
                after |= {"status": "blocked", "position": None}
            assert written or after == before[one.claim.id], "a zombie changed a run"
            self.failures[one.claim.id] += fit[one.claim.key] and one.error is not None
        if self.draw(True, True, False):
            for key in fit:
                del hands[key]

    def succeed_with_effect(self):
        """As an atomic run does: its effect and its success in one transaction, nothing of both if it is refused."""
        if (host := self.draw_hands()) is None:
            return
        mine, fits = self.in_hand(host)
        try:
            with transaction.atomic():
                Effect.objects.create(name=str(mine.id))
                if not finish_within(Outcome(mine, Kind.SUCCEEDED)):
                    raise ClaimLost()
            assert fits, "a zombie changed a run"
            self.by_effect.add(mine.id)
        except ClaimLost:
            assert not fits
        if self.draw(True, False):
            del host.hands[mine.key]

    def beat(self, one=None):
        one = one or self.draw_host()
        if one.up and not Host.objects.live().filter(id=one.row.id).update(heartbeat_at=self.clock):
            hands = one.hands
            one.begin(self.clock)
            one.hands = hands  # its functions may not hear

    def die_and_come_again(self):
        self.draw_host().begin(self.clock)

    def stop(self):
        one = self.draw_host()
        if one.up:
            for mine in [*one.hands.values(), *one.held()]:
                release([mine])
            Host.objects.filter(id=one.row.id).update(state=Host.State.STOPPED, stopped_at=self.clock)
            assert not held_rows(held_by(one.row)).exists()
            one.hands, one.doubt, one.up = {}, False, False

    def give_up(self, one=None):
        """Others hear of all hosts but this one for longer than HOST_TIMEOUT."""
        self.clock += timedelta(seconds=get_settings().host_timeout + 1)
        silent = (one or self.draw_host()).row
        Host.objects.live().exclude(id=silent.id).update(heartbeat_at=self.clock)
        was_live = Host.objects.live().filter(id=silent.id).exists()
        assert [row.id for row in declare_lost(self.clock)] == [silent.id] * was_live

    def rescue(self):
        rescue(self.clock)

    def become_a_zombie(self):
        """Given up and begun afresh while the functions of before go on; it claims their runs anew."""
        one = self.draw_hands()
        if one is not None and one.is_live:
            self.give_up(one)
            self.rescue()
            self.beat(one)
            self.claim(one)

    def read_what_is_to_be_rescued(self):
        """A rescuer reads, and then stands still."""
        live = Host.objects.live().values("id")
        self.stale = list(Run.objects.running().exclude(host__in=live).select_related("job"))

    def rescue_by_what_was_read(self):
        for run in self.stale:
            held = Run.objects.running().filter(id=run.id, token=run.token).exists()
            assert bool(rescuing._rescue(run, self.clock)) == held
        self.stale = []

    def promote(self):
        promote_due(self.clock)

    def sweep(self):
        sweep_blocked()

    # What must hold after each of these

    def row(self, id):
        return Run.objects.filter(id=id).values().get()

    def all_promises_are_kept(self):
        rows = list(Run.objects.order_by("id").values())
        for row in rows:
            self.is_whole(row)
            self.moved_by_the_table(row)
            if row["status"] in Run.FINISHED:
                assert self.finished.setdefault(row["id"], row) == row, "a finished run changed"
        running = [row for row in rows if row["status"] == "running"]
        self.one_host_holds_each(running)
        self.no_key_has_too_many_slots(running)
        effects = sorted(Effect.objects.values_list("name", flat=True))
        assert effects == sorted(map(str, self.by_effect)), "effects happened twice, or without success"

    def is_whole(self, row):
        status, attempt, failures = row["status"], row["attempt"], self.failures[row["id"]]
        assert (row["token"] is not None) == (status == "running"), status
        assert (row["position"] is not None) == (status == "ready"), status
        assert (row["finished_at"] is not None) == (status in Run.FINISHED), status
        if status not in Run.FINISHED:
            assert attempt == failures + (status == "running"), "an attempt was burnt although it did not fail"

    def moved_by_the_table(self, row):
        was, now = self.before.get(row["id"], row["status"]), row["status"]
        assert now in reachable(was), f"a run went from {was} to {now}"
        self.before[row["id"]] = now

    def one_host_holds_each(self, running):
        tokens = {(row["id"].int, row["token"].int) for row in running}
        held = [key for one in self.hosts_by_name.values() for key in one.hands if key in tokens]
        assert len(held) == len(set(held)), "two hosts hold a run"
        for row in running:
            holder = next((one for one in self.hosts_by_name.values() if one.row.id == row["host_id"]), None)
            known = holder is None or holder.doubt or (row["id"].int, row["token"].int) in holder.hands
            assert known, "a live host does not know of a run that it holds"

    def no_key_has_too_many_slots(self, running):
        limits = {row["concurrency_key"]: row["concurrency"] for row in running if row["concurrency_key"]}
        for key, limit in limits.items():
            slots = {row["token"] for row in running if row["concurrency_key"] == key}
            assert len(slots) <= limit, f"{len(slots)} slots of {key} are in use, there are {limit}"

    def end_all(self):
        """All hosts die; a new one that goes on brings each run to its end."""
        last = FakeHost("last", self.clock)
        for _ in range(40):
            self.clock += timedelta(seconds=get_settings().host_timeout + 1)
            Host.objects.filter(id=last.row.id).update(heartbeat_at=self.clock)
            declare_lost(self.clock)
            rescue(self.clock)
            sweep_blocked()
            promote_due(self.clock)
            finish(
                [Outcome(one, Kind.SUCCEEDED) for one in claim(held_by(last.row), 10, now=self.clock)], now=self.clock
            )
            if not Run.objects.open().exists():
                return
        raise AssertionError(f"runs are lost: {list(Run.objects.open().values_list('status', 'lost', 'attempt'))}")


def reachable(status):
    """Where a run may be after one step: it may make two moves in one transaction."""
    return {status, *NEXT[status], *chain.from_iterable(NEXT[following] for following in NEXT[status])}


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(40))
def test_the_queue_keeps_its_promises_in_whatever_order_it_is_used(seed):
    protocol = Protocol(seed)
    try:
        protocol.go(60)
    except AssertionError:
        print("\n".join(protocol.trace))
        raise

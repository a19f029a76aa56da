"""The functions of the queue, driven in drawn orders for hosts that are rows only, keep what the model keeps."""

from datetime import timedelta
from itertools import chain

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from background.conf import get_settings
from background.dialects import dialect
from background.exceptions import ClaimLost
from background.models import Host, Run
from background.queue import rescue as rescuing
from background.queue.cancel import cancel
from background.queue.claim import claim, claims_of, held_rows, promote_due
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
        return [one for one in found if (one.id, one.token) not in self.hands]


class Protocol(RuleBasedStateMachine):
    """Three hosts, in one transaction that is rolled back."""

    hosts = st.sampled_from(NAMES)

    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.clock = dialect().now()
        self.hosts_by_name = {name: FakeHost(name, self.clock) for name in NAMES}
        self.stale = []  # runs as a rescuer read them, who then stood still
        self.before = {}
        self.failures, self.wished, self.finished, self.by_effect = {}, set(), {}, set()

    def teardown(self):
        try:
            self.end_all()
            self.before = {}
            self.all_promises_are_kept()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    # What people and code do

    @initialize()
    def begin(self):
        for number in range(3):
            self.enqueue("ab"[number % 2])

    @rule(customer=st.sampled_from(["", "a", "b"]))
    def enqueue(self, customer):
        run = enqueue(served, [customer]) if customer else enqueue(tasks.note, ["x"], max_attempts=3)
        Run.objects.filter(id=run.id).update(max_attempts=3, **({"concurrency": 1} if customer == "b" else {}))
        self.failures[run.id] = 0

    @rule(data=st.data())
    def cancel(self, data):
        run = Run.objects.get(id=data.draw(st.sampled_from(sorted(self.failures))))
        was_open = not run.is_finished
        assert cancel(run, reason="enough") == was_open
        if was_open:
            self.wished.add(run.id)

    @rule(seconds=st.sampled_from([1, 10]))
    def time_passes(self, seconds):
        self.clock += timedelta(seconds=seconds)

    # What hosts do

    @rule(
        name=hosts,
        limit=st.integers(1, 4),
        depth=st.integers(0, 2),
        answered=st.sampled_from([True, True, True, False]),
    )
    def claim(self, name, limit, depth, answered):
        one = self.hosts_by_name[name]
        if not one.up or one.doubt:
            return
        claims = claim(held_by(one.row), limit, now=self.clock, depth=lambda task: depth)
        assert one.is_live or not claims, "a host that was given up claimed a run"
        assert not self.wished & {each.id for each in claims}, "a run was begun although its cancel had been accepted"
        if answered:
            one.hands.update({(each.id, each.token): each for each in claims})
        else:
            one.doubt = True

    @rule(name=hosts)
    def ask_what_it_holds(self, name):
        one = self.hosts_by_name[name]
        if one.doubt:
            release(one.held())
            one.doubt = False

    def in_hand(self, name, number):
        """Draw one of the claims that the host has in hand, and whether it still holds it."""
        hands = list(self.hosts_by_name[name].hands.values())
        if not hands:
            return None, False
        mine = hands[number % len(hands)]
        return mine, Run.objects.running().filter(id=mine.id, token=mine.token).exists()

    @rule(
        name=hosts,
        number=st.integers(0, 3),
        kind=st.sampled_from(KINDS),
        answered=st.booleans(),
        delay=st.sampled_from([0, 5]),
    )
    def finish(self, name, number, kind, answered, delay):
        mine, fits = self.in_hand(name, number)
        if mine is None:
            return
        before = self.row(mine.id)
        failed = kind in (Kind.FAILED, Kind.RETRY)
        facts = error(attempt=mine.attempt) if failed else None
        outcome = Outcome(mine, kind, error=facts, delay=delay if kind in (Kind.RETRY, Kind.SNOOZED) else 0)
        refused = finish([outcome], now=self.clock)
        assert refused == ([] if fits else [outcome])
        assert fits or self.row(mine.id) == before, "a zombie changed a run"
        self.failures[mine.id] += fits and failed
        if answered:
            del self.hosts_by_name[name].hands[mine.id, mine.token]

    @rule(name=hosts, number=st.integers(0, 3), answered=st.booleans())
    def succeed_with_effect(self, name, number, answered):
        """As an atomic run does: its effect and its success in one transaction, nothing of both if it is refused."""
        mine, fits = self.in_hand(name, number)
        if mine is None:
            return
        try:
            with transaction.atomic():
                Effect.objects.create(name=str(mine.id))
                if not finish_within(Outcome(mine, Kind.SUCCEEDED)):
                    raise ClaimLost()
            assert fits, "a zombie changed a run"
            self.by_effect.add(mine.id)
        except ClaimLost:
            assert not fits
        if answered:
            del self.hosts_by_name[name].hands[mine.id, mine.token]

    @rule(name=hosts)
    def beat(self, name):
        one = self.hosts_by_name[name]
        if one.up and not Host.objects.live().filter(id=one.row.id).update(heartbeat_at=self.clock):
            hands = one.hands
            one.begin(self.clock)
            one.hands = hands  # its functions may not hear

    @rule(name=hosts)
    def die_and_come_again(self, name):
        self.hosts_by_name[name].begin(self.clock)

    @rule(name=hosts)
    def stop(self, name):
        one = self.hosts_by_name[name]
        if one.up:
            for mine in [*one.hands.values(), *one.held()]:
                release([mine])
            Host.objects.filter(id=one.row.id).update(state=Host.State.STOPPED, stopped_at=self.clock)
            assert not held_rows(held_by(one.row)).exists()
            one.hands, one.doubt, one.up = {}, False, False

    @rule(name=hosts)
    def give_up(self, name):
        """Others hear of all hosts but this one for longer than HOST_TIMEOUT."""
        self.clock += timedelta(seconds=get_settings().host_timeout + 1)
        silent = self.hosts_by_name[name].row
        Host.objects.live().exclude(id=silent.id).update(heartbeat_at=self.clock)
        was_live = Host.objects.live().filter(id=silent.id).exists()
        assert [row.id for row in declare_lost(self.clock)] == [silent.id] * was_live

    @rule()
    def rescue(self):
        rescue(self.clock)

    @rule()
    def read_what_is_to_be_rescued(self):
        """A rescuer reads, and then stands still."""
        live = Host.objects.live().values("id")
        self.stale = list(Run.objects.running().exclude(host__in=live).select_related("job"))

    @rule()
    def rescue_by_what_was_read(self):
        for run in self.stale:
            held = Run.objects.running().filter(id=run.id, token=run.token).exists()
            assert bool(rescuing._rescue(run, self.clock)) == held
        self.stale = []

    @rule()
    def promote(self):
        promote_due(self.clock)

    @rule()
    def sweep(self):
        sweep_blocked()

    # What must hold after each of these

    def row(self, id):
        return Run.objects.filter(id=id).values().get()

    @invariant()
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
        tokens = {(row["id"], row["token"]) for row in running}
        held = [key for one in self.hosts_by_name.values() for key in one.hands if key in tokens]
        assert len(held) == len(set(held)), "two hosts hold a run"
        for row in running:
            holder = next((one for one in self.hosts_by_name.values() if one.row.id == row["host_id"]), None)
            known = holder is None or holder.doubt or (row["id"], row["token"]) in holder.hands
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
def test_the_queue_keeps_its_promises_in_whatever_order_it_is_used():
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

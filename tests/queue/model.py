"""
Own a model of how hosts share runs: each atomic statement of the queue is one step, to be explored in every order.

It follows `background/queue` and `background/engine` statement by statement, and each guard of theirs can be taken away to
see what it is good for. What a thread keeps in memory between two statements is part of the state, so that another host
may do anything in between. A host that stands still for a while (SIGSTOP) is one whose steps do not come for a while:
every order of steps contains that, for a whole host and for each of its threads.

Tokens are never given twice. So no token has a number here: all that matters is whether the one in a hand `fits`, that is,
whether it is the one in the row.
"""

from collections.abc import Iterator

from tests.queue.explorer import Step
from tests.queue.hands import Hands
from tests.queue.statements import Queue
from tests.queue.world import NAMES, PATIENCE, WAITING, Bounds, Hand, Host, Left, Row, Run, World, settled

Steps = Iterator[tuple[str, World]]


class Runs:
    """Two hosts and a few runs: what can happen next."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.guards = bounds.guards
        self.queue = Queue(bounds)
        self.hands = Hands(bounds, self.queue)

    def first(self) -> World:
        b = self.bounds
        run = Run(b.first, due=b.first != "scheduled")
        left = Left(b.lives, b.crashes, b.stops, b.cancels, b.answers, b.timeouts)
        return World((run,) * b.runs, (Host((Row(),), 0),) * 2, left)

    def settled(self, world: World) -> World:
        return settled(world, self.bounds)

    def steps(self, world: World) -> Iterator[Step]:
        for what, after in self._time(world):
            yield Step("time", what, after)
        for what, after in self._person(world):
            yield Step("a person", what, after)
        for h, host in enumerate(world.hosts):
            for what, after in self._late_commit(world, h, host):
                yield Step("the database", what, after)
            for what, after in self._host(world, h, host):
                yield Step(NAMES[h], what, after)
        for h, host in enumerate(world.hosts):  # a host looks at itself, too; last, because such traces read oddly
            if host.up and not host.silent:
                for what, after in self._give_up(world, h, h):
                    yield Step(NAMES[h], what, after)

    def _host(self, world: World, h: int, host: Host) -> Steps:
        if not host.up:
            if world.left.lives and not host.stopping:
                rows = (*host.rows, Row())
                yield "is started again", world.less("lives").with_host(h, rows=rows, id=len(rows) - 1, up=True)
            return
        yield from self._heartbeat(world, h, host)
        if host.silent:
            yield self._give_up_now(world.with_host(h, silent=None), h, *host.silent)
        else:
            yield from self._give_up(world, h, 1 - h)
        yield from self._rescue(world, h, host)
        if host.doubt:
            yield "asks what it holds", self._ask(world, h, host)
        elif not host.stopping:
            yield from self._promote(world, h, host)
            yield from self._claim(world, h, host)
        for i, hand in enumerate(host.hands):
            yield from self.hands.steps(world, h, i, hand)
        yield from self._endings(world, h, host)

    # The clock of the database; queue/cancel.py

    def _time(self, world: World) -> Steps:
        after = world
        for h, host in enumerate(world.hosts):
            for id, row in enumerate(host.rows):
                if row.live and row.silent <= PATIENCE:
                    after = after.with_row(h, id, Row(silent=row.silent + 1))
        if after is not world:
            yield "passes", after
        for r, run in enumerate(world.runs):
            if run.status == "scheduled" and not run.due:
                yield f"of run {r + 1} has come", world.with_run(r, due=True)

    def _person(self, world: World) -> Steps:
        if not world.left.cancels:
            return
        after = world.less("cancels")
        for r, run in enumerate(world.runs):
            if run.status in WAITING:
                yield f"cancels run {r + 1}", self.queue.move(after, r, "cancelled", wished=True)
            elif run.status == "running":
                yield f"asks run {r + 1} to end", after.with_run(r, asked=True, wished=True)

    # engine/heartbeat.py; host/host.py: start_afresh

    def _heartbeat(self, world: World, h: int, host: Host) -> Steps:
        row = host.rows[host.id]
        if row.live and row.silent:
            after = world.with_row(h, host.id, Row())
            for other, one in enumerate(world.hosts):  # whoever saw it silent compares the heartbeat
                if one.silent == (h, host.id) and self.guards.only_the_silent_are_given_up:
                    after = after.with_host(other, silent=None)
            yield "beats", after
        elif not row.live and len(host.rows) - 1 > host.id:
            hands = tuple(hand._replace(told=True) for hand in host.hands)
            yield "takes its new id and tells its runs to stop", world.with_host(h, id=host.id + 1, hands=hands)
        elif not row.live and world.left.lives:
            fresh = world.less("lives").with_host(h, rows=(*host.rows, Row()))
            yield "learns that it was given up and writes a new row", fresh

    # queue/rescue.py

    def _give_up(self, world: World, h: int, other: int) -> Steps:
        apart = self.bounds.in_two_steps or not self.guards.only_the_silent_are_given_up
        for id, row in enumerate(world.hosts[other].rows):
            if row.live and row.silent > PATIENCE and apart:
                yield f"sees that {NAMES[other]} is silent", world.with_host(h, silent=(other, id))
            elif row.live and row.silent > PATIENCE:
                yield self._give_up_now(world, h, other, id)

    def _give_up_now(self, world: World, h: int, other: int, id: int) -> tuple[str, World]:
        itself = (other, id) == (h, world.hosts[h].id)
        return f"gives {'itself' if itself else NAMES[other]} up", world.with_row(other, id, Row(live=False))

    def _rescue(self, world: World, h: int, host: Host) -> Steps:
        guarded = self.guards.rescue_shows_the_token and self.guards.rescue_hears_a_late_cancel
        if host.gone:
            r, fits, asked = host.gone
            if world.runs[r].status == "running" and (fits or not self.guards.rescue_shows_the_token):
                yield f"rescues run {r + 1}", self.queue.rescue(world.with_host(h, gone=None), r, asked)
            return
        for r, run in enumerate(world.runs):
            if run.status != "running" or run.holder is None or world.hosts[run.holder[0]].rows[run.holder[1]].live:
                continue
            if guarded and not self.bounds.in_two_steps:
                yield f"rescues run {r + 1}", self.queue.rescue(world, r, run.asked)
            else:
                yield f"reads that the host of run {r + 1} is gone", world.with_host(h, gone=(r, True, run.asked))

    # queue/claim.py

    def _promote(self, world: World, h: int, host: Host) -> Steps:
        if host.due is not None:
            after, run = world.with_host(h, due=None), world.runs[host.due]
            if run.status == "scheduled" and (run.due or not self.guards.promotion_looks_at_the_time):
                yield f"makes run {host.due + 1} ready", self.queue.move(after, host.due, "ready")
            else:
                yield f"finds that run {host.due + 1} is not to be made ready", after
            return
        apart = self.bounds.in_two_steps or not self.guards.promotion_looks_at_the_time
        for r, run in enumerate(world.runs):
            if run.status == "scheduled" and run.due and apart:
                yield f"reads that run {r + 1} is due", world.with_host(h, due=r)
            elif run.status == "scheduled" and run.due:
                yield f"makes run {r + 1} ready", self.queue.move(world, r, "ready")

    def _claim(self, world: World, h: int, host: Host) -> Steps:
        if host.due is not None:
            return  # the worker does one thing after another
        if not host.rows[host.id].live and self.guards.claim_looks_at_its_host:
            return
        if host.counted is not None:
            yield from self._take(world.with_host(h, counted=None), h, host.counted)
            return
        for r, run in enumerate(world.runs):
            if run.status != "ready" and self.guards.claim_looks_at_the_status:
                continue
            if sum(hand.r == r for hand in host.hands) > 1 or any(hand.r == r and hand.fits for hand in host.hands):
                continue
            if self.bounds.limit and world.slots >= self.bounds.limit:
                yield f"finds no slot for run {r + 1}", self.queue.move(world, r, "blocked")
            elif self.bounds.limit and not self.guards.claim_counts_under_a_lock:
                yield f"finds a slot for run {r + 1}", world.with_host(h, counted=r)
            else:
                yield from self._take(world, h, r)

    def _take(self, world: World, h: int, r: int) -> Steps:
        """Claim a run; and, where there is a limit, perhaps those that wait for the slot behind it."""
        if self.guards.claim_looks_at_the_status and world.runs[r].status != "ready":
            yield f"is too late to claim run {r + 1}", world
            return
        yield from self._taken(self.queue.claim(world, r, h, world.hosts[h].id), h, (r,), f"claims run {r + 1}")
        if not self.guards.a_commit_is_seen_by_whoever_asks_next and world.left.answers:
            sent = world.less("answers").with_host(h, flight=(r, world.hosts[h].id), doubt=True)
            yield f"claims run {r + 1}, the connection breaks before it is committed", sent
        for other, run in enumerate(world.runs):
            if self.bounds.limit and other != r and run.status in ("ready", "blocked"):
                after = self.queue.claim(world, r, h, world.hosts[h].id, lane=True)
                after = self.queue.claim(after, other, h, world.hosts[h].id, lane=True)
                yield from self._taken(after, h, (r, other), f"claims run {r + 1} and run {other + 1} behind it")

    def _taken(self, world: World, h: int, runs: tuple[int, ...], what: str) -> Steps:
        id = world.hosts[h].id
        hands = (Hand(r, "claimed", id, world.runs[r].attempt, behind=r != runs[0]) for r in runs)
        yield what, world.with_more(h, *hands)
        if world.left.answers:
            doubt = self.guards.claim_without_answer_is_asked_for
            yield f"{what}, the answer is lost", world.less("answers").with_host(h, doubt=doubt)

    def _late_commit(self, world: World, h: int, host: Host) -> Steps:
        if host.flight is not None:
            (r, id), after = host.flight, world.with_host(h, flight=None)
            ready = world.runs[r].status == "ready"
            yield f"commits what {NAMES[h]} has sent", self.queue.claim(after, r, h, id) if ready else after

    # engine/worker.py

    def _ask(self, world: World, h: int, host: Host) -> World:
        """Take what it holds by the database's word and does not know of as something to be handed back."""
        after = world.with_host(h, doubt=False)
        for r, run in enumerate(world.runs):
            mine = [hand for hand in host.hands if hand.r == r and hand.stage != "deaf"]
            known = any(hand.fits or not self.guards.asking_compares_tokens for hand in mine)
            if run.status == "running" and run.holder == (h, host.id) and not known:
                after = after.with_more(h, Hand(r, "outcome", host.id, run.attempt, outcome="released"))
        return after

    # host/shutdown.py; and ends without a word

    def _endings(self, world: World, h: int, host: Host) -> Steps:
        down = host._replace(up=False, hands=(), doubt=False, counted=None, due=None, silent=None, gone=None)._asdict()
        if world.left.crashes:
            yield "dies", world.less("crashes").with_host(h, **down)
        if world.left.stops and not host.stopping:
            yield "is told to stop", world.less("stops").with_host(h, stopping=True)
        done = not host.doubt and all(hand.stage == "deaf" for hand in host.hands)
        if host.stopping and (done or world.left.answers):
            after = world if done else world.less("answers")  # the database is away: it gives up writing
            yield "signs off", after.with_host(h, **down).with_row(h, host.id, Row(live=False))

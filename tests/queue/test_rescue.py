"""What happens to the runs of hosts that are gone."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from background import catalog
from background.dialects import dialect
from background.models import Host, Job, Lease, Run, Service
from background.queue.cancel import cancel
from background.queue.enqueue import enqueue
from background.queue.outcome import Kind
from background.queue.rescue import declare_lost, fail_unknown, forget_services, rescue
from background.signals import run_finished
from tests.app import background as tasks
from tests.queue.helpers import end, held_by, holder, host, take, take_one

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard():
    found = []

    def receive(sender, run_id, status, **more):
        found.append((run_id, status))

    run_finished.connect(receive)
    yield found
    run_finished.disconnect(receive)


def lose(row):
    Host.objects.filter(id=row.id).update(state=Host.State.LOST)


def lost_run(task=tasks.note, *args, times=1, **kwargs):
    """Return a run under which hosts died so many times."""
    run = enqueue(task, args, kwargs)
    for _ in range(times):
        one = host()
        assert [claimed.id for claimed in take(1, held_by(one))] == [run.id]
        lose(one)
        assert rescue() == 1
    run.refresh_from_db()
    return run


# --------------------------------------------------------------------------------------------------------------- hosts


def test_a_host_that_was_silent_for_too_long_is_lost():
    silent, spoke = host("silent", silent=16), host("spoke", silent=10)

    assert [one.name for one in declare_lost()] == ["silent"]

    silent.refresh_from_db(), spoke.refresh_from_db()
    assert (silent.state, silent.stop_reason, spoke.state) == ("lost", "silent", "running")
    assert silent.stopped_at is not None
    assert declare_lost() == []


def test_how_long_is_too_long_is_a_setting(settings):
    settings.BACKGROUND = {"HOST_TIMEOUT": 60}
    host(silent=50)
    assert declare_lost() == []


def test_the_databases_clock_decides_and_not_the_hosts(monkeypatch):
    from django.utils import timezone

    host(silent=1)
    real = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: real.replace(year=real.year + 1))
    assert declare_lost() == []


def test_a_host_that_spoke_last_before_the_databases_clock_was_set_back_is_lost():
    host("before", silent=-3600), host("since", silent=1)
    assert [one.name for one in declare_lost()] == ["before"]


def test_a_host_that_speaks_between_the_look_and_the_verdict_is_not_lost(monkeypatch):
    row = host(silent=60)
    from background.queue import rescue as module

    class Late:
        """The live hosts as they were a moment before they spoke."""

        def __init__(self, rows):
            self.rows = rows

        def __iter__(self):
            found = list(self.rows)
            Host.objects.filter(id=row.id).update(heartbeat_at=dialect().now())
            return iter(found)

    class Rows(type(Host.objects.all())):
        def filter(self, *args, **kwargs):
            rows = super().filter(*args, **kwargs)
            return Late(rows) if "heartbeat_at__lt" in str(args) else rows

    class Shim:
        State = Host.State

        class objects:
            @staticmethod
            def using(alias):
                return Rows(Host)

    monkeypatch.setattr(module, "Host", Shim)

    assert declare_lost() == []
    row.refresh_from_db()
    assert row.state == "running"


def test_the_services_of_a_lost_host_are_given_up():
    row = host(silent=60)
    Service.objects.create(host=row, name="a", state="running")
    Service.objects.create(host=row, name="b", state="failed", error="why")

    declare_lost()

    services = dict(Service.objects.values_list("name", "state"))
    assert services == {"a": "stopped", "b": "failed"}


def test_the_leases_of_a_lost_host_run_out_by_themselves_but_those_of_an_ended_one_are_free():
    row, other = host(silent=60), uuid.uuid4()
    ends = dialect().now() + timedelta(seconds=10)  # taken a moment ago: the host stands still, but may go on
    Lease.objects.create(name="single", holder=row.id, expires_at=ends)
    Lease.objects.create(name="other", holder=other, expires_at=ends)

    declare_lost()
    assert set(Lease.objects.values_list("name", "holder")) == {("single", row.id), ("other", other)}

    forget_services(row, "process died")
    assert set(Lease.objects.values_list("name", "holder")) == {("single", None), ("other", other)}


# ---------------------------------------------------------------------------------------------------------------- runs


def test_a_cancel_that_comes_between_the_reading_of_a_lost_run_and_its_rescue_is_heard(monkeypatch):
    one = host()
    run, _ = take_one(tasks.note, "x", who=held_by(one))
    lose(one)
    from background.queue import rescue as module

    def late(run, now, original=module._rescue):
        assert cancel(Run.objects.get(id=run.id), reason="enough")
        return original(run, now)

    monkeypatch.setattr(module, "_rescue", late)

    assert rescue() == 1
    run.refresh_from_db()
    assert (run.status, run.end_reason) == ("cancelled", "enough")


def test_the_runs_of_a_lost_host_are_ready_again_counted_apart_from_attempts(heard):
    one = host()
    run, claimed = take_one(tasks.note, "x", who=held_by(one))
    later = enqueue(tasks.note, ["later"])
    lose(one)

    assert rescue() == 1

    run.refresh_from_db()
    assert (run.status, run.lost, run.attempt, run.token, run.errors) == ("ready", 1, 0, None, [])
    assert [claimed.id for claimed in take(2)] == [run.id, later.id]
    assert heard == [] and end(claimed) != []


def test_runs_of_live_hosts_are_left_alone():
    for state in Host.LIVE:
        take_one(tasks.note, who=held_by(host(state=state)))
    assert rescue() == 0
    assert Run.objects.running().count() == 3


def test_the_runs_of_a_host_that_stopped_without_handing_them_back_are_rescued():
    one = host()
    take_one(tasks.note, who=held_by(one))
    Host.objects.update(state=Host.State.STOPPED)
    assert rescue() == 1


def test_runs_whose_hosts_row_is_gone_are_rescued():
    take_one(tasks.note, who=holder("never had a row"))
    one = host()
    take_one(tasks.note, who=held_by(one))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM background_host")  # not through Django, which would empty run.host

    assert rescue() == 2
    assert Run.objects.ready().count() == 2


def test_running_runs_without_a_host_are_rescued():
    take_one(tasks.note, who=held_by(host()))
    Run.objects.update(host=None)
    assert rescue() == 1


def test_a_run_that_keeps_killing_hosts_fails_at_its_third_loss(heard):
    catalog.sync()
    run = lost_run(tasks.plain, times=3)

    assert (run.status, run.lost, run.error_type) == ("failed", 3, "background.exceptions.HostLost")
    assert (run.end_reason, run.fingerprint) == ("its host was lost 3 times", "HostLost")
    assert "loss 3" in run.error_summary and len(run.errors) == 1
    assert heard == [(run.id, "failed")]
    assert Job.objects.get(name="app.plain").outcomes == "f"


def test_how_many_losses_are_too_many_is_a_setting(settings):
    settings.BACKGROUND = {"MAX_LOST": 1}
    assert lost_run().status == "failed"


def test_on_lost_fail_in_the_jobs_row_fails_at_the_first_loss():
    catalog.sync()
    Job.objects.filter(name="app.plain").update(on_lost="fail")
    run = lost_run(tasks.plain)
    assert (run.status, run.lost, run.end_reason) == ("failed", 1, "its host was lost")


def test_a_lost_run_that_was_asked_to_end_is_cancelled(heard):
    catalog.sync()
    one = host()
    run, _ = take_one(tasks.plain, who=held_by(one))
    cancel(run, reason="too late")
    lose(one)

    assert rescue() == 1

    run.refresh_from_db()
    assert (run.status, run.end_reason, run.lost) == ("cancelled", "too late", 1)
    assert heard == [(run.id, "cancelled")]
    assert Job.objects.get(name="app.plain").outcomes == "c"


def test_failing_a_lost_run_frees_its_unique_key(settings):
    settings.BACKGROUND = {"MAX_LOST": 1}
    assert lost_run(tasks.single, "a").unique_key is None


def test_a_rescued_run_that_succeeds_keeps_the_count_of_its_losses():
    run = lost_run(times=2)
    end(take(1, held_by(host()))[0])
    run.refresh_from_db()
    assert (run.status, run.lost, run.attempt) == ("succeeded", 2, 1)


# ------------------------------------------------------------------------------------------------------- unknown tasks


def unknown(**fields):
    run = enqueue(tasks.plain)
    fields.setdefault("enqueued_at", run.enqueued_at - timedelta(minutes=1))
    Run.objects.filter(id=run.id).update(task="old.code", **fields)
    return run


def test_a_run_whose_task_no_live_host_knows_fails(heard):
    catalog.sync()
    run = unknown()
    host(tasks=[tasks.note.module_path])
    host(state="lost", tasks=["old.code"])
    host(works=False, tasks=["old.code"])

    assert fail_unknown() == 1

    run.refresh_from_db()
    assert (run.status, run.error_type) == ("failed", "background.exceptions.TaskNotFound")
    assert "'old.code'" in run.error_summary and run.attempt == 0
    assert heard == [(run.id, "failed")]
    assert Job.objects.get(name="app.plain").outcomes == "f"


def test_a_run_whose_task_one_live_host_knows_waits_for_it():
    run = unknown()
    host(tasks=[tasks.note.module_path])
    host(tasks=["old.code"])
    assert fail_unknown() == 0
    run.refresh_from_db()
    assert run.status == "ready"


def test_a_run_that_was_enqueued_just_now_waits_for_hosts_with_newer_code():
    run = unknown(enqueued_at=dialect().now() - timedelta(seconds=2))
    host(tasks=[tasks.note.module_path])
    assert fail_unknown() == 0
    assert fail_unknown(dialect().now() + timedelta(seconds=15)) == 1
    run.refresh_from_db()
    assert run.error_type == "background.exceptions.TaskNotFound"


def test_without_live_hosts_no_run_fails_for_its_task():
    unknown()
    assert fail_unknown() == 0


def test_a_run_for_later_of_an_unknown_task_may_still_be_known_by_then():
    unknown(status="scheduled", position=None)
    host(tasks=[tasks.note.module_path])
    assert fail_unknown() == 0


def test_a_known_run_does_not_fail():
    enqueue(tasks.note)
    host(tasks=[tasks.note.module_path])
    assert fail_unknown() == 0


def test_a_snoozed_run_is_no_lost_run():
    run, claimed = take_one(tasks.note)
    end(claimed, Kind.SNOOZED, delay=60)
    assert rescue() == 0

"""People, rows and hostile text for the tests of the admin."""

import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone

from background.models import Artifact, Host, Job, Queue, Run, RunLog, Service
from tests.admin import tasks_for_admin

VIEWS = ["view_dashboard", "view_job", "view_run", "view_service", "view_host", "view_queue"]
OPERATES = [*VIEWS, "view_run_arguments", "view_run_output", "run_job", "cancel_run", "pause_queue", "pause_job"]
MANAGES = [*OPERATES, "change_job", "add_job", "delete_job", "delete_run", "control_service", "stop_host", "pause_all"]

HOSTILE = '"><img src=x onerror=alert(1)><script>\x1b[31m\u202etxt.exe'


def person(name, permissions=(), **extra):
    user = User.objects.create_user(name, password="x", is_staff=True, **extra)
    for one in permissions:
        label, _, code = one.rpartition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label or "background", codename=code))
    return user


@pytest.fixture
def person_with(db):
    return lambda *permissions, name="somebody": person(name, permissions)


@pytest.fixture
def signed_in(client, db):
    """Sign a person with these permissions in and return the client."""

    def sign_in(*permissions, name="staff"):
        client.force_login(person(name, permissions))
        return client

    return sign_in


@pytest.fixture
def operator(signed_in):
    return signed_in(*OPERATES, name="operator")


@pytest.fixture
def manager(signed_in):
    return signed_in(*MANAGES, name="manager")


@pytest.fixture
def make_job(db):
    def make(task=tasks_for_admin.typed, name=None, **fields):
        return Job.objects.create(name=name or f"job {uuid.uuid4().hex[:8]}", task=task.module_path, **fields)

    return make


@pytest.fixture
def make_run(db):
    def make(task=tasks_for_admin.typed, **fields):
        now = timezone.now()
        fields = {
            "task": getattr(task, "module_path", task),
            "status": Run.Status.SUCCEEDED,
            "enqueued_at": now,
            **fields,
        }
        if fields["status"] in Run.FINISHED:
            fields = {"started_at": now, "finished_at": now + timedelta(seconds=3), "attempt": 1, **fields}
        if fields["status"] == Run.Status.READY:
            fields = {"position": 1, **fields}
        return Run.objects.create(**fields)

    return make


@pytest.fixture
def make_host(db):
    def make(name="web-1:310", **fields):
        now = timezone.now()
        facts = {"pid": 310, "state": Host.State.RUNNING, "started_at": now, "heartbeat_at": now}
        facts |= {"concurrency": {"thread": 8, "loop": 100}, "running": {"thread": 3}, "version": "1f3c9"}
        return Host.objects.create(name=name, **{**facts, **fields})

    return make


@pytest.fixture
def world(make_job, make_run, make_host):
    """One of each, with text that would like to be markup in every field that a run, a host or code can fill."""
    host = make_host(HOSTILE, stop_reason=HOSTILE, version=HOSTILE[:60], queues=[HOSTILE], software={HOSTILE: HOSTILE})
    job = make_job(
        name=HOSTILE,
        queue=HOSTILE,
        kwargs={"region": HOSTILE, HOSTILE: HOSTILE},
        description=HOSTILE,
        paused_by=HOSTILE,
    )
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(
        enabled=False, paused_at=now, paused_reason=HOSTILE, schedule=HOSTILE, schedule_error=HOSTILE
    )
    error = {
        "attempt": 1,
        "at": now.isoformat(),
        "host": HOSTILE,
        "type": HOSTILE,
        "message": HOSTILE,
        "traceback": HOSTILE,
    }
    texts = {
        "queue": HOSTILE,
        "host_name": HOSTILE,
        "reason": HOSTILE,
        "end_reason": HOSTILE,
        "triggered_by_name": HOSTILE,
    }
    texts |= {
        "subject": HOSTILE,
        "progress_message": HOSTILE,
        "version": HOSTILE[:60],
        "error_summary": HOSTILE,
        "fingerprint": HOSTILE[:32],
    }
    failed = make_run(
        status="failed", job=job, job_name=HOSTILE, kwargs={"region": HOSTILE, HOSTILE: [HOSTILE]}, errors=[error], host=host,
        result={HOSTILE: HOSTILE}, progress_done=1, progress_total=3, **texts,
    )  # fmt: skip
    done = make_run(job=job, job_name=HOSTILE, result=HOSTILE, rerun_of=failed, queue=HOSTILE)
    ready = make_run(status="ready", task=HOSTILE, job_name=HOSTILE, queue=HOSTILE, args=[HOSTILE])
    running = make_run(status="running", job_name=HOSTILE, host=host, host_name=HOSTILE, started_at=now, attempt=1)
    RunLog.objects.create(run=failed, sequence=1, created_at=now, level="WARNING", message=HOSTILE)
    artifact = Artifact(run=failed, name=HOSTILE, content_type=HOSTILE, size=5)
    artifact.file.save(f"{uuid.uuid4().hex}.txt", ContentFile(b"hello"), save=False)
    artifact.save()
    service = Service.objects.create(
        host=host, name=HOSTILE, state="running", error=HOSTILE, error_at=now, schedule="every 1m", request_verb="tick",
        requested_at=now, requested_by=HOSTILE, log=[[now.isoformat(), HOSTILE[:10], HOSTILE]],
    )  # fmt: skip
    queue = Queue.objects.create(name=HOSTILE, paused=True, paused_at=now, paused_by=HOSTILE, paused_reason=HOSTILE)
    yield {
        "host": host, "job": job, "run": failed, "done": done, "ready": ready, "running": running, "service": service, "queue": queue,
        "artifact": artifact, "dashboard": SimpleNamespace(pk=None),
    }  # fmt: skip
    artifact.file.delete(save=False)


def url(name, *args):
    return reverse(f"admin:background_{name}", args=args)
